-- Workers take refits in turns: of those who asked, and of the families, each in its turn, however many one has queued.

ALTER TABLE refits
    ADD COLUMN requested_by text NOT NULL DEFAULT '',
    ADD COLUMN work bigint NOT NULL DEFAULT 0
        CONSTRAINT refits_work_check CHECK (work >= 0);

-- When it was whose turn last.
CREATE INDEX refits_requested_by_started_at_idx ON refits (requested_by, started_at DESC)
    WHERE started_at IS NOT NULL;
CREATE INDEX refits_family_id_started_at_idx ON refits (family_id, started_at DESC)
    WHERE started_at IS NOT NULL;

COMMENT ON COLUMN refits.requested_by IS 'Who asked, as the audit log names it; empty where an earlier version did not note it.';
COMMENT ON COLUMN refits.work IS
    'Runs times starts and resamples when it was asked for; 0 where an earlier version did not note it. Small ones are run beside large ones.';

-- Orders the audit log by when its events were stored: what has been read of it never changes. By the time of the
-- request an upload that takes a minute would appear in the past.

ALTER TABLE audit_events ADD COLUMN stored_at timestamptz;

-- Events of before are taken as stored when they happened; those of one moment follow one another.
WITH numbered AS (
    SELECT id, at, row_number() OVER (ORDER BY at, id) * interval '1 microsecond' AS later
    FROM audit_events
), placed AS (
    SELECT id, max(at - later) OVER (ORDER BY at, id) + later AS stored_at FROM numbered
)
UPDATE audit_events SET stored_at = placed.stored_at FROM placed WHERE placed.id = audit_events.id;

ALTER TABLE audit_events ALTER COLUMN stored_at SET NOT NULL;

COMMENT ON COLUMN audit_events.stored_at IS 'When it was stored, by the clock of the database; orders events, and is later than that of every event that could be seen before.';

-- Also for services of before, which do not know the column.
CREATE FUNCTION place_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Who stores events waits until those before are committed: so a time that is later was also seen later.
    PERFORM pg_advisory_xact_lock(7163802954104);
    -- The clock may have been set back.
    NEW.stored_at := greatest(
        clock_timestamp(),
        (SELECT max(stored_at) FROM audit_events) + interval '1 microsecond'
    );
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_events_place BEFORE INSERT ON audit_events
FOR EACH ROW EXECUTE FUNCTION place_audit_event();

CREATE INDEX audit_events_stored_at_idx ON audit_events (stored_at DESC);
CREATE INDEX audit_events_actor_stored_at_idx ON audit_events (actor, stored_at DESC);
CREATE INDEX audit_events_family_stored_at_idx ON audit_events (family, stored_at DESC)
WHERE family IS NOT NULL;
DROP INDEX audit_events_at_idx;
DROP INDEX audit_events_actor_id_idx;
DROP INDEX audit_events_family_id_idx;

-- Refusals of one key that are alike are one event, so that whoever is refused a thousand times takes no room from writes.

ALTER TABLE audit_events ADD COLUMN times integer NOT NULL DEFAULT 1
    CONSTRAINT audit_events_times_check CHECK (times > 0);

COMMENT ON COLUMN audit_events.times IS 'How often it happened: refusals of one key that are alike and near each other are one event, with the time and id of the first.';

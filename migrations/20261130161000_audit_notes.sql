-- Notes of writes, stored in the transactions of the writes: what was done is noted, and what was not is not. From here they
-- are put into the log in order by a process that has the time to wait for its turn; a write does not.

CREATE TABLE audit_notes (
    id    uuid NOT NULL,
    event jsonb NOT NULL,
    CONSTRAINT audit_notes_pkey PRIMARY KEY (id)
);

COMMENT ON TABLE audit_notes IS 'Writes over HTTP on their way into audit_events.';
COMMENT ON COLUMN audit_notes.id IS 'UUIDv7: the id of the event.';
COMMENT ON COLUMN audit_notes.event IS 'The event, by the names of the columns of audit_events.';

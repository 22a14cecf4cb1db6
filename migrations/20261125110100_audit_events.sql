-- What was written over HTTP, and by whom.

CREATE TABLE audit_events (
    id         uuid NOT NULL,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    actor_name text,
    address    text,
    method     text NOT NULL,
    path       text NOT NULL,
    target     text NOT NULL,
    family     text,
    status     smallint NOT NULL,
    request_id text,
    CONSTRAINT audit_events_pkey PRIMARY KEY (id),
    CONSTRAINT audit_events_status_check CHECK (status BETWEEN 100 AND 599)
);

-- Old events go by time.
CREATE INDEX audit_events_at_idx ON audit_events (at);
-- Lists by who wrote, and by what was written to, newest first.
CREATE INDEX audit_events_actor_id_idx ON audit_events (actor, id DESC);
CREATE INDEX audit_events_family_id_idx ON audit_events (family, id DESC) WHERE family IS NOT NULL;

COMMENT ON TABLE audit_events IS 'Writes over HTTP that were done, or refused for want of scope.';
COMMENT ON COLUMN audit_events.id IS 'UUIDv7; orders events by time.';
COMMENT ON COLUMN audit_events.at IS 'When the request was let in or refused.';
COMMENT ON COLUMN audit_events.actor IS 'Id of the key, anonymous where none was asked for, or service.';
COMMENT ON COLUMN audit_events.actor_name IS 'Name of the key; NULL without one.';
COMMENT ON COLUMN audit_events.address IS 'Address of the caller, where known.';
COMMENT ON COLUMN audit_events.method IS 'The HTTP method.';
COMMENT ON COLUMN audit_events.path IS 'Template of the path, as in the OpenAPI document.';
COMMENT ON COLUMN audit_events.target IS 'Path of what was created, else the path of the request.';
COMMENT ON COLUMN audit_events.family IS 'Name of the family in the target; NULL where there is none.';
COMMENT ON COLUMN audit_events.status IS 'Status of the answer; 499 where there was none.';
COMMENT ON COLUMN audit_events.request_id IS 'The request id, as in the log.';

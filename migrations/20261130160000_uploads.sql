-- Uploads that are answered before they are stored (Prefer: respond-async): the body as it was sent, and what became of it.

CREATE TABLE uploads (
    id               uuid NOT NULL,
    family_id        uuid NOT NULL,
    state            text NOT NULL,
    query            text NOT NULL,
    content_type     text NOT NULL,
    content_encoding text,
    bytes            bigint NOT NULL,
    requested_by     text NOT NULL,
    note             jsonb,
    attempts         integer NOT NULL,
    lease_token      uuid,
    lease_expires_at timestamptz,
    result           jsonb,
    error            jsonb,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT uploads_pkey PRIMARY KEY (id),
    CONSTRAINT uploads_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT uploads_state_check CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    CONSTRAINT uploads_bytes_check CHECK (bytes >= 0),
    CONSTRAINT uploads_lease_check CHECK (
        (state = 'running') = (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)
    ),
    CONSTRAINT uploads_finished_check CHECK (
        (state IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)
    ),
    CONSTRAINT uploads_result_check CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CONSTRAINT uploads_error_check CHECK ((state = 'failed') = (error IS NOT NULL))
);

-- What a process looks for, and what counts as waiting.
CREATE INDEX uploads_waiting_idx ON uploads (created_at) WHERE state IN ('queued', 'running');
CREATE INDEX uploads_family_id_id_idx ON uploads (family_id, id DESC);
-- Who asked had the last turn when?
CREATE INDEX uploads_requested_by_started_at_idx ON uploads (requested_by, started_at DESC);
-- Results go by time.
CREATE INDEX uploads_finished_at_idx ON uploads (finished_at) WHERE finished_at IS NOT NULL;

COMMENT ON TABLE uploads IS 'Uploads that are answered before they are stored, and what became of them.';
COMMENT ON COLUMN uploads.id IS 'UUIDv7.';
COMMENT ON COLUMN uploads.family_id IS 'The family that the runs go to.';
COMMENT ON COLUMN uploads.state IS 'queued, running, succeeded or failed.';
COMMENT ON COLUMN uploads.query IS 'Query of the request: how the body is to be read.';
COMMENT ON COLUMN uploads.content_type IS 'Content-Type of the request.';
COMMENT ON COLUMN uploads.content_encoding IS 'How the body is compressed; NULL where it is not.';
COMMENT ON COLUMN uploads.bytes IS 'Size of the body as it was sent.';
COMMENT ON COLUMN uploads.requested_by IS 'Whose places it takes: those who ask are served in turns.';
COMMENT ON COLUMN uploads.note IS 'What the audit log says of it when it is stored.';
COMMENT ON COLUMN uploads.attempts IS 'How often a process has begun to store it.';
COMMENT ON COLUMN uploads.lease_token IS 'Held by the process that stores it; only with it can it be ended.';
COMMENT ON COLUMN uploads.lease_expires_at IS 'After this the process is taken for dead.';
COMMENT ON COLUMN uploads.result IS 'What the answer would have been, where it was stored.';
COMMENT ON COLUMN uploads.error IS 'The problem that the answer would have been, where nothing was stored.';
COMMENT ON COLUMN uploads.created_at IS 'When its body had arrived.';
COMMENT ON COLUMN uploads.started_at IS 'When a process last began to store it.';
COMMENT ON COLUMN uploads.finished_at IS 'When it ended.';

CREATE TABLE upload_pieces (
    upload_id uuid NOT NULL,
    number    integer NOT NULL,
    bytes     bytea NOT NULL,
    CONSTRAINT upload_pieces_pkey PRIMARY KEY (upload_id, number),
    CONSTRAINT upload_pieces_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES uploads (id) ON DELETE CASCADE
        -- The upload comes last: it locks its family, which is not to last as long as its body takes to arrive.
        DEFERRABLE INITIALLY DEFERRED
);

-- Most bodies are compressed, or are read once and go.
ALTER TABLE upload_pieces ALTER COLUMN bytes SET STORAGE EXTERNAL;

COMMENT ON TABLE upload_pieces IS 'Bodies of uploads that wait, in pieces; gone when the upload has ended.';
COMMENT ON COLUMN upload_pieces.upload_id IS 'The upload.';
COMMENT ON COLUMN upload_pieces.number IS 'Counts the pieces of a body from 0.';
COMMENT ON COLUMN upload_pieces.bytes IS 'The piece.';

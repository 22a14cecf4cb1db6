-- Who may use the service: its API keys.
--
-- A key is never deleted, only revoked: while a row is here the service asks for a key, so that revoking
-- the last one does not open it.

CREATE TABLE api_keys (
    id           uuid NOT NULL,
    name         text NOT NULL,
    hash         bytea NOT NULL,
    scope        text NOT NULL,
    families     text[],
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_name_check CHECK (name <> ''),
    CONSTRAINT api_keys_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT api_keys_scope_check CHECK (scope IN ('read', 'write', 'admin')),
    CONSTRAINT api_keys_families_check CHECK (families <> '{}')
);

-- What a service keeps in memory.
CREATE INDEX api_keys_valid_idx ON api_keys (id) WHERE revoked_at IS NULL;

COMMENT ON TABLE api_keys IS 'API keys, by hash; the keys themselves are stored nowhere.';
COMMENT ON COLUMN api_keys.id IS 'UUIDv7; the public part of the key.';
COMMENT ON COLUMN api_keys.name IS 'For people: whose key it is.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the 32 random bytes of the secret part.';
COMMENT ON COLUMN api_keys.scope IS 'What it may do: read, write (and read), admin (and both).';
COMMENT ON COLUMN api_keys.families IS 'Names of the only families that it may touch; NULL for all.';
COMMENT ON COLUMN api_keys.created_by IS 'Who created it: cli, or the id of a key.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was created.';
COMMENT ON COLUMN api_keys.expires_at IS 'From when on it is refused; NULL for never.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When it was revoked; NULL while it is not.';
COMMENT ON COLUMN api_keys.last_used_at IS 'When a service last let it in, as of its last report.';

-- Services keep the keys in memory; this tells all of them to read them again. The last use is not
-- among the columns: it changes all the time and decides nothing.
CREATE FUNCTION announce_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sparsity_planner_keys', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER api_keys_announce_insert AFTER INSERT ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION announce_key();

CREATE TRIGGER api_keys_announce_update
    AFTER UPDATE OF hash, scope, families, expires_at, revoked_at ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION announce_key();

CREATE TRIGGER api_keys_announce_delete AFTER DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION announce_key();

COMMENT ON FUNCTION announce_key() IS 'Announces that an API key was created or revoked.';

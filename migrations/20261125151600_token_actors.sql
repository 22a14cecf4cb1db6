-- Holders of tokens write too.

COMMENT ON COLUMN audit_events.actor IS
    'Id of the key, oidc: and the subject of the token, anonymous where neither was asked for, or service.';
COMMENT ON COLUMN api_keys.created_by IS 'Who created it: cli, the id of a key, or oidc: and the subject of a token.';

-- Kept mappings: what the columns of a family's tables mean, under a name.

CREATE TABLE mappings (
    id         uuid NOT NULL,
    family_id  uuid NOT NULL,
    name       text NOT NULL,
    settings   jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT mappings_pkey PRIMARY KEY (id),
    CONSTRAINT mappings_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT mappings_family_id_name_key UNIQUE (family_id, name),
    CONSTRAINT mappings_name_check CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$'),
    CONSTRAINT mappings_settings_check CHECK (jsonb_typeof(settings) = 'object')
);

COMMENT ON TABLE mappings IS 'Kept mappings: what the columns of a family''s tables mean.';
COMMENT ON COLUMN mappings.id IS 'UUIDv7.';
COMMENT ON COLUMN mappings.family_id IS 'The family whose uploads may name it.';
COMMENT ON COLUMN mappings.name IS 'Slug, unique in the family.';
COMMENT ON COLUMN mappings.settings IS 'The options of an upload, by their names in a query.';
COMMENT ON COLUMN mappings.created_at IS 'When it was first kept.';
COMMENT ON COLUMN mappings.updated_at IS 'When it was last kept.';

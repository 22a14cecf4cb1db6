-- Hardware profiles: named FLOP modes beside dense and sparse.
--
-- Every check repeats a rule of the service (src/law/step.rs, src/text.rs) as far as SQL can say it.

CREATE TABLE hardware_profiles (
    id             uuid NOT NULL,
    name           text NOT NULL,
    prunable_share double precision,
    efficiency     double precision,
    points         jsonb,
    patterns       text[] NOT NULL,
    pattern_costs  jsonb NOT NULL,
    storage        text NOT NULL,
    source         text NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT hardware_profiles_pkey PRIMARY KEY (id),
    CONSTRAINT hardware_profiles_name_key UNIQUE (name),
    CONSTRAINT hardware_profiles_name_check CHECK (
        name ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$' AND name NOT IN ('dense', 'sparse')
    ),
    CONSTRAINT hardware_profiles_cost_check CHECK (
        (prunable_share IS NULL) = (efficiency IS NULL)
        AND (prunable_share IS NULL) <> (points IS NULL)
    ),
    CONSTRAINT hardware_profiles_share_check CHECK (
        prunable_share BETWEEN 0 AND 1 AND efficiency > 0 AND efficiency <= 1
    ),
    CONSTRAINT hardware_profiles_points_check CHECK (
        jsonb_typeof(points) = 'array' AND jsonb_array_length(points) BETWEEN 1 AND 100
    ),
    CONSTRAINT hardware_profiles_patterns_check CHECK (cardinality(patterns) <= 50),
    CONSTRAINT hardware_profiles_pattern_costs_check CHECK (jsonb_typeof(pattern_costs) = 'object'),
    CONSTRAINT hardware_profiles_storage_check CHECK (storage IN ('dense', 'bitmask', 'csr', '2:4'))
);

COMMENT ON TABLE hardware_profiles IS 'Named FLOP modes: what a training step costs at each sparsity.';
COMMENT ON COLUMN hardware_profiles.id IS 'UUIDv7.';
COMMENT ON COLUMN hardware_profiles.name IS 'Slug by which the API and a flop_mode name the profile.';
COMMENT ON COLUMN hardware_profiles.prunable_share IS 'f: share of the FLOPs that zeros can save; NULL where points are measured.';
COMMENT ON COLUMN hardware_profiles.efficiency IS 'eta: fraction of the ideal speed-up that is achieved; NULL where points are measured.';
COMMENT ON COLUMN hardware_profiles.points IS 'Measured points: array of [sparsity, cost of a step over that of a dense step].';
COMMENT ON COLUMN hardware_profiles.patterns IS 'Structured patterns n:m that the hardware can run; may be empty.';
COMMENT ON COLUMN hardware_profiles.pattern_costs IS 'Measured cost of a step by pattern: an object of numbers.';
COMMENT ON COLUMN hardware_profiles.storage IS 'How weights are stored: dense, bitmask, csr or 2:4.';
COMMENT ON COLUMN hardware_profiles.source IS 'Where the numbers come from; may be empty.';
COMMENT ON COLUMN hardware_profiles.created_at IS 'When the profile was created.';
COMMENT ON COLUMN hardware_profiles.updated_at IS 'When it last changed; every change moves it on.';

-- Examples. As a migration they come once: profiles that somebody deletes stay deleted.
INSERT INTO hardware_profiles (
    id, name, prunable_share, efficiency, patterns, pattern_costs, storage, source, created_at, updated_at
)
VALUES (
    '018a9623-2400-7000-8000-000000000011', 'example-a100-2-4', 0, 1, '{2:4}', '{"2:4": 0.941}', '2:4',
    'Example. Only 2:4 gains anything: about 1.06x end to end, as the torchao project reports for a training step of ViT-L with 2:4 MLP weights on one A100 (717.6 ms dense, 675.3 ms sparse; torchao/sparsity/training/README.md). Measure your own.',
    '2026-11-24T00:00:00Z', '2026-11-24T00:00:00Z'
), (
    '018a9623-2400-7000-8000-000000000012', 'example-2-4-peak', 0, 1, '{2:4}', '{"2:4": 0.5}', '2:4',
    'Example. Only 2:4 gains anything: twice as fast, the peak rate of matrix units that run 2:4. No whole training step reaches it.',
    '2026-11-24T00:00:00Z', '2026-11-24T00:00:00Z'
), (
    '018a9623-2400-7000-8000-000000000013', 'example-block-sparse', 0.9, 0.7, '{}', '{}', 'csr',
    'Example. Block-sparse kernels, supposed to speed up 90 % of the FLOPs at 70 % of the ideal, so that nothing is gained below a sparsity of 0.3. Not measured.',
    '2026-11-24T00:00:00Z', '2026-11-24T00:00:00Z'
), (
    '018a9623-2400-7000-8000-000000000014', 'example-unstructured', 1, 0.95, '{}', '{}', 'csr',
    'Example. Hardware that skips single zeros, supposed to reach 95 % of the ideal on all FLOPs. Not measured.',
    '2026-11-24T00:00:00Z', '2026-11-24T00:00:00Z'
);

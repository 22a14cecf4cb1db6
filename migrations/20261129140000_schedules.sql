-- Pruning schedules as tools keep them: measured points, all zeros at once or from the first step, and patterns whose
-- kernels start before pruning ends.
--
-- A service of the version before reads and writes on. It knows no schedule that starts where it ends, so it refuses a
-- family or a law that has one, or has points beside it, and does not answer by another schedule.

ALTER TABLE families
    ADD COLUMN pruning_points jsonb,
    ADD COLUMN pruning_pattern_start double precision,
    DROP CONSTRAINT families_pruning_check,
    ADD CONSTRAINT families_pruning_check CHECK (
        pruning_start >= 0 AND pruning_start <= pruning_end AND pruning_end <= 1
        AND pruning_exponent BETWEEN 0.01 AND 100
    ),
    ADD CONSTRAINT families_pruning_points_check CHECK (
        pruning_points IS NULL OR (
            jsonb_typeof(pruning_points) = 'array' AND jsonb_array_length(pruning_points) BETWEEN 1 AND 200
            AND pruning_start = pruning_end
        )
    ),
    ADD CONSTRAINT families_pruning_pattern_start_check CHECK (pruning_pattern_start BETWEEN 0 AND 1);

COMMENT ON COLUMN families.pruning_start IS 'Training progress at which pruning starts, 0 to 1; 0 beside points.';
COMMENT ON COLUMN families.pruning_end IS 'Training progress at which pruning ends, 0 to 1; 0 beside points.';
COMMENT ON COLUMN families.pruning_points IS 'Measured schedule: array of [training progress, share of the final sparsity]; NULL for a ramp.';
COMMENT ON COLUMN families.pruning_pattern_start IS 'Training progress from which the kernels of a pattern may run; NULL where that is when pruning ends.';

ALTER TABLE laws
    ADD COLUMN pruning_points jsonb,
    ADD COLUMN pruning_pattern_start double precision;

COMMENT ON COLUMN laws.pruning_points IS 'Pruning schedule of the family when the law was made: measured points; NULL for a ramp.';
COMMENT ON COLUMN laws.pruning_pattern_start IS 'Pruning schedule of the family when the law was made: where the kernels of a pattern may start.';

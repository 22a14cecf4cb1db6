-- Pruning schedules as tools keep them: measured points, all zeros at once or from the first step, and patterns whose
-- kernels start before pruning ends. Only adds: a service of the version before reads and writes on, and takes for such
-- a schedule the ramp that stands beside it, which spends as much of the training on as many zeros.

ALTER TABLE families
    ADD COLUMN pruning_schedule jsonb,
    ADD COLUMN pruning_pattern_start double precision,
    ADD CONSTRAINT families_pruning_schedule_check CHECK (jsonb_typeof(pruning_schedule) = 'object'),
    ADD CONSTRAINT families_pruning_pattern_start_check CHECK (pruning_pattern_start BETWEEN 0 AND 1);

COMMENT ON COLUMN families.pruning_schedule IS 'A schedule that start, end and exponent cannot say: an object of points, or of start, end and exponent where all zeros come at once; NULL where they say it.';
COMMENT ON COLUMN families.pruning_pattern_start IS 'Training progress from which the kernels of a pattern may run; NULL where that is when pruning ends.';

ALTER TABLE laws
    ADD COLUMN pruning_schedule jsonb,
    ADD COLUMN pruning_pattern_start double precision;

COMMENT ON COLUMN laws.pruning_schedule IS 'Pruning schedule of the family when the law was made, where start, end and exponent cannot say it.';
COMMENT ON COLUMN laws.pruning_pattern_start IS 'Pruning schedule of the family when the law was made: where the kernels of a pattern may start.';

-- Families whose refits take the Huber parameter from the residuals. Only adds: a service of the version before reads
-- and writes on, and takes for such a family the number that stands beside it.

ALTER TABLE families ADD COLUMN delta_auto boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN families.delta_auto IS 'Whether refits take delta from the residuals of their runs; then delta is not used.';

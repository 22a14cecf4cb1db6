-- Which runs of a law were resampled together. Only adds.

ALTER TABLE law_runs ADD COLUMN clusters integer[];

COMMENT ON COLUMN law_runs.clusters IS 'Number of the cluster that each run was resampled with, from 0; NULL where each run is one by itself.';

-- Laws of levels whose runs of one sparsity are told apart by their pattern or recipe. Only adds: a service of the version
-- before reads and writes on.

ALTER TABLE law_runs ADD COLUMN levels integer[];

COMMENT ON COLUMN law_runs.levels IS 'Place of the level that each run is of among those of the law, from 0; NULL where the sparsity of a run says it, and of laws without levels.';

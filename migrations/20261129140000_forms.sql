-- Laws of other forms, gains that are borrowed, and data that is seen more than once. Only adds: a service of the version
-- before reads and writes on, and takes each of these laws for one that knows nothing of sparsity.

ALTER TABLE laws ADD COLUMN shape jsonb;

COMMENT ON COLUMN laws.shape IS 'What the law is beyond its coefficients: its form, the gain that it borrows, how fast repeated data wears out, other forms of the same runs. NULL for the paper''s form and nothing else.';

ALTER TABLE runs
    ADD COLUMN unique_data double precision,
    ADD COLUMN unique_brought boolean NOT NULL DEFAULT true,
    ADD CONSTRAINT runs_unique_data_check CHECK (unique_data BETWEEN 1e-6 AND 1e30);

COMMENT ON COLUMN runs.unique_data IS 'How much of data is different, where some was seen more than once; NULL where that is unknown.';
COMMENT ON COLUMN runs.unique_brought IS 'Whether the submission which created the run brought unique_data, as brought says of the other optional fields.';

ALTER TABLE law_runs ADD COLUMN unique_data double precision[];

COMMENT ON COLUMN law_runs.unique_data IS 'How much of its data is different, of each run; NULL where no run repeats any.';

-- What a law's runs leave open: resampled coefficients, the runs themselves, and coefficients that
-- the runs do not determine. Only adds: a service of the version before reads and writes on.

-- Runs that never vary the size, the sparsity or the data give a reduced law: what they do not tell
-- apart is NULL, and its sum stands in the coefficient that is left (see src/law/coefficients.rs).
ALTER TABLE laws
    ALTER COLUMN a_s DROP NOT NULL,
    ALTER COLUMN b_s DROP NOT NULL,
    ALTER COLUMN c_s DROP NOT NULL,
    ALTER COLUMN b_n DROP NOT NULL,
    ALTER COLUMN a_d DROP NOT NULL,
    ALTER COLUMN b_d DROP NOT NULL,
    ADD COLUMN intervals jsonb,
    ADD COLUMN resamples integer,
    ADD COLUMN failed_resamples integer,
    ADD COLUMN patterns jsonb,
    ADD COLUMN pretrained jsonb,
    -- Comparisons with NULL pass; the laws_coefficients_check of before keeps the ranges.
    ADD CONSTRAINT laws_reduced_check CHECK (
        (a_s IS NULL) = (b_s IS NULL) AND (c_s IS NULL) = (b_n IS NULL)
        AND (a_d IS NULL) = (b_d IS NULL)
    );

COMMENT ON COLUMN laws.a_s IS 'a_S, in raw units: N counts parameters; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.b_s IS 'b_S; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.c_s IS 'c_S, in raw units; a_S + c_S where a_S is NULL; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.b_n IS 'b_N; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.a_d IS 'a_D, in the data unit of the law; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.b_d IS 'b_D; NULL where the runs do not determine it.';
COMMENT ON COLUMN laws.c IS 'c: the irreducible loss, with the terms that the runs do not tell from it.';
COMMENT ON COLUMN laws.intervals IS 'Interval of each coefficient by name: {level, low, high}; NULL for a law without.';
COMMENT ON COLUMN laws.resamples IS 'Bootstrap resamples that gave a law; NULL for a published law.';
COMMENT ON COLUMN laws.failed_resamples IS 'Bootstrap resamples that gave none; NULL for a published law.';
COMMENT ON COLUMN laws.patterns IS 'Effective sparsity of each structured pattern among the runs.';
COMMENT ON COLUMN laws.pretrained IS 'Law and data multipliers of the runs from pretrained checkpoints.';

CREATE TABLE law_resamples (
    law_id uuid NOT NULL,
    level  double precision NOT NULL,
    tail   double precision NOT NULL,
    a_s    double precision[] NOT NULL,
    b_s    double precision[] NOT NULL,
    c_s    double precision[] NOT NULL,
    b_n    double precision[] NOT NULL,
    a_d    double precision[] NOT NULL,
    b_d    double precision[] NOT NULL,
    c      double precision[] NOT NULL,
    noise  double precision[] NOT NULL,
    CONSTRAINT law_resamples_pkey PRIMARY KEY (law_id),
    CONSTRAINT law_resamples_law_id_fkey FOREIGN KEY (law_id) REFERENCES laws (id) ON DELETE CASCADE
);

COMMENT ON TABLE law_resamples IS 'Laws of resampled runs, one array element a resample: every interval is computed from them.';
COMMENT ON COLUMN law_resamples.law_id IS 'The law whose runs were resampled.';
COMMENT ON COLUMN law_resamples.level IS 'Nominal coverage of the intervals.';
COMMENT ON COLUMN law_resamples.tail IS 'Share of the resamples beyond each end of an interval.';
COMMENT ON COLUMN law_resamples.a_s IS 'a_S of each resample; 0 where the law has none.';
COMMENT ON COLUMN law_resamples.b_s IS 'b_S of each resample; 1 where the law has none.';
COMMENT ON COLUMN law_resamples.c_s IS 'c_S of each resample; 0 where the law has none.';
COMMENT ON COLUMN law_resamples.b_n IS 'b_N of each resample; 0 where the law has none.';
COMMENT ON COLUMN law_resamples.a_d IS 'a_D of each resample; 0 where the law has none.';
COMMENT ON COLUMN law_resamples.b_d IS 'b_D of each resample; 1 where the law has none.';
COMMENT ON COLUMN law_resamples.c IS 'c of each resample.';
COMMENT ON COLUMN law_resamples.noise IS 'A residual that a new run might have, in the unit of the law''s residual.';

CREATE TABLE law_runs (
    law_id         uuid NOT NULL,
    run_id         uuid[] NOT NULL,
    nonzero_params double precision[] NOT NULL,
    sparsity       double precision[] NOT NULL,
    data           double precision[] NOT NULL,
    loss           double precision[] NOT NULL,
    weight         double precision[] NOT NULL,
    predicted      double precision[] NOT NULL,
    residual       double precision[] NOT NULL,
    leverage       double precision[] NOT NULL,
    outlier        boolean[] NOT NULL,
    CONSTRAINT law_runs_pkey PRIMARY KEY (law_id),
    CONSTRAINT law_runs_law_id_fkey FOREIGN KEY (law_id) REFERENCES laws (id) ON DELETE CASCADE
);

COMMENT ON TABLE law_runs IS 'The runs that a law was fitted on as they were then, one array element a run in canonical order.';
COMMENT ON COLUMN law_runs.law_id IS 'The law.';
COMMENT ON COLUMN law_runs.run_id IS 'Id of each run; it may have been changed or deleted since.';
COMMENT ON COLUMN law_runs.nonzero_params IS 'N of each run.';
COMMENT ON COLUMN law_runs.sparsity IS 'S of each run.';
COMMENT ON COLUMN law_runs.data IS 'D of each run.';
COMMENT ON COLUMN law_runs.loss IS 'L of each run.';
COMMENT ON COLUMN law_runs.weight IS 'What each run counted, relative to the others.';
COMMENT ON COLUMN law_runs.predicted IS 'Loss that the law predicts for each run.';
COMMENT ON COLUMN law_runs.residual IS 'Residual of each run, in the unit of the law''s residual.';
COMMENT ON COLUMN law_runs.leverage IS 'Share of its own prediction that each run determines, 0 to 1.';
COMMENT ON COLUMN law_runs.outlier IS 'Whether each run lies far off the law.';

-- What a pretrained start has behind it, where known.
ALTER TABLE runs
    ADD COLUMN pretraining_data double precision,
    ADD CONSTRAINT runs_pretraining_data_check CHECK (
        pretraining_data IS NULL
        OR (start = 'pretrained' AND pretraining_data BETWEEN 1e-6 AND 1e30)
    );

COMMENT ON COLUMN runs.pretraining_data IS 'Data that the dense checkpoint of a pretrained start had seen; NULL where unknown.';

-- A refit may check a law in place of making one.
ALTER TABLE refits
    ADD COLUMN reproduces_law_id uuid,
    ADD CONSTRAINT refits_reproduces_law_id_fkey FOREIGN KEY (reproduces_law_id)
        REFERENCES laws (id) ON DELETE CASCADE;

CREATE INDEX refits_reproduces_law_id_idx ON refits (reproduces_law_id);

COMMENT ON COLUMN refits.options IS 'Options of the fit, complete.';
COMMENT ON COLUMN refits.reproduces_law_id IS 'The law that is fitted again from its stored runs and options, and compared; NULL for a new law.';

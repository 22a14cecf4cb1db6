-- Families of training runs, the laws that describe them and the refits that find the laws.
--
-- Numbers are doubles: they are measurements, and leave as they came. Every check below repeats a
-- rule of the service (src/law/quantity.rs), so that no other writer can store what it cannot read.

CREATE TABLE families (
    id                   uuid NOT NULL,
    name                 text NOT NULL,
    description          text NOT NULL,
    data_unit            text NOT NULL,
    tokens_per_data_unit double precision,
    flops_per_param      double precision NOT NULL,
    pruning_start        double precision NOT NULL,
    pruning_end          double precision NOT NULL,
    pruning_exponent     double precision NOT NULL,
    residual             text NOT NULL,
    delta                double precision NOT NULL,
    pinned_law_id        uuid,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CONSTRAINT families_pkey PRIMARY KEY (id),
    CONSTRAINT families_name_key UNIQUE (name),
    CONSTRAINT families_name_check CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$'),
    CONSTRAINT families_flops_per_param_check CHECK (flops_per_param BETWEEN 1e-3 AND 1e12),
    CONSTRAINT families_pruning_check CHECK (
        pruning_start >= 0 AND pruning_start < pruning_end AND pruning_end <= 1
        AND pruning_exponent BETWEEN 0.01 AND 100
    ),
    CONSTRAINT families_residual_check CHECK (residual IN ('log', 'linear')),
    CONSTRAINT families_delta_check CHECK (delta BETWEEN 1e-9 AND 1e6)
);

COMMENT ON TABLE families IS 'Model families: the runs that one law describes.';
COMMENT ON COLUMN families.id IS 'UUIDv7.';
COMMENT ON COLUMN families.name IS 'Slug by which the API names the family.';
COMMENT ON COLUMN families.description IS 'For people; may be empty.';
COMMENT ON COLUMN families.data_unit IS 'What D counts: tokens, images, steps.';
COMMENT ON COLUMN families.tokens_per_data_unit IS 'Tokens in one data unit, where known.';
COMMENT ON COLUMN families.flops_per_param IS 'k: FLOPs per parameter and data unit in training.';
COMMENT ON COLUMN families.pruning_start IS 'Training progress at which pruning starts, 0 to 1.';
COMMENT ON COLUMN families.pruning_end IS 'Training progress at which pruning ends, 0 to 1.';
COMMENT ON COLUMN families.pruning_exponent IS 'Exponent of the pruning ramp; 3 is cubic.';
COMMENT ON COLUMN families.residual IS 'Residual that refits minimise: log or linear.';
COMMENT ON COLUMN families.delta IS 'Huber parameter of refits, in units of the residual.';
COMMENT ON COLUMN families.pinned_law_id IS 'The law that answers; NULL for the newest fit.';
COMMENT ON COLUMN families.created_at IS 'When the family was created.';
COMMENT ON COLUMN families.updated_at IS 'When its settings last changed.';

CREATE TABLE runs (
    id               uuid NOT NULL,
    family_id        uuid NOT NULL,
    external_id      text NOT NULL,
    nonzero_params   double precision NOT NULL,
    sparsity         double precision NOT NULL,
    data             double precision NOT NULL,
    loss             double precision NOT NULL,
    start            text NOT NULL,
    pattern          text,
    tags             jsonb NOT NULL,
    excluded         boolean NOT NULL,
    exclusion_reason text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT runs_family_id_external_id_key UNIQUE (family_id, external_id),
    CONSTRAINT runs_nonzero_params_check CHECK (nonzero_params BETWEEN 1 AND 1e18),
    CONSTRAINT runs_sparsity_check CHECK (sparsity >= 0 AND sparsity < 1),
    CONSTRAINT runs_data_check CHECK (data BETWEEN 1e-6 AND 1e30),
    CONSTRAINT runs_loss_check CHECK (loss BETWEEN 1e-12 AND 1e12),
    CONSTRAINT runs_start_check CHECK (start IN ('scratch', 'pretrained')),
    CONSTRAINT runs_tags_check CHECK (jsonb_typeof(tags) = 'object'),
    CONSTRAINT runs_exclusion_check CHECK (excluded = (exclusion_reason IS NOT NULL))
);

-- Lists go from the newest run of a family backwards.
CREATE INDEX runs_family_id_id_idx ON runs (family_id, id DESC);

COMMENT ON TABLE runs IS 'Finished training runs, as their teams submitted them.';
COMMENT ON COLUMN runs.id IS 'UUIDv7; orders runs by time of arrival.';
COMMENT ON COLUMN runs.family_id IS 'The family that the run belongs to.';
COMMENT ON COLUMN runs.external_id IS 'The submitter''s name of the run; sent again it is the same run.';
COMMENT ON COLUMN runs.nonzero_params IS 'N: non-zero parameters at the end of training.';
COMMENT ON COLUMN runs.sparsity IS 'S: fraction of zeros at the end of training, 0 <= S < 1.';
COMMENT ON COLUMN runs.data IS 'D: data seen in training, in the data unit of the family.';
COMMENT ON COLUMN runs.loss IS 'L: validation loss.';
COMMENT ON COLUMN runs.start IS 'scratch, or pretrained: pruned from a dense checkpoint.';
COMMENT ON COLUMN runs.pattern IS 'Structured pattern such as 2:4; NULL for unstructured sparsity.';
COMMENT ON COLUMN runs.tags IS 'The submitter''s labels: an object of strings.';
COMMENT ON COLUMN runs.excluded IS 'Whether fits leave the run out.';
COMMENT ON COLUMN runs.exclusion_reason IS 'Why; there exactly when the run is excluded.';
COMMENT ON COLUMN runs.created_at IS 'When the run arrived.';
COMMENT ON COLUMN runs.updated_at IS 'When one of its values last changed.';

CREATE TABLE laws (
    id                   uuid NOT NULL,
    family_id            uuid NOT NULL,
    version              integer NOT NULL,
    source               text NOT NULL,
    reference            text,
    a_s                  double precision NOT NULL,
    b_s                  double precision NOT NULL,
    c_s                  double precision NOT NULL,
    b_n                  double precision NOT NULL,
    a_d                  double precision NOT NULL,
    b_d                  double precision NOT NULL,
    c                    double precision NOT NULL,
    objective            double precision,
    runs                 integer,
    data_unit            text NOT NULL,
    flops_per_param      double precision NOT NULL,
    pruning_start        double precision NOT NULL,
    pruning_end          double precision NOT NULL,
    pruning_exponent     double precision NOT NULL,
    support              jsonb NOT NULL,
    options              jsonb,
    diagnostics          jsonb,
    warnings             jsonb NOT NULL,
    data_digest          text,
    fitted_at            timestamptz NOT NULL,
    created_at           timestamptz NOT NULL,
    CONSTRAINT laws_pkey PRIMARY KEY (id),
    CONSTRAINT laws_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT laws_family_id_version_key UNIQUE (family_id, version),
    CONSTRAINT laws_version_check CHECK (version >= 1),
    CONSTRAINT laws_source_check CHECK (source IN ('fit', 'published')),
    CONSTRAINT laws_coefficients_check CHECK (
        a_s BETWEEN 1e-300 AND 1e300 AND b_s BETWEEN 1e-300 AND 1e300
        AND c_s BETWEEN 1e-300 AND 1e300 AND b_n BETWEEN 1e-300 AND 1e300
        AND a_d BETWEEN 1e-300 AND 1e300 AND b_d BETWEEN 1e-300 AND 1e300
        AND c BETWEEN 1e-300 AND 1e300
    ),
    CONSTRAINT laws_fit_check CHECK (
        source <> 'fit' OR (
            objective IS NOT NULL AND runs IS NOT NULL AND data_digest IS NOT NULL
            AND options IS NOT NULL AND diagnostics IS NOT NULL
        )
    )
);

ALTER TABLE families ADD CONSTRAINT families_pinned_law_id_fkey
    FOREIGN KEY (pinned_law_id) REFERENCES laws (id);

COMMENT ON TABLE laws IS 'Fitted and published laws. Immutable: a version never changes its answers.';
COMMENT ON COLUMN laws.id IS 'UUIDv7.';
COMMENT ON COLUMN laws.family_id IS 'The family that the law describes.';
COMMENT ON COLUMN laws.version IS 'Counts the laws of a family from 1.';
COMMENT ON COLUMN laws.source IS 'fit: of runs stored here; published: imported coefficients.';
COMMENT ON COLUMN laws.reference IS 'Where published coefficients stand.';
COMMENT ON COLUMN laws.a_s IS 'a_S, in raw units: N counts parameters.';
COMMENT ON COLUMN laws.b_s IS 'b_S.';
COMMENT ON COLUMN laws.c_s IS 'c_S, in raw units.';
COMMENT ON COLUMN laws.b_n IS 'b_N.';
COMMENT ON COLUMN laws.a_d IS 'a_D, in the data unit of the law.';
COMMENT ON COLUMN laws.b_d IS 'b_D.';
COMMENT ON COLUMN laws.c IS 'c: the irreducible loss.';
COMMENT ON COLUMN laws.objective IS 'Mean Huber loss over the runs at these coefficients, where known.';
COMMENT ON COLUMN laws.runs IS 'Number of runs behind the law, where known.';
COMMENT ON COLUMN laws.data_unit IS 'Data unit of the family when the law was made.';
COMMENT ON COLUMN laws.flops_per_param IS 'k of the family when the law was made.';
COMMENT ON COLUMN laws.pruning_start IS 'Pruning schedule of the family when the law was made: start.';
COMMENT ON COLUMN laws.pruning_end IS 'Pruning schedule of the family when the law was made: end.';
COMMENT ON COLUMN laws.pruning_exponent IS 'Pruning schedule of the family when the law was made: exponent.';
COMMENT ON COLUMN laws.support IS 'Ranges of the runs by level of sparsity; an empty array where unknown.';
COMMENT ON COLUMN laws.options IS 'Options that the fit ran with; NULL for a published law.';
COMMENT ON COLUMN laws.diagnostics IS 'What the fit says about itself; NULL for a published law.';
COMMENT ON COLUMN laws.warnings IS 'Array of {code, detail}: what the runs cannot tell.';
COMMENT ON COLUMN laws.data_digest IS 'SHA-256 of the runs that the law was fitted on.';
COMMENT ON COLUMN laws.fitted_at IS 'When the law was fitted, or published.';
COMMENT ON COLUMN laws.created_at IS 'When the law was stored here.';

CREATE TABLE refits (
    id               uuid NOT NULL,
    family_id        uuid NOT NULL,
    state            text NOT NULL,
    phase            text NOT NULL,
    progress         double precision NOT NULL,
    options          jsonb NOT NULL,
    attempts         integer NOT NULL,
    lease_token      uuid,
    lease_expires_at timestamptz,
    cancel_requested boolean NOT NULL,
    law_id           uuid,
    error            jsonb,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT refits_pkey PRIMARY KEY (id),
    CONSTRAINT refits_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT refits_law_id_fkey FOREIGN KEY (law_id) REFERENCES laws (id) ON DELETE CASCADE,
    CONSTRAINT refits_state_check CHECK (
        state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')
    ),
    CONSTRAINT refits_progress_check CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT refits_lease_check CHECK (
        (state = 'running') = (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)
    ),
    CONSTRAINT refits_finished_check CHECK (
        (state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)
    ),
    CONSTRAINT refits_law_check CHECK ((state = 'succeeded') = (law_id IS NOT NULL)),
    CONSTRAINT refits_error_check CHECK ((state = 'failed') = (error IS NOT NULL))
);

-- Asked again before it starts, a family's refit is the one already queued.
CREATE UNIQUE INDEX refits_one_queued_per_family_key ON refits (family_id) WHERE state = 'queued';

-- What a worker looks for.
CREATE INDEX refits_claimable_idx ON refits (created_at) WHERE state IN ('queued', 'running');

-- Deleting a law or a family looks for the refits that refer to it.
CREATE INDEX refits_family_id_idx ON refits (family_id);
CREATE INDEX refits_law_id_idx ON refits (law_id);

COMMENT ON TABLE refits IS 'Fits that were asked for, and what became of them.';
COMMENT ON COLUMN refits.id IS 'UUIDv7.';
COMMENT ON COLUMN refits.family_id IS 'The family whose runs are fitted.';
COMMENT ON COLUMN refits.state IS 'queued, running, succeeded, failed or cancelled.';
COMMENT ON COLUMN refits.phase IS 'What a running refit is at.';
COMMENT ON COLUMN refits.progress IS 'Share of the work that is done, 0 to 1.';
COMMENT ON COLUMN refits.options IS 'Options of the fit, complete: residual, delta, starts, seed.';
COMMENT ON COLUMN refits.attempts IS 'How often a worker has claimed it.';
COMMENT ON COLUMN refits.lease_token IS 'Held by the worker that runs it; only with it can it be finished.';
COMMENT ON COLUMN refits.lease_expires_at IS 'After this the worker is taken for dead.';
COMMENT ON COLUMN refits.cancel_requested IS 'Whether the worker was asked to stop.';
COMMENT ON COLUMN refits.law_id IS 'The law that came of it.';
COMMENT ON COLUMN refits.error IS 'Why it failed: {kind, detail}.';
COMMENT ON COLUMN refits.created_at IS 'When it was asked for.';
COMMENT ON COLUMN refits.started_at IS 'When a worker first claimed it.';
COMMENT ON COLUMN refits.finished_at IS 'When it ended.';

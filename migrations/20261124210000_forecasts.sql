-- Forecasts: what a law said of a run before the run was made. Immutable once stored; they go only
-- with their family.

CREATE TABLE forecasts (
    id              uuid NOT NULL,
    family_id       uuid NOT NULL,
    law_id          uuid NOT NULL,
    external_id     text NOT NULL,
    nonzero_params  double precision NOT NULL,
    sparsity        double precision NOT NULL,
    data            double precision NOT NULL,
    compute         double precision,
    flop_mode       text,
    law_version     integer,
    note            text,
    loss            double precision NOT NULL,
    level           double precision,
    interval_low    double precision,
    interval_high   double precision,
    prediction_low  double precision,
    prediction_high double precision,
    extrapolation   jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    CONSTRAINT forecasts_pkey PRIMARY KEY (id),
    CONSTRAINT forecasts_family_id_fkey FOREIGN KEY (family_id) REFERENCES families (id) ON DELETE CASCADE,
    CONSTRAINT forecasts_law_id_fkey FOREIGN KEY (law_id) REFERENCES laws (id) ON DELETE CASCADE,
    CONSTRAINT forecasts_family_id_external_id_key UNIQUE (family_id, external_id),
    CONSTRAINT forecasts_nonzero_params_check CHECK (nonzero_params BETWEEN 1 AND 1e18),
    CONSTRAINT forecasts_sparsity_check CHECK (sparsity >= 0 AND sparsity < 1),
    CONSTRAINT forecasts_data_check CHECK (data BETWEEN 1e-6 AND 1e30),
    CONSTRAINT forecasts_compute_check CHECK (
        (compute IS NULL) = (flop_mode IS NULL) AND (compute IS NULL OR compute BETWEEN 1 AND 1e40)
    ),
    -- The losses that a run may have: any other could never be scored.
    CONSTRAINT forecasts_loss_check CHECK (loss BETWEEN 1e-12 AND 1e12),
    CONSTRAINT forecasts_interval_check CHECK (
        (level IS NULL) = (interval_low IS NULL) AND (level IS NULL) = (interval_high IS NULL)
        AND (prediction_low IS NULL) = (prediction_high IS NULL)
        AND (prediction_low IS NULL OR level IS NOT NULL)
    )
);

-- Lists go from the newest forecast of a family backwards.
CREATE INDEX forecasts_family_id_id_idx ON forecasts (family_id, id DESC);

-- Deleting a law with its family looks for the forecasts that refer to it.
CREATE INDEX forecasts_law_id_idx ON forecasts (law_id);

COMMENT ON TABLE forecasts IS 'Losses predicted before the runs were made. Immutable.';
COMMENT ON COLUMN forecasts.id IS 'UUIDv7; orders forecasts by time of registration.';
COMMENT ON COLUMN forecasts.family_id IS 'The family that the run will belong to.';
COMMENT ON COLUMN forecasts.law_id IS 'The law that predicted.';
COMMENT ON COLUMN forecasts.external_id IS 'The name under which the run will be submitted.';
COMMENT ON COLUMN forecasts.nonzero_params IS 'N that is planned.';
COMMENT ON COLUMN forecasts.sparsity IS 'S that is planned.';
COMMENT ON COLUMN forecasts.data IS 'D that is planned: as asked, or what the compute paid for.';
COMMENT ON COLUMN forecasts.compute IS 'C that was asked, in FLOPs; NULL where the question gave the data.';
COMMENT ON COLUMN forecasts.flop_mode IS 'FLOP mode that was asked by name; NULL where the question gave the data.';
COMMENT ON COLUMN forecasts.law_version IS 'Version that was asked for; NULL for the law that was active then.';
COMMENT ON COLUMN forecasts.note IS 'For people; NULL where none was given.';
COMMENT ON COLUMN forecasts.loss IS 'L that was predicted.';
COMMENT ON COLUMN forecasts.level IS 'Nominal coverage of both intervals; NULL where the law has none.';
COMMENT ON COLUMN forecasts.interval_low IS 'Lower end of the interval of the mean loss; NULL where the law has none.';
COMMENT ON COLUMN forecasts.interval_high IS 'Upper end of the interval of the mean loss; NULL where the law has none.';
COMMENT ON COLUMN forecasts.prediction_low IS 'Lower end of the interval of one new run; NULL where the law has none.';
COMMENT ON COLUMN forecasts.prediction_high IS 'Upper end of the interval of one new run; NULL where the law has none.';
COMMENT ON COLUMN forecasts.extrapolation IS 'Array of {variable, factor, limit, side}: what lay outside the runs of the law.';
COMMENT ON COLUMN forecasts.created_at IS 'When the forecast was registered.';

-- The one place that says how a forecast is scored. A join at reading: a corrected run corrects its
-- score, and a deleted run opens its forecast again.
--
-- A run is as planned within 1 % of N and D, and 0.005 of S. Trainers round sizes to whole blocks
-- and data to whole batches, and pruning ends near its target: that much is no other experiment,
-- and moves the loss by far less than runs scatter (1 % of N by b_N = 0.3 is 0.3 % of the part of
-- the loss that falls with size). Laws describe unstructured runs from scratch: any other run is
-- not what was forecast.
CREATE VIEW forecast_scores AS
SELECT forecasts.id, forecasts.family_id, forecasts.external_id, forecasts.nonzero_params,
    forecasts.sparsity, forecasts.data, forecasts.compute, forecasts.flop_mode,
    forecasts.law_version AS asked_law_version, forecasts.note, forecasts.loss, forecasts.level,
    forecasts.interval_low, forecasts.interval_high, forecasts.prediction_low,
    forecasts.prediction_high, forecasts.extrapolation, forecasts.created_at,
    forecasts.law_id, laws.version AS law_version, laws.source AS law_source,
    laws.fitted_at AS law_fitted_at, laws.data_digest AS law_data_digest,
    runs.id AS run_id, runs.loss AS measured, runs.excluded, runs.created_at AS arrived_at,
    runs.loss - forecasts.loss AS error,
    (runs.loss - forecasts.loss) / forecasts.loss AS relative_error,
    runs.loss BETWEEN forecasts.interval_low AND forecasts.interval_high AS inside_interval,
    runs.loss BETWEEN forecasts.prediction_low AND forecasts.prediction_high
        AS inside_prediction_interval,
    abs(runs.nonzero_params - forecasts.nonzero_params) <= 0.01 * forecasts.nonzero_params
        AND abs(runs.data - forecasts.data) <= 0.01 * forecasts.data
        AND abs(runs.sparsity - forecasts.sparsity) <= 0.005
        AND runs.start = 'scratch' AND runs.pattern IS NULL AS as_planned
FROM forecasts
    JOIN laws ON laws.id = forecasts.law_id
    LEFT JOIN runs ON runs.family_id = forecasts.family_id
        AND runs.external_id = forecasts.external_id;

COMMENT ON VIEW forecast_scores IS 'Forecasts with the runs that answer them, where these have arrived.';

-- Budgets of forecasts in hours, days and money: as they were asked, beside the FLOPs that they paid for. Only adds: a
-- service of the version before reads and writes on, and shows the FLOPs alone.

ALTER TABLE forecasts ADD COLUMN currency text;

ALTER TABLE forecasts ADD COLUMN amount double precision;

ALTER TABLE forecasts ADD CONSTRAINT forecasts_currency_check CHECK (
    (currency IS NULL) = (amount IS NULL)
    AND (currency IS NULL OR (
        currency IN ('device_hours', 'days', 'cost') AND amount > 0 AND amount <= 1e15
        AND compute IS NOT NULL
    ))
);

COMMENT ON COLUMN forecasts.compute IS 'C in FLOPs: as asked, or what the amount paid for; NULL where the question gave the data.';
COMMENT ON COLUMN forecasts.currency IS 'In what the training cost was asked: device_hours, days or cost; NULL where in FLOPs, or where the question gave the data.';
COMMENT ON COLUMN forecasts.amount IS 'Training cost that was asked, in its currency; NULL where that is.';

CREATE OR REPLACE VIEW forecast_scores AS
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
        AND runs.start = 'scratch' AND runs.pattern IS NULL AS as_planned,
    forecasts.currency, forecasts.amount
FROM forecasts
    JOIN laws ON laws.id = forecasts.law_id
    LEFT JOIN runs ON runs.family_id = forecasts.family_id
        AND runs.external_id = forecasts.external_id;

-- The level that a forecast is about, of a law that tells runs of one sparsity apart. Only adds.

ALTER TABLE forecasts ADD COLUMN level_name text;
ALTER TABLE forecasts ADD COLUMN level_tag text;

COMMENT ON COLUMN forecasts.level_name IS 'Name of the level that is planned: a pattern, or the value of level_tag; NULL where it has none.';
COMMENT ON COLUMN forecasts.level_tag IS 'Key of the tag by which the law tells levels apart; NULL where it is the pattern, or nothing.';

-- As before, but that the run has to be of the level that was planned, and with the new column behind the others.
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
        AND runs.start = 'scratch'
        AND CASE
            WHEN forecasts.level_tag IS NULL
            THEN runs.pattern IS NOT DISTINCT FROM forecasts.level_name
            ELSE runs.pattern IS NULL
                AND runs.tags ->> forecasts.level_tag IS NOT DISTINCT FROM forecasts.level_name
        END AS as_planned,
    forecasts.currency, forecasts.amount,
    forecasts.trust,
    forecasts.level_name
FROM forecasts
    JOIN laws ON laws.id = forecasts.law_id
    LEFT JOIN runs ON runs.family_id = forecasts.family_id
        AND runs.external_id = forecasts.external_id;

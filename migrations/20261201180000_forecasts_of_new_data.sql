-- As before, but that a run which repeats its data is not the run that was planned: a forecast is about data that is seen once.
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
        AND coalesce(runs.unique_data >= 0.99 * runs.data, true)
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

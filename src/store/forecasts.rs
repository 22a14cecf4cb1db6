//! Forecasts: what a law predicted for a run before the run was made.
//!
//! How forecasts are scored is defined only in the view `forecast_scores` of the migrations.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Compute, Data, DomainError, Extrapolation, Interval, Loss, NonzeroParams, Sparsity,
};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::calibration::Month;
use crate::domain::currency::Currency;
use crate::domain::forecast::{
    Forecast, ForecastBudget, ForecastLaw, ForecastQuestion, Score, ScoredForecast,
};
use crate::domain::law_origin::LawSource;
use crate::domain::page::{Page, PageRequest};
use crate::domain::trust::{Trust, TrustCode, TrustLevel};
use crate::store::StoreError;
use crate::store::runs::find_run_id;

/// How far a forecast could be trusted, in its stored form.
#[derive(Debug, Serialize, Deserialize)]
struct TrustRow {
    level: String,
    because: Vec<String>,
}

impl From<&Trust> for TrustRow {
    fn from(trust: &Trust) -> Self {
        Self {
            level: trust.level.as_str().to_owned(),
            because: trust.because.iter().map(|code| code.as_str().to_owned()).collect(),
        }
    }
}

impl TrustRow {
    /// Converts to the checked form; `None` if the level is unknown. Reasons that only newer versions know are left
    /// out.
    fn checked(&self) -> Option<Trust> {
        let because = self.because.iter().filter_map(|code| TrustCode::of_name(code));
        Some(Trust { level: TrustLevel::of_name(&self.level)?, because: because.collect() })
    }
}

#[derive(Debug)]
struct ForecastRow {
    id: Uuid,
    external_id: String,
    nonzero_params: f64,
    sparsity: f64,
    data: f64,
    compute: Option<f64>,
    flop_mode: Option<String>,
    asked_law_version: Option<i32>,
    note: Option<String>,
    loss: f64,
    level: Option<f64>,
    interval_low: Option<f64>,
    interval_high: Option<f64>,
    prediction_low: Option<f64>,
    prediction_high: Option<f64>,
    extrapolation: Json<Vec<Extrapolation>>,
    trust: Option<Json<TrustRow>>,
    created_at: DateTime<Utc>,
    law_id: Uuid,
    law_version: i32,
    law_source: String,
    law_fitted_at: DateTime<Utc>,
    law_data_digest: Option<String>,
    run_id: Option<Uuid>,
    measured: Option<f64>,
    error: Option<f64>,
    relative_error: Option<f64>,
    inside_interval: Option<bool>,
    inside_prediction_interval: Option<bool>,
    as_planned: Option<bool>,
    excluded: Option<bool>,
    arrived_at: Option<DateTime<Utc>>,
    currency: Option<String>,
    amount: Option<f64>,
    level_name: Option<String>,
}

impl ForecastRow {
    fn interval(&self, low: Option<f64>, high: Option<f64>) -> Option<Interval> {
        Some(Interval { level: self.level?, low: low?, high: high? })
    }

    /// Every part of the score is present as soon as the run is.
    fn score(&self) -> Option<Score> {
        Some(Score {
            run_id: self.run_id?,
            measured: self.measured?,
            error: self.error?,
            relative_error: self.relative_error?,
            inside_interval: self.inside_interval,
            inside_prediction_interval: self.inside_prediction_interval,
            as_planned: self.as_planned?,
            excluded: self.excluded?,
            arrived_at: self.arrived_at?,
        })
    }
}

impl TryFrom<ForecastRow> for ScoredForecast {
    type Error = StoreError;

    fn try_from(row: ForecastRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "forecasts", id: row.id, detail };
        let bad = |error: DomainError| corrupt(error.to_string());
        let score = row.score();
        let interval = row.interval(row.interval_low, row.interval_high);
        let prediction_interval = row.interval(row.prediction_low, row.prediction_high);
        let source = LawSource::of_name(&row.law_source)
            .ok_or_else(|| corrupt(format!("source {}", row.law_source)))?;
        let data = Data::new(row.data).map_err(bad)?;
        let compute = row.compute.map(Compute::new).transpose().map_err(bad)?;
        let budget = match (compute, row.flop_mode) {
            (Some(compute), Some(mode)) => {
                let (currency, amount) = match (row.currency, row.amount) {
                    (Some(name), Some(amount)) => {
                        let unknown = || corrupt(format!("currency {name}"));
                        (Currency::of_name(&name).ok_or_else(unknown)?, amount)
                    }
                    _ => (Currency::Compute, compute.get()),
                };
                ForecastBudget::Spent { currency, amount, mode }
            }
            _ => ForecastBudget::Data(data),
        };
        let question = ForecastQuestion {
            external_id: row.external_id,
            nonzero_params: NonzeroParams::new(row.nonzero_params).map_err(bad)?,
            sparsity: Sparsity::new(row.sparsity).map_err(bad)?,
            level: row.level_name,
            budget,
            law_version: row.asked_law_version,
        };
        let trust = match row.trust {
            Some(Json(trust)) => Some(
                trust.checked().ok_or_else(|| corrupt("an unknown level of trust".to_owned()))?,
            ),
            None => None,
        };
        let forecast = Forecast {
            id: row.id,
            question,
            data,
            compute,
            note: row.note,
            loss: Loss::new(row.loss).map_err(bad)?,
            interval,
            prediction_interval,
            extrapolation: row.extrapolation.0,
            trust,
            created_at: row.created_at,
        };
        let law = ForecastLaw {
            id: row.law_id,
            version: row.law_version,
            source,
            fitted_at: row.law_fitted_at,
            data_digest: row.law_data_digest,
        };
        Ok(Self { forecast, law, score })
    }
}

/// Keeps runs of a family from being stored until the transaction ends, and waits for those that are being stored, so
/// that a later query sees all of them. Returns `false` if the family is gone. `external_id` is the name that the
/// caller looks up next.
///
/// Storing a run locks its family's row for the foreign key, which this lock excludes. A forecast that then finds no
/// run of its name is therefore committed before any such run, whatever the clocks say.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.lock_family", level = "debug", skip_all)]
pub async fn lock_family_runs(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    external_id: &str,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"
        -- That the forecasts of the family are read has the row locked where they lie: the node of several on which its runs
        -- lock it for their foreign keys.
        SELECT true AS "found!"
        FROM families LEFT JOIN forecasts
            ON forecasts.family_id = $1 AND forecasts.external_id = $2
        WHERE families.id = $1
        FOR UPDATE OF families
        "#,
        family_id,
        external_id
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Stores a forecast, unless a run has its name already: returns `false` in that case. The caller must first take
/// [`lock_family_runs`] and check that no other forecast has the name. `level_tag` is the key of the tag by which the
/// law tells levels apart; `None` if it does so by the pattern, or not at all.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.forecasts.insert", level = "debug", skip_all)]
pub async fn insert_forecast(
    db: &mut PgConnection,
    family_id: Uuid,
    (law_id, level_tag): (Uuid, Option<&str>),
    forecast: &Forecast,
) -> Result<bool, StoreError> {
    let question = &forecast.question;
    let (flop_mode, given) = match &question.budget {
        ForecastBudget::Data(_) => (None, None),
        ForecastBudget::Spent { currency, amount, mode } => {
            let given = (*currency != Currency::Compute).then_some((currency.as_str(), *amount));
            (Some(mode.as_str()), given)
        }
    };
    if find_run_id(&mut *db, family_id, &question.external_id).await?.is_some() {
        return Ok(false);
    }
    sqlx::query!(
        r#"
        INSERT INTO forecasts (
            id, family_id, law_id, external_id, nonzero_params, sparsity, data, compute, flop_mode,
            law_version, note, loss, level, interval_low, interval_high, prediction_low,
            prediction_high, extrapolation, created_at, currency, amount, trust, level_name, level_tag
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
        "#,
        forecast.id,
        family_id,
        law_id,
        question.external_id,
        question.nonzero_params.get(),
        question.sparsity.get(),
        forecast.data.get(),
        forecast.compute.map(Compute::get),
        flop_mode,
        question.law_version,
        forecast.note,
        forecast.loss.get(),
        forecast.interval.map(|interval| interval.level),
        forecast.interval.map(|interval| interval.low),
        forecast.interval.map(|interval| interval.high),
        forecast.prediction_interval.map(|interval| interval.low),
        forecast.prediction_interval.map(|interval| interval.high),
        Json(&forecast.extrapolation) as _,
        forecast.created_at,
        given.map(|(currency, _)| currency),
        given.map(|(_, amount)| amount),
        forecast.trust.as_ref().map(|trust| Json(TrustRow::from(trust))) as _,
        question.level,
        level_tag
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// Finds a forecast of a family by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.forecasts.find", level = "debug", skip_all)]
pub async fn find_forecast(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    id: Uuid,
) -> Result<Option<ScoredForecast>, StoreError> {
    sqlx::query_as!(
        ForecastRow,
        r#"
        SELECT id AS "id!", external_id AS "external_id!", nonzero_params AS "nonzero_params!",
            sparsity AS "sparsity!", data AS "data!", compute, flop_mode, asked_law_version, note,
            loss AS "loss!", level, interval_low, interval_high, prediction_low, prediction_high,
            extrapolation AS "extrapolation!: _", created_at AS "created_at!", law_id AS "law_id!",
            law_version AS "law_version!", law_source AS "law_source!",
            law_fitted_at AS "law_fitted_at!", law_data_digest, run_id, measured, error,
            relative_error, inside_interval, inside_prediction_interval, as_planned, excluded,
            arrived_at, currency, amount, trust AS "trust: _", level_name
        FROM forecast_scores
        WHERE family_id = $1 AND id = $2
        "#,
        family_id,
        id
    )
    .fetch_optional(db)
    .await?
    .map(ScoredForecast::try_from)
    .transpose()
}

/// Finds a forecast of a family by the name of its run.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.forecasts.find_of_run", level = "debug", skip_all)]
pub async fn find_forecast_of_run(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    external_id: &str,
) -> Result<Option<ScoredForecast>, StoreError> {
    sqlx::query_as!(
        ForecastRow,
        r#"
        SELECT id AS "id!", external_id AS "external_id!", nonzero_params AS "nonzero_params!",
            sparsity AS "sparsity!", data AS "data!", compute, flop_mode, asked_law_version, note,
            loss AS "loss!", level, interval_low, interval_high, prediction_low, prediction_high,
            extrapolation AS "extrapolation!: _", created_at AS "created_at!", law_id AS "law_id!",
            law_version AS "law_version!", law_source AS "law_source!",
            law_fitted_at AS "law_fitted_at!", law_data_digest, run_id, measured, error,
            relative_error, inside_interval, inside_prediction_interval, as_planned, excluded,
            arrived_at, currency, amount, trust AS "trust: _", level_name
        FROM forecast_scores
        WHERE family_id = $1 AND external_id = $2
        "#,
        family_id,
        external_id
    )
    .fetch_optional(db)
    .await?
    .map(ScoredForecast::try_from)
    .transpose()
}

/// A page of a family's forecasts: those whose run has arrived, those whose run has not, or all.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.forecasts.list", level = "debug", skip_all)]
pub async fn list_forecasts(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    scored: Option<bool>,
    request: PageRequest,
) -> Result<Page<ScoredForecast>, StoreError> {
    let rows = sqlx::query_as!(
        ForecastRow,
        r#"
        SELECT id AS "id!", external_id AS "external_id!", nonzero_params AS "nonzero_params!",
            sparsity AS "sparsity!", data AS "data!", compute, flop_mode, asked_law_version, note,
            loss AS "loss!", level, interval_low, interval_high, prediction_low, prediction_high,
            extrapolation AS "extrapolation!: _", created_at AS "created_at!", law_id AS "law_id!",
            law_version AS "law_version!", law_source AS "law_source!",
            law_fitted_at AS "law_fitted_at!", law_data_digest, run_id, measured, error,
            relative_error, inside_interval, inside_prediction_interval, as_planned, excluded,
            arrived_at, currency, amount, trust AS "trust: _", level_name
        FROM forecast_scores
        WHERE family_id = $1 AND ($2::uuid IS NULL OR id < $2)
            AND ($3::boolean IS NULL OR (run_id IS NOT NULL) = $3)
        ORDER BY id DESC
        LIMIT $4
        "#,
        family_id,
        request.after,
        scored,
        request.fetch()
    )
    .fetch_all(db)
    .await?;
    let forecasts = rows.into_iter().map(ScoredForecast::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(forecasts, |scored: &ScoredForecast| scored.forecast.id))
}

/// How many forecasts of a family are open, and for the others sums by the month in which their run arrived, oldest
/// first.
///
/// The database makes one pass over the family's forecasts; a service that has run for a decade has 120 months.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.forecasts.list_months", level = "debug", skip_all)]
pub async fn list_forecast_months(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
) -> Result<(i64, Vec<Month>), StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT date_trunc('month', arrived_at, 'UTC') AS month,
            count(*) AS "forecasts!",
            count(*) FILTER (WHERE NOT as_planned) AS "not_as_planned!",
            count(*) FILTER (WHERE as_planned AND excluded) AS "excluded!",
            count(*) FILTER (WHERE counted) AS "counted!",
            count(*) FILTER (WHERE counted AND inside_prediction_interval IS NOT NULL)
                AS "with_interval!",
            count(*) FILTER (WHERE counted AND inside_prediction_interval) AS "inside!",
            coalesce(
                sum(level) FILTER (WHERE counted AND inside_prediction_interval IS NOT NULL), 0
            ) AS "levels!",
            coalesce(sum(error) FILTER (WHERE counted), 0) AS "errors!",
            coalesce(sum(error * error) FILTER (WHERE counted), 0) AS "squared_errors!",
            coalesce(sum(relative_error) FILTER (WHERE counted), 0) AS "relative_errors!",
            coalesce(sum(relative_error * relative_error) FILTER (WHERE counted), 0)
                AS "squared_relative_errors!"
        FROM (
            SELECT *, run_id IS NOT NULL AND as_planned AND NOT excluded AS counted
            FROM forecast_scores
            WHERE family_id = $1
        ) AS scores
        GROUP BY 1
        ORDER BY 1
        "#,
        family_id
    )
    .fetch_all(db)
    .await?;
    let mut open = 0;
    let mut months = Vec::with_capacity(rows.len());
    for row in rows {
        // Open forecasts form the group without a month.
        let Some(start) = row.month else {
            open = row.forecasts;
            continue;
        };
        months.push(Month {
            start: start.date_naive(),
            scored: row.forecasts,
            not_as_planned: row.not_as_planned,
            excluded: row.excluded,
            counted: row.counted,
            with_interval: row.with_interval,
            inside: row.inside,
            levels: row.levels,
            errors: row.errors,
            squared_errors: row.squared_errors,
            relative_errors: row.relative_errors,
            squared_relative_errors: row.squared_relative_errors,
        });
    }
    Ok((open, months))
}

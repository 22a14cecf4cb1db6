//! Laws. A law is immutable once it is stored.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sparsity_law::fit::{Diagnostics, PatternReport, PretrainedReport, with_curve};
use sparsity_law::law::{
    CoefficientName, CoefficientValues, Coefficients, FlopsPerParam, Interval, SparsityLevel,
    Support,
};
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::domain::calibration::ForecastRecord;
use crate::domain::law::{AnsweringLaw, Law, LawContent, LawShape, StoredWarning};
use crate::domain::page::{Page, PageRequest};
use crate::domain::refit::RefitOptions;
use crate::domain::text::FamilyName;
use crate::store::StoreError;
use crate::store::law_origin::OriginColumns;
use crate::store::schedules::{ScheduleColumn, ScheduleColumns};
use crate::store::zeros::{GridColumn, grid_column, zeros};

/// Channel on which the database announces families whose answering law may have changed; the payload is the family's
/// name.
pub const CHANNEL: &str = "sparsity_planner_laws";

#[derive(Debug)]
struct LawRow {
    id: Uuid,
    family_id: Uuid,
    version: i32,
    source: String,
    reference: Option<String>,
    a_s: Option<f64>,
    b_s: Option<f64>,
    c_s: Option<f64>,
    b_n: Option<f64>,
    a_d: Option<f64>,
    b_d: Option<f64>,
    c: f64,
    objective: Option<f64>,
    runs: Option<i32>,
    intervals: Option<Json<BTreeMap<CoefficientName, Interval>>>,
    resamples: Option<i32>,
    failed_resamples: Option<i32>,
    patterns: Option<Json<Vec<PatternReport>>>,
    pretrained: Option<Json<PretrainedReport>>,
    data_unit: String,
    flops_per_param: f64,
    pruning_start: f64,
    pruning_end: f64,
    pruning_exponent: f64,
    support: Json<Vec<SparsityLevel>>,
    options: Option<Json<RefitOptions>>,
    diagnostics: Option<Json<Diagnostics>>,
    warnings: Json<Vec<StoredWarning>>,
    data_digest: Option<String>,
    fitted_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    shape: Option<Json<LawShape>>,
    pruning_schedule: Option<Json<ScheduleColumn>>,
    pruning_pattern_start: Option<f64>,
    zeros: String,
    experts: Option<Json<GridColumn>>,
}

impl TryFrom<LawRow> for Law {
    type Error = StoreError;

    fn try_from(row: LawRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "laws", id: row.id, detail };
        let origin = OriginColumns {
            source: row.source,
            reference: row.reference,
            objective: row.objective,
            runs: row.runs,
            data_digest: row.data_digest,
            options: row.options.map(|options| options.0),
            diagnostics: row.diagnostics.map(|diagnostics| diagnostics.0),
            resamples: row.resamples,
            failed_resamples: row.failed_resamples,
            intervals: row.intervals.map(|intervals| intervals.0),
            patterns: row.patterns.map(|patterns| patterns.0),
            pretrained: row.pretrained.map(|pretrained| pretrained.0),
        };
        let origin = origin.origin().map_err(&corrupt)?;
        let coefficients = Coefficients::reduced(CoefficientValues {
            a_s: row.a_s.unwrap_or(0.0),
            b_s: row.b_s.unwrap_or(1.0),
            c_s: row.c_s.unwrap_or(0.0),
            b_n: row.b_n.unwrap_or(0.0),
            a_d: row.a_d.unwrap_or(0.0),
            b_d: row.b_d.unwrap_or(1.0),
            c: row.c,
        });
        let coefficients =
            coefficients.map_err(|(name, e)| corrupt(format!("{} {e}", name.as_str())))?;
        let pruning = ScheduleColumns {
            start: row.pruning_start,
            end: row.pruning_end,
            exponent: row.pruning_exponent,
            schedule: row.pruning_schedule.map(|schedule| schedule.0),
            pattern_start: row.pruning_pattern_start,
        };
        let pruning = pruning.schedule().map_err(&corrupt)?;
        let shape = row.shape.map(|shape| shape.0).unwrap_or_default();
        let curve = shape.task(pruning.mean_share()).curve();
        let content = LawContent {
            origin,
            coefficients: with_curve(coefficients, curve),
            data_unit: row.data_unit,
            flops_per_param: FlopsPerParam::new(row.flops_per_param)
                .map_err(|e| corrupt(e.to_string()))?,
            pruning,
            zeros: zeros(&row.zeros, row.experts.map(|grid| grid.0)).map_err(&corrupt)?,
            support: Support::new(row.support.0),
            warnings: row.warnings.0,
            fitted_at: row.fitted_at,
            shape,
        };
        Ok(Self {
            id: row.id,
            family_id: row.family_id,
            version: row.version,
            content,
            created_at: row.created_at,
        })
    }
}

/// Stores a law under the next version of its family. The caller holds the lock on the family's row, so that versions
/// have neither gaps nor duplicates.
///
/// # Errors
/// [`StoreError::FamilyGone`], [`StoreError::LawVersionTaken`].
#[tracing::instrument(name = "db.laws.insert", level = "debug", skip_all)]
pub async fn insert_law(
    db: impl PgExecutor<'_>,
    id: Uuid,
    family_id: Uuid,
    content: &LawContent,
    now: DateTime<Utc>,
) -> Result<Law, StoreError> {
    let law = &content.coefficients;
    let value =
        |name: CoefficientName| law.has(name).then(|| law.values().to_array()[name as usize]);
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let origin = &content.origin;
    let (fit, intervals, patterns) = (origin.fit(), origin.intervals(), origin.patterns());
    let resamples = fit.and_then(|fit| fit.resamples);
    let pruning = ScheduleColumns::from(&content.pruning);
    let version = sqlx::query_scalar!(
        r#"
        INSERT INTO laws (
            id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c, objective,
            runs, data_unit, flops_per_param, pruning_start, pruning_end, pruning_exponent, support,
            options, diagnostics, warnings, data_digest, fitted_at, created_at, intervals,
            resamples, failed_resamples, patterns, pretrained, shape, pruning_schedule,
            pruning_pattern_start, zeros, experts
        )
        SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
            $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30,
            $31, $32, $33, $34, $35
        FROM laws WHERE family_id = $2
        RETURNING version
        "#,
        id,
        family_id,
        origin.source().as_str(),
        origin.reference(),
        value(CoefficientName::AS),
        value(CoefficientName::BS),
        value(CoefficientName::CS),
        value(CoefficientName::BN),
        value(CoefficientName::AD),
        value(CoefficientName::BD),
        law.values().c,
        origin.objective(),
        origin.runs().map(count),
        content.data_unit,
        content.flops_per_param.get(),
        pruning.start,
        pruning.end,
        pruning.exponent,
        Json(content.support.levels()) as _,
        fit.map(|fit| Json(&fit.options)) as _,
        fit.map(|fit| Json(&fit.diagnostics)) as _,
        Json(&content.warnings) as _,
        origin.data_digest(),
        content.fitted_at,
        now,
        (!intervals.is_empty()).then_some(Json(intervals)) as _,
        resamples.map(|resamples| count(resamples.fitted)),
        resamples.map(|resamples| count(resamples.failed)),
        (!patterns.is_empty()).then_some(Json(patterns)) as _,
        fit.and_then(|fit| fit.pretrained.as_ref()).map(Json) as _,
        (!content.shape.is_plain()).then_some(Json(&content.shape)) as _,
        pruning.schedule.map(Json) as _,
        pruning.pattern_start,
        content.zeros.as_str(),
        grid_column(&content.zeros).map(Json) as _,
    )
    .fetch_one(db)
    .await?;
    Ok(Law { id, family_id, version, content: content.clone(), created_at: now })
}

/// Finds one version of a family's laws, or with `None` the law that answers, as the view `answering_laws` defines it.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.find", level = "debug", skip_all)]
pub async fn find_law(
    db: impl PgExecutor<'_>,
    family: &FamilyName,
    version: Option<i32>,
) -> Result<Option<Law>, StoreError> {
    sqlx::query_as!(
        LawRow,
        r#"
        SELECT laws.id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c,
            objective, runs, laws.data_unit, laws.flops_per_param, laws.pruning_start,
            laws.pruning_end, laws.pruning_exponent, support AS "support: _",
            options AS "options: _", diagnostics AS "diagnostics: _", warnings AS "warnings: _",
            data_digest, fitted_at, laws.created_at, intervals AS "intervals: _", resamples,
            failed_resamples, patterns AS "patterns: _", pretrained AS "pretrained: _",
            shape AS "shape: _",
            laws.pruning_schedule AS "pruning_schedule: _", laws.pruning_pattern_start,
            laws.zeros, laws.experts AS "experts: _"
        FROM laws JOIN families ON families.id = family_id
        WHERE name = $1 AND (
            version = $2 OR (
                $2::integer IS NULL
                AND laws.id = (SELECT law_id FROM answering_laws WHERE family = $1)
            )
        )
        "#,
        family.as_str(),
        version
    )
    .fetch_optional(db)
    .await?
    .map(Law::try_from)
    .transpose()
}

/// The answering laws of several families, keyed by family id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.list_active", level = "debug", skip_all)]
pub async fn list_active_laws(
    db: impl PgExecutor<'_>,
    family_ids: &[Uuid],
) -> Result<HashMap<Uuid, Law>, StoreError> {
    let rows = sqlx::query_as!(
        LawRow,
        r#"
        SELECT laws.id, laws.family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d,
            c, objective, runs, data_unit, flops_per_param, pruning_start, pruning_end,
            pruning_exponent, support AS "support: _", options AS "options: _",
            diagnostics AS "diagnostics: _", warnings AS "warnings: _", data_digest, fitted_at,
            created_at, intervals AS "intervals: _", resamples, failed_resamples,
            patterns AS "patterns: _", pretrained AS "pretrained: _",
            shape AS "shape: _",
            laws.pruning_schedule AS "pruning_schedule: _", laws.pruning_pattern_start,
            laws.zeros, laws.experts AS "experts: _"
        FROM answering_laws JOIN laws ON laws.id = law_id
        WHERE answering_laws.family_id = ANY ($1)
        "#,
        family_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| Ok((row.family_id, Law::try_from(row)?))).collect()
}

/// A page of a family's laws.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.list", level = "debug", skip_all)]
pub async fn list_laws(
    db: impl PgExecutor<'_>,
    family: &FamilyName,
    request: PageRequest,
) -> Result<Page<Law>, StoreError> {
    let rows = sqlx::query_as!(
        LawRow,
        r#"
        SELECT laws.id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c,
            objective, runs, laws.data_unit, laws.flops_per_param, laws.pruning_start,
            laws.pruning_end, laws.pruning_exponent, support AS "support: _",
            options AS "options: _", diagnostics AS "diagnostics: _", warnings AS "warnings: _",
            data_digest, fitted_at, laws.created_at, intervals AS "intervals: _", resamples,
            failed_resamples, patterns AS "patterns: _", pretrained AS "pretrained: _",
            shape AS "shape: _",
            laws.pruning_schedule AS "pruning_schedule: _", laws.pruning_pattern_start,
            laws.zeros, laws.experts AS "experts: _"
        FROM laws JOIN families ON families.id = family_id
        WHERE name = $1 AND ($2::uuid IS NULL OR laws.id < $2)
        ORDER BY laws.id DESC
        LIMIT $3
        "#,
        family.as_str(),
        request.after,
        request.fetch()
    )
    .fetch_all(db)
    .await?;
    let laws = rows.into_iter().map(Law::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(laws, |law: &Law| law.id))
}

/// A family's laws other than what-ifs, newest first: at most `limit` of them, and only versions below `below` if it is
/// given.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.list_history", level = "debug", skip_all)]
pub async fn list_law_history(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    below: Option<i32>,
    limit: i64,
) -> Result<Vec<Law>, StoreError> {
    let rows = sqlx::query_as!(
        LawRow,
        r#"
        SELECT id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c,
            objective, runs, data_unit, flops_per_param, pruning_start, pruning_end,
            pruning_exponent, support AS "support: _", options AS "options: _",
            diagnostics AS "diagnostics: _", warnings AS "warnings: _", data_digest, fitted_at,
            created_at, intervals AS "intervals: _", resamples, failed_resamples,
            patterns AS "patterns: _", pretrained AS "pretrained: _", shape AS "shape: _",
            pruning_schedule AS "pruning_schedule: _", pruning_pattern_start, zeros,
            experts AS "experts: _"
        FROM laws
        WHERE family_id = $1 AND NOT what_if AND ($2::integer IS NULL OR version < $2)
        ORDER BY version DESC
        LIMIT $3
        "#,
        family_id,
        below,
        limit
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Law::try_from).collect()
}

/// Finds the law that answers a question, chosen as by [`find_law`], but reads no more than its id. The record of its
/// forecasts is filled in only for `None`, the law that answers now: answers by an explicit version never change.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.find_answering", level = "debug", skip_all)]
pub async fn find_answering_law(
    pool: &PgPool,
    family: &FamilyName,
    version: Option<i32>,
) -> Result<Option<AnsweringLaw>, StoreError> {
    let found = sqlx::query!(
        r#"
        SELECT laws.id, family_id
        FROM laws JOIN families ON families.id = family_id
        WHERE name = $1 AND (
            version = $2 OR (
                $2::integer IS NULL
                AND laws.id = (SELECT law_id FROM answering_laws WHERE family = $1)
            )
        )
        "#,
        family.as_str(),
        version
    )
    .fetch_optional(pool)
    .await?;
    let Some(law) = found else { return Ok(None) };
    let forecasts = match version {
        Some(_) => ForecastRecord::default(),
        // A separate statement, as laws are stored where families are, and forecasts where runs are.
        None => find_forecast_record(pool, law.family_id, law.id).await?,
    };
    Ok(Some(AnsweringLaw { id: law.id, forecasts }))
}

/// The outcomes of a law's forecasts.
async fn find_forecast_record(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    law_id: Uuid,
) -> Result<ForecastRecord, StoreError> {
    let record = sqlx::query_as!(
        ForecastRecord,
        r#"
        SELECT count(*) AS "scored!",
            count(*) FILTER (WHERE inside_prediction_interval) AS "inside!",
            coalesce(avg(level), 0) AS "nominal!"
        FROM forecast_scores
        WHERE family_id = $1 AND law_id = $2 AND as_planned AND NOT excluded
            AND inside_prediction_interval IS NOT NULL
        "#,
        family_id,
        law_id
    );
    Ok(record.fetch_one(db).await?)
}

/// Finds a law by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.laws.find_by_id", level = "debug", skip_all)]
pub async fn find_law_by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Law>, StoreError> {
    sqlx::query_as!(
        LawRow,
        r#"
        SELECT laws.id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c,
            objective, runs, laws.data_unit, laws.flops_per_param, laws.pruning_start,
            laws.pruning_end, laws.pruning_exponent, support AS "support: _",
            options AS "options: _", diagnostics AS "diagnostics: _", warnings AS "warnings: _",
            data_digest, fitted_at, laws.created_at, intervals AS "intervals: _", resamples,
            failed_resamples, patterns AS "patterns: _", pretrained AS "pretrained: _",
            shape AS "shape: _",
            laws.pruning_schedule AS "pruning_schedule: _", laws.pruning_pattern_start,
            laws.zeros, laws.experts AS "experts: _"
        FROM laws
        WHERE id = $1
        "#,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Law::try_from)
    .transpose()
}

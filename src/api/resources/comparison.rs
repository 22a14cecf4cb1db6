//! Two laws side by side.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::fit::Observations;
use sparsity_law::law::{
    CoefficientName, Coefficients, Compute, FlopMode, Interval, NonzeroParams, Range, Support,
    optimal_density,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::replica_reads::Reads;
use crate::api::questions::asked::asked_law;
use crate::api::questions::law::AskedLaw;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::{Freshness, KnownTags, cached};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::flop_mode::FlopModeView;
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{
    IntervalView, LawCoefficientsView, LawRef, ObjectiveView, WarningView,
};
use crate::domain::family::Family;
use crate::domain::grouping::GroupedRuns;
use crate::store::runs;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_law_comparison))
}

/// Which laws to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ComparisonParams {
    /// Version of the one law.
    #[param(example = 1)]
    a: i32,
    /// Version of the other law.
    #[param(example = 2)]
    b: i32,
}

/// Two laws side by side.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LawComparison)]
pub struct LawComparisonView {
    /// The one law.
    a: ComparedLawView,
    /// The other law.
    b: ComparedLawView,
    /// Each coefficient that both laws have.
    coefficients: Vec<ComparedCoefficientView>,
    /// Both laws on the runs that a refit would use now; null where there are none, or where a law
    /// does not know what all of size, sparsity and data do.
    common_runs: Option<CommonRunsView>,
    /// Their optimal sparsities over the sizes and amounts of data of their runs; empty where these
    /// are not known, or a law cannot be asked.
    optimal_sparsity: Vec<ComparedOptimumView>,
    /// Share of these optima that differ beyond both intervals; null where a law has no intervals.
    #[schema(example = 0.25)]
    apart: Option<f64>,
}

/// A law that is compared.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedLaw)]
pub struct ComparedLawView {
    /// Which law.
    law: LawRef,
    /// Its coefficients.
    coefficients: LawCoefficientsView,
    /// Mean Huber loss over its own runs, where known.
    objective: Option<f64>,
    /// Number of its own runs, where known.
    runs: Option<u32>,
    /// What its runs cannot tell.
    warnings: Vec<WarningView>,
}

/// One coefficient of both laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedCoefficient)]
pub struct ComparedCoefficientView {
    /// Its name.
    #[schema(example = "b_s")]
    coefficient: &'static str,
    /// Of the one law.
    a: f64,
    /// Interval of the one law; null where it has none.
    a_interval: Option<IntervalView>,
    /// Of the other law.
    b: f64,
    /// Interval of the other law; null where it has none.
    b_interval: Option<IntervalView>,
    /// `b / a`.
    ratio: f64,
    /// Whether the intervals have no point in common; null where a law has none.
    apart: Option<bool>,
}

/// Both laws on the same runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommonRuns)]
pub struct CommonRunsView {
    /// Number of runs: those that a refit without options would use now.
    #[schema(example = 48)]
    runs: usize,
    /// Their digest.
    data_digest: String,
    /// What is compared: the family's objective.
    objective: ObjectiveView,
    /// Mean Huber loss of the one law.
    a: f64,
    /// Mean Huber loss of the other law.
    b: f64,
}

/// Optimal sparsity by both laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedOptimum)]
pub struct ComparedOptimumView {
    /// Which parameters cost FLOPs.
    flop_mode: FlopModeView,
    /// Non-zero parameters.
    nonzero_params: f64,
    /// Training cost in FLOPs.
    compute: f64,
    /// By the one law.
    a: f64,
    /// Interval of the one law; null where it has none.
    a_interval: Option<IntervalView>,
    /// By the other law.
    b: f64,
    /// Interval of the other law; null where it has none.
    b_interval: Option<IntervalView>,
    /// Whether they differ beyond both intervals; null where a law has none.
    apart: Option<bool>,
}

/// Sizes and budgets of each comparison in each direction.
const STEPS: u32 = 5;

fn compared(asked: &AskedLaw) -> ComparedLawView {
    let content = &asked.law.content;
    ComparedLawView {
        law: (&asked.law).into(),
        coefficients: (&content.coefficients).into(),
        objective: content.objective,
        runs: content.runs,
        warnings: content.warnings.iter().map(WarningView::from).collect(),
    }
}

fn apart(a: Option<Interval>, b: Option<Interval>) -> Option<bool> {
    Some(a?.is_apart_from(&b?))
}

fn compared_coefficients(a: &AskedLaw, b: &AskedLaw) -> Vec<ComparedCoefficientView> {
    let (a, b) = (&a.law.content, &b.law.content);
    CoefficientName::ALL
        .into_iter()
        .filter(|name| a.coefficients.has(*name) && b.coefficients.has(*name))
        .map(|name| {
            let value = |law: &Coefficients| law.values().to_array()[name as usize];
            let (a_value, b_value) = (value(&a.coefficients), value(&b.coefficients));
            let interval =
                |intervals: &BTreeMap<CoefficientName, Interval>| intervals.get(&name).copied();
            let (a_interval, b_interval) = (interval(&a.intervals), interval(&b.intervals));
            ComparedCoefficientView {
                coefficient: name.as_str(),
                a: a_value,
                a_interval: a_interval.map(IntervalView::from),
                b: b_value,
                b_interval: b_interval.map(IntervalView::from),
                // Both lie between 1e-300 and 1e300.
                ratio: (b_value / a_value).clamp(1e-300, 1e300),
                apart: apart(a_interval, b_interval),
            }
        })
        .collect()
}

fn knows_all(asked: &AskedLaw) -> bool {
    asked.law.content.coefficients.determines().all()
}

/// A grid over the sizes and amounts of data of both laws' runs, in both FLOP modes; the budget is
/// that of a dense model that sees the data.
fn compared_optima(a: &AskedLaw, b: &AskedLaw) -> Vec<ComparedOptimumView> {
    let joined = |of: fn(&Support) -> Option<Range>| {
        let ranges = [a, b].map(|asked| of(&asked.law.content.support));
        ranges.into_iter().flatten().reduce(Range::join)
    };
    let ranges = joined(Support::nonzero_params).zip(joined(Support::data));
    let Some((sizes, data)) = ranges.filter(|_| knows_all(a) && knows_all(b)) else {
        return Vec::new();
    };
    let steps = |range: Range| {
        (0..STEPS).map(move |step| {
            let share = f64::from(step) / f64::from(STEPS - 1);
            (range.min.ln() * (1.0 - share) + range.max.ln() * share).exp()
        })
    };
    let mut found = Vec::new();
    for mode in [FlopModeView::Dense, FlopModeView::Sparse] {
        for size in steps(sizes) {
            for data in steps(data) {
                let flops = a.law.content.flops_per_param.get();
                let compute = Compute::new(flops * size * data);
                // Sizes and data of runs make budgets; were one out of range it is left out.
                let point = NonzeroParams::new(size).ok().zip(compute.ok());
                found.extend(point.map(|point| compared_optimum(a, b, mode, point)));
            }
        }
    }
    found
}

fn compared_optimum(
    a: &AskedLaw,
    b: &AskedLaw,
    mode: FlopModeView,
    (size, compute): (NonzeroParams, Compute),
) -> ComparedOptimumView {
    let optimum = |asked: &AskedLaw| {
        let cost = asked.cost(FlopMode::from(mode));
        let sparsity =
            |law: &Coefficients| optimal_density(law, &cost, size, compute).sparsity().get();
        let ensemble = asked.sampled.ensemble();
        let interval =
            ensemble.map(|ensemble| ensemble.interval(|member| sparsity(&member.coefficients)));
        (sparsity(&asked.law.content.coefficients), interval)
    };
    let ((a, a_interval), (b, b_interval)) = (optimum(a), optimum(b));
    ComparedOptimumView {
        flop_mode: mode,
        nonzero_params: size.get(),
        compute: compute.get(),
        a,
        a_interval: a_interval.map(IntervalView::from),
        b,
        b_interval: b_interval.map(IntervalView::from),
        apart: apart(a_interval, b_interval),
    }
}

/// Both laws on the runs that a refit would use now.
fn compared_on(
    a: &AskedLaw,
    b: &AskedLaw,
    runs: &Observations,
    family: &Family,
) -> Option<CommonRunsView> {
    let settings = &family.settings;
    let objective = |asked: &AskedLaw| {
        runs.mean_huber(&asked.law.content.coefficients, settings.residual, settings.delta)
    };
    let (a_value, b_value) = (objective(a), objective(b));
    let usable = !runs.is_empty() && knows_all(a) && knows_all(b);
    (usable && a_value.is_finite() && b_value.is_finite()).then(|| CommonRunsView {
        runs: runs.len(),
        data_digest: runs.digest(),
        objective: ObjectiveView::new(settings.residual, settings.delta),
        a: a_value,
        b: b_value,
    })
}

/// Compares two laws: their coefficients, how well each explains the runs of now, and where their
/// recommendations differ beyond both intervals.
#[utoipa::path(
    get, path = "/v1/families/{family}/laws/compare", tag = TAG_LAWS,
    params(FamilyPath, ComparisonParams),
    responses(
        (status = OK, description = "Both laws", body = LawComparisonView,
            headers(("ETag" = String, description = "Changes with the laws and the runs"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
    ),
)]
async fn get_law_comparison(
    State(state): State<AppState>,
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<ComparisonParams>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let name = path.name()?;
    let family = existing(&state.pool, &name).await?;
    let (a, _) = asked_law(&state, &name, Some(params.a)).await?;
    let (b, _) = asked_law(&state, &name, Some(params.b)).await?;
    // After the laws: no request waits for one connection while it holds another.
    let runs = runs::list_fit_runs(&mut *reads.connection().await?, family.id).await?;
    let runs = GroupedRuns::new(runs.into_iter().map(|run| (run.id, run.submitted)), &[]).set.law;
    let common_runs = compared_on(&a, &b, &runs, &family);
    let digest = common_runs.as_ref().map_or("", |common| common.data_digest.as_str());
    let tag = format!("{}.{}.{digest}", a.law.id, b.law.id);
    cached(&known, &tag, Freshness::Revalidate, || {
        let optimal_sparsity = compared_optima(&a, &b);
        let decided: Option<Vec<bool>> = optimal_sparsity.iter().map(|both| both.apart).collect();
        let apart = decided.filter(|decided| !decided.is_empty()).map(|decided| {
            decided.iter().filter(|apart| **apart).count() as f64 / decided.len() as f64
        });
        Ok(LawComparisonView {
            a: compared(&a),
            b: compared(&b),
            coefficients: compared_coefficients(&a, &b),
            common_runs,
            optimal_sparsity,
            apart,
        })
    })
}

//! Comparison of two laws of a family.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{Observation, Observations};
use sparsity_law::law::{
    CoefficientName, Compared, ComparedLaw, ComparedOptimum, Data, Repetition,
    compare_coefficients, compare_optima, effective_data, share_apart,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::layers::replica_reads::Reads;
use crate::api::questions::asked::asked_law;
use crate::api::questions::law::AskedLaw;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::{Freshness, KnownTags, Validator};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::fit_options::ObjectiveView;
use crate::api::wire::flop_mode::FlopModeView;
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, LawCoefficientsView, LawRef, TrustView, WarningView};
use crate::domain::family::Family;
use crate::store::runs;
use crate::store::unfinished::Unfinished;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_law_comparison))
}

/// The laws to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ComparisonParams {
    /// Version of the first law.
    #[param(example = 1)]
    a: i32,
    /// Version of the second law.
    #[param(example = 2)]
    b: i32,
}

/// Comparison of two laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LawComparison)]
pub struct LawComparisonView {
    /// The first law.
    a: ComparedLawView,
    /// The second law.
    b: ComparedLawView,
    /// Each coefficient that both laws have.
    coefficients: Vec<ComparedCoefficientView>,
    /// Both laws on the runs that a refit would use now. Null where there are no such runs, where a law does not know
    /// the effects of size, sparsity and data together, and where there are more runs than `--max-compared-runs` of the
    /// service.
    common_runs: Option<CommonRunsView>,
    /// The optimal sparsities by both laws, over the sizes and amounts of data of their runs. Empty where the runs are
    /// not known, or a law does not know its optimal sparsities.
    optimal_sparsity: Vec<ComparedOptimumView>,
    /// Share of these optimal sparsities that differ beyond both intervals; null where a law has no intervals.
    #[schema(example = 0.25)]
    apart: Option<f64>,
}

/// One of the two laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedLaw)]
pub struct ComparedLawView {
    /// The law.
    law: LawRef,
    /// Coefficients of the law.
    coefficients: LawCoefficientsView,
    /// Mean Huber loss over the law's own runs, where known.
    objective: Option<f64>,
    /// Number of the law's own runs, where known.
    runs: Option<u32>,
    /// What the law's runs cannot tell.
    warnings: Vec<WarningView>,
    /// How far the law can be trusted: `none` where its runs do not determine the best sparsity of a budget. Each
    /// answer of the law has a rating of its own.
    trust: TrustView,
}

/// One coefficient, by both laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedCoefficient)]
pub struct ComparedCoefficientView {
    /// Name of the coefficient.
    #[schema(example = "b_s")]
    coefficient: &'static str,
    /// Value by the first law.
    a: f64,
    /// Interval by the first law; null where it has none.
    a_interval: Option<IntervalView>,
    /// Value by the second law.
    b: f64,
    /// Interval by the second law; null where it has none.
    b_interval: Option<IntervalView>,
    /// `b / a`.
    ratio: f64,
    /// Whether the intervals do not overlap; null where a law has none.
    apart: Option<bool>,
}

/// Both laws on the same runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommonRuns)]
pub struct CommonRunsView {
    /// Number of runs that a refit without options would use now.
    #[schema(example = 48)]
    runs: usize,
    /// Digest of these runs.
    data_digest: String,
    /// The objective that is compared: that of the family.
    objective: ObjectiveView,
    /// Mean Huber loss of the first law.
    a: f64,
    /// Mean Huber loss of the second law.
    b: f64,
}

/// The optimal sparsity for one budget, by both laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedOptimum)]
pub struct ComparedOptimumView {
    /// Which parameters cost FLOPs.
    flop_mode: FlopModeView,
    /// Non-zero parameters.
    nonzero_params: f64,
    /// Training cost in FLOPs.
    compute: f64,
    /// Optimal sparsity by the first law.
    a: f64,
    /// Interval by the first law; null where it has none.
    a_interval: Option<IntervalView>,
    /// Optimal sparsity by the second law.
    b: f64,
    /// Interval by the second law; null where it has none.
    b_interval: Option<IntervalView>,
    /// Whether the sparsities differ beyond both intervals; null where a law has none.
    apart: Option<bool>,
}

impl From<&AskedLaw> for ComparedLawView {
    fn from(asked: &AskedLaw) -> Self {
        let content = &asked.law.content;
        Self {
            law: (&asked.law).into(),
            coefficients: LawCoefficientsView::new(&content.coefficients, content.identification()),
            objective: content.origin.objective(),
            runs: content.origin.runs(),
            warnings: content.all_warnings().iter().map(WarningView::from).collect(),
            trust: asked.own_trust(),
        }
    }
}

/// Converts a law to the type that the law crate compares.
fn compared(asked: &AskedLaw) -> ComparedLaw<'_> {
    let content = &asked.law.content;
    ComparedLaw {
        law: &asked.sampled,
        intervals: content.origin.intervals(),
        support: &content.support,
        flops_per_param: content.flops_per_param,
        pruning: content.pruning.clone(),
        identification: content.identification(),
    }
}

impl From<(CoefficientName, Compared)> for ComparedCoefficientView {
    fn from((name, both): (CoefficientName, Compared)) -> Self {
        Self {
            coefficient: name.as_str(),
            a: both.a,
            a_interval: both.a_interval.map(IntervalView::from),
            b: both.b,
            b_interval: both.b_interval.map(IntervalView::from),
            ratio: both.ratio(),
            apart: both.apart(),
        }
    }
}

impl From<&ComparedOptimum> for ComparedOptimumView {
    fn from(optimum: &ComparedOptimum) -> Self {
        let both = optimum.sparsity;
        Self {
            flop_mode: optimum.flop_mode.into(),
            nonzero_params: optimum.nonzero_params.get(),
            compute: optimum.compute.get(),
            a: both.a,
            a_interval: both.a_interval.map(IntervalView::from),
            b: both.b,
            b_interval: both.b_interval.map(IntervalView::from),
            apart: both.apart(),
        }
    }
}

/// Delta where neither the family nor a law has one: that of the paper for T5.
const DELTA: f64 = 1e-3;

/// Compares both laws on the runs that a refit would use now.
fn compared_on(
    a: &AskedLaw,
    b: &AskedLaw,
    runs: &Observations,
    family: &Family,
) -> Option<CommonRunsView> {
    let settings = &family.settings;
    let laws = [a, b].map(|asked| &asked.law.content.coefficients);
    // Where the family leaves delta to the fit, the delta of one of the laws is used.
    let used = [&a.law.content, &b.law.content];
    let laws_delta = || used.iter().find_map(|content| content.delta());
    let delta = settings.delta.fixed().or_else(laws_delta).unwrap_or(DELTA);
    let [a, b] = runs.compare(laws, settings.residual, delta)?;
    Some(CommonRunsView {
        runs: runs.len(),
        data_digest: runs.digest(),
        objective: ObjectiveView::new(settings.residual, delta.into()),
        a,
        b,
    })
}

/// Compares two laws of a family.
///
/// Shows their coefficients, how well each explains the family's present runs, and where their recommendations differ
/// beyond both intervals.
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
    owner: Owner,
) -> Result<Response, ApiError> {
    let name = path.name()?;
    let family = existing(&state.pool, &name).await?;
    let (a, _) = asked_law(&state, &name, Some(params.a)).await?;
    let (b, _) = asked_law(&state, &name, Some(params.b)).await?;
    let (id, most) = (family.id, state.limits.compared_runs);
    let load = async {
        // Taken only after the laws were found: no request may wait for one connection while it holds another.
        let mut db = Unfinished::new(reads.connection().await?);
        // One run more than the limit, to see whether there are too many.
        let runs = runs::list_fit_observations(&mut *db, id, i64::from(most) + 1).await?;
        db.finished();
        Ok(runs)
    };
    let (of_a, of_b) = (a.clone(), b.clone());
    let common =
        state.threads.run_on(owner, load, move |runs: Vec<(Observation, Option<Data>)>| {
            if runs.len() > most as usize {
                return Ok(None);
            }
            // Repeated data counts as by the law whose runs show what it is worth, if there is one.
            let decays = [&of_a, &of_b].map(|asked| asked.law.content.repetition_decay());
            let (decay, _) = decays.into_iter().find(|(_, fitted)| *fitted).unwrap_or(decays[0]);
            let worth = |(run, unique): (Observation, Option<Data>)| {
                let repetition = unique.and_then(|unique| Repetition::new(unique, decay).ok());
                Observation { data: effective_data(repetition.as_ref(), run.data), ..run }
            };
            let runs = Observations::new(runs.into_iter().map(worth).collect());
            Ok(compared_on(&of_a, &of_b, &runs, &family))
        });
    let common_runs = common.await?;
    let digest = common_runs.as_ref().map_or("", |common| common.data_digest.as_str());
    // Trust depends on the forecasts of a law and on the thresholds, so the tag of each law is used instead of its id.
    let tag = format!("{}.{}.{digest}", a.tag, b.tag);
    let validator = Validator::new(&known, &tag, Freshness::Revalidate);
    if let Some(response) = validator.not_modified() {
        return Ok(response);
    }
    let optima = optima(&state, owner, &a, &b).await?;
    let coefficients = compare_coefficients(&compared(&a), &compared(&b));
    Ok(validator.attach(Json(LawComparisonView {
        a: (&*a).into(),
        b: (&*b).into(),
        coefficients: coefficients.into_iter().map(Into::into).collect(),
        common_runs,
        optimal_sparsity: optima.iter().map(Into::into).collect(),
        apart: share_apart(&optima),
    })))
}

/// The optimal sparsities by both laws. They never change, so they are computed once for all callers, on a thread of
/// the first caller that asks.
async fn optima(
    state: &AppState,
    owner: Owner,
    a: &Arc<AskedLaw>,
    b: &Arc<AskedLaw>,
) -> Result<Arc<Vec<ComparedOptimum>>, ApiError> {
    let key = (a.law.id, b.law.id);
    let (a, b) = (a.clone(), b.clone());
    let compute = state
        .threads
        .run(owner, move || Ok(Arc::new(compare_optima(&compared(&a), &compared(&b)))));
    let found = state.comparisons.try_get_with(key, compute).await;
    found.map_err(|error| ApiError::Internal(anyhow::anyhow!("comparing two laws: {error:?}")))
}

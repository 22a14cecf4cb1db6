//! The runs behind a law: predicted against measured loss.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::asked::asked_law;
use super::extract::{FamilyPath, PageParams, Query};
use super::problem::{ApiError, Problem};
use super::views::{LawRef, ObjectiveView};
use super::{AppState, TAG_LAWS};
use crate::store::law_evidence::{self, NamedLawRun};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_fit_quality))
}

/// Which runs of a law to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FitQualityParams {
    /// The most runs of the page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only runs that lie far off the law.
    #[serde(default)]
    outliers: bool,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
}

impl FitQualityParams {
    /// How many runs from which place.
    fn check(&self) -> Result<(i64, i64), ApiError> {
        let limit = PageParams { limit: self.limit, cursor: None }.check()?.limit;
        let first = match &self.cursor {
            None => 0,
            Some(cursor) => cursor.parse::<u32>().map_err(|_| {
                ApiError::field("/cursor", "must be the next_cursor of the page before")
            })?,
        };
        Ok((i64::from(limit), i64::from(first)))
    }
}

/// The runs that a law was fitted on, in its canonical order: by nonzero_params, sparsity, data and
/// loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FitQuality)]
pub struct FitQualityView {
    /// The law.
    law: LawRef,
    /// What it minimised; null for a published law.
    objective: Option<ObjectiveView>,
    /// Robust standard deviation of the residuals; null for a published law.
    #[schema(example = 0.007)]
    noise: Option<f64>,
    /// The runs; none for a published law.
    items: Vec<FittedRunView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// One run as the law saw it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FittedRun)]
pub struct FittedRunView {
    /// Id of the run.
    run_id: Uuid,
    /// The submitter's name; null where the run was deleted since.
    external_id: Option<String>,
    /// Non-zero parameters when it was fitted.
    nonzero_params: f64,
    /// Sparsity when it was fitted.
    sparsity: f64,
    /// Data when it was fitted.
    data: f64,
    /// Measured loss when it was fitted.
    loss: f64,
    /// What it counted, relative to the others.
    weight: f64,
    /// Predicted loss.
    predicted: f64,
    /// Residual of the objective: positive where the loss is predicted too high.
    residual: f64,
    /// Share of its own prediction that the run determines, 0 to 1.
    leverage: f64,
    /// Whether it lies more than four robust standard deviations off the law, or among thousands of
    /// runs farther than chance puts any.
    outlier: bool,
}

impl From<NamedLawRun> for FittedRunView {
    fn from(NamedLawRun { run, external_id }: NamedLawRun) -> Self {
        Self {
            run_id: run.run_id,
            external_id,
            nonzero_params: run.observation.nonzero_params.get(),
            sparsity: run.observation.sparsity.get(),
            data: run.observation.data.get(),
            loss: run.observation.loss.get(),
            weight: run.weight,
            predicted: run.fitted.predicted,
            residual: run.fitted.residual,
            leverage: run.fitted.leverage,
            outlier: run.fitted.outlier,
        }
    }
}

/// Shows the runs that a law was fitted on, with what it says of each.
#[utoipa::path(
    get, path = "/v1/families/{family}/fit-quality", tag = TAG_LAWS,
    params(FamilyPath, FitQualityParams),
    responses(
        (status = OK, description = "A page of runs", body = FitQualityView),
        (status = CONFLICT, description = "The family has no law yet", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_fit_quality(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<FitQualityParams>,
) -> Result<Json<FitQualityView>, ApiError> {
    let (limit, first) = params.check()?;
    let (asked, _) = asked_law(&state, &path.name()?, params.law_version).await?;
    let (pool, id) = (&state.pool, asked.law.id);
    // One more than asked for, to see whether there is a next page.
    let mut runs = law_evidence::list_law_runs(pool, id, params.outliers, first, limit + 1).await?;
    let more = runs.len() as i64 > limit;
    runs.truncate(usize::from(params.limit));
    let last = runs.last().map(|(place, _)| (place + 1).to_string());
    let content = &asked.law.content;
    let view = FitQualityView {
        law: (&asked.law).into(),
        objective: content
            .options
            .as_ref()
            .map(|options| ObjectiveView::new(options.fit.residual, options.fit.delta)),
        noise: content.diagnostics.as_ref().map(|diagnostics| diagnostics.noise),
        items: runs.into_iter().map(|(_, run)| run.into()).collect(),
        next_cursor: if more { last } else { None },
    };
    Ok(Json(view))
}

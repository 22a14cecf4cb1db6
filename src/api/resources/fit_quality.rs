//! The runs behind a law: predicted and measured losses.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::Residual;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::law::AskedLaw;
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::KnownTags;
use crate::api::wire::extract::{FamilyPath, PageParams, Query};
use crate::api::wire::fit_options::ObjectiveView;
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    Look, PngPicture, Sending, SvgPicture, ThemeView, caption, varying,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{LawRef, TrustView};
use crate::domain::checks::Checks;
use crate::domain::law_origin::Origin;
use crate::domain::law_run::NamedLawRun;
use crate::draw::{Canvas, FitAxes, FitPicture, FittedPoint};
use crate::store::law_evidence;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_fit_quality))
}

/// The runs of a law to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FitQualityParams {
    /// The most runs per page. Like `cursor`, it has no effect on a picture, which shows all runs, or the first 10,000
    /// with a note that says so.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9]{1,9}$")]
    cursor: Option<String>,
    /// Whether to show only runs that lie far off the law.
    #[serde(default)]
    outliers: bool,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Width of a picture in pixels, between 480 and 2400, or from 280 where it is `bare`. Like the parameters below,
    /// it has no effect on JSON.
    #[param(default = 800, minimum = 280, maximum = 2400)]
    width: Option<u32>,
    /// Height of a picture in pixels, between 360 and 1800, or from 200 where it is `bare`.
    #[param(default = 540, minimum = 200, maximum = 1800)]
    height: Option<u32>,
    /// Colours of a picture; `light` by default.
    #[param(inline)]
    theme: Option<ThemeView>,
    /// Whether to draw only the axes and the legend of a picture, without title and notes, with text as large as on a
    /// page, whatever the size of the picture, which may then be as small as 280 by 200 pixels.
    #[serde(default)]
    #[param(default = false)]
    bare: bool,
    /// The part of the horizontal axis that a picture shows, as its two ends, such as `2,3`; all of it by default.
    #[param(example = "2,3")]
    x_range: Option<String>,
    /// The part of the vertical axis that a picture shows, as its two ends; all of it by default.
    #[param(example = "2,3")]
    y_range: Option<String>,
    /// Axes of a picture: by default predicted against measured loss, logarithmic where losses differ widely.
    #[param(inline)]
    axes: Option<FitAxesView>,
}

/// Axes of a picture of the fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FitAxes)]
enum FitAxesView {
    /// Predicted against measured loss.
    Linear,
    /// Predicted against measured loss, both logarithmic.
    Log,
    /// Residual against measured loss.
    Residuals,
}

impl From<FitAxesView> for FitAxes {
    fn from(axes: FitAxesView) -> Self {
        match axes {
            FitAxesView::Linear => Self::Linear,
            FitAxesView::Log => Self::Log,
            FitAxesView::Residuals => Self::Residuals,
        }
    }
}

impl FitQualityParams {
    fn look(&self) -> Look<'_> {
        Look {
            width: self.width,
            height: self.height,
            theme: self.theme,
            bare: self.bare,
            x_range: self.x_range.as_deref(),
            y_range: self.y_range.as_deref(),
        }
    }

    /// The number of runs on the page, the place of its first run, and the canvas of a picture.
    fn check(&self) -> Result<(i64, i64, Canvas), ApiError> {
        let limit = PageParams { limit: self.limit, cursor: None }.check()?.limit;
        let first = match &self.cursor {
            None => 0,
            Some(cursor) => cursor.parse::<u32>().map_err(|_| {
                ApiError::field("/cursor", "must be the next_cursor of the page before")
            })?,
        };
        let mut checks = Checks::default();
        let canvas = self.look().check(&mut checks);
        checks.finish(Some(()))?;
        Ok((i64::from(limit), i64::from(first), canvas))
    }
}

/// The runs that a law was fitted on, sorted by nonzero_params, sparsity, data and loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FitQuality)]
pub struct FitQualityView {
    /// The law.
    law: LawRef,
    /// What the law minimised; null for a published law.
    objective: Option<ObjectiveView>,
    /// The delta that was used, in units of the residual; null for a published law.
    #[schema(example = 0.0067)]
    delta: Option<f64>,
    /// Robust standard deviation of the residuals; null for a published law.
    #[schema(example = 0.007)]
    noise: Option<f64>,
    /// How far the law can be trusted: `none` where its runs do not determine the best sparsity of a budget. Each
    /// answer of the law has a rating of its own.
    trust: TrustView,
    /// The runs; empty for a published law.
    items: Vec<FittedRunView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// One run, with the values that the law was fitted on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FittedRun)]
pub struct FittedRunView {
    /// Id of the run.
    run_id: Uuid,
    /// The submitter's name of the run; null where the run has been deleted since.
    external_id: Option<String>,
    /// Non-zero parameters at the time of the fit.
    nonzero_params: f64,
    /// Sparsity at the time of the fit.
    sparsity: f64,
    /// Data at the time of the fit.
    data: f64,
    /// Measured loss at the time of the fit.
    loss: f64,
    /// Weight of the run, relative to the other runs.
    weight: f64,
    /// Predicted loss.
    predicted: f64,
    /// Residual of the objective: positive where the loss is predicted too high.
    residual: f64,
    /// Share of the prediction for this run that the run itself determines, from 0 to 1.
    leverage: f64,
    /// Whether the run lies more than four robust standard deviations off the law. With thousands of runs the limit is
    /// higher: farther than chance would put any of them.
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

/// Shows the runs that a law was fitted on, with the law's prediction for each.
#[utoipa::path(
    get, path = "/v1/families/{family}/fit-quality", tag = TAG_LAWS,
    params(FamilyPath, FitQualityParams),
    responses(
        (status = OK, description = "A page of runs, or a picture of all",
            content((FitQualityView = "application/json"), (SvgPicture = "image/svg+xml"),
                (PngPicture = "image/png")),
            headers(("ETag" = String, description = "Of pictures alone: names of runs change"),
                ("Vary" = String, description = "`accept`"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = NOT_ACCEPTABLE, description = "`Accept` takes neither JSON nor SVG nor PNG", body = Problem,
            content_type = "application/problem+json"),
        (status = CONFLICT, description = "The family has no law yet", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_fit_quality(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<FitQualityParams>,
    representation: Representation,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (limit, first, canvas) = params.check()?;
    let name = path.name()?;
    let (asked, freshness) = any_law(&state, &name, params.law_version).await?;
    if let Representation::Picture(format) = representation {
        let tag = asked.law.id.to_string();
        let sending = Sending { owner, known: &known, representation, tag, freshness };
        if let Some(response) = sending.not_modified() {
            return Ok(response);
        }
        let mut picture = picture(&state, name.as_str(), &asked, params.outliers).await?;
        picture.axes = params.axes.map_or_else(FitAxes::default, Into::into);
        return sending.send_picture(&state, format, move || picture.svg(canvas)).await;
    }
    let (pool, id) = (&state.pool, asked.law.id);
    // One run more than the page, to see whether there is a next page.
    let mut runs = law_evidence::list_law_runs(pool, id, params.outliers, first, limit + 1).await?;
    let more = runs.len() as i64 > limit;
    runs.truncate(usize::from(params.limit));
    let last = runs.last().map(|(place, _)| (place + 1).to_string());
    let content = &asked.law.content;
    let fit = content.origin.fit();
    let view = FitQualityView {
        law: (&asked.law).into(),
        objective: fit.map(|fit| {
            let options = &fit.options.fit;
            ObjectiveView::new(options.residual, options.delta)
        }),
        delta: content.delta(),
        noise: fit.map(|fit| fit.diagnostics.noise),
        trust: asked.own_trust(),
        items: runs.into_iter().map(|(_, run)| run.into()).collect(),
        next_cursor: if more { last } else { None },
    };
    Ok(varying(Json(view).into_response()))
}

/// The most runs in a picture: more could not be told apart.
const MOST_DRAWN: usize = 10_000;

async fn picture(
    state: &AppState,
    family: &str,
    asked: &AskedLaw,
    outliers: bool,
) -> Result<FitPicture, ApiError> {
    let (pool, id) = (&state.pool, asked.law.id);
    // One run more, to see whether any are left out.
    let most = MOST_DRAWN as i64 + 1;
    let mut runs = law_evidence::list_law_runs(pool, id, outliers, 0, most).await?;
    let mut caption = caption(family, &asked.law, asked.warnings(false).iter().map(Arc::as_ref));
    if runs.len() > MOST_DRAWN {
        runs.truncate(MOST_DRAWN);
        caption.notes.push(format!(
            "Drawn are the first {MOST_DRAWN} by size, sparsity and data; the JSON answer has all"
        ));
    }
    let noise = asked.law.content.origin.fit().map(|fit| {
        let noise = fit.diagnostics.noise;
        match fit.options.fit.residual {
            Residual::Log => format!("residual noise {:.2} % of the loss", noise * 100.0),
            Residual::Linear => format!("residual noise {noise:.4} in the loss"),
        }
    });
    let point = |(_, NamedLawRun { run, .. }): (i64, NamedLawRun)| FittedPoint {
        measured: run.observation.loss.get(),
        predicted: run.fitted.predicted,
        residual: run.fitted.residual,
        sparsity: run.observation.sparsity.get(),
        outlier: run.fitted.outlier,
    };
    Ok(FitPicture {
        caption,
        runs: runs.into_iter().map(point).collect(),
        axes: FitAxes::Usual,
        outliers_only: outliers,
        noise: noise.map(|noise| format!("{noise} (robust standard deviation)")),
        without_runs: match asked.law.content.origin {
            Origin::Published(_) => "This law was published elsewhere: its runs are not here",
            Origin::Fitted(_) => "No run lies far off this law",
        },
    })
}

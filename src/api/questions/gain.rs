//! The gain of sparsity: the size of the dense model of equal loss, by sparsity.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Density, Factor, FormLaw, GainCurve, Interval, SampledForm, Sparsity, finite,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{KnownTags, cached};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    Look, PngPicture, Sending, SparsityAxisView, SvgPicture, ThemeView, caption, varying,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::values::{MAX_LEVELS, sparsities};
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::draw::{Canvas, GainPicture, GainPoint, SparsityAxis};

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_gain))
}

/// The sparsities at which to compute the gain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GainParams {
    /// Sparsities, at most 100. By default `0,0.25,0.5,0.75,0.875,0.9375`, in a picture 100 from 0 to 99.99 %, and for
    /// a law of the form `levels` all its levels, as it knows no other sparsities.
    #[param(default = "0,0.25,0.5,0.75,0.875,0.9375")]
    sparsities: Option<String>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
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
    /// The part of the horizontal axis that a picture shows, as its two ends, such as `0,0.9`; all of it by default.
    #[param(example = "0,0.9")]
    x_range: Option<String>,
    /// The part of the vertical axis that a picture shows, as its two ends; all of it by default.
    #[param(example = "1,3")]
    y_range: Option<String>,
    /// Spacing of the sparsities in a picture: `linear`, that is even, by default.
    #[param(inline)]
    axes: Option<SparsityAxisView>,
    /// A sparsity to mark in a picture, with its gain.
    #[param(minimum = 0, exclusive_maximum = 1)]
    mark: Option<f64>,
}

/// The sparsity of the point `at` of a curve: the points are closer to each other towards 1, where the gain is steep.
fn towards_one(at: usize) -> f64 {
    let left = 1.0 - at as f64 / MAX_LEVELS as f64;
    1.0 - left * left
}

impl GainParams {
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

    fn check(&self, representation: Representation) -> Result<(Vec<Sparsity>, Canvas), ApiError> {
        let mut checks = Checks::default();
        let sparsities = match (&self.sparsities, representation) {
            (Some(text), _) => sparsities("sparsities", text, &mut checks),
            (None, Representation::Json) => {
                sparsities("sparsities", "0,0.25,0.5,0.75,0.875,0.9375", &mut checks)
            }
            (None, _) => (0..MAX_LEVELS).map(|at| Sparsity::new(towards_one(at)).ok()).collect(),
        };
        if let Some(mark) = self.mark {
            checks.take("mark", Sparsity::new(mark));
        }
        let canvas = self.look().check(&mut checks);
        Ok((checks.finish(sparsities)?, canvas))
    }
}

impl GainsView {
    fn picture(&self, family: &str, asked: &AskedLaw, axis: SparsityAxis) -> GainPicture {
        let ends = |interval: IntervalView| (interval.low, interval.high);
        let point = |point: &GainView| GainPoint {
            sparsity: point.sparsity,
            gain: point.gain,
            interval: point.interval.map(ends),
        };
        GainPicture {
            caption: caption(family, &asked.law, self.warnings.iter().map(Arc::as_ref)),
            points: self.points.iter().map(point).collect(),
            limit: self.limit,
            limit_interval: self.limit_interval.map(ends),
            coverage: self.limit_interval.map(|interval| interval.level),
            mark: self.mark.as_ref().map(point),
            axis,
        }
    }
}

/// The gain of sparsity at an equal number of non-zero parameters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gains)]
pub struct GainsView {
    /// The law that the gains were computed from.
    law: Arc<LawRef>,
    /// The gain at each sparsity, in the order of the request.
    points: Vec<GainView>,
    /// The gain as the sparsity approaches 1, which no model exceeds. Null for a law of the form `levels`, and for one of
    /// the form `average_params` by which there is no such limit.
    #[schema(example = 3.64)]
    limit: Option<f64>,
    /// Interval of `limit`; null where the law has none.
    limit_interval: Option<IntervalView>,
    /// What to know before trusting the gains.
    warnings: Vec<Arc<WarningView>>,
    /// How far the gains can be trusted: as far as the worst of them.
    trust: TrustView,
    /// The gain at the sparsity to mark in the picture.
    #[serde(skip)]
    mark: Option<GainView>,
}

/// The gain at one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gain)]
pub struct GainView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Size of the dense model of equal loss on the same data, relative to the non-zero parameters.
    #[schema(example = 1.586)]
    gain: f64,
    /// Interval of the gain; null where the law has none.
    interval: Option<IntervalView>,
    /// The same size relative to all parameters, zeros included: `(1 - sparsity) gain`.
    #[schema(example = 0.793)]
    total_params_gain: f64,
    /// How far this gain can be trusted.
    trust: TrustView,
}

/// How far a gain can be trusted, by its interval and by how far the sparsity lies outside the runs.
fn trust_of(
    asked: &AskedLaw,
    density: Density,
    gain: f64,
    interval: Option<Interval>,
) -> TrustView {
    let width = relative_width(interval.map(Into::into), gain);
    let outside = asked.law.content.support.sparsity_outside(density);
    asked.trust(width, outside.as_slice())
}

fn gains(
    asked: &AskedLaw,
    sparsities: &[Sparsity],
    mark: Option<Sparsity>,
    intervals: bool,
) -> Result<GainsView, ApiError> {
    asked.require_gain("the gain")?;
    let ensemble = asked.sampled.ensemble().filter(|_| intervals);
    let gain = |density: Density| -> Result<Factor, ApiError> {
        let gain = Factor::gain(asked.sampled.coefficients(), ensemble, density);
        finite("the gain", gain.value)?;
        Ok(gain)
    };
    let point = |sparsity: &Sparsity| {
        let density = sparsity.density();
        let gain = gain(density)?;
        Ok(GainView {
            level: None,
            sparsity: sparsity.get(),
            gain: gain.value,
            interval: gain.interval.map(Into::into),
            total_params_gain: gain.times(density.get()).value,
            trust: trust_of(asked, density, gain.value, gain.interval),
        })
    };
    let points = sparsities.iter().map(point).collect::<Result<Vec<_>, ApiError>>()?;
    let rises_without_end =
        asked.sampled.coefficients().gain_curve().is_some_and(GainCurve::has_no_limit);
    let limit = if rises_without_end { None } else { Some(gain(Density::clamped(0.0))?) };
    Ok(GainsView {
        law: asked.reference.clone(),
        trust: asked.trust_of_parts(points.iter().map(|point| &point.trust)),
        points,
        limit: limit.as_ref().map(|limit| limit.value),
        limit_interval: limit.and_then(|limit| limit.interval).map(Into::into),
        warnings: asked.warnings(intervals),
        mark: mark.as_ref().map(point).transpose()?,
    })
}

/// The gains at levels of a law: at the given sparsities, or at all levels.
fn level_gains(
    asked: &AskedLaw,
    own: &SampledForm,
    given: Option<&[Sparsity]>,
    intervals: bool,
) -> Result<GainsView, ApiError> {
    let FormLaw::Levels(law) = own.law() else {
        return Err(asked.no_level(own.law(), Density::DENSE));
    };
    let point = |(sparsity, places): (Sparsity, Option<usize>)| {
        let density = sparsity.density();
        let here = match places {
            Some(place) => law.levels.get(place),
            None => law.level(density),
        };
        let Some(here) = here else { return Err(asked.no_level(own.law(), density)) };
        let place = law.levels.iter().position(|level| level == here);
        let gain = |law: &FormLaw| law.level(place)?.gain;
        let Some(value) = here.gain else {
            return Err(ApiError::Undetermined(format!(
                "none of the levels of law {} is dense, so that nothing is known of what sparsity is worth beside \
                 dense models: submit dense runs and refit",
                asked.law.version
            )));
        };
        let interval = if intervals { own.interval(gain) } else { None };
        Ok(GainView {
            level: here.name.clone(),
            sparsity: sparsity.get(),
            gain: finite("the gain", value)?,
            interval: interval.map(Into::into),
            total_params_gain: value * density.get(),
            trust: asked.trust(relative_width(interval.map(Into::into), value), &[]),
        })
    };
    let of_all = || own.law().levels().unwrap_or_default().into_iter().enumerate();
    let points = match given {
        Some(given) => given.iter().map(|sparsity| point((*sparsity, None))).collect(),
        None => of_all().map(|(place, sparsity)| point((sparsity, Some(place)))).collect(),
    };
    let points: Result<Vec<GainView>, ApiError> = points;
    let points = points?;
    Ok(GainsView {
        law: asked.reference.clone(),
        trust: asked.trust_of_parts(points.iter().map(|point| &point.trust)),
        points,
        limit: None,
        limit_interval: None,
        warnings: asked.warnings(intervals),
        mark: None,
    })
}

/// Shows the gain of sparsity: the size of the dense model that a sparse one is worth.
#[utoipa::path(
    get, path = "/v1/families/{family}/gain", tag = TAG_QUESTIONS,
    params(FamilyPath, GainParams),
    responses(
        (status = OK, description = "The gain by sparsity, or a picture of it",
            content((GainsView = "application/json"), (SvgPicture = "image/svg+xml"), (PngPicture = "image/png")),
            headers(("ETag" = String, description = "Changes with the law and the representation"),
                ("Vary" = String, description = "`accept`"))),
        (status = NOT_ACCEPTABLE, description = "`Accept` takes neither JSON nor SVG nor PNG", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_gain(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<GainParams>,
    representation: Representation,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (sparsities, canvas) = params.check(representation)?;
    let name = path.name()?;
    let (asked, freshness) = any_law(&state, &name, params.law_version).await?;
    let levels = asked.own.as_ref().is_some_and(|own| own.law().levels().is_some());
    // Nothing can be drawn between levels.
    if !levels || representation != Representation::Json {
        asked.require_curve()?;
    }
    let given = params.sparsities.is_some();
    let tag = asked.tag.clone();
    let law = Arc::clone(&asked);
    let quick = !params.intervals || asked.is_quick(sparsities.len());
    let mark = params.mark.filter(|_| representation != Representation::Json);
    let mark = mark.and_then(|mark| Sparsity::new(mark).ok());
    let answer = move || match &law.own {
        None => gains(&law, &sparsities, mark, params.intervals),
        Some(own) => {
            let given = given.then_some(&*sparsities);
            level_gains(&law, own, given, params.intervals)
        }
    };
    if representation == Representation::Json && quick {
        return Ok(varying(cached(&known, &tag, freshness, answer)?));
    }
    let sending = Sending { owner, known: &known, representation, tag, freshness };
    let axis = params.axes.map_or(SparsityAxis::Linear, Into::into);
    let draw = move |view: &GainsView| view.picture(name.as_str(), &asked, axis).svg(canvas);
    sending.send(&state, answer, draw).await
}

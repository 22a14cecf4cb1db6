//! Predicted loss by sparsity, at one size and one budget.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Ceiling, Compute, Density, FormAnswer, LossCurve, LossPoint, NonzeroParams, Optimum, Question,
    SampledForm, Sparsity, TrainingCost, curve_densities,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::{Budget, BudgetView, GivenBudget, Spending};
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::own_answer;
use crate::api::questions::patterns::PatternView;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::KnownTags;
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    Look, PngPicture, Sending, SparsityAxisView, SvgPicture, ThemeView, caption,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::checks::Checks;
use crate::draw::{BestSparsity, Canvas, LossPicture, NamedLoss, SparsityAxis};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_loss_by_sparsity))
}

/// The size and the budget at which to predict losses.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LossBySparsityParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e8, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40. Give exactly one of this, `device_hours`, `days` and `cost`.
    #[param(example = 1e20, minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    flop_mode: String,
    /// The highest sparsity, at least 0 and below 1: the curve ends there, and the best sparsity is at most this.
    #[param(minimum = 0, exclusive_maximum = 1)]
    max_sparsity: Option<f64>,
    /// Points of the curve, spaced evenly by the logarithm of the density, from dense to well past the best sparsity:
    /// to a seventh of its density and to at least 95 % sparsity, but not past `max_sparsity`.
    #[serde(default = "LossBySparsityParams::default_points")]
    #[param(default = 41, minimum = 2, maximum = 400)]
    points: u32,
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
    /// The part of the horizontal axis that a picture shows, as its two ends, such as `0.5,0.9`; all of it by default.
    #[param(example = "0.5,0.9")]
    x_range: Option<String>,
    /// The part of the vertical axis that a picture shows, as its two ends; all of it by default.
    #[param(example = "2.1,2.6")]
    y_range: Option<String>,
    /// Spacing of the sparsities in a picture: `density`, that is even by the logarithm of the density, by default.
    #[param(inline)]
    axes: Option<SparsityAxisView>,
    /// A sparsity to mark in a picture, with its loss.
    #[param(minimum = 0, exclusive_maximum = 1)]
    mark: Option<f64>,
}

impl LossBySparsityParams {
    const fn default_points() -> u32 {
        41
    }

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

    fn check(&self) -> Result<(NonzeroParams, Spending, Option<Density>, Canvas), ApiError> {
        let mut checks = Checks::default();
        let (size, mode) = (self.nonzero_params, &*self.flop_mode);
        let given = GivenBudget([self.compute, self.device_hours, self.days, self.cost]);
        let question = Budget::check_spending(size, given, Some(mode), &mut checks);
        if !(2..=400).contains(&self.points) {
            checks.refuse("points", format!("must be between 2 and 400, not {}", self.points));
        }
        let highest = match self.max_sparsity {
            Some(highest) => checks.take("max_sparsity", Sparsity::new(highest)),
            None => None,
        };
        if let Some(mark) = self.mark {
            checks.take("mark", Sparsity::new(mark));
        }
        let canvas = self.look().check(&mut checks);
        let (nonzero_params, spending) = checks.finish(question)?;
        Ok((nonzero_params, spending, highest.map(Sparsity::density), canvas))
    }
}

/// Predicted loss by sparsity at one size and budget.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LossBySparsity)]
pub struct LossBySparsityView {
    /// The law that the losses were computed from.
    law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
    /// Non-zero parameters at the end of training.
    nonzero_params: f64,
    /// Training cost in FLOPs.
    compute: f64,
    /// The training cost in every currency that is known.
    budget: BudgetView,
    /// The sparsity with the lowest loss.
    optimum: LossOptimumView,
    /// The dense model with as many non-zero parameters and the same compute; null for a law of the form `levels`
    /// without a dense level.
    dense: Option<LossPointView>,
    /// The curve, dense first. For a law of the form `levels` these are its levels, whatever number of `points` was
    /// asked.
    points: Vec<LossPointView>,
    /// The quantities at the optimum that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the losses.
    warnings: Vec<Arc<WarningView>>,
    /// How far the optimum can be trusted.
    trust: TrustView,
    /// The best pattern of a hardware profile, for the picture.
    #[serde(skip)]
    pattern: Option<NamedLoss>,
    /// The sparsity to mark in the picture, and its loss.
    #[serde(skip)]
    mark: Option<[f64; 2]>,
}

/// The sparsity with the lowest loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LossOptimum)]
pub struct LossOptimumView {
    /// The sparsity; exactly 0 where zeros do not lower the loss.
    sparsity: f64,
    /// Interval of the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Predicted loss at the best sparsity.
    loss: f64,
    /// Interval of that loss; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    loss_interval: MaybeInterval,
    /// Data that the compute pays for at the best sparsity.
    data: f64,
}

/// The loss at one sparsity.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LossPoint)]
pub struct LossPointView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Predicted loss.
    #[schema(example = 2.4)]
    loss: f64,
    /// Interval of the mean loss; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Data that the compute pays for.
    data: f64,
}

impl LossPointView {
    fn new(point: LossPoint, intervals: bool) -> Self {
        Self {
            sparsity: point.density.sparsity().get(),
            level: None,
            loss: point.loss,
            interval: intervals.then(|| point.interval.map(Into::into)),
            data: point.data.get(),
        }
    }
}

/// What a picture shows besides the curve.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    /// Whether to find the best pattern, which only pictures show.
    pattern: bool,
    mark: Option<f64>,
}

fn losses(
    asked: &AskedLaw,
    (nonzero_params, compute): (NonzeroParams, Compute),
    mode: &Mode,
    least: Option<Density>,
    (points, intervals): (u32, bool),
    drawn: Drawn,
) -> Result<LossBySparsityView, ApiError> {
    let cost = mode.cost(asked);
    if let Some(own) = &asked.own {
        let question = (nonzero_params, compute);
        return own_losses(
            asked,
            own,
            question,
            (&cost, mode),
            least,
            (points, intervals),
            drawn.mark,
        );
    }
    asked.require_all("the optimal sparsity")?;
    if !cost.has_optimum() && least.is_none() {
        let detail = format!(
            "must be given, as with zeros from the first step on, which cost nothing in mode {}, the curve has no end",
            mode.name()
        );
        return Err(ApiError::field("/max_sparsity", detail));
    }
    let law = &asked.sampled;
    let curve = LossCurve { law, cost: &cost, nonzero_params, compute, least, intervals };
    let best = curve.best()?;
    let view = |point: LossPoint| LossPointView::new(point, intervals);
    let at_best = view(curve.at(best.density)?);
    let question = Question {
        nonzero_params,
        density: best.density,
        data: best.data,
        cost: Some(&cost),
        repetition: None,
    };
    let (extrapolation, warnings) = asked.caveats(&question, intervals);
    let interval = intervals.then(|| curve.best_interval(best.density).map(IntervalView::from));
    let trust = asked.trust(sparsity_width(interval.flatten()), &extrapolation);
    let pattern = match drawn.pattern {
        true => {
            let max_sparsity = least.map(Density::sparsity);
            let ceiling = Ceiling { max_sparsity, ..Ceiling::default() };
            mode.pattern(asked, (nonzero_params, compute), &best, &ceiling, false)?
        }
        false => None,
    };
    let mark = match drawn.mark.map(Sparsity::new) {
        Some(Ok(sparsity)) => Some([sparsity.get(), curve.at(sparsity.density())?.loss]),
        _ => None,
    };
    Ok(LossBySparsityView {
        pattern: pattern.and_then(PatternView::named_loss),
        mark,
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        nonzero_params: nonzero_params.get(),
        compute: compute.get(),
        budget: BudgetView::new(compute.get(), mode),
        optimum: LossOptimumView {
            sparsity: at_best.sparsity,
            interval,
            loss: at_best.loss,
            loss_interval: at_best.interval,
            data: at_best.data,
        },
        dense: Some(view(curve.at(Density::DENSE)?)),
        points: curve.points(best.density, points)?.into_iter().map(view).collect(),
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// The answer of a law of the form `experts`, which is a curve, or `levels`, which has points at its levels only.
fn own_losses(
    asked: &AskedLaw,
    own: &SampledForm,
    question: (NonzeroParams, Compute),
    (cost, mode): (&TrainingCost, &Mode),
    least: Option<Density>,
    (points, intervals): (u32, bool),
    mark: Option<f64>,
) -> Result<LossBySparsityView, ApiError> {
    let (nonzero_params, compute) = question;
    let bound = ("max_sparsity", least);
    let FormAnswer { found, choice, intervals: known } =
        own_answer(asked, own, (question, None), (cost, mode), bound, intervals)?;
    let view = |level: Option<usize>, model: Optimum| {
        let known = || own.loss_intervals_at(level, model.density, nonzero_params, model.data);
        LossPointView {
            sparsity: model.sparsity().get(),
            level: asked.level_name(level),
            loss: model.loss,
            interval: intervals.then(|| known().map(|(mean, _)| mean.into())),
            data: model.data.get(),
        }
    };
    let at = |density: Density| -> Result<LossPointView, ApiError> {
        let model = own.law().model(cost, (None, density), nonzero_params, compute, None)?;
        model.map(|model| view(None, model)).ok_or_else(|| asked.no_level(own.law(), density))
    };
    let best = found.best;
    let shown = match &choice {
        Some(choice) => choice.levels.iter().map(|level| view(level.level, level.model)).collect(),
        None => curve_densities(best.density, least, points).map(at).collect::<Result<_, _>>()?,
    };
    let at_question = Question {
        nonzero_params,
        density: best.density,
        data: best.data,
        cost: Some(cost),
        repetition: None,
    };
    let (extrapolation, warnings) = asked.caveats(&at_question, intervals);
    let interval = known.map(|known| IntervalView::from(known.sparsity));
    let of_loss = known.map(|known| IntervalView::from(known.loss));
    let width = match &choice {
        Some(_) => relative_width(of_loss, best.loss),
        None => sparsity_width(interval),
    };
    let trust = asked.trust(width, &extrapolation);
    let mark = match mark.map(Sparsity::new) {
        Some(Ok(sparsity)) => Some([sparsity.get(), at(sparsity.density())?.loss]),
        _ => None,
    };
    Ok(LossBySparsityView {
        pattern: None,
        mark,
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        nonzero_params: nonzero_params.get(),
        compute: compute.get(),
        budget: BudgetView::new(compute.get(), mode),
        optimum: LossOptimumView {
            sparsity: best.sparsity().get(),
            interval: intervals.then_some(interval),
            loss: best.loss,
            loss_interval: intervals.then_some(of_loss),
            data: best.data.get(),
        },
        dense: found.dense.map(|dense| view(found.dense_level, dense)),
        points: shown,
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

impl LossBySparsityView {
    fn picture(&self, family: &str, asked: &AskedLaw, axis: SparsityAxis) -> LossPicture {
        let mut caption = caption(family, &asked.law, self.warnings.iter().map(Arc::as_ref));
        let outside = self.extrapolation.iter().map(|outside| {
            format!("{} {:.1} times", outside.variable.replace('_', " "), outside.factor)
        });
        let outside: Vec<_> = outside.collect();
        if !outside.is_empty() {
            caption
                .notes
                .push(format!("Outside the runs at the best sparsity: {}", outside.join(", ")));
        }
        let band: Option<Vec<_>> = self
            .points
            .iter()
            .map(|point| point.interval.flatten().map(|i| [point.sparsity, i.low, i.high]))
            .collect();
        let interval = self.optimum.interval.flatten();
        LossPicture {
            caption,
            flop_mode: self.flop_mode.clone(),
            nonzero_params: self.nonzero_params,
            compute: self.compute,
            points: self.points.iter().map(|point| [point.sparsity, point.loss]).collect(),
            band,
            coverage: interval.map(|interval| interval.level),
            best: BestSparsity {
                sparsity: self.optimum.sparsity,
                interval: interval.map(|interval| (interval.low, interval.high)),
                loss: self.optimum.loss,
            },
            // A law without a dense model has no picture; this value would draw a line through the best sparsity.
            dense_loss: self.dense.as_ref().map_or(self.optimum.loss, |dense| dense.loss),
            pattern: self.pattern.clone(),
            mark: self.mark,
            axis,
        }
    }
}

/// Shows the predicted loss at every sparsity, for one size and budget.
#[utoipa::path(
    get, path = "/v1/families/{family}/loss-by-sparsity", tag = TAG_QUESTIONS,
    params(FamilyPath, LossBySparsityParams),
    responses(
        (status = OK, description = "The losses, or a picture of them",
            content((LossBySparsityView = "application/json"), (SvgPicture = "image/svg+xml"), (PngPicture = "image/png")),
            headers(("ETag" = String, description = "Changes with the law, the hardware profile and the representation"),
                ("Vary" = String, description = "`accept`"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = NOT_ACCEPTABLE, description = "`Accept` takes neither JSON nor SVG nor PNG", body = Problem,
            content_type = "application/problem+json"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_loss_by_sparsity(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<LossBySparsityParams>,
    representation: Representation,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (nonzero_params, spending, least, canvas) = params.check()?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let name = path.name()?;
    let (asked, freshness) = any_law(&state, &name, params.law_version).await?;
    let levels = asked.own.as_ref().is_some_and(|own| own.law().levels().is_some());
    if levels && representation != Representation::Json {
        // Nothing can be drawn between levels.
        asked.require_curve()?;
    }
    let (tag, freshness) = (mode.tag(&asked).into_owned(), mode.freshness(freshness));
    let sending = Sending { owner, known: &known, representation, tag, freshness };
    let law = Arc::clone(&asked);
    let question = (nonzero_params, spending.compute(&mode)?);
    let options = (params.points, params.intervals);
    let is_drawn = representation != Representation::Json;
    let drawn = Drawn { pattern: is_drawn, mark: params.mark.filter(|_| is_drawn) };
    let axis = params.axes.map_or_else(SparsityAxis::default, Into::into);
    let answer = move || losses(&law, question, &mode, least, options, drawn);
    let draw =
        move |view: &LossBySparsityView| view.picture(name.as_str(), &asked, axis).svg(canvas);
    sending.send(&state, answer, draw).await
}

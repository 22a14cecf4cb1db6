//! Comparison of two recipes: what the compute of one family is worth in compute of another.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    AnswerError, Compute, Crossing, Density, Exchange, Extrapolation, Question, Range, Recipe,
    RecipePair, RecipeSparsity, Sparsity, TrainingCost, best_recipe_density, best_recipe_level,
    pattern_multiplier,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::BudgetView;
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::questions::modes::{Mode, check_mode};
use crate::api::questions::plans::unknown_level;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{Freshness, KnownTags};
use crate::api::wire::extract::{Query, family_name};
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    PngPicture, Sending, SvgPicture, ThemeView, caption, check_canvas,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::domain::text::Pattern;
use crate::domain::trust::TrustCode;
use crate::draw::{Canvas, ExchangePicture};
use crate::live::keyring::Caller;

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_recipe_comparison))
}

/// Which recipes to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecipeComparisonParams {
    /// The family whose compute is the unit of the comparison.
    #[param(example = "t5-c4")]
    a: String,
    /// The family whose compute is measured in that unit.
    #[param(example = "t5-c4")]
    b: String,
    /// Version of the law of `a`; the active one by default.
    a_law_version: Option<i32>,
    /// Version of the law of `b`; the active one by default.
    b_law_version: Option<i32>,
    /// What a training step costs in both families: `dense`, `sparse`, or the name of a hardware profile. Each family
    /// keeps its own pruning schedule.
    #[param(example = "sparse")]
    flop_mode: String,
    /// Sparsity of the models of `a`. By default the sparsity that all its runs have, or else the best sparsity up to
    /// that of its sparsest run (0.95 where its runs are not known).
    #[param(example = 0, minimum = 0, exclusive_maximum = 1)]
    a_sparsity: Option<f64>,
    /// Sparsity of the models of `b`, with the same defaults as `a_sparsity`.
    #[param(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    b_sparsity: Option<f64>,
    /// Structured pattern of the models of `a`, in place of `a_sparsity`; worth what runs of the pattern show, if there
    /// are any.
    a_pattern: Option<String>,
    /// Structured pattern of the models of `b`, in place of `b_sparsity`.
    b_pattern: Option<String>,
    /// Lowest training compute; by default that of the cheapest run of both families (1e18 where no runs are known).
    #[param(example = 1e18, minimum = 1, maximum = 1e40)]
    min_compute: Option<f64>,
    /// Highest training compute; by default that of the most expensive run (1e22 where no runs are known).
    #[param(example = 1e22, minimum = 1, maximum = 1e40)]
    max_compute: Option<f64>,
    /// Number of computes to compare at, spaced evenly by logarithm; by default 9, or 49 in a picture.
    #[param(minimum = 2, maximum = 200)]
    points: Option<u32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
    /// Width of a picture in pixels, between 480 and 2400. Like `height` and `theme`, it has no effect on JSON.
    #[param(default = 800, minimum = 480, maximum = 2400)]
    width: Option<u32>,
    /// Height of a picture in pixels, between 360 and 1800.
    #[param(default = 540, minimum = 360, maximum = 1800)]
    height: Option<u32>,
    /// Colours of a picture; `light` by default.
    #[param(inline)]
    theme: Option<ThemeView>,
}

/// Where the zeros of one side are, as given in the request.
#[derive(Debug, Clone)]
enum GivenZeros {
    Best,
    Sparsity(Sparsity),
    Pattern(Pattern),
}

/// The parameter names of one side.
#[derive(Debug, Clone, Copy)]
struct Side {
    sparsity: &'static str,
    pattern: &'static str,
}

const A: Side = Side { sparsity: "a_sparsity", pattern: "a_pattern" };
const B: Side = Side { sparsity: "b_sparsity", pattern: "b_pattern" };

impl Side {
    fn check(
        self,
        sparsity: Option<f64>,
        pattern: Option<&str>,
        checks: &mut Checks,
    ) -> Option<GivenZeros> {
        match (sparsity, pattern) {
            (None, None) => Some(GivenZeros::Best),
            (Some(sparsity), None) => {
                checks.take(self.sparsity, Sparsity::new(sparsity)).map(GivenZeros::Sparsity)
            }
            (None, Some(pattern)) => {
                checks.take(self.pattern, Pattern::new(pattern)).map(GivenZeros::Pattern)
            }
            (Some(_), Some(_)) => {
                let detail = format!("must not be given beside {}", self.sparsity);
                checks.refuse(self.pattern, detail);
                None
            }
        }
    }
}

/// The checked question.
struct Asked {
    zeros: [GivenZeros; 2],
    ends: [Option<Compute>; 2],
    points: u32,
    intervals: bool,
}

impl RecipeComparisonParams {
    fn check(&self, representation: Representation) -> Result<(Asked, Canvas), ApiError> {
        let mut checks = Checks::default();
        check_mode(&self.flop_mode, &mut checks);
        let a = A.check(self.a_sparsity, self.a_pattern.as_deref(), &mut checks);
        let b = B.check(self.b_sparsity, self.b_pattern.as_deref(), &mut checks);
        let end = |field: &str, value: Option<f64>, checks: &mut Checks| {
            value.and_then(|value| checks.take(field, Compute::new(value)))
        };
        let ends = [
            end("min_compute", self.min_compute, &mut checks),
            end("max_compute", self.max_compute, &mut checks),
        ];
        if let [Some(min), Some(max)] = ends
            && min >= max
        {
            checks.refuse("max_compute", "must be above min_compute");
        }
        let usual = if representation == Representation::Json { 9 } else { 49 };
        let points = self.points.unwrap_or(usual);
        if !(2..=200).contains(&points) {
            checks.refuse("points", format!("must be between 2 and 200, not {points}"));
        }
        let canvas = check_canvas(self.width, self.height, self.theme, &mut checks);
        let (a, b) = checks.finish(a.zip(b))?;
        Ok((Asked { zeros: [a, b], ends, points, intervals: self.intervals }, canvas))
    }
}

/// What the compute of one recipe is worth in compute of another. At every compute, each recipe has its best model
/// size.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecipeComparison)]
pub struct RecipeComparisonView {
    /// The recipe whose compute is the unit.
    a: RecipeView,
    /// The recipe whose compute is measured.
    b: RecipeView,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
    /// The comparison in one number: at the middle of the computes, by logarithm.
    middle: ExchangeView,
    /// The comparison at each compute, in rising order.
    points: Vec<ExchangeView>,
    /// The computes within the range at which both recipes are equally good, in rising order.
    crossings: Vec<CrossingView>,
    /// What to know before trusting the comparison.
    warnings: Vec<Arc<WarningView>>,
    /// How far `middle` can be trusted: as far as the less trusted of the two laws.
    trust: TrustView,
}

/// One of the two recipes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recipe)]
pub struct RecipeView {
    /// Name of the family.
    #[schema(example = "t5-c4")]
    family: String,
    /// The law that the recipe's losses were computed from.
    law: Arc<LawRef>,
    /// Sparsity of the models.
    #[schema(example = 0.75)]
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Pattern of the zeros; null where zeros may lie anywhere, or there are none.
    #[schema(example = json!(null))]
    pattern: Option<String>,
    /// Whether the request gave the sparsity. Otherwise it is the sparsity of all runs, or the best one.
    given: bool,
    /// FLOPs of training relative to a dense model with as many non-zero parameters and as much data.
    #[schema(example = 2.125)]
    cost_multiplier: f64,
}

/// Both recipes at one compute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Exchange)]
pub struct ExchangeView {
    /// Training compute for both losses, in every currency that is known.
    budget: BudgetView,
    /// Lowest loss of `a` at this compute.
    #[schema(example = 2.31)]
    a_loss: f64,
    /// Lowest loss of `b` at this compute.
    #[schema(example = 2.27)]
    b_loss: f64,
    /// The compute with which `a` reaches the loss of `b`, relative to this compute: `b` is the worse recipe where it
    /// is below 1, and the better one where it is above 1. Null where no compute of `a` reaches the loss of `b`.
    #[schema(example = 1.31)]
    multiple: Option<f64>,
    /// Interval of `multiple`; null where a law has no resamples. An end of 1e300 means that some of the resampled laws
    /// of `a` never reach the loss of `b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: Option<Option<IntervalView>>,
    /// By what factor the farthest quantity of the best model of `a` lies outside its runs; null where all lie inside,
    /// and where the runs are not known.
    a_beyond: Option<f64>,
    /// By what factor the farthest quantity of the best model of `b` lies outside its runs; null as for `a_beyond`.
    b_beyond: Option<f64>,
}

/// A compute at which both recipes are equally good.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecipeCrossing)]
pub struct CrossingView {
    /// The compute.
    #[schema(example = 3e19)]
    compute: f64,
    /// Which recipe is better above this compute.
    better_above: BetterView,
}

/// One of the two recipes.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RecipeSide)]
pub enum BetterView {
    /// The recipe whose compute is the unit.
    A,
    /// The recipe whose compute is measured.
    B,
}

/// A side of the comparison: its law, sparsity, cost and worth.
struct Compared<'a> {
    asked: &'a AskedLaw,
    cost: TrainingCost,
    /// Density at the nominal sparsity.
    density: Density,
    recipe: RecipeSparsity,
    pattern: Option<String>,
    given: bool,
}

/// The highest sparsity to consider where neither the question nor the runs give one.
const SPARSEST: f64 = 0.95;
/// Range of computes where no runs are known.
const ANY_COMPUTE: Range = Range { min: 1e18, max: 1e22 };

impl<'a> Compared<'a> {
    fn new(
        asked: &'a AskedLaw,
        mode: &Mode,
        zeros: &GivenZeros,
        side: Side,
    ) -> Result<Self, ApiError> {
        asked.require_budgets("the comparison")?;
        let content = &asked.law.content;
        let cost = asked.cost(mode.step());
        let anywhere = |density: Density, given: bool, cost: TrainingCost| {
            let multiplier = cost.multiplier(density);
            let recipe = RecipeSparsity { effective: density, multiplier, level: None };
            Self { asked, cost, density, recipe, pattern: None, given }
        };
        let levels = content.support.levels();
        match zeros {
            GivenZeros::Sparsity(sparsity) => {
                let density = sparsity.density();
                asked.require_level(density)?;
                Ok(anywhere(density, true, cost))
            }
            GivenZeros::Pattern(pattern) => {
                if mode.patterns().is_some_and(|listed| !listed.contains(pattern)) {
                    let detail = "must be one of the patterns of the hardware profile";
                    return Err(ApiError::field(format!("/{}", side.pattern), detail));
                }
                if let Some(detail) = unknown_level(asked, pattern) {
                    return Err(ApiError::field(format!("/{}", side.pattern), detail));
                }
                let planned = mode.planned_patterns(asked, std::slice::from_ref(pattern));
                let Some(planned) = planned.first() else {
                    let detail = "has no worth that is in range by this law";
                    return Err(ApiError::field(format!("/{}", side.pattern), detail));
                };
                let nominal = planned.worth.nominal;
                let multiplier = match planned.step_cost {
                    None => cost.multiplier(nominal),
                    Some(step_cost) => pattern_multiplier(&content.pruning, step_cost, nominal),
                };
                let effective = planned.worth.density();
                // Runs with the pattern itself say what it is worth, if a law of levels has such a level.
                let level = asked.named_level(pattern.as_str(), nominal).ok();
                let recipe = RecipeSparsity { effective, multiplier, level };
                let pattern = Some(pattern.as_str().to_owned());
                Ok(Self { asked, cost, density: nominal, recipe, pattern, given: true })
            }
            GivenZeros::Best => {
                if let Some(own) = &asked.own {
                    let Some((level, density)) = best_recipe_level(own.law(), &cost) else {
                        let detail = format!(
                            "must be given: by the form {} which sparsity is best depends on the budget",
                            own.law().form().as_str()
                        );
                        return Err(ApiError::field(format!("/{}", side.sparsity), detail));
                    };
                    let mut best = anywhere(density, false, cost);
                    best.recipe.level = Some(level);
                    return Ok(best);
                }
                let [only] = levels else {
                    if let Err(error) = asked.require_all("the best sparsity of a recipe") {
                        // With several sparsities in the runs and no law that compares them, the request has to name
                        // one.
                        return match levels {
                            [] => Err(error),
                            _ => {
                                let named: Vec<String> =
                                    levels.iter().map(|level| level.sparsity.to_string()).collect();
                                let detail = format!(
                                    "must be given, as its runs do not tell which sparsity is best: they have {}",
                                    named.join(", ")
                                );
                                Err(ApiError::field(format!("/{}", side.sparsity), detail))
                            }
                        };
                    }
                    let sparsest = levels.last().map_or(SPARSEST, |level| level.sparsity);
                    let least = Density::clamped(1.0 - sparsest);
                    let best = best_recipe_density(asked.sampled.coefficients(), &cost, least);
                    return Ok(anywhere(best, false, cost));
                };
                Ok(anywhere(Density::clamped(1.0 - only.sparsity), false, cost))
            }
        }
    }

    fn recipe(&self, intervals: bool) -> Result<Recipe<'a>, ApiError> {
        let (law, ensemble) = self.asked.any_law();
        let flops = self.asked.law.content.flops_per_param;
        let recipe = Recipe::new(law, ensemble.filter(|_| intervals), flops, self.recipe);
        // The sparsity was checked before, so only coefficients that are out of range can be the reason.
        recipe.ok_or_else(|| {
            let detail = "the coefficients of the law are out of the range of numbers here";
            ApiError::NotRepresentable(detail.to_owned())
        })
    }

    /// The range of training computes of the law's runs, in the FLOP mode.
    fn computes(&self) -> Option<Range> {
        let per_unit = self.cost.flops_per_param().get();
        let levels = self.asked.law.content.support.levels().iter();
        let of = |level: &sparsity_law::law::SparsityLevel| {
            let times = per_unit * self.cost.multiplier(Density::clamped(1.0 - level.sparsity));
            let Range { min, max } = level.params_times_data;
            Range { min: min * times, max: max * times }
        };
        levels.map(of).reduce(Range::join)
    }

    /// By what factor the farthest quantity of the best model at a compute lies outside the runs; `None` where all lie
    /// inside. Refuses a compute at which the law does not know the loss.
    fn beyond(&self, recipe: &Recipe<'_>, compute: f64) -> Result<Option<f64>, ApiError> {
        let outside = self.outside(recipe, compute)?;
        Ok(outside.iter().map(|each| each.factor).reduce(f64::max))
    }

    /// The quantities of the best model at a compute that lie outside the runs.
    fn outside(&self, recipe: &Recipe<'_>, compute: f64) -> Result<Vec<Extrapolation>, ApiError> {
        let (nonzero_params, data) = recipe.curve.model(compute).map_err(AnswerError::from)?;
        let question =
            Question { nonzero_params, density: self.density, data, cost: None, repetition: None };
        self.asked.require_at(&question)?;
        Ok(self.asked.law.content.support.extrapolation(&question))
    }

    fn view(&self, family: &str) -> RecipeView {
        RecipeView {
            family: family.to_owned(),
            law: Arc::clone(&self.asked.reference),
            sparsity: self.density.sparsity().get(),
            level: self.asked.level_name(self.recipe.level),
            pattern: self.pattern.clone(),
            given: self.given,
            cost_multiplier: self.recipe.multiplier,
        }
    }
}

fn compare(
    laws: [&AskedLaw; 2],
    families: [&str; 2],
    mode: &Mode,
    question: &Asked,
) -> Result<RecipeComparisonView, ApiError> {
    let a = Compared::new(laws[0], mode, &question.zeros[0], A)?;
    let b = Compared::new(laws[1], mode, &question.zeros[1], B)?;
    let known = [&a, &b].into_iter().filter_map(Compared::computes).reduce(Range::join);
    let known = known.unwrap_or(ANY_COMPUTE);
    let end =
        |given: Option<Compute>, usual: f64| given.map_or(usual, Compute::get).clamp(1.0, 1e40);
    let range =
        Range { min: end(question.ends[0], known.min), max: end(question.ends[1], known.max) };
    if range.min >= range.max {
        let (field, other) = if question.ends[0].is_some() {
            ("min_compute", format!("below {:e}", range.max))
        } else {
            ("max_compute", format!("above {:e}", range.min))
        };
        let detail =
            format!("must be {other}, where the runs of both families end, or both ends given");
        return Err(ApiError::field(format!("/{field}"), detail));
    }
    let pair = RecipePair { a: a.recipe(question.intervals)?, b: b.recipe(question.intervals)? };
    let view = |compute: f64| -> Result<ExchangeView, ApiError> {
        let exchange = pair.at(Compute::new(compute).map_err(AnswerError::from)?)?;
        let Exchange { compute, a_loss, b_loss, multiple, interval } = exchange;
        Ok(ExchangeView {
            budget: BudgetView::new(compute, mode),
            a_loss,
            b_loss,
            multiple,
            interval: question.intervals.then(|| interval.map(IntervalView::from)),
            a_beyond: a.beyond(&pair.a, compute)?,
            b_beyond: b.beyond(&pair.b, compute)?,
        })
    };
    let last = f64::from(question.points - 1);
    let places = (0..question.points).map(|point| f64::from(point) / last);
    let computes = places.map(|share| range.at_share(share).clamp(range.min, range.max));
    let points = computes.map(view).collect::<Result<Vec<_>, ApiError>>()?;
    let middle = view(range.at_share(0.5))?;
    let mut warnings: Vec<Arc<WarningView>> = Vec::new();
    let (of_a, of_b) = (&laws[0].law.content, &laws[1].law.content);
    let other_data_unit = of_a.data_unit != of_b.data_unit;
    if other_data_unit {
        let detail = format!(
            "the data of {} are counted in {}, of {} in {}: the comparison is of losses by compute, and wants both \
             families to be evaluated on the same text",
            families[0], of_a.data_unit, families[1], of_b.data_unit
        );
        let code = TrustCode::OtherDataUnit.as_str();
        warnings.push(Arc::new(WarningView::new(code, detail)));
    }
    let unreached = points.iter().filter(|point| point.multiple.is_none()).count();
    if unreached > 0 {
        let detail = format!(
            "at {unreached} of {} computes no compute of {} reaches the loss of {}: it lies below what its law says \
             that no model can pass",
            points.len(),
            families[0],
            families[1]
        );
        warnings.push(Arc::new(WarningView::new("unreached", detail)));
    }
    for (side, family) in [&a, &b].into_iter().zip(families) {
        if let Some(warning) = side.asked.unmeasured(side.pattern.as_deref()) {
            warnings.push(Arc::clone(warning));
        }
        let own = side.asked.warnings(question.intervals);
        warnings.extend(own.iter().map(|warning| Arc::new(warning.about(family))));
        // If both sides have the same law, its warnings are listed only once.
        if laws[0].law.id == laws[1].law.id {
            break;
        }
    }
    let width = relative_width(middle.interval.flatten(), middle.multiple.unwrap_or(1.0));
    // Trust is about the number in the middle; each point shows itself how far outside the runs it is.
    let at = range.at_share(0.5);
    let [of_a, of_b] = [(&a, &pair.a), (&b, &pair.b)].map(|(side, recipe)| {
        let outside = side.outside(recipe, at)?;
        let mut trust = side.asked.trust(width, &outside);
        if side.asked.unmeasured(side.pattern.as_deref()).is_some() {
            trust.doubt(TrustCode::UnmeasuredPattern);
        }
        Ok::<_, ApiError>(trust)
    });
    let mut trust = of_a?.with(of_b?);
    if other_data_unit {
        trust.doubt(TrustCode::OtherDataUnit);
    }
    let crossings = pair.crossings(range).into_iter().map(CrossingView::from).collect();
    Ok(RecipeComparisonView {
        a: a.view(families[0]),
        b: b.view(families[1]),
        flop_mode: mode.name().to_owned(),
        middle,
        points,
        crossings,
        warnings,
        trust,
    })
}

impl From<Crossing> for CrossingView {
    fn from(crossing: Crossing) -> Self {
        let better_above = if crossing.b_above { BetterView::B } else { BetterView::A };
        Self { compute: crossing.compute, better_above }
    }
}

impl RecipeComparisonView {
    fn picture(&self, laws: [&AskedLaw; 2]) -> ExchangePicture {
        let mut caption =
            caption(&self.a.family, &laws[0].law, self.warnings.iter().map(Arc::as_ref));
        let (a, b) = (&self.a, &self.b);
        let side = |recipe: &RecipeView| match &recipe.pattern {
            Some(pattern) => format!("{}, {pattern}", recipe.family),
            None if recipe.sparsity == 0.0 => format!("{}, dense", recipe.family),
            None => format!("{}, {:.1} % sparse", recipe.family, 100.0 * recipe.sparsity),
        };
        if laws[0].law.id != laws[1].law.id {
            let version = laws[1].law.version;
            caption.notes.insert(1, format!("Law {version} of {}", b.family));
        }
        let computes = self.points.iter().map(|point| point.budget.compute());
        let ends = [computes.clone().next(), computes.clone().next_back()];
        let at = |point: &ExchangeView| Some([point.budget.compute(), point.multiple?]);
        let band = |point: &ExchangeView| {
            let interval = point.interval.flatten()?;
            Some([point.budget.compute(), interval.low, interval.high])
        };
        ExchangePicture {
            caption,
            one: side(a),
            other: side(b),
            flop_mode: self.flop_mode.clone(),
            points: self.points.iter().filter_map(at).collect(),
            band: self.points.iter().map(band).collect(),
            coverage: self.middle.interval.flatten().map(|interval| interval.level),
            crossings: self.crossings.iter().map(|crossing| crossing.compute).collect(),
            range: ends.map(|end| end.unwrap_or(1.0)),
        }
    }
}

/// Compares two recipes at every compute, each with its best model: the compute with which one reaches the loss of the
/// other.
#[utoipa::path(
    get, path = "/v1/compare", tag = TAG_QUESTIONS, params(RecipeComparisonParams),
    responses(
        (status = OK, description = "The comparison, or a picture of it",
            content((RecipeComparisonView = "application/json"), (SvgPicture = "image/svg+xml"), (PngPicture = "image/png")),
            headers(("ETag" = String, description = "Changes with the laws, the hardware profile and the representation"),
                ("Vary" = String, description = "`accept`"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = NOT_FOUND, description = "There is no such family", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_ACCEPTABLE, description = "`Accept` takes neither JSON nor SVG nor PNG", body = Problem,
            content_type = "application/problem+json"),
        (status = CONFLICT, description = "A family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_recipe_comparison(
    State(state): State<AppState>,
    caller: Caller,
    Query(params): Query<RecipeComparisonParams>,
    representation: Representation,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (question, canvas) = params.check(representation)?;
    // The path does not contain a family, so no layer has checked yet whether the caller may access these two.
    for family in [&params.a, &params.b] {
        caller.require_family(family)?;
    }
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let (a, of_a) = any_law(&state, &family_name(&params.a)?, params.a_law_version).await?;
    let (b, of_b) = any_law(&state, &family_name(&params.b)?, params.b_law_version).await?;
    let tag = format!("{}.{}", mode.tag(&a), b.tag);
    let freshness = match (of_a, of_b) {
        // The answer is only as recent as the older of the two laws.
        (Freshness::AsOf(a), Freshness::AsOf(b)) => Freshness::AsOf(a.min(b)),
        (as_of @ Freshness::AsOf(_), _) | (_, as_of @ Freshness::AsOf(_)) => as_of,
        (Freshness::Pinned, Freshness::Pinned) => Freshness::Pinned,
        _ => Freshness::Revalidate,
    };
    let freshness = mode.freshness(freshness);
    let sending = Sending { owner, known: &known, representation, tag, freshness };
    let laws = [Arc::clone(&a), Arc::clone(&b)];
    let families = [params.a, params.b];
    let answer = move || {
        let [a, b] = &laws;
        compare([a, b], families.each_ref().map(String::as_str), &mode, &question)
    };
    let draw = move |view: &RecipeComparisonView| view.picture([&a, &b]).svg(canvas);
    sending.send(&state, answer, draw).await
}

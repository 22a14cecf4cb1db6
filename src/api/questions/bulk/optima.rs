//! The best sparsities for many budgets.

mod own;
mod request;
mod view;

use std::cell::RefCell;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use sparsity_law::law::{
    Ceiling, Compute, Data, Density, Extrapolation, NonzeroParams, Optimum, Question, Ranges,
    Recommendation, RecommendationIntervals, Repetition, TrainingCost,
};
use sparsity_law::pace::step;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use own::own_optima;
use request::{CreateOptimalSparsities, OptimalSparsityPoint, Sized};
use view::{OptimalSparsities, OptimalSparsityResult};

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::bounds::{
    Bounds, GivenBounds, GivenStorage, binding, free_density, require_optimum,
};
use crate::api::questions::budget::{Budget, BudgetView, Spending};
use crate::api::questions::bulk::points::{
    Axis, Modes, Named, Points, Table, assumed_repetition, check_points, check_work, cost_axis,
    count_points, request_unique_data, searched,
};
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::patterns::PatternView;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::columns::{BEYOND, ResultColumns};
use crate::api::wire::extract::{BulkBody, FamilyPath};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::rows;
use crate::api::wire::schemas::BinaryFile;
use crate::api::wire::views::{IntervalView, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::domain::currency::Currency;
use crate::domain::trust::TrustCode;

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_optimal_sparsities))
}

/// The questions of a request, and the law's answer to each.
struct Optima<'a> {
    asked: &'a AskedLaw,
    points: &'a Points<OptimalSparsityPoint>,
    questions: &'a [Sized],
    modes: &'a Modes,
    flop_mode: Option<&'a str>,
    repetition: Option<Repetition>,
    /// Whether the law only tells which of the measured sparsities is best.
    measured: bool,
    found: Vec<Recommendation>,
    /// Intervals of the best sparsity and of the loss at it, for each question; `None` where they are not wanted.
    intervals: Option<Vec<[Option<IntervalView>; 2]>>,
}

impl<'a> Optima<'a> {
    fn find(
        asked: &'a AskedLaw,
        points: &'a Points<OptimalSparsityPoint>,
        questions: &'a [Sized],
        modes: &'a Modes,
        (flop_mode, intervals, unique): (Option<&'a str>, bool, Option<Data>),
    ) -> Result<Self, ApiError> {
        let (measured, found) = (asked.knows_measured_sparsities_alone(), Vec::new());
        let repetition = asked.repetition(unique);
        let mut all = Self {
            asked,
            points,
            questions,
            modes,
            flop_mode,
            repetition,
            measured,
            found,
            intervals: None,
        };
        all.found = all.answers()?;
        if intervals {
            let intervals = (0..questions.len()).map(|at| all.intervals(at));
            all.intervals = Some(intervals.collect::<Result<_, _>>()?);
        }
        Ok(all)
    }

    fn question(&self, at: usize) -> (NonzeroParams, Compute) {
        let (nonzero_params, compute, _) = self.questions[at];
        (nonzero_params, compute)
    }

    fn ceiling(&self, at: usize) -> Ceiling {
        self.questions[at].2.ceiling(&self.mode(at).0)
    }

    /// The lowest density that the bounds of a point allow; `None` without bounds.
    fn least(&self, at: usize) -> Result<Option<Density>, ApiError> {
        let (nonzero_params, _) = self.question(at);
        Ok(self.ceiling(at).least_density(nonzero_params)?)
    }

    fn binding(&self, at: usize) -> Result<Vec<&'static str>, ApiError> {
        let (ceiling, question) = (self.ceiling(at), self.question(at));
        let (_, cost, _) = self.mode(at);
        if ceiling.is_none() {
            return Ok(Vec::new());
        }
        let free = if self.measured {
            let free = self.asked.best_measured(cost, question, None)?;
            free.map(|choice| choice.best().model.density)
        } else {
            free_density(self.asked, cost, question, self.repetition.as_ref())
        };
        binding(&ceiling, question.0, || free)
    }

    fn mode(&self, at: usize) -> &'a (Mode, TrainingCost, Ranges) {
        let own = self.points.as_slice()[at].flop_mode.as_deref();
        self.modes.of(own.or(self.flop_mode))
    }

    fn answers(&self) -> Result<Vec<Recommendation>, ApiError> {
        let law = &self.asked.law.content.coefficients;
        if self.measured {
            let answer = |at: usize| {
                let (_, cost, _) = self.mode(at);
                let (nonzero_params, compute) = self.question(at);
                let least = self.least(at)?;
                let choice = self.asked.best_measured(cost, (nonzero_params, compute), least)?;
                let Some(choice) = choice else { return Err(ApiError::NoLaw) };
                let found = choice.recommendation(law, cost, nonzero_params, compute);
                found.map_err(ApiError::from)
            };
            let answers = 0..self.questions.len();
            return answers
                .map(|at| answer(at).map_err(|error| self.points.error_at(at, error)))
                .collect();
        }
        let places = 0..self.questions.len();
        let free = self.questions.iter().all(|(_, _, bounds)| bounds.is_none());
        let plain = free && self.repetition.is_none();
        if plain && self.modes.costs.iter().all(|(_, cost, _)| cost.has_optimum()) {
            let share_cost = self.modes.costs.len() == 1;
            let questions: Vec<_> = places.map(|at| self.question(at)).collect();
            return Recommendation::all(law, &questions, share_cost, |at| &self.mode(at).1)
                .map_err(|(at, error)| self.points.error_at(at, error.into()));
        }
        let answer = |at: usize| {
            let (mode, cost, _) = self.mode(at);
            let (question, least) = (self.question(at), self.least(at)?);
            require_optimum(cost, least, mode)?;
            Ok(Recommendation::under(law, cost, question, least, self.repetition.as_ref())?)
        };
        places.map(|at| answer(at).map_err(|error| self.points.error_at(at, error))).collect()
    }

    fn intervals(&self, at: usize) -> Result<[Option<IntervalView>; 2], ApiError> {
        step();
        let (_, cost, _) = self.mode(at);
        let (nonzero_params, compute) = self.question(at);
        let sampled = &self.asked.sampled;
        let best = &self.found[at].best;
        if self.measured {
            let loss = sampled.loss_intervals(best.density, nonzero_params, best.data);
            return Ok([None, loss.map(|(mean, _)| mean.into())]);
        }
        let found = &self.found[at];
        let both = |known: Option<RecommendationIntervals>| {
            let (sparsity, loss) = known.map(|known| (known.sparsity, known.loss)).unzip();
            [sparsity, loss]
        };
        let least = self.least(at)?;
        let intervals = match (&self.repetition, least) {
            (Some(repetition), least) => {
                let question = (nonzero_params, compute);
                both(sampled.repeating_intervals(cost, question, repetition, least, found))
            }
            (None, None) => {
                let known = sampled.best_intervals(cost, nonzero_params, compute, best);
                known.map_or([None, None], |known| known.map(Some))
            }
            (None, Some(least)) => {
                both(sampled.bounded_intervals(least, cost, nonzero_params, compute, found))
            }
        };
        Ok(intervals.map(|interval| interval.map(Into::into)))
    }

    fn trust(&self, at: usize) -> TrustView {
        let [sparsity, loss] =
            self.intervals.as_ref().map_or([None, None], |intervals| intervals[at]);
        let width = if self.measured {
            relative_width(loss, self.found[at].best.loss)
        } else {
            sparsity_width(sparsity)
        };
        let outside: Vec<Extrapolation> = self.outside(at).into_iter().flatten().collect();
        let mut trust = self.asked.trust(width, &outside);
        let data = self.found[at].best.data;
        if self.asked.assumed_repetition(self.repetition.as_ref(), data).is_some() {
            trust.doubt(TrustCode::RepetitionAssumed);
        }
        if self.disagreement(at).is_some() {
            trust.doubt(TrustCode::FormsDisagree);
        }
        trust
    }

    /// The warning for a point at which another form of the law has a different answer.
    fn disagreement(&self, at: usize) -> Option<Arc<WarningView>> {
        let (_, _, bounds) = &self.questions[at];
        if self.measured || self.repetition.is_some() || !bounds.is_none() {
            return None;
        }
        let [sparsity, _] = self.intervals.as_ref()?[at];
        self.asked.disagreeing_forms(&self.mode(at).1, self.question(at), sparsity)
    }

    /// What to know before trusting any of the answers.
    fn warnings(&self) -> Vec<Arc<WarningView>> {
        let mut warnings = self.asked.warnings(self.intervals.is_some());
        let disagrees = |at: &usize| self.disagreement(*at).is_some();
        if (0..self.questions.len()).any(|at| disagrees(&at)) {
            let detail = "at some points, of which trust says so, other forms of the law predict held-out runs no \
                          worse and have their best sparsity outside the interval";
            let code = TrustCode::FormsDisagree.as_str();
            warnings.insert(0, Arc::new(WarningView::new(code, detail)));
        }
        let most = self.found.iter().map(|found| found.best.data.get()).fold(0.0, f64::max);
        if let Some(warning) = assumed_repetition(self.asked, self.repetition.as_ref(), most) {
            warnings.insert(0, warning);
        }
        warnings
    }

    fn outside(&self, at: usize) -> [Option<Extrapolation>; 4] {
        let (_, cost, ranges) = self.mode(at);
        let Optimum { density, data, .. } = self.found[at].best;
        let nonzero_params = self.questions[at].0;
        ranges.outside(&Question {
            nonzero_params,
            density,
            data,
            cost: Some(cost),
            repetition: self.repetition.as_ref(),
        })
    }

    fn interpolated(&self, at: usize) -> bool {
        let support = &self.asked.law.content.support;
        support.gap_around(self.found[at].best.sparsity()).is_some()
    }

    fn row(&self, at: usize) -> Result<OptimalSparsityResult, ApiError> {
        step();
        let (nonzero_params, compute) = self.question(at);
        let found = &self.found[at];
        let intervals = self.intervals.as_ref().map(|intervals| intervals[at]);
        let pattern = match self.measured || self.repetition.is_some() {
            true => Ok(None),
            false => self.mode(at).0.pattern(
                self.asked,
                self.question(at),
                &found.best,
                &self.ceiling(at),
                intervals.is_some(),
            ),
        };
        let pattern = pattern.map_err(|error| self.points.error_at(at, error))?;
        let mut trust = self.trust(at);
        if self.asked.unmeasured(pattern.as_ref().map(PatternView::name)).is_some() {
            trust.doubt(TrustCode::UnmeasuredPattern);
        }
        Ok(OptimalSparsityResult {
            nonzero_params: nonzero_params.get(),
            compute: compute.get(),
            budget: BudgetView::new(compute.get(), &self.mode(at).0),
            sparsity: found.best.sparsity().get(),
            best_measured_level: self.measured,
            level: None,
            binding: self.binding(at)?,
            interval: intervals.map(|[sparsity, _]| sparsity),
            loss: found.best.loss,
            loss_interval: intervals.map(|[_, loss]| loss),
            data: found.best.data.get(),
            active_params: self.asked.active_params(nonzero_params.get()),
            total_params: found.total_params,
            dense: Some(found.dense.into()),
            gain: Some(found.gain),
            chinchilla_ratio: Some(found.chinchilla_ratio),
            pattern,
            extrapolation: self.outside(at).into_iter().flatten().map(Into::into).collect(),
            interpolated: self.interpolated(at),
            trust,
        })
    }

    fn json(&self) -> Result<Response, ApiError> {
        let (row, failed) = (|at| self.row(at), RefCell::default());
        rows::json(self.questions.len(), &row, &failed, |results| OptimalSparsities {
            law: self.asked.reference.clone(),
            results,
            warnings: self.warnings(),
        })
    }

    fn arrow(&self) -> Result<Response, ApiError> {
        let (questions, found) = (self.questions, &self.found);
        let mut columns = ResultColumns::default();
        columns.numbers("nonzero_params", questions, |(size, ..)| size.get());
        columns.numbers("compute", questions, |(_, compute, _)| compute.get());
        let paid = |at: usize| BudgetView::new(questions[at].1.get(), &self.mode(at).0).paid();
        columns.maybe(["device_hours", "days", "cost"], questions.len(), paid);
        columns.numbers("sparsity", found, |found| found.best.sparsity().get());
        let intervals = self.intervals.as_deref();
        columns.interval(["sparsity_low", "sparsity_high"], intervals, |[sparsity, _]| *sparsity);
        columns.numbers("loss", found, |found| found.best.loss);
        columns.interval(["loss_low", "loss_high"], intervals, |[_, loss]| *loss);
        columns.numbers("data", found, |found| found.best.data.get());
        columns.numbers("total_params", found, |found| found.total_params);
        columns.numbers("dense_loss", found, |found| found.dense.loss);
        columns.numbers("dense_data", found, |found| found.dense.data.get());
        columns.numbers("gain", found, |found| found.gain);
        columns.numbers("chinchilla_ratio", found, |found| found.chinchilla_ratio);
        let beyond = |at: usize| {
            let outside = self.outside(at);
            let of =
                |(_, variable)| outside.iter().flatten().find(|each| each.variable == variable);
            BEYOND.map(|column| of(column).map(|each| each.factor))
        };
        columns.caveats(found.len(), beyond, |at| self.interpolated(at));
        let binding = (0..found.len()).map(|at| self.binding(at));
        columns.lists("binding", &binding.collect::<Result<Vec<_>, _>>()?);
        columns.trust(found.len(), |at| self.trust(at));
        columns.stream(&self.asked.reference, &self.warnings())
    }
}

/// Finds the best sparsities for up to 100,000 training budgets, in order.
#[utoipa::path(
    post, path = "/v1/families/{family}/optimal-sparsities", tag = TAG_QUESTIONS,
    params(FamilyPath), request_body = CreateOptimalSparsities,
    responses(
        (status = OK, description = "The best sparsities; as an Arrow stream by columns, numbers only", content(
            (OptimalSparsities = "application/json"),
            (BinaryFile = "application/vnd.apache.arrow.stream"),
        )),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_optimal_sparsities(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    table: Table,
    owner: Owner,
    BulkBody(body, arrived): BulkBody<CreateOptimalSparsities>,
) -> Result<Response, ApiError> {
    let CreateOptimalSparsities { points, nonzero_params, compute, flop_mode, .. } = body;
    let (law_version, intervals) = (body.law_version, body.intervals);
    let unique = request_unique_data(body.unique_data)?;
    let storage = GivenStorage { storage: body.storage, bits_per_param: body.bits_per_param };
    let all = GivenBounds {
        max_total_params: body.max_total_params,
        memory_bytes: body.memory_bytes,
        max_sparsity: body.max_sparsity,
    };
    // Errors in the settings for all points are reported once, rather than for each point.
    let mut checks = Checks::default();
    let in_points = points.iter().flatten().any(|point| point.memory_bytes.is_some());
    storage.require_memory(all.memory_bytes.is_some() || in_points, &mut checks);
    let checked = all.check(storage, &mut checks);
    checks.finish(checked)?;
    let (cost, currency) = cost_axis([compute, body.device_hours, body.days, body.cost])?;
    let axes = [Axis::nonzero_params(nonzero_params), cost];
    let of_currency = move |which: Currency, value: f64| (which == currency).then_some(value);
    let listed = points.as_ref().map(Vec::len);
    let held = state.answer_points.hold(owner, count_points(listed, &axes)).await?;
    drop(arrived);
    let default = flop_mode.clone();
    let check = move || {
        let default = default.as_deref();
        let points = Points::new(points, axes, |[nonzero_params, cost]| OptimalSparsityPoint {
            nonzero_params,
            compute: of_currency(Currency::Compute, cost),
            device_hours: of_currency(Currency::DeviceHours, cost),
            days: of_currency(Currency::Days, cost),
            cost: of_currency(Currency::Cost, cost),
            flop_mode: None,
            max_total_params: None,
            memory_bytes: None,
            max_sparsity: None,
        })?;
        let questions = points.check(|point, checks| {
            let mode = point.flop_mode.as_deref().or(default);
            let sized = Budget::check_spending(point.nonzero_params, point.budget(), mode, checks);
            let bounds = point.bounds().or(all).check(storage, checks);
            sized.zip(bounds).map(|((size, spending), bounds)| (size, spending, bounds))
        })?;
        let names = points.as_slice().iter().map(|point| (point.flop_mode.as_deref(), default));
        let named = Named::all(names)?;
        Ok((points, questions, named))
    };
    let (points, questions, named) = check_points(&state, &owner, listed, check).await?;
    let (asked, freshness) = any_law(&state, &path.name()?, law_version).await?;
    if asked.own.is_some() {
        asked.require_budgets("the optimal sparsity")?;
    } else if !asked.knows_measured_sparsities_alone() || unique.is_some() {
        asked.require_all("the optimal sparsity")?;
    }
    let modes = Modes::find(&state, &asked, named).await?;
    let why = searched(&modes, &asked, unique);
    check_work(&state, &asked, intervals, questions.len(), why)?;
    let answer = move || {
        let default = flop_mode.as_deref();
        let in_mode = |(at, (size, spending, bounds)): (usize, (_, Spending, Bounds))| {
            let (mode, ..) = modes.of(points.as_slice()[at].flop_mode.as_deref().or(default));
            let compute = spending.compute(mode).map_err(|error| points.error_at(at, error))?;
            Ok((size, compute, bounds))
        };
        let questions = questions.into_iter().enumerate().map(in_mode);
        let questions = questions.collect::<Result<Vec<Sized>, ApiError>>()?;
        let options = (default, intervals, unique);
        if let Some(law) = &asked.own {
            return own_optima(&asked, law, (&points, &questions), &modes, options, table);
        }
        let optima = Optima::find(&asked, &points, &questions, &modes, options)?;
        match table {
            Table::Json => optima.json(),
            Table::Arrow => optima.arrow(),
        }
    };
    let mut response = held.with(state.threads.run(owner, answer).await?);
    freshness.mark(&mut response);
    Ok(response)
}

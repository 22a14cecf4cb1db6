//! What to run next, so that the interval of an answer narrows most.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{
    ChosenRun, DesignError, FitConfig, Knowledge, Observations, PlannedRun, usual_levels,
};
use sparsity_law::law::{
    AnswerError, CoefficientName, Coefficients, Compute, Data, Density, Extrapolation, Member,
    NonzeroParams, Question, Sparsity, TrainingCost, finite, optimal_density, quantile,
};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::questions::asked::asked_law;
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::{Mode, check_mode};
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::extract::{FamilyPath, JsonBody};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::values::{Spacing, ValuesBody, check_list};
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, ResidualView, WarningView};
use crate::domain::checks::{Checks, FieldError};
use crate::store::law_evidence;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_suggestions))
}

/// The most runs that are suggested together.
const MAX_RUNS: u32 = 20;
/// The most values of one quantity of the grid.
const MAX_VALUES: usize = 1000;
/// How ranges of a grid are read.
const EVEN: (usize, Spacing) = (MAX_VALUES, Spacing::Logarithmic);
/// The most runs of the grid.
const MAX_CANDIDATES: usize = 20_000;
/// Levels of each quantity that a grid takes from the runs.
const USUAL_LEVELS: usize = 12;

/// What to narrow, and what may be run for it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuggestionRequest, example = json!({
    "target": {"optimal_sparsity": {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "sparse"}},
    "compute": 1e20, "runs": 3
}))]
pub struct SuggestionRequest {
    /// The answer whose interval is to be narrowed.
    target: TargetBody,
    /// FLOPs for all suggested runs together, between 1 and 1e40.
    #[schema(example = 1e20, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step of these runs costs: `dense`, `sparse`, or the name of a hardware profile.
    #[serde(default = "SuggestionRequest::default_mode")]
    #[schema(default = "dense")]
    flop_mode: String,
    /// Values that may be run; those that are left out are the levels of the law's runs (12 from the
    /// smallest to the largest where there are more) and one step beyond at each end, but no sparsity
    /// below 0. At most 20,000 runs in all.
    #[serde(default)]
    grid: GridBody,
    /// The most runs to suggest.
    #[serde(default = "SuggestionRequest::default_runs")]
    #[schema(default = 1, minimum = 1, maximum = 20)]
    runs: u32,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
}

/// The answer whose interval is to be narrowed: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "TargetFields")]
#[schema(as = SuggestionTarget)]
pub enum TargetBody {
    /// A coefficient of the law.
    Coefficient(CoefficientBody),
    /// The sparsity that makes the most of a training budget.
    OptimalSparsity(OptimumBody),
    /// The loss of a model.
    Prediction(PredictionBody),
}

/// A target as it is sent: serde takes a second key of an enum for broken JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFields {
    coefficient: Option<CoefficientBody>,
    optimal_sparsity: Option<OptimumBody>,
    prediction: Option<PredictionBody>,
}

impl TryFrom<TargetFields> for TargetBody {
    type Error = &'static str;

    fn try_from(fields: TargetFields) -> Result<Self, Self::Error> {
        match (fields.coefficient, fields.optimal_sparsity, fields.prediction) {
            (Some(name), None, None) => Ok(Self::Coefficient(name)),
            (None, Some(body), None) => Ok(Self::OptimalSparsity(body)),
            (None, None, Some(body)) => Ok(Self::Prediction(body)),
            _ => Err("must have one of coefficient, optimal_sparsity and prediction"),
        }
    }
}

/// A coefficient of the law.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CoefficientName)]
pub enum CoefficientBody {
    /// Capacity that sparsity costs.
    AS,
    /// Exponent of the density.
    BS,
    /// Capacity that is left as `S -> 1`.
    CS,
    /// Exponent of the non-zero parameters.
    BN,
    /// Scale of the data.
    AD,
    /// Exponent of the data.
    BD,
    /// Irreducible loss.
    C,
}

impl From<CoefficientBody> for CoefficientName {
    fn from(name: CoefficientBody) -> Self {
        match name {
            CoefficientBody::AS => Self::AS,
            CoefficientBody::BS => Self::BS,
            CoefficientBody::CS => Self::CS,
            CoefficientBody::BN => Self::BN,
            CoefficientBody::AD => Self::AD,
            CoefficientBody::BD => Self::BD,
            CoefficientBody::C => Self::C,
        }
    }
}

/// The question for an optimal sparsity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OptimalSparsityTarget)]
pub struct OptimumBody {
    /// Non-zero parameters at the end of training.
    #[schema(example = 5e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs.
    #[schema(example = 1e20, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
}

/// The question for a loss.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PredictionTarget)]
pub struct PredictionBody {
    /// Non-zero parameters at the end of training.
    #[schema(example = 1e8, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Fraction of zeros at the end of training.
    #[schema(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// Data seen in training, in the family's data unit.
    #[schema(example = 1e11, minimum = 1e-6, maximum = 1e30)]
    data: f64,
}

/// Values that may be run.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuggestionGrid)]
pub struct GridBody {
    /// Non-zero parameters.
    nonzero_params: Option<ValuesBody>,
    /// Sparsities, at most 1,000.
    #[schema(example = json!([0, 0.5, 0.75]), min_items = 1, max_items = 1000)]
    sparsity: Option<Vec<f64>>,
    /// Amounts of data, in the family's data unit.
    data: Option<ValuesBody>,
}

/// Values that may be run, checked; `None` for those of the law's runs.
#[derive(Debug, Default)]
struct Grid {
    nonzero_params: Option<Vec<NonzeroParams>>,
    sparsity: Option<Vec<Sparsity>>,
    data: Option<Vec<Data>>,
}

impl GridBody {
    fn check(&self, checks: &mut Checks) -> Grid {
        let Self { nonzero_params, sparsity, data } = self;
        Grid {
            nonzero_params: nonzero_params
                .as_ref()
                .and_then(|v| v.check("grid/nonzero_params", EVEN, NonzeroParams::new, checks)),
            sparsity: sparsity
                .as_ref()
                .and_then(|v| check_list(v, "grid/sparsity", MAX_VALUES, Sparsity::new, checks)),
            data: data.as_ref().and_then(|v| v.check("grid/data", EVEN, Data::new, checks)),
        }
    }
}

impl Grid {
    /// Every run of the grid.
    fn runs(
        self,
        observations: &Observations,
        cost: &TrainingCost,
    ) -> Result<Vec<PlannedRun>, ApiError> {
        // A step beyond the runs may lead out of a quantity's range; there it ends.
        let [sizes, densities, data] = usual_levels(observations, USUAL_LEVELS);
        let sizes = self.nonzero_params.unwrap_or_else(|| {
            sizes.into_iter().filter_map(|size| NonzeroParams::new(size).ok()).collect()
        });
        let sparsities = self.sparsity.unwrap_or_else(|| {
            let densities = densities.into_iter().rev();
            densities.filter_map(|x| Density::new(x).ok()).map(Density::sparsity).collect()
        });
        let data = self
            .data
            .unwrap_or_else(|| data.into_iter().filter_map(|data| Data::new(data).ok()).collect());
        let count = sizes.len() * sparsities.len() * data.len();
        if count > MAX_CANDIDATES {
            let detail = format!(
                "must be at most {MAX_CANDIDATES} runs, not {} sizes x {} sparsities x {} amounts \
                 of data",
                sizes.len(),
                sparsities.len(),
                data.len()
            );
            return Err(ApiError::field("/grid", detail));
        }
        let mut runs = Vec::with_capacity(count);
        for &nonzero_params in &sizes {
            for &sparsity in &sparsities {
                let run = |&data: &Data| {
                    let compute = cost.compute(sparsity.density(), nonzero_params, data);
                    PlannedRun { nonzero_params, sparsity, data, compute }
                };
                runs.extend(data.iter().map(run));
            }
        }
        Ok(runs)
    }
}

/// The answer to narrow, checked but for its mode.
#[derive(Debug, Clone, Copy)]
enum Target {
    Coefficient(CoefficientName),
    OptimalSparsity(NonzeroParams, Compute),
    Prediction(NonzeroParams, Density, Data),
}

impl TargetBody {
    fn check(&self) -> Result<Target, Vec<FieldError>> {
        match self {
            Self::Coefficient(name) => Ok(Target::Coefficient((*name).into())),
            Self::OptimalSparsity(body) => {
                let mut checks = Checks::below("/target/optimal_sparsity");
                let size = checks.take("nonzero_params", NonzeroParams::new(body.nonzero_params));
                let compute = checks.take("compute", Compute::new(body.compute));
                check_mode(&body.flop_mode, &mut checks);
                let target = size.zip(compute);
                checks.finish(target.map(|(size, compute)| Target::OptimalSparsity(size, compute)))
            }
            Self::Prediction(body) => {
                let mut checks = Checks::below("/target/prediction");
                let size = checks.take("nonzero_params", NonzeroParams::new(body.nonzero_params));
                let sparsity = checks.take("sparsity", Sparsity::new(body.sparsity));
                let data = checks.take("data", Data::new(body.data));
                let target = size.zip(sparsity).zip(data);
                checks.finish(target.map(|((size, sparsity), data)| {
                    Target::Prediction(size, sparsity.density(), data)
                }))
            }
        }
    }

    /// Name of the mode that it is about.
    fn flop_mode(&self) -> Option<&str> {
        match self {
            Self::OptimalSparsity(body) => Some(&body.flop_mode),
            Self::Coefficient(_) | Self::Prediction(_) => None,
        }
    }
}

impl SuggestionRequest {
    const fn default_runs() -> u32 {
        1
    }

    fn default_mode() -> String {
        "dense".to_owned()
    }

    fn check(&self) -> Result<(Target, Compute, Grid), ApiError> {
        let mut checks = Checks::default();
        let target = checks.absorb(self.target.check());
        let compute = checks.take("compute", Compute::new(self.compute));
        check_mode(&self.flop_mode, &mut checks);
        let grid = self.grid.check(&mut checks);
        if !(1..=MAX_RUNS).contains(&self.runs) {
            checks.refuse("runs", format!("must be between 1 and {MAX_RUNS}, not {}", self.runs));
        }
        let (target, compute) = checks.finish(target.zip(compute))?;
        Ok((target, compute, grid))
    }
}

/// What to run next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suggestions)]
pub struct SuggestionsView {
    /// The law that it was computed from.
    law: Arc<LawRef>,
    /// The answer as it stands.
    target: TargetView,
    /// The runs to make together, the one that narrows most first. One may come more than once:
    /// with another seed.
    suggestions: Vec<SuggestedRunView>,
    /// FLOPs of all of them.
    compute: f64,
    /// Width of the answer's interval after all of them over the width now.
    #[schema(example = 0.6)]
    expected_width_ratio: f64,
    /// Single runs, rising in cost, such that none of the grid is both cheaper and better; at most 8,
    /// spread over the costs.
    alternatives: Vec<SuggestedRunView>,
    /// What the expectation rests on.
    information: InformationView,
    /// The quantities of the target that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting it.
    warnings: Vec<Arc<WarningView>>,
}

/// An answer as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TargetAnswer)]
pub struct TargetView {
    /// What the law says.
    value: f64,
    /// Its interval; null where the law has none.
    interval: Option<IntervalView>,
}

/// A run that might be made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuggestedRun)]
pub struct SuggestedRunView {
    /// Non-zero parameters at the end of training.
    nonzero_params: f64,
    /// Fraction of zeros at the end of training.
    sparsity: f64,
    /// Data to see in training.
    data: f64,
    /// Its training cost in FLOPs.
    compute: f64,
    /// Loss that the law predicts.
    predicted_loss: f64,
    /// Width of the answer's interval after it, and after the suggestions before it, over the width
    /// now. Of an alternative, after it alone.
    #[schema(example = 0.8)]
    expected_width_ratio: f64,
    /// Its quantities that lie outside the runs behind the law: there the law's form is a conjecture.
    extrapolation: Vec<ExtrapolationView>,
}

/// What the expected widths rest on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DesignInformation)]
pub struct InformationView {
    /// Runs behind the law.
    runs: usize,
    /// Standard deviation of their residuals. A new run is taken to scatter as they do, and to count
    /// as one run of weight 1.
    #[schema(example = 0.005)]
    noise: f64,
    /// What the residuals are.
    residual: ResidualView,
}

/// Everything that an answer is computed from.
struct Asked {
    law: Arc<AskedLaw>,
    runs: Observations,
    fit: FitConfig,
    noise: f64,
    target: Target,
    /// Of the target, where it is about a training budget.
    target_cost: Option<TrainingCost>,
    /// Of the runs to make.
    cost: TrainingCost,
    budget: Compute,
    most: usize,
}

/// The resampled laws scatter so many times more or less than the linearised one before it is said.
const ROUGH: f64 = 2.0;

impl Asked {
    /// The target by a law, in the logarithm where it has a scale: what is linearised.
    fn answer(&self, law: &Coefficients) -> Option<f64> {
        let value = self.value(law);
        match self.target {
            Target::Coefficient(_) | Target::Prediction(..) => Some(value.ln()),
            Target::OptimalSparsity(..) => Some(value),
        }
        .filter(|value| value.is_finite())
    }

    fn value(&self, law: &Coefficients) -> f64 {
        match (self.target, &self.target_cost) {
            (Target::Coefficient(name), _) => law.values().to_array()[name as usize],
            (Target::OptimalSparsity(size, compute), Some(cost)) => {
                optimal_density(law, cost, size, compute).sparsity().get()
            }
            (Target::Prediction(size, density, data), _) => law.loss(density, size, data),
            // A budget's target has its cost.
            (Target::OptimalSparsity(..), None) => f64::NAN,
        }
    }

    fn view(&self) -> Result<TargetView, ApiError> {
        let asked = &self.law;
        let law = &asked.law.content.coefficients;
        let interval = match (self.target, &self.target_cost) {
            (Target::OptimalSparsity(size, compute), Some(cost)) => {
                let best = optimal_density(law, cost, size, compute);
                asked.sampled.optimum_interval(cost, size, compute, best).map(Into::into)
            }
            _ => asked.interval(|member| self.value(&member.coefficients)),
        };
        Ok(TargetView { value: finite("the target", self.value(law))?, interval })
    }

    fn caveats(&self) -> Result<(Vec<Extrapolation>, Vec<Arc<WarningView>>), ApiError> {
        let law = &self.law.law.content.coefficients;
        match (self.target, &self.target_cost) {
            (Target::OptimalSparsity(nonzero_params, compute), Some(cost)) => {
                let density = optimal_density(law, cost, nonzero_params, compute);
                let data =
                    cost.data(density, nonzero_params, compute).map_err(AnswerError::from)?;
                let question = Question { nonzero_params, density, data, cost: Some(cost) };
                Ok(self.law.caveats(&question, true))
            }
            (Target::Prediction(nonzero_params, density, data), _) => {
                let question = Question { nonzero_params, density, data, cost: None };
                Ok(self.law.caveats(&question, true))
            }
            _ => Ok((Vec::new(), self.law.warnings(true))),
        }
    }

    /// Says so where the resampled laws scatter otherwise than the linearised one.
    fn doubt(&self, deviation: f64) -> Option<WarningView> {
        let ensemble = self.law.sampled.ensemble()?;
        let answer = |member: &Member| self.answer(&member.coefficients);
        let mut answers: Vec<f64> = ensemble.members().iter().filter_map(answer).collect();
        // Half the width of the middle 68 %: one standard deviation of a normal distribution.
        let ends = [0.841, 0.159].map(|share| quantile(&mut answers, share));
        let ratio = (ends[0] - ends[1]) / 2.0 / deviation;
        if (ROUGH.recip()..=ROUGH).contains(&ratio) {
            return None;
        }
        let detail = format!(
            "the resampled laws scatter {ratio:.2} times as far about this answer as the linearised \
             law does, so the expected widths are rough"
        );
        Some(WarningView::new("rough_expectation", detail))
    }

    fn run(&self, run: &PlannedRun, width_ratio: f64) -> Result<SuggestedRunView, ApiError> {
        let content = &self.law.law.content;
        let density = run.sparsity.density();
        let loss = content.coefficients.loss(density, run.nonzero_params, run.data);
        let question =
            Question { nonzero_params: run.nonzero_params, density, data: run.data, cost: None };
        let extrapolation = content.support.extrapolation(&question);
        Ok(SuggestedRunView {
            nonzero_params: run.nonzero_params.get(),
            sparsity: run.sparsity.get(),
            data: run.data.get(),
            compute: finite("the compute of a run", run.compute)?,
            predicted_loss: finite("the loss of a run", loss)?,
            expected_width_ratio: width_ratio,
            extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        })
    }

    fn unsuitable(&self, error: DesignError) -> ApiError {
        let advice = match (error, self.target) {
            (DesignError::NotRepresentable, _) => {
                return ApiError::NotRepresentable(error.to_string());
            }
            (DesignError::Settled, Target::OptimalSparsity(..)) => {
                ": the best sparsity sits at 0, or on a kink of the hardware profile; ask about \
                 another budget, or narrow a prediction"
            }
            (DesignError::Settled, Target::Coefficient(_)) => {
                ": the coefficient was held in the fit, or its term vanishes"
            }
            (DesignError::Settled, Target::Prediction(..)) => "",
            (DesignError::Singular, _) => ": submit runs with other values and refit",
        };
        ApiError::NoSuggestion(format!("{error}{advice}"))
    }

    fn suggest(&self, grid: Grid) -> Result<SuggestionsView, ApiError> {
        let content = &self.law.law.content;
        let candidates = grid.runs(&self.runs, &self.cost)?;
        let budget = self.budget.get();
        let target = self.view()?;
        let known = Knowledge::new(&content.coefficients, &self.runs, &self.fit, self.noise)
            .map_err(|error| self.unsuitable(error))?;
        let found = known
            .suggest(|law| self.answer(law), &candidates, budget, self.most)
            .map_err(|error| self.unsuitable(error))?;
        if found.runs.is_empty() {
            let least = candidates.iter().map(|run| run.compute).fold(f64::INFINITY, f64::min);
            let detail = format!(
                "pays for none of the {} runs of the grid, of which the cheapest costs {least:.3e}",
                candidates.len()
            );
            return Err(ApiError::field("/compute", detail));
        }
        let (extrapolation, mut warnings) = self.caveats()?;
        warnings.extend(self.doubt(found.deviation * self.noise).map(Arc::new));
        let views = |runs: &[ChosenRun]| {
            let view = |run: &ChosenRun| self.run(&candidates[run.candidate], run.width_ratio);
            runs.iter().map(view).collect::<Result<Vec<_>, ApiError>>()
        };
        let suggestions = views(&found.runs)?;
        Ok(SuggestionsView {
            law: self.law.reference.clone(),
            target,
            compute: suggestions.iter().map(|run| run.compute).sum(),
            expected_width_ratio: suggestions.last().map_or(1.0, |run| run.expected_width_ratio),
            suggestions,
            alternatives: views(&found.alternatives)?,
            information: InformationView {
                runs: self.runs.len(),
                noise: self.noise,
                residual: self.fit.residual.into(),
            },
            extrapolation: extrapolation.into_iter().map(Into::into).collect(),
            warnings,
        })
    }
}

/// Suggests the runs that narrow the interval of an answer most, within a budget.
///
/// By linearisation at the law: what is expected is rough where the runs leave much open, and the
/// warnings say so. One run is the best of the grid; several are a good plan, not surely the best.
#[utoipa::path(
    post, path = "/v1/families/{family}/suggestions", tag = TAG_QUESTIONS, params(FamilyPath),
    request_body = SuggestionRequest,
    responses(
        (status = OK, description = "The runs to make", body = SuggestionsView),
        (status = CONFLICT, description = "The family has no law yet, or its law is published elsewhere, does not \
            know what is asked, or is not moved by any run", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn create_suggestions(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<SuggestionRequest>,
) -> Result<Json<SuggestionsView>, ApiError> {
    let (target, budget, grid) = body.check()?;
    let mode = Mode::find(&state, &body.flop_mode).await?;
    let target_mode = match body.target.flop_mode() {
        Some(name) => Some(Mode::find_below(&state, "/target/optimal_sparsity", name).await?),
        None => None,
    };
    let (law, _) = asked_law(&state, &path.name()?, body.law_version).await?;
    law.require_all("what the next runs should be")?;
    let content = &law.law.content;
    let Some((options, diagnostics)) = content.options.as_ref().zip(content.diagnostics.as_ref())
    else {
        return Err(ApiError::NoSuggestion(format!(
            "law {} was published elsewhere: without its runs it is not known what another run \
             would add; submit runs and refit",
            law.law.version
        )));
    };
    let runs = law_evidence::list_law_runs(&state.pool, law.law.id, false, 0, i64::MAX).await?;
    let runs = runs.into_iter().map(|(_, named)| (named.run.observation, named.run.weight));
    let asked = Asked {
        runs: Observations::weighted(runs.collect()),
        fit: options.fit.clone(),
        noise: diagnostics.noise,
        target,
        target_cost: target_mode.map(|mode| law.cost(mode.step())),
        cost: law.cost(mode.step()),
        budget,
        // At most MAX_RUNS.
        most: body.runs as usize,
        law,
    };
    state.threads.run(move || asked.suggest(grid)).await.map(Json)
}

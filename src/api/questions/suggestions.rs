//! Which runs to make next, so that the interval of an answer narrows most.

mod request;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use sparsity_law::fit::{
    Contest, DesignError, FitConfig, Observations, PlannedRun, RunGrid, SuggestedRun,
    SuggestionError, SuggestionTask, Target,
};
use sparsity_law::law::{Compute, LevelCapacity, Question, SampledForm, TrainingCost};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use request::{SuggestionRequest, require_levels};
use view::{InformationView, SuggestedRunView, SuggestionsView, TargetView};

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::extract::{FamilyPath, JsonBody};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{IntervalView, WarningView};
use crate::domain::law_run::{NamedLawRun, fitted_set};
use crate::store::law_evidence;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_suggestions))
}

/// The law, and the question with everything looked up.
struct Asked {
    law: Arc<AskedLaw>,
    runs: Observations,
    /// The level names of `runs`, where they have names.
    names: Vec<Option<String>>,
    fit: FitConfig,
    noise: f64,
    target: Target,
    /// Cost of the runs to be made.
    cost: TrainingCost,
    budget: Compute,
    most: usize,
}

impl Asked {
    fn run(&self, suggested: &SuggestedRun) -> SuggestedRunView {
        let PlannedRun { nonzero_params, sparsity, level, data, compute } = suggested.run;
        let question = Question {
            nonzero_params,
            density: sparsity.density(),
            data,
            cost: None,
            repetition: None,
        };
        let extrapolation = self.law.law.content.support.extrapolation(&question);
        SuggestedRunView {
            nonzero_params: nonzero_params.get(),
            sparsity: sparsity.get(),
            level: self.law.level_name(level),
            data: data.get(),
            compute,
            predicted_loss: suggested.loss,
            expected_width_ratio: suggested.width_ratio,
            extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        }
    }

    /// The warning for an optimal sparsity that is a level of the law: it says what the suggested runs narrow instead.
    fn between_levels(&self, contest: &Contest) -> WarningView {
        let told = |place: usize| {
            let own = self.law.own.as_ref().map(SampledForm::law);
            own.and_then(|own| own.level(Some(place))).map(LevelCapacity::told).unwrap_or_default()
        };
        let lead = 100.0 * (contest.next.loss / contest.best.loss - 1.0);
        let detail = format!(
            "the best sparsity of this law is one of its levels: what these runs narrow is by how much its loss, at \
             sparsity {}, is below that of the next best, at {}, which is {lead:.3} % by the law",
            told(contest.best.level),
            told(contest.next.level)
        );
        WarningView::new("between_levels", detail)
    }

    fn refusal(&self, error: SuggestionError) -> ApiError {
        let error = match error {
            SuggestionError::Grid(error) => return ApiError::field("/grid", error.to_string()),
            SuggestionError::Unpaid { .. } => {
                return ApiError::field("/compute", error.to_string());
            }
            SuggestionError::Answer(error) => return error.into(),
            SuggestionError::Design(error) => error,
        };
        let advice = match (error, &self.target) {
            (DesignError::NotRepresentable, _) => {
                return ApiError::NotRepresentable(error.to_string());
            }
            (DesignError::Settled, Target::OptimalSparsity { .. }) if self.law.own.is_some() => {
                ": the best sparsity sits at 0, at the sparsest that is possible, or on a kink of the hardware \
                 profile; ask about another budget, or narrow a prediction"
            }
            (DesignError::Settled, Target::OptimalSparsity { .. }) => {
                ": the best sparsity sits at 0, or on a kink of the hardware profile; ask about \
                 another budget, or narrow a prediction"
            }
            (DesignError::Settled, Target::Coefficient(_) | Target::OwnCoefficient(_)) => {
                ": the coefficient was held in the fit, or its term vanishes"
            }
            (DesignError::Settled, Target::Loss { .. }) => "",
            (DesignError::Singular, _) => ": submit runs with other values and refit",
        };
        ApiError::NoSuggestion(format!("{error}{advice}"))
    }

    fn suggest(&self, grid: RunGrid) -> Result<SuggestionsView, ApiError> {
        let task = SuggestionTask {
            law: self.law.plan_law(),
            runs: &self.runs,
            names: &self.names,
            fit: &self.fit,
            noise: self.noise,
            target: &self.target,
            cost: &self.cost,
            budget: self.budget,
            most: self.most,
        };
        let found = task.suggest(grid).map_err(|error| self.refusal(error))?;
        let (extrapolation, mut warnings) = match &found.question {
            Some(question) => self.law.caveats(question, true),
            None => (Vec::new(), self.law.warnings(true)),
        };
        if let Some(ratio) = found.scatter_ratio {
            let detail = format!(
                "the resampled laws scatter {ratio:.2} times as far about this answer as the \
                 linearised law does, so the expected widths are rough"
            );
            warnings.push(Arc::new(WarningView::new("rough_expectation", detail)));
        }
        if let Some(contest) = &found.contest {
            warnings.push(Arc::new(self.between_levels(contest)));
        }
        let interval = found.interval.map(IntervalView::from);
        let width = match self.target {
            Target::OptimalSparsity { .. } => sparsity_width(interval),
            _ => relative_width(interval, found.value),
        };
        let trust = self.law.trust(width, &extrapolation);
        let views = |runs: &[SuggestedRun]| runs.iter().map(|run| self.run(run)).collect();
        Ok(SuggestionsView {
            law: self.law.reference.clone(),
            target: TargetView { value: found.value, interval: found.interval.map(Into::into) },
            compute: found.compute(),
            expected_width_ratio: found.width_ratio(),
            suggestions: views(&found.runs),
            alternatives: views(&found.alternatives),
            information: InformationView {
                runs: self.runs.len(),
                noise: self.noise,
                residual: self.fit.residual.into(),
            },
            extrapolation: extrapolation.into_iter().map(Into::into).collect(),
            warnings,
            trust,
        })
    }
}

/// Suggests the runs that narrow the interval of an answer most, within a budget.
///
/// The law is linearised, so the expected widths are rough where the runs leave much open, and a warning says so. A
/// single suggested run is the best of the grid; several together are a good plan, but not necessarily the best one.
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
    owner: Owner,
    JsonBody(body): JsonBody<SuggestionRequest>,
) -> Result<Json<SuggestionsView>, ApiError> {
    let (target, budget, grid) = body.check()?;
    let mode = Mode::find(&state, &body.flop_mode).await?;
    let target_mode = match body.target.flop_mode() {
        Some(name) => Some(Mode::find_below(&state, "/target/optimal_sparsity", name).await?),
        None => None,
    };
    let (law, _) = any_law(&state, &path.name()?, body.law_version).await?;
    if let Some(error) = law.without_own_gain("what the next runs should be") {
        return Err(error);
    }
    law.require_plans("what the next runs should be")?;
    let content = &law.law.content;
    let Some(fit) = content.origin.fit() else {
        return Err(ApiError::NoSuggestion(format!(
            "law {} was published elsewhere: without its runs it is not known what another run \
             would add; submit runs and refit",
            law.law.version
        )));
    };
    require_levels(&law, grid.sparsity.as_deref().unwrap_or_default())?;
    let target = target.of_law(&law, target_mode.as_ref().unwrap_or(&mode))?;
    if let Target::OptimalSparsity { cost, .. } = &target
        && !cost.has_optimum()
    {
        let detail = "with zeros from the first step on, which cost nothing in this mode, the best sparsity is the \
                      largest that is allowed, whatever runs say: narrow a prediction or a coefficient";
        return Err(ApiError::NoSuggestion(detail.to_owned()));
    }
    let (pool, id) = (state.pool.clone(), law.law.id);
    let load = async move { Ok(law_evidence::list_law_runs(&pool, id, false, 0, i64::MAX).await?) };
    let (decay, _) = content.repetition_decay();
    let asked = Asked {
        runs: Observations::new(Vec::new()),
        names: Vec::new(),
        fit: fit.options.fit.clone(),
        noise: fit.diagnostics.noise,
        target,
        cost: mode.cost(&law),
        budget,
        // At most `MAX_RUNS`, so this cannot truncate.
        most: body.runs as usize,
        law,
    };
    let suggest = move |runs: Vec<(i64, NamedLawRun)>| {
        let runs = runs.into_iter().map(|(_, named)| named.run);
        let own = asked.law.own.as_ref().map(SampledForm::law);
        let (runs, names) = fitted_set(runs, own).in_worth(Some(decay));
        Asked { runs, names, ..asked }.suggest(grid)
    };
    state.threads.run_on(owner, load, suggest).await.map(Json)
}

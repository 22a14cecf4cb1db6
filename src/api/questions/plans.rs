//! Plans: the best size, sparsity and amount of data under bounds.

mod infeasible;
mod request;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use sparsity_law::law::{
    Constraint, NoDense, PlanError, PlanQuestion, PlanSetting, PlannedModel, Question, Sparsity,
    Storage, StorageFormat,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use infeasible::{infeasible_lines, refusal};
use request::{CreatePlan, PlanRequest};
use view::{AssumedView, PlanView, PlannedModelView};

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::extract::{FamilyPath, JsonBody};
use crate::api::wire::problem::{ApiError, Problem};
use crate::domain::checks::Checks;
use crate::domain::text::Pattern;
use crate::domain::trust::TrustCode;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_plan))
}

fn plan(asked: &AskedLaw, mode: &Mode, request: &PlanRequest) -> Result<PlanView, ApiError> {
    asked.require_plans("a plan")?;
    let format = request.storage.unwrap_or_else(|| mode.storage());
    let allowed = allowed_patterns(asked, request, mode, format)?;
    let of_hardware = if asked.law.content.zeros.are_experts() {
        mode.planned_experts(asked)
    } else {
        let listed = mode.patterns().filter(|patterns| !patterns.is_empty());
        listed.map(|patterns| mode.planned_patterns(asked, patterns))
    };
    let patterns = allowed.as_deref().map(|patterns| mode.planned_patterns(asked, patterns));
    let setting = PlanSetting {
        law: asked.plan_law(),
        support: &asked.law.content.support,
        cost: mode.cost(asked),
        step: mode.step(),
        pruning: asked.law.content.pruning.clone(),
        storage: Storage::new(format, request.bits),
        inference_tokens: request.inference_tokens,
        repetition: asked.repetition(request.unique_data),
    };
    let found = setting.plan(&PlanQuestion {
        goal: request.goal,
        limits: request.limits,
        patterns: patterns.as_deref(),
        hardware_patterns: of_hardware.as_deref(),
        frontier_points: request.points,
        intervals: request.intervals,
    });
    let found = found.map_err(|error| match error {
        PlanError::Infeasible(infeasible) => refusal(&infeasible, request),
        PlanError::Answer(error) => error.into(),
    })?;

    let best = found.best.model;
    let (extrapolation, mut warnings) = match best.size_and_data() {
        Some((nonzero_params, data)) => {
            let density = best.scheme.density;
            let question = Question {
                nonzero_params,
                density,
                data,
                cost: Some(&setting.cost),
                repetition: setting.repetition.as_ref(),
            };
            asked.caveats(&question, request.intervals)
        }
        None => (Vec::new(), asked.warnings(request.intervals)),
    };
    // Warnings about this plan come before those about the law.
    for note in found.notes {
        warnings.insert(0, Arc::new(note.into()));
    }
    let trained = best.size_and_data().map(|(_, data)| data);
    let repetition = setting.repetition.as_ref();
    let assumed = trained.and_then(|data| asked.assumed_repetition(repetition, data));
    if let Some(warning) = assumed {
        warnings.insert(0, Arc::clone(warning));
    }
    let dense_reason = found.dense.as_ref().err().map(|why| match why {
        NoDense::Infeasible(why) => infeasible_lines(why, request).join("; "),
        NoDense::Unknown => {
            let version = asked.law.version;
            format!("law {version} has the form levels, and none of its levels is dense")
        }
    });
    let known = found.intervals.as_ref();
    // An interval between levels only reflects how far these lie apart, so trust depends on the interval of the loss.
    let width = if asked.own.as_ref().is_some_and(|own| own.law().levels().is_some()) {
        relative_width(known.map(|intervals| intervals.loss.into()), best.loss)
    } else {
        sparsity_width(known.map(|intervals| intervals.sparsity.into()))
    };
    let mut trust = asked.trust(width, &extrapolation);
    if assumed.is_some() {
        trust.doubt(TrustCode::RepetitionAssumed);
    }
    let unmeasured = {
        let planned = [Some(&found.best), found.pattern.as_ref()].into_iter().flatten();
        let mut names = planned.filter_map(|model| model.pattern.map(|pattern| pattern.name));
        names.find_map(|name| asked.unmeasured(Some(name)))
    };
    if let Some(warning) = unmeasured {
        warnings.insert(0, Arc::clone(warning));
        trust.doubt(TrustCode::UnmeasuredPattern);
    }
    let view = |planned: PlannedModel<'_>| PlannedModelView::new(planned, (asked, mode));
    Ok(PlanView {
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        goal: request.goal.into(),
        optimum: view(found.best),
        dense: found.dense.ok().map(view),
        dense_reason,
        dense_at_equal_loss: found.dense_at_equal_loss.map(view),
        pattern: found.pattern.map(view),
        binding: found.binding.into_iter().map(Constraint::as_str).collect(),
        frontier: found.frontier.into_iter().map(Into::into).collect(),
        intervals: request.intervals.then(|| found.intervals.map(Into::into)),
        assumed: AssumedView {
            storage: format.into(),
            bits_per_param: request.bits,
            max_sparsity: found.max_sparsity,
            patterns: allowed
                .map(|patterns| patterns.iter().map(|p| p.as_str().to_owned()).collect()),
        },
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// Why a law of levels knows nothing about a pattern; `None` where it does, and for laws of other forms.
pub(crate) fn unknown_level(asked: &AskedLaw, pattern: &Pattern) -> Option<String> {
    let density = Sparsity::new(pattern.sparsity()).ok()?.density();
    if asked.knows(density) || asked.named_level(pattern.as_str(), density).is_ok() {
        return None;
    }
    let levels = asked.own.as_ref().map(|own| own.law().levels_told()).unwrap_or_default();
    Some(format!(
        "must be of a sparsity that law {} knows, which are {levels}, not {}",
        asked.law.version,
        pattern.sparsity()
    ))
}

/// The patterns that a plan is restricted to; `None` where zeros may lie anywhere.
fn allowed_patterns(
    asked: &AskedLaw,
    request: &PlanRequest,
    mode: &Mode,
    format: StorageFormat,
) -> Result<Option<Vec<Pattern>>, ApiError> {
    let listed = mode.patterns();
    if asked.law.content.zeros.are_experts() {
        if request.patterns.is_some() {
            let detail = "must not be given of a family whose zeros are experts: it lists its mixtures itself";
            return Err(ApiError::field("/patterns", detail));
        }
        return Ok(None);
    }
    if let Some(patterns) = &request.patterns {
        let mut checks = Checks::default();
        for (i, pattern) in patterns.iter().enumerate() {
            if listed.is_some_and(|listed| !listed.contains(pattern)) {
                let detail = "must be one of the patterns of the hardware profile";
                checks.refuse(&format!("patterns/{i}"), detail);
            } else if let Some(detail) = unknown_level(asked, pattern) {
                checks.refuse(&format!("patterns/{i}"), detail);
            }
        }
        checks.finish(Some(()))?;
        return Ok(Some(patterns.clone()));
    }
    let by_patterns =
        format == StorageFormat::TwoOfFour && request.limits.has(Constraint::MemoryBytes);
    let of_the_format = || Pattern::new(StorageFormat::TwoOfFour.as_str()).into_iter().collect();
    Ok(by_patterns.then(|| match listed {
        Some(listed) if !listed.is_empty() => listed.to_vec(),
        _ => of_the_format(),
    }))
}

/// Plans a model: the best size, sparsity and amount of data under bounds.
#[utoipa::path(
    post, path = "/v1/families/{family}/plans", tag = TAG_QUESTIONS, params(FamilyPath),
    request_body = CreatePlan,
    responses(
        (status = OK, description = "The plan", body = PlanView),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "Fields are not valid, or no plan keeps every bound",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_plan(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    owner: Owner,
    JsonBody(body): JsonBody<CreatePlan>,
) -> Result<Response, ApiError> {
    let (flop_mode, law_version) = (body.flop_mode.clone(), body.law_version);
    let mut request = body.check()?;
    let mode = Mode::find(&state, &flop_mode).await?;
    if let Some(spending) = request.spending {
        let compute = spending.compute(&mode)?;
        request.limits = request.limits.with(Constraint::Compute, compute.get());
    }
    let (asked, freshness) = any_law(&state, &path.name()?, law_version).await?;
    // Planning takes up to a second of CPU time, too long for a thread that serves requests.
    let plan = state.threads.run(owner, move || plan(&asked, &mode, &request)).await?;
    let mut response = Json(plan).into_response();
    freshness.mark(&mut response);
    Ok(response)
}

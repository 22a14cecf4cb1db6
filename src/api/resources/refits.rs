//! `/v1/families/{family}/refits` and `/v1/refits/{id}`: fits of a family's runs on request.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{Constraint, Delta, FitConfig, Holdout};
use sparsity_law::law::LawForm;
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::layers::owner::Owner;
use crate::api::layers::places::Place;
use crate::api::resources::families::existing;
use crate::api::resources::laws::find_lender;
use crate::api::state::AppState;
use crate::api::tags::TAG_REFITS;
use crate::api::wire::extract::{
    FamilyPath, OptionalJsonBody, PageParams, Query, next_cursor, path_id,
};
use crate::api::wire::fit_options::{
    ConstraintView, DeltaView, FitOptionsView, FixedView, HoldoutView, ObjectiveView,
    TagWeightView, check_fit_config, check_weights,
};
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::api::wire::views::{BorrowView, FormsView, LawFormView};
use crate::domain::checks::Checks;
use crate::domain::family::{Family, FamilySettings};
use crate::domain::law_origin::Origin;
use crate::domain::page::PageRequest;
use crate::domain::refit::{Lender, LevelsBy, Refit, RefitOptions, RefitState};
use crate::domain::text::FamilyName;
use crate::domain::text::check_label;
use crate::live::keyring::Caller;
use crate::live::refit_watch::Seen;
use crate::store::refits::NewRefit;
use crate::store::{StoreError, law_evidence, laws, refits, runs};
use crate::telemetry::traces::Span;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_refits, create_refit))
        .routes(routes!(get_refit, delete_refit))
        .routes(routes!(list_refit_events))
}

/// A requested fit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Refit)]
pub struct RefitView {
    /// Id of the refit.
    id: Uuid,
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// State of the refit.
    state: RefitStateView,
    /// Share of the work that is done, from 0 to 1.
    #[schema(example = 0.5, minimum = 0, maximum = 1)]
    progress: f64,
    /// The phase that the work is in.
    #[schema(example = "resampling")]
    phase: String,
    /// The options of the fit.
    options: FitOptionsView,
    /// Version of the law that is fitted again and compared; null where the refit makes a new law.
    #[schema(example = json!(null))]
    reproduces: Option<i32>,
    /// The resulting law; null until there is one.
    law: Option<RefitLaw>,
    /// Why the refit failed; null where it did not.
    error: Option<Problem>,
    /// When the refit was requested.
    created_at: DateTime<Utc>,
    /// When a worker first took the refit.
    started_at: Option<DateTime<Utc>>,
    /// When the refit ended.
    finished_at: Option<DateTime<Utc>>,
}

/// A page of refits.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefitList {
    /// The refits, newest first.
    items: Vec<RefitView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// Which refits to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RefitsParams {
    /// The most items per page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Show only refits in this state.
    #[param(inline)]
    state: Option<RefitStateView>,
}

impl RefitsParams {
    fn check(self) -> Result<(Option<RefitState>, PageRequest), ApiError> {
        let request = PageParams { limit: self.limit, cursor: self.cursor }.check()?;
        Ok((self.state.map(RefitState::from), request))
    }
}

/// The law that resulted from a refit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefitLaw {
    /// Id of the law.
    pub(crate) id: Uuid,
    /// Version of the law within the family.
    #[schema(example = 1)]
    pub(crate) version: i32,
}

/// State of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RefitState)]
pub enum RefitStateView {
    /// Waiting for a worker.
    Queued,
    /// A worker is fitting.
    Running,
    /// Finished with a law.
    Succeeded,
    /// Finished with an error.
    Failed,
    /// Stopped on request.
    Cancelled,
}

impl From<RefitState> for RefitStateView {
    fn from(state: RefitState) -> Self {
        match state {
            RefitState::Queued => Self::Queued,
            RefitState::Running => Self::Running,
            RefitState::Succeeded => Self::Succeeded,
            RefitState::Failed => Self::Failed,
            RefitState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<RefitStateView> for RefitState {
    fn from(state: RefitStateView) -> Self {
        match state {
            RefitStateView::Queued => Self::Queued,
            RefitStateView::Running => Self::Running,
            RefitStateView::Succeeded => Self::Succeeded,
            RefitStateView::Failed => Self::Failed,
            RefitStateView::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Refit> for RefitView {
    fn from(refit: Refit) -> Self {
        Self {
            id: refit.id,
            family: refit.family,
            state: refit.state.into(),
            // Four digits are enough for anybody who watches the progress.
            progress: (refit.progress * 1e4).round() / 1e4,
            phase: refit.phase,
            options: FitOptionsView::new(refit.options, None),
            reproduces: refit.reproduces,
            law: refit.law.map(|(version, id)| RefitLaw { id, version }),
            error: refit
                .error
                .map(|error| Problem::new(ProblemKind::from(error.kind), error.detail)),
            created_at: refit.created_at,
            started_at: refit.started_at,
            finished_at: refit.finished_at,
        }
    }
}

/// How to fit. Options that are left out have their defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRefit {
    /// Number of random starts: 16 by default.
    #[schema(default = 16, minimum = 1, maximum = 4096)]
    starts: Option<u32>,
    /// Seed of the starts and resamples; the same runs, options and seed give the same law.
    #[schema(default = 0, maximum = 9_007_199_254_740_991_u64)]
    seed: Option<u64>,
    /// What is minimised: the family's objective by default.
    objective: Option<ObjectiveView>,
    /// Delta of the objective, where `objective` does not give it: `auto` or a number. The options that a refit or a
    /// law shows can be sent back unchanged: in them `delta` is the number that was used, and beside an objective whose
    /// delta is `auto` it does not fix delta.
    #[schema(example = "auto")]
    delta: Option<DeltaView>,
    /// Number of bootstrap resamples, from which all intervals are computed: 1000 by default. 0 for a law without
    /// intervals, otherwise between 100 and 10,000.
    #[schema(default = 1000, minimum = 0, maximum = 10_000)]
    bootstrap: Option<u32>,
    /// Nominal coverage of the intervals: 0.95 by default.
    #[schema(default = 0.95, minimum = 0.5, maximum = 0.999)]
    confidence: Option<f64>,
    /// Coefficients to hold fixed: `{"c": 0.65}` fixes the irreducible loss.
    fixed: Option<FixedView>,
    /// A condition that the fit has to satisfy; none by default.
    constraint: Option<ConstraintView>,
    /// Which runs to leave out in turn for validation: all four kinds by default, none with `[]`.
    holdout: Option<Vec<HoldoutView>>,
    /// Weights of runs by tag: at most 50 entries; the weights of all entries that match a run are multiplied.
    #[serde(default)]
    weights: Vec<TagWeightView>,
    /// Fits as if these runs did not exist: `external_id`s of runs that fits use, at most 1,000. The runs themselves do
    /// not change. The resulting law is a what-if: it answers only where its version is asked for, and never becomes
    /// the family's active law.
    #[serde(default)]
    #[schema(max_items = 1000, example = json!([]))]
    without: Vec<String>,
    /// Key of a tag that groups runs with common errors, such as the training, the sweep or the team that they belong
    /// to: runs with the same value are resampled together. By default each run is drawn on its own.
    #[schema(example = "training", min_length = 1, max_length = 200)]
    cluster: Option<String>,
    /// Form of the law, that is, how the loss depends on sparsity: `sparse` by default; `dense` for runs without zeros,
    /// and by default where `gain` is given; `average_params` counts the mean number of parameters over training;
    /// `levels` has one capacity for each sparsity and says nothing between them; `experts` is for mixtures of experts.
    #[schema(example = "sparse")]
    form: Option<LawFormView>,
    /// How the form `levels` tells runs of the same sparsity apart: with `pattern` each structured pattern has a
    /// capacity of its own, and runs with patterns are included in the fit; with `tag:recipe` each value of the tag
    /// `recipe` has one. Levels with fewer than three runs are left out, and a warning of the law lists them.
    #[schema(example = json!(null), pattern = "^(pattern|tag:.+)$")]
    levels: Option<String>,
    /// `all` also fits every other form that the runs can support, and ranks them by how well they predict held-out
    /// runs: see `rivals` of the law.
    #[schema(example = json!(null))]
    forms: Option<FormsView>,
    /// The gain of another family's law, for a family that has no runs with zeros.
    #[schema(example = json!(null))]
    gain: Option<BorrowView>,
    /// Version of a fitted law to fit again from its own runs and options, and to compare bit by bit. All other options
    /// must be left out.
    #[schema(example = json!(null))]
    reproduces: Option<i32>,
}

impl CreateRefit {
    fn check(self, family: &FamilySettings) -> Result<RefitOptions, ApiError> {
        let mut checks = Checks::default();
        let objective = check_objective(self.objective, self.delta, family, &mut checks);
        let default = FitConfig::default();
        let mut holdout = self
            .holdout
            .map_or(default.holdout, |asked| asked.into_iter().map(Holdout::from).collect());
        holdout.sort_unstable();
        holdout.dedup();
        let config = FitConfig {
            residual: objective.residual(),
            delta: objective.delta.0,
            starts: self.starts.unwrap_or(default.starts),
            seed: self.seed.unwrap_or_default(),
            bootstrap: self.bootstrap.unwrap_or(default.bootstrap),
            confidence: self.confidence.unwrap_or(default.confidence),
            fixed: self.fixed.unwrap_or_default().named().collect(),
            constraint: self.constraint.map(Constraint::from),
            holdout,
        };
        let config = check_fit_config(config, &mut checks);
        let form = check_form(self.form, self.gain.is_some(), &mut checks);
        if let Some(form) = form.filter(|form| form.has_own_coefficients()) {
            let detail = |what: &str| {
                format!(
                    "must be left out with the form {}: {what} those of other forms",
                    form.as_str()
                )
            };
            if config.as_ref().is_some_and(|config| !config.get().fixed.is_empty()) {
                checks.refuse("fixed", detail("the coefficients that can be held are"));
            }
            if self.constraint.is_some() {
                checks.refuse("constraint", detail("the coefficients that it is about are"));
            }
        }
        let levels = self.levels.and_then(|levels| {
            if form != Some(LawForm::Levels) {
                checks.refuse("levels", "must be left out without the form levels");
            } else if self.forms.is_some() {
                let detail = "must be left out beside forms: the others take every run of one sparsity for alike";
                checks.refuse("levels", detail);
            }
            match LevelsBy::try_from(levels) {
                Ok(levels) => Some(levels),
                Err(detail) => {
                    checks.refuse("levels", detail);
                    None
                }
            }
        });
        let weights = check_weights(self.weights, &mut checks);
        if let Some(tag) = &self.cluster {
            checks.take("cluster", check_label(tag));
        }
        let mut without = check_without(self.without, &mut checks);
        without.sort_unstable();
        without.dedup();
        let fit = checks.finish(config)?.get().clone();
        // The lender of a borrowed gain is looked up after the checks.
        let (all_forms, lender) = (self.forms.is_some(), None);
        let cluster = self.cluster;
        Ok(RefitOptions { fit, weights, without, cluster, form, levels, all_forms, lender })
    }

    /// Whether no option besides `reproduces` is given.
    fn is_bare(&self) -> bool {
        let Self {
            starts,
            seed,
            objective,
            delta,
            bootstrap,
            confidence,
            fixed,
            constraint,
            holdout,
            weights,
            without,
            cluster,
            form,
            levels,
            forms,
            gain,
            reproduces: _,
        } = self;
        starts.is_none()
            && seed.is_none()
            && objective.is_none()
            && delta.is_none()
            && bootstrap.is_none()
            && confidence.is_none()
            && fixed.is_none()
            && constraint.is_none()
            && holdout.is_none()
            && weights.is_empty()
            && without.is_empty()
            && cluster.is_none()
            && form.is_none()
            && levels.is_none()
            && forms.is_none()
            && gain.is_none()
    }
}

/// The objective to minimise, from `objective` and `delta` of the request and the family's default.
fn check_objective(
    objective: Option<ObjectiveView>,
    delta: Option<DeltaView>,
    family: &FamilySettings,
    checks: &mut Checks,
) -> ObjectiveView {
    let usual = || ObjectiveView::new(family.residual, family.delta);
    match (objective, delta) {
        (None, None) => usual(),
        (None, Some(delta)) => ObjectiveView { delta, ..usual() },
        (Some(objective), None) => objective,
        (Some(objective), Some(delta)) => {
            // A number beside `auto` is the delta that was used, as refits and laws show it, and does not fix delta.
            let found = objective.delta.0 == Delta::Auto;
            if let Some(held) = objective.delta.0.fixed().filter(|_| delta != objective.delta) {
                let detail = format!("must be that of objective, which is {held}, or left out");
                checks.refuse("delta", detail);
            } else if let Some(given) = delta.0.fixed().filter(|_| found) {
                let in_range = (1e-9..=1e6).contains(&given);
                if !in_range {
                    checks.refuse(
                        "delta",
                        format!("must be {}, not {given}", FitConfig::DELTA_RANGE),
                    );
                }
            }
            objective
        }
    }
}

/// The form of the law to fit; `None` for the form of the paper.
fn check_form(asked: Option<LawFormView>, borrows: bool, checks: &mut Checks) -> Option<LawForm> {
    match asked {
        Some(form) if borrows && form != LawFormView::Dense => {
            checks.refuse("form", "must be dense, or left out, where a gain is borrowed");
            None
        }
        None if borrows => Some(LawForm::Dense),
        None | Some(LawFormView::Sparse) => None,
        Some(form) => Some(form.into()),
    }
}

/// The most runs that a what-if leaves out: every law and refit lists them all.
const MOST_WITHOUT: usize = 1000;

fn check_without(without: Vec<String>, checks: &mut Checks) -> Vec<String> {
    if without.len() > MOST_WITHOUT {
        checks.refuse("without", format!("must be at most {MOST_WITHOUT}, not {}", without.len()));
        return Vec::new();
    }
    for (i, name) in without.iter().enumerate() {
        checks.take(&format!("without/{i}"), check_label(name));
    }
    without
}

/// Refuses to leave out runs that no fit uses, because the request must be mistaken about them.
async fn check_left_out(
    state: &AppState,
    family: &Family,
    asked: &[String],
) -> Result<(), ApiError> {
    if asked.is_empty() {
        return Ok(());
    }
    let found = runs::list_fit_run_names(&state.pool, family.id, asked).await?;
    let found: HashSet<String> = found.into_iter().collect();
    let mut checks = Checks::default();
    for (i, name) in asked.iter().enumerate().filter(|(_, name)| !found.contains(*name)) {
        let detail = format!("must be a run of this family that is not excluded, not {name:?}");
        checks.refuse(&format!("without/{i}"), detail);
    }
    Ok(checks.finish(Some(()))?)
}

/// Refuses to resample by a tag that no run has that fits use.
async fn check_cluster(
    state: &AppState,
    family: &Family,
    tag: Option<&str>,
) -> Result<(), ApiError> {
    let Some(tag) = tag else { return Ok(()) };
    if runs::find_fit_tag(&state.pool, family.id, tag).await? {
        return Ok(());
    }
    let detail = format!(
        "must be the key of a tag of this family's runs, not {tag:?}: no run that fits use has it"
    );
    Err(ApiError::field("/cluster", detail))
}

/// The options of a refit, and the law that it reproduces, if any.
async fn check_request(
    state: &AppState,
    caller: &Caller,
    family: &Family,
    body: CreateRefit,
) -> Result<(RefitOptions, Option<Uuid>), ApiError> {
    let Some(version) = body.reproduces else {
        let asked = body.without.clone();
        let gain = body.gain.clone();
        let mut options = body.check(&family.settings)?;
        if let Some(gain) = gain {
            let (version, _) = find_lender(state, caller, &gain).await?;
            options.lender = Some(Lender { family: gain.borrow, version });
        }
        check_left_out(state, family, &asked).await?;
        check_cluster(state, family, options.cluster.as_deref()).await?;
        return Ok((options, None));
    };
    if !body.is_bare() {
        let detail = "must be given alone: the law's own options are used";
        return Err(ApiError::field("/reproduces", detail));
    }
    let law = laws::find_law(&state.pool, &family.name, Some(version)).await?;
    let law = law.and_then(|law| match law.content.origin {
        Origin::Fitted(fit) => Some((fit.options, law.id)),
        Origin::Published(_) => None,
    });
    let (options, id) = law.ok_or_else(|| {
        let detail = format!("must be a version of this family's fitted laws, not {version}");
        ApiError::field("/reproduces", detail)
    })?;
    if law_evidence::list_law_runs(&state.pool, id, false, 0, 1).await?.is_empty() {
        let detail = "this law was fitted by a version that did not keep the runs of a law";
        return Err(ApiError::field("/reproduces", detail));
    }
    Ok((options, Some(id)))
}

/// Refuses a refit that would occupy a worker for too long; otherwise returns its work, in runs times starts and
/// resamples.
async fn check_work(
    state: &AppState,
    family: &Family,
    options: &RefitOptions,
) -> Result<i64, ApiError> {
    let runs = runs::count_fit_runs(&state.pool, family.id).await?.cast_unsigned();
    let (work, most) = (options.work(runs), state.limits.refit_work);
    if work > most {
        let each = u64::from(options.fit.starts) + u64::from(options.fit.bootstrap);
        let detail = format!(
            "{runs} runs times {each} starts and resamples are {work}, more than the service takes, {most} \
             (--max-refit-work): ask for at most {} of them together, or exclude runs",
            most / runs.max(1)
        );
        return Err(ApiError::field("/bootstrap", detail));
    }
    Ok(i64::try_from(work).unwrap_or(i64::MAX))
}

/// Requests a fit of the family's runs.
///
/// If a refit is queued already, it is returned instead, whatever its options. A queued what-if (`without`) is only
/// returned if its options are the same; other what-ifs are refused until it has started.
#[utoipa::path(
    post, path = "/v1/families/{family}/refits", tag = TAG_REFITS, params(FamilyPath),
    request_body = Option<CreateRefit>,
    responses(
        (status = ACCEPTED, description = "It is queued", body = RefitView,
            headers(("Location" = String, description = "Path of the refit"))),
        (status = OK, description = "One is queued already", body = RefitView,
            headers(("Location" = String, description = "Path of the refit"))),
    ),
)]
async fn create_refit(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    span: Option<Extension<Span>>,
    Path(path): Path<FamilyPath>,
    OptionalJsonBody(body): OptionalJsonBody<CreateRefit>,
) -> Result<impl IntoResponse, ApiError> {
    let family = existing(&state.pool, &path.name()?).await?;
    let (options, reproduces) = check_request(&state, &caller, &family, body).await?;
    let work = check_work(&state, &family, &options).await?;
    let Extension(span) = span.unwrap_or_default();
    let (trace, requested_by) = (span.context(), caller.actor());
    let (status, id) = loop {
        let id = state.clock.new_id();
        let now = state.clock.now();
        let new = NewRefit {
            id,
            family_id: family.id,
            options: &options,
            reproduces_law_id: reproduces,
            trace_context: trace.as_deref(),
            requested_by: &requested_by,
            work,
        };
        let mut write = noting.begin(&state.pool).await?;
        match refits::insert_refit(&mut *write, &new, now).await {
            Ok(()) => {
                write.commit(StatusCode::ACCEPTED, Some(&location(id))).await?;
                break (StatusCode::ACCEPTED, id);
            }
            // If a worker takes the queued refit before it is found here, the loop goes on to queue this one.
            Err(StoreError::RefitQueued) => {
                drop(write);
                let what_if = options.is_what_if();
                let queued = refits::find_queued_refit(&state.pool, family.id, what_if).await?;
                if let Some((id, its_options)) = queued {
                    if what_if && its_options != options {
                        return Err(ApiError::WhatIfQueued);
                    }
                    break (StatusCode::OK, id);
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    span.note("refit.id", &id.to_string());
    let refit = find(&state, &caller, id).await?;
    Ok((status, [(header::LOCATION, location(id))], Json(refit)))
}

fn location(id: Uuid) -> String {
    format!("/v1/refits/{id}")
}

/// Path of a refit.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct RefitPath {
    /// Id of the refit.
    #[param(format = Uuid)]
    id: String,
}

/// Finds a refit of a family that the caller may access; a refit of any other family counts as not found.
async fn find_stored(state: &AppState, caller: &Caller, id: Uuid) -> Result<Refit, ApiError> {
    let refit = refits::find_refit(&state.pool, id).await?;
    let refit = refit.filter(|refit| caller.families().allow(&refit.family));
    let refit = refit.ok_or_else(|| ApiError::NotFound { what: "refit", name: id.to_string() })?;
    tell(state, &refit).await;
    Ok(refit)
}

/// Finds a refit as [`find_stored`] does, and shows it.
async fn find(state: &AppState, caller: &Caller, id: Uuid) -> Result<RefitView, ApiError> {
    find_stored(state, caller, id).await.map(RefitView::from)
}

/// To be called before a caller learns of a refit that has a law: from then on, its answers must come from that law.
async fn tell(state: &AppState, refit: &Refit) {
    let Some((version, _)) = refit.law else { return };
    if let Ok(family) = FamilyName::new(&refit.family) {
        state.laws.tell(&family, version);
    }
    if let Some(replica) = &state.replica {
        replica.note_written().await;
    }
}

/// Lists a family's refits, newest first, in all states or in one.
#[utoipa::path(
    get, path = "/v1/families/{family}/refits", tag = TAG_REFITS, params(FamilyPath, RefitsParams),
    responses((status = OK, description = "A page of refits", body = RefitList)),
)]
async fn list_refits(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<RefitsParams>,
) -> Result<Json<RefitList>, ApiError> {
    let ((wanted, request), name) = (params.check()?, path.name()?);
    let family = existing(&state.pool, &name).await?;
    let page = refits::list_refits(&state.pool, family.id, wanted, request).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(RefitView::from).collect();
    Ok(Json(RefitList { items, next_cursor }))
}

/// Shows a refit.
#[utoipa::path(
    get, path = "/v1/refits/{id}", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "The refit as it stands", body = RefitView)),
)]
async fn get_refit(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<RefitPath>,
) -> Result<Json<RefitView>, ApiError> {
    find(&state, &caller, path_id(&path.id, "refit")?).await.map(Json)
}

/// Cancels a refit.
///
/// A queued refit is cancelled at once, a running one as soon as its worker notices. A refit that has ended does not
/// change.
#[utoipa::path(
    delete, path = "/v1/refits/{id}", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "The refit as it stands", body = RefitView)),
)]
async fn delete_refit(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    Path(path): Path<RefitPath>,
) -> Result<Json<RefitView>, ApiError> {
    let id = path_id(&path.id, "refit")?;
    find(&state, &caller, id).await?;
    let mut write = noting.begin(&state.pool).await?;
    refits::cancel_refit(&mut *write, id, state.clock.now()).await?;
    write.commit(StatusCode::OK, None).await?;
    find(&state, &caller, id).await.map(Json)
}

/// Streams a refit's changes as server-sent events of type `refit`, each of which holds the whole refit.
///
/// The stream ends with the refit, and when the caller's key is revoked or expires.
#[utoipa::path(
    get, path = "/v1/refits/{id}/events", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "An event for each change", body = String,
        content_type = "text/event-stream")),
)]
async fn list_refit_events(
    State(state): State<AppState>,
    caller: Caller,
    owner: Owner,
    Path(path): Path<RefitPath>,
) -> Result<impl IntoResponse, ApiError> {
    let place = state.streams.try_enter(owner).ok_or(ApiError::StreamsBusy)?;
    let first = find_stored(&state, &caller, path_id(&path.id, "refit")?).await?;
    let seen = state.refit_watch.follow(first.clone());
    let stream = EventStream { state, caller, seen, sent: None, _place: place };
    let events = stream::unfold((stream, Some(first)), |(mut stream, next)| async move {
        let refit = match next {
            Some(refit) => refit,
            None => stream.next_change().await?,
        };
        let sent = refit.clone();
        stream.sent = Some(refit);
        let event = Event::default().event("refit").json_data(RefitView::from(sent)).ok()?;
        Some((Ok::<_, Infallible>(event), (stream, None)))
    });
    // Without this header, nginx would hold events back until they fill a buffer.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::default())))
}

/// How often a stream checks whether its caller may still access the refit.
const ADMITTED_INTERVAL: Duration = Duration::from_millis(200);

/// A stream of a refit's events for one caller.
struct EventStream {
    state: AppState,
    caller: Caller,
    seen: watch::Receiver<Seen>,
    sent: Option<Refit>,
    _place: Place<Owner>,
}

impl EventStream {
    /// Waits until the refit differs from what was last sent; `None` when the refit has ended or is gone, the caller
    /// may no longer access it, or the service stops.
    async fn next_change(&mut self) -> Option<Refit> {
        let sent = self.sent.take()?;
        if sent.finished_at.is_some() {
            return None;
        }
        loop {
            let refit = self.seen.borrow_and_update().as_deref().cloned()?;
            if refit != sent {
                tell(&self.state, &refit).await;
                return Some(refit);
            }
            tokio::select! {
                // The watch ends with the refit, after which there are no more changes.
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(ADMITTED_INTERVAL) => {}
                () = self.state.shutdown.cancelled() => return None,
            }
            if !self.state.access.still_admits(&self.caller) {
                return None;
            }
        }
    }
}

//! What a refit is asked for, and the checks of it.

use std::collections::HashSet;

use serde::Deserialize;
use sparsity_law::fit::{Constraint, Delta, FitConfig, Holdout};
use sparsity_law::law::LawForm;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::resources::laws::find_lender;
use crate::api::state::AppState;
use crate::api::wire::fit_options::{
    ConstraintView, DeltaView, FixedView, HoldoutView, ObjectiveView, TagWeightView,
    check_fit_config, check_weights,
};
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{BorrowView, FormsView, LawFormView};
use crate::domain::checks::Checks;
use crate::domain::family::{Family, FamilySettings};
use crate::domain::law_origin::Origin;
use crate::domain::refit::{Lender, LevelsBy, RefitOptions};
use crate::domain::text::check_label;
use crate::live::keyring::Caller;
use crate::store::{law_evidence, laws, runs};

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
pub(super) async fn check_request(
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
pub(super) async fn check_work(
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

//! One question answered by each law that a family has had: how the answer has changed over time.
//!
//! This saves a page or a report one request for each version. The laws are asked one after the other, so that only one
//! has to be in memory at a time, and laws that are not in the cache are not added to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use sparsity_law::law::{Ceiling, Compute, Data, NonzeroParams};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::answer_points::BulkLimits;
use crate::api::layers::owner::Owner;
use crate::api::layers::replica_reads::Reads;
use crate::api::questions::law::{AskedLaw, policy_tag};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::{
    OptimalSparsityParams, OptimalSparsityView, optimise,
};
use crate::api::resources::families::existing;
use crate::api::resources::profiles::StorageView;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{Freshness, KnownTags, Validator};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::fit_options::FitOptionsView;
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::LawRef;
use crate::api::wire::zeros::{ExpertsView, PruningView, ZerosView};
use crate::domain::law::{Law, LawContent};
use crate::domain::law_run::RunChanges;
use crate::store::{law_evidence, laws};

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_optimal_sparsity_history))
}

/// Default number of laws per page, unless the service allows fewer.
const USUAL_LAWS: u16 = 20;

/// The training budget to find the best sparsity for, and the laws to ask.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40. Give exactly one of this, `device_hours`, `days` and `cost`.
    #[param(example = 1e17, minimum = 1, maximum = 1e40)]
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
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile, with the values that it has
    /// now.
    #[param(example = "sparse")]
    flop_mode: String,
    /// How much unique data there is, in the family's data unit, between 1e-6 and 1e30.
    #[param(minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// The most parameters, zeros included; between 1 and 1e22.
    #[param(minimum = 1, maximum = 1e22)]
    max_total_params: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[param(minimum = 1, maximum = 1e30)]
    memory_bytes: Option<f64>,
    /// The highest sparsity, at least 0 and below 1.
    #[param(minimum = 0, exclusive_maximum = 1)]
    max_sparsity: Option<f64>,
    /// How the weights that `memory_bytes` limits are stored, as in `optimal-sparsity`.
    #[param(inline)]
    storage: Option<StorageView>,
    /// Bits per value of the weights that `memory_bytes` limits: 4, 8, 16 or 32; 16 by default.
    #[param(minimum = 4, maximum = 32)]
    bits_per_param: Option<u32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
    /// The most laws per page: 20 by default, and at most `--max-history-laws` of the service.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9]{1,9}$")]
    cursor: Option<String>,
}

impl HistoryParams {
    /// The question, without the choice of laws.
    fn question(&self) -> OptimalSparsityParams {
        OptimalSparsityParams {
            nonzero_params: self.nonzero_params,
            compute: self.compute,
            device_hours: self.device_hours,
            days: self.days,
            cost: self.cost,
            flop_mode: self.flop_mode.clone(),
            unique_data: self.unique_data,
            max_total_params: self.max_total_params,
            memory_bytes: self.memory_bytes,
            max_sparsity: self.max_sparsity,
            storage: self.storage,
            bits_per_param: self.bits_per_param,
            law_version: None,
            intervals: self.intervals,
        }
    }

    /// The number of laws on the page, and the version below which it starts, if it is not the first page.
    fn page(&self, most: u16) -> Result<(u16, Option<i32>), ApiError> {
        let limit = self.limit.unwrap_or(USUAL_LAWS.min(most));
        if !(1..=most).contains(&limit) {
            let detail = format!("must be between 1 and {most} (--max-history-laws), not {limit}");
            return Err(ApiError::field("/limit", detail));
        }
        let below = self.cursor.as_deref().map(str::parse).transpose();
        let below = below.map_err(|_| {
            ApiError::field("/cursor", "must be the next_cursor of the page before")
        })?;
        Ok((limit, below))
    }
}

/// The answers of a family's laws to one question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimalSparsityHistory)]
pub struct HistoryView {
    /// One item for each law, newest first. What-if laws are left out, as they never answered. Empty where the family
    /// has no law.
    items: Vec<HistoryItemView>,
    /// Where the next page starts; null at the end.
    #[schema(example = "12")]
    next_cursor: Option<String>,
}

/// What one law answers, and how the law differs from the one before it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimalSparsityByLaw)]
pub struct HistoryItemView {
    /// The law.
    law: LawRef,
    /// Number of runs that the law was fitted on; null where a published law does not say.
    #[schema(example = 48)]
    runs: Option<u32>,
    /// The answer of `optimal-sparsity` with this `law_version`; null where the law does not know it.
    #[schema(value_type = Option<OptimalSparsityView<'_>>)]
    answer: Option<Box<RawValue>>,
    /// Why there is no answer; null where there is one.
    problem: Option<Problem>,
    /// What changed since the law before; null for the first law.
    changes: Option<LawChangesView>,
}

/// What changed from one law to the next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LawChanges)]
pub struct LawChangesView {
    /// Version of the law before.
    #[schema(example = 1)]
    since: i32,
    /// What changed in the runs. Null where one of the laws was published or does not know its runs, and for the older
    /// laws of a page once the runs to compare exceed `--max-compared-runs` of the service in total.
    runs: Option<RunChangesView>,
    /// The options of the fit, and the family settings stored with laws, that differ. Options are only compared where
    /// both laws were fitted here.
    options: Vec<OptionChangeView>,
}

/// What changed in the runs from one law to the next.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = RunChanges)]
pub struct RunChangesView {
    /// Number of runs that the law before did not have.
    #[schema(example = 12)]
    added: i64,
    /// Number of runs of both laws whose measurements differ.
    #[schema(example = 0)]
    changed: i64,
    /// Number of runs of the law before that this law does not have, because they were deleted or excluded.
    #[schema(example = 1)]
    removed: i64,
}

impl From<RunChanges> for RunChangesView {
    fn from(RunChanges { added, changed, removed }: RunChanges) -> Self {
        Self { added, changed, removed }
    }
}

/// An option or a setting that differs.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OptionChange)]
pub struct OptionChangeView {
    /// Name of the option or setting, as it appears in the `options` of a law or in the law itself.
    #[schema(example = "bootstrap")]
    option: String,
    /// The old value.
    #[schema(value_type = Value, example = 1000)]
    before: Value,
    /// The new value.
    #[schema(value_type = Value, example = 2000)]
    after: Value,
}

/// Options and settings of a law, by name.
type Settings = BTreeMap<String, Value>;

/// Converts a view to JSON, which cannot fail for views of texts and finite numbers.
fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The settings of the family that are stored with a law.
fn kept_settings(content: &LawContent) -> Settings {
    let settings = [
        ("data_unit", json(&content.data_unit)),
        ("flops_per_param", json(content.flops_per_param.get())),
        ("pruning", json(PruningView::from(&content.pruning))),
        ("zeros", json(ZerosView::from(&content.zeros))),
        ("experts", json(content.zeros.grid().map(ExpertsView::from))),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The options of a law's fit; `None` for a published law.
fn fit_options(content: &LawContent) -> Option<Settings> {
    let view = json(FitOptionsView::new(content.origin.fit()?.options.clone(), None));
    let Value::Object(mut options) = view else { return None };
    // Where the objective does not fix delta, this is a result of the fit rather than an option.
    options.remove("delta");
    Some(options.into_iter().collect())
}

/// The settings that differ, sorted by name.
fn differences(before: &Settings, after: &Settings) -> impl Iterator<Item = OptionChangeView> {
    after.iter().filter_map(|(option, now)| {
        let was = before.get(option).cloned().unwrap_or_default();
        let change =
            || OptionChangeView { option: option.clone(), before: was.clone(), after: now.clone() };
        (was != *now).then(change)
    })
}

/// The options and settings in which two laws differ.
fn changed_options(before: &LawContent, after: &LawContent) -> Vec<OptionChangeView> {
    let settings = (kept_settings(before), kept_settings(after));
    let options = fit_options(before).zip(fit_options(after));
    let of_options = options.iter().flat_map(|(before, after)| differences(before, after));
    of_options.chain(differences(&settings.0, &settings.1)).collect()
}

/// Pairs of consecutive laws whose runs have to be read to see what changed, newest first, as long as all of them
/// together have at most `most` runs.
fn pairs_to_read(laws: &[Law], most: u64) -> Vec<(Uuid, Uuid)> {
    let mut read = 0;
    let mut pairs = Vec::new();
    for pair in laws.windows(2) {
        let [newer, older] = [&pair[0].content, &pair[1].content];
        let (Some(a), Some(b)) = (newer.origin.fit(), older.origin.fit()) else { continue };
        if same_runs(newer, older) {
            continue;
        }
        read += u64::from(a.runs) + u64::from(b.runs);
        if read > most {
            break;
        }
        pairs.push((pair[0].id, pair[1].id));
    }
    pairs
}

/// Whether both laws were fitted on the same measurements, according to their digests.
fn same_runs(newer: &LawContent, older: &LawContent) -> bool {
    let digest = newer.origin.data_digest();
    digest.is_some() && digest == older.origin.data_digest()
}

/// Refuses intervals that would need too many resampled laws.
fn check_work(
    limits: BulkLimits,
    laws: &[Law],
    searched: bool,
    intervals: bool,
) -> Result<(), ApiError> {
    if !intervals {
        return Ok(());
    }
    let members = laws.iter().filter_map(|law| law.content.origin.fit()?.resamples);
    let asked: u64 = members.map(|resamples| u64::from(resamples.fitted)).sum();
    let (most, setting) = match searched {
        true => (limits.searched, "--max-searched-laws"),
        false => (limits.members, "--max-asked-laws"),
    };
    if asked <= most {
        return Ok(());
    }
    let detail = format!(
        "must be lower, or intervals be false: {} laws ask {asked} resampled laws, more than {most} ({setting})",
        laws.len()
    );
    Err(ApiError::field("/limit", detail))
}

/// The question that each law is asked.
struct Question {
    asked_for: (NonzeroParams, Compute, Option<Data>),
    mode: Mode,
    ceiling: Ceiling,
    intervals: bool,
}

impl Question {
    /// The answer of a law, or the problem why it has none.
    ///
    /// # Errors
    /// Errors that are the fault of the service rather than of the law or the question.
    fn ask(&self, asked: &AskedLaw) -> Result<Result<Box<RawValue>, Problem>, ApiError> {
        let Self { asked_for, mode, ceiling, intervals } = self;
        match optimise(asked, *asked_for, mode, ceiling, *intervals) {
            Ok(answer) => {
                let answer = to_raw_value(&answer);
                answer.map(Ok).map_err(|error| ApiError::Internal(error.into()))
            }
            Err(error) if error.kind().status().is_server_error() => Err(error),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

/// Answers one question with each law that a family has had, newest first, and shows what changed from law to law.
///
/// Each answer is the same as that of `optimal-sparsity` with `law_version`. The resampled laws of all laws count
/// together against `--max-asked-laws`, or against `--max-searched-laws` where each of them has to be searched.
#[utoipa::path(
    get, path = "/v1/families/{family}/optimal-sparsity/history", tag = TAG_QUESTIONS,
    params(FamilyPath, HistoryParams),
    responses(
        (status = OK, description = "The answers", body = HistoryView,
            headers(("ETag" = String, description = "Changes with the laws and the hardware profile"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
    ),
)]
async fn get_optimal_sparsity_history(
    State(state): State<AppState>,
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<HistoryParams>,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let name = path.name()?;
    let (limit, below) = params.page(state.limits.history_laws)?;
    let (size, spending, bounds, unique) = params.question().check()?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let compute = spending.compute(&mode)?;
    let mut found = {
        let mut db = reads.connection().await?;
        let family = existing(&mut *db, &name).await?;
        // One law more than the page, to see what changed since the law before the page's last.
        laws::list_law_history(&mut *db, family.id, below, i64::from(limit) + 1).await?
    };
    let validator = {
        let mut digest = Sha256::new();
        found.iter().for_each(|law| digest.update(law.id.as_bytes()));
        let laws = hex::encode(&digest.finalize()[..16]);
        let own = mode.own_tag().map(|own| format!(".{own}")).unwrap_or_default();
        let tag = format!("{laws}.{}{own}", policy_tag(state.laws.setting()));
        Validator::new(&known, &tag, Freshness::Revalidate)
    };
    if let Some(response) = validator.not_modified() {
        return Ok(response);
    }
    let asked_laws = &found[..found.len().min(usize::from(limit))];
    let curved = |law: &Law| law.content.coefficients.gain_curve().is_some();
    let own = |law: &Law| law.content.shape.law.is_some();
    let searched = mode.own_tag().is_some()
        || unique.is_some()
        || asked_laws.iter().any(|law| curved(law) || own(law));
    check_work(state.limits.bulk, asked_laws, searched, params.intervals)?;
    let pairs = pairs_to_read(&found, u64::from(state.limits.compared_runs));
    let run_changes = if pairs.is_empty() {
        HashMap::new()
    } else {
        let mut db = reads.connection().await?;
        law_evidence::count_law_run_changes(&mut *db, &pairs).await?
    };
    let next_cursor = (found.len() > usize::from(limit))
        .then(|| found[usize::from(limit) - 1].version.to_string());
    let changes = all_changes(&found, &run_changes);
    found.truncate(usize::from(limit));
    let ceiling = bounds.ceiling(&mode);
    let asked_for = (size, compute, unique);
    let question = Question { asked_for, mode, ceiling, intervals: params.intervals };
    let question = Arc::new(question);
    let mut items = Vec::with_capacity(found.len());
    for (law, changes) in found.into_iter().zip(changes) {
        let (reference, runs) = (LawRef::from(&law), law.content.origin.runs());
        let load = async { Ok(state.laws.once(&state.pool, law).await?) };
        let question = question.clone();
        let answer =
            state.threads.run_on(owner, load, move |law: Arc<AskedLaw>| question.ask(&law));
        let (answer, problem) = match answer.await? {
            Ok(answer) => (Some(answer), None),
            Err(problem) => (None, Some(problem)),
        };
        items.push(HistoryItemView { law: reference, runs, answer, problem, changes });
    }
    Ok(validator.attach(Json(HistoryView { items, next_cursor })))
}

/// What changed in each law compared with the older law that follows it in the list; `None` for the last.
fn all_changes(
    laws: &[Law],
    runs: &HashMap<(Uuid, Uuid), RunChanges>,
) -> Vec<Option<LawChangesView>> {
    let of_pair = |pair: &[Law]| {
        let [newer, older] = [&pair[0], &pair[1]];
        let same = same_runs(&newer.content, &older.content).then(RunChanges::default);
        let runs = same.or_else(|| runs.get(&(newer.id, older.id)).copied());
        Some(LawChangesView {
            since: older.version,
            runs: runs.map(RunChangesView::from),
            options: changed_options(&older.content, &newer.content),
        })
    };
    laws.windows(2).map(of_pair).chain([None]).collect()
}

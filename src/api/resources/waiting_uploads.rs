//! `/v1/families/{family}/uploads`: uploads that are answered before they are stored.
//!
//! With `Prefer: respond-async` the body is written to the database as it was sent, and the request is answered once
//! that is committed. The answer 202 promises that the upload will end, even if this process dies: either its runs are
//! stored, or it fails with the same problem that a synchronous upload would have been answered with. Any process may
//! then store it, in the same way as every other upload. The runs and the end of the upload are committed together, so
//! if a process dies, another one takes over, and nothing is stored twice.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tracing::Instrument;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::layers::owner::Owner;
use crate::api::resources::families::existing;
use crate::api::resources::submissions::{SubmissionResult, Taking};
use crate::api::resources::uploads::{Arriving, Wanted, content, submit};
use crate::api::state::AppState;
use crate::api::tags::TAG_RUNS;
use crate::api::wire::extract::{FamilyPath, PageParams, Query, family_name, next_cursor, path_id};
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::domain::family::Family;
use crate::domain::upload::{ClaimedUpload, Upload, UploadOutcome, UploadRequest, UploadState};
use crate::intake::Format;
use crate::live::audit::CLOCKS_DIFFER;
use crate::pipeline::Also;
use crate::store::audit::{find_clock_difference, insert_audit_note};
use crate::store::uploads::WaitingUploads;
use crate::store::{StoreError, families, uploads};
use crate::telemetry::causes::with_causes;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_uploads)).routes(routes!(get_upload))
}

/// An upload that was answered before it was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub struct UploadView {
    /// Id of the upload.
    id: Uuid,
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// State of the upload.
    state: UploadStateView,
    /// Size of the body in bytes, as it was sent.
    #[schema(example = 1_048_576)]
    bytes: i64,
    /// The result, the same as in the answer to a synchronous upload; null until the runs are stored, and in lists.
    #[schema(value_type = Option<SubmissionResult>)]
    result: Option<Value>,
    /// Why nothing was stored; null unless the upload failed, and in lists.
    #[schema(value_type = Option<Problem>)]
    error: Option<Value>,
    /// When the body had arrived completely.
    created_at: DateTime<Utc>,
    /// When a process last began to store the upload.
    started_at: Option<DateTime<Utc>>,
    /// When the upload ended.
    finished_at: Option<DateTime<Utc>>,
}

/// State of an upload.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UploadState)]
pub enum UploadStateView {
    /// Waiting for a process to store it.
    Queued,
    /// A process is storing it.
    Running,
    /// The runs are stored.
    Succeeded,
    /// Nothing was stored.
    Failed,
}

impl UploadView {
    fn new(family: &Family, upload: Upload) -> Self {
        Self {
            id: upload.id,
            family: family.name.to_string(),
            state: match upload.state {
                UploadState::Queued => UploadStateView::Queued,
                UploadState::Running => UploadStateView::Running,
                UploadState::Succeeded => UploadStateView::Succeeded,
                UploadState::Failed => UploadStateView::Failed,
            },
            bytes: upload.bytes,
            result: upload.result,
            error: upload.error,
            created_at: upload.created_at,
            started_at: upload.started_at,
            finished_at: upload.finished_at,
        }
    }
}

/// A page of uploads.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadList {
    /// The uploads, newest first, without their results and errors.
    items: Vec<UploadView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// Path of an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct UploadPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Id of the upload.
    #[param(format = Uuid)]
    id: String,
}

/// Lists a family's uploads that were answered before they were stored, newest first.
///
/// Uploads that ended more than `--upload-results-days` ago are deleted.
#[utoipa::path(
    get, path = "/v1/families/{family}/uploads", tag = TAG_RUNS, params(FamilyPath, PageParams),
    responses((status = OK, description = "A page of uploads", body = UploadList)),
)]
async fn list_uploads(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<UploadList>, ApiError> {
    let (name, page) = (path.name()?, params.check()?);
    let family = existing(&state.pool, &name).await?;
    let page = uploads::list_uploads(&state.pool, family.id, page).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(|upload| UploadView::new(&family, upload)).collect();
    Ok(Json(UploadList { items, next_cursor }))
}

/// Shows an upload that was answered before it was stored: its state, and its result or error.
#[utoipa::path(
    get, path = "/v1/families/{family}/uploads/{id}", tag = TAG_RUNS, params(UploadPath),
    responses((status = OK, description = "The upload", body = UploadView)),
)]
async fn get_upload(
    State(state): State<AppState>,
    Path(path): Path<UploadPath>,
) -> Result<Json<UploadView>, ApiError> {
    let family = existing(&state.pool, &family_name(&path.family)?).await?;
    let id = path_id(&path.id, "upload")?;
    let upload = uploads::find_upload(&state.pool, family.id, id).await?;
    let upload = upload.ok_or(ApiError::NotFound { what: "upload", name: path.id })?;
    // A caller that is told that the runs are stored must be able to read them from the replica.
    if let Some(replica) = state.replica.as_ref().filter(|_| upload.finished_at.is_some()) {
        replica.note_written().await;
    }
    Ok(Json(UploadView::new(&family, upload)))
}

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";

/// Whether a caller prefers an answer before the work is done (`Prefer: respond-async`, RFC 7240).
pub(crate) fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| {
        // A preference may have parameters and a value, which have no meaning for this one.
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
    })
}

/// An upload that was accepted but is not stored yet.
pub(crate) struct Accepted(UploadView);

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let location = location(&self.0.family, self.0.id);
        let applied = HeaderValue::from_static(RESPOND_ASYNC);
        let headers = [(PREFERENCE_APPLIED, applied)];
        (StatusCode::ACCEPTED, [(header::LOCATION, location)], headers, Json(self.0))
            .into_response()
    }
}

fn location(family: &str, id: Uuid) -> String {
    format!("/v1/families/{family}/uploads/{id}")
}

/// Bytes of a body that are stored in one row.
const PIECE: usize = 1024 * 1024;

/// Writes the body of a request to the database, completely or not at all. Errors that can be known before the first
/// row is read are reported before that.
///
/// # Errors
/// Any problem with the request or the database; nothing was stored then.
pub(crate) async fn accept(
    state: &AppState,
    family: &Family,
    mut taking: Taking,
    (owner, noting): (Owner, Noting),
    request: Request,
) -> Result<Accepted, ApiError> {
    taking.columns(&state.pool, family).await?;
    content(request.headers())?;
    let id = state.clock.new_id();
    let location = location(family.name.as_str(), id);
    let sent = UploadRequest {
        query: request.uri().query().unwrap_or_default().to_owned(),
        content_type: text(request.headers(), header::CONTENT_TYPE).unwrap_or_default(),
        content_encoding: text(request.headers(), header::CONTENT_ENCODING),
        requested_by: owner.to_string(),
        note: Some(noting.event(StatusCode::OK, Some(&location))),
    };
    let room = uploads::find_waiting_uploads(&state.pool, &sent.requested_by).await?;
    check_room(state, &room, 0)?;
    let mut arriving = Arriving::of_request(request, &state.transfers.limits)?;
    let _place = state.transfers.upload(owner).await?;
    let mut write = noting.begin(&state.pool).await?;
    let (mut piece, mut number, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let more = arriving.next().await?;
        let is_last = more.is_none();
        piece.extend_from_slice(&more.unwrap_or_default());
        while piece.len() >= PIECE || (is_last && !piece.is_empty()) {
            let rest = piece.split_off(piece.len().min(PIECE));
            uploads::insert_upload_piece(&mut *write, id, number, &piece).await?;
            bytes += piece.len() as u64;
            number += 1;
            piece = rest;
        }
        if is_last {
            break;
        }
    }
    let room = uploads::lock_waiting_uploads(&mut write, &sent.requested_by).await?;
    check_room(state, &room, bytes)?;
    let (bytes, now) = (i64::try_from(bytes).unwrap_or(i64::MAX), state.clock.now());
    uploads::insert_upload(&mut *write, id, family.id, &sent, bytes, now).await?;
    write.commit(StatusCode::ACCEPTED, Some(&location)).await?;
    state.uploads_accepted.notify_one();
    let upload = Upload {
        id,
        state: UploadState::Queued,
        bytes,
        result: None,
        error: None,
        created_at: now,
        started_at: None,
        finished_at: None,
    };
    Ok(Accepted(UploadView::new(family, upload)))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

/// Checks whether an upload with this many bytes may wait along with those that are waiting already.
fn check_room(state: &AppState, waiting: &WaitingUploads, bytes: u64) -> Result<(), ApiError> {
    let limits = &state.transfers.limits.waiting;
    if waiting.of_caller >= i64::from(limits.each) {
        return Err(ApiError::UploadsWaiting { setting: "--waiting-uploads-per-key" });
    }
    if waiting.bytes.cast_unsigned().saturating_add(bytes) > limits.bytes {
        return Err(ApiError::UploadsWaiting { setting: "--waiting-upload-bytes" });
    }
    Ok(())
}

/// Time between two checks for uploads that other processes accepted or abandoned.
const LOOKING_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two checks for old results.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

/// How many old results one statement deletes.
const DELETED_AT_ONCE: i64 = 1_000;

/// How often storing an upload is attempted before it fails; a process that dies uses up one attempt.
const MOST_ATTEMPTS: i32 = 3;

/// Stores uploads that this or other processes accepted, until the service stops.
pub async fn store_waiting(state: AppState) {
    let loops = (0..state.transfers.limits.waiting.at_once).map(|_| store_in_turn(&state));
    tokio::join!(futures_util::future::join_all(loops), forget(&state));
}

/// Deletes the results of uploads that ended long ago.
async fn forget(state: &AppState) {
    let days = i32::try_from(state.transfers.limits.waiting.kept_days).unwrap_or(i32::MAX);
    let mut cleaning = tokio::time::interval(CLEANING_INTERVAL);
    loop {
        tokio::select! {
            _ = cleaning.tick() => {}
            () = state.shutdown.cancelled() => return,
        }
        let deleted = async {
            // With a wrong clock, all results could seem old.
            let ahead = find_clock_difference(&state.pool, state.clock.now()).await?;
            if ahead.abs() > CLOCKS_DIFFER {
                tracing::error!(
                    seconds = ahead.num_seconds(),
                    "no results of uploads are deleted: the clock of the database is this far ahead of that of this \
                     machine, and one of them is wrong"
                );
                return Ok(0);
            }
            uploads::delete_uploads(&state.pool, days, DELETED_AT_ONCE).await
        };
        match deleted.await {
            Ok(0) => {}
            Ok(_) => cleaning.reset_immediately(),
            Err(error) => tracing::warn!(%error, "deleting results of uploads"),
        }
    }
}

async fn store_in_turn(state: &AppState) {
    while !state.shutdown.is_cancelled() {
        let lease = state.transfers.limits.waiting.lease;
        let now = state.clock.now();
        match uploads::claim_upload(&state.pool, state.clock.new_id(), lease, now).await {
            Ok(Some(claimed)) => {
                // More uploads may be waiting for the other loops.
                state.uploads_accepted.notify_one();
                let span = tracing::info_span!("api.uploads.store", upload = %claimed.id);
                store_claimed(state, claimed).instrument(span).await;
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "looking for uploads"),
        }
        tokio::select! {
            () = state.uploads_accepted.notified() => {}
            () = tokio::time::sleep(LOOKING_INTERVAL) => {}
            () = state.shutdown.cancelled() => {}
        }
    }
}

/// How the work on an upload ended, as named in metrics.
type Ended = &'static str;

/// The upload was left for a later attempt, by this process or another.
const GIVEN_BACK: Ended = "given back";
/// Another process has taken over the upload, or its family was deleted.
const LOST: Ended = "lost";

async fn store_claimed(state: &AppState, claimed: ClaimedUpload) {
    tracing::info!(attempt = claimed.attempts, "upload claimed");
    let started = Instant::now();
    let how = tokio::select! {
        biased;
        how = end_claimed(state, &claimed) => how,
        () = lose(state, &claimed) => LOST,
        () = state.shutdown.cancelled() => GIVEN_BACK,
    };
    if how == GIVEN_BACK {
        // If releasing the upload fails, it is claimed again when its lease has expired.
        let given = timeout(LOOKING_INTERVAL, uploads::release_upload(&state.pool, &claimed));
        if !matches!(given.await, Ok(Ok(()))) {
            tracing::warn!("an upload cannot be given back: it waits for the end of its lease");
        }
    }
    tracing::info!(how, "upload ended");
    state.metrics.upload_ended(how, started.elapsed());
    if how == GIVEN_BACK && !state.shutdown.is_cancelled() {
        // The database is not reachable or its disk is full, so the next attempt should not follow at once.
        tokio::time::sleep(LOOKING_INTERVAL).await;
    }
}

/// Renews the lease until it is lost, and then returns.
async fn lose(state: &AppState, claimed: &ClaimedUpload) {
    let lease = state.transfers.limits.waiting.lease;
    let mut renewing = tokio::time::interval(lease / 4);
    renewing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        renewing.tick().await;
        match uploads::renew_upload_lease(&state.pool, claimed, lease).await {
            Ok(true) => {}
            // The upload has ended, in this process just now or in another, or its family was deleted. The wait lets
            // this process finish if it was the one.
            Ok(false) => return tokio::time::sleep(lease / 4).await,
            Err(error) => tracing::warn!(%error, "renewing the lease of an upload"),
        }
    }
}

/// Stores a claimed upload and records how it ended.
async fn end_claimed(state: &AppState, claimed: &ClaimedUpload) -> Ended {
    let stored = if claimed.attempts > MOST_ATTEMPTS {
        let detail = format!("{MOST_ATTEMPTS} processes began to store it and none came back");
        Err(Problem::new(ProblemKind::WorkerLost, detail))
    } else {
        let storing = timeout(state.transfers.limits.timeout, store(state, claimed));
        match storing.await {
            Ok(Ok(ended)) => Ok(ended),
            // Try again later: another process may reach the database, or there may be room on its disk again.
            Ok(Err(ApiError::Unavailable(error) | ApiError::StorageFull(error))) => {
                tracing::warn!(error = with_causes(&error), "storing an upload");
                return GIVEN_BACK;
            }
            // Reading the body timed out, and the body comes from the database, so this may be tried again, too.
            Ok(Err(ApiError::TimedOut(detail))) => {
                tracing::warn!(detail, "storing an upload");
                return GIVEN_BACK;
            }
            Ok(Err(ApiError::Internal(error))) if is_lost(&error) => return LOST,
            Ok(Err(error)) => Err(Problem::from(error)),
            Err(_) => {
                let detail = "storing it took longer than --transfer-timeout-ms";
                Err(Problem::new(ProblemKind::RequestTimeout, detail))
            }
        }
    };
    let (outcome, how) = match stored {
        Ok(Some(rehearsed)) => (UploadOutcome::Succeeded(rehearsed), "succeeded"),
        Ok(None) => return "succeeded",
        Err(problem) => {
            tracing::info!(problem = problem.kind, detail = problem.detail, "nothing is stored");
            (UploadOutcome::Failed(json!(problem)), "failed")
        }
    };
    match finish(state, claimed, &outcome).await {
        Ok(()) => how,
        Err(StoreError::LeaseLost) => LOST,
        Err(error) => {
            tracing::warn!(%error, "the end of an upload was not stored");
            GIVEN_BACK
        }
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::LeaseLost))
}

async fn finish(
    state: &AppState,
    claimed: &ClaimedUpload,
    outcome: &UploadOutcome,
) -> Result<(), StoreError> {
    let mut transaction = state.pool.begin().await?;
    uploads::finish_upload(&mut transaction, claimed, outcome, state.clock.now()).await?;
    Ok(transaction.commit().await?)
}

/// Stores the runs of a claimed upload and marks it as finished in the same transaction. A dry run stores nothing: its
/// result is returned, and the upload remains to be finished.
async fn store(state: &AppState, claimed: &ClaimedUpload) -> Result<Option<Value>, ApiError> {
    let family = families::find_family_by_id(&state.pool, claimed.family_id).await?;
    // The upload was deleted together with its family.
    let family = family.ok_or(StoreError::LeaseLost)?;
    let taking = Taking::read(&claimed.request.query)?;
    let (dry_run, mapping) = (taking.dry_run, taking.mapping.clone());
    let also = {
        let (claimed, now, id) = (claimed.clone(), state.clock.now(), state.clock.new_id());
        Box::new(move |format: Format| -> Also {
            Box::new(move |db, stored| {
                let result = SubmissionResult::new(format, stored.clone(), dry_run, mapping);
                Box::pin(async move {
                    let outcome = UploadOutcome::Succeeded(json!(result));
                    uploads::finish_upload(db, &claimed, &outcome, now).await?;
                    if let Some(mut note) = claimed.request.note {
                        (note.id, note.at) = (id, now);
                        insert_audit_note(&mut *db, &note).await?;
                    }
                    Ok(())
                })
            })
        })
    };
    let (limits, wanted) =
        (&state.transfers.limits, Wanted::AtSomeTime(Owner::read(&claimed.request.requested_by)));
    let headers = headers_of(&claimed.request)?;
    let body = Arriving::new(pieces(state, claimed.id).boxed(), limits);
    let result = submit(state, &family, taking, &headers, body, wanted, Some(also)).await?;
    state.audit.wake();
    Ok(dry_run.then(|| json!(result)))
}

fn headers_of(request: &UploadRequest) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    let sent = [
        (header::CONTENT_TYPE, Some(&request.content_type)),
        (header::CONTENT_ENCODING, request.content_encoding.as_ref()),
    ];
    for (name, value) in sent {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value);
            headers.insert(name, value.map_err(|error| ApiError::Internal(error.into()))?);
        }
    }
    Ok(headers)
}

/// The pieces of an upload's body, in order.
fn pieces(
    state: &AppState,
    id: Uuid,
) -> impl futures_util::Stream<Item = Result<axum::body::Bytes, ApiError>> + Send + use<> {
    let pool = state.pool.clone();
    stream::try_unfold(0, move |number| {
        let pool = pool.clone();
        async move {
            let piece = uploads::find_upload_piece(&pool, id, number).await?;
            Ok(piece.map(|piece| (piece.into(), number + 1)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_known_among_others_however_it_is_written() {
        let prefers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            prefers_async(&headers)
        };
        for values in [
            &["respond-async"][..],
            &["Respond-Async"],
            &["return=minimal, respond-async; x=1, wait=10"],
            &["return=minimal", "wait=10,respond-async"],
        ] {
            assert!(prefers(values), "{values:?}");
        }
        for values in [&[][..], &[""], &["respond-asynchronously"], &["wait=10"]] {
            assert!(!prefers(values), "{values:?}");
        }
    }
}

//! Export of a family's runs as a stream, with constant memory.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{TryStreamExt, stream};
use tokio::sync::mpsc;

use crate::api::layers::owner::Owner;
use crate::api::layers::replica_reads::Reads;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::domain::run::RunFilter;
use crate::domain::text::FamilyName;
use crate::intake::Format;
use crate::intake::export::{Encoder, Formulas};
use crate::store::runs;
use crate::store::unfinished::Unfinished;
use crate::telemetry::request::carried_task;

/// A part of the stream. Only [`Part::End`] ends it properly: in every other case the connection breaks off, so that no
/// client takes half of the runs for all of them.
enum Part {
    Bytes(Bytes),
    End,
    Failed(ApiError),
}

/// Streams the runs that match a filter, oldest first.
///
/// # Errors
/// Any problem before the first part of the stream is ready.
pub async fn export(
    state: AppState,
    owner: Owner,
    reads: Reads,
    name: FamilyName,
    filter: RunFilter,
    (format, formulas): (Format, Formulas),
) -> Result<Response, ApiError> {
    let place = state.transfers.export(owner).await?;
    // A small capacity, because parts that are ready wait in memory.
    let (parts, mut stream) = mpsc::channel(2);
    let writing = async move {
        let written = write(&state, &reads, &name, &filter, (format, formulas), &parts);
        let timely = async {
            let timeout = state.transfers.limits.timeout;
            tokio::time::timeout(timeout, written).await.unwrap_or_else(|_| Err(too_slow()))
        };
        let end = match state.transfers.until_stopped(&state.shutdown, timely).await {
            Ok(()) => Part::End,
            Err(error) => Part::Failed(error),
        };
        // Sending the end may wait for a client that does not read, so the place is given back before.
        drop(place);
        // Fails only if the client is gone, in which case there is nobody to tell.
        let _ = parts.send(end).await;
    };
    tokio::spawn(carried_task(writing));
    // A failure before the first part can still be reported with a status.
    let first = match stream.recv().await {
        Some(Part::Failed(error)) => return Err(error),
        other => other,
    };
    let body = stream::try_unfold((first, stream), |(first, mut stream)| async move {
        let next = match first {
            Some(first) => Some(first),
            None => stream.recv().await,
        };
        match next {
            Some(Part::Bytes(bytes)) => Ok(Some((bytes, (None, stream)))),
            Some(Part::End) => Ok(None),
            Some(Part::Failed(error)) => {
                tracing::warn!(?error, "an export broke off");
                Err(broken_off())
            }
            None => Err(broken_off()),
        }
    });
    let content_type = (header::CONTENT_TYPE, format.media_type());
    Ok(([content_type, (header::VARY, "accept")], Body::from_stream(body)).into_response())
}

fn broken_off() -> std::io::Error {
    std::io::Error::other("the export broke off")
}

fn too_slow() -> ApiError {
    ApiError::TimedOut("the export was not taken in time".to_owned())
}

async fn write(
    state: &AppState,
    reads: &Reads,
    name: &FamilyName,
    filter: &RunFilter,
    (format, formulas): (Format, Formulas),
    parts: &mpsc::Sender<Part>,
) -> Result<(), ApiError> {
    let internal = |error: crate::intake::export::ExportError| ApiError::Internal(error.into());
    let encoder = Encoder::new(format, formulas).map_err(internal)?;
    let mut encoder =
        encoder.ok_or_else(|| ApiError::Internal(anyhow::anyhow!("{format:?} is no stream")))?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, name).await?;
    let mut db = Unfinished::new(db);
    let mut transaction = runs::begin_filtered(&mut db, filter).await?;
    {
        let mut batches = runs::export_runs(&mut transaction, family.id, filter);
        while let Some(batch) = batches.try_next().await? {
            let bytes = encoder.write(&batch).map_err(internal)?;
            if !bytes.is_empty() {
                send(state, parts, bytes).await?;
            }
        }
    }
    transaction.commit().await?;
    db.finished();
    send(state, parts, encoder.finish().map_err(internal)?).await
}

/// Sends a part, unless the client reads nothing for too long.
async fn send(
    state: &AppState,
    parts: &mpsc::Sender<Part>,
    bytes: Vec<u8>,
) -> Result<(), ApiError> {
    let sent = parts.send(Part::Bytes(bytes.into()));
    match tokio::time::timeout(state.transfers.limits.silence, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ApiError::TimedOut("the client went away".to_owned())),
        Err(_) => Err(too_slow()),
    }
}

//! From the body of a request to stored runs, as it arrives.
//!
//! ```text
//! body -> chunks -> a blocking thread that decodes, parses and checks -> batches -> COPY -> one merge
//! ```
//!
//! Both arrows in the middle are short channels: whoever is slow holds up the others, and memory stays
//! flat. A body that fits into the first piece waits for no place and opens no transaction before it has
//! arrived.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::{StreamExt, stream};
use sqlx::PgTransaction;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::FieldError;
use crate::domain::numbered_run::NumberedRun;
use crate::domain::run::Merged;
use crate::intake::{
    Coding, Columns, Format, IngestError, Intake, Limit, Reading, RowErrors, keep_first,
};
use crate::store::StoreError;
use crate::store::runs::merge_runs;
use crate::store::staging::{delete_repeated_rows, merge_staged_runs, stage_runs};
use crate::telemetry::request::carried;

/// Bytes of a body that are small change: they are read before anything else is asked for.
const SMALL: usize = 64 * 1024;

/// Format and coding of a body by its headers.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`].
pub fn content(headers: &HeaderMap) -> Result<(Format, Coding), ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let unsupported = |what, got: Option<&str>, expected: Vec<&str>| {
        let got = got.map_or_else(|| "missing".to_owned(), |got| format!("{got:?}"));
        Err(ApiError::UnsupportedMediaType { what, got, expected: expected.join(", ") })
    };
    let kind = text(header::CONTENT_TYPE);
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let is = |format: &&Format| {
        essence.is_some_and(|essence| essence.eq_ignore_ascii_case(format.media_type()))
    };
    let Some(&format) = Format::ALL.iter().find(is) else {
        let all = Format::ALL.iter().map(|format| format.media_type()).collect();
        return unsupported("content type", kind, all);
    };
    let coding = text(header::CONTENT_ENCODING);
    let name = coding.unwrap_or("identity").trim();
    match Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str())) {
        Some(coding) => Ok((format, coding)),
        None => {
            let all = Coding::ALL.map(Coding::as_str).to_vec();
            unsupported("content encoding", coding, all)
        }
    }
}

/// What became of an upload.
pub struct Uploaded {
    /// The runs that were stored.
    pub merged: Merged,
    /// The rows that were not.
    pub errors: RowErrors,
}

/// Stores the runs of a request's body: all of them, or with `skip_errors` those that are right.
///
/// # Errors
/// Where nothing was stored, and why.
pub async fn upload(
    state: &AppState,
    family_id: Uuid,
    columns: Columns,
    skip_errors: bool,
    request: Request,
) -> Result<Uploaded, ApiError> {
    let (format, coding) = content(request.headers())?;
    let limits = state.transfers.limits;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limits.upload_bytes) {
        return Err(IngestError::TooLarge(Limit::Bytes).into());
    }
    let mut arriving = Arriving::new(request.into_body(), limits.upload_bytes, limits.silence);
    let (first, complete) = arriving.first(SMALL).await?;
    // What is compressed may be any size.
    let is_small = complete && coding == Coding::Identity;
    let _place = if is_small { None } else { Some(state.transfers.place().await?) };

    let reading = Reading { format, coding, columns, limits: limits.ingest, skip_errors };
    let (chunks, source) = mpsc::channel(4);
    let (batches, staged) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(carried(move || {
        let source = Chunks { chunks: source, current: Bytes::new(), ended: false };
        reading.run(source, &mut |batch| batches.blocking_send(batch).is_ok())
    }));
    let (sent, stored, read) =
        tokio::join!(arriving.send(first, complete, chunks), stage(state, staged), reader);
    sent?;
    let staged = stored?;
    let intake = match read {
        Ok(intake) => intake?,
        // As it would have been on this thread.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => return Err(ApiError::Internal(error.into())),
        },
    };
    staged.store(state, family_id, skip_errors, intake).await
}

/// A body on its way.
struct Arriving {
    body: BodyDataStream,
    left: u64,
    silence: Duration,
}

impl Arriving {
    fn new(body: Body, most: u64, silence: Duration) -> Self {
        Self { body: body.into_data_stream(), left: most, silence }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = tokio::time::timeout(self.silence, self.body.next()).await;
        let next = next.map_err(|_| {
            ApiError::TimedOut("nothing arrived for as long as an answer may take".to_owned())
        })?;
        let Some(bytes) = next.transpose().map_err(|_| IngestError::CutShort)? else {
            return Ok(None);
        };
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(IngestError::TooLarge(Limit::Bytes))?;
        Ok(Some(bytes))
    }

    /// The first pieces, of so many bytes or a little more; and whether they are all.
    async fn first(&mut self, enough: usize) -> Result<(Vec<Bytes>, bool), ApiError> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < enough {
            match self.next().await? {
                Some(piece) => {
                    bytes += piece.len();
                    pieces.push(piece);
                }
                None => return Ok((pieces, true)),
            }
        }
        Ok((pieces, false))
    }

    /// Sends all to the reader, and that it is all; or up to where the reader has enough.
    async fn send(
        mut self,
        first: Vec<Bytes>,
        complete: bool,
        chunks: mpsc::Sender<Option<Bytes>>,
    ) -> Result<(), ApiError> {
        for piece in first {
            if chunks.send(Some(piece)).await.is_err() {
                return Ok(());
            }
        }
        let mut more = !complete;
        while more {
            match self.next().await? {
                // Where the reader has enough, so have we.
                Some(piece) => more = chunks.send(Some(piece)).await.is_ok(),
                None => more = false,
            }
        }
        let _ = chunks.send(None).await;
        Ok(())
    }
}

/// The reader's end of a body. A body whose other end goes away without saying that it was all is cut
/// short, not complete.
struct Chunks {
    chunks: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(bytes)) => self.current = bytes,
                Some(None) => self.ended = true,
                None => return Err(IngestError::CutShort.into()),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Runs that have arrived and are not stored yet.
enum Staged {
    /// One batch at most: it goes as parameters of one statement.
    Few(Vec<NumberedRun>),
    /// So many, in the staging table of a transaction.
    Many(PgTransaction<'static>, u64),
}

/// Takes batches to their end.
async fn stage(
    state: &AppState,
    mut batches: mpsc::Receiver<Vec<NumberedRun>>,
) -> Result<Staged, StoreError> {
    let Some(first) = batches.recv().await else { return Ok(Staged::Few(Vec::new())) };
    let Some(second) = batches.recv().await else { return Ok(Staged::Few(first)) };
    let mut transaction = state.pool.begin().await?;
    let rest = stream::poll_fn(move |context| batches.poll_recv(context));
    let all = stream::iter([first, second]).chain(rest);
    let total = stage_runs(&mut transaction, &state.clock, all).await?;
    Ok(Staged::Many(transaction, total))
}

impl Staged {
    async fn store(
        self,
        state: &AppState,
        family_id: Uuid,
        skip_errors: bool,
        intake: Intake,
    ) -> Result<Uploaded, ApiError> {
        let Intake { single, mut errors, .. } = intake;
        let named = state.transfers.limits.ingest.named_errors;
        let refused = |errors: &RowErrors| !skip_errors && errors.total > 0;
        let merged = match self {
            Self::Few(runs) => {
                let runs = keep_first(runs, named, &mut errors);
                if refused(&errors) {
                    return Err(invalid_rows(errors, single));
                }
                merge_runs(&state.pool, &state.clock, family_id, runs).await?
            }
            Self::Many(mut transaction, staged) => {
                if refused(&errors) {
                    transaction.rollback().await?;
                    return Err(invalid_rows(errors, single));
                }
                let (repeated, count) = delete_repeated_rows(&mut transaction, named).await?;
                errors.add_repeated(named, &repeated, count);
                if refused(&errors) {
                    transaction.rollback().await?;
                    return Err(invalid_rows(errors, single));
                }
                let kept = staged - count;
                let merged =
                    merge_staged_runs(&mut transaction, &state.clock, family_id, kept).await?;
                transaction.commit().await?;
                merged
            }
        };
        Ok(Uploaded { merged, errors })
    }
}

fn invalid_rows(errors: RowErrors, single: bool) -> ApiError {
    let RowErrors { named, total } = errors;
    let named = named.into_iter().map(|row| {
        let pointer =
            if single { row.error.pointer } else { format!("/{}{}", row.row, row.error.pointer) };
        FieldError { pointer, detail: row.error.detail }
    });
    ApiError::InvalidRows { errors: named.collect(), total }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Malformed(detail) => Self::Malformed(detail),
            IngestError::CutShort => {
                Self::Malformed("the body ended before it was complete".to_owned())
            }
            IngestError::Columns(errors) => Self::Invalid(errors),
            IngestError::TooLarge(limit) => {
                let (what, setting) = match limit {
                    Limit::Bytes => ("the body".to_owned(), "--max-upload-bytes"),
                    Limit::ExpandedBytes => {
                        ("the decompressed body".to_owned(), "--max-expanded-bytes")
                    }
                    Limit::Rows => ("the number of rows".to_owned(), "--max-upload-rows"),
                    Limit::RowBytes(row) => (format!("row {row}"), "--max-row-bytes"),
                };
                Self::TooLarge { what, setting }
            }
            IngestError::Unwanted | IngestError::Spool(_) => Self::Internal(error.into()),
        }
    }
}

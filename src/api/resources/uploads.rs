//! The body of a request on its way into the [`crate::pipeline`], piece by piece as it arrives. A body
//! that fits into the first piece waits for no place.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::Place;
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::FieldError;
use crate::intake::{Coding, Columns, Format, IngestError, Limit, Reading, RowErrors, Stop};
use crate::pipeline::{self, Destination, PipelineError, Stored};

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
    let Some(format) = essence.and_then(Format::of_media_type) else {
        return unsupported("content type", kind, Format::media_types());
    };
    let coding = text(header::CONTENT_ENCODING);
    let name = coding.unwrap_or("identity").trim();
    match Coding::ALL.iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str())) {
        Some(coding) => Ok((format, *coding)),
        None => {
            let all = Coding::ALL.iter().map(|coding| coding.as_str()).collect();
            unsupported("content encoding", coding, all)
        }
    }
}

/// Runs that a dry run shows.
const SHOWN: usize = 20;

/// Stores the runs of a request's body: all of them, or with `skip_errors` those that are right. A dry run does
/// the same and takes it back, and no row ends it. With the format that the body had.
///
/// # Errors
/// Where nothing was stored, and why.
pub async fn upload(
    state: &AppState,
    family_id: Uuid,
    columns: Columns,
    skip_errors: bool,
    dry_run: bool,
    owner: Owner,
    request: Request,
) -> Result<(Format, Stored), ApiError> {
    let (format, coding) = content(request.headers())?;
    let limits = state.transfers.limits;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limits.upload_bytes) {
        return Err(IngestError::TooLarge(Limit::Bytes).into());
    }
    let mut arriving = Arriving::new(request.into_body(), limits.upload_bytes, limits.silence);
    let (first, complete) = arriving.first(SMALL).await?;
    // What is compressed, by a coding or inside its format, may be any size.
    let is_text = matches!(format, Format::Json | Format::Ndjson | Format::Csv);
    let is_small = complete && is_text && coding == Coding::Identity;
    let place = if is_small { None } else { Some(Arc::new(state.transfers.upload(owner).await?)) };

    let skip_errors = skip_errors || dry_run;
    let reading = Reading {
        format,
        coding,
        columns,
        limits: limits.ingest,
        skip_errors,
        stop: Stop::default(),
    };
    let (chunks, source) = mpsc::channel(4);
    // The thread that reads has the place too: it may work on for a moment when the caller has left.
    let source =
        Chunks { chunks: source, current: Bytes::new(), ended: false, _place: place.clone() };
    let read =
        pipeline::read(&state.pool, &state.clock, reading, source, if dry_run { SHOWN } else { 0 });
    let (sent, arrived) = tokio::join!(arriving.send(first, complete, chunks), read);
    sent?;
    let destination =
        if dry_run { Destination::Rehearsed(family_id) } else { Destination::Stored(family_id) };
    let stored = arrived?.store(&state.pool, &state.clock, destination).await?;
    drop(place);
    Ok((format, stored))
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
    _place: Option<Arc<Place<Owner>>>,
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

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Input(error) => error.into(),
            PipelineError::Rows { errors, single } => invalid_rows(errors, single),
            PipelineError::Store(error) => error.into(),
            PipelineError::BrokenOff => Self::Internal(error.into()),
        }
    }
}

fn invalid_rows(errors: RowErrors, single: bool) -> ApiError {
    let RowErrors { named, total, .. } = errors;
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
                    Limit::Expansion => (
                        "the decompressed body, for each byte that was sent,".to_owned(),
                        "--max-expansion",
                    ),
                    Limit::Rows => ("the number of rows".to_owned(), "--max-upload-rows"),
                    Limit::IdleRows => {
                        ("the number of rows that are wrong or blank".to_owned(), "--max-idle-rows")
                    }
                    Limit::RowBytes(row) => (format!("row {row}"), "--max-row-bytes"),
                    Limit::BlockBytes => (
                        "a batch of Arrow, its dictionaries, the pages of Parquet of some rows, or the \
                         workbook, decompressed"
                            .to_owned(),
                        "--max-block-bytes",
                    ),
                };
                Self::TooLarge { what, setting }
            }
            IngestError::In { error, .. } => Self::from(*error),
            IngestError::Unwanted | IngestError::Spool(_) => Self::Internal(error.into()),
        }
    }
}

//! Passes a body to the [`crate::pipeline`], piece by piece, as it arrives from a caller or from the database. A
//! request with a body that fits into the first piece does not have to wait for a place.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::Place;
use crate::api::layers::transfers::TransferLimits;
use crate::api::resources::submissions::{SubmissionResult, Taking};
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::FieldError;
use crate::domain::family::Family;
use crate::domain::text::cut;
use crate::intake::{Coding, Format, IngestError, Limit, Reading, RowErrors, Stop};
use crate::pipeline::{self, Also, Destination, PipelineError};

/// Size up to which a body is small, in bytes: it is read completely before a place is needed.
const SMALL: usize = 64 * 1024;

/// Format and coding of a body, according to its headers.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`] for an unknown or missing content type, and for an unknown content encoding.
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

/// Number of runs that a dry run shows.
const SHOWN: usize = 20;

/// Whose place an upload takes, and how long it may wait for one.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// For a request, which is refused if there is no place after a while. A small body needs no place.
    Soon(Owner),
    /// For work in the background, which waits as long as necessary.
    AtSomeTime(Owner),
}

/// What else to write in the transaction of the runs, created once the format is known.
pub(crate) type AlsoSubmitted = Box<dyn FnOnce(Format) -> Also + Send>;

/// Stores the runs of a body: all of them, or with `on_error=skip` those that are valid. A dry run does the same and
/// rolls it back, and invalid rows do not end it.
///
/// # Errors
/// Any problem with the request or the database; nothing was stored then.
pub(crate) async fn submit(
    state: &AppState,
    family: &Family,
    mut taking: Taking,
    headers: &HeaderMap,
    mut arriving: Arriving,
    wanted: Wanted,
    also: Option<AlsoSubmitted>,
) -> Result<SubmissionResult, ApiError> {
    let columns = taking.columns(&state.pool, family).await?;
    let Taking { skip_errors, dry_run, mapping, .. } = taking;
    let (format, coding) = content(headers)?;
    let (first, complete) = arriving.first(SMALL).await?;
    // Compressed bodies may expand to any size, whether they are compressed by a coding or inside their format.
    let is_text = matches!(format, Format::Json | Format::Ndjson | Format::Csv);
    let is_small = complete && is_text && coding == Coding::Identity;
    let place = match wanted {
        Wanted::Soon(_) if is_small => None,
        Wanted::Soon(owner) => Some(state.transfers.upload(owner).await?),
        Wanted::AtSomeTime(owner) => Some(state.transfers.upload_at_some_time(owner).await),
    };
    let place = place.map(Arc::new);

    let reading = Reading {
        format,
        coding,
        columns,
        limits: state.transfers.limits.ingest,
        skip_errors: skip_errors || dry_run,
        stop: Stop::default(),
    };
    let (chunks, source) = mpsc::channel(4);
    // The reading thread holds the place as well: it may go on for a moment after the caller has left.
    let source =
        Chunks { chunks: source, current: Bytes::new(), ended: false, _place: place.clone() };
    let read =
        pipeline::read(&state.pool, &state.clock, reading, source, if dry_run { SHOWN } else { 0 });
    let (sent, arrived) = tokio::join!(arriving.send(first, complete, chunks), read);
    sent?;
    let destination =
        if dry_run { Destination::Rehearsed(family.id) } else { Destination::Stored(family.id) };
    let also = also.map(|also| also(format));
    let stored = arrived?.store(&state.pool, &state.clock, destination, also).await?;
    drop(place);
    Ok(SubmissionResult::new(format, stored, dry_run, mapping))
}

/// A body that is still arriving.
pub struct Arriving {
    pieces: BoxStream<'static, Result<Bytes, ApiError>>,
    left: u64,
    silence: Duration,
}

impl Arriving {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`] if its `Content-Length` is too large.
    pub(crate) fn of_request(request: Request, limits: &TransferLimits) -> Result<Self, ApiError> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > limits.upload_bytes) {
            return Err(IngestError::TooLarge(Limit::Bytes).into());
        }
        let pieces = request.into_body().into_data_stream();
        Ok(Self::new(pieces.map_err(|_| IngestError::CutShort.into()).boxed(), limits))
    }

    /// Reads pieces from another source.
    pub(crate) fn new(
        pieces: BoxStream<'static, Result<Bytes, ApiError>>,
        limits: &TransferLimits,
    ) -> Self {
        Self { pieces, left: limits.upload_bytes, silence: limits.silence }
    }

    /// Waits for the next piece; `None` at the end.
    ///
    /// # Errors
    /// An error if the body is too large, ends early, or stops arriving.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = tokio::time::timeout(self.silence, self.pieces.next()).await;
        let next = next.map_err(|_| {
            ApiError::TimedOut("nothing arrived for as long as an answer may take".to_owned())
        })?;
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(IngestError::TooLarge(Limit::Bytes))?;
        Ok(Some(bytes))
    }

    /// Reads the first pieces, until they have at least `enough` bytes together, and tells whether the body is
    /// complete.
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

    /// Sends all pieces and the end of the body to the reader, unless the reader stops earlier.
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
                // The reader is gone if it needs no more, so stop here, too.
                Some(piece) => more = chunks.send(Some(piece)).await.is_ok(),
                None => more = false,
            }
        }
        let _ = chunks.send(None).await;
        Ok(())
    }
}

/// The reader's end of the channel. If the other end is dropped without having sent the end of the body, the body
/// counts as cut short rather than complete.
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
    let named = errors.placed().into_iter().map(|row| {
        let pointer =
            if single { row.error.pointer } else { format!("/{}{}", row.row, row.error.pointer) };
        FieldError { pointer, detail: row.error.detail }
    });
    ApiError::InvalidRows { errors: named.collect(), total: errors.total }
}

/// Adds the name of the file in an archive to an error.
fn named(name: &str, error: IngestError) -> ApiError {
    let mut name = name.to_owned();
    cut(&mut name, 100);
    let of_file = |detail: String| format!("{detail} (file {name} of the archive)");
    match ApiError::from(error) {
        ApiError::Malformed(detail) => ApiError::Malformed(of_file(detail)),
        ApiError::Invalid(errors) => {
            let errors = errors.into_iter();
            ApiError::Invalid(
                errors.map(|e| FieldError { detail: of_file(e.detail), ..e }).collect(),
            )
        }
        other => other,
    }
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
                        "a batch of Arrow, its dictionaries, the pages of Parquet of some rows, the \
                         workbook, decompressed, or the directory of the archive"
                            .to_owned(),
                        "--max-block-bytes",
                    ),
                    Limit::ArchiveFiles => {
                        ("the number of files in an archive or workbook".to_owned(), "--max-archive-files")
                    }
                };
                Self::TooLarge { what, setting }
            }
            IngestError::In { name, error } => named(&name, *error),
            IngestError::Unwanted | IngestError::Spool(_) => Self::Internal(error.into()),
        }
    }
}

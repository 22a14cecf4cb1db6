//! The common path of runs from an upload or a file into the database:
//!
//! ```text
//! bytes -> a blocking thread that decodes, parses and checks -> batches -> COPY -> one merge
//! ```
//!
//! The channel between reader and database is short: the slower side holds up the other, so memory use stays flat. Runs
//! that fit into one batch are sent as parameters of the merge, and no transaction is opened before they have arrived.

use std::collections::HashSet;
use std::io::Read;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::background::stand_back;
use crate::clock::Clock;
use crate::domain::family::Family;
use crate::domain::numbered_run::NumberedRun;
use crate::domain::run::Merged;
use crate::intake::{IngestError, Intake, Part, Reading, RowErrors, Stop, keep_first};
use crate::store::StoreError;
use crate::store::families::insert_family;
use crate::store::staging::{
    begin_staging, commit_staging, delete_contradicted_rows, delete_repeated_rows,
    list_contradicted_rows, merge_runs, stage_runs, try_merge_staged_runs,
};
use crate::store::unfinished::Unfinished;
use crate::telemetry::request::carried;

/// Why no runs were stored.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The input as a whole is invalid.
    #[error(transparent)]
    Input(#[from] IngestError),
    /// Some rows are wrong, and wrong rows were not to be skipped.
    #[error("{} rows are wrong", .errors.total)]
    Rows {
        /// Errors of the rows.
        errors: RowErrors,
        /// Whether the input was one JSON object rather than rows.
        single: bool,
    },
    /// An error of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process is ending.
    #[error("reading was broken off")]
    BrokenOff,
}

impl From<sqlx::Error> for PipelineError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The family that the runs go to.
#[derive(Debug)]
pub enum Destination {
    /// An existing family.
    Stored(Uuid),
    /// A new family, which is stored together with its first runs or not at all.
    New(Box<Family>),
    /// An existing family, but everything is rolled back: a dry run, to see what would be stored.
    Rehearsed(Uuid),
}

/// The result of storing an input.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The runs that were stored.
    pub merged: Merged,
    /// The rows that were not stored, and remarks on the input.
    pub intake: Intake,
    /// The first runs, as many as were requested.
    pub preview: Vec<NumberedRun>,
}

/// Further writes in the transaction that stores the runs, made once the result is known: either everything is
/// committed, or nothing.
pub type Also = Box<
    dyn for<'c> FnOnce(&'c mut PgConnection, &'c Stored) -> BoxFuture<'c, Result<(), StoreError>>
        + Send,
>;

/// Runs that have arrived but are not stored yet. Dropping them leaves nothing behind.
#[derive(Debug)]
pub struct Arrived {
    runs: Runs,
    intake: Intake,
    preview: Vec<NumberedRun>,
    /// How many wrong rows are listed.
    named_errors: usize,
    skip_errors: bool,
}

#[derive(Debug)]
enum Runs {
    /// At most one batch.
    Few(Vec<NumberedRun>),
    /// This many runs in the staging table of a transaction, which ends with its connection.
    Many(Unfinished, u64),
}

/// Reads an input to its end, keeping its first `shown` runs for a preview.
///
/// # Errors
/// If the input as a whole is invalid, or the database is unreachable.
pub async fn read(
    pool: &PgPool,
    clock: &Clock,
    reading: Reading,
    source: impl Read + Send + 'static,
    shown: usize,
) -> Result<Arrived, PipelineError> {
    arrive(pool, clock, reading, shown, |reading, hand_on| reading.run(source, hand_on)).await
}

/// Like [`read`], for several inputs whose runs are stored together or not at all.
///
/// # Errors
/// If one of them is invalid, or the database is unreachable.
pub async fn read_parts(
    pool: &PgPool,
    clock: &Clock,
    reading: Reading,
    parts: impl IntoIterator<Item = Result<Part, IngestError>> + Send + 'static,
) -> Result<Arrived, PipelineError> {
    arrive(pool, clock, reading, 0, |reading, hand_on| reading.run_parts(parts, hand_on)).await
}

/// Takes a batch of runs; returns whether it wants more.
type HandOn<'a> = &'a mut dyn FnMut(Vec<NumberedRun>) -> bool;

async fn arrive(
    pool: &PgPool,
    clock: &Clock,
    mut reading: Reading,
    shown: usize,
    run: impl FnOnce(&Reading, HandOn<'_>) -> Result<Intake, IngestError> + Send + 'static,
) -> Result<Arrived, PipelineError> {
    let (named_errors, skip_errors) = (reading.limits.named_errors, reading.skip_errors);
    // When the caller no longer waits for the runs, the reader stops at its next row or chunk.
    let stop = Stop::default();
    reading.stop = stop.clone();
    let _stop = stop.when_dropped();
    let (batches, arriving) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(carried(move || {
        stand_back();
        let mut preview = Vec::new();
        let intake = run(&reading, &mut |batch: Vec<NumberedRun>| {
            preview.extend(batch.iter().take(shown - preview.len()).cloned());
            batches.blocking_send(batch).is_ok()
        })?;
        Ok::<_, IngestError>((intake, preview))
    }));
    let (staged, read) = tokio::join!(stage(pool, clock, arriving), reader);
    let runs = staged?;
    let (intake, preview) = match read {
        Ok(read) => read?,
        // A panic of the reader continues on this thread.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => return Err(PipelineError::BrokenOff),
        },
    };
    Ok(Arrived { runs, intake, preview, named_errors, skip_errors })
}

/// Receives all batches, and stages them if there is more than one.
async fn stage(
    pool: &PgPool,
    clock: &Clock,
    mut batches: mpsc::Receiver<Vec<NumberedRun>>,
) -> Result<Runs, StoreError> {
    let Some(first) = batches.recv().await else { return Ok(Runs::Few(Vec::new())) };
    let Some(second) = batches.recv().await else { return Ok(Runs::Few(first)) };
    let mut connection = begin_staging(pool).await?;
    let rest = stream::poll_fn(move |context| batches.poll_recv(context));
    let all = stream::iter([first, second]).chain(rest);
    let total = stage_runs(&mut connection, clock, all).await?;
    Ok(Runs::Many(connection, total))
}

impl Arrived {
    /// Stores the runs: all of them, or only the valid ones if wrong rows are to be skipped. `also` is written in the
    /// same transaction, unless this is a dry run.
    ///
    /// # Errors
    /// Why nothing was stored.
    pub async fn store(
        self,
        pool: &PgPool,
        clock: &Clock,
        destination: Destination,
        also: Option<Also>,
    ) -> Result<Stored, PipelineError> {
        let Self { runs, mut intake, mut preview, named_errors, skip_errors } = self;
        let also = also.filter(|_| destination.lasts());
        let refused = |intake: &Intake| !skip_errors && intake.errors.total > 0;
        let wrong = |Intake { errors, single, .. }| Err(PipelineError::Rows { errors, single });
        let (merged, open) = match runs {
            Runs::Few(runs) => {
                let mut runs = keep_first(runs, named_errors, &mut intake.errors);
                let mut tries = 0;
                loop {
                    if refused(&intake) {
                        return wrong(intake);
                    }
                    match destination.merge(pool, clock, &runs).await {
                        Err(StoreError::PatternContradicted) if tries < MOST_TRIES => tries += 1,
                        merged => break merged?,
                    }
                    let found = list_contradicted_rows(pool, destination.family(), &runs).await?;
                    intake.errors.add_contradicted(named_errors, &found, found.len() as u64);
                    let found: HashSet<u64> = found.iter().map(|found| found.row).collect();
                    runs.retain(|run| !found.contains(&run.row));
                }
            }
            Runs::Many(mut connection, staged) => {
                if refused(&intake) {
                    return wrong(intake);
                }
                let (repeated, count) = delete_repeated_rows(&mut connection, named_errors).await?;
                intake.errors.add_repeated(named_errors, &repeated, count);
                if refused(&intake) {
                    return wrong(intake);
                }
                let id = destination.prepare(&mut connection).await?;
                let mut left = staged - count;
                let mut tries = 0;
                let merged = loop {
                    match try_merge_staged_runs(&mut connection, clock, id, left).await {
                        Err(StoreError::PatternContradicted) if tries < MOST_TRIES => tries += 1,
                        merged => break merged?,
                    }
                    let (found, count) =
                        delete_contradicted_rows(&mut connection, id, named_errors).await?;
                    intake.errors.add_contradicted(named_errors, &found, count);
                    left -= count;
                    if refused(&intake) {
                        return wrong(intake);
                    }
                };
                (merged, Open::Staging(connection))
            }
        };
        let wrong: HashSet<u64> = intake.errors.named.iter().map(|error| error.row).collect();
        preview.retain(|run| !wrong.contains(&run.row));
        let stored = Stored { merged, intake, preview };
        open.end(&stored, also, destination.lasts()).await?;
        Ok(stored)
    }
}

/// The transaction in which the runs were merged.
enum Open {
    /// An ordinary transaction.
    Transaction(PgTransaction<'static>),
    /// The transaction of the staging table.
    Staging(Unfinished),
}

impl Open {
    /// Makes the further writes, and then commits or rolls back.
    async fn end(
        self,
        stored: &Stored,
        also: Option<Also>,
        lasts: bool,
    ) -> Result<(), PipelineError> {
        match self {
            Self::Transaction(mut transaction) => {
                if let Some(also) = also {
                    also(&mut transaction, stored).await?;
                }
                if lasts {
                    transaction.commit().await?;
                } else {
                    transaction.rollback().await?;
                }
            }
            Self::Staging(mut connection) => {
                if let Some(also) = also {
                    also(&mut connection, stored).await?;
                }
                // Otherwise the connection is closed, which rolls everything back.
                if lasts {
                    commit_staging(connection).await?;
                }
            }
        }
        Ok(())
    }
}

/// How often a merge is repeated because runs would keep patterns that their sparsity contradicts. Such runs are
/// removed after each attempt; more of them can only appear if somebody changes the same runs at the same moment.
const MOST_TRIES: u32 = 5;

impl Destination {
    /// The id of the family, whether it exists already or not.
    fn family(&self) -> Uuid {
        match self {
            Self::Stored(id) | Self::Rehearsed(id) => *id,
            Self::New(family) => family.id,
        }
    }

    /// Merges a few runs: all or none. The caller must end the returned transaction.
    async fn merge(
        &self,
        pool: &PgPool,
        clock: &Clock,
        runs: &[NumberedRun],
    ) -> Result<(Merged, Open), StoreError> {
        let mut transaction = pool.begin().await?;
        let id = self.prepare(&mut transaction).await?;
        let merged = merge_runs(&mut transaction, clock, id, runs).await?;
        Ok((merged, Open::Transaction(transaction)))
    }

    /// The family's id; inserts the family if it is new.
    async fn prepare(&self, db: &mut PgConnection) -> Result<Uuid, StoreError> {
        match self {
            Self::Stored(id) | Self::Rehearsed(id) => Ok(*id),
            Self::New(family) => {
                insert_family(db, family).await?;
                Ok(family.id)
            }
        }
    }

    /// Whether the changes are to be committed.
    const fn lasts(&self) -> bool {
        match self {
            Self::Stored(_) | Self::New(_) => true,
            Self::Rehearsed(_) => false,
        }
    }
}

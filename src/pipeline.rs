//! The one way in for runs, from an upload and from a file:
//!
//! ```text
//! bytes -> a blocking thread that decodes, parses and checks -> batches -> COPY -> one merge
//! ```
//!
//! The channel between is short: whoever is slow holds up the other, and memory stays flat. Runs that come in
//! one batch go as parameters of the merge, and no transaction is opened before they have arrived.

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
    /// The input as a whole is none.
    #[error(transparent)]
    Input(#[from] IngestError),
    /// Rows are wrong, and they were not to be skipped.
    #[error("{} rows are wrong", .errors.total)]
    Rows {
        /// The rows.
        errors: RowErrors,
        /// Whether the input was one JSON object rather than rows.
        single: bool,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process ends.
    #[error("reading was broken off")]
    BrokenOff,
}

impl From<sqlx::Error> for PipelineError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Which family the runs go to.
#[derive(Debug)]
pub enum Destination {
    /// One that there is.
    Stored(Uuid),
    /// One that is stored with its first runs, or not at all.
    New(Box<Family>),
    /// One that there is, and all that is done is taken back: to see what would be stored.
    Rehearsed(Uuid),
}

/// What became of an input.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The runs that were stored.
    pub merged: Merged,
    /// The rows that were not, and what was noticed.
    pub intake: Intake,
    /// The first runs, as many as were asked for.
    pub preview: Vec<NumberedRun>,
}

/// What else is written in the transaction that stores the runs, once it is known what becomes of them: all of it is
/// there afterwards, or nothing.
pub type Also = Box<
    dyn for<'c> FnOnce(&'c mut PgConnection, &'c Stored) -> BoxFuture<'c, Result<(), StoreError>>
        + Send,
>;

/// Runs that have arrived and are not stored yet. Dropped, they leave nothing.
#[derive(Debug)]
pub struct Arrived {
    runs: Runs,
    intake: Intake,
    preview: Vec<NumberedRun>,
    /// How many rows that are wrong are named.
    named_errors: usize,
    skip_errors: bool,
}

#[derive(Debug)]
enum Runs {
    /// One batch at most.
    Few(Vec<NumberedRun>),
    /// So many, in the staging table of a transaction that ends with its connection.
    Many(Unfinished, u64),
}

/// Reads an input to its end, and keeps so many of its first runs aside to be shown.
///
/// # Errors
/// Where the input as a whole is none, or the database is away.
pub async fn read(
    pool: &PgPool,
    clock: &Clock,
    reading: Reading,
    source: impl Read + Send + 'static,
    shown: usize,
) -> Result<Arrived, PipelineError> {
    arrive(pool, clock, reading, shown, |reading, hand_on| reading.run(source, hand_on)).await
}

/// The same for several inputs, whose runs are stored together or not at all.
///
/// # Errors
/// Where one of them is none, or the database is away.
pub async fn read_parts(
    pool: &PgPool,
    clock: &Clock,
    reading: Reading,
    parts: impl IntoIterator<Item = Result<Part, IngestError>> + Send + 'static,
) -> Result<Arrived, PipelineError> {
    arrive(pool, clock, reading, 0, |reading, hand_on| reading.run_parts(parts, hand_on)).await
}

/// Whoever takes runs, and says whether it wants more.
type HandOn<'a> = &'a mut dyn FnMut(Vec<NumberedRun>) -> bool;

async fn arrive(
    pool: &PgPool,
    clock: &Clock,
    mut reading: Reading,
    shown: usize,
    run: impl FnOnce(&Reading, HandOn<'_>) -> Result<Intake, IngestError> + Send + 'static,
) -> Result<Arrived, PipelineError> {
    let (named_errors, skip_errors) = (reading.limits.named_errors, reading.skip_errors);
    // Where nobody waits for the runs any more their reader sees it at its next row or piece.
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
        // As it would have been on this thread.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => return Err(PipelineError::BrokenOff),
        },
    };
    Ok(Arrived { runs, intake, preview, named_errors, skip_errors })
}

/// Takes batches to their end.
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
    /// Stores the runs: all of them, or those that are right where the others were to be skipped. What else is to be
    /// written is written with them, unless all that is done is taken back.
    ///
    /// # Errors
    /// Where nothing was stored, and why.
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

/// What the runs were merged in.
enum Open {
    /// A transaction.
    Transaction(PgTransaction<'static>),
    /// That of the staging table.
    Staging(Unfinished),
}

impl Open {
    /// Writes what else is to be written, and then commits, or takes all back.
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
                // Otherwise the connection goes, and all with it.
                if lasts {
                    commit_staging(connection).await?;
                }
            }
        }
        Ok(())
    }
}

/// How often a merge is tried in which runs would keep patterns that their sparsity contradicts. Those that do are
/// left out after the first; others can only come from somebody who changes the same runs in that moment.
const MOST_TRIES: u32 = 5;

impl Destination {
    /// The id of the family that there is, or will be.
    fn family(&self) -> Uuid {
        match self {
            Self::Stored(id) | Self::Rehearsed(id) => *id,
            Self::New(family) => family.id,
        }
    }

    /// Merges a few runs: all or none. What they were merged in is to be ended.
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

    /// The family's id, once the family is there.
    async fn prepare(&self, db: &mut PgConnection) -> Result<Uuid, StoreError> {
        match self {
            Self::Stored(id) | Self::Rehearsed(id) => Ok(*id),
            Self::New(family) => {
                insert_family(db, family).await?;
                Ok(family.id)
            }
        }
    }

    /// Whether what is done is to stay.
    const fn lasts(&self) -> bool {
        match self {
            Self::Stored(_) | Self::New(_) => true,
            Self::Rehearsed(_) => false,
        }
    }
}

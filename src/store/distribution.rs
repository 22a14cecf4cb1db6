//! Distributes the tables over several nodes with Citus. `docs/scaling.md` describes the layout and what was tested.
//!
//! Statements run one after the other, each in a transaction of its own, as a coordinator sends each one to all nodes.
//! Steps that are done already are skipped, so an interrupted distribution can be started again.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::store::{StoreError, find_announces_here};

/// Where the rows of a table are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A full copy on every node.
    EveryNode,
    /// Distributed by this column, and co-located with another table if one is named.
    By(&'static str, Option<&'static str>),
}

/// Tables that do not stay on the coordinator, in the order in which they can be moved: no table refers to a later one,
/// except families and laws, which refer to each other.
const LAYOUT: [(&str, Place); 6] = [
    ("families", Place::EveryNode),
    ("laws", Place::EveryNode),
    ("runs", Place::By("family_id", None)),
    ("forecasts", Place::By("family_id", Some("runs"))),
    ("law_runs", Place::By("law_id", None)),
    ("law_resamples", Place::By("law_id", Some("law_runs"))),
];

/// Tables whose primary key must be changed to begin with the distribution column.
const KEYED_ANEW: [&str; 2] = ["runs", "forecasts"];

/// Why the tables were left as they are.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// Citus is not installed.
    #[error(
        "the database has no Citus: install it on every node, and say CREATE EXTENSION citus in this database on each"
    )]
    NoCitus,
    /// The connection leads to a worker instead of the coordinator.
    #[error("this is a worker of Citus: name its coordinator in DATABASE_URL")]
    Worker,
    /// The coordinator knows no worker nodes.
    #[error(
        "the coordinator knows no workers: SELECT citus_add_node('HOST', PORT) for each of them first"
    )]
    NoNodes,
    /// The table of runs is partitioned.
    #[error(
        "the table of runs is in parts (--partitions), which has not been tried with Citus: restore a copy of the \
         database that is not"
    )]
    InParts,
    /// Somebody has distributed a table in another way.
    #[error(
        "{table} is {is} already, and would have to be {should}: SELECT undistribute_table('{table}') puts it back on \
         the coordinator"
    )]
    Otherwise {
        /// The table.
        table: &'static str,
        /// How it is stored now.
        is: String,
        /// How it should be stored.
        should: String,
    },
    /// A worker has a table of its own in the way.
    #[error(
        "the worker {node} has a table {table} of its own, as of a service that was started there: make that database anew, \
         or DROP the tables of the service in it"
    )]
    InTheWay {
        /// Host and port of the worker.
        node: String,
        /// The table.
        table: &'static str,
    },
    /// All tables are distributed already.
    #[error("the tables are distributed already, and are left as they are")]
    Done,
    /// A table was locked for too long.
    #[error(
        "a table was in use for longer than {} s: say it again when uploads have ended; what was done stays",
        PATIENCE_S
    )]
    InUse,
    /// Any other error of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seconds for which a statement waits for the locks on a table; meanwhile everybody else who needs the table queues
/// behind it.
const PATIENCE_S: u32 = 10;

/// Applies the layout on a coordinator. Requests that write to a table wait while it is moved.
///
/// # Errors
/// [`DistributionError`]; steps that were done before the error stay, and are skipped next time.
#[tracing::instrument(name = "db.distribute", level = "debug", skip_all)]
pub async fn distribute(db: &mut PgConnection) -> Result<(), DistributionError> {
    if !is_true(db, "to_regproc('create_distributed_table') IS NOT NULL").await? {
        return Err(DistributionError::NoCitus);
    }
    if !find_announces_here(db).await? {
        return Err(DistributionError::Worker);
    }
    if !is_true(db, "EXISTS (SELECT 1 FROM citus_get_active_worker_nodes())").await? {
        return Err(DistributionError::NoNodes);
    }
    let in_parts = "EXISTS (SELECT 1 FROM pg_class WHERE oid = 'runs'::regclass AND relkind = 'p')";
    if is_true(db, in_parts).await? {
        return Err(DistributionError::InParts);
    }
    let mut left = Vec::new();
    // All tables are checked before anything is changed.
    for (table, place) in LAYOUT {
        match find_place(db, table).await? {
            None => left.push((table, place)),
            Some(is) if is == place.as_found() => {}
            Some(is) => {
                return Err(DistributionError::Otherwise { table, is, should: place.as_found() });
            }
        }
    }
    if left.is_empty() {
        return Err(DistributionError::Done);
    }
    for (table, _) in &left {
        if let Some(node) = find_in_the_way(db, table).await? {
            return Err(DistributionError::InTheWay { node, table });
        }
    }
    for setting in [
        // Needed for the triggers that announce changes, which do so on the coordinator only.
        "SET citus.enable_unsafe_triggers = on".to_owned(),
        format!("SET lock_timeout = '{PATIENCE_S}s'"),
    ] {
        execute(db, &setting).await?;
    }
    // While no table is distributed yet, these two can be altered like any other table.
    for table in KEYED_ANEW {
        key_anew(db, table).await?;
    }
    for (table, place) in left {
        tracing::info!(table, place = place.as_found(), "distributing");
        execute(db, &place.statement(table)).await?;
    }
    Ok(())
}

impl Place {
    /// The place in the words of [`find_place`].
    fn as_found(self) -> String {
        match self {
            Self::EveryNode => "on every node".to_owned(),
            Self::By(column, _) => format!("distributed by {column}"),
        }
    }

    fn statement(self, table: &str) -> String {
        match self {
            Self::EveryNode => format!("SELECT create_reference_table('{table}')"),
            Self::By(column, beside) => {
                let beside = beside.unwrap_or("none");
                format!(
                    "SELECT create_distributed_table('{table}', '{column}', colocate_with => '{beside}')"
                )
            }
        }
    }
}

/// Where a table is stored, in words; `None` for the coordinator alone.
async fn find_place(db: &mut PgConnection, table: &str) -> Result<Option<String>, StoreError> {
    let place = format!(
        "SELECT CASE citus_table_type WHEN 'reference' THEN 'on every node'
                ELSE format('%s by %s', citus_table_type, distribution_column) END
         FROM citus_tables WHERE table_name = '{table}'::regclass AND citus_table_type <> 'local'"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(place)).fetch_optional(db).await?)
}

/// A worker that has a table of this name that the coordinator did not put there.
async fn find_in_the_way(db: &mut PgConnection, table: &str) -> Result<Option<String>, StoreError> {
    let node = format!(
        "SELECT format('%s:%s', nodename, nodeport)
         FROM run_command_on_workers($$SELECT to_regclass('{table}') IS NOT NULL$$)
         WHERE success AND result = 't' ORDER BY 1 LIMIT 1"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(node)).fetch_optional(db).await?)
}

/// Gives a table a primary key that begins with the family. Its index is built without blocking writes.
async fn key_anew(db: &mut PgConnection, table: &str) -> Result<(), DistributionError> {
    let is_new = format!(
        "EXISTS (
            SELECT 1 FROM pg_constraint WHERE conrelid = '{table}'::regclass AND conname = '{table}_pkey'
                AND pg_get_constraintdef(oid) = 'PRIMARY KEY (family_id, id)'
        )"
    );
    if is_true(db, &is_new).await? {
        return Ok(());
    }
    for statement in [
        // Left over by an attempt that was interrupted.
        format!("DROP INDEX CONCURRENTLY IF EXISTS {table}_new_pkey"),
        format!("CREATE UNIQUE INDEX CONCURRENTLY {table}_new_pkey ON {table} (family_id, id)"),
        // One transaction with two statements: if somebody has already put families on every node, Citus knows this
        // table, and then accepts only one constraint change per statement.
        format!(
            "BEGIN;
            ALTER TABLE {table} DROP CONSTRAINT {table}_pkey;
            ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY USING INDEX {table}_new_pkey;
            COMMIT"
        ),
    ] {
        execute(db, &statement).await?;
    }
    Ok(())
}

async fn execute(db: &mut PgConnection, sql: &str) -> Result<(), DistributionError> {
    let executed = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await;
    let error = match executed {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let code =
        error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    if code.as_deref() == Some(LOCK_NOT_AVAILABLE) {
        return Err(DistributionError::InUse);
    }
    Err(StoreError::from(error).into())
}

/// SQLSTATE for a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

async fn is_true(db: &mut PgConnection, condition: &str) -> Result<bool, StoreError> {
    let sql = format!("SELECT {condition}");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db).await?)
}

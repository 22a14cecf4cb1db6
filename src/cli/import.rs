//! `import`: runs from a file into a family.

use anyhow::{Context, bail};
use futures_util::stream;
use serde_json::json;
use sparsity_law::fit::FitConfig;
use sparsity_law::law;

use crate::app::Database;
use crate::cli::print::print_json;
use crate::cli::table::TableConfig;
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::family::{Family, FamilySettings};
use crate::domain::text::{FamilyName, check_label};
use crate::store::{families, staging};

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The family that the runs belong to.
    #[arg(long)]
    family: String,
    /// Create the family if it does not exist, counting data in this unit.
    #[arg(long, value_name = "DATA_UNIT")]
    create: Option<String>,
    /// Store the rows that are right even if others are wrong.
    #[arg(long)]
    skip_errors: bool,
    #[command(flatten)]
    table: TableConfig,
    #[command(flatten)]
    database: DatabaseConfig,
}

pub async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let name = FamilyName::new(&args.family).context("the name of a family")?;
    let (file, reading) = args.table.open(args.skip_errors)?;
    let named = reading.limits.named_errors;
    let database = Database::open(&args.database).await?;
    let clock = Clock::system();
    let mut transaction = database.pool.begin().await?;
    let family = match (families::find_family(&mut *transaction, &name).await?, args.create) {
        (Some(family), _) => family,
        (None, Some(data_unit)) => {
            let family = new_family(&clock, name, data_unit)?;
            families::insert_family(&mut *transaction, &family).await?;
            family
        }
        (None, None) => bail!("there is no family {name}; --create DATA_UNIT creates it"),
    };
    let (batches, mut read) = tokio::sync::mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || {
        reading.run(file, &mut |batch| batches.blocking_send(batch).is_ok())
    });
    let batches = stream::poll_fn(move |context| read.poll_recv(context));
    let staged = staging::stage_runs(&mut transaction, &clock, batches).await?;
    let mut errors = reader.await??.errors;
    let (repeated, count) = staging::delete_repeated_rows(&mut transaction, named).await?;
    errors.add_repeated(named, &repeated, count);
    if !args.skip_errors {
        args.table.refuse_errors(&errors)?;
    }
    let merged =
        staging::merge_staged_runs(&mut transaction, &clock, family.id, staged - count).await?;
    transaction.commit().await?;
    database.close().await?;
    print_json(&json!({
        "family": args.family,
        "created": merged.created,
        "updated": merged.updated,
        "unchanged": merged.unchanged,
        "errors": errors.total,
        "rejected": errors.named.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))
}

fn new_family(clock: &Clock, name: FamilyName, data_unit: String) -> anyhow::Result<Family> {
    check_label(&data_unit).context("the data unit")?;
    let default = FitConfig::default();
    let now = clock.now();
    Ok(Family {
        id: clock.new_id(),
        name,
        settings: FamilySettings {
            description: String::new(),
            tokens_per_data_unit: (data_unit == "tokens").then_some(1.0),
            data_unit,
            flops_per_param: law::FlopsPerParam::TRAINING,
            pruning: law::PruningSchedule::default(),
            residual: default.residual,
            delta: default.delta,
        },
        pinned_law_id: None,
        created_at: now,
        updated_at: now,
    })
}

//! `import`: runs from a file into a family.

use anyhow::{Context, bail};
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
use crate::intake::Recognised;
use crate::pipeline::{self, Destination, PipelineError, Stored};
use crate::store::families;

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
    let (file, reading) = args.table.open(args.skip_errors, false)?;
    let database = Database::open(&args.database).await?;
    let (pool, clock) = (&database.pool, Clock::system());
    let destination = match (families::find_family(pool, &name).await?, args.create) {
        (Some(family), _) => Destination::Stored(family.id),
        (None, Some(data_unit)) => Destination::New(Box::new(new_family(&clock, name, data_unit)?)),
        (None, None) => bail!("there is no family {name}; --create DATA_UNIT creates it"),
    };
    let arrived = pipeline::read(pool, &clock, reading, file, 0).await?;
    let Stored { merged, intake, .. } = match arrived.store(pool, &clock, destination).await {
        Err(PipelineError::Rows { errors, .. }) => return args.table.refuse_errors(&errors),
        stored => stored?,
    };
    database.close().await?;
    print_json(&json!({
        "family": args.family,
        "created": merged.created,
        "updated": merged.updated,
        "unchanged": merged.unchanged,
        "errors": intake.errors.total,
        "left_out": intake.left_out,
        "columns": columns_of(&intake.recognised),
        "warnings": intake.warnings.iter().map(|warning| &warning.detail).collect::<Vec<_>>(),
        "rejected": intake.errors.named.iter().map(ToString::to_string).collect::<Vec<_>>(),
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

/// What each field came from.
fn columns_of(recognised: &Recognised) -> serde_json::Map<String, serde_json::Value> {
    let fields = recognised.fields.iter();
    fields.map(|(field, from)| (field.as_str().to_owned(), json!(from))).collect()
}

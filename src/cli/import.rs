//! `import`: stores runs from files in a family.

use anyhow::{Context, bail};
use serde_json::json;
use sparsity_law::fit::FitConfig;
use sparsity_law::law;

use crate::app::Database;
use crate::cli::print::print_json;
use crate::cli::table::{TableConfig, described, refuse_options};
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::family::{Family, FamilySettings, Zeros};
use crate::domain::mapping::MappingSettings;
use crate::domain::text::{FamilyName, MappingName, check_label};
use crate::intake::Recognised;
use crate::pipeline::{self, Destination, PipelineError, Stored};
use crate::store::{families, mappings};

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Family that the runs belong to.
    #[arg(long)]
    family: String,
    /// Create the family if it does not exist, counting data in this unit.
    #[arg(long, value_name = "DATA_UNIT")]
    create: Option<String>,
    /// Store the valid rows even if others are wrong.
    #[arg(long)]
    skip_errors: bool,
    /// Mapping stored for the family. Options given besides it take precedence: --map and --scale field by field,
    /// others as a whole.
    #[arg(long, value_name = "NAME")]
    mapping: Option<String>,
    #[command(flatten)]
    table: TableConfig,
    #[command(flatten)]
    database: DatabaseConfig,
}

pub async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let name = FamilyName::new(&args.family).context("the name of a family")?;
    let inputs = args.table.inputs()?;
    // Options that are wrong in themselves are reported before the database is opened.
    if args.mapping.is_none() {
        args.table.reading(args.skip_errors, false, MappingSettings::default())?;
    }
    let database = Database::open(&args.database).await?;
    let (pool, clock) = (&database.pool, Clock::system());
    let family = families::find_family(pool, &name).await?;
    let kept = match (&args.mapping, &family) {
        (None, _) => MappingSettings::default(),
        (Some(wanted), Some(family)) => {
            let known = MappingName::new(wanted).ok();
            let found = match known {
                Some(name) => mappings::find_mapping(pool, family.id, &name).await?,
                None => None,
            };
            let found = found.map(|mapping| mapping.settings);
            found.with_context(|| format!("the family {name} keeps no mapping {wanted}"))?
        }
        (Some(_), None) => {
            bail!("--mapping names what a family keeps, and there is no family {name}")
        }
    };
    let mut reading = args.table.reading(args.skip_errors, false, kept)?;
    let unit = family.as_ref().map(|family| &family.settings.data_unit).or(args.create.as_ref());
    if let Some(unit) = unit {
        refuse_options(reading.columns.check_unit(unit))?;
    }
    if let Some(family) = &family {
        reading.columns = reading.columns.with_flops_per_param(family.settings.flops_per_param);
    }
    let destination = match (family, args.create) {
        (Some(family), _) => Destination::Stored(family.id),
        (None, Some(data_unit)) => Destination::New(Box::new(new_family(&clock, name, data_unit)?)),
        (None, None) => bail!("there is no family {name}; --create DATA_UNIT creates it"),
    };
    let arrived = pipeline::read_parts(pool, &clock, reading, inputs.parts()).await?;
    let Stored { merged, intake, .. } = match arrived.store(pool, &clock, destination, None).await {
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
        "rejected": intake.errors.named.iter().map(|error| described(&intake.errors, error)).collect::<Vec<_>>(),
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
            zeros: Zeros::Weights,
            residual: default.residual,
            delta: default.delta,
        },
        pinned_law_id: None,
        created_at: now,
        updated_at: now,
    })
}

/// What each field was read from.
fn columns_of(recognised: &Recognised) -> serde_json::Map<String, serde_json::Value> {
    let fields = recognised.fields.iter();
    fields.map(|(field, from)| (field.as_str().to_owned(), json!(from))).collect()
}

//! Files of runs, as the command line names them: which file, and what its columns mean.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::intake::{Coding, Format, IngestLimits, OptionTexts, Reading, RowErrors};

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// An array of JSON objects, or what an export has in its place.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Self {
        match format {
            TableFormat::Json => Self::Json,
            TableFormat::Ndjson => Self::Ndjson,
            TableFormat::Csv => Self::Csv,
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => Self::Parquet,
        }
    }
}

/// Which file, and what its columns mean.
#[derive(Debug, Clone, Args)]
pub struct TableConfig {
    /// The file; one that ends in .gz or .zst is decompressed.
    pub file: PathBuf,
    /// Format of the file; by its ending unless said otherwise.
    #[arg(long, value_enum)]
    pub format: Option<TableFormat>,
    /// Whose export the file is: wandb or mlflow. Fields are then looked for with the prefixes of these
    /// services too, and runs that did not finish are left out.
    #[arg(long)]
    pub source: Option<String>,
    /// Where a field comes from: --map loss=val_loss takes it from a column, --map data='steps*512*1024'
    /// computes it, --map sparsity=0 says it. Names of columns with other signs stand in backticks. Fields:
    /// external_id, nonzero_params, total_params, sparsity, data, loss, start, pretraining_data, pattern,
    /// tags, exclusion_reason.
    #[arg(long = "map", value_name = "FIELD=EXPRESSION", value_parser = pair)]
    pub map: Vec<String>,
    /// Column with total parameters, zeros included, for data that has no non-zero ones.
    #[arg(long, value_name = "COLUMN")]
    pub total_params_column: Option<String>,
    /// Factor for a number: --scale data=65536 turns steps into tokens.
    #[arg(long, value_name = "FIELD=FACTOR", value_parser = pair)]
    pub scale: Vec<String>,
    /// What sparsities are given in: fraction or percent.
    #[arg(long, default_value = "fraction")]
    pub sparsity_unit: String,
    /// Column that becomes a tag of the run.
    #[arg(long = "tag-column", value_name = "COLUMN")]
    pub tag_columns: Vec<String>,
    /// What names a run: columns, joined by colons, or `content` for a name made of the run's own values.
    #[arg(long, value_name = "COLUMN[,COLUMN]|content")]
    pub id: Option<String>,
    /// Rows that are runs: --where 'State == "finished" and steps > 1000'. The others are left out.
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Which of several rows of one run is kept: last:COLUMN, first:COLUMN, min:COLUMN or max:COLUMN.
    #[arg(long, value_name = "CHOICE:COLUMN")]
    pub keep: Option<String>,
    /// What stands between cells of a CSV file: a sign, or tab. Found from the header unless said.
    #[arg(long)]
    pub separator: Option<String>,
    /// The decimal mark, . or ,. A comma in files separated by semicolons or tabs unless said.
    #[arg(long)]
    pub decimal: Option<String>,
    /// Texts that mean "no value", between commas, in place of the usual ones.
    #[arg(long, value_name = "TEXT[,TEXT]")]
    pub null: Option<String>,
}

/// `FIELD=TEXT` as the options of a query have it.
fn pair(text: &str) -> Result<String, String> {
    let (field, value) = text.split_once('=').ok_or("must be FIELD=VALUE")?;
    Ok(format!("{field}:{value}"))
}

/// Files are limited by the row alone: they are their owner's.
const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: u64::MAX,
    rows: u64::MAX,
    row_bytes: 16 * 1024 * 1024,
    named_errors: 10_000,
};

impl TableConfig {
    /// The file, and how it is read; and whether runs need no name.
    ///
    /// # Errors
    /// Where it cannot be opened, its format is not clear, or an option names what there is not.
    pub fn open(&self, skip_errors: bool, names_optional: bool) -> anyhow::Result<(File, Reading)> {
        let file =
            File::open(&self.file).with_context(|| format!("opening {}", self.file.display()))?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (coding, stem) = match name.rsplit_once('.') {
            Some((stem, "gz")) => (Coding::Gzip, stem),
            Some((stem, "zst")) => (Coding::Zstd, stem),
            _ => (Coding::Identity, &*name),
        };
        let mut map = self.map.clone();
        if let Some(column) = &self.total_params_column {
            if map.iter().any(|item| item.starts_with("total_params:")) {
                bail!("--total-params-column and --map total_params say the same: give one");
            }
            map.push(format!("total_params:`{column}`"));
        }
        let options = OptionTexts {
            map,
            scale: self.scale.clone(),
            tag_columns: self.tag_columns.iter().map(|column| format!("`{column}`")).collect(),
            sparsity_unit: Some(self.sparsity_unit.clone()),
            source: self.source.clone(),
            id: self.id.clone(),
            names_optional,
            condition: self.condition.clone(),
            keep: self.keep.clone(),
            separator: self.separator.clone(),
            decimal: self.decimal.clone(),
            null: self.null.clone(),
        };
        let columns = options.check().map_err(|errors| {
            let errors = errors
                .iter()
                .map(|e| format!("--{}: {}", e.pointer.trim_start_matches('/'), e.detail));
            anyhow::anyhow!(errors.collect::<Vec<_>>().join("; "))
        })?;
        let format = self.format(stem)?;
        Ok((file, Reading { format, coding, columns, limits: LIMITS, skip_errors }))
    }

    fn format(&self, name: &str) -> anyhow::Result<Format> {
        if let Some(format) = self.format {
            return Ok(format.into());
        }
        match name.to_ascii_lowercase().rsplit_once('.') {
            Some((_, "csv" | "tsv")) => Ok(Format::Csv),
            Some((_, "ndjson" | "jsonl")) => Ok(Format::Ndjson),
            Some((_, "json")) => Ok(Format::Json),
            #[cfg(feature = "parquet")]
            Some((_, "parquet")) => Ok(Format::Parquet),
            _ => bail!("the format of {} is not clear: say --format", self.file.display()),
        }
    }

    /// Refuses a file with errors, naming the first of them.
    ///
    /// # Errors
    /// Where there are any.
    pub fn refuse_errors(&self, errors: &RowErrors) -> anyhow::Result<()> {
        const NAMED: usize = 20;
        if errors.total == 0 {
            return Ok(());
        }
        let mut lines: Vec<String> =
            errors.named.iter().take(NAMED).map(ToString::to_string).collect();
        let more = errors.total - lines.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let file = self.file.display();
        bail!("{file} has errors, and nothing was stored:\n  {}", lines.join("\n  "))
    }
}

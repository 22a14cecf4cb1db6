//! Files of runs, as the command line names them: which file, and what its columns mean.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::intake::{
    Coding, ColumnOptions, Format, IngestLimits, Reading, RowErrors, Source, SparsityUnit,
};

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

/// Whose export a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableSource {
    /// Weights & Biases.
    Wandb,
    /// MLflow.
    Mlflow,
}

/// What sparsities are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableUnit {
    /// 0 to 1.
    Fraction,
    /// 0 to 100.
    Percent,
}

/// Which file, and what its columns mean.
#[derive(Debug, Clone, Args)]
pub struct TableConfig {
    /// The file; one that ends in .gz or .zst is decompressed.
    pub file: PathBuf,
    /// Format of the file; by its ending unless said otherwise.
    #[arg(long, value_enum)]
    pub format: Option<TableFormat>,
    /// Whose export the file is; fields are then looked for with the prefixes of these services too.
    #[arg(long, value_enum)]
    pub source: Option<TableSource>,
    /// Column of a field: --map loss=val-loss. A field that is not mapped is looked for under its
    /// own name. Fields: external_id, nonzero_params, total_params, sparsity, data, loss, start,
    /// pretraining_data, pattern, tags, exclusion_reason.
    #[arg(long = "map", value_name = "FIELD=COLUMN", value_parser = pair)]
    pub map: Vec<(String, String)>,
    /// Column with total parameters, zeros included, for data that has no non-zero ones.
    #[arg(long, value_name = "COLUMN")]
    pub total_params_column: Option<String>,
    /// Factor for a number: --scale data=65536 turns steps into tokens.
    #[arg(long, value_name = "FIELD=FACTOR", value_parser = factor)]
    pub scale: Vec<(String, f64)>,
    /// What sparsities are given in.
    #[arg(long, value_enum, default_value = "fraction")]
    pub sparsity_unit: TableUnit,
    /// Column that becomes a tag of the run.
    #[arg(long = "tag-column", value_name = "COLUMN")]
    pub tag_columns: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (field, column) = text.split_once('=').ok_or("must be FIELD=COLUMN")?;
    Ok((field.to_owned(), column.to_owned()))
}

fn factor(text: &str) -> Result<(String, f64), String> {
    let (field, factor) = text.split_once('=').ok_or("must be FIELD=FACTOR")?;
    let factor = factor.parse().map_err(|_| format!("{factor} is no number"))?;
    Ok((field.to_owned(), factor))
}

/// Files are limited by the row alone: they are their owner's.
const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: u64::MAX,
    rows: u64::MAX,
    row_bytes: 16 * 1024 * 1024,
    named_errors: 10_000,
};

impl TableConfig {
    /// The file, and how it is read.
    ///
    /// # Errors
    /// Where it cannot be opened, its format is not clear, or an option names what there is not.
    pub fn open(&self, skip_errors: bool) -> anyhow::Result<(File, Reading)> {
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
            if map.iter().any(|(field, _)| field == "total_params") {
                bail!("--total-params-column and --map total_params say the same: give one");
            }
            map.push(("total_params".to_owned(), column.clone()));
        }
        let options = ColumnOptions {
            source: self.source.map(|source| match source {
                TableSource::Wandb => Source::Wandb,
                TableSource::Mlflow => Source::Mlflow,
            }),
            map,
            scale: self.scale.clone(),
            tag_columns: self.tag_columns.clone(),
            sparsity_unit: match self.sparsity_unit {
                TableUnit::Fraction => SparsityUnit::Fraction,
                TableUnit::Percent => SparsityUnit::Percent,
            },
            fallback_id: Some(stem.to_owned()),
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
        match name.rsplit_once('.') {
            Some((_, "csv")) => Ok(Format::Csv),
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

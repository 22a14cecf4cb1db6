//! Options that say which files contain runs, and what their columns mean.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::cli::inputs::{Inputs, find_inputs};
use crate::domain::checks::FieldError;
use crate::domain::mapping::MappingSettings;
use crate::intake::{
    Coding, Format, IngestLimits, OptionTexts, Reading, RowError, RowErrors, Stop,
};

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// An array of JSON objects, or an export in JSON.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
    /// Arrow's IPC format, as a stream or as a file (Feather).
    Arrow,
    /// A sheet of an Excel workbook.
    #[cfg(feature = "xlsx")]
    Xlsx,
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Self {
        match format {
            TableFormat::Json => Self::Json,
            TableFormat::Ndjson => Self::Ndjson,
            TableFormat::Csv => Self::Csv,
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => Self::Parquet,
            TableFormat::Arrow => Self::Arrow,
            #[cfg(feature = "xlsx")]
            TableFormat::Xlsx => Self::Xlsx,
        }
    }
}

/// Which files to read, and what their columns mean.
#[derive(Debug, Clone, Args)]
pub struct TableConfig {
    /// Files of runs, directories of such files, or - for standard input; together they form one table. Files that end
    /// in .gz, .zst, .xz or .bz2 are decompressed, and .zip archives are read file by file.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Format of the files; by default recognised by their endings or first bytes.
    #[arg(long, value_enum)]
    pub format: Option<TableFormat>,
    /// Service that exported the file: wandb or mlflow. Fields are then also looked for under that service's prefixes,
    /// and runs that did not finish are left out.
    #[arg(long)]
    pub source: Option<String>,
    /// Where a field comes from: --map loss=val_loss reads it from a column, --map data='steps*512*1024' computes it,
    /// --map sparsity=0 sets it. Names of columns with special characters are put in backticks. Fields: external_id,
    /// nonzero_params, active_params, total_params, sparsity, data, loss, start, pretraining_data, unique_data, pattern,
    /// tags, exclusion_reason, flops.
    #[arg(long = "map", value_name = "FIELD=EXPRESSION", value_parser = pair)]
    pub map: Vec<String>,
    /// Column with total parameters including zeros, for files without non-zero parameters.
    #[arg(long, value_name = "COLUMN")]
    pub total_params_column: Option<String>,
    /// Factor for a number: --scale data=65536 turns steps into tokens.
    #[arg(long, value_name = "FIELD=FACTOR", value_parser = pair)]
    pub scale: Vec<String>,
    /// Unit of sparsities: fraction (default) or percent.
    #[arg(long)]
    pub sparsity_unit: Option<String>,
    /// Column whose values become a tag of the runs.
    #[arg(long = "tag-column", value_name = "COLUMN")]
    pub tag_columns: Vec<String>,
    /// What identifies a run: columns, whose values are joined by colons, or `content` for a name computed from the
    /// run's own values.
    #[arg(long, value_name = "COLUMN[,COLUMN]|content")]
    pub id: Option<String>,
    /// Condition for rows to be read: --where 'State == "finished" and steps > 1000'. Other rows are left out.
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Which of several rows of the same run is kept: last:COLUMN, first:COLUMN, min:COLUMN or max:COLUMN.
    #[arg(long, value_name = "CHOICE:COLUMN")]
    pub keep: Option<String>,
    /// Character between the cells of a CSV file, or tab; by default recognised from the header.
    #[arg(long)]
    pub separator: Option<String>,
    /// Decimal mark, . or ,. By default a comma in files separated by semicolons or tabs.
    #[arg(long)]
    pub decimal: Option<String>,
    /// Texts that mean "no value", separated by commas, instead of the usual ones.
    #[arg(long, value_name = "TEXT[,TEXT]")]
    pub null: Option<String>,
    /// Sheet of a workbook that holds the runs; by default the only one with cells.
    #[arg(long)]
    pub sheet: Option<String>,
    /// What happens to the optional fields of a stored run (start, pattern, tags, ...) that a row does not contain:
    /// keep (default) leaves them as they are, clear empties them.
    #[arg(long)]
    pub absent: Option<String>,
}

/// Converts `FIELD=TEXT` to the form of the query options.
fn pair(text: &str) -> Result<String, String> {
    let (field, value) = text.split_once('=').ok_or("must be FIELD=VALUE")?;
    Ok(format!("{field}:{value}"))
}

/// Limits for local files. Only the size of rows and blocks is limited, as the files are the user's own.
const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: u64::MAX,
    expansion: u64::MAX,
    rows: u64::MAX,
    idle_rows: u64::MAX,
    row_bytes: 16 * 1024 * 1024,
    named_errors: 10_000,
    block_bytes: 2 * 1024 * 1024 * 1024,
    archive_files: u64::MAX,
};

impl TableConfig {
    /// The inputs that the files refer to.
    ///
    /// # Errors
    /// If one cannot be opened, or its format is not clear.
    pub fn inputs(&self) -> anyhow::Result<Inputs> {
        find_inputs(&self.files, self.format.map(Format::from))
    }

    /// How to read the inputs, given the stored mapping `kept` and these options. With `names_optional`, runs need no
    /// name.
    ///
    /// # Errors
    /// If an option is invalid.
    pub fn reading(
        &self,
        skip_errors: bool,
        names_optional: bool,
        kept: MappingSettings,
    ) -> anyhow::Result<Reading> {
        let mut map = self.map.clone();
        if let Some(column) = &self.total_params_column {
            if map.iter().any(|item| item.starts_with("total_params:")) {
                bail!("--total-params-column and --map total_params say the same: give one");
            }
            map.push(format!("total_params:`{column}`"));
        }
        let options = OptionTexts {
            kept,
            map,
            scale: self.scale.clone(),
            tag_columns: self.tag_columns.iter().map(|column| format!("`{column}`")).collect(),
            sparsity_unit: self.sparsity_unit.clone(),
            source: self.source.clone(),
            id: self.id.clone(),
            names_optional,
            condition: self.condition.clone(),
            keep: self.keep.clone(),
            separator: self.separator.clone(),
            decimal: self.decimal.clone(),
            null: self.null.clone(),
            sheet: self.sheet.clone(),
            absent: self.absent.clone(),
        };
        let columns = refuse_options(options.check())?;
        let (format, coding) = (Format::Csv, Coding::Identity);
        Ok(Reading { format, coding, columns, limits: LIMITS, skip_errors, stop: Stop::default() })
    }

    /// Refuses files with errors, listing the first of them.
    ///
    /// # Errors
    /// If there are any errors.
    pub fn refuse_errors(&self, errors: &RowErrors) -> anyhow::Result<()> {
        const NAMED: usize = 20;
        if errors.total == 0 {
            return Ok(());
        }
        let mut lines: Vec<String> =
            errors.named.iter().take(NAMED).map(|error| described(errors, error)).collect();
        let more = errors.total - lines.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let what = match self.files.as_slice() {
            [file] => format!("{} has", file.display()),
            files => format!("{} inputs have", files.len()),
        };
        bail!("{what} errors, and nothing was stored:\n  {}", lines.join("\n  "))
    }
}

/// Converts errors of options to a message that uses the names of the command line.
///
/// # Errors
/// If `checked` is an error.
pub fn refuse_options<T>(checked: Result<T, Vec<FieldError>>) -> anyhow::Result<T> {
    checked.map_err(|errors| {
        let errors =
            errors.iter().map(|e| format!("--{}: {}", e.pointer.trim_start_matches('/'), e.detail));
        anyhow::anyhow!(errors.collect::<Vec<_>>().join("; "))
    })
}

/// Describes an error, naming its input if there are several.
#[must_use]
pub fn described(errors: &RowErrors, error: &RowError) -> String {
    let place = if errors.parts.len() > 1 { errors.place(error.row) } else { None };
    match place {
        Some((name, row)) => format!("{name}: {}", RowError { row, error: error.error.clone() }),
        None => error.to_string(),
    }
}

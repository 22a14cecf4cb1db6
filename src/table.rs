//! Files of runs: CSV or NDJSON, with whatever column names their authors chose.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::checks::{Checks, FieldError};
use crate::store::runs::{Start, SubmittedRun};
use crate::submission::RunFields;

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// Fields that a column can be mapped to.
const FIELDS: [&str; 9] = [
    "external_id",
    "nonzero_params",
    "total_params",
    "sparsity",
    "data",
    "loss",
    "start",
    "pretraining_data",
    "pattern",
];

/// Which file, and what its columns mean.
#[derive(Debug, Clone, Args)]
pub struct TableConfig {
    /// The file.
    pub file: PathBuf,
    /// Format of the file; by its ending unless said otherwise.
    #[arg(long, value_enum)]
    pub format: Option<TableFormat>,
    /// Column of a field: --map loss=val-loss. A field that is not mapped is looked for under its
    /// own name. Fields: external_id, nonzero_params, total_params, sparsity, data, loss, start,
    /// pretraining_data, pattern.
    #[arg(long = "map", value_name = "FIELD=COLUMN", value_parser = pair)]
    pub map: Vec<(String, String)>,
    /// Column with total parameters, zeros included, for data that has no non-zero ones.
    #[arg(long, value_name = "COLUMN")]
    pub total_params_column: Option<String>,
    /// Factor for a number: --scale data=65536 turns steps into tokens.
    #[arg(long, value_name = "FIELD=FACTOR", value_parser = factor)]
    pub scale: Vec<(String, f64)>,
    /// Column that becomes a tag of the run.
    #[arg(long = "tag-column", value_name = "COLUMN")]
    pub tag_columns: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (field, column) = text.split_once('=').ok_or("must be FIELD=COLUMN")?;
    if !FIELDS.contains(&field) {
        return Err(format!("there is no field {field}; fields are {}", FIELDS.join(", ")));
    }
    Ok((field.to_owned(), column.to_owned()))
}

fn factor(text: &str) -> Result<(String, f64), String> {
    const NUMBERS: [&str; 5] = ["nonzero_params", "total_params", "sparsity", "data", "loss"];
    let (field, factor) = text.split_once('=').ok_or("must be FIELD=FACTOR")?;
    if !NUMBERS.contains(&field) {
        return Err(format!("{field} is no number; numbers are {}", NUMBERS.join(", ")));
    }
    match factor.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok((field.to_owned(), factor)),
        _ => Err(format!("{factor} is no positive number")),
    }
}

/// A row that is no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Row of the table, from 1 and without the header.
    pub row: usize,
    /// The field, and what is wrong with it.
    pub error: FieldError,
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = self.error.pointer.trim_start_matches('/');
        write!(f, "row {}: {field} {}", self.row, self.error.detail)
    }
}

/// The runs of a file, and the rows that are none.
#[derive(Debug, Default)]
pub struct Table {
    /// Checked runs in the order of the file.
    pub runs: Vec<SubmittedRun>,
    /// Everything that is wrong.
    pub errors: Vec<RowError>,
}

impl TableConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be read at all, or lacks a column; rows that are wrong are in the table.
    pub fn read(&self) -> anyhow::Result<Table> {
        let file =
            File::open(&self.file).with_context(|| format!("opening {}", self.file.display()))?;
        let rows = match self.format()? {
            TableFormat::Csv => read_csv(file)?,
            TableFormat::Ndjson => read_ndjson(file)?,
        };
        let columns = self.columns()?;
        let stem = self.file.file_name().unwrap_or_default().to_string_lossy();
        let mut table = Table::default();
        let mut seen = BTreeMap::new();
        for (index, row) in rows.into_iter().enumerate() {
            let row_number = index + 1;
            let fallback_id = format!("{stem}:{row_number}");
            let errors = match self.run(&row, &columns, fallback_id) {
                Ok(run) => match seen.insert(run.external_id.clone(), row_number) {
                    None => {
                        table.runs.push(run);
                        continue;
                    }
                    Some(first) => {
                        let detail = format!("is that of row {first} too");
                        vec![FieldError { pointer: "/external_id".to_owned(), detail }]
                    }
                },
                Err(errors) => errors,
            };
            let errors = errors.into_iter().map(|error| RowError { row: row_number, error });
            table.errors.extend(errors);
        }
        Ok(table)
    }

    fn format(&self) -> anyhow::Result<TableFormat> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        match self.file.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(TableFormat::Csv),
            Some("ndjson" | "jsonl") => Ok(TableFormat::Ndjson),
            _ => bail!("the format of {} is not clear: say --format", self.file.display()),
        }
    }

    /// Column of each field.
    fn columns(&self) -> anyhow::Result<BTreeMap<&str, &str>> {
        let mut columns: BTreeMap<&str, &str> =
            FIELDS.into_iter().map(|field| (field, field)).collect();
        for (field, column) in &self.map {
            columns.insert(field, column);
        }
        if let Some(column) = &self.total_params_column {
            if self.map.iter().any(|(field, _)| field == "total_params") {
                bail!("--total-params-column and --map total_params say the same: give one");
            }
            columns.insert("total_params", column);
        }
        Ok(columns)
    }

    fn run(
        &self,
        row: &Map<String, Value>,
        columns: &BTreeMap<&str, &str>,
        fallback_id: String,
    ) -> Result<SubmittedRun, Vec<FieldError>> {
        let mut checks = Checks::default();
        let value = |field: &str| {
            // An empty cell is no value.
            row.get(columns[field]).filter(|value| !value.is_null() && *value != "")
        };
        let text = |field: &str| value(field).map(plain_text);
        let mut number = |field: &str| match value(field) {
            None => Ok(None),
            Some(value) => match plain_number(value) {
                Some(number) => {
                    let factors = self.scale.iter().filter(|(scaled, _)| scaled == field);
                    Ok(Some(factors.fold(number, |number, (_, factor)| number * factor)))
                }
                None => {
                    checks.refuse(field, format!("must be a number, not {}", plain_text(value)));
                    Err(())
                }
            },
        };
        let (nonzero_params, total_params) = (number("nonzero_params"), number("total_params"));
        let pretraining_data = number("pretraining_data");
        let required = [number("sparsity"), number("data"), number("loss")];
        for (field, value) in ["sparsity", "data", "loss"].into_iter().zip(&required) {
            if *value == Ok(None) {
                checks.refuse(field, format!("is missing: there is no column {}", columns[field]));
            }
        }
        let start = match text("start").as_deref() {
            None | Some("scratch") => Some(Start::Scratch),
            Some("pretrained") => Some(Start::Pretrained),
            Some(other) => {
                checks.refuse("start", format!("must be scratch or pretrained, not {other}"));
                None
            }
        };
        let tags = self
            .tag_columns
            .iter()
            .filter_map(|column| Some((column.clone(), plain_text(row.get(column)?))))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let [sparsity, data, loss] = required.map(|value| value.ok().flatten());
        let fields = || {
            Some(RunFields {
                external_id: text("external_id").unwrap_or(fallback_id),
                nonzero_params: nonzero_params.ok()?,
                total_params: total_params.ok()?,
                sparsity: sparsity?,
                data: data?,
                loss: loss?,
                start: start?,
                pretraining_data: pretraining_data.ok()?,
                pattern: text("pattern"),
                tags,
            })
        };
        match fields() {
            Some(fields) => fields.check(checks),
            None => checks.finish(None),
        }
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn plain_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn read_csv(file: File) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let header = reader.headers().context("reading the header")?.clone();
    let records = reader.into_records().map(|record| {
        let record = record?;
        let cells = header.iter().zip(&record);
        Ok(cells.map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect())
    });
    records.collect::<Result<_, csv::Error>>().context("reading the file")
}

fn read_ndjson(file: File) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut rows = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.context("reading the file")?;
        if line.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(&line)
            .with_context(|| format!("line {} is no JSON object", index + 1))?;
        rows.push(row);
    }
    Ok(rows)
}

/// Refuses a table with errors, naming the first of them.
///
/// # Errors
/// Where there are any.
pub fn refuse_errors(path: &Path, errors: &[RowError]) -> anyhow::Result<()> {
    const NAMED: usize = 20;
    if errors.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = errors.iter().take(NAMED).map(RowError::to_string).collect();
    if errors.len() > NAMED {
        lines.push(format!("and {} more", errors.len() - NAMED));
    }
    bail!("{} has errors, and nothing was stored:\n  {}", path.display(), lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(name: &str, text: &str, arguments: &[&str]) -> Table {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            table: TableConfig,
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        let arguments =
            ["test", path.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        <Cli as clap::Parser>::try_parse_from(arguments).unwrap().table.read().unwrap()
    }

    #[test]
    fn columns_are_mapped_and_scaled() {
        let csv = ",sparsity,scale,val-loss,steps\n0,0.5,0.25,2.5,1000\n";
        let arguments = [
            "--map",
            "loss=val-loss",
            "--map",
            "data=steps",
            "--scale",
            "data=65536",
            "--total-params-column",
            "scale",
            "--scale",
            "total_params=8e6",
            "--tag-column",
            "steps",
        ];
        let table = read("t5.csv", csv, &arguments);
        assert_eq!(table.errors, []);
        let run = &table.runs[0];
        assert_eq!(run.external_id, "t5.csv:1");
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
        assert_eq!(run.observation.data.get(), 65_536_000.0);
        assert_eq!(run.tags["steps"], "1000");
    }

    #[test]
    fn every_wrong_row_is_named() {
        let ndjson = r#"
            {"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}
            {"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}
            {"external_id": "b", "nonzero_params": 1e6, "sparsity": 50, "data": "x"}
        "#;
        let table = read("runs.jsonl", ndjson, &[]);
        assert_eq!(table.runs.len(), 1);
        let errors: Vec<String> = table.errors.iter().map(RowError::to_string).collect();
        assert_eq!(
            errors,
            [
                "row 2: external_id is that of row 1 too",
                "row 3: data must be a number, not x",
                "row 3: loss is missing: there is no column loss",
            ]
        );
    }
}

//! Writes runs in the formats that [`crate::intake`] reads, a batch at a time. The output can be read back without
//! changes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use sparsity_law::law::Data;

use crate::domain::run::SubmittedRun;
use crate::intake::field::Field;
use crate::intake::format::Format;

/// Columns of every format, which are the keys in JSON. Of the two sizes, only the stored one is written.
const COLUMNS: [Field; 11] = [
    Field::ExternalId,
    Field::NonzeroParams,
    Field::Sparsity,
    Field::Data,
    Field::Loss,
    Field::Start,
    Field::PretrainingData,
    Field::UniqueData,
    Field::Pattern,
    Field::Tags,
    Field::ExclusionReason,
];

/// Why runs cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExportError(Box<dyn std::error::Error + Send + Sync>);

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ExportError {
    ExportError(error.into())
}

/// Writes runs in a format: takes them in batches and returns bytes as they become ready.
pub struct Encoder {
    out: Vec<u8>,
    format: Writer,
}

/// How a text is written that a spreadsheet would take for a formula and evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Formulas {
    /// Unchanged, so that the file can be read back.
    #[default]
    Kept,
    /// With an apostrophe before it, which tells spreadsheets that it is a text.
    Escaped,
}

impl Formulas {
    /// The contents of a cell for a text.
    fn cell(self, text: &str) -> Cow<'_, str> {
        let computed = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        match self {
            Self::Escaped if computed => Cow::Owned(format!("'{text}")),
            Self::Escaped | Self::Kept => Cow::Borrowed(text),
        }
    }
}

enum Writer {
    Lines,
    Csv(Formulas),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Writer>),
}

impl Encoder {
    /// Creates an encoder, or returns `None` for a format in which runs are not streamed. `formulas` only matters for
    /// CSV.
    ///
    /// # Errors
    /// If the header of the format cannot be written.
    pub fn new(format: Format, formulas: Formulas) -> Result<Option<Self>, ExportError> {
        let mut out = Vec::new();
        let format = match format {
            Format::Json | Format::Arrow => return Ok(None),
            #[cfg(feature = "xlsx")]
            Format::Xlsx => return Ok(None),
            #[cfg(feature = "archives")]
            Format::Zip => return Ok(None),
            Format::Ndjson => Writer::Lines,
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(&mut out);
                csv.write_record(COLUMNS.map(Field::as_str)).map_err(failed)?;
                csv.flush().map_err(failed)?;
                drop(csv);
                Writer::Csv(formulas)
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => Writer::Parquet(Box::new(parquet::Writer::new()?)),
        };
        Ok(Some(Self { out, format }))
    }

    /// Writes a batch and returns the bytes that are ready, possibly none.
    ///
    /// # Errors
    /// If the batch cannot be encoded.
    pub fn write(&mut self, runs: &[SubmittedRun]) -> Result<Vec<u8>, ExportError> {
        match &mut self.format {
            Writer::Lines => {
                for run in runs {
                    serde_json::to_writer(&mut self.out, &Line::from(run)).map_err(failed)?;
                    self.out.push(b'\n');
                }
            }
            Writer::Csv(formulas) => write_csv(&mut self.out, runs, *formulas)?,
            #[cfg(feature = "parquet")]
            Writer::Parquet(writer) => writer.write(runs, &mut self.out)?,
        }
        Ok(std::mem::take(&mut self.out))
    }

    /// Ends the output and returns its remaining bytes.
    ///
    /// # Errors
    /// If the end of the format cannot be written.
    #[cfg_attr(not(feature = "parquet"), expect(unused_mut, reason = "only Parquet has an end"))]
    pub fn finish(mut self) -> Result<Vec<u8>, ExportError> {
        match self.format {
            Writer::Lines | Writer::Csv(_) => {}
            #[cfg(feature = "parquet")]
            Writer::Parquet(writer) => writer.finish(&mut self.out)?,
        }
        Ok(self.out)
    }
}

/// A run as a JSON object, in the order of the columns.
#[derive(Serialize)]
struct Line<'a> {
    external_id: &'a str,
    nonzero_params: f64,
    sparsity: f64,
    data: f64,
    loss: f64,
    start: &'static str,
    pretraining_data: Option<f64>,
    unique_data: Option<f64>,
    pattern: Option<&'a str>,
    tags: &'a BTreeMap<String, String>,
    exclusion_reason: Option<&'a str>,
}

impl<'a> From<&'a SubmittedRun> for Line<'a> {
    fn from(run: &'a SubmittedRun) -> Self {
        let measured = &run.observation;
        Self {
            external_id: &run.external_id,
            nonzero_params: measured.nonzero_params.get(),
            sparsity: measured.sparsity.get(),
            data: measured.data.get(),
            loss: measured.loss.get(),
            start: run.start.as_str(),
            pretraining_data: run.pretraining_data.map(Data::get),
            unique_data: run.unique_data.map(Data::get),
            pattern: run.pattern.as_ref().map(|pattern| pattern.as_str()),
            tags: &run.tags,
            exclusion_reason: run.exclusion_reason.as_deref(),
        }
    }
}

impl Line<'_> {
    /// The tags as JSON for a single cell; `None` if there are none.
    fn tags_cell(&self) -> Result<Option<String>, ExportError> {
        if self.tags.is_empty() {
            return Ok(None);
        }
        serde_json::to_string(self.tags).map(Some).map_err(failed)
    }
}

fn write_csv(
    out: &mut Vec<u8>,
    runs: &[SubmittedRun],
    formulas: Formulas,
) -> Result<(), ExportError> {
    let mut csv = csv::Writer::from_writer(out);
    for run in runs {
        let line = Line::from(run);
        // The shortest text that keeps every bit of the number.
        let number = |value: f64| format!("{value:?}");
        csv.write_record([
            &*formulas.cell(line.external_id),
            &number(line.nonzero_params),
            &number(line.sparsity),
            &number(line.data),
            &number(line.loss),
            line.start,
            &line.pretraining_data.map(number).unwrap_or_default(),
            &line.unique_data.map(number).unwrap_or_default(),
            line.pattern.unwrap_or_default(),
            &line.tags_cell()?.unwrap_or_default(),
            &formulas.cell(line.exclusion_reason.unwrap_or_default()),
        ])
        .map_err(failed)?;
    }
    csv.flush().map_err(failed)
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::{Arc, Mutex};

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field as ArrowField, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;

    use super::{COLUMNS, ExportError, Field, Line, SubmittedRun, failed};

    /// Rows in a row group. The writer holds a group in memory and compresses it all at once on a thread that serves
    /// requests, which takes milliseconds.
    const GROUP: usize = 10_000;

    /// Bytes that were written but not yet taken.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nothing panics while it holds this lock").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn take(&self, out: &mut Vec<u8>) {
            out.append(&mut self.0.lock().expect("nothing panics while it holds this lock"));
        }
    }

    pub struct Writer {
        schema: Arc<Schema>,
        writer: ArrowWriter<Written>,
        written: Written,
    }

    impl Writer {
        pub fn new() -> Result<Self, ExportError> {
            let fields = COLUMNS.map(|field| {
                let number = Field::NUMBERS.contains(&field);
                let kind = if number { DataType::Float64 } else { DataType::Utf8 };
                let optional = matches!(
                    field,
                    Field::PretrainingData
                        | Field::UniqueData
                        | Field::Pattern
                        | Field::Tags
                        | Field::ExclusionReason
                );
                ArrowField::new(field.as_str(), kind, optional)
            });
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let properties = WriterProperties::builder()
                .set_max_row_group_row_count(Some(GROUP))
                .set_compression(Compression::SNAPPY)
                .build();
            let written = Written::default();
            let writer =
                ArrowWriter::try_new(written.clone(), Arc::clone(&schema), Some(properties))
                    .map_err(failed)?;
            Ok(Self { schema, writer, written })
        }

        pub fn write(
            &mut self,
            runs: &[SubmittedRun],
            out: &mut Vec<u8>,
        ) -> Result<(), ExportError> {
            let lines: Vec<Line<'_>> = runs.iter().map(Line::from).collect();
            let tags: Vec<Option<String>> =
                lines.iter().map(Line::tags_cell).collect::<Result<_, _>>()?;
            let numbers = |of: fn(&Line<'_>) -> Option<f64>| -> ArrayRef {
                Arc::new(lines.iter().map(of).collect::<Float64Array>())
            };
            let columns = COLUMNS.map(|field| -> ArrayRef {
                match field {
                    Field::ExternalId => {
                        Arc::new(StringArray::from_iter_values(lines.iter().map(|l| l.external_id)))
                    }
                    Field::Start => {
                        Arc::new(StringArray::from_iter_values(lines.iter().map(|l| l.start)))
                    }
                    Field::Pattern => {
                        Arc::new(lines.iter().map(|l| l.pattern).collect::<StringArray>())
                    }
                    Field::Tags => {
                        Arc::new(tags.iter().map(Option::as_deref).collect::<StringArray>())
                    }
                    Field::ExclusionReason => {
                        Arc::new(lines.iter().map(|l| l.exclusion_reason).collect::<StringArray>())
                    }
                    Field::NonzeroParams => numbers(|l| Some(l.nonzero_params)),
                    Field::TotalParams | Field::Flops => numbers(|_| None),
                    Field::Sparsity => numbers(|l| Some(l.sparsity)),
                    Field::Data => numbers(|l| Some(l.data)),
                    Field::Loss => numbers(|l| Some(l.loss)),
                    Field::PretrainingData => numbers(|l| l.pretraining_data),
                    Field::UniqueData => numbers(|l| l.unique_data),
                }
            });
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.to_vec());
            self.writer.write(&batch.map_err(failed)?).map_err(failed)?;
            self.written.take(out);
            Ok(())
        }

        pub fn finish(self, out: &mut Vec<u8>) -> Result<(), ExportError> {
            self.writer.close().map_err(failed)?;
            self.written.take(out);
            Ok(())
        }
    }
}

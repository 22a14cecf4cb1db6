//! Results in columns, sent as an Arrow stream.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::Float64Builder;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sparsity_law::law::Variable;

use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};

/// Media type of the Arrow stream format.
pub const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Columns that state how far a point lies outside the range of the runs.
pub const BEYOND: [(&str, Variable); 4] = [
    ("nonzero_params_beyond", Variable::NonzeroParams),
    ("sparsity_beyond", Variable::Sparsity),
    ("data_beyond", Variable::Data),
    ("compute_beyond", Variable::Compute),
];

/// The columns of a result.
#[derive(Default)]
pub struct ResultColumns {
    names: Vec<(&'static str, ArrayRef)>,
}

impl ResultColumns {
    /// Adds a column of numbers.
    pub fn numbers<R>(&mut self, name: &'static str, rows: &[R], of: impl Fn(&R) -> f64) {
        let values: Float64Array = rows.iter().map(of).collect::<Vec<_>>().into();
        self.names.push((name, Arc::new(values)));
    }

    /// Adds the two ends of an interval, null where a row has none. Adds nothing if `rows` is `None`, as intervals were
    /// not requested.
    pub fn interval<R>(
        &mut self,
        [low, high]: [&'static str; 2],
        rows: Option<&[R]>,
        of: impl Fn(&R) -> Option<IntervalView>,
    ) {
        let Some(rows) = rows else { return };
        let lows: Float64Array = rows.iter().map(|row| of(row).map(|end| end.low)).collect();
        let highs: Float64Array = rows.iter().map(|row| of(row).map(|end| end.high)).collect();
        self.names.push((low, Arc::new(lows)));
        self.names.push((high, Arc::new(highs)));
    }

    /// Adds how far each quantity of [`BEYOND`] lies outside the range of the runs, null where it does not, and whether
    /// the sparsity lies between those of runs.
    pub fn caveats(
        &mut self,
        rows: usize,
        beyond: impl Fn(usize) -> [Option<f64>; 4],
        interpolated: impl Fn(usize) -> bool,
    ) {
        let mut factors = BEYOND.map(|_| Float64Builder::with_capacity(rows));
        for row in 0..rows {
            for (column, factor) in factors.iter_mut().zip(beyond(row)) {
                column.append_option(factor);
            }
        }
        for ((name, _), mut column) in BEYOND.into_iter().zip(factors) {
            self.names.push((name, Arc::new(column.finish())));
        }
        let flags: BooleanArray = (0..rows).map(|row| Some(interpolated(row))).collect();
        self.names.push(("interpolated", Arc::new(flags)));
    }

    /// Adds columns of numbers that may be missing.
    pub fn maybe<const N: usize>(
        &mut self,
        names: [&'static str; N],
        rows: usize,
        of: impl Fn(usize) -> [Option<f64>; N],
    ) {
        let mut columns = names.map(|_| Float64Builder::with_capacity(rows));
        for row in 0..rows {
            for (column, value) in columns.iter_mut().zip(of(row)) {
                column.append_option(value);
            }
        }
        for (name, mut column) in names.into_iter().zip(columns) {
            self.names.push((name, Arc::new(column.finish())));
        }
    }

    /// Adds a column of lists of names, separated by commas.
    pub fn lists(&mut self, name: &'static str, rows: &[Vec<&'static str>]) {
        let values: StringArray = rows.iter().map(|names| Some(names.join(","))).collect();
        self.names.push((name, Arc::new(values)));
    }

    /// Adds how far each answer can be trusted, and the codes of the reasons against it, separated by commas.
    pub fn trust(&mut self, rows: usize, of: impl Fn(usize) -> TrustView) {
        let trust: Vec<TrustView> = (0..rows).map(of).collect();
        let levels: StringArray = trust.iter().map(|trust| Some(trust.level.as_str())).collect();
        let because: StringArray =
            trust.iter().map(|trust| Some(trust.because.join(","))).collect();
        self.names.push(("trust", Arc::new(levels)));
        self.names.push(("trust_because", Arc::new(because)));
    }

    /// Adds a column of texts, null where there is none.
    pub fn texts<'t>(
        &mut self,
        name: &'static str,
        rows: usize,
        of: impl Fn(usize) -> Option<&'t str>,
    ) {
        let texts: StringArray = (0..rows).map(of).collect();
        self.names.push((name, Arc::new(texts)));
    }

    /// Renders the stream; the law and the warnings are JSON in the schema's metadata.
    pub fn stream(self, law: &LawRef, warnings: &[Arc<WarningView>]) -> Result<Response, ApiError> {
        let encode = || -> anyhow::Result<Vec<u8>> {
            let batch = RecordBatch::try_from_iter(self.names)?;
            let metadata = HashMap::from([
                ("law".to_owned(), serde_json::to_string(law)?),
                ("warnings".to_owned(), serde_json::to_string(warnings)?),
            ]);
            let schema = batch.schema().as_ref().clone().with_metadata(metadata);
            let batch = batch.with_schema(Arc::new(schema))?;
            let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema())?;
            stream.write(&batch)?;
            stream.finish()?;
            Ok(stream.into_inner()?)
        };
        let bytes = encode().map_err(ApiError::Internal)?;
        Ok(([(header::CONTENT_TYPE, ARROW)], bytes).into_response())
    }
}

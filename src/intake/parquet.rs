//! Apache Parquet, whose directory is at its end: the input is kept in a temporary file while it is read.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::domain::checks::Checks;
use crate::intake::row::Row;
use crate::intake::value::Value;
use crate::intake::{IngestError, Limit, Rows};

/// Rows that are decoded at once.
const BATCH: usize = 1024;

/// Reads the columns that runs take something from, a page of each at a time.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    copy(source, &mut file)?;

    check_directory(&mut file)?;

    // The types of the columns themselves, not what an Arrow schema beside them asks for.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = guarded(|| ArrowReaderMetadata::load(&file, options.clone()))?;
    let sizes = metadata.metadata();
    let uncompressed: i64 = sizes.row_groups().iter().map(|group| group.total_byte_size()).sum();
    if u64::try_from(uncompressed).is_ok_and(|bytes| bytes > rows.limits().expanded_bytes) {
        return Err(IngestError::TooLarge(Limit::ExpandedBytes));
    }
    let count = sizes.file_metadata().num_rows();
    if u64::try_from(count).is_ok_and(|count| count > rows.limits().rows) {
        return Err(IngestError::TooLarge(Limit::Rows));
    }
    let names: Vec<String> = metadata.schema().fields().iter().map(|f| f.name().clone()).collect();
    rows.columns().check_header(&names).map_err(IngestError::Columns)?;
    let (used, schema) = wanted(metadata.schema(), rows)?;

    // Texts as views into their pages: a text that is repeated a thousand times is there once.
    let metadata = guarded(|| ArrowReaderMetadata::load(&file, options.with_schema(schema)))?;
    let projection = ProjectionMask::roots(metadata.parquet_schema(), used);
    let mut reader = guarded(|| {
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_projection(projection)
            .with_batch_size(BATCH)
            .build()
    })?;
    while let Some(batch) = guarded(|| reader.next().transpose())? {
        push(&batch, rows)?;
    }
    Ok(())
}

/// What the library makes of the file. It trusts some of what a file says of itself, and panics where that
/// is not so: then too the file is damaged.
fn guarded<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, IngestError> {
    let damaged = |cause: &dyn Display| {
        IngestError::Malformed(format!("the body is no Parquet, or damaged: {cause}"))
    };
    match std::panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| damaged(&error)),
        Err(_) => Err(damaged(&"it contradicts itself")),
    }
}

/// Copies to the file; errors of either are told apart.
fn copy(source: &mut impl Read, file: &mut impl io::Write) -> Result<(), IngestError> {
    let mut buffer = vec![0; super::decode::BUFFER];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return file.flush().map_err(IngestError::Spool);
        }
        file.write_all(&buffer[..read]).map_err(IngestError::Spool)?;
    }
}

/// The directory is parsed whole, so it is refused where it is larger than any that describes runs.
fn check_directory(file: &mut (impl Read + Seek)) -> Result<(), IngestError> {
    const MOST: u32 = 16 * 1024 * 1024;
    // Its length, and four letters.
    let mut end = [0; 8];
    let damaged = |_| IngestError::Malformed("the body is no Parquet: it is too short".to_owned());
    file.seek(SeekFrom::End(-8)).map_err(damaged)?;
    file.read_exact(&mut end).map_err(damaged)?;
    let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    if length > MOST {
        let detail =
            format!("the directory of the Parquet file has {length} bytes, more than {MOST}");
        return Err(IngestError::Malformed(detail));
    }
    Ok(())
}

/// Columns that are read, by their place; and the schema with texts as views.
fn wanted(schema: &Schema, rows: &Rows<'_>) -> Result<(Vec<usize>, Arc<Schema>), IngestError> {
    let mut checks = Checks::default();
    let mut used = Vec::new();
    let mut fields = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        let mut kind = field.data_type().clone();
        if rows.columns().uses(field.name()) {
            used.push(place);
            if matches!(kind, DataType::Utf8 | DataType::LargeUtf8) {
                kind = DataType::Utf8View;
            } else if !(kind.is_integer()
                || matches!(
                    kind,
                    DataType::Float32
                        | DataType::Float64
                        | DataType::Boolean
                        | DataType::Decimal128(..)
                        // A column in which nothing has a value.
                        | DataType::Null
                ))
            {
                let detail = format!("must be a column of numbers or texts, not {kind}");
                checks.refuse(field.name(), detail);
            }
        }
        fields.push(Field::new(field.name(), kind, field.is_nullable()));
    }
    let schema = Arc::new(Schema::new(fields));
    checks.finish(Some((used, schema))).map_err(IngestError::Columns)
}

fn push(batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let schema = batch.schema();
    let columns = rows.columns();
    for place in 0..batch.num_rows() {
        let mut row = Row::new(columns, true, columns.decimal);
        let mut bytes = 0;
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let value = cell(array, place);
            bytes += if let Value::Text(text) = &value { text.len() } else { 8 };
            row.put(field.name(), value);
        }
        let finished = row.finish(rows.wants_used());
        rows.push(bytes, None, finished)?;
    }
    Ok(())
}

fn cell(array: &dyn Array, place: usize) -> Value<'_> {
    if array.is_null(place) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8View => Value::Text(Cow::Borrowed(array.as_string_view().value(place))),
        DataType::Null => Value::Null,
        // With all its digits, as a text that is read as a number where one is wanted.
        DataType::Decimal128(..) => {
            Value::Text(Cow::Owned(array.as_primitive::<Decimal128Type>().value_as_string(place)))
        }
        DataType::Boolean => Value::Bool(array.as_boolean().value(place)),
        DataType::Float64 => Value::Number(array.as_primitive::<Float64Type>().value(place)),
        DataType::Float32 => Value::Number(array.as_primitive::<Float32Type>().value(place).into()),
        DataType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(place).into()),
        DataType::Int32 => Value::Integer(array.as_primitive::<Int32Type>().value(place).into()),
        DataType::Int16 => Value::Integer(array.as_primitive::<Int16Type>().value(place).into()),
        DataType::Int8 => Value::Integer(array.as_primitive::<Int8Type>().value(place).into()),
        DataType::UInt64 => Value::Integer(array.as_primitive::<UInt64Type>().value(place).into()),
        DataType::UInt32 => Value::Integer(array.as_primitive::<UInt32Type>().value(place).into()),
        DataType::UInt16 => Value::Integer(array.as_primitive::<UInt16Type>().value(place).into()),
        DataType::UInt8 => Value::Integer(array.as_primitive::<UInt8Type>().value(place).into()),
        other => unreachable!("{other} is refused before it is read"),
    }
}

//! Rows from Arrow arrays, the form in which both Parquet and Arrow's own formats are decoded.

use std::borrow::Cow;
use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::{date32_to_datetime, date64_to_datetime};
use arrow_array::types::{
    ArrowTimestampType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use chrono::{NaiveDateTime, NaiveTime};
use uuid::Uuid;

use crate::domain::checks::Checks;
use crate::intake::error::IngestError;
use crate::intake::row::Row;
use crate::intake::rows::Rows;
use crate::intake::second_header::{HeaderNames, NamesInRow};
use crate::intake::value::Value;

/// Facts about a table that its Arrow arrays do not hold.
pub(crate) struct Table {
    /// Names of the fixed-size binary columns that hold UUIDs; nested names are joined by dots.
    pub uuids: HashSet<String>,
}

/// Checks the columns of a table, and returns the indices of those that are read.
pub(crate) fn check_schema(schema: &Schema, rows: &Rows<'_>) -> Result<Vec<usize>, IngestError> {
    let columns = rows.columns();
    let (mut names, mut open) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        leaves(rows, field.name().clone(), field.data_type(), &mut names, &mut open);
    }
    columns.check_header(&names, &open).map_err(IngestError::Columns)?;
    let mut checks = Checks::default();
    let mut used = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        let (mut names, mut open) = (Vec::new(), Vec::new());
        leaves(rows, field.name().clone(), field.data_type(), &mut names, &mut open);
        if open.is_empty() && !names.iter().any(|name| columns.uses(name)) {
            continue;
        }
        used.push(place);
        if let Some(kind) = unreadable(field.data_type()) {
            let detail = format!("must be a column of numbers, texts or times, not {kind}");
            checks.refuse(field.name(), detail);
        }
    }
    checks.finish(Some(used)).map_err(IngestError::Columns)
}

/// Collects the names of the columns that a table column stands for: its own, or, if it is flattened, those of the
/// fields inside it, joined by dots. Columns whose keys are only known row by row go into `open`.
fn leaves(
    rows: &Rows<'_>,
    name: String,
    kind: &DataType,
    names: &mut Vec<String>,
    open: &mut Vec<String>,
) {
    let apart = rows.columns().declared && !rows.columns().is_target(&name);
    match kind {
        DataType::Struct(fields) if apart => {
            for field in fields {
                leaves(rows, format!("{name}.{}", field.name()), field.data_type(), names, open);
            }
        }
        DataType::Map(..) if apart => open.push(name),
        _ => names.push(name),
    }
}

/// The first data type inside this one, or itself, that cannot be read.
fn unreadable(kind: &DataType) -> Option<&DataType> {
    match kind {
        DataType::Dictionary(_, values) => unreadable(values),
        DataType::Struct(fields) => fields.iter().find_map(|field| unreadable(field.data_type())),
        DataType::Map(entries, _) => unreadable(entries.data_type()),
        // Read as a list, which no field accepts.
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => None,
        DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => Some(kind),
        _ => None,
    }
}

/// Reads the rows of a batch.
pub(crate) fn push(
    table: &Table,
    batch: &RecordBatch,
    rows: &mut Rows<'_>,
) -> Result<(), IngestError> {
    let schema = batch.schema();
    let columns = rows.columns();
    // A frame made of two tables below each other has the second header as a row of texts.
    let names = HeaderNames::new(schema.fields().iter().map(|field| field.name()));
    for place in 0..batch.num_rows() {
        let mut named = NamesInRow::default();
        let mut row = Row::new(columns, true, columns.decimal);
        let mut bytes = 0;
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let mut size = 0;
            let value = Cell { table, size: &mut size }.read(field.name(), array, place);
            bytes += size;
            match &value {
                Ok(Value::Text(text)) => names.count(text.as_bytes(), &mut named),
                Ok(Value::Null) => {}
                _ => named.others(),
            }
            match value {
                Ok(value @ Value::Object(_)) if columns.declared => {
                    columns.flatten_entry(field.name().clone(), value, &mut row);
                }
                Ok(value) => row.put(field.name(), value),
                Err(detail) => row.refuse(field.name(), detail),
            }
        }
        names.check(&named, &format!("row {}", rows.next()))?;
        let finished = row.finish(rows.wants_used());
        rows.push(bytes, None, finished)?;
    }
    Ok(())
}

/// Reads one cell, and adds up the size of its contents.
struct Cell<'t> {
    table: &'t Table,
    size: &'t mut usize,
}

impl Cell<'_> {
    fn read<'a>(
        &mut self,
        name: &str,
        array: &'a dyn Array,
        place: usize,
    ) -> Result<Value<'a>, &'static str> {
        *self.size += 8;
        if array.is_null(place) {
            return Ok(Value::Null);
        }
        macro_rules! integer {
            ($kind:ty) => {
                Value::Integer(array.as_primitive::<$kind>().value(place).into())
            };
        }
        // Decimals become texts, which keep all their digits and are read as numbers where a number is needed.
        macro_rules! decimal {
            ($kind:ty) => {
                Value::Text(Cow::Owned(array.as_primitive::<$kind>().value_as_string(place)))
            };
        }
        macro_rules! time {
            ($kind:ty) => {
                time_of(array.as_primitive::<$kind>().value_as_time(place))?
            };
        }
        Ok(match array.data_type() {
            DataType::Utf8View => self.text(array.as_string_view().value(place)),
            DataType::Utf8 => self.text(array.as_string::<i32>().value(place)),
            DataType::LargeUtf8 => self.text(array.as_string::<i64>().value(place)),
            DataType::Binary => self.bytes(array.as_binary::<i32>().value(place))?,
            DataType::LargeBinary => self.bytes(array.as_binary::<i64>().value(place))?,
            DataType::BinaryView => self.bytes(array.as_binary_view().value(place))?,
            DataType::FixedSizeBinary(_) => {
                let bytes = array.as_fixed_size_binary().value(place);
                match Uuid::from_slice(bytes) {
                    Ok(uuid) if self.table.uuids.contains(name) => {
                        Value::Text(Cow::Owned(uuid.to_string()))
                    }
                    _ => self.bytes(bytes)?,
                }
            }
            DataType::Boolean => Value::Bool(array.as_boolean().value(place)),
            DataType::Float64 => Value::Number(array.as_primitive::<Float64Type>().value(place)),
            DataType::Float32 => {
                Value::Number(array.as_primitive::<Float32Type>().value(place).into())
            }
            DataType::Float16 => {
                Value::Number(array.as_primitive::<Float16Type>().value(place).to_f64())
            }
            DataType::Int64 => integer!(Int64Type),
            DataType::Int32 => integer!(Int32Type),
            DataType::Int16 => integer!(Int16Type),
            DataType::Int8 => integer!(Int8Type),
            DataType::UInt64 => integer!(UInt64Type),
            DataType::UInt32 => integer!(UInt32Type),
            DataType::UInt16 => integer!(UInt16Type),
            DataType::UInt8 => integer!(UInt8Type),
            DataType::Decimal32(..) => decimal!(Decimal32Type),
            DataType::Decimal64(..) => decimal!(Decimal64Type),
            DataType::Decimal128(..) => decimal!(Decimal128Type),
            DataType::Decimal256(..) => decimal!(Decimal256Type),
            DataType::Date32 => {
                date_of(date32_to_datetime(array.as_primitive::<Date32Type>().value(place)))?
            }
            DataType::Date64 => {
                date_of(date64_to_datetime(array.as_primitive::<Date64Type>().value(place)))?
            }
            DataType::Time32(TimeUnit::Second) => time!(Time32SecondType),
            DataType::Time32(_) => time!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => time!(Time64MicrosecondType),
            DataType::Time64(_) => time!(Time64NanosecondType),
            DataType::Timestamp(unit, zone) => {
                let zoned = zone.is_some();
                match unit {
                    TimeUnit::Second => moment::<TimestampSecondType>(array, place, zoned)?,
                    TimeUnit::Millisecond => {
                        moment::<TimestampMillisecondType>(array, place, zoned)?
                    }
                    TimeUnit::Microsecond => {
                        moment::<TimestampMicrosecondType>(array, place, zoned)?
                    }
                    TimeUnit::Nanosecond => moment::<TimestampNanosecondType>(array, place, zoned)?,
                }
            }
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let key = key_of(dictionary.keys(), place).ok_or("is damaged")?;
                if key >= dictionary.values().len() {
                    return Err("is damaged");
                }
                self.read(name, dictionary.values().as_ref(), key)?
            }
            DataType::Struct(fields) => {
                let inner = array.as_struct();
                let mut entries = Vec::with_capacity(fields.len());
                for (field, column) in fields.iter().zip(inner.columns()) {
                    let path = format!("{name}.{}", field.name());
                    *self.size += field.name().len();
                    let value = self.read(&path, column.as_ref(), place)?;
                    entries.push((Cow::Borrowed(field.name().as_str()), value));
                }
                Value::Object(entries)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let offsets = map.value_offsets();
                let bound = |at: usize| usize::try_from(offsets[at]).map_err(|_| "is damaged");
                let mut entries = Vec::new();
                for at in bound(place)?..bound(place + 1)? {
                    let key = match self.read(name, map.keys().as_ref(), at)? {
                        Value::Text(key) => key,
                        _ => return Err("must have texts as its keys"),
                    };
                    entries.push((key, self.read(name, map.values().as_ref(), at)?));
                }
                Value::Object(entries)
            }
            // No field accepts a list, so its contents do not matter.
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                Value::List(Vec::new())
            }
            // Columns of other types that a run would use have been refused by `check_schema`.
            _ => Value::Null,
        })
    }

    fn text<'a>(&mut self, text: &'a str) -> Value<'a> {
        *self.size += text.len();
        Value::Text(Cow::Borrowed(text))
    }

    fn bytes<'a>(&mut self, bytes: &'a [u8]) -> Result<Value<'a>, &'static str> {
        let text = std::str::from_utf8(bytes);
        text.map(|text| self.text(text)).map_err(|_| "must be a text, and its bytes are no UTF-8")
    }
}

fn key_of(keys: &dyn Array, place: usize) -> Option<usize> {
    macro_rules! key {
        ($kind:ty) => {
            usize::try_from(keys.as_primitive::<$kind>().value(place)).ok()
        };
    }
    match keys.data_type() {
        DataType::Int8 => key!(Int8Type),
        DataType::Int16 => key!(Int16Type),
        DataType::Int32 => key!(Int32Type),
        DataType::Int64 => key!(Int64Type),
        DataType::UInt8 => key!(UInt8Type),
        DataType::UInt16 => key!(UInt16Type),
        DataType::UInt32 => key!(UInt32Type),
        DataType::UInt64 => key!(UInt64Type),
        _ => None,
    }
}

/// The error for a date outside the range of the calendar.
const NO_DATE: &str = "has a date or time beyond what can be written";

fn date_of(date: Option<NaiveDateTime>) -> Result<Value<'static>, &'static str> {
    date.map(|date| Value::Time(date.format("%Y-%m-%d").to_string())).ok_or(NO_DATE)
}

fn time_of(time: Option<NaiveTime>) -> Result<Value<'static>, &'static str> {
    time.map(|time| Value::Time(time.format("%H:%M:%S%.f").to_string())).ok_or(NO_DATE)
}

/// Formats a timestamp as in RFC 3339. Timestamps with a time zone are counted in UTC, and written in it.
fn moment<T: ArrowTimestampType>(
    array: &dyn Array,
    place: usize,
    zoned: bool,
) -> Result<Value<'static>, &'static str> {
    let moment = array.as_primitive::<T>().value_as_datetime(place).ok_or(NO_DATE)?;
    let zone = if zoned { "Z" } else { "" };
    Ok(Value::Time(format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.f"))))
}

/// Whether the metadata of an Arrow column says that it holds UUIDs.
pub(crate) fn is_uuid(field: &Field) -> bool {
    field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.uuid")
}

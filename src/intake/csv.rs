//! Comma-separated values with a header.

use std::borrow::Cow;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use crate::domain::checks::FieldError;
use crate::intake::decode::{BUFFER, RowBudget};
use crate::intake::value::Value;
use crate::intake::{IngestError, Limit, Rows};

/// Reads records; the header is checked before the first of them.
pub(crate) fn read(source: impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let (budget, row_end) = RowBudget::new(source, rows.limits().row_bytes);
    let mut reader =
        ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER).from_reader(budget);
    let header = reader.byte_headers().map_err(|error| failed(error, 0))?.clone();
    let header: Vec<String> = header
        .iter()
        .map(|name| {
            let text = std::str::from_utf8(name);
            text.map(str::to_owned)
                .map_err(|_| IngestError::Malformed("the header is not UTF-8".to_owned()))
        })
        .collect::<Result<_, _>>()?;
    rows.columns().check_header(&header).map_err(IngestError::Columns)?;
    row_end.reached();

    let columns = rows.columns();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(error, rows.next()))? {
        row_end.reached();
        let line = record.position().map(csv::Position::line);
        let bytes = record.as_slice().len();
        let run = if record.len() == header.len() {
            let mut row = columns.row(true);
            for (name, cell) in header.iter().zip(&record) {
                match std::str::from_utf8(cell) {
                    // An empty cell is no value.
                    Ok("") => row.put(name, Value::Null),
                    Ok(text) => row.put(name, Value::Text(Cow::Borrowed(text))),
                    Err(_) => row.refuse(name, "is not UTF-8"),
                }
            }
            row.finish(rows.next())
        } else {
            let detail = format!("has {} cells, and the header {}", record.len(), header.len());
            Err(vec![FieldError { pointer: String::new(), detail }])
        };
        rows.push(bytes, line, run)?;
    }
    Ok(())
}

fn failed(error: csv::Error, row: u64) -> IngestError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => match IngestError::from(error) {
            IngestError::TooLarge(Limit::RowBytes(_)) => {
                IngestError::TooLarge(Limit::RowBytes(row))
            }
            other => other,
        },
        other => IngestError::Malformed(format!("the body is no CSV: {other:?}")),
    }
}

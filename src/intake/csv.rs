//! Reads comma-separated values with a header, and tables with other separators.

use std::borrow::Cow;
use std::io::{BufReader, Read};

use csv::{ByteRecord, ReaderBuilder};

use crate::domain::checks::FieldError;
use crate::intake::decode::{BUFFER, RowBudget};
use crate::intake::dialect::{QuoteCheck, Separator, find_separator};
use crate::intake::error::{IngestError, Limit};
use crate::intake::finished::Finished;
use crate::intake::numbers::Decimal;
use crate::intake::row::Row;
use crate::intake::rows::Rows;
use crate::intake::second_header::{HeaderNames, NamesInRow};
use crate::intake::value::Value;

/// Reads the records, after checking the header.
pub(crate) fn read(source: impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let (budget, row_end) = RowBudget::new(source, rows.limits().row_bytes);
    let mut source = BufReader::with_capacity(BUFFER, budget);
    let separator = match rows.columns().separator {
        Some(separator) => separator,
        None => find_separator(&mut source)?,
    };
    // If cells are not separated by commas, a comma in a number is taken for the decimal mark.
    let comma = separator != Separator::Comma;
    rows.decimal = rows.columns().decimal.or_else(|| comma.then_some(Decimal::Comma));
    rows.intake.recognised.separator = Some(separator);
    rows.intake.recognised.decimal = rows.decimal;
    let (checked, starts) = QuoteCheck::new(source, separator);
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .delimiter(separator.byte())
        .buffer_capacity(BUFFER)
        .from_reader(checked);
    let header = reader.byte_headers().map_err(|error| failed(error, 0))?.clone();
    let header: Vec<String> = header
        .iter()
        .map(|name| {
            let text = std::str::from_utf8(name);
            text.map(str::to_owned)
                .map_err(|_| IngestError::Malformed("the header is not UTF-8".to_owned()))
        })
        .collect::<Result<_, _>>()?;
    // The first line belongs to the header.
    starts.next();
    rows.columns().check_header(&header, &[]).map_err(IngestError::Columns)?;
    row_end.reached();

    let columns = rows.columns();
    let names = HeaderNames::new(&header);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(error, rows.next()))? {
        row_end.reached();
        let line = starts.next();
        let bytes = record.as_slice().len();
        let mut named = NamesInRow::default();
        for cell in &record {
            names.count(cell, &mut named);
        }
        names.check(&named, &line.map_or_else(String::new, |line| format!("line {line}")))?;
        let finished = if record.len() == header.len() {
            let mut row = Row::new(columns, true, rows.decimal);
            for (name, cell) in header.iter().zip(&record) {
                match std::str::from_utf8(cell) {
                    // An empty cell has no value.
                    Ok("") => row.put(name, Value::Null),
                    Ok(text) => row.put(name, Value::Text(Cow::Borrowed(text))),
                    Err(_) => row.refuse(name, "is not UTF-8"),
                }
            }
            row.finish(rows.wants_used())
        } else {
            let detail = format!("has {} cells, and the header {}", record.len(), header.len());
            Finished::wrong(vec![FieldError { pointer: String::new(), detail }])
        };
        rows.push(bytes, line, finished)?;
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

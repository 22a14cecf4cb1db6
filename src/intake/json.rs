//! Reads JSON: one object, an array of objects, or one object per line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::checks::FieldError;
use crate::intake::decode::{BUFFER, RowBudget, RowEnd};
use crate::intake::error::{IngestError, Limit};
use crate::intake::finished::Finished;
use crate::intake::row::Row;
use crate::intake::rows::Rows;
use crate::intake::value::{Value, WithoutBareNumbers, without_bare_numbers};

/// Reads one object, or the objects of an array. In a tracker's export the array may be nested inside an object.
pub(crate) fn read_json(source: impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let (budget, row_end) = RowBudget::new(source, rows.limits().row_bytes);
    let mut reader = BufReader::with_capacity(BUFFER, WithoutBareNumbers::new(budget));
    let first = first_byte(&mut reader)?;
    // Each row is first taken as raw text, so that a value that cannot be read, such as a number out of range, is an
    // error of its row and does not end the array.
    let mut json = serde_json::Deserializer::from_reader(reader);
    let path = rows.columns().path_to_rows();
    if first != Some(b'[') && (path.is_empty() || first != Some(b'{')) {
        let row: Box<RawValue> =
            serde::Deserialize::deserialize(&mut json).map_err(|e| failed(&mut None, e, rows))?;
        json.end().map_err(|error| failed(&mut None, error, rows))?;
        rows.intake.single = true;
        return push(rows, row.get().as_bytes(), None);
    }
    let mut stopped = None;
    let path = if first == Some(b'[') { &[] } else { path };
    let found = {
        let at = RowsAt { path, rows, row_end: &row_end, stopped: &mut stopped, found: false };
        at.deserialize(&mut json)
    };
    let found = found.and_then(|found| json.end().map(|()| found));
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(IngestError::Malformed(format!(
            "there are no runs at {} in the body",
            path.join(".")
        ))),
        Err(error) => Err(failed(&mut stopped, error, rows)),
    }
}

/// Reads one object per line.
pub(crate) fn read_ndjson(source: impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let most = rows.limits().row_bytes;
    let mut reader = BufReader::with_capacity(BUFFER, source);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // The longest line and its end (`\r\n`); if all of that is read without a line end, the row is too long.
        let bound = (most as u64).saturating_add(2);
        reader.by_ref().take(bound).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let mut text = line.trim_ascii();
        if number == 1 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if line.len() as u64 == bound && line.last() != Some(&b'\n') {
            return Err(IngestError::TooLarge(Limit::RowBytes(rows.next())));
        }
        if !text.is_empty() {
            push(rows, text, Some(number))?;
        } else if number - rows.next() > rows.limits().idle_rows {
            return Err(IngestError::TooLarge(Limit::IdleRows));
        }
    }
    Ok(())
}

/// Returns the first byte that is not white space, and leaves it in the reader.
fn first_byte(reader: &mut impl BufRead) -> Result<Option<u8>, IngestError> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let first = buffer.get(blank).copied();
        reader.consume(blank);
        if first.is_some() {
            return Ok(first);
        }
    }
}

fn push(rows: &mut Rows<'_>, json: &[u8], line: Option<u64>) -> Result<(), IngestError> {
    let finished = read_run(rows, json);
    rows.push(json.len(), line, finished)
}

fn read_run(rows: &mut Rows<'_>, json: &[u8]) -> Finished {
    let read = |json| serde_json::from_slice::<Value<'_>>(json);
    match read(json) {
        Err(error) => {
            // Python writes NaN and Infinity without quotes. They are only an error if a field that is read holds one.
            let text = std::str::from_utf8(json).map(without_bare_numbers);
            match text.as_deref().map(serde_json::from_str::<Value<'_>>) {
                Ok(Ok(value)) => taken(rows, Ok(value)),
                _ => taken(rows, Err(error)),
            }
        }
        read => taken(rows, read),
    }
}

fn taken(rows: &mut Rows<'_>, read: serde_json::Result<Value<'_>>) -> Finished {
    let whole =
        |detail: String| Finished::wrong(vec![FieldError { pointer: String::new(), detail }]);
    match read {
        Ok(Value::Object(entries)) => {
            let columns = rows.columns();
            let mut row = Row::new(columns, false, columns.decimal);
            rows.note_keys(&entries);
            columns.flatten(entries, &mut row);
            row.finish(rows.wants_used())
        }
        Ok(_) => whole("must be a JSON object".to_owned()),
        Err(error) => {
            let message = error.to_string();
            // The error gives the line within the row's own text, which would be misleading.
            let cause = message.rsplit_once(" at line ").map_or(&*message, |(cause, _)| cause);
            whole(format!("is no JSON: {cause}"))
        }
    }
}

fn failed(
    stopped: &mut Option<IngestError>,
    error: serde_json::Error,
    rows: &Rows<'_>,
) -> IngestError {
    if let Some(stopped) = stopped.take() {
        return stopped;
    }
    if error.is_io() {
        return match IngestError::from(std::io::Error::from(error)) {
            IngestError::TooLarge(Limit::RowBytes(_)) => {
                IngestError::TooLarge(Limit::RowBytes(rows.next()))
            }
            other => other,
        };
    }
    IngestError::Malformed(error.to_string())
}

/// Visitor that finds the array of rows at the end of a path of keys and pushes each row. Its value says whether the
/// array was found.
struct RowsAt<'a, 'r> {
    path: &'a [&'a str],
    rows: &'a mut Rows<'r>,
    row_end: &'a RowEnd,
    /// The error that ended the rows early; the parser's own error type cannot carry it.
    stopped: &'a mut Option<IngestError>,
    found: bool,
}

impl<'de> DeserializeSeed<'de> for RowsAt<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowsAt<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path {
            [] => f.write_str("an array of runs"),
            [key, ..] => write!(f, "an object with {key}"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        if !self.path.is_empty() {
            return Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        while let Some(row) = list.next_element::<Box<RawValue>>()? {
            self.row_end.reached();
            if let Err(error) = push(self.rows, row.get().as_bytes(), None) {
                *self.stopped = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let Some((wanted, path)) = self.path.split_first() else {
            return Err(serde::de::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == *wanted {
                let inner = RowsAt {
                    path,
                    rows: &mut *self.rows,
                    row_end: self.row_end,
                    stopped: &mut *self.stopped,
                    found: false,
                };
                self.found |= map.next_value_seed(inner)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self.found)
    }
}

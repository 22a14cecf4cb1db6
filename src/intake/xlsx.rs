//! Reads Excel workbooks (.xlsx).
//!
//! A workbook is a zip archive with its directory at the end, so it is kept in a temporary file. Its shared texts are
//! held in memory, and its rows are read one at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx};

use crate::domain::checks::FieldError;
use crate::intake::error::{IngestError, Limit};
use crate::intake::finished::Finished;
use crate::intake::guarded::guarded;
use crate::intake::row::Row;
use crate::intake::rows::Rows;
use crate::intake::second_header::{HeaderNames, NamesInRow};
use crate::intake::value::Value;
use crate::intake::zipped::{open, spool};

const FORMAT: &str = "workbook (.xlsx)";

/// Maximum number of columns in a sheet, according to the file format.
const MOST_COLUMNS: usize = 16_384;

type Workbook = Xlsx<BufReader<File>>;

/// Reads the rows of a sheet. The first row that has cells holds the names of the columns.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut file = spool(source, rows.limits())?;
    check_size(&mut file, rows.limits().block_bytes)?;
    let mut workbook: Workbook = guarded(FORMAT, || Xlsx::new(BufReader::new(file)))?;
    let sheet = sheet(&mut workbook, rows.columns().sheet.as_deref())?;
    let mut cells = guarded(FORMAT, || workbook.worksheet_cells_reader(&sheet))?;
    let mut header: Option<Header> = None;
    let mut current = CellRow::default();
    loop {
        let next = guarded(FORMAT, || cells.next_cell_with_formula_metadata())?;
        let (place, cell) = match next {
            None => (None, None),
            Some(record) => {
                let (line, column) = record.pos;
                let cell = cell(record.value, record.formula.is_some());
                let Some(cell) = cell else { continue };
                (Some(u64::from(line)), Some((column as usize, cell)))
            }
        };
        if place != current.line
            && let Some(line) = current.line
        {
            let done = std::mem::take(&mut current);
            match &header {
                None => header = Some(Header::new(done, rows)?),
                Some(header) => take(header, done, line, rows)?,
            }
        }
        let Some((column, cell)) = cell else { break };
        if column >= MOST_COLUMNS {
            let detail = format!("the body is no {FORMAT}: it has a column {column}");
            return Err(IngestError::Malformed(detail));
        }
        current.line = place;
        current.bytes += cell.size();
        current.cells.push((column, cell));
        if current.bytes > rows.limits().row_bytes {
            return Err(IngestError::TooLarge(Limit::RowBytes(rows.next())));
        }
    }
    if header.is_none() {
        // Reports the same missing columns as a CSV table without a header.
        rows.columns().check_header(&[], &[]).map_err(IngestError::Columns)?;
    }
    Ok(())
}

/// Refuses a workbook that would take too much memory when decompressed. Decompresses everything to find out, since the
/// sizes in the directory may be false.
fn check_size(file: &mut File, most: u64) -> Result<(), IngestError> {
    let mut left = most;
    let mut archive = open(file, FORMAT)?;
    for entry in 0..archive.len() {
        let size = guarded(FORMAT, || -> zip::result::ZipResult<u64> {
            let entry = archive.by_index(entry)?;
            Ok(io::copy(&mut entry.take(left.saturating_add(1)), &mut io::sink())?)
        })?;
        left = left.checked_sub(size).ok_or(IngestError::TooLarge(Limit::BlockBytes))?;
    }
    file.seek(SeekFrom::Start(0)).map_err(IngestError::Spool)?;
    Ok(())
}

/// The sheet with this name, or the only visible sheet that has cells.
fn sheet(workbook: &mut Workbook, wanted: Option<&str>) -> Result<String, IngestError> {
    let sheets =
        workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let all: Vec<String> = sheets.clone().map(|sheet| sheet.name.clone()).collect();
    let refused = |detail: String| {
        Err(IngestError::Columns(vec![FieldError { pointer: "/sheet".to_owned(), detail }]))
    };
    if let Some(wanted) = wanted {
        return if all.iter().any(|name| name == wanted) {
            Ok(wanted.to_owned())
        } else {
            refused(format!("there is no sheet {wanted}; there are {}", all.join(", ")))
        };
    }
    let visible: Vec<String> = sheets
        .filter(|sheet| sheet.visible == SheetVisible::Visible)
        .map(|sheet| sheet.name.clone())
        .collect();
    let mut filled = Vec::new();
    for name in visible {
        let has_cells = guarded(FORMAT, || -> Result<bool, calamine::XlsxError> {
            let mut cells = workbook.worksheet_cells_reader(&name)?;
            while let Some(cell) = cells.next_cell()? {
                if *cell.get_value() != DataRef::Empty {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if has_cells {
            filled.push(name);
        }
    }
    match filled.len() {
        1 => Ok(filled.remove(0)),
        0 => refused(format!("no sheet has cells; there are {}", all.join(", "))),
        _ => refused(format!("must say which of the sheets has the runs: {}", filled.join(", "))),
    }
}

/// A cell that is not empty.
enum Cell {
    Value(Value<'static>),
    /// A formula whose value is not stored in the workbook.
    NotComputed,
}

impl Cell {
    fn size(&self) -> usize {
        match self {
            Self::Value(Value::Text(text)) => text.len() + 8,
            _ => 8,
        }
    }
}

fn cell(value: DataRef<'_>, is_formula: bool) -> Option<Cell> {
    Some(Cell::Value(match value {
        DataRef::Empty => return is_formula.then_some(Cell::NotComputed),
        DataRef::Int(number) => Value::Integer(number.into()),
        DataRef::Float(number) => Value::Number(number),
        DataRef::String(text) => Value::Text(Cow::Owned(text)),
        DataRef::SharedString(text) => Value::Text(Cow::Owned(text.to_owned())),
        DataRef::Bool(value) => Value::Bool(value),
        DataRef::DateTime(time) => Value::Time(written(&time)),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Value::Time(text),
        // Error values are kept as texts: `#N/A` means "no value", and others, such as `#DIV/0!`, are refused as
        // numbers.
        DataRef::Error(error) => Value::Text(Cow::Owned(error.to_string())),
    }))
}

/// Formats a date, a time of day or both, according to what the value contains.
fn written(time: &ExcelDateTime) -> String {
    let days = time.as_f64();
    if time.is_duration() || days.abs() < 1.0 {
        let seconds = (days * 86_400.0).round() as i64;
        let (hours, rest) = (seconds / 3600, (seconds % 3600).abs());
        return format!("{hours:02}:{:02}:{:02}", rest / 60, rest % 60);
    }
    let (year, month, day, hours, minutes, seconds, _) = time.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    if days.fract() == 0.0 { date } else { format!("{date}T{hours:02}:{minutes:02}:{seconds:02}") }
}

/// The cells of a row.
#[derive(Default)]
struct CellRow {
    line: Option<u64>,
    cells: Vec<(usize, Cell)>,
    bytes: usize,
}

/// The names of columns, by column index.
struct Header {
    names: Vec<Option<String>>,
    again: HeaderNames,
}

impl Header {
    fn new(row: CellRow, rows: &Rows<'_>) -> Result<Self, IngestError> {
        let mut names = Vec::new();
        for (column, cell) in row.cells {
            let name = match cell {
                Cell::Value(Value::Text(text)) => text.into_owned(),
                Cell::Value(Value::Time(text)) => text,
                Cell::Value(Value::Integer(number)) => number.to_string(),
                Cell::Value(Value::Number(number)) => number.to_string(),
                Cell::Value(Value::Bool(value)) => value.to_string(),
                Cell::Value(Value::Null | Value::List(_) | Value::Object(_))
                | Cell::NotComputed => continue,
            };
            if names.len() <= column {
                names.resize(column + 1, None);
            }
            names[column] = Some(name);
        }
        let given: Vec<String> = names.iter().flatten().cloned().collect();
        rows.columns().check_header(&given, &[]).map_err(IngestError::Columns)?;
        Ok(Self { again: HeaderNames::new(&given), names })
    }
}

fn take(header: &Header, done: CellRow, line: u64, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let columns = rows.columns();
    let mut named = NamesInRow::default();
    for (_, cell) in &done.cells {
        match cell {
            Cell::Value(Value::Text(text)) => header.again.count(text.as_bytes(), &mut named),
            _ => named.others(),
        }
    }
    header.again.check(&named, &format!("line {}", line + 1))?;
    let mut row = Row::new(columns, true, columns.decimal);
    let mut cells: Vec<Option<Cell>> = Vec::new();
    cells.resize_with(header.names.len(), || None);
    let mut nameless = None;
    for (column, cell) in done.cells {
        match header.names.get(column) {
            Some(Some(_)) => cells[column] = Some(cell),
            _ => nameless = nameless.or(Some(column)),
        }
    }
    for (name, cell) in header.names.iter().zip(cells) {
        let Some(name) = name else { continue };
        match cell {
            None => row.put(name, Value::Null),
            Some(Cell::Value(value)) => row.put(name, value),
            Some(Cell::NotComputed) => row.refuse(
                name,
                "is a formula whose value is not in the workbook: open it in a spreadsheet and save it",
            ),
        }
    }
    let finished = match nameless.filter(|_| !columns.declared) {
        Some(column) => {
            let detail = format!("has a value in column {}, which has no name", letters(column));
            Finished::wrong(vec![FieldError { pointer: String::new(), detail }])
        }
        None => row.finish(rows.wants_used()),
    };
    // Spreadsheets number rows from 1.
    rows.push(done.bytes, Some(line + 1), finished)
}

/// A column's letters in a spreadsheet, such as `AB`.
fn letters(column: usize) -> String {
    let mut name = Vec::new();
    let mut left = column + 1;
    while left > 0 {
        left -= 1;
        name.push(char::from(b'A' + u8::try_from(left % 26).unwrap_or(0)));
        left /= 26;
    }
    name.iter().rev().collect()
}

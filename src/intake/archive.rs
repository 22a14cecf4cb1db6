//! Zip archives: the files in them are read one after the other as one table.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::domain::text::cut;
use crate::intake::decode::{ANY, Coding, Counted, Expanded};
use crate::intake::error::{IngestError, Limit};
use crate::intake::format::{ENDINGS, Format};
use crate::intake::noticed::IntakeWarning;
use crate::intake::rows::Rows;
use crate::intake::zipped::{Zipped, copy, open, spool};

const FORMAT: &str = "zip archive";

/// How an archive is read that is one of several inputs, or not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Archived<'a> {
    /// Its own name, where it has one.
    pub name: Option<&'a str>,
    /// Format of its files; by their endings where none is said.
    pub format: Option<Format>,
}

/// Reads an input of a format and coding from a file; the last is what is left of the bytes that may come out of
/// decompression.
pub(super) type ReadFile =
    fn(&mut Rows<'_>, Format, Coding, File, &mut u64) -> Result<(), IngestError>;

/// Reads the files of an archive, each by `read_file`; `left` is what is left of the bytes that may come out of
/// decompression.
pub(super) fn read(
    source: &mut impl Read,
    rows: &mut Rows<'_>,
    archived: Archived<'_>,
    left: &mut u64,
    read_file: ReadFile,
) -> Result<(), IngestError> {
    let file = spool(source, rows.limits())?;
    let sent = file.metadata().map_err(IngestError::Spool)?.len();
    // Entries may share bytes, so that what they come to together is held against the archive as a whole.
    let mut allowed = ANY.max(sent.saturating_mul(rows.limits().expansion));
    let mut archive = open(&file, FORMAT)?;
    let mut passed_over = Vec::new();
    let mut any = false;
    for name in names(&archive)? {
        let called = archived.name.map_or_else(|| name.clone(), |outer| format!("{outer}/{name}"));
        let within = |error| match error {
            IngestError::Unwanted => IngestError::Unwanted,
            error => IngestError::In { name: called.clone(), error: Box::new(error) },
        };
        let (known, coding) =
            Format::of_name(&name).map_err(IngestError::Malformed).map_err(within)?;
        let Some(format) = archived.format.or(known) else {
            passed_over.push(name);
            continue;
        };
        any = true;
        rows.intake.errors.parts.push((rows.intake.rows, called.clone()));
        if format == Format::Zip {
            let detail = "it is an archive in an archive, which is not read: send it alone";
            return Err(within(IngestError::Malformed(detail.to_owned())));
        }
        let file = extract(&mut archive, &name, rows, left, &mut allowed).map_err(within)?;
        read_file(rows, format, coding, file, left).map_err(within)?;
    }
    if !any {
        let hint = match passed_over.iter().any(|name| name == "[Content_Types].xml") {
            true => {
                "; its files are those of a workbook (.xlsx), which is sent as one and not as an archive"
            }
            false => "",
        };
        return Err(IngestError::Malformed(format!(
            "the archive has no files of runs: their endings are {ENDINGS}{hint}"
        )));
    }
    if !passed_over.is_empty() {
        let detail = described(&passed_over);
        rows.intake.warnings.push(IntakeWarning { code: "files_not_read", detail });
    }
    Ok(())
}

/// One of the files, decompressed into a temporary one, as Parquet and workbooks are read from their end. What comes
/// out is taken from `left` and from what may come out of the archive.
fn extract(
    archive: &mut Zipped,
    name: &str,
    rows: &Rows<'_>,
    left: &mut u64,
    allowed: &mut u64,
) -> Result<File, IngestError> {
    let entry = archive.by_name(name);
    let entry =
        entry.map_err(|error| IngestError::Malformed(format!("it cannot be read: {error}")))?;
    let (counted, sent) = Counted::new(entry);
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    let most = (*left).min(*allowed);
    let stop = rows.reading.stop.clone();
    let mut unpacked = Expanded::new(Box::new(counted), most, (sent, u64::MAX), stop);
    copy(&mut unpacked, &mut file).map_err(|error| match error {
        IngestError::TooLarge(Limit::ExpandedBytes) if *allowed < *left => {
            IngestError::TooLarge(Limit::Expansion)
        }
        error => error,
    })?;
    let came_out = most - unpacked.left();
    *allowed -= came_out;
    *left -= came_out;
    file.seek(SeekFrom::Start(0)).map_err(IngestError::Spool)?;
    Ok(file)
}

/// Names of the files, sorted, without folders and without what systems put there for themselves.
fn names(archive: &Zipped) -> Result<Vec<String>, IngestError> {
    let mut names = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(|error| {
            IngestError::Malformed(format!("a file of the archive has no readable name: {error}"))
        })?;
        let name = name.into_owned();
        let is_hidden =
            name.starts_with('.') || name.starts_with("__MACOSX/") || name.contains("/.");
        if !name.ends_with('/') && !is_hidden {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Which files were passed over, the first of them by name.
fn described(files: &[String]) -> String {
    const NAMED: usize = 5;
    const NAME: usize = 100;
    let mut named: Vec<_> = files.iter().take(NAMED).cloned().collect();
    named.iter_mut().for_each(|name| cut(name, NAME));
    let more = files.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "files of the archive were not read, since their endings say of no format that runs are read from: {}{more}",
        named.join(", ")
    )
}

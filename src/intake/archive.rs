//! Zip archives, whose files are read one after the other as one table.

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

/// How an archive is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Archived<'a> {
    /// Name of the archive, if it is one of several inputs.
    pub name: Option<&'a str>,
    /// Format of the files; if `None`, the endings of their names tell.
    pub format: Option<Format>,
}

/// Reads a file of this format and compression. The last argument is the number of bytes that decompression may still
/// produce.
pub(super) type ReadFile =
    fn(&mut Rows<'_>, Format, Coding, File, &mut u64) -> Result<(), IngestError>;

/// Reads the files of an archive, each by `read_file`. `left` is the number of bytes that decompression may still
/// produce.
pub(super) fn read(
    source: &mut impl Read,
    rows: &mut Rows<'_>,
    archived: Archived<'_>,
    left: &mut u64,
    read_file: ReadFile,
) -> Result<(), IngestError> {
    let file = spool(source, rows.limits())?;
    let sent = file.metadata().map_err(IngestError::Spool)?.len();
    // Entries of an archive may overlap, so their total size is limited in proportion to the archive as a whole.
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

/// Decompresses a file of the archive into a temporary file, because Parquet files and workbooks are read starting from
/// their end. Subtracts its size from `left` and from `allowed`, the number of bytes that the archive may still expand
/// to.
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

/// Names of the files, sorted, without folders, hidden files and the files that macOS adds.
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

/// The warning about files that were not read, naming the first of them.
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

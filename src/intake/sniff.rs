//! Recognises what an input is by its first bytes, so that the error for a wrong format can name the right one.

use std::io::{Cursor, Read};

use crate::intake::decode::Coding;
use crate::intake::error::IngestError;
use crate::intake::format::Format;

/// What the first bytes of an input look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A format that can be read.
    Format(Format),
    /// A compression that can be decoded.
    Coded(Coding),
    /// A zip archive, which may be a workbook.
    Zip,
    /// A JSON array or object; an object may be the first of many lines.
    Json {
        /// Whether it is an array.
        array: bool,
    },
    /// Something that runs cannot be read from.
    Other,
}

/// First bytes of known kinds of files, their descriptions for messages, and what they are.
const BEGINNINGS: &[(&[u8], &str, Looks)] = &[
    #[cfg(feature = "parquet")]
    (b"PAR1", "a Parquet file", Looks::Format(Format::Parquet)),
    (b"PARE", "an encrypted Parquet file", Looks::Other),
    (b"ARROW1", "an Arrow file", Looks::Format(Format::Arrow)),
    (b"\xff\xff\xff\xff", "an Arrow stream", Looks::Format(Format::Arrow)),
    (b"FEA1", "a Feather file of the first version", Looks::Other),
    (b"PK\x03\x04", "a zip archive, as workbooks are", Looks::Zip),
    (b"\xd0\xcf\x11\xe0", "an old workbook (.xls)", Looks::Other),
    (b"\x1f\x8b", "compressed by gzip", Looks::Coded(Coding::Gzip)),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", Looks::Coded(Coding::Zstd)),
    #[cfg(feature = "archives")]
    (b"\xfd7zXZ\0", "compressed by xz", Looks::Coded(Coding::Xz)),
    #[cfg(feature = "archives")]
    (b"BZh", "compressed by bzip2", Looks::Coded(Coding::Bzip2)),
    (b"\xff\xfe", "a text in UTF-16, which must be saved as UTF-8", Looks::Other),
    (b"\xfe\xff", "a text in UTF-16, which must be saved as UTF-8", Looks::Other),
    (b"SQLite format 3\0", "an SQLite database", Looks::Other),
    (b"\x89HDF\r\n", "an HDF5 file", Looks::Other),
    (b"Obj\x01", "an Avro file", Looks::Other),
    (b"ORC", "an ORC file", Looks::Other),
    (b"%PDF", "a PDF", Looks::Other),
];

/// Number of bytes examined: enough for the longest signature, with room for white space before JSON.
const LOOKED_AT: usize = 64;

/// Recognises an input by its first bytes, if possible; the text describes what it looks like in a message.
#[must_use]
pub fn looks_like(start: &[u8]) -> Option<(Looks, &'static str)> {
    let known = BEGINNINGS.iter().find(|(beginning, ..)| start.starts_with(beginning));
    if let Some((_, name, looks)) = known {
        return Some((*looks, name));
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    match text.trim_ascii_start().first() {
        Some(b'[') => Some((Looks::Json { array: true }, "a JSON array")),
        Some(b'{') => Some((Looks::Json { array: false }, "a JSON object")),
        _ => None,
    }
}

/// Returns the complete input, or an error if its first bytes show that it is of another format than it was sent as.
pub(crate) fn checked<R: Read>(mut source: R, format: Format) -> Result<impl Read, IngestError> {
    let mut start = Vec::with_capacity(LOOKED_AT);
    source.by_ref().take(LOOKED_AT as u64).read_to_end(&mut start)?;
    if let Some(detail) = contradiction(&start, format) {
        return Err(IngestError::Malformed(detail));
    }
    Ok(Cursor::new(start).chain(source))
}

/// Describes the contradiction if an input with these first bytes cannot be of the given format.
fn contradiction(start: &[u8], format: Format) -> Option<String> {
    // ORC and bzip2 files begin with letters that a text may begin with too, so a text format is only refused if there
    // is a byte that no text contains.
    let is_text = matches!(format, Format::Json | Format::Ndjson | Format::Csv);
    let is_binary = start.iter().any(|byte| *byte == 0 || *byte > 0xf4 || (*byte < 9));
    let found = looks_like(start);
    let expected = match (format, found.map(|(looks, _)| looks)) {
        (format, Some(Looks::Format(found))) if found == format => return None,
        #[cfg(feature = "xlsx")]
        (Format::Xlsx, Some(Looks::Zip)) => return None,
        #[cfg(feature = "archives")]
        (Format::Zip, Some(Looks::Zip)) => return None,
        // A stream from an older writer begins with the length of its schema, and has no signature.
        (Format::Arrow, None) => return None,
        (_, Some(Looks::Json { .. }) | None) if is_text => return None,
        (_, Some(_)) if is_text && !is_binary => return None,
        (format, _) => name(format),
    };
    let got = match found {
        Some((_, name)) => format!("it is {name}"),
        None if start.is_empty() => "it is empty".to_owned(),
        None if !is_binary => "it is a text".to_owned(),
        None => format!("it begins with {}", hex::encode(&start[..start.len().min(8)])),
    };
    Some(format!("the body is no {expected}: by its first bytes {got}"))
}

const fn name(format: Format) -> &'static str {
    match format {
        Format::Json => "JSON",
        Format::Ndjson => "NDJSON",
        Format::Csv => "CSV",
        #[cfg(feature = "parquet")]
        Format::Parquet => "Parquet",
        Format::Arrow => "Arrow",
        #[cfg(feature = "xlsx")]
        Format::Xlsx => "workbook (.xlsx)",
        #[cfg(feature = "archives")]
        Format::Zip => "zip archive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_as_something_else_says_what_it_is() {
        for (start, format, detail) in [
            (
                &b"\x1f\x8b\x08\0\0\0\0\0"[..],
                Format::Csv,
                "no CSV: by its first bytes it is compressed by gzip",
            ),
            (b"ARROW1\0\0", Format::Json, "no JSON: by its first bytes it is an Arrow file"),
            (b"SQLite format 3\0\x10", Format::Ndjson, "it is an SQLite database"),
            (b"\xff\xfee\0x\0", Format::Csv, "no CSV: by its first bytes it is a text in UTF-16"),
            (b"external_id,loss\na,2\n", Format::Arrow, ""),
        ] {
            let found = contradiction(start, format).unwrap_or_default();
            assert!(found.contains(detail), "{found}");
        }
        for (start, format) in [
            (&b"BZh,ORC\n1,2\n"[..], Format::Csv),
            (b"ORC\n", Format::Csv),
            (b"[{}]", Format::Csv),
            (b"", Format::Ndjson),
            (b"\xef\xbb\xbf{}", Format::Json),
        ] {
            assert_eq!(contradiction(start, format), None, "{start:?}");
        }
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn no_parquet_says_what_it_is() {
        for (start, detail) in [
            (&b"external_id,loss\n"[..], "it is a text"),
            (b"[{\"loss\": 2}]", "it is a JSON array"),
            (b"", "it is empty"),
            (b"PK\x03\x04rest", "it is a zip archive"),
            (b"\x01\x02\x03", "it begins with 010203"),
        ] {
            let found = contradiction(start, Format::Parquet).unwrap();
            assert!(
                found.starts_with("the body is no Parquet") && found.contains(detail),
                "{found}"
            );
        }
        assert_eq!(contradiction(b"PAR1\x15", Format::Parquet), None);
    }
}

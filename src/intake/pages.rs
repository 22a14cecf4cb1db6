//! Checks the page headers of a Parquet file before any page is decompressed.
//!
//! The Parquet library reads one page of each column at a time, and allocates as much memory as the page's header
//! claims. It decompresses gzip to its end, whatever the header says. So a file of a megabyte could take up gigabytes.
//! This module therefore reads the headers first. They are in Thrift's compact protocol; a few numbers are used, and
//! the rest is skipped.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use crate::intake::error::{IngestError, Limit};
use crate::intake::stop::Stop;

/// Maximum length of a header, in bytes: it may hold the smallest and the largest value of its page, which can be
/// texts.
const MOST_HEADER: u64 = 1 << 20;
/// Maximum depth of nested structures in a header, with room to spare.
const MOST_DEPTH: u8 = 8;
/// Maximum number of bytes that gzip can produce from one byte.
const MOST_OF_GZIP: u64 = 1032;

/// What a page's header says about it; lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Page {
    /// Type of the page; 2 for a dictionary.
    kind: i64,
    uncompressed: u64,
    compressed: u64,
    /// For data pages of version 2: length of the uncompressed levels before the values.
    levels: u64,
    header: u64,
}

/// Refuses a file if one page and one dictionary of each column that is read could together take more memory than
/// `most` bytes. `used` tells whether a leaf column, given by its index, is read.
pub(super) fn check(
    file: &mut File,
    metadata: &ParquetMetaData,
    used: impl Fn(usize) -> bool,
    most: u64,
    stop: &Stop,
) -> Result<(), IngestError> {
    for group in metadata.row_groups() {
        let mut together: u64 = 0;
        let columns = group.columns().iter().enumerate();
        for (_, column) in columns.filter(|(leaf, _)| used(*leaf)) {
            let (mut dictionary, mut data) = (0, 0);
            for page in Pages::new(file, column)? {
                if stop.is_set() {
                    return Err(IngestError::Unwanted);
                }
                let page = page?;
                let takes = page.uncompressed.saturating_add(page.compressed);
                let largest = if page.kind == 2 { &mut dictionary } else { &mut data };
                *largest = takes.max(*largest);
            }
            together = together.saturating_add(dictionary).saturating_add(data);
            if together > most {
                return Err(IngestError::TooLarge(Limit::BlockBytes));
            }
            if matches!(column.compression(), Compression::GZIP(_)) {
                check_gzip(file, column, most, stop)?;
            }
        }
    }
    Ok(())
}

/// Decompresses those pages that could exceed `most` bytes, discarding the output, to see whether they do.
fn check_gzip(
    file: &mut File,
    column: &ColumnChunkMetaData,
    most: u64,
    stop: &Stop,
) -> Result<(), IngestError> {
    let mut pages = Pages::new(file, column)?;
    while let Some(page) = pages.next() {
        let page = page?;
        if page.compressed.saturating_mul(MOST_OF_GZIP) <= most {
            continue;
        }
        let start = pages.next - page.compressed + page.levels;
        let inside = page.compressed.saturating_sub(page.levels);
        pages.file.seek(SeekFrom::Start(start)).map_err(IngestError::Spool)?;
        let compressed = BufReader::new(&mut *pages.file).take(inside);
        let mut decoder = MultiGzDecoder::new(compressed);
        let (mut total, mut buffer) = (0_u64, vec![0; crate::intake::decode::BUFFER]);
        loop {
            if stop.is_set() {
                return Err(IngestError::Unwanted);
            }
            // A damaged page is refused later by the library, and a page that is not compressed is read as it is.
            let Ok(read @ 1..) = decoder.read(&mut buffer) else { break };
            total += read as u64;
            if total > most {
                return Err(IngestError::TooLarge(Limit::BlockBytes));
            }
        }
    }
    Ok(())
}

/// Iterator over the pages of a column.
struct Pages<'f> {
    file: &'f mut File,
    /// Offset of the next header.
    next: u64,
    end: u64,
}

impl<'f> Pages<'f> {
    fn new(file: &'f mut File, column: &ColumnChunkMetaData) -> Result<Self, IngestError> {
        let number = |number: i64| u64::try_from(number).map_err(|_| damaged());
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let start = number(start)?;
        let end = start.checked_add(number(column.compressed_size())?).ok_or_else(damaged)?;
        Ok(Self { file, next: start, end })
    }

    fn read(&mut self) -> Result<Page, IngestError> {
        self.file.seek(SeekFrom::Start(self.next)).map_err(IngestError::Spool)?;
        let left = (self.end - self.next).min(MOST_HEADER);
        let mut reader = Thrift { source: BufReader::with_capacity(512, &mut *self.file), left };
        let mut page = reader.page().map_err(|_| damaged())?;
        page.header = left - reader.left;
        let after = (self.next + page.header).checked_add(page.compressed);
        self.next = after.filter(|after| *after <= self.end).ok_or_else(damaged)?;
        Ok(page)
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Page, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.next < self.end).then(|| {
            let page = self.read();
            if page.is_err() {
                self.next = self.end;
            }
            page
        })
    }
}

fn damaged() -> IngestError {
    let detail = "the body is no Parquet, or damaged: the header of a page cannot be read";
    IngestError::Malformed(detail.to_owned())
}

/// The types of the compact protocol that this module needs.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
}

/// A reader of Thrift's compact protocol that reads at most `left` more bytes.
struct Thrift<R> {
    source: R,
    left: u64,
}

impl<R: Read> Thrift<R> {
    /// Reads the header of a page: fields `1: type`, `2: uncompressed_page_size` and `3: compressed_page_size`, and of
    /// `8: data_page_header_v2` the lengths of the levels, fields `5` and `6`.
    fn page(&mut self) -> io::Result<Page> {
        let (mut page, mut field) = (Page::default(), 0);
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (1, kind::I32) => page.kind = self.integer()?,
                (2, kind::I32) => page.uncompressed = self.length()?,
                (3, kind::I32) => page.compressed = self.length()?,
                (8, kind::STRUCT) => {
                    let mut inner = 0;
                    while let Some(kind) = self.field(&mut inner)? {
                        match (inner, kind) {
                            (5 | 6, kind::I32) => page.levels += self.length()?,
                            (_, kind) => self.pass(kind, MOST_DEPTH)?,
                        }
                    }
                }
                (_, kind) => self.pass(kind, MOST_DEPTH)?,
            }
        }
        if page.levels > page.compressed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(page)
    }

    /// Reads the type of the next field and updates `number`, which is stored relative to the previous field. Returns
    /// `None` at the end of a structure.
    fn field(&mut self, number: &mut i64) -> io::Result<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *number = match byte >> 4 {
            0 => self.integer()?,
            delta => number.saturating_add(delta.into()),
        };
        Ok(Some(byte & 0x0f))
    }

    fn pass(&mut self, kind: u8, depth: u8) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            // A boolean field has its value in its type.
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.bytes(1),
            4..=kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.bytes(8),
            kind::BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            kind::LIST | kind::SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { (head >> 4).into() };
                self.elements(count, &[head & 0x0f], depth)
            }
            kind::MAP => match self.varint()? {
                0 => Ok(()),
                count => {
                    let kinds = self.byte()?;
                    self.elements(count, &[kinds >> 4, kinds & 0x0f], depth)
                }
            },
            kind::STRUCT => {
                let mut number = 0;
                while let Some(kind) = self.field(&mut number)? {
                    self.pass(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Skips elements. Each takes at least one byte, so a false count cannot cause more work than there are bytes.
    fn elements(&mut self, count: u64, kinds: &[u8], depth: u8) -> io::Result<()> {
        for _ in 0..count {
            for kind in kinds {
                match *kind {
                    // Outside a structure, a boolean has a byte of its own.
                    kind::TRUE | kind::FALSE => self.bytes(1)?,
                    kind => self.pass(kind, depth)?,
                }
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn bytes(&mut self, count: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        let passed = io::copy(&mut self.source.by_ref().take(count), &mut io::sink())?;
        if passed == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Reads a zigzag-encoded number, whose last bit is the sign.
    fn integer(&mut self) -> io::Result<i64> {
        let coded = self.varint()?;
        Ok((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed())
    }

    fn length(&mut self) -> io::Result<u64> {
        u64::try_from(self.integer()?).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: &[u8]) -> io::Result<Page> {
        Thrift { source: bytes, left: bytes.len() as u64 }.page()
    }

    #[test]
    fn headers_are_read_whatever_else_they_hold() {
        // Type 0, 300 bytes compressed to 70; then a structure with a text, a list of booleans and a map.
        let header: &[u8] = &[
            0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0x8c, 0x01, // 1, 2, 3
            0x2c, 0x18, 0x02, b'a', b'b', 0x19, 0x21, 0x01, 0x02, 0x1b, 0x01, 0x85, 0x01, b'k',
            0x02, 0x00, // 5: 1, 2, 3
            0x00,
        ];
        let expected = Page { uncompressed: 300, compressed: 70, ..Page::default() };
        assert_eq!(page(header).unwrap(), expected);
        // A data page of version 2, with the lengths of its levels.
        let second: &[u8] = &[
            0x15, 0x06, 0x15, 0xd8, 0x04, 0x15, 0x8c, 0x01, 0x5c, 0x15, 0x02, 0x15, 0x00, 0x15,
            0x02, 0x15, 0x00, 0x15, 0x08, 0x15, 0x04, 0x00, 0x00,
        ];
        assert_eq!(page(second).unwrap(), Page { kind: 3, levels: 6, ..expected });
        for end in 0..header.len() {
            page(&header[..end]).unwrap_err();
        }
        // A text without an end, endlessly nested structures, and a negative length.
        page(&[0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, b'a']).unwrap_err();
        page(&[0x1c; 100]).unwrap_err();
        page(&[0x25, 0x01, 0x00]).unwrap_err();
    }
}

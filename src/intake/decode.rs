//! From bytes as they were sent to bytes of a format, never more of them than allowed.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::intake::error::{IngestError, Limit};
use crate::intake::stop::Stop;

/// How an input is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// gzip; several members are one input.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz; several streams are one input.
    #[cfg(feature = "archives")]
    Xz,
    /// bzip2; several streams are one input.
    #[cfg(feature = "archives")]
    Bzip2,
}

/// Logarithm of the largest window of Zstandard that is decoded: the 8 MB that RFC 9659 allows over
/// HTTP. The window is memory that the sender decides about.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Memory that a dictionary of xz may take, which is the sender's choice too: `xz -9` needs 65 MiB.
#[cfg(feature = "archives")]
const XZ_MEMORY_KIB: u32 = 80 * 1024;

impl Coding {
    /// All that this build undoes. xz and bzip2 are registered as no content coding; they are what files come in.
    pub const ALL: &[Self] = &[
        Self::Identity,
        Self::Gzip,
        Self::Zstd,
        #[cfg(feature = "archives")]
        Self::Xz,
        #[cfg(feature = "archives")]
        Self::Bzip2,
    ];

    /// Its name in a `Content-Encoding`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            #[cfg(feature = "archives")]
            Self::Xz => "xz",
            #[cfg(feature = "archives")]
            Self::Bzip2 => "bzip2",
        }
    }

    pub(crate) fn decode<'a>(self, source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Identity => Box::new(source),
            Self::Gzip => Box::new(MultiGzDecoder::new(source)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            #[cfg(feature = "archives")]
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB)),
            // Blocks of at most 900 kB, by its format.
            #[cfg(feature = "archives")]
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        })
    }
}

/// How many bytes were read of an input as it was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Rc<Cell<u64>>);

/// A reader that counts.
pub(crate) struct Counted<R> {
    source: R,
    sent: Sent,
}

impl<R: Read> Counted<R> {
    pub(crate) fn new(source: R) -> (Self, Sent) {
        let sent = Sent::default();
        (Self { source, sent: sent.clone() }, sent)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.sent.0.set(self.sent.0.get() + read as u64);
        Ok(read)
    }
}

/// What may come out of any input, however small: tables of few runs may be much the same throughout.
pub(crate) const ANY: u64 = 1 << 20;

/// A reader that gives out at most so many bytes, and not too many for each that was sent. It ends when nobody waits
/// for it any more.
pub(crate) struct Expanded<'a> {
    decoded: Box<dyn Read + 'a>,
    left: u64,
    given: u64,
    sent: Sent,
    expansion: u64,
    stop: Stop,
}

impl<'a> Expanded<'a> {
    pub(crate) fn new(
        decoded: Box<dyn Read + 'a>,
        most: u64,
        (sent, expansion): (Sent, u64),
        stop: Stop,
    ) -> Self {
        Self { decoded, left: most, given: 0, sent, expansion, stop }
    }

    /// How many more it would give out.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Expanded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(IngestError::Unwanted.into());
        }
        // No more at a time than the flag is looked at for.
        let most = buffer.len().min(BUFFER);
        let read = self.decoded.read(&mut buffer[..most])?;
        self.left = (self.left)
            .checked_sub(read as u64)
            .ok_or(IngestError::TooLarge(Limit::ExpandedBytes))?;
        self.given += read as u64;
        if self.given > ANY.max(self.sent.0.get().saturating_mul(self.expansion)) {
            return Err(IngestError::TooLarge(Limit::Expansion).into());
        }
        Ok(read)
    }
}

/// Bytes that parsers read ahead; more than one row may be in there.
pub(crate) const BUFFER: usize = 64 * 1024;

/// A reader for a parser that keeps a row in memory until it ends: it stops the parser in a row
/// that does not.
pub(crate) struct RowBudget<R> {
    source: R,
    since_row: Rc<Cell<usize>>,
    most: usize,
}

/// Tells the budget that a row has ended.
#[derive(Clone)]
pub(crate) struct RowEnd(Rc<Cell<usize>>);

impl RowEnd {
    pub(crate) fn reached(&self) {
        self.0.set(0);
    }
}

impl<R: Read> RowBudget<R> {
    pub(crate) fn new(source: R, row_bytes: usize) -> (Self, RowEnd) {
        let since_row = Rc::new(Cell::new(0));
        let end = RowEnd(Rc::clone(&since_row));
        (Self { source, since_row, most: row_bytes.saturating_add(BUFFER) }, end)
    }
}

impl<R: Read> Read for RowBudget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > self.most {
            // The row is known to whoever counts them.
            return Err(IngestError::TooLarge(Limit::RowBytes(0)).into());
        }
        let read = self.source.read(buffer)?;
        self.since_row.set(self.since_row.get() + read);
        Ok(read)
    }
}

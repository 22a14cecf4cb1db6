//! Decompression of inputs, limited in how many bytes may come out.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::intake::error::{IngestError, Limit};
use crate::intake::stop::Stop;

/// How an input is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not compressed.
    Identity,
    /// gzip; several members in a row are one input.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz; several streams in a row are one input.
    #[cfg(feature = "archives")]
    Xz,
    /// bzip2; several streams in a row are one input.
    #[cfg(feature = "archives")]
    Bzip2,
}

/// Base-2 logarithm of the largest Zstandard window that is accepted: the 8 MB that RFC 9659 allows over HTTP. The
/// window takes memory, and the sender chooses its size.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Maximum memory for the dictionary of an xz stream, whose size the sender chooses too: `xz -9` needs 65 MiB.
#[cfg(feature = "archives")]
const XZ_MEMORY_KIB: u32 = 80 * 1024;

impl Coding {
    /// The compressions that this build supports. xz and bzip2 are not registered as HTTP content codings, but files
    /// are compressed with them.
    pub const ALL: &[Self] = &[
        Self::Identity,
        Self::Gzip,
        Self::Zstd,
        #[cfg(feature = "archives")]
        Self::Xz,
        #[cfg(feature = "archives")]
        Self::Bzip2,
    ];

    /// Name of the compression in a `Content-Encoding` header.
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
            // bzip2 needs no memory limit: its format limits blocks to 900 kB.
            #[cfg(feature = "archives")]
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        })
    }
}

/// Number of bytes read so far from an input as it was sent; clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Rc<Cell<u64>>);

/// A reader that counts the bytes it reads.
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

/// Number of bytes that any input may decompress to, however small it is: the few rows of a small table may be much
/// alike.
pub(crate) const ANY: u64 = 1 << 20;

/// A reader that limits the number of decompressed bytes, both in total and per byte that was sent. It fails once the
/// stop flag is set.
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

    /// Number of bytes that may still come out.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Expanded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(IngestError::Unwanted.into());
        }
        // Short reads, so that the stop flag is checked often.
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

/// Size of the buffers that parsers read ahead into, in bytes; it may hold several rows.
pub(crate) const BUFFER: usize = 64 * 1024;

/// A reader for parsers that hold a row in memory until it ends. It fails if a row gets longer than allowed.
pub(crate) struct RowBudget<R> {
    source: R,
    since_row: Rc<Cell<usize>>,
    most: usize,
}

/// Tells a [`RowBudget`] that a row has ended.
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
            // The caller, who counts rows, fills in the number of the row.
            return Err(IngestError::TooLarge(Limit::RowBytes(0)).into());
        }
        let read = self.source.read(buffer)?;
        self.since_row.set(self.since_row.get() + read);
        Ok(read)
    }
}

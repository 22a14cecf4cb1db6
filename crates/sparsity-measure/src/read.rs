//! Reads the elements of a weight block by block as flags, whatever tensors the weight is stored in.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::count::{Format, Rare};
use crate::error::{MeasureError, Refusal};
use crate::files::Stored;

/// Number of elements of a block, small enough to stay in the processor's cache.
const BLOCK: usize = 64 * 1024;

/// Reads the bytes of a tensor in order.
struct Bytes<'a> {
    stored: &'a Stored,
    file: File,
    left: u64,
    buffer: Vec<u8>,
}

impl<'a> Bytes<'a> {
    fn open(stored: &'a Stored) -> Result<Self, MeasureError> {
        let io = || MeasureError::io(&stored.path);
        let mut file = File::open(&stored.path).map_err(io())?;
        file.seek(SeekFrom::Start(stored.offset)).map_err(io())?;
        Ok(Self { stored, file, left: stored.bytes, buffer: Vec::new() })
    }

    /// The next bytes, at most `most`; empty at the end.
    fn next(&mut self, most: usize) -> Result<&mut [u8], MeasureError> {
        let length = self.left.min(most as u64) as usize;
        self.left -= length as u64;
        self.buffer.resize(length, 0);
        self.file.read_exact(&mut self.buffer).map_err(MeasureError::io(&self.stored.path))?;
        Ok(&mut self.buffer)
    }
}

/// The tensors that a weight is stored in.
#[derive(Debug, Clone)]
pub enum Source {
    /// A plain tensor.
    Plain(Stored),
    /// A tensor and the mask that is applied to it.
    Masked {
        /// The weights before pruning.
        original: Stored,
        /// The mask: 0 where weights are pruned.
        mask: Stored,
        /// Format of the mask.
        format: Format,
    },
    /// One bit for each element, and the elements whose bit is set.
    Bitmask {
        /// The bits, with rows padded to whole bytes, the lowest bit first.
        bits: Stored,
        /// The elements whose bit is set; they may still be zero.
        values: Stored,
    },
}

impl Source {
    /// Number of bytes to read.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Plain(stored) => stored.bytes,
            Self::Masked { original, mask, .. } => original.bytes + mask.bytes,
            Self::Bitmask { bits, values } => bits.bytes + values.bytes,
        }
    }

    /// Reads all elements, and passes `sink` their flags block by block with the number of bytes read. Returns the
    /// counts of rare elements.
    ///
    /// `name` and `shape` are those of the weight.
    ///
    /// # Errors
    /// [`MeasureError::Io`], and [`MeasureError::Refused`] where the bits and the values of a bitmask do not match.
    pub fn flags(
        &self,
        name: &str,
        shape: &[u64],
        format: Format,
        sink: &mut dyn FnMut(&[u8], u64),
    ) -> Result<Rare, MeasureError> {
        match self {
            Self::Plain(stored) => plain(stored, format, sink),
            Self::Masked { original, mask, format: of_mask } => {
                masked(original, format, mask, *of_mask, sink)
            }
            Self::Bitmask { bits, values } => {
                let wrong =
                    |detail: &str| MeasureError::refused(name, Refusal::Bitmask(detail.to_owned()));
                bitmask(bits, values, shape, format, sink, &wrong)
            }
        }
    }
}

fn plain(
    stored: &Stored,
    format: Format,
    sink: &mut dyn FnMut(&[u8], u64),
) -> Result<Rare, MeasureError> {
    let mut bytes = Bytes::open(stored)?;
    let (mut flags, mut rare) = (Vec::new(), Rare::default());
    loop {
        let block = bytes.next(format.bytes(BLOCK))?;
        if block.is_empty() {
            return Ok(rare);
        }
        rare.add(format.flags(block, &mut flags));
        sink(&flags, block.len() as u64);
    }
}

/// Reads the product of weights and mask: masked elements become zero, so they are not counted as rare either.
fn masked(
    original: &Stored,
    format: Format,
    mask: &Stored,
    of_mask: Format,
    sink: &mut dyn FnMut(&[u8], u64),
) -> Result<Rare, MeasureError> {
    let (mut bytes, mut mask) = (Bytes::open(original)?, Bytes::open(mask)?);
    let (mut flags, mut kept, mut rare) = (Vec::new(), Vec::new(), Rare::default());
    let width = format.bytes(1);
    loop {
        let hides = mask.next(of_mask.bytes(BLOCK))?;
        let read = hides.len() as u64;
        of_mask.flags(hides, &mut kept);
        let block = bytes.next(format.bytes(BLOCK))?;
        if block.is_empty() {
            return Ok(rare);
        }
        for (element, kept) in block.chunks_mut(width).zip(&kept) {
            if *kept == 0 {
                element.fill(0);
            }
        }
        rare.add(format.flags(block, &mut flags));
        sink(&flags, read + block.len() as u64);
    }
}

fn bitmask(
    bits: &Stored,
    values: &Stored,
    shape: &[u64],
    format: Format,
    sink: &mut dyn FnMut(&[u8], u64),
    wrong: &dyn Fn(&str) -> MeasureError,
) -> Result<Rare, MeasureError> {
    let columns = shape.last().copied().unwrap_or(1);
    let row_bytes = columns.div_ceil(8);
    let (mut bits, mut values) = (Bytes::open(bits)?, Bytes::open(values)?);
    let (mut flags, mut ready, mut used) = (Vec::new(), Vec::new(), 0);
    let mut rare = Rare::default();
    // Index of the next byte of bits in its row.
    let mut at = 0;
    loop {
        let block = bits.next(BLOCK / 8)?;
        if block.is_empty() {
            break;
        }
        let mut read = block.len() as u64;
        flags.clear();
        for byte in &*block {
            let here = (columns - at * 8).min(8);
            if here < 8 && byte >> here != 0 {
                return Err(wrong("bits are set behind the end of a row"));
            }
            for bit in 0..here {
                if byte >> bit & 1 == 0 {
                    flags.push(0);
                    continue;
                }
                if used == ready.len() {
                    let more = values.next(format.bytes(BLOCK))?;
                    if more.is_empty() {
                        return Err(wrong("more bits are set than there are values"));
                    }
                    read += more.len() as u64;
                    rare.add(format.flags(more, &mut ready));
                    used = 0;
                }
                flags.push(ready[used]);
                used += 1;
            }
            at = (at + 1) % row_bytes;
        }
        sink(&flags, read);
    }
    if used < ready.len() || values.left > 0 {
        return Err(wrong("there are more values than bits that are set"));
    }
    Ok(rare)
}

/// Whether two tensors have the same bytes.
pub fn same_bytes(a: &Stored, b: &Stored) -> Result<bool, MeasureError> {
    if a.bytes != b.bytes {
        return Ok(false);
    }
    let (mut a, mut b) = (Bytes::open(a)?, Bytes::open(b)?);
    loop {
        let (a, b) = (a.next(4 * BLOCK)?, b.next(4 * BLOCK)?);
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}

/// The numbers of a tensor of 64-bit integers; at most the first 128.
pub fn integers(stored: &Stored) -> Result<Vec<u64>, MeasureError> {
    let mut bytes = Bytes::open(stored)?;
    let read = bytes.next(stored.bytes.min(1024) as usize)?;
    Ok(read.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

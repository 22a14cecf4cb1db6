//! Shared by archives and workbooks, which are both zip files with a directory at the end. They are kept in a temporary
//! file, and their directory is limited in size before it is read, because it is held in memory as a whole.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use zip::ZipArchive;

use crate::intake::decode::BUFFER;
use crate::intake::error::{IngestError, IngestLimits, Limit};
use crate::intake::guarded::guarded;

/// First bytes of each directory entry.
const ENTRY: &[u8; 4] = b"PK\x01\x02";

/// A zip file whose directory has been read.
pub(super) type Zipped = ZipArchive<BufReader<File>>;

/// Copies an input into a temporary file, and refuses it if its directory would take too much memory. Nothing that the
/// file says about itself is trusted: the number of entries is how often an entry's first bytes occur anywhere in the
/// file, and the size of the directory is taken to be everything from the first occurrence to the end.
///
/// # Errors
/// If the source cannot be read, the temporary file cannot be written, or a limit is exceeded.
pub(super) fn spool(source: &mut impl Read, limits: &IngestLimits) -> Result<File, IngestError> {
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    let mut entries = Entries::default();
    pass(source, &mut file, |piece| {
        entries.look(piece);
        match () {
            () if entries.count > limits.archive_files => Err(Limit::ArchiveFiles),
            () if entries.bytes > limits.block_bytes => Err(Limit::BlockBytes),
            () => Ok(()),
        }
    })?;
    file.seek(SeekFrom::Start(0)).map_err(IngestError::Spool)?;
    Ok(file)
}

/// Copies a source to a temporary file.
///
/// # Errors
/// Errors of the source as they are, and [`IngestError::Spool`] for errors of the file.
pub(super) fn copy(source: &mut impl Read, file: &mut File) -> Result<(), IngestError> {
    pass(source, file, |_| Ok(()))
}

fn pass(
    source: &mut impl Read,
    file: &mut File,
    mut look: impl FnMut(&[u8]) -> Result<(), Limit>,
) -> Result<(), IngestError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let piece = &buffer[..read];
        look(piece).map_err(IngestError::TooLarge)?;
        file.write_all(piece).map_err(IngestError::Spool)?;
    }
}

/// Reads the directory of a zip file. `format` names the kind of file in errors.
///
/// # Errors
/// [`IngestError::Malformed`], [`IngestError::Spool`].
pub(super) fn open(file: &File, format: &'static str) -> Result<Zipped, IngestError> {
    let reading = file.try_clone().map_err(IngestError::Spool)?;
    guarded(format, || ZipArchive::new(BufReader::new(reading)))
}

/// Counts the directory entries in a file while it is copied.
#[derive(Debug, Default)]
struct Entries {
    /// The last bytes copied, one fewer than an entry's first bytes, as the next piece may complete them.
    before: Vec<u8>,
    /// Number of entries found.
    count: u64,
    /// Number of bytes from the first entry on.
    bytes: u64,
}

impl Entries {
    fn look(&mut self, piece: &[u8]) {
        let mut all = std::mem::take(&mut self.before);
        all.extend_from_slice(piece);
        let mut first = None;
        for (at, found) in all.windows(ENTRY.len()).enumerate() {
            if found == ENTRY {
                first.get_or_insert(at);
                self.count += 1;
            }
        }
        if self.bytes > 0 {
            self.bytes += piece.len() as u64;
        } else if let Some(first) = first {
            self.bytes = (all.len() - first) as u64;
        }
        self.before = all.split_off(all.len().saturating_sub(ENTRY.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_seen_wherever_pieces_end() {
        let mut file = [7; 100];
        for at in [10, 14, 50] {
            file[at..at + 4].copy_from_slice(ENTRY);
        }
        for size in 1..=file.len() {
            let mut entries = Entries::default();
            file.chunks(size).for_each(|piece| entries.look(piece));
            assert_eq!((entries.count, entries.bytes), (3, 90), "pieces of {size}");
        }
    }
}

//! What archives and workbooks share: both are zip files, whose directory stands at their end. They are kept in a
//! temporary file, and their directory is bounded before it is read, since all of it is in memory then.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use zip::ZipArchive;

use crate::intake::decode::BUFFER;
use crate::intake::error::{IngestError, IngestLimits, Limit};
use crate::intake::guarded::guarded;

/// How each entry of a directory begins.
const ENTRY: &[u8; 4] = b"PK\x01\x02";

/// A zip file whose directory was read.
pub(super) type Zipped = ZipArchive<BufReader<File>>;

/// Copies an input into a temporary file, and refuses it where its directory would take too much memory; that is
/// seen by how often, and where first, an entry's beginning stands in it, whatever the file says of itself.
///
/// # Errors
/// Where the source cannot be read, there is no place to keep it, or a limit is reached.
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

/// Copies to a temporary file; errors of the source and of the file are told apart.
///
/// # Errors
/// Those of the source, and [`IngestError::Spool`].
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

/// Reads the directory. `format` is what the file is called in errors.
///
/// # Errors
/// [`IngestError::Malformed`], [`IngestError::Spool`].
pub(super) fn open(file: &File, format: &'static str) -> Result<Zipped, IngestError> {
    let reading = file.try_clone().map_err(IngestError::Spool)?;
    guarded(format, || ZipArchive::new(BufReader::new(reading)))
}

/// Entries of a directory that are seen in a file as it passes.
#[derive(Debug, Default)]
struct Entries {
    /// The last bytes that passed, fewer than an entry begins with.
    before: Vec<u8>,
    /// How many there are.
    count: u64,
    /// Bytes from the first on.
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

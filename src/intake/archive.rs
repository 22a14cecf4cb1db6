//! Zip archives: the files in them, one at a time.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use zip::ZipArchive;

use crate::intake::error::{IngestError, Limit};

/// A zip archive.
#[derive(Debug)]
pub struct Archive {
    archive: ZipArchive<File>,
}

fn damaged(cause: &dyn Display) -> IngestError {
    IngestError::Malformed(format!("it is no zip archive, or damaged: {cause}"))
}

impl Archive {
    /// Reads the archive's directory.
    ///
    /// # Errors
    /// [`IngestError::Malformed`].
    pub fn open(file: File) -> Result<Self, IngestError> {
        Ok(Self { archive: ZipArchive::new(file).map_err(|error| damaged(&error))? })
    }

    /// Names of the files in it, without those that systems put there for themselves.
    ///
    /// # Errors
    /// [`IngestError::Malformed`] where one has no readable name.
    pub fn names(&self) -> Result<Vec<String>, IngestError> {
        let mut names = Vec::new();
        for name in self.archive.file_names() {
            let name = name.map_err(|error| damaged(&error))?.into_owned();
            let is_hidden =
                name.starts_with('.') || name.starts_with("__MACOSX/") || name.contains("/.");
            if !name.ends_with('/') && !is_hidden {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// One of the files, decompressed into a temporary one of at most so many bytes.
    ///
    /// # Errors
    /// [`IngestError::Malformed`], [`IngestError::TooLarge`], [`IngestError::Spool`].
    pub fn extract(&mut self, name: &str, most: u64) -> Result<File, IngestError> {
        let entry = self.archive.by_name(name).map_err(|error| damaged(&error))?;
        let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
        let copied = io::copy(&mut entry.take(most.saturating_add(1)), &mut file);
        if copied.map_err(|error| damaged(&error))? > most {
            return Err(IngestError::TooLarge(Limit::ExpandedBytes));
        }
        file.seek(SeekFrom::Start(0)).map_err(IngestError::Spool)?;
        Ok(file)
    }
}

//! The formats of tables of runs.

use crate::intake::decode::Coding;

/// The endings of file names that [`Format::of_name`] knows, for messages.
pub const ENDINGS: &str = ".csv, .tsv, .json, .ndjson, .jsonl, .parquet, .arrow, .feather and .xlsx, also with .gz, .zst, \
                           .xz or .bz2 behind, and .zip";

/// The format of a table of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// Comma-separated values with a header, or a table with another separator.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
    /// Arrow's IPC format: a stream, or a file (Feather), which has a directory at its end.
    Arrow,
    /// One sheet of an Excel workbook.
    #[cfg(feature = "xlsx")]
    Xlsx,
    /// A zip archive of files in the other formats, which form one table.
    #[cfg(feature = "archives")]
    Zip,
}

impl Format {
    /// The formats that this build reads.
    pub const ALL: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
        Self::Arrow,
        #[cfg(feature = "xlsx")]
        Self::Xlsx,
        #[cfg(feature = "archives")]
        Self::Zip,
    ];

    /// The formats that this build writes.
    pub const WRITTEN: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
    ];

    /// Media type of an Arrow file, as opposed to a stream.
    const ARROW_FILE: &str = "application/vnd.apache.arrow.file";

    /// The format with this media type, ignoring case.
    #[must_use]
    pub fn of_media_type(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(Self::ARROW_FILE) {
            return Some(Self::Arrow);
        }
        Self::ALL.iter().copied().find(|format| name.eq_ignore_ascii_case(format.media_type()))
    }

    /// The media types of all formats that are read.
    #[must_use]
    pub fn media_types() -> Vec<&'static str> {
        let own = Self::ALL.iter().map(|format| format.media_type());
        own.chain([Self::ARROW_FILE]).collect()
    }

    /// Media type of the format.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            #[cfg(feature = "xlsx")]
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            #[cfg(feature = "archives")]
            Self::Zip => "application/zip",
        }
    }

    /// Format and compression according to the ending of a file's name; the format is `None` if the ending is unknown.
    ///
    /// # Errors
    /// Advice for a kind of file that is recognised but cannot be read.
    pub fn of_name(name: &str) -> Result<(Option<Self>, Coding), String> {
        let name = name.to_ascii_lowercase();
        let (coding, stem) = match name.rsplit_once('.') {
            Some((stem, "gz" | "gzip")) => (Coding::Gzip, stem),
            Some((stem, "zst" | "zstd")) => (Coding::Zstd, stem),
            #[cfg(feature = "archives")]
            Some((stem, "xz")) => (Coding::Xz, stem),
            #[cfg(feature = "archives")]
            Some((stem, "bz2" | "bzip2")) => (Coding::Bzip2, stem),
            #[cfg(not(feature = "archives"))]
            Some((_, "xz" | "bz2" | "bzip2")) => {
                return Err(
                    "this build does not undo its compression (feature archives)".to_owned()
                );
            }
            _ => (Coding::Identity, name.as_str()),
        };
        let format = match stem.rsplit_once('.') {
            Some((_, "csv" | "tsv" | "tab")) => Some(Self::Csv),
            Some((_, "ndjson" | "jsonl")) => Some(Self::Ndjson),
            Some((_, "json")) => Some(Self::Json),
            #[cfg(feature = "parquet")]
            Some((_, "parquet" | "pq")) => Some(Self::Parquet),
            Some((_, "arrow" | "arrows" | "feather" | "ipc")) => Some(Self::Arrow),
            #[cfg(feature = "xlsx")]
            Some((_, "xlsx" | "xlsm")) => Some(Self::Xlsx),
            Some((_, "xls" | "xlsb" | "ods")) => {
                return Err("it is a workbook of another kind: save it as .xlsx or .csv".to_owned());
            }
            #[cfg(feature = "archives")]
            Some((_, "zip")) => Some(Self::Zip),
            #[cfg(not(feature = "archives"))]
            Some((_, "zip")) => {
                return Err(
                    "it is an archive, and this build reads none (feature archives)".to_owned()
                );
            }
            _ => None,
        };
        Ok((format, coding))
    }
}

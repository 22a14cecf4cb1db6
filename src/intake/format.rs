//! The formats that runs come in.

/// A format that runs come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
    /// Arrow's IPC format: a stream, or a file (Feather), which is one with a directory behind it.
    Arrow,
    /// A sheet of an Excel workbook.
    #[cfg(feature = "xlsx")]
    Xlsx,
}

impl Format {
    /// All that this build reads.
    pub const ALL: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
        Self::Arrow,
        #[cfg(feature = "xlsx")]
        Self::Xlsx,
    ];

    /// All that this build writes.
    pub const WRITTEN: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
    ];

    /// Media type of Arrow's format with a directory behind it.
    const ARROW_FILE: &str = "application/vnd.apache.arrow.file";

    /// The format of a media type, whatever the case of its letters.
    #[must_use]
    pub fn of_media_type(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(Self::ARROW_FILE) {
            return Some(Self::Arrow);
        }
        Self::ALL.iter().copied().find(|format| name.eq_ignore_ascii_case(format.media_type()))
    }

    /// All media types that are read.
    #[must_use]
    pub fn media_types() -> Vec<&'static str> {
        let own = Self::ALL.iter().map(|format| format.media_type());
        own.chain([Self::ARROW_FILE]).collect()
    }

    /// Its media type.
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
        }
    }
}

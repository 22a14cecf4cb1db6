//! Reads Apache Parquet. Its directory is at the end, so the input is kept in a temporary file while it is read.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, LogicalType};
use parquet::file::metadata::ParquetMetaData;

use crate::domain::checks::Checks;
use crate::intake::arrow::{Table, check_schema, push};
use crate::intake::error::{IngestError, Limit};
use crate::intake::guarded;
use crate::intake::pages;
use crate::intake::rows::Rows;

/// Number of rows that are decoded at once.
const BATCH: usize = 1024;

/// Reads the columns that runs need, one page of each at a time.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    copy(source, &mut file)?;

    check_directory(&mut file)?;

    // Uses the types of the Parquet columns, not those that an embedded Arrow schema asks for.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = guarded(|| ArrowReaderMetadata::load(&file, options.clone()))?;
    let sizes = metadata.metadata();
    let uncompressed: i64 = sizes.row_groups().iter().map(|group| group.total_byte_size()).sum();
    if u64::try_from(uncompressed).is_ok_and(|bytes| bytes > rows.limits().expanded_bytes) {
        return Err(IngestError::TooLarge(Limit::ExpandedBytes));
    }
    let count = sizes.file_metadata().num_rows();
    if u64::try_from(count).is_ok_and(|count| count > rows.limits().rows) {
        return Err(IngestError::TooLarge(Limit::Rows));
    }
    let used = check_schema(metadata.schema(), rows)?;
    check_durations(&metadata, &used)?;
    check_codecs(sizes, &used)?;
    let roots = sizes.file_metadata().schema_descr_ptr();
    let is_used = |leaf| used.contains(&roots.get_column_root_idx(leaf));
    pages::check(&mut file, sizes, is_used, rows.limits().block_bytes, &rows.reading.stop)?;
    let table = Table { uuids: uuids(sizes) };

    // Texts are decoded as views into their pages, so that a text repeated a thousand times is stored once.
    let schema = with_views(metadata.schema());
    let metadata = guarded(|| ArrowReaderMetadata::load(&file, options.with_schema(schema)))?;
    let projection = ProjectionMask::roots(metadata.parquet_schema(), used);
    let mut reader = guarded(|| {
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_projection(projection)
            .with_batch_size(BATCH)
            .build()
    })?;
    while let Some(batch) = guarded(|| reader.next().transpose())? {
        push(&table, &batch, rows)?;
    }
    Ok(())
}

fn guarded<T, E: std::fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, IngestError> {
    guarded::guarded("Parquet", read)
}

/// Copies the source to the file. Errors of the file become [`IngestError::Spool`].
fn copy(source: &mut impl Read, file: &mut impl io::Write) -> Result<(), IngestError> {
    let mut buffer = vec![0; crate::intake::decode::BUFFER];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return file.flush().map_err(IngestError::Spool);
        }
        file.write_all(&buffer[..read]).map_err(IngestError::Spool)?;
    }
}

/// Refuses a directory larger than any that describes runs, because the library parses it as a whole.
fn check_directory(file: &mut (impl Read + Seek)) -> Result<(), IngestError> {
    const MOST: u32 = 16 * 1024 * 1024;
    // The end of the file: the length of the directory, and four magic bytes.
    let mut end = [0; 8];
    let damaged = |_| IngestError::Malformed("the body is no Parquet: it is too short".to_owned());
    file.seek(SeekFrom::End(-8)).map_err(damaged)?;
    file.read_exact(&mut end).map_err(damaged)?;
    let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    if length > MOST {
        let detail =
            format!("the directory of the Parquet file has {length} bytes, more than {MOST}");
        return Err(IngestError::Malformed(detail));
    }
    Ok(())
}

/// Refuses durations in columns that are read. Parquet has no type for durations: they are whole numbers in a unit that
/// only the embedded Arrow schema tells.
fn check_durations(metadata: &ArrowReaderMetadata, used: &[usize]) -> Result<(), IngestError> {
    let plain = Arc::clone(metadata.metadata());
    // An Arrow schema that does not match the columns says nothing about them.
    let said = guarded(|| ArrowReaderMetadata::try_new(plain, ArrowReaderOptions::new()));
    let Ok(said) = said else { return Ok(()) };
    let mut checks = Checks::default();
    for place in used {
        let Some(field) = said.schema().fields().get(*place) else { continue };
        if has_duration(field.data_type()) {
            let detail = "must be a column of numbers, texts or times, not of spans of time: write them as numbers of \
                          the unit that is meant";
            checks.refuse(field.name(), detail);
        }
    }
    checks.finish(Some(())).map_err(IngestError::Columns)
}

/// Whether values of this type contain durations.
fn has_duration(kind: &DataType) -> bool {
    match kind {
        DataType::Duration(_) => true,
        DataType::Dictionary(_, values) => has_duration(values),
        DataType::Struct(fields) => fields.iter().any(|field| has_duration(field.data_type())),
        DataType::Map(entries, _) => has_duration(entries.data_type()),
        _ => false,
    }
}

/// Returns the schema with texts decoded as views.
fn with_views(schema: &Schema) -> Arc<Schema> {
    let fields = schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            other => other.clone(),
        };
        Field::new(field.name(), kind, field.is_nullable())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses columns that are read but compressed by a codec that this build does not support.
fn check_codecs(metadata: &ParquetMetaData, used: &[usize]) -> Result<(), IngestError> {
    let schema = metadata.file_metadata().schema_descr();
    let mut codecs: BTreeSet<(String, String)> = BTreeSet::new();
    for group in metadata.row_groups() {
        for (leaf, column) in group.columns().iter().enumerate() {
            let codec = column.compression();
            let known = matches!(
                codec,
                Compression::UNCOMPRESSED
                    | Compression::SNAPPY
                    | Compression::GZIP(_)
                    | Compression::ZSTD(_)
                    | Compression::LZ4
                    | Compression::LZ4_RAW
            );
            if !known && used.contains(&schema.get_column_root_idx(leaf)) {
                codecs.insert((column.column_path().string(), codec.to_string()));
            }
        }
    }
    let mut checks = Checks::default();
    for (column, codec) in codecs {
        let detail = format!(
            "is compressed by {codec}, which is not built in: write the file with zstd, snappy, gzip, LZ4 or none"
        );
        checks.refuse(&column, detail);
    }
    checks.finish(Some(())).map_err(IngestError::Columns)
}

/// Names of the columns that hold UUIDs; nested names are joined by dots.
fn uuids(metadata: &ParquetMetaData) -> HashSet<String> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let columns = columns.iter().filter(|c| c.logical_type_ref() == Some(&LogicalType::Uuid));
    columns.map(|column| column.path().string()).collect()
}

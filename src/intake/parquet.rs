//! Apache Parquet, whose directory is at its end: the input is kept in a temporary file while it is read.

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

/// Rows that are decoded at once.
const BATCH: usize = 1024;

/// Reads the columns that runs take something from, a page of each at a time.
pub(crate) fn read(source: &mut impl Read, rows: &mut Rows<'_>) -> Result<(), IngestError> {
    let mut file = tempfile::tempfile().map_err(IngestError::Spool)?;
    copy(source, &mut file)?;

    check_directory(&mut file)?;

    // The types of the columns themselves, not what an Arrow schema beside them asks for.
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

    // Texts as views into their pages: a text that is repeated a thousand times is there once.
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

/// Copies to the file; errors of either are told apart.
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

/// The directory is parsed whole, so it is refused where it is larger than any that describes runs.
fn check_directory(file: &mut (impl Read + Seek)) -> Result<(), IngestError> {
    const MOST: u32 = 16 * 1024 * 1024;
    // Its length, and four letters.
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

/// Refuses columns of spans of time that are read: Parquet has no type for them, so they are whole numbers of some unit
/// that the Arrow schema beside them says alone.
fn check_durations(metadata: &ArrowReaderMetadata, used: &[usize]) -> Result<(), IngestError> {
    let plain = Arc::clone(metadata.metadata());
    // A schema that does not go with the columns says nothing of them.
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

/// Whether there are spans of time in values of a kind.
fn has_duration(kind: &DataType) -> bool {
    match kind {
        DataType::Duration(_) => true,
        DataType::Dictionary(_, values) => has_duration(values),
        DataType::Struct(fields) => fields.iter().any(|field| has_duration(field.data_type())),
        DataType::Map(entries, _) => has_duration(entries.data_type()),
        _ => false,
    }
}

/// The schema with texts as views.
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

/// Refuses columns that are read and compressed by what this build does not undo.
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

/// Columns that hold UUIDs, by their names joined by dots.
fn uuids(metadata: &ParquetMetaData) -> HashSet<String> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let columns = columns.iter().filter(|c| c.logical_type_ref() == Some(&LogicalType::Uuid));
    columns.map(|column| column.path().string()).collect()
}

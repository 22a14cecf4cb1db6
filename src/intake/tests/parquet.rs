//! Files of Parquet: what their columns may hold, damage, and limits.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::{
    ArrayRef, BinaryArray, DurationSecondArray, Float32Array, Int64Array, RecordBatch, StringArray,
};

use super::*;

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("external_id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("nonzero_params", Arc::new(Int64Array::from(vec![1_000_000, 0]))),
        ("sparsity", Arc::new(Float32Array::from(vec![0.5, 0.25]))),
        ("data", Arc::new(StringArray::from(vec!["1e9", "x"]))),
        ("loss", Arc::new(Float32Array::from(vec![Some(3.0), None]))),
    ]
}

fn of_parquet(input: &[u8]) -> Result<(Vec<SubmittedRun>, Vec<String>), IngestError> {
    read(&reading(Format::Parquet, ColumnOptions::default()), input)
}

#[test]
fn columns_of_numbers_and_texts_are_read() {
    let (runs, errors) = of_parquet(&file(columns())).unwrap();
    assert_eq!(only(&runs).observation.data.get(), 1e9);
    assert_eq!(
        errors,
        [
            r#"row 1: data must be a number, not "x""#,
            "row 1: loss must be given",
            "row 1: nonzero_params must be between 1 and 1e18, not 0",
        ]
    );
}

#[test]
fn columns_of_other_types_are_refused_by_name() {
    let mut wrong = columns();
    wrong[4] = ("loss", Arc::new(DurationSecondArray::from(vec![1, 2])));
    match of_parquet(&file(wrong)) {
        // Parquet has no durations, so these are whole numbers; only the embedded Arrow schema tells their unit.
        Err(IngestError::Columns(errors)) => {
            assert_eq!(errors[0].pointer, "/loss");
            assert!(errors[0].detail.contains("spans of time"), "{errors:?}");
        }
        other => panic!("{other:?}"),
    }
    // A column that no field is read from may have any type.
    let beside = ("took", Arc::new(DurationSecondArray::from(vec![1, 2])) as ArrayRef);
    let all = columns().into_iter().chain([beside]).collect();
    let options = mapped(&[("sparsity", "sparsity")]);
    let (runs, _) = read(&reading(Format::Parquet, options), &file(all)).unwrap();
    assert_eq!(only(&runs).external_id, "a");
    let mut wrong = columns();
    wrong[4] = ("loss", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"2.5"])));
    let (_, errors) = of_parquet(&file(wrong)).unwrap();
    assert_eq!(errors[0], "row 0: loss must be a text, and its bytes are no UTF-8");
}

#[test]
fn a_codec_that_is_not_built_in_is_named() {
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    // The file is written with LZ4 and then changed to claim Brotli, because the build has no encoder for Brotli.
    // The directory holds the codec of each column.
    let plain = ::parquet::file::properties::WriterProperties::builder()
        .set_compression(::parquet::basic::Compression::LZ4_RAW)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(plain)).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let (runs, _) = of_parquet(&bytes).unwrap();
    assert_eq!(only(&runs).external_id, "a");
    // Thrift's compact encoding of `codec: LZ4_RAW` (7, encoded as 0x0e) in a column's description; Brotli is 4,
    // encoded as 0x08.
    let mut brotli = bytes.clone();
    let mut changed = 0;
    for at in 0..brotli.len() - 2 {
        if brotli[at..at + 2] == [0x15, 0x0e] {
            brotli[at + 1] = 0x08;
            changed += 1;
        }
    }
    assert!(changed >= 5, "{changed}");
    match of_parquet(&brotli) {
        Err(IngestError::Columns(errors)) => {
            assert!(errors[0].detail.contains("compressed by BROTLI"), "{errors:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_files_are_malformed_wherever_the_damage_is() {
    let whole = file(columns());
    for length in 0..whole.len() {
        let cut = of_parquet(&whole[..length]);
        assert!(matches!(cut, Err(IngestError::Malformed(_))), "{length}: {cut:?}");
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            // Some bits hold values or are unused, so the result may be anything but a panic.
            let _ = of_parquet(&damaged);
        }
    }
}

#[test]
fn a_file_is_limited_by_what_it_says_of_itself() {
    let mut reading = reading(Format::Parquet, ColumnOptions::default());
    reading.limits.rows = 1;
    let rows = read(&reading, &file(columns()));
    assert!(matches!(rows, Err(IngestError::TooLarge(Limit::Rows))), "{rows:?}");
    reading.limits.rows = 10;
    reading.limits.row_bytes = 20;
    let rows = read(&reading, &file(columns()));
    assert!(matches!(rows, Err(IngestError::TooLarge(Limit::RowBytes(0)))), "{rows:?}");
}

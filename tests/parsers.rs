//! Damaged uploads: whatever the bytes are, the readers of all formats end without a panic, return only runs within
//! their documented ranges, and read what is written from these as the same runs.
//!
//! Every case damages a valid upload. `PROPTEST_CASES=100000 cargo test --test parsers` tries more cases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;
use sparsity_planner::domain::run::SubmittedRun;
use sparsity_planner::domain::text::{check_label, check_reason};
use sparsity_planner::intake::export::{Encoder, Formulas};
use sparsity_planner::intake::{
    Coding, ColumnOptions, Format, IngestLimits, Reading, SparsityUnit, Stop, Tracker, keep_first,
};

const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: 1 << 20,
    expansion: u64::MAX,
    rows: 100,
    idle_rows: u64::MAX,
    row_bytes: 16 * 1024,
    named_errors: 10,
    block_bytes: 1 << 20,
    archive_files: 100,
};

/// Texts that have a special meaning to some reader.
const TOKENS: [&[u8]; 40] = [
    b"\0",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b";",
    b"\n",
    b"\r",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc0\x80",
    b"null",
    b"true",
    b"NaN",
    b"inf",
    b"-",
    b"-0",
    b"0",
    b"1e400",
    b"1e-400",
    b"1e308",
    b"1E+1",
    b"0x1",
    b"18446744073709551616",
    b"tags",
    b"tags.a",
    b"loss",
    b"external_id",
    b"[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"2:4",
    b"pretrained",
    b"PAR1",
];

/// A change of some bytes at a place.
#[derive(Debug, Clone)]
enum Damage {
    Byte(u8),
    Bit(u8),
    Insert(usize),
    Replace(usize),
    Remove(usize),
    Copy(Index, usize),
    CutOff,
}

fn damage() -> impl Strategy<Value = (Index, Damage)> {
    let kind = prop_oneof![
        any::<u8>().prop_map(Damage::Byte),
        (0..8_u8).prop_map(Damage::Bit),
        (0..TOKENS.len()).prop_map(Damage::Insert),
        (0..TOKENS.len()).prop_map(Damage::Replace),
        (1..40_usize).prop_map(Damage::Remove),
        (any::<Index>(), 1..80_usize).prop_map(|(from, length)| Damage::Copy(from, length)),
        Just(Damage::CutOff),
    ];
    (any::<Index>(), kind)
}

fn damaged(mut bytes: Vec<u8>, damages: &[(Index, Damage)]) -> Vec<u8> {
    for (at, damage) in damages {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        let end = |length: usize| (at + length).min(bytes.len());
        match *damage {
            Damage::Byte(byte) => bytes[at] = byte,
            Damage::Bit(bit) => bytes[at] ^= 1 << bit,
            Damage::Insert(token) => drop(bytes.splice(at..at, TOKENS[token].iter().copied())),
            Damage::Replace(token) => {
                let end = end(TOKENS[token].len());
                drop(bytes.splice(at..end, TOKENS[token].iter().copied()));
            }
            Damage::Remove(length) => {
                let end = end(length);
                bytes.drain(at..end);
            }
            Damage::Copy(from, length) => {
                let from = from.index(bytes.len());
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            Damage::CutOff => bytes.truncate(at),
        }
    }
    bytes
}

fn reading(format: Format, coding: Coding, columns: ColumnOptions) -> Reading {
    let columns = columns.check().unwrap();
    Reading { format, coding, columns, limits: LIMITS, skip_errors: true, stop: Stop::default() }
}

/// The runs of an upload; `None` if it is refused as a whole.
fn read(reading: &Reading, bytes: &[u8]) -> Option<Vec<SubmittedRun>> {
    let mut runs = Vec::new();
    let intake = reading.run(bytes, &mut |batch| {
        runs.extend(batch);
        true
    });
    let mut errors = intake.ok()?.errors;
    let kept = keep_first(runs, LIMITS.named_errors, &mut errors);
    Some(kept.into_iter().map(|run| run.run).collect())
}

fn written(format: Format, runs: &[SubmittedRun]) -> Vec<u8> {
    let mut encoder = Encoder::new(format, Formulas::Kept).unwrap().unwrap();
    let mut bytes = encoder.write(runs).unwrap();
    bytes.extend(encoder.finish().unwrap());
    bytes
}

/// Checks that whatever was read is in its range, and comes back the same from every format in which it is written.
fn check(reading: &Reading, bytes: &[u8]) -> TestCaseResult {
    let Some(runs) = read(reading, bytes) else { return Ok(()) };
    for run in &runs {
        let of = &run.observation;
        prop_assert!((1.0..=1e18).contains(&of.nonzero_params.get()), "{run:?}");
        prop_assert!((0.0..1.0).contains(&of.sparsity.get()), "{run:?}");
        prop_assert!(of.data.get() > 0.0 && of.data.get().is_finite(), "{run:?}");
        prop_assert!(of.loss.get() > 0.0 && of.loss.get().is_finite(), "{run:?}");
        check_label(&run.external_id).unwrap();
        prop_assert!(run.tags.len() <= 50);
        for (key, value) in &run.tags {
            check_label(key).unwrap();
            check_label(value).unwrap();
        }
        if let Some(reason) = &run.exclusion_reason {
            check_reason(reason).unwrap();
        }
    }
    for &format in Format::WRITTEN.iter().filter(|format| **format != Format::Json) {
        let out = written(format, &runs);
        let back = self::reading(format, Coding::Identity, ColumnOptions::default());
        let back = read(&back, &out).unwrap_or_default();
        prop_assert_eq!(&back, &runs, "by {:?}", format);
    }
    Ok(())
}

const NDJSON: &str = r#"{"external_id": "a", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}
{"external_id": "b", "total_params": 2e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5, "start": "pretrained",
"#;
const ROWS: &str = r#"{"external_id": "a", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5, "tags": {"k": "v", "l": "\u00e9"}, "exclusion_reason": "a\tb"}
{"external_id": "b", "total_params": 20000000, "sparsity": 0.75, "data": 2e10, "loss": 2.25, "start": "pretrained", "pretraining_data": 1e9, "pattern": "1:4"}
"#;
const CSV: &str = "external_id,total_params,sparsity,data,loss,start,pretraining_data,pattern,tags,tags.c,exclusion_reason\n\
    a,1e7,0.5,2e10,2.5,,,,\"{\"\"k\"\": \"\"v\"\"}\",x,\"two\nlines\"\nb,1e7,0,2e10,2.5,pretrained,1e9,2:4,,,\n";

/// The rows as one array.
fn json() -> Vec<u8> {
    format!("[{}]", ROWS.trim().replace('\n', ",")).into_bytes()
}

fn of_rows() -> Vec<SubmittedRun> {
    read(&reading(Format::Ndjson, Coding::Identity, ColumnOptions::default()), ROWS.as_bytes())
        .unwrap()
}

fn mapped(source: Option<Tracker>, data: &str, loss: &str, size: &str) -> ColumnOptions {
    let map = [("data", data), ("loss", loss), ("total_params", size)];
    ColumnOptions {
        source,
        map: map.map(|(field, column)| (field.to_owned(), column.to_owned())).into(),
        scale: vec![("data".to_owned(), 65_536.0)],
        tag_columns: vec!["Sweep".to_owned()],
        sparsity_unit: SparsityUnit::Percent,
        ..ColumnOptions::default()
    }
}

#[test]
fn the_undamaged_uploads_are_read() {
    assert_eq!(of_rows().len(), 2);
    assert_eq!(
        read(&reading(Format::Json, Coding::Identity, ColumnOptions::default()), &json())
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        read(&reading(Format::Csv, Coding::Identity, ColumnOptions::default()), CSV.as_bytes())
            .unwrap()
            .len(),
        2
    );
    assert!(read(&wandb(), WANDB.as_bytes()).is_some_and(|runs| !runs.is_empty()));
    assert!(read(&mlflow(), MLFLOW.as_bytes()).is_some_and(|runs| !runs.is_empty()));
    // An upload that is cut within its second row.
    assert_eq!(
        read(
            &reading(Format::Ndjson, Coding::Identity, ColumnOptions::default()),
            NDJSON.as_bytes()
        )
        .unwrap()
        .len(),
        1
    );
}

const WANDB: &str = include_str!("../examples/wandb-export.csv");
const MLFLOW: &str = include_str!("../examples/mlflow-runs.json");

fn wandb() -> Reading {
    let columns =
        mapped(Some(Tracker::Wandb), "config.tokens", "summary.eval/loss", "config.params");
    reading(Format::Csv, Coding::Identity, columns)
}

fn mlflow() -> Reading {
    let mut columns =
        mapped(Some(Tracker::Mlflow), "params.steps", "metrics.val_loss", "params.total_params");
    columns.map.truncate(2);
    columns.sparsity_unit = SparsityUnit::Fraction;
    reading(Format::Json, Coding::Identity, columns)
}

/// Inputs that fuzzing has kept (`fuzz/`), each of which takes a different path through a reader.
#[test]
fn what_fuzzing_kept_is_read_or_refused() {
    for &format in Format::ALL {
        let name = match format {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            #[cfg(feature = "parquet")]
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            #[cfg(feature = "xlsx")]
            Format::Xlsx => "xlsx",
            #[cfg(feature = "archives")]
            Format::Zip => "archive",
        };
        let kept = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let kept: Vec<_> = std::fs::read_dir(kept).unwrap().collect();
        assert!(!kept.is_empty());
        for file in kept {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let plain = reading(format, Coding::Identity, ColumnOptions::default());
            for reading in [&plain, &Reading { format, ..wandb() }, &Reading { format, ..mlflow() }]
            {
                check(reading, &bytes).unwrap();
            }
        }
    }
}

fn damages() -> impl Strategy<Value = Vec<(Index, Damage)>> {
    prop::collection::vec(damage(), 1..6)
}

proptest! {
    #[test]
    fn ndjson_is_read_or_refused(damages in damages()) {
        let reading = reading(Format::Ndjson, Coding::Identity, ColumnOptions::default());
        check(&reading, &damaged(ROWS.into(), &damages))?;
    }

    #[test]
    fn json_is_read_or_refused(damages in damages()) {
        let reading = reading(Format::Json, Coding::Identity, ColumnOptions::default());
        check(&reading, &damaged(json(), &damages))?;
        check(&mlflow(), &damaged(MLFLOW.into(), &damages))?;
    }

    #[test]
    fn csv_is_read_or_refused(damages in damages()) {
        let reading = reading(Format::Csv, Coding::Identity, ColumnOptions::default());
        check(&reading, &damaged(CSV.into(), &damages))?;
        check(&wandb(), &damaged(WANDB.into(), &damages))?;
    }

    #[test]
    fn what_is_compressed_is_read_or_refused(damages in damages(), gzip in any::<bool>()) {
        use std::io::Write;
        let (coding, bytes) = if gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(ROWS.as_bytes()).unwrap();
            (Coding::Gzip, encoder.finish().unwrap())
        } else {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.write_all(ROWS.as_bytes()).unwrap();
            (Coding::Zstd, encoder.finish().unwrap())
        };
        let reading = reading(Format::Ndjson, coding, ColumnOptions::default());
        check(&reading, &damaged(bytes, &damages))?;
    }

    #[test]
    fn meanings_of_columns_are_taken_or_refused(
        map in prop::collection::vec(("(loss|data|sparsity|tags|external_id|.{0,8})", ".{0,8}"), 0..4),
        scale in prop::collection::vec(("(loss|data|sparsity|.{0,8})", any::<f64>()), 0..4),
        tag_columns in prop::collection::vec(".{0,8}", 0..4),
    ) {
        let options = ColumnOptions { map, scale, tag_columns, ..ColumnOptions::default() };
        if let Ok(columns) = options.check() {
            let reading = Reading {
                format: Format::Csv, coding: Coding::Identity, columns, limits: LIMITS, skip_errors: true,
                stop: Stop::default(),
            };
            check(&reading, CSV.as_bytes())?;
        }
    }
}

#[cfg(feature = "parquet")]
proptest! {
    #[test]
    fn parquet_is_read_or_refused(damages in damages()) {
        let reading = reading(Format::Parquet, Coding::Identity, ColumnOptions::default());
        check(&reading, &damaged(written(Format::Parquet, &of_rows()), &damages))?;
    }
}

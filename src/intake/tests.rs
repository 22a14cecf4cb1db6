//! Tests of every format and mapping, on inputs in memory.

use std::io::Write;

use crate::domain::checks::FieldError;
use crate::domain::run::SubmittedRun;
use crate::intake::*;
use std::collections::BTreeMap;

const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: 1 << 20,
    expansion: u64::MAX,
    rows: 1000,
    idle_rows: u64::MAX,
    row_bytes: 4096,
    named_errors: 100,
    block_bytes: 1 << 20,
    archive_files: 100,
};

fn reading(format: Format, options: ColumnOptions) -> Reading {
    let columns = options.check().unwrap();
    Reading {
        format,
        coding: Coding::Identity,
        columns,
        limits: LIMITS,
        skip_errors: true,
        stop: Stop::default(),
    }
}

fn read(reading: &Reading, input: &[u8]) -> Result<(Vec<SubmittedRun>, Vec<String>), IngestError> {
    let mut runs = Vec::new();
    let intake = reading.run(input, &mut |batch| {
        runs.extend(batch);
        true
    })?;
    let mut errors = intake.errors;
    let runs = keep_first(runs, 100, &mut errors).into_iter().map(|run| run.run).collect();
    Ok((runs, errors.named.iter().map(ToString::to_string).collect()))
}

fn plain(format: Format, input: &str) -> (Vec<SubmittedRun>, Vec<String>) {
    read(&reading(format, ColumnOptions::default()), input.as_bytes()).unwrap()
}

fn mapped(map: &[(&str, &str)]) -> ColumnOptions {
    let map = map.iter().map(|(field, column)| ((*field).to_owned(), (*column).to_owned()));
    ColumnOptions { map: map.collect(), ..ColumnOptions::default() }
}

fn from(source: Source, options: ColumnOptions) -> ColumnOptions {
    ColumnOptions { source: Some(source), ..options }
}

fn only(runs: &[SubmittedRun]) -> &SubmittedRun {
    let [run] = runs else { panic!("{runs:?}") };
    run
}

fn malformed(format: Format, input: &[u8]) -> String {
    match read(&reading(format, ColumnOptions::default()), input) {
        Err(IngestError::Malformed(detail)) => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_are_mapped_and_scaled() {
    let csv = ",sparsity,scale,val-loss,steps\n0,0.5,0.25,2.5,1000\n";
    let options = ColumnOptions {
        scale: vec![("data".into(), 65_536.0), ("total_params".into(), 8e6)],
        tag_columns: vec!["steps".into()],
        id: Some(IdOption::Columns(vec!["steps".into(), "scale".into()])),
        ..mapped(&[("loss", "val-loss"), ("data", "steps"), ("total_params", "scale")])
    };
    let (runs, errors) = read(&reading(Format::Csv, options), csv.as_bytes()).unwrap();
    assert_eq!(errors, [""; 0]);
    let run = only(&runs);
    assert_eq!(run.external_id, "1000:0.25");
    assert_eq!(run.observation.nonzero_params.get(), 1e6);
    assert_eq!(run.observation.data.get(), 65_536_000.0);
    assert_eq!(run.tags["steps"], "1000");
}

#[test]
fn every_wrong_row_is_named() {
    let ndjson = r#"
{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}
{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}

{"external_id": "b", "nonzero_params": 1e6, "sparsity": 50, "data": "x"}
{"external_id": "c", "external_id": "c", "nonzero_params": 1, "sparsity": 0, "data": 1, "loss": 1}
{"external_id": "d", "nonzero_params": 1e999}
nothing
[1]
"#;
    let (runs, errors) = plain(Format::Ndjson, ndjson);
    assert_eq!(runs.len(), 1);
    assert_eq!(
        errors,
        [
            "row 1: external_id is that of row 0 too",
            r#"row 2: data must be a number, not "x" (line 5)"#,
            "row 2: sparsity must be at least 0 and below 1, not 50 (line 5)",
            "row 2: loss must be given (line 5)",
            "row 3: external_id is given twice (line 6)",
            "row 4: is no JSON: number out of range (line 7)",
            "row 5: is no JSON: expected ident (line 8)",
            "row 6: must be a JSON object (line 9)",
        ]
    );
}

#[test]
fn a_percentage_is_one_only_where_that_is_said() {
    let csv = "external_id,nonzero_params,sparsity,data,loss\na,1e6,50,1e9,3\n";
    let (_, errors) = plain(Format::Csv, csv);
    assert_eq!(errors, ["row 0: sparsity must be at least 0 and below 1, not 50 (line 2)"]);
    let percent =
        ColumnOptions { sparsity_unit: SparsityUnit::Percent, ..ColumnOptions::default() };
    let (runs, _) = read(&reading(Format::Csv, percent), csv.as_bytes()).unwrap();
    assert_eq!(only(&runs).observation.sparsity.get(), 0.5);
}

#[test]
fn what_is_missing_is_looked_for_under_names_that_people_write() {
    let details =
        |csv: &str| match read(&reading(Format::Csv, ColumnOptions::default()), csv.as_bytes()) {
            Err(IngestError::Columns(errors)) => errors
                .into_iter()
                .map(|error| format!("{}: {}", error.pointer, error.detail))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
    let found = details("External ID,Nonzero-Params,sparsity,data,loss\na,1e6,0.5,1e9,3\n");
    let taken = |field: &str, column: &str| {
        format!("; there is {column}, which map={field}:`{column}` takes")
    };
    for (field, column) in [("external_id", "External ID"), ("nonzero_params", "Nonzero-Params")] {
        let missing = format!("/{field}: is missing");
        let error = found.iter().find(|error| error.starts_with(&missing)).unwrap();
        assert!(error.ends_with(&taken(field, column)), "{error}");
    }
    // The mapping that the error suggests works.
    let options =
        mapped(&[("external_id", "`External ID`"), ("nonzero_params", "`Nonzero-Params`")]);
    let csv = "External ID,Nonzero-Params,sparsity,data,loss\na,1e6,0.5,1e9,3\n";
    let (runs, errors) = read(&reading(Format::Csv, options), csv.as_bytes()).unwrap();
    assert_eq!((only(&runs).external_id.as_str(), errors), ("a", Vec::new()));
    // An index column as written by pandas, and a trailing comma on each line.
    for csv in [
        ",external_id,nonzero_params,sparsity,data,loss\n0,a,1e6,0.5,1e9,3\n",
        "external_id,nonzero_params,sparsity,data,loss,\na,1e6,0.5,1e9,3,\n",
    ] {
        let found = details(csv);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("/: is a column without a name"), "{found:?}");
    }
}

#[test]
fn a_negative_zero_is_zero_to_the_last_bit() {
    let csv = "external_id,nonzero_params,sparsity,data,loss\na,1e6,-0.0,1e9,3\n";
    let (runs, errors) = plain(Format::Csv, csv);
    assert_eq!(errors, [""; 0]);
    assert_eq!(only(&runs).observation.sparsity.get().to_bits(), 0);
}

#[test]
fn a_header_is_complete_and_known_unless_a_mapping_says_what_matters() {
    let header = |csv: &str, options| match read(&reading(Format::Csv, options), csv.as_bytes()) {
        Err(IngestError::Columns(errors)) => {
            errors.into_iter().map(|FieldError { pointer, .. }| pointer).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let none = ColumnOptions::default;
    assert_eq!(
        header("external_id,nonzero_params,sparsity,data,loss,loss,lr/max\n", none()),
        ["/loss", "/lr~1max"]
    );
    assert_eq!(
        header("", none()),
        ["/external_id", "/nonzero_params", "/sparsity", "/data", "/loss"]
    );
    let missing = "external_id,nonzero_params,sparsity,steps,lr\n";
    assert_eq!(header(missing, mapped(&[("data", "steps"), ("loss", "val-loss")])), ["/map"]);
}

#[test]
fn options_name_what_there_is() {
    let wrong = |options: ColumnOptions| options.check().unwrap_err().remove(0).detail;
    assert!(wrong(mapped(&[("steps", "x")])).starts_with("there is no field steps"));
    assert!(wrong(mapped(&[("loss", "x"), ("loss", "y")])).contains("given twice"));
    let scaled = |field: &str, factor| ColumnOptions {
        scale: vec![(field.into(), factor)],
        ..ColumnOptions::default()
    };
    assert!(wrong(scaled("pattern", 2.0)).starts_with("pattern is no number"));
    assert!(wrong(scaled("loss", -1.0)).contains("no positive number"));
    assert!(wrong(scaled("loss", f64::NAN)).contains("no positive number"));
}

/// A table downloaded from the web app, and the data frame that the documentation builds from `Api().runs()`.
#[test]
fn exports_of_weights_and_biases_are_read() {
    let options = || {
        from(
            Source::Wandb,
            ColumnOptions {
                sparsity_unit: SparsityUnit::Percent,
                tag_columns: vec!["State".into()],
                ..mapped(&[
                    ("data", "config.tokens"),
                    ("loss", "summary.eval/loss"),
                    ("total_params", "config.params"),
                ])
            },
        )
    };
    let csv = "Name,ID,State,Notes,Tags,Created,config.params,config.sparsity,config.tokens,summary.eval/loss\n\
               wise-sun-4,3f9a2c1b,finished,,\"baseline, long\",2025-01-02T03:04:05.000Z,2000000,50,30000000000,2.25\n";
    let frame = r#"[{"name": "wise-sun-4", "id": "3f9a2c1b", "State": "finished", "tags": ["baseline"],
        "config": {"params": 2000000, "sparsity": 50, "tokens": 30000000000, "optim": {"lr": 0.1}},
        "summary": {"eval/loss": 2.25, "_wandb": {"runtime": 7}, "loss_curve": [3, 2]}}]"#;
    let graphql = r#"{"data": {"project": {"runs": {"totalCount": 1, "edges": [{"node": {
        "id": "3f9a2c1b", "name": "3f9a2c1b", "displayName": "wise-sun-4", "State": "finished",
        "config": "{\"params\": {\"value\": 2000000}, \"sparsity\": {\"value\": 50, \"desc\": null}, \"tokens\": {\"value\": 30000000000}, \"wandb_version\": 1}",
        "summaryMetrics": "{\"eval/loss\": 2.25}"}, "cursor": "x"}], "pageInfo": {}}}}}"#;
    for (format, input) in [(Format::Csv, csv), (Format::Json, frame), (Format::Json, graphql)] {
        let (runs, errors) = read(&reading(format, options()), input.as_bytes()).unwrap();
        assert_eq!(errors, [""; 0]);
        let run = only(&runs);
        assert_eq!(run.external_id, "3f9a2c1b");
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
        assert_eq!(run.observation.data.get(), 3e10);
        assert_eq!(run.observation.loss.get(), 2.25);
        assert_eq!(run.tags.iter().collect::<Vec<_>>(), [(&"State".into(), &"finished".into())]);
    }
}

/// `mlflow.search_runs()` as CSV, and the answer of `runs/search`, in which parameters are texts.
#[test]
fn exports_of_mlflow_are_read() {
    let options = || {
        let tag_columns = vec!["tags.team".to_owned()];
        let mapped = mapped(&[("data", "params.tokens"), ("loss", "metrics.val_loss")]);
        from(Source::Mlflow, ColumnOptions { tag_columns, ..mapped })
    };
    let csv = "run_id,experiment_id,status,metrics.val_loss,metrics.step,params.nonzero_params,params.sparsity,params.tokens,tags.team,tags.mlflow.user\n\
               5d0e,1,FINISHED,2.25,9,1000000,0.5,30000000000,a,me\n";
    let rest = r#"{"runs": [{"info": {"run_id": "5d0e", "status": "FINISHED", "start_time": 1},
        "data": {"metrics": [{"key": "val_loss", "value": 2.25, "timestamp": 1, "step": 9}],
            "params": [{"key": "nonzero_params", "value": "1000000"}, {"key": "sparsity", "value": "0.5"},
                {"key": "tokens", "value": "30000000000"}],
            "tags": [{"key": "team", "value": "a"}, {"key": "mlflow.user", "value": "me"}]},
        "inputs": {}}], "next_page_token": "x"}"#;
    for (format, input) in [(Format::Csv, csv), (Format::Json, rest)] {
        let (runs, errors) = read(&reading(format, options()), input.as_bytes()).unwrap();
        assert_eq!(errors, [""; 0]);
        let run = only(&runs);
        assert_eq!(run.external_id, "5d0e");
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
        assert_eq!(run.observation.sparsity.get(), 0.5);
        assert_eq!((run.observation.data.get(), run.observation.loss.get()), (3e10, 2.25));
        assert_eq!(run.tags.iter().collect::<Vec<_>>(), [(&"team".into(), &"a".into())]);
    }
    let elsewhere = read(&reading(Format::Json, options()), br#"{"experiments": []}"#);
    assert!(matches!(elsewhere, Err(IngestError::Malformed(_))), "{elsewhere:?}");
}

#[test]
fn hostile_rows_are_refused_one_by_one() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let huge = "9".repeat(400);
    let row = |with: &str| {
        format!(
            r#"{{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0, "data": 1, "loss": 1{with}}}"#
        )
    };
    for with in [
        format!(r#", "tags": {{"a": {deep}}}"#),
        format!(r#", "pretraining_data": {huge}"#),
        r#", "loss": 2"#.to_owned(),
        r#", "tags": {"a": "1", "a": "2"}"#.to_owned(),
        r#", "tags": {"a": "nul \u0000"}"#.to_owned(),
        r#", "tags": {"a": 7}"#.to_owned(),
        r#", "tags": "a""#.to_owned(),
        r#", "pattern": "\ud800""#.to_owned(),
        r#", "steps": 7"#.to_owned(),
    ] {
        let json = format!("[{}, {}]", row(&with), row("").replace("\"a\"", "\"b\""));
        let (runs, errors) = plain(Format::Json, &json);
        assert_eq!(only(&runs).external_id, "b", "{with}");
        assert!(errors.iter().all(|error| error.starts_with("row 0: ")), "{errors:?}");
        assert!(!errors.is_empty(), "{with}");
    }
    let bytes =
        b"external_id,nonzero_params,sparsity,data,loss\n\xff,1e6,0,1,1\nb,1e6,0,1\nc,1e6,0,1,1\n";
    let (runs, errors) = read(&reading(Format::Csv, ColumnOptions::default()), bytes).unwrap();
    assert_eq!(only(&runs).external_id, "c");
    assert_eq!(
        errors,
        [
            "row 0: external_id is not UTF-8 (line 2)",
            "row 1: has 4 cells, and the header 5 (line 3)",
        ]
    );
}

#[test]
fn what_is_of_no_format_is_malformed() {
    for json in ["", "[", "[{}", "[{}] 7", "{\"a\": ", "nul", "[{},]"] {
        assert!(!malformed(Format::Json, json.as_bytes()).is_empty());
    }
    assert!(malformed(Format::Csv, b"\xff,b\n").contains("UTF-8"));
}

#[test]
fn rows_are_limited_in_length_and_number_in_every_format() {
    let too_large =
        |format, input: &[u8]| match read(&reading(format, ColumnOptions::default()), input) {
            Err(IngestError::TooLarge(limit)) => limit,
            other => panic!("{other:?}"),
        };
    let header = "external_id,nonzero_params,sparsity,data,loss\n";
    // Shorter and longer than the buffer that parsers read ahead into, and without an end.
    for length in [5_000, 500_000] {
        let long = "x".repeat(length);
        let quoted = format!("{header}a,1e6,0,1,1\n\"{long}\"");
        assert_eq!(too_large(Format::Csv, quoted.as_bytes()), Limit::RowBytes(1));
        let text = format!("{{}}\n{{\"a\": \"{long}");
        assert_eq!(too_large(Format::Ndjson, text.as_bytes()), Limit::RowBytes(1));
        let array = format!("[{{}}, {{\"a\": \"{long}\"}}");
        assert_eq!(too_large(Format::Json, array.as_bytes()), Limit::RowBytes(1));
    }
    let line = "a,1e6,0,1,1\n".repeat(1001);
    assert_eq!(too_large(Format::Csv, format!("{header}{line}").as_bytes()), Limit::Rows);
    // Reading stops after too many blank lines or wrong rows.
    let few = Reading {
        limits: IngestLimits { idle_rows: 3, ..LIMITS },
        ..reading(Format::Ndjson, ColumnOptions::default())
    };
    let (_, errors) = read(&few, "{}\n\n\n\n{}\n{}\n".as_bytes()).unwrap();
    assert!(errors.last().unwrap().starts_with("row 2"), "{errors:?}");
    for input in ["{}\n{}\n{}\n{}\n", "{}\n\n\n\n\n{}\n"] {
        let read = read(&few, input.as_bytes());
        assert!(matches!(read, Err(IngestError::TooLarge(Limit::IdleRows))), "{input:?} {read:?}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn pages_of_parquet_that_expand_beyond_the_limit_are_refused() {
    let (runs, _) =
        plain(Format::Csv, "external_id,nonzero_params,sparsity,data,loss\na,1e6,0,1,1\n");
    // Long texts that compress well.
    let runs: Vec<SubmittedRun> = (0..900)
        .map(|place| SubmittedRun {
            external_id: format!("{place}"),
            exclusion_reason: Some(format!("{place}{}", "x".repeat(500))),
            ..runs[0].clone()
        })
        .collect();
    let mut encoder =
        export::Encoder::new(Format::Parquet, export::Formulas::Kept).unwrap().unwrap();
    let mut file = encoder.write(&runs).unwrap();
    file.extend(encoder.finish().unwrap());
    assert!(file.len() < 40_000, "{}", file.len());
    let limited = |block_bytes| Reading {
        limits: IngestLimits { block_bytes, ..LIMITS },
        ..reading(Format::Parquet, ColumnOptions::default())
    };
    assert_eq!(read(&limited(2 << 20), &file).unwrap().0.len(), 900);
    let large = read(&limited(100_000), &file);
    assert!(matches!(large, Err(IngestError::TooLarge(Limit::BlockBytes))), "{large:?}");
}

#[test]
fn reading_ends_when_nobody_waits_for_it() {
    let reading = reading(Format::Ndjson, ColumnOptions::default());
    let stop = reading.stop.when_dropped();
    let mut left = Some(stop);
    // The caller leaves while the second piece is read.
    let input = std::io::Read::chain(&b"{}\n"[..], Calling(|| drop(left.take())));
    let read = reading.run(input, &mut |_| true);
    assert!(matches!(read, Err(IngestError::Unwanted)), "{read:?}");
}

/// An endless source of rows, which runs a callback on each read.
struct Calling<F>(F);

impl<F: FnMut()> std::io::Read for Calling<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.0)();
        let rows = b"{}\n".iter().cycle();
        buffer.iter_mut().zip(rows).for_each(|(to, from)| *to = *from);
        Ok(buffer.len() / 3 * 3)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_inputs_are_limited_by_what_they_hold() {
    let csv = b"external_id,nonzero_params,sparsity,data,loss\na,1e6,0,1,1\n";
    let coded = |coding| Reading { coding, ..reading(Format::Csv, ColumnOptions::default()) };
    let bomb = "a,1e6,0,1,1\n".repeat(1_000_000);
    for (coding, small, bomb) in [
        (Coding::Gzip, gzip(csv), gzip(bomb.as_bytes())),
        (
            Coding::Zstd,
            zstd::encode_all(&csv[..], 1).unwrap(),
            zstd::encode_all(bomb.as_bytes(), 1).unwrap(),
        ),
    ] {
        assert_eq!(only(&read(&coded(coding), &small).unwrap().0).external_id, "a");
        assert!(bomb.len() < 200_000);
        // Several members in a row are one input.
        let joined = [small.as_slice(), bomb.as_slice()].concat();
        let most = Reading { limits: IngestLimits { rows: u64::MAX, ..LIMITS }, ..coded(coding) };
        let expanded = read(&most, &joined);
        assert!(
            matches!(expanded, Err(IngestError::TooLarge(Limit::ExpandedBytes))),
            "{expanded:?}"
        );
        let plain = read(&coded(coding), csv);
        assert!(matches!(plain, Err(IngestError::Malformed(_))), "{plain:?}");
        for cut in [1, small.len() / 2, small.len() - 1] {
            let cut = read(&coded(coding), &small[..cut]);
            assert!(matches!(cut, Err(IngestError::Malformed(_))), "{cut:?}");
        }
    }
    let blank = vec![b'\n'; 64 << 20];
    for (coding, bomb) in
        [(Coding::Gzip, gzip(&blank)), (Coding::Zstd, zstd::encode_all(&blank[..], 1).unwrap())]
    {
        let lines = Reading { format: Format::Ndjson, ..coded(coding) };
        let expanded = read(&lines, &bomb);
        assert!(
            matches!(expanded, Err(IngestError::TooLarge(Limit::ExpandedBytes))),
            "{expanded:?}"
        );
    }
    // Expands more per byte than any table does, though to less than the total limit.
    let limits = IngestLimits { expanded_bytes: 1 << 40, expansion: 100, ..LIMITS };
    for (coding, bomb) in
        [(Coding::Gzip, gzip(&blank)), (Coding::Zstd, zstd::encode_all(&blank[..], 1).unwrap())]
    {
        let lines = Reading { format: Format::Ndjson, limits, ..coded(coding) };
        let expanded = read(&lines, &bomb);
        assert!(matches!(expanded, Err(IngestError::TooLarge(Limit::Expansion))), "{expanded:?}");
    }
    // A window of 128 MB, whose memory the sender would decide about.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(csv).unwrap();
    let wide = encoder.finish().unwrap();
    let wide = read(&coded(Coding::Zstd), &wide);
    assert!(matches!(wide, Err(IngestError::Malformed(_))), "{wide:?}");
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow_array::{
        ArrayRef, BinaryArray, DurationSecondArray, Float32Array, Int64Array, RecordBatch,
        StringArray,
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
}

/// Inputs that would make the service store wrong runs or lose rows without an error.
mod silent_faults {
    use super::*;

    const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss";

    fn options(texts: OptionTexts) -> Reading {
        let columns = texts.check().unwrap();
        Reading {
            format: Format::Csv,
            coding: Coding::Identity,
            columns,
            limits: LIMITS,
            skip_errors: true,
            stop: Stop::default(),
        }
    }

    fn csv(texts: OptionTexts, input: &str) -> (Vec<SubmittedRun>, Vec<String>) {
        read(&options(texts), input.as_bytes()).unwrap()
    }

    fn intake(texts: OptionTexts, input: &str) -> (Vec<SubmittedRun>, Intake) {
        let mut runs = Vec::new();
        let intake = options(texts).run(input.as_bytes(), &mut |batch| {
            runs.extend(batch.into_iter().map(|numbered| numbered.run));
            true
        });
        (runs, intake.unwrap())
    }

    fn map(items: &[&str]) -> OptionTexts {
        OptionTexts {
            map: items.iter().map(|&item| item.to_owned()).collect(),
            ..OptionTexts::default()
        }
    }

    #[test]
    fn a_quote_that_never_closes_loses_no_rows_in_silence() {
        let open =
            format!("{HEADER}\na,1e6,0,1e9,3\n\"b,1e6,0,1e9,3\nc,1e6,0,1e9,3\nd,1e6,0,1e9,3\n");
        let detail = malformed(Format::Csv, open.as_bytes());
        assert!(detail.contains("opened on line 3 is never closed"), "{detail}");
        let glued = format!("{HEADER}\n\"a\"b,1e6,0,1e9,3\n");
        assert!(malformed(Format::Csv, glued.as_bytes()).contains("line 2 has text behind"));
    }

    #[test]
    fn names_come_from_content_or_columns_and_never_from_place() {
        let content = || OptionTexts { id: Some("content".into()), ..OptionTexts::default() };
        let header = "nonzero_params,sparsity,data,loss\n";
        let (one, _) = csv(content(), &format!("{header}1e6,0,1e9,3\n"));
        let (two, _) = csv(content(), &format!("{header}2e6,0,1e9,4\n1e6,0,1e9,3\n"));
        assert_eq!(only(&one).external_id, two[1].external_id);
        assert_ne!(two[0].external_id, two[1].external_id);
        // Without names there are no runs, and the error says where names can come from.
        match read(&options(OptionTexts::default()), format!("{header}1e6,0,1e9,3\n").as_bytes()) {
            Err(IngestError::Columns(errors)) => {
                assert!(errors[0].detail.contains("id=content"), "{errors:?}");
            }
            other => panic!("{other:?}"),
        }
        let joined = OptionTexts { id: Some("run,seed".into()), ..map(&["sparsity:0"]) };
        let (runs, _) =
            csv(joined, "run,seed,nonzero_params,data,loss\nx,1,1e6,1e9,3\nx,2,1e6,1e9,3\n");
        assert_eq!(runs.iter().map(|run| &*run.external_id).collect::<Vec<_>>(), ["x:1", "x:2"]);
    }

    #[test]
    fn a_column_that_an_option_names_and_the_input_lacks_is_refused_with_the_nearest_names() {
        let input = format!("{HEADER},patern\na,1e6,0.5,1e9,3,2:4\n");
        for (texts, option) in [
            (map(&["pattern:pattern_name"]), "/map"),
            (
                OptionTexts { tag_columns: vec!["patern2".into()], ..OptionTexts::default() },
                "/tag_columns",
            ),
            (
                OptionTexts {
                    condition: Some("State == 'finished'".into()),
                    ..OptionTexts::default()
                },
                "/where",
            ),
            (OptionTexts { id: Some("run".into()), ..OptionTexts::default() }, "/id"),
            (OptionTexts { keep: Some("last:step".into()), ..OptionTexts::default() }, "/keep"),
        ] {
            match read(&options(texts), input.as_bytes()) {
                Err(IngestError::Columns(errors)) => {
                    let error = errors.iter().find(|error| error.pointer == option);
                    let error = error.unwrap_or_else(|| panic!("{option}: {errors:?}"));
                    assert!(error.detail.contains("there are "), "{error:?}");
                }
                other => panic!("{option}: {other:?}"),
            }
        }
        // JSON has no header, so a column that no object has is refused at the end.
        let mut reading = options(map(&["start:starting_point"]));
        reading.format = Format::Ndjson;
        let row = r#"{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}"#;
        assert!(matches!(read(&reading, row.as_bytes()), Err(IngestError::Columns(_))));
    }

    #[test]
    fn a_decimal_comma_is_one_where_cells_end_otherwise() {
        let input = "external_id;nonzero_params;sparsity;data;loss\na;1e6;0,5;1e9;2,934\n";
        let (runs, errors) = csv(OptionTexts::default(), input);
        assert_eq!(errors, [""; 0]);
        assert_eq!(only(&runs).observation.loss.get(), 2.934);
        assert_eq!(only(&runs).observation.sparsity.get(), 0.5);
        let (_, errors) =
            csv(OptionTexts::default(), &format!("{HEADER}\na,1e6,0,1e9,\"2,934\"\n"));
        assert!(errors[0].contains("decimal="), "{errors:?}");
    }

    #[test]
    fn a_percentage_is_divided_once_and_a_mixed_column_is_refused() {
        let texts = OptionTexts { sparsity_unit: Some("percent".into()), ..OptionTexts::default() };
        let (runs, errors) = csv(texts, &format!("{HEADER}\na,1e6,50%,1e9,3\n"));
        assert_eq!(errors, [""; 0]);
        assert_eq!(only(&runs).observation.sparsity.get(), 0.5);
        let (runs, errors) =
            csv(OptionTexts::default(), &format!("{HEADER}\na,1e6,50%,1e9,3\nb,1e6,0.5,1e9,3\n"));
        assert_eq!(runs.len(), 1);
        assert!(errors[0].starts_with("row 1: sparsity has no percent sign"), "{errors:?}");
    }

    #[test]
    fn whole_numbers_keep_their_digits_as_names_and_tags() {
        let reading = || {
            let mut reading = options(OptionTexts {
                id: Some("run".into()),
                tag_columns: vec!["job".into()],
                ..OptionTexts::default()
            });
            reading.format = Format::Ndjson;
            reading
        };
        let row = |run: &str| {
            format!(
                r#"{{"run": {run}, "job": {run}, "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": 3}}"#
            )
        };
        let input = format!("{}\n{}\n", row("9007199254740993"), row("9007199254740992"));
        let (runs, errors) = read(&reading(), input.as_bytes()).unwrap();
        assert_eq!(errors, [""; 0]);
        assert_eq!(runs[0].external_id, "9007199254740993");
        assert_eq!(runs[1].tags["job"], "9007199254740992");
        // JSON readers turn such a number into a double, which loses digits; it is refused rather than changed.
        let (_, errors) = read(&reading(), row("99999999999999999999999").as_bytes()).unwrap();
        assert!(errors[0].contains("digits"), "{errors:?}");
    }

    #[test]
    fn runs_that_did_not_finish_are_left_out_of_exports_and_counted() {
        let input = "ID,State,nonzero_params,sparsity,data,loss\n\
                     a,finished,1e6,0,1e9,3\nb,running,1e6,0,1e9,4\nc,failed,1e6,0,1e9,5\nd,running,1e6,0,1e9,6\n";
        let source = || OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() };
        let (runs, found) = intake(source(), input);
        assert_eq!(only(&runs).external_id, "a");
        assert_eq!(
            found.left_out,
            BTreeMap::from([("State is failed".into(), 1), ("State is running".into(), 2)])
        );
        // A condition from the caller takes precedence.
        let all = OptionTexts { condition: Some("State != 'failed'".into()), ..source() };
        let (runs, found) = intake(all, input);
        assert_eq!((runs.len(), found.left_out["where"]), (3, 1));
        // Without a known source the rows are kept, with a warning.
        let unknown = OptionTexts { id: Some("ID".into()), ..OptionTexts::default() };
        let (runs, found) = intake(unknown, input);
        assert_eq!(runs.len(), 4);
        assert_eq!(found.warnings[0].code, "unfinished_runs");
    }

    /// In these rows the training loss is in the other column.
    #[test]
    fn a_run_that_diverged_is_not_stored_with_its_training_loss() {
        let source =
            |name: &str| OptionTexts { source: Some(name.into()), ..OptionTexts::default() };
        for lost in ["NaN", "nan", "inf", ""] {
            let input = format!(
                "run_id,status,metrics.val_loss,metrics.loss,params.nonzero_params,params.sparsity,params.data\n\
                 a,FINISHED,3.1,2.9,1e6,0,1e9\nb,FINISHED,{lost},3.0,1e6,0,1e9\n"
            );
            let (runs, errors) = csv(source("mlflow"), &input);
            assert_eq!(only(&runs).observation.loss.get(), 3.1, "{lost}");
            assert!(errors[0].starts_with("row 1: loss"), "{lost}: {errors:?}");
            // Only the error for an empty cell names the column.
            assert_eq!(errors[0].contains("metrics.val_loss"), lost.is_empty(), "{errors:?}");
            assert_eq!(errors.len(), 1, "{errors:?}");
        }
        // If the better column is not there at all, the other one is used.
        let input = "run_id,status,metrics.loss,params.nonzero_params,params.sparsity,params.data\n\
                     a,FINISHED,2.9,1e6,0,1e9\n";
        let (runs, errors) = csv(source("mlflow"), input);
        assert_eq!((only(&runs).observation.loss.get(), errors.len()), (2.9, 0));
    }

    #[test]
    fn texts_that_mean_no_value_are_none() {
        for null in ["NA", "None", "null", "-", "N/A"] {
            let input = format!(
                "{HEADER},exclusion_reason,pattern\na,1e6,0.5,1e9,3,{null},{null}\nb,1e6,0,1e9,{null},,\n"
            );
            let (runs, errors) = csv(OptionTexts::default(), &input);
            let run = only(&runs);
            assert_eq!((&run.exclusion_reason, &run.pattern), (&None, &None), "{null}");
            assert_eq!(errors, ["row 1: loss must be given (line 3)"], "{null}");
        }
        let own = OptionTexts { null: Some("missing".into()), ..OptionTexts::default() };
        let (runs, _) = csv(
            own,
            &format!("{HEADER},exclusion_reason\na,1e6,0,1e9,3,NA\nb,1e6,0,1e9,3,missing\n"),
        );
        assert_eq!(runs[0].exclusion_reason.as_deref(), Some("NA"));
        assert_eq!(runs[1].exclusion_reason, None);
    }

    #[test]
    fn a_parameter_does_not_hide_a_metric() {
        let input = "run_id,params.loss,metrics.loss,params.nonzero_params,params.sparsity,params.data\n\
                     a,CrossEntropy,2.5,1e6,0,1e9\n";
        let (runs, found) =
            intake(OptionTexts { source: Some("mlflow".into()), ..OptionTexts::default() }, input);
        assert_eq!(only(&runs).observation.loss.get(), 2.5);
        assert!(found.recognised.fields.contains(&(Field::Loss, "metrics.loss".into())));
        // A validation loss is preferred to what may be the training loss, and the answer says which column was used.
        let input = "run_id,metrics.loss,metrics.val_loss,params.nonzero_params,params.sparsity,params.data\n\
                     a,2,2.5,1e6,0,1e9\n";
        let (runs, found) =
            intake(OptionTexts { source: Some("mlflow".into()), ..OptionTexts::default() }, input);
        assert_eq!(only(&runs).observation.loss.get(), 2.5);
        assert!(found.recognised.fields.contains(&(Field::Loss, "metrics.val_loss".into())));
    }

    #[test]
    fn bare_numbers_of_python_are_errors_of_their_row_or_nothing() {
        let mut reading = options(map(&["loss:loss"]));
        reading.format = Format::Ndjson;
        let row = |loss: &str, other: &str| {
            format!(
                r#"{{"external_id": "{loss}{other}", "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": {loss}, "grad": {other}}}"#
            )
        };
        let input = [row("3", "NaN"), row("NaN", "1"), row("4", "1")].join("\n");
        let (runs, errors) = read(&reading, input.as_bytes()).unwrap();
        assert_eq!(runs.len(), 2);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("row 1: loss"), "{errors:?}");
        reading.format = Format::Json;
        let (runs, errors) =
            read(&reading, format!("[{}]", input.replace('\n', ",")).as_bytes()).unwrap();
        assert_eq!((runs.len(), errors.len()), (2, 1));
    }

    #[test]
    fn a_pattern_that_counts_zeros_is_refused_and_a_time_of_day_explained() {
        let input = format!(
            "{HEADER},pattern\na,1e6,0.25,1e9,3,1:4\nb,1e6,0.75,1e9,3,1:4\nc,1e6,0.5,1e9,3,02:04:00 AM\n"
        );
        let (runs, errors) = csv(OptionTexts::default(), &input);
        assert_eq!(only(&runs).external_id, "b");
        assert!(errors[0].contains("it is 3:4 here"), "{errors:?}");
        assert!(errors[1].contains("spreadsheet"), "{errors:?}");
    }

    #[test]
    fn odd_tables_are_warned_of() {
        let input = format!("{HEADER},pattern\na,12,0.3,1e9,3,2:4\nb,1e6,0,1e9,3000,\n");
        let (_, found) = intake(OptionTexts::default(), &input);
        let codes: Vec<_> = found.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["loss_spread", "small_models", "sparsity_off_pattern"]);
    }
}

/// Options for all kinds of tables.
mod said {
    use super::*;
    use crate::domain::run::Start;

    fn read_csv(texts: OptionTexts, input: &str) -> (Vec<SubmittedRun>, Vec<String>) {
        let columns = texts.check().unwrap();
        let reading = Reading { columns, ..reading(Format::Csv, ColumnOptions::default()) };
        read(&reading, input.as_bytes()).unwrap()
    }

    fn map(items: &[&str]) -> OptionTexts {
        OptionTexts {
            map: items.iter().map(|&item| item.to_owned()).collect(),
            ..OptionTexts::default()
        }
    }

    #[test]
    fn constants_and_arithmetic_over_columns() {
        let texts = OptionTexts {
            id: Some("run".into()),
            ..map(&[
                "sparsity:1-dense/total",
                "data:steps*batch*1024",
                "loss:ln(`eval/ppl`)",
                "nonzero_params:dense",
                "start:'pretrained'",
            ])
        };
        let (runs, errors) =
            read_csv(texts, "run,dense,total,steps,batch,eval/ppl\nx,50M,100M,1000,512,20.0\n");
        assert_eq!(errors, [""; 0]);
        let run = only(&runs);
        assert_eq!(run.observation.nonzero_params.get(), 5e7);
        assert_eq!(run.observation.sparsity.get(), 0.5);
        assert_eq!(run.observation.data.get(), 524_288_000.0);
        assert_eq!(run.observation.loss.get(), 20_f64.ln());
        assert_eq!(run.start, Start::Pretrained);
    }

    #[test]
    fn the_name_of_a_column_comes_before_what_it_would_say_as_an_expression() {
        let texts = OptionTexts { id: Some("run".into()), ..map(&["loss:val-loss,sparsity:0"]) };
        let (runs, _) =
            read_csv(texts, "run,nonzero_params,data,val-loss,val,loss\nx,1e6,1e9,2.5,9,1\n");
        assert_eq!(only(&runs).observation.loss.get(), 2.5);
        let texts = OptionTexts { id: Some("run".into()), ..map(&["loss:val-loss,sparsity:0"]) };
        let (runs, _) = read_csv(texts, "run,nonzero_params,data,val,loss\nx,1e6,1e9,9,1\n");
        assert_eq!(only(&runs).observation.loss.get(), 8.0);
    }

    #[test]
    fn one_row_of_a_run_out_of_many() {
        let table = "run,step,nonzero_params,sparsity,data,loss\n\
                     x,1,1e6,0,1e9,\nx,2,1e6,0,2e9,3\nx,3,1e6,0,3e9,2.9\ny,5,1e6,0,1e9,4\ny,4,1e6,0,1e9,9\n";
        for (keep, losses) in [
            ("last:step", [2.9, 4.0]),
            ("max:step", [2.9, 4.0]),
            ("min:loss", [2.9, 4.0]),
            ("max:loss", [3.0, 9.0]),
        ] {
            let texts = OptionTexts {
                id: Some("run".into()),
                keep: Some(keep.into()),
                ..OptionTexts::default()
            };
            let (runs, errors) = read_csv(texts, table);
            assert_eq!(errors, [""; 0], "{keep}");
            let found: Vec<f64> = runs.iter().map(|run| run.observation.loss.get()).collect();
            assert_eq!(found, losses, "{keep}");
        }
        // Without `keep`, several rows of one run are an error.
        let (_, errors) =
            read_csv(OptionTexts { id: Some("run".into()), ..OptionTexts::default() }, table);
        assert!(errors.iter().any(|error| error.contains("is that of row")), "{errors:?}");
    }

    #[test]
    fn tabs_and_bars_separate_too() {
        for mark in ["\t", "|"] {
            let table =
                "external_id,nonzero_params,sparsity,data,loss\na,1e6,0,1e9,3\n".replace(',', mark);
            assert_eq!(read_csv(OptionTexts::default(), &table).0.len(), 1);
        }
    }

    #[test]
    fn crlf_and_blank_lines_do_not_shift_line_numbers() {
        let table = "external_id,nonzero_params,sparsity,data,loss\r\n\r\na,1e6,0,1e9,3\r\n\r\nb,1e6,0,1e9,x\r\n";
        let (runs, errors) = read_csv(OptionTexts::default(), table);
        assert_eq!(runs.len(), 1);
        assert_eq!(errors, ["row 1: loss must be a number, not \"x\" (line 5)"]);
    }
}

mod brought;
mod tables;

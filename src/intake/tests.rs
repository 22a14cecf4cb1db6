//! Tests of every format and mapping, on inputs in memory.

use std::io::Write;

use crate::domain::checks::FieldError;
use crate::domain::run::SubmittedRun;
use crate::intake::*;

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

fn from(source: Tracker, options: ColumnOptions) -> ColumnOptions {
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
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

mod brought;
mod limits;
mod mapping;
#[cfg(feature = "parquet")]
mod parquet;
mod silent_faults;
mod tables;
mod trackers;
mod which_loss;

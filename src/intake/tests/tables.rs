//! Tests of Arrow, workbooks, several inputs, all types of columns, and FLOPs.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, MapBuilder, StringBuilder};
use arrow_array::types::{Float16Type, Int8Type};
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field as ArrowField};

use super::*;

fn texts(values: [&str; 2]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Two runs, in columns of the types that other tools write.
fn batch() -> RecordBatch {
    let mut uuids = FixedSizeBinaryBuilder::new(16);
    uuids.append_value([0x41; 16]).unwrap();
    uuids.append_value([0xff; 16]).unwrap();
    let half: PrimitiveArray<Float16Type> =
        [0.5_f32, 0.75].into_iter().map(|value| Some(half(value))).collect();
    let sizes = Decimal128Array::from(vec![1_000_000_000, 2_000_000_000]);
    let sizes = sizes.with_precision_and_scale(20, 3).unwrap();
    let started = TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("+02:00");
    let days = Date32Array::from(vec![0, 365]);
    let pattern: DictionaryArray<Int8Type> = [Some("2:4"), None].into_iter().collect();
    let config = StructArray::from(vec![
        (
            Arc::new(ArrowField::new("tokens", DataType::Int64, false)),
            Arc::new(Int64Array::from(vec![1_000_000_000, 2_000_000_000])) as ArrayRef,
        ),
        (
            Arc::new(ArrowField::new("notes", DataType::Binary, false)),
            Arc::new(BinaryArray::from(vec![&b"a"[..], b"b"])) as ArrayRef,
        ),
    ]);
    let mut metrics = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    metrics.keys().append_value("loss");
    metrics.values().append_value("2.5");
    metrics.append(true).unwrap();
    metrics.keys().append_value("loss");
    metrics.values().append_value("2.25");
    metrics.keys().append_value("best");
    metrics.values().append_value("2");
    metrics.append(true).unwrap();
    RecordBatch::try_from_iter(vec![
        ("run", texts(["a", "b"])),
        ("uuid", Arc::new(uuids.finish()) as ArrayRef),
        ("sparsity", Arc::new(half)),
        ("size", Arc::new(sizes)),
        ("config", Arc::new(config)),
        ("metrics", Arc::new(metrics.finish())),
        ("started", Arc::new(started)),
        ("day", Arc::new(days)),
        ("pattern", Arc::new(pattern)),
        ("sweep", Arc::new(BinaryArray::from(vec![&b"s1"[..], "s\u{e9}".as_bytes()]))),
    ])
    .unwrap()
}

/// A 16-bit float, made through Arrow since the crate of its type is not a direct dependency.
fn half(value: f32) -> <Float16Type as arrow_array::ArrowPrimitiveType>::Native {
    <Float16Type as arrow_array::ArrowPrimitiveType>::Native::from_f32(value)
}

fn said() -> OptionTexts {
    OptionTexts {
        map: ["external_id:run", "nonzero_params:size", "data:config.tokens", "loss:metrics.loss"]
            .map(str::to_owned)
            .to_vec(),
        tag_columns: vec!["started,day,sweep,config.notes".to_owned()],
        condition: Some("day < '2000-01-01'".to_owned()),
        ..OptionTexts::default()
    }
}

fn read_table(
    format: Format,
    texts: OptionTexts,
    bytes: &[u8],
) -> Result<(Vec<SubmittedRun>, Vec<String>), IngestError> {
    let columns = texts.check().unwrap();
    read(&Reading { columns, ..reading(format, ColumnOptions::default()) }, bytes)
}

fn check_both(runs: &[SubmittedRun]) {
    let [a, b] = runs else { panic!("{runs:?}") };
    assert_eq!((&*a.external_id, &*b.external_id), ("a", "b"));
    assert_eq!((a.observation.sparsity.get(), b.observation.sparsity.get()), (0.5, 0.75));
    assert_eq!((a.observation.nonzero_params.get(), a.observation.data.get()), (1e6, 1e9));
    assert_eq!((a.observation.loss.get(), b.observation.loss.get()), (2.5, 2.25));
    assert_eq!(a.pattern.as_ref().unwrap().as_str(), "2:4");
    assert_eq!(b.pattern, None);
    let tags = |run: &SubmittedRun| run.tags.values().cloned().collect::<Vec<_>>();
    assert_eq!(a.tags.keys().collect::<Vec<_>>(), ["config.notes", "day", "started", "sweep"]);
    assert_eq!(tags(a), ["a", "1970-01-01", "1970-01-01T00:00:00Z", "s1"]);
    assert_eq!(tags(b), ["b", "1971-01-01", "1970-01-01T00:00:01.500Z", "s\u{e9}"]);
}

fn streamed(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn filed(batch: &RecordBatch, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer =
        FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.write(&batch.slice(0, 0)).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn columns_of_every_kind_come_out_of_arrow() {
    let batch = batch();
    let kinds = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)];
    let files = kinds.map(|compression| filed(&batch, compression));
    for bytes in [streamed(&batch)].iter().chain(&files) {
        let (runs, errors) = read_table(Format::Arrow, said(), bytes).unwrap();
        assert_eq!(errors, [""; 0]);
        check_both(&runs);
    }
}

#[cfg(feature = "parquet")]
#[test]
fn columns_of_every_kind_come_out_of_parquet() {
    use ::parquet::arrow::ArrowWriter;

    let batch = batch();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let (runs, errors) = read_table(Format::Parquet, said(), &bytes).unwrap();
    assert_eq!(errors, [""; 0]);
    check_both(&runs);
}

#[test]
fn uuids_are_names_where_a_column_says_that_it_holds_them() {
    let batch = batch();
    let mut schema = batch.schema().as_ref().clone();
    let name = || OptionTexts {
        map: vec![
            "external_id:uuid".into(),
            "nonzero_params:size".into(),
            "data:config.tokens".into(),
            "loss:metrics.loss".into(),
        ],
        ..OptionTexts::default()
    };
    // Bytes that are not valid UTF-8.
    let (_, errors) = read_table(Format::Arrow, name(), &streamed(&batch)).unwrap();
    assert_eq!(
        errors,
        [
            "row 1: uuid must be a text, and its bytes are no UTF-8",
            "row 1: external_id must be given"
        ]
    );
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            let field = field.as_ref().clone();
            let extension = [("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())];
            if field.name() == "uuid" { field.with_metadata(extension) } else { field }
        })
        .collect();
    schema.fields = fields.into();
    let batch = batch.with_schema(Arc::new(schema)).unwrap();
    let (runs, _) = read_table(Format::Arrow, name(), &streamed(&batch)).unwrap();
    assert_eq!(runs[0].external_id, "41414141-4141-4141-4141-414141414141");
}

#[test]
fn dates_are_no_names_and_no_patterns() {
    let with = |name: &str, column: &str| {
        let mut texts = said();
        texts.map.retain(|text| !text.starts_with(name));
        texts.map.push(format!("{name}:{column}"));
        read_table(Format::Arrow, texts, &streamed(&batch())).unwrap().1
    };
    let errors = with("external_id", "day");
    assert!(
        errors[0].contains("external_id must be a text, not the date or time 1970-01-01"),
        "{errors:?}"
    );
    assert!(errors[0].contains("take 2:4 for a time"), "{errors:?}");
    assert!(with("pattern", "started")[0].contains("pattern must be a text, not the date"));
    assert!(with("loss", "day")[0].contains("loss must be a number, not the date"));
    let mut texts = said();
    texts.map.retain(|text| !text.starts_with("external_id"));
    texts.id = Some("day,run".into());
    let (_, errors) = read_table(Format::Arrow, texts, &streamed(&batch())).unwrap();
    assert!(errors[0].contains("external_id must be made of texts"), "{errors:?}");
}

#[test]
fn a_damaged_arrow_input_is_malformed_and_none_is_larger_than_it_may_be() {
    let batch = batch();
    let whole = streamed(&batch);
    for length in 0..whole.len() - 8 {
        let cut = read_table(Format::Arrow, said(), &whole[..length]);
        let known = matches!(&cut, Err(IngestError::Malformed(_)))
            // A stream may end between the schema and the first batch.
            || matches!(&cut, Ok((runs, _)) if runs.is_empty());
        assert!(known, "{length}: {cut:?}");
    }
    for bytes in [whole, filed(&batch, Some(CompressionType::ZSTD))] {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            // Some bits hold values or are unused, so the result may be anything but a panic.
            let _ = read_table(Format::Arrow, said(), &damaged);
        }
    }
    let zeros = RecordBatch::try_from_iter(vec![(
        "external_id",
        Arc::new(StringArray::from(vec!["0".repeat(4_000_000)])) as ArrayRef,
    )])
    .unwrap();
    for bytes in [streamed(&zeros), filed(&zeros, Some(CompressionType::ZSTD))] {
        let columns = OptionTexts {
            id: Some("content".into()),
            map: ["nonzero_params:1e6", "data:1e9", "loss:2", "sparsity:0"]
                .map(str::to_owned)
                .to_vec(),
            ..OptionTexts::default()
        };
        let mut reading = Reading {
            columns: columns.check().unwrap(),
            ..reading(Format::Arrow, ColumnOptions::default())
        };
        reading.limits.expanded_bytes = u64::MAX;
        let large = read(&reading, &bytes);
        assert!(matches!(large, Err(IngestError::TooLarge(Limit::BlockBytes))), "{large:?}");
    }
}

fn part(name: &str, format: Format, bytes: &[u8]) -> Result<Part, IngestError> {
    let source = Box::new(Cursor::new(bytes.to_vec()));
    Ok(Part { name: name.to_owned(), format, coding: Coding::Identity, files: None, source })
}

const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss";

#[test]
fn several_inputs_are_one_table_whose_errors_name_the_input() {
    let csv = format!("{HEADER}\na,1e6,0.5,1e9,3\nb,1e6,50,1e9,3\n");
    let json = r#"[{"external_id": "c", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3},
        {"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}]"#;
    let reading = reading(Format::Csv, ColumnOptions::default());
    let mut runs = Vec::new();
    let parts =
        [part("x.csv", Format::Csv, csv.as_bytes()), part("y.json", Format::Json, json.as_bytes())];
    let intake = reading
        .run_parts(parts, &mut |batch| {
            runs.extend(batch);
            true
        })
        .unwrap();
    let mut errors = intake.errors;
    let runs = keep_first(runs, 100, &mut errors);
    assert_eq!(runs.iter().map(|run| &*run.run.external_id).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(errors.place(1), Some(("x.csv", 1)));
    assert_eq!(errors.place(3), Some(("y.json", 1)));
    let details: Vec<_> = errors.named.iter().map(|error| &*error.error.detail).collect();
    assert_eq!(details[1], "is that of row 0 of x.csv too");
    let parts = [part("x.csv", Format::Csv, csv.as_bytes()), part("z", Format::Json, b"{")];
    let error = reading.run_parts(parts, &mut |_| true).unwrap_err();
    assert!(error.to_string().starts_with("z: "), "{error}");
}

fn warned(csv: &str, texts: OptionTexts) -> Vec<(&'static str, String)> {
    let columns = texts.check().unwrap();
    let reading = Reading { columns, ..reading(Format::Csv, ColumnOptions::default()) };
    let intake = reading.run(csv.as_bytes(), &mut |_| true).unwrap();
    assert_eq!(intake.errors.named, []);
    intake.warnings.into_iter().map(|warning| (warning.code, warning.detail)).collect()
}

#[test]
fn flops_are_held_against_size_and_data_and_nothing_is_made_of_them() {
    let table = |column: &str, flops: [&str; 2]| {
        format!("{HEADER},{column}\na,1e6,0,1e9,3,{}\nb,2e6,0.5,1e9,3,{}\n", flops[0], flops[1])
    };
    let plain = OptionTexts::default;
    assert_eq!(warned(&table("flops", ["6e15", "1.2e16"]), plain()), []);
    // Whether zeros are counted or not, the FLOPs are plausible.
    assert_eq!(warned(&table("flops", ["6.5e15", "2.4e16"]), plain()), []);
    let found = warned(&table("flops", ["3e15", "6e15"]), plain());
    assert_eq!(found[0].0, "flops_off");
    assert!(
        found[0].1.starts_with("FLOPs of 2 of 2 runs are not 6 N D: 0.500 to 0.500"),
        "{found:?}"
    );
    // Trackers write 0 if they were not asked to count FLOPs.
    assert_eq!(warned(&table("flops", ["", "0"]), plain()), []);
    let wandb = || OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() };
    let found = warned(&table("config.total_flos", ["3e15", "n/k"]), wandb());
    assert!(found[0].1.starts_with("FLOPs of 1 of 1 runs"), "{found:?}");
    let mapped = OptionTexts {
        map: vec!["flops:gflops*1e9".to_owned()],
        scale: vec!["flops:2".to_owned()],
        ..OptionTexts::default()
    };
    assert_eq!(warned(&table("gflops", ["3e6", "6e6"]), mapped), []);
}

#[test]
fn a_table_that_is_another_format_says_so() {
    for (format, bytes, detail) in [
        (Format::Csv, gzip(b"a,b\n"), "compressed by gzip"),
        (Format::Json, streamed(&batch()), "an Arrow stream"),
        (
            Format::Arrow,
            b"{}".to_vec(),
            "the body is no Arrow: by its first bytes it is a JSON object",
        ),
    ] {
        let found = malformed(format, &bytes);
        assert!(found.contains(detail), "{found}");
    }
}

#[test]
fn texts_of_frames_without_a_value_are_none_and_losses_without_one_are_errors() {
    let csv = format!(
        "{HEADER},exclusion_reason,pattern,start\na,1e6,0,1e9,3,nan,NaN,nan\nb,1e6,0,1e9,NaN,,,\n"
    );
    let (runs, errors) = read_table(Format::Csv, OptionTexts::default(), csv.as_bytes()).unwrap();
    assert_eq!((&only(&runs).exclusion_reason, &only(&runs).pattern), (&None, &None));
    assert_eq!(errors, ["row 1: loss must be between 1e-12 and 1e12, not NaN (line 3)"]);
    // Texts given by the caller replace the default ones completely.
    let texts = OptionTexts { null: Some("none".into()), ..OptionTexts::default() };
    let csv = format!("{HEADER},exclusion_reason\na,1e6,0,1e9,3,nan\n");
    let (runs, _) = read_table(Format::Csv, texts, csv.as_bytes()).unwrap();
    assert_eq!(only(&runs).exclusion_reason.as_deref(), Some("nan"));
}

#[test]
fn a_field_that_is_not_taken_from_its_column_is_named() {
    let wandb = || OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() };
    let csv = format!("{HEADER},tags\na,1e6,0,1e9,3,\"['x']\"\nb,1e6,0,1e9,3,\n");
    let found = warned(&csv, wandb());
    assert_eq!(found[0].0, "fields_not_taken");
    assert!(
        found[0].1.starts_with("the column tags is a field here, has values in 1 rows"),
        "{found:?}"
    );
    let named = "Name,nonzero_params,sparsity,data,loss\na,1e6,0,1e9,3\n";
    assert_eq!(warned(named, wandb())[0].0, "display_names");
    assert_eq!(warned(&named.replace("Name", "ID"), wandb()), []);
}

#[test]
fn nodes_of_graphql_are_named_by_their_run_wherever_they_stand() {
    let json = r#"[{"id": "UnVuOnYxOmFiYzEyMzpwcm9qOmVudA==", "name": "abc123", "displayName": "wide",
        "nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9, "loss": 3}]"#;
    let wandb = OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() };
    let (runs, _) = read_table(Format::Json, wandb, json.as_bytes()).unwrap();
    assert_eq!(only(&runs).external_id, "abc123");
}

#[test]
fn data_counted_in_something_else_than_the_familys_unit_is_asked_about() {
    let checked = |map: &str, scale: &[&str], unit: &str| {
        let texts = OptionTexts {
            map: vec![map.to_owned()],
            scale: scale.iter().map(|&text| text.to_owned()).collect(),
            ..OptionTexts::default()
        };
        texts.check().unwrap().check_unit(unit)
    };
    for column in [
        "data:steps",
        "data:global_step",
        "data:params.steps",
        "data:`train/epoch`",
        "data:Samples",
    ] {
        let errors = checked(column, &[], "tokens").unwrap_err();
        assert!(errors[0].detail.contains("scale=data:NUMBER"), "{errors:?}");
        checked(column, &["data:65536"], "tokens").unwrap();
        checked(column, &["data:1"], "tokens").unwrap();
    }
    checked("data:steps", &[], "steps").unwrap();
    checked("data:step", &[], "Steps").unwrap();
    for (column, unit) in [
        ("data:tokens", "steps"),
        ("data:num_input_tokens_seen", "images"),
        ("data:trainTokens", "samples"),
        ("data:n_images", "tokens"),
        ("data:samples_seen", "tokens"),
        ("data:`Consumed Samples`", "tokens"),
        ("data:tokens_per_step", "tokens"),
        ("data:train/steps", "tokens"),
        ("data:batches", "tokens"),
        ("unique_data:n_images", "tokens"),
        ("pretraining_data:steps", "tokens"),
    ] {
        let errors = checked(column, &[], unit).unwrap_err();
        let detail = &errors[0].detail;
        assert!(detail.contains(&format!("the family counts {unit}")), "{column}: {detail}");
        let (field, _) = column.split_once(':').unwrap();
        checked(column, &[&format!("{field}:1")], unit).unwrap();
    }
    for (column, unit) in [
        ("data:tokens", "tokens"),
        ("data:tokens", "training tokens"),
        ("data:Token", "BPE tokens"),
        ("data:samples_seen", "samples"),
        ("data:step_tokens", "tokens"),
        ("data:train/tokens", "tokens"),
        ("data:data", "images"),
        ("data:D", "tokens"),
        ("data:steps*batch", "samples"),
        ("data:tokens/2", "tokens"),
    ] {
        checked(column, &[], unit).unwrap();
    }
    // An expression already states the unit.
    checked("data:steps*524288", &[], "tokens").unwrap();
}

#[cfg(feature = "archives")]
mod archives;
#[cfg(feature = "xlsx")]
mod workbooks;

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
    checked("data:tokens", &[], "tokens").unwrap();
    // An expression already states the unit.
    checked("data:steps*524288", &[], "tokens").unwrap();
}

#[cfg(feature = "archives")]
mod archives {
    use super::*;

    /// The table of the test below as compressed by `xz`.
    const XZ: &[u8] = &[
        253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229,
        163, 1, 0, 61, 101, 120, 116, 101, 114, 110, 97, 108, 95, 105, 100, 44, 110, 111, 110, 122,
        101, 114, 111, 95, 112, 97, 114, 97, 109, 115, 44, 115, 112, 97, 114, 115, 105, 116, 121,
        44, 100, 97, 116, 97, 44, 108, 111, 115, 115, 10, 97, 44, 49, 101, 54, 44, 48, 46, 53, 44,
        49, 101, 57, 44, 51, 10, 0, 0, 0, 206, 131, 69, 52, 49, 37, 58, 114, 0, 1, 86, 62, 82, 82,
        6, 13, 31, 182, 243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
    ];

    #[test]
    fn tables_compressed_by_xz_and_bzip2_are_read() {
        let csv = format!("{HEADER}\na,1e6,0.5,1e9,3\n");
        let mut bzip2 = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
        bzip2.write_all(csv.as_bytes()).unwrap();
        let bzip2 = bzip2.finish().unwrap();
        for (coding, bytes) in [(Coding::Xz, XZ.to_vec()), (Coding::Bzip2, bzip2)] {
            let reading = Reading { coding, ..reading(Format::Csv, ColumnOptions::default()) };
            let (runs, errors) = read(&reading, &bytes).unwrap();
            assert_eq!((only(&runs).external_id.as_str(), errors), ("a", Vec::new()));
            for cut in [6, bytes.len() / 2, bytes.len() - 4] {
                let cut = read(&reading, &bytes[..cut]);
                assert!(matches!(cut, Err(IngestError::Malformed(_))), "{coding:?} {cut:?}");
            }
        }
        let mut bomb = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
        bomb.write_all(&vec![b'\n'; 16 << 20]).unwrap();
        let reading =
            Reading { coding: Coding::Bzip2, ..reading(Format::Ndjson, ColumnOptions::default()) };
        let bomb = read(&reading, &bomb.finish().unwrap());
        assert!(matches!(bomb, Err(IngestError::TooLarge(Limit::ExpandedBytes))), "{bomb:?}");
    }

    /// A zip archive of these files.
    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, ::zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn zipped() -> Reading {
        reading(Format::Zip, ColumnOptions::default())
    }

    #[test]
    fn files_of_an_archive_are_one_table() {
        let csv = format!("{HEADER}\na,1e6,0.5,1e9,3\nb,1e6,0.25,1e9,3\n");
        let ndjson = br#"{"external_id": "c", "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": "x"}"#;
        let bytes = zip(&[
            ("sweep/two.ndjson", ndjson),
            ("sweep/one.csv", csv.as_bytes()),
            ("sweep/README.md", b"nothing"),
            ("__MACOSX/sweep/one.csv", b"nothing"),
            ("sweep/.hidden.csv", b"nothing"),
        ]);
        let mut runs = Vec::new();
        let intake = zipped()
            .run(&bytes[..], &mut |batch| {
                runs.extend(batch);
                true
            })
            .unwrap();
        let names: Vec<_> = runs.iter().map(|run| run.run.external_id.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let placed = intake.errors.placed();
        assert_eq!((placed.len(), placed[0].row), (1, 2));
        assert!(
            placed[0].error.detail.ends_with("(line 1) (row 0 of sweep/two.ndjson)"),
            "{placed:?}"
        );
        let codes: Vec<_> = intake.warnings.iter().map(|w| (w.code, &w.detail)).collect();
        assert_eq!(codes.len(), 1, "{codes:?}");
        assert!(
            codes[0].0 == "files_not_read" && codes[0].1.ends_with(": sweep/README.md"),
            "{codes:?}"
        );
    }

    #[test]
    fn an_archive_that_cannot_be_read_says_which_file_and_why() {
        let csv = format!("{HEADER}\na,1e6,0.5,1e9,3\n");
        let inner = zip(&[("a.csv", csv.as_bytes())]);
        for (files, said) in [
            (vec![("a.txt", csv.as_bytes())], "has no files of runs"),
            (vec![("[Content_Types].xml", &b""[..])], "those of a workbook"),
            (vec![("x.zip", &inner[..])], "x.zip: it is an archive in an archive"),
            (
                vec![("a.csv", csv.as_bytes()), ("b.ods", b"")],
                "b.ods: it is a workbook of another kind",
            ),
            (vec![("a.csv", csv.as_bytes()), ("b.csv", b"run,x\n1,2\n")], "b.csv: "),
        ] {
            let error = read(&zipped(), &zip(&files)).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        for cut in [0, 5, inner.len() / 2, inner.len() - 4] {
            let cut = read(&zipped(), &inner[..cut]);
            assert!(matches!(cut, Err(IngestError::Malformed(_))), "{cut:?}");
        }
    }

    #[test]
    fn an_archive_is_bounded_as_a_whole() {
        let rows = format!("{HEADER}\n{}", "a,b,c,d,e\n".repeat(60_000));
        let files = ["a.csv", "b.csv", "c.csv"].map(|name| (name, rows.as_bytes()));
        let bytes = zip(&files);
        let mut reading = zipped();
        reading.limits.rows = u64::MAX;
        let too_large = |error: &IngestError, limit: Limit| match error {
            IngestError::In { error, .. } => {
                matches!(**error, IngestError::TooLarge(found) if found == limit)
            }
            IngestError::TooLarge(found) => *found == limit,
            _ => false,
        };
        // Enough for two of the files, but not for three.
        reading.limits.expanded_bytes = 1_300_000;
        let error = read(&reading, &bytes).unwrap_err();
        assert!(too_large(&error, Limit::ExpandedBytes), "{error:?}");
        reading.limits.expanded_bytes = u64::MAX;
        reading.limits.expansion = 2;
        let error = read(&reading, &bytes).unwrap_err();
        assert!(too_large(&error, Limit::Expansion), "{error:?}");
        reading.limits.archive_files = 2;
        let error = read(&reading, &bytes).unwrap_err();
        assert!(too_large(&error, Limit::ArchiveFiles), "{error:?}");
    }
}

#[cfg(feature = "xlsx")]
mod workbooks {
    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;

    use super::*;

    /// A workbook whose sheets have these rows, given as XML.
    fn workbook(sheets: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |name: &str, text: &str| {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        };
        let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        let relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        let package = "http://schemas.openxmlformats.org/package/2006";
        let numbered = || sheets.iter().enumerate();
        let list: String = numbered()
            .map(|(at, (name, _))| {
                format!("<sheet name=\"{name}\" sheetId=\"{0}\" r:id=\"s{0}\"/>", at + 1)
            })
            .collect();
        add(
            "xl/workbook.xml",
            &format!(
                "<workbook xmlns=\"{main}\" xmlns:r=\"{relations}\"><sheets>{list}</sheets></workbook>"
            ),
        );
        let targets: String = numbered()
            .map(|(at, _)| format!("<Relationship Id=\"s{0}\" Type=\"{relations}/worksheet\" Target=\"worksheets/sheet{0}.xml\"/>", at + 1))
            .collect();
        add(
            "xl/_rels/workbook.xml.rels",
            &format!(
                "<Relationships xmlns=\"{package}/relationships\"><Relationship Id=\"st\" Type=\"{relations}/styles\" Target=\"styles.xml\"/>{targets}</Relationships>"
            ),
        );
        // The second style is a time of day (format 20), the third a date (format 14).
        add(
            "xl/styles.xml",
            &format!(
                "<styleSheet xmlns=\"{main}\"><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"20\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"
            ),
        );
        add(
            "_rels/.rels",
            &format!(
                "<Relationships xmlns=\"{package}/relationships\"><Relationship Id=\"w\" Type=\"{relations}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        );
        add("[Content_Types].xml", &format!("<Types xmlns=\"{package}/content-types\"/>"));
        for (at, (_, rows)) in numbered() {
            add(
                &format!("xl/worksheets/sheet{}.xml", at + 1),
                &format!("<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>"),
            );
        }
        zip.finish().unwrap().into_inner()
    }

    fn text(place: &str, text: &str) -> String {
        format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
    }

    fn number(place: &str, number: &str) -> String {
        format!("<c r=\"{place}\"><v>{number}</v></c>")
    }

    fn row(line: usize, cells: &[String]) -> String {
        format!("<row r=\"{line}\">{}</row>", cells.concat())
    }

    fn header(line: usize, names: &str) -> String {
        let cells = names.split(',').zip("ABCDEFGHI".chars());
        let cells = cells.map(|(name, column)| text(&format!("{column}{line}"), name));
        row(line, &cells.collect::<Vec<_>>())
    }

    fn run(line: usize, pattern: &str) -> String {
        let cells = ["1000000", "0.5", "1000000000", "2.5"];
        let cells = cells.iter().zip("BCDE".chars());
        let cells = cells.map(|(value, column)| number(&format!("{column}{line}"), value));
        let first = text(&format!("A{line}"), &format!("r{line}"));
        row(line, &[vec![first], cells.collect(), vec![pattern.to_owned()]].concat())
    }

    fn of_workbook(
        bytes: &[u8],
        texts: OptionTexts,
    ) -> Result<(Vec<SubmittedRun>, Vec<String>), IngestError> {
        read_table(Format::Xlsx, texts, bytes)
    }

    const NAMES: &str = "external_id,nonzero_params,sparsity,data,loss,pattern";

    #[test]
    fn rows_of_a_sheet_are_runs_and_times_are_no_patterns() {
        let rows = [
            header(2, NAMES),
            run(3, &text("F3", "2:4")),
            // What a spreadsheet makes of `2:4` and `3-7-11`.
            run(5, "<c r=\"F5\" s=\"1\"><v>0.086111111111111</v></c>"),
            run(6, "<c r=\"F6\" s=\"2\"><v>37800</v></c>"),
            run(7, "<c r=\"F7\"><f>A1</f></c>"),
            run(8, ""),
            run(9, &text("H9", "a note")),
        ];
        let bytes = workbook(&[("Empty", ""), ("Runs", &rows.concat())]);
        let (runs, errors) = of_workbook(&bytes, OptionTexts::default()).unwrap();
        assert_eq!(runs.iter().map(|run| &*run.external_id).collect::<Vec<_>>(), ["r3", "r8"]);
        assert_eq!(runs[0].pattern.as_ref().unwrap().as_str(), "2:4");
        assert_eq!(runs[0].observation.data.get(), 1e9);
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(
            errors[0].starts_with("row 1: pattern must be a text, not the date or time 02:04:00"),
            "{errors:?}"
        );
        assert!(
            errors[0].contains("written as text before it is filled")
                && errors[0].ends_with("(line 5)"),
            "{errors:?}"
        );
        assert!(errors[1].contains("the date or time 2003-06-28"), "{errors:?}");
        assert!(errors[2].contains("formula whose value is not in the workbook"), "{errors:?}");
        assert_eq!(errors[3], "row 5: has a value in column H, which has no name (line 9)");
    }

    #[test]
    fn of_several_sheets_with_cells_one_is_named() {
        let rows = [header(1, NAMES), run(2, "")].concat();
        let bytes = workbook(&[("Old", &rows), ("New", &rows)]);
        let refused = |texts: OptionTexts| match of_workbook(&bytes, texts) {
            Err(IngestError::Columns(errors)) => errors[0].detail.clone(),
            other => panic!("{other:?}"),
        };
        assert!(refused(OptionTexts::default()).ends_with("Old, New"));
        let named = |name: &str| OptionTexts { sheet: Some(name.into()), ..OptionTexts::default() };
        assert!(refused(named("Older")).contains("there are Old, New"));
        assert_eq!(of_workbook(&bytes, named("New")).unwrap().0.len(), 1);
    }

    #[test]
    fn a_workbook_is_no_larger_than_may_be_in_memory() {
        let rows = [header(1, NAMES), run(2, &text("F2", &"0".repeat(2 << 20)))].concat();
        let bytes = workbook(&[("Runs", &rows)]);
        assert!(bytes.len() < 100_000);
        let columns = Columns::default();
        let mut reading = Reading { columns, ..reading(Format::Xlsx, ColumnOptions::default()) };
        let large = read(&reading, &bytes);
        assert!(matches!(large, Err(IngestError::TooLarge(Limit::BlockBytes))), "{large:?}");
        reading.limits.block_bytes = 4 << 20;
        let long = read(&reading, &bytes);
        assert!(matches!(long, Err(IngestError::TooLarge(Limit::RowBytes(0)))), "{long:?}");
    }

    #[test]
    fn what_is_no_workbook_is_malformed() {
        let bytes = workbook(&[("Runs", &[header(1, NAMES), run(2, "")].concat())]);
        for length in (0..bytes.len()).step_by(7) {
            let cut = of_workbook(&bytes[..length], OptionTexts::default());
            assert!(matches!(cut, Err(IngestError::Malformed(_))), "{length}: {cut:?}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            let _ = of_workbook(&damaged, OptionTexts::default());
        }
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a.csv", SimpleFileOptions::default()).unwrap();
        let other = zip.finish().unwrap().into_inner();
        let other = of_workbook(&other, OptionTexts::default());
        assert!(matches!(other, Err(IngestError::Malformed(_))), "{other:?}");
    }
}

//! Inputs that would take too much: wrong in every row, endless, or far larger than they look.

use super::*;

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

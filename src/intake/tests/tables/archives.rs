//! Compressed files and archives of several.

use super::*;

/// The table of the test below as compressed by `xz`.
const XZ: &[u8] = &[
    253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229, 163,
    1, 0, 61, 101, 120, 116, 101, 114, 110, 97, 108, 95, 105, 100, 44, 110, 111, 110, 122, 101,
    114, 111, 95, 112, 97, 114, 97, 109, 115, 44, 115, 112, 97, 114, 115, 105, 116, 121, 44, 100,
    97, 116, 97, 44, 108, 111, 115, 115, 10, 97, 44, 49, 101, 54, 44, 48, 46, 53, 44, 49, 101, 57,
    44, 51, 10, 0, 0, 0, 206, 131, 69, 52, 49, 37, 58, 114, 0, 1, 86, 62, 82, 82, 6, 13, 31, 182,
    243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
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
    let ndjson =
        br#"{"external_id": "c", "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": "x"}"#;
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
    assert!(placed[0].error.detail.ends_with("(line 1) (row 0 of sweep/two.ndjson)"), "{placed:?}");
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

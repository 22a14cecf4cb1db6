//! Workbooks of spreadsheets.

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

#[test]
fn a_second_table_below_the_first_is_refused() {
    let names = "external_id,nonzero_params,sparsity,data,loss";
    for again in [names, "loss,data,sparsity,nonzero_params,external_id"] {
        let cells = [
            text("A2", "a"),
            number("B2", "1e6"),
            number("C2", "0"),
            number("D2", "1e9"),
            number("E2", "3"),
        ];
        let rows = [header(1, names), row(2, &cells), header(4, again)].concat();
        let found = malformed(Format::Xlsx, &workbook(&[("runs", &rows)]));
        assert!(found.starts_with("line 4 holds names of columns again"), "{found}");
    }
}

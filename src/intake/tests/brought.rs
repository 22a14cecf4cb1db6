//! Which fields of a stored run a new row replaces, and which it leaves as they are.

use super::*;
use crate::domain::run::Brought;

const REQUIRED: &str = "external_id,nonzero_params,sparsity,data,loss";

fn brought(format: Format, texts: OptionTexts, input: &[u8]) -> Vec<Brought> {
    let columns = texts.check().unwrap();
    let reading = Reading {
        format,
        coding: Coding::Identity,
        columns,
        limits: LIMITS,
        skip_errors: true,
        stop: Stop::default(),
    };
    let mut runs = Vec::new();
    let intake = reading.run(input, &mut |batch| {
        runs.extend(batch);
        true
    });
    assert_eq!(intake.unwrap().errors.named, []);
    runs.iter().map(|run| run.brought).collect()
}

fn of_csv(header: &str, cells: &str) -> Brought {
    let csv = format!("{REQUIRED}{header}\na,1e6,0.5,1e9,3{cells}\n");
    brought(Format::Csv, OptionTexts::default(), csv.as_bytes())[0]
}

fn of_json(with: &str) -> Brought {
    let json = format!(
        r#"{{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3{with}}}"#
    );
    let found = brought(Format::Json, OptionTexts::default(), json.as_bytes())[0];
    assert_eq!(brought(Format::Ndjson, OptionTexts::default(), json.as_bytes())[0], found);
    found
}

#[test]
fn a_row_says_what_it_has_a_column_for() {
    let scratch = Brought::START.with(Brought::PRETRAINING_DATA);
    for (header, cells, json, expected) in [
        ("", "", "", Brought::NONE),
        (",tags", ",{}", r#", "tags": {}"#, Brought::TAGS),
        (",tags", ",{}", r#", "tags": "{}""#, Brought::TAGS),
        (",tags", ",", r#", "tags": null"#, Brought::TAGS),
        (",pattern", ",", r#", "pattern": null"#, Brought::PATTERN),
        (",pattern", ",2:4", r#", "pattern": "2:4""#, Brought::PATTERN),
        (",start", ",pretrained", r#", "start": "pretrained""#, Brought::START),
        // A run from scratch has no pretraining data, so that field is replaced too.
        (",start", ",scratch", r#", "start": "scratch""#, scratch),
        (",start", ",", r#", "start": null"#, scratch),
        (",pretraining_data", ",", r#", "pretraining_data": null"#, Brought::PRETRAINING_DATA),
        (",unique_data", ",", r#", "unique_data": null"#, Brought::UNIQUE_DATA),
        (",unique_data", ",5e8", r#", "unique_data": 5e8"#, Brought::UNIQUE_DATA),
        (",exclusion_reason", ",bad", r#", "exclusion_reason": "bad""#, Brought::EXCLUSION),
        // An empty reason does not undo an exclusion that somebody decided on.
        (",exclusion_reason", ",", r#", "exclusion_reason": null"#, Brought::NONE),
    ] {
        assert_eq!(of_csv(header, cells), expected, "{header} {cells}");
        assert_eq!(of_json(json), expected, "{json}");
    }
    assert_eq!(of_csv(",tags.a", ",x"), Brought::TAGS);
    assert_eq!(of_csv(",tags.a", ","), Brought::TAGS);
}

#[test]
fn what_is_computed_or_named_is_brought() {
    let csv = format!("{REQUIRED},bits,sweep\na,1e6,0.5,1e9,3,,\n");
    let said = |texts: OptionTexts| brought(Format::Csv, texts, csv.as_bytes())[0];
    let map = |text: &str| OptionTexts { map: vec![text.to_owned()], ..OptionTexts::default() };
    assert_eq!(said(map("loss:loss")), Brought::NONE);
    assert_eq!(said(map("pattern:bits")), Brought::PATTERN);
    assert_eq!(said(map("pattern:if(bits == 1, '2:4', null)")), Brought::PATTERN);
    let tags = OptionTexts { tag_columns: vec!["sweep".into()], ..OptionTexts::default() };
    assert_eq!(said(tags), Brought::TAGS);
}

#[test]
fn everything_is_said_where_what_is_absent_is_empty() {
    let clear = OptionTexts { absent: Some("clear".into()), ..OptionTexts::default() };
    let csv = format!("{REQUIRED}\na,1e6,0.5,1e9,3\n");
    assert_eq!(brought(Format::Csv, clear, csv.as_bytes()), [Brought::ALL]);
    let wrong = OptionTexts { absent: Some("drop".into()), ..OptionTexts::default() };
    let errors = wrong.check().unwrap_err();
    assert_eq!(errors[0].pointer, "/absent");
}

#[test]
fn what_is_said_comes_before_what_was_kept() {
    let kept = crate::domain::mapping::MappingSettings {
        map: [("loss", "val"), ("data", "tokens")]
            .map(|(field, text)| (field.to_owned(), text.to_owned()))
            .into(),
        scale: [("data".to_owned(), 2.0)].into(),
        tag_columns: vec!["sweep".to_owned()],
        condition: Some("step > 1".to_owned()),
        ..Default::default()
    };
    let csv = "external_id,nonzero_params,sparsity,tokens,val,test,step,sweep,other\n\
               a,1e6,0.5,1e9,3,2,5,s,o\nb,1e6,0.5,1e9,3,2,1,s,o\n";
    let read = |texts: OptionTexts| {
        let columns = texts.check().unwrap();
        super::read(
            &Reading { columns, ..reading(Format::Csv, ColumnOptions::default()) },
            csv.as_bytes(),
        )
        .unwrap()
        .0
    };
    let runs = read(OptionTexts { kept: kept.clone(), ..OptionTexts::default() });
    let run = only(&runs);
    assert_eq!((run.observation.loss.get(), run.observation.data.get()), (3.0, 2e9));
    assert_eq!(run.tags.keys().collect::<Vec<_>>(), ["sweep"]);
    let runs = read(OptionTexts {
        kept,
        map: vec!["loss:test".to_owned()],
        tag_columns: vec!["other".to_owned()],
        condition: Some("step < 2".to_owned()),
        ..OptionTexts::default()
    });
    let run = only(&runs);
    assert_eq!((&*run.external_id, run.observation.loss.get()), ("b", 2.0));
    assert_eq!((run.observation.data.get(), &*run.tags["other"]), (2e9, "o"));
}

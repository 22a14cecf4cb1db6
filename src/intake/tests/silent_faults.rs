//! Inputs that would make the service store wrong runs or lose rows without an error.

use std::collections::BTreeMap;

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
    let open = format!("{HEADER}\na,1e6,0,1e9,3\n\"b,1e6,0,1e9,3\nc,1e6,0,1e9,3\nd,1e6,0,1e9,3\n");
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
            OptionTexts { condition: Some("State == 'finished'".into()), ..OptionTexts::default() },
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
    let row =
        r#"{"external_id": "a", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 3}"#;
    assert!(matches!(read(&reading, row.as_bytes()), Err(IngestError::Columns(_))));
}

#[test]
fn a_decimal_comma_is_one_where_cells_end_otherwise() {
    let input = "external_id;nonzero_params;sparsity;data;loss\na;1e6;0,5;1e9;2,934\n";
    let (runs, errors) = csv(OptionTexts::default(), input);
    assert_eq!(errors, [""; 0]);
    assert_eq!(only(&runs).observation.loss.get(), 2.934);
    assert_eq!(only(&runs).observation.sparsity.get(), 0.5);
    let (_, errors) = csv(OptionTexts::default(), &format!("{HEADER}\na,1e6,0,1e9,\"2,934\"\n"));
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

/// A workbook holds 0.5 in a cell that shows 50 %.
#[test]
fn a_fraction_is_no_percentage() {
    let percent =
        || OptionTexts { sparsity_unit: Some("percent".into()), ..OptionTexts::default() };
    let input = format!(
        "{HEADER}\na,1e6,0.5,1e9,3\nb,1e6,50,1e9,3\nc,1e6,0,1e9,3\nd,1e6,1,1e9,3\ne,1e6,0.999,1e9,3\nf,1e6,-1,1e9,3\n"
    );
    let (runs, errors) = csv(percent(), &input);
    let found: Vec<f64> = runs.iter().map(|run| run.observation.sparsity.get()).collect();
    assert_eq!(found, [0.5, 0.0, 0.01]);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("row 0: sparsity must be 0 or at least 1"), "{errors:?}");
    assert!(errors[0].contains("write 50 for one half, or leave sparsity_unit out"), "{errors:?}");
    assert!(errors[1].starts_with("row 4: sparsity must be 0 or at least 1"), "{errors:?}");
    // The same where an expression computes it, and as a number of JSON.
    let mut reading = options(OptionTexts { map: vec!["sparsity:1-density".into()], ..percent() });
    reading.format = Format::Ndjson;
    let row =
        r#"{"external_id": "a", "nonzero_params": 1e6, "density": 0.25, "data": 1e9, "loss": 3}"#;
    let (_, errors) = read(&reading, row.as_bytes()).unwrap();
    assert!(errors[0].contains("leave sparsity_unit out"), "{errors:?}");
    // A factor says the same as the unit.
    let factor = OptionTexts { scale: vec!["sparsity:0.01".into()], ..OptionTexts::default() };
    let (runs, errors) = csv(factor, &format!("{HEADER}\na,1e6,0.5,1e9,3\nb,1e6,50,1e9,3\n"));
    assert_eq!((only(&runs).observation.sparsity.get(), errors.len()), (0.5, 1));
    // A percent sign says it in the cell.
    let (runs, _) = csv(percent(), &format!("{HEADER}\na,1e6,0.5%,1e9,3\n"));
    assert_eq!(only(&runs).observation.sparsity.get(), 0.005);
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
    let source = |name: &str| OptionTexts { source: Some(name.into()), ..OptionTexts::default() };
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
    let (runs, _) =
        csv(own, &format!("{HEADER},exclusion_reason\na,1e6,0,1e9,3,NA\nb,1e6,0,1e9,3,missing\n"));
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

/// Whatever is no number there would count as no value: the row would be left out, or another checkpoint be kept.
#[test]
fn a_text_where_keep_and_where_need_a_number_is_an_error_of_its_row() {
    let table = |cell: &str| {
        format!(
            "run,step,nonzero_params,sparsity,data,loss\n\
             x,900,1e6,0,1e9,3\nx,{cell},1e6,0,2e9,2\nx,,1e6,0,3e9,1\ny,5,1e6,0,1e9,4\n"
        )
    };
    let id = || OptionTexts { id: Some("run".into()), ..OptionTexts::default() };
    let keep = || OptionTexts { keep: Some("last:step".into()), ..id() };
    let condition = |text: &str| OptionTexts { condition: Some(text.into()), ..id() };
    for (cell, says) in [
        ("\"1,000\"", "column step could be one number or another"),
        ("abc", "column step must be a number, not \"abc\""),
        ("50%", "column step must be a number without a percent sign, not \"50%\""),
    ] {
        for (texts, option) in [
            (keep(), "keep"),
            (condition("step > 10"), "where"),
            (condition("step == 1000"), "where"),
            (condition("step != 900"), "where"),
        ] {
            let (_, found) = intake(texts, &table(cell));
            let error = &found.errors.named[0];
            assert_eq!((error.row, error.field()), (1, option), "{cell}: {error}");
            assert!(error.error.detail.contains(says), "{cell}: {error}");
        }
    }
    let (runs, found) =
        intake(OptionTexts { decimal: Some(".".into()), ..keep() }, &table("\"1,000\""));
    assert_eq!(found.errors.total, 0);
    assert_eq!(runs.iter().map(|run| run.observation.loss.get()).collect::<Vec<_>>(), [2.0, 4.0]);
    // An empty cell is no value, and texts are compared with texts.
    let (_, found) = intake(condition("step > 10"), &table("1000"));
    assert_eq!((found.errors.total, found.left_out["where"]), (0, 2));
    let (runs, found) = intake(condition("step == 'abc'"), &table("abc"));
    assert_eq!((runs.len(), found.errors.total), (1, 0));
    // A list or an object is no value either.
    let mut reading = options(condition("config > 3"));
    reading.format = Format::Ndjson;
    let row = r#"{"run": "a", "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": 3, "config": {"a": 1}}"#;
    let (_, errors) = read(&reading, row.as_bytes()).unwrap();
    assert!(errors[0].contains("column config must be a number, a text"), "{errors:?}");
}

#[test]
fn a_second_table_below_the_first_is_refused() {
    let first = format!("{HEADER}\na,1e6,0,1e9,3\n");
    let texts = || {
        [
            OptionTexts::default(),
            OptionTexts {
                condition: Some("loss != 'loss' and loss != 'data'".into()),
                ..OptionTexts::default()
            },
        ]
    };
    for again in [
        HEADER,
        "external_id,nonzero_params,sparsity,loss,data",
        " external_id, nonzero_params, sparsity, data, loss",
        // With another column, or one more.
        "external_id,nonzero_params,sparsity,data,val_loss",
        "external_id,nonzero_params,sparsity,data,loss,seed",
    ] {
        for texts in texts() {
            let input = format!("{first}{again}\nb,1e6,0,3,1e9\n");
            let detail = match read(&options(texts), input.as_bytes()) {
                Err(IngestError::Malformed(detail)) => detail,
                other => panic!("{again}: {other:?}"),
            };
            assert!(detail.starts_with("line 3 holds names of columns again"), "{detail}");
        }
    }
    // A text that happens to be the name of a column is none of a header.
    let texts = OptionTexts { tag_columns: vec!["metric".into()], ..OptionTexts::default() };
    let input = format!("{HEADER},metric\na,1e6,0,1e9,3,loss\nloss,1e6,0,1e9,3,data\n");
    let (runs, errors) = csv(texts, &input);
    assert_eq!((runs.len(), errors), (2, Vec::new()));
}

/// Of a mixture of experts, whose dense size somebody calls non-zero.
#[test]
fn two_columns_for_one_size_must_agree() {
    let header = "external_id,nonzero_params,active_params,sparsity,data,loss\n";
    let row = |nonzero: &str, active: &str| format!("a,{nonzero},{active},0,1e9,3\n");
    let (runs, errors) = csv(OptionTexts::default(), &format!("{header}{}", row("9.4e8", "2.8e8")));
    assert_eq!(runs.len(), 0);
    assert!(
        errors[0].starts_with(
            "row 0: nonzero_params must be the same in the columns nonzero_params and active_params, not 940000000 \
             and 280000000"
        ),
        "{errors:?}"
    );
    let swapped = "external_id,active_params,nonzero_params,sparsity,data,loss\n";
    let (_, errors) = csv(OptionTexts::default(), &format!("{swapped}{}", row("2.8e8", "9.4e8")));
    assert!(errors[0].contains("not 940000000 and 280000000"), "{errors:?}");
    // They may be rounded differently, and one may be empty.
    for (nonzero, active) in [("9.4e8", "940M"), ("9.4e8", "940.1M"), ("9.4e8", "")] {
        let (runs, _) = csv(OptionTexts::default(), &format!("{header}{}", row(nonzero, active)));
        assert_eq!(only(&runs).observation.nonzero_params.get(), 9.4e8);
    }
    let (_, errors) = csv(OptionTexts::default(), &format!("{header}{}", row("9.4e8", "n.d.")));
    assert!(
        errors[0].contains("must be a number, not \"n.d.\" (column active_params)"),
        "{errors:?}"
    );
    // A mapping says which one it is.
    let (runs, _) =
        csv(map(&["nonzero_params:active_params"]), &format!("{header}{}", row("9.4e8", "2.8e8")));
    assert_eq!(only(&runs).observation.nonzero_params.get(), 2.8e8);
    // What was measured may differ from what was planned.
    let measured =
        "ID,summary.nonzero_params,config.nonzero_params,sparsity,data,loss\na,9.4e8,1e9,0,1e9,3\n";
    let wandb = OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() };
    assert_eq!(only(&csv(wandb, measured).0).observation.nonzero_params.get(), 9.4e8);
    // The same in JSON, also where a tracker's prefix stands before the names.
    for (texts, row) in [
        (
            OptionTexts::default(),
            r#"{"external_id": "a", "nonzero_params": 9.4e8, "active_params": 2.8e8, "sparsity": 0, "data": 1e9, "loss": 3}"#,
        ),
        (
            OptionTexts { source: Some("wandb".into()), ..OptionTexts::default() },
            r#"{"id": "a", "config": {"active_params": 2.8e8, "nonzero_params": 9.4e8, "sparsity": 0, "data": 1e9}, "summary": {"loss": 3}}"#,
        ),
    ] {
        let mut reading = options(texts);
        reading.format = Format::Ndjson;
        let (_, errors) = read(&reading, row.as_bytes()).unwrap();
        assert!(errors[0].contains("not 940000000 and 280000000"), "{errors:?}");
    }
}

#[test]
fn no_more_data_is_different_than_there_is() {
    let input = format!("{HEADER},unique_data\na,1e6,0,1e9,3,2e10\nb,1e6,0,1e9,3,1e9\n");
    let (runs, errors) = csv(OptionTexts::default(), &input);
    assert_eq!(only(&runs).external_id, "b");
    assert!(errors[0].starts_with("row 0: unique_data must be at most data"), "{errors:?}");
}

#[test]
fn a_size_is_multiplied_once() {
    let scaled = |scale: &str| OptionTexts { scale: vec![scale.into()], ..OptionTexts::default() };
    let table = |size: &str, data: &str| format!("{HEADER}\na,{size},0,{data},3\n");
    let (runs, errors) = csv(scaled("nonzero_params:1e6"), &table("1.3B", "1e9"));
    assert_eq!(runs.len(), 0);
    assert!(
        errors[0].starts_with("row 0: nonzero_params must be a number without a unit"),
        "{errors:?}"
    );
    assert!(errors[0].contains("scale=nonzero_params:1000000 "), "{errors:?}");
    assert!(errors[0].contains("not \"1.3B\""), "{errors:?}");
    let (runs, _) = csv(scaled("nonzero_params:1e6"), &table("1300", "20B"));
    let run = &only(&runs).observation;
    assert_eq!((run.nonzero_params.get(), run.data.get()), (1.3e9, 2e10));
    // A factor of 1 only says that the unit is right.
    assert_eq!(csv(scaled("data:1"), &table("1e6", "20B")).0.len(), 1);
    let (runs, errors) = csv(OptionTexts::default(), &table("1e6", "1e9B"));
    assert_eq!(runs.len(), 0);
    assert!(
        errors[0].contains("with an exponent or with a unit, and not with both, not \"1e9B\""),
        "{errors:?}"
    );
}

/// A frame has its numbers as texts in CSV, and as numbers in JSON and Parquet.
#[test]
fn a_name_of_several_columns_is_the_same_in_every_format() {
    let texts = || OptionTexts { id: Some("run,seed".into()), ..OptionTexts::default() };
    let rest = "1e6,0,1e9,3";
    let of_csv = |run: &str, seed: &str| {
        let table = format!("run,seed,nonzero_params,sparsity,data,loss\n{run},{seed},{rest}\n");
        only(&csv(texts(), &table).0).external_id.clone()
    };
    let of_json = |seed: &str| {
        let mut reading = options(texts());
        reading.format = Format::Ndjson;
        let row = format!(
            r#"{{"run": "a", "seed": {seed}, "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": 3}}"#
        );
        only(&read(&reading, row.as_bytes()).unwrap().0).external_id.clone()
    };
    for (in_csv, in_json, name) in [
        ("1.0", "1.0", "a:1"),
        ("1", "1", "a:1"),
        ("-2.0", "-2.0", "a:-2"),
        ("0.1", "0.1", "a:0.1"),
        ("0.0", "0.0", "a:0"),
        ("1e-05", "1e-05", "a:0.00001"),
        ("2.5e-07", "2.5e-07", "a:0.00000025"),
        ("007", "\"007\"", "a:007"),
        ("1.10", "\"1.10\"", "a:1.10"),
        ("3e8", "\"3e8\"", "a:3e8"),
        ("12e45678", "\"12e45678\"", "a:12e45678"),
        ("1.0.0", "\"1.0.0\"", "a:1.0.0"),
        ("v1.0", "\"v1.0\"", "a:v1.0"),
        ("1.", "\"1.\"", "a:1."),
    ] {
        assert_eq!((of_csv("a", in_csv), of_json(in_json)), (name.into(), name.into()), "{in_csv}");
    }
    assert_eq!(of_csv("1.0", "007.0"), "1:007.0");
    // The name that a run already has stays as it is.
    let input = format!("{HEADER}\n1.0,{rest}\n");
    assert_eq!(only(&csv(OptionTexts::default(), &input).0).external_id, "1.0");
}

#[test]
fn odd_tables_are_warned_of() {
    let input = format!("{HEADER},pattern\na,12,0.3,1e9,3,2:4\nb,1e6,0,1e9,3000,\n");
    let (_, found) = intake(OptionTexts::default(), &input);
    let codes: Vec<_> = found.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["loss_spread", "small_models", "sparsity_off_pattern"]);
}

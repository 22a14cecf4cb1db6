//! Which column a loss is taken from, where several have names that tools use for one.

use super::*;

const REST: &str = r#""nonzero_params":1e7,"sparsity":0.5,"data":1e9"#;

fn wandb() -> ColumnOptions {
    from(Tracker::Wandb, ColumnOptions::default())
}

/// A run as W&B's API has it; `summary` is what it logged.
fn run(id: &str, state: &str, summary: &str) -> String {
    format!(
        r#"{{"id":"{id}","state":"{state}","config":{{{REST}}},"summary":{{"step":9,{summary}}}}}"#
    )
}

fn read_json(options: ColumnOptions, rows: &[String]) -> (Vec<SubmittedRun>, Vec<String>) {
    let array = format!("[{}]", rows.join(","));
    let found = read(&reading(Format::Json, options.clone()), array.as_bytes()).unwrap();
    let lines = read(&reading(Format::Ndjson, options), rows.join("\n").as_bytes()).unwrap();
    assert_eq!((&found.0, found.1.len()), (&lines.0, lines.1.len()));
    found
}

fn refused(result: Result<(Vec<SubmittedRun>, Vec<String>), IngestError>) -> String {
    match result {
        Err(IngestError::Columns(errors)) => {
            assert_eq!(errors[0].pointer, "/loss");
            errors[0].detail.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_without_the_loss_that_other_rows_have_is_not_stored_with_another_one() {
    let rows = [
        run("a", "finished", r#""val_loss":2.7,"loss":3.4"#),
        run("b", "finished", r#""loss":3.5"#),
        run("c", "finished", r#""eval_loss":3.5"#),
    ];
    let (runs, errors) = read_json(wandb(), &rows);
    assert_eq!(only(&runs).observation.loss.get(), 2.7);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].contains("this upload has summary.val_loss for other rows (row 0)"),
        "{errors:?}"
    );
    assert!(errors[0].contains("only summary.loss"), "{errors:?}");
    // Where all have the other one, it is the loss.
    let (runs, errors) = read_json(wandb(), &rows[1..2]);
    assert_eq!((only(&runs).observation.loss.get(), errors.len()), (3.5, 0));
    // Whoever says which column it is gets that one.
    let (runs, errors) =
        read_json(from(Tracker::Wandb, mapped(&[("loss", "summary.loss")])), &rows[..2]);
    assert_eq!((runs.len(), errors.len()), (2, 0));
}

#[test]
fn a_better_loss_that_comes_after_runs_with_another_one_refuses_the_upload() {
    let rows = [
        run("b", "finished", r#""loss":3.5"#),
        run("a", "finished", r#""val_loss":2.7,"loss":3.4"#),
    ];
    let array = format!("[{}]", rows.join(","));
    let detail = refused(read(&reading(Format::Json, wandb()), array.as_bytes()));
    assert!(
        detail.starts_with(
            "is in column summary.val_loss in row 1 and only in column summary.loss in row 0"
        ),
        "{detail}"
    );
    // What a run that is left out logged does not count as a loss, but shows which columns there are.
    let rows = [
        run("b", "crashed", r#""loss":3.5"#),
        run("a", "finished", r#""val_loss":2.7,"loss":3.4"#),
        run("c", "crashed", r#""loss":3.6"#),
    ];
    let (runs, errors) = read_json(wandb(), &rows);
    assert_eq!((only(&runs).observation.loss.get(), errors.len()), (2.7, 0));
    let rows = [
        run("a", "crashed", r#""val_loss":2.7,"loss":3.4"#),
        run("b", "finished", r#""loss":3.5"#),
    ];
    assert_eq!(read_json(wandb(), &rows).0.len(), 0);
}

#[test]
fn the_loss_of_a_row_that_is_kept_is_the_one_that_all_rows_have() {
    let options = || {
        from(
            Tracker::Wandb,
            ColumnOptions {
                keep: Some((RowChoice::Last, "step".into())),
                ..ColumnOptions::default()
            },
        )
    };
    let log = |step: u32, loss: &str| format!(r#"{{"id":"a","step":{step},{REST},{loss}}}"#);
    // A log in which steps of training come before the evaluation.
    let (runs, errors) =
        read_json(options(), &[log(1, r#""loss":3.5"#), log(2, r#""loss":3.4,"val_loss":3.0"#)]);
    assert_eq!((only(&runs).observation.loss.get(), errors.len()), (3.0, 0));
    // The last row is one of training.
    let (runs, errors) =
        read_json(options(), &[log(1, r#""val_loss":3.5"#), log(2, r#""loss":2.4"#)]);
    assert_eq!((runs.len(), errors.len()), (0, 1), "{errors:?}");
}

#[test]
fn a_loss_that_cannot_be_read_is_an_error_and_no_other_one_takes_its_place() {
    for (lost, says) in [
        ("\"2,9\"", "decimal="),
        ("diverged", "must be a number, not \"diverged\""),
        ("OOM", "must be a number, not \"OOM\""),
        ("2.9*", "must be a number, not \"2.9*\""),
    ] {
        let csv = format!(
            "ID,State,val_loss,loss,nonzero_params,sparsity,data\n\
             a,finished,2.7,3.4,1e7,0.5,1e9\nb,finished,{lost},3.5,1e7,0.5,1e9\n"
        );
        let options = [
            wandb(),
            ColumnOptions {
                id: Some(IdOption::Columns(vec!["ID".into()])),
                ..ColumnOptions::default()
            },
        ];
        for options in options {
            let (runs, errors) = read(&reading(Format::Csv, options), csv.as_bytes()).unwrap();
            assert_eq!(only(&runs).observation.loss.get(), 2.7, "{lost}");
            assert!(errors[0].starts_with("row 1: loss") && errors[0].contains(says), "{errors:?}");
            assert!(errors[0].contains("(column val_loss); map=loss:COLUMN"), "{errors:?}");
        }
    }
    // The summary that W&B keeps of a metric whose smallest value was asked for.
    let least = [run("a", "finished", r#""val_loss":{"min":2.8},"loss":3.5"#)];
    let (runs, errors) = read_json(wandb(), &least);
    assert_eq!(runs.len(), 0);
    assert!(errors[0].contains("not an object (column summary.val_loss)"), "{errors:?}");
    let (runs, _) =
        read_json(from(Tracker::Wandb, mapped(&[("loss", "summary.val_loss.min")])), &least);
    assert_eq!(only(&runs).observation.loss.get(), 2.8);
    // Any other number, too.
    let csv = "ID,summary.data,config.data,loss,nonzero_params,sparsity\na,1e9?,2e9,3,1e7,0\n";
    let (runs, errors) = read(&reading(Format::Csv, wandb()), csv.as_bytes()).unwrap();
    assert_eq!(runs.len(), 0);
    assert!(errors[0].contains("(column summary.data)"), "{errors:?}");
    // A parameter may be anything, and is no loss.
    let csv = "ID,config.val_loss,summary.loss,nonzero_params,sparsity,data\na,True,3,1e7,0,1e9\n";
    let (runs, _) = read(&reading(Format::Csv, wandb()), csv.as_bytes()).unwrap();
    assert_eq!(only(&runs).observation.loss.get(), 3.0);
}

#[test]
fn an_answer_of_mlflow_is_read_like_its_table() {
    let run = |id: &str, metrics: &str| {
        format!(
            r#"{{"info":{{"run_id":"{id}","status":"FINISHED"}},"data":{{"metrics":[{metrics}],
            "params":[{{"key":"nonzero_params","value":"1e7"}},{{"key":"sparsity","value":"0"}},{{"key":"data","value":"1e9"}}]}}}}"#
        )
    };
    let rest = format!(
        r#"{{"runs":[{},{}]}}"#,
        run("a", r#"{"key":"val_loss","value":2.7},{"key":"loss","value":3.4}"#),
        run("b", r#"{"key":"loss","value":3.5}"#),
    );
    let options = from(Tracker::Mlflow, ColumnOptions::default());
    let (runs, errors) = read(&reading(Format::Json, options), rest.as_bytes()).unwrap();
    assert_eq!(only(&runs).observation.loss.get(), 2.7);
    assert!(errors[0].contains("this upload has metrics.val_loss"), "{errors:?}");
}

#[test]
fn files_of_one_upload_have_the_loss_in_one_column() {
    let part = |name: &str, csv: &str| {
        let source = Box::new(std::io::Cursor::new(csv.as_bytes().to_vec()));
        let (format, coding) = (Format::Csv, Coding::Identity);
        Ok(Part { name: name.to_owned(), format, coding, files: None, source })
    };
    let best = "id,val_loss,loss,nonzero_params,sparsity,data\na,2.7,3.4,1e7,0,1e9\n";
    let other = "id,loss,nonzero_params,sparsity,data\nb,3.5,1e7,0,1e9\n";
    let reading = reading(Format::Csv, wandb());
    let intake =
        reading.run_parts([part("best.csv", best), part("other.csv", other)], &mut |_| true);
    let errors = intake.unwrap().errors.named;
    assert!(errors[0].error.detail.contains("(row 0 of best.csv)"), "{errors:?}");
    let turned =
        reading.run_parts([part("other.csv", other), part("best.csv", best)], &mut |_| true);
    assert!(matches!(turned, Err(IngestError::In { .. })), "{turned:?}");
}

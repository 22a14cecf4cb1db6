//! Uploads as the service reads them. What was read holds what is documented of runs, and comes back the same
//! from a format that it is written in.

use sparsity_planner::domain::run::SubmittedRun;
use sparsity_planner::domain::text::{check_label, check_reason};
use sparsity_planner::intake::export::{Encoder, Formulas};
use sparsity_planner::intake::{
    Coding, ColumnOptions, Format, IngestLimits, Reading, SparsityUnit, Stop, Tracker, keep_first,
};

const LIMITS: IngestLimits = IngestLimits {
    expanded_bytes: 1 << 20,
    expansion: u64::MAX,
    rows: 100,
    idle_rows: u64::MAX,
    row_bytes: 16 * 1024,
    named_errors: 10,
    block_bytes: 1 << 20,
    archive_files: 100,
};

/// Reads an upload of a format as it is, and as an export of another service.
pub fn check(format: Format, bytes: &[u8]) {
    for columns in [ColumnOptions::default(), exported(Tracker::Wandb), exported(Tracker::Mlflow)] {
        if let Some(runs) = read(format, columns, bytes) {
            runs.iter().for_each(in_range);
            let out = written(&runs);
            let back = read(Format::Ndjson, ColumnOptions::default(), &out);
            assert_eq!(back.unwrap_or_default(), runs);
        }
    }
}

fn read(format: Format, columns: ColumnOptions, bytes: &[u8]) -> Option<Vec<SubmittedRun>> {
    let columns = columns.check().expect("it is one that is taken");
    let coding = Coding::Identity;
    let reading = Reading {
        format,
        coding,
        columns,
        limits: LIMITS,
        skip_errors: true,
        stop: Stop::default(),
    };
    let mut runs = Vec::new();
    let intake = reading.run(bytes, &mut |batch| {
        runs.extend(batch);
        true
    });
    let mut errors = intake.ok()?.errors;
    let kept = keep_first(runs, LIMITS.named_errors, &mut errors);
    Some(kept.into_iter().map(|run| run.run).collect())
}

fn exported(source: Tracker) -> ColumnOptions {
    let (map, sparsity_unit): (&[_], _) = match source {
        Tracker::Wandb => (
            &[
                ("data", "config.tokens"),
                ("loss", "summary.eval/loss"),
                ("total_params", "config.params"),
            ],
            SparsityUnit::Percent,
        ),
        Tracker::Mlflow => {
            (&[("data", "params.steps"), ("loss", "metrics.val_loss")], SparsityUnit::Fraction)
        }
    };
    let own = |(field, column): &(&str, &str)| ((*field).to_owned(), (*column).to_owned());
    ColumnOptions {
        source: Some(source),
        map: map.iter().map(own).collect(),
        scale: vec![("data".to_owned(), 65_536.0)],
        tag_columns: vec!["Sweep".to_owned()],
        sparsity_unit,
        ..ColumnOptions::default()
    }
}

fn written(runs: &[SubmittedRun]) -> Vec<u8> {
    let mut encoder =
        Encoder::new(Format::Ndjson, Formulas::Kept).expect("it has one").expect("it is a stream");
    let mut bytes = encoder.write(runs).expect("runs can be written");
    bytes.extend(encoder.finish().expect("it ends"));
    bytes
}

fn in_range(run: &SubmittedRun) {
    let of = &run.observation;
    assert!((1.0..=1e18).contains(&of.nonzero_params.get()), "{run:?}");
    assert!((0.0..1.0).contains(&of.sparsity.get()), "{run:?}");
    assert!(of.data.get() > 0.0 && of.data.get().is_finite(), "{run:?}");
    assert!(of.loss.get() > 0.0 && of.loss.get().is_finite(), "{run:?}");
    assert!(check_label(&run.external_id).is_ok(), "{run:?}");
    assert!(run.tags.len() <= 50, "{run:?}");
    for (key, value) in &run.tags {
        assert!(check_label(key).is_ok() && check_label(value).is_ok(), "{run:?}");
    }
    if let Some(reason) = &run.exclusion_reason {
        assert!(check_reason(reason).is_ok(), "{run:?}");
    }
}

//! Exports of experiment trackers.

use super::*;

/// A table downloaded from the web app, and the data frame that the documentation builds from `Api().runs()`.
#[test]
fn exports_of_weights_and_biases_are_read() {
    let options = || {
        from(
            Tracker::Wandb,
            ColumnOptions {
                sparsity_unit: SparsityUnit::Percent,
                tag_columns: vec!["State".into()],
                ..mapped(&[
                    ("data", "config.tokens"),
                    ("loss", "summary.eval/loss"),
                    ("total_params", "config.params"),
                ])
            },
        )
    };
    let csv = "Name,ID,State,Notes,Tags,Created,config.params,config.sparsity,config.tokens,summary.eval/loss\n\
               wise-sun-4,3f9a2c1b,finished,,\"baseline, long\",2025-01-02T03:04:05.000Z,2000000,50,30000000000,2.25\n";
    let frame = r#"[{"name": "wise-sun-4", "id": "3f9a2c1b", "State": "finished", "tags": ["baseline"],
        "config": {"params": 2000000, "sparsity": 50, "tokens": 30000000000, "optim": {"lr": 0.1}},
        "summary": {"eval/loss": 2.25, "_wandb": {"runtime": 7}, "loss_curve": [3, 2]}}]"#;
    let graphql = r#"{"data": {"project": {"runs": {"totalCount": 1, "edges": [{"node": {
        "id": "3f9a2c1b", "name": "3f9a2c1b", "displayName": "wise-sun-4", "State": "finished",
        "config": "{\"params\": {\"value\": 2000000}, \"sparsity\": {\"value\": 50, \"desc\": null}, \"tokens\": {\"value\": 30000000000}, \"wandb_version\": 1}",
        "summaryMetrics": "{\"eval/loss\": 2.25}"}, "cursor": "x"}], "pageInfo": {}}}}}"#;
    for (format, input) in [(Format::Csv, csv), (Format::Json, frame), (Format::Json, graphql)] {
        let (runs, errors) = read(&reading(format, options()), input.as_bytes()).unwrap();
        assert_eq!(errors, [""; 0]);
        let run = only(&runs);
        assert_eq!(run.external_id, "3f9a2c1b");
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
        assert_eq!(run.observation.data.get(), 3e10);
        assert_eq!(run.observation.loss.get(), 2.25);
        assert_eq!(run.tags.iter().collect::<Vec<_>>(), [(&"State".into(), &"finished".into())]);
    }
}

/// `mlflow.search_runs()` as CSV, and the answer of `runs/search`, in which parameters are texts.
#[test]
fn exports_of_mlflow_are_read() {
    let options = || {
        let tag_columns = vec!["tags.team".to_owned()];
        let mapped = mapped(&[("data", "params.tokens"), ("loss", "metrics.val_loss")]);
        from(Tracker::Mlflow, ColumnOptions { tag_columns, ..mapped })
    };
    let csv = "run_id,experiment_id,status,metrics.val_loss,metrics.step,params.nonzero_params,params.sparsity,params.tokens,tags.team,tags.mlflow.user\n\
               5d0e,1,FINISHED,2.25,9,1000000,0.5,30000000000,a,me\n";
    let rest = r#"{"runs": [{"info": {"run_id": "5d0e", "status": "FINISHED", "start_time": 1},
        "data": {"metrics": [{"key": "val_loss", "value": 2.25, "timestamp": 1, "step": 9}],
            "params": [{"key": "nonzero_params", "value": "1000000"}, {"key": "sparsity", "value": "0.5"},
                {"key": "tokens", "value": "30000000000"}],
            "tags": [{"key": "team", "value": "a"}, {"key": "mlflow.user", "value": "me"}]},
        "inputs": {}}], "next_page_token": "x"}"#;
    for (format, input) in [(Format::Csv, csv), (Format::Json, rest)] {
        let (runs, errors) = read(&reading(format, options()), input.as_bytes()).unwrap();
        assert_eq!(errors, [""; 0]);
        let run = only(&runs);
        assert_eq!(run.external_id, "5d0e");
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
        assert_eq!(run.observation.sparsity.get(), 0.5);
        assert_eq!((run.observation.data.get(), run.observation.loss.get()), (3e10, 2.25));
        assert_eq!(run.tags.iter().collect::<Vec<_>>(), [(&"team".into(), &"a".into())]);
    }
    let elsewhere = read(&reading(Format::Json, options()), br#"{"experiments": []}"#);
    assert!(matches!(elsewhere, Err(IngestError::Malformed(_))), "{elsewhere:?}");
}

//! Suggestions of what to run next, over HTTP.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

const PATH: &str = "/v1/families/mine/suggestions";

async fn fitted() -> App {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let refit = app.refit("mine", json!({"starts": 8, "bootstrap": 100})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
async fn each_kind_of_answer_gets_its_runs() {
    let app = fitted().await;
    let targets = [
        json!({"coefficient": "b_d"}),
        json!({"optimal_sparsity": {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "sparse"}}),
        json!({"optimal_sparsity":
            {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "example-block-sparse"}}),
        json!({"prediction": {"nonzero_params": 6e8, "sparsity": 0.75, "data": 2e11}}),
    ];
    for target in targets {
        let body = json!({"target": target, "compute": 1e20, "runs": 3});
        let response = app.post(PATH, body).await;
        assert_eq!(response.status_code(), OK, "{}", response.text());
        let answer: Value = response.json();
        let runs = answer["suggestions"].as_array().unwrap();
        assert!((1..=3).contains(&runs.len()));
        let mut before = 1.0;
        for run in runs {
            let ratio = number(&run["expected_width_ratio"]);
            assert!(0.0 < ratio && ratio < before, "{answer:#}");
            before = ratio;
            assert!(number(&run["predicted_loss"]) > 0.0);
        }
        assert_eq!(number(&answer["expected_width_ratio"]), before);
        let spent: f64 = runs.iter().map(|run| number(&run["compute"])).sum();
        assert_eq!(number(&answer["compute"]), spent);
        assert!(spent <= 1e20 * (1.0 + 1e-8));
        let alternatives = answer["alternatives"].as_array().unwrap();
        assert!((1..=8).contains(&alternatives.len()));
        for pair in alternatives.windows(2) {
            assert!(number(&pair[0]["compute"]) < number(&pair[1]["compute"]));
            let ratio = |run: &Value| number(&run["expected_width_ratio"]);
            assert!(ratio(&pair[0]) > ratio(&pair[1]));
        }
        let target = &answer["target"];
        let (low, high) = (number(&target["interval"]["low"]), number(&target["interval"]["high"]));
        assert!(low < high && low <= number(&target["value"]), "{target}");
        assert!(number(&answer["information"]["noise"]) > 0.0);
        assert_eq!(answer["information"]["residual"], "log");
        assert_eq!(answer["law"]["version"], 1);
    }
}

#[tokio::test]
async fn runs_are_taken_from_the_grid_that_is_given() {
    let app = fitted().await;
    let body = json!({
        "target": {"coefficient": "b_n"}, "compute": 1e22, "runs": 2, "flop_mode": "sparse",
        "grid": {"nonzero_params": {"from": 1e6, "to": 1e9, "steps": 4}, "sparsity": [0.6], "data": [2e10, 3e10]}
    });
    let answer: Value = app.post(PATH, body).await.json();
    let run = &answer["suggestions"][0];
    assert_eq!(number(&run["nonzero_params"]), 1e9);
    assert_eq!(number(&run["sparsity"]), 0.6);
    assert!([2e10, 3e10].contains(&number(&run["data"])));
    // Sparse mode: 6 N D (1 - 0.625 S) / (1 - S).
    let expected = 6.0 * 1e9 * number(&run["data"]) * (1.0 - 0.625 * 0.6) / 0.4;
    assert!((number(&run["compute"]) / expected - 1.0).abs() < 1e-12);
    assert_eq!(run["extrapolation"][0]["variable"], "nonzero_params");
}

#[tokio::test]
async fn a_suggestion_is_checked() {
    let app = fitted().await;
    let target = json!({"coefficient": "b_d"});
    for (body, pointers) in [
        (json!({}), vec!["/target"]),
        (json!({"target": target}), vec!["/compute"]),
        (json!({"target": {"coefficient": "b_x"}, "compute": 1e20}), vec!["/target/coefficient"]),
        (json!({"target": {}, "compute": 1e20}), vec!["/target"]),
        (json!({"target": {"loss": 1}, "compute": 1e20}), vec!["/target/loss"]),
        (
            json!({"target": {"coefficient": "b_d", "prediction":
            {"nonzero_params": 1e8, "sparsity": 0, "data": 1e9}}, "compute": 1e20}),
            vec!["/target"],
        ),
        (json!({"target": target, "compute": 1e20, "more": 1}), vec!["/more"]),
        (
            json!({"target": target, "compute": 0, "runs": 0, "flop_mode": "A"}),
            vec!["/compute", "/flop_mode", "/runs"],
        ),
        (json!({"target": target, "compute": 1e20, "runs": 21}), vec!["/runs"]),
        (
            json!({"target": {"optimal_sparsity": {"nonzero_params": 0, "compute": 0, "flop_mode": "A"}},
            "compute": 1e20}),
            vec![
                "/target/optimal_sparsity/nonzero_params",
                "/target/optimal_sparsity/compute",
                "/target/optimal_sparsity/flop_mode",
            ],
        ),
        (
            json!({"target": {"optimal_sparsity": {"nonzero_params": 1e8, "compute": 1e20, "flop_mode": "none"}},
            "compute": 1e20}),
            vec!["/target/optimal_sparsity/flop_mode"],
        ),
        (json!({"target": target, "compute": 1e20, "flop_mode": "none"}), vec!["/flop_mode"]),
        (
            json!({"target": {"prediction": {"nonzero_params": 1e8, "sparsity": 1, "data": 0}},
            "compute": 1e20}),
            vec!["/target/prediction/sparsity", "/target/prediction/data"],
        ),
        (
            json!({"target": target, "compute": 1e20,
            "grid": {"nonzero_params": [1e6, 0], "sparsity": [], "data": {"from": 2, "to": 1, "steps": 5}}}),
            vec!["/grid/nonzero_params/1", "/grid/sparsity", "/grid/data/to"],
        ),
        (
            json!({"target": target, "compute": 1e20, "grid": {"data": {"from": 1, "to": 2, "steps": 1}}}),
            vec!["/grid/data/steps"],
        ),
        (json!({"target": target, "compute": 1e20, "grid": {"data": "all"}}), vec!["/grid/data"]),
        (
            json!({"target": target, "compute": 1e20, "grid": {
            "nonzero_params": {"from": 1e6, "to": 1e9, "steps": 1000},
            "data": {"from": 1e9, "to": 1e12, "steps": 1000}}}),
            vec!["/grid"],
        ),
        // This budget is too small for any run.
        (json!({"target": target, "compute": 1}), vec!["/compute"]),
    ] {
        let response = app.post(PATH, body.clone()).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{body}");
    }
    let body = json!({"target": target, "compute": 1e20, "law_version": 9});
    problem(&app.post(PATH, body).await, 404, "not-found");
}

#[tokio::test]
async fn a_law_that_no_run_is_known_to_help_says_so() {
    let app = fitted().await;
    let body = json!({"target": {"coefficient": "b_d"}, "compute": 1e20});
    let published = app.post("/v1/families/t5-c4/suggestions", body.clone()).await;
    problem(&published, 409, "no-suggestion");
    app.post("/v1/families", json!({"name": "empty"})).await.assert_status(CREATED);
    problem(&app.post("/v1/families/empty/suggestions", body).await, 409, "no-law");
    // Far below the contour at which zeros begin to pay off.
    let settled = json!({
        "target": {"optimal_sparsity": {"nonzero_params": 1e9, "compute": 1e13, "flop_mode": "dense"}},
        "compute": 1e20
    });
    problem(&app.post(PATH, settled).await, 409, "no-suggestion");
    let refit =
        app.refit("mine", json!({"bootstrap": 0, "holdout": [], "fixed": {"b_d": 0.3}})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let held = json!({"target": {"coefficient": "b_d"}, "compute": 1e20});
    problem(&app.post(PATH, held).await, 409, "no-suggestion");
    // Without resamples there is no interval, but a run is still suggested.
    let free = json!({"target": {"coefficient": "b_n"}, "compute": 1e20});
    let answer: Value = app.post(PATH, free).await.json();
    assert_eq!(answer["target"]["interval"], Value::Null);
    assert!(number(&answer["expected_width_ratio"]) < 1.0);
}

#[tokio::test]
async fn a_law_without_sparse_runs_asks_for_some() {
    let app = App::with_worker().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let runs: Vec<Value> = serde_json::to_value(sparsity_planner::cli::demo_runs::runs())
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["sparsity"] == 0.0)
        .cloned()
        .collect();
    app.post("/v1/families/mine/runs", json!(runs)).await.assert_status(OK);
    let refit = app.refit("mine", json!({"bootstrap": 0, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let response = app.post(PATH, json!({"target": {"coefficient": "b_d"}, "compute": 1e20})).await;
    problem(&response, 409, "undetermined");
}

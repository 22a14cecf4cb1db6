//! `/v1/families/{family}/plans`: the best model under bounds.

use serde_json::{Value, json};

use crate::support::{App, CONFLICT, CREATED, OK, problem};

async fn plan(app: &App, family: &str, body: Value) -> Value {
    let response = app.post(&format!("/v1/families/{family}/plans"), body).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    response.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn assert_close(got: &Value, expected: f64) {
    assert!((number(got) / expected - 1.0).abs() < 1e-8, "{got} {expected}");
}

#[tokio::test]
async fn the_least_loss_of_a_budget_is_the_optimum_of_its_size() {
    let app = App::new().await;
    for (family, mode) in [
        ("t5-c4", "sparse"),
        ("vit-jft", "dense"),
        ("vit-jft", "sparse"),
        ("vit-jft", "example-block-sparse"),
    ] {
        let answer = plan(&app, family, json!({"flop_mode": mode, "compute": 1e20})).await;
        let optimum = &answer["optimum"];
        assert_eq!(answer["goal"], "least_loss");
        assert_close(&optimum["compute"], 1e20);
        assert_close(&optimum["training_compute"], 1e20);
        assert!(number(&optimum["loss"]) <= number(&answer["dense"]["loss"]), "{answer}");
        assert_eq!(answer["dense"]["sparsity"], 0.0);
        let question =
            format!("nonzero_params={}&compute=1e20&flop_mode={mode}", optimum["nonzero_params"]);
        let path = format!("/v1/families/{family}/optimal-sparsity?{question}");
        let best: Value = app.get(&path).await.json();
        assert!((number(&best["sparsity"]) - number(&optimum["sparsity"])).abs() < 1e-6);
        assert_close(&best["loss"], number(&optimum["loss"]));
        // With another size fixed, the bound on the size binds.
        let n = number(&optimum["nonzero_params"]);
        let fixed = json!({
            "flop_mode": mode, "compute": 1e20, "nonzero_params": {"min": n / 10.0, "max": n / 10.0}
        });
        let fixed = plan(&app, family, fixed).await;
        assert_eq!(fixed["optimum"]["nonzero_params"], n / 10.0);
        assert_eq!(fixed["binding"][0], "nonzero_params.max");
        // A dense model with that loss needs at least as much compute.
        let equal = &answer["dense_at_equal_loss"];
        assert_close(&equal["loss"], number(&optimum["loss"]));
        assert!(number(&equal["compute"]) >= 1e20 * (1.0 - 1e-9));
    }
}

#[tokio::test]
async fn the_least_cost_of_a_loss_is_its_inverse() {
    let app = App::new().await;
    for tokens in [0.0, 1e12] {
        let body = json!({"flop_mode": "sparse", "compute": 1e20, "inference_tokens": tokens});
        let loss = plan(&app, "t5-c4", body).await["optimum"].clone();
        let body = json!({
            "flop_mode": "sparse", "target_loss": loss["loss"], "inference_tokens": tokens
        });
        let answer = plan(&app, "t5-c4", body).await;
        assert_eq!(answer["goal"], "least_cost");
        let cost = &answer["optimum"];
        assert_close(&cost["compute"], 1e20);
        assert!((number(&cost["sparsity"]) - number(&loss["sparsity"])).abs() < 1e-5);
        let served = 2.0 * number(&cost["nonzero_params"]) * tokens;
        assert!((number(&cost["inference_compute"]) - served).abs() <= 1e-9 * served);
        let sum = number(&cost["training_compute"]) + number(&cost["inference_compute"]);
        assert_close(&cost["compute"], sum);
        // At equal cost the dense model has a higher loss.
        assert!(number(&answer["dense"]["loss"]) > number(&cost["loss"]));
    }
}

#[tokio::test]
async fn two_of_four_hold_more_in_little_memory() {
    let app = App::new().await;
    let body = |more: Value| {
        let mut body =
            json!({"flop_mode": "example-a100-2-4", "compute": 1e21, "memory_bytes": 2e8});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    // The profile stores 2:4, which only structured patterns can use.
    let answer = plan(&app, "t5-c4", body(json!({}))).await;
    let optimum = &answer["optimum"];
    assert_eq!((&optimum["pattern"], &optimum["sparsity"]), (&json!("2:4"), &json!(0.5)));
    assert_eq!(answer["binding"], json!(["memory_bytes"]));
    assert_close(&optimum["memory_bytes"], 2e8);
    assert_close(&optimum["total_params"], 2e8 * 8.0 / 9.0);
    assert_eq!(answer["assumed"]["patterns"], json!(["2:4"]));
    assert_close(&answer["dense"]["total_params"], 1e8);
    // The same computed by hand: steps cost 0.941 of dense ones in the last quarter.
    let n = number(&optimum["nonzero_params"]);
    let data = 1e21 * 0.5 / (6.0 * n * (0.75 + 0.25 * 0.941));
    assert_close(&optimum["data"], data);
    // With fewer bits per parameter a larger model fits.
    let answer = plan(&app, "t5-c4", body(json!({"bits_per_param": 8}))).await;
    assert_close(&answer["optimum"]["total_params"], 2e8 * 8.0 / 5.0);
    // Another storage allows unstructured zeros; the best pattern is reported in addition.
    let answer = plan(&app, "t5-c4", body(json!({"storage": "bitmask"}))).await;
    assert_eq!(answer["optimum"]["pattern"], Value::Null);
    assert_eq!(answer["pattern"]["pattern"], "2:4");
    assert!(number(&answer["pattern"]["loss"]) >= number(&answer["optimum"]["loss"]));
    // Without patterns only a dense model is left.
    let answer = plan(&app, "t5-c4", body(json!({"patterns": []}))).await;
    assert_eq!(answer["optimum"]["sparsity"], 0.0);
    assert_eq!(answer["optimum"], answer["dense"]);
}

#[tokio::test]
async fn no_plan_is_sparser_than_the_runs_unless_asked() {
    let app = App::new().await;
    // A small model with much compute.
    let body = |max: Value| {
        json!({
            "flop_mode": "sparse", "compute": 1e22, "nonzero_params": {"max": 1e7}, "sparsity": max
        })
    };
    let answer = plan(&app, "vit-jft", body(json!({}))).await;
    assert_eq!(answer["optimum"]["sparsity"], 0.9375);
    assert_eq!(answer["assumed"]["max_sparsity"], 0.9375);
    assert_eq!(answer["binding"], json!(["nonzero_params.max", "sparsity.max"]));
    assert_eq!(answer["warnings"][0]["code"], "sparsity_limited");
    let beyond = plan(&app, "vit-jft", body(json!({"max": 0.99}))).await;
    assert!(number(&beyond["optimum"]["sparsity"]) > 0.9375);
    let outside: Vec<_> = beyond["extrapolation"].as_array().unwrap().iter().collect();
    assert!(outside.iter().any(|entry| entry["variable"] == "sparsity"), "{beyond}");
    assert!(number(&beyond["optimum"]["loss"]) < number(&answer["optimum"]["loss"]));
    // A forced sparsity is planned, with a warning that a dense model would be better.
    let body = json!({
        "flop_mode": "dense", "compute": 1e18, "sparsity": {"min": 0.9}, "frontier_points": 0
    });
    let forced = plan(&app, "t5-c4", body).await;
    assert_eq!(forced["optimum"]["sparsity"], 0.9);
    assert_eq!(forced["warnings"][0]["code"], "dense_is_better");
    assert_eq!(forced["binding"], json!(["sparsity.min"]));
}

#[tokio::test]
async fn the_frontier_rises_in_cost_and_falls_in_loss() {
    let app = App::new().await;
    for (points, expected) in [(0, 0), (1, 1), (21, 21), (200, 200)] {
        let body = json!({
            "flop_mode": "sparse", "compute": 1e20, "frontier_points": points, "inference_tokens": 1e11
        });
        let answer = plan(&app, "t5-c4", body).await;
        let frontier = answer["frontier"].as_array().unwrap();
        assert_eq!(frontier.len(), expected);
        for pair in frontier.windows(2) {
            assert!(number(&pair[0]["compute"]) < number(&pair[1]["compute"]));
            assert!(number(&pair[0]["loss"]) > number(&pair[1]["loss"]));
        }
        if points == 21 {
            assert_close(&frontier[0]["compute"], 1e18);
            assert_eq!(frontier[10]["loss"], answer["optimum"]["loss"]);
            assert_close(&frontier[20]["compute"], 1e22);
        }
    }
    // With a bound on the data, more compute does not help.
    let body = json!({
        "flop_mode": "dense", "compute": 1e24, "data": {"max": 1e9}, "total_params": {"max": 1e8}
    });
    let answer = plan(&app, "t5-c4", body).await;
    let codes: Vec<_> = answer["warnings"].as_array().unwrap().iter().map(|w| &w["code"]).collect();
    assert!(codes.contains(&&json!("compute_not_spent")), "{codes:?}");
    assert_eq!(answer["binding"], json!(["total_params.max", "data.max"]));
    let frontier = answer["frontier"].as_array().unwrap();
    assert_eq!(frontier.last().unwrap()["loss"], answer["optimum"]["loss"]);
}

#[tokio::test]
async fn what_is_in_the_way_is_said() {
    let app = App::new().await;
    let cases = [
        (json!({"target_loss": 0.6}), vec!["/target_loss"], "0.6526803"),
        (
            json!({"target_loss": 1.5, "compute": 1e20}),
            vec!["/compute", "/target_loss"],
            "at least 1.571848e20 would be needed, 1e20 is given",
        ),
        (
            json!({"compute": 1e20, "memory_bytes": 1e6, "nonzero_params": {"min": 1e7}}),
            vec!["/memory_bytes", "/nonzero_params/min"],
            "memory_bytes: at least 2e7 would be needed",
        ),
        (
            json!({"compute": 1e20, "nonzero_params": {"max": 1e6}, "total_params": {"min": 1e9}}),
            vec!["/nonzero_params/max", "/total_params/min", "/sparsity/max"],
            "sparsity.max: at least 0.999 would be needed, 0.875 is the default",
        ),
        (
            json!({"compute": 1e10, "nonzero_params": {"min": 1e9}, "data": {"min": 1e9}}),
            vec!["/compute", "/nonzero_params/min", "/data/min"],
            "compute: at least 6e18 would be needed",
        ),
    ];
    for (mut body, pointers, detail) in cases {
        body["flop_mode"] = json!("sparse");
        let response = app.post("/v1/families/t5-c4/plans", body.clone()).await;
        assert_eq!(problem(&response, 422, "infeasible"), pointers, "{body}");
        assert!(response.text().contains(detail), "{body}: {}", response.text());
    }
    // The value that the problem says is enough is enough.
    let body = json!({"flop_mode": "sparse", "compute": 1.571848e20, "target_loss": 1.5});
    plan(&app, "t5-c4", body).await;
    // A sparse model is planned even if the bounds exclude every dense one.
    let body = json!({
        "flop_mode": "sparse", "compute": 1e20, "nonzero_params": {"max": 1e8},
        "total_params": {"min": 2e8}
    });
    let answer = plan(&app, "t5-c4", body).await;
    assert_eq!((&answer["dense"], &answer["dense_at_equal_loss"]), (&Value::Null, &Value::Null));
    assert!(answer["dense_reason"].as_str().unwrap().contains("nonzero_params.max"), "{answer}");
}

#[tokio::test]
async fn everything_wrong_is_named() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/plans";
    for (body, pointers) in [
        (json!({}), vec!["/flop_mode"]),
        (json!({"flop_mode": "sparse"}), vec!["/compute"]),
        (json!({"flop_mode": "unknown", "compute": 1e20}), vec!["/flop_mode"]),
        (json!({"flop_mode": "sparse", "compute": 1e20, "budget": 1}), vec!["/budget"]),
        (json!({"flop_mode": "sparse", "compute": 1e20, "data": {"low": 1}}), vec!["/data/low"]),
        (json!({"flop_mode": "sparse", "compute": 1e20, "storage": "zip"}), vec!["/storage"]),
        (
            json!({
                "flop_mode": "A B", "compute": 0, "target_loss": -1, "memory_bytes": 0,
                "inference_tokens": -1, "bits_per_param": 5, "nonzero_params": {"min": 0},
                "total_params": {"min": 2, "max": 1}, "sparsity": {"max": 1},
                "data": {"max": 1e31}, "patterns": ["2:4", "4:2"], "frontier_points": 201
            }),
            vec![
                "/flop_mode",
                "/compute",
                "/target_loss",
                "/memory_bytes",
                "/inference_tokens",
                "/bits_per_param",
                "/nonzero_params/min",
                "/total_params/max",
                "/sparsity/max",
                "/data/max",
                "/patterns/1",
                "/frontier_points",
            ],
        ),
        (
            json!({"flop_mode": "example-a100-2-4", "compute": 1e20, "patterns": ["2:4", "1:4"]}),
            vec!["/patterns/1"],
        ),
    ] {
        let response = app.post(path, body.clone()).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{body}");
    }
    let body = json!({"flop_mode": "sparse", "compute": 1e20});
    problem(&app.post("/v1/families/none/plans", body.clone()).await, 404, "not-found");
    app.post("/v1/families", json!({"name": "empty"})).await.assert_status(CREATED);
    let response = app.post("/v1/families/empty/plans", body).await;
    response.assert_status(CONFLICT);
    problem(&response, 409, "no-law");
}

#[tokio::test]
async fn absurd_questions_have_answers() {
    let app = App::new().await;
    for compute in [1.0, 1e10, 1e40] {
        for mode in ["dense", "sparse", "example-block-sparse"] {
            for tokens in [0.0, 1e-3, 1e30] {
                let body = json!({
                    "flop_mode": mode, "compute": compute, "inference_tokens": tokens,
                    "sparsity": {"max": 0.9999}
                });
                let response = app.post("/v1/families/t5-c4/plans", body).await;
                assert!(
                    matches!(response.status_code().as_u16(), 200 | 422),
                    "{}",
                    response.text()
                );
            }
        }
    }
    let ended = plan(&app, "t5-c4", json!({"flop_mode": "dense", "compute": 1})).await;
    assert_eq!(ended["optimum"]["nonzero_params"], 1.0);
    assert_eq!(ended["warnings"][0]["code"], "range_end");
}

#[tokio::test]
async fn a_fitted_law_plans_with_intervals() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    app.refit("mine", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    for more in [json!({"compute": 1e20}), json!({"target_loss": 1.7, "inference_tokens": 1e11})] {
        let mut body = json!({"flop_mode": "sparse", "frontier_points": 3});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = plan(&app, "mine", body.clone()).await;
        for field in ["loss", "sparsity", "nonzero_params", "data"] {
            let interval = &answer["intervals"][field];
            let value = number(&answer["optimum"][field]);
            let (low, high) = (number(&interval["low"]), number(&interval["high"]));
            assert!(low <= value && value <= high && low < high, "{field}: {answer}");
        }
        assert!(answer["intervals"]["dense_loss"]["low"].is_number());
        body["intervals"] = json!(false);
        let without = plan(&app, "mine", body).await;
        assert!(without.get("intervals").is_none());
        assert_eq!(without["optimum"], answer["optimum"]);
    }
}

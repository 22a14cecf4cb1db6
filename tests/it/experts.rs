//! Families whose zeros are experts: active and total parameters, and the mixtures that can be deployed.

use serde_json::{Value, json};
use sparsity_law::law::{Data, NonzeroParams, Sparsity, T5_C4};

use crate::support::{App, CREATED, OK, problem};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A family of experts whose runs follow the published law and are given by active and total parameters.
async fn fitted() -> App {
    let app = App::with_worker().await;
    let family = json!({
        "name": "moe", "zeros": "experts",
        "experts": {"counts": [8, 16, 64], "active": [1, 2], "shared_share": 0.25}
    });
    app.post("/v1/families", family).await.assert_status(CREATED);
    let law = T5_C4.coefficients();
    let mut csv = "external_id,active_params,total_params,data,loss\n".to_owned();
    for n in [1e6, 4e6, 2e7, 8e7] {
        for times in [1.0, 4.0, 16.0, 64.0] {
            for data in [1e9, 5e9, 2e10, 1e11] {
                let loss = law.loss(
                    Sparsity::new(1.0 - 1.0 / times).unwrap().density(),
                    NonzeroParams::new(n).unwrap(),
                    Data::new(data).unwrap(),
                );
                // A little scatter, so that there is something to fit.
                let loss = loss * (1.0 + 1e-4 * (n * times + data).ln().sin());
                csv += &format!("{n}-{times}-{data},{n},{},{data},{loss}\n", n * times);
            }
        }
    }
    let sent =
        app.server.post("/v1/families/moe/runs").content_type("text/csv").bytes(csv.into()).await;
    sent.assert_status(OK);
    let refit = app.refit("moe", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

#[tokio::test]
async fn runs_and_answers_speak_of_active_and_total_parameters() {
    let app = fitted().await;
    let family: Value = app.get("/v1/families/moe").await.json();
    assert_eq!((&family["zeros"], &family["pruning"]["end"]), (&json!("experts"), &json!(0.0)));
    let runs: Value = app.get("/v1/families/moe/runs?limit=1").await.json();
    let run = &runs["items"][0];
    assert_eq!((&run["active_params"], &run["nonzero_params"]), (&json!(8e7), &json!(8e7)));
    near(&run["total_params"], 64.0 * 8e7);
    near(&run["sparsity"], 1.0 - 1.0 / 64.0);
    let law: Value = app.get("/v1/families/moe/laws/1").await.json();
    assert_eq!(
        (&law["zeros"], &law["experts"]["counts"]),
        (&json!("experts"), &json!([8, 16, 64]))
    );
    let at = "/v1/families/moe/prediction?nonzero_params=2e7&sparsity=0.75&data=2e10";
    let prediction: Value = app.get(at).await.json();
    assert_eq!(
        (&prediction["active_params"], &prediction["total_params"]),
        (&json!(2e7), &json!(8e7))
    );
    // Families with weights as zeros do not have these names.
    let weights: Value = app
        .get("/v1/families/t5-c4/prediction?nonzero_params=2e7&sparsity=0.75&data=2e10")
        .await
        .json();
    assert!(weights.get("active_params").is_none() && weights.get("total_params").is_none());
}

fn near(got: &Value, expected: f64) {
    assert!((number(got) / expected - 1.0).abs() < 1e-9, "{got} {expected}");
}

#[tokio::test]
async fn the_best_mixture_is_the_largest_that_the_bound_leaves() {
    let app = fitted().await;
    let ask = |more: &str| {
        let path =
            format!("/v1/families/moe/optimal-sparsity?nonzero_params=2e7&compute=1e19&{more}");
        let app = &app;
        async move {
            let response = app.get(&path).await;
            assert_eq!(response.status_code(), OK, "{}", response.text());
            response.json::<Value>()
        }
    };
    let path = "/v1/families/moe/optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=sparse";
    assert_eq!(problem(&app.get(path).await, 422, "invalid"), ["/max_sparsity"]);
    // (1 - f + f E) / (1 - f + f k) with f = 0.75: 8 choose 1 has 6.25 times the active parameters, 16 choose 2 seven
    // times.
    for (bound, name, count, active, total) in [
        ("max_total_params=1.3e8", "8 choose 1", 8, 1, 6.25),
        ("max_total_params=1.45e8", "16 choose 2", 16, 2, 12.25 / 1.75),
        ("memory_bytes=2.6e8", "8 choose 1", 8, 1, 6.25),
        ("max_sparsity=0.99", "64 choose 1", 64, 1, 48.25),
    ] {
        let answer = ask(&format!("flop_mode=sparse&{bound}")).await;
        let pattern = &answer["pattern"];
        assert_eq!(pattern["name"], name, "{answer}");
        assert_eq!(pattern["experts"], json!({"count": count, "active": active}));
        assert!((number(&pattern["sparsity"]) - (1.0 - 1.0 / total)).abs() < 1e-12);
        assert_eq!(answer["active_params"], 2e7);
        assert_eq!(answer["binding"], json!([bound.split('=').next().unwrap()]));
        // A mixture needs no runs that are named after it, unlike a pattern.
        assert!(
            !answer["trust"]["because"].as_array().unwrap().contains(&json!("unmeasured_pattern"))
        );
    }
    let none = ask("flop_mode=sparse&max_total_params=3e7").await;
    assert_eq!((&none["pattern"]["name"], none["pattern"].get("experts")), (&json!("dense"), None));
    // In dense mode every expert costs, so there is an optimum without a bound.
    let dense = ask("flop_mode=dense").await;
    assert!(number(&dense["sparsity"]) < 0.7 && dense["binding"] == json!([]), "{dense}");
    let plan: Value = app
        .post(
            "/v1/families/moe/plans",
            json!({"flop_mode": "sparse", "compute": 1e19, "max_total_params": 1e9}),
        )
        .await
        .json();
    assert!(plan["pattern"]["pattern"].as_str().unwrap().contains("choose"), "{plan}");
    assert_eq!(plan["pattern"]["active_params"], plan["pattern"]["nonzero_params"]);
    let patterns = json!({"flop_mode": "sparse", "compute": 1e19, "patterns": ["2:4"]});
    let refused = app.post("/v1/families/moe/plans", patterns).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/patterns"]);
}

#[tokio::test]
async fn measured_costs_of_experts_turn_the_choice() {
    let app = fitted().await;
    // Skipped experts cost nothing, but routing among 16 and 64 does.
    let profile = json!({
        "name": "routed", "cost": {"points": [[0, 1], [1, 0]]},
        "expert_costs": {"8": 1.02, "16": 3, "64": 9}
    });
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let profile: Value = app.get("/v1/hardware-profiles/routed").await.json();
    assert_eq!(profile["expert_costs"], json!({"8": 1.02, "16": 3.0, "64": 9.0}));
    let path = "/v1/families/moe/optimal-sparsity?nonzero_params=2e7&compute=1e18&max_sparsity=0.99&flop_mode=";
    let free: Value = app.get(&format!("{path}sparse")).await.json();
    assert_eq!(free["pattern"]["name"], "64 choose 1");
    let routed: Value = app.get(&format!("{path}routed")).await.json();
    assert_eq!(routed["pattern"]["name"], "8 choose 1", "{routed}");
    // The step costs 1.02 times a dense step of as many active parameters.
    near(&routed["pattern"]["data"], 1e18 / (6.0 * 2e7 * 1.02));
}

#[tokio::test]
async fn what_zeros_are_is_checked_and_changed() {
    let app = App::new().await;
    let experts = json!({"counts": [8], "active": [1], "shared_share": 0.3});
    for (body, pointer) in [
        (json!({"experts": experts}), "/experts"),
        (json!({"zeros": "neurons"}), "/zeros"),
        (
            json!({"zeros": "experts", "experts": {"counts": [], "active": [1], "shared_share": 0.3}}),
            "/experts/counts",
        ),
        (
            json!({"zeros": "experts", "experts": {"counts": [8, 8], "active": [1], "shared_share": 0.3}}),
            "/experts/counts",
        ),
        (
            json!({"zeros": "experts", "experts": {"counts": [1], "active": [1], "shared_share": 0.3}}),
            "/experts/counts/0",
        ),
        (
            json!({"zeros": "experts", "experts": {"counts": [8], "active": [8], "shared_share": 0.3}}),
            "/experts/active",
        ),
        (
            json!({"zeros": "experts", "experts": {"counts": [8], "active": [1], "shared_share": 1}}),
            "/experts/shared_share",
        ),
    ] {
        let mut named = json!({"name": "a"});
        named.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let response = app.post("/v1/families", named).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
    app.post("/v1/families", json!({"name": "a"})).await.assert_status(CREATED);
    let change = |body: Value| {
        let app = &app;
        async move { app.server.patch("/v1/families/a").json(&body).await }
    };
    assert_eq!(problem(&change(json!({"experts": experts})).await, 422, "invalid"), ["/experts"]);
    let changed: Value = change(json!({"zeros": "experts", "experts": experts})).await.json();
    assert_eq!(changed["experts"], experts);
    let kept: Value = change(json!({"description": "x"})).await.json();
    assert_eq!(kept["experts"], experts);
    let cleared: Value = change(json!({"experts": null})).await.json();
    assert_eq!((&cleared["zeros"], &cleared["experts"]), (&json!("experts"), &Value::Null));
    let weights: Value = change(json!({"zeros": "weights"})).await.json();
    assert_eq!(weights["zeros"], "weights");
}

#[tokio::test]
async fn both_sizes_stand_for_the_sparsity_in_every_family() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "a"})).await.assert_status(CREATED);
    let run = |more: Value| {
        let mut run = json!({"external_id": "r", "data": 1e9, "loss": 3});
        run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run
    };
    let sent = app
        .post("/v1/families/a/runs", run(json!({"active_params": 1e6, "total_params": 8e6})))
        .await;
    sent.assert_status(OK);
    let runs: Value = app.get("/v1/families/a/runs").await.json();
    assert_eq!(runs["items"][0]["sparsity"], 0.875);
    assert!(runs["items"][0].get("active_params").is_none());
    for (sizes, pointer) in [
        (json!({"active_params": 1e6}), "/0/sparsity"),
        (json!({"nonzero_params": 1e6, "total_params": 9e5}), "/0/total_params"),
        (json!({"active_params": 1e6, "total_params": 8e6, "sparsity": 0.5}), "/0/total_params"),
    ] {
        let response = app.post("/v1/families/a/runs", json!([run(sizes)])).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
}

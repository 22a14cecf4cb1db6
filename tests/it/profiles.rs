//! `/v1/hardware-profiles`, and answers in the mode of a profile.

use serde_json::{Value, json};

use crate::support::{App, CREATED, NO_CONTENT, OK, problem};

const PROFILES: &str = "/v1/hardware-profiles";

async fn create(app: &App, body: Value) -> Value {
    let created = app.post(PROFILES, body).await;
    created.assert_status(CREATED);
    created.json()
}

/// An answer of the ViT law for 1e8 non-zeros and 1e19 FLOPs.
async fn optimum(app: &App, mode: &str) -> Value {
    let path = format!(
        "/v1/families/vit-jft/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode={mode}"
    );
    let response = app.get(&path).await;
    response.assert_status(OK);
    response.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
async fn a_profile_is_created_shown_changed_and_deleted() {
    let app = App::new().await;
    let body = json!({
        "name": "mine", "cost": {"points": [[0.5, 0.8], [0.75, 0.5]]}, "patterns": ["2:4", "1:4"],
        "pattern_costs": {"2:4": 0.7}, "storage": "2:4", "source": "measured"
    });
    let created = app.post(PROFILES, body).await;
    created.assert_status(CREATED);
    assert_eq!(created.header("location"), "/v1/hardware-profiles/mine");
    insta::assert_json_snapshot!(created.json::<Value>(), @r#"
    {
      "cost": {
        "points": [
          [
            0.5,
            0.8
          ],
          [
            0.75,
            0.5
          ]
        ]
      },
      "created_at": "2026-03-01T12:00:00Z",
      "devices": null,
      "expert_costs": {},
      "flops_per_second": null,
      "name": "mine",
      "pattern_costs": {
        "2:4": 0.7
      },
      "patterns": [
        "2:4",
        "1:4"
      ],
      "price_per_hour": null,
      "source": "measured",
      "storage": "2:4",
      "updated_at": "2026-03-01T12:00:00Z",
      "utilisation": null
    }
    "#);
    let path = "/v1/hardware-profiles/mine";
    assert_eq!(app.get(path).await.json::<Value>(), created.json::<Value>());

    app.clock.advance(chrono::TimeDelta::hours(1));
    let changes = json!({
        "cost": {"prunable_share": 0.9, "efficiency": 0.7}, "patterns": ["1:4"], "storage": "csr"
    });
    let changed = app.server.patch(path).json(&changes).await;
    changed.assert_status(OK);
    let profile: Value = app.get(path).await.json();
    assert_eq!(profile, changed.json::<Value>());
    assert_eq!(profile["cost"], json!({"prunable_share": 0.9, "efficiency": 0.7}));
    // The cost of a removed pattern is removed with it.
    assert_eq!((&profile["patterns"], &profile["pattern_costs"]), (&json!(["1:4"]), &json!({})));
    assert_eq!((&profile["storage"], &profile["source"]), (&json!("csr"), &json!("measured")));
    assert_eq!(profile["updated_at"], "2026-03-01T13:00:00Z");

    app.server.delete(path).await.assert_status(NO_CONTENT);
    problem(&app.get(path).await, 404, "not-found");
    problem(&app.server.delete(path).await, 404, "not-found");
    problem(&app.server.patch(path).json(&json!({})).await, 404, "not-found");
    problem(&app.get("/v1/hardware-profiles/Not%20a%20slug").await, 404, "not-found");
    problem(&app.get("/v1/hardware-profiles/dense").await, 404, "not-found");
}

#[tokio::test]
async fn a_new_installation_has_examples_that_say_so() {
    let app = App::new().await;
    let list: Value = app.get(PROFILES).await.json();
    let items = list["items"].as_array().unwrap();
    let names: Vec<&Value> = items.iter().map(|item| &item["name"]).collect();
    assert_eq!(
        names,
        ["example-unstructured", "example-block-sparse", "example-2-4-peak", "example-a100-2-4"]
    );
    for item in items {
        assert!(item["source"].as_str().unwrap().starts_with("Example."), "{item}");
        optimum(&app, item["name"].as_str().unwrap()).await;
    }
    let first: Value = app.get(&format!("{PROFILES}?limit=3")).await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest: Value = app.get(&format!("{PROFILES}?limit=3&cursor={cursor}")).await.json();
    assert_eq!(rest["items"], json!([items[3]]));
    assert_eq!(rest["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_name_is_taken_once_and_the_modes_have_theirs() {
    let app = App::new().await;
    let cost = json!({"prunable_share": 1, "efficiency": 1});
    let body = |name: &str| json!({"name": name, "cost": cost});
    let response = app.post(PROFILES, body("example-2-4-peak")).await;
    problem(&response, 409, "profile-exists");
    for name in ["dense", "sparse", "Mine", "", "a/b"] {
        let response = app.post(PROFILES, body(name)).await;
        assert_eq!(problem(&response, 422, "invalid"), ["/name"], "{name}");
    }
}

#[tokio::test]
async fn everything_wrong_is_named() {
    let app = App::new().await;
    let share = json!({"prunable_share": 0.9, "efficiency": 0.7});
    let many: Vec<_> = (0..101).map(|i| json!([f64::from(i) / 100.0, 1.0])).collect();
    let costs = [
        (json!({}), "/cost"),
        (json!({"prunable_share": 0.9}), "/cost/efficiency"),
        (json!({"efficiency": 0.9}), "/cost/prunable_share"),
        (json!({"prunable_share": 1.1, "efficiency": 0.7}), "/cost/prunable_share"),
        (json!({"prunable_share": 0.9, "efficiency": 0}), "/cost/efficiency"),
        (json!({"prunable_share": 0.9, "efficiency": 1, "points": [[0, 1]]}), "/cost/points"),
        (json!({"points": []}), "/cost/points"),
        (json!({"points": many}), "/cost/points"),
        (json!({"points": [[0.5, 0.9], [0.4, 0.8]]}), "/cost/points/1/0"),
        (json!({"points": [[0.5, 0.9], [1.5, 0.8]]}), "/cost/points/1/0"),
        (json!({"points": [[0.5, 0]]}), "/cost/points/0/1"),
        (json!({"points": [[0.5, 11]]}), "/cost/points/0/1"),
        (json!({"points": [[0, 0.9]]}), "/cost/points/0/1"),
        (json!({"points": [[0.5]]}), "/cost/points/0"),
        (json!({"points": [[0.5, "x"]]}), "/cost/points/0/1"),
        (json!({"curve": []}), "/cost/curve"),
    ];
    for (cost, pointer) in costs {
        let response = app.post(PROFILES, json!({"name": "mine", "cost": cost})).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{cost}");
        let path = "/v1/hardware-profiles/example-2-4-peak";
        let response = app.server.patch(path).json(&json!({"cost": cost})).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{cost}");
    }
    let patterns: Vec<_> = (2..53).map(|m| format!("1:{m}")).collect();
    for (body, pointers) in [
        (json!({"patterns": ["4:2"]}), vec!["/patterns/0"]),
        (json!({"patterns": ["2:4", "dense"]}), vec!["/patterns/1"]),
        (json!({"patterns": ["2:4", "2:4"]}), vec!["/patterns/1"]),
        (json!({"patterns": patterns}), vec!["/patterns"]),
        (json!({"pattern_costs": {"2:4": 0.5}}), vec!["/pattern_costs/2:4"]),
        (json!({"patterns": ["2:4"], "pattern_costs": {"2:4": 0}}), vec!["/pattern_costs/2:4"]),
        (json!({"storage": "zip"}), vec!["/storage"]),
        (json!({"source": "\u{0}", "name": "A"}), vec!["/name", "/source"]),
        (json!({"vendor": "x"}), vec!["/vendor"]),
    ] {
        let mut whole = json!({"name": "mine", "cost": share});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let response = app.post(PROFILES, whole).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{body}");
    }
    let response = app.post(PROFILES, json!({"name": "mine"})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/cost"]);
    let path = "/v1/hardware-profiles/example-2-4-peak";
    let response = app.server.patch(path).json(&json!({"name": "other"})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/name"]);
}

#[tokio::test]
async fn profiles_equal_to_a_mode_answer_as_it_does() {
    let app = App::new().await;
    for (name, cost, mode) in [
        ("free", json!({"points": [[0, 1], [1, 0]]}), "sparse"),
        ("kinked", json!({"points": [[0.5, 0.5], [0.75, 0.25], [1, 0]]}), "sparse"),
        ("ideal", json!({"prunable_share": 1, "efficiency": 1}), "sparse"),
        ("flat", json!({"points": [[0, 1], [1, 1]]}), "dense"),
        ("none", json!({"prunable_share": 0, "efficiency": 0.5}), "dense"),
    ] {
        create(&app, json!({"name": name, "cost": cost})).await;
        let (got, expected) = (optimum(&app, name).await, optimum(&app, mode).await);
        for field in ["sparsity", "loss", "gain", "chinchilla_ratio"] {
            assert!(
                (number(&got[field]) - number(&expected[field])).abs() < 1e-9,
                "{name} {field}"
            );
        }
        assert_eq!(got["pattern"], Value::Null);
        let ask = |mode: &str| {
            let path = format!(
                "/v1/families/vit-jft/prediction?nonzero_params=1e8&sparsity=0.6&compute=1e19&flop_mode={mode}"
            );
            let app = &app;
            async move { number(&app.get(&path).await.json::<Value>()["loss"]) }
        };
        assert!((ask(name).await - ask(mode).await).abs() < 1e-9, "{name}");
        let contours = |mode: &str| {
            let path = format!("/v1/families/vit-jft/contours?flop_mode={mode}&levels=0,0.6,0.9");
            let app = &app;
            async move { app.get(&path).await.json::<Value>() }
        };
        let (got, expected) = (contours(name).await, contours(mode).await);
        assert_eq!(got["flop_mode"], name);
        for i in 0..3 {
            let ratio = |of: &Value| number(&of["lines"][i]["chinchilla_ratio"]);
            assert!((ratio(&got) / ratio(&expected) - 1.0).abs() < 1e-9, "{name} {i}");
        }
    }
}

#[tokio::test]
async fn hardware_lies_between_the_two_modes() {
    let app = App::new().await;
    let (dense, sparse) = (optimum(&app, "dense").await, optimum(&app, "sparse").await);
    for name in ["example-block-sparse", "example-unstructured"] {
        let answer = optimum(&app, name).await;
        let loss = number(&answer["loss"]);
        assert!(number(&sparse["loss"]) < loss && loss < number(&dense["loss"]), "{answer}");
    }
}

#[tokio::test]
async fn the_best_pattern_is_said() {
    let app = App::new().await;
    let answer = optimum(&app, "example-2-4-peak").await;
    // On this hardware unstructured zeros save nothing.
    let dense = optimum(&app, "dense").await;
    assert_eq!(answer["sparsity"], dense["sparsity"]);
    let pattern = &answer["pattern"];
    assert_eq!((&pattern["name"], &pattern["sparsity"]), (&json!("2:4"), &json!(0.5)));
    assert_eq!(pattern["effective_sparsity"], Value::Null);
    // A published law has no resamples.
    assert_eq!(pattern.get("interval"), Some(&Value::Null), "{pattern}");
    // C (1 - S) / (k N (t1 + (1 - t1) h)) with h = 1/2.
    let data = 1e19 * 0.5 / (6e8 * (0.75 + 0.25 * 0.5));
    assert!((number(&pattern["data"]) / data - 1.0).abs() < 1e-12, "{pattern}");
    let excess = number(&pattern["loss"]) - number(&answer["loss"]);
    assert!((number(&pattern["excess_loss"]) - excess).abs() < 1e-12);
    // Without a measured cost of the pattern, that of the curve applies; the sparser pattern is better at this
    // budget.
    let cost = json!({"points": [[0.5, 0.6], [0.75, 0.4]]});
    create(&app, json!({"name": "both", "cost": cost, "patterns": ["2:4", "1:4"]})).await;
    assert_eq!(optimum(&app, "both").await["pattern"]["name"], "1:4");
    // At a small budget no pattern pays off.
    let small = "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e9&compute=1e16&flop_mode=example-a100-2-4";
    let answer: Value = app.get(small).await.json();
    let pattern = &answer["pattern"];
    assert_eq!((&pattern["name"], &pattern["excess_loss"]), (&json!("dense"), &json!(0.0)));
    assert_eq!(pattern["loss"], answer["dense"]["loss"]);
}

#[tokio::test]
async fn a_sparsity_that_is_jumped_over_has_no_line() {
    let app = App::new().await;
    let cost = json!({"points": [[0.4, 1], [0.5, 0.3], [1, 0.01]]});
    create(&app, json!({"name": "steep", "cost": cost})).await;
    let path = "/v1/families/vit-jft/contours?flop_mode=steep&levels=0,0.45,0.95&intervals=false";
    let contours: Value = app.get(path).await.json();
    let lines = contours["lines"].as_array().unwrap();
    assert!(lines[0]["chinchilla_ratio"].is_number() && lines[2]["chinchilla_ratio"].is_number());
    assert_eq!(lines[1]["chinchilla_ratio"], Value::Null);
    assert_eq!(lines[1]["points"], json!([]));
    let codes: Vec<_> =
        contours["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["not_checked", "no_budget"]);
}

#[tokio::test]
async fn an_unknown_mode_is_refused_everywhere() {
    let app = App::new().await;
    for path in [
        "prediction?nonzero_params=1e8&sparsity=0.5&compute=1e19",
        "optimal-sparsity?nonzero_params=1e8&compute=1e19",
        "contours?levels=0.5",
    ] {
        for mode in ["unknown", "DENSE", "%00", ""] {
            let path = format!("/v1/families/t5-c4/{path}&flop_mode={mode}");
            let response = app.get(&path).await;
            assert_eq!(problem(&response, 422, "invalid"), ["/flop_mode"], "{path}");
            assert!(response.text().contains("/v1/hardware-profiles"), "{path}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_known_until_its_profile_changes() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=example-block-sparse&law_version=1";
    let first = app.get(path).await;
    // `law_version` fixes the law, but not the profile.
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let etag = first.header("etag");
    let again = app.server.get(path).add_header("if-none-match", etag.clone()).await;
    assert_eq!(again.status_code(), 304);
    // The test clock does not move, so both changes have the same time.
    let profile = "/v1/hardware-profiles/example-block-sparse";
    let change = json!({"cost": {"prunable_share": 0.5, "efficiency": 0.7}});
    app.server.patch(profile).json(&change).await.assert_status(OK);
    let changed = app.server.get(path).add_header("if-none-match", etag.clone()).await;
    changed.assert_status(OK);
    assert_ne!(changed.header("etag"), etag);
    app.server.patch(profile).json(&json!({"source": "x"})).await.assert_status(OK);
    assert_ne!(app.get(path).await.header("etag"), changed.header("etag"));
}

#[tokio::test]
async fn a_fitted_law_answers_by_a_profile_with_intervals() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    app.refit("mine", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    let question = "nonzero_params=1e7&compute=1e19&flop_mode=example-block-sparse";
    let answer: Value =
        app.get(&format!("/v1/families/mine/optimal-sparsity?{question}")).await.json();
    let (low, high) = (number(&answer["interval"]["low"]), number(&answer["interval"]["high"]));
    let sparsity = number(&answer["sparsity"]);
    assert!(low <= sparsity && sparsity <= high && high < 1.0, "{answer}");
    let path = "/v1/families/mine/contours?flop_mode=example-block-sparse&levels=0.9&points=3";
    let contours: Value = app.get(path).await.json();
    let line = &contours["lines"][0];
    assert!(line["interval"]["low"].is_number(), "{line}");
    assert_eq!(line["band"].as_array().unwrap().len(), 3);
}

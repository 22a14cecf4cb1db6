//! Measured pruning schedules, zeros from the first step, and bounds on the sparsity.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

/// A family with the published law of T5 and its own schedule.
async fn family(app: &App, name: &str, pruning: Value) {
    let body = json!({"name": name, "pruning": pruning});
    app.post("/v1/families", body).await.assert_status(CREATED);
    let coefficients = json!({
        "a_s": 16.7871, "b_s": 0.721613, "c_s": 45.0184, "b_n": 0.245132, "a_d": 6.8999e8, "b_d": 0.202708,
        "c": 0.650742
    });
    let law = json!({"coefficients": coefficients, "reference": "arXiv 2309.08520, rounded"});
    app.post(&format!("/v1/families/{name}/laws"), law).await.assert_status(CREATED);
}

async fn best(app: &App, family: &str, more: &str) -> Value {
    let path =
        format!("/v1/families/{family}/optimal-sparsity?nonzero_params=1e8&compute=1e19&{more}");
    let response = app.get(&path).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    response.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn a_measured_schedule_costs_what_its_mean_says() {
    let app = App::new().await;
    // The mean shares of tools that prune only every ten or twenty steps, where the formula gives .625.
    for (name, share, expected) in [("tfmot-10", 0.58, 0.5657), ("tfmot-20", 0.514, 0.5262)] {
        let jump = 1.0 - share;
        family(&app, name, json!({"points": [[jump, 0.0], [jump, 1.0]]})).await;
        let answer = best(&app, name, "flop_mode=sparse").await;
        let sparsity = number(&answer["sparsity"]);
        // The coefficients have six digits.
        assert!((sparsity - expected).abs() < 1e-3, "{name}: {sparsity}");
    }
    let shown: Value = app.get("/v1/families/tfmot-10").await.json();
    assert_eq!(
        shown["pruning"],
        json!({"points": [[0.42000000000000004, 0.0], [0.42000000000000004, 1.0]]})
    );
    // The shown schedule can be sent again, and the law keeps the schedule with which it was made.
    let change = json!({"pruning": {"start": 0.25, "end": 0.75}});
    let changed = app.server.patch("/v1/families/tfmot-10").json(&change).await;
    assert_eq!(
        changed.json::<Value>()["pruning"],
        json!({"start": 0.25, "end": 0.75, "exponent": 3.0})
    );
    let law: Value = app.get("/v1/families/tfmot-10/laws/1").await.json();
    assert_eq!(law["pruning"], shown["pruning"]);
    let back = json!({"pruning": shown["pruning"]});
    let changed = app.server.patch("/v1/families/tfmot-10").json(&back).await;
    assert_eq!(changed.json::<Value>()["pruning"], shown["pruning"]);
}

#[tokio::test]
async fn kernels_of_a_pattern_start_where_the_family_says() {
    let app = App::new().await;
    let profile = json!({
        "name": "fast", "cost": {"prunable_share": 0, "efficiency": 1}, "patterns": ["2:4"],
        "pattern_costs": {"2:4": 0.7}
    });
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    for (name, start, multiplier) in
        [("usual", None, 1.85), ("jaxpruner", Some(0.25), 1.55), ("tfmot", Some(0.0), 1.40)]
    {
        let mut pruning = json!({"start": 0.25, "end": 0.75, "exponent": 3});
        if let Some(start) = start {
            pruning["pattern_start"] = json!(start);
        }
        family(&app, name, pruning).await;
        let answer: Value = app
            .get(&format!(
                "/v1/families/{name}/optimal-sparsity?nonzero_params=1e7&compute=1e20&flop_mode=fast"
            ))
            .await
            .json();
        let pattern = &answer["pattern"];
        assert_eq!(pattern["name"], "2:4", "{answer}");
        let got = 1e20 / (6e7 * number(&pattern["data"]));
        assert!((got / multiplier - 1.0).abs() < 1e-9, "{name}: {got}");
        // Plans compute the same cost.
        let body = json!({"flop_mode": "fast", "compute": 1e20, "patterns": ["2:4"], "sparsity": {"min": 0.5}});
        let plan: Value = app.post(&format!("/v1/families/{name}/plans"), body).await.json();
        let (n, d) = (number(&plan["optimum"]["nonzero_params"]), number(&plan["optimum"]["data"]));
        assert!((1e20 / (6.0 * n * d) / multiplier - 1.0).abs() < 1e-6, "{plan}");
    }
}

#[tokio::test]
async fn zeros_from_the_first_step_want_a_bound_where_they_are_free() {
    let app = App::new().await;
    family(&app, "constant", json!({"start": 0, "end": 0})).await;
    family(&app, "as-points", json!({"points": [[0, 1]]})).await;
    for name in ["constant", "as-points"] {
        // In dense mode there is an optimum, as zeros cost as much as other weights.
        let dense = best(&app, name, "flop_mode=dense").await;
        assert_eq!(dense["binding"], json!([]));
        assert!((number(&dense["sparsity"]) - 0.2121).abs() < 1e-3, "{dense}");
        let question = format!(
            "/v1/families/{name}/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
        );
        assert_eq!(problem(&app.get(&question).await, 422, "invalid"), ["/max_sparsity"]);
        for (bound, sparsity, binds) in [
            ("max_total_params=4e8", 0.75, "max_total_params"),
            ("memory_bytes=1e9", 0.8, "memory_bytes"),
            ("memory_bytes=1e9&bits_per_param=32", 0.6, "memory_bytes"),
            ("memory_bytes=4e8&storage=bitmask", 1.0 - 1.0 / 16.0, "memory_bytes"),
            ("max_sparsity=0.9", 0.9, "max_sparsity"),
            ("max_sparsity=0.9&max_total_params=4e8", 0.75, "max_total_params"),
        ] {
            let answer = best(&app, name, &format!("flop_mode=sparse&{bound}")).await;
            assert!((number(&answer["sparsity"]) - sparsity).abs() < 1e-9, "{bound}: {answer}");
            assert_eq!(answer["binding"], json!([binds]), "{bound}");
            // Zeros cost nothing, so there is as much data as for the dense model.
            assert_eq!(answer["data"], answer["dense"]["data"]);
            assert!(number(&answer["loss"]) < number(&answer["dense"]["loss"]));
        }
        // If no sparsity is best, there are no contours, no unbounded curve, and nothing to narrow.
        let contours = app.get(&format!("/v1/families/{name}/contours?flop_mode=sparse")).await;
        problem(&contours, 409, "undetermined");
        let curve = format!(
            "/v1/families/{name}/loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
        );
        assert_eq!(problem(&app.get(&curve).await, 422, "invalid"), ["/max_sparsity"]);
        let curve: Value = app.get(&format!("{curve}&max_sparsity=0.96875")).await.json();
        assert_eq!(curve["optimum"]["sparsity"], 0.96875);
        // A plan says which highest sparsity it assumed.
        let plan: Value = app
            .post(
                &format!("/v1/families/{name}/plans"),
                json!({"flop_mode": "sparse", "compute": 1e20}),
            )
            .await
            .json();
        assert_eq!(plan["assumed"]["max_sparsity"], 0.95);
        assert_eq!(plan["warnings"][0]["code"], "sparsity_limited");
    }
}

#[tokio::test]
async fn bounds_hold_for_every_question_and_say_that_they_bind() {
    let app = App::new().await;
    let free = best(&app, "t5-c4", "flop_mode=sparse").await;
    let sparsity = number(&free["sparsity"]);
    let kept = best(&app, "t5-c4", "flop_mode=sparse&max_sparsity=0.7").await;
    assert_eq!((&kept["sparsity"], &kept["binding"]), (&free["sparsity"], &json!([])));
    let bound = best(&app, "t5-c4", "flop_mode=sparse&max_sparsity=0.5&max_total_params=1e9").await;
    assert_eq!((&bound["sparsity"], &bound["binding"]), (&json!(0.5), &json!(["max_sparsity"])));
    assert!(number(&bound["loss"]) > number(&free["loss"]));
    // Bounds in a list of questions, for all points and for one.
    let body = json!({
        "flop_mode": "sparse", "max_sparsity": 0.5, "points": [
            {"nonzero_params": 1e8, "compute": 1e19},
            {"nonzero_params": 1e8, "compute": 1e19, "max_sparsity": 0.7},
            {"nonzero_params": 1e8, "compute": 1e19, "memory_bytes": 2.5e8, "max_sparsity": 0.9},
        ]
    });
    let many = app.post("/v1/families/t5-c4/optimal-sparsities", body.clone()).await;
    let many: Value = many.json();
    let results = many["results"].as_array().unwrap();
    assert_eq!((&results[0]["sparsity"], &results[0]["loss"]), (&json!(0.5), &bound["loss"]));
    assert!((number(&results[1]["sparsity"]) - sparsity).abs() < 1e-12);
    assert_eq!(results[1]["binding"], json!([]));
    assert!((number(&results[2]["sparsity"]) - 0.2).abs() < 1e-9, "{many}");
    assert_eq!(results[2]["binding"], json!(["memory_bytes"]));
    // Plans accept the same bounds.
    let plan = |bounds: Value| {
        let app = &app;
        async move {
            let mut body = json!({"flop_mode": "sparse", "compute": 1e20, "intervals": false});
            body.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
            app.post("/v1/families/t5-c4/plans", body).await
        }
    };
    let same = [
        (json!({"max_sparsity": 0.3}), json!({"sparsity": {"max": 0.3}})),
        (json!({"max_total_params": 1e8}), json!({"total_params": {"max": 1e8}})),
    ];
    for (words, bounds) in same {
        let (a, b): (Value, Value) = (plan(words).await.json(), plan(bounds).await.json());
        assert_eq!((&a["optimum"], &a["binding"]), (&b["optimum"], &b["binding"]));
    }
    for (bounds, pointer) in [
        (json!({"max_sparsity": 0.3, "sparsity": {"max": 0.4}}), "/max_sparsity"),
        (json!({"max_sparsity": 0.3, "sparsity": {"min": 0.4}}), "/max_sparsity"),
        (json!({"max_total_params": 0}), "/max_total_params"),
    ] {
        assert_eq!(problem(&plan(bounds).await, 422, "invalid"), [pointer]);
    }
}

#[tokio::test]
async fn wrong_schedules_and_bounds_are_named() {
    let app = App::new().await;
    for (pruning, pointer) in [
        (json!({"points": []}), "/pruning/points"),
        (json!({"points": [[0.5, 0.2], [0.4, 0.3]]}), "/pruning/points/1/0"),
        (json!({"points": [[0.5, 1.2]]}), "/pruning/points/0/1"),
        (json!({"points": [[0.5]]}), "/pruning/points/0"),
        (json!({"points": [[0, 1]], "start": 0}), "/pruning/points"),
        (json!({"points": [[0, 1]], "exponent": 3}), "/pruning/points"),
        (json!({"points": vec![[0.5, 1.0]; 201]}), "/pruning/points"),
        (json!({"start": 0.25, "end": 0.75, "pattern_start": 1.5}), "/pruning/pattern_start"),
        (json!({"start": 0.8, "end": 0.75}), "/pruning/start"),
        (json!({"end": 0.75}), "/pruning/start"),
        (json!({"exponent": 3}), "/pruning/start"),
    ] {
        let response = app.post("/v1/families", json!({"name": "a", "pruning": pruning})).await;
        let pointers = problem(&response, 422, "invalid");
        assert_eq!(pointers[0], pointer, "{}", response.text());
    }
    for (query, pointer) in [
        ("max_total_params=9e7", "/max_total_params"),
        ("max_total_params=0", "/max_total_params"),
        ("memory_bytes=1e8", "/memory_bytes"),
        ("max_sparsity=1", "/max_sparsity"),
        ("storage=dense", "/storage"),
        ("bits_per_param=16", "/bits_per_param"),
        ("memory_bytes=1e9&bits_per_param=12", "/bits_per_param"),
    ] {
        let path = format!(
            "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse&{query}"
        );
        assert_eq!(problem(&app.get(&path).await, 422, "invalid"), [pointer], "{query}");
    }
    let path = "/v1/families/t5-c4/optimal-sparsities";
    for (body, pointer) in [
        (
            json!({"flop_mode": "sparse", "max_sparsity": 2, "points": [{"nonzero_params": 1e8, "compute": 1e19}]}),
            "/max_sparsity",
        ),
        (
            json!({"flop_mode": "sparse", "storage": "csr", "points": [{"nonzero_params": 1e8, "compute": 1e19}]}),
            "/storage",
        ),
        (
            json!({"flop_mode": "sparse", "points": [{"nonzero_params": 1e8, "compute": 1e19, "max_total_params": 1e7}]}),
            "/points/0/max_total_params",
        ),
    ] {
        assert_eq!(problem(&app.post(path, body).await, 422, "invalid"), [pointer]);
    }
}

#[tokio::test]
async fn two_measured_sparsities_keep_a_bound_too() {
    let app = App::with_worker().await;
    app.post("/v1/families", json!({"name": "two", "pruning": {"start": 0, "end": 0}}))
        .await
        .assert_status(CREATED);
    let law = sparsity_law::law::T5_C4.coefficients();
    let mut runs = Vec::new();
    for n in [1e6, 4e6, 2e7, 8e7] {
        for sparsity in [0.0, 0.5] {
            for data in [1e9, 5e9, 2e10, 1e11] {
                let loss = law.loss(
                    sparsity_law::law::Sparsity::new(sparsity).unwrap().density(),
                    sparsity_law::law::NonzeroParams::new(n).unwrap(),
                    sparsity_law::law::Data::new(data).unwrap(),
                );
                // A little scatter, so that there is something to fit.
                let loss = loss * (1.0 + 1e-4 * (n + data).ln().sin());
                runs.push(json!({
                    "external_id": format!("{n}-{sparsity}-{data}"), "nonzero_params": n, "sparsity": sparsity,
                    "data": data, "loss": loss
                }));
            }
        }
    }
    app.post("/v1/families/two/runs", json!(runs)).await.assert_status(OK);
    let refit = app.refit("two", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let free = best(&app, "two", "flop_mode=sparse").await;
    assert_eq!((&free["sparsity"], &free["best_measured_level"]), (&json!(0.5), &json!(true)));
    assert_eq!(free["binding"], json!([]));
    let bound = best(&app, "two", "flop_mode=sparse&max_sparsity=0.4").await;
    assert_eq!((&bound["sparsity"], &bound["binding"]), (&json!(0.0), &json!(["max_sparsity"])));
    assert_eq!(bound["measured_levels"].as_array().unwrap().len(), 1);
    problem(&app.get("/v1/families/two/contours?flop_mode=dense").await, 409, "not-identified");
}

//! Budgets in hours, days and money, computed from a hardware profile.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

/// 1e15 FLOPs a second at 40 %, 64 devices, 2.5 an hour: one device does 1.44e18 FLOPs in an hour.
async fn with_profiles() -> App {
    let app = App::new().await;
    let profile = json!({
        "name": "machine", "cost": {"prunable_share": 0.9, "efficiency": 0.9},
        "flops_per_second": 1e15, "utilisation": 0.4, "devices": 64, "price_per_hour": 2.5
    });
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let silent = json!({"name": "silent", "cost": {"prunable_share": 0.9, "efficiency": 0.9}});
    app.post("/v1/hardware-profiles", silent).await.assert_status(CREATED);
    let fast = json!({
        "name": "no-price", "cost": {"prunable_share": 0.9, "efficiency": 0.9}, "flops_per_second": 4e14
    });
    app.post("/v1/hardware-profiles", fast).await.assert_status(CREATED);
    app
}

const HOUR: f64 = 1.44e18;

async fn asked(app: &App, path: &str) -> Value {
    let response = app.get(&format!("/v1/families/t5-c4/{path}")).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    response.json()
}

fn near(got: &Value, expected: f64) {
    let got = got.as_f64().unwrap_or_else(|| panic!("{got} is no number"));
    assert!((got / expected - 1.0).abs() < 1e-12, "{got} {expected}");
}

#[tokio::test]
async fn every_way_to_say_a_budget_gives_the_same_answer() {
    let app = with_profiles().await;
    let compute = HOUR * 1536.0;
    let size = "nonzero_params=1e9&flop_mode=machine";
    for path in ["optimal-sparsity", "loss-by-sparsity", "prediction"] {
        let more = if path == "prediction" { "&sparsity=0.5" } else { "" };
        let by = |budget: String| {
            let (app, path) = (&app, format!("{path}?{size}{more}&{budget}"));
            async move { asked(app, &path).await }
        };
        let flops = by(format!("compute={compute}")).await;
        let budget = &flops["budget"];
        near(&budget["compute"], compute);
        near(&budget["device_hours"], 1536.0);
        near(&budget["days"], 1.0);
        near(&budget["cost"], 3840.0);
        for other in ["device_hours=1536", "days=1", "cost=3840"] {
            let answer = by(other.to_owned()).await;
            assert_eq!(answer["budget"], flops["budget"], "{path} {other}");
            assert_eq!((&answer["loss"], &answer["optimum"]), (&flops["loss"], &flops["optimum"]));
        }
    }
    // Numbers that the profile does not give are null in the answer.
    let silent =
        asked(&app, "optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=silent").await;
    assert_eq!(
        silent["budget"],
        json!({"compute": 1e19, "device_hours": null, "days": null, "cost": null})
    );
    let fast = asked(&app, "optimal-sparsity?nonzero_params=1e8&days=2&flop_mode=no-price").await;
    near(&fast["budget"]["compute"], 4e14 * 86_400.0 * 2.0);
    assert_eq!(fast["budget"]["cost"], Value::Null);
    let data = asked(&app, "prediction?nonzero_params=1e8&sparsity=0.5&data=1e10").await;
    assert_eq!(data["budget"], Value::Null);
}

#[tokio::test]
async fn lists_and_plans_take_them_too() {
    let app = with_profiles().await;
    let single =
        asked(&app, "optimal-sparsity?nonzero_params=1e9&cost=3840&flop_mode=machine").await;
    let path = "/v1/families/t5-c4/optimal-sparsities";
    let points = json!({"flop_mode": "machine", "points": [
        {"nonzero_params": 1e9, "device_hours": 1536}, {"nonzero_params": 1e9, "cost": 3840},
        {"nonzero_params": 1e9, "compute": HOUR * 1536.0, "flop_mode": "sparse"},
    ]});
    let many: Value = app.post(path, points).await.json();
    for at in [0, 1] {
        assert_eq!(many["results"][at]["sparsity"], single["sparsity"], "{many}");
        assert_eq!(many["results"][at]["budget"], single["budget"]);
    }
    assert_eq!(many["results"][2]["budget"]["device_hours"], Value::Null);
    let grid = json!({"flop_mode": "machine", "nonzero_params": [1e9], "days": {"from": 0.5, "to": 2, "steps": 3}});
    let grid: Value = app.post(path, grid).await.json();
    near(&grid["results"][1]["budget"]["days"], 1.0);
    assert_eq!(grid["results"][1]["sparsity"], single["sparsity"]);
    let losses =
        json!({"flop_mode": "machine", "nonzero_params": [1e9], "sparsity": [0.5], "cost": [3840]});
    let losses: Value = app.post("/v1/families/t5-c4/predictions", losses).await.json();
    near(&losses["results"][0]["budget"]["device_hours"], 1536.0);
    let plan = |budget: Value| {
        let app = &app;
        async move {
            let mut body = json!({"flop_mode": "machine", "intervals": false});
            body.as_object_mut().unwrap().extend(budget.as_object().unwrap().clone());
            app.post("/v1/families/t5-c4/plans", body).await.json::<Value>()
        }
    };
    let flops = plan(json!({"compute": HOUR * 1536.0})).await;
    near(&flops["optimum"]["budget"]["cost"], 3840.0);
    for budget in [json!({"days": 1}), json!({"cost": 3840}), json!({"device_hours": 1536})] {
        assert_eq!(plan(budget).await["optimum"], flops["optimum"]);
    }
    // The least cost, in money, of reaching a loss.
    let target = plan(json!({"target_loss": flops["optimum"]["loss"]})).await;
    let cost = target["optimum"]["budget"]["cost"].as_f64().unwrap();
    assert!((cost / 3840.0 - 1.0).abs() < 1e-6, "{cost}");
}

#[tokio::test]
async fn one_budget_is_given_and_the_profile_says_what_it_is_worth() {
    let app = with_profiles().await;
    let size = "nonzero_params=1e8";
    for (query, pointer) in [
        ("flop_mode=machine", "/compute"),
        ("flop_mode=machine&compute=1e19&days=1", "/days"),
        ("flop_mode=machine&device_hours=1&cost=1", "/cost"),
        ("flop_mode=machine&days=0", "/days"),
        ("flop_mode=machine&days=1e16", "/days"),
        ("flop_mode=sparse&days=1", "/days"),
        ("flop_mode=silent&device_hours=1", "/device_hours"),
        ("flop_mode=no-price&cost=1", "/cost"),
        ("flop_mode=machine&device_hours=1e-19", "/device_hours"),
    ] {
        let path = format!("/v1/families/t5-c4/optimal-sparsity?{size}&{query}");
        assert_eq!(problem(&app.get(&path).await, 422, "invalid"), [pointer], "{query}");
    }
    for (query, pointer) in [
        ("data=1e9&days=1&flop_mode=machine", "/days"),
        ("days=1", "/flop_mode"),
        ("compute=1e19&days=1&flop_mode=machine", "/days"),
    ] {
        let path = format!("/v1/families/t5-c4/prediction?{size}&sparsity=0.5&{query}");
        assert_eq!(problem(&app.get(&path).await, 422, "invalid"), [pointer], "{query}");
    }
    let lists = [
        (
            json!({"flop_mode": "machine", "nonzero_params": [1e8], "compute": [1e19], "cost": [1]}),
            "/cost",
        ),
        (json!({"flop_mode": "machine", "nonzero_params": [1e8], "cost": [-1]}), "/cost/0"),
        (
            json!({"points": [{"nonzero_params": 1e8, "days": 1, "flop_mode": "dense"}]}),
            "/points/0/days",
        ),
    ];
    for (body, pointer) in lists {
        let response = app.post("/v1/families/t5-c4/optimal-sparsities", body).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
    for (body, pointer) in [
        (json!({"flop_mode": "machine"}), "/compute"),
        (json!({"flop_mode": "machine", "compute": 1e20, "days": 1}), "/days"),
        (json!({"flop_mode": "dense", "cost": 1}), "/cost"),
    ] {
        let response = app.post("/v1/families/t5-c4/plans", body).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
}

#[tokio::test]
async fn a_machine_is_described_changed_and_checked() {
    let app = with_profiles().await;
    let profile: Value = app.get("/v1/hardware-profiles/machine").await.json();
    assert_eq!((&profile["flops_per_second"], &profile["devices"]), (&json!(1e15), &json!(64)));
    let change = json!({"price_per_hour": null, "devices": 8});
    let changed = app.server.patch("/v1/hardware-profiles/machine").json(&change).await;
    let changed: Value = changed.json();
    assert_eq!((&changed["price_per_hour"], &changed["devices"]), (&Value::Null, &json!(8)));
    assert_eq!(changed["utilisation"], 0.4);
    let without_speed = json!({"flops_per_second": null});
    let refused = app.server.patch("/v1/hardware-profiles/machine").json(&without_speed).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/utilisation", "/devices"]);
    let cost = json!({"prunable_share": 0.9, "efficiency": 0.9});
    for (more, pointer) in [
        (json!({"flops_per_second": 0}), "/flops_per_second"),
        (json!({"flops_per_second": 1e15, "utilisation": 1.5}), "/utilisation"),
        (json!({"flops_per_second": 1e15, "devices": 0}), "/devices"),
        (json!({"flops_per_second": 1e15, "price_per_hour": -1}), "/price_per_hour"),
        (json!({"price_per_hour": 2}), "/price_per_hour"),
        (json!({"expert_costs": {"1": 1}}), "/expert_costs/1"),
        (json!({"expert_costs": {"08": 1}}), "/expert_costs/08"),
        (json!({"expert_costs": {"8": 0}}), "/expert_costs/8"),
    ] {
        let mut body = json!({"name": "other", "cost": cost});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = app.post("/v1/hardware-profiles", body).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
}

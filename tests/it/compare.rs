//! `/v1/compare`: how much compute of one recipe a unit of compute of another is worth.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

async fn compared(app: &App, query: &str) -> Value {
    let response = app.get(&format!("/v1/compare?{query}")).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    response.json()
}

#[tokio::test]
async fn the_multiple_is_the_compute_that_reaches_the_same_loss() {
    let app = App::new().await;
    let answer = compared(
        &app,
        "a=t5-c4&b=t5-c4&a_sparsity=0&b_sparsity=0.75&flop_mode=sparse&min_compute=1e19&max_compute=1e21&points=3",
    )
    .await;
    assert_eq!(
        (&answer["a"]["cost_multiplier"], &answer["a"]["given"]),
        (&json!(1.0), &json!(true))
    );
    assert!((number(&answer["b"]["cost_multiplier"]) - (1.0 - 0.625 * 0.75) / 0.25).abs() < 1e-12);
    let points = answer["points"].as_array().unwrap();
    assert_eq!(points.len(), 3);
    for point in points {
        let compute = number(&point["budget"]["compute"]);
        let plan = |compute: f64, sparsity: f64| {
            let body = json!({
                "flop_mode": "sparse", "compute": compute, "sparsity": {"min": sparsity, "max": sparsity},
                "frontier_points": 0
            });
            let app = &app;
            async move { app.post("/v1/families/t5-c4/plans", body).await.json::<Value>() }
        };
        let (a, b) = (plan(compute, 0.0).await, plan(compute, 0.75).await);
        assert!((number(&a["optimum"]["loss"]) / number(&point["a_loss"]) - 1.0).abs() < 1e-9);
        assert!((number(&b["optimum"]["loss"]) / number(&point["b_loss"]) - 1.0).abs() < 1e-9);
        let worth = plan(compute * number(&point["multiple"]), 0.0).await;
        assert!((number(&worth["optimum"]["loss"]) / number(&point["b_loss"]) - 1.0).abs() < 1e-9);
    }
    assert_eq!(answer["middle"]["budget"]["compute"], points[1]["budget"]["compute"]);
    // Without a sparsity the best one is used, which is worth at least as much as any other.
    let best = compared(
        &app,
        "a=t5-c4&b=t5-c4&a_sparsity=0&flop_mode=sparse&min_compute=1e19&max_compute=1e21",
    )
    .await;
    assert_eq!(best["b"]["given"], false);
    assert!(number(&best["middle"]["multiple"]) >= number(&answer["middle"]["multiple"]), "{best}");
    assert!(number(&best["middle"]["multiple"]) > 1.0);
    // A recipe compared with itself has the multiple 1.
    let same = compared(&app, "a=vit-jft&b=vit-jft&flop_mode=dense").await;
    assert!((number(&same["middle"]["multiple"]) - 1.0).abs() < 1e-9, "{same}");
    assert_eq!(same["crossings"], json!([]));
}

/// Two fitted families with the same law; the second trains a pattern from the first step on.
async fn fitted() -> App {
    let app = App::with_worker().await;
    app.demo_family("dense").await;
    app.demo_family("other").await;
    for family in ["dense", "other"] {
        let refit = app.refit(family, json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
        assert_eq!(refit["state"], "succeeded", "{refit}");
    }
    app
}

#[tokio::test]
async fn intervals_pictures_and_what_lies_outside_the_runs() {
    let app = fitted().await;
    let profile = json!({
        "name": "half", "cost": {"prunable_share": 0, "efficiency": 1}, "patterns": ["2:4"],
        "pattern_costs": {"2:4": 0.6}
    });
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let query = "a=dense&b=other&a_sparsity=0&b_pattern=2:4&flop_mode=half";
    let answer = compared(&app, query).await;
    assert_eq!((&answer["b"]["pattern"], &answer["b"]["sparsity"]), (&json!("2:4"), &json!(0.5)));
    let middle = &answer["middle"];
    let (low, high) = (number(&middle["interval"]["low"]), number(&middle["interval"]["high"]));
    let multiple = number(&middle["multiple"]);
    assert!(low < high && low < multiple * 1.05 && multiple * 0.95 < high, "{middle}");
    assert_eq!(answer["points"].as_array().unwrap().len(), 9);
    let far =
        compared(&app, &format!("{query}&min_compute=1e18&max_compute=1e30&intervals=false")).await;
    let last = far["points"].as_array().unwrap().last().unwrap().clone();
    assert!(number(&last["a_beyond"]) > 10.0, "{last}");
    // The middle of such a wide range lies far outside the runs.
    let trust = |answer: &Value| answer["trust"]["because"].as_array().unwrap().clone();
    assert!(number(&far["middle"]["a_beyond"]) > 10.0, "{}", far["middle"]);
    assert!(trust(&far).contains(&json!("extrapolation")), "{}", far["trust"]);
    assert!(trust(&answer).contains(&json!("unmeasured_pattern")), "{}", answer["trust"]);
    assert!(!trust(&answer).contains(&json!("extrapolation")), "{}", answer["trust"]);
    assert!(last.get("interval").is_none());
    for accept in ["image/svg+xml", "image/png"] {
        let path = format!("/v1/compare?{query}");
        let drawn = app.server.get(&path).add_header("accept", accept).await;
        assert_eq!(drawn.status_code(), OK, "{}", drawn.text());
        assert_eq!(drawn.header("content-type"), accept);
        assert_eq!(drawn.header("vary"), "accept");
        let known = drawn.header("etag");
        let again = app
            .server
            .get(&path)
            .add_header("accept", accept)
            .add_header("if-none-match", known)
            .await;
        assert_eq!(again.status_code().as_u16(), 304);
        if accept == "image/svg+xml" {
            assert!(
                drawn.text().contains("class=\"multiple\"")
                    && drawn.text().contains("class=\"band\"")
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_named() {
    let app = App::new().await;
    let base = "a=t5-c4&b=vit-jft&flop_mode=dense";
    for (query, pointer) in [
        (format!("{base}&a_sparsity=1"), "/a_sparsity"),
        (format!("{base}&b_sparsity=0.5&b_pattern=2:4"), "/b_pattern"),
        (format!("{base}&b_pattern=4:2"), "/b_pattern"),
        (format!("{base}&points=1"), "/points"),
        (format!("{base}&min_compute=1e20&max_compute=1e20"), "/max_compute"),
        (format!("{base}&min_compute=1e39"), "/min_compute"),
        (format!("{base}&width=10"), "/width"),
        (format!("{base}&more=1"), "/more"),
        ("a=t5-c4&b=vit-jft&flop_mode=nothing".to_owned(), "/flop_mode"),
        ("a=t5-c4&b=vit-jft&flop_mode=example-block-sparse&a_pattern=3:7".to_owned(), "/a_pattern"),
        ("a=t5-c4&flop_mode=dense".to_owned(), "/b"),
    ] {
        let response = app.get(&format!("/v1/compare?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{query}");
    }
    problem(&app.get("/v1/compare?a=none&b=t5-c4&flop_mode=dense").await, 404, "not-found");
    app.post("/v1/families", json!({"name": "empty"})).await.assert_status(CREATED);
    problem(&app.get("/v1/compare?a=empty&b=t5-c4&flop_mode=dense").await, 409, "no-law");
    // Losses on images and on tokens cannot be compared.
    let answer = compared(&app, base).await;
    assert_eq!(answer["warnings"][0]["code"], "other_data_unit");
    let because = answer["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("other_data_unit")), "{answer}");
}

//! Lists of questions: the same answers as to single questions, in the same order.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::support::{App, OK, problem};

const T5: &str = "/v1/families/t5-c4";

async fn fitted() -> App {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let refit = app.refit("mine", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

/// Asserts equality to rounding, as the optima of a list are solved together.
fn assert_near(many: &Value, single: &Value) {
    let end = |of: &Value, which: &str| of[which].as_f64().unwrap();
    for which in ["low", "high"] {
        assert!((end(many, which) - end(single, which)).abs() <= 1e-9, "{many} {single}");
    }
}

async fn asked(app: &App, path: &str, body: Value) -> Value {
    let response = app.post(path, body).await;
    response.assert_status(OK);
    response.json()
}

#[tokio::test]
async fn optimal_sparsities_are_those_of_single_questions() {
    let app = fitted().await;
    app.post(
        "/v1/hardware-profiles",
        json!({"name": "mine", "cost": {"points": [[0.5, 0.8], [0.9, 0.4]]}, "patterns": ["2:4"]}),
    )
    .await
    .assert_status(axum_test::http::StatusCode::CREATED);
    let points =
        [(1e7, 1e18, "sparse"), (5e7, 1e19, "dense"), (5e7, 1e20, "mine"), (2e9, 1e19, "sparse")];
    let body: Vec<Value> = points
        .iter()
        .map(|(n, c, mode)| json!({"nonzero_params": n, "compute": c, "flop_mode": mode}))
        .collect();
    let path = "/v1/families/mine/optimal-sparsities";
    let many = asked(&app, path, json!({"points": body})).await;
    assert_eq!(many["results"].as_array().unwrap().len(), points.len());
    for ((n, c, mode), result) in points.iter().zip(many["results"].as_array().unwrap()) {
        let single: Value = app
            .get(&format!(
                "/v1/families/mine/optimal-sparsity?nonzero_params={n:e}&compute={c:e}&flop_mode={mode}"
            ))
            .await
            .json();
        for field in [
            "sparsity",
            "loss",
            "data",
            "total_params",
            "dense",
            "gain",
            "pattern",
            "extrapolation",
        ] {
            assert_eq!(result[field], single[field], "{mode} {field}");
        }
        assert_near(&result["interval"], &single["interval"]);
        assert_near(&result["loss_interval"], &single["intervals"]["loss"]);
        assert_eq!(many["law"], single["law"]);
    }
}

#[tokio::test]
async fn predictions_are_those_of_single_questions() {
    let app = fitted().await;
    let points = json!([
        {"nonzero_params": 1e7, "sparsity": 0.5, "data": 3e10},
        {"nonzero_params": 1e7, "sparsity": 0.6, "compute": 1e19},
        {"nonzero_params": 1e7, "sparsity": 0.6, "compute": 1e19, "flop_mode": "dense"},
    ]);
    let body = json!({"points": points, "flop_mode": "sparse"});
    let many = asked(&app, "/v1/families/mine/predictions", body).await;
    let queries = [
        "sparsity=0.5&data=3e10",
        "sparsity=0.6&compute=1e19&flop_mode=sparse",
        "sparsity=0.6&compute=1e19&flop_mode=dense",
    ];
    for (query, result) in queries.iter().zip(many["results"].as_array().unwrap()) {
        let path = format!("/v1/families/mine/prediction?nonzero_params=1e7&{query}");
        let single: Value = app.get(&path).await.json();
        for field in ["loss", "data", "extrapolation"] {
            assert_eq!(result[field], single[field], "{query} {field}");
        }
        for field in ["interval", "prediction_interval"] {
            assert_near(&result[field], &single[field]);
        }
    }
    assert_eq!(many["results"][1]["interpolated"], true);
}

#[tokio::test]
async fn a_grid_is_its_points_with_the_last_axis_fastest() {
    let app = App::new().await;
    let body = json!({"flop_mode": "sparse", "intervals": false,
        "nonzero_params": {"from": 1e7, "to": 1e9, "steps": 3}, "compute": [1e19, 1e20]});
    let grid = asked(&app, &format!("{T5}/optimal-sparsities"), body).await;
    let results = grid["results"].as_array().unwrap();
    let sizes: Vec<f64> = results.iter().map(|r| r["nonzero_params"].as_f64().unwrap()).collect();
    let budgets: Vec<f64> = results.iter().map(|r| r["compute"].as_f64().unwrap()).collect();
    assert_eq!(budgets, [1e19, 1e20, 1e19, 1e20, 1e19, 1e20]);
    assert_eq!([sizes[0], sizes[5]], [1e7, 1e9]);
    assert!((sizes[2] / 1e8 - 1.0).abs() < 1e-12);
    assert!((results[2]["sparsity"].as_f64().unwrap() - 0.593361640).abs() < 1e-9);
    assert!(results[0].get("interval").is_none());

    let body = json!({"intervals": false, "nonzero_params": 1e8, "data": 1e10,
        "sparsity": {"from": 0, "to": 0.9, "steps": 4}});
    let grid = asked(&app, &format!("{T5}/predictions"), body).await;
    let results = grid["results"].as_array().unwrap();
    let sparsities: Vec<f64> = results.iter().map(|r| r["sparsity"].as_f64().unwrap()).collect();
    assert!(sparsities.iter().zip([0.0, 0.3, 0.6, 0.9]).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[tokio::test]
async fn an_arrow_stream_holds_the_numbers_of_the_json() {
    let app = fitted().await;
    let path = "/v1/families/mine/optimal-sparsities";
    let body =
        json!({"flop_mode": "sparse", "nonzero_params": [1e7, 1e9], "compute": [1e19, 1e21]});
    let rows = asked(&app, path, body.clone()).await;
    let stream = app
        .server
        .post(path)
        .add_header("accept", "application/vnd.apache.arrow.stream")
        .json(&body)
        .await;
    stream.assert_status(OK);
    assert_eq!(stream.header("content-type"), "application/vnd.apache.arrow.stream");
    let bytes = stream.as_bytes().to_vec();
    let mut reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
    let law: Value = serde_json::from_str(&reader.schema().metadata()["law"]).unwrap();
    assert_eq!(law, rows["law"]);
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    assert_eq!(batch.num_rows(), 4);
    for (index, row) in rows["results"].as_array().unwrap().iter().enumerate() {
        let number = |name: &str| {
            batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(index)
        };
        for name in ["nonzero_params", "compute", "sparsity", "loss", "gain"] {
            assert_eq!(number(name), row[name].as_f64().unwrap(), "{name}");
        }
        assert_eq!(number("sparsity_low"), row["interval"]["low"].as_f64().unwrap());
        assert_eq!(number("loss_high"), row["loss_interval"]["high"].as_f64().unwrap());
        assert_eq!(number("dense_loss"), row["dense"]["loss"].as_f64().unwrap());
    }
    let refused = app.server.post(path).add_header("accept", "text/csv").json(&body).await;
    problem(&refused, 406, "not-acceptable");
}

#[tokio::test]
async fn a_bad_point_is_named_by_its_index() {
    let app = App::new().await;
    let path = format!("{T5}/optimal-sparsities");
    let good = json!({"nonzero_params": 1e8, "compute": 1e19});
    let refused = async |body: Value| {
        let response = app.post(&path, body).await;
        problem(&response, 422, "invalid")
    };
    let points = json!([good, {"nonzero_params": 0, "compute": -1}, good]);
    let pointers = refused(json!({"flop_mode": "sparse", "points": points})).await;
    assert_eq!(pointers, ["/points/1/nonzero_params", "/points/1/compute"]);
    let points = json!([good, {"nonzero_params": 1e8}]);
    assert_eq!(
        refused(json!({"flop_mode": "sparse", "points": points})).await,
        ["/points/1/compute"]
    );
    let points = json!([good, {"nonzero_params": 1e8, "compute": 1e19, "flop_mode": "sparse"}]);
    assert_eq!(refused(json!({"points": points})).await, ["/points/0/flop_mode"]);
    let points = json!([good, {"nonzero_params": 1e8, "compute": 1e19, "flop_mode": "none"}]);
    let body = json!({"flop_mode": "sparse", "points": points});
    assert_eq!(refused(body).await, ["/points/1/flop_mode"]);
    assert_eq!(refused(json!({"flop_mode": "none", "points": [good]})).await, ["/flop_mode"]);
    // The compute pays for less than the least amount of data.
    let points = json!([good, {"nonzero_params": 1e18, "compute": 1}]);
    assert_eq!(refused(json!({"flop_mode": "sparse", "points": points})).await, ["/points/1"]);
    assert_eq!(refused(json!({"flop_mode": "sparse", "points": []})).await, ["/points"]);
    assert_eq!(refused(json!({"flop_mode": "sparse"})).await, ["/points"]);
    let both = json!({"flop_mode": "sparse", "points": [good], "compute": 1e19});
    assert_eq!(refused(both).await, ["/points"]);
    let half = json!({"flop_mode": "sparse", "nonzero_params": 1e8});
    assert_eq!(refused(half).await, ["/compute"]);
    let large = json!({"from": 1e7, "to": 1e9, "steps": 400});
    let body = json!({"flop_mode": "sparse", "nonzero_params": large, "compute": large});
    assert_eq!(refused(body).await, [""]);
    let zero = json!({"from": 0, "to": 1e9, "steps": 4});
    let body = json!({"flop_mode": "sparse", "nonzero_params": zero, "compute": 1e19});
    assert_eq!(refused(body).await, ["/nonzero_params/from"]);
    let body = json!({"flop_mode": "sparse", "nonzero_params": [1e8, 0], "compute": -1});
    assert_eq!(refused(body).await, ["/nonzero_params/1", "/compute"]);
    let body = json!({"flop_mode": "sparse", "nonzero_params": vec![0; 1000], "compute": 1e19});
    assert_eq!(refused(body).await.len(), 100);
    let many: Vec<Value> = vec![json!({"nonzero_params": 0, "compute": 1}); 1000];
    assert_eq!(refused(json!({"flop_mode": "sparse", "points": many})).await.len(), 100);
}

#[tokio::test]
async fn a_hundred_thousand_points_are_answered() {
    let app = App::new().await;
    let body = json!({"flop_mode": "sparse", "intervals": false,
        "nonzero_params": {"from": 1e6, "to": 1e10, "steps": 250},
        "compute": {"from": 1e17, "to": 1e23, "steps": 400}});
    let grid = asked(&app, &format!("{T5}/optimal-sparsities"), body).await;
    let results = grid["results"].as_array().unwrap();
    assert_eq!(results.len(), 100_000);
    let sparsity = |index: usize| results[index]["sparsity"].as_f64().unwrap();
    // With more compute at the same size the best sparsity never falls.
    assert!((1..400).all(|index| sparsity(index) >= sparsity(index - 1)));
    assert!(sparsity(399) > 0.5);
}

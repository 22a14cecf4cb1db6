//! Predicted loss and optimal sparsity over HTTP.

use serde_json::{Value, json};
use sparsity_law::law::{CoefficientName, PublishedLaw, T5_C4, VIT_JFT};

use crate::support::{App, CREATED, OK, problem};

/// Relative tolerance for the known answers of the built-in laws.
const TOLERANCE: f64 = 1e-6;

#[tokio::test]
async fn a_new_installation_knows_the_published_answers() {
    let app = App::new().await;
    let table = [
        ("1e7", "1e17", [0.677614362, 0.447981539, 0.624193705, 0.291129893]),
        ("1e8", "1e19", [0.833006175, 0.717435889, 0.593361640, 0.212112566]),
        ("1000000000", "1e21", [0.913904160, 0.855362669, 0.560416028, 0.124287224]),
    ];
    for (n, c, expected) in table {
        let questions =
            [("vit-jft", "sparse"), ("vit-jft", "dense"), ("t5-c4", "sparse"), ("t5-c4", "dense")];
        for ((family, mode), expected) in questions.into_iter().zip(expected) {
            let path = format!(
                "/v1/families/{family}/optimal-sparsity?nonzero_params={n}&compute={c}&flop_mode={mode}"
            );
            let answer: Value = app.get(&path).await.json();
            let sparsity = answer["sparsity"].as_f64().unwrap();
            assert!((sparsity - expected).abs() < TOLERANCE, "{path}: {sparsity}");
            assert!(answer["loss"].as_f64() < answer["dense"]["loss"].as_f64());
            // A prediction at the optimum gives the loss of the optimum.
            let path = format!(
                "/v1/families/{family}/prediction?nonzero_params={n}&sparsity={sparsity}&compute={c}&flop_mode={mode}"
            );
            let prediction: Value = app.get(&path).await.json();
            let (loss, best) =
                (prediction["loss"].as_f64().unwrap(), answer["loss"].as_f64().unwrap());
            assert!((loss / best - 1.0).abs() < 1e-12, "{path}");
        }
    }
}

#[tokio::test]
async fn the_stored_published_laws_are_those_of_the_library_to_the_bit() {
    let app = App::new().await;
    let published: [&PublishedLaw; 2] = [&T5_C4, &VIT_JFT];
    for law in published {
        let stored: Value = app.get(&format!("/v1/families/{}/laws/1", law.family)).await.json();
        let values = law.coefficients().values().to_array();
        for (name, value) in CoefficientName::ALL.into_iter().zip(values) {
            assert_eq!(stored["coefficients"][name.as_str()].as_f64(), Some(value));
        }
        assert_eq!(stored["source"], "published");
        assert_eq!(stored["reference"], law.reference);
        assert_eq!(stored["data_unit"], law.data_unit);
        assert_eq!(stored["objective"], law.objective);
        assert_eq!(stored["runs"], law.support().runs());
        let levels = law.support().levels();
        assert_eq!(stored["support"].as_array().unwrap().len(), levels.len());
        for (stored, level) in stored["support"].as_array().unwrap().iter().zip(levels) {
            assert_eq!(stored["sparsity"], level.sparsity);
            assert_eq!(stored["runs"], level.runs);
            assert_eq!(stored["nonzero_params"]["max"], level.nonzero_params.max);
            assert_eq!(stored["data"]["min"], level.data.min);
        }
    }
}

#[tokio::test]
async fn an_answer_says_where_the_data_stops() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/optimal-sparsity?nonzero_params=8.4934656e9&compute=1e23&flop_mode=dense";
    let answer: Value = app.get(path).await.json();
    let extrapolation = answer["extrapolation"].as_array().unwrap();
    assert_eq!(
        extrapolation[0],
        json!({
            "variable": "nonzero_params", "factor": 100.0, "limit": 84934656.0, "side": "above"
        })
    );
    let variables: Vec<&Value> = extrapolation.iter().map(|e| &e["variable"]).collect();
    assert_eq!(variables, ["nonzero_params", "data", "compute"]);
    let codes: Vec<&Value> =
        answer["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["interpolated", "not_checked", "not_optimum", "no_intervals"]);
    let inside: Value = app
        .get("/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.5&data=3e10&intervals=false")
        .await
        .json();
    assert_eq!(inside["extrapolation"], json!([]));
    let codes: Vec<&Value> =
        inside["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["not_checked", "not_optimum"]);
    assert!(inside.get("interval").is_none(), "left out where not wanted");
    let with: Value = app
        .get("/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.5&data=3e10")
        .await
        .json();
    assert_eq!(with["interval"], Value::Null);
}

#[tokio::test]
async fn questions_are_checked() {
    let app = App::new().await;
    for (query, pointers) in [
        ("", vec!["/nonzero_params"]),
        ("nonzero_params=1e7&sparsity=0.5", vec!["/data"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&compute=1e19&flop_mode=dense", vec!["/compute"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&flop_mode=dense", vec!["/flop_mode"]),
        ("nonzero_params=1e7&sparsity=0.5&compute=1e19", vec!["/flop_mode"]),
        ("nonzero_params=1e7&sparsity=0.5&compute=1e19&flop_mode=half", vec!["/flop_mode"]),
        ("nonzero_params=0&sparsity=1&data=-1", vec!["/nonzero_params", "/sparsity", "/data"]),
        ("nonzero_params=NaN&sparsity=inf&data=1e9", vec!["/nonzero_params", "/sparsity"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&extra=1", vec!["/extra"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&sparsity=0.6", vec!["/sparsity"]),
    ] {
        let response = app.get(&format!("/v1/families/t5-c4/prediction?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{query}");
    }
    for (query, pointers) in [
        ("nonzero_params=1e7&compute=1e19", vec!["/flop_mode"]),
        ("nonzero_params=0.5&compute=0&flop_mode=dense", vec!["/nonzero_params", "/compute"]),
        ("nonzero_params=1e7&compute=1e19&flop_mode=sparse%00", vec!["/flop_mode"]),
    ] {
        let response = app.get(&format!("/v1/families/t5-c4/optimal-sparsity?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{query}");
    }
}

#[tokio::test]
async fn a_family_without_a_law_says_what_to_do() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let question = "optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";
    problem(&app.get(&format!("/v1/families/mine/{question}")).await, 409, "no-law");
    problem(&app.get(&format!("/v1/families/none/{question}")).await, 404, "not-found");
    let response = app.get(&format!("/v1/families/t5-c4/{question}&law_version=9")).await;
    problem(&response, 404, "not-found");
}

#[tokio::test]
async fn answers_are_finite_to_the_ends_of_every_range() {
    let app = App::new().await;
    let mut answered = 0;
    for n in ["1", "1e18"] {
        for c in ["1", "1e40"] {
            for mode in ["dense", "sparse"] {
                let path = format!(
                    "/v1/families/vit-jft/optimal-sparsity?nonzero_params={n}&compute={c}&flop_mode={mode}"
                );
                let response = app.get(&path).await;
                // The answer is either finite or a problem that says why there is none.
                if response.status_code() != OK {
                    problem(&response, 422, "not-representable");
                    continue;
                }
                let answer: Value = response.json();
                assert!(answer["loss"].as_f64().unwrap().is_finite(), "{path}");
                assert!(answer["sparsity"].as_f64().unwrap() < 1.0, "{path}");
                answered += 1;
            }
        }
    }
    // Only the smallest model with the smallest budget, and the largest with the largest, are answered, in both
    // modes.
    assert_eq!(answered, 4);
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_computed_again() {
    let app = App::new().await;
    let path =
        "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";
    let first = app.get(path).await;
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let etag = first.header("etag");
    let again = app.server.get(path).add_header("if-none-match", etag.clone()).await;
    assert_eq!(again.status_code(), 304);
    assert_eq!(again.header("etag"), etag);
    let pinned = app.get(&format!("{path}&law_version=1")).await;
    assert_eq!(pinned.header("cache-control"), "private, max-age=3600");
    assert_eq!(pinned.json::<Value>(), first.json::<Value>());
}

/// Intervals are the same whatever was asked before, although near earlier questions only a few of the laws are
/// asked.
#[tokio::test]
async fn intervals_are_the_same_alone_and_among_many() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let refit = app.refit("mine", json!({"starts": 8, "bootstrap": 1000, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let place = |i: usize, step: f64| (i as f64 * step).fract();
    let points: Vec<(f64, f64)> = (0..200)
        .map(|i| {
            let n = 10f64.powf(6.0 + 4.0 * place(i, 0.618_034));
            (n, n * n * 10f64.powf(2.0 + 4.0 * place(i, 0.754_877)))
        })
        .collect();
    let assert_near = |single: &Value, many: &Value| {
        assert_eq!(single["level"], many["level"]);
        for end in ["low", "high"] {
            let [single, many] = [single, many].map(|interval| interval[end].as_f64().unwrap());
            assert!((single - many).abs() <= 1e-9 * many.abs().max(1.0), "{single} {many}");
        }
    };
    for mode in ["dense", "sparse"] {
        let body: Vec<Value> =
            points.iter().map(|(n, c)| json!({"nonzero_params": n, "compute": c})).collect();
        let body = json!({"points": body, "flop_mode": mode});
        let direct = app.post("/v1/families/mine/optimal-sparsities", body).await.json::<Value>();
        for ((n, c), direct) in points.iter().zip(direct["results"].as_array().unwrap()) {
            let query = format!("nonzero_params={n:e}&compute={c:e}&flop_mode={mode}");
            let path = format!("/v1/families/mine/optimal-sparsity?{query}");
            let single = app.get(&path).await.json::<Value>();
            // Many questions of one mode are solved together, a single one is not, so the numbers agree to rounding.
            for field in ["sparsity", "loss", "data", "gain", "chinchilla_ratio"] {
                let number = |of: &Value| of[field].as_f64().unwrap();
                let apart = (number(&single) - number(direct)).abs();
                assert!(apart <= 1e-11 * number(direct).abs(), "{field}: {single} {direct}");
            }
            assert_near(&single["interval"], &direct["interval"]);
            assert_near(&single["intervals"]["loss"], &direct["loss_interval"]);
        }
    }
    let body: Vec<Value> = points
        .iter()
        .map(|(n, c)| json!({"nonzero_params": n, "sparsity": (c / 1e17).fract() * 0.9, "data": c / n}))
        .collect();
    let asked = body.clone();
    let direct = app.post("/v1/families/mine/predictions", json!({"points": body})).await;
    let direct = direct.json::<Value>();
    for (asked, direct) in asked.iter().zip(direct["results"].as_array().unwrap()) {
        let query = ["nonzero_params", "sparsity", "data"]
            .map(|name| format!("{name}={:e}", asked[name].as_f64().unwrap()))
            .join("&");
        let path = format!("/v1/families/mine/prediction?{query}");
        let single = app.get(&path).await.json::<Value>();
        for field in ["interval", "prediction_interval"] {
            assert_near(&single[field], &direct[field]);
        }
    }
}

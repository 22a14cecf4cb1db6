//! What a sparse model is worth: effective parameters and data multipliers.

use serde_json::{Value, json};
use sparsity_law::law::{Data, NonzeroParams, Sparsity, T5_C4};

use crate::support::{App, OK, problem};

/// A family whose law has runs with 2:4 and from pretrained starts.
async fn fitted() -> App {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let loss = |n: f64, s: f64, d: f64| {
        let density = Sparsity::new(s).unwrap().density();
        let (n, d) = (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
        T5_C4.coefficients().loss(density, n, d)
    };
    let mut runs = Vec::new();
    for n in [2e6, 8e6, 32e6] {
        for d in [1.7e10, 3.3e10, 6.5e10] {
            // The pattern is made to be as good as 40 % unstructured zeros.
            runs.push(json!({"external_id": format!("2:4 {n} {d}"), "nonzero_params": n,
                "sparsity": 0.5, "data": d, "pattern": "2:4", "loss": loss(n, 0.4, d)}));
            for s in [0.5, 0.75] {
                // The checkpoint is made to be worth four times the data of the sparse phase.
                runs.push(json!({"external_id": format!("pre {n} {s} {d}"), "nonzero_params": n,
                    "sparsity": s, "data": d / 4.0, "start": "pretrained",
                    "pretraining_data": d, "loss": loss(n, s, d)}));
            }
        }
    }
    app.post("/v1/families/mine/runs", json!(runs)).await.assert_status(OK);
    let refit = app.refit("mine", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

async fn ask(app: &App, family: &str, question: &str) -> Value {
    let response = app.get(&format!("/v1/families/{family}/{question}")).await;
    response.assert_status(OK);
    response.json()
}

fn value(estimate: &Value) -> f64 {
    estimate["value"].as_f64().unwrap()
}

fn ends(estimate: &Value) -> (f64, f64) {
    let interval = &estimate["interval"];
    let (low, high) = (interval["low"].as_f64().unwrap(), interval["high"].as_f64().unwrap());
    assert!(low <= high, "{estimate}");
    (low, high)
}

fn codes(answer: &Value) -> Vec<&str> {
    let warnings = answer["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_published_gains_lead_forward_and_back() {
    let app = App::new().await;
    for (sparsity, vit, t5) in [(0.5, 1.596, 1.586), (0.75, 2.172, 2.157), (0.875, 2.634, 2.630)] {
        for (family, gain) in [("vit-jft", vit), ("t5-c4", t5)] {
            let question = format!("effective-params?nonzero_params=1e7&sparsity={sparsity}");
            let answer = ask(&app, family, &question).await;
            assert!((value(&answer["gain"]) - gain).abs() < 6e-4, "{answer}");
            let dense = value(&answer["dense_params"]);
            assert!((dense / (value(&answer["gain"]) * 1e7) - 1.0).abs() < 1e-12);
            let total = value(&answer["total_params_gain"]) * value(&answer["total_params"]);
            assert!((total / dense - 1.0).abs() < 1e-12);
            let question = format!("effective-params?dense_params={dense}&sparsity={sparsity}");
            let back = ask(&app, family, &question).await;
            assert!((value(&back["nonzero_params"]) / 1e7 - 1.0).abs() < 1e-12, "{back}");
            let total = 1e7 / (1.0 - sparsity);
            assert!((value(&back["total_params"]) / total - 1.0).abs() < 1e-12, "{back}");
            assert_eq!(back["gain"]["interval"], Value::Null);
            assert!(codes(&back).contains(&"no_intervals"));
        }
    }
    let far = ask(&app, "t5-c4", "effective-params?nonzero_params=8e7&sparsity=0.3").await;
    let variables: Vec<_> =
        far["extrapolation"].as_array().unwrap().iter().map(|e| &e["variable"]).collect();
    // The sparse model lies within the runs, but the dense model that it equals does not.
    assert_eq!(variables, ["dense_params"]);
    assert_eq!(codes(&far), ["interpolated", "not_checked", "not_optimum", "no_intervals"]);
}

#[tokio::test]
async fn a_pattern_is_worth_what_its_runs_say() {
    let app = fitted().await;
    let plain = ask(&app, "mine", "effective-params?nonzero_params=1e7&sparsity=0.5").await;
    let (low, high) = ends(&plain["dense_params"]);
    let (gain_low, gain_high) = ends(&plain["gain"]);
    assert!(
        (low / gain_low / 1e7 - 1.0).abs() < 1e-12 && (high / gain_high / 1e7 - 1.0).abs() < 1e-12
    );
    assert_eq!(plain["nonzero_params"], json!({"value": 1e7, "interval": null}));
    assert_eq!((&plain["pattern"], &plain["effective_sparsity"]), (&Value::Null, &Value::Null));

    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    let report = &law["patterns"][0];
    let answer = ask(&app, "mine", "effective-params?dense_params=1e7&pattern=2:4").await;
    assert_eq!((&answer["pattern"], &answer["sparsity"]), (&json!("2:4"), &json!(0.5)));
    assert_eq!(answer["effective_sparsity"], report["effective_sparsity"]);
    assert_eq!(answer["gain"], report["gain"]);
    assert_eq!(answer["unstructured_gain"], plain["gain"]);
    assert!(value(&answer["gain"]) < value(&answer["unstructured_gain"]));
    let (low, high) = ends(&answer["nonzero_params"]);
    let nonzero = value(&answer["nonzero_params"]);
    assert!(low < nonzero && nonzero < high);
    // Half of all parameters are not zero, however good the pattern.
    assert!((value(&answer["total_params"]) / nonzero - 2.0).abs() < 1e-12);

    // A pattern that has no runs.
    let answer = ask(&app, "mine", "effective-params?nonzero_params=1e7&pattern=1:4").await;
    assert_eq!((&answer["sparsity"], &answer["effective_sparsity"]), (&json!(0.75), &Value::Null));
    assert_eq!(answer["gain"], answer["unstructured_gain"]);
    assert!(codes(&answer).contains(&"nominal_sparsity"));
    let because = answer["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("unmeasured_pattern")), "{answer}");
    let bare = "effective-params?nonzero_params=1e7&pattern=2:4&intervals=false";
    let bare = ask(&app, "mine", bare).await;
    for field in ["effective_sparsity", "gain", "dense_params", "unstructured_gain"] {
        assert_eq!(bare[field]["interval"], Value::Null, "{field}");
    }
}

#[tokio::test]
async fn sizes_and_zeros_are_checked() {
    let app = App::new().await;
    for (query, pointers) in [
        ("", vec!["/nonzero_params", "/sparsity"]),
        ("nonzero_params=1e7&dense_params=1e7&sparsity=0.5", vec!["/dense_params"]),
        ("nonzero_params=1e7&sparsity=0.5&pattern=2:4", vec!["/pattern"]),
        ("dense_params=0&sparsity=1", vec!["/dense_params", "/sparsity"]),
        ("nonzero_params=NaN&pattern=4:2", vec!["/nonzero_params", "/pattern"]),
        ("nonzero_params=1e7&pattern=%00", vec!["/pattern"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9", vec!["/data"]),
    ] {
        let response = app.get(&format!("/v1/families/t5-c4/effective-params?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{query}");
    }
    // The equivalent model would have fewer parameters than one, or more than the largest supported number.
    for query in ["dense_params=1&sparsity=0.5", "nonzero_params=1e18&sparsity=0.5"] {
        let response = app.get(&format!("/v1/families/t5-c4/effective-params?{query}")).await;
        problem(&response, 422, "not-representable");
    }
    for (query, pointers) in [
        ("nonzero_params=0&sparsity=1&data=-1", vec!["/nonzero_params", "/sparsity", "/data"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&pretraining_data=0", vec!["/pretraining_data"]),
        ("nonzero_params=1e7&sparsity=0.5", vec!["/data"]),
        ("nonzero_params=1e7&sparsity=0.5&data=1e9&x=1", vec!["/x"]),
    ] {
        let response = app.get(&format!("/v1/families/t5-c4/data-multiplier?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{query}");
    }
    let question = "data-multiplier?nonzero_params=1e7&sparsity=0.5&data=1e9";
    let response = app.get(&format!("/v1/families/t5-c4/{question}")).await;
    problem(&response, 409, "undetermined");
    let response = app.get(&format!("/v1/families/none/{question}")).await;
    problem(&response, 404, "not-found");
}

#[tokio::test]
async fn a_pretrained_start_saves_data() {
    let app = fitted().await;
    let question = "data-multiplier?nonzero_params=8e6&sparsity=0.5&data=8.25e9";
    let answer = ask(&app, "mine", question).await;
    let sparse = answer["sparse_phase"].as_f64().unwrap();
    // 4, as far as noisy runs determine it.
    assert!((2.0..8.0).contains(&sparse), "{answer}");
    let needed = answer["scratch_data"].as_f64().unwrap();
    assert!((needed / (sparse * 8.25e9) - 1.0).abs() < 1e-12);
    assert_eq!(answer["both_phases"], Value::Null);
    // The law from scratch gives the same loss at that amount of data.
    let path = format!("prediction?nonzero_params=8e6&sparsity=0.5&data={needed}");
    let loss = ask(&app, "mine", &path).await["loss"].as_f64().unwrap();
    assert!((loss / answer["loss"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    let both = ask(&app, "mine", &format!("{question}&pretraining_data=3.3e10")).await;
    assert!((both["both_phases"].as_f64().unwrap() / sparse - 0.2).abs() < 1e-9, "{both}");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!(answer["levels"], law["pretrained"]["multipliers"]);
    let codes_inside = codes(&answer);
    assert!(codes_inside.contains(&"no_intervals") && codes_inside.contains(&"unknown_support"));
    assert!(
        !codes_inside.contains(&"outside_pretrained") && !codes_inside.contains(&"unreachable")
    );
    let outside = "data-multiplier?nonzero_params=8e6&sparsity=0.9&data=8.25e9";
    assert!(codes(&ask(&app, "mine", outside).await).contains(&"outside_pretrained"));

    // A pretrained start that is better than any amount of data from scratch.
    let sql = "UPDATE laws SET pretrained = jsonb_set(pretrained, '{coefficients,c}', '1e-3')";
    sqlx::query(sql).execute(&app.pool).await.unwrap();
    let app = app.replica().await;
    let question = "data-multiplier?nonzero_params=8e6&sparsity=0.5&data=1e29&pretraining_data=1e9";
    let answer = ask(&app, "mine", question).await;
    for field in ["scratch_data", "sparse_phase", "both_phases"] {
        assert_eq!(answer[field], Value::Null, "{answer}");
    }
    assert!(codes(&answer).contains(&"unreachable"));
    // If a quantity never varied in the pretrained runs, their law only knows that value.
    let sql = "UPDATE laws SET pretrained = jsonb_set(pretrained, '{coefficients,a_d}', '0')";
    sqlx::query(sql).execute(&app.pool).await.unwrap();
    let app = app.replica().await;
    let response = app.get(&format!("/v1/families/mine/{question}")).await;
    problem(&response, 409, "undetermined");
}

//! Questions that the runs do not determine are refused with the runs that would settle them, and every answer has a
//! trust level.

use serde_json::{Value, json};
use sparsity_law::law::{Data, NonzeroParams, Sparsity, T5_C4};

use crate::support::{App, CREATED, OK, problem};

/// Runs by the published law of T5 on a grid, each slightly off.
fn grid(sizes: &[f64], sparsities: &[f64], amounts: &[f64]) -> Vec<Value> {
    let mut runs = Vec::new();
    for n in sizes {
        for s in sparsities {
            for d in amounts {
                runs.push(run(runs.len(), *n, *s, *d));
            }
        }
    }
    runs
}

fn run(index: usize, n: f64, s: f64, d: f64) -> Value {
    let sparsity = Sparsity::new(s).unwrap();
    let (size, data) = (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
    let off = 1.0 + 0.002 * ((index * 7 % 11) as f64 / 5.0 - 1.0);
    let loss = T5_C4.coefficients().loss(sparsity.density(), size, data) * off;
    let name = format!("run-{index}-{n}-{s}-{d}");
    json!({"external_id": name, "nonzero_params": n, "sparsity": s, "data": d, "loss": loss})
}

const SIZES: [f64; 4] = [1e6, 4e6, 1.6e7, 6.4e7];
const AMOUNTS: [f64; 4] = [1e9, 4e9, 1.6e10, 6.4e10];

async fn family(app: &App, name: &str, runs: &[Value], options: Value) -> Value {
    let made = app.post("/v1/families", json!({"name": name, "data_unit": "tokens"})).await;
    assert_eq!(made.status_code(), CREATED);
    let sent = app.post(&format!("/v1/families/{name}/runs"), json!(runs)).await;
    assert_eq!(sent.status_code(), OK, "{}", sent.text());
    let refit = app.refit(name, options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app.get(&format!("/v1/families/{name}/laws/1")).await.json()
}

fn quick() -> Value {
    json!({"starts": 8, "bootstrap": 100})
}

fn refused(body: &Value) -> (&Value, &Vec<Value>) {
    assert_eq!(body["type"], "/problems/not-identified", "{body}");
    (&body["missing"], body["suggestions"].as_array().unwrap())
}

const OPTIMUM: &str = "optimal-sparsity?nonzero_params=4e6&compute=1e18&flop_mode=sparse";

#[tokio::test]
async fn two_sparsities_tell_which_of_them_is_better_and_no_more() {
    let app = App::with_worker().await;
    let runs = grid(&SIZES, &[0.0, 0.5], &AMOUNTS);
    let law = family(&app, "two", &runs, quick()).await;
    for name in ["a_s", "b_s", "c_s"] {
        assert_eq!(
            (&law["coefficients"][name], &law["intervals"][name]),
            (&Value::Null, &Value::Null)
        );
    }
    assert!(law["coefficients"]["b_n"].is_f64() && law["intervals"]["b_n"].is_object());
    assert_eq!(law["trust"]["level"], "weak");
    assert!(law["trust"]["because"].as_array().unwrap().contains(&json!("not_identified")));
    let known = &law["diagnostics"]["identification"];
    assert_eq!(known["missing"], json!([{"what": "sparsity", "have": 2, "needed": 3}]));
    assert_eq!((known["rank"].as_u64(), known["fitted"].as_u64()), (Some(6), Some(7)));

    let path = |rest: &str| format!("/v1/families/two/{rest}");
    let answer: Value = app.get(&path(OPTIMUM)).await.json();
    assert_eq!((&answer["sparsity"], &answer["best_measured_level"]), (&json!(0.5), &json!(true)));
    assert_eq!((&answer["interval"], &answer["pattern"]), (&Value::Null, &Value::Null));
    let levels = answer["measured_levels"].as_array().unwrap();
    assert_eq!(levels.len(), 2);
    assert!(levels[1]["share"].as_f64().unwrap() > 0.9, "{answer}");
    let (low, high) = (&answer["intervals"]["loss"]["low"], &answer["intervals"]["loss"]["high"]);
    assert!(low.as_f64().unwrap() < high.as_f64().unwrap());
    assert!(answer["trust"]["because"].as_array().unwrap().contains(&json!("not_identified")));

    // The same in bulk.
    let body = json!({"flop_mode": "sparse", "points": [{"nonzero_params": 4e6, "compute": 1e18}]});
    let bulk: Value = app.post(&path("optimal-sparsities"), body).await.json();
    let row = &bulk["results"][0];
    for name in ["sparsity", "loss", "data", "dense", "gain", "best_measured_level", "trust"] {
        assert_eq!(row[name], answer[name], "{name}");
    }
    assert_eq!(row["loss_interval"], answer["intervals"]["loss"]);

    let at = |s: f64| path(&format!("prediction?nonzero_params=3e6&sparsity={s}&data=3e9"));
    for measured in [0.0, 0.5, 0.501] {
        assert_eq!(app.get(&at(measured)).await.status_code(), OK, "{measured}");
    }
    for open in [
        at(0.3),
        at(0.8),
        path("gain"),
        path("contours?flop_mode=sparse"),
        path("effective-params?nonzero_params=1e7&sparsity=0.5"),
    ] {
        let response = app.get(&open).await;
        assert_eq!(response.status_code(), 409, "{open}");
        let body: Value = response.json();
        let (missing, suggestions) = refused(&body);
        assert_eq!(*missing, known["missing"]);
        assert_eq!(json!(suggestions), known["suggestions"]);
    }
    let plan = app.post(&path("plans"), json!({"flop_mode": "sparse", "compute": 1e18})).await;
    refused(&plan.json());
    let points = json!({"points": [{"nonzero_params": 3e6, "sparsity": 0.5, "data": 3e9},
        {"nonzero_params": 3e6, "sparsity": 0.3, "data": 3e9}]});
    let body: Value = app.post(&path("predictions"), points).await.json();
    refused(&body);
    assert!(body["detail"].as_str().unwrap().starts_with("point 1: "), "{body}");

    // The suggested runs settle it.
    let more: Vec<Value> = known["suggestions"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(i, r)| {
            let of = |name: &str| r[name].as_f64().unwrap();
            run(100 + i, of("nonzero_params"), of("sparsity"), of("data"))
        })
        .collect();
    app.post(&path("runs"), json!(more)).await;
    app.refit("two", quick()).await;
    let answer: Value = app.get(&path(OPTIMUM)).await.json();
    assert_eq!(answer["best_measured_level"], false);
    assert!(answer["interval"].is_object() && answer.get("measured_levels").is_none());
}

#[tokio::test]
async fn a_law_through_all_of_its_runs_answers_nothing() {
    let app = App::with_worker().await;
    let rows = [
        (1e7, 0.0, 4e9, 3.4649),
        (1e7, 0.5, 2.56e11, 2.7538),
        (1e7, 0.875, 6.4e10, 2.7266),
        (4e7, 0.5, 1.6e10, 2.6922),
        (4e7, 0.875, 4e9, 2.8704),
        (1.6e8, 0.0, 2.56e11, 2.2434),
    ];
    let runs: Vec<Value> = rows
        .iter()
        .map(|(n, s, d, l)| {
            json!({"external_id": format!("{n}/{s}/{d}"), "nonzero_params": n, "sparsity": s, "data": d, "loss": l})
        })
        .collect();
    let law = family(&app, "six", &runs, quick()).await;
    assert_eq!(law["intervals"], Value::Null);
    // Such a law can answer nothing, and says so wherever it is shown.
    assert_eq!(law["trust"]["level"], "none");
    let because = law["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("not_identified")), "{law}");
    let families: Value = app.get("/v1/families/six").await.json();
    assert_eq!(families["law"]["trust"], law["trust"]);
    let quality: Value = app.get("/v1/families/six/fit-quality?limit=1").await.json();
    assert_eq!(quality["trust"], law["trust"]);
    let both: Value = app.get("/v1/families/six/laws/compare?a=1&b=1").await.json();
    assert_eq!(both["a"]["trust"]["level"], "none", "{both}");
    assert!(law["coefficients"].as_object().unwrap().values().all(Value::is_null), "{law}");
    for path in [OPTIMUM, "prediction?nonzero_params=1e7&sparsity=0.5&data=2.56e11"] {
        let response = app.get(&format!("/v1/families/six/{path}")).await;
        problem(&response, 409, "not-identified");
        let body: Value = response.json();
        let (missing, suggestions) = refused(&body);
        assert_eq!(*missing, json!([{"what": "runs", "have": 6, "needed": 8}]));
        assert_eq!(suggestions.len(), 2);
    }
}

#[tokio::test]
async fn a_law_without_its_main_answer_is_none_and_what_it_knows_has_a_word_of_its_own() {
    let app = App::with_worker().await;
    let runs = grid(&SIZES, &[0.0], &AMOUNTS);
    let law = family(&app, "dense", &runs, quick()).await;
    assert_eq!(law["trust"], json!({"level": "none", "because": ["not_identified"]}));
    problem(&app.get(&format!("/v1/families/dense/{OPTIMUM}")).await, 409, "undetermined");
    // Dense runs do determine the loss at another size.
    let path = "/v1/families/dense/prediction?nonzero_params=3e6&sparsity=0&data=3e9";
    let answer: Value = app.get(path).await.json();
    assert_eq!(answer["trust"], json!({"level": "good", "because": []}), "{answer}");
}

#[tokio::test]
async fn remarks_on_the_law_are_told_from_what_is_about_the_answer() {
    let app = App::with_worker().await;
    let runs = grid(&SIZES, &[0.0, 0.5, 0.75], &AMOUNTS[1..]);
    let law = family(&app, "few", &runs, quick()).await;
    let of_law = law["warnings"].as_array().unwrap();
    assert!(!of_law.is_empty() && of_law.iter().all(|warning| warning["of"] == "law"), "{law}");
    let path = "/v1/families/few/prediction?nonzero_params=3e6&sparsity=0.3&data=5e9";
    let answer: Value = app.get(path).await.json();
    let warnings = answer["warnings"].as_array().unwrap();
    let (about, standing): (Vec<&Value>, Vec<&Value>) =
        warnings.iter().partition(|warning| warning["of"] == "answer");
    assert_eq!(standing, of_law.iter().collect::<Vec<_>>());
    let codes: Vec<&Value> = about.iter().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["interpolated"]);
}

#[tokio::test]
async fn the_word_follows_from_width_extrapolation_and_checks() {
    let app = App::with_worker().await;
    let runs = grid(&SIZES, &[0.0, 0.5, 0.75, 0.875], &AMOUNTS);
    let law = family(&app, "good", &runs, quick()).await;
    assert_eq!(law["trust"], json!({"level": "good", "because": []}));
    let trust = |path: &str| {
        let path = path.to_owned();
        let app = &app;
        async move { app.get(&path).await.json::<Value>()["trust"].clone() }
    };
    let inside = "/v1/families/good/prediction?nonzero_params=4e6&sparsity=0.5&data=4e9";
    assert_eq!(trust(inside).await, json!({"level": "good", "because": []}));
    let bare = trust(&format!("{inside}&intervals=false")).await;
    assert_eq!(bare, json!({"level": "weak", "because": ["no_intervals"]}));
    let far = "/v1/families/good/prediction?nonzero_params=6.4e9&sparsity=0.5&data=4e9";
    let far = trust(far).await;
    assert!(far["because"].as_array().unwrap().contains(&json!("extrapolation")), "{far}");
    let beyond = "/v1/families/good/prediction?nonzero_params=6.4e11&sparsity=0.5&data=4e9";
    assert_eq!(trust(beyond).await["level"], "none");

    // A gain and a line are as good as the worst of what they say.
    let gain: Value = app.get("/v1/families/good/gain?sparsities=0.5,0.9999").await.json();
    assert_eq!(gain["points"][0]["trust"]["level"], "good", "{gain}");
    let because = gain["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("extrapolation")), "{gain}");
    assert_eq!(gain["trust"], gain["points"][1]["trust"]);
    let lines = |query: &str| format!("/v1/families/good/contours?flop_mode=sparse&{query}");
    let inside: Value = app.get(&lines("levels=0.5")).await.json();
    assert_eq!(inside["trust"]["level"], "good", "{inside}");
    let outside: Value = app.get(&lines("levels=0.5,0.9999")).await.json();
    assert_eq!(outside["lines"][0]["trust"], inside["trust"]);
    let because = outside["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("extrapolation")), "{outside}");
    assert_eq!(outside["trust"], outside["lines"][1]["trust"]);
    let tiny: Value =
        app.get(&lines("levels=0.5&min_nonzero_params=1&max_nonzero_params=10")).await.json();
    assert_eq!(tiny["trust"]["level"], "none", "{tiny}");

    // Built-in and typed-in laws are not checked.
    let built_in =
        trust("/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.5&data=3e10").await;
    assert_eq!(built_in["level"], "weak");
    let because = built_in["because"].as_array().unwrap();
    assert!(because.contains(&json!("not_checked")) && because.contains(&json!("not_optimum")));
    let vit: Value = app.get("/v1/families/vit-jft/laws/1").await.json();
    assert_eq!(vit["trust"], json!({"level": "weak", "because": ["not_checked"]}));
    let t5: Value = app.get("/v1/families/t5-c4/laws/1").await.json();
    let warnings = t5["warnings"].as_array().unwrap();
    let optimum = warnings.iter().find(|warning| warning["code"] == "not_optimum").unwrap();
    let detail = optimum["detail"].as_str().unwrap();
    assert!(detail.contains("7.603605e-6") && detail.contains("4.880117e-6"), "{detail}");
}

#[tokio::test]
async fn a_pattern_without_runs_is_worth_what_a_measured_one_of_its_ratio_is() {
    let app = App::with_worker().await;
    let mut runs = grid(&SIZES, &[0.0, 0.5, 0.75, 0.875], &AMOUNTS);
    for (i, n) in SIZES.iter().enumerate() {
        // The pattern is made to be as good as 44 % unstructured zeros.
        let mut measured = run(200 + i, *n, 0.44, 1.6e10);
        measured["sparsity"] = json!(0.5);
        measured["pattern"] = json!("2:4");
        runs.push(measured);
    }
    let law = family(&app, "patterns", &runs, quick()).await;
    let worth = &law["patterns"][0]["effective_sparsity"]["value"];
    let ask = |mode: &str| {
        let path = format!(
            "/v1/families/patterns/optimal-sparsity?nonzero_params=4e6&compute=3e18&flop_mode={mode}"
        );
        let app = &app;
        async move { app.get(&path).await.json::<Value>() }
    };
    let cost = json!({"prunable_share": 1, "efficiency": 1});
    for (name, patterns, best) in
        [("only-4-8", json!(["4:8"]), "4:8"), ("both", json!(["4:8", "2:4"]), "2:4")]
    {
        let body = json!({"name": name, "cost": cost, "patterns": patterns});
        let made = app.post("/v1/hardware-profiles", body).await;
        assert_eq!(made.status_code(), CREATED, "{}", made.text());
        let answer = ask(name).await;
        assert_eq!(answer["pattern"]["name"], best, "{answer}");
        assert_eq!(answer["pattern"]["effective_sparsity"], *worth);
        let unmeasured = best == "4:8";
        assert_eq!(answer["warnings"][0]["code"] == "unmeasured_pattern", unmeasured, "{answer}");
        let because = answer["trust"]["because"].as_array().unwrap();
        assert_eq!(because.contains(&json!("unmeasured_pattern")), unmeasured);
    }
}

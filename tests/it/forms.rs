//! Forms of the law, borrowed gains, and repeated data.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

const QUESTION: &str = "optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";

/// Besiroglu and others 2024, arXiv 2404.10102.
fn besiroglu() -> Value {
    let a_d = 2085.43_f64.powf(1.0 / 0.3658);
    json!({"a": 482.01, "b_n": 0.3478, "a_d": a_d, "b_d": 0.3658, "c": 1.8172})
}

fn codes(answer: &Value) -> Vec<&str> {
    let warnings = answer["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Losses by a law like that of T5 over a grid, with a ripple of 0.2 %.
fn runs(sparsities: &[f64], epochs: &[f64], decay: f64) -> Value {
    let mut runs = Vec::new();
    for n in [1e6, 4e6, 16e6, 64e6] {
        for &s in sparsities {
            for d in [1e9, 4e9, 16e9, 64e9_f64] {
                let place = runs.len();
                let epochs = epochs[place % epochs.len()];
                let unique: f64 = d / epochs;
                let worth = unique * (1.0 - decay * (-(epochs - 1.0) / decay).exp_m1());
                let capacity = (17.0 * (1.0_f64 - s).powf(0.72) + 45.0) * f64::powf(n, -0.245);
                let wobble = if (place * 7 + place / 4) % 4 < 2 { 1.002 } else { 0.998 };
                let loss = (capacity + (6.9e8 / worth).powf(0.35) + 0.8) * wobble;
                let mut run = json!({"external_id": place.to_string(), "nonzero_params": n, "sparsity": s,
                    "data": d, "loss": loss});
                if epochs > 1.0 {
                    run["unique_data"] = json!(unique);
                }
                runs.push(run);
            }
        }
    }
    Value::Array(runs)
}

async fn family(app: &App, name: &str, runs: Value) {
    app.post("/v1/families", json!({"name": name})).await.assert_status(CREATED);
    app.post(&format!("/v1/families/{name}/runs"), runs).await.assert_status(OK);
}

async fn answer(app: &App, family: &str, question: &str) -> Value {
    let response = app.get(&format!("/v1/families/{family}/{question}")).await;
    response.assert_status(OK);
    response.json()
}

#[tokio::test]
async fn a_published_dense_law_answers_with_a_borrowed_gain() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let laws = "/v1/families/mine/laws";
    let body =
        json!({"form": "dense", "coefficients": besiroglu(), "reference": "arXiv:2404.10102"});
    app.post(laws, body.clone()).await.assert_status(CREATED);
    // Without a gain it knows dense models alone.
    let dense = answer(&app, "mine", "prediction?nonzero_params=1e8&sparsity=0&data=1e10").await;
    assert!((dense["loss"].as_f64().unwrap() - 3.071077).abs() < 5.1e-7, "{dense}");
    for question in [
        QUESTION,
        "prediction?nonzero_params=1e8&sparsity=0.5&data=1e10",
        "loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse",
    ] {
        let refused = app.get(&format!("/v1/families/mine/{question}")).await;
        problem(&refused, 409, "undetermined");
        assert!(refused.text().contains("was given without its runs"), "{}", refused.text());
    }
    let recipes = "/v1/compare?a=mine&b=mine&a_sparsity=0&b_sparsity=0.9&flop_mode=sparse";
    problem(&app.get(recipes).await, 409, "undetermined");
    let bulk = json!({"points": [{"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}]});
    let refused = app.post("/v1/families/mine/predictions", bulk).await;
    problem(&refused, 422, "invalid");
    assert!(refused.text().contains("was given without its runs"), "{}", refused.text());
    let forecast =
        json!({"external_id": "a", "nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10});
    problem(&app.post("/v1/families/mine/forecasts", forecast).await, 409, "undetermined");

    let mut borrowing = body.clone();
    for (lender, sparsity, loss) in [("t5-c4", 0.625579, 2.915953), ("vit-jft", 0.626210, 2.914256)]
    {
        borrowing["gain"] = json!({"borrow": lender});
        let law: Value = app.post(laws, borrowing.clone()).await.json();
        assert_eq!((&law["form"], &law["gain"]["borrow"]), (&json!("dense"), &json!(lender)));
        assert_eq!(law["coefficients"]["a_s"], json!(null));
        let best = answer(&app, "mine", QUESTION).await;
        assert!((best["sparsity"].as_f64().unwrap() - sparsity).abs() < 5.1e-7, "{best}");
        assert!((best["loss"].as_f64().unwrap() - loss).abs() < 5.1e-7, "{best}");
        assert!((best["dense"]["loss"].as_f64().unwrap() - 2.992956).abs() < 5.1e-7, "{best}");
        assert_eq!(best["trust"]["level"], "weak");
        assert!(codes(&best).contains(&"borrowed_gain"), "{best}");
        let because = best["trust"]["because"].as_array().unwrap();
        assert!(because.contains(&json!("borrowed_gain")), "{best}");
    }
    // Every question about sparsity is answered, as by a law with its own gain.
    for question in [
        "gain",
        "contours?flop_mode=dense",
        "prediction?nonzero_params=1e8&sparsity=0.9&data=1e10",
        "loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse",
    ] {
        assert!(
            codes(&answer(&app, "mine", question).await).contains(&"borrowed_gain"),
            "{question}"
        );
    }
    let plan =
        app.post("/v1/families/mine/plans", json!({"flop_mode": "sparse", "compute": 1e20})).await;
    let plan: Value = plan.json();
    assert!(plan["optimum"]["sparsity"].as_f64().unwrap() > 0.2, "{plan}");
    let bulk = json!({"flop_mode": "sparse", "points": [{"nonzero_params": 1e8, "compute": 1e19}]});
    let bulk: Value = app.post("/v1/families/mine/optimal-sparsities", bulk).await.json();
    assert_eq!(bulk["results"][0]["trust"]["level"], "weak");
}

#[tokio::test]
async fn what_cannot_be_borrowed_is_refused_by_name() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let laws = "/v1/families/mine/laws";
    let dense = besiroglu();
    let law = |change: Value| {
        let mut law = json!({"form": "dense", "coefficients": dense, "reference": "somewhere"});
        for (key, value) in change.as_object().unwrap() {
            law[key] = value.clone();
        }
        law
    };
    app.post(laws, law(json!({}))).await.assert_status(CREATED);
    for (change, pointers) in [
        (json!({"gain": {"borrow": "nobody"}}), vec!["/gain/borrow"]),
        (json!({"gain": {"borrow": "Not a name"}}), vec!["/gain/borrow"]),
        // The family's own law does not know the effect of sparsity.
        (json!({"gain": {"borrow": "mine"}}), vec!["/gain/borrow"]),
        (json!({"gain": {"borrow": "t5-c4", "version": 9}}), vec!["/gain/version"]),
        (json!({"form": "average_params"}), vec!["/form"]),
        (json!({"form": "levels"}), vec!["/coefficients", "/own_coefficients"]),
        (
            json!({"form": "sparse"}),
            vec!["/coefficients/a", "/coefficients/a_s", "/coefficients/b_s", "/coefficients/c_s"],
        ),
        (
            json!({"coefficients": {"a": 0, "b_n": 0.3, "a_d": 1e9, "b_d": 0.3, "c": 1}}),
            vec!["/coefficients/a"],
        ),
        (
            json!({"coefficients": {"a": 1, "b_n": 0.3, "a_d": 1e9, "b_d": 0.3, "c": 1, "d": 2}}),
            vec!["/coefficients/d"],
        ),
    ] {
        let response = app.post(laws, law(change.clone())).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{change}");
    }
    let t5 = json!({"a_s": 16.0, "b_s": 0.7, "c_s": 45.0, "b_n": 0.24, "a_d": 7e8, "b_d": 0.2, "c": 0.65});
    let own = law(json!({"form": null, "coefficients": t5, "gain": {"borrow": "t5-c4"}}));
    assert_eq!(problem(&app.post(laws, own).await, 422, "invalid"), ["/gain"]);

    let refits = "/v1/families/mine/refits";
    for (body, pointers) in [
        (json!({"form": "levels", "fixed": {"c": 0.5}}), vec!["/fixed"]),
        (json!({"form": "experts", "constraint": "physical"}), vec!["/constraint"]),
        (json!({"form": "levels", "gain": {"borrow": "t5-c4"}}), vec!["/form"]),
        (json!({"form": "round"}), vec!["/form"]),
        (json!({"forms": "some"}), vec!["/forms"]),
        (json!({"form": "sparse", "gain": {"borrow": "t5-c4"}}), vec!["/form"]),
        (json!({"gain": {"borrow": "nobody"}}), vec!["/gain/borrow"]),
        (json!({"gain": {}}), vec!["/gain/borrow"]),
        (json!({"reproduces": 1, "forms": "all"}), vec!["/reproduces"]),
    ] {
        let response = app.post(refits, body.clone()).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{body}");
    }
}

#[tokio::test]
async fn dense_runs_fit_their_own_law_and_borrow_the_gain() {
    let app = App::with_worker().await;
    family(&app, "mine", runs(&[0.0], &[1.0], 15.39)).await;
    let options = json!({"starts": 4, "bootstrap": 200, "gain": {"borrow": "t5-c4"}});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    assert_eq!(refit["options"]["form"], "dense");
    assert_eq!(refit["options"]["gain"], json!({"borrow": "t5-c4", "version": 1}));

    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!(law["trust"], json!({"level": "weak", "because": ["borrowed_gain"]}));
    assert!(!codes(&law).contains(&"not_separable"), "{law}");
    assert!(law["intervals"]["b_n"].is_object() && law["intervals"]["a_s"].is_null(), "{law}");
    let suggested = law["gain"]["suggestions"].as_array().unwrap();
    let sparsities: Vec<&Value> = suggested.iter().map(|run| &run["sparsity"]).collect();
    assert_eq!(sparsities, [0.5, 0.75, 0.875]);

    // The interval includes the answer with the gain of each published lender.
    let best = answer(&app, "mine", QUESTION).await;
    let (low, high) = (best["interval"]["low"].as_f64(), best["interval"]["high"].as_f64());
    let gain = |family: &'static str| {
        let app = &app;
        async move {
            let all = answer(app, family, "gain").await;
            let of = |point: &&Value| point["sparsity"] == 0.5;
            all["points"].as_array().unwrap().iter().find(of).unwrap().clone()
        }
    };
    let own = gain("mine").await;
    for lender in ["t5-c4", "vit-jft"] {
        let said = gain(lender).await["gain"].as_f64().unwrap();
        let ends = ["low", "high"].map(|end| own["interval"][end].as_f64().unwrap());
        assert!(ends[0] - 1e-9 <= said && said <= ends[1] + 1e-9, "{own} {said}");
    }
    let sparsity = best["sparsity"].as_f64();
    assert!(low < sparsity && sparsity < high, "{best}");
    let outside: Vec<&Value> =
        best["extrapolation"].as_array().unwrap().iter().map(|each| &each["variable"]).collect();
    assert!(outside.contains(&&json!("sparsity")), "{best}");

    let body = json!({"target": {"coefficient": "b_n"}, "compute": 1e21});
    let response = app.post("/v1/families/mine/suggestions", body).await;
    problem(&response, 409, "not-identified");
    assert_eq!(&response.json::<Value>()["suggestions"], &law["gain"]["suggestions"]);

    let again = app.refit("mine", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");

    // A run with zeros shows the effect of sparsity itself, so these refits fail.
    let sparse = json!({"external_id": "sparse", "nonzero_params": 1e6, "sparsity": 0.5, "data": 1e9, "loss": 2.8});
    app.post("/v1/families/mine/runs", sparse).await.assert_status(OK);
    for options in [json!({"gain": {"borrow": "t5-c4"}}), json!({"form": "dense"})] {
        let failed = app.refit("mine", options).await;
        assert_eq!(failed["error"]["type"], "/problems/not-identifiable", "{failed}");
        assert!(failed["error"]["detail"].as_str().unwrap().contains("1 of the runs"), "{failed}");
    }
}

#[tokio::test]
async fn the_forms_of_a_law_are_ranked_and_those_that_disagree_are_named() {
    let app = App::with_worker().await;
    family(&app, "mine", runs(&[0.0, 0.5, 0.75, 0.875], &[1.0], 15.39)).await;
    let refit = app.refit("mine", json!({"starts": 4, "bootstrap": 100, "forms": "all"})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!((&law["form"], &law["options"]["forms"]), (&json!("sparse"), &json!("all")));
    let rivals = law["rivals"]["forms"].as_array().unwrap();
    let mut forms: Vec<&str> = rivals.iter().map(|rival| rival["form"].as_str().unwrap()).collect();
    assert!(rivals.is_sorted_by_key(|rival| rival["holdout_error"].as_f64().unwrap()));
    forms.sort_unstable();
    assert_eq!(forms, ["average_params", "experts", "levels", "sparse"]);
    let of = |form: &str| rivals.iter().find(|rival| rival["form"] == form).unwrap();
    assert_eq!(of("sparse")["excess"]["high"], 0.0);
    // These runs do not follow the form of mean parameters at all.
    assert_eq!(of("average_params")["no_worse"], false);
    let levels = of("levels")["law"]["levels"]["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 4);
    assert!((levels[1]["gain"].as_f64().unwrap() - 1.59).abs() < 0.1, "{levels:?}");
    let best = answer(&app, "mine", QUESTION).await;
    assert!(!codes(&best).contains(&"forms_disagree"), "{best}");

    // A law of a form that fits badly is contradicted by forms that predict better.
    let options = json!({"starts": 4, "bootstrap": 100, "form": "average_params", "forms": "all"});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/mine/laws/2").await.json();
    assert_eq!((&law["form"], &law["active"]), (&json!("average_params"), &json!(true)));
    let best =
        answer(&app, "mine", "optimal-sparsity?nonzero_params=1e7&compute=1e19&flop_mode=sparse")
            .await;
    assert!(codes(&best).contains(&"forms_disagree"), "{best}");
    assert!(
        best["trust"]["because"].as_array().unwrap().contains(&json!("forms_disagree")),
        "{best}"
    );
    let points = json!([{"nonzero_params": 1e7, "compute": 1e19}]);
    let bulk = json!({"flop_mode": "sparse", "points": points});
    let bulk: Value = app.post("/v1/families/mine/optimal-sparsities", bulk).await.json();
    assert_eq!(bulk["results"][0]["trust"], best["trust"]);
    assert!(codes(&bulk).contains(&"forms_disagree"), "{bulk}");
    for target in [json!({"coefficient": "b_n"}), loss_of(0.5)] {
        narrowed(&app, "mine", &target).await;
    }
    let again = app.refit("mine", json!({"reproduces": 2})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

/// A target of suggestions: the loss of a large model with this sparsity.
fn loss_of(sparsity: f64) -> Value {
    json!({"prediction": {"nonzero_params": 3e8, "sparsity": sparsity, "data": 1e11}})
}

/// Suggestions that narrow an answer of a family's law.
async fn narrowed(app: &App, family: &str, target: &Value) -> Value {
    let body = json!({"target": target, "compute": 1e21, "runs": 2});
    let response = app.post(&format!("/v1/families/{family}/suggestions"), body).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    let found: Value = response.json();
    let ratio = found["expected_width_ratio"].as_f64().unwrap();
    assert!((0.0..0.999).contains(&ratio), "{found}");
    let (value, interval) = (&found["target"]["value"], &found["target"]["interval"]);
    assert!(interval["low"].as_f64() <= value.as_f64(), "{found}");
    assert!(interval["high"].as_f64() >= value.as_f64(), "{found}");
    found
}

/// Checks that the questions which a law with coefficients of its own does not answer are refused with the reason.
async fn refuses_the_others(app: &App, family: &str, form: &str) {
    let path = |question: &str| format!("/v1/families/{family}/{question}");
    let mut refused = vec![
        app.get(&path("effective-params?nonzero_params=1e7&sparsity=0.5")).await,
        app.get(&path("loss-by-sparsity?nonzero_params=1e7&compute=1e18&flop_mode=weird")).await,
    ];
    // An error of the question itself is found before the law is used.
    assert_eq!(problem(&refused.remove(1), 422, "invalid"), ["/flop_mode"]);
    for response in refused {
        problem(&response, 409, "undetermined");
        let detail = response.json::<Value>()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("has the form {form}")), "{detail}");
    }
}

#[tokio::test]
async fn a_law_of_levels_answers_at_its_levels_and_nowhere_else() {
    let app = App::with_worker().await;
    family(&app, "mine", runs(&[0.0, 0.5, 0.75, 0.875], &[1.0], 15.39)).await;
    let options = json!({"starts": 4, "bootstrap": 100, "form": "levels", "forms": "all"});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!((&law["form"], &law["active"]), (&json!("levels"), &json!(true)));
    let own = law["own_coefficients"].as_array().unwrap();
    let names: Vec<&str> = own.iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "a", "a", "a", "b_n", "a_d", "b_d", "c"]);
    assert_eq!(own[1]["sparsity"], 0.5);
    for each in own {
        let (value, interval) = (each["value"].as_f64().unwrap(), &each["interval"]);
        assert!(interval["low"].as_f64().unwrap() <= value * 1.001, "{each}");
        assert!(interval["high"].as_f64().unwrap() >= value * 0.999, "{each}");
    }
    assert_eq!(law["coefficients"]["a_s"], json!(null));
    assert_eq!(law["coefficients"]["c_s"], own[0]["value"]);
    assert_eq!(law["diagnostics"]["resamples"], 100);
    // The runs follow the paper's form, which the form of levels can describe.
    let active: Value = app.get("/v1/families/mine/laws?limit=1").await.json();
    assert_eq!(active["items"][0]["own_coefficients"], law["own_coefficients"]);

    let best = answer(&app, "mine", QUESTION).await;
    assert_eq!(best["best_measured_level"], true);
    // Suggested runs lie at the levels of the law; for the best level, its lead over the next one is narrowed.
    let budget = json!({"nonzero_params": 1e8, "compute": 1e19, "flop_mode": "sparse"});
    for target in [
        json!({"coefficient": "b_n"}),
        json!({"own_coefficient": {"name": "a", "sparsity": 0.5}}),
        json!({"optimal_sparsity": budget}),
        loss_of(0.75),
    ] {
        let found = narrowed(&app, "mine", &target).await;
        for run in found["suggestions"].as_array().unwrap() {
            let known = [0.0, 0.5, 0.75, 0.875].map(|level| json!(level));
            assert!(known.contains(&run["sparsity"]) && run.get("level").is_none(), "{found}");
        }
        let of_best = target.get("optimal_sparsity").is_some();
        assert_eq!(codes(&found).contains(&"between_levels"), of_best, "{found}");
        if of_best {
            assert_eq!(found["target"]["value"], best["sparsity"]);
        }
    }
    let suggestions = "/v1/families/mine/suggestions";
    for (target, grid, pointer) in [
        (json!({"coefficient": "b_s"}), json!({}), "/target/coefficient"),
        (json!({"own_coefficient": {"name": "a"}}), json!({}), "/target/own_coefficient"),
        (json!({"coefficient": "b_n"}), json!({"sparsity": [0.5, 0.6]}), "/grid/sparsity/1"),
    ] {
        let body = json!({"target": target, "compute": 1e21, "grid": grid});
        assert_eq!(problem(&app.post(suggestions, body).await, 422, "invalid"), [pointer]);
    }
    let between = json!({"target": loss_of(0.6), "compute": 1e21});
    problem(&app.post(suggestions, between).await, 409, "undetermined");
    // The answer of the form `sparse` lies between the neighbours of the best level.
    assert!(!codes(&best).contains(&"forms_disagree"), "{best}");
    let levels = best["measured_levels"].as_array().unwrap();
    let share: f64 = levels.iter().map(|level| level["share"].as_f64().unwrap()).sum();
    assert!(levels.len() == 4 && (share - 1.0).abs() < 1e-9, "{best}");
    let ends = ["low", "high"].map(|end| best["interval"][end].as_f64().unwrap());
    let known = [0.0, 0.5, 0.75, 0.875];
    assert!(ends.iter().all(|end| known.contains(end)), "{best}");
    let sparsity = best["sparsity"].as_f64().unwrap();
    assert!(known.contains(&sparsity) && sparsity > 0.0, "{best}");
    let least = levels.iter().map(|level| level["loss"].as_f64().unwrap()).fold(9.0, f64::min);
    assert_eq!(best["loss"].as_f64().unwrap(), least);
    assert!(best["dense"]["loss"].as_f64().unwrap() >= least && best["gain"].as_f64() > Some(1.0));
    assert!(best["intervals"]["gain"].is_object() && best["intervals"]["loss"].is_object());

    let points = json!([{"nonzero_params": 1e8, "compute": 1e19},
        {"nonzero_params": 1e8, "compute": 1e19, "max_sparsity": 0.3}]);
    let bulk = json!({"flop_mode": "sparse", "points": points});
    let many: Value = app.post("/v1/families/mine/optimal-sparsities", bulk.clone()).await.json();
    for name in [
        "sparsity",
        "interval",
        "loss",
        "dense",
        "gain",
        "chinchilla_ratio",
        "trust",
        "best_measured_level",
    ] {
        assert_eq!(many["results"][0][name], best[name], "{name}");
    }
    assert_eq!(many["results"][1]["binding"], json!(["max_sparsity"]));
    let stream = app.server.post("/v1/families/mine/optimal-sparsities").json(&bulk);
    let stream = stream.add_header("accept", "application/vnd.apache.arrow.stream").await;
    stream.assert_status(OK);
    assert!(stream.as_bytes().len() > 1000);

    // A bound excludes the levels that violate it, and the answer says so.
    let under = answer(&app, "mine", &format!("{QUESTION}&max_sparsity=0.3")).await;
    assert_eq!((&under["sparsity"], &under["binding"]), (&json!(0.0), &json!(["max_sparsity"])));
    assert_eq!(under["measured_levels"].as_array().unwrap().len(), 1);
    let free = answer(&app, "mine", &format!("{QUESTION}&max_sparsity=0.99")).await;
    assert_eq!((&free["sparsity"], &free["binding"]), (&best["sparsity"], &json!([])));
    let scarce = answer(&app, "mine", &format!("{QUESTION}&unique_data=1e9")).await;
    assert!(scarce["effective_data"].as_f64() < scarce["data"].as_f64(), "{scarce}");
    assert!(scarce["sparsity"].as_f64().unwrap() >= sparsity, "{scarce}");

    let at = |sparsity: f64| format!("prediction?nonzero_params=1e7&sparsity={sparsity}&data=1e10");
    let half = answer(&app, "mine", &at(0.5)).await;
    assert!(half["interval"].is_object() && half["prediction_interval"].is_object(), "{half}");
    assert!(!codes(&half).contains(&"interpolated"), "{half}");
    let response = app.get(&format!("/v1/families/mine/{}", at(0.6))).await;
    problem(&response, 409, "undetermined");
    let detail = response.json::<Value>()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("0, 0.5, 0.75, 0.875") && detail.contains("not 0.6"), "{detail}");
    let points = json!({"points": [{"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10}]});
    let bulk: Value = app.post("/v1/families/mine/predictions", points).await.json();
    assert_eq!(bulk["results"][0]["loss"], half["loss"]);
    assert_eq!(bulk["results"][0]["interval"], half["interval"]);
    let points = json!({"points": [{"nonzero_params": 1e7, "sparsity": 0.6, "data": 1e10}]});
    let response = app.post("/v1/families/mine/predictions", points).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/points/0"]);

    let gain = answer(&app, "mine", "gain").await;
    let points = gain["points"].as_array().unwrap();
    assert_eq!((points.len(), &gain["limit"]), (4, &json!(null)));
    assert_eq!(points[0]["gain"], 1.0);
    assert!((points[1]["gain"].as_f64().unwrap() - 1.59).abs() < 0.1, "{gain}");
    assert!(points[1]["interval"]["low"].as_f64() < points[1]["gain"].as_f64(), "{gain}");
    problem(&app.get("/v1/families/mine/gain?sparsities=0.6").await, 409, "undetermined");
    let question = "loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";
    let losses = answer(&app, "mine", question).await;
    assert_eq!(losses["points"].as_array().unwrap().len(), 4);
    assert_eq!(losses["optimum"]["loss"], best["loss"]);
    assert_eq!(losses["dense"]["loss"], best["dense"]["loss"]);
    for question in ["gain", question] {
        let picture = app.server.get(&format!("/v1/families/mine/{question}"));
        problem(&picture.add_header("accept", "image/svg+xml").await, 409, "undetermined");
    }
    let forecast =
        json!({"external_id": "next", "nonzero_params": 1e8, "sparsity": 0.75, "data": 1e11});
    let made = app.post("/v1/families/mine/forecasts", forecast).await;
    made.assert_status(CREATED);
    answer(&app, "mine", "fit-quality?limit=5").await;
    refuses_the_others(&app, "mine", "levels").await;
    problem(&app.get("/v1/families/mine/contours?flop_mode=sparse").await, 409, "undetermined");
    levels_are_planned_with_and_compared(&app).await;

    let again = app.refit("mine", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
    // A law of another form answers what this one cannot, asked by its version or once it is active.
    let refit = app.refit("mine", json!({"starts": 4, "bootstrap": 0})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    answer(&app, "mine", "contours?flop_mode=sparse").await;
    let asked = app.get("/v1/families/mine/contours?flop_mode=sparse&law_version=1").await;
    problem(&asked, 409, "undetermined");

    // A level with too few runs is left out and named.
    let odd = json!({"external_id": "odd", "nonzero_params": 1e6, "sparsity": 0.3, "data": 1e9, "loss": 2.8});
    app.post("/v1/families/mine/runs", odd).await.assert_status(OK);
    let refit = app.refit("mine", json!({"form": "levels", "starts": 4, "bootstrap": 0})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let without: Value = app.get("/v1/families/mine/laws/3").await.json();
    assert_eq!((&without["runs"], codes(&without).contains(&"small_levels")), (&json!(64), true));
    let told = without["warnings"].as_array().unwrap().iter();
    let told = told.filter_map(|warning| warning["detail"].as_str());
    assert!(told.clone().any(|detail| detail.ends_with("sparsity 0.3 has 1 run")), "{without}");
    let again = app.refit("mine", json!({"reproduces": 3})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

/// The runs of [`runs`] at 0 and 0.5; the sparse ones also with a pattern that is worth less, and with three recipes.
fn named_runs() -> Value {
    let plain = runs(&[0.0, 0.5], &[1.0], 15.39);
    let mut all = Vec::new();
    for (place, run) in plain.as_array().unwrap().iter().enumerate() {
        let recipes = ["plain", "distilled", "tuned"];
        let mut tagged = run.clone();
        tagged["tags"] = json!({"recipe": recipes[place % 2]});
        all.push(tagged);
        if run["sparsity"] == 0.5 {
            for (pattern, worse) in [("2:4", 1.01), ("4:8", 1.005)] {
                let mut with = run.clone();
                with["external_id"] = json!(format!("{pattern} {place}"));
                with["pattern"] = json!(pattern);
                with["loss"] = json!(run["loss"].as_f64().unwrap() * worse);
                with["tags"] = json!({"recipe": recipes[2]});
                all.push(with);
            }
        }
    }
    Value::Array(all)
}

/// Imports a law into the new family `copied`, and compares the predictions of both for single models.
async fn imports_alike(app: &App, family: &str, import: &Value, models: &[&str]) {
    let own = json!({"name": "copied", "zeros": "weights"});
    app.post("/v1/families", own).await.assert_status(CREATED);
    let made = app.post("/v1/families/copied/laws", import.clone()).await;
    made.assert_status(CREATED);
    let law: Value = made.json();
    assert_eq!((&law["form"], &law["source"]), (&import["form"], &json!("published")));
    let values = |law: &Value| -> Vec<Value> {
        let own = law["own_coefficients"].as_array().unwrap().iter();
        own.map(|each| json!([each["name"], each["sparsity"], each["level"], each["value"]]))
            .collect()
    };
    assert_eq!(values(&law), values(import));
    assert!(law["trust"]["because"].as_array().unwrap().contains(&json!("not_checked")), "{law}");
    for model in models {
        let asked = format!("prediction?nonzero_params=1e7&data=1e10{model}");
        let here = app.get(&format!("/v1/families/{family}/{asked}&law_version=1")).await;
        here.assert_status(OK);
        let there = answer(app, "copied", &asked).await;
        assert_eq!(there["loss"], here.json::<Value>()["loss"], "{model}");
        assert_eq!(there["interval"], json!(null), "{there}");
    }
    let best =
        answer(app, "copied", "optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=dense")
            .await;
    assert!(best["loss"].is_number() && best["interval"].is_null(), "{best}");
    let plan = json!({"flop_mode": "dense", "compute": 1e19});
    app.post("/v1/families/copied/plans", plan).await.assert_status(OK);
}

#[tokio::test]
async fn levels_are_told_apart_by_pattern_and_by_recipe() {
    let app = App::with_worker().await;
    family(&app, "mine", named_runs()).await;
    // A single run with this pattern does not show how much such runs scatter.
    let odd = json!({"external_id": "odd", "nonzero_params": 1e6, "sparsity": 0.75, "pattern": "1:4", "data": 1e9,
        "loss": 2.8});
    app.post("/v1/families/mine/runs", odd).await.assert_status(OK);
    let options = json!({"starts": 4, "bootstrap": 100, "form": "levels", "levels": "pattern"});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!((&law["options"]["levels"], &law["runs"]), (&json!("pattern"), &json!(64)));
    let own = law["own_coefficients"].as_array().unwrap().iter().filter(|each| each["name"] == "a");
    let own: Vec<(&Value, &Value)> = own.map(|each| (&each["sparsity"], &each["level"])).collect();
    let (zero, half) = (json!(0.0), json!(0.5));
    let (none, two, four) = (json!(null), json!("2:4"), json!("4:8"));
    assert_eq!(own, [(&zero, &none), (&half, &none), (&half, &two), (&half, &four)], "{law}");
    assert!(codes(&law).contains(&"small_levels"), "{law}");
    let told = law["warnings"].to_string();
    assert!(told.contains("sparsity 0.75 (1:4) has 1 run"), "{told}");

    // Each level has its own loss, and the best of them is the answer.
    let at = |rest: &str| format!("prediction?nonzero_params=1e7&sparsity=0.5&data=1e10{rest}");
    let plain = answer(&app, "mine", &at("")).await["loss"].as_f64().unwrap();
    for (level, worse) in [("2:4", 1.01), ("4:8", 1.005)] {
        let known = answer(&app, "mine", &at(&format!("&level={level}"))).await;
        let loss = known["loss"].as_f64().unwrap();
        assert!((loss / plain / worse - 1.0).abs() < 0.002, "{level} {loss} {plain}");
        assert!(known["interval"]["low"].as_f64() < Some(loss), "{known}");
    }
    let wrong = app.get(&format!("/v1/families/mine/{}", at("&level=1:4"))).await;
    assert_eq!(problem(&wrong, 422, "invalid"), ["/level"]);
    let best = answer(&app, "mine", QUESTION).await;
    assert_eq!((&best["sparsity"], best.get("level")), (&half, None), "{best}");
    let levels = best["measured_levels"].as_array().unwrap();
    let names: Vec<&Value> = levels.iter().map(|level| &level["level"]).collect();
    assert_eq!(names, [&none, &none, &two, &four]);
    let share: f64 = levels.iter().map(|level| level["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9 && levels[1]["share"].as_f64() > Some(0.9), "{best}");
    let gain = answer(&app, "mine", "gain").await;
    let points = gain["points"].as_array().unwrap();
    let of = |place: usize| points[place]["gain"].as_f64().unwrap();
    assert_eq!((points.len(), &points[2]["level"]), (4, &two));
    assert!(of(0) == 1.0 && of(1) > of(3) && of(3) > of(2), "{gain}");
    let losses =
        answer(&app, "mine", "loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse")
            .await;
    assert_eq!(losses["points"][3]["level"], four, "{losses}");

    // A suggested run names its level, and an answer about a level is narrowed by runs of that level.
    let target = json!({"prediction":
        {"nonzero_params": 3e8, "sparsity": 0.5, "data": 1e11, "level": "4:8"}});
    let found = narrowed(&app, "mine", &target).await;
    let runs = found["suggestions"].as_array().unwrap();
    assert!(runs.iter().any(|run| run["level"] == four), "{found}");
    let mut wrong = target.clone();
    wrong["prediction"]["level"] = json!("1:4");
    let wrong = json!({"target": wrong, "compute": 1e21});
    let wrong = app.post("/v1/families/mine/suggestions", wrong).await;
    assert_eq!(problem(&wrong, 422, "invalid"), ["/target/prediction/level"]);

    // Lists of predictions take levels too: one for each point, or one for all.
    let point = |more: Value| {
        let mut point = json!({"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10});
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        point
    };
    let points = [point(json!({})), point(json!({"level": "2:4"}))];
    let list: Value =
        app.post("/v1/families/mine/predictions", json!({"points": points})).await.json();
    let [first, second] = [0, 1].map(|at| &list["results"][at]);
    assert_eq!((&first["loss"], first.get("level"), &second["level"]), (&json!(plain), None, &two));
    let known = answer(&app, "mine", &at("&level=2:4")).await;
    for shared in ["loss", "interval", "prediction_interval", "trust"] {
        assert_eq!(second[shared], known[shared], "{shared}");
    }
    let grid = json!({"nonzero_params": [1e7], "sparsity": [0.5], "data": [1e10], "level": "2:4"});
    let grid: Value = app.post("/v1/families/mine/predictions", grid).await.json();
    assert_eq!(&grid["results"][0], second);
    let points = [point(json!({})), point(json!({"level": "1:4"}))];
    let wrong = app.post("/v1/families/mine/predictions", json!({"points": points})).await;
    assert_eq!(problem(&wrong, 422, "invalid"), ["/points/1/level"]);

    // On hardware that runs a pattern in a tenth of the time, the level of that pattern has this cost in every
    // question.
    let profile = json!({"name": "runs-2-of-4", "cost": {"points": [[0.5, 0.99]]}, "patterns": ["2:4"],
        "pattern_costs": {"2:4": 0.1}, "source": "invented"});
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let best =
        answer(&app, "mine", &QUESTION.replace("flop_mode=sparse", "flop_mode=runs-2-of-4")).await;
    assert_eq!((&best["sparsity"], &best["level"]), (&half, &two), "{best}");
    // (t + (1 - t) h) / (1 - S), with pruning ending at t = .75.
    let per_unit = 6.0 * 1e8 * (0.75 + 0.25 * 0.1) / 0.5;
    assert!((best["data"].as_f64().unwrap() / (1e19 / per_unit) - 1.0).abs() < 1e-12, "{best}");
    let asked =
        "prediction?nonzero_params=1e8&sparsity=0.5&level=2:4&flop_mode=runs-2-of-4&compute=1e19";
    let known = answer(&app, "mine", asked).await;
    assert_eq!((&known["loss"], &known["data"]), (&best["loss"], &best["data"]));
    let plan = json!({"flop_mode": "runs-2-of-4", "compute": 1e19, "nonzero_params": {"min": 1e8, "max": 1e8},
        "patterns": ["2:4"], "sparsity": {"min": 0.4}});
    let plan: Value = app.post("/v1/families/mine/plans", plan).await.json();
    let loss = plan["optimum"]["loss"].as_f64().unwrap();
    assert!((loss / best["loss"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{plan} {best}");

    // A plan with a pattern uses the level of that pattern.
    let body = json!({"flop_mode": "sparse", "compute": 1e19, "patterns": ["2:4"], "sparsity": {"min": 0.4}});
    let plan: Value = app.post("/v1/families/mine/plans", body).await.json();
    let optimum = &plan["optimum"];
    assert_eq!((&optimum["pattern"], &optimum["level"]), (&two, &two), "{plan}");
    assert!(!codes(&plan).contains(&"unmeasured_pattern"), "{plan}");
    let asked = format!(
        "prediction?nonzero_params={}&sparsity=0.5&data={}&level=2:4",
        optimum["nonzero_params"], optimum["data"]
    );
    let known = answer(&app, "mine", &asked).await;
    let same = known["loss"].as_f64().unwrap() / optimum["loss"].as_f64().unwrap();
    assert!((same - 1.0).abs() < 1e-9, "{known} {plan}");
    let both = "/v1/compare?a=mine&b=mine&a_pattern=2:4&b_pattern=4:8&flop_mode=sparse";
    let both: Value = app.get(both).await.json();
    assert!(both["middle"]["multiple"].as_f64() > Some(1.0), "{both}");
    assert_eq!((&both["a"]["level"], &both["b"]["level"]), (&two, &four), "{both}");
    let again = app.refit("mine", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");

    // With levels by recipe, no level is without a name, so the question must name one.
    let options = json!({"starts": 4, "bootstrap": 100, "form": "levels", "levels": "tag:recipe"});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let best = answer(&app, "mine", QUESTION).await;
    assert!(best["level"] == "plain" || best["level"] == "distilled", "{best}");
    assert_eq!(best["measured_levels"].as_array().unwrap().len(), 4);
    let bulk = json!({"flop_mode": "sparse", "points": [{"nonzero_params": 1e8, "compute": 1e19}]});
    let bulk: Value = app.post("/v1/families/mine/optimal-sparsities", bulk).await.json();
    assert_eq!(bulk["results"][0]["level"], best["level"]);
    let response = app.get(&format!("/v1/families/mine/{}", at(""))).await;
    problem(&response, 409, "undetermined");
    let detail = response.json::<Value>()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("0.5 (distilled), 0.5 (plain)"), "{detail}");
    answer(&app, "mine", &at("&level=plain")).await;
    let again = app.refit("mine", json!({"reproduces": 2})).await;
    assert_eq!(again["state"], "succeeded", "{again}");

    // A law can be imported elsewhere as it is shown, and answers the same there, without intervals.
    let shown: Value = app.get("/v1/families/mine/laws/1").await.json();
    let import = json!({"form": "levels", "own_coefficients": shown["own_coefficients"], "reference": "law 1 of mine"});
    imports_alike(
        &app,
        "mine",
        &import,
        &["&sparsity=0.5", "&sparsity=0.5&level=2:4", "&sparsity=0"],
    )
    .await;
    let mut twice = import.clone();
    let own = twice["own_coefficients"].as_array_mut().unwrap();
    let first = own[0].clone();
    own.push(first);
    let laws = "/v1/families/copied/laws";
    let last = format!("/own_coefficients/{}/sparsity", own.len() - 1);
    assert_eq!(problem(&app.post(laws, twice).await, 422, "invalid"), [last]);
    for (own, pointer) in [
        (json!([]), "/own_coefficients"),
        (json!([{"name": "b_n", "value": 0.3}, {"name": "c", "value": 1}]), "/own_coefficients"),
        (json!([{"name": "a", "value": 3}]), "/own_coefficients/0/sparsity"),
        (json!([{"name": "gamma", "value": 3}]), "/own_coefficients/0/name"),
        (json!([{"name": "c", "value": -1}]), "/own_coefficients/0/value"),
    ] {
        let body = json!({"form": "levels", "own_coefficients": own, "reference": "nowhere"});
        assert_eq!(problem(&app.post(laws, body).await, 422, "invalid"), [pointer]);
    }
    let both = json!({"form": "sparse", "own_coefficients": [], "reference": "nowhere"});
    let wrong = problem(&app.post(laws, both).await, 422, "invalid");
    assert_eq!(wrong, ["/own_coefficients", "/coefficients"]);

    forecasts_name_levels(&app).await;

    let refits = "/v1/families/mine/refits";
    for (options, pointer) in [
        (json!({"levels": "pattern"}), "/levels"),
        (json!({"form": "levels", "levels": "recipe"}), "/levels"),
        (json!({"form": "levels", "levels": "tag:"}), "/levels"),
        (json!({"form": "levels", "levels": "pattern", "forms": "all"}), "/levels"),
    ] {
        assert_eq!(
            problem(&app.post(refits, options.clone()).await, 422, "invalid"),
            [pointer],
            "{options}"
        );
    }
}

/// Forecasts by the laws of `mine`, the first with levels by pattern and the second by recipe, and by the law of
/// `copied`, which does not say what its levels are named after.
async fn forecasts_name_levels(app: &App) {
    let planned = json!({"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10});
    let with = |more: Value| {
        let mut body = planned.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let path = "/v1/families/mine/forecasts";
    for (name, asked, run, as_planned) in [
        ("a", json!({"law_version": 1, "level": "2:4"}), json!({"pattern": "2:4"}), true),
        ("b", json!({"law_version": 1, "level": "2:4"}), json!({}), false),
        ("c", json!({"law_version": 1}), json!({"pattern": "2:4"}), false),
        ("d", json!({"law_version": 1}), json!({}), true),
        ("e", json!({"level": "plain"}), json!({"tags": {"recipe": "plain"}}), true),
        ("f", json!({"level": "plain"}), json!({"tags": {"recipe": "distilled"}}), false),
        (
            "g",
            json!({"level": "plain"}),
            json!({"pattern": "2:4", "tags": {"recipe": "plain"}}),
            false,
        ),
    ] {
        let mut body = with(asked.clone());
        body["external_id"] = json!(name);
        let made = app.post(path, body.clone()).await;
        made.assert_status(CREATED);
        let forecast: Value = made.json();
        assert_eq!(forecast.get("level"), asked.get("level"), "{forecast}");
        // Sent again it is the same forecast; about another level it is another one.
        app.post(path, body.clone()).await.assert_status(OK);
        body["level"] = json!("4:8");
        problem(&app.post(path, body).await, 409, "forecast-exists");
        let mut run = with(run);
        run["external_id"] = json!(name);
        run["loss"] = forecast["loss"].clone();
        app.post("/v1/families/mine/runs", run).await.assert_status(OK);
        let id = forecast["id"].as_str().unwrap();
        let scored: Value = app.get(&format!("{path}/{id}")).await.json();
        assert_eq!(scored["score"]["as_planned"], as_planned, "{name} {scored}");
    }
    let mut body = with(json!({"external_id": "h", "level": "1:4"}));
    assert_eq!(problem(&app.post(path, body.clone()).await, 422, "invalid"), ["/level"]);
    body["level"] = json!("2:4");
    let copied = app.post("/v1/families/copied/forecasts", body).await;
    problem(&copied, 409, "undetermined");
}

/// Plans and comparisons with the law of levels of `mine`.
async fn levels_are_planned_with_and_compared(app: &App) {
    let plans = "/v1/families/mine/plans";
    let body = json!({"flop_mode": "sparse", "compute": 1e19, "inference_tokens": 1e10, "frontier_points": 3});
    let response = app.post(plans, body.clone()).await;
    response.assert_status(OK);
    let plan: Value = response.json();
    let best = &plan["optimum"];
    assert!([0.5, 0.75, 0.875].map(|level| json!(level)).contains(&best["sparsity"]), "{plan}");
    assert!(best["loss"].as_f64() < plan["dense"]["loss"].as_f64(), "{plan}");
    let interval = |name: &str| ["low", "high"].map(|end| plan["intervals"][name][end].as_f64());
    let loss = best["loss"].as_f64();
    assert!(interval("loss")[0] < loss && loss < interval("loss")[1], "{plan}");
    assert!(plan["frontier"].as_array().unwrap().len() >= 2, "{plan}");
    // No plan at a single level is better than the plan, and the best of them equals it.
    let mut least = f64::INFINITY;
    for level in [0.0, 0.5, 0.75, 0.875] {
        let mut body = body.clone();
        body["sparsity"] = json!({"min": level, "max": level});
        let alone: Value = app.post(plans, body).await.json();
        assert_eq!(alone["optimum"]["sparsity"], level, "{alone}");
        let asked = format!(
            "/v1/families/mine/prediction?nonzero_params={}&sparsity={level}&data={}&intervals=false",
            alone["optimum"]["nonzero_params"], alone["optimum"]["data"]
        );
        let known: Value = app.get(&asked).await.json();
        let same = known["loss"].as_f64().unwrap() / alone["optimum"]["loss"].as_f64().unwrap();
        assert!((same - 1.0).abs() < 1e-9, "{known} {alone}");
        least = least.min(alone["optimum"]["loss"].as_f64().unwrap());
    }
    assert!((best["loss"].as_f64().unwrap() / least - 1.0).abs() < 1e-9, "{plan}");
    let mut between = body.clone();
    between["sparsity"] = json!({"min": 0.55, "max": 0.7});
    problem(&app.post(plans, between).await, 422, "infeasible");
    // A pattern can only be planned with if its sparsity is a level.
    let mut by_pattern = body.clone();
    by_pattern["patterns"] = json!(["2:4"]);
    let two: Value = app.post(plans, by_pattern.clone()).await.json();
    assert_eq!(two["optimum"]["pattern"], "2:4", "{two}");
    assert_eq!(two["warnings"][0]["code"], "unmeasured_pattern", "{two}");
    by_pattern["patterns"] = json!(["2:4", "1:3"]);
    let response = app.post(plans, by_pattern).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/patterns/1"]);

    let compare = |rest: &str| format!("/v1/compare?a=mine&b=t5-c4&flop_mode=sparse{rest}");
    let response = app.get(&compare("&b_sparsity=0.75")).await;
    response.assert_status(OK);
    let both: Value = response.json();
    assert_eq!((&both["a"]["given"], &both["b"]["given"]), (&json!(false), &json!(true)));
    assert!(
        [0.5, 0.75, 0.875].map(|level| json!(level)).contains(&both["a"]["sparsity"]),
        "{both}"
    );
    assert!(both["middle"]["multiple"].is_number(), "{both}");
    let own: Value = app
        .get("/v1/compare?a=mine&b=mine&a_sparsity=0&b_sparsity=0.5&flop_mode=sparse")
        .await
        .json();
    let middle = &own["middle"];
    let multiple = middle["multiple"].as_f64().unwrap();
    assert!(multiple > 1.0 && middle["interval"]["low"].as_f64() < Some(multiple), "{own}");
    problem(&app.get(&compare("&a_sparsity=0.6&b_sparsity=0.75")).await, 409, "undetermined");
    let response = app.get(&compare("&a_pattern=1:3&b_sparsity=0.75")).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/a_pattern"]);
}

/// Plans, contours and comparisons with the law of experts of `routed`.
async fn experts_are_planned_with_and_compared(app: &App) {
    let plans = "/v1/families/routed/plans";
    let body = json!({"flop_mode": "dense", "compute": 1e22, "frontier_points": 3});
    let response = app.post(plans, body).await;
    response.assert_status(OK);
    let plan: Value = response.json();
    let best = &plan["optimum"];
    let number = |name: &str| best[name].as_f64().unwrap();
    assert!(plan["intervals"]["sparsity"].is_object(), "{plan}");
    // The planned sparsity is the best one at the planned size, and no other size with its best sparsity has a lower
    // loss.
    let question = |size: f64| {
        format!(
            "/v1/families/routed/optimal-sparsity?nonzero_params={size}&compute=1e22&flop_mode=dense&intervals=false"
        )
    };
    let own: Value = app.get(&question(number("nonzero_params"))).await.json();
    assert!((own["sparsity"].as_f64().unwrap() - number("sparsity")).abs() < 1e-5, "{own} {plan}");
    assert!((own["loss"].as_f64().unwrap() / number("loss") - 1.0).abs() < 1e-9, "{own} {plan}");
    for factor in [0.8, 1.25] {
        let other: Value = app.get(&question(factor * number("nonzero_params"))).await.json();
        assert!(other["loss"].as_f64().unwrap() > number("loss"), "{other} {plan}");
    }
    let cheapest = json!({"flop_mode": "dense", "target_loss": number("loss"), "intervals": false});
    let cheapest: Value = app.post(plans, cheapest).await.json();
    let cost = cheapest["optimum"]["compute"].as_f64().unwrap();
    assert!((cost / 1e22 - 1.0).abs() < 1e-6, "{cheapest}");

    // On a contour the sparsity is the best one at every size, and the lines are not parallel.
    let contours = "/v1/families/routed/contours?flop_mode=dense&levels=0.5,0.75&points=5";
    let lines: Value = app.get(contours).await.json();
    for line in lines["lines"].as_array().unwrap() {
        let points = line["points"].as_array().unwrap();
        assert!(!points.is_empty() && line["chinchilla_ratio"].is_null(), "{line}");
        assert_eq!(line["band"].as_array().unwrap().len(), points.len(), "{line}");
        for point in points {
            let asked = format!(
                "/v1/families/routed/optimal-sparsity?nonzero_params={}&compute={}&flop_mode=dense&intervals=false",
                point[0], point[1]
            );
            let response = app.get(&asked).await;
            response.assert_status(OK);
            let known = response.json::<Value>()["sparsity"].as_f64().unwrap();
            assert!((known - line["sparsity"].as_f64().unwrap()).abs() < 1e-6, "{known} {line}");
        }
    }
    let picture = app.server.get(contours).add_header("accept", "image/svg+xml").await;
    picture.assert_status(OK);
    let unbound = app.get("/v1/families/routed/contours?flop_mode=sparse").await;
    problem(&unbound, 409, "undetermined");

    let compare = "/v1/compare?a=routed&b=routed&flop_mode=dense&a_sparsity=0";
    let both: Value = app.get(&format!("{compare}&b_sparsity=0.75")).await.json();
    let middle = &both["middle"];
    let multiple = middle["multiple"].as_f64().unwrap();
    assert!(middle["interval"]["low"].as_f64() <= Some(multiple), "{both}");
    // The comparison agrees with plans: the least loss of one side, and the cost of that loss on the other.
    let plan = |body: Value| {
        let app = &app;
        async move { app.post(plans, body).await.json::<Value>()["optimum"].clone() }
    };
    let compute = middle["budget"]["compute"].as_f64().unwrap();
    let sparse = json!({"flop_mode": "dense", "compute": compute, "intervals": false,
        "sparsity": {"min": 0.75, "max": 0.75}});
    let sparse = plan(sparse).await["loss"].as_f64().unwrap();
    assert!((sparse / middle["b_loss"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{both}");
    let dense =
        json!({"flop_mode": "dense", "target_loss": sparse, "intervals": false, "max_sparsity": 0});
    let dense = plan(dense).await["compute"].as_f64().unwrap();
    assert!((dense / compute / multiple - 1.0).abs() < 1e-6, "{both} {dense}");
    let response = app.get(compare).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/b_sparsity"]);
}

/// Losses by a law of experts over a grid of active sizes, shares of active parameters, and data.
fn expert_runs(amounts: &[f64]) -> Value {
    let mut runs = Vec::new();
    for n in [1e6, 4e6, 16e6, 64e6, 256e6] {
        for x in [1.0, 0.5, 0.25, 0.1, 0.04_f64] {
            for d in amounts {
                let place = runs.len();
                let total = n / x;
                let wobble = if (place * 7 + place / 4) % 4 < 2 { 1.002 } else { 0.998 };
                let loss = 0.9
                    + 900.0 * f64::powf(total, -0.5)
                    + 4000.0 * d.powf(-0.4)
                    + 0.5 * x.powf(0.2)
                    + 12.0 * x.powf(-0.2) * f64::powf(total, -0.15);
                runs.push(json!({"external_id": place.to_string(), "active_params": n, "total_params": total,
                    "data": d, "loss": loss * wobble}));
            }
        }
    }
    Value::Array(runs)
}

#[tokio::test]
async fn a_law_of_experts_answers_by_total_parameters() {
    let app = App::with_worker().await;
    let experts = json!({"name": "routed", "zeros": "experts"});
    app.post("/v1/families", experts).await.assert_status(CREATED);
    let all = expert_runs(&[1e9, 4e9, 16e9, 64e9]);
    app.post("/v1/families/routed/runs", all).await.assert_status(OK);
    let options = json!({"starts": 6, "bootstrap": 100, "form": "experts"});
    let refit = app.refit("routed", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/routed/laws/1").await.json();
    assert_eq!(law["form"], "experts");
    let own = law["own_coefficients"].as_array().unwrap();
    let names: Vec<&str> = own.iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["e", "a", "alpha", "b", "beta", "c", "lambda", "d", "delta", "gamma"]);
    assert!(own.iter().all(|each| each["sparsity"].is_null() && each["interval"].is_object()));
    assert_eq!(
        (&law["coefficients"]["b_n"], &law["coefficients"]["c_s"]),
        (&json!(null), &json!(null))
    );

    let loss = answer(&app, "routed", "prediction?nonzero_params=2e7&sparsity=0.8&data=1e10").await;
    let truth = 0.9
        + 900.0 * 1e8_f64.powf(-0.5)
        + 4000.0 * 1e10_f64.powf(-0.4)
        + 0.5 * 0.2_f64.powf(0.2)
        + 12.0 * 0.2_f64.powf(-0.2) * 1e8_f64.powf(-0.15);
    assert!((loss["loss"].as_f64().unwrap() / truth - 1.0).abs() < 0.003, "{loss}");
    assert_eq!(
        (&loss["active_params"], &loss["total_params"]),
        (&json!(2e7), &json!(2e7 / (1.0 - 0.8)))
    );
    assert!(loss["interval"]["low"].as_f64().unwrap() < truth * 1.001, "{loss}");

    // Inactive experts cost nothing in this mode, so without a bound no sparsity is best.
    let question = "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=sparse";
    let unbound = app.get(&format!("/v1/families/routed/{question}")).await;
    assert_eq!(problem(&unbound, 422, "invalid"), ["/max_sparsity"]);
    let bound = answer(&app, "routed", &format!("{question}&max_total_params=4e8")).await;
    assert!((bound["sparsity"].as_f64().unwrap() - 0.95).abs() < 1e-9, "{bound}");
    assert_eq!(bound["binding"], json!(["max_total_params"]));
    assert_eq!(bound["best_measured_level"], false);
    // If every parameter costs, the best sparsity lies inside the range, and no other one is better.
    let question = "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense";
    let best = answer(&app, "routed", question).await;
    let sparsity = best["sparsity"].as_f64().unwrap();
    assert!(0.05 < sparsity && sparsity < 0.999, "{best}");
    let ends = ["low", "high"].map(|end| best["interval"][end].as_f64().unwrap());
    assert!(ends[0] <= sparsity && sparsity <= ends[1], "{best}");
    assert!(best["gain"].is_number() && best["chinchilla_ratio"].is_number(), "{best}");
    for other in [sparsity - 0.02, sparsity + 0.002] {
        let asked =
            format!("prediction?nonzero_params=2e7&sparsity={other}&compute=1e19&flop_mode=dense");
        let other = answer(&app, "routed", &asked).await;
        assert!(other["loss"].as_f64().unwrap() > best["loss"].as_f64().unwrap(), "{other}");
    }
    let bulk = json!({"flop_mode": "dense", "points": [{"nonzero_params": 2e7, "compute": 1e19}]});
    let many: Value = app.post("/v1/families/routed/optimal-sparsities", bulk).await.json();
    assert_eq!(many["results"][0]["sparsity"], best["sparsity"]);
    assert_eq!(many["results"][0]["interval"], best["interval"]);
    let curve = "loss-by-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense&points=9";
    let losses = answer(&app, "routed", curve).await;
    assert_eq!(losses["points"].as_array().unwrap().len(), 9);
    assert_eq!(losses["optimum"]["sparsity"], best["sparsity"]);
    let picture = app.server.get(&format!("/v1/families/routed/{curve}"));
    picture.add_header("accept", "image/svg+xml").await.assert_status(OK);
    let budget = json!({"nonzero_params": 2e7, "compute": 1e19, "flop_mode": "dense"});
    for target in [
        json!({"own_coefficient": {"name": "lambda"}}),
        json!({"optimal_sparsity": budget}),
        loss_of(0.75),
    ] {
        let found = narrowed(&app, "routed", &target).await;
        assert!(!codes(&found).contains(&"between_levels"), "{found}");
    }
    // In this form the gain depends on the size.
    problem(&app.get("/v1/families/routed/gain").await, 409, "undetermined");
    refuses_the_others(&app, "routed", "experts").await;
    experts_are_planned_with_and_compared(&app).await;
    let import = json!({"form": "experts", "own_coefficients": law["own_coefficients"], "reference": "law 1"});
    imports_alike(&app, "routed", &import, &["&sparsity=0.5", "&sparsity=0.9"]).await;
    let again = app.refit("routed", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

#[tokio::test]
async fn experts_on_one_amount_of_data_answer_sizes_and_no_budgets() {
    let app = App::with_worker().await;
    let experts = json!({"name": "routed", "zeros": "experts"});
    app.post("/v1/families", experts).await.assert_status(CREATED);
    app.post("/v1/families/routed/runs", expert_runs(&[1.3e11])).await.assert_status(OK);
    let options = json!({"starts": 4, "bootstrap": 100, "form": "experts"});
    let refit = app.refit("routed", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    answer(&app, "routed", "prediction?nonzero_params=2e7&sparsity=0.8&data=1.3e11").await;
    let law: Value = app.get("/v1/families/routed/laws/1").await.json();
    let own = law["own_coefficients"].as_array().unwrap().iter();
    let names: Vec<&str> = own.map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["e", "a", "alpha", "c", "lambda", "d", "delta", "gamma"]);
    for question in [
        "prediction?nonzero_params=2e7&sparsity=0.8&data=1e10",
        "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense",
        "loss-by-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense",
    ] {
        let response = app.get(&format!("/v1/families/routed/{question}")).await;
        problem(&response, 409, "undetermined");
        let detail = response.json::<Value>()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("a single value of it"), "{question}: {detail}");
    }
}

#[tokio::test]
async fn runs_that_repeat_their_data_are_fitted_by_what_they_learn() {
    let app = App::with_worker().await;
    family(&app, "mine", runs(&[0.0, 0.5, 0.75], &[1.0, 4.0, 12.0, 30.0, 2.0], 6.0)).await;
    let listed: Value = app.get("/v1/families/mine/runs?external_id=1").await.json();
    assert_eq!(listed["items"][0]["unique_data"], 1e9);
    let refit = app.refit("mine", json!({"starts": 4, "bootstrap": 100})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    let repeated = &law["repeated_data"];
    assert_eq!(repeated["fitted"], true, "{repeated}");
    assert!((repeated["decay"].as_f64().unwrap() / 6.0 - 1.0).abs() < 0.25, "{repeated}");
    assert!(repeated["interval"]["low"].as_f64().unwrap() < 6.0, "{repeated}");
    // Costs and ranges count all data that was trained on, repeats included.
    assert_eq!(law["support"][0]["data"]["max"], 64e9);

    let scarce = answer(&app, "mine", &format!("{QUESTION}&unique_data=1e9")).await;
    let plenty = answer(&app, "mine", QUESTION).await;
    assert!(scarce["sparsity"].as_f64() > plenty["sparsity"].as_f64(), "{scarce}");
    assert!(scarce["effective_data"].as_f64() < scarce["data"].as_f64(), "{scarce}");
    assert!(
        scarce["interval"].is_object() && !codes(&scarce).contains(&"repetition_assumed"),
        "{scarce}"
    );
    assert!(plenty.get("effective_data").is_none(), "{plenty}");
    // A few tokens seen over and over are worth less data than any run had.
    let few = "prediction?nonzero_params=1e8&sparsity=0.5&data=6e10&unique_data=1e6";
    let few = answer(&app, "mine", few).await;
    let outside = few["extrapolation"].as_array().unwrap();
    let factor = outside.iter().find(|each| each["variable"] == "data").unwrap()["factor"].as_f64();
    assert!(factor > Some(100.0) && few["trust"]["level"] != "good", "{few}");
    let again = app.refit("mine", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

#[tokio::test]
async fn questions_say_how_much_different_data_there_is() {
    let app = App::new().await;
    // 30 B different tokens, seen four, twenty and a hundred times.
    for (data, worth) in [(120e9, 1.117713e11), (600e9, 3.573636e11), (3e12, 4.909576e11)] {
        let asked =
            format!("prediction?nonzero_params=1e8&sparsity=0.5&data={data}&unique_data=30e9");
        let repeated = answer(&app, "t5-c4", &asked).await;
        let got = repeated["effective_data"].as_f64().unwrap();
        assert!((got / worth - 1.0).abs() < 1e-6, "{repeated}");
        assert_eq!(repeated["data"], data);
        let asked = format!("prediction?nonzero_params=1e8&sparsity=0.5&data={got}");
        assert_eq!(answer(&app, "t5-c4", &asked).await["loss"], repeated["loss"]);
        // No run of this law shows the worth of repeated data.
        assert_eq!(codes(&repeated)[0], "repetition_assumed");
        let because = repeated["trust"]["because"].as_array().unwrap();
        assert!(because.contains(&json!("repetition_assumed")), "{repeated}");
    }
    let enough = answer(&app, "t5-c4", &format!("{QUESTION}&unique_data=1e30")).await;
    let plain = answer(&app, "t5-c4", QUESTION).await;
    let apart = enough["sparsity"].as_f64().unwrap() - plain["sparsity"].as_f64().unwrap();
    assert!(apart.abs() < 1e-9 && !codes(&enough).contains(&"repetition_assumed"), "{enough}");

    let plan = |unique: Value| {
        let body = json!({"flop_mode": "sparse", "compute": 1e22, "unique_data": unique, "frontier_points": 3});
        app.post("/v1/families/t5-c4/plans", body)
    };
    let scarce: Value = plan(json!(1e9)).await.json();
    let plenty: Value = plan(json!(null)).await.json();
    assert!(scarce["optimum"]["data"].as_f64() < plenty["optimum"]["data"].as_f64(), "{scarce}");
    assert!(scarce["optimum"]["loss"].as_f64() > plenty["optimum"]["loss"].as_f64(), "{scarce}");
    assert_eq!(codes(&scarce)[0], "repetition_assumed");
    let because = scarce["trust"]["because"].as_array().unwrap();
    assert!(because.contains(&json!("repetition_assumed")), "{scarce}");
    let size = scarce["optimum"]["nonzero_params"].as_f64().unwrap();
    let (sparsity, data) = (&scarce["optimum"]["sparsity"], &scarce["optimum"]["data"]);
    let asked =
        format!("prediction?nonzero_params={size}&sparsity={sparsity}&data={data}&unique_data=1e9");
    let loss = answer(&app, "t5-c4", &asked).await["loss"].as_f64().unwrap();
    assert!((loss / scarce["optimum"]["loss"].as_f64().unwrap() - 1.0).abs() < 1e-12);

    let bulk = json!({"flop_mode": "sparse", "unique_data": 1e9, "points": [{"nonzero_params": 1e8, "compute": 1e19}]});
    let bulk: Value = app.post("/v1/families/t5-c4/optimal-sparsities", bulk).await.json();
    let one = answer(&app, "t5-c4", &format!("{QUESTION}&unique_data=1e9")).await;
    assert_eq!(bulk["results"][0]["sparsity"], one["sparsity"]);
    let bulk = json!({"unique_data": 30e9, "points": [{"nonzero_params": 1e8, "sparsity": 0.5, "data": 120e9}]});
    let bulk: Value = app.post("/v1/families/t5-c4/predictions", bulk).await.json();
    let asked = "prediction?nonzero_params=1e8&sparsity=0.5&data=120e9&unique_data=30e9";
    assert_eq!(bulk["results"][0]["loss"], answer(&app, "t5-c4", asked).await["loss"]);

    for wrong in ["0", "-1", "1e31"] {
        let response = app.get(&format!("/v1/families/t5-c4/{QUESTION}&unique_data={wrong}")).await;
        assert_eq!(problem(&response, 422, "invalid"), ["/unique_data"], "{wrong}");
        let response = plan(serde_json::from_str(wrong).unwrap()).await;
        assert_eq!(problem(&response, 422, "invalid"), ["/unique_data"], "{wrong}");
    }
    // The limit is on resampled laws, which would be searched one by one; this law has none, so the list is answered.
    let points: Vec<Value> =
        (0..1001).map(|_| json!({"nonzero_params": 1e8, "compute": 1e19})).collect();
    let many = json!({"flop_mode": "sparse", "unique_data": 1e9, "points": points});
    let response = app.post("/v1/families/t5-c4/optimal-sparsities", many).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
}

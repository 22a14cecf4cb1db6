//! Laws of levels, which know single sparsities and nothing between them.

use super::*;

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

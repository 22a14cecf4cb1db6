//! Forecasts: registered before their run, scored when the run arrives.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::wait::until;
use crate::support::{App, CREATED, NO_CONTENT, OK, problem};

const FORECASTS: &str = "/v1/families/mine/forecasts";
const RUNS: &str = "/v1/families/mine/runs";

/// A family whose law has intervals.
async fn fitted() -> App {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let refit = app.refit("mine", json!({"starts": 8, "bootstrap": 100, "holdout": []})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

fn question(external_id: &str) -> Value {
    json!({"external_id": external_id, "nonzero_params": 1e7, "sparsity": 0.5, "data": 3e10})
}

/// The run that the question of this name plans.
fn run(external_id: &str, loss: f64) -> Value {
    let mut run = question(external_id);
    run["loss"] = loss.into();
    run
}

async fn register(app: &App, external_id: &str) -> Value {
    let response = app.post(FORECASTS, question(external_id)).await;
    response.assert_status(CREATED);
    response.json()
}

async fn shown(app: &App, forecast: &Value) -> Value {
    app.get(&format!("{FORECASTS}/{}", forecast["id"].as_str().unwrap())).await.json()
}

async fn calibration(app: &App) -> Value {
    app.get(&format!("{FORECASTS}/calibration")).await.json()
}

#[tokio::test]
async fn a_forecast_says_what_the_prediction_says() {
    let app = fitted().await;
    let response = app.post(FORECASTS, question("a")).await;
    response.assert_status(CREATED);
    let forecast: Value = response.json();
    let location = response.header("location");
    assert_eq!(app.get(location.to_str().unwrap()).await.json::<Value>(), forecast);
    let path = "/v1/families/mine/prediction?nonzero_params=1e7&sparsity=0.5&data=3e10";
    let prediction: Value = app.get(path).await.json();
    for field in
        ["law", "loss", "data", "interval", "prediction_interval", "extrapolation", "trust"]
    {
        assert_eq!(forecast[field], prediction[field], "{field}");
    }
    assert!(forecast["interval"]["low"].is_number());
    assert_eq!((&forecast["score"], &forecast["total_params"]), (&Value::Null, &json!(2e7)));

    // A question by compute, beyond the data of the runs, about a law without intervals.
    let asked = json!({"external_id": "b", "total_params": 4e10, "sparsity": 0.75, "compute": 1e23,
        "flop_mode": "sparse", "law_version": 1, "note": "the big one\n"});
    let forecast: Value = app.post("/v1/families/t5-c4/forecasts", asked).await.json();
    let path = "/v1/families/t5-c4/prediction?nonzero_params=1e10&sparsity=0.75&compute=1e23&flop_mode=sparse";
    let prediction: Value = app.get(path).await.json();
    for field in ["loss", "data", "interval", "prediction_interval", "extrapolation", "trust"] {
        assert_eq!(forecast[field], prediction[field], "{field}");
    }
    assert!(forecast["extrapolation"][0]["factor"].as_f64().unwrap() > 100.0);
    assert_eq!((&forecast["flop_mode"], &forecast["compute"]), (&json!("sparse"), &json!(1e23)));
    assert_eq!(forecast["note"], "the big one\n");
    // The list shows the trust level that the forecast had when it was registered.
    assert_eq!(forecast["trust"]["level"], "weak");
    let listed: Value = app.get("/v1/families/t5-c4/forecasts").await.json();
    assert_eq!(listed["items"][0]["trust"], forecast["trust"]);
}

#[tokio::test]
async fn a_retry_is_the_same_forecast_and_another_question_is_refused() {
    let app = fitted().await;
    let first = register(&app, "a").await;
    // Although another law is active by now, a retry returns what was registered.
    app.refit("mine", json!({"starts": 8, "bootstrap": 0, "holdout": [], "seed": 1})).await;
    let again = app.post(FORECASTS, question("a")).await;
    again.assert_status(OK);
    assert_eq!(again.json::<Value>(), first);
    for (field, value) in [
        ("nonzero_params", json!(2e7)),
        ("sparsity", json!(0.6)),
        ("data", json!(4e10)),
        ("law_version", json!(1)),
    ] {
        let mut other = question("a");
        other[field] = value;
        problem(&app.post(FORECASTS, other).await, 409, "forecast-exists");
    }
    let by_compute = json!({"external_id": "a", "nonzero_params": 1e7, "sparsity": 0.5,
        "compute": 1e19, "flop_mode": "sparse"});
    problem(&app.post(FORECASTS, by_compute).await, 409, "forecast-exists");
    // This also holds after the run has arrived.
    app.post(RUNS, run("a", 2.5)).await.assert_status(OK);
    app.post(FORECASTS, question("a")).await.assert_status(OK);
    // A forecast can be neither changed nor deleted.
    let path = format!("{FORECASTS}/{}", first["id"].as_str().unwrap());
    problem(&app.server.delete(&path).await, 405, "method-not-allowed");
    problem(&app.server.patch(&path).json(&json!({})).await, 405, "method-not-allowed");
}

/// A budget is kept as it was asked, so a retry is the same forecast even if the profile has changed.
#[tokio::test]
async fn a_budget_is_asked_in_hours_days_or_money() {
    let app = App::new().await;
    let profile = json!({"name": "own", "cost": {"points": [[0.5, 0.8]]}, "flops_per_second": 1e15,
        "utilisation": 0.4, "devices": 64, "price_per_hour": 2.5});
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let asked = |id: &str, currency: &str, amount: f64| {
        let mut asked = json!({"external_id": id, "nonzero_params": 1e8, "sparsity": 0.5,
            "flop_mode": "own"});
        asked[currency] = amount.into();
        asked
    };
    let forecasts = "/v1/families/t5-c4/forecasts";
    let mut of_hours = Value::Null;
    for (currency, amount) in [("device_hours", 1536.0), ("days", 1.0), ("cost", 3840.0)] {
        let response = app.post(forecasts, asked(currency, currency, amount)).await;
        response.assert_status(CREATED);
        let forecast: Value = response.json();
        let query = format!(
            "/v1/families/t5-c4/prediction?nonzero_params=1e8&sparsity=0.5&flop_mode=own&{currency}={amount}"
        );
        let prediction: Value = app.get(&query).await.json();
        assert_eq!(forecast["loss"], prediction["loss"]);
        assert_eq!(forecast["data"], prediction["data"]);
        assert_eq!(forecast["compute"], prediction["budget"]["compute"]);
        for other in ["device_hours", "days", "cost"] {
            let expected = if other == currency { json!(amount) } else { Value::Null };
            assert_eq!(forecast[other], expected, "{currency} {other}");
        }
        let location = response.header("location");
        assert_eq!(app.get(location.to_str().unwrap()).await.json::<Value>(), forecast);
        if currency == "device_hours" {
            of_hours = forecast;
        }
    }
    let faster = app.server.patch("/v1/hardware-profiles/own").json(&json!({"utilisation": 0.5}));
    faster.await.assert_status(OK);
    let again = app.post(forecasts, asked("device_hours", "device_hours", 1536.0)).await;
    again.assert_status(OK);
    assert_eq!(again.json::<Value>(), of_hours);
    // The same FLOPs in another unit are another question.
    let flops = of_hours["compute"].as_f64().unwrap();
    let other = app.post(forecasts, asked("device_hours", "compute", flops)).await;
    problem(&other, 409, "forecast-exists");

    let mut both = asked("a", "days", 1.0);
    both["cost"] = json!(3.0);
    let mut beside_data = asked("a", "days", 1.0);
    beside_data["data"] = json!(1e9);
    let mut without_profile = asked("a", "cost", 1.0);
    without_profile["flop_mode"] = json!("sparse");
    for (wrong, pointer) in [
        (both, "/cost"),
        (beside_data, "/days"),
        (without_profile, "/cost"),
        (asked("a", "days", 0.0), "/days"),
        (asked("a", "device_hours", 1e16), "/device_hours"),
    ] {
        assert_eq!(problem(&app.post(forecasts, wrong).await, 422, "invalid"), [pointer]);
    }
}

#[tokio::test]
async fn a_forecast_is_made_before_its_run() {
    let app = App::new().await;
    app.post("/v1/families/t5-c4/runs", run("a", 2.5)).await.assert_status(OK);
    let response = app.post("/v1/families/t5-c4/forecasts", question("a")).await;
    problem(&response, 409, "run-exists");
    // In another family the name is free.
    app.post("/v1/families/vit-jft/forecasts", question("a")).await.assert_status(CREATED);
}

/// In whatever order they come, an accepted forecast has an earlier transaction than its run.
#[tokio::test]
async fn a_run_that_is_arriving_is_waited_for() {
    let app = App::new().await;
    let family: uuid::Uuid = sqlx::query_scalar("SELECT id FROM families WHERE name = 't5-c4'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let mut upload = app.pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start,
             tags, excluded, created_at, updated_at)
         VALUES ($1, $2, 'a', 1e7, 0.5, 3e10, 2.5, 'scratch', '{}', false, now(), now())",
    )
    .bind(app.clock.new_id())
    .bind(family)
    .execute(&mut *upload)
    .await
    .unwrap();
    let forecast = app.post("/v1/families/t5-c4/forecasts", question("a"));
    let commit = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        upload.commit().await.unwrap();
    };
    let (response, ()) = tokio::join!(forecast, commit);
    problem(&response, 409, "run-exists");
}

#[tokio::test]
async fn of_many_at_once_one_is_registered() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/forecasts";
    let mut ids = Vec::new();
    let mut created = 0;
    for response in join_all((0..8).map(|_| app.post(path, question("a")))).await {
        created += usize::from(response.status_code() == CREATED);
        ids.push(response.json::<Value>()["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!((created, ids.len()), (1, 1));
    // Forecasts and runs of the same names at the same time: a refused forecast is never counted.
    let both = (0..16).map(|i| {
        let (name, app) = (format!("race-{}", i / 2), &app);
        async move {
            match i % 2 {
                0 => app.post(path, question(&name)).await,
                _ => app.post("/v1/families/t5-c4/runs", run(&name, 2.5)).await,
            }
        }
    });
    let responses = join_all(both).await;
    let taken = responses.iter().step_by(2).filter(|r| r.status_code() == CREATED).count();
    let scored: Value = app.get(&format!("{path}?state=scored")).await.json();
    assert_eq!(scored["items"].as_array().unwrap().len(), taken);
}

#[tokio::test]
async fn a_run_scores_its_forecast_as_it_is_now() {
    let app = fitted().await;
    let forecast = register(&app, "a").await;
    let predicted = forecast["loss"].as_f64().unwrap();
    app.clock.advance(TimeDelta::days(1));
    app.post(RUNS, run("a", predicted + 0.001)).await.assert_status(OK);
    let score = shown(&app, &forecast).await["score"].clone();
    assert!((score["error"].as_f64().unwrap() - 0.001).abs() < 1e-12, "{score}");
    let relative = score["relative_error"].as_f64().unwrap();
    assert!((relative - 0.001 / predicted).abs() < 1e-12, "{score}");
    assert_eq!(score["inside_prediction_interval"], true);
    assert_eq!((&score["as_planned"], &score["excluded"]), (&json!(true), &json!(false)));
    assert_eq!(score["arrived_at"], "2026-03-02T12:00:00Z");
    // The run is corrected.
    app.post(RUNS, run("a", predicted * 1.5)).await.assert_status(OK);
    let score = shown(&app, &forecast).await["score"].clone();
    assert_eq!(score["inside_prediction_interval"], false);
    assert_eq!(score["inside_interval"], false);
    // The run is excluded.
    let path = format!("{RUNS}/{}", score["run_id"].as_str().unwrap());
    let excluded = json!({"excluded": true, "exclusion_reason": "diverged"});
    app.server.patch(&path).json(&excluded).await.assert_status(OK);
    assert_eq!(shown(&app, &forecast).await["score"]["excluded"], true);
    assert_eq!(calibration(&app).await["left_out"]["excluded"], 1);
    // The run is deleted.
    app.server.delete(&path).await.assert_status(NO_CONTENT);
    assert_eq!(shown(&app, &forecast).await, forecast);
    assert_eq!(calibration(&app).await["open"], 1);
}

#[tokio::test]
async fn another_run_than_planned_does_not_count() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let import = json!({"coefficients": {"a_s": 16.8, "b_s": 0.72, "c_s": 45.0, "b_n": 0.245,
        "a_d": 6.9e8, "b_d": 0.2, "c": 0.65}, "reference": "x"});
    app.post("/v1/families/mine/laws", import).await.assert_status(CREATED);
    for (name, field, value, planned) in [
        ("n-near", "nonzero_params", json!(1.0099e7), true),
        ("n-far", "nonzero_params", json!(1.011e7), false),
        ("d-near", "data", json!(2.971e10), true),
        ("d-far", "data", json!(2.96e10), false),
        ("s-near", "sparsity", json!(0.5049), true),
        ("s-far", "sparsity", json!(0.506), false),
        ("pattern", "pattern", json!("2:4"), false),
        ("pretrained", "start", json!("pretrained"), false),
        ("seen-once", "unique_data", json!(2.98e10), true),
        ("repeated", "unique_data", json!(1e10), false),
    ] {
        let forecast = register(&app, name).await;
        let mut arrived = run(name, 2.5);
        arrived[field] = value;
        app.post(RUNS, arrived).await.assert_status(OK);
        assert_eq!(shown(&app, &forecast).await["score"]["as_planned"], planned, "{name}");
    }
    let calibration = calibration(&app).await;
    assert_eq!((&calibration["scored"], &calibration["counted"]), (&json!(10), &json!(4)));
    let left_out = json!({"not_as_planned": 6, "excluded": 0, "without_interval": 4});
    assert_eq!(calibration["left_out"], left_out);
    // Without intervals there are errors, but no share inside.
    assert_eq!(
        (&calibration["share_inside"], &calibration["share_interval"]),
        (&Value::Null, &Value::Null)
    );
    assert!(calibration["rms_error"].is_number());
}

#[tokio::test]
async fn the_calibration_counts_and_has_a_course() {
    let app = fitted().await;
    let empty = calibration(&app).await;
    assert_eq!(
        (&empty["open"], &empty["scored"], &empty["months"]),
        (&json!(0), &json!(0), &json!([]))
    );
    assert_eq!(empty["mean_error"], Value::Null);
    let mut predicted = 0.0;
    for i in 0..12 {
        predicted = register(&app, &format!("run-{i}")).await["loss"].as_f64().unwrap();
    }
    // Eight runs arrive in March, one of them far off, and two in May; two are still to come.
    for i in 0..10 {
        if i == 8 {
            app.clock.advance(TimeDelta::days(65));
        }
        let loss = if i == 0 { predicted * 1.2 } else { predicted + 0.001 };
        app.post(RUNS, run(&format!("run-{i}"), loss)).await.assert_status(OK);
    }
    let all = calibration(&app).await;
    assert_eq!(
        (&all["open"], &all["scored"], &all["counted"]),
        (&json!(2), &json!(10), &json!(10))
    );
    assert_eq!((&all["inside"], &all["share_inside"]), (&json!(9), &json!(0.9)));
    assert!((all["nominal_share"].as_f64().unwrap() - 0.95).abs() < 1e-12);
    // R: binom.test(9, 10)$conf.int
    let interval = &all["share_interval"];
    assert!((interval["low"].as_f64().unwrap() - 0.554_983_9).abs() < 1e-6, "{interval}");
    assert!((interval["high"].as_f64().unwrap() - 0.997_471_4).abs() < 1e-6, "{interval}");
    let mean = (predicted * 0.2 + 9.0 * 0.001) / 10.0;
    assert!((all["mean_error"].as_f64().unwrap() - mean).abs() < 1e-12);
    let rms = (((predicted * 0.2).powi(2) + 9.0 * 1e-6) / 10.0).sqrt();
    assert!((all["rms_error"].as_f64().unwrap() - rms).abs() < 1e-12);
    let months = all["months"].as_array().unwrap();
    let course: Vec<_> = months
        .iter()
        .map(|month| (&month["month"], &month["alone"]["scored"], &month["cumulative"]["inside"]))
        .collect();
    assert_eq!(
        course,
        [
            (&json!("2026-03-01"), &json!(8), &json!(7)),
            (&json!("2026-05-01"), &json!(2), &json!(9)),
        ]
    );
    // Each family has its own calibration.
    let other: Value = app.get("/v1/families/t5-c4/forecasts/calibration").await.json();
    assert_eq!(other["scored"], 0);
}

#[tokio::test]
async fn forecasts_are_listed_in_pages_by_state() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/forecasts";
    for i in 0..7 {
        app.post(path, question(&i.to_string())).await.assert_status(CREATED);
    }
    for i in [1, 4] {
        app.post("/v1/families/t5-c4/runs", run(&i.to_string(), 2.5)).await.assert_status(OK);
    }
    let names = |query: &str| {
        let (first, app) = (format!("{path}?limit=2{query}"), &app);
        async move {
            let (mut names, mut page) = (Vec::new(), first.clone());
            loop {
                let list: Value = app.get(&page).await.json();
                let items = list["items"].as_array().unwrap();
                names.extend(items.iter().map(|f| f["external_id"].as_str().unwrap().to_owned()));
                match list["next_cursor"].as_str() {
                    Some(next) => page = format!("{first}&cursor={next}"),
                    None => return names.join(""),
                }
            }
        }
    };
    assert_eq!(names("").await, "6543210");
    assert_eq!(names("&state=open").await, "65320");
    assert_eq!(names("&state=scored").await, "41");
    for (query, pointer) in
        [("limit=0", "/limit"), ("cursor=x", "/cursor"), ("state=late", "/state"), ("x=1", "/x")]
    {
        let response = app.get(&format!("{path}?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{query}");
    }
    problem(&app.get(&format!("{path}/x")).await, 404, "not-found");
    let nowhere = format!("{path}/{}", app.clock.new_id());
    problem(&app.get(&nowhere).await, 404, "not-found");
    problem(&app.get("/v1/families/none/forecasts").await, 404, "not-found");
    problem(&app.get("/v1/families/none/forecasts/calibration").await, 404, "not-found");
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_named() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/forecasts";
    let with = |changes: Value| {
        let mut body = question("a");
        for (field, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(field)),
                value => body[field] = value.clone(),
            }
        }
        body
    };
    for (changes, pointers) in [
        (json!({"external_id": "a\0"}), vec!["/external_id"]),
        (json!({"external_id": ""}), vec!["/external_id"]),
        (json!({"external_id": "x".repeat(201)}), vec!["/external_id"]),
        (json!({"note": "\0"}), vec!["/note"]),
        (json!({"note": "x".repeat(2001)}), vec!["/note"]),
        (
            json!({"nonzero_params": 0, "sparsity": 1, "data": -1}),
            vec!["/sparsity", "/nonzero_params", "/data"],
        ),
        (json!({"nonzero_params": null}), vec!["/nonzero_params"]),
        (json!({"total_params": 9e7}), vec!["/total_params"]),
        (json!({"data": null}), vec!["/data"]),
        (json!({"compute": 1e19, "flop_mode": "dense"}), vec!["/compute"]),
        (json!({"flop_mode": "dense"}), vec!["/flop_mode"]),
        (json!({"data": null, "compute": 1e19}), vec!["/flop_mode"]),
        (json!({"data": null, "compute": 1e19, "flop_mode": "a\0"}), vec!["/flop_mode"]),
        (json!({"data": null, "compute": 1e19, "flop_mode": "no-such"}), vec!["/flop_mode"]),
        (json!({"loss": 2.5}), vec!["/loss"]),
    ] {
        let response = app.post(path, with(changes.clone())).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{changes}");
    }
    let unknown = app.post(path, with(json!({"law_version": 9}))).await;
    problem(&unknown, 404, "not-found");
    // The loss of a model with next to no data is too large for a run.
    let far = json!({"nonzero_params": 1e18, "sparsity": 0.5, "data": 1e-6, "external_id": "far"});
    problem(&app.post("/v1/families/vit-jft/forecasts", far).await, 422, "not-representable");
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    problem(&app.post(FORECASTS, question("a")).await, 409, "no-law");
    problem(&app.post("/v1/families/none/forecasts", question("a")).await, 404, "not-found");
}

#[tokio::test]
async fn forecasts_go_with_their_family() {
    let app = fitted().await;
    register(&app, "a").await;
    app.post(RUNS, run("a", 2.5)).await.assert_status(OK);
    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM forecasts").fetch_one(&app.pool).await.unwrap();
    assert_eq!(left, 0);
}

const OPTIMUM: &str =
    "/v1/families/mine/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";

/// The text of the warning `forecasts_missed` with the trust level of an answer, if it has the reason.
async fn missed(app: &App, path: &str) -> Option<String> {
    let answer: Value = app.get(path).await.json();
    let because = answer["trust"]["because"].as_array().unwrap();
    let warnings = answer["warnings"].as_array().unwrap();
    let warned = warnings.iter().find(|warning| warning["code"] == "forecasts_missed");
    assert_eq!(because.contains(&json!("forecasts_missed")), warned.is_some(), "{answer}");
    warned.map(|warning| format!("{}: {}", answer["trust"]["level"], warning["detail"]))
}

#[tokio::test]
async fn forecasts_that_miss_lower_the_trust_of_the_next_answer() {
    let app = fitted().await;
    app.follow().await;
    assert_eq!(missed(&app, OPTIMUM).await, None);
    let names: Vec<_> = (0..6).map(|i| format!("big-{i}")).collect();
    for name in &names {
        register(&app, name).await;
    }
    let wrong: Vec<_> = names.iter().map(|name| run(name, 9.0)).collect();
    // A single miss may be chance.
    app.post(RUNS, json!([wrong[0]])).await.assert_status(OK);
    let one = async || app.get(OPTIMUM).await.header("etag").to_str().unwrap().to_owned();
    let before = one().await;
    // The result is announced, so that answers of every replica change.
    app.post(RUNS, json!(wrong[..3])).await.assert_status(OK);
    until(async || missed(&app, OPTIMUM).await.is_some(), "the misses are said").await;
    let said = missed(&app, OPTIMUM).await.unwrap();
    assert!(said.starts_with("\"weak\": \"0 of the 3 forecasts"), "{said}");
    assert_ne!(one().await, before);
    app.post(RUNS, json!(wrong)).await.assert_status(OK);
    let none = async || {
        missed(&app, OPTIMUM).await.is_some_and(|said| said.starts_with("\"none\": \"0 of the 6"))
    };
    until(none, "nothing is worth anything").await;
    // Answers that name a version never change.
    let version = app.get(OPTIMUM).await.json::<Value>()["law"]["version"].clone();
    assert_eq!(missed(&app, &format!("{OPTIMUM}&law_version={version}")).await, None);
    // Runs that are excluded, for example as they diverged, are no evidence, nor are deleted ones.
    for name in &names[..4] {
        let path = format!("{RUNS}/by-external-id/{name}");
        let body = json!({"excluded": true, "exclusion_reason": "diverged"});
        app.server.patch(&path).json(&body).await.assert_status(OK);
    }
    let two = async || missed(&app, OPTIMUM).await.is_some_and(|said| said.contains("0 of the 2"));
    until(two, "excluded runs do not count").await;
    app.server
        .delete(&format!("{RUNS}/by-external-id/{}", names[5]))
        .await
        .assert_status(NO_CONTENT);
    until(async || missed(&app, OPTIMUM).await.is_none(), "a deleted run does not count").await;
}

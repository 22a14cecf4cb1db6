//! Refits: the queue, the worker and its leases.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use sparsity_planner::api::state::RequestLimits;
use sparsity_planner::domain::refit::{RefitFailure, RefitFailureKind, RefitOptions};
use sparsity_planner::store::refits::{self, MAX_ATTEMPTS, NewRefit, RefitOutcome, Renewal};
use uuid::Uuid;

use crate::support::wait::until;
use crate::support::{ACCEPTED, App, CREATED, LIMITS, NO_CONTENT, OK, problem};

#[tokio::test]
async fn a_refit_of_uploaded_runs_becomes_the_active_law() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let refit = app.refit("mine", json!({"seed": 7})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    assert_eq!(refit["progress"], 1.0);
    assert_eq!(refit["options"]["seed"], 7);
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!(refit["law"], json!({"id": law["id"], "version": 1}));
    assert_eq!(law["runs"], 48);
    assert_eq!(law["active"], true);
    assert_eq!(law["source"], "fit");
    assert_eq!(law["diagnostics"]["starts"].as_array().unwrap().len(), 16);
    assert!(law["diagnostics"]["agreement"].as_f64().unwrap() > 0.5);
    let codes: Vec<&str> = law["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert_eq!(&codes[..2], ["few_data_levels", "narrow_data"]);
    assert!(codes.contains(&"weakly_determined"), "{codes:?}");
    let family: Value = app.get("/v1/families/mine").await.json();
    assert_eq!(family["active_law"]["id"], law["id"]);
    // The noise is half a percent, so a prediction at a run is about as accurate.
    let answer: Value = app
        .get("/v1/families/mine/prediction?nonzero_params=1327104&sparsity=0&data=16384000000")
        .await
        .json();
    assert!((answer["loss"].as_f64().unwrap() / 3.13228 - 1.0).abs() < 0.02, "{answer}");
    assert_eq!(answer["extrapolation"], json!([]));
}

#[tokio::test]
async fn the_same_runs_options_and_seed_give_the_same_bits() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    for _ in 0..2 {
        app.refit("mine", json!({"seed": 3, "starts": 8})).await;
    }
    let law = |version: i32| {
        let app = &app;
        async move { app.get(&format!("/v1/families/mine/laws/{version}")).await.json::<Value>() }
    };
    let (first, second) = (law(1).await, law(2).await);
    assert_eq!(first["coefficients"], second["coefficients"]);
    assert_eq!(first["data_digest"], second["data_digest"]);
    assert_eq!(first["diagnostics"], second["diagnostics"]);
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn only_unstructured_runs_from_scratch_that_are_not_excluded_are_fitted() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let runs: Value = app.get("/v1/families/mine/runs?limit=3").await.json();
    let id = runs["items"][0]["id"].as_str().unwrap();
    let exclude = json!({"excluded": true, "exclusion_reason": "diverged"});
    app.server
        .patch(&format!("/v1/families/mine/runs/{id}"))
        .json(&exclude)
        .await
        .assert_status(OK);
    let others = json!([
        {"external_id": "p", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 9, "pattern": "2:4"},
        {"external_id": "q", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 9, "start": "pretrained"},
    ]);
    app.post("/v1/families/mine/runs", others).await.assert_status(OK);
    app.refit("mine", json!({"starts": 4})).await;
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!(law["runs"], 47);
}

#[tokio::test]
async fn one_refit_a_family_waits_and_is_returned_to_who_asks_again() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let first = app.post("/v1/families/mine/refits", json!({})).await;
    first.assert_status(ACCEPTED);
    // The request may have no body at all.
    let again = app.server.post("/v1/families/mine/refits").await;
    again.assert_status(OK);
    assert_eq!(first.json::<Value>(), again.json::<Value>());
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(first.json::<Value>()["state"], "queued");
    // Each family has its own queue.
    app.demo_family("other").await;
    app.post("/v1/families/other/refits", json!({})).await.assert_status(ACCEPTED);
}

#[tokio::test]
async fn options_are_taken_as_they_are_shown() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    app.demo_family("dense").await;
    let (few, weights) =
        (json!(["data"]), json!([{"tag": "origin", "value": "synthetic", "weight": 2}]));
    for options in [
        json!({"starts": 4, "bootstrap": 100}),
        json!({"starts": 4, "bootstrap": 100, "delta": 0.004, "holdout": few, "weights": weights}),
        json!({"starts": 4, "bootstrap": 0, "objective": {"residual": "linear", "delta": 0.02}, "holdout": []}),
        json!({"starts": 4, "bootstrap": 0, "fixed": {"c": 0.6}, "confidence": 0.9, "without": ["demo-01"]}),
        json!({"starts": 4, "bootstrap": 0, "constraint": "physical"}),
        json!({"starts": 4, "bootstrap": 0, "form": "average_params"}),
    ] {
        let refit = app.refit("mine", options.clone()).await;
        assert_eq!(refit["state"], "succeeded", "{refit}");
        let version = &refit["law"]["version"];
        let law: Value = app.get(&format!("/v1/families/mine/laws/{version}")).await.json();
        // Beside `auto`, a law shows the delta that was found.
        assert!(law["options"]["delta"].is_number());
        let asked_delta = refit["options"]["objective"]["delta"].clone();
        for shown in [&refit["options"], &law["options"]] {
            let again = app.refit("mine", shown.clone()).await;
            assert_eq!(again["state"], "succeeded", "{again}");
            assert_eq!(again["options"], refit["options"], "{options}");
            assert_eq!(again["options"]["objective"]["delta"], asked_delta);
            let version = &again["law"]["version"];
            let same: Value = app.get(&format!("/v1/families/mine/laws/{version}")).await.json();
            assert_eq!(same["coefficients"], law["coefficients"]);
            assert_eq!(same["intervals"], law["intervals"]);
        }
    }
}

/// The demo's runs, tagged so that those of one size and sparsity are checkpoints of one training.
async fn family_of_trainings(app: &App, name: &str) {
    let demo = include_str!("../../examples/demo-runs.json");
    let mut runs: Vec<Value> = serde_json::from_str(demo).unwrap();
    for run in &mut runs {
        let training = format!("{}-{}", run["nonzero_params"], run["sparsity"]);
        run["tags"] = json!({"training": training});
    }
    runs[0]["tags"] = json!({});
    app.post("/v1/families", json!({"name": name})).await.assert_status(CREATED);
    app.post(&format!("/v1/families/{name}/runs"), json!(runs)).await.assert_status(OK);
}

#[tokio::test]
async fn runs_of_one_training_are_resampled_together() {
    let app = App::with_worker().await;
    family_of_trainings(&app, "mine").await;
    let options = json!({"starts": 4, "bootstrap": 200, "holdout": []});
    let mut clustered = options.clone();
    clustered["cluster"] = json!("training");
    app.refit("mine", options).await;
    let refit = app.refit("mine", clustered).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    assert_eq!(refit["options"]["cluster"], "training");
    let law = |version: i32| {
        let app = &app;
        async move { app.get(&format!("/v1/families/mine/laws/{version}")).await.json::<Value>() }
    };
    let (alone, together) = (law(1).await, law(2).await);
    assert_eq!(
        (&alone["diagnostics"]["clusters"], &alone["options"]["cluster"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(together["diagnostics"]["clusters"], 17);
    assert_eq!(together["coefficients"], alone["coefficients"]);
    assert_ne!(together["intervals"], alone["intervals"]);
    assert_ne!(together["data_digest"], alone["data_digest"]);
    let codes = |law: &Value| -> Vec<String> {
        let warnings = law["warnings"].as_array().unwrap().iter();
        warnings.map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
    };
    assert!(codes(&together).contains(&"untagged_runs".to_owned()), "{:?}", codes(&together));
    assert!(!codes(&alone).contains(&"untagged_runs".to_owned()));
    // The stored runs of a law contain the clusters, so it can be reproduced.
    let again = app.refit("mine", json!({"reproduces": 2})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

#[tokio::test]
async fn no_interval_comes_of_hardly_any_clusters() {
    let app = App::with_worker().await;
    let demo = include_str!("../../examples/demo-runs.json");
    let mut runs: Vec<Value> = serde_json::from_str(demo).unwrap();
    for run in &mut runs {
        run["tags"] = json!({"sweep": run["sparsity"].to_string(), "team": "one"});
    }
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app.post("/v1/families/mine/runs", json!(runs)).await.assert_status(OK);
    for tag in ["sweep", "team"] {
        let options = json!({"starts": 4, "bootstrap": 200, "holdout": [], "cluster": tag});
        let refit = app.refit("mine", options).await;
        assert_eq!(refit["state"], "succeeded", "{refit}");
        let path =
            "/v1/families/mine/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";
        let answer: Value = app.get(path).await.json();
        assert_eq!(answer["interval"], Value::Null);
        let because = answer["trust"]["because"].as_array().unwrap();
        for code in ["few_clusters", "no_intervals"] {
            assert!(because.contains(&json!(code)), "{answer}");
        }
        assert_ne!(answer["trust"]["level"], "good");
    }
}

#[tokio::test]
async fn options_are_checked() {
    let app = App::new().await;
    app.demo_family("mine").await;
    for (options, pointer) in [
        (json!({"starts": 0}), "/starts"),
        (json!({"starts": 5000}), "/starts"),
        (json!({"starts": -1}), "/starts"),
        (json!({"seed": 9_007_199_254_740_992_u64}), "/seed"),
        (json!({"objective": {"residual": "log", "delta": -1}}), "/objective/delta"),
        (json!({"bootstraps": 1}), "/bootstraps"),
        (json!({"bootstrap": 99}), "/bootstrap"),
        (json!({"bootstrap": 10_001}), "/bootstrap"),
        (json!({"confidence": 95}), "/confidence"),
        (json!({"fixed": {"b_d": 21}}), "/fixed/b_d"),
        (json!({"fixed": {"c": 0}}), "/fixed/c"),
        (json!({"fixed": {"d": 1}}), "/fixed/d"),
        (json!({"constraint": "s0"}), "/constraint"),
        (json!({"constraint": "physical", "fixed": {"b_s": 1}}), "/constraint"),
        (json!({"holdout": ["loss"]}), "/holdout/0"),
        (json!({"weights": [{"tag": "a", "value": "b", "weight": -1}]}), "/weights/0/weight"),
        (json!({"weights": [{"tag": "", "value": "b", "weight": 1}]}), "/weights/0/tag"),
        (json!({"delta": 0}), "/objective/delta"),
        (json!({"objective": {"residual": "log", "delta": 0.01}, "delta": 0.02}), "/delta"),
        (json!({"objective": {"residual": "log", "delta": 0.01}, "delta": "auto"}), "/delta"),
        (json!({"objective": {"residual": "log", "delta": "auto"}, "delta": 1e9}), "/delta"),
        (json!({"cluster": ""}), "/cluster"),
        (json!({"cluster": "training"}), "/cluster"),
        (json!({"reproduces": 1, "delta": 1}), "/reproduces"),
        (json!({"reproduces": 1, "cluster": "origin"}), "/reproduces"),
        (json!({"reproduces": 9}), "/reproduces"),
        (json!({"reproduces": 1, "seed": 1}), "/reproduces"),
    ] {
        let response = app.post("/v1/families/mine/refits", options).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
    let weight = json!({"tag": "a", "value": "b", "weight": 1});
    let many = app.post("/v1/families/mine/refits", json!({"weights": vec![weight; 51]})).await;
    assert_eq!(problem(&many, 422, "invalid"), ["/weights"]);
    // All errors are named at once.
    let response = app.post("/v1/families/mine/refits", json!({"starts": 0, "bootstrap": 1})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/starts", "/bootstrap"]);
    problem(&app.post("/v1/families/none/refits", json!({})).await, 404, "not-found");
    problem(&app.get("/v1/refits/x").await, 404, "not-found");
    let unknown = "/v1/refits/018a9623-2400-7000-8000-000000000009";
    problem(&app.get(unknown).await, 404, "not-found");
    problem(&app.server.delete(unknown).await, 404, "not-found");
    problem(&app.get(&format!("{unknown}/events")).await, 404, "not-found");
}

#[tokio::test]
async fn runs_that_determine_no_law_fail_with_a_problem() {
    let app = App::with_worker().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let refit = app.refit("mine", json!({})).await;
    assert_eq!(refit["state"], "failed");
    assert_eq!(refit["error"]["type"], "/problems/no-runs");
    let rows: Vec<Value> = (1..10)
        .map(|i| {
            json!({"external_id": i.to_string(), "nonzero_params": 1e6, "sparsity": 0,
                   "data": 1e9, "loss": 3.0 + 0.01 * f64::from(i)})
        })
        .collect();
    app.post("/v1/families/mine/runs", json!(rows)).await.assert_status(OK);
    let refit = app.refit("mine", json!({})).await;
    assert_eq!(refit["error"]["type"], "/problems/not-identifiable");
    assert_eq!(refit["error"]["status"], 422);
    assert!(
        refit["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("the same nonzero_params, sparsity and data"),
        "{refit}"
    );
}

#[tokio::test]
async fn a_waiting_refit_is_cancelled_at_once_and_a_running_one_soon() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let response = app.post("/v1/families/mine/refits", json!({})).await;
    let path = response.header("location").to_str().unwrap().to_owned();
    let cancelled: Value = app.server.delete(&path).await.json();
    assert_eq!(cancelled["state"], "cancelled");

    tokio::spawn(app.worker().run());
    let response = app.post("/v1/families/mine/refits", json!({"starts": 4096})).await;
    let path = response.header("location").to_str().unwrap().to_owned();
    // The fit takes far longer than claiming it.
    let claimed = async || app.get(&path).await.json::<Value>()["state"] != "queued";
    until(claimed, "the refit runs").await;
    app.server.delete(&path).await.assert_status(OK);
    let refit = app.finished(&path).await;
    assert_eq!(refit["state"], "cancelled");
    assert_eq!(refit["law"], Value::Null);
    // A refit that has ended does not change.
    let again: Value = app.server.delete(&path).await.json();
    assert_eq!(again, refit);
}

#[tokio::test]
async fn events_follow_a_refit_to_its_end() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let response = app.post("/v1/families/mine/refits", json!({})).await;
    let path = response.header("location").to_str().unwrap().to_owned();
    // The stream ends with the refit, so the whole body can be read.
    let events = app.get(&format!("{path}/events")).await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert_eq!(events.header("x-accel-buffering"), "no");
    let text = events.text();
    let last = text.trim().rsplit("\n\n").next().unwrap();
    let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert!(last.contains("event: refit"), "{last}");
    let refit: Value = serde_json::from_str(data).unwrap();
    assert_eq!(refit["state"], "succeeded");
}

const LEASE: Duration = Duration::from_secs(60);

/// Makes all leases expire, as time does for a worker that does not renew them.
async fn expire_leases(app: &App) {
    let sql = "UPDATE refits SET lease_expires_at = now() WHERE state = 'running'";
    sqlx::query(sql).execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn the_refit_of_a_dead_worker_is_taken_over_after_its_lease() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.post("/v1/families/mine/refits", json!({})).await.assert_status(ACCEPTED);
    let claim = || refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, app.clock.now(), None);
    let dead = claim().await.unwrap().unwrap();
    assert!(claim().await.unwrap().is_none(), "the lease is held");
    expire_leases(&app).await;
    let heir = claim().await.unwrap().unwrap();
    assert_eq!((heir.id, heir.attempts), (dead.id, 2));

    // The worker that was believed dead comes back: it can neither renew its lease nor finish.
    let renewal = refits::renew_lease(&app.pool, &dead, LEASE, "fitting", 0.5);
    assert_eq!(renewal.await.unwrap(), Renewal::Lost);
    let failure = RefitFailure { kind: RefitFailureKind::Internal, detail: "late".into() };
    let finish = |claimed| {
        let (pool, clock) = (&app.pool, &app.clock);
        let outcome = RefitOutcome::Failed(failure.clone());
        async move { refits::finish_refit(pool, clock, claimed, &outcome).await.unwrap() }
    };
    assert!(!finish(&dead).await);
    assert!(finish(&heir).await);
}

#[tokio::test]
async fn a_lease_from_before_the_databases_clock_was_set_back_is_not_waited_for() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.post("/v1/families/mine/refits", json!({})).await.assert_status(ACCEPTED);
    let claim = || refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, app.clock.now(), None);
    let dead = claim().await.unwrap().unwrap();
    for (lease, taken) in [("59 minutes", false), ("1 day", true)] {
        let sql = "UPDATE refits SET lease_expires_at = now() + $1::interval";
        sqlx::query(sql).bind(lease).execute(&app.pool).await.unwrap();
        assert_eq!(claim().await.unwrap().is_some(), taken, "{lease}");
    }
    let renewal = refits::renew_lease(&app.pool, &dead, LEASE, "fitting", 0.5);
    assert_eq!(renewal.await.unwrap(), Renewal::Lost);
}

#[tokio::test]
async fn a_refit_that_kills_its_workers_is_given_up() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let response = app.post("/v1/families/mine/refits", json!({})).await;
    let path = response.header("location").to_str().unwrap().to_owned();
    for _ in 0..MAX_ATTEMPTS {
        let claim =
            refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, app.clock.now(), None);
        assert!(claim.await.unwrap().is_some());
        expire_leases(&app).await;
    }
    tokio::spawn(app.worker().run());
    let refit = app.finished(&path).await;
    assert_eq!(refit["error"]["type"], "/problems/worker-lost");
}

/// Imitates a node that is away: its runs cannot be read, and everything else can.
#[tokio::test]
async fn a_refit_whose_runs_cannot_be_read_is_put_off_and_others_go_on() {
    let app = App::new().await;
    for name in ["away", "here"] {
        app.demo_family(name).await;
        let asked = app.post(&format!("/v1/families/{name}/refits"), json!({})).await;
        asked.assert_status(ACCEPTED);
    }
    for statement in [
        "CREATE FUNCTION is_there(family uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT 1 FROM families WHERE id = family AND name = 'away' AND description = '') THEN
                RAISE EXCEPTION 'a node is away' USING ERRCODE = '08006';
            END IF;
            RETURN true;
        END $$",
        "ALTER TABLE runs RENAME TO all_runs",
        "CREATE VIEW runs AS SELECT * FROM all_runs WHERE is_there(family_id)",
    ] {
        sqlx::query(statement).execute(&app.pool).await.unwrap();
    }
    tokio::spawn(app.worker().run());
    let refit = async |name: &str| -> Value {
        let list: Value = app.get(&format!("/v1/families/{name}/refits")).await.json();
        list["items"][0].clone()
    };
    until(async || refit("away").await["phase"] == "waiting", "the refit is put off").await;
    until(async || refit("here").await["state"] == "succeeded", "the other goes on").await;
    let attempts = "SELECT max(attempts) FROM refits";
    let attempts: i32 = sqlx::query_scalar(attempts).fetch_one(&app.pool).await.unwrap();
    assert!(attempts <= 1, "{attempts}");
    assert_eq!(app.get("/readyz").await.json::<Value>()["claims_refits"], true);
    let back = "UPDATE families SET description = 'back' WHERE name = 'away'";
    sqlx::query(back).execute(&app.pool).await.unwrap();
    until(async || refit("away").await["state"] == "succeeded", "it is taken up again").await;
}

#[tokio::test]
async fn a_refit_given_back_is_taken_at_once_and_does_not_count() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.post("/v1/families/mine/refits", json!({})).await.assert_status(ACCEPTED);
    let claim = || refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, app.clock.now(), None);
    let claimed = claim().await.unwrap().unwrap();
    refits::release_refit(&app.pool, &claimed).await.unwrap();
    assert_eq!(claim().await.unwrap().unwrap().attempts, 1);
}

#[tokio::test]
async fn a_family_deleted_under_its_refit_leaves_nothing_behind() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.post("/v1/families/mine/refits", json!({})).await.assert_status(ACCEPTED);
    let claim = refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, app.clock.now(), None);
    let claimed = claim.await.unwrap().unwrap();
    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    let outcome = RefitOutcome::Cancelled;
    assert!(!refits::finish_refit(&app.pool, &app.clock, &claimed, &outcome).await.unwrap());
}

#[tokio::test]
async fn refits_of_a_family_are_listed_newest_first_and_by_state() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.demo_family("other").await;
    app.post("/v1/families/other/refits", json!({})).await.assert_status(ACCEPTED);
    let mut asked = Vec::new();
    for seed in 0..3 {
        let response = app.post("/v1/families/mine/refits", json!({"seed": seed})).await;
        response.assert_status(ACCEPTED);
        let refit: Value = response.json();
        let path = format!("/v1/refits/{}", refit["id"].as_str().unwrap());
        if seed < 2 {
            app.server.delete(&path).await.assert_status(OK);
        }
        asked.push(app.get(&path).await.json::<Value>());
    }
    asked.reverse();
    let list = async |query: &str| -> Value {
        app.get(&format!("/v1/families/mine/refits{query}")).await.json()
    };
    assert_eq!(list("").await, json!({"items": asked, "next_cursor": null}));
    assert_eq!(list("?state=cancelled").await["items"], json!(asked[1..]));
    assert_eq!(list("?state=running").await["items"], json!([]));
    let first = list("?limit=2").await;
    assert_eq!(first["items"], json!(asked[..2]));
    let rest = list(&format!("?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(rest, json!({"items": [asked[2]], "next_cursor": null}));
    let wrong = app.get("/v1/families/mine/refits?state=ended").await;
    assert_eq!(problem(&wrong, 422, "invalid"), ["/state"]);
    problem(&app.get("/v1/families/nobodys/refits").await, 404, "not-found");
}

#[tokio::test]
async fn those_who_ask_and_families_take_turns() {
    let app = App::new().await;
    let insert = async |name: &str, by: &str, work: i64| {
        let family: Uuid = match sqlx::query_scalar("SELECT id FROM families WHERE name = $1")
            .bind(name)
            .fetch_optional(&app.pool)
            .await
            .unwrap()
        {
            Some(id) => id,
            None => {
                app.demo_family(name).await;
                sqlx::query_scalar("SELECT id FROM families WHERE name = $1")
                    .bind(name)
                    .fetch_one(&app.pool)
                    .await
                    .unwrap()
            }
        };
        let options = RefitOptions::default();
        let new = NewRefit {
            id: app.clock.new_id(),
            family_id: family,
            options: &options,
            reproduces_law_id: None,
            trace_context: None,
            requested_by: by,
            work,
        };
        refits::insert_refit(&app.pool, &new, app.clock.now()).await.unwrap();
        app.clock.advance(TimeDelta::seconds(1));
        new.id
    };
    let claim = async |most_work| {
        app.clock.advance(TimeDelta::seconds(1));
        let now = app.clock.now();
        let claimed = refits::claim_refit(&app.pool, app.clock.new_id(), LEASE, now, most_work);
        claimed.await.unwrap().map(|claimed| claimed.id)
    };
    // One caller has asked for several refits, and another for a single one after that.
    let (a, b, c) = (
        insert("a", "one", 10).await,
        insert("b", "one", 1_000).await,
        insert("c", "one", 10).await,
    );
    let other = insert("d", "other", 1_000).await;
    assert_eq!(claim(None).await, Some(a));
    // Both the family and the caller of the first refit have had their turn.
    let again = insert("a", "one", 10).await;
    assert_eq!(claim(None).await, Some(other));
    // A small refit does not wait for large ones.
    assert_eq!(claim(Some(100)).await, Some(c));
    assert_eq!(claim(None).await, Some(b));
    assert_eq!(claim(None).await, Some(again));
    assert_eq!(claim(None).await, None);
}

#[tokio::test]
async fn a_refit_that_takes_too_much_is_refused() {
    let app = App::with_limits(RequestLimits { refit_work: 5_000, ..LIMITS }).await;
    app.demo_family("mine").await;
    let ask = async |bootstrap: u32| {
        app.post("/v1/families/mine/refits", json!({"starts": 4, "bootstrap": bootstrap})).await
    };
    let refused = ask(1_000).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/bootstrap"]);
    assert!(refused.text().contains("--max-refit-work"), "{}", refused.text());
    ask(0).await.assert_status(ACCEPTED);
}

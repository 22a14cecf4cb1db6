//! Limits on the memory and time of a request, and on how much one caller can hold up others.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use axum::http::Request;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sparsity_planner::api::layers::answer_points::BulkLimits;
use sparsity_planner::api::layers::bodies::BodyLimits;
use sparsity_planner::api::layers::owner::Owner;
use sparsity_planner::api::state::RequestLimits;
use sparsity_planner::intake::{Coding, ColumnOptions, Format, Reading, Stop};
use sparsity_planner::pipeline;
use sparsity_planner::store::{self, refits};
use uuid::Uuid;

use crate::support::wait::until;
use crate::support::{ACCEPTED, App, LIMITS, OK, TRANSFERS, database, database_of, problem, run};

const T5: &str = "/v1/families/t5-c4";

/// The longest pointer or detail of a problem, in bytes.
const LONGEST: usize = 400;

#[tokio::test]
async fn a_problem_is_short_whatever_was_sent() {
    let app = App::new().await;
    let long = "x".repeat(200_000);
    for (path, body) in [
        ("/v1/families", json!({"name": "a", &long: 1})),
        ("/v1/families", json!({"name": &long})),
        ("/v1/hardware-profiles", json!({"name": "a", "cost": {&long: {&long: 1}}})),
        ("/v1/families/t5-c4/runs", json!({"external_id": "a", &long: {&long: 1}})),
        ("/v1/families/t5-c4/plans", json!({"flop_mode": &long, "compute": 1e20})),
        ("/v1/families/t5-c4/optimal-sparsities", json!({"points": [{&long: 1}]})),
    ] {
        let response = app.post(path, body).await;
        assert!(response.status_code().is_client_error(), "{path}");
        assert!(response.as_bytes().len() < 4 * LONGEST, "{path}: {}", response.as_bytes().len());
        let problem: Value = response.json();
        assert!(problem["detail"].as_str().unwrap().len() <= LONGEST, "{path}");
        for error in problem["errors"].as_array().into_iter().flatten() {
            for text in [&error["pointer"], &error["detail"]] {
                assert!(text.as_str().unwrap().len() <= LONGEST, "{path}");
            }
        }
    }
    let response = app.get(&format!("{T5}/prediction?{}=1", "x".repeat(20_000))).await;
    assert!(response.as_bytes().len() < 4 * LONGEST);
}

#[tokio::test]
async fn only_questions_about_many_points_have_large_bodies() {
    let limits = BodyLimits { small: 1_000, bulk: 100_000, together: 1 << 20, per_second: 0 };
    let app = App::with_limits(RequestLimits { bodies: limits, ..LIMITS }).await;
    let padding = " ".repeat(2_000);
    let post = async |path: &str, body: &str| {
        let text = format!("{body}{padding}");
        let request = app.server.post(path).text(text);
        request.content_type("application/json").await
    };
    let refused = post("/v1/families", r#"{"name": "a"}"#).await;
    problem(&refused, 413, "too-large");
    assert!(refused.text().contains("--max-small-body-bytes"));
    let many = r#"{"points": [{"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}]}"#;
    post(&format!("{T5}/predictions"), many).await.assert_status(OK);
    let body = json!({"points": vec![json!({"nonzero_params": 1e8}); 10_000]});
    let refused = app.post(&format!("{T5}/predictions"), body).await;
    problem(&refused, 413, "too-large");
    assert!(refused.text().contains("--max-body-bytes"));
    // The memory of the body was released.
    assert_eq!(app.bodies.bytes(), 0);
}

#[tokio::test]
async fn bodies_that_find_no_room_are_told_to_come_again() {
    let limits = BodyLimits { small: 100_000, bulk: 100_000, together: 120_000, per_second: 0 };
    let app = App::with_limits(RequestLimits { bodies: limits, ..LIMITS }).await;
    // Imitates a body of another caller that is still arriving.
    let mut held = app.bodies.begin(Owner::Address([192, 0, 2, 7].into()));
    held.cover(100_000).unwrap();
    let points = vec![json!({"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}); 1_000];
    let body = json!({"points": points, "intervals": false});
    let refused = app.post(&format!("{T5}/predictions"), body.clone()).await;
    problem(&refused, 503, "unavailable");
    assert!(refused.text().contains("--body-memory-bytes"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    drop(held);
    app.post(&format!("{T5}/predictions"), body).await.assert_status(OK);
}

#[tokio::test]
async fn an_answer_to_many_points_holds_its_room_until_it_is_taken() {
    let app = App::new().await;
    let sizes = json!({"from": 1e7, "to": 1e9, "steps": 3_000});
    for (path, question) in [
        ("predictions", json!({"nonzero_params": sizes, "sparsity": 0.5, "data": [1e10, 2e10]})),
        (
            "optimal-sparsities",
            json!({"nonzero_params": sizes, "compute": [1e20, 2e20], "flop_mode": "dense"}),
        ),
    ] {
        for kind in ["application/json", "application/vnd.apache.arrow.stream"] {
            let request = Request::post(format!("{T5}/{path}")).header("host", "localhost");
            let request = request.header("content-type", "application/json").header("accept", kind);
            let request = request.body(question.to_string().into()).unwrap();
            let answer = app.unread(request).await;
            assert_eq!(answer.status(), OK);
            assert!(answer.headers().contains_key("content-length"), "{path} as {kind}");
            assert_eq!(app.answer_points.held(), 6_000, "{path} as {kind}");
            let text = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert!(text.len() > 6_000);
            assert_eq!(app.answer_points.held(), 0, "{path} as {kind}");
        }
    }
    // A refused request holds no points.
    let wrong = json!({"points": [{"nonzero_params": -1, "sparsity": 0.5, "data": 1e10}]});
    problem(&app.post(&format!("{T5}/predictions"), wrong).await, 422, "invalid");
    assert_eq!(app.answer_points.held(), 0);
}

#[tokio::test]
async fn points_that_find_no_room_are_told_to_come_again() {
    let app =
        App::with_limits(RequestLimits { request_timeout: Duration::from_secs(2), ..LIMITS }).await;
    let held = app.answer_points.hold(Owner::Unknown, LIMITS.bulk.points).await.unwrap();
    let point = json!({"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10});
    // Questions about a few points need no room.
    let few = json!({"points": vec![&point; 500]});
    app.post(&format!("{T5}/predictions"), few).await.assert_status(OK);
    let body = json!({"points": vec![&point; 501]});
    let refused = app.post(&format!("{T5}/predictions"), body.clone()).await;
    problem(&refused, 503, "unavailable");
    assert_eq!(app.bodies.bytes(), 0);
    assert!(refused.text().contains("--answer-points"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    drop(held);
    app.post(&format!("{T5}/predictions"), body).await.assert_status(OK);
}

#[tokio::test]
async fn a_name_or_value_that_is_as_long_as_a_body_is_refused_by_where_it_stands() {
    let app = App::new().await;
    let long = "x".repeat(300_000);
    for (body, what) in [
        (json!({"points": [{&long: 1}]}), "a text that begins with \"xxx"),
        (json!({"flop_mode": &long}), "a text that begins with \"xxx"),
    ] {
        let refused = app.post(&format!("{T5}/optimal-sparsities"), body).await;
        problem(&refused, 400, "malformed");
        let detail = refused.json::<Value>()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.starts_with(what) && detail.contains("longer than 262144 bytes"),
            "{detail}"
        );
    }
    // A list is read up to its limit and no further.
    for (body, pointer) in [
        (json!({"points": vec![json!({"nonzero_params": 1}); 100_001]}), "/points"),
        (json!({"nonzero_params": vec![1; 100_001], "compute": 1e20}), "/nonzero_params"),
    ] {
        let app = App::with_limits(RequestLimits {
            bodies: BodyLimits { bulk: 16 << 20, together: 64 << 20, ..LIMITS.bodies },
            ..LIMITS
        });
        let refused = app.await.post(&format!("{T5}/optimal-sparsities"), body).await;
        assert_eq!(problem(&refused, 422, "invalid"), [pointer]);
        assert!(refused.text().contains("at most 100000 entries"), "{}", refused.text());
    }
    // A long list is not an object, whatever it contains.
    let list = json!(vec![1.5; 100_000]);
    let refused = app.post(&format!("{T5}/optimal-sparsities"), list).await;
    assert_eq!(problem(&refused, 422, "invalid"), [""]);
    assert!(refused.text().contains("must be a JSON object"));
}

#[tokio::test]
async fn a_large_body_is_read_at_its_rate_and_whole() {
    let per_second = 64 << 20;
    let bodies = BodyLimits { per_second, ..LIMITS.bodies };
    let app = App::with_limits(RequestLimits { bodies, ..LIMITS }).await;
    let points = vec![json!({"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}); 15_000];
    let body = json!({"points": points, "intervals": false});
    let begun = Instant::now();
    let answer = app.post(&format!("{T5}/predictions"), body.clone()).await;
    answer.assert_status(OK);
    assert_eq!(answer.json::<Value>()["results"].as_array().unwrap().len(), 15_000);
    // Only the last block may be read ahead of the rate, so even the fastest machine takes at least this long.
    let paid = body.to_string().len() as f64 - 256.0 * 1024.0;
    assert!(begun.elapsed().as_secs_f64() >= paid / per_second as f64);
}

#[tokio::test]
async fn points_count_as_often_as_there_are_resampled_laws() {
    let bulk = BulkLimits { members: 1_000, searched: 300, ..LIMITS.bulk };
    let app = App::with_limits(RequestLimits { bulk, ..LIMITS }).await;
    app.demo_family("mine").await;
    tokio::spawn(app.worker().run());
    let options = json!({"starts": 2, "bootstrap": 100, "holdout": []});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let ask = async |mode: &str, points: usize, intervals: bool| {
        let point = json!({"nonzero_params": 1e8, "compute": 1e19});
        let body =
            json!({"flop_mode": mode, "points": vec![point; points], "intervals": intervals});
        app.post("/v1/families/mine/optimal-sparsities", body).await
    };
    for (mode, points, setting) in
        [("sparse", 10, "--max-asked-laws"), ("example-block-sparse", 3, "--max-searched-laws")]
    {
        ask(mode, points, true).await.assert_status(OK);
        ask(mode, points + 1, false).await.assert_status(OK);
        let refused = ask(mode, points + 1, true).await;
        assert_eq!(problem(&refused, 422, "invalid"), ["/intervals"]);
        let text = refused.text();
        assert!(text.contains(setting) && text.contains(&format!("{points} points at a time")));
    }
}

#[tokio::test]
async fn two_laws_are_compared_on_so_many_runs_and_no_more() {
    let app = App::with_limits(RequestLimits { compared_runs: 48, ..LIMITS }).await;
    app.demo_family("mine").await;
    tokio::spawn(app.worker().run());
    for seed in [1, 2] {
        let options = json!({"starts": 2, "bootstrap": 100, "holdout": [], "seed": seed});
        assert_eq!(app.refit("mine", options).await["state"], "succeeded");
    }
    let compare =
        async || -> Value { app.get("/v1/families/mine/laws/compare?a=1&b=2").await.json() };
    let both = compare().await;
    assert_eq!(both["common_runs"]["runs"], 48, "{both}");
    assert_eq!(both["optimal_sparsity"].as_array().unwrap().len(), 50);
    let one = json!({"external_id": "one-more", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5});
    app.post("/v1/families/mine/runs", one).await.assert_status(OK);
    let more = compare().await;
    assert_eq!(more["common_runs"], Value::Null);
    // The part that does not depend on the runs is the same, and was not computed again.
    assert_eq!(more["optimal_sparsity"], both["optimal_sparsity"]);
    app.comparisons.run_pending_tasks().await;
    assert_eq!(app.comparisons.entry_count(), 1);
}

#[tokio::test]
async fn streams_of_events_are_limited_and_share_their_looks() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let response = app.post("/v1/families/mine/refits", json!({})).await;
    response.assert_status(ACCEPTED);
    let path = response.header("location").to_str().unwrap().to_owned();
    let id: Uuid = path.rsplit_once('/').unwrap().1.parse().unwrap();
    let refit = refits::find_refit(&app.pool, id).await.unwrap().unwrap();
    let followers = [app.refit_watch.follow(refit.clone()), app.refit_watch.follow(refit)];
    assert_eq!(app.refit_watch.followed(), 1);
    drop(followers);
    until(async || app.refit_watch.followed() == 0, "nobody follows it").await;

    // Takes all places for streams that this caller may have.
    let held: Vec<_> = std::iter::from_fn(|| app.streams.try_enter(Owner::Unknown)).collect();
    assert_eq!(held.len(), LIMITS.streams.each);
    let refused = app.get(&format!("{path}/events")).await;
    problem(&refused, 503, "unavailable");
    assert!(refused.text().contains("--event-streams-per-key"), "{}", refused.text());
    drop(held);
    app.server.delete(&path).await.assert_status(OK);
    let events = app.get(&format!("{path}/events")).await;
    assert!(events.text().contains("\"cancelled\""), "{}", events.text());
}

#[tokio::test]
async fn the_database_is_not_asked_by_everybody_who_asks_whether_it_is_there() {
    let app = App::new().await;
    let answers = join_all((0..50).map(|_| app.get("/readyz"))).await;
    for answer in answers {
        answer.assert_status(OK);
    }
    assert!((1..50).contains(&app.schema_look.looks()), "{}", app.schema_look.looks());
}

#[tokio::test]
async fn a_full_disk_is_told_by_its_own_problem() {
    let app = App::new().await;
    for statement in [
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON families EXECUTE FUNCTION full_disk()",
    ] {
        sqlx::query(statement).execute(&app.pool).await.unwrap();
    }
    let refused = app.post("/v1/families", json!({"name": "mine"})).await;
    problem(&refused, 507, "storage-full");
    assert!(!refused.text().contains("extend"), "{}", refused.text());
    app.get("/readyz").await.assert_status(OK);
}

#[tokio::test]
async fn laws_in_memory_answer_while_the_database_is_away() {
    let app = App::new().await;
    let question = |more: &str| {
        format!("{T5}/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse{more}")
    };
    let questions = [question(""), question("&law_version=1")];
    let mut answers = Vec::new();
    for question in &questions {
        let answer = app.get(question).await;
        answer.assert_status(OK);
        assert!(answer.maybe_header("x-as-of").is_none());
        answers.push(answer.text());
    }
    let picture = app.server.get(&format!("{T5}/contours?flop_mode=sparse&law_version=1"));
    let picture = picture.add_header("accept", "image/svg+xml").await;
    assert!(!picture.text().contains("Its runs are not drawn"));
    assert_eq!(picture.header("cache-control"), "private, max-age=3600");
    let whole = picture.header("etag");
    app.pool.close().await;
    for (question, before) in questions.iter().zip(answers) {
        let answer = app.get(question).await;
        answer.assert_status(OK);
        assert_eq!(answer.header("x-as-of"), "2026-03-01T12:00:00Z");
        assert_eq!(answer.text(), before);
    }
    let points = json!({"points": [{"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}]});
    let answer = app.post(&format!("{T5}/predictions"), points).await;
    assert_eq!(answer.header("x-as-of"), "2026-03-01T12:00:00Z");
    // The picture is drawn without the runs, says so, and must not be cached.
    for (question, kept) in [("", "x-as-of"), ("&law_version=1", "etag")] {
        let path = format!("{T5}/contours?flop_mode=sparse{question}");
        let answer = app.server.get(&path).add_header("accept", "image/svg+xml").await;
        answer.assert_status(OK);
        assert!(answer.text().contains("Its runs are not drawn"), "{path}");
        assert!(answer.maybe_header(kept).is_some(), "{path}");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert_ne!(answer.header("etag"), whole, "{path}");
    }
    // What was never asked before is not in memory.
    problem(&app.get("/v1/families/vit-jft/contours?flop_mode=sparse").await, 503, "unavailable");
}

#[tokio::test]
async fn cells_that_are_formulas_are_made_harmless_where_asked() {
    let app = App::new().await;
    let runs = json!([{"external_id": "=1+1", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5,
        "exclusion_reason": "@SUM(A1)"}]);
    app.post(&format!("{T5}/runs"), runs).await.assert_status(OK);
    let csv = async |query: &str| {
        let request = app.server.get(&format!("{T5}/runs{query}"));
        request.add_header("accept", "text/csv").await.text()
    };
    for query in ["", "?formulas=keep"] {
        let kept = csv(query).await;
        assert!(kept.contains("\n=1+1,") && kept.contains(",@SUM(A1)\n"), "{kept}");
    }
    let escaped = csv("?formulas=escape").await;
    assert!(escaped.contains("\n'=1+1,") && escaped.contains(",'@SUM(A1)\n"), "{escaped}");
    let json = app.get(&format!("{T5}/runs?formulas=escape")).await;
    assert_eq!(problem(&json, 422, "invalid"), ["/formulas"]);
}

/// An endless body of rows.
#[derive(Default)]
struct Endless {
    rows: u64,
    left: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            self.rows += 1;
            let mut row = run(&format!("run-{}", self.rows)).to_string();
            row.push('\n');
            self.left = row.into_bytes();
        }
        let length = buffer.len().min(self.left.len());
        buffer[..length].copy_from_slice(&self.left[..length]);
        self.left.drain(..length);
        Ok(length)
    }
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_no_answer_for_the_next_query() {
    let watched = database().await;
    let pool = database_of(&watched).await;
    let clock = crate::support::clock();
    let copying = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'COPY staged_runs%'",
        )
        .fetch_one(&watched)
        .await
        .unwrap()
    };
    for _ in 0..3 {
        let reading = Reading {
            format: Format::Ndjson,
            coding: Coding::Identity,
            columns: ColumnOptions::default().check().unwrap(),
            limits: TRANSFERS.ingest,
            skip_errors: false,
            stop: Stop::default(),
        };
        tokio::select! {
            read = pipeline::read(&pool, &clock, reading, Endless::default(), 0) => panic!("{read:?}"),
            () = until(async || copying().await > 0, "rows are copied") => {}
        }
        // Every query gets its own answer, on every connection of the pool.
        for number in 0..20_i64 {
            let query = sqlx::query_scalar::<_, i64>("SELECT $1::bigint").bind(number);
            assert_eq!(query.fetch_one(&pool).await.unwrap(), number);
        }
        assert_eq!(store::find_encoding(&pool).await.unwrap(), "UTF8");
        until(async || copying().await == 0, "its connection has ended").await;
    }
    tokio::time::timeout(Duration::from_secs(60), pool.close()).await.unwrap();
}

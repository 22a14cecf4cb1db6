//! The metrics that the service gives to Prometheus.

use axum_test::TestServer;
use serde_json::json;
use sparsity_planner::api::resources::health::{HealthParts, health_router};
use sparsity_planner::live::schema_look::SchemaLook;
use sparsity_planner::telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::support::wait::until_some;
use crate::support::{ACCEPTED, App, OK};

/// The value of a metric.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn requests_refits_connections_and_laws_are_counted() {
    let app = App::new().await;
    app.demo_family("counted").await;
    app.post("/v1/families/counted/refits", json!({})).await.assert_status(ACCEPTED);
    app.clock.advance(chrono::TimeDelta::seconds(90));
    let accepted =
        "application/openmetrics-text;version=1.0.0;q=0.7,text/plain;version=0.0.4;q=0.5";
    let response = app.server.get("/metrics").add_header("accept", accepted).await;
    response.assert_status(OK);
    let kind = response.header("content-type");
    assert!(kind.to_str().unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let text = response.text();
    assert_eq!(value(&text, "sparsity_planner_refits_queued"), 1.0);
    assert_eq!(value(&text, "sparsity_planner_refits_running"), 0.0);
    assert_eq!(value(&text, "sparsity_planner_refits_oldest_queued_seconds"), 90.0);
    assert!(value(&text, "sparsity_planner_database_connections") >= 1.0);
    assert_eq!(value(&text, "sparsity_planner_database_connections_limit"), 5.0);
    assert_eq!(value(&text, "sparsity_planner_announcements_followed"), 0.0);
    // This request itself is in progress.
    assert_eq!(value(&text, "sparsity_planner_http_requests_in_flight"), 1.0);
    let uploads = r#"sparsity_planner_http_requests_total{method="POST",route="/v1/families/{family}/runs",status="200"}"#;
    assert_eq!(value(&text, uploads), 1.0);
    assert!(text.ends_with("# EOF\n"));
    // Clients that do not accept OpenMetrics get the older format.
    let response = app.get("/metrics").await;
    assert_eq!(response.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text();
    assert!(text.contains("# TYPE sparsity_planner_http_requests_total counter\n"), "{text}");
    assert_eq!(value(&text, uploads), 1.0);
}

#[tokio::test]
async fn a_refit_is_timed_by_how_it_ended() {
    let app = App::with_worker().await;
    app.demo_family("timed").await;
    let refit = app.refit("timed", json!({"bootstrap": 100})).await;
    assert_eq!(refit["state"], "succeeded");
    let name = r#"sparsity_planner_refit_duration_seconds_count{outcome="succeeded"}"#;
    // The refit is counted just after it is stored.
    let find = async || {
        let text = app.get("/metrics").await.text();
        text.contains(name).then_some(text)
    };
    assert_eq!(value(&until_some(find, "the refit is counted").await, name), 1.0);
}

#[tokio::test]
async fn without_the_database_the_rest_is_still_counted() {
    let app = App::new().await;
    app.pool.close().await;
    let response = app.get("/metrics").await;
    response.assert_status(OK);
    let text = response.text();
    assert!(!text.contains("refits_queued"), "{text}");
    assert_eq!(value(&text, "sparsity_planner_database_connections"), 0.0);
}

#[tokio::test]
async fn a_worker_alone_says_how_it_is_and_nothing_of_laws_that_it_does_not_answer_from() {
    let app = App::new().await;
    let parts = HealthParts {
        pool: app.pool.clone(),
        schema_look: SchemaLook::new(app.pool.clone()),
        clock: app.clock.clone(),
        laws: None,
        replica: None,
        metrics: Metrics::default(),
        shutdown: CancellationToken::new(),
    };
    let worker = TestServer::new(health_router(parts));
    worker.get("/readyz").await.assert_status(OK);
    let text = worker.get("/metrics").await.text();
    assert_eq!(value(&text, "sparsity_planner_refits_queued"), 0.0);
    // A worker does not have these metrics; alerts on them would never end.
    assert!(!text.contains("announcements_followed") && !text.contains("law_cache"), "{text}");
}

#[tokio::test]
async fn metrics_do_not_wait_for_a_database_that_does_not_answer() {
    let app = App::new().await;
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE refits").execute(&mut *transaction).await.unwrap();
    let text = app.get("/metrics").await.text();
    assert!(!text.contains("refits_queued"), "{text}");
    transaction.rollback().await.unwrap();
}

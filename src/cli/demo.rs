//! `demo`: creates a family of synthetic runs, fits its law, and asks it a question.

use std::time::Duration;

use anyhow::bail;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::app::{Database, Service};
use crate::cli::caveats::Caveats;
use crate::cli::demo_runs;
use crate::cli::print::print_line;
use crate::config::{DatabaseConfig, HttpConfig, PrivateConfig, RefitConfig};
use crate::live::keyring::Caller;
use crate::telemetry::traces::{Traces, TracesConfig};

/// The question that the demo asks.
const QUESTION: &str = "nonzero_params=1e8&compute=1e20&flop_mode=sparse";

pub async fn run_demo(
    private: PrivateConfig,
    http: &HttpConfig,
    refits: &RefitConfig,
    traces: &TracesConfig,
) -> anyhow::Result<()> {
    let traces = Traces::start(traces)?;
    // Always private, as synthetic runs do not belong into a database that others use.
    let database = Database::open(&DatabaseConfig {
        database_url: None,
        listen_database_url: None,
        private,
        database_connections: 10,
        database_timeout_ms: 5_000,
    })
    .await?;
    let service = Service::start(&database, http, refits, &traces).await?;
    let shown = show_demo(&service).await;
    if shown.is_ok() {
        print_line(format_args!(
            "The dashboard: http://{}/?family={}",
            service.address,
            demo_runs::FAMILY
        ))?;
        print_line(format_args!(
            "Serving until Ctrl-C. The API's documentation: http://{}/docs/",
            service.address
        ))?;
        service.run_until_stopped().await?;
    } else {
        service.stop().await?;
    }
    traces.close(http.drain()).await;
    database.close().await?;
    shown
}

async fn show_demo(service: &Service) -> anyhow::Result<()> {
    let base = format!("http://{}/v1/families", service.address);
    let family = format!("/v1/families/{}", demo_runs::FAMILY);
    let (status, _) = call(service, Method::GET, &family, None).await?;
    if status == StatusCode::NOT_FOUND {
        let body = json!({"name": demo_runs::FAMILY, "description": demo_runs::DESCRIPTION});
        expect(service, Method::POST, "/v1/families", Some(body)).await?;
    }
    let runs = serde_json::to_value(demo_runs::runs())?;
    let stored = expect(service, Method::POST, &format!("{family}/runs"), Some(runs)).await?;
    print_line(format_args!("Family `demo`: {}.", demo_runs::DESCRIPTION))?;

    let question = format!("{family}/optimal-sparsity?{QUESTION}");
    let changed = stored["created"] != 0 || stored["updated"] != 0;
    let (status, _) = call(service, Method::GET, &question, None).await?;
    if changed || !status.is_success() {
        print_line("Fitting its law; this takes some seconds.")?;
        fit(service, &family).await?;
    }
    let answer = expect(service, Method::GET, &question, None).await?;
    print_line(
        "\nHow sparse should 100 M non-zero parameters be, trained with 1e20 FLOPs where zeros cost nothing?\n",
    )?;
    let version = &answer["law"]["version"];
    let law = format!("{base}/{}/laws/{version}", demo_runs::FAMILY);
    let caveats: Caveats = serde_json::from_value(answer.clone())?;
    print_line(told(&answer))?;
    for line in caveats.lines(&law) {
        print_line(format_args!("  {line}"))?;
    }
    print_line("")?;
    print_line("The same over HTTP, with all that the answer says:")?;
    print_line(format_args!(
        "  curl '{base}/{}/optimal-sparsity?{QUESTION}'\n",
        demo_runs::FAMILY
    ))?;
    Ok(())
}

/// Requests a refit of the family and waits for it to end.
async fn fit(service: &Service, family: &str) -> anyhow::Result<()> {
    let mut refit = expect(service, Method::POST, &format!("{family}/refits"), None).await?;
    let refit_path = format!("/v1/refits/{}", refit["id"].as_str().unwrap_or_default());
    while refit["finished_at"].is_null() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        refit = expect(service, Method::GET, &refit_path, None).await?;
    }
    if refit["state"] != "succeeded" {
        bail!("the refit did not succeed: {refit}");
    }
    Ok(())
}

/// Describes an optimal sparsity by a sentence, and by a table that compares the sparse model with the dense one.
fn told(answer: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let percent = |value: &Value| format!("{:.1} %", 100.0 * number(value));
    let mut text = format!("  Make {} of the weights zero", percent(&answer["sparsity"]));
    if let Some(interval) = answer["interval"].as_object() {
        let level = 100.0 * number(&interval["level"]);
        let (low, high) = (percent(&interval["low"]), percent(&interval["high"]));
        text += &format!(" ({level:.0} % interval: {low} to {high})");
    }
    let dense = &answer["dense"];
    let rows = [
        (
            "predicted loss",
            format!("{:.4}", number(&answer["loss"])),
            format!("{:.4}", number(&dense["loss"])),
        ),
        (
            "tokens to train on",
            format!("{:.3e}", number(&answer["data"])),
            format!("{:.3e}", number(&dense["data"])),
        ),
    ];
    text += &format!(".\n\n  {:20}{:>12}{:>12}\n", "", "sparse", "dense");
    for (what, sparse, dense) in rows {
        text += &format!("  {what:20}{sparse:>12}{dense:>12}\n");
    }
    text
}

/// Sends a request through the service's own router.
async fn call(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(StatusCode, Value)> {
    // The service's own requests need no key, even if the database has keys.
    let request = Request::builder().method(method).uri(path).extension(Caller::Service);
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(&body)?))?,
        None => request.body(Body::empty())?,
    };
    // Not logged: the log is for requests of others.
    let answered = service.router.clone().oneshot(request).with_subscriber(NoSubscriber::default());
    let response = answered.await?;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
    Ok((status, serde_json::from_slice(&bytes)?))
}

async fn expect(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let (status, answer) = call(service, method.clone(), path, body).await?;
    if !status.is_success() {
        bail!("{method} {path} was answered with {answer}");
    }
    Ok(answer)
}

//! `demo`: a family of synthetic runs, its law, and a question to it.

use std::time::Duration;

use anyhow::bail;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::{Database, Service};
use crate::cli::demo_runs;
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
    // Always private: synthetic runs have no place in a database that others use.
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
        println!("The dashboard: http://{}/?family={}", service.address, demo_runs::FAMILY);
        println!("Serving until Ctrl-C. The API's documentation: http://{}/docs/", service.address);
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
    println!("Family `demo`: {}.", demo_runs::DESCRIPTION);
    println!("Runs: {stored}");

    let mut refit = expect(service, Method::POST, &format!("{family}/refits"), None).await?;
    let refit_path = format!("/v1/refits/{}", refit["id"].as_str().unwrap_or_default());
    while refit["finished_at"].is_null() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        refit = expect(service, Method::GET, &refit_path, None).await?;
    }
    if refit["state"] != "succeeded" {
        bail!("the refit did not succeed: {refit}");
    }
    let law_path = format!("{family}/laws/{}", refit["law"]["version"]);
    let law = expect(service, Method::GET, &law_path, None).await?;
    println!(
        "Law {}: objective {} over {} runs, coefficients {}",
        law["version"], law["objective"], law["runs"], law["coefficients"]
    );

    let question = format!("{family}/optimal-sparsity?{QUESTION}");
    let answer = expect(service, Method::GET, &question, None).await?;
    println!("\nHow sparse should 100 M non-zero parameters be, trained with 1e20 FLOPs?");
    println!("  curl '{base}/{}/optimal-sparsity?{QUESTION}'", demo_runs::FAMILY);
    println!("{answer:#}\n");
    Ok(())
}

/// Sends a request through the service's own router.
async fn call(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(StatusCode, Value)> {
    // The service's own questions need no key, also where the database has some.
    let request = Request::builder().method(method).uri(path).extension(Caller::Service);
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(&body)?))?,
        None => request.body(Body::empty())?,
    };
    let response = service.router.clone().oneshot(request).await?;
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

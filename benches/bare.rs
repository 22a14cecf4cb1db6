//! The least that an axum service can do with a question: parse the same query, and send an answer of
//! the same shape as JSON. `over_http.py` compares the service with it.
//!
//! Runs until it is killed, or two minutes.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "the address is the result")]

use std::time::Duration;

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    nonzero_params: f64,
    sparsity: Option<f64>,
    data: Option<f64>,
    compute: Option<f64>,
    flop_mode: Option<String>,
    law_version: Option<i32>,
    intervals: Option<bool>,
}

#[derive(Serialize)]
struct Law {
    id: &'static str,
    version: i32,
    source: &'static str,
    fitted_at: &'static str,
    data_digest: &'static str,
}

#[derive(Serialize)]
struct Interval {
    level: f64,
    low: f64,
    high: f64,
}

#[derive(Clone, Copy, Serialize)]
struct Warning {
    code: &'static str,
    detail: &'static str,
}

#[derive(Serialize)]
struct Dense {
    loss: f64,
    data: f64,
}

#[derive(Serialize)]
struct Answer {
    law: Law,
    sparsity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
    loss: f64,
    data: f64,
    total_params: f64,
    dense: Dense,
    gain: f64,
    chinchilla_ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    intervals: Option<[Interval; 4]>,
    pattern: Option<()>,
    extrapolation: [(); 0],
    warnings: [Warning; 7],
}

/// As long as those of the demo's law.
const WARNINGS: [Warning; 7] = [
    Warning { code: "interpolated", detail: "no run has a sparsity between 0.5 and 0.75" },
    Warning {
        code: "few_data_levels",
        detail: "the runs have 3 different values of data; at least 4 are needed to tell the shape \
                 of a curve from its height",
    },
    Warning {
        code: "narrow_data",
        detail: "the amounts of data span a factor of 4.0: how the loss falls beyond them is hardly \
                 determined",
    },
    CORRELATED,
    CORRELATED,
    CORRELATED,
    Warning {
        code: "weakly_determined",
        detail: "b_d could be anywhere between 0.084 and 0.808: answers that lean on it, far from \
                 the runs most of all, are uncertain by more than their digits show",
    },
];
const CORRELATED: Warning = Warning {
    code: "correlated",
    detail: "a_d and b_d are correlated (-0.999): the runs determine them together rather than one \
             by one",
};

/// Echoes the question's numbers, so that nothing of the answer is known before it is asked.
async fn answer(Path(_family): Path<String>, Query(asked): Query<Params>) -> Json<Answer> {
    let value = asked.sparsity.or(asked.data).or(asked.compute).unwrap_or(0.5).sqrt();
    let mode = asked.flop_mode.map_or(0.0, |mode| mode.len() as f64);
    let interval = || Interval { level: 0.95, low: 0.9 * value, high: 1.1 * value };
    let intervals = asked.intervals.unwrap_or(true);
    Json(Answer {
        law: Law {
            id: "0193a6b0-0000-7000-8000-000000000000",
            version: asked.law_version.unwrap_or(1),
            source: "fit",
            fitted_at: "2026-11-24T12:00:00.123456Z",
            data_digest: "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b7ab9b6d0a2e4b1cd3f5e0a11",
        },
        sparsity: value,
        interval: intervals.then(interval),
        loss: value + 1.0,
        data: asked.nonzero_params * 20.123,
        total_params: asked.nonzero_params / 0.567,
        dense: Dense { loss: value + 2.0, data: asked.nonzero_params * 19.9 },
        gain: value + mode,
        chinchilla_ratio: value * 3.0,
        intervals: intervals.then(|| [interval(), interval(), interval(), interval()]),
        pattern: None,
        extrapolation: [],
        warnings: WARNINGS,
    })
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).filter(|argument| argument.contains(':'));
    let listener = tokio::net::TcpListener::bind(address.unwrap_or("127.0.0.1:0".to_owned()));
    let listener = listener.await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v1/families/{family}/optimal-sparsity", get(answer))
        .route("/v1/families/{family}/prediction", get(answer));
    tokio::select! {
        served = axum::serve(listener, router) => served.unwrap(),
        () = tokio::time::sleep(Duration::from_secs(120)) => {}
    }
}

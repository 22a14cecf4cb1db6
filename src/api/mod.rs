//! The HTTP API. Each resource and each question has its own file, views are separate from domain types, and errors are
//! problem documents.
//!
//! Data flows in one direction: a request becomes a checked value (`check`), a function of [`sparsity_law::law`] or
//! [`crate::store`] computes the answer, and a view of it is sent. The routes and the OpenAPI document are made from
//! the same list, so neither can have an operation that the other lacks.

pub mod document;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod layers;
pub mod questions;
pub mod resources;
mod routes;
pub mod state;
pub mod tags;
pub mod wire;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use tower::ServiceBuilder;
use utoipa::openapi::Server;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::api::document::openapi;
use crate::api::layers::base_path::behind_path;
use crate::api::layers::browsers;
use crate::api::layers::guard::GuardLayer;
use crate::api::layers::observe::{Observe, TimeLimits};
use crate::api::layers::parameters::{RefuseParameters, Unparameterised};
use crate::api::layers::replica_reads::by_replica;
use crate::api::routes::operations;
use crate::api::state::AppState;
use crate::dashboard;

/// The router of the whole service.
pub fn router(state: AppState) -> Router {
    let (router, document) = operations().split_for_parts();
    let router = router.layer(RefuseParameters(Unparameterised::of(&document)));
    // The replica gets half of the time, so that the other half is left for the primary.
    let patience = state.limits.request_timeout / 2;
    let replica = state.replica.clone();
    let by_replica = replica.map(|replica| from_fn_with_state((replica, patience), by_replica));
    let layers = ServiceBuilder::new()
        .map_response(browsers::harden)
        .option_layer(browsers::cross_origin(&state.cors_origins))
        .layer(Observe::new(
            state.metrics.clone(),
            state.traces.clone(),
            TimeLimits {
                answer: state.limits.request_timeout,
                upload: state.transfers.limits.timeout,
            },
        ))
        .layer(GuardLayer::new(state.clone()))
        .option_layer(by_replica);
    let mut document = openapi();
    if let Some(path) = &state.base_path {
        document.servers = Some(vec![Server::new(path)]);
    }
    // The page loads the document by a relative address, so it also works below the path of a proxy.
    let documentation = SwaggerUi::new("/docs")
        .url("/openapi.json", document)
        .config(Config::from("../openapi.json"));
    let router = router
        .merge(dashboard::router())
        .merge(documentation)
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layers)
        .with_state(state.clone());
    if state.base_path.is_none() && !state.throttle.knows_proxies() {
        return router;
    }
    // This layer wraps the routes because it decides which route a request belongs to.
    let behind_path = ServiceBuilder::new().layer(from_fn_with_state(state, behind_path));
    Router::new().fallback_service(behind_path.service(router))
}

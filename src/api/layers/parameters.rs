//! Query parameters where an operation takes none.
//!
//! An operation with parameters refuses unknown ones as it reads them. One without reads nothing, and a
//! parameter that it ignores in silence (`intervals=false` beside a body, say) is a request that is not what
//! its sender believes.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::api::wire::problem::ApiError;

/// The operations that take no query parameters, by method and template of the path. What is no operation is not
/// among them: it has an answer of its own.
#[derive(Debug, Clone)]
pub struct Unparameterised(Arc<HashSet<(Method, String)>>);

impl Unparameterised {
    /// Those of a document.
    #[must_use]
    pub fn of(document: &OpenApi) -> Self {
        let takes_some = |operation: &Operation| {
            let mut parameters = operation.parameters.iter().flatten();
            parameters.any(|parameter| match parameter {
                RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
                // None is shared here; if one is one day, its operation reads its own.
                RefOr::Ref(_) => true,
            })
        };
        let mut found = HashSet::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                // What answers GET answers HEAD too.
                (Method::HEAD, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ] {
                if operation.as_ref().is_some_and(|operation| !takes_some(operation)) {
                    found.insert((method, path.clone()));
                }
            }
        }
        Self(Arc::new(found))
    }

    fn contains(&self, request: &Request) -> bool {
        let matched = request.extensions().get::<MatchedPath>();
        matched.is_some_and(|path| {
            self.0.contains(&(request.method().clone(), path.as_str().to_owned()))
        })
    }
}

/// Refuses a request with query parameters to an operation without any.
pub async fn refuse_parameters(
    State(unparameterised): State<Unparameterised>,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().filter(|query| !query.is_empty());
    if let Some(query) = query.filter(|_| unparameterised.contains(&request)) {
        let name = form_urlencoded::parse(query.as_bytes()).next();
        let name = name.map(|(name, _)| name.into_owned()).unwrap_or_default();
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        return ApiError::field(&pointer, "this operation takes no query parameters")
            .into_response();
    }
    next.run(request).await
}

//! Refuses query parameters where an operation takes none.
//!
//! An operation with parameters refuses unknown ones when it parses them. An operation without any parses nothing, and
//! silently ignoring a parameter (such as `intervals=false` beside a body) would answer another request than its sender
//! believes.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use tower::{Layer, Service};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::api::wire::problem::ApiError;

/// The methods without query parameters, by path template. Requests that match no operation are not included, as they
/// get an answer of their own.
#[derive(Debug, Clone)]
pub struct Unparameterised(Arc<HashMap<String, Vec<Method>>>);

impl Unparameterised {
    /// The methods without query parameters in an OpenAPI document.
    #[must_use]
    pub fn of(document: &OpenApi) -> Self {
        let takes_some = |operation: &Operation| {
            let mut parameters = operation.parameters.iter().flatten();
            parameters.any(|parameter| match parameter {
                RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
                // There are no shared parameters; should there be some one day, their operations check their own.
                RefOr::Ref(_) => true,
            })
        };
        let mut found: HashMap<String, Vec<Method>> = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                // HEAD is answered like GET.
                (Method::HEAD, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ] {
                if operation.as_ref().is_some_and(|operation| !takes_some(operation)) {
                    found.entry(path.clone()).or_default().push(method);
                }
            }
        }
        Self(Arc::new(found))
    }

    fn contains(&self, request: &Request) -> bool {
        let matched = request.extensions().get::<MatchedPath>();
        let methods = matched.and_then(|path| self.0.get(path.as_str()));
        methods.is_some_and(|methods| methods.contains(request.method()))
    }
}

/// The layer that refuses query parameters of operations that take none.
#[derive(Debug, Clone)]
pub struct RefuseParameters(pub Unparameterised);

impl<S> Layer<S> for RefuseParameters {
    type Service = Refusing<S>;

    fn layer(&self, inner: S) -> Refusing<S> {
        Refusing { unparameterised: self.0.clone(), inner }
    }
}

/// The service that wraps a route. It is not middleware made from a function, which would allocate for each request,
/// including the many questions with valid parameters.
#[derive(Debug, Clone)]
pub struct Refusing<S> {
    unparameterised: Unparameterised,
    inner: S,
}

impl<S> Service<Request> for Refusing<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let query = request.uri().query().filter(|query| !query.is_empty());
        match query.filter(|_| self.unparameterised.contains(&request)) {
            Some(query) => Either::Left(ready(Ok(refusal(query)))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}

fn refusal(query: &str) -> Response {
    let name = form_urlencoded::parse(query.as_bytes()).next();
    let name = name.map(|(name, _)| name.into_owned()).unwrap_or_default();
    let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    ApiError::field(&pointer, "this operation takes no query parameters").into_response()
}

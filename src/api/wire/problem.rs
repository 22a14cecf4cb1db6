//! Errors in the form that users see: RFC 9457 problem documents.

mod api_error;
mod kind;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sparsity_law::law::{Missing, SettlingRun};
use utoipa::ToSchema;

use crate::domain::checks::FieldError;
use crate::domain::text::{ERROR_LIMIT, cut};

pub use api_error::ApiError;
pub use kind::ProblemKind;

/// Seconds after which to retry a request that found the database unavailable.
const RETRY_AFTER_SECONDS: u16 = 1;

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// URI reference that identifies the kind of problem; it leads to a description.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid")]
    pub kind: String,
    /// The kind of problem, in words.
    #[schema(example = "Some fields are not valid")]
    pub title: &'static str,
    /// The HTTP status code.
    #[schema(example = 422)]
    pub status: u16,
    /// What is wrong in this case.
    #[schema(example = "sparsity must be at least 0 and below 1, not 1.5")]
    pub detail: String,
    /// The fields that are wrong; absent if none are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldErrorView>,
    /// What the runs behind the law have too few of; absent for other problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub missing: Vec<MissingView>,
    /// The cheapest runs that would settle the question; absent for other problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub suggestions: Vec<SettlingRunView>,
}

/// What the runs behind a law have too few of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Missing)]
pub struct MissingView {
    /// `nonzero_params`, `sparsity` or `data` for distinct values of that quantity; `runs` for runs of any kind;
    /// `combinations` for runs in which size, sparsity and data vary independently, in which case `have` and `needed`
    /// count coefficients.
    #[schema(example = "sparsity")]
    pub what: &'static str,
    /// How many there are.
    #[schema(example = 2)]
    pub have: usize,
    /// How many are needed.
    #[schema(example = 3)]
    pub needed: usize,
}

impl From<&Missing> for MissingView {
    fn from(missing: &Missing) -> Self {
        let Missing { what, have, needed } = *missing;
        Self { what: what.as_str(), have, needed }
    }
}

/// A run that would help to determine what the runs behind a law leave open.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = SettlingRun)]
pub struct SettlingRunView {
    /// Non-zero parameters at the end of training.
    #[schema(example = 1e7)]
    pub nonzero_params: f64,
    /// Fraction of zeros at the end of training.
    #[schema(example = 0.75)]
    pub sparsity: f64,
    /// Data seen in training, in the family's data unit.
    #[schema(example = 1e9)]
    pub data: f64,
}

impl From<&SettlingRun> for SettlingRunView {
    fn from(run: &SettlingRun) -> Self {
        let SettlingRun { nonzero_params, sparsity, data } = *run;
        Self { nonzero_params, sparsity, data }
    }
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct FieldErrorView {
    /// JSON pointer into the body, or `/` followed by the name of a query parameter.
    #[schema(example = "/sparsity")]
    pub pointer: String,
    /// What is wrong with it.
    #[schema(example = "must be at least 0 and below 1, not 1.5")]
    pub detail: String,
}

impl From<FieldError> for FieldErrorView {
    fn from(error: FieldError) -> Self {
        let FieldError { mut pointer, mut detail } = error;
        cut(&mut pointer, ERROR_LIMIT);
        cut(&mut detail, ERROR_LIMIT);
        Self { pointer, detail }
    }
}

impl Problem {
    /// A problem of this kind. The detail may quote the request and so be as long as its body; it is truncated here,
    /// and those of fields in [`FieldErrorView`].
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        cut(&mut detail, ERROR_LIMIT);
        Self {
            kind: format!("/problems/{}", kind.as_str()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            errors: Vec::new(),
            missing: Vec::new(),
            suggestions: Vec::new(),
        }
    }
}

impl Problem {
    /// A problem about `total` fields, of which `errors` lists some.
    fn of_fields(kind: ProblemKind, mut errors: Vec<FieldError>, total: u64) -> Self {
        errors.truncate(MOST_FIELDS);
        let named = errors.len();
        let detail = match errors.as_slice() {
            [only] if total == 1 && only.pointer.is_empty() => only.detail.clone(),
            [only] if total == 1 => {
                format!("{}: {}", only.pointer.trim_start_matches('/'), only.detail)
            }
            _ if total > named as u64 => {
                format!("{total} fields are wrong, of which {named} are named")
            }
            _ => format!("{total} fields are wrong"),
        };
        Self {
            errors: errors.into_iter().map(FieldErrorView::from).collect(),
            ..Self::new(kind, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::NOT_ACCEPTABLE {
            headers.insert(header::VARY, HeaderValue::from_static("accept"));
        }
        response
    }
}

/// Most fields that one problem lists; the rest are counted.
const MOST_FIELDS: usize = 100;

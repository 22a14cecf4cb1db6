//! Errors in the form that users see: RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sparsity_law::law::{AnswerError, Missing, SettlingRun};
use utoipa::ToSchema;

use crate::domain::checks::FieldError;
use crate::domain::refit::RefitFailureKind;
use crate::domain::text::{ERROR_LIMIT, cut};
use crate::live::keyring::Denied;
use crate::store::StoreError;
use crate::telemetry::causes::with_causes;

/// Seconds after which to retry a request that found the database unavailable.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Every kind of problem; `docs/problems.md` describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The body cannot be parsed at all.
    Malformed,
    /// Fields or parameters are missing, unknown or out of range.
    Invalid,
    /// The caller did not identify itself.
    Unauthenticated,
    /// The caller is not allowed to do this.
    Forbidden,
    /// A page of another site called a service that requires no key.
    CrossSite,
    /// A service that requires no key was called under a host name that is not its own.
    Misdirected,
    /// What the path names does not exist.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The answer has no representation that the caller accepts.
    NotAcceptable,
    /// The request took too long to arrive.
    RequestTimeout,
    /// A family of this name exists already.
    FamilyExists,
    /// A hardware profile of this name exists already.
    ProfileExists,
    /// The data unit of a family with runs or laws cannot be changed.
    DataUnitInUse,
    /// A forecast of this name exists already, with another question.
    ForecastExists,
    /// The run that a forecast is for arrived before the forecast.
    RunExists,
    /// The family has no law yet.
    NoLaw,
    /// The body is larger than the limit.
    TooLarge,
    /// The body has a content type that is not supported.
    UnsupportedMediaType,
    /// The answer is a number that does not fit into an `f64`.
    NotRepresentable,
    /// A refit found no runs.
    NoRuns,
    /// The runs of a refit do not determine a law.
    NotIdentifiable,
    /// The law says nothing about the subject of the question.
    Undetermined,
    /// The runs behind the law do not determine the answer.
    NotIdentified,
    /// No run is known that would narrow an answer.
    NoSuggestion,
    /// No plan satisfies every bound.
    Infeasible,
    /// A law came out different when it was fitted again.
    NotReproduced,
    /// Another what-if refit of the family is queued already.
    WhatIfQueued,
    /// There are already as many valid keys as allowed.
    TooManyKeys,
    /// A quota is used up.
    TooManyRequests,
    /// The workers of a refit or upload died.
    WorkerLost,
    /// A defect of the service.
    Internal,
    /// The database cannot be reached at present.
    Unavailable,
    /// The database's disk is full.
    StorageFull,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 33] = [
        Self::Malformed,
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::CrossSite,
        Self::Misdirected,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::FamilyExists,
        Self::ProfileExists,
        Self::DataUnitInUse,
        Self::ForecastExists,
        Self::RunExists,
        Self::NoLaw,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::NotRepresentable,
        Self::NoRuns,
        Self::NotIdentifiable,
        Self::Undetermined,
        Self::NotIdentified,
        Self::NoSuggestion,
        Self::Infeasible,
        Self::NotReproduced,
        Self::WhatIfQueued,
        Self::TooManyKeys,
        Self::TooManyRequests,
        Self::WorkerLost,
        Self::Internal,
        Self::Unavailable,
        Self::StorageFull,
    ];

    /// Last segment of the problem type's URI.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::CrossSite => "cross-site",
            Self::Misdirected => "misdirected",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotAcceptable => "not-acceptable",
            Self::RequestTimeout => "request-timeout",
            Self::FamilyExists => "family-exists",
            Self::ProfileExists => "profile-exists",
            Self::DataUnitInUse => "data-unit-in-use",
            Self::ForecastExists => "forecast-exists",
            Self::RunExists => "run-exists",
            Self::NoLaw => "no-law",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::NotRepresentable => "not-representable",
            Self::NoRuns => "no-runs",
            Self::NotIdentifiable => "not-identifiable",
            Self::Undetermined => "undetermined",
            Self::NotIdentified => "not-identified",
            Self::NoSuggestion => "no-suggestion",
            Self::Infeasible => "infeasible",
            Self::NotReproduced => "not-reproduced",
            Self::WhatIfQueued => "what-if-queued",
            Self::TooManyKeys => "too-many-keys",
            Self::TooManyRequests => "too-many-requests",
            Self::WorkerLost => "worker-lost",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage-full",
        }
    }

    /// The title, which is the same for all problems of this kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request body cannot be read",
            Self::Invalid => "Some fields are not valid",
            Self::Unauthenticated => "It is not known who asks",
            Self::Forbidden => "The key does not allow this",
            Self::CrossSite => "A page of another site may not ask",
            Self::Misdirected => "The service is not known by this name",
            Self::NotFound => "There is no such resource",
            Self::MethodNotAllowed => "The resource does not have this method",
            Self::NotAcceptable => "There is no such representation of the answer",
            Self::RequestTimeout => "The request took too long",
            Self::FamilyExists => "The family exists already",
            Self::ProfileExists => "The hardware profile exists already",
            Self::DataUnitInUse => "The data unit is in use",
            Self::ForecastExists => "The forecast exists already",
            Self::RunExists => "The run has arrived already",
            Self::NoLaw => "The family has no law yet",
            Self::TooLarge => "The request body is too large",
            Self::UnsupportedMediaType => "The type of the body is not understood",
            Self::NotRepresentable => "The answer is no finite number",
            Self::NoRuns => "There are no runs to fit",
            Self::NotIdentifiable => "The runs determine no law",
            Self::Undetermined => "The law does not know what the question is about",
            Self::NotIdentified => "The runs do not determine the answer",
            Self::NoSuggestion => "No run can be suggested",
            Self::Infeasible => "No plan keeps every bound",
            Self::NotReproduced => "The law came out different",
            Self::WhatIfQueued => "Another what-if waits already",
            Self::TooManyKeys => "There are as many valid keys as there can be",
            Self::TooManyRequests => "There are too many requests",
            Self::WorkerLost => "Its workers died",
            Self::Internal => "The service failed",
            Self::Unavailable => "The service is not available for now",
            Self::StorageFull => "The disk of the database is full",
        }
    }

    /// The HTTP status of this kind of problem.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Invalid
            | Self::NotRepresentable
            | Self::NoRuns
            | Self::NotIdentifiable
            | Self::Infeasible => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::FamilyExists
            | Self::ProfileExists
            | Self::DataUnitInUse
            | Self::ForecastExists
            | Self::RunExists
            | Self::NoLaw
            | Self::Undetermined
            | Self::NotIdentified
            | Self::NoSuggestion
            | Self::NotReproduced
            | Self::WhatIfQueued
            | Self::TooManyKeys => StatusCode::CONFLICT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WorkerLost | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

impl From<RefitFailureKind> for ProblemKind {
    fn from(kind: RefitFailureKind) -> Self {
        match kind {
            RefitFailureKind::NoRuns => Self::NoRuns,
            RefitFailureKind::NotIdentifiable => Self::NotIdentifiable,
            RefitFailureKind::NotRepresentable => Self::NotRepresentable,
            RefitFailureKind::NotReproduced => Self::NotReproduced,
            RefitFailureKind::WorkerLost => Self::WorkerLost,
            RefitFailureKind::Internal => Self::Internal,
        }
    }
}

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
            kind: format!("/problems/{}", kind.slug()),
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

/// Why a request was not answered; it is converted to a [`Problem`] at the boundary.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not in the format that it claims to be.
    Malformed(String),
    /// Fields or parameters are wrong.
    Invalid(Vec<FieldError>),
    /// The caller did not identify itself, for this reason.
    Unauthenticated(String),
    /// The caller is not allowed to do this, for this reason.
    Forbidden(String),
    /// What the path names does not exist.
    NotFound {
        /// The kind of resource.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name of a new family is taken.
    FamilyExists,
    /// The name of a new hardware profile is taken.
    ProfileExists,
    /// The data unit of a family with runs or laws was to be changed.
    DataUnitInUse,
    /// A forecast of this name exists already, with another question.
    ForecastExists,
    /// The run of this name has already arrived.
    RunExists,
    /// Another what-if refit of the family is queued already.
    WhatIfQueued,
    /// There are already as many valid keys as allowed.
    TooManyKeys,
    /// The family has no law to answer with.
    NoLaw,
    /// The law says nothing about the subject of the question.
    Undetermined(String),
    /// The runs behind the law do not determine the answer.
    NotIdentified {
        /// What the answer lacks, in words.
        detail: String,
        /// What the runs have too few of.
        missing: Vec<MissingView>,
        /// The cheapest runs that would settle the question.
        suggestions: Vec<SettlingRunView>,
    },
    /// No run is known that would narrow the answer.
    NoSuggestion(String),
    /// No plan satisfies every bound; these bounds are in the way.
    Infeasible(Vec<FieldError>),
    /// Rows of an upload are wrong.
    InvalidRows {
        /// The first errors.
        errors: Vec<FieldError>,
        /// Total number of errors.
        total: u64,
    },
    /// Something is larger than its limit.
    TooLarge {
        /// What is too large.
        what: String,
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// The body has a type that is not supported.
    UnsupportedMediaType {
        /// Which property of the body.
        what: &'static str,
        /// What was sent.
        got: String,
        /// What is supported.
        expected: String,
    },
    /// The client was too slow.
    TimedOut(String),
    /// The maximum number of uploads or exports is in progress.
    TransfersBusy {
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// The maximum number, or size, of uploads is waiting to be stored.
    UploadsWaiting {
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// The maximum number of event streams is open.
    StreamsBusy,
    /// The request bodies held in memory leave no room for another.
    BodiesBusy,
    /// The points being computed or sent leave no room for this question's.
    PointsBusy,
    /// The service is stopping, and could not wait for this request to finish.
    Stopping,
    /// The caller accepts no representation that the answer has.
    NotAcceptable {
        /// What the caller accepts.
        accept: String,
        /// What is available.
        offered: String,
    },
    /// The answer overflows an `f64`.
    NotRepresentable(String),
    /// The database cannot be reached.
    Unavailable(anyhow::Error),
    /// The database's disk is full.
    StorageFull(anyhow::Error),
    /// A defect of the service.
    Internal(anyhow::Error),
}

impl ApiError {
    /// The kind of problem that this error is converted to.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        match self {
            Self::Malformed(_) => ProblemKind::Malformed,
            Self::Invalid(_) | Self::InvalidRows { .. } => ProblemKind::Invalid,
            Self::Unauthenticated(_) => ProblemKind::Unauthenticated,
            Self::Forbidden(_) => ProblemKind::Forbidden,
            Self::NotFound { .. } => ProblemKind::NotFound,
            Self::FamilyExists => ProblemKind::FamilyExists,
            Self::ProfileExists => ProblemKind::ProfileExists,
            Self::DataUnitInUse => ProblemKind::DataUnitInUse,
            Self::ForecastExists => ProblemKind::ForecastExists,
            Self::RunExists => ProblemKind::RunExists,
            Self::WhatIfQueued => ProblemKind::WhatIfQueued,
            Self::TooManyKeys => ProblemKind::TooManyKeys,
            Self::NoLaw => ProblemKind::NoLaw,
            Self::Undetermined(_) => ProblemKind::Undetermined,
            Self::NotIdentified { .. } => ProblemKind::NotIdentified,
            Self::NoSuggestion(_) => ProblemKind::NoSuggestion,
            Self::Infeasible(_) => ProblemKind::Infeasible,
            Self::TooLarge { .. } => ProblemKind::TooLarge,
            Self::TimedOut(_) => ProblemKind::RequestTimeout,
            Self::UnsupportedMediaType { .. } => ProblemKind::UnsupportedMediaType,
            Self::NotAcceptable { .. } => ProblemKind::NotAcceptable,
            Self::NotRepresentable(_) => ProblemKind::NotRepresentable,
            Self::Unavailable(_)
            | Self::TransfersBusy { .. }
            | Self::UploadsWaiting { .. }
            | Self::StreamsBusy
            | Self::BodiesBusy
            | Self::PointsBusy
            | Self::Stopping => ProblemKind::Unavailable,
            Self::StorageFull(_) => ProblemKind::StorageFull,
            Self::Internal(_) => ProblemKind::Internal,
        }
    }

    /// An error about a single field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }
}

/// Most fields that one problem lists; the rest are counted.
const MOST_FIELDS: usize = 100;

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let kind = error.kind();
        let detail = match error {
            ApiError::Malformed(detail)
            | ApiError::Unauthenticated(detail)
            | ApiError::Forbidden(detail)
            | ApiError::TimedOut(detail)
            | ApiError::NotRepresentable(detail)
            | ApiError::Undetermined(detail)
            | ApiError::NoSuggestion(detail) => detail,
            ApiError::Invalid(errors) => {
                let total = errors.len() as u64;
                return Self::of_fields(kind, errors, total);
            }
            ApiError::NotIdentified { detail, missing, suggestions } => {
                return Self { missing, suggestions, ..Self::new(kind, detail) };
            }
            ApiError::InvalidRows { errors, total } => return Self::of_fields(kind, errors, total),
            ApiError::Infeasible(errors) => {
                let one = errors.iter().map(|e| {
                    let name = e.pointer.trim_start_matches('/').replace('/', ".");
                    format!("{name}: {}", e.detail)
                });
                let detail = one.collect::<Vec<_>>().join("; ");
                let errors = errors.into_iter().map(FieldErrorView::from).collect();
                return Self { errors, ..Self::new(kind, detail) };
            }
            ApiError::NotFound { what, name } => format!("there is no {what} {name}"),
            ApiError::FamilyExists => {
                "choose another name, or PATCH the family that has this one".to_owned()
            }
            ApiError::ProfileExists => {
                "choose another name, or PATCH the profile that has this one".to_owned()
            }
            ApiError::DataUnitInUse => "the runs and laws of this family count data in its unit: \
                                        create another family for another unit"
                .to_owned(),
            ApiError::ForecastExists => {
                "another question was registered under this external_id, and \
                                         a forecast does not change: choose another external_id"
                    .to_owned()
            }
            ApiError::RunExists => "a run of this external_id is there, and a forecast is made \
                                    before its result"
                .to_owned(),
            ApiError::WhatIfQueued => {
                "a what-if of this family with other runs left out waits for a \
                                       worker: ask again when it has begun"
                    .to_owned()
            }
            ApiError::TooManyKeys => "revoke keys that are not used".to_owned(),
            ApiError::NoLaw => "submit runs and POST to refits, or POST published coefficients to \
                                laws"
                .to_owned(),
            ApiError::TooLarge { what, setting } => {
                format!("{what} is larger than {setting} of the service; send less at a time")
            }
            ApiError::UnsupportedMediaType { what, got, expected } => {
                format!("the {what} is {got}; send {expected}")
            }
            ApiError::Stopping => {
                "the service is stopping; nothing was stored: try again".to_owned()
            }
            ApiError::TransfersBusy { setting } => format!(
                "as many as the service takes at once ({setting}), or takes of one key \
                 (--transfers-per-key), are under way; try again"
            ),
            ApiError::UploadsWaiting { setting } => format!(
                "as many uploads wait to be stored as the service lets wait ({setting}); try again, or send it without \
                 Prefer: respond-async"
            ),
            ApiError::StreamsBusy => "as many streams of events as the service has (--event-streams), or has for \
                                      one key (--event-streams-per-key), are open; try again"
                .to_owned(),
            ApiError::BodiesBusy => "the bodies of requests under way, or those of this key, take as much \
                                     memory as the service has for them, --body-memory-bytes; try again"
                .to_owned(),
            ApiError::PointsBusy => "as many points as the service answers at once (--answer-points), of which one key \
                                     has half, are computed or on their way; try again, with fewer at a time"
                .to_owned(),
            ApiError::NotAcceptable { accept, offered } => {
                format!("Accept is {accept:?}; there are {offered}")
            }
            // The cause is logged and not sent, as it may name hosts, statements or files.
            ApiError::Unavailable(cause) => {
                tracing::warn!(error = with_causes(&cause), "the database is unavailable");
                "the database cannot be reached; try again".to_owned()
            }
            ApiError::StorageFull(cause) => {
                tracing::error!(error = with_causes(&cause), "the disk of the database is full");
                "the database has no room to store anything: what is stored is still answered, and whoever runs \
                 the service has to make room"
                    .to_owned()
            }
            ApiError::Internal(cause) => {
                tracing::error!(error = with_causes(&cause), "a request failed");
                "the cause is in the service's log, under this request's x-request-id".to_owned()
            }
        };
        Self::new(kind, detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        Self::NotRepresentable(error.to_string())
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::Forbidden(denied.0)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::FamilyNameTaken => Self::FamilyExists,
            StoreError::ProfileNameTaken => Self::ProfileExists,
            StoreError::TooManyKeys => Self::TooManyKeys,
            StoreError::FamilyGone => {
                Self::NotFound { what: "family", name: "of this name any more".to_owned() }
            }
            // Temporary: somebody is changing the same runs at this moment, and a retry will succeed.
            StoreError::PatternContradicted => Self::Unavailable(error.into()),
            _ if error.is_full() => Self::StorageFull(error.into()),
            _ if error.is_unavailable() => Self::Unavailable(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<Vec<FieldError>> for ApiError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Invalid(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_documented() {
        let document = include_str!("../../../docs/problems.md");
        for kind in ProblemKind::ALL {
            let row = format!("| `{}` | {} |", kind.slug(), kind.status().as_u16());
            assert!(document.contains(&row), "docs/problems.md lacks {row}");
        }
    }

    #[test]
    fn a_failure_of_a_refit_is_told_by_the_name_that_is_stored() {
        for kind in RefitFailureKind::ALL {
            assert_eq!(ProblemKind::from(kind).slug(), kind.as_str());
            let stored = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<RefitFailureKind>(&stored).unwrap(), kind);
        }
        let newer: RefitFailureKind = serde_json::from_str("\"out-of-luck\"").unwrap();
        assert_eq!(newer, RefitFailureKind::Internal);
    }

    #[test]
    fn every_error_has_its_status_and_tells_no_cause() {
        let cause = || anyhow::anyhow!("password=hunter2 at db.internal");
        let table = [
            (ApiError::Malformed("x".into()), 400),
            (ApiError::field("/loss", "must be a number"), 422),
            (ApiError::Unauthenticated("x".into()), 401),
            (ApiError::Forbidden("x".into()), 403),
            (ApiError::TooManyKeys, 409),
            (ApiError::WhatIfQueued, 409),
            (ApiError::NotFound { what: "run", name: "7".into() }, 404),
            (ApiError::FamilyExists, 409),
            (ApiError::ProfileExists, 409),
            (ApiError::DataUnitInUse, 409),
            (ApiError::ForecastExists, 409),
            (ApiError::RunExists, 409),
            (ApiError::NoLaw, 409),
            (ApiError::Undetermined("x".into()), 409),
            (
                ApiError::NotIdentified {
                    detail: "x".into(),
                    missing: Vec::new(),
                    suggestions: Vec::new(),
                },
                409,
            ),
            (ApiError::NoSuggestion("x".into()), 409),
            (ApiError::Infeasible(Vec::new()), 422),
            (ApiError::InvalidRows { errors: Vec::new(), total: 7 }, 422),
            (ApiError::TooLarge { what: "the body".into(), setting: "--max-body-bytes" }, 413),
            (
                ApiError::UnsupportedMediaType {
                    what: "content type",
                    got: "a/b".into(),
                    expected: "c/d".into(),
                },
                415,
            ),
            (ApiError::TimedOut("x".into()), 408),
            (ApiError::TransfersBusy { setting: "--exports" }, 503),
            (ApiError::UploadsWaiting { setting: "--waiting-upload-bytes" }, 503),
            (ApiError::BodiesBusy, 503),
            (ApiError::PointsBusy, 503),
            (ApiError::StreamsBusy, 503),
            (ApiError::Stopping, 503),
            (ApiError::NotAcceptable { accept: "a/b".into(), offered: "c/d".into() }, 406),
            (ApiError::NotRepresentable("x".into()), 422),
            (ApiError::Unavailable(cause()), 503),
            (ApiError::StorageFull(cause()), 507),
            (ApiError::Internal(cause()), 500),
        ];
        for (error, status) in table {
            let problem = Problem::from(error);
            assert_eq!(problem.status, status, "{problem:?}");
            assert!(!format!("{problem:?}").contains("hunter2"));
        }
    }

    #[test]
    fn all_wrong_fields_are_named_up_to_a_limit() {
        let many: Vec<FieldError> = (0..150)
            .map(|i| FieldError { pointer: format!("/{i}"), detail: "bad".into() })
            .collect();
        let problem = Problem::from(ApiError::Invalid(many));
        assert_eq!(problem.errors.len(), 100);
        assert_eq!(problem.detail, "150 fields are wrong, of which 100 are named");
    }
}

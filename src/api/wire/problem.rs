//! Errors as users see them: RFC 9457 problem documents.

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

/// Seconds after which a request that met an unavailable database may be tried again.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Every kind of problem; `docs/problems.md` describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The body cannot be read at all.
    Malformed,
    /// Fields or parameters are missing, unknown or out of range.
    Invalid,
    /// It is not known who asks.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// A page of another site asks a service that knows nobody.
    CrossSite,
    /// A service that knows nobody is asked under a name that is not its own.
    Misdirected,
    /// What the path names does not exist.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The answer has no representation that the caller takes.
    NotAcceptable,
    /// The request took too long to arrive.
    RequestTimeout,
    /// A family of this name exists.
    FamilyExists,
    /// A hardware profile of this name exists.
    ProfileExists,
    /// A family's data unit cannot change under its runs and laws.
    DataUnitInUse,
    /// A forecast of this name asked something else.
    ForecastExists,
    /// The run of a forecast has arrived before it.
    RunExists,
    /// The family has no law yet.
    NoLaw,
    /// The body is larger than the limit.
    TooLarge,
    /// The body is of a type that is not understood.
    UnsupportedMediaType,
    /// The answer is a number that no double can hold.
    NotRepresentable,
    /// A refit found no runs.
    NoRuns,
    /// A refit's runs determine no law.
    NotIdentifiable,
    /// The law does not know what the question is about.
    Undetermined,
    /// The runs behind the law do not determine the answer.
    NotIdentified,
    /// No run is known that would narrow an answer.
    NoSuggestion,
    /// No plan keeps every bound.
    Infeasible,
    /// A law came out different when it was fitted again.
    NotReproduced,
    /// Another what-if of the family waits.
    WhatIfQueued,
    /// There are as many valid keys as there can be.
    TooManyKeys,
    /// A quota is used up.
    TooManyRequests,
    /// The workers of a refit, or of an upload, died.
    WorkerLost,
    /// A defect of the service.
    Internal,
    /// The database is out of reach for now.
    Unavailable,
    /// The disk of the database is full.
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

    /// Last segment of the problem's type.
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

    /// The title, the same for every problem of the kind.
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

    /// The status that goes with it.
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
    /// URI reference of the kind of problem; it leads to its description.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid")]
    pub kind: String,
    /// What kind of problem it is.
    #[schema(example = "Some fields are not valid")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What is the matter this time.
    #[schema(example = "sparsity must be at least 0 and below 1, not 1.5")]
    pub detail: String,
    /// The fields that are wrong, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldErrorView>,
    /// What the runs behind the law have too few of, where that is the problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub missing: Vec<MissingView>,
    /// The cheapest runs that would settle it, where that is the problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub suggestions: Vec<SettlingRunView>,
}

/// What the runs behind a law have too few of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Missing)]
pub struct MissingView {
    /// `nonzero_params`, `sparsity` or `data` for different values of it; `runs` for runs of any kind;
    /// `combinations` for runs in which size, sparsity and data vary apart from each other, where `have` and
    /// `needed` count coefficients.
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

/// A run that would help to settle what the runs behind a law leave open.
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

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct FieldErrorView {
    /// JSON pointer into the body, or `/` and the name of a query parameter.
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
    /// A problem of a kind. What was sent may be in the detail, and be as long as a body: here and in
    /// [`FieldErrorView`] it is cut.
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
    /// A problem of so many fields, of which some are known by name.
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

/// Why a request was not answered; becomes a [`Problem`] at the boundary.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not what it claims to be.
    Malformed(String),
    /// Fields or parameters are wrong.
    Invalid(Vec<FieldError>),
    /// It is not known who asks, for this reason.
    Unauthenticated(String),
    /// Whoever asks may not, for this reason.
    Forbidden(String),
    /// What the path names does not exist.
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// The name of a new family is taken.
    FamilyExists,
    /// The name of a new hardware profile is taken.
    ProfileExists,
    /// The data unit of a family with runs or laws.
    DataUnitInUse,
    /// Another question has been asked under this name.
    ForecastExists,
    /// The run of this name has arrived.
    RunExists,
    /// Another what-if of the family waits.
    WhatIfQueued,
    /// There are as many valid keys as there can be.
    TooManyKeys,
    /// The family has no law to answer with.
    NoLaw,
    /// The law does not know what the question is about.
    Undetermined(String),
    /// The runs behind the law do not determine the answer.
    NotIdentified {
        /// What is the matter.
        detail: String,
        /// What the runs have too few of.
        missing: Vec<MissingView>,
        /// The cheapest runs that settle it.
        suggestions: Vec<SettlingRunView>,
    },
    /// No run is known that would narrow the answer.
    NoSuggestion(String),
    /// No plan keeps every bound; these are in the way.
    Infeasible(Vec<FieldError>),
    /// Rows of an upload are wrong: the first of them, and how many errors there are.
    InvalidRows {
        /// The first.
        errors: Vec<FieldError>,
        /// How many there are.
        total: u64,
    },
    /// Something is larger than a limit.
    TooLarge {
        /// What is.
        what: String,
        /// The setting that says how large it may be.
        setting: &'static str,
    },
    /// The type of the body is not understood.
    UnsupportedMediaType {
        /// What of it.
        what: &'static str,
        /// What was sent.
        got: String,
        /// What is understood.
        expected: String,
    },
    /// The other side was too slow.
    TimedOut(String),
    /// As many uploads and exports as may be are under way.
    TransfersBusy {
        /// The setting that says how many.
        setting: &'static str,
    },
    /// As many uploads wait to be stored as may.
    UploadsWaiting {
        /// The setting that says how many, or how large.
        setting: &'static str,
    },
    /// As many streams of events as may be are open.
    StreamsBusy,
    /// The bodies that are held leave no room for another.
    BodiesBusy,
    /// The answers to many points that are computed or sent leave no room for another.
    PointsBusy,
    /// The service stops, and could not wait for the end of this.
    Stopping,
    /// The caller takes no representation that the answer has.
    NotAcceptable {
        /// What it takes.
        accept: String,
        /// What there is.
        offered: String,
    },
    /// The answer overflows.
    NotRepresentable(String),
    /// The database is out of reach.
    Unavailable(anyhow::Error),
    /// The disk of the database is full.
    StorageFull(anyhow::Error),
    /// A defect.
    Internal(anyhow::Error),
}

impl ApiError {
    /// The kind of problem that it becomes.
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

    /// One field that is wrong.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }
}

/// The most fields that one problem names; the rest are counted.
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
            // The cause is for the log: it may name hosts, statements or files.
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
            // Whoever changes the same runs in that moment is done in the next.
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

//! The kinds of problems, each with the title and status that go with it.

use axum::http::StatusCode;

use crate::domain::refit::RefitFailureKind;

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

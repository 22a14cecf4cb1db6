//! The kinds of problems, each with the title and status that go with it.

use axum::http::StatusCode;

use crate::domain::refit::RefitFailureKind;

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

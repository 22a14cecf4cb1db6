//! The kinds of problems, each with the title and status that go with it.

use axum::http::StatusCode;
use sparsity_law::named;

use crate::domain::refit::RefitFailureKind;

named! {
    /// Every kind of problem, by the last segment of its type; `docs/problems.md` describes each.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ProblemKind {
        /// The body cannot be read at all.
        Malformed = "malformed",
        /// Fields or parameters are missing, unknown or out of range.
        Invalid = "invalid",
        /// It is not known who asks.
        Unauthenticated = "unauthenticated",
        /// Whoever asks may not.
        Forbidden = "forbidden",
        /// A page of another site asks a service that knows nobody.
        CrossSite = "cross-site",
        /// A service that knows nobody is asked under a name that is not its own.
        Misdirected = "misdirected",
        /// What the path names does not exist.
        NotFound = "not-found",
        /// The path exists, the method does not.
        MethodNotAllowed = "method-not-allowed",
        /// The answer has no representation that the caller takes.
        NotAcceptable = "not-acceptable",
        /// The request took too long to arrive.
        RequestTimeout = "request-timeout",
        /// A family of this name exists.
        FamilyExists = "family-exists",
        /// A hardware profile of this name exists.
        ProfileExists = "profile-exists",
        /// A family's data unit cannot change under its runs and laws.
        DataUnitInUse = "data-unit-in-use",
        /// A forecast of this name asked something else.
        ForecastExists = "forecast-exists",
        /// The run of a forecast has arrived before it.
        RunExists = "run-exists",
        /// The family has no law yet.
        NoLaw = "no-law",
        /// The body is larger than the limit.
        TooLarge = "too-large",
        /// The body is of a type that is not understood.
        UnsupportedMediaType = "unsupported-media-type",
        /// The answer is a number that no double can hold.
        NotRepresentable = "not-representable",
        /// A refit found no runs.
        NoRuns = "no-runs",
        /// A refit's runs determine no law.
        NotIdentifiable = "not-identifiable",
        /// The law does not know what the question is about.
        Undetermined = "undetermined",
        /// The runs behind the law do not determine the answer.
        NotIdentified = "not-identified",
        /// No run is known that would narrow an answer.
        NoSuggestion = "no-suggestion",
        /// No plan keeps every bound.
        Infeasible = "infeasible",
        /// A law came out different when it was fitted again.
        NotReproduced = "not-reproduced",
        /// Another what-if of the family waits.
        WhatIfQueued = "what-if-queued",
        /// There are as many valid keys as there can be.
        TooManyKeys = "too-many-keys",
        /// A quota is used up.
        TooManyRequests = "too-many-requests",
        /// The workers of a refit, or of an upload, died.
        WorkerLost = "worker-lost",
        /// A defect of the service.
        Internal = "internal",
        /// The database is out of reach for now.
        Unavailable = "unavailable",
        /// The disk of the database is full.
        StorageFull = "storage-full",
    }
}

impl ProblemKind {
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

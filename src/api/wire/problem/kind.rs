//! The kinds of problems, each with the title and status that go with it.

use axum::http::StatusCode;
use sparsity_law::named;

use crate::domain::refit::RefitFailureKind;

named! {
    /// Every kind of problem, by the last segment of its type; `docs/problems.md` describes each.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ProblemKind {
        /// The body cannot be parsed at all.
        Malformed = "malformed",
        /// Fields or parameters are missing, unknown or out of range.
        Invalid = "invalid",
        /// The caller did not identify itself.
        Unauthenticated = "unauthenticated",
        /// The caller is not allowed to do this.
        Forbidden = "forbidden",
        /// A page of another site called a service that requires no key.
        CrossSite = "cross-site",
        /// A service that requires no key was called under a host name that is not its own.
        Misdirected = "misdirected",
        /// What the path names does not exist.
        NotFound = "not-found",
        /// The path exists, but not with this method.
        MethodNotAllowed = "method-not-allowed",
        /// The answer has no representation that the caller accepts.
        NotAcceptable = "not-acceptable",
        /// The request took too long to arrive.
        RequestTimeout = "request-timeout",
        /// A family of this name exists already.
        FamilyExists = "family-exists",
        /// A hardware profile of this name exists already.
        ProfileExists = "profile-exists",
        /// The data unit of a family with runs or laws cannot be changed.
        DataUnitInUse = "data-unit-in-use",
        /// A forecast of this name exists already, with another question.
        ForecastExists = "forecast-exists",
        /// The run that a forecast is for arrived before the forecast.
        RunExists = "run-exists",
        /// The family has no law yet.
        NoLaw = "no-law",
        /// The body is larger than the limit.
        TooLarge = "too-large",
        /// The body has a content type that is not supported.
        UnsupportedMediaType = "unsupported-media-type",
        /// The answer is a number that does not fit into an `f64`.
        NotRepresentable = "not-representable",
        /// A refit found no runs.
        NoRuns = "no-runs",
        /// The runs of a refit do not determine a law.
        NotIdentifiable = "not-identifiable",
        /// The law says nothing about the subject of the question.
        Undetermined = "undetermined",
        /// The runs behind the law do not determine the answer.
        NotIdentified = "not-identified",
        /// No run is known that would narrow an answer.
        NoSuggestion = "no-suggestion",
        /// No plan satisfies every bound.
        Infeasible = "infeasible",
        /// A law came out different when it was fitted again.
        NotReproduced = "not-reproduced",
        /// Another what-if refit of the family is queued already.
        WhatIfQueued = "what-if-queued",
        /// There are already as many valid keys as allowed.
        TooManyKeys = "too-many-keys",
        /// A quota is used up.
        TooManyRequests = "too-many-requests",
        /// The workers of a refit or upload died.
        WorkerLost = "worker-lost",
        /// A defect of the service.
        Internal = "internal",
        /// The database cannot be reached at present.
        Unavailable = "unavailable",
        /// The database's disk is full.
        StorageFull = "storage-full",
    }
}

impl ProblemKind {
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

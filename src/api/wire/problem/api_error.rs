//! Why requests are not answered: what handlers return, and what of it is told.
//!
//! Causes that may name hosts, statements or files go into the log here, and not further.

use axum::response::{IntoResponse, Response};
use sparsity_law::law::AnswerError;

use super::kind::ProblemKind;
use super::{FieldErrorView, MissingView, Problem, SettlingRunView};
use crate::domain::checks::FieldError;
use crate::live::keyring::Denied;
use crate::store::StoreError;
use crate::telemetry::causes::with_causes;

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
    use crate::domain::refit::RefitFailureKind;

    #[test]
    fn every_kind_is_documented() {
        let document = include_str!("../../../../docs/problems.md");
        for kind in ProblemKind::ALL {
            let row = format!("| `{}` | {} |", kind.as_str(), kind.status().as_u16());
            assert!(document.contains(&row), "docs/problems.md lacks {row}");
        }
    }

    #[test]
    fn a_failure_of_a_refit_is_told_by_the_name_that_is_stored() {
        for kind in RefitFailureKind::ALL {
            assert_eq!(ProblemKind::from(kind).as_str(), kind.as_str());
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

//! Forecasts: predictions registered before training, and how they came out.

use chrono::{DateTime, Utc};
use sparsity_law::law::{Compute, Data, Extrapolation, Interval, Loss, NonzeroParams, Sparsity};
use uuid::Uuid;

use crate::domain::currency::Currency;
use crate::domain::law_origin::LawSource;
use crate::domain::trust::Trust;

/// What is asked of a law before a run is made.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastQuestion {
    /// The name under which the run will be submitted.
    pub external_id: String,
    /// `N` that is planned.
    pub nonzero_params: NonzeroParams,
    /// `S` that is planned.
    pub sparsity: Sparsity,
    /// The pattern or recipe that is planned, where the law tells runs of one sparsity apart by it.
    pub level: Option<String>,
    /// How long it will be trained.
    pub budget: ForecastBudget,
    /// The version that is asked; `None` for the law that is active.
    pub law_version: Option<i32>,
}

/// How long a planned run will be trained.
#[derive(Debug, Clone, PartialEq)]
pub enum ForecastBudget {
    /// On so much data.
    Data(Data),
    /// At so much training cost, as it was asked.
    Spent {
        /// In what it is said.
        currency: Currency,
        /// How much of it.
        amount: f64,
        /// The FLOP mode by name.
        mode: String,
    },
}

/// What a law answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// UUIDv7.
    pub id: Uuid,
    /// The question.
    pub question: ForecastQuestion,
    /// `D` that is planned: as asked, or what the compute paid for.
    pub data: Data,
    /// `C`: as asked, or what the hours or the money paid for; `None` where the question gave the data.
    pub compute: Option<Compute>,
    /// For people.
    pub note: Option<String>,
    /// `L` that was predicted: one that a run may have.
    pub loss: Loss,
    /// Interval of the mean loss, where the law has one.
    pub interval: Option<Interval>,
    /// Interval of the loss of one new run, where the law has one.
    pub prediction_interval: Option<Interval>,
    /// What lay outside the runs of the law.
    pub extrapolation: Vec<Extrapolation>,
    /// How far it could be trusted; `None` where the version that registered it did not say.
    pub trust: Option<Trust>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

/// A forecast as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredForecast {
    /// What was registered.
    pub forecast: Forecast,
    /// The law that predicted.
    pub law: ForecastLaw,
    /// How it came true; `None` while there is no run of its name.
    pub score: Option<Score>,
}

/// The law that predicted, as answers name it.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastLaw {
    /// Its id.
    pub id: Uuid,
    /// Its version.
    pub version: i32,
    /// Where it comes from.
    pub source: LawSource,
    /// When it was fitted, or published.
    pub fitted_at: DateTime<Utc>,
    /// Digest of its runs.
    pub data_digest: Option<String>,
}

/// A forecast against its run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The run.
    pub run_id: Uuid,
    /// Its loss.
    pub measured: f64,
    /// `measured - predicted`.
    pub error: f64,
    /// The same over `predicted`.
    pub relative_error: f64,
    /// Whether the interval of the mean holds it, where there is one.
    pub inside_interval: Option<bool>,
    /// Whether the interval of a new run holds it, where there is one.
    pub inside_prediction_interval: Option<bool>,
    /// Whether the run is the one that was planned.
    pub as_planned: bool,
    /// Whether fits leave the run out.
    pub excluded: bool,
    /// When the run arrived.
    pub arrived_at: DateTime<Utc>,
}

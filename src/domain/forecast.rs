//! Forecasts: predictions registered before training, and how they turned out.

use chrono::{DateTime, Utc};
use sparsity_law::law::{Compute, Data, Extrapolation, Interval, Loss, NonzeroParams, Sparsity};
use uuid::Uuid;

use crate::domain::currency::Currency;
use crate::domain::law_origin::LawSource;
use crate::domain::trust::Trust;

/// The question that a law is asked before a run is made.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastQuestion {
    /// Name under which the run will be submitted.
    pub external_id: String,
    /// Planned `N`.
    pub nonzero_params: NonzeroParams,
    /// Planned `S`.
    pub sparsity: Sparsity,
    /// Planned pattern or recipe, if the law distinguishes runs of the same sparsity by it.
    pub level: Option<String>,
    /// How long the run will be trained.
    pub budget: ForecastBudget,
    /// Version of the law to ask; `None` for the active one.
    pub law_version: Option<i32>,
}

/// How long a planned run will be trained.
#[derive(Debug, Clone, PartialEq)]
pub enum ForecastBudget {
    /// Training on this much data.
    Data(Data),
    /// Training at this cost, as it was asked.
    Spent {
        /// Unit of the cost.
        currency: Currency,
        /// Amount in that unit.
        amount: f64,
        /// Name of the FLOP mode.
        mode: String,
    },
}

/// The answer of a law, as registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// UUIDv7 of the forecast.
    pub id: Uuid,
    /// The question that was asked.
    pub question: ForecastQuestion,
    /// Planned `D`: as asked, or as much as the cost pays for.
    pub data: Data,
    /// Planned `C`: as asked, or as much as the hours or the money pay for; `None` if the question gave the data.
    pub compute: Option<Compute>,
    /// A note for people to read.
    pub note: Option<String>,
    /// Predicted `L`, checked to be a valid loss of a run.
    pub loss: Loss,
    /// Interval of the mean loss, if the law has intervals.
    pub interval: Option<Interval>,
    /// Prediction interval: that of the loss of a single new run, if the law has intervals.
    pub prediction_interval: Option<Interval>,
    /// The quantities that lay outside the range of the law's runs.
    pub extrapolation: Vec<Extrapolation>,
    /// How far the forecast could be trusted; `None` if the version of the service that registered it did not tell.
    pub trust: Option<Trust>,
    /// When the forecast was registered.
    pub created_at: DateTime<Utc>,
}

/// A forecast together with its outcome so far.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredForecast {
    /// The forecast as registered.
    pub forecast: Forecast,
    /// The law that predicted.
    pub law: ForecastLaw,
    /// The outcome; `None` while no run has the forecast's name.
    pub score: Option<Score>,
}

/// The law behind a forecast, as answers describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastLaw {
    /// Id of the law.
    pub id: Uuid,
    /// Version of the law.
    pub version: i32,
    /// Where the law comes from.
    pub source: LawSource,
    /// When the law was fitted or published.
    pub fitted_at: DateTime<Utc>,
    /// Digest of the law's runs.
    pub data_digest: Option<String>,
}

/// A forecast compared with its run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Id of the run.
    pub run_id: Uuid,
    /// Measured loss of the run.
    pub measured: f64,
    /// `measured - predicted`.
    pub error: f64,
    /// `(measured - predicted) / predicted`.
    pub relative_error: f64,
    /// Whether the interval of the mean contains the measured loss; `None` without an interval.
    pub inside_interval: Option<bool>,
    /// Whether the prediction interval contains the measured loss; `None` without an interval.
    pub inside_prediction_interval: Option<bool>,
    /// Whether the run was made as planned.
    pub as_planned: bool,
    /// Whether fits exclude the run.
    pub excluded: bool,
    /// When the run arrived.
    pub arrived_at: DateTime<Utc>,
}

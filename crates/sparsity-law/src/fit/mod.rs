//! From observations to a law.
//!
//! Pure, as [`crate::law`] is: no HTTP, SQL, clock, environment or async. A fit takes checked
//! observations and a checked configuration and returns a [`Report`]; the same input gives the same
//! bits whatever the number of threads, because every start and resample derives its random numbers
//! from its index, sums run in a canonical order, and the best start is chosen by value, then index.
//!
//! | module | what it does |
//! |---|---|
//! | `observations`, `normalised` | runs in canonical order; in units near 1 |
//! | `objective`, `parameters` | what is minimised, with exact derivatives; what is free to move |
//! | `newton`, `descent`, `starts`, `search`, `sketch` | one descent under argmin's executor; many |
//! | `bootstrap`, `diagnostics`, `collinearity`, `profile`, `holdout` | what the runs leave open |
//! | `design` | which runs to make next |
//! | `patterns`, `pretrained` | runs beside those that the law is fitted on |
//! | `multistart`, `warnings`, `report` | the whole; what it says |

mod bootstrap;
mod collinearity;
mod config;
mod control;
mod descent;
mod design;
mod diagnostics;
mod evidence;
mod form;
mod holdout;
mod multistart;
mod newton;
mod normalised;
mod objective;
mod observations;
mod parameters;
mod patterns;
mod pretrained;
mod profile;
mod report;
mod search;
mod sketch;
mod starts;
#[cfg(test)]
mod testing;
mod warnings;
mod whole;

pub use config::{ConfigError, Constraint, FitConfig, Holdout, Residual, ValidFitConfig};
pub use control::{Control, FitError, Phase};
pub use descent::Termination;
pub use design::{ChosenRun, DesignError, Knowledge, PlannedRun, Suggestion, usual_levels};
pub use diagnostics::outlying_distance;
pub use observations::{Observation, Observations};
pub use patterns::PatternRuns;
pub use pretrained::PretrainedRuns;
pub use report::{
    Diagnostics, Estimate, FittedRun, HoldoutReport, Multiplier, PatternReport, PretrainedReport,
    Profile, Report, StartReport,
};
pub use warnings::{Warning, WarningCode};
pub use whole::{RunSet, fit};

//! Fits scaling laws to training runs.
//!
//! The module is pure, as [`crate::law`] is: no HTTP, SQL, clock, environment or async. A fit takes checked
//! observations and a checked configuration and returns a [`Report`]. The same input gives the same bits whatever
//! the number of threads: every start and every resample derives its random numbers from its index, sums run in a
//! canonical order, and the best start is chosen by value and then by index.
//!
//! | module | what it does |
//! |---|---|
//! | `observations`, `form`, `normalised` | runs in canonical order; which quantities vary over them; runs in units near 1 |
//! | `config`, `control` | the options of a fit and their checks; progress of a running fit and how it is stopped |
//! | `objective`, `passes`, `lanes`, `linearised`, `parameters` | the objective with exact derivatives; the loops over the runs; their numbers in vectors; the objective with linear residuals; which coefficients are free |
//! | `newton`, `descent` | one descent from one point, under argmin's executor |
//! | `delta` | where the Huber loss turns linear, estimated from the residuals |
//! | `starts`, `sketch`, `search` | start points; a subset of the runs to search on where there are many; the best of many descents |
//! | `multistart` | the fit of one group of runs: search, resamples, diagnostics |
//! | `bootstrap` | laws fitted on resampled runs |
//! | `identify` | which coefficients the runs determine at all, and the cheapest runs that would determine the others |
//! | `diagnostics`, `collinearity`, `profile`, `holdout`, `rolling`, `agreement` | what the runs leave uncertain |
//! | `lack_of_fit`, `dependence` | whether the residuals of the runs are independent of each other |
//! | `evidence`, `warnings` | finds what the runs cannot tell; the codes and sentences that report it |
//! | `patterns`, `pretrained` | runs with structured patterns and runs from pretrained checkpoints, which the law is not fitted on |
//! | `whole`, `report` | the whole fit; its result |
//! | `model`, `gauss_newton` | other forms of the law as functions of their coefficients; the engine that fits them |
//! | `own_form`, `carried`, `sensitivity` | the fit of a form with its own coefficients; whether the runs are enough for one; the influence of each run on that fit |
//! | `rivals` | other forms fitted on the same runs, ranked by how well they predict |
//! | `terms`, `forms`, `repeated` | fits of other forms and of repeated data, reduced to fits of a dense law |
//! | `target`, `grid`, `suggestion` | which runs to make next: the answer to narrow, the candidate runs, the suggestion as a whole |
//! | `design`, `own_design`, `choice` | how much a run tells about a law, and about a law of a form with its own coefficients; the choice of runs by it |

mod agreement;
mod bootstrap;
mod carried;
mod choice;
mod collinearity;
mod config;
mod control;
mod delta;
mod dependence;
mod derivatives;
mod descent;
mod design;
mod diagnostics;
mod evidence;
mod form;
mod forms;
mod gauss_newton;
mod grid;
mod holdout;
mod identify;
mod kinks;
mod lack_of_fit;
mod lanes;
mod linearised;
mod model;
mod multistart;
mod newton;
mod normalised;
mod objective;
mod observations;
mod own_design;
mod own_form;
mod parameters;
mod passes;
mod patterns;
mod pretrained;
mod profile;
mod repeated;
mod report;
mod rivals;
mod rolling;
mod search;
mod sensitivity;
mod sketch;
mod starts;
mod suggestion;
mod target;
mod terms;
#[cfg(test)]
mod testing;
mod warnings;
mod whole;

pub use carried::SmallLevel;
pub use choice::{ChosenRun, DesignError, PlannedRun, Suggestion};
pub use config::{ConfigError, Constraint, Delta, FitConfig, Holdout, Residual, ValidFitConfig};
pub use control::{Control, FitError, Phase};
pub use descent::Termination;
pub use design::{Knowledge, usual_levels};
pub use diagnostics::outlying_distance;
pub use forms::{FormReport, fit_form, runs_for_own_gain};
pub use grid::{GridTooLarge, RunGrid};
pub use lack_of_fit::{CellTest, Grouping};
pub use observations::{Observation, Observations};
pub use own_design::{Contender, Contest, OwnKnowledge};
pub use patterns::PatternRuns;
pub use pretrained::PretrainedRuns;
pub use repeated::RepeatedData;
pub use report::{
    Diagnostics, Estimate, FittedRun, HoldoutReport, Multiplier, PatternReport, PretrainedReport,
    Profile, Report, StartReport,
};
pub use rivals::{RefusedForm, Rival, Rivals, rank_forms};
pub use suggestion::{SuggestedRun, SuggestedRuns, SuggestionError, SuggestionTask};
pub use target::Target;
pub use terms::{FormTask, Lenders, ensemble_with_curves, with_curve};
pub use warnings::{Warning, WarningCode};
pub use whole::{RunSet, fit};

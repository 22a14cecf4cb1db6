//! The scaling law of sparsely-connected models and what follows from it.
//!
//! Pure mathematics: nothing here knows of HTTP, SQL, the clock, the environment or async, so
//! every answer of the service can be had, and tested, by calling a function. Source of the
//! formulas: Frantar, Riquelme, Houlsby, Alistarh, Evci, *Scaling Laws for Sparsely-Connected
//! Foundation Models*, arXiv 2309.08520.
//!
//! Arguments are checked once, when a quantity is made ([`Sparsity::new`] and its kin); from there
//! on every function is total. Near `S = 1` a sparsity has lost the digits of `1 - S`, so the
//! formulas work on the density `x = 1 - S`.

mod branchless;
mod coefficients;
mod contour;
mod cost;
mod design;
mod effective;
mod ensemble;
mod flop_mode;
mod limits;
mod many;
mod means;
mod optimum;
mod pattern;
mod plan;
mod prepared;
mod published;
mod quantity;
mod recommendation;
mod sampled;
mod schedule;
mod step;
mod storage;
mod support;
mod table;

pub use coefficients::{CoefficientName, CoefficientValues, Coefficients, Determined};
pub use contour::{contour_compute, ln_contour_ratio};
pub use cost::TrainingCost;
pub use design::{Design, Goal, Model};
pub use effective::{Factor, data_multiplier};
pub use ensemble::{Ensemble, Interval, Member, quantile};
pub use flop_mode::FlopMode;
pub use limits::{Constraint, Limits};
pub use many::{LinearOptimum, linear_optima};
pub use means::{Means, Zeros};
pub use optimum::{Optimum, chinchilla_ratio, optimal_density, optimal_sparsity};
pub use pattern::{
    DeployablePattern, PatternCandidate, PatternWorth, best_pattern, pattern_multiplier,
    train_pattern,
};
pub use plan::{Obstacle, Planner};
pub use prepared::{OptimumIntervals, PreparedEnsemble};
pub use published::{PublishedLaw, T5_C4, VIT_JFT};
pub use quantity::{
    ChinchillaRatio, Compute, Data, Density, DomainError, FlopsPerParam, Loss, NonzeroParams,
    Sparsity,
};
pub use recommendation::{AnswerError, Recommendation, RecommendationIntervals, finite};
pub use sampled::SampledLaw;
pub use schedule::PruningSchedule;
pub use step::{PointError, StepCost};
pub use storage::{Storage, StorageFormat};
pub use support::{Extrapolation, Question, Range, Ranges, Side, SparsityLevel, Support, Variable};
pub use table::Table;

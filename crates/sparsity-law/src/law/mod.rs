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
//!
//! | module | what it does |
//! |---|---|
//! | `quantity`, `coefficients`, `published` | checked numbers; the law itself; the laws of the paper |
//! | `flop_mode`, `step`, `schedule`, `cost` | what a step costs, when zeros come, what training costs |
//! | `ceiling`, `bounded` | how sparse a model of a size may be, and the best sparsity under that |
//! | `optimum`, `many`, `branchless` | the optimal sparsity of one question, and of many at once |
//! | `form`, `rival` | what a law says of sparsity; laws of other forms of the same runs |
//! | `level_law`, `expert_law`, `form_law`, `form_optimum`, `sampled_form` | laws of forms with coefficients of their own, alone and with their resamples |
//! | `gain_curve`, `repetition`, `numeric` | what sparsity does where the coefficients do not say; data seen more than once; the optimum of both |
//! | `contour`, `contour_line`, `loss_curve` | lines of equal optimal sparsity, with bands; the loss by sparsity |
//! | `experts` | mixtures of experts that can be deployed |
//! | `effective`, `pattern` | what a sparse model is worth; what a pattern such as 2:4 makes of a budget |
//! | `ensemble`, `prepared`, `sampled` | resampled laws and intervals |
//! | `order`, `answers`, `window`, `cells`, `nearby` | the few laws among which the ends of an interval lie |
//! | `recommendation` | the optimal sparsity with everything that is said beside it |
//! | `storage`, `limits`, `scheme`, `means`, `minima`, `plan`, `planning` | plans: memory, bounds, the best size at one sparsity, the ways to be sparse, the best models along a line of sparsities, the best model, the plan as a whole |
//! | `support` | where the runs behind a law end |
//! | `identification`, `measured` | what the runs behind a law leave open; the best of the measured sparsities |
//! | `widening` | intervals outside the runs, by what rolling hold-outs show |
//! | `comparison` | two laws side by side |
//! | `recipe` | what the compute of one recipe is worth in compute of another |

mod answers;
mod any_law;
mod bounded;
pub(crate) mod branchless;
mod ceiling;
mod cells;
mod coefficients;
mod comparison;
mod contour;
mod contour_line;
mod cost;
mod effective;
mod ensemble;
mod expert_law;
mod experts;
mod flop_mode;
mod form;
mod form_law;
mod form_optimum;
mod gain_curve;
mod identification;
mod level_law;
mod limits;
mod loss_curve;
mod many;
mod means;
mod measured;
mod minima;
mod nearby;
mod numeric;
mod optimum;
mod order;
mod pattern;
mod plan;
mod planning;
mod prepared;
mod published;
mod quantity;
mod recipe;
mod recommendation;
mod remembered;
mod repetition;
mod rival;
mod sampled;
mod sampled_form;
mod schedule;
mod scheme;
mod step;
mod storage;
mod support;
mod widening;
mod window;

pub use any_law::AnyLaw;
pub use ceiling::{Bound, Ceiling, TooLow};
pub use coefficients::{CoefficientName, CoefficientValues, Coefficients, Determined};
pub use comparison::{
    Compared, ComparedLaw, ComparedOptimum, compare_coefficients, compare_optima, share_apart,
};
pub use contour::{contour_compute, ln_contour_ratio};
pub use contour_line::ContourLine;
pub use cost::TrainingCost;
pub use effective::{
    EqualModels, Factor, GivenSize, PretrainedStart, ScratchEqual, data_multiplier,
};
pub use ensemble::{Ensemble, Interval, Member, quantile};
pub use expert_law::ExpertCoefficients;
pub use experts::{ExpertChoice, ExpertGrid};
pub use flop_mode::FlopMode;
pub use form::LawForm;
pub use form_law::{FormCoefficient, FormLaw, GivenCoefficient, NoSuchForm};
pub use form_optimum::FormRecommendation;
pub use gain_curve::{BorrowedGain, GainCurve};
pub use identification::{
    Directions, Identification, Lacking, Missing, NotIdentified, SettlingRun,
};
pub use level_law::{LevelCapacity, LevelLaw};
pub use limits::{Constraint, Limits};
pub use loss_curve::{LossCurve, LossPoint, curve_densities};
pub use many::{LinearOptimum, linear_optima};
pub use means::{Means, ZeroPlacement};
pub use measured::{MeasuredChoice, MeasuredSparsity};
pub use optimum::{
    Optimum, chinchilla_ratio, optimal_density, optimal_density_down_to, optimal_sparsity,
    optimal_sparsity_down_to, optimal_sparsity_repeating, optimal_sparsity_under,
};
pub use pattern::{
    DeployablePattern, PatternCandidate, PatternWorth, best_pattern, pattern_multiplier,
    train_pattern,
};
pub use plan::{Obstacle, Planner};
pub use planning::{
    Infeasible, NoDense, Plan, PlanError, PlanIntervals, PlanLaw, PlanNote, PlanQuestion,
    PlanSetting, PlannedModel, PlannedPattern,
};
pub use prepared::{OptimumIntervals, PreparedEnsemble};
pub use published::{PublishedLaw, T5_C4, VIT_JFT};
pub use quantity::{
    ChinchillaRatio, Compute, Data, Density, DomainError, FlopsPerParam, Loss, NonzeroParams,
    Sparsity,
};
pub use recipe::{
    BudgetCurve, Crossing, Exchange, Recipe, RecipeCurve, RecipePair, RecipeSparsity,
    SearchedCurve, best_recipe_density, best_recipe_level,
};
pub use recommendation::{AnswerError, Recommendation, RecommendationIntervals, finite};
pub use repetition::{Repetition, effective_data};
pub use rival::RivalLaw;
pub use sampled::SampledLaw;
pub use sampled_form::{FormAnswer, FormIntervals, SampledForm};
pub use schedule::{PruningSchedule, SchedulePointError};
pub use scheme::{Goal, Model, SparsityScheme};
pub use step::{PointError, StepCost};
pub use storage::{Storage, StorageFormat};
pub use support::{
    Extrapolation, Question, Range, Ranges, Side, SparsityLevel, Support, Training, Variable,
};
pub use widening::{Reach, RollingError, Widening};

//! The scaling law of sparsely-connected models and what follows from it.
//!
//! Pure mathematics: nothing here depends on HTTP, SQL, the clock, the environment or async, so every answer of the
//! service can be computed, and tested, by calling a function. Source of the formulas: Frantar, Riquelme, Houlsby,
//! Alistarh, Evci, *Scaling Laws for Sparsely-Connected Foundation Models*, arXiv 2309.08520.
//!
//! Arguments are checked once, when a quantity is constructed ([`Sparsity::new`] and the other constructors); after
//! that every function is total. Close to `S = 1` a sparsity has lost digits of `1 - S`, so the formulas use the
//! density `x = 1 - S`.
//!
//! | module | what it does |
//! |---|---|
//! | `quantity`, `coefficients`, `published` | checked numbers; the law itself; the laws of the paper |
//! | `flop_mode`, `step`, `schedule`, `cost` | what a step costs, when zeros come, what training costs |
//! | `ceiling`, `bounded` | how sparse a model of a given size may be; the best sparsity under such a bound |
//! | `optimum`, `many`, `branchless` | the optimal sparsity of one question, and of many at once |
//! | `form`, `rival` | the forms of a law; laws of other forms fitted on the same runs |
//! | `level_law`, `expert_law`, `form_law`, `form_optimum`, `sampled_form` | laws of forms with coefficients of their own, alone and with their resamples |
//! | `gain_curve`, `repetition`, `numeric` | the effect of sparsity where the coefficients do not give it; data seen more than once; the optimum in both cases |
//! | `contour`, `contour_line`, `loss_curve` | lines of equal optimal sparsity, with bands; the loss as a function of sparsity |
//! | `experts` | mixtures of experts that can be deployed |
//! | `effective`, `pattern` | the dense equivalent of a sparse model; the result of a budget with a pattern such as 2:4 |
//! | `ensemble`, `prepared`, `sampled` | resampled laws and intervals |
//! | `order`, `answers`, `window`, `cells`, `nearby` | intervals from the few laws that can hold their ends |
//! | `recommendation` | the optimal sparsity with everything that is reported beside it |
//! | `storage`, `limits`, `scheme`, `means`, `minima`, `plan`, `planning` | plans: memory, bounds, the best size at one sparsity, the ways to be sparse, the best models along a line of sparsities, the best model, the plan as a whole |
//! | `support` | the ranges that the runs behind a law cover |
//! | `identification`, `measured` | what the runs behind a law leave open; the best of the measured sparsities |
//! | `widening` | wider intervals outside the runs, according to rolling hold-outs |
//! | `comparison` | two laws side by side |
//! | `recipe` | how much compute of one training recipe equals compute of another |

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

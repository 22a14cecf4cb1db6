//! How borrowed gains, repeated data and rival forms of a law are shown.

use serde::Serialize;
use sparsity_law::fit::{RepeatedData, Rival, Rivals};
use sparsity_law::law::{BorrowedGain, CoefficientValues, ExpertCoefficients, LevelLaw, RivalLaw};
use utoipa::ToSchema;

use crate::api::wire::problem::SettlingRunView;
use crate::api::wire::views::{CoefficientsView, IntervalView, LawFormView};
use crate::domain::law::LentGain;

/// A gain that was borrowed from another family's law.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BorrowedGain)]
pub struct LentGainView {
    /// Name of the lending family.
    #[schema(example = "t5-c4")]
    borrow: String,
    /// Version of the lender's law.
    #[schema(example = 1)]
    version: i32,
    /// The coefficients of the lender that make up the gain, `((a_s (1-S)^b_s + c_s) / (a_s + c_s))^(-1/b_n)`.
    lender: LenderCoefficients,
    /// The sparse runs that would give this family a gain of its own; empty for a law without runs.
    suggestions: Vec<SettlingRunView>,
}

/// The coefficients that make up the gain of a law.
#[derive(Debug, Serialize, ToSchema)]
pub struct LenderCoefficients {
    /// Capacity that sparsity costs.
    #[schema(example = 16.787050107077444)]
    a_s: f64,
    /// Exponent of the density.
    #[schema(example = 0.72161276)]
    b_s: f64,
    /// Capacity that is left as `S -> 1`.
    #[schema(example = 45.01844735112024)]
    c_s: f64,
    /// Exponent of the non-zero parameters.
    #[schema(example = 0.24513173)]
    b_n: f64,
}

impl From<LentGain> for LentGainView {
    fn from(lent: LentGain) -> Self {
        let BorrowedGain { a_s, b_s, c_s, b_n } = lent.gain;
        Self {
            borrow: lent.family,
            version: lent.version,
            lender: LenderCoefficients { a_s, b_s, c_s, b_n },
            suggestions: lent.settling.iter().map(SettlingRunView::from).collect(),
        }
    }
}

/// How fast repeating data wears out: `D_eff = U + U R (1 - exp(-(D/U - 1) / R))` for `D` above the unique data `U`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RepeatedData)]
pub struct RepeatedDataView {
    /// `R`, in epochs.
    #[schema(example = 15.39)]
    decay: f64,
    /// Whether `decay` was fitted on the law's runs; otherwise it is that of a published law of language models (arXiv
    /// 2305.16264).
    #[schema(example = false)]
    fitted: bool,
    /// Profile interval of `decay`; null where it was not fitted.
    interval: Option<IntervalView>,
    /// Number of runs that repeat data.
    #[schema(example = 12)]
    runs: usize,
}

impl From<RepeatedData> for RepeatedDataView {
    fn from(RepeatedData { decay, fitted, interval, runs }: RepeatedData) -> Self {
        Self { decay, fitted, interval: interval.map(IntervalView::from), runs }
    }
}

/// Forms of the law that were fitted on the same runs and ranked by how well they predict held-out runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rivals)]
pub struct RivalsView {
    /// Number of rounds, in each of which all forms were fitted on the runs below a limit of size, data or their
    /// product.
    #[schema(example = 16)]
    rounds: usize,
    /// Number of predictions of held-out runs, the same for all forms.
    #[schema(example = 240)]
    predictions: usize,
    /// The forms, the one with the best predictions first.
    forms: Vec<RivalView>,
    /// The forms that these runs cannot support.
    refused: Vec<RefusedFormView>,
}

/// One of the forms that were fitted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rival)]
pub struct RivalView {
    /// The form.
    form: LawFormView,
    /// Number of coefficients that were fitted.
    #[schema(example = 7)]
    coefficients: usize,
    /// Mean Huber loss over all runs.
    #[schema(example = 4.880117e-6)]
    objective: f64,
    /// Root of the mean squared residual of the predictions, in the unit of the objective's residual; null where the
    /// runs allow no predictions.
    #[schema(example = 0.0091)]
    holdout_error: Option<f64>,
    /// Interval of `holdout_error`, from resampling the runs that were predicted.
    interval: Option<IntervalView>,
    /// Interval of the difference between this `holdout_error` and that of the law's own form.
    excess: Option<IntervalView>,
    /// Whether this form predicts no worse than the law's own form, as far as these predictions tell.
    #[schema(example = true)]
    no_worse: bool,
    /// The law of this form.
    law: RivalLawView,
}

/// A form that was not fitted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedForm)]
pub struct RefusedFormView {
    /// The form.
    form: LawFormView,
    /// Why these runs cannot support the form.
    #[schema(example = "the runs have 2 different values of sparsity, and it needs 3")]
    reason: String,
}

/// The law of a form, in raw units: exactly one of these.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RivalLaw)]
pub enum RivalLawView {
    /// The paper's form.
    Sparse(CoefficientsView),
    /// Law that counts the mean number of parameters over training.
    AverageParams(AverageParamsCoefficients),
    /// Law with one capacity for each sparsity.
    Levels(LevelsView),
    /// Law of mixtures of experts.
    Experts(ExpertCoefficientsView),
}

/// Coefficients of `A (N (1 - m S)/(1 - S))^(-b_n) + (a_d / D)^b_d + c`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AverageParamsCoefficients {
    /// Capacity of dense models.
    a: f64,
    /// Exponent of the mean number of parameters.
    b_n: f64,
    /// Scale of the data.
    a_d: f64,
    /// Exponent of the data.
    b_d: f64,
    /// Irreducible loss.
    c: f64,
    /// `m`: mean sparsity over training, as a share of the final sparsity.
    #[schema(example = 0.625)]
    mean_share: f64,
}

/// Coefficients of `A_j N^(-b_n) + (a_d / D)^b_d + c` at the sparsity of level `j`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelCoefficients)]
pub struct LevelsView {
    /// The levels, in rising order of sparsity.
    levels: Vec<LevelView>,
    /// Exponent of the non-zero parameters.
    b_n: f64,
    /// Scale of the data.
    a_d: f64,
    /// Exponent of the data.
    b_d: f64,
    /// Irreducible loss.
    c: f64,
}

/// The capacity at one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelCapacity)]
pub struct LevelView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Number of runs at this level.
    #[schema(example = 12)]
    runs: usize,
    /// The capacity `A_j`.
    a: f64,
    /// Size of the dense model that is as good, relative to the non-zero parameters; null where no run is dense.
    gain: Option<f64>,
}

/// Coefficients of `e + a T^(-alpha) + b D^(-beta) + c (1-S)^(-lambda) + d (1-S)^(-delta) T^(-gamma)`, where `T` is the
/// number of all parameters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExpertCoefficients)]
pub struct ExpertCoefficientsView {
    /// Irreducible loss.
    e: f64,
    /// Amplitude of the term in the total size.
    a: f64,
    /// Exponent of that term.
    alpha: f64,
    /// Amplitude of the term in the data.
    b: f64,
    /// Exponent of that term.
    beta: f64,
    /// Amplitude of the term in the density.
    c: f64,
    /// Exponent of that term, of either sign.
    lambda: f64,
    /// Amplitude of the term in density and total size together.
    d: f64,
    /// Exponent of the density in that term, of either sign.
    delta: f64,
    /// Exponent of the total size in that term.
    gamma: f64,
}

impl From<Rivals> for RivalsView {
    fn from(rivals: Rivals) -> Self {
        let refused = rivals.refused.into_iter();
        Self {
            rounds: rivals.rounds,
            predictions: rivals.predictions,
            forms: rivals.forms.into_iter().map(RivalView::from).collect(),
            refused: refused
                .map(|refused| RefusedFormView {
                    form: refused.form.into(),
                    reason: refused.reason,
                })
                .collect(),
        }
    }
}

impl From<Rival> for RivalView {
    fn from(rival: Rival) -> Self {
        Self {
            form: rival.law.form().into(),
            coefficients: rival.free,
            objective: rival.objective,
            holdout_error: rival.holdout_error,
            interval: rival.interval.map(IntervalView::from),
            excess: rival.excess.map(IntervalView::from),
            no_worse: rival.no_worse,
            law: rival.law.into(),
        }
    }
}

impl From<RivalLaw> for RivalLawView {
    fn from(law: RivalLaw) -> Self {
        match law {
            RivalLaw::Sparse(CoefficientValues { a_s, b_s, c_s, b_n, a_d, b_d, c }) => {
                Self::Sparse(CoefficientsView { a_s, b_s, c_s, b_n, a_d, b_d, c })
            }
            RivalLaw::AverageParams { coefficients, mean_share } => {
                let CoefficientValues { c_s: a, b_n, a_d, b_d, c, .. } = coefficients;
                Self::AverageParams(AverageParamsCoefficients { a, b_n, a_d, b_d, c, mean_share })
            }
            RivalLaw::Levels(LevelLaw { levels, b_n, a_d, b_d, c }) => {
                let level = |level: &sparsity_law::law::LevelCapacity| LevelView {
                    sparsity: level.sparsity,
                    level: level.name.clone(),
                    runs: level.runs,
                    a: level.a,
                    gain: level.gain,
                };
                let levels = levels.iter().map(level).collect();
                Self::Levels(LevelsView { levels, b_n, a_d, b_d, c })
            }
            RivalLaw::Experts(law) => {
                let ExpertCoefficients { e, a, alpha, b, beta, c, lambda, d, delta, gamma } = law;
                Self::Experts(ExpertCoefficientsView {
                    e,
                    a,
                    alpha,
                    b,
                    beta,
                    c,
                    lambda,
                    d,
                    delta,
                    gamma,
                })
            }
        }
    }
}

//! Shapes that several resources share.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::checks::Checks;
use crate::fit::{ConfigError, FitConfig, Residual};
use crate::law::{CoefficientValues, Extrapolation, PruningSchedule, Range, Side, SparsityLevel};
use crate::store::laws::{Law, LawSource, StoredWarning};

/// The law that an answer was computed from.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LawRef {
    /// Id of the law.
    pub id: Uuid,
    /// Version within the family.
    #[schema(example = 1)]
    pub version: i32,
    /// Whether it was fitted here or published elsewhere.
    pub source: LawSourceView,
    /// When it was fitted, or published.
    pub fitted_at: DateTime<Utc>,
    /// Digest of the runs that it was fitted on; null for a published law.
    pub data_digest: Option<String>,
}

impl From<&Law> for LawRef {
    fn from(law: &Law) -> Self {
        Self {
            id: law.id,
            version: law.version,
            source: law.content.source.into(),
            fitted_at: law.content.fitted_at,
            data_digest: law.content.data_digest.clone(),
        }
    }
}

/// Where a law comes from.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LawSource)]
pub enum LawSourceView {
    /// Fitted on runs of the family.
    Fit,
    /// Imported coefficients.
    Published,
}

impl From<LawSource> for LawSourceView {
    fn from(source: LawSource) -> Self {
        match source {
            LawSource::Fit => Self::Fit,
            LawSource::Published => Self::Published,
        }
    }
}

/// Coefficients of `L(S, N, D) = (a_s (1-S)^b_s + c_s) N^(-b_n) + (a_d / D)^b_d + c`, in raw units.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Coefficients)]
pub struct CoefficientsView {
    /// Capacity that sparsity costs.
    #[schema(example = 16.787050107077444)]
    pub a_s: f64,
    /// Exponent of the density.
    #[schema(example = 0.72161276)]
    pub b_s: f64,
    /// Capacity that is left as `S -> 1`.
    #[schema(example = 45.01844735112024)]
    pub c_s: f64,
    /// Exponent of the non-zero parameters.
    #[schema(example = 0.24513173)]
    pub b_n: f64,
    /// Scale of the data, in the data unit.
    #[schema(example = 689991261.9177524)]
    pub a_d: f64,
    /// Exponent of the data.
    #[schema(example = 0.20270772)]
    pub b_d: f64,
    /// Irreducible loss.
    #[schema(example = 0.65074219)]
    pub c: f64,
}

impl From<CoefficientValues> for CoefficientsView {
    fn from(v: CoefficientValues) -> Self {
        let CoefficientValues { a_s, b_s, c_s, b_n, a_d, b_d, c } = v;
        Self { a_s, b_s, c_s, b_n, a_d, b_d, c }
    }
}

impl From<CoefficientsView> for CoefficientValues {
    fn from(v: CoefficientsView) -> Self {
        let CoefficientsView { a_s, b_s, c_s, b_n, a_d, b_d, c } = v;
        Self { a_s, b_s, c_s, b_n, a_d, b_d, c }
    }
}

/// When models are pruned during training, as fractions of the training progress.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PruningSchedule)]
pub struct PruningView {
    /// Progress at which pruning starts.
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    pub start: f64,
    /// Progress at which the final sparsity is reached; after `start`.
    #[schema(example = 0.75, minimum = 0, maximum = 1)]
    pub end: f64,
    /// Exponent of the ramp in between.
    #[schema(example = 3.0, minimum = 0.01, maximum = 100)]
    pub exponent: f64,
}

impl From<PruningSchedule> for PruningView {
    fn from(schedule: PruningSchedule) -> Self {
        Self { start: schedule.start(), end: schedule.end(), exponent: schedule.exponent() }
    }
}

impl PruningView {
    /// The checked schedule; errors are noted below `pruning`.
    pub fn check(self, checks: &mut Checks) -> Option<PruningSchedule> {
        PruningSchedule::new(self.start, self.end, self.exponent)
            .map_err(|(field, error)| checks.refuse(&format!("pruning/{field}"), error.to_string()))
            .ok()
    }
}

/// What a fit minimises: the mean Huber loss of the residuals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Objective)]
pub struct ObjectiveView {
    /// `log` for `ln f - ln L`, `linear` for `f - L`.
    pub residual: ResidualView,
    /// Where the Huber loss turns from quadratic to linear, in units of the residual.
    #[schema(example = 0.001, minimum = 1e-9, maximum = 1e6)]
    pub delta: f64,
}

/// How prediction and measurement are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Residual)]
pub enum ResidualView {
    /// `ln f - ln L`: relative errors.
    Log,
    /// `f - L`: absolute errors.
    Linear,
}

impl ObjectiveView {
    /// From a residual and its delta.
    #[must_use]
    pub fn new(residual: Residual, delta: f64) -> Self {
        let residual = match residual {
            Residual::Log => ResidualView::Log,
            Residual::Linear => ResidualView::Linear,
        };
        Self { residual, delta }
    }

    /// The residual.
    #[must_use]
    pub const fn residual(&self) -> Residual {
        match self.residual {
            ResidualView::Log => Residual::Log,
            ResidualView::Linear => Residual::Linear,
        }
    }
}

/// Options of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = FitOptions)]
pub struct FitOptionsView {
    /// Number of random starts.
    #[schema(example = 32)]
    pub starts: u32,
    /// Seed of the starts.
    #[schema(example = 0)]
    pub seed: u64,
    /// What is minimised.
    pub objective: ObjectiveView,
}

impl From<FitConfig> for FitOptionsView {
    fn from(config: FitConfig) -> Self {
        let objective = ObjectiveView::new(config.residual, config.delta);
        Self { starts: config.starts, seed: config.seed, objective }
    }
}

/// Checks a configuration; errors are noted under the field that they are about.
pub fn check_fit_config(config: FitConfig, checks: &mut Checks) -> Option<FitConfig> {
    match config.check() {
        Ok(valid) => Some(*valid.get()),
        Err(error) => {
            let field = match error {
                ConfigError::Delta(_) => "objective/delta",
                ConfigError::Starts(_) => "starts",
            };
            checks.refuse(field, error.to_string());
            None
        }
    }
}

/// Something to know before trusting an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Warning)]
pub struct WarningView {
    /// Stable code.
    #[schema(example = "interpolated")]
    pub code: String,
    /// A sentence.
    #[schema(example = "no run has a sparsity between 0.5 and 0.75")]
    pub detail: String,
}

impl WarningView {
    /// A warning.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }
}

impl From<&StoredWarning> for WarningView {
    fn from(warning: &StoredWarning) -> Self {
        Self { code: warning.code.clone(), detail: warning.detail.clone() }
    }
}

/// A quantity that lies outside the runs behind the law.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Extrapolation)]
pub struct ExtrapolationView {
    /// `nonzero_params`, `sparsity`, `data` or `compute`.
    #[schema(example = "nonzero_params")]
    pub variable: &'static str,
    /// How many times beyond the limit, at least 1; for a sparsity the ratio of the densities.
    #[schema(example = 11.77)]
    pub factor: f64,
    /// The end of the runs' range that is passed.
    #[schema(example = 84_934_656.0)]
    pub limit: f64,
    /// Whether the question lies above or below the runs.
    pub side: SideView,
}

/// On which side of the runs a question lies.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Side)]
pub enum SideView {
    /// Below the smallest value.
    Below,
    /// Above the largest value.
    Above,
}

impl From<Extrapolation> for ExtrapolationView {
    fn from(extrapolation: Extrapolation) -> Self {
        Self {
            variable: extrapolation.variable.as_str(),
            factor: extrapolation.factor,
            limit: extrapolation.limit,
            side: match extrapolation.side {
                Side::Below => SideView::Below,
                Side::Above => SideView::Above,
            },
        }
    }
}

/// Interval with its nominal coverage.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Interval)]
pub struct IntervalView {
    /// Nominal coverage.
    #[schema(example = 0.95)]
    pub level: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Smallest and largest value.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Range)]
pub struct RangeView {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl From<Range> for RangeView {
    fn from(range: Range) -> Self {
        Self { min: range.min, max: range.max }
    }
}

/// What the runs at one level of sparsity cover.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = SparsityLevel)]
pub struct SparsityLevelView {
    /// The sparsity, rounded to three decimals.
    pub sparsity: f64,
    /// Number of runs.
    pub runs: u32,
    /// Range of their non-zero parameters.
    pub nonzero_params: RangeView,
    /// Range of their data.
    pub data: RangeView,
}

impl From<&SparsityLevel> for SparsityLevelView {
    fn from(level: &SparsityLevel) -> Self {
        Self {
            sparsity: level.sparsity,
            runs: level.runs,
            nonzero_params: level.nonzero_params.into(),
            data: level.data.into(),
        }
    }
}

/// Deserialises a field that may be null, so that null and absence can be told apart.
pub fn nullable<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

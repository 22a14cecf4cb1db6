//! Shapes that several resources share.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use sparsity_law::fit::{
    Constraint, Delta, Estimate, FitConfig, Holdout, Residual, ValidFitConfig,
};
use sparsity_law::law::{
    CoefficientName, CoefficientValues, Coefficients, ExpertChoice, ExpertGrid, Extrapolation,
    Identification, Interval, LawForm, PruningSchedule, Range, Side, SparsityLevel,
};
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::domain::checks::Checks;
use crate::domain::family::Zeros;
use crate::domain::law::{Law, LawSource, StoredWarning};
use crate::domain::refit::{RefitOptions, TagWeight};
use crate::domain::text::check_label;
use crate::domain::trust::{Trust, TrustCode, TrustLevel};

/// JSON that is made once, for parts of answers that are the same each time.
fn rendered(value: &impl Serialize) -> Box<RawValue> {
    // Strings and numbers always have a representation.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The law that an answer was computed from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LawRef)]
pub struct LawRefView {
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

/// A law as answers name it.
#[derive(Debug, Clone)]
pub struct LawRef(Box<RawValue>);

impl PartialSchema for LawRef {
    fn schema() -> RefOr<Schema> {
        LawRefView::schema()
    }
}

impl ToSchema for LawRef {
    fn name() -> Cow<'static, str> {
        LawRefView::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        LawRefView::schemas(schemas);
    }
}

impl Serialize for LawRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl From<LawRefView> for LawRef {
    fn from(view: LawRefView) -> Self {
        Self(rendered(&view))
    }
}

impl From<&Law> for LawRef {
    fn from(law: &Law) -> Self {
        Self::from(LawRefView {
            id: law.id,
            version: law.version,
            source: law.content.source.into(),
            fitted_at: law.content.fitted_at,
            data_digest: law.content.data_digest.clone(),
        })
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

/// The form of a law: what it says of sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LawForm)]
pub enum LawFormView {
    /// `(a_s (1-S)^b_s + c_s) N^(-b_n)`: the paper's.
    Sparse,
    /// Nothing, unless it borrows a gain.
    Dense,
    /// One capacity at each sparsity of the runs, and nothing between them.
    Levels,
    /// The mean number of parameters over training.
    AverageParams,
    /// Mixtures of experts.
    Experts,
}

impl From<LawForm> for LawFormView {
    fn from(form: LawForm) -> Self {
        match form {
            LawForm::Sparse => Self::Sparse,
            LawForm::Dense => Self::Dense,
            LawForm::Levels => Self::Levels,
            LawForm::AverageParams => Self::AverageParams,
            LawForm::Experts => Self::Experts,
        }
    }
}

impl From<LawFormView> for LawForm {
    fn from(form: LawFormView) -> Self {
        match form {
            LawFormView::Sparse => Self::Sparse,
            LawFormView::Dense => Self::Dense,
            LawFormView::Levels => Self::Levels,
            LawFormView::AverageParams => Self::AverageParams,
            LawFormView::Experts => Self::Experts,
        }
    }
}

/// Whose gain is borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Borrow)]
pub struct BorrowView {
    /// Name of the family that lends: its own runs must say what sparsity does.
    #[schema(example = "t5-c4")]
    pub borrow: String,
    /// Version of its law; the one that answers now unless said otherwise.
    #[schema(example = 1)]
    pub version: Option<i32>,
}

/// Which forms are fitted beside the law's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Forms)]
pub enum FormsView {
    /// Every form that the runs can carry.
    All,
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

impl From<CoefficientsView> for CoefficientValues {
    fn from(v: CoefficientsView) -> Self {
        let CoefficientsView { a_s, b_s, c_s, b_n, a_d, b_d, c } = v;
        Self { a_s, b_s, c_s, b_n, a_d, b_d, c }
    }
}

/// Coefficients of a law, in raw units. One that the runs do not tell apart from others is null: where a
/// quantity never varies over them, `c_s` or `c` holds the sum; where it has too few different values,
/// `diagnostics.identification` of the law says what is missing.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = LawCoefficients)]
pub struct LawCoefficientsView {
    /// Capacity that sparsity costs; null where all runs have one sparsity. Where all runs have one
    /// size, its part of the loss at that size.
    #[schema(example = 16.787050107077444)]
    a_s: Option<f64>,
    /// Exponent of the density; null where all runs have one sparsity.
    #[schema(example = 0.72161276)]
    b_s: Option<f64>,
    /// Capacity that is left as `S -> 1`, or of all runs where they have one sparsity; null where all
    /// runs have one size.
    #[schema(example = 45.01844735112024)]
    c_s: Option<f64>,
    /// Exponent of the non-zero parameters; null where all runs have one size.
    #[schema(example = 0.24513173)]
    b_n: Option<f64>,
    /// Scale of the data, in the data unit; null where all runs have one amount of data.
    #[schema(example = 689991261.9177524)]
    a_d: Option<f64>,
    /// Exponent of the data; null where all runs have one amount of data.
    #[schema(example = 0.20270772)]
    b_d: Option<f64>,
    /// Irreducible loss, with the terms that the runs do not tell from it.
    #[schema(example = 0.65074219)]
    c: Option<f64>,
}

impl LawCoefficientsView {
    /// Those that the runs determine, as far as that is known.
    #[must_use]
    pub fn new(law: &Coefficients, identification: Option<&Identification>) -> Self {
        use CoefficientName::{AD, AS, BD, BN, BS, C, CS};
        let v = law.values();
        let determined =
            |name| identification.is_none_or(|identification| identification.determines(name));
        let known = |name: CoefficientName, value: f64| {
            (law.has(name) && determined(name)).then_some(value)
        };
        Self {
            a_s: known(AS, v.a_s),
            b_s: known(BS, v.b_s),
            c_s: known(CS, v.c_s),
            b_n: known(BN, v.b_n),
            a_d: known(AD, v.a_d),
            b_d: known(BD, v.b_d),
            c: known(C, v.c),
        }
    }
}

/// When zeros come in during training, by the training progress from 0 to 1.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = PruningSchedule)]
pub enum PruningView {
    /// A ramp from no zeros to all of them.
    Ramp(PruningRamp),
    /// As it was measured.
    Points(PruningPoints),
}

/// Sparsity 0 before `start`, `S (1 - (1 - (p - start) / (end - start))^exponent)` at progress `p` until `end`, and
/// the final sparsity `S` after. With `start` and `end` 0 the sparsity is `S` from the first step on, as of experts,
/// static masks and dynamic sparse training.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PruningRamp {
    /// Progress at which pruning starts.
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    start: f64,
    /// Progress at which the final sparsity is reached; not before `start`. Where it is `start`, all zeros come at
    /// once.
    #[schema(example = 0.75, minimum = 0, maximum = 1)]
    end: f64,
    /// Exponent of the ramp in between; 3 unless said otherwise.
    #[schema(value_type = Option<f64>, example = 3.0, default = 3.0, minimum = 0.01, maximum = 100, required = false)]
    exponent: f64,
    /// Progress from which the kernels of a structured pattern may run, because the whole pattern is there; `end`
    /// unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    pattern_start: Option<f64>,
}

/// A measured schedule: shares of the final sparsity, linear between the points, 0 before the first and constant after
/// the last.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PruningPoints {
    /// `[progress, share]`.
    #[schema(schema_with = pruning_points_schema)]
    points: Vec<[f64; 2]>,
    /// Progress from which the kernels of a structured pattern may run, because the whole pattern is there; unless
    /// said otherwise that from which the share stays what it is at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    pattern_start: Option<f64>,
}

/// The most measured points of a schedule.
const MAX_PRUNING_POINTS: usize = 200;

/// The derived schema does not say that a point has two numbers.
fn pruning_points_schema() -> Array {
    let point = ArrayBuilder::new().items(f64::schema()).min_items(Some(2)).max_items(Some(2));
    ArrayBuilder::new()
        .description(Some(
            "`[progress, share]`, in the order of the progress, both between 0 and 1. Two points of one progress \
             are a jump, so that a staircase has two for each step. A share that ends below 1 is that of runs that \
             fall short of the sparsity that they state.",
        ))
        .items(point)
        .min_items(Some(1))
        .max_items(Some(MAX_PRUNING_POINTS))
        .examples([serde_json::json!([[0.25, 0.0], [0.25, 0.5], [0.75, 0.5], [0.75, 1.0]])])
        .build()
}

impl From<&PruningSchedule> for PruningView {
    fn from(schedule: &PruningSchedule) -> Self {
        let pattern_start = schedule.given_pattern_start();
        match (schedule.ramp(), schedule.points()) {
            (Some([start, end, exponent]), _) => {
                Self::Ramp(PruningRamp { start, end, exponent, pattern_start })
            }
            (None, points) => {
                let points = points.unwrap_or_default().iter().map(|&(p, share)| [p, share]);
                Self::Points(PruningPoints { points: points.collect(), pattern_start })
            }
        }
    }
}

/// Either way to give a pruning schedule; the schema is that of the view.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningBody {
    start: Option<f64>,
    end: Option<f64>,
    exponent: Option<f64>,
    points: Option<Vec<[f64; 2]>>,
    pattern_start: Option<f64>,
}

impl PruningBody {
    /// The checked schedule; errors are noted below `pruning`.
    pub fn check(self, checks: &mut Checks) -> Option<PruningSchedule> {
        let mut refuse = |field: &str, detail: String| {
            checks.refuse(&format!("pruning/{field}"), detail);
        };
        let schedule = match (self.start, self.end, self.points) {
            (Some(start), Some(end), None) => {
                let exponent = self.exponent.unwrap_or(PruningSchedule::EXPONENT);
                PruningSchedule::new(start, end, exponent)
                    .map_err(|(field, error)| refuse(field, error.to_string()))
                    .ok()
            }
            (None, None, Some(points)) if self.exponent.is_none() => {
                let count = points.len();
                if !(1..=MAX_PRUNING_POINTS).contains(&count) {
                    refuse(
                        "points",
                        format!("must be 1 to {MAX_PRUNING_POINTS} points, not {count}"),
                    );
                    return None;
                }
                let points: Vec<_> = points.into_iter().map(|[p, share]| (p, share)).collect();
                PruningSchedule::of_points(&points)
                    .map_err(|wrong| {
                        let field = format!("points/{}/{}", wrong.point, wrong.coordinate);
                        refuse(&field, wrong.error.to_string());
                    })
                    .ok()
            }
            (_, _, Some(_)) => {
                refuse("points", "must not be given beside start, end or exponent".to_owned());
                None
            }
            (start, end, None) => {
                let detail = "must be given, or points in the place of start and end";
                if start.is_none() {
                    refuse("start", detail.to_owned());
                }
                if end.is_none() {
                    refuse("end", detail.to_owned());
                }
                None
            }
        };
        let Some(start) = self.pattern_start else { return schedule };
        let schedule = schedule?.with_pattern_start(start);
        schedule.map_err(|error| refuse("pattern_start", error.to_string())).ok()
    }
}

/// What the zeros of a family's models are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Zeros)]
pub enum ZerosView {
    /// Weights that are zero.
    Weights,
    /// Experts that a token does not pass.
    Experts,
}

impl From<&Zeros> for ZerosView {
    fn from(zeros: &Zeros) -> Self {
        if zeros.are_experts() { Self::Experts } else { Self::Weights }
    }
}

/// Mixtures of experts that can be deployed: every number of active experts of every number of experts above it. With
/// a share `f` of a dense model's parameters in what becomes experts, total over active parameters are
/// `(1 - f + f E) / (1 - f + f k)`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Experts)]
pub struct ExpertsView {
    /// Numbers of experts, `E`; each between 2 and 65,536.
    #[schema(example = json!([8, 16, 32, 64]), min_items = 1, max_items = 50)]
    counts: Vec<u32>,
    /// Numbers of experts that a token passes, `k`.
    #[schema(example = json!([1, 2]), min_items = 1, max_items = 50)]
    active: Vec<u32>,
    /// Share of a dense model's parameters that every token passes, `1 - f`: attention and embeddings. At least 0
    /// and below 1.
    #[schema(example = 0.33, minimum = 0, exclusive_maximum = 1)]
    shared_share: f64,
}

impl From<&ExpertGrid> for ExpertsView {
    fn from(grid: &ExpertGrid) -> Self {
        Self {
            counts: grid.counts().to_vec(),
            active: grid.active().to_vec(),
            shared_share: grid.shared_share(),
        }
    }
}

impl ExpertsView {
    /// The checked grid; errors are noted below `experts`.
    pub fn check(&self, checks: &mut Checks) -> Option<ExpertGrid> {
        /// The most numbers of a list.
        const MOST: usize = 50;
        for (field, values) in [("counts", &self.counts), ("active", &self.active)] {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if !(1..=MOST).contains(&values.len()) {
                let detail = format!("must be 1 to {MOST} numbers, not {}", values.len());
                checks.refuse(&format!("experts/{field}"), detail);
                return None;
            }
            if sorted.len() < values.len() {
                checks.refuse(&format!("experts/{field}"), "must not have a number twice");
                return None;
            }
        }
        let grid = ExpertGrid::new(&self.counts, &self.active, self.shared_share);
        let grid = grid.map_err(|(field, error)| {
            checks.refuse(&format!("experts/{field}"), error.to_string());
        });
        let grid = grid.ok()?;
        if grid.choices().is_empty() {
            checks.refuse("experts/active", "must have a number below one of the counts");
            return None;
        }
        Some(grid)
    }
}

/// A mixture of experts of an answer.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ExpertChoice)]
pub struct ExpertChoiceView {
    /// Number of experts.
    #[schema(example = 64)]
    count: u32,
    /// Number of experts that a token passes.
    #[schema(example = 2)]
    active: u32,
}

impl From<&ExpertChoice> for ExpertChoiceView {
    fn from(choice: &ExpertChoice) -> Self {
        Self { count: choice.count(), active: choice.active() }
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
    pub delta: DeltaView,
}

/// A Huber parameter: a number, or `auto` for 1.345 robust standard deviations of the residuals, found within the fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeltaView(pub Delta);

impl PartialSchema for DeltaView {
    fn schema() -> RefOr<Schema> {
        let auto = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["auto"]));
        let number =
            ObjectBuilder::new().schema_type(Type::Number).minimum(Some(1e-9)).maximum(Some(1e6));
        let description = "A Huber parameter: a number, or `auto` for 1.345 robust standard deviations of the \
                           residuals, found within the fit.";
        let either = OneOfBuilder::new().item(auto).item(number).description(Some(description));
        either.examples([serde_json::json!("auto")]).into()
    }
}

impl ToSchema for DeltaView {
    fn name() -> Cow<'static, str> {
        "Delta".into()
    }
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

impl From<Residual> for ResidualView {
    fn from(residual: Residual) -> Self {
        match residual {
            Residual::Log => Self::Log,
            Residual::Linear => Self::Linear,
        }
    }
}

impl ObjectiveView {
    /// From a residual and its delta.
    #[must_use]
    pub fn new(residual: Residual, delta: Delta) -> Self {
        Self { residual: residual.into(), delta: DeltaView(delta) }
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

/// A condition on the coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Constraint)]
pub enum ConstraintView {
    /// `s0 = a_s b_s / (b_n (a_s + c_s)) <= 1`: no slightly sparse model beats a dense one of the
    /// same total size.
    Physical,
}

impl From<ConstraintView> for Constraint {
    fn from(constraint: ConstraintView) -> Self {
        match constraint {
            ConstraintView::Physical => Self::Physical,
        }
    }
}

impl From<Constraint> for ConstraintView {
    fn from(constraint: Constraint) -> Self {
        match constraint {
            Constraint::Physical => Self::Physical,
        }
    }
}

/// Runs that are left out in turn, fitted without, and then predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Holdout)]
pub enum HoldoutView {
    /// The runs with the most non-zero parameters.
    NonzeroParams,
    /// The runs with the most data.
    Data,
    /// The sparsest runs.
    Sparsity,
    /// Each size in turn, predicted from all smaller ones.
    Rolling,
}

impl From<HoldoutView> for Holdout {
    fn from(holdout: HoldoutView) -> Self {
        match holdout {
            HoldoutView::NonzeroParams => Self::NonzeroParams,
            HoldoutView::Data => Self::Data,
            HoldoutView::Sparsity => Self::Sparsity,
            HoldoutView::Rolling => Self::Rolling,
        }
    }
}

impl From<Holdout> for HoldoutView {
    fn from(holdout: Holdout) -> Self {
        match holdout {
            Holdout::NonzeroParams => Self::NonzeroParams,
            Holdout::Data => Self::Data,
            Holdout::Sparsity => Self::Sparsity,
            Holdout::Rolling => Self::Rolling,
        }
    }
}

/// What runs with one tag count, relative to runs without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TagWeight)]
pub struct TagWeightView {
    /// Key of the tag.
    #[schema(example = "quality", min_length = 1, max_length = 200)]
    tag: String,
    /// Its value.
    #[schema(example = "poor", min_length = 1, max_length = 200)]
    value: String,
    /// The weight; 0 leaves the runs out.
    #[schema(example = 0.5, minimum = 0, maximum = 1000)]
    weight: f64,
}

impl From<TagWeight> for TagWeightView {
    fn from(TagWeight { tag, value, weight }: TagWeight) -> Self {
        Self { tag, value, weight }
    }
}

/// The most weights of one fit.
const MAX_WEIGHTS: usize = 50;

/// Checks weights by tag; errors are noted below `weights`.
pub fn check_weights(weights: Vec<TagWeightView>, checks: &mut Checks) -> Vec<TagWeight> {
    if weights.len() > MAX_WEIGHTS {
        checks.refuse("weights", format!("must be at most {MAX_WEIGHTS}, not {}", weights.len()));
    }
    for (i, entry) in weights.iter().enumerate() {
        checks.take(&format!("weights/{i}/tag"), check_label(&entry.tag));
        checks.take(&format!("weights/{i}/value"), check_label(&entry.value));
        if !(0.0..=1000.0).contains(&entry.weight) {
            let detail = format!("must be between 0 and 1000, not {}", entry.weight);
            checks.refuse(&format!("weights/{i}/weight"), detail);
        }
    }
    let checked = weights.into_iter();
    checked.map(|TagWeightView { tag, value, weight }| TagWeight { tag, value, weight }).collect()
}

/// Coefficients that a fit holds, in raw units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FixedCoefficients)]
pub struct FixedView {
    /// `a_s`, between 1e-100 and 1e100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1e-100, maximum = 1e100)]
    a_s: Option<f64>,
    /// `b_s`, between 0.001 and 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.001, maximum = 20)]
    b_s: Option<f64>,
    /// `c_s`, between 1e-100 and 1e100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1e-100, maximum = 1e100)]
    c_s: Option<f64>,
    /// `b_n`, between 0.001 and 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.001, maximum = 20)]
    b_n: Option<f64>,
    /// `a_d`, between 1e-100 and 1e100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1e-100, maximum = 1e100)]
    a_d: Option<f64>,
    /// `b_d`, between 0.001 and 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.001, maximum = 20)]
    b_d: Option<f64>,
    /// The irreducible loss `c`, between 1e-100 and 1e100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.65, minimum = 1e-100, maximum = 1e100)]
    c: Option<f64>,
}

impl FixedView {
    /// Those that are given, by name.
    pub fn named(self) -> impl Iterator<Item = (CoefficientName, f64)> {
        let values = [self.a_s, self.b_s, self.c_s, self.b_n, self.a_d, self.b_d, self.c];
        CoefficientName::ALL
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((name, value?)))
    }

    fn of(config: &FitConfig) -> Self {
        let value = |name| config.fixed.get(&name).copied();
        Self {
            a_s: value(CoefficientName::AS),
            b_s: value(CoefficientName::BS),
            c_s: value(CoefficientName::CS),
            b_n: value(CoefficientName::BN),
            a_d: value(CoefficientName::AD),
            b_d: value(CoefficientName::BD),
            c: value(CoefficientName::C),
        }
    }
}

/// Options of a fit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = FitOptions)]
pub struct FitOptionsView {
    /// Number of random starts.
    #[schema(example = 16)]
    starts: u32,
    /// Seed of starts and resamples.
    #[schema(example = 0)]
    seed: u64,
    /// What is minimised.
    objective: ObjectiveView,
    /// The delta that was used, in units of the residual; null for a law that was fitted with a number and did not
    /// note it.
    #[schema(example = 0.0067)]
    delta: Option<f64>,
    /// Number of bootstrap resamples; 0 for none.
    #[schema(example = 1000)]
    bootstrap: u32,
    /// Nominal coverage of the intervals.
    #[schema(example = 0.95)]
    confidence: f64,
    /// Coefficients that were held.
    fixed: FixedView,
    /// The condition that was kept.
    constraint: Option<ConstraintView>,
    /// Which runs were left out in turn.
    holdout: Vec<HoldoutView>,
    /// What runs counted by tag.
    weights: Vec<TagWeightView>,
    /// `external_id`s of the runs that were left out to see what they do.
    #[schema(example = json!([]))]
    without: Vec<String>,
    /// Key of the tag by which runs were resampled together; null where each was drawn by itself.
    #[schema(example = json!(null))]
    cluster: Option<String>,
    /// What the law is to say of sparsity.
    form: LawFormView,
    /// Which forms are fitted beside it.
    forms: Option<FormsView>,
    /// Whose gain it borrows.
    gain: Option<BorrowView>,
}

impl FitOptionsView {
    /// Of the options of a fit, and the delta that it used, once it has.
    #[must_use]
    pub fn new(options: RefitOptions, delta: Option<f64>) -> Self {
        let config = options.fit;
        let delta = delta.or(config.delta.fixed());
        Self {
            starts: config.starts,
            seed: config.seed,
            objective: ObjectiveView::new(config.residual, config.delta),
            delta,
            bootstrap: config.bootstrap,
            confidence: config.confidence,
            fixed: FixedView::of(&config),
            constraint: config.constraint.map(ConstraintView::from),
            holdout: config.holdout.into_iter().map(HoldoutView::from).collect(),
            weights: options.weights.into_iter().map(TagWeightView::from).collect(),
            without: options.without,
            cluster: options.cluster,
            form: options.form.unwrap_or(LawForm::Sparse).into(),
            forms: options.all_forms.then_some(FormsView::All),
            gain: options
                .lender
                .map(|lender| BorrowView { borrow: lender.family, version: Some(lender.version) }),
        }
    }
}

/// Checks a configuration; errors are noted under the fields that they are about.
pub fn check_fit_config(config: FitConfig, checks: &mut Checks) -> Option<ValidFitConfig> {
    config
        .check()
        .map_err(|errors| {
            for error in errors {
                checks.refuse(&error.field(), error.to_string());
            }
        })
        .ok()
}

/// Something to know before trusting an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Warning)]
struct WarningParts<'a> {
    /// Stable code.
    #[schema(example = "interpolated")]
    code: &'a str,
    /// A sentence.
    #[schema(example = "no run has a sparsity between 0.5 and 0.75")]
    detail: &'a str,
}

/// Something to know before trusting an answer.
#[derive(Debug, Clone)]
pub struct WarningView {
    /// Stable code.
    pub code: String,
    json: Box<RawValue>,
}

impl WarningView {
    /// A warning: its stable code and a sentence.
    pub fn new(code: &str, detail: impl AsRef<str>) -> Self {
        let json = rendered(&WarningParts { code, detail: detail.as_ref() });
        Self { code: code.to_owned(), json }
    }

    /// The same with what it is about before its sentence.
    #[must_use]
    pub fn about(&self, what: &str) -> Self {
        #[derive(Deserialize)]
        struct Said {
            detail: String,
        }
        let said = serde_json::from_str::<Said>(self.json.get());
        let detail = said.map(|said| said.detail).unwrap_or_default();
        Self::new(&self.code, format!("{what}: {detail}"))
    }
}

impl From<&StoredWarning> for WarningView {
    fn from(warning: &StoredWarning) -> Self {
        Self::new(&warning.code, &warning.detail)
    }
}

impl Serialize for WarningView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl PartialSchema for WarningView {
    fn schema() -> RefOr<Schema> {
        WarningParts::schema()
    }
}

impl ToSchema for WarningView {
    fn name() -> Cow<'static, str> {
        WarningParts::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        WarningParts::schemas(schemas);
    }
}

/// How far an answer can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TrustLevel)]
pub enum TrustLevelView {
    /// Nothing that is looked at speaks against it.
    Good,
    /// It may be farther off than its interval says, or is hardly determined.
    Weak,
    /// Not to be acted on.
    None,
}

impl TrustLevelView {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Weak => "weak",
            Self::None => "none",
        }
    }
}

impl From<TrustLevel> for TrustLevelView {
    fn from(level: TrustLevel) -> Self {
        match level {
            TrustLevel::Good => Self::Good,
            TrustLevel::Weak => Self::Weak,
            TrustLevel::None => Self::None,
        }
    }
}

/// How far an answer can be trusted, in one word, and why: see `docs/trust.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Trust)]
pub struct TrustView {
    /// The word.
    #[schema(example = "weak")]
    pub level: TrustLevelView,
    /// Codes of what speaks against it; empty where the level is `good`.
    #[schema(example = json!(["not_checked"]))]
    pub because: Vec<&'static str>,
}

impl TrustView {
    /// Of two answers that one rests on: as far as the weaker of them, for the reasons of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        let rank = |level: TrustLevelView| match level {
            TrustLevelView::Good => 0,
            TrustLevelView::Weak => 1,
            TrustLevelView::None => 2,
        };
        if rank(other.level) > rank(self.level) {
            self.level = other.level;
        }
        for code in other.because {
            if !self.because.contains(&code) {
                self.because.push(code);
            }
        }
        self
    }

    /// Makes a good answer weak, and says why.
    pub fn doubt(&mut self, code: TrustCode) {
        if self.level == TrustLevelView::Good {
            self.level = TrustLevelView::Weak;
        }
        if !self.because.contains(&code.as_str()) {
            self.because.push(code.as_str());
        }
    }
}

impl From<Trust> for TrustView {
    fn from(trust: Trust) -> Self {
        Self {
            level: trust.level.into(),
            because: trust.because.into_iter().map(TrustCode::as_str).collect(),
        }
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

impl From<Interval> for IntervalView {
    fn from(Interval { level, low, high }: Interval) -> Self {
        Self { level, low, high }
    }
}

/// A field that is left out where the caller does not want intervals, and null where the law has
/// none.
pub(crate) type MaybeInterval = Option<Option<IntervalView>>;

/// A number that was estimated.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Estimate)]
pub struct EstimateView {
    /// The number.
    value: f64,
    /// Its interval; null where the law has none.
    interval: Option<IntervalView>,
}

impl From<Estimate> for EstimateView {
    fn from(estimate: Estimate) -> Self {
        Self { value: estimate.value, interval: estimate.interval.map(IntervalView::from) }
    }
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

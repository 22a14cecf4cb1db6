//! JSON shapes that several resources share.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use sparsity_law::fit::Estimate;
use sparsity_law::law::{
    CoefficientName, CoefficientValues, Coefficients, Extrapolation, Identification, Interval,
    LawForm, Range, Side, SparsityLevel,
};
use sparsity_law::named;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::domain::law::{Law, StoredWarning};
use crate::domain::law_origin::LawSource;
use crate::domain::trust::{Trust, TrustCode, TrustLevel};

/// Renders JSON once, for parts of answers that are the same every time.
fn rendered(value: &impl Serialize) -> Box<RawValue> {
    // Serialising strings and numbers cannot fail.
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
    /// Whether the law was fitted here or published elsewhere.
    pub source: LawSourceView,
    /// When the law was fitted or published.
    pub fitted_at: DateTime<Utc>,
    /// Digest of the runs that the law was fitted on; null for a published law.
    pub data_digest: Option<String>,
}

/// A reference to a law as answers contain it, rendered once.
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
            source: law.content.origin.source().into(),
            fitted_at: law.content.fitted_at,
            data_digest: law.content.origin.data_digest().map(str::to_owned),
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
    /// Coefficients imported from a publication.
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

/// The form of a law: how it models sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LawForm)]
pub enum LawFormView {
    /// `(a_s (1-S)^b_s + c_s) N^(-b_n)`, as in the paper.
    Sparse,
    /// No effect of sparsity, unless a gain is borrowed.
    Dense,
    /// One capacity for each sparsity of the runs; nothing is said about sparsities in between.
    Levels,
    /// Based on the mean number of parameters over training.
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

/// The law whose gain is borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Borrow)]
pub struct BorrowView {
    /// Name of the lending family; its own runs must determine the effect of sparsity.
    #[schema(example = "t5-c4")]
    pub borrow: String,
    /// Version of its law; by default the one that answers now.
    #[schema(example = 1)]
    pub version: Option<i32>,
}

/// Which forms are fitted besides the law's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Forms)]
pub enum FormsView {
    /// Every form that the runs can determine.
    All,
}

/// Coefficients of `L(S, N, D) = (a_s (1-S)^b_s + c_s) N^(-b_n) + (a_d / D)^b_d + c`, in raw units.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Coefficients)]
pub struct CoefficientsView {
    /// Factor of the density: the part of the capacity that vanishes as `S -> 1`.
    #[schema(example = 16.787050107077444)]
    pub a_s: f64,
    /// Exponent of the density.
    #[schema(example = 0.72161276)]
    pub b_s: f64,
    /// Part of the capacity that is left as `S -> 1`.
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

/// Coefficients of a law, in raw units. A coefficient that the runs do not tell apart from others is null: if a
/// quantity never varies over the runs, `c_s` or `c` holds the sum; if it has too few distinct values,
/// `diagnostics.identification` of the law says what is missing.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = LawCoefficients)]
pub struct LawCoefficientsView {
    /// Factor of the density: the part of the capacity that vanishes as `S -> 1`; null if all runs have the same
    /// sparsity. If all runs have the same size, its part of the loss at that size.
    #[schema(example = 16.787050107077444)]
    a_s: Option<f64>,
    /// Exponent of the density; null if all runs have the same sparsity.
    #[schema(example = 0.72161276)]
    b_s: Option<f64>,
    /// Part of the capacity that is left as `S -> 1`, or the capacity of all runs if they have the same sparsity; null
    /// if all runs have the same size.
    #[schema(example = 45.01844735112024)]
    c_s: Option<f64>,
    /// Exponent of the non-zero parameters; null if all runs have the same size.
    #[schema(example = 0.24513173)]
    b_n: Option<f64>,
    /// Scale of the data, in the data unit; null if all runs have the same amount of data.
    #[schema(example = 689991261.9177524)]
    a_d: Option<f64>,
    /// Exponent of the data; null if all runs have the same amount of data.
    #[schema(example = 0.20270772)]
    b_d: Option<f64>,
    /// Irreducible loss, including the terms that the runs do not tell apart from it.
    #[schema(example = 0.65074219)]
    c: Option<f64>,
}

impl LawCoefficientsView {
    /// The coefficients that the runs determine; all of them if that is not known.
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

/// Something to know before trusting an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Warning)]
struct WarningParts<'a> {
    /// Stable code of the warning.
    #[schema(example = "interpolated")]
    code: &'a str,
    /// The warning as a sentence.
    #[schema(example = "no run has a sparsity between 0.5 and 0.75")]
    detail: &'a str,
    /// Whether it concerns this answer, or is a standing remark on the law that comes with all of its answers.
    of: WarningOf,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningOf {
    /// This answer only.
    Answer,
    /// The law, and so all of its answers.
    Law,
}

/// Something to know before trusting an answer.
#[derive(Debug, Clone)]
pub struct WarningView {
    /// Stable code.
    pub code: String,
    json: Box<RawValue>,
}

impl WarningView {
    /// A warning about one answer: its stable code and a sentence.
    pub fn new(code: &str, detail: impl AsRef<str>) -> Self {
        Self::with(code, detail.as_ref(), WarningOf::Answer)
    }

    /// A standing remark on a law: its stable code and a sentence.
    pub fn of_law(code: &str, detail: impl AsRef<str>) -> Self {
        Self::with(code, detail.as_ref(), WarningOf::Law)
    }

    fn with(code: &str, detail: &str, of: WarningOf) -> Self {
        let json = rendered(&WarningParts { code, detail, of });
        Self { code: code.to_owned(), json }
    }

    /// The same warning, with what it is about put before its sentence.
    #[must_use]
    pub fn about(&self, what: &str) -> Self {
        #[derive(Deserialize)]
        struct Said {
            detail: String,
            of: WarningOf,
        }
        match serde_json::from_str::<Said>(self.json.get()) {
            Ok(Said { detail, of }) => Self::with(&self.code, &format!("{what}: {detail}"), of),
            // Cannot happen: the JSON was written by `with`.
            Err(_) => self.clone(),
        }
    }
}

impl From<&StoredWarning> for WarningView {
    fn from(warning: &StoredWarning) -> Self {
        Self::of_law(&warning.code, &warning.detail)
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

named! {
    /// How far an answer can be trusted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    #[schema(as = TrustLevel)]
    pub enum TrustLevelView {
        /// No check speaks against the answer.
        Good = "good",
        /// The answer may be farther off than its interval says, or is barely determined.
        Weak = "weak",
        /// The answer should not be acted on.
        None = "none",
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
    /// How far the answer can be trusted, in one word.
    #[schema(example = "weak")]
    pub level: TrustLevelView,
    /// Codes of the reasons against trusting it; empty if the level is `good`.
    #[schema(example = json!(["not_checked"]))]
    pub because: Vec<&'static str>,
}

impl TrustView {
    /// Combines the trust in two answers that a third one rests on: the lower level, with the reasons of both.
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

    /// Adds a reason for doubt, which makes a good answer weak.
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

/// A quantity that lies outside the range of the runs behind the law.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Extrapolation)]
pub struct ExtrapolationView {
    /// `nonzero_params`, `sparsity`, `data` or `compute`.
    #[schema(example = "nonzero_params")]
    pub variable: &'static str,
    /// By which factor the limit is exceeded, at least 1; for a sparsity, the ratio of the densities.
    #[schema(example = 11.77)]
    pub factor: f64,
    /// The end of the runs' range that is exceeded.
    #[schema(example = 84_934_656.0)]
    pub limit: f64,
    /// Whether the question lies above or below the runs.
    pub side: SideView,
}

/// The side of the runs' range on which a question lies.
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

/// An interval with its nominal coverage.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Interval)]
pub struct IntervalView {
    /// Nominal coverage, between 0 and 1.
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

/// A field that is absent if the caller wants no intervals, and null if the law has none.
pub(crate) type MaybeInterval = Option<Option<IntervalView>>;

/// An estimated number.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Estimate)]
pub struct EstimateView {
    /// The number.
    value: f64,
    /// Interval of the number; null if the law has none.
    interval: Option<IntervalView>,
}

impl From<Estimate> for EstimateView {
    fn from(estimate: Estimate) -> Self {
        Self { value: estimate.value, interval: estimate.interval.map(IntervalView::from) }
    }
}

/// A range of values.
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

/// The range that the runs at one level of sparsity cover.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = SparsityLevel)]
pub struct SparsityLevelView {
    /// The sparsity, rounded to three decimals.
    pub sparsity: f64,
    /// Number of runs.
    pub runs: u32,
    /// Range of the runs' non-zero parameters.
    pub nonzero_params: RangeView,
    /// Range of the runs' data.
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

/// Deserialises a field that may be null, keeping null and absence apart.
pub fn nullable<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

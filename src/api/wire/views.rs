//! Shapes that several resources share.

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
    /// Whether it is about this answer, or a standing remark on the law that comes with all of its answers.
    of: WarningOf,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningOf {
    /// This answer.
    Answer,
    /// The law, whatever it is asked.
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

    /// The same with what it is about before its sentence.
    #[must_use]
    pub fn about(&self, what: &str) -> Self {
        #[derive(Deserialize)]
        struct Said {
            detail: String,
            of: WarningOf,
        }
        match serde_json::from_str::<Said>(self.json.get()) {
            Ok(Said { detail, of }) => Self::with(&self.code, &format!("{what}: {detail}"), of),
            // It was written by `with`.
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
        /// Nothing that is looked at speaks against it.
        Good = "good",
        /// It may be farther off than its interval says, or is hardly determined.
        Weak = "weak",
        /// Not to be acted on.
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

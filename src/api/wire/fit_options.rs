//! The options of a fit, as requests give them and answers show them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sparsity_law::fit::{Constraint, Delta, FitConfig, Holdout, Residual, ValidFitConfig};
use sparsity_law::law::{CoefficientName, LawForm};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::wire::views::{BorrowView, FormsView, LawFormView};
use crate::domain::checks::Checks;
use crate::domain::refit::{RefitOptions, TagWeight};
use crate::domain::text::check_label;

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
    /// `s0 = a_s b_s / (b_n (a_s + c_s)) <= 1`: no slightly sparse model beats a dense one of the same total size.
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

/// Runs that are held out: fitted without, and then predicted.
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

/// Weight of the runs with a certain tag, relative to runs without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TagWeight)]
pub struct TagWeightView {
    /// Key of the tag.
    #[schema(example = "quality", min_length = 1, max_length = 200)]
    tag: String,
    /// Value of the tag.
    #[schema(example = "poor", min_length = 1, max_length = 200)]
    value: String,
    /// Weight of these runs; 0 leaves them out.
    #[schema(example = 0.5, minimum = 0, maximum = 1000)]
    weight: f64,
}

impl From<TagWeight> for TagWeightView {
    fn from(TagWeight { tag, value, weight }: TagWeight) -> Self {
        Self { tag, value, weight }
    }
}

/// Most tag weights of one fit.
const MAX_WEIGHTS: usize = 50;

/// Checks tag weights; errors are recorded below `weights`.
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

/// Coefficients that a fit holds fixed, in raw units.
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
    /// The coefficients that are given, with their names.
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
    /// Seed of the random starts and resamples.
    #[schema(example = 0)]
    seed: u64,
    /// What the fit minimises.
    objective: ObjectiveView,
    /// The delta that was used, in units of the residual; null for a law whose fit did not record it.
    #[schema(example = 0.0067)]
    delta: Option<f64>,
    /// Number of bootstrap resamples; 0 for none.
    #[schema(example = 1000)]
    bootstrap: u32,
    /// Nominal coverage of the intervals.
    #[schema(example = 0.95)]
    confidence: f64,
    /// Coefficients that were held fixed.
    fixed: FixedView,
    /// The condition that was imposed on the coefficients.
    constraint: Option<ConstraintView>,
    /// Which runs were held out in turn.
    holdout: Vec<HoldoutView>,
    /// Weights of runs by tag.
    weights: Vec<TagWeightView>,
    /// `external_id`s of the runs that were left out to see their effect.
    #[schema(example = json!([]))]
    without: Vec<String>,
    /// Key of the tag by which runs were resampled together; null if each run was resampled on its own.
    #[schema(example = json!(null))]
    cluster: Option<String>,
    /// The form of the law: how it models sparsity.
    form: LawFormView,
    /// What tells runs of the same sparsity apart in a law of levels: `pattern`, or `tag:` followed by the key of a
    /// tag; null if nothing does.
    #[schema(example = json!(null))]
    levels: Option<String>,
    /// Which forms are fitted besides the law's own.
    forms: Option<FormsView>,
    /// The law whose gain is borrowed.
    gain: Option<BorrowView>,
}

impl FitOptionsView {
    /// From the options of a fit, and the delta that it used, if it has run.
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
            levels: options.levels.map(String::from),
            forms: options.all_forms.then_some(FormsView::All),
            gain: options
                .lender
                .map(|lender| BorrowView { borrow: lender.family, version: Some(lender.version) }),
        }
    }
}

/// Checks a configuration; errors are recorded under the fields concerned.
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

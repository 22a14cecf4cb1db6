//! What runs are suggested for: the answer to narrow, and which runs may be made.

use serde::Deserialize;
use sparsity_law::fit::{RunGrid, Target};
use sparsity_law::law::{
    CoefficientName, Compute, Data, Density, FormCoefficient, FormLaw, LevelCapacity,
    NonzeroParams, SampledForm, Sparsity,
};
use utoipa::ToSchema;

use crate::api::questions::budget::Budget;
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::wire::problem::ApiError;
use crate::api::wire::values::{Spacing, ValuesBody, check_list};
use crate::domain::checks::{Checks, FieldError};

/// The most runs that one answer suggests.
const MAX_RUNS: u32 = 20;
/// The most values of one quantity in the grid.
const MAX_VALUES: usize = 1000;
/// The most values that a range in the grid may have, and their spacing.
const EVEN: (usize, Spacing) = (MAX_VALUES, Spacing::Logarithmic);

/// The answer to narrow, and the runs that may be made for it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuggestionRequest, example = json!({
    "target": {"optimal_sparsity": {"nonzero_params": 5e7, "compute": 1e20, "flop_mode": "sparse"}},
    "compute": 1e20, "runs": 3
}))]
pub struct SuggestionRequest {
    /// The answer whose interval is to be narrowed.
    pub(super) target: TargetBody,
    /// FLOPs for all suggested runs together, between 1 and 1e40.
    #[schema(example = 1e20, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step of the suggested runs costs: `dense`, `sparse`, or the name of a hardware profile.
    #[serde(default = "SuggestionRequest::default_mode")]
    #[schema(default = "dense")]
    pub(super) flop_mode: String,
    /// Values that the suggested runs may have. For a quantity that is left out these are the levels of the law's runs
    /// (12 of them, from the smallest to the largest, where there are more) and one step beyond each end, but no
    /// sparsity below 0. At most 20,000 runs in all.
    #[serde(default)]
    grid: GridBody,
    /// The most runs to suggest.
    #[serde(default = "SuggestionRequest::default_runs")]
    #[schema(default = 1, minimum = 1, maximum = 20)]
    pub(super) runs: u32,
    /// Version of the law to ask; the active one by default.
    pub(super) law_version: Option<i32>,
}

/// The answer whose interval is to be narrowed. Give exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "TargetFields")]
#[schema(as = SuggestionTarget)]
pub enum TargetBody {
    /// A coefficient of the law.
    Coefficient(CoefficientBody),
    /// The best sparsity for a training budget.
    OptimalSparsity(OptimumBody),
    /// The loss of a model.
    Prediction(PredictionBody),
    /// A coefficient of a law of the form `levels` or `experts`, as listed in its `own_coefficients`.
    OwnCoefficient(OwnCoefficientBody),
}

/// A target as it is sent: a struct, because serde reports a second key of an enum as broken JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFields {
    coefficient: Option<CoefficientBody>,
    own_coefficient: Option<OwnCoefficientBody>,
    optimal_sparsity: Option<OptimumBody>,
    prediction: Option<PredictionBody>,
}

impl TryFrom<TargetFields> for TargetBody {
    type Error = &'static str;

    fn try_from(fields: TargetFields) -> Result<Self, Self::Error> {
        let TargetFields { coefficient, own_coefficient, optimal_sparsity, prediction } = fields;
        match (coefficient, own_coefficient, optimal_sparsity, prediction) {
            (Some(name), None, None, None) => Ok(Self::Coefficient(name)),
            (None, Some(body), None, None) => Ok(Self::OwnCoefficient(body)),
            (None, None, Some(body), None) => Ok(Self::OptimalSparsity(body)),
            (None, None, None, Some(body)) => Ok(Self::Prediction(body)),
            _ => Err(
                "must have one of coefficient, own_coefficient, optimal_sparsity and prediction",
            ),
        }
    }
}

/// A coefficient of the law.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CoefficientName)]
pub enum CoefficientBody {
    /// Capacity that sparsity costs.
    AS,
    /// Exponent of the density.
    BS,
    /// Capacity that is left as `S -> 1`.
    CS,
    /// Exponent of the non-zero parameters.
    BN,
    /// Scale of the data.
    AD,
    /// Exponent of the data.
    BD,
    /// Irreducible loss.
    C,
}

impl From<CoefficientBody> for CoefficientName {
    fn from(name: CoefficientBody) -> Self {
        match name {
            CoefficientBody::AS => Self::AS,
            CoefficientBody::BS => Self::BS,
            CoefficientBody::CS => Self::CS,
            CoefficientBody::BN => Self::BN,
            CoefficientBody::AD => Self::AD,
            CoefficientBody::BD => Self::BD,
            CoefficientBody::C => Self::C,
        }
    }
}

/// A coefficient of a law of the form `levels` or `experts`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnCoefficientTarget)]
pub struct OwnCoefficientBody {
    /// Name of the coefficient in the formula of the form.
    #[schema(example = "b_n")]
    name: String,
    /// The sparsity that the coefficient `a` of `levels` applies to.
    #[schema(example = 0.5)]
    sparsity: Option<f64>,
    /// The name of the level that the coefficient applies to, if the level has one.
    #[schema(example = "2:4")]
    level: Option<String>,
}

/// The question for the best sparsity of a budget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OptimalSparsityTarget)]
pub struct OptimumBody {
    /// Non-zero parameters at the end of training.
    #[schema(example = 5e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs.
    #[schema(example = 1e20, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
}

/// The question for the loss of a model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PredictionTarget)]
pub struct PredictionBody {
    /// Non-zero parameters at the end of training.
    #[schema(example = 1e8, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Fraction of zeros at the end of training.
    #[schema(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// Data seen in training, in the family's data unit.
    #[schema(example = 1e11, minimum = 1e-6, maximum = 1e30)]
    data: f64,
    /// The level, for a law of the form `levels` that has several levels of this sparsity.
    #[schema(example = "2:4")]
    level: Option<String>,
}

/// Values that the suggested runs may have.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuggestionGrid)]
pub struct GridBody {
    /// Non-zero parameters.
    nonzero_params: Option<ValuesBody>,
    /// Sparsities, at most 1,000.
    #[schema(example = json!([0, 0.5, 0.75]), min_items = 1, max_items = 1000)]
    sparsity: Option<Vec<f64>>,
    /// Amounts of data, in the family's data unit.
    data: Option<ValuesBody>,
}

impl GridBody {
    fn check(&self, checks: &mut Checks) -> RunGrid {
        let Self { nonzero_params, sparsity, data } = self;
        RunGrid {
            nonzero_params: nonzero_params
                .as_ref()
                .and_then(|v| v.check("grid/nonzero_params", EVEN, NonzeroParams::new, checks)),
            sparsity: sparsity
                .as_ref()
                .and_then(|v| check_list(v, "grid/sparsity", MAX_VALUES, Sparsity::new, checks)),
            data: data.as_ref().and_then(|v| v.check("grid/data", EVEN, Data::new, checks)),
        }
    }
}

/// The answer to narrow, checked except for its FLOP mode: whether there is such a hardware profile is looked up later.
#[derive(Debug)]
pub(super) enum CheckedTarget<'a> {
    Coefficient(CoefficientName),
    OwnCoefficient(&'a OwnCoefficientBody),
    OptimalSparsity(NonzeroParams, Compute),
    Prediction(NonzeroParams, Density, Data, Option<&'a str>),
}

impl CheckedTarget<'_> {
    /// Converts the target to the type of the law crate; `mode` is the FLOP mode of an optimal sparsity.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a coefficient or a level that the law does not have, [`ApiError::Undetermined`] for a
    /// sparsity that it does not know.
    pub(super) fn of_law(self, law: &AskedLaw, mode: &Mode) -> Result<Target, ApiError> {
        let own = law.own.as_ref().map(SampledForm::law);
        match self {
            Self::Coefficient(name) => match own {
                None => Ok(Target::Coefficient(name)),
                Some(own) => own_place(own, name.as_str(), None, None)
                    .map(Target::OwnCoefficient)
                    .map_err(|told| ApiError::field("/target/coefficient", told)),
            },
            Self::OwnCoefficient(body) => {
                let Some(own) = own else {
                    let detail = format!(
                        "must be left out: law {} has the coefficients of the paper's form, which coefficient names",
                        law.law.version
                    );
                    return Err(ApiError::field("/target/own_coefficient", detail));
                };
                own_place(own, &body.name, body.sparsity, body.level.as_deref())
                    .map(Target::OwnCoefficient)
                    .map_err(|told| ApiError::field("/target/own_coefficient", told))
            }
            Self::OptimalSparsity(nonzero_params, compute) => {
                Ok(Target::OptimalSparsity { nonzero_params, compute, cost: mode.cost(law) })
            }
            Self::Prediction(nonzero_params, density, data, level) => {
                let level = match level {
                    Some(name) => {
                        let below = |error| below("/target/prediction", error);
                        Some(law.named_level(name, density).map_err(below)?)
                    }
                    None => {
                        law.require_level(density)?;
                        None
                    }
                };
                Ok(Target::Loss { nonzero_params, density, level, data })
            }
        }
    }
}

/// Finds the place of a coefficient among those of a law; the error lists the coefficients that there are.
fn own_place(
    law: &FormLaw,
    name: &str,
    sparsity: Option<f64>,
    level: Option<&str>,
) -> Result<usize, String> {
    let known = law.named();
    let is_meant = |coefficient: &FormCoefficient| {
        let FormCoefficient { name: own, sparsity: of, level: named, .. } = coefficient;
        *own == name && *of == sparsity && named.as_deref() == level
    };
    let place = known.iter().position(|coefficient| is_meant(coefficient) && law.has(coefficient));
    place.ok_or_else(|| {
        let told = |coefficient: &FormCoefficient| match (coefficient.sparsity, &coefficient.level)
        {
            (Some(sparsity), Some(level)) => format!("{} ({sparsity}, {level})", coefficient.name),
            (Some(sparsity), None) => format!("{} ({sparsity})", coefficient.name),
            _ => coefficient.name.to_owned(),
        };
        let known = known.iter().filter(|coefficient| law.has(coefficient)).take(MOST_TOLD);
        let known: Vec<String> = known.map(told).collect();
        let of_levels = match law {
            FormLaw::Levels(_) => {
                "; a is named with its sparsity, and with its level where that has a name"
            }
            FormLaw::Experts(_) => "",
        };
        format!("must be one of {}{of_levels}", known.join(", "))
    })
}

/// Moves the fields of an error below a JSON pointer.
fn below(pointer: &str, error: ApiError) -> ApiError {
    match error {
        ApiError::Invalid(fields) => {
            let moved = fields.into_iter().map(|field| FieldError {
                pointer: format!("{pointer}{}", field.pointer),
                ..field
            });
            ApiError::Invalid(moved.collect())
        }
        other => other,
    }
}

/// The most coefficients or levels that an error message lists.
const MOST_TOLD: usize = 20;

impl TargetBody {
    fn check(&self) -> Result<CheckedTarget<'_>, Vec<FieldError>> {
        match self {
            Self::Coefficient(name) => Ok(CheckedTarget::Coefficient((*name).into())),
            Self::OwnCoefficient(body) => Ok(CheckedTarget::OwnCoefficient(body)),
            Self::OptimalSparsity(body) => {
                let mut checks = Checks::below("/target/optimal_sparsity");
                let (size, compute, mode) = (body.nonzero_params, body.compute, &*body.flop_mode);
                let target = Budget::check_sized(size, compute, Some(mode), &mut checks);
                checks.finish(
                    target.map(|(size, compute)| CheckedTarget::OptimalSparsity(size, compute)),
                )
            }
            Self::Prediction(body) => {
                let mut checks = Checks::below("/target/prediction");
                let size = checks.take("nonzero_params", NonzeroParams::new(body.nonzero_params));
                let sparsity = checks.take("sparsity", Sparsity::new(body.sparsity));
                let data = checks.take("data", Data::new(body.data));
                let target = size.zip(sparsity).zip(data);
                checks.finish(target.map(|((size, sparsity), data)| {
                    let level = body.level.as_deref();
                    CheckedTarget::Prediction(size, sparsity.density(), data, level)
                }))
            }
        }
    }

    /// Name of the FLOP mode of the target; `None` for targets that do not depend on one.
    pub(super) fn flop_mode(&self) -> Option<&str> {
        match self {
            Self::OptimalSparsity(body) => Some(&body.flop_mode),
            Self::Coefficient(_) | Self::OwnCoefficient(_) | Self::Prediction(_) => None,
        }
    }
}

impl SuggestionRequest {
    const fn default_runs() -> u32 {
        1
    }

    fn default_mode() -> String {
        "dense".to_owned()
    }

    pub(super) fn check(&self) -> Result<(CheckedTarget<'_>, Compute, RunGrid), ApiError> {
        let mut checks = Checks::default();
        let target = checks.absorb(self.target.check());
        let compute = Budget::check_compute(self.compute, Some(&self.flop_mode), &mut checks);
        let grid = self.grid.check(&mut checks);
        if !(1..=MAX_RUNS).contains(&self.runs) {
            checks.refuse("runs", format!("must be between 1 and {MAX_RUNS}, not {}", self.runs));
        }
        let (target, compute) = checks.finish(target.zip(compute))?;
        Ok((target, compute, grid))
    }
}

/// Refuses a grid with sparsities that a law of levels does not have.
///
/// # Errors
/// [`ApiError::Invalid`] for the first such sparsity.
pub(super) fn require_levels(law: &AskedLaw, sparsities: &[Sparsity]) -> Result<(), ApiError> {
    let Some(FormLaw::Levels(levels)) = law.own.as_ref().map(SampledForm::law) else {
        return Ok(());
    };
    let has = |sparsity: &Sparsity| {
        levels.levels.iter().any(|level| level.has_density(sparsity.density()))
    };
    let Some(place) = sparsities.iter().position(|sparsity| !has(sparsity)) else { return Ok(()) };
    let told: Vec<String> = levels.levels.iter().take(MOST_TOLD).map(LevelCapacity::told).collect();
    let detail = format!(
        "must be a level of law {}, of the form levels, which says nothing of runs at other sparsities: {}",
        law.law.version,
        told.join(", ")
    );
    Err(ApiError::field(format!("/grid/sparsity/{place}"), detail))
}

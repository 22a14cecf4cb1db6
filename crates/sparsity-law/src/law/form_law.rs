//! Laws of forms that have coefficients of their own, and their predictions for one model.
//!
//! The terms for data and irreducible loss are those of the paper's form, so they can also be expressed as
//! [`Coefficients`] ([`FormLaw::coefficients`]); the other terms have no place among the seven coefficients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::coefficients::{CoefficientValues, Coefficients};
use super::cost::TrainingCost;
use super::expert_law::ExpertCoefficients;
use super::form::LawForm;
use super::level_law::{LevelCapacity, LevelLaw};
use super::quantity::{Compute, Data, Density, NonzeroParams, Sparsity};
use super::rival::RivalLaw;

/// A law of a form that the seven coefficients cannot express.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormLaw {
    /// One capacity for each sparsity, and nothing between the sparsities.
    Levels(LevelLaw),
    /// Mixtures of experts.
    Experts(ExpertCoefficients),
}

/// One coefficient of such a law.
#[derive(Debug, Clone, PartialEq)]
pub struct FormCoefficient {
    /// Name of the coefficient in formulas.
    pub name: &'static str,
    /// Sparsity of the level that the coefficient belongs to; `None` where it belongs to all.
    pub sparsity: Option<f64>,
    /// Name of the level that the coefficient belongs to; `None` where the level has no name, and where the coefficient
    /// belongs to all levels.
    pub level: Option<String>,
    /// Value of the coefficient, in raw units.
    pub value: f64,
}

/// An unchecked coefficient from outside, in the shape of a [`FormCoefficient`].
#[derive(Debug, Clone, PartialEq)]
pub struct GivenCoefficient {
    /// Name of the coefficient in formulas.
    pub name: String,
    /// Sparsity of the level that the coefficient belongs to.
    pub sparsity: Option<f64>,
    /// Name of the level that the coefficient belongs to.
    pub level: Option<String>,
    /// Value of the coefficient, in raw units.
    pub value: f64,
}

/// The reason why given coefficients do not form a law.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NoSuchForm {
    /// Index of the wrong coefficient; `None` where one is missing.
    pub place: Option<usize>,
    /// The wrong field of that coefficient.
    pub field: &'static str,
    /// Description of the error.
    pub detail: String,
}

/// Range of a positive coefficient, the same as for the seven coefficients.
const RANGE: std::ops::RangeInclusive<f64> = 1e-300..=1e300;

impl FormLaw {
    /// The form of the law.
    #[must_use]
    pub const fn form(&self) -> LawForm {
        match self {
            Self::Levels(_) => LawForm::Levels,
            Self::Experts(_) => LawForm::Experts,
        }
    }

    /// The part of the law that the seven coefficients can express, as a reduced law: the terms of data and irreducible
    /// loss and, for levels, the capacity of the densest level. It does not describe sparsity; for experts it does not
    /// describe size either.
    #[must_use]
    pub fn coefficients(&self) -> Coefficients {
        let values = match self {
            Self::Levels(LevelLaw { levels, b_n, a_d, b_d, c }) => CoefficientValues {
                a_s: 0.0,
                b_s: 1.0,
                // There is always at least one level.
                c_s: levels.first().map_or(1.0, |level| level.a),
                b_n: *b_n,
                a_d: *a_d,
                b_d: *b_d,
                c: *c,
            },
            Self::Experts(ExpertCoefficients { e, b, beta, .. }) => {
                let a_d = if *b == 0.0 { 0.0 } else { b.powf(1.0 / beta) };
                let known = a_d == 0.0 || RANGE.contains(&a_d);
                CoefficientValues {
                    a_s: 0.0,
                    b_s: 1.0,
                    c_s: 0.0,
                    b_n: 0.0,
                    a_d: if known { a_d } else { 0.0 },
                    b_d: if known { *beta } else { 1.0 },
                    c: *e,
                }
            }
        };
        Coefficients::known(values)
    }

    /// The coefficients, in an order that depends only on the form and its levels.
    #[must_use]
    pub fn named(&self) -> Vec<FormCoefficient> {
        let plain = |(name, value)| FormCoefficient { name, sparsity: None, level: None, value };
        match self {
            Self::Levels(LevelLaw { levels, b_n, a_d, b_d, c }) => {
                let capacity = |level: &LevelCapacity| FormCoefficient {
                    name: "a",
                    sparsity: Some(level.sparsity),
                    level: level.name.clone(),
                    value: level.a,
                };
                let rest = [("b_n", *b_n), ("a_d", *a_d), ("b_d", *b_d), ("c", *c)];
                levels.iter().map(capacity).chain(rest.map(plain)).collect()
            }
            Self::Experts(ExpertCoefficients {
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
            }) => [
                ("e", *e),
                ("a", *a),
                ("alpha", *alpha),
                ("b", *b),
                ("beta", *beta),
                ("c", *c),
                ("lambda", *lambda),
                ("d", *d),
                ("delta", *delta),
                ("gamma", *gamma),
            ]
            .map(plain)
            .to_vec(),
        }
    }

    /// The law with these coefficients; the inverse of [`Self::named`]. The two coefficients of data must both be
    /// given, or neither.
    ///
    /// # Errors
    /// [`NoSuchForm`] where a coefficient is missing, given twice, unknown to the form or out of range. Only `levels`
    /// and `experts` have coefficients of their own; `form` must be one of them.
    pub fn of_coefficients(form: LawForm, given: &[GivenCoefficient]) -> Result<Self, NoSuchForm> {
        let (plain, of_data): (&[&str], [&str; 2]) = match form {
            LawForm::Levels => (&["b_n", "c"], ["a_d", "b_d"]),
            _ => (&["e", "a", "alpha", "c", "lambda", "d", "delta", "gamma"], ["b", "beta"]),
        };
        let wrong = |place, field, detail: String| NoSuchForm { place: Some(place), field, detail };
        let mut levels: Vec<(usize, LevelCapacity)> = Vec::new();
        let mut known = BTreeMap::<&str, f64>::new();
        for (place, coefficient) in given.iter().enumerate() {
            let GivenCoefficient { name, sparsity, level, value } = coefficient;
            let signed = form == LawForm::Experts && matches!(&**name, "lambda" | "delta");
            if !value.is_finite() || !(signed || RANGE.contains(value)) {
                let range = if signed { "a number" } else { "between 1e-300 and 1e300" };
                return Err(wrong(place, "value", format!("must be {range}, not {value}")));
            }
            if form == LawForm::Levels && name == "a" {
                let Some(sparsity) = sparsity.filter(|s| Sparsity::new(*s).is_ok()) else {
                    let detail = "must be given for a, at least 0 and below 1".to_owned();
                    return Err(wrong(place, "sparsity", detail));
                };
                let capacity =
                    LevelCapacity { sparsity, name: level.clone(), runs: 0, a: *value, gain: None };
                levels.push((place, capacity));
                continue;
            }
            let known_name = plain.iter().chain(&of_data).find(|known| *known == name);
            let Some(known_name) = known_name else {
                let names: Vec<&str> = plain.iter().chain(&of_data).copied().collect();
                let own = if form == LawForm::Levels { "a, " } else { "" };
                let detail = format!("must be one of {own}{}, not {name}", names.join(", "));
                return Err(wrong(place, "name", detail));
            };
            if sparsity.is_some() || level.is_some() {
                let field = if sparsity.is_some() { "sparsity" } else { "level" };
                return Err(wrong(
                    place,
                    field,
                    format!("must be left out of {name}, which is of all"),
                ));
            }
            if known.insert(known_name, *value).is_some() {
                return Err(wrong(
                    place,
                    "name",
                    format!("must be there once, and {name} is twice"),
                ));
            }
        }
        let missing = |detail: String| NoSuchForm { place: None, field: "name", detail };
        if let Some(name) = plain.iter().find(|name| !known.contains_key(*name)) {
            return Err(missing(format!(
                "must have {name}, a coefficient of the form {}",
                form.as_str()
            )));
        }
        if known.contains_key(of_data[0]) != known.contains_key(of_data[1]) {
            let [amplitude, exponent] = of_data;
            return Err(missing(format!(
                "must have both of {amplitude} and {exponent}, or neither"
            )));
        }
        let of = |name: &str| known.get(name).copied();
        let data = of(of_data[0]).zip(of(of_data[1])).unwrap_or((0.0, 1.0));
        // All required coefficients are present here.
        let sure = |name: &str| of(name).unwrap_or(1.0);
        if form != LawForm::Levels {
            return Ok(Self::Experts(ExpertCoefficients {
                e: sure("e"),
                a: sure("a"),
                alpha: sure("alpha"),
                b: data.0,
                beta: data.1,
                c: sure("c"),
                lambda: sure("lambda"),
                d: sure("d"),
                delta: sure("delta"),
                gamma: sure("gamma"),
            }));
        }
        if levels.is_empty() {
            return Err(missing("must have a for one sparsity at least".to_owned()));
        }
        levels.sort_by(|(_, one), (_, other)| {
            one.sparsity.total_cmp(&other.sparsity).then_with(|| one.name.cmp(&other.name))
        });
        for (later, (place, level)) in levels.iter().enumerate() {
            let same = |(_, other): &&(usize, LevelCapacity)| other.is_same_level(level);
            if let Some((_, other)) = levels[..later].iter().find(same) {
                let detail = format!(
                    "must be another level: {} and {} are one, within two per cent of the density",
                    other.told(),
                    level.told()
                );
                return Err(wrong(*place, "sparsity", detail));
            }
        }
        let levels = levels.into_iter().map(|(_, level)| level).collect();
        let law = LevelLaw { levels, b_n: sure("b_n"), a_d: data.0, b_d: data.1, c: sure("c") };
        Ok(Self::Levels(law.with_gains()))
    }

    /// Whether the runs determine this coefficient. The coefficients of data are placeholders where the runs have one
    /// amount of data only.
    #[must_use]
    pub fn has(&self, coefficient: &FormCoefficient) -> bool {
        let of_data = match self {
            Self::Levels(_) => ["a_d", "b_d"],
            Self::Experts(_) => ["b", "beta"],
        };
        self.determines_data() || !of_data.contains(&coefficient.name)
    }

    /// The values of the coefficients in the order of [`Self::named`].
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.named().iter().map(|coefficient| coefficient.value).collect()
    }

    /// Whether the value with this index may be negative: `lambda` and `delta` of experts.
    #[must_use]
    pub const fn is_signed(&self, place: usize) -> bool {
        matches!((self, place), (Self::Experts(_), 6 | 8))
    }

    /// Number of coefficients.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Levels(law) => law.levels.len() + 4,
            Self::Experts(_) => 10,
        }
    }

    /// The law of the same form and levels with other values, in the order of [`Self::named`]; `None` where the number
    /// of values is wrong or a value is out of range.
    #[must_use]
    pub fn with_values(&self, values: &[f64]) -> Option<Self> {
        if values.len() != self.count() {
            return None;
        }
        let law = match self {
            Self::Levels(law) => {
                let (capacities, rest) = values.split_at(law.levels.len());
                let [b_n, a_d, b_d, c] = *rest else { return None };
                let mut levels = law.levels.clone();
                for (level, a) in levels.iter_mut().zip(capacities) {
                    level.a = *a;
                }
                Self::Levels(LevelLaw { levels, b_n, a_d, b_d, c }.with_gains())
            }
            Self::Experts(_) => {
                let [e, a, alpha, b, beta, c, lambda, d, delta, gamma] = *values else {
                    return None;
                };
                let law = ExpertCoefficients { e, a, alpha, b, beta, c, lambda, d, delta, gamma };
                Self::Experts(law)
            }
        };
        law.out_of_range().is_none().then_some(law)
    }

    /// Name of the first coefficient that is out of range. All coefficients must be positive, except `lambda` and
    /// `delta`, and the amplitude of the data, which is 0 where the data of the runs does not vary.
    #[must_use]
    pub fn out_of_range(&self) -> Option<&'static str> {
        let wrong = |coefficient: &FormCoefficient| {
            let (name, value) = (coefficient.name, coefficient.value);
            match name {
                "lambda" | "delta" => !value.is_finite(),
                "a_d" | "b" => value != 0.0 && !RANGE.contains(&value),
                _ => !RANGE.contains(&value),
            }
        };
        self.named().iter().find(|coefficient| wrong(coefficient)).map(|wrong| wrong.name)
    }

    /// Whether the law describes the effect of the amount of data.
    #[must_use]
    pub fn determines_data(&self) -> bool {
        match self {
            Self::Levels(law) => law.a_d != 0.0,
            Self::Experts(law) => law.b != 0.0,
        }
    }

    /// Predicted loss; `None` at a sparsity that the law does not know.
    #[must_use]
    pub fn loss(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> Option<f64> {
        match self {
            Self::Levels(law) => Some(law.loss_at(law.level(density)?, nonzero_params, data)),
            Self::Experts(law) => Some(law.loss(density, nonzero_params, data)),
        }
    }

    /// Predicted loss at the level with the index `level` where one is given, else at the density; `None` at a sparsity
    /// that the law does not know.
    #[must_use]
    pub fn loss_at(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<f64> {
        match (self, level) {
            (Self::Levels(law), Some(place)) => {
                Some(law.loss_at(law.levels.get(place)?, nonzero_params, data))
            }
            _ => self.loss(density, nonzero_params, data),
        }
    }

    /// Size of the dense model with the same loss on the same data, relative to the non-zero parameters; `None` where
    /// no dense model has this loss, or the law does not know dense models. For experts it depends on the size.
    #[must_use]
    pub fn gain(&self, density: Density, nonzero_params: NonzeroParams) -> Option<f64> {
        match self {
            Self::Levels(law) => law.level(density)?.gain,
            Self::Experts(law) => law.gain(density, nonzero_params),
        }
    }

    /// `ln` of the data at which a dense model of this size is compute-optimal; `None` where the law does not know
    /// dense models, or does not describe data.
    #[must_use]
    pub fn ln_chinchilla_data(&self, nonzero_params: NonzeroParams) -> Option<f64> {
        if !self.determines_data() {
            return None;
        }
        match self {
            // The reduced law holds the capacity of the densest level, which is dense here.
            Self::Levels(law) => law
                .level(Density::DENSE)
                .map(|_| self.coefficients().ln_chinchilla_data(nonzero_params)),
            Self::Experts(law) => Some(law.ln_chinchilla_data(nonzero_params)),
        }
    }

    /// Compute relative to that at which a dense model of this size is compute-optimal; `None` as for
    /// [`Self::ln_chinchilla_data`].
    #[must_use]
    pub fn chinchilla_ratio(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Option<f64> {
        let per_data = cost.flops_per_param().get().ln() + nonzero_params.get().ln();
        let ln_data = compute.get().ln() - per_data;
        Some((ln_data - self.ln_chinchilla_data(nonzero_params)?).exp())
    }

    /// Size of the dense model with the same loss, as in [`Self::gain`], for the level with the index `level` where one
    /// is given.
    #[must_use]
    pub fn gain_at(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
    ) -> Option<f64> {
        match (self, level) {
            (Self::Levels(law), Some(place)) => law.levels.get(place)?.gain,
            _ => self.gain(density, nonzero_params),
        }
    }

    /// Index of the level of a density; `None` where the name of a level is needed to choose, and for a form without
    /// levels.
    #[must_use]
    pub fn place(&self, density: Density) -> Option<usize> {
        match self {
            Self::Levels(law) => law.place(density),
            Self::Experts(_) => None,
        }
    }

    /// The levels in words, as a comma-separated list; empty for a form without levels.
    #[must_use]
    pub fn levels_told(&self) -> String {
        match self {
            Self::Levels(law) => {
                law.levels.iter().map(LevelCapacity::told).collect::<Vec<_>>().join(", ")
            }
            Self::Experts(_) => String::new(),
        }
    }

    /// The level with an index; `None` for a form without levels.
    #[must_use]
    pub fn level(&self, place: Option<usize>) -> Option<&LevelCapacity> {
        match self {
            Self::Levels(law) => law.levels.get(place?),
            Self::Experts(_) => None,
        }
    }

    /// The sparsities of the levels in rising order, one for each level; `None` for a law that knows all sparsities.
    #[must_use]
    pub fn levels(&self) -> Option<Vec<Sparsity>> {
        match self {
            Self::Levels(law) => Some(law.densities_down_to(None).map(Density::sparsity).collect()),
            Self::Experts(_) => None,
        }
    }
}

impl From<FormLaw> for RivalLaw {
    fn from(law: FormLaw) -> Self {
        match law {
            FormLaw::Levels(law) => Self::Levels(law),
            FormLaw::Experts(law) => Self::Experts(law),
        }
    }
}

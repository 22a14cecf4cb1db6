//! What the runs behind a law determine, and what they leave open.
//!
//! A term with three coefficients needs three levels of its quantity. With fewer levels many laws fit the runs equally
//! well, and the seed of the search decides which of them it ends at. Moving along such an open *direction* changes
//! coefficients and some answers, but no prediction at the runs.

use serde::{Deserialize, Serialize};

use super::coefficients::{CoefficientName, Coefficients};
use super::quantity::{Data, Density, NonzeroParams};
use super::support::Question;

/// Number of coefficients.
const COUNT: usize = CoefficientName::ALL.len();

named! {
    /// What a set of runs can have too few of.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Lacking {
        /// Different sizes.
        NonzeroParams = "nonzero_params",
        /// Different sparsities.
        Sparsity = "sparsity",
        /// Different amounts of data.
        Data = "data",
        /// Runs in excess of the number of coefficients.
        Runs = "runs",
        /// Runs in which size, sparsity and data vary independently of each other.
        Combinations = "combinations",
    }
}

/// One thing that a set of runs has too few of, with the number that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is lacking.
    pub what: Lacking,
    /// Number that the runs have.
    pub have: usize,
    /// Number that is needed.
    pub needed: usize,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, have, needed } = self;
        match what {
            Lacking::Runs => {
                write!(f, "{have} runs, where {needed} are needed to see by how much they scatter")
            }
            Lacking::Combinations => write!(
                f,
                "runs that vary size, sparsity and data together: they tell {have} of {needed} coefficients apart"
            ),
            _ => write!(
                f,
                "{have} different {} of {}, where {needed} are needed",
                if *have == 1 { "value" } else { "values" },
                what.as_str()
            ),
        }
    }
}

/// An answer depends on something that the runs do not determine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the runs behind the law do not determine this answer: they have {}", sentence(.missing))]
pub struct NotIdentified {
    /// What the runs have too few of.
    pub missing: Vec<Missing>,
}

fn sentence(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A run that would help to determine what is open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SettlingRun {
    /// `N`: non-zero parameters.
    pub nonzero_params: f64,
    /// `S`: sparsity.
    pub sparsity: f64,
    /// `D`: data.
    pub data: f64,
}

/// What the runs behind a law determine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identification {
    /// Number of runs.
    pub runs: usize,
    /// Number of coefficients that were fitted.
    pub fitted: usize,
    /// Number of combinations of coefficients that the runs determine: the rank of the Jacobian of the predictions,
    /// with columns scaled to unit length, at [`Directions::coefficients`].
    pub rank: usize,
    /// The coefficients that the runs do not determine individually.
    pub open: Vec<CoefficientName>,
    /// What the runs have too few of; empty exactly where every coefficient is determined.
    pub missing: Vec<Missing>,
    /// The cheapest additional runs with which every coefficient is determined.
    pub settling: Vec<SettlingRun>,
    /// Sparsities of the runs in rising order, filled only where there are too few; each stands for all within two per
    /// cent of its density.
    pub sparsities: Vec<f64>,
    /// Sizes of the runs in rising order, filled only where there are too few; each stands for all within two per cent.
    pub sizes: Vec<f64>,
    /// Amounts of data of the runs in rising order, filled only where there are too few; each stands for all within two
    /// per cent.
    pub amounts: Vec<f64>,
    /// The directions along which coefficients change without changing any prediction at the runs.
    pub directions: Directions,
}

/// Directions in the space of the coefficients' logarithms. The coordinates for `a_S` and `c_S` are the logarithms of
/// their contributions to the loss at the size `nonzero_params`, and the one for `a_D` that of its contribution at
/// `data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Directions {
    /// The law at which the directions were found: the fitted one, but with no term so small or so flat that it has no
    /// shape.
    pub coefficients: Coefficients,
    /// Geometric mean of the sizes of the runs.
    pub nonzero_params: f64,
    /// Geometric mean of the data of the runs.
    pub data: f64,
    /// The directions, each with one component per coefficient in the order of [`CoefficientName::ALL`]. Their length
    /// is that at which a typical direction that the runs determine would change the logarithm of a run's loss by 1.
    pub vectors: Vec<[f64; COUNT]>,
}

/// Change of the logarithm of a loss along an open direction below which it counts as unchanged, where a determined
/// direction changes it by about 1: two levels of a quantity that differ only by rounding or scatter count as one.
const NO_EFFECT: f64 = 1e-3;

/// Relative distance within which a value counts as equal to a measured one; for a sparsity, that of its density.
const SAME_LEVEL: f64 = 0.02;

impl Identification {
    /// Whether every coefficient is determined.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether there are no more runs than combinations of coefficients that they determine. The law then passes
    /// through all runs, and nothing shows how far off it is.
    #[must_use]
    pub const fn interpolates(&self) -> bool {
        self.runs <= self.rank
    }

    /// Whether the runs determine a coefficient.
    #[must_use]
    pub fn determines(&self, name: CoefficientName) -> bool {
        !self.open.contains(&name)
    }

    /// Whether only the effect of sparsity between and beyond the measured sparsities is open. It is then known which
    /// of the measured sparsities is best.
    #[must_use]
    pub fn determines_measured_sparsities(&self) -> bool {
        use CoefficientName::{AS, BS, CS};
        let of_sparsity = |name: &CoefficientName| matches!(name, AS | BS | CS);
        !self.is_complete()
            && !self.interpolates()
            && self.sparsities.len() >= 2
            && self.open.iter().all(of_sparsity)
    }

    /// Refuses an answer that depends on every coefficient unless all are determined.
    ///
    /// # Errors
    /// [`NotIdentified`] where a coefficient is open.
    pub fn require_all(&self) -> Result<(), NotIdentified> {
        if self.is_complete() { Ok(()) } else { Err(self.refusal()) }
    }

    /// Refuses an answer that depends on the given coefficients unless all of them are determined.
    ///
    /// # Errors
    /// [`NotIdentified`] where one of them is open.
    pub fn require(&self, names: &[CoefficientName]) -> Result<(), NotIdentified> {
        let known = names.iter().all(|name| self.determines(*name));
        if known { Ok(()) } else { Err(self.refusal()) }
    }

    /// Refuses the loss of a model unless the runs determine it. With two levels of sparsity, for example, they
    /// determine it at these two levels.
    ///
    /// # Errors
    /// [`NotIdentified`] where the runs do not determine the loss.
    pub fn require_loss(&self, question: &Question<'_>) -> Result<(), NotIdentified> {
        if self.is_complete() {
            return Ok(());
        }
        let Question { nonzero_params, density, data, .. } = *question;
        // Only measured levels are accepted, however little the law bends between them. (With several sparsities the
        // fit even gives an exponent for only two sizes, but only through the way in which sparsity and size act
        // together.)
        let measured = |levels: &[f64], value: f64| {
            let same = |level: &f64| (value / level - 1.0).abs() <= SAME_LEVEL;
            levels.is_empty() || levels.iter().any(same)
        };
        let densities: Vec<f64> = self.sparsities.iter().map(|sparsity| 1.0 - sparsity).collect();
        let at_levels = measured(&self.sizes, nonzero_params.get())
            && measured(&densities, density.get())
            && measured(&self.amounts, data.get());
        // Where levels are lacking, the check against the measured levels is sufficient; the directions matter where
        // only combinations are lacking.
        let levels_lack =
            [&self.sizes, &self.sparsities, &self.amounts].iter().any(|levels| !levels.is_empty());
        let moves = || !levels_lack && self.directions.move_loss(nonzero_params, density, data);
        if self.interpolates() || !at_levels || moves() {
            return Err(self.refusal());
        }
        Ok(())
    }

    /// The error that lists what is lacking.
    #[must_use]
    pub fn refusal(&self) -> NotIdentified {
        NotIdentified { missing: self.missing.clone() }
    }
}

impl Directions {
    /// Whether the loss of a model changes along one of the directions.
    #[must_use]
    pub fn move_loss(&self, nonzero_params: NonzeroParams, density: Density, data: Data) -> bool {
        let slope = self.slope_of_ln_loss(nonzero_params, density, data);
        self.vectors.iter().any(|vector| {
            let effect: f64 = vector.iter().zip(&slope).map(|(step, slope)| step * slope).sum();
            effect.abs() > NO_EFFECT
        })
    }

    /// Derivative of `ln L` in the coordinates of the directions.
    #[must_use]
    pub fn slope_of_ln_loss(
        &self,
        nonzero_params: NonzeroParams,
        density: Density,
        data: Data,
    ) -> [f64; COUNT] {
        let v = self.coefficients.values();
        let (ln_x, ln_n, ln_d) = (density.get().ln(), nonzero_params.get().ln(), data.get().ln());
        let size = (-v.b_n * ln_n).exp();
        let sparse = v.a_s * (v.b_s * ln_x).exp() * size;
        let rest = v.c_s * size;
        // A law without a data term of its own has a_D = 0.
        let seen = if v.a_d > 0.0 { (v.b_d * (v.a_d.ln() - ln_d)).exp() } else { 0.0 };
        let by_size = -v.b_n * (ln_n - self.nonzero_params.ln());
        let by_data = -v.b_d * (ln_d - self.data.ln());
        let loss = sparse + rest + seen + v.c;
        [sparse, sparse * v.b_s * ln_x, rest, (sparse + rest) * by_size, seen, seen * by_data, v.c]
            .map(|slope| slope / loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_sentence() {
        let missing = vec![
            Missing { what: Lacking::Sparsity, have: 2, needed: 3 },
            Missing { what: Lacking::Runs, have: 6, needed: 8 },
        ];
        assert_eq!(
            NotIdentified { missing }.to_string(),
            "the runs behind the law do not determine this answer: they have 2 different values of sparsity, \
             where 3 are needed; 6 runs, where 8 are needed to see by how much they scatter"
        );
    }
}

//! A law of any form, as plans ask it: what it says of size and data at one way to be sparse.
//!
//! Every form says at one sparsity
//!
//! ```text
//! L = A N^(-b_N) + A' N^(-b') + F + (a_D / D)^b_D + c
//! ```
//!
//! The paper's form, its other curves and `levels` have the first term of size alone; `experts` has two of them, and a
//! part `F` that depends on the sparsity and not on the size.

use super::coefficients::{CoefficientValues, Coefficients};
use super::form_law::FormLaw;
use super::quantity::Density;

/// A law of any form.
#[derive(Debug, Clone, Copy)]
pub enum AnyLaw<'a> {
    /// One whose capacity is a curve over the sparsity.
    Curve(&'a Coefficients),
    /// One with coefficients of its own.
    Own(&'a FormLaw),
}

impl<'a> From<&'a Coefficients> for AnyLaw<'a> {
    fn from(law: &'a Coefficients) -> Self {
        Self::Curve(law)
    }
}

impl<'a> From<&'a FormLaw> for AnyLaw<'a> {
    fn from(law: &'a FormLaw) -> Self {
        Self::Own(law)
    }
}

/// What a law says of size and data at one way to be sparse.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtScheme {
    /// `b_N`, `a_D`, `b_D` and `c`; the others are of no use here.
    pub law: CoefficientValues,
    /// `A`.
    pub size_term: f64,
    /// What experts have beside it.
    pub beside: Option<Beside>,
}

/// The second term of size, and what of the loss depends on neither size nor data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    /// `A'`.
    pub size_term: f64,
    /// `b'`.
    pub exponent: f64,
    /// `F`.
    pub floor: f64,
}

impl AnyLaw<'_> {
    /// What it says of models of a density, and of a level by its place where one is given; `None` of one of which it
    /// knows nothing.
    pub(super) fn at(self, density: Density, level: Option<usize>) -> Option<AtScheme> {
        let own = match self {
            Self::Curve(law) => {
                let size_term = law.capacity(density);
                return Some(AtScheme { law: law.values(), size_term, beside: None });
            }
            Self::Own(own) => own,
        };
        let reduced = own.coefficients().values();
        match own {
            FormLaw::Levels(levels) => {
                let level = match level {
                    Some(place) => levels.levels.get(place),
                    None => levels.level(density),
                };
                Some(AtScheme { law: reduced, size_term: level?.a, beside: None })
            }
            FormLaw::Experts(experts) => {
                // `a_D` of a very small exponent has no number.
                (reduced.a_d > 0.0).then(|| {
                    let ln_x = density.get().ln();
                    let beside = Beside {
                        size_term: experts.d * ((experts.gamma - experts.delta) * ln_x).exp(),
                        exponent: experts.gamma,
                        floor: experts.c * (-experts.lambda * ln_x).exp(),
                    };
                    AtScheme {
                        law: CoefficientValues { b_n: experts.alpha, ..reduced },
                        size_term: experts.a * (experts.alpha * ln_x).exp(),
                        beside: Some(beside),
                    }
                })
            }
        }
    }
}

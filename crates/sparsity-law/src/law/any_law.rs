//! A law of any form, as the planner uses it: the loss as a function of size and data for one way to be sparse.
//!
//! At one sparsity the loss of every form is
//!
//! ```text
//! L = A N^(-b_N) + A' N^(-b') + F + (a_D / D)^b_D + c
//! ```
//!
//! The form of the paper, laws with a gain curve, and `levels` have only the first of the two terms in `N`. `experts`
//! has both, and a part `F` that depends on the sparsity but not on the size.

use super::coefficients::{CoefficientValues, Coefficients};
use super::form_law::FormLaw;
use super::quantity::Density;

/// A law of any form.
#[derive(Debug, Clone, Copy)]
pub enum AnyLaw<'a> {
    /// A law whose capacity is a curve over the sparsity.
    Curve(&'a Coefficients),
    /// A law of a form with coefficients of its own.
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

/// A law at one way to be sparse: the loss as a function of size and data.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtScheme {
    /// `b_N`, `a_D`, `b_D` and `c`; the other coefficients are not used here.
    pub law: CoefficientValues,
    /// `A`.
    pub size_term: f64,
    /// The further terms of a law of experts; `None` of other forms.
    pub beside: Option<Beside>,
}

/// The second term in the size, and the part of the loss that depends on neither size nor data.
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
    /// The law at a density, or at the level with the index `level` where one is given. `None` where the law does not
    /// know this density or level, and for a law of experts whose `a_D` is 0.
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
                // `a_D = b^(1/beta)` is 0 where the runs have one amount of data only, and where a very small exponent
                // puts it out of range.
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

//! Quantities of the law as checked newtypes, which alone define their ranges.

use std::fmt;

/// A value, or a set of values, outside the range in which it has a meaning.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DomainError {
    /// A number is out of its range, or not a number.
    #[error("must be {range}, not {value}")]
    OutOfRange {
        /// Range in words.
        range: &'static str,
        /// Given value.
        value: f64,
    },
    /// A number of a sequence is not above the one before it, as it must be.
    #[error("must be above the {before} of the point before it, not {value}")]
    NotRising {
        /// Number before it.
        before: f64,
        /// Given value.
        value: f64,
    },
    /// A number of a sequence is below the one before it; it may be equal or larger.
    #[error("must not be below the {before} of the point before it, not {value}")]
    FallsBack {
        /// Number before it.
        before: f64,
        /// Given value.
        value: f64,
    },
    /// Pruning ends before it starts.
    #[error("pruning must not end before it starts, not at {start} and {end}")]
    PruningOrder {
        /// Training progress at which pruning starts.
        start: f64,
        /// Training progress at which pruning ends.
        end: f64,
    },
}

/// Declares a checked newtype over `f64`. NaN fails every comparison, and therefore every check.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $range:literal, |$value:ident| $valid:expr) => {
        $(#[$doc])*
        ///
        #[doc = concat!("Range: ", $range, ".")]
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// Range in words, for error messages.
            pub const RANGE: &'static str = $range;

            /// Checks that the value is in range.
            ///
            /// # Errors
            /// [`DomainError::OutOfRange`] where it is not, which includes NaN and infinities.
            pub fn new($value: f64) -> Result<Self, DomainError> {
                if $valid {
                    // A negative zero becomes a plain one, so that equal numbers have equal bits.
                    Ok(Self($value + 0.0))
                } else {
                    Err(DomainError::OutOfRange { range: Self::RANGE, value: $value })
                }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

quantity!(
    /// `N`: non-zero parameters at the end of training.
    NonzeroParams, "between 1 and 1e18", |v| (1.0..=1e18).contains(&v)
);
quantity!(
    /// `S`: fraction of zeros among the prunable parameters at the end of training.
    Sparsity, "at least 0 and below 1", |v| (0.0..1.0).contains(&v)
);
quantity!(
    /// `x = 1 - S`: fraction of parameters that are non-zero.
    Density, "above 0 and at most 1", |v| v > 0.0 && v <= 1.0
);
quantity!(
    /// `D`: data seen in training, in the family's data unit.
    Data, "between 1e-6 and 1e30", |v| (1e-6..=1e30).contains(&v)
);
quantity!(
    /// `L`: validation loss.
    Loss, "between 1e-12 and 1e12", |v| (1e-12..=1e12).contains(&v)
);
quantity!(
    /// `C`: training cost in FLOPs.
    Compute, "between 1 and 1e40", |v| (1.0..=1e40).contains(&v)
);
quantity!(
    /// `k`: FLOPs per parameter and data unit; 6 for one forward and backward pass.
    FlopsPerParam, "between 1e-3 and 1e12", |v| (1e-3..=1e12).contains(&v)
);
quantity!(
    /// `M`: training cost relative to the cost at which a dense model of `N` parameters is compute-optimal.
    ChinchillaRatio, "above 0 and finite", |v| v > 0.0 && v.is_finite()
);

impl FlopsPerParam {
    /// One forward and one backward pass.
    pub const TRAINING: Self = Self(6.0);
}

impl Data {
    /// Lower end of the range, for bounds of answers.
    pub(super) const SMALLEST: f64 = 1e-6;
    /// Upper end of the range, for bounds of answers.
    pub(super) const LARGEST: f64 = 1e30;
}

impl NonzeroParams {
    /// Upper end of the range, for bounds of answers.
    pub(super) const LARGEST: f64 = 1e18;

    /// A single parameter, whose logarithm is 0.
    pub(super) const ONE: Self = Self(1.0);
}

impl Sparsity {
    /// No zeros at all.
    pub const DENSE: Self = Self(0.0);

    /// `1 - S`. Exact for `S >= 0.5`, correctly rounded below.
    #[must_use]
    pub const fn density(self) -> Density {
        Density(1.0 - self.0)
    }
}

impl Density {
    /// No zeros at all.
    pub const DENSE: Self = Self(1.0);

    /// The density nearest to `value`, for results of formulas that may underflow to 0 or be rounded up past 1.
    #[must_use]
    pub const fn clamped(value: f64) -> Self {
        Self(value.clamp(f64::MIN_POSITIVE, 1.0))
    }

    /// `1 - x`, kept below 1 where the density is smaller than the spacing of doubles near 1.
    #[must_use]
    pub const fn sparsity(self) -> Sparsity {
        const LARGEST: f64 = 1.0 - f64::EPSILON / 2.0;
        Sparsity((1.0 - self.0).min(LARGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_and_infinities_are_refused_everywhere() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(NonzeroParams::new(value).is_err());
            assert!(Sparsity::new(value).is_err());
            assert!(Density::new(value).is_err());
            assert!(Data::new(value).is_err());
            assert!(Loss::new(value).is_err());
            assert!(Compute::new(value).is_err());
            assert!(FlopsPerParam::new(value).is_err());
            assert!(ChinchillaRatio::new(value).is_err());
        }
    }

    #[test]
    fn ends_of_the_sparsity_range() {
        assert!(Sparsity::new(0.0).is_ok());
        assert!(Sparsity::new(-0.0001).is_err());
        assert_eq!(
            Sparsity::new(1.0).unwrap_err().to_string(),
            "must be at least 0 and below 1, not 1"
        );
    }

    #[test]
    fn a_tiny_density_is_a_sparsity_below_one() {
        assert!(Density::new(1e-300).unwrap().sparsity().get() < 1.0);
    }
}

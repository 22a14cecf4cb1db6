//! Data that is seen more than once.
//!
//! A run that trains on `D` tokens, of which only `U` are distinct, costs as much as `D` tokens and learns less.
//! According to Muennighoff and others (*Scaling Data-Constrained Language Models*, arXiv 2305.16264) it learns as much
//! as from
//!
//! ```text
//! D_eff = U + U R (1 - exp(-(D/U - 1) / R))      for D > U, else D
//! ```
//!
//! so that each further epoch is worth `e^(-1/R)` of the one before it, and any number of repetitions is worth less
//! than `U R`.

use super::quantity::{Data, DomainError};

/// The amount of distinct data, and how fast repeating it loses value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repetition {
    unique: f64,
    decay: f64,
}

impl Repetition {
    /// `R` of the published law, in epochs.
    pub const PUBLISHED_DECAY: f64 = 15.39;
    /// Range of `R` in words, for error messages.
    pub const DECAY_RANGE: &'static str = "between 0.01 and 10000";

    /// Repetition of `unique` data, in data units; `decay` is `R`, in epochs.
    ///
    /// ```
    /// use sparsity_law::law::{Data, Repetition};
    ///
    /// let repetition = Repetition::new(Data::new(30e9)?, Repetition::PUBLISHED_DECAY)?;
    /// // Four epochs are worth nearly four times the data, twenty much less than twenty times.
    /// assert!((repetition.effective(120e9) / 1.117713e11 - 1.0).abs() < 1e-6);
    /// assert!((repetition.effective(600e9) / 3.573636e11 - 1.0).abs() < 1e-6);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where `decay` is out of range.
    pub fn new(unique: Data, decay: f64) -> Result<Self, DomainError> {
        if (0.01..=1e4).contains(&decay) {
            Ok(Self { unique: unique.get(), decay })
        } else {
            Err(DomainError::OutOfRange { range: Self::DECAY_RANGE, value: decay })
        }
    }

    /// `U`: amount of distinct data.
    #[must_use]
    pub const fn unique(&self) -> f64 {
        self.unique
    }

    /// `R`: the number of epochs after which another one is worth `1/e` of the first.
    #[must_use]
    pub const fn decay(&self) -> f64 {
        self.decay
    }

    /// `D_eff`: the amount of distinct data that teaches as much as `data` with its repetitions. Never more than
    /// `data`.
    #[must_use]
    pub fn effective(&self, data: f64) -> f64 {
        if data <= self.unique {
            return data;
        }
        let repeats = data / self.unique - 1.0;
        self.unique * (1.0 - self.decay * (-repeats / self.decay).exp_m1())
    }

    /// [`Self::effective`] for a checked quantity.
    #[must_use]
    pub fn effective_data(&self, data: Data) -> Data {
        // Between the lesser of `U` and `data`, and `data`: in range, as both are.
        Data::new(self.effective(data.get())).unwrap_or(data)
    }

    /// The elasticity `d ln D_eff / d ln D`: 1 up to `U`, and falling to 0 beyond.
    #[must_use]
    pub fn elasticity(&self, data: f64) -> f64 {
        if data <= self.unique {
            return 1.0;
        }
        let repeats = data / self.unique - 1.0;
        (-repeats / self.decay).exp() * data / self.effective(data)
    }

    /// The `D` that teaches as much as `effective` distinct data; infinite where no number of repetitions does.
    #[must_use]
    pub fn data_for(&self, effective: f64) -> f64 {
        if effective <= self.unique {
            return effective;
        }
        let worn = (effective / self.unique - 1.0) / self.decay;
        if worn >= 1.0 {
            return f64::INFINITY;
        }
        self.unique * (1.0 - self.decay * (-worn).ln_1p())
    }
}

/// The amount of distinct data that teaches as much as `data`; `data` itself without repetition.
#[must_use]
pub fn effective_data(repetition: Option<&Repetition>, data: Data) -> Data {
    repetition.map_or(data, |repetition| repetition.effective_data(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thirty_billion() -> Repetition {
        Repetition::new(Data::new(30e9).unwrap(), Repetition::PUBLISHED_DECAY).unwrap()
    }

    #[test]
    fn known_answers() {
        let repetition = thirty_billion();
        let table = [(120e9, 1.117713e11), (600e9, 3.573636e11), (3e12, 4.909576e11)];
        for (data, expected) in table {
            // The known answers have seven digits.
            assert!((repetition.effective(data) / expected - 1.0).abs() < 1e-6, "{data}");
        }
        assert_eq!(repetition.effective(20e9), 20e9);
        assert!(repetition.data_for(30e9 * 16.4).is_infinite());
        assert!(Repetition::new(Data::new(1.0).unwrap(), 0.0).is_err());
        assert!(Repetition::new(Data::new(1.0).unwrap(), f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn it_rises_ever_more_slowly_and_is_undone(
            ln_unique in 10.0..30.0f64, epochs in 0.1..60.0f64, decay in 0.5..100.0f64,
        ) {
            let unique = ln_unique.exp();
            let repetition = Repetition::new(Data::new(unique).unwrap(), decay).unwrap();
            let data = epochs * unique;
            let worth = repetition.effective(data);
            prop_assert!(worth <= data && repetition.effective(data * 1.01) >= worth);
            prop_assert!(repetition.elasticity(data * 1.01) <= repetition.elasticity(data));
            let step = 1e-6;
            let ln = |data: f64| repetition.effective(data).ln();
            let difference = (ln(data * (1.0 + step)) - ln(data * (1.0 - step))) / (2.0 * step);
            // The slope has a kink where repetition begins.
            prop_assert!((epochs - 1.0).abs() < 1e-5
                || (difference - repetition.elasticity(data)).abs() < 1e-7);
            // Where repeated data is worthless, the number of repetitions cannot be recovered.
            if epochs < 5.0 * decay {
                prop_assert!((repetition.data_for(worth) / data - 1.0).abs() < 1e-9);
            }
        }
    }
}

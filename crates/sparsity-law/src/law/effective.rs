//! What a sparse model is worth: the dense model that is as good, or the data that training from scratch needs to be as
//! good.

use super::coefficients::Coefficients;
use super::ensemble::{Ensemble, Interval};
use super::quantity::{Data, Density, NonzeroParams};
use super::recommendation::{AnswerError, finite};

/// A positive number with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    /// The number itself.
    pub value: f64,
    /// Interval of the number, where there is one.
    pub interval: Option<Interval>,
}

/// Largest end of an interval; larger ends are clamped, as those of an [`Ensemble`] are.
const LARGEST_END: f64 = 1e300;

impl Factor {
    /// The gain `gain(S)` of a law, see [`Coefficients::gain`]: a sparse model of `N` non-zeros is worth a dense model
    /// of `gain N` parameters.
    ///
    /// ```
    /// use sparsity_law::law::{Factor, Sparsity, VIT_JFT};
    ///
    /// let gain = Factor::gain(VIT_JFT.coefficients(), None, Sparsity::new(0.75)?.density());
    /// // 100 M non-zeros at 75 % are worth 217 M dense parameters, and the other way round.
    /// assert!((gain.times(1e8).value / 2.172e8 - 1.0).abs() < 5e-4);
    /// assert!((gain.divide(2.172e8).value / 1e8 - 1.0).abs() < 5e-4);
    /// // A published law has no resamples, so no interval.
    /// assert_eq!(gain.interval, None);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn gain(law: &Coefficients, ensemble: Option<&Ensemble>, density: Density) -> Self {
        let gain = |ensemble: &Ensemble| ensemble.interval(|m| m.coefficients.gain(density));
        Self { value: law.gain(density), interval: ensemble.map(gain) }
    }

    /// Multiplies the factor by `size`: the dense size that a sparse model of `size` non-zeros is worth.
    #[must_use]
    pub fn times(self, size: f64) -> Self {
        let end = |end: f64| (end * size).min(LARGEST_END);
        let interval =
            |i: Interval| Interval { level: i.level, low: end(i.low), high: end(i.high) };
        Self { value: self.value * size, interval: self.interval.map(interval) }
    }

    /// Divides `size` by the factor: the sparse size that is worth a dense model of `size` parameters. The ends of the
    /// interval change places.
    #[must_use]
    pub fn divide(self, size: f64) -> Self {
        let end = |end: f64| (size / end).min(LARGEST_END);
        let interval =
            |i: Interval| Interval { level: i.level, low: end(i.high), high: end(i.low) };
        Self { value: size / self.value, interval: self.interval.map(interval) }
    }
}

/// The given size of two models of equal loss, one sparse and one dense.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GivenSize {
    /// Non-zero parameters of the sparse model.
    Sparse(NonzeroParams),
    /// Parameters of the dense model.
    Dense(NonzeroParams),
}

/// Sizes of a sparse model and of the dense model that reaches the same loss on the same data, for every amount of
/// data. A size that follows exactly from the given one has no interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EqualModels {
    /// Non-zero parameters of the sparse model.
    pub nonzero_params: Factor,
    /// Parameters of the sparse model, zeros included.
    pub total_params: Factor,
    /// Parameters of the dense model.
    pub dense_params: Factor,
}

impl EqualModels {
    /// The sizes of both models from the size of one of them, the density of the sparse model, and its gain.
    ///
    /// ```
    /// use sparsity_law::law::{EqualModels, Factor, GivenSize, NonzeroParams, Sparsity, VIT_JFT};
    ///
    /// let density = Sparsity::new(0.75)?.density();
    /// let gain = Factor::gain(VIT_JFT.coefficients(), None, density);
    /// let both = EqualModels::new(GivenSize::Sparse(NonzeroParams::new(1e8)?), density, gain);
    /// assert_eq!(both.total_params.value, 4e8);
    /// assert!((both.dense_params.value / 2.172e8 - 1.0).abs() < 5e-4);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn new(given: GivenSize, density: Density, gain: Factor) -> Self {
        let exact = |value| Factor { value, interval: None };
        match given {
            GivenSize::Sparse(size) => Self {
                nonzero_params: exact(size.get()),
                total_params: exact(size.get() / density.get()),
                dense_params: gain.times(size.get()),
            },
            GivenSize::Dense(size) => {
                let nonzero_params = gain.divide(size.get());
                let total_params = nonzero_params.times(density.get().recip());
                Self { nonzero_params, total_params, dense_params: exact(size.get()) }
            }
        }
    }
}

/// A model that starts from a pretrained dense checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PretrainedStart {
    /// `N` at the end of training: non-zero parameters.
    pub nonzero_params: NonzeroParams,
    /// `1 - S` at the end of training.
    pub density: Density,
    /// `D` of the sparse phase: its training data.
    pub data: Data,
    /// Data on which the checkpoint was trained, where it is known.
    pub before: Option<Data>,
}

/// What training from scratch needs to reach the loss of a pretrained start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScratchEqual {
    /// The loss of the pretrained start; finite.
    pub loss: f64,
    /// Data with which training from scratch reaches that loss; `None` where no amount does.
    pub data: Option<f64>,
    /// [`data_multiplier`] that counts only the data of the sparse phase.
    pub sparse_phase: Option<f64>,
    /// [`data_multiplier`] that counts the data of both phases; `None` also where the data of the checkpoint is not
    /// known.
    pub both_phases: Option<f64>,
}

impl PretrainedStart {
    /// Compares the law of training from scratch with that of the pretrained start. Both laws must describe size,
    /// sparsity and data.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`] where the loss or the data overflows.
    pub fn equal_from_scratch(
        &self,
        scratch: &Coefficients,
        start: &Coefficients,
    ) -> Result<ScratchEqual, AnswerError> {
        let Self { nonzero_params, density, data, before } = *self;
        let multiplier = |before: f64| {
            let value = data_multiplier(scratch, start, (density, nonzero_params, data), before);
            value.is_finite().then_some(value)
        };
        let loss = finite("the loss", start.loss(density, nonzero_params, data))?;
        let sparse_phase = multiplier(0.0);
        let needed = sparse_phase.map(|times| finite("scratch_data", times * data.get()));
        Ok(ScratchEqual {
            loss,
            data: needed.transpose()?,
            sparse_phase,
            both_phases: before.and_then(|before| multiplier(before.get())),
        })
    }
}

/// How many times the data of a pretrained start training from scratch needs to reach the same loss:
///
/// ```text
/// D_scratch / (D + D_before),   L_scratch(S, N, D_scratch) = L_start(S, N, D)
/// ```
///
/// | argument | meaning |
/// |---|---|
/// | `scratch`, `start` | the laws of training from scratch and of the pretrained start |
/// | `data` | `D` of the sparse phase |
/// | `before` | data of the dense phase if it is to be counted, else 0 |
///
/// Infinite where no amount of data reaches the loss.
///
/// ```
/// use sparsity_law::law::{Data, Density, NonzeroParams, T5_C4, data_multiplier};
///
/// // A start that saves nothing: as much data again, and none of what it cost was won back.
/// let law = T5_C4.coefficients();
/// let point = (Density::new(0.5)?, NonzeroParams::new(1e7)?, Data::new(3e10)?);
/// assert!((data_multiplier(law, law, point, 0.0) - 1.0).abs() < 1e-9);
/// assert!((data_multiplier(law, law, point, 3e10) - 0.5).abs() < 1e-9);
/// # Ok::<(), sparsity_law::law::DomainError>(())
/// ```
#[must_use]
pub fn data_multiplier(
    scratch: &Coefficients,
    start: &Coefficients,
    (density, nonzero_params, data): (Density, NonzeroParams, Data),
    before: f64,
) -> f64 {
    let loss = start.loss(density, nonzero_params, data);
    scratch.data_for_loss(density, nonzero_params, loss) / (data.get() + before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{CoefficientValues, Member, Sparsity, T5_C4, VIT_JFT};
    use proptest::prelude::*;

    /// Tolerance for a published table with three decimals.
    const THREE_DECIMALS: f64 = 6e-4;

    #[test]
    fn the_published_gains_forward_and_back() {
        let table = [(0.5, 1.596, 1.586), (0.75, 2.172, 2.157), (0.875, 2.634, 2.630)];
        for (sparsity, vit, t5) in table {
            let density = Sparsity::new(sparsity).unwrap().density();
            for (law, published) in [(&VIT_JFT, vit), (&T5_C4, t5)] {
                let gain = Factor::gain(law.coefficients(), None, density);
                assert!((gain.value - published).abs() < THREE_DECIMALS);
                assert!((gain.times(1e3).value - published * 1e3).abs() < THREE_DECIMALS * 1e3);
                assert!((gain.divide(published).value - 1.0).abs() < THREE_DECIMALS);
            }
        }
    }

    #[test]
    fn a_start_that_saves_nothing_has_multiplier_one() {
        let law = T5_C4.coefficients();
        let half = Density::new(0.5).unwrap();
        let point = (half, NonzeroParams::new(1e7).unwrap(), Data::new(3e10).unwrap());
        assert!((data_multiplier(law, law, point, 0.0) - 1.0).abs() < 1e-9);
        assert!((data_multiplier(law, law, point, 6e10) - 1.0 / 3.0).abs() < 1e-9);
        let better = CoefficientValues { c: law.values().c / 2.0, ..law.values() };
        let better = Coefficients::new(better).unwrap();
        let far = (half, point.1, Data::new(1e30).unwrap());
        assert!(data_multiplier(law, &better, far, 0.0).is_infinite());
    }

    proptest! {
        #[test]
        fn forward_and_back_give_the_size_and_its_interval(
            x in 0.001..=1.0f64, ln_n in 0.0..40.0f64, spread in 0.5..1.5f64,
        ) {
            let law = VIT_JFT.coefficients();
            let other = CoefficientValues { a_s: law.values().a_s * spread, ..law.values() };
            let member = |coefficients| Member { coefficients, noise: 0.0 };
            let members = vec![member(*law), member(Coefficients::new(other).unwrap())];
            let ensemble = Ensemble::new(members, 0.95, 0.0).unwrap();
            let gain = Factor::gain(law, Some(&ensemble), Density::new(x).unwrap());
            let n = ln_n.exp();
            let back = gain.divide(gain.times(n).value);
            prop_assert!((back.value / n - 1.0).abs() < 1e-12);
            for factor in [gain, gain.times(n), back] {
                let interval = factor.interval.unwrap();
                prop_assert!(interval.low <= factor.value * (1.0 + 1e-12));
                prop_assert!(factor.value <= interval.high * (1.0 + 1e-12));
            }
        }
    }
}

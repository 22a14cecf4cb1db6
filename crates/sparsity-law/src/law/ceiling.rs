//! Bounds on how sparse a model of a given size may be.

use super::quantity::{Density, NonzeroParams, Sparsity};
use super::storage::Storage;

named! {
    /// A bound on how sparse a model of a given size may be.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Bound {
        /// Largest number of parameters, zeros included.
        MaxTotalParams = "max_total_params",
        /// Most memory for the weights, in bytes.
        MemoryBytes = "memory_bytes",
        /// Highest sparsity.
        MaxSparsity = "max_sparsity",
    }
}

/// The bounds of a question for the best sparsity. As the size is given, each of them amounts to a highest sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ceiling {
    /// Largest number of parameters, zeros included.
    pub max_total_params: Option<f64>,
    /// Most memory for the weights, in bytes, and the format in which they are stored.
    pub memory: Option<(f64, Storage)>,
    /// Highest sparsity.
    pub max_sparsity: Option<Sparsity>,
}

/// A bound that even the model without zeros violates.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("must be at least {needed}, which the model without zeros takes")]
pub struct TooLow {
    /// The violated bound.
    pub bound: Bound,
    /// What the model without zeros needs, in the unit of the bound.
    pub needed: f64,
}

/// Factor by which a bound may be exceeded, to allow for rounding.
const ROUNDED: f64 = 1.0 + 1e-12;
/// Number of halvings that determine the logarithm of a density to its last digits.
const HALVINGS: u32 = 80;

impl Ceiling {
    /// Whether no bound is set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The least density of a model with this number of non-zero parameters and zeros anywhere; `None` where no bound
    /// is set.
    ///
    /// # Errors
    /// [`TooLow`] for the first bound that no model of this size can keep.
    ///
    /// ```
    /// use sparsity_law::law::{Ceiling, NonzeroParams, Storage, StorageFormat};
    ///
    /// // A hundred million non-zeros in half a billion parameters: up to 80 % of zeros.
    /// let size = NonzeroParams::new(1e8)?;
    /// let total = Ceiling { max_total_params: Some(5e8), ..Ceiling::default() };
    /// assert_eq!(total.least_density(size)?.map(|least| least.get()), Some(0.2));
    /// // The same in memory, of two bytes for every parameter.
    /// let plain = Storage::new(StorageFormat::Dense, 16);
    /// let memory = Ceiling { memory: Some((1e9, plain)), ..Ceiling::default() };
    /// let least = memory.least_density(size)?.ok_or("memory is bounded")?;
    /// assert!((least.get() - 0.2).abs() < 1e-12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn least_density(&self, nonzero_params: NonzeroParams) -> Result<Option<Density>, TooLow> {
        let each = self.each(nonzero_params)?;
        Ok(each.into_iter().map(|(_, density)| density).max_by(|a, b| a.get().total_cmp(&b.get())))
    }

    /// The bounds that exclude `free`, the best density without bounds (`None`: there is no best one, and the loss
    /// falls without end). Empty where no bound excludes it.
    ///
    /// Of several bounds only the tightest counts, with all that equal it: relaxing another one changes nothing.
    ///
    /// # Errors
    /// [`TooLow`] for the first bound that no model of this size can keep.
    pub fn binding(
        &self,
        nonzero_params: NonzeroParams,
        free: Option<Density>,
    ) -> Result<Vec<Bound>, TooLow> {
        let each = self.each(nonzero_params)?;
        let least = each.iter().map(|(_, least)| least.get()).fold(0.0, f64::max);
        let kept = free.is_some_and(|free| free.get() >= least);
        let at = |(_, bound): &(Bound, Density)| !kept && least <= bound.get() * ROUNDED;
        Ok(each.into_iter().filter(at).map(|(bound, _)| bound).collect())
    }

    /// Whether a model whose zeros follow a pattern keeps all bounds. `two_of_four` says that the pattern keeps at most
    /// two of every four parameters.
    #[must_use]
    pub fn allows_pattern(
        &self,
        nonzero_params: NonzeroParams,
        density: Density,
        two_of_four: bool,
    ) -> bool {
        let total = nonzero_params.get() / density.get();
        let within = |value: f64, bound: Option<f64>| bound.is_none_or(|b| value <= b * ROUNDED);
        let in_memory = self.memory.is_none_or(|(bytes, storage)| {
            within(total * storage.pattern_bits(density, two_of_four) / 8.0, Some(bytes))
        });
        within(total, self.max_total_params)
            && in_memory
            && within(density.sparsity().get(), self.max_sparsity.map(Sparsity::get))
    }

    /// The least density that each bound allows.
    fn each(&self, nonzero_params: NonzeroParams) -> Result<Vec<(Bound, Density)>, TooLow> {
        let size = nonzero_params.get();
        let mut each = Vec::new();
        if let Some(total) = self.max_total_params {
            let least = Density::new(size / total)
                .map_err(|_| TooLow { bound: Bound::MaxTotalParams, needed: size })?;
            each.push((Bound::MaxTotalParams, least));
        }
        if let Some((bytes, storage)) = self.memory {
            // The memory rises with every added zero, in every format.
            let taken =
                |density: Density| size / density.get() * storage.unstructured_bits(density) / 8.0;
            let dense = taken(Density::DENSE);
            if dense > bytes {
                return Err(TooLow { bound: Bound::MemoryBytes, needed: dense });
            }
            let (mut kept, mut passed) = (0.0, Density::clamped(0.0).get().ln());
            for _ in 0..HALVINGS {
                let middle = 0.5 * (kept + passed);
                let density = Density::clamped(f64::exp(middle));
                if taken(density) <= bytes { kept = middle } else { passed = middle }
            }
            each.push((Bound::MemoryBytes, Density::clamped(kept.exp())));
        }
        if let Some(sparsity) = self.max_sparsity {
            each.push((Bound::MaxSparsity, sparsity.density()));
        }
        Ok(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::StorageFormat;

    fn size() -> NonzeroParams {
        NonzeroParams::new(1e8).unwrap()
    }

    #[test]
    fn the_tightest_bound_is_the_one_that_binds() {
        let storage = Storage::new(StorageFormat::Bitmask, 16);
        let ceiling = Ceiling {
            max_total_params: Some(4e8),
            memory: Some((3e8, storage)),
            max_sparsity: Sparsity::new(0.9).ok(),
        };
        // 16 bits for each non-zero and one bit for every parameter: 2e8 bytes and 12.5e6 / x bytes.
        let least = ceiling.least_density(size()).unwrap().unwrap();
        assert!((least.get() - 0.25).abs() < 1e-12, "{least}");
        assert_eq!(ceiling.binding(size(), None).unwrap(), [Bound::MaxTotalParams]);
        let sparser = Density::new(0.2).ok();
        assert_eq!(ceiling.binding(size(), sparser).unwrap(), [Bound::MaxTotalParams]);
        assert_eq!(ceiling.binding(size(), Some(Density::DENSE)).unwrap(), []);
        assert_eq!(Ceiling::default().binding(size(), None).unwrap(), []);
        let less = Ceiling { memory: Some((2.2e8, storage)), ..ceiling };
        let least = less.least_density(size()).unwrap().unwrap();
        assert!((least.get() - 12.5 / 20.0).abs() < 1e-12, "{least}");
        assert_eq!(less.binding(size(), None).unwrap(), [Bound::MemoryBytes]);
    }

    #[test]
    fn a_bound_that_the_dense_model_passes_is_named() {
        let total = Ceiling { max_total_params: Some(9e7), ..Ceiling::default() };
        let error = total.least_density(size()).unwrap_err();
        assert_eq!((error.bound, error.needed), (Bound::MaxTotalParams, 1e8));
        for format in StorageFormat::ALL {
            let storage = Storage::new(format, 8);
            let memory = |bytes| Ceiling { memory: Some((bytes, storage)), ..Ceiling::default() };
            assert_eq!(memory(0.99e8).least_density(size()).unwrap_err().needed, 1e8);
            // Exactly the memory of the dense model is enough.
            let least = memory(1e8).least_density(size()).unwrap().unwrap();
            assert!(least.get() > 0.3, "{format:?} {least}");
        }
    }

    #[test]
    fn patterns_are_held_to_their_own_storage() {
        let storage = Storage::new(StorageFormat::TwoOfFour, 16);
        let half = Density::new(0.5).unwrap();
        let ceiling = Ceiling { memory: Some((2.3e8, storage)), ..Ceiling::default() };
        // Nine bits for each parameter with the pattern, and sixteen where zeros lie anywhere.
        assert!(ceiling.allows_pattern(size(), half, true));
        assert!(!ceiling.allows_pattern(size(), half, false));
        let sparse = Ceiling { max_sparsity: Sparsity::new(0.4).ok(), ..Ceiling::default() };
        assert!(!sparse.allows_pattern(size(), half, true));
    }

    #[test]
    fn nothing_is_bounded_by_nothing() {
        assert!(Ceiling::default().is_none());
        assert_eq!(Ceiling::default().least_density(size()), Ok(None));
        assert!(Ceiling::default().allows_pattern(size(), Density::clamped(0.1), false));
    }
}

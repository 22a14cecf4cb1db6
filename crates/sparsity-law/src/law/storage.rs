//! Memory for the weights of a model.

use super::quantity::Density;

named! {
    /// The format in which the weights of a sparse model are stored.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum StorageFormat {
        /// All weights, zeros included.
        Dense = "dense",
        /// One bit for each weight, and the values of the non-zeros.
        Bitmask = "bitmask",
        /// Compressed sparse rows: the non-zeros with their column indices.
        Csr = "csr",
        /// Two of every four weights, with two index bits for each of them.
        TwoOfFour = "2:4",
    }
}

/// A storage format together with the number of bits of one value.
///
/// Bits per weight, zeros included, for `b`-bit values at density `x`:
///
/// | format | bits |
/// |---|---|
/// | dense | `b` |
/// | bitmask | `b x + 1` |
/// | csr | `(b + 16) x + 1/32`: 16-bit column indices, and a 32-bit pointer for each row of 1,024 weights |
/// | 2:4 | `b/2 + 1`, for models that keep at most two of every four weights |
///
/// Nobody stores a model in a format that needs more memory than the plain weights, so no format counts for more than
/// `b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Storage {
    format: StorageFormat,
    value_bits: f64,
}

/// Bits of a column index in compressed sparse rows.
const COLUMN_BITS: f64 = 16.0;
/// Bits of row pointers per weight: 32 for a row of 1,024.
const ROW_BITS: f64 = 32.0 / 1024.0;

impl Storage {
    /// Supported widths of a value in bits.
    pub const VALUE_BITS: [u32; 4] = [4, 8, 16, 32];

    /// The format `format` with values of `value_bits` bits, one of [`Storage::VALUE_BITS`].
    #[must_use]
    pub fn new(format: StorageFormat, value_bits: u32) -> Self {
        Self { format, value_bits: f64::from(value_bits) }
    }

    /// Bits per weight, zeros included, of a model whose zeros lie anywhere. Such a model has no 2:4 form.
    #[must_use]
    pub fn unstructured_bits(&self, density: Density) -> f64 {
        let (b, x) = (self.value_bits, density.get());
        let bits = match self.format {
            StorageFormat::Dense | StorageFormat::TwoOfFour => b,
            StorageFormat::Bitmask => b * x + 1.0,
            StorageFormat::Csr => (b + COLUMN_BITS) * x + ROW_BITS,
        };
        bits.min(b)
    }

    /// Bits per weight, zeros included, of a model whose zeros follow a pattern. `two_of_four` says that the pattern
    /// keeps at most two of every four weights.
    ///
    /// ```
    /// use sparsity_law::law::{Density, Storage, StorageFormat};
    ///
    /// let half = Density::new(0.5)?;
    /// let bits = |format| Storage::new(format, 16).pattern_bits(half, true);
    /// assert_eq!(bits(StorageFormat::TwoOfFour), 9.0); // 9/16 of the plain weights
    /// assert_eq!(bits(StorageFormat::Bitmask), 9.0);
    /// assert_eq!(bits(StorageFormat::Dense), 16.0);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn pattern_bits(&self, density: Density, two_of_four: bool) -> f64 {
        match self.format {
            StorageFormat::TwoOfFour if two_of_four => 0.5 * self.value_bits + 1.0,
            _ => self.unstructured_bits(density),
        }
    }

    /// Density below which the format needs less memory than the plain weights; `None` where it never does.
    pub(super) fn pays_below(&self) -> Option<f64> {
        match self.format {
            StorageFormat::Dense | StorageFormat::TwoOfFour => None,
            StorageFormat::Bitmask => Some(1.0 - 1.0 / self.value_bits),
            StorageFormat::Csr => {
                Some((self.value_bits - ROW_BITS) / (self.value_bits + COLUMN_BITS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_per_weight_of_each_format() {
        let half = Density::new(0.5).unwrap();
        let bits = |format, density| Storage::new(format, 16).unstructured_bits(density);
        assert_eq!(bits(StorageFormat::Dense, half), 16.0);
        assert_eq!(bits(StorageFormat::Bitmask, half), 9.0);
        assert_eq!(bits(StorageFormat::Csr, Density::new(0.25).unwrap()), 8.03125);
        // Never more than the plain weights.
        assert_eq!(bits(StorageFormat::Bitmask, Density::DENSE), 16.0);
        assert_eq!(bits(StorageFormat::Csr, half), 16.0);
        assert_eq!(bits(StorageFormat::TwoOfFour, half), 16.0);
        // 9/16 of the memory of fp16.
        let two_of_four = Storage::new(StorageFormat::TwoOfFour, 16);
        assert_eq!(two_of_four.pattern_bits(half, true), 9.0);
        assert_eq!(two_of_four.pattern_bits(half, false), 16.0);
    }

    #[test]
    fn the_format_pays_from_where_it_takes_less() {
        for format in [StorageFormat::Bitmask, StorageFormat::Csr] {
            for bits in Storage::VALUE_BITS {
                let storage = Storage::new(format, bits);
                let at = storage.pays_below().unwrap();
                let bits_at = |x: f64| storage.unstructured_bits(Density::new(x).unwrap());
                assert!((bits_at(at) - f64::from(bits)).abs() < 1e-12);
                assert!(bits_at(at * 0.99) < f64::from(bits));
            }
        }
    }
}

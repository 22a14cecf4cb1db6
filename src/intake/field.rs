//! The fields of a submitted run.

use sparsity_law::named;

/// Another name for `nonzero_params`, for models whose zeros are experts that a token does not pass through.
pub(crate) const ACTIVE_PARAMS: &str = "active_params";

named! {
    /// A field of a submitted run, in the order in which exports have them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Field {
        /// The submitter's name for the run.
        ExternalId = "external_id",
        /// Non-zero parameters.
        NonzeroParams = "nonzero_params",
        /// Number of parameters, zeros included.
        TotalParams = "total_params",
        /// Fraction of parameters that are zero.
        Sparsity = "sparsity",
        /// Training data seen, in the family's unit.
        Data = "data",
        /// Validation loss.
        Loss = "loss",
        /// `scratch` or `pretrained`.
        Start = "start",
        /// Data that the pretrained starting point had been trained on.
        PretrainingData = "pretraining_data",
        /// Amount of distinct data, if some was repeated.
        UniqueData = "unique_data",
        /// Structured sparsity pattern.
        Pattern = "pattern",
        /// Labels: an object of texts, written as JSON in a table cell.
        Tags = "tags",
        /// Why fits exclude the run.
        ExclusionReason = "exclusion_reason",
        /// Training FLOPs, which are compared with size and data and not stored.
        Flops = "flops",
    }
}

impl Field {
    /// Fields that hold a number, and may therefore have a scale factor.
    pub const NUMBERS: [Self; 8] = [
        Self::NonzeroParams,
        Self::TotalParams,
        Self::Sparsity,
        Self::Data,
        Self::Loss,
        Self::PretrainingData,
        Self::UniqueData,
        Self::Flops,
    ];

    /// Name of the field, as a list of one.
    pub(crate) const fn name(self) -> &'static [&'static str] {
        const NAMES: [[&str; 1]; Field::ALL.len()] = {
            let mut names = [[""]; Field::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = [Field::ALL[at].as_str()];
                at += 1;
            }
            names
        };
        &NAMES[self as usize]
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        // If the zeros are experts, the active parameters of a token are the non-zero ones.
        if name == ACTIVE_PARAMS {
            return Some(Self::NonzeroParams);
        }
        Self::of_name(name)
    }

    pub(crate) fn list(fields: &[Self]) -> String {
        fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ")
    }
}

//! The fields of a submitted run.

use sparsity_law::named;

/// How `nonzero_params` are called where the zeros are experts that a token does not pass.
pub(crate) const ACTIVE_PARAMS: &str = "active_params";

named! {
    /// A field of a submitted run, in the order in which exports have them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Field {
        /// The submitter's name of the run.
        ExternalId = "external_id",
        /// Non-zero parameters.
        NonzeroParams = "nonzero_params",
        /// Parameters, zeros included.
        TotalParams = "total_params",
        /// Fraction of zeros.
        Sparsity = "sparsity",
        /// Data seen in training.
        Data = "data",
        /// Validation loss.
        Loss = "loss",
        /// `scratch` or `pretrained`.
        Start = "start",
        /// Data that a pretrained start had seen.
        PretrainingData = "pretraining_data",
        /// How much of the data is different.
        UniqueData = "unique_data",
        /// Structured pattern.
        Pattern = "pattern",
        /// Labels: an object of texts, in a cell as JSON.
        Tags = "tags",
        /// Why fits leave the run out.
        ExclusionReason = "exclusion_reason",
        /// Training FLOPs: held against size and data, and not stored.
        Flops = "flops",
    }
}

impl Field {
    /// Fields with a number, which may be scaled.
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

    /// Its name, as the only one that it has.
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
        // What a token passes is what is not zero, where the zeros are experts.
        if name == ACTIVE_PARAMS {
            return Some(Self::NonzeroParams);
        }
        Self::of_name(name)
    }

    pub(crate) fn list(fields: &[Self]) -> String {
        fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ")
    }
}

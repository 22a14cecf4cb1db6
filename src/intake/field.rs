//! The fields of a submitted run.

/// How `nonzero_params` are called where the zeros are experts that a token does not pass.
pub(crate) const ACTIVE_PARAMS: &str = "active_params";

/// A field of a submitted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The submitter's name of the run.
    ExternalId,
    /// Non-zero parameters.
    NonzeroParams,
    /// Parameters, zeros included.
    TotalParams,
    /// Fraction of zeros.
    Sparsity,
    /// Data seen in training.
    Data,
    /// Validation loss.
    Loss,
    /// `scratch` or `pretrained`.
    Start,
    /// Data that a pretrained start had seen.
    PretrainingData,
    /// How much of the data is different.
    UniqueData,
    /// Structured pattern.
    Pattern,
    /// Labels: an object of texts, in a cell as JSON.
    Tags,
    /// Why fits leave the run out.
    ExclusionReason,
    /// Training FLOPs: held against size and data, and not stored.
    Flops,
}

impl Field {
    /// All fields, in the order in which exports have them.
    pub const ALL: [Self; 13] = [
        Self::ExternalId,
        Self::NonzeroParams,
        Self::TotalParams,
        Self::Sparsity,
        Self::Data,
        Self::Loss,
        Self::Start,
        Self::PretrainingData,
        Self::UniqueData,
        Self::Pattern,
        Self::Tags,
        Self::ExclusionReason,
        Self::Flops,
    ];

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

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::NonzeroParams => "nonzero_params",
            Self::TotalParams => "total_params",
            Self::Sparsity => "sparsity",
            Self::Data => "data",
            Self::Loss => "loss",
            Self::Start => "start",
            Self::PretrainingData => "pretraining_data",
            Self::UniqueData => "unique_data",
            Self::Pattern => "pattern",
            Self::Tags => "tags",
            Self::ExclusionReason => "exclusion_reason",
            Self::Flops => "flops",
        }
    }

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
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }

    pub(crate) fn list(fields: &[Self]) -> String {
        fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ")
    }
}

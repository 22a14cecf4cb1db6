//! The fields of a submitted run.

/// Another name for `nonzero_params`, for models whose zeros are experts that a token does not pass through.
pub(crate) const ACTIVE_PARAMS: &str = "active_params";

/// A field of a submitted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The submitter's name for the run.
    ExternalId,
    /// Number of non-zero parameters.
    NonzeroParams,
    /// Number of parameters, zeros included.
    TotalParams,
    /// Fraction of parameters that are zero.
    Sparsity,
    /// Training data seen, in the family's unit.
    Data,
    /// Validation loss.
    Loss,
    /// `scratch` or `pretrained`.
    Start,
    /// Data that the pretrained starting point had been trained on.
    PretrainingData,
    /// Amount of distinct data, if some was repeated.
    UniqueData,
    /// Structured sparsity pattern.
    Pattern,
    /// Labels: an object of texts, written as JSON in a table cell.
    Tags,
    /// Why fits exclude the run.
    ExclusionReason,
    /// Training FLOPs, which are compared with size and data and not stored.
    Flops,
}

impl Field {
    /// All fields, in the order of the columns of exports.
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

    /// Name of the field.
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
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }

    pub(crate) fn list(fields: &[Self]) -> String {
        fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ")
    }
}

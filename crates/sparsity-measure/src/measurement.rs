//! The result of a measurement.

use serde::Serialize;

use crate::names::Role;

/// Number of parameters, and of those that are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Counts {
    /// Number of parameters, zeros included.
    pub total_params: u64,
    /// Number of parameters that are not zero; NaN counts as not zero.
    pub nonzero_params: u64,
    /// Fraction of zeros, 0 to 1; 0 where there are no parameters.
    pub sparsity: f64,
}

impl Counts {
    pub(crate) fn new(total_params: u64, nonzero_params: u64) -> Self {
        let zeros = total_params - nonzero_params;
        let sparsity = if zeros == 0 { 0.0 } else { zeros as f64 / total_params as f64 };
        Self { total_params, nonzero_params, sparsity }
    }

    pub(crate) fn sum<'a>(rows: impl Iterator<Item = &'a TensorRow>) -> Self {
        let (total, nonzero) = rows.fold((0, 0), |(total, nonzero), row| {
            (total + row.counts.total_params, nonzero + row.counts.nonzero_params)
        });
        Self::new(total, nonzero)
    }
}

/// Which parameters the size and sparsity of a run refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All parameters.
    All,
    /// All but embeddings and the output layer, as the papers count.
    #[default]
    WithoutEmbeddings,
    /// Only weights that are pruned: matrices and experts.
    Prunable,
}

/// The fields of a training run that follow from its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFields {
    /// Number of parameters in scope that are not zero.
    pub nonzero_params: u64,
    /// Fraction of zeros in the same scope.
    pub sparsity: f64,
    /// A pattern such as `2:4` that holds in every prunable tensor along its inputs, if there is one.
    pub pattern: Option<String>,
}

/// The axis along which a pattern holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// Along the inputs of the weight, which is what hardware supports.
    Inputs,
    /// Along another axis.
    Other,
}

/// An n:m pattern that holds in a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorPattern {
    /// Name of the pattern, such as `2:4`.
    pub pattern: String,
    /// Index of the axis, from 0.
    pub axis: usize,
    /// What the axis is.
    pub along: Along,
    #[serde(skip)]
    pub(crate) group: Group,
}

/// An n:m pattern: at most `n` of each `m` elements are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub m: u64,
    pub n: u64,
}

impl Group {
    /// Whether the other pattern holds wherever this one does.
    pub fn implies(self, other: Self) -> bool {
        other.m.is_multiple_of(self.m) && other.n >= self.n * (other.m / self.m)
    }

    pub fn name(self) -> String {
        format!("{}:{}", self.n, self.m)
    }
}

/// The measurement of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorRow {
    /// Name of the weight in the model.
    pub name: String,
    /// Lengths of the dimensions.
    pub shape: Vec<u64>,
    /// Type of the elements, by its name in the safetensors format.
    pub dtype: &'static str,
    /// What the tensor is for.
    pub role: Role,
    /// Number of parameters and non-zeros.
    #[serde(flatten)]
    pub counts: Counts,
    /// The n:m patterns that hold, without those that follow from others.
    pub patterns: Vec<TensorPattern>,
    /// Number of elements of the smallest magnitude that the type can represent: about half as many zeros were
    /// made by rounding.
    pub smallest: u64,
    /// Number of infinities and NaNs.
    pub not_finite: u64,
}

impl TensorRow {
    /// Estimated number of zeros made by rounding, from the number of elements of the smallest magnitude.
    ///
    /// Within so small a range values are spread evenly. Those that round to zero lie within half a step on either
    /// side of it; those that round to the smallest magnitude fill one step on either side, twice as much.
    pub(crate) fn rounded_to_zero(&self) -> u64 {
        let zeros = self.counts.total_params - self.counts.nonzero_params;
        (self.smallest / 2).min(zeros)
    }
}

/// Number of prunable tensors in which a pattern holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatternTally {
    /// Name of the pattern, such as `2:4`.
    pub pattern: String,
    /// The axis along which it holds.
    pub along: Along,
    /// Number of prunable tensors in which it holds.
    pub tensors: u64,
    /// Number of prunable tensors in all.
    pub of: u64,
}

/// The experts of a mixture-of-experts model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experts {
    /// Number of experts in a layer, by the tensors.
    pub count: u64,
    /// Number of experts that a token passes through, by `config.json`.
    pub per_token: Option<u64>,
    /// Parameters of the experts of all layers.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A tensor that is not a parameter, or is counted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Name of the tensor.
    pub tensor: String,
    /// Why it is not counted.
    pub reason: LeftOutReason,
    /// Number of elements; 0 for a tensor that is not in the index, whose size is not read.
    pub elements: u64,
}

/// Why a tensor is not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Stored with the parameters but computed or collected, such as statistics of a norm or a triangular mask.
    Buffer,
    /// Scale factors of quantised weights.
    Scale,
    /// Integers, such as position ids.
    Integers,
    /// Equal to another tensor and counted there.
    Tied {
        /// Name of the other tensor.
        to: String,
    },
    /// Not named by the index, so no loader reads it.
    NotInIndex,
}

/// Something to know before the numbers are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable code, for programs.
    pub code: WarningCode,
    /// Explanation in a sentence, for people.
    pub detail: String,
}

/// Code of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// Rounding to a narrow type has made zeros.
    RoundingZeros,
    /// Weights are quantised, so zeros of pruning and of rounding look the same.
    QuantisedWeights,
    /// Half of a tensor is zero, but no pattern holds.
    HalfWithoutPattern,
    /// A pattern holds, but not along the inputs.
    PatternNotAlongInputs,
    /// There are infinities or NaNs.
    NotFinite,
    /// Whole tensors are zero.
    AllZero,
    /// Weights that `config.json` says are tied are stored twice with different values.
    TiedButDifferent,
    /// `config.json` says that the output layer has its own weights, but it has none.
    OutputLayerMissing,
    /// The number of experts in `config.json` differs from that of the tensors.
    ExpertsDiffer,
    /// Files contain tensors that the index does not name.
    NotInIndex,
}

impl WarningCode {
    /// The code as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundingZeros => "rounding_zeros",
            Self::QuantisedWeights => "quantised_weights",
            Self::HalfWithoutPattern => "half_without_pattern",
            Self::PatternNotAlongInputs => "pattern_not_along_inputs",
            Self::NotFinite => "not_finite",
            Self::AllZero => "all_zero",
            Self::TiedButDifferent => "tied_but_different",
            Self::OutputLayerMissing => "output_layer_missing",
            Self::ExpertsDiffer => "experts_differ",
            Self::NotInIndex => "not_in_index",
        }
    }
}

/// The measurement of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// All parameters.
    pub all: Counts,
    /// All parameters but those of embeddings and the output layer.
    pub without_embeddings: Counts,
    /// Parameters of matrices and experts, which are what is pruned.
    pub prunable: Counts,
    /// Parameters of embeddings.
    pub embeddings: Counts,
    /// Parameters of the output layer, where it has its own weights.
    pub output_layer: Counts,
    /// A pattern such as `2:4` that holds in every prunable tensor along its inputs, if there is one.
    pub pattern: Option<String>,
    /// For each pattern, the number of prunable tensors in which it holds.
    pub patterns: Vec<PatternTally>,
    /// The experts, for a mixture-of-experts model.
    pub experts: Option<Experts>,
    /// Warnings to read before the numbers are used.
    pub warnings: Vec<Warning>,
    /// Tensors that were not counted.
    pub left_out: Vec<LeftOut>,
    /// All counted tensors, sorted by name.
    pub tensors: Vec<TensorRow>,
    /// Number of bytes that were read to count.
    pub bytes: u64,
}

impl Measurement {
    /// The counts of a scope.
    #[must_use]
    pub fn counts(&self, scope: Scope) -> Counts {
        match scope {
            Scope::All => self.all,
            Scope::WithoutEmbeddings => self.without_embeddings,
            Scope::Prunable => self.prunable,
        }
    }

    /// The fields of a training run that follow from this checkpoint.
    #[must_use]
    pub fn run_fields(&self, scope: Scope) -> RunFields {
        let counts = self.counts(scope);
        RunFields {
            nonzero_params: counts.nonzero_params,
            sparsity: counts.sparsity,
            pattern: self.pattern.clone(),
        }
    }

    /// Whether a pattern such as `2:4` holds in every prunable tensor along its inputs.
    #[must_use]
    pub fn holds(&self, pattern: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        let asked =
            pattern.split_once(':').and_then(|(n, m)| Some(Group { n: number(n)?, m: number(m)? }));
        let Some(asked) = asked else { return false };
        let mut prunable = self.tensors.iter().filter(|row| row.role.is_prunable()).peekable();
        prunable.peek().is_some() && prunable.all(|row| row.holds(asked, Along::Inputs))
    }
}

impl TensorRow {
    pub(crate) fn holds(&self, group: Group, along: Along) -> bool {
        self.patterns.iter().any(|found| found.along == along && found.group.implies(group))
    }
}

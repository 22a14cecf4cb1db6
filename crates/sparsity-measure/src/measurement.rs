//! What was measured.

use serde::Serialize;

use crate::names::Role;

/// Parameters, and those that are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Counts {
    /// Zeros included.
    pub total_params: u64,
    /// Without zeros; a NaN is none.
    pub nonzero_params: u64,
    /// Fraction of zeros; 0 where there are no parameters.
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

/// Which parameters a run's size and sparsity are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All.
    All,
    /// All but embeddings and the output layer: as the papers count.
    #[default]
    WithoutEmbeddings,
    /// Only what is pruned: matrices and experts.
    Prunable,
}

/// What a run of this checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFields {
    /// Parameters in scope that are not zero.
    pub nonzero_params: u64,
    /// Fraction of zeros in the same scope.
    pub sparsity: f64,
    /// The pattern that holds in every prunable tensor along its inputs.
    pub pattern: Option<String>,
}

/// Along which axis a pattern holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// The inputs of the weight, as hardware wants it.
    Inputs,
    /// Another axis.
    Other,
}

/// A pattern that holds in a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorPattern {
    /// Such as `2:4`.
    pub pattern: String,
    /// The axis, counted from 0.
    pub axis: usize,
    /// What lies along it.
    pub along: Along,
    #[serde(skip)]
    pub(crate) group: Group,
}

/// At most `n` of each `m` are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub m: u64,
    pub n: u64,
}

impl Group {
    /// Whether another holds wherever this one does.
    pub fn implies(self, other: Self) -> bool {
        other.m.is_multiple_of(self.m) && other.n >= self.n * (other.m / self.m)
    }

    pub fn name(self) -> String {
        format!("{}:{}", self.n, self.m)
    }
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorRow {
    /// As the model calls it.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Type of its elements.
    pub dtype: &'static str,
    /// What it is for.
    pub role: Role,
    /// Its parameters.
    #[serde(flatten)]
    pub counts: Counts,
    /// The n:m patterns that hold, the strictest only.
    pub patterns: Vec<TensorPattern>,
    /// Elements of the smallest magnitude that the type can tell from zero: as many as half of these are
    /// zeros that rounding made.
    pub smallest: u64,
    /// Infinities and NaNs.
    pub not_finite: u64,
}

impl TensorRow {
    /// Zeros that rounding has made, by the elements that it just left.
    ///
    /// Values are spread evenly over so small a range: those that round to zero lie within half a step on
    /// either side, those that round to the smallest numbers fill a step on either side.
    pub(crate) fn rounded_to_zero(&self) -> u64 {
        let zeros = self.counts.total_params - self.counts.nonzero_params;
        (self.smallest / 2).min(zeros)
    }
}

/// In how many of the prunable tensors a pattern holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatternTally {
    /// Such as `2:4`.
    pub pattern: String,
    /// Along what.
    pub along: Along,
    /// In how many prunable tensors it holds.
    pub tensors: u64,
    /// How many there are.
    pub of: u64,
}

/// The experts of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experts {
    /// How many a layer has, by the tensors.
    pub count: u64,
    /// How many a token passes through, by `config.json`.
    pub per_token: Option<u64>,
    /// Their parameters, in all layers.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A tensor that is no parameter, or was counted already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub tensor: String,
    /// Why.
    pub reason: LeftOutReason,
    /// How many elements it has; 0 where nobody looked.
    pub elements: u64,
}

/// Why a tensor is not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Kept with the parameters, but computed or collected: the statistics of a norm, a triangle.
    Buffer,
    /// Scales quantised weights.
    Scale,
    /// Integers, such as positions.
    Integers,
    /// The same as another tensor, and counted there.
    Tied {
        /// The other.
        to: String,
    },
    /// The index does not name it, so that no loader reads it.
    NotInIndex,
}

/// What to know before the numbers are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable name.
    pub code: WarningCode,
    /// A sentence.
    pub detail: String,
}

/// What warnings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// Rounding to a narrow type has made zeros.
    RoundingZeros,
    /// Weights are quantised, so that zeros of pruning and of rounding look the same.
    QuantisedWeights,
    /// Half of a tensor is zero, and no pattern holds.
    HalfWithoutPattern,
    /// A pattern holds, but not along the inputs.
    PatternNotAlongInputs,
    /// There are infinities or NaNs.
    NotFinite,
    /// Whole tensors are zero.
    AllZero,
    /// Tied by `config.json`, but stored twice with different values.
    TiedButDifferent,
    /// `config.json` says that the output layer has weights of its own, and it has none.
    OutputLayerMissing,
    /// The number of experts in `config.json` is not that of the tensors.
    ExpertsDiffer,
    /// Files hold tensors that the index does not name.
    NotInIndex,
}

impl WarningCode {
    /// The name in JSON.
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

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// All parameters.
    pub all: Counts,
    /// All but embeddings and the output layer.
    pub without_embeddings: Counts,
    /// Matrices and experts: what is pruned.
    pub prunable: Counts,
    /// Embeddings.
    pub embeddings: Counts,
    /// The output layer, where it has weights of its own.
    pub output_layer: Counts,
    /// The pattern that holds in every prunable tensor along its inputs.
    pub pattern: Option<String>,
    /// In how many prunable tensors patterns hold.
    pub patterns: Vec<PatternTally>,
    /// The experts of a mixture.
    pub experts: Option<Experts>,
    /// What to know before the numbers are used.
    pub warnings: Vec<Warning>,
    /// What was not counted.
    pub left_out: Vec<LeftOut>,
    /// Tensor by tensor, by name.
    pub tensors: Vec<TensorRow>,
    /// Bytes that were counted.
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

    /// What a run of this checkpoint says of itself.
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

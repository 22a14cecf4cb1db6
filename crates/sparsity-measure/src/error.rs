//! Why a checkpoint is not measured.

use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint is not measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The system would not read.
    #[error("reading {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder without a checkpoint that can be read.
    #[error("{path} has no safetensors file{hint}")]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
        /// What is there instead; empty where nothing is.
        hint: String,
    },
    /// A folder with several files and nothing that says which belong together.
    #[error("{path} has several safetensors files and no index: name one of {}", .files.join(", "))]
    SeveralFiles {
        /// The folder.
        path: PathBuf,
        /// Their names.
        files: Vec<String>,
    },
    /// A file of another format.
    #[error("{path} is {what}")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// A file that is no safetensors file, or is damaged.
    #[error("{path} is no whole safetensors file: {detail}")]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// JSON beside the weights that cannot be read.
    #[error("{path} cannot be read")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An index that does not fit its files.
    #[error("{path}: {detail}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A tensor whose zeros in the file are not the zeros of the model.
    #[error("{tensor}: {reason}")]
    Refused {
        /// The tensor.
        tensor: String,
        /// Why it cannot be counted.
        reason: Refusal,
    },
    /// Nothing to count.
    #[error("{0} has no parameters")]
    Empty(PathBuf),
}

/// Why a tensor cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Several quantised values in one integer.
    #[error(
        "packed integers ({0}) hold several quantised values each, and quantising makes and loses zeros; \
         measure the checkpoint that was quantised"
    )]
    Packed(&'static str),
    /// Zero is stored as another number.
    #[error(
        "quantised with a zero point, so that a stored 0 is no zero; measure the checkpoint that was \
         quantised"
    )]
    ZeroPoint,
    /// A layout that the format does not lay down.
    #[error("the layout of {0} within bytes is not defined by the format")]
    Layout(&'static str),
    /// `torch.nn.utils.prune` without its mask.
    #[error(
        "the weights before pruning, without the mask {0}; which of them are zero is not saved"
    )]
    NoMask(String),
    /// A mask beside weights that may or may not be masked.
    #[error("a mask beside {0}, which may or may not be masked already; save the product alone")]
    LooseMask(String),
    /// A parametrised weight, which is computed when it is used.
    #[error(
        "a parametrised weight, computed when it is used; call \
         torch.nn.utils.parametrize.remove_parametrizations and save again"
    )]
    Parametrised,
    /// A mask of another shape.
    #[error("its mask has another shape")]
    MaskShape,
    /// A mask that holds something else than 0 and 1.
    #[error("its mask is of type {0}, which no mask is")]
    MaskType(&'static str),
    /// A mask on a tensor that is tied to another.
    #[error(
        "masked, but tied to {0}: the mask is applied in one place and not in the other, and a loader ties \
         them again without it, so what was evaluated is not what is saved; make the pruning permanent \
         (torch.nn.utils.prune.remove) and save again"
    )]
    MaskedAndTied(String),
    /// Parts of a compressed tensor that do not fit each other.
    #[error("a compressed tensor whose parts do not fit each other: {0}")]
    Bitmask(String),
    /// An adapter instead of a model.
    #[error("part of a LoRA adapter; merge it into its model and measure that")]
    Adapter,
}

impl MeasureError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn refused(tensor: &str, reason: Refusal) -> Self {
        Self::Refused { tensor: tensor.to_owned(), reason }
    }
}

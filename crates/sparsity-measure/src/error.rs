//! Errors of measuring a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A file or folder could not be read.
    #[error("reading {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The folder has no checkpoint in a format that can be read.
    #[error("{path} has no safetensors file{hint}")]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
        /// Text about a file in another format that is there instead; empty where there is none.
        hint: String,
    },
    /// The folder has several files, and no index says which belong together.
    #[error("{path} has several safetensors files and no index: name one of {}", .files.join(", "))]
    SeveralFiles {
        /// The folder.
        path: PathBuf,
        /// Names of the files.
        files: Vec<String>,
    },
    /// The file is of another format.
    #[error("{path} is {what}")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Which format it is, and what can be done.
        what: &'static str,
    },
    /// The file is not a safetensors file, or is damaged.
    #[error("{path} is no whole safetensors file: {detail}")]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A JSON file beside the weights could not be parsed.
    #[error("{path} cannot be read")]
    Json {
        /// The file.
        path: PathBuf,
        /// Error of the parser.
        #[source]
        source: serde_json::Error,
    },
    /// The index does not match its files.
    #[error("{path}: {detail}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What does not match.
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
    /// The checkpoint has no parameters.
    #[error("{0} has no parameters")]
    Empty(PathBuf),
}

/// Why a tensor cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Each integer packs several quantised values.
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
    /// The format does not define how the elements are laid out within bytes.
    #[error("the layout of {0} within bytes is not defined by the format")]
    Layout(&'static str),
    /// Weights before `torch.nn.utils.prune`, without their mask.
    #[error(
        "the weights before pruning, without the mask {0}; which of them are zero is not saved"
    )]
    NoMask(String),
    /// There is a mask beside the weights, but it is not clear whether they are already masked.
    #[error("a mask beside {0}, which may or may not be masked already; save the product alone")]
    LooseMask(String),
    /// A parametrised weight, which is computed when it is used.
    #[error(
        "a parametrised weight, computed when it is used; call \
         torch.nn.utils.parametrize.remove_parametrizations and save again"
    )]
    Parametrised,
    /// The mask has another shape than its weights.
    #[error("its mask has another shape")]
    MaskShape,
    /// The mask is of a type that masks do not have.
    #[error("its mask is of type {0}, which no mask is")]
    MaskType(&'static str),
    /// A masked tensor that is tied to another one.
    #[error(
        "masked, but tied to {0}: the mask is applied in one place and not in the other, and a loader ties \
         them again without it, so what was evaluated is not what is saved; make the pruning permanent \
         (torch.nn.utils.prune.remove) and save again"
    )]
    MaskedAndTied(String),
    /// Parts of a compressed tensor that do not match each other.
    #[error("a compressed tensor whose parts do not fit each other: {0}")]
    Bitmask(String),
    /// The file holds an adapter, not a model.
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

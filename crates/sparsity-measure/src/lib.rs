//! Counts the parameters, non-zeros, sparsity and n:m patterns of a checkpoint.
//!
//! Reads safetensors files, a single one or several with an index, sequentially and with a few megabytes of
//! memory. The crate only reads files: it uses no network, no clock and no threads. What the numbers mean for the
//! law is decided by the service. A checkpoint that cannot be counted with certainty is refused, with the reason
//! in one sentence.
//!
//! Rejected: memory-mapped files. They need `unsafe`, and a file that is truncated while it is read would crash
//! the process. Reading in chunks is as fast from the page cache.

mod config;
mod count;
mod error;
mod files;
mod groups;
mod measure;
mod measurement;
mod names;
mod read;
mod weights;

pub use error::{MeasureError, Refusal};
pub use measure::{Progress, measure};
pub use measurement::{
    Along, Counts, Experts, LeftOut, LeftOutReason, Measurement, PatternTally, RunFields, Scope,
    TensorPattern, TensorRow, Warning, WarningCode,
};
pub use names::Role;

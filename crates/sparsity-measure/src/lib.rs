//! Counts what a checkpoint holds: parameters, non-zeros, sparsity, and the n:m patterns that hold.
//!
//! Reads safetensors files, one or many with an index, from begin to end with a few megabytes of memory.
//! Knows files and nothing else: no network, no clock, no threads. What the numbers mean to the law is the
//! service's business; what cannot be counted with certainty is refused here with one sentence.
//!
//! Rejected: mapping files into memory, which needs `unsafe`, and which a file that is cut short while it is
//! read turns into a crash. Reading in chunks is as fast from the page cache.

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

//! Conversion from bytes to checked values and back: bodies, queries, views, pictures, problems.

pub mod caching;
pub mod columns;
pub mod extract;
pub mod fit_options;
pub mod flop_mode;
mod json_tokens;
pub mod negotiation;
pub mod pictures;
pub mod problem;
pub mod rows;
pub mod schemas;
pub mod start;
pub(crate) mod strict;
pub mod values;
pub mod views;
pub mod zeros;

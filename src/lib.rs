//! Sparsity planner.

pub mod fit;
pub mod law;

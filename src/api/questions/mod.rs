//! Questions that a law answers, each in its own file with its own routes.

pub mod asked;
pub mod bounds;
pub mod budget;
pub mod bulk;
pub mod compare;
pub mod contours;
pub mod effective;
pub mod gain;
pub mod history;
pub mod law;
pub mod loss_by_sparsity;
pub mod modes;
pub mod optimal_sparsity;
mod own_optima;
pub mod patterns;
pub mod plans;
pub mod predictions;
pub mod suggestions;

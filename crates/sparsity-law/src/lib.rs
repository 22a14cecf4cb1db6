#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! | module | what it is for |
//! |---|---|
//! | [`law`] | from coefficients to answers: loss, optimal sparsity, gain, contours, plans, intervals |
//! | [`fit`] | from training runs to coefficients, their intervals, what the runs leave open, and which to make next |
//!
//! [`pace`] stops a long computation, or makes it wait for its turn, through a watch on the thread that it runs on.
//!
//! `fit` depends on `law`, never the other way round. Nothing in this crate depends on HTTP, SQL, the clock, the
//! environment or async.

#[macro_use]
mod named;

pub mod fit;
pub mod law;
pub mod pace;

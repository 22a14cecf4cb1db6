#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! | module | what it is for |
//! |---|---|
//! | [`law`] | from coefficients to answers: loss, optimal sparsity, gain, contours, plans, intervals |
//! | [`fit`] | from training runs to coefficients, their intervals, what the runs leave open, and which to make next |
//!
//! [`pace`] lets whoever computes an answer on a thread stop it, or make it wait for its turn.
//!
//! `fit` uses `law` and never the other way round. Nothing here knows of HTTP, SQL, the clock, the environment
//! or async.

#[macro_use]
mod named;

pub mod fit;
pub mod law;
pub mod pace;

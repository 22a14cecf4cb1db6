//! The scaling law of sparsely-connected models: what it predicts, and how it is fitted.
//!
//! | module | what it is for |
//! |---|---|
//! | [`law`] | from coefficients to answers: loss, optimal sparsity, gain, contours, plans, intervals |
//! | [`fit`] | from training runs to coefficients, their intervals, and what the runs leave open |
//!
//! Nothing here knows of HTTP, SQL, the clock, the environment or async.

pub mod fit;
pub mod law;

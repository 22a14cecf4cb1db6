//! Resources that are stored and can be listed, created, changed and deleted, each in its own file.

pub mod audit;
pub mod callers;
pub mod comparison;
pub mod events;
pub mod exports;
pub mod families;
pub mod fit_quality;
pub mod forecasts;
pub mod health;
pub mod keys;
pub mod laws;
pub mod mappings;
pub mod profiles;
pub mod refits;
pub(crate) mod runs;
pub(crate) mod submissions;
pub mod uploads;
pub(crate) mod waiting_uploads;

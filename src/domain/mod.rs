//! The domain of the service, as checked values: runs, laws, refits, families, forecasts, profiles, mappings and keys.
//!
//! Nothing here knows about SQL, HTTP or how values are transmitted.

pub mod access;
pub mod api_key;
pub mod audit;
pub mod calibration;
pub mod checks;
pub mod currency;
pub mod family;
pub mod forecast;
pub mod grouping;
pub mod law;
pub mod law_origin;
pub mod law_run;
pub mod mapping;
pub mod numbered_run;
pub mod page;
pub mod profile;
pub mod refit;
pub mod run;
pub mod standing;
pub mod submission;
pub mod text;
pub mod trust;
pub mod upload;

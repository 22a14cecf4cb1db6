//! The service against a real PostgreSQL: one private server for all tests, and a separate database for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod access;
mod announcements;
mod ask;
mod audit;
mod budgets;
mod bulk;
mod commands;
mod compare;
mod connections;
mod dashboard;
mod documents;
mod door;
mod effective;
mod evidence;
mod experts;
mod exports;
mod families;
mod family_events;
mod faults;
mod forecasts;
mod forms;
mod history;
mod hostile;
mod hot_paths;
mod http2;
mod laws;
mod limits;
mod mappings;
mod merge;
mod metrics;
#[cfg(feature = "oidc")]
mod oidc;
mod pictures;
mod plans;
mod private_postgres;
mod process;
mod profiles;
mod questions;
mod refits;
mod replica;
mod runs;
mod schedules;
mod schema;
mod suggestions;
#[cfg(feature = "otlp")]
mod traces;
mod transfers;
mod trust;
mod uploads;
mod waiting_uploads;
mod what_if;

#[path = "../support/mod.rs"]
mod support;

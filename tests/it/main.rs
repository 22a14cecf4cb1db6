//! The service against a real PostgreSQL: one private server for the whole run, a database of its
//! own for each test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod announcements;
mod documents;
mod evidence;
mod families;
mod laws;
mod plans;
mod private_postgres;
mod process;
mod profiles;
mod questions;
mod refits;
mod runs;
mod schema;
mod support;

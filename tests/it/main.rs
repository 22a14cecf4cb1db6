//! The service against a real PostgreSQL: one private server for the whole run, a database of its
//! own for each test.

mod documents;
mod families;
mod laws;
mod private_postgres;
mod process;
mod questions;
mod refits;
mod runs;
mod schema;
mod support;

//! State that a process holds in memory and keeps up to date.

pub mod announcements;
pub mod audit;
pub mod family_watch;
pub mod keyring;
pub mod laws;
pub mod profiles;
pub mod refit_watch;
pub mod remembered;
pub mod replica;
pub mod schema_look;

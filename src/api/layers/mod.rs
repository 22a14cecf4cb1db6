//! Layers that every request passes before and after its handler.

pub mod answer_points;
pub mod base_path;
pub mod bodies;
pub(crate) mod browsers;
pub(crate) mod caller;
pub(crate) mod compression;
pub(crate) mod guard;
pub mod needs;
pub(crate) mod noting;
pub(crate) mod observe;
pub mod owner;
pub(crate) mod parameters;
pub mod places;
pub mod replica_reads;
pub mod threads;
pub mod throttle;
pub mod transfers;

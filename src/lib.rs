//! Sparsity planner: fits the sparsity scaling law to training runs, and answers with predicted
//! loss and optimal sparsity.
//!
//! ```text
//! cli -> app -> api -> live, jobs -> store, intake -> domain -> sparsity-law
//! ```
//!
//! Arrows point downwards only, and no two files depend on each other in a cycle: `tests/contract/arrows.rs` reads the
//! paths named in the code and fails on any other arrow. `docs/architecture.md` follows a question, an upload and a
//! refit through the modules.
//!
//! | module | what it is for |
//! |---|---|
//! | [`sparsity_law`] | a crate of its own: the mathematics and the fit; pure |
//! | [`domain`] | runs, laws, refits, families, forecasts, profiles and keys as checked values |
//! | [`intake`] | bytes of any format in, checked runs out, and the reverse; blocking |
//! | [`pipeline`] | from an input to stored runs, for uploads and `import` |
//! | [`store`] | every line of SQL |
//! | [`live`] | what a process holds in memory and keeps fresh: laws, profiles, keys, a replica of the database |
//! | [`jobs`] | refits in the background: the loop and the work |
//! | [`api`] | the HTTP contract: `resources`, `questions`, the `layers` around them, and the `wire` shapes |
//! | [`draw`] | pictures of answers: numbers in, SVG and PNG out; pure |
//! | [`dashboard`] | the page at `/` and its files; reads only the public API |
//! | [`oidc`] | tokens of an OpenID Connect issuer: its keys, what a token says |
//! | [`telemetry`] | logs, metrics, and spans for a collector |
//! | [`postgres`] | a private PostgreSQL for those who have none |
//! | [`server`] | connections and their limits |
//! | [`config`], [`clock`] | settings; time and ids |
//! | `background` | threads that compute, behind those that serve |
//! | [`app`] | puts the parts together; orderly start and end |
//! | [`cli`] | the commands |

pub mod api;
pub mod app;
pub(crate) mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dashboard;
pub mod domain;
pub mod draw;
pub mod intake;
pub mod jobs;
pub mod live;
pub mod oidc;
pub mod pipeline;
pub mod postgres;
pub mod server;
pub mod store;
pub mod telemetry;

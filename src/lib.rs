//! Sparsity planner: fits the sparsity scaling law to training runs, and answers with predicted
//! loss and optimal sparsity.
//!
//! ```text
//! main -> app -> { api -> draw, dashboard, jobs, postgres } -> store -> { fit -> law }
//! ```
//!
//! | module | what it is for | may use |
//! |---|---|---|
//! | [`law`] | the mathematics; pure | nothing of this crate |
//! | [`fit`] | from observations to a law; pure | `law` |
//! | [`store`] | every line of SQL | `fit`, `law`, `calibration`, `access`, `clock`, `text` |
//! | [`jobs`] | refits in the background: the loop and the work | `store`, `fit`, `clock` |
//! | [`draw`] | pictures of answers: numbers in, SVG and PNG out; pure | nothing of this crate |
//! | [`dashboard`] | the page at `/` and its files; reads only the public API | nothing of this crate |
//! | [`api`] | the HTTP contract: one file a resource | `store`, `law`, `fit`, `draw`, `dashboard`, `ingest`, `export`, `calibration` |
//! | [`postgres`] | a private PostgreSQL for those who have none | nothing of this crate |
//! | [`server`] | connections and their limits | nothing of this crate |
//! | [`app`] | puts the parts together; orderly start and end | all of the above |
//! | `ask` | questions to a service elsewhere, for the command line | nothing of this crate |
//! | [`ingest`], [`submission`] | bytes of any format in, checked runs out; blocking | `store`, `fit`, `law` |
//! | [`export`] | the reverse: runs in, bytes of a format out | `ingest`, `store`, `law` |
//! | [`table`] | files of runs as the command line names them | `ingest` |
//! | [`grouping`] | which runs a law is fitted on, and which are compared with it | `store`, `fit`, `law` |
//! | [`access`] | scopes, API keys, and what a key may touch | `text` |
//! | [`oidc`] | tokens of an OpenID Connect issuer: its keys, what a token says | `access`, `clock`, `text` |
//! | [`traces`] | spans of requests and refits, for a collector | `store` |
//! | [`calibration`] | how often forecasts came true; pure | `law` |
//! | [`checks`], [`text`], [`clock`] | named field errors; texts; time and ids | nothing of this crate |
//! | [`config`], [`telemetry`], [`metrics`], [`demo`] | settings; logs; counts; synthetic runs | as needed |
//!
//! Without the feature `server`, which is on by default, there are `law` and `fit` alone: the mathematics and
//! the fit as a library.
//!
//! A test keeps `law`, `fit` and `draw` free of HTTP, SQL, the clock, the environment and async.

#[cfg(feature = "server")]
pub mod access;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "ask")]
pub mod ask;
#[cfg(feature = "server")]
pub mod calibration;
#[cfg(feature = "server")]
pub mod checks;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod dashboard;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(feature = "server")]
pub mod draw;
#[cfg(feature = "server")]
pub mod export;
pub mod fit;
#[cfg(feature = "server")]
pub mod grouping;
#[cfg(feature = "server")]
pub mod ingest;
#[cfg(feature = "server")]
pub mod jobs;
pub mod law;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod oidc;
#[cfg(feature = "server")]
pub mod postgres;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod submission;
#[cfg(feature = "server")]
pub mod table;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod text;
#[cfg(feature = "server")]
pub mod traces;

//! Stand-in for [`super::otlp`] in builds without traces; does nothing.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};

use crate::domain::refit::ClaimedRefit;
use crate::telemetry::traces::TracesConfig;

/// The absence of a collector.
#[derive(Debug, Clone, Default)]
pub struct Traces(());

impl Traces {
    /// Warns if a collector is configured.
    ///
    /// # Errors
    /// Never fails.
    pub fn start(config: &TracesConfig) -> anyhow::Result<Self> {
        if config.endpoint().is_some() {
            tracing::warn!("this program was built without traces: none are sent");
        }
        Ok(Self(()))
    }

    pub(crate) fn request(&self, _: &Request, _: Option<&MatchedPath>, _: &str) -> Span {
        Span(())
    }

    pub(crate) fn refit(&self, _: &ClaimedRefit) -> Span {
        Span(())
    }

    /// Does nothing, as there is nothing to send.
    pub async fn close(self, _: Duration) {}
}

/// A span that is not recorded.
#[derive(Debug, Clone, Default)]
pub struct Span(());

impl Span {
    pub(crate) fn child(&self, _: &'static str) -> Self {
        Self(())
    }

    pub(crate) fn hand_to(&self, _: &mut Request) {}

    pub(crate) fn note(&self, _: &'static str, _: &str) {}

    pub(crate) fn answered(&self, _: u16) {}

    pub(crate) fn failed(&self, _: &str) {}

    pub(crate) fn end(self) {}

    pub(crate) fn trace_id(&self) -> Option<String> {
        None
    }

    pub(crate) fn context(&self) -> Option<String> {
        None
    }
}

//! Stand-in for [`super::Tokens`] in builds without the feature.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::oidc::{Checked, OidcConfig};

/// Stand-in for tokens, which are never accepted.
#[derive(Debug, Clone, Default)]
pub struct Tokens(());

impl Tokens {
    /// Refuses to start if tokens are configured.
    ///
    /// # Errors
    /// If an issuer is configured.
    #[expect(clippy::unused_async, reason = "the same as where there are tokens")]
    pub async fn open(config: &OidcConfig, _: Arc<Clock>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            config.issuer().is_none(),
            "this program was built without the feature oidc, and --oidc-issuer asks for it"
        );
        Ok(Self(()))
    }

    pub(crate) const fn are_taken(&self) -> bool {
        false
    }

    pub(crate) fn check(&self, _: &str) -> Checked {
        Checked::NoKeys
    }

    #[expect(clippy::unused_async, reason = "the same as where there are tokens")]
    pub(crate) async fn read_keys_for_unknown(&self) {}

    #[expect(clippy::unused_async, reason = "the same as where there are tokens")]
    pub(crate) async fn keep(&self, _: &CancellationToken) {}
}

//! Tokens of an OpenID Connect issuer, which callers may send instead of an API key.
//!
//! A token is accepted if it is signed by a key that the issuer publishes, and is valid for this audience at this time;
//! its claims say what its holder may do. The keys are held in memory, and so are recently verified tokens, so that a
//! known token costs a request no more than a digest.
//!
//! Without the feature `oidc`, a service that is configured to accept tokens does not start.

#[cfg(feature = "oidc")]
mod claims;
#[cfg(feature = "oidc")]
mod crypto;
#[cfg(feature = "oidc")]
mod issuer_keys;
#[cfg(not(feature = "oidc"))]
mod off;
#[cfg(feature = "oidc")]
mod tokens;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use uuid::Uuid;

use crate::domain::access::{Families, Scope};

#[cfg(not(feature = "oidc"))]
pub use off::Tokens;
#[cfg(feature = "oidc")]
pub use tokens::Tokens;

/// Which issuer's tokens are accepted, and what they allow.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct OidcConfig {
    /// Issuer whose tokens are accepted besides API keys, exactly as in their `iss` claim; its keys are found through
    /// its discovery document. None by default.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// Audience that a token's `aud` claim must contain.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_AUDIENCE")]
    pub oidc_audience: Option<String>,
    /// Claim that says what a token's holder may do: words separated by spaces, or a list. If no claim has this name,
    /// dots in it lead into objects, as in `realm_access.roles`.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_SCOPE_CLAIM", default_value = "scope")]
    pub oidc_scope_claim: String,
    /// Scopes that the values of this claim grant, such as planner-reader=read,planner-admin=admin; the highest one
    /// counts.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_SCOPES", value_delimiter = ',',
        value_name = "VALUE=SCOPE", value_parser = mapped)]
    pub oidc_scopes: Vec<(String, Scope)>,
    /// Claim that lists the families that a token is for, or `*` for all; a token without this claim is then for no
    /// family. If not set, every token is for all families.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_FAMILIES_CLAIM")]
    pub oidc_families_claim: Option<String>,
    /// Largest difference allowed between the clocks of the issuer and of this service.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_LEEWAY_MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(0..=300_000))]
    pub oidc_leeway_ms: u64,
    /// Longest token that is accepted.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_MAX_TOKEN_BYTES", default_value_t = 8_192,
        value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    pub oidc_max_token_bytes: u32,
    /// How often the issuer's keys are read again.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_REFRESH_MS", default_value_t = 300_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub oidc_refresh_ms: u64,
    /// Minimum time between two reads of the issuer's keys caused by tokens with an unknown key.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_UNKNOWN_KEY_MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub oidc_unknown_key_ms: u64,
    /// How long the issuer's keys stay valid while they cannot be read again.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_KEYS_KEPT_MS", default_value_t = 3_600_000,
        value_parser = clap::value_parser!(u64).range(10..=604_800_000))]
    pub oidc_keys_kept_ms: u64,
}

impl OidcConfig {
    /// The issuer; an empty variable counts as none.
    fn issuer(&self) -> Option<&str> {
        self.oidc_issuer.as_deref().filter(|issuer| !issuer.is_empty())
    }
}

/// Parses a value of the claim and the scope that it grants. It is split at the last `=`: a value may contain one, a
/// scope does not.
fn mapped(text: &str) -> Result<(String, Scope), String> {
    let parts = text.rsplit_once('=').filter(|(value, _)| !value.is_empty());
    let mapped = parts.and_then(|(value, scope)| Some((value.to_owned(), Scope::of_name(scope)?)));
    mapped.ok_or_else(|| "must be VALUE=read, VALUE=write or VALUE=admin".to_owned())
}

/// The holder of a token, and what it allows.
#[derive(Debug)]
pub struct Holder {
    /// The issuer's name for the holder.
    pub subject: String,
    /// The holder's scope; `None` if the holder may do nothing.
    pub scope: Option<Scope>,
    /// The families that the holder may access.
    pub families: Families,
    /// Id under which requests are counted: the same for all tokens of one subject.
    pub quota: Uuid,
    /// Time from which on the token is refused, including the leeway.
    pub ends_at: DateTime<Utc>,
}

/// The result of checking a token.
#[derive(Debug)]
pub enum Checked {
    /// The token is valid.
    Valid(Arc<Holder>),
    /// The token names a key that is not known; the key may be new.
    UnknownKey,
    /// The issuer's keys could not be read for too long.
    NoKeys,
    /// The token is refused, for this reason.
    Wrong(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_map_to_scopes() {
        assert_eq!(mapped("group=a=write"), Ok(("group=a".to_owned(), Scope::Write)));
        for text in ["", "read", "=read", "a=", "a=root", "a=Read"] {
            mapped(text).unwrap_err();
        }
    }
}

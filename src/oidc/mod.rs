//! Tokens of an OpenID Connect issuer, which callers send in place of an API key.
//!
//! A token is believed where it is signed by a key that the issuer publishes, for this audience and
//! for now; its claims say what its holder may do. The keys are in memory and so are tokens that were
//! verified a moment ago, so that a known token costs a request a digest.
//!
//! Without the feature `oidc` a service that is to take tokens does not start.

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

/// Whose tokens are taken, and what they allow.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct OidcConfig {
    /// Issuer whose tokens are taken beside API keys, as their `iss` names it; its keys are found by
    /// its discovery document. None unless said.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// What a token's `aud` must name.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_AUDIENCE")]
    pub oidc_audience: Option<String>,
    /// Claim that says what a token's holder may do: words, or a list. A name with dots that is no
    /// claim leads into objects, such as `realm_access.roles`.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_SCOPE_CLAIM", default_value = "scope")]
    pub oidc_scope_claim: String,
    /// What its values allow, such as planner-reader=read,planner-admin=admin; the most counts.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_SCOPES", value_delimiter = ',',
        value_name = "VALUE=SCOPE", value_parser = mapped)]
    pub oidc_scopes: Vec<(String, Scope)>,
    /// Claim that lists the families that a token is for, or `*` for all: with this a token without
    /// it is for none. Unless said, every token is for all families.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_FAMILIES_CLAIM")]
    pub oidc_families_claim: Option<String>,
    /// How far the issuer's clock may be off.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_LEEWAY_MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(0..=300_000))]
    pub oidc_leeway_ms: u64,
    /// The longest token.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_MAX_TOKEN_BYTES", default_value_t = 8_192,
        value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    pub oidc_max_token_bytes: u32,
    /// How often the issuer's keys are read again.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_REFRESH_MS", default_value_t = 300_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub oidc_refresh_ms: u64,
    /// The shortest time between two readings of the issuer's keys for tokens of an unknown one.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_UNKNOWN_KEY_MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub oidc_unknown_key_ms: u64,
    /// How long the issuer's keys are believed while they cannot be read again.
    #[arg(long, env = "SPARSITY_PLANNER_OIDC_KEYS_KEPT_MS", default_value_t = 3_600_000,
        value_parser = clap::value_parser!(u64).range(10..=604_800_000))]
    pub oidc_keys_kept_ms: u64,
}

impl OidcConfig {
    /// The issuer; an empty variable names none.
    fn issuer(&self) -> Option<&str> {
        self.oidc_issuer.as_deref().filter(|issuer| !issuer.is_empty())
    }
}

/// A value of the claim and what it allows. What a value contains is the issuer's business; a scope has
/// no `=`.
fn mapped(text: &str) -> Result<(String, Scope), String> {
    let parts = text.rsplit_once('=').filter(|(value, _)| !value.is_empty());
    let mapped = parts.and_then(|(value, scope)| Some((value.to_owned(), Scope::of_name(scope)?)));
    mapped.ok_or_else(|| "must be VALUE=read, VALUE=write or VALUE=admin".to_owned())
}

/// Whom a token names, and what it allows.
#[derive(Debug)]
pub struct Holder {
    /// The issuer's name for the holder.
    pub subject: String,
    /// What the holder may do; `None` for nothing.
    pub scope: Option<Scope>,
    /// What the holder may touch.
    pub families: Families,
    /// What requests are counted under: the same for all tokens of one subject.
    pub quota: Uuid,
    /// From when on the token is refused, leeway included.
    pub ends_at: DateTime<Utc>,
}

/// What is known of a token.
#[derive(Debug)]
pub enum Checked {
    /// It is valid.
    Valid(Arc<Holder>),
    /// It names a key that is not known: it may be new.
    UnknownKey,
    /// The issuer's keys could not be read for too long.
    NoKeys,
    /// It is refused, for this reason.
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

//! Verification of tokens, with a short-lived cache.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use moka::sync::Cache;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::oidc::claims::{Claims, MALFORMED, Reading};
use crate::oidc::issuer_keys::{KeySet, KeysError, Publisher};
use crate::oidc::{Checked, Holder, OidcConfig, crypto};

/// Largest number of cached tokens.
const REMEMBERED: u64 = 10_000;
/// How long a verified token is cached. A key that its issuer has withdrawn may be honoured for this long, if the keys
/// were not read again in between.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How long a token with an unknown key waits for a read of the keys that another request has begun: made-up keys must
/// not fill the service with requests that wait for a slow issuer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause after the issuer did not answer.
const PAUSE: Duration = Duration::from_secs(10);

/// The tokens that are accepted; clones share their state. By default none are.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    clock: Arc<Clock>,
    publisher: Publisher,
    reading: Reading,
    audience: String,
    most_bytes: usize,
    refresh: Duration,
    kept: Duration,
    between_unknown: Duration,
    keys: RwLock<Option<Known>>,
    /// Held while the keys are read, so that whoever waits for it finds them updated.
    asking: tokio::sync::Mutex<()>,
    /// When the keys were last read because of an unknown key.
    asked: Mutex<Option<Instant>>,
    remembered: Cache<[u8; 32], Arc<Holder>>,
}

/// The issuer's keys, and when reading them began.
#[derive(Debug, Clone)]
struct Known {
    keys: Arc<KeySet>,
    read_at: Instant,
}

impl Tokens {
    /// Accepts the tokens of the configured issuer, if there is one, and reads its keys. If the issuer does not answer,
    /// it is tried again later.
    ///
    /// # Errors
    /// If the issuer's address cannot be used safely, or the audience or the granted scopes are not configured.
    pub async fn open(config: &OidcConfig, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let Some(issuer) = config.issuer() else { return Ok(Self::default()) };
        let audience = config.oidc_audience.clone().filter(|audience| !audience.is_empty());
        let audience = audience.context(
            "--oidc-issuer needs --oidc-audience: otherwise every token of the issuer, for whatever \
             service, would be taken",
        )?;
        ensure!(
            !config.oidc_scopes.is_empty(),
            "--oidc-issuer needs --oidc-scopes, such as planner-reader=read: otherwise no token \
             allows anything"
        );
        ensure!(
            config.oidc_keys_kept_ms > config.oidc_refresh_ms,
            "--oidc-keys-kept-ms must be more than --oidc-refresh-ms: otherwise keys are given up \
             before they are read again"
        );
        crypto::install();
        let leeway = TimeDelta::milliseconds(i64::try_from(config.oidc_leeway_ms)?);
        let tokens = Self(Some(Arc::new(Shared {
            clock,
            publisher: Publisher::new(issuer)?,
            reading: Reading {
                issuer: issuer.to_owned(),
                scope_claim: config.oidc_scope_claim.clone(),
                scopes: config.oidc_scopes.clone(),
                families_claim: config.oidc_families_claim.clone(),
                leeway,
            },
            audience,
            most_bytes: config.oidc_max_token_bytes as usize,
            refresh: Duration::from_millis(config.oidc_refresh_ms),
            kept: Duration::from_millis(config.oidc_keys_kept_ms),
            between_unknown: Duration::from_millis(config.oidc_unknown_key_ms),
            keys: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            remembered: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(REMEMBERED_FOR)
                .build(),
        })));
        tokens.read_keys().await;
        Ok(tokens)
    }

    /// Whether tokens are accepted.
    #[must_use]
    pub(crate) const fn are_taken(&self) -> bool {
        self.0.is_some()
    }

    /// Checks a token.
    #[must_use]
    pub(crate) fn check(&self, token: &str) -> Checked {
        let Some(shared) = &self.0 else { return Checked::NoKeys };
        if token.len() > shared.most_bytes {
            return Checked::Wrong("the token is too long");
        }
        let known = shared.known();
        let Some(known) = known.filter(|known| known.read_at.elapsed() <= shared.kept) else {
            return Checked::NoKeys;
        };
        let digest = Sha256::digest(token).into();
        if let Some(holder) = shared.remembered.get(&digest) {
            return shared.unless_ended(holder);
        }
        match shared.verify(&known.keys, token) {
            Ok(Some(holder)) => {
                let holder = Arc::new(holder);
                shared.remembered.insert(digest, holder.clone());
                // If the keys changed meanwhile, the cache was cleared before this token was added.
                if !shared.known().is_some_and(|now| Arc::ptr_eq(&now.keys, &known.keys)) {
                    shared.remembered.invalidate(&digest);
                }
                Checked::Valid(holder)
            }
            Ok(None) => Checked::UnknownKey,
            Err(reason) => Checked::Wrong(reason),
        }
    }

    /// Reads the keys because of an unknown one, unless that was done a moment ago, so that made-up keys cost the
    /// issuer next to nothing.
    pub(crate) async fn read_keys_for_unknown(&self) {
        let Some(shared) = &self.0 else { return };
        let now = Instant::now();
        let may = {
            let mut asked = shared.asked.lock();
            let may = asked.is_none_or(|last| now.duration_since(last) >= shared.between_unknown);
            if may {
                *asked = Some(now);
            }
            may
        };
        if may {
            self.read_keys().await;
        } else {
            // A read in progress may find the key.
            let _ = tokio::time::timeout(PATIENCE, shared.asking.lock()).await;
        }
    }

    /// Keeps the keys up to date until shutdown.
    pub(crate) async fn keep(&self, shutdown: &CancellationToken) {
        let Some(shared) = &self.0 else { return };
        let mut is_well = shared.known().is_some();
        loop {
            let pause = if is_well { shared.refresh } else { PAUSE.min(shared.refresh) };
            tokio::select! {
                () = tokio::time::sleep(pause) => is_well = self.read_keys().await,
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Reads the keys; returns whether that succeeded.
    async fn read_keys(&self) -> bool {
        let Some(shared) = &self.0 else { return false };
        let _asking = shared.asking.lock().await;
        let read_at = Instant::now();
        match shared.publisher.read().await {
            Ok(keys) => {
                shared.set(keys, read_at);
                true
            }
            Err(error) => {
                let cause = match &error {
                    KeysError::Http(cause) if cause.is_timeout() => "it did not answer in time",
                    KeysError::Http(_) => "it cannot be reached, or breaks off",
                    _ => "",
                };
                tracing::warn!(%error, cause, "reading the keys of the OpenID Connect issuer");
                false
            }
        }
    }
}

impl Shared {
    fn known(&self) -> Option<Known> {
        self.keys.read().clone()
    }

    fn set(&self, keys: KeySet, read_at: Instant) {
        let mut known = self.keys.write();
        match &mut *known {
            Some(known) if known.keys.is_same(&keys) => known.read_at = read_at,
            _ => {
                *known = Some(Known { keys: Arc::new(keys), read_at });
                // Tokens of a key that was withdrawn must not be accepted any longer.
                self.remembered.invalidate_all();
            }
        }
    }

    fn unless_ended(&self, holder: Arc<Holder>) -> Checked {
        if holder.ends_at <= self.clock.now() {
            return Checked::Wrong("the token has expired");
        }
        Checked::Valid(holder)
    }

    /// The holder of a token; `None` if its key is not known.
    fn verify(&self, keys: &KeySet, token: &str) -> Result<Option<Holder>, &'static str> {
        let header = decode_header(token).map_err(|_| MALFORMED)?;
        if header.crit.is_some() {
            return Err("the token asks for an extension that is not known here");
        }
        if !crypto::ALGORITHMS.contains(&header.alg) {
            return Err("the token's algorithm is not one of RS256, ES256 and EdDSA");
        }
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            return if header.kid.is_some() { Ok(None) } else { Err("the token names no key") };
        };
        if key.algorithm != header.alg {
            return Err("the token's algorithm is not that of its key");
        }
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[&self.reading.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Checked below, by this service's clock.
        validation.validate_exp = false;
        let token = decode::<Claims>(token, &key.key, &validation);
        let token = token.map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => "the token's signature is not right",
            ErrorKind::InvalidIssuer => "the token is of another issuer",
            ErrorKind::InvalidAudience => "the token is for another audience",
            ErrorKind::MissingRequiredClaim(_) => "the token lacks one of exp, iss, aud and sub",
            _ => MALFORMED,
        })?;
        self.reading.read(&token.claims, self.clock.now()).map(Some)
    }
}

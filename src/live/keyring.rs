//! Authentication: the API keys in memory, tokens of an issuer, and what a caller may access.
//!
//! A request with a known key needs no database access. All valid keys are read at startup, whenever the database
//! announces a change (within milliseconds, on every replica), and at an interval in any case. So a revoked key is
//! refused at once, or at most one interval later if the announcement was lost. A service that has been unable to read
//! the keys for too long lets nobody in, as it cannot know which keys were revoked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::access::{Families, KeyHash, KeyText, Scope};
use crate::domain::api_key::ApiKey;
use crate::oidc::{Checked, Holder, Tokens};
use crate::store::{StoreError, keys};

/// Who sent a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Any caller, while no key has ever been created.
    Anonymous,
    /// The service itself, through its own router, as in the demo.
    Service,
    /// The holder of a key.
    Key(Arc<KnownKey>),
    /// The holder of a token.
    Token(Arc<Holder>),
}

impl Caller {
    /// The caller's scope; `None` if the caller may do nothing.
    #[must_use]
    pub(crate) fn scope(&self) -> Option<Scope> {
        match self {
            Self::Anonymous | Self::Service => Some(Scope::Admin),
            Self::Key(known) => Some(known.key.scope),
            Self::Token(holder) => holder.scope,
        }
    }

    /// The kind of credential that the caller sent.
    const fn credential(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Anonymous | Self::Service | Self::Key(_) => "key",
        }
    }

    /// The families that the caller may access.
    #[must_use]
    pub(crate) fn families(&self) -> &Families {
        match self {
            Self::Anonymous | Self::Service => &Families::All,
            Self::Key(known) => &known.key.families,
            Self::Token(holder) => &holder.families,
        }
    }

    /// Id under which the caller's requests are counted; `None` if the caller is not identified.
    #[must_use]
    pub(crate) fn quota(&self) -> Option<Uuid> {
        match self {
            Self::Anonymous | Self::Service => None,
            Self::Key(known) => Some(known.key.id),
            Self::Token(holder) => Some(holder.quota),
        }
    }

    /// Name of the caller's key, if it has one.
    #[must_use]
    pub(crate) fn key_name(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Service | Self::Token(_) => None,
            Self::Key(known) => Some(&known.key.name),
        }
    }

    /// Time from which on the caller's credential is refused, if it has an expiry.
    #[must_use]
    pub(crate) fn ends_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Anonymous | Self::Service => None,
            Self::Key(known) => known.key.expires_at,
            Self::Token(holder) => Some(holder.ends_at),
        }
    }

    /// The caller's name in the audit log.
    #[must_use]
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Service => "service".to_owned(),
            Self::Key(known) => known.key.id.to_string(),
            Self::Token(holder) => format!("oidc:{}", holder.subject),
        }
    }

    /// Checks that the caller has at least this scope.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn require_scope(&self, scope: Scope) -> Result<(), Denied> {
        if self.scope() >= Some(scope) {
            return Ok(());
        }
        let (needed, credential) = (scope.as_str(), self.credential());
        let has = self.scope().map_or("none", Scope::as_str);
        Err(Denied(format!("this needs the scope {needed}; the {credential} has {has}")))
    }

    /// Checks that the caller's key or token covers this family, whether or not the family exists.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn require_family(&self, family: &str) -> Result<(), Denied> {
        if self.families().allow(family) {
            return Ok(());
        }
        let credential = self.credential();
        Err(Denied(format!("the {credential} is not for the family {family}")))
    }

    /// Checks that the caller's credential covers all families, as something that belongs to no single family requires.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn require_all_families(&self) -> Result<(), Denied> {
        match self.families() {
            Families::All => Ok(()),
            Families::Only(_) => Err(Denied(format!(
                "the {} is for some families only, and this concerns all of them",
                self.credential()
            ))),
        }
    }
}

/// Why a caller is not allowed to do something, as text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(pub String);

/// A valid key in memory.
#[derive(Debug)]
pub struct KnownKey {
    key: ApiKey,
    hash: KeyHash,
    last_use: Arc<LastUse>,
}

/// When a key was last used in this process, and the last use that the database knows. In microseconds since the epoch;
/// 0 for never.
#[derive(Debug, Default)]
struct LastUse {
    at: AtomicI64,
    reported: AtomicI64,
}

impl KnownKey {
    /// The last use in this process, if it has not been reported.
    fn unreported(&self) -> Option<i64> {
        let at = self.last_use.at.load(Ordering::Relaxed);
        (at > self.last_use.reported.load(Ordering::Relaxed)).then_some(at)
    }

    fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.key.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The keys as last read from the database.
#[derive(Debug)]
struct Ring {
    /// Whether requests need a key: once any key exists, valid or not.
    required: bool,
    keys: HashMap<Uuid, Arc<KnownKey>>,
    /// Keys that are no longer valid but whose last use has not been reported to the database yet.
    gone: Vec<Arc<KnownKey>>,
    /// When reading the keys began.
    read_at: Instant,
}

/// The decision about a request, from the keys in memory.
#[derive(Debug)]
pub enum Verdict {
    /// Let the caller in.
    Known(Caller),
    /// The key is well-formed but not in memory; it may be new.
    Unknown,
    /// The keys in memory are too old, so nobody can be let in for now.
    Stale,
    /// Refuse: the key or token is wrong, for this reason.
    Refused(&'static str),
    /// Refuse: there is no key or token, for this reason.
    Missing(&'static str),
}

impl From<Checked> for Verdict {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Valid(holder) => Self::Known(Caller::Token(holder)),
            Checked::UnknownKey => Self::Unknown,
            Checked::NoKeys => Self::Stale,
            Checked::Wrong(reason) => Self::Refused(reason),
        }
    }
}

/// The service's access control; clones share their state.
#[derive(Debug, Clone)]
pub struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    clock: Arc<Clock>,
    interval: Duration,
    /// How long the keys in memory stay valid without having been read again.
    believed: Duration,
    tokens: Tokens,
    ring: RwLock<Arc<Ring>>,
    /// Held while the keys are read, so that a slow read cannot overwrite the result of a later one.
    reading: tokio::sync::Mutex<()>,
    announced: Notify,
    /// When the keys were last read because of an unknown key.
    asked: Mutex<Option<Instant>>,
}

/// Lower bound of `believed`, in refresh intervals.
const BELIEVED: u32 = 3;

/// Minimum time between two reads because of unknown keys, so that guessing keys costs the database next to nothing.
const BETWEEN_UNKNOWN: Duration = Duration::from_secs(1);

/// Time between two reports of last uses to the database.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

const UNKNOWN: &str = "the key is not known, was revoked, or has expired";

impl Access {
    /// Reads the keys; `tokens` are accepted besides them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn open(
        pool: PgPool,
        clock: Arc<Clock>,
        (interval, believed): (Duration, Duration),
        tokens: Tokens,
    ) -> Result<Self, StoreError> {
        let ring = read(&pool, &clock, None).await?;
        Ok(Self(Arc::new(Shared {
            pool,
            clock,
            interval,
            believed: believed.max(interval * BELIEVED),
            tokens,
            ring: RwLock::new(Arc::new(ring)),
            reading: tokio::sync::Mutex::default(),
            announced: Notify::new(),
            asked: Mutex::default(),
        })))
    }

    /// Whether requests need a key or token: always, once a key was created.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.tokens.are_taken() || self.ring().required
    }

    fn ring(&self) -> Arc<Ring> {
        self.0.ring.read().clone()
    }

    /// Reads the keys again: on return, everything committed before the call is in effect.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn read_again(&self) -> Result<(), StoreError> {
        let _reading = self.0.reading.lock().await;
        let ring = read(&self.0.pool, &self.0.clock, Some(&self.ring())).await?;
        *self.0.ring.write() = Arc::new(ring);
        Ok(())
    }

    /// Triggers a read of the keys soon.
    pub(crate) fn announce(&self) {
        self.0.announced.notify_one();
    }

    /// The decision about a request with these headers, from the keys in memory.
    #[must_use]
    pub(crate) fn verdict(&self, headers: &HeaderMap) -> Verdict {
        let takes_tokens = self.0.tokens.are_taken();
        // Tokens are checked without the database.
        if takes_tokens && let Some(token) = token(headers) {
            return self.0.tokens.check(token).into();
        }
        // Read under the lock instead of cloning the `Arc`: many threads changing one reference count slow each other
        // down.
        let ring = self.0.ring.read();
        if ring.read_at.elapsed() > self.0.believed {
            return Verdict::Stale;
        }
        if !(ring.required || takes_tokens) {
            // A key was sent although none is known: it may be the first one, created a moment ago, which ends open
            // access.
            let has_key = bearer(headers).is_ok_and(|text| KeyText::parse(text).is_some());
            return if has_key { Verdict::Unknown } else { Verdict::Known(Caller::Anonymous) };
        }
        let key = match bearer(headers) {
            Ok(text) => KeyText::parse(text),
            Err(reason) => return Verdict::Missing(reason),
        };
        let Some(key) = key else { return Verdict::Refused("this is not a key: sp_..._...") };
        let Some(known) = ring.keys.get(&key.id()) else { return Verdict::Unknown };
        // The hash is checked first: only the holder of a key may learn anything about it.
        let now = self.0.clock.now();
        if !known.hash.matches(&key.hash()) || known.is_expired(now) {
            return Verdict::Refused(UNKNOWN);
        }
        known.last_use.at.fetch_max(now.timestamp_micros(), Ordering::Relaxed);
        Verdict::Known(Caller::Key(known.clone()))
    }

    /// The decision about a request whose key is unknown. Another replica may have created the key a moment ago, so the
    /// keys are read from the database, at most once a second.
    pub(crate) async fn verdict_of_unknown(&self, headers: &HeaderMap) -> Verdict {
        if self.0.tokens.are_taken() && token(headers).is_some() {
            self.0.tokens.read_keys_for_unknown().await;
            return match self.verdict(headers) {
                Verdict::Unknown => Verdict::Refused("the key that signed the token is not known"),
                verdict => verdict,
            };
        }
        if self.may_ask()
            && let Err(error) = self.read_again().await
        {
            tracing::warn!(%error, "reading the keys");
        }
        match self.verdict(headers) {
            Verdict::Unknown if self.is_required() => Verdict::Refused(UNKNOWN),
            Verdict::Unknown => Verdict::Known(Caller::Anonymous),
            verdict => verdict,
        }
    }

    fn may_ask(&self) -> bool {
        let now = Instant::now();
        let mut asked = self.0.asked.lock();
        let may = asked.is_none_or(|last| now.duration_since(last) >= BETWEEN_UNKNOWN);
        if may {
            *asked = Some(now);
        }
        may
    }

    /// Whether a caller that was let in earlier would still be let in now. For streams, which outlive the check of
    /// their credential.
    #[must_use]
    pub(crate) fn still_admits(&self, caller: &Caller) -> bool {
        let ring = self.ring();
        match caller {
            Caller::Service => true,
            Caller::Anonymous => !ring.required && !self.0.tokens.are_taken(),
            Caller::Token(holder) => holder.ends_at > self.0.clock.now(),
            Caller::Key(known) => {
                ring.keys.contains_key(&known.key.id) && !known.is_expired(self.0.clock.now())
            }
        }
    }

    /// Keeps the keys up to date and reports their last uses until shutdown.
    pub async fn keep(&self, shutdown: &CancellationToken) {
        tokio::join!(self.keep_keys(shutdown), self.0.tokens.keep(shutdown));
    }

    async fn keep_keys(&self, shutdown: &CancellationToken) {
        let mut reported = Instant::now();
        loop {
            tokio::select! {
                () = self.0.announced.notified() => {}
                () = tokio::time::sleep(self.0.interval) => {}
                () = shutdown.cancelled() => return,
            }
            if let Err(error) = self.read_again().await {
                tracing::warn!(%error, "reading the keys");
            }
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                self.report().await;
            }
        }
    }

    /// Stores in the database when the keys were last used.
    pub async fn report(&self) {
        let ring = self.ring();
        let known = ring.keys.values().chain(&ring.gone);
        let unreported: Vec<_> =
            known.filter_map(|known| Some((known, known.unreported()?))).collect();
        let uses: Vec<_> = unreported
            .iter()
            .filter_map(|(known, at)| Some((known.key.id, DateTime::from_timestamp_micros(*at)?)))
            .collect();
        if uses.is_empty() {
            return;
        }
        match keys::update_last_uses(&self.0.pool, &uses).await {
            Ok(()) => {
                for (known, at) in unreported {
                    known.last_use.reported.fetch_max(at, Ordering::Relaxed);
                }
            }
            // These uses are reported next time.
            Err(error) => tracing::warn!(%error, "storing when keys were last used"),
        }
    }
}

async fn read(pool: &PgPool, clock: &Clock, before: Option<&Ring>) -> Result<Ring, StoreError> {
    let read_at = Instant::now();
    let valid = keys::list_valid_keys(pool, clock.now()).await?;
    let required = !valid.is_empty()
        || before.is_some_and(|ring| ring.required)
        || keys::find_any_key(pool).await?;
    let keys: HashMap<_, _> = valid
        .into_iter()
        .map(|(key, hash)| {
            let known = before.and_then(|ring| ring.keys.get(&key.id));
            let last_use = known.map_or_else(Arc::default, |known| known.last_use.clone());
            (key.id, Arc::new(KnownKey { key, hash, last_use }))
        })
        .collect();
    let known = before.into_iter().flat_map(|ring| ring.keys.values().chain(&ring.gone));
    let gone = known
        .filter(|known| !keys.contains_key(&known.key.id) && known.unreported().is_some())
        .cloned()
        .collect();
    Ok(Ring { required, keys, gone, read_at })
}

/// The token of a request: a bearer credential that does not begin like a key.
fn token(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).ok().filter(|text| !text.starts_with("sp_"))
}

/// The bearer credential of a request, a key or a token.
fn bearer(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or("send a key as Authorization: Bearer sp_...")?;
    if values.next().is_some() {
        return Err("there is more than one Authorization");
    }
    let (scheme, text) = value.to_str().ok().and_then(|text| text.split_once(' ')).unzip();
    if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")) {
        return Err("the scheme of Authorization must be Bearer");
    }
    text.map(|text| text.trim_matches(' ')).ok_or("there is nothing behind Bearer")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_found_whatever_the_case_of_its_scheme() {
        let key = KeyText::random(Uuid::from_u128(7)).unwrap();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let value = format!("{scheme}  {} ", key.reveal());
            assert_eq!(bearer(&headers(&[value.as_bytes()])), Ok(&*key.reveal()));
        }
    }

    #[test]
    fn whatever_else_is_sent_is_refused_without_repeating_it() {
        let key = format!("Bearer {}", KeyText::random(Uuid::from_u128(7)).unwrap().reveal());
        let wrong: [&[&[u8]]; 6] = [
            &[],
            &[key.as_bytes(), key.as_bytes()],
            &[b""],
            &[b"Bearer"],
            &[b"Basic dXNlcjpwYXNzd29yZA=="],
            &[b"Bearer \xff\xfe"],
        ];
        for values in wrong {
            bearer(&headers(values)).unwrap_err();
        }
    }
}

//! Rate limits by key and by address, and a limit on requests in flight.
//!
//! Counted per process: each replica of the service allows as much.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Time between two cleanups of counts that are no longer needed.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// A steady rate with a burst.
#[derive(Debug, Clone, Copy)]
pub struct Rate(Quota);

impl Rate {
    /// `rate` per second, of which `burst` may come at once (0: as many as `rate`); `None`, meaning no limit, if `rate`
    /// is 0.
    #[must_use]
    pub fn per_second(rate: u32, burst: u32) -> Option<Self> {
        Self::new(rate, burst, Quota::per_second)
    }

    /// `rate` per minute, all of which may come at once; `None`, meaning no limit, if it is 0.
    #[must_use]
    pub fn per_minute(rate: u32) -> Option<Self> {
        Self::new(rate, rate, Quota::per_minute)
    }

    fn new(rate: u32, burst: u32, quota: impl Fn(NonZeroU32) -> Quota) -> Option<Self> {
        let rate = NonZeroU32::new(rate)?;
        let burst = NonZeroU32::new(burst).unwrap_or(rate);
        Some(Self(quota(rate).allow_burst(burst)))
    }
}

/// The limits; `None` means no limit.
#[derive(Debug, Clone)]
pub struct ThrottleConfig {
    /// Requests of one key.
    pub per_key: Option<Rate>,
    /// Requests from one address.
    pub per_address: Option<Rate>,
    /// Requests from one address with a key that is refused.
    pub failures: Option<Rate>,
    /// Requests in flight at once.
    pub concurrent: usize,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
}

impl ThrottleConfig {
    /// No limits, and no trusted proxies.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            per_key: None,
            per_address: None,
            failures: None,
            concurrent: usize::MAX,
            trusted_proxies: Vec::new(),
        }
    }
}

/// The service's counts; clones share them.
#[derive(Debug, Clone)]
pub struct Throttle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: Option<DefaultKeyedRateLimiter<Uuid>>,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    failures: Option<DefaultKeyedRateLimiter<IpAddr>>,
    concurrent: usize,
    /// Each request in flight holds a clone, so the strong count minus one is their number.
    in_flight: Arc<()>,
    trusted_proxies: Vec<IpNet>,
    clock: DefaultClock,
}

/// A place among the requests in flight.
#[derive(Debug)]
pub(crate) struct Place(Arc<()>);

/// The rate limit is exceeded: retry after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon(pub Duration);

impl Throttle {
    /// No requests have been counted yet.
    #[must_use]
    pub fn new(config: ThrottleConfig) -> Self {
        fn limiter<K: std::hash::Hash + Eq + Clone>(
            rate: Option<Rate>,
        ) -> Option<DefaultKeyedRateLimiter<K>> {
            rate.map(|Rate(quota)| RateLimiter::keyed(quota))
        }
        Self(Arc::new(Shared {
            keys: limiter(config.per_key),
            addresses: limiter(config.per_address),
            failures: limiter(config.failures),
            concurrent: config.concurrent,
            in_flight: Arc::default(),
            trusted_proxies: config.trusted_proxies,
            clock: DefaultClock::default(),
        }))
    }

    /// Takes a place among the requests in flight, if there is one; it is released when dropped.
    ///
    /// The limit is never exceeded. When several requests compete for the last place at the same moment, it may happen
    /// that none of them gets it.
    #[must_use]
    pub(crate) fn enter(&self) -> Option<Place> {
        let place = Place(self.0.in_flight.clone());
        (Arc::strong_count(&place.0) - 1 <= self.0.concurrent).then_some(place)
    }

    /// Counts a request of a key.
    ///
    /// # Errors
    /// [`TooSoon`].
    pub(crate) fn count_key(&self, key: Uuid) -> Result<(), TooSoon> {
        self.count(self.0.keys.as_ref(), Some(&key))
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// [`TooSoon`].
    pub(crate) fn count_address(&self, address: Option<IpAddr>) -> Result<(), TooSoon> {
        self.count(self.0.addresses.as_ref(), address.map(network).as_ref())
    }

    /// Counts a request from an address whose key was refused.
    ///
    /// # Errors
    /// [`TooSoon`].
    pub(crate) fn count_failure(&self, address: Option<IpAddr>) -> Result<(), TooSoon> {
        self.count(self.0.failures.as_ref(), address.map(network).as_ref())
    }

    fn count<K: std::hash::Hash + Eq + Clone>(
        &self,
        limiter: Option<&DefaultKeyedRateLimiter<K>>,
        key: Option<&K>,
    ) -> Result<(), TooSoon> {
        let Some((limiter, key)) = limiter.zip(key) else { return Ok(()) };
        limiter
            .check_key(key)
            .map_err(|not_until| TooSoon(not_until.wait_time_from(self.0.clock.now())))
    }

    /// Drops the counts of addresses and keys that have their full quota again, so that memory is taken by recent
    /// callers only.
    pub(crate) fn forget_idle(&self) {
        fn forget<K: std::hash::Hash + Eq + Clone>(limiter: Option<&DefaultKeyedRateLimiter<K>>) {
            if let Some(limiter) = limiter {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
        forget(self.0.keys.as_ref());
        forget(self.0.addresses.as_ref());
        forget(self.0.failures.as_ref());
    }

    /// Drops such counts at an interval, until shutdown.
    pub async fn keep(&self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FORGET_INTERVAL) => self.forget_idle(),
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Whether any proxy is trusted.
    #[must_use]
    pub(crate) fn knows_proxies(&self) -> bool {
        !self.0.trusted_proxies.is_empty()
    }

    /// Whether a request was forwarded by a trusted proxy.
    #[must_use]
    pub(crate) fn comes_by_proxy(&self, extensions: &Extensions) -> bool {
        let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>() else {
            return false;
        };
        let peer = peer.ip().to_canonical();
        self.0.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    /// The address of a request's sender; `None` if it did not come over a network.
    #[must_use]
    pub(crate) fn address(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(client_address(peer.ip().to_canonical(), headers, &self.0.trusted_proxies))
    }
}

/// The sender's address of a request that arrived from `peer`: the nearest address in the chain of `X-Forwarded-For`
/// that is not a trusted proxy. Entries further left were written by that sender and are not trusted.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    let values: Vec<_> = match is_trusted(&peer) {
        true => headers.get_all("x-forwarded-for").iter().collect(),
        false => return peer,
    };
    for value in values.into_iter().rev() {
        for hop in value.to_str().unwrap_or_default().split(',').rev() {
            let hop = hop.trim();
            let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
            let Ok(hop) = hop.parse::<IpAddr>().or_else(|_| with_port()) else { return nearest };
            nearest = hop.to_canonical();
            if !is_trusted(&nearest) {
                return nearest;
            }
        }
    }
    nearest
}

/// The unit of counting: an IPv4 address, or the /64 network of an IPv6 address, as one host has all of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_whom_they_forward() {
        assert_eq!(address("8.8.8.8", &["1.1.1.1"]), "8.8.8.8");
        assert_eq!(address("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(address("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_a_caller_writes_into_the_chain_is_not_believed() {
        assert_eq!(address("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1", &["6.6.6.6", "1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1", &["6.6.6.6, garbage, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(address("10.0.0.1", &["1.1.1.1:4711"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1", &["::ffff:1.1.1.1"]), "1.1.1.1");
    }

    #[test]
    fn a_quota_is_used_up_by_one_address_and_not_by_another() {
        let failures = Rate::per_minute(2);
        let throttle = Throttle::new(ThrottleConfig { failures, ..ThrottleConfig::unlimited() });
        let [here, near, there] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|a| Some(a.parse().unwrap()));
        assert_eq!(throttle.count_failure(here), Ok(()));
        assert_eq!(throttle.count_failure(near), Ok(()));
        let TooSoon(wait) = throttle.count_failure(here).unwrap_err();
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(throttle.count_failure(there), Ok(()));
        throttle.forget_idle();
        throttle.count_failure(here).unwrap_err();
        // Requests without a limit, or not from a network, are not counted.
        for _ in 0..10 {
            assert_eq!(throttle.count_address(here), Ok(()));
            assert_eq!(throttle.count_failure(None), Ok(()));
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_request_is_answered() {
        let throttle =
            Throttle::new(ThrottleConfig { concurrent: 1, ..ThrottleConfig::unlimited() });
        let place = throttle.enter();
        assert!(place.is_some() && throttle.enter().is_none());
        drop(place);
        assert!(throttle.enter().is_some());
    }
}

//! The keys that an issuer publishes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::oidc::crypto::algorithm_of;

/// How long the issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer of an issuer that is read, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// Most keys that are processed; issuers publish a few.
const MOST_KEYS: usize = 100;

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The HTTP client could not be created.
    #[error("setting up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The issuer did not answer.
    #[error("the issuer could not be asked")]
    Http(#[source] reqwest::Error),
    /// The answer is not what an issuer sends.
    #[error("{0}")]
    Answer(String),
}

/// The place where an issuer publishes its keys.
#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    issuer: String,
    discovery: Url,
    /// Whether the issuer runs on this machine, and so needs no TLS.
    local: bool,
}

/// A key, and the one algorithm that it may be used with.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// The keys of an issuer, as last read.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    by_id: HashMap<String, Key>,
    without_id: Vec<Key>,
    /// The JSON that the keys were made from, to detect changes.
    source: Vec<Value>,
}

impl KeySet {
    /// The key that a token names. A token that names none is matched if there is exactly one key for its algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        if let Some(id) = id {
            return self.by_id.get(id);
        }
        let all = self.by_id.values().chain(&self.without_id);
        let mut found = all.filter(|key| key.algorithm == algorithm);
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether both were made from the same JSON.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
    }

    fn new(source: Vec<Value>) -> Self {
        let mut keys = Self::default();
        // Keys that are invalid, or are for another purpose, are skipped.
        for jwk in source.iter().take(MOST_KEYS).filter_map(|key| Jwk::deserialize(key).ok()) {
            let Some(key) = usable(&jwk) else { continue };
            match jwk.common.key_id {
                Some(id) => drop(keys.by_id.insert(id, key)),
                None => keys.without_id.push(key),
            }
        }
        keys.source = source;
        keys
    }
}

/// Converts a key, if it verifies tokens with one of the supported algorithms.
fn usable(jwk: &Jwk) -> Option<Key> {
    let is_ours = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => true,
        AlgorithmParameters::EllipticCurve(ec) => ec.curve == EllipticCurve::P256,
        AlgorithmParameters::OctetKeyPair(pair) => pair.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let operations = common.key_operations.as_ref();
    let verifies = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !(is_ours && signs && verifies) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let algorithm = algorithm_of(key.family())?;
    let named = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        _ => KeyAlgorithm::EdDSA,
    };
    common.key_algorithm.is_none_or(|is| is == named).then_some(Key { algorithm, key })
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Publisher {
    /// The publisher of this issuer's keys.
    ///
    /// # Errors
    /// If the issuer is not a URL that can be used safely.
    pub(crate) fn new(issuer: &str) -> Result<Self, KeysError> {
        let url = Url::parse(issuer).ok().filter(|url| {
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
        });
        let url = url.filter(|url| url.password().is_none()).ok_or_else(|| {
            let text = "--oidc-issuer must be a URL such as https://id.example.org, without more";
            KeysError::Address(text.to_owned())
        })?;
        let local = is_local(&url);
        if url.scheme() != "https" && !local {
            let text = "--oidc-issuer must begin with https://: whoever can change its keys on their \
                        way here can let anybody in";
            return Err(KeysError::Address(text.to_owned()));
        }
        let discovery =
            format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = Url::parse(&discovery)
            .map_err(|_| KeysError::Address("--oidc-issuer is not a URL".to_owned()))?;
        // Fails only if a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: keys may come only from the address that the issuer names.
        let mut client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .user_agent(concat!("sparsity-planner/", env!("CARGO_PKG_VERSION")));
        if local {
            // The machine's certificates do not matter for plain HTTP.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(KeysError::Client)?;
        Ok(Self { client, issuer: issuer.to_owned(), discovery, local })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// If the issuer does not answer, or its answer is not what an issuer sends.
    pub(crate) async fn read(&self) -> Result<KeySet, KeysError> {
        let discovery: Discovery = self.fetch(self.discovery.clone()).await?;
        if discovery.issuer != self.issuer {
            let text = format!("the discovery document is that of {:.200}", discovery.issuer);
            return Err(KeysError::Answer(text));
        }
        let url = Url::parse(&discovery.jwks_uri).ok();
        // A remote issuer must not send us to an address on this machine.
        let url = url.filter(|url| url.scheme() == "https" || (self.local && is_local(url)));
        let url = url.ok_or_else(|| {
            KeysError::Answer("the issuer's jwks_uri is no https:// address".to_owned())
        })?;
        let published: Published = self.fetch(url).await?;
        Ok(KeySet::new(published.keys))
    }

    async fn fetch<T: DeserializeOwned>(&self, url: Url) -> Result<T, KeysError> {
        let path = url.path().to_owned();
        let mut response = self.client.get(url).send().await.map_err(KeysError::Http)?;
        if !response.status().is_success() {
            let text = format!("the issuer answered {} for {path}", response.status());
            return Err(KeysError::Answer(text));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(KeysError::Http)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(KeysError::Answer(format!("{path} of the issuer is too long")));
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| KeysError::Answer(format!("{path} of the issuer: {error}")))
    }
}

/// Whether a URL is plain HTTP to this machine.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && loopback
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issuer_needs_tls_but_on_this_machine() {
        for good in [
            "https://id.example.org",
            "https://id.example.org/realms/a/",
            "http://127.0.0.1:9",
            "http://[::1]:9",
            "http://localhost:9",
        ] {
            Publisher::new(good).unwrap();
        }
        for bad in [
            "http://id.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org",
            "id.example.org",
            "https://a:b@id.example.org",
            "https://id.example.org?a=b",
            "file:///etc/passwd",
            "",
        ] {
            Publisher::new(bad).unwrap_err();
        }
    }

    #[test]
    fn keys_for_other_things_are_left_out() {
        let x = "11qYAycF0pNJp4WbMfjXHgRtVTmkbOzM6h2mmFhKBJA";
        let ed = |more: Value| {
            let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a"});
            for (name, value) in more.as_object().into_iter().flatten() {
                key[name] = value.clone();
            }
            key
        };
        let usable =
            |key: Value| KeySet::new(vec![key]).find(Some("a"), Algorithm::EdDSA).is_some();
        assert!(usable(ed(json!({}))));
        assert!(usable(ed(json!({"use": "sig", "alg": "EdDSA", "key_ops": ["verify"]}))));
        for other in [
            json!({"use": "enc"}),
            json!({"alg": "RS256"}),
            json!({"key_ops": ["sign"]}),
            json!({"kty": "oct", "k": x}),
            json!({"crv": "Ed448"}),
            json!({"kty": "mystery"}),
            json!({"x": "!"}),
        ] {
            assert!(!usable(ed(other.clone())), "{other}");
        }
        // One invalid key does not affect the others.
        let keys = KeySet::new(vec![json!(7), ed(json!({}))]);
        assert!(keys.find(Some("a"), Algorithm::EdDSA).is_some());
        assert!(keys.find(None, Algorithm::EdDSA).is_some());
        assert!(keys.find(None, Algorithm::RS256).is_none());
        let two = KeySet::new(vec![ed(json!({"kid": "b"})), ed(json!({}))]);
        assert!(two.find(None, Algorithm::EdDSA).is_none());
    }
}

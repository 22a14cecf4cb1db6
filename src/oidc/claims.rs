//! The claims of a token whose signature has been verified.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::access::{Families, Scope};
use crate::domain::text::{FamilyName, check_label};
use crate::oidc::Holder;

/// The claims of a token. The audience has been checked already.
#[derive(Deserialize)]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Settings for converting claims to a holder.
#[derive(Debug)]
pub(crate) struct Reading {
    pub issuer: String,
    pub scope_claim: String,
    pub scopes: Vec<(String, Scope)>,
    pub families_claim: Option<String>,
    pub leeway: TimeDelta,
}

impl Reading {
    /// The holder of a token with these claims at this time, or why the token is refused.
    pub(crate) fn read(&self, claims: &Claims, now: DateTime<Utc>) -> Result<Holder, &'static str> {
        if claims.iss != self.issuer {
            return Err("the token is of another issuer");
        }
        let ends_at = time(claims.exp).ok_or(MALFORMED)? + self.leeway;
        if ends_at <= now {
            return Err("the token has expired");
        }
        for (claim, refusal) in [
            (claims.nbf, "the token is not valid yet"),
            (claims.iat, "the token was issued in the future"),
        ] {
            let begins_at = claim.map(|seconds| time(seconds).ok_or(MALFORMED)).transpose()?;
            if begins_at.is_some_and(|begins_at| begins_at > now + self.leeway) {
                return Err(refusal);
            }
        }
        if check_label(&claims.sub).is_err() {
            return Err("the token's subject is empty, too long, or not printable");
        }
        let values = words(find(&claims.others, &self.scope_claim));
        let allowed = self.scopes.iter().filter(|(value, _)| values.contains(&value.as_str()));
        Ok(Holder {
            subject: claims.sub.clone(),
            scope: allowed.map(|(_, scope)| *scope).max(),
            families: self.families(&claims.others),
            quota: quota(&claims.iss, &claims.sub),
            ends_at,
        })
    }

    fn families(&self, claims: &Map<String, Value>) -> Families {
        let Some(claim) = &self.families_claim else { return Families::All };
        let names = words(find(claims, claim));
        if names.contains(&"*") {
            return Families::All;
        }
        // A text that is not a valid family name matches no family.
        Families::Only(names.into_iter().filter_map(|name| FamilyName::new(name).ok()).collect())
    }
}

pub(crate) const MALFORMED: &str = "the token cannot be read";

/// Parses seconds since the epoch, up to the end of the year 9999.
fn time(seconds: f64) -> Option<DateTime<Utc>> {
    const FAR: f64 = 253_402_300_799.0; // the end of the year 9999
    #[expect(clippy::cast_possible_truncation, reason = "it is within the range of years")]
    let whole = (0.0..=FAR).contains(&seconds).then(|| seconds.floor() as i64)?;
    DateTime::from_timestamp(whole, 0)
}

/// Finds a claim by its name, or by a path of names separated by dots.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut steps = name.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    })
}

/// The words of a claim: those of a text, which is how OAuth writes scopes, or the texts of a list.
fn words(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The id under which a subject's requests are counted.
fn quota(issuer: &str, subject: &str) -> Uuid {
    let mut digest = Sha256::new();
    // An issuer never contains the separator.
    digest.update(issuer);
    digest.update([0]);
    digest.update(subject);
    let digest: [u8; 32] = digest.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_772_366_400;

    fn read(claims: Value) -> Result<Holder, &'static str> {
        let reading = Reading {
            issuer: "https://id.example.org".to_owned(),
            scope_claim: "realm_access.roles".to_owned(),
            scopes: vec![("reader".to_owned(), Scope::Read), ("boss".to_owned(), Scope::Admin)],
            families_claim: Some("families".to_owned()),
            leeway: TimeDelta::seconds(30),
        };
        let claims = serde_json::from_value(claims).map_err(|_| MALFORMED)?;
        reading.read(&claims, DateTime::from_timestamp(NOW, 0).unwrap())
    }

    fn with(claim: &str, value: Value) -> Value {
        let mut claims = json!({
            "iss": "https://id.example.org", "sub": "ada", "exp": NOW + 60, "iat": NOW,
            "realm_access": {"roles": ["reader", "boss"]}, "families": ["t5-c4", "not a name"],
        });
        claims[claim] = value;
        claims
    }

    #[test]
    fn the_most_that_a_claim_allows_counts() {
        let holder = read(with("nothing", json!(null))).unwrap();
        assert_eq!((holder.subject.as_str(), holder.scope), ("ada", Some(Scope::Admin)));
        assert_eq!(holder.families, Families::Only(vec![FamilyName::new("t5-c4").unwrap()]));
        let flat = read(with("realm_access.roles", json!("other reader"))).unwrap();
        assert_eq!(flat.scope, Some(Scope::Read));
        for nothing in [json!(null), json!(7), json!({}), json!(["Reader", 7])] {
            assert_eq!(read(with("realm_access.roles", nothing)).unwrap().scope, None);
        }
    }

    #[test]
    fn a_token_that_names_no_families_is_for_none() {
        for nothing in [json!(null), json!([]), json!(""), json!(true)] {
            let families = read(with("families", nothing)).unwrap().families;
            assert_eq!(families, Families::Only(vec![]));
            assert!(!families.allow("t5-c4"));
        }
        assert_eq!(read(with("families", json!(["*"]))).unwrap().families, Families::All);
    }

    #[test]
    fn times_are_held_with_leeway() {
        for (claim, last, first) in [("exp", NOW - 29, NOW - 30), ("nbf", NOW + 30, NOW + 31)] {
            read(with(claim, json!(last))).unwrap();
            read(with(claim, json!(first))).unwrap_err();
        }
        read(with("iat", json!(NOW + 31))).unwrap_err();
        for bad in [json!("soon"), json!(-1), json!(1e300), json!([1])] {
            for claim in ["exp", "nbf", "iat"] {
                read(with(claim, bad.clone())).unwrap_err();
            }
        }
        read(with("exp", json!(null))).unwrap_err();
    }

    #[test]
    fn subjects_are_printable_and_counted_apart() {
        for bad in [json!(""), json!("a\u{0}"), json!("a".repeat(201)), json!(7), json!(null)] {
            read(with("sub", bad)).unwrap_err();
        }
        let quota = |subject| read(with("sub", json!(subject))).unwrap().quota;
        assert_eq!(quota("ada"), quota("ada"));
        assert_ne!(quota("ada"), quota("eve"));
    }
}

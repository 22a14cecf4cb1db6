//! On whose behalf a request is processed: the unit by which places and memory are shared out.

use std::fmt;
use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap};
use uuid::Uuid;

use crate::api::layers::throttle::{Throttle, network};
use crate::live::keyring::Caller;

/// The party on whose behalf work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The holder of a key, or of tokens.
    Key(Uuid),
    /// The sender's address, where no key is required.
    Address(IpAddr),
    /// No particular party, for example the service itself.
    Unknown,
}

/// The form in which owners are stored.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Owner {
    /// Parses the output of [`fmt::Display`]; anything else is [`Self::Unknown`].
    #[must_use]
    pub(crate) fn read(text: &str) -> Self {
        let known = text.split_once(' ').and_then(|(kind, name)| match kind {
            "key" => name.parse().ok().map(Self::Key),
            "address" => name.parse().ok().map(Self::Address),
            _ => None,
        });
        known.unwrap_or(Self::Unknown)
    }

    /// The owner of a request that the guard has admitted.
    #[must_use]
    pub(crate) fn of(throttle: &Throttle, extensions: &Extensions, headers: &HeaderMap) -> Self {
        if let Some(key) = extensions.get::<Caller>().and_then(Caller::quota) {
            return Self::Key(key);
        }
        let address = throttle.address(extensions, headers);
        address.map_or(Self::Unknown, |address| Self::Address(network(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_they_are_stored() {
        for owner in [
            Owner::Key(Uuid::from_u128(7)),
            Owner::Address("2001:db8::7".parse().unwrap()),
            Owner::Unknown,
        ] {
            assert_eq!(Owner::read(&owner.to_string()), owner);
        }
        assert_eq!(Owner::read("key of another version"), Owner::Unknown);
    }
}

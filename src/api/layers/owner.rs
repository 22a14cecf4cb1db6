//! Whose work a request is: what places and memory are shared out by.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap};
use uuid::Uuid;

use crate::api::layers::throttle::{Throttle, network};
use crate::live::keyring::Caller;

/// Whoever a piece of work is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The holder of a key, or of tokens.
    Key(Uuid),
    /// Who sent the request, where nobody is asked for a key.
    Address(IpAddr),
    /// Nobody else, such as the service itself.
    Unknown,
}

impl Owner {
    /// The owner of a request that the guard has let in.
    #[must_use]
    pub(crate) fn of(throttle: &Throttle, extensions: &Extensions, headers: &HeaderMap) -> Self {
        if let Some(key) = extensions.get::<Caller>().and_then(Caller::quota) {
            return Self::Key(key);
        }
        let address = throttle.address(extensions, headers);
        address.map_or(Self::Unknown, |address| Self::Address(network(address)))
    }
}

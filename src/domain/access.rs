//! Access control: scopes, API keys as their holders see them, and the families that a key gives access to.

use sparsity_law::named;
use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::domain::text::FamilyName;

named! {
    /// What a caller may do; each scope includes the ones before it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Scope {
        /// Look things up and ask questions.
        Read = "read",
        /// Store runs, laws, forecasts and profiles, and request refits.
        Write = "write",
        /// Delete families, manage keys, read the audit log.
        Admin = "admin",
    }
}

/// The families that a key gives access to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Families {
    /// Every family.
    All,
    /// The families with these names, whether they exist yet or not; at least one.
    Only(Vec<FamilyName>),
}

impl Families {
    /// Maximum number of families that a key can name.
    pub const MOST: usize = 1_000;

    /// Whether the key gives access to the family with this name.
    #[must_use]
    pub fn allow(&self, family: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name.as_str() == family),
        }
    }

    /// Names of the families; `None` if all are allowed.
    #[must_use]
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(names) => Some(names.iter().map(ToString::to_string).collect()),
        }
    }
}

const SECRET_BYTES: usize = 32;
const ID_DIGITS: usize = 32;

/// An API key as its holder sees it: `sp_`, the 32 hexadecimal digits of its id, `_`, and the 64 hexadecimal digits of
/// its secret. The id is public and identifies the key; the secret authenticates its holder.
#[derive(Clone)]
pub struct KeyText {
    id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl KeyText {
    /// Creates a key with a random secret.
    ///
    /// # Errors
    /// If the system provides no random bytes.
    pub fn random(id: Uuid) -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self { id, secret })
    }

    /// Parses a key; `None` if the text does not have the form of a key. Does not allocate.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("sp_")?.split_once('_')?;
        if id.len() != ID_DIGITS || secret.len() != 2 * SECRET_BYTES {
            return None;
        }
        let id = Uuid::try_parse(id).ok()?;
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(secret, &mut bytes).ok()?;
        Some(Self { id, secret: bytes })
    }

    /// Id of the key, its public part.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// The hash that is stored in place of the secret.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.secret).into())
    }

    /// The whole key as text, to be shown once to its holder.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("sp_{}_{}", self.id.simple(), hex::encode(self.secret))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyText").field("id", &self.id).finish_non_exhaustive()
    }
}

/// SHA-256 of a key's secret.
///
/// A deliberately slow hash protects secrets that can be guessed. Nobody can guess 256 random bits, and this hash is
/// computed for every request, so it is a fast one. There is no `==`: hashes are compared in constant time.
#[derive(Clone)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Restores a stored hash; `None` if it does not have 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both hashes are equal, compared in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_include_the_ones_below() {
        assert!(Scope::Read < Scope::Write && Scope::Write < Scope::Admin);
        for scope in Scope::ALL {
            assert_eq!(Scope::of_name(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::of_name("Admin"), None);
    }

    #[test]
    fn a_key_is_read_back_and_proves_itself() {
        let key = KeyText::random(Uuid::from_u128(7)).unwrap();
        let text = key.reveal();
        assert_eq!(text.len(), 100);
        let read = KeyText::parse(&text).unwrap();
        assert_eq!(read.id(), key.id());
        assert!(read.hash().matches(&key.hash()));
        let other = KeyText::random(key.id()).unwrap();
        assert!(!other.hash().matches(&key.hash()));
        let stored = KeyHash::from_bytes(key.hash().as_bytes()).unwrap();
        assert!(stored.matches(&read.hash()));
        assert!(KeyHash::from_bytes(&[0; 31]).is_none());
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        let text = KeyText::random(Uuid::from_u128(7)).unwrap().reveal();
        let garbled = [
            String::new(),
            "sp_".to_owned(),
            text[1..].to_owned(),
            text[..99].to_owned(),
            format!("{text}0"),
            text.replace("sp_", "SP_"),
            format!("{}g", &text[..99]),
            format!("{}\u{e9}", &text[..98]),
            text.replacen('0', "{", 1),
            "sp_".repeat(100_000),
        ];
        for text in garbled {
            assert!(KeyText::parse(&text).is_none(), "{text:.120}");
        }
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let key = KeyText::random(Uuid::from_u128(7)).unwrap();
        let shown = format!("{key:?} {:?}", key.hash());
        assert!(!shown.contains(&hex::encode(key.secret)), "{shown}");
        assert!(!shown.contains(&hex::encode(key.hash().as_bytes())), "{shown}");
        assert!(!shown.contains(&format!("{:?}", key.secret)), "{shown}");
    }
}

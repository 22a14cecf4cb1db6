//! Extractors whose rejections are problem documents that name the field.

pub(crate) mod json_body;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use uuid::Uuid;

use json_body::{MOST_SHOWN, field_error};

use crate::api::wire::problem::ApiError;
use crate::domain::page::{Page, PageRequest};
use crate::domain::text::FamilyName;

pub use json_body::{BulkBody, JsonBody, OptionalJsonBody};

/// An object whose keys the sender chooses, each at most once. Otherwise serde would keep the last of two equal keys.
#[derive(Debug)]
pub struct UniqueKeys<T>(pub BTreeMap<String, T>);

impl<T> Default for UniqueKeys<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueKeys<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = UniqueKeys<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    entries.insert(key, value);
                }
                Ok(UniqueKeys(entries))
            }
        }

        deserializer.deserialize_map(Keys(PhantomData))
    }
}

/// Query parameters; unknown and repeated ones are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = literal_exponents(parts.uri.query().unwrap_or_default());
        let deserializer =
            || serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        // Tracking the path costs more than reading the query, so it is only done after an error.
        if let Ok(read) = T::deserialize(deserializer()) {
            return Ok(Self(read));
        }
        serde_path_to_error::deserialize(deserializer()).map(Self).map_err(|error| {
            let detail = error.inner().to_string();
            let mut wrong = field_error("", error.path(), &detail);
            let named = |name: &str| wrong.pointer.strip_prefix('/') == Some(name);
            let given =
                form_urlencoded::parse(query.as_bytes()).find(|(name, _)| named(name.as_ref()));
            if let Some(detail) = given.and_then(|(_, value)| unreadable(&detail, &value)) {
                wrong.detail = detail;
            }
            ApiError::Invalid(vec![wrong])
        })
    }
}

/// Rewords an error of the standard library's parsers, which name neither the value nor what it must be.
fn unreadable(detail: &str, value: &str) -> Option<String> {
    let wanted = match detail {
        "invalid float literal" | "cannot parse float from empty string" => "must be a number",
        // A negative whole number fails this way only for an unsigned type.
        "invalid digit found in string" if value.parse::<i64>().is_ok() => {
            "must be a whole number of at least 0"
        }
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number"
        }
        "number too large to fit in target type" => "must be a smaller number",
        "number too small to fit in target type" => "must be a larger number",
        "provided string was not `true` or `false`" => "must be true or false",
        _ => return None,
    };
    let shown: String = value.chars().take(MOST_SHOWN).collect();
    let rest = if shown.len() < value.len() { "..." } else { "" };
    Some(format!("{wanted}, got {shown:?}{rest}"))
}

/// Escapes the plus sign of numbers such as `1e+17`.
///
/// In a query a plain plus means a space, but `1e+17` is how Python and JavaScript print that number, and people put
/// URLs together by hand.
fn literal_exponents(query: &str) -> Cow<'_, str> {
    let bytes = query.as_bytes();
    let is_exponent = |at: usize| {
        let digit =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        at > 0
            && matches!(bytes[at - 1], b'e' | b'E')
            && digit(at.checked_sub(2))
            && digit(Some(at + 1))
    };
    let mut escaped = String::new();
    let mut rest = 0;
    for (at, _) in query.match_indices('+').filter(|(at, _)| is_exponent(*at)) {
        escaped.push_str(&query[rest..at]);
        escaped.push_str("%2B");
        rest = at + 1;
    }
    if rest == 0 {
        return Cow::Borrowed(query);
    }
    escaped.push_str(&query[rest..]);
    Cow::Owned(escaped)
}

/// Path of a family.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct FamilyPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
}

impl FamilyPath {
    /// The family's name. A text that is not a valid name cannot belong to any family.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn name(&self) -> Result<FamilyName, ApiError> {
        family_name(&self.family)
    }
}

/// Parses the name of a family in a path.
///
/// # Errors
/// [`ApiError::NotFound`].
pub fn family_name(name: &str) -> Result<FamilyName, ApiError> {
    FamilyName::new(name).map_err(|_| no_family(name))
}

/// The error for a family that does not exist.
#[must_use]
pub fn no_family(name: impl Into<String>) -> ApiError {
    ApiError::NotFound { what: "family", name: name.into() }
}

/// Parses an id in a path.
///
/// # Errors
/// [`ApiError::NotFound`]: a text that is not an id names nothing.
pub fn path_id(id: &str, what: &'static str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(id).map_err(|_| ApiError::NotFound { what, name: id.to_owned() })
}

/// Which page of a list to return.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Most items on the page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    pub limit: u16,
    /// The `next_cursor` of the previous page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

impl PageParams {
    /// Most items that a page can have.
    pub const MAX_LIMIT: u16 = 1000;

    /// Number of items on a page by default.
    #[must_use]
    pub const fn default_limit() -> u16 {
        100
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a limit out of range, or for a cursor that cannot come from a list.
    pub fn check(&self) -> Result<PageRequest, ApiError> {
        if !(1..=Self::MAX_LIMIT).contains(&self.limit) {
            let detail = format!("must be between 1 and {}, not {}", Self::MAX_LIMIT, self.limit);
            return Err(ApiError::field("/limit", detail));
        }
        let after = match &self.cursor {
            Some(cursor) => Some(Uuid::try_parse(cursor).map_err(|_| {
                ApiError::field("/cursor", "must be the next_cursor of the page before")
            })?),
            None => None,
        };
        Ok(PageRequest { limit: self.limit, after })
    }
}

/// The cursor of the next page; `None` on the last page.
pub fn next_cursor<T>(page: &Page<T>) -> Option<String> {
    page.next.map(|id| id.simple().to_string())
}

/// Default of switches that are on unless the caller turns them off.
pub(crate) const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;

    use super::*;
    use crate::domain::checks::FieldError;

    #[tokio::test]
    async fn a_parameter_that_cannot_be_read_says_what_it_must_be() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Params {
            _number: Option<f64>,
            _whole: Option<i32>,
            _count: Option<u16>,
            _flag: Option<bool>,
        }
        let long = format!("_number={}", "x".repeat(100));
        let shown = format!("must be a number, got \"{}\"...", "x".repeat(60));
        for (query, pointer, detail) in [
            ("_number=abc", "/_number", "must be a number, got \"abc\""),
            ("_number=", "/_number", "must be a number, got \"\""),
            ("_number=%22", "/_number", "must be a number, got \"\\\"\""),
            (&long, "/_number", &shown),
            ("_flag=true&_whole=1.5", "/_whole", "must be a whole number, got \"1.5\""),
            ("_whole=", "/_whole", "must be a whole number, got \"\""),
            ("_count=-1", "/_count", "must be a whole number of at least 0, got \"-1\""),
            ("_count=70000", "/_count", "must be a smaller number, got \"70000\""),
            ("_whole=-3000000000", "/_whole", "must be a larger number, got \"-3000000000\""),
            ("_flag=yes", "/_flag", "must be true or false, got \"yes\""),
        ] {
            let request = Request::builder().uri(format!("/?{query}")).body(()).unwrap();
            let (mut parts, ()) = request.into_parts();
            let error = Query::<Params>::from_request_parts(&mut parts, &()).await.unwrap_err();
            let ApiError::Invalid(errors) = error else { panic!("{error:?}") };
            let wanted = FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() };
            assert_eq!(errors, [wanted], "{query}");
        }
    }

    #[test]
    fn a_plus_in_an_exponent_is_a_plus() {
        assert_eq!(literal_exponents("a=1e+17&b=2E+3"), "a=1e%2B17&b=2E%2B3");
        assert_eq!(
            literal_exponents("a=one+two&b=e+1&c=1e+x&d=1e17"),
            "a=one+two&b=e+1&c=1e+x&d=1e17"
        );
    }
}

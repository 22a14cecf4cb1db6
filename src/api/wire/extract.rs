//! Extractors whose rejections are problems that name the field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use futures_util::StreamExt;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sparsity_law::pace::step;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::api::layers::bodies::{Full, Held};
use crate::api::layers::owner::Owner;
use crate::api::state::AppState;
use crate::api::wire::json_tokens::JsonTokens;
use crate::api::wire::problem::ApiError;
use crate::api::wire::strict::Strict;
use crate::domain::checks::FieldError;
use crate::domain::page::{Page, PageRequest};
use crate::domain::text::{ERROR_LIMIT, FamilyName, cut};

/// A JSON body of one value.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        require_json(&request)?;
        Buffered::small(request, state).await?.parse(state).await.map(Self)
    }
}

/// A JSON body of one value that may have many points, and the room that it took: it counts as held until that is dropped,
/// as its points take memory until they are answered.
#[derive(Debug)]
pub struct BulkBody<T>(pub T, pub Held);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for BulkBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        require_json(&request)?;
        let limit = (state.limits.bodies.bulk, "--max-body-bytes");
        let body = Buffered::read(request, state, limit).await?;
        body.parse_held(state).await.map(|(body, held)| Self(body, held))
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default + Send + 'static> FromRequest<AppState> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if request.headers().get(header::CONTENT_TYPE).is_none() {
            let body = Buffered::small(request, state).await?;
            return match body.pieces.length == 0 {
                true => Ok(Self(T::default())),
                false => Err(unsupported(None)),
            };
        }
        require_json(&request)?;
        let body = Buffered::small(request, state).await?;
        if body.pieces.length == 0 || body.pieces.only().trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        body.parse(state).await.map(Self)
    }
}

fn unsupported(got: Option<&str>) -> ApiError {
    let got = got.map_or_else(|| "missing".to_owned(), |got| format!("{got:?}"));
    let expected = "application/json".to_owned();
    ApiError::UnsupportedMediaType { what: "content type", got, expected }
}

/// Refuses a body that does not say it is JSON.
fn require_json(request: &Request) -> Result<(), ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(unsupported(content_type))
}

/// A body that has arrived whole, counted among those that are held.
struct Buffered {
    pieces: Pieces,
    owner: Owner,
    held: Held,
}

/// What has arrived of a body. A vector that grows would move all of it each time, on a thread that serves others meanwhile.
#[derive(Default)]
struct Pieces {
    blocks: Vec<Vec<u8>>,
    length: usize,
}

impl Pieces {
    /// How large the blocks are, but for that of a small body. Filling one takes some ten microseconds.
    const BLOCK: usize = 256 * 1024;

    /// Adds what has arrived, where at most so many bytes are expected in all: that is believed up to a block.
    fn push(&mut self, mut piece: &[u8], expected: usize) {
        while !piece.is_empty() {
            let room = self.blocks.last().map_or(0, |block| block.capacity() - block.len());
            if room == 0 {
                let left = expected.saturating_sub(self.length).max(piece.len());
                self.blocks.push(Vec::with_capacity(left.min(Self::BLOCK)));
                continue;
            }
            let (now, later) = piece.split_at(room.min(piece.len()));
            if let Some(block) = self.blocks.last_mut() {
                block.extend_from_slice(now);
            }
            self.length += now.len();
            piece = later;
        }
    }

    /// The body, where it is a single block; else nothing.
    fn only(&self) -> &[u8] {
        match &self.blocks[..] {
            [block] => block,
            _ => &[],
        }
    }

    /// Refuses a body of which a single name or value is so long that what parses it would not give way.
    fn check(&self) -> Result<(), ApiError> {
        let mut tokens = JsonTokens::default();
        self.blocks.iter().try_for_each(|block| {
            step();
            tokens.look(block)
        })
    }

    /// The body as one; a block is gone once it is copied. Gives way to others from block to block.
    fn whole(mut self) -> Vec<u8> {
        if self.blocks.len() == 1 {
            return self.blocks.pop().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.length);
        for block in self.blocks {
            step();
            whole.extend_from_slice(&block);
        }
        whole
    }
}

/// Bodies larger than this are parsed on a thread for it: JSON takes about a millisecond for so many bytes.
const PARSED_AT_ONCE: usize = 64 * 1024;

impl Buffered {
    async fn small(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit = (state.limits.bodies.small, "--max-small-body-bytes");
        Self::read(request, state, limit).await
    }

    /// Reads a body of at most so many bytes, which a setting says.
    async fn read(
        request: Request,
        state: &AppState,
        (most, setting): (usize, &'static str),
    ) -> Result<Self, ApiError> {
        let too_large = || ApiError::TooLarge { what: "the body".to_owned(), setting };
        let owner = Owner::of(&state.throttle, request.extensions(), request.headers());
        let body = request.into_body();
        let announced = body.size_hint().exact();
        if announced.is_some_and(|bytes| bytes > most as u64) {
            return Err(too_large());
        }
        let mut held = state.bodies.begin(owner);
        let mut pieces = Pieces::default();
        let mut arriving = body.into_data_stream();
        let mut taken = 0;
        while let Some(piece) = arriving.next().await {
            let piece = piece.map_err(|_| {
                ApiError::Malformed("the body ended before it was complete".to_owned())
            })?;
            let length = pieces.length + piece.len();
            if length > most {
                return Err(too_large());
            }
            let expected = announced.map_or(most, |announced| announced as usize);
            let room = length.next_multiple_of(Pieces::BLOCK).min(expected).max(length);
            held.cover(room as u64).map_err(|Full| ApiError::BodiesBusy)?;
            pieces.push(&piece, expected);
            taken += piece.len();
            if taken >= Pieces::BLOCK {
                match held.pace(taken, Instant::now()) {
                    Some(paid) => tokio::time::sleep_until(paid.into()).await,
                    // Others get their turn all the same.
                    None => tokio::task::yield_now().await,
                }
                taken = 0;
            }
        }
        Ok(Self { pieces, owner, held })
    }

    /// Parses it, where that takes long on a thread for it.
    async fn parse<T: DeserializeOwned + Send + 'static>(
        self,
        state: &AppState,
    ) -> Result<T, ApiError> {
        self.parse_held(state).await.map(|(parsed, _)| parsed)
    }

    /// The same, with the room that it took.
    async fn parse_held<T: DeserializeOwned + Send + 'static>(
        self,
        state: &AppState,
    ) -> Result<(T, Held), ApiError> {
        let Self { pieces, owner, held } = self;
        if pieces.length <= PARSED_AT_ONCE {
            return Ok((parse_json(&pieces.whole(), "")?, held));
        }
        let parse = move || {
            pieces.check()?;
            Ok((parse_json(&pieces.whole(), "")?, held))
        };
        state.threads.run(owner, parse).await
    }
}

/// Parses one JSON object; errors are pointers below `prefix`.
///
/// # Errors
/// [`ApiError::Malformed`] where it is no JSON, [`ApiError::Invalid`] where it is of another shape.
pub(crate) fn parse_json<T: DeserializeOwned>(json: &[u8], prefix: &str) -> Result<T, ApiError> {
    // Left to itself serde would also take an array, field by field.
    if json.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte != b'{') {
        // What skips a value does not give way: of a long body only this is said.
        if json.len() <= PARSED_AT_ONCE {
            serde_json::from_slice::<serde::de::IgnoredAny>(json)
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
        }
        return Err(ApiError::field(prefix, "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|error| {
        let cause = error.inner();
        if cause.is_data() {
            let message = cause.to_string();
            // The place is in the pointer; a column within one row of many would mislead.
            let detail = message.rsplit_once(" at line ").map_or(&*message, |(detail, _)| detail);
            let mut wrong = field_error(prefix, error.path(), detail);
            if let Some(plain) = in_plain_words(detail) {
                wrong.detail = plain;
            }
            ApiError::Invalid(vec![wrong])
        } else {
            ApiError::Malformed(cause.to_string())
        }
    })?;
    deserializer.end().map_err(|error| ApiError::Malformed(error.to_string()))?;
    Ok(value)
}

/// What a value must be, where serde says it in words of Rust.
fn in_plain_words(detail: &str) -> Option<String> {
    let rest = detail.strip_prefix("invalid type: ")?;
    // The value stands first, and may hold these words.
    let (got, wanted) = rest.rsplit_once(", expected ")?;
    let wanted = match wanted {
        "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        wanted => wanted,
    };
    let got = match got {
        "sequence" => "a list",
        "map" => "an object",
        "null" | "unit value" => "null",
        got => ["integer ", "floating point ", "boolean ", "string "]
            .iter()
            .find_map(|kind| got.strip_prefix(kind))
            .map_or(got, |value| value.trim_matches('`')),
    };
    let shown: String = got.chars().take(MOST_SHOWN).collect();
    let rest = if shown.len() < got.len() { "..." } else { "" };
    Some(format!("must be {wanted}, not {shown}{rest}"))
}

/// A pointer to the field that serde complains about. A missing or unknown field is not in the
/// path, only in the message.
fn field_error(prefix: &str, path: &serde_path_to_error::Path, detail: &str) -> FieldError {
    use serde_path_to_error::Segment;

    let mut segments: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } | Segment::Enum { variant: key } => Some(shortened(key)),
            Segment::Unknown => None,
        })
        .collect();
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| detail.strip_prefix(start))
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| shortened(name));
    if named.is_some() && segments.last() != named.as_ref() {
        segments.extend(named);
    }
    let mut pointer = prefix.to_owned();
    for segment in segments {
        // RFC 6901 escapes.
        pointer.push('/');
        pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    }
    FieldError { pointer, detail: shortened(detail) }
}

/// A text for an error: it may be as long as a body, and need not be copied whole.
fn shortened(text: &str) -> String {
    // One more than is kept, so that it is seen that there was more.
    let mut short = text[..text.floor_char_boundary(ERROR_LIMIT + 4)].to_owned();
    cut(&mut short, ERROR_LIMIT);
    short
}

/// An object with keys of its sender's choice, each once: left to itself serde takes the last of two.
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
        // Keeping the path costs more than reading the query: it is asked for where there is an error.
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

/// What a parameter must be, where the standard library could not read it: its messages name neither.
fn unreadable(detail: &str, value: &str) -> Option<String> {
    let wanted = match detail {
        "invalid float literal" | "cannot parse float from empty string" => "must be a number",
        // Only a type without sign fails to read a negative whole number by its digits.
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

/// Characters of a wrong value that its error repeats.
const MOST_SHOWN: usize = 60;

/// Escapes the plus of numbers such as `1e+17`.
///
/// In a query a bare plus is a space, but `1e+17` is how Python and JavaScript print that number, and
/// URLs are put together by hand.
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
    /// The name; one that is no slug names no family.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn name(&self) -> Result<FamilyName, ApiError> {
        family_name(&self.family)
    }
}

/// The name of a family out of a path.
///
/// # Errors
/// [`ApiError::NotFound`].
pub fn family_name(name: &str) -> Result<FamilyName, ApiError> {
    FamilyName::new(name).map_err(|_| no_family(name))
}

/// There is no such family.
#[must_use]
pub fn no_family(name: impl Into<String>) -> ApiError {
    ApiError::NotFound { what: "family", name: name.into() }
}

/// An id out of a path.
///
/// # Errors
/// [`ApiError::NotFound`]: what is no id names nothing.
pub fn path_id(id: &str, what: &'static str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(id).map_err(|_| ApiError::NotFound { what, name: id.to_owned() })
}

/// Which page of a list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// The most items of the page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    pub limit: u16,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

impl PageParams {
    /// The most items that a page can have.
    pub const MAX_LIMIT: u16 = 1000;

    /// Items of a page where nothing is said.
    #[must_use]
    pub const fn default_limit() -> u16 {
        100
    }

    /// The checked request.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a limit out of range or a cursor that no list gave out.
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

/// Where the next page starts.
pub fn next_cursor<T>(page: &Page<T>) -> Option<String> {
    page.next.map(|id| id.simple().to_string())
}

/// What a switch says that is on unless a caller turns it off.
pub(crate) const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_its_pieces_are_and_no_block_is_larger_than_a_block() {
        let body: Vec<u8> = (0..3 * Pieces::BLOCK + 7).map(|at| (at % 251) as u8).collect();
        for (piece, expected) in [(1_000, body.len()), (700_000, usize::MAX), (body.len(), 0)] {
            let mut pieces = Pieces::default();
            for piece in body.chunks(piece) {
                pieces.push(piece, expected);
            }
            assert_eq!((pieces.length, pieces.only()), (body.len(), &[][..]));
            assert!(pieces.blocks.iter().all(|block| block.capacity() <= Pieces::BLOCK));
            assert_eq!(pieces.blocks.len(), 4);
            assert_eq!(pieces.whole(), body);
        }
        // A small one takes what it is, and is not copied once more.
        let mut small = Pieces::default();
        small.push(b"nu", 4);
        small.push(b"ll", 4);
        assert_eq!((small.only(), small.blocks[0].capacity()), (&b"null"[..], 4));
        assert_eq!(small.whole(), b"null");
        assert_eq!(Pieces::default().whole(), b"");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "a/b")]
        _slash: Option<f64>,
        _list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        _value: f64,
    }

    fn error(json: &str) -> FieldError {
        match parse_json::<Body>(json.as_bytes(), "/7").unwrap_err() {
            ApiError::Invalid(mut errors) => errors.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pointers_lead_to_the_field() {
        assert_eq!(
            error(r#"{"_list": [{"_value": 1}, {"_value": "x"}]}"#).pointer,
            "/7/_list/1/_value"
        );
        assert_eq!(error(r#"{"_list": [{}]}"#).pointer, "/7/_list/0/_value");
        assert_eq!(error(r#"{"_list": [], "more": 1}"#).pointer, "/7/more");
        assert_eq!(error(r#"{"_list": [], "a/b": "x"}"#).pointer, "/7/a~1b");
        assert_eq!(error(r#"{"_list": [], "_list": []}"#).pointer, "/7/_list");
        assert_eq!(error("[1, []]").pointer, "/7");
        assert_eq!(error("null").detail, "must be a JSON object");
    }

    #[test]
    fn what_a_value_must_be_is_said_in_plain_words() {
        for (value, detail) in [
            ("[1]", "must be a number, not a list"),
            ("{}", "must be a number, not an object"),
            ("null", "must be a number, not null"),
            ("true", "must be a number, not true"),
            (r#"", expected""#, r#"must be a number, not ", expected""#),
        ] {
            assert_eq!(error(&format!(r#"{{"_list": [{{"_value": {value}}}]}}"#)).detail, detail);
        }
        assert_eq!(error(r#"{"_list": 1.5}"#).detail, "must be a list, not 1.5");
        assert_eq!(error(r#"{"_list": [[1]]}"#).detail, "must be an object, not a list");
        let long = error(&format!(r#"{{"_list": "{}"}}"#, "x".repeat(1000))).detail;
        assert!(long.len() < 100 && long.ends_with("..."), "{long}");
    }

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

    #[test]
    fn what_is_no_json_is_malformed() {
        for json in ["", "{", "{\"_list\": []} x", "nul", "{\"_list\": [{\"_value\": 1e999}]}"] {
            let error = parse_json::<Body>(json.as_bytes(), "").unwrap_err();
            assert!(matches!(error, ApiError::Malformed(_)), "{json}: {error:?}");
        }
    }
}

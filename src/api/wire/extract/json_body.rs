//! Bodies of JSON: read within bounds, parsed where that holds nobody up, and refused by the name of the field.

use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use sparsity_law::pace::step;

use crate::api::layers::bodies::{Full, Held};
use crate::api::layers::owner::Owner;
use crate::api::state::AppState;
use crate::api::wire::json_tokens::JsonTokens;
use crate::api::wire::problem::ApiError;
use crate::api::wire::strict::Strict;
use crate::domain::checks::FieldError;
use crate::domain::text::{ERROR_LIMIT, cut};

/// A JSON body that holds one value.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        require_json(&request)?;
        Buffered::small(request, state).await?.parse(state).await.map(Self)
    }
}

/// A JSON body that may hold many points, and the memory reserved for it. The reservation lasts until it is dropped,
/// because the points take memory until they are answered.
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

/// A body that has arrived completely, counted among the bodies held in memory.
struct Buffered {
    pieces: Pieces,
    owner: Owner,
    held: Held,
}

/// The parts of a body that have arrived, in blocks. A growing vector would copy everything each time it grows, on a
/// thread that serves other requests.
#[derive(Default)]
struct Pieces {
    blocks: Vec<Vec<u8>>,
    length: usize,
}

impl Pieces {
    /// Size of a block, except for a small body's. Filling one takes some ten microseconds.
    const BLOCK: usize = 256 * 1024;

    /// Appends a piece. `expected` is the most bytes expected in all; space is reserved accordingly, but for one block
    /// at most.
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

    /// The body if it consists of a single block, otherwise nothing.
    fn only(&self) -> &[u8] {
        match &self.blocks[..] {
            [block] => block,
            _ => &[],
        }
    }

    /// Refuses a body that contains a single name or value so long that parsing it would not yield to other work.
    fn check(&self) -> Result<(), ApiError> {
        let mut tokens = JsonTokens::default();
        self.blocks.iter().try_for_each(|block| {
            step();
            tokens.look(block)
        })
    }

    /// The body as one vector. Each block is freed once it is copied, and other work may run between blocks.
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

/// Bodies larger than this are parsed on a separate thread: parsing this many bytes of JSON takes about a millisecond.
const PARSED_AT_ONCE: usize = 64 * 1024;

impl Buffered {
    async fn small(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit = (state.limits.bodies.small, "--max-small-body-bytes");
        Self::read(request, state, limit).await
    }

    /// Reads a body of at most `most` bytes, a limit that comes from `setting`.
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
                    // Gives other tasks their turn even if the owner need not wait.
                    None => tokio::task::yield_now().await,
                }
                taken = 0;
            }
        }
        Ok(Self { pieces, owner, held })
    }

    /// Parses the body, on a separate thread if that takes long.
    async fn parse<T: DeserializeOwned + Send + 'static>(
        self,
        state: &AppState,
    ) -> Result<T, ApiError> {
        self.parse_held(state).await.map(|(parsed, _)| parsed)
    }

    /// Like [`Self::parse`], but also returns the memory reservation.
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

/// Parses one JSON object. Errors carry JSON pointers below `prefix`.
///
/// # Errors
/// [`ApiError::Malformed`] if it is not JSON, [`ApiError::Invalid`] if it has another shape.
pub(crate) fn parse_json<T: DeserializeOwned>(json: &[u8], prefix: &str) -> Result<T, ApiError> {
    // Otherwise serde would also accept an array, field by field.
    if json.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte != b'{') {
        // Skipping a value does not yield to other work, so a long body is not checked for its syntax here.
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
            // The pointer already gives the place; a column within one of many rows would mislead.
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

/// Rewords serde's message about a wrong type, which uses the names of Rust types.
fn in_plain_words(detail: &str) -> Option<String> {
    let rest = detail.strip_prefix("invalid type: ")?;
    // Searched from the end: the value comes first, and may contain these words itself.
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

/// The error of the field that serde complains about, with its JSON pointer. A missing or unknown field is named only
/// in serde's message and not in its path.
pub(super) fn field_error(
    prefix: &str,
    path: &serde_path_to_error::Path,
    detail: &str,
) -> FieldError {
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
        // Escapes of RFC 6901.
        pointer.push('/');
        pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    }
    FieldError { pointer, detail: shortened(detail) }
}

/// Shortens a text for an error message. It may be as long as a body, and is not copied whole.
fn shortened(text: &str) -> String {
    // Slightly more than is kept, so that `cut` sees that something is missing.
    let mut short = text[..text.floor_char_boundary(ERROR_LIMIT + 4)].to_owned();
    cut(&mut short, ERROR_LIMIT);
    short
}

/// Number of characters of a wrong value that its error message repeats.
pub(super) const MOST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
        // A small body takes only its own size, and is not copied again.
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

    #[test]
    fn what_is_no_json_is_malformed() {
        for json in ["", "{", "{\"_list\": []} x", "nul", "{\"_list\": [{\"_value\": 1e999}]}"] {
            let error = parse_json::<Body>(json.as_bytes(), "").unwrap_err();
            assert!(matches!(error, ApiError::Malformed(_)), "{json}: {error:?}");
        }
    }
}

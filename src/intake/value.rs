//! Values of cells, with a JSON reader that keeps repeated keys and borrows where it can.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A cell of a row, in any format.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A whole number with all its digits, since ids and tags can be too long for an `f64`.
    Integer(i128),
    /// A text.
    Text(Cow<'a, str>),
    /// A date or a time, from a format that distinguishes them from texts.
    Time(String),
    /// A list.
    List(Vec<Value<'a>>),
    /// An object, with its keys in order. Repeated keys are kept so that they can be refused.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl Value<'_> {
    /// The same value without borrowed parts.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Time(text) => Value::Time(text),
            Self::List(items) => Value::List(items.into_iter().map(Value::into_owned).collect()),
            Self::Object(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
                    .collect(),
            ),
        }
    }

    /// Describes the value for a message; a long text is cut.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 40;
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) if text.chars().count() > SHOWN => {
                format!("{:?}...", text.chars().take(SHOWN).collect::<String>())
            }
            Self::Text(text) => format!("{text:?}"),
            Self::Time(text) => format!("the date or time {text}"),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        // A string with an escape is never borrowed, so every marked number arrives here.
        let bare = text.strip_prefix('\u{1}').filter(|word| BARE.contains(word));
        Ok(match bare.and_then(|word| word.parse().ok()) {
            Some(number) => Value::Number(number),
            None => Value::Text(Cow::Owned(text.to_owned())),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Value::Object(entries))
    }
}

/// A key of an object, borrowed if it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Turns `NaN`, `Infinity` and `-Infinity`, which Python writes without quotes, into strings that start with a control
/// character, so that the text is valid JSON. [`Value`] reads these strings back as numbers, and whatever needs a
/// finite number refuses them by field and row.
pub(crate) fn without_bare_numbers(json: &str) -> Cow<'_, str> {
    if !json.contains(['N', 'I']) {
        return Cow::Borrowed(json);
    }
    let (mut out, mut rest, mut quoted) = (String::with_capacity(json.len() + 8), json, false);
    while let Some(first) = rest.chars().next() {
        let bare =
            (!quoted).then(|| BARE.into_iter().find(|word| rest.starts_with(word))).flatten();
        if let Some(word) = bare {
            out.push_str("\"\\u0001");
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        let mut taken = first.len_utf8();
        if first == '"' {
            quoted = !quoted;
        } else if first == '\\' && quoted {
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

/// Numbers that JSON lacks, those with a sign first.
const BARE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Does the same as [`without_bare_numbers`] for a stream of JSON.
pub(crate) struct WithoutBareNumbers<R> {
    source: R,
    /// Bytes read but not yet examined.
    waiting: Vec<u8>,
    /// Bytes examined but not yet handed on.
    ready: Vec<u8>,
    handed_on: usize,
    quoted: bool,
    escaped: bool,
    ended: bool,
}

impl<R: Read> WithoutBareNumbers<R> {
    pub(crate) fn new(source: R) -> Self {
        let (waiting, ready) = (Vec::new(), Vec::new());
        Self { source, waiting, ready, handed_on: 0, quoted: false, escaped: false, ended: false }
    }

    fn look(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() {
            let byte = self.waiting[at];
            let rest = &self.waiting[at..];
            if !self.quoted && matches!(byte, b'N' | b'I' | b'-') {
                if let Some(word) = BARE.iter().find(|word| rest.starts_with(word.as_bytes())) {
                    self.ready.extend(b"\"\\u0001");
                    self.ready.extend(word.as_bytes());
                    self.ready.push(b'"');
                    at += word.len();
                    continue;
                }
                // This may be the start of one of the words, with the rest still to come.
                if !self.ended && BARE.iter().any(|word| word.as_bytes().starts_with(rest)) {
                    break;
                }
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ => {}
            }
            self.ready.push(byte);
            at += 1;
        }
        self.waiting.drain(..at);
    }
}

impl<R: Read> Read for WithoutBareNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const PIECE: usize = 16 * 1024;
        while self.handed_on == self.ready.len() && !self.ended {
            self.ready.clear();
            self.handed_on = 0;
            let before = self.waiting.len();
            self.waiting.resize(before + PIECE, 0);
            let read = self.source.read(&mut self.waiting[before..])?;
            self.waiting.truncate(before + read);
            self.ended = read == 0;
            self.look();
        }
        let ready = &self.ready[self.handed_on..];
        let length = ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ready[..length]);
        self.handed_on += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_become_texts_and_texts_stay() {
        for (json, expected) in [
            (r#"{"a": NaN, "b": -Infinity}"#, r#"{"a": "\u0001NaN", "b": "\u0001-Infinity"}"#),
            (r#"{"NaN": "Infinity", "c": "x\"NaN"}"#, r#"{"NaN": "Infinity", "c": "x\"NaN"}"#),
            (r#"{"a": "\\", "b": NaN}"#, r#"{"a": "\\", "b": "\u0001NaN"}"#),
            ("[1, 2]", "[1, 2]"),
        ] {
            assert_eq!(without_bare_numbers(json), expected);
        }
    }

    #[test]
    fn bare_numbers_are_numbers_and_texts_of_their_spelling_are_texts() {
        let read = |json: &str| {
            let json = without_bare_numbers(json).into_owned();
            serde_json::from_str::<Value<'_>>(&json).unwrap().into_owned()
        };
        assert_eq!(read("-Infinity"), Value::Number(f64::NEG_INFINITY));
        assert!(matches!(read("NaN"), Value::Number(number) if number.is_nan()));
        assert_eq!(read("\"NaN\""), Value::Text("NaN".into()));
    }

    #[test]
    fn whole_numbers_keep_their_digits() {
        let read = |json: &str| serde_json::from_str::<Value<'_>>(json).unwrap().describe();
        assert_eq!(read("9007199254740993"), "9007199254740993");
        assert_eq!(read("18446744073709551615"), "18446744073709551615");
        assert_eq!(read("-9223372036854775808"), "-9223372036854775808");
    }

    #[test]
    fn what_streams_by_becomes_what_a_whole_text_does() {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.1.min(self.0.len()).min(buffer.len());
                buffer[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let json =
            r#"[{"a": NaN, "b": -Infinity, "c": -1, "d": "NaN \\", "e": Infinity}, -5, "x\"NaN"]"#;
        for piece in 1..=json.len() {
            let mut text = String::new();
            WithoutBareNumbers::new(Pieces(json.as_bytes(), piece))
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, without_bare_numbers(json), "{piece}");
        }
    }
}

//! Strict deserialisation of JSON: an array is not accepted as an object, nor a number as the word of an enum.
//!
//! By default, derived types also accept an array in place of an object and assign its items to fields in source order,
//! at every depth: `"pruning": [0.25, 0.75, 3]` would mean something until somebody reorders the fields. And
//! `serde_json` reports a number in place of an enum's word as a syntax error, which has no place in the body. This
//! deserializer wraps the one of the JSON text and refuses both, saying what is wrong and where.
//!
//! It also shortens unknown field names and unknown words to their first bytes. Errors of serde contain them whole and
//! are copied several times, and such a name may be as long as a body.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use sparsity_law::pace::step;

use crate::domain::text::ERROR_LIMIT;

/// A deserializer that accepts only objects for structs and only words for enums.
pub struct Strict<D>(pub D);

/// Forwards methods that differ in nothing but the visitor.
macro_rules! pass_on {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Seen(visitor))
        }
    )*};
}

/// The start of a text to be put into an error: slightly more than is kept, so that it shows that something is missing.
fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_LIMIT + 100)]
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_ignored_any
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_identifier(Name(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Seen(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Seen(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, Seen(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, length, Seen(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Object(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Object(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Word { words, visitor })
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Wraps a visitor so that nested values are read strictly too.
struct Seen<V>(V);

/// Forwards visits of values without nested values.
macro_rules! see {
    ($($method:ident($value:ty))*) => {$(
        fn $method<E: Error>(self, value: $value) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Seen<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    see! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128) visit_u8(u8)
        visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String) visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Below(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Below(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Below(variant))
    }
}

/// The visitor of a struct, which accepts only an object.
struct Object<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Below(entries))
    }
}

/// The visitor of an enum, which accepts one of its words, or an object with one of them as its key.
struct Word<V> {
    words: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Word<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (i, word) in self.words.iter().enumerate() {
            write!(f, "{}`{word}`", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<V::Value, E> {
        // Every word is shorter than this, so a shortened text cannot become a valid word.
        self.visitor.visit_enum(start(word).into_deserializer())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(MapAccessDeserializer::new(Below(entries)))
    }
}

/// The visitor of a field name.
struct Name<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    see! { visit_u64(u64) visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        let start = start(name);
        if start.len() < name.len() {
            return Err(E::custom(format_args!("unknown field `{start}`")));
        }
        self.0.visit_str(name)
    }
}

/// Wraps access to nested values: items, entries or a variant.
struct Below<A>(A);

/// The seed of a nested value.
struct Seed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Below<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        // A list may be as long as a body, so reading it yields to other work.
        step();
        self.0.next_element_seed(Seed(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Below<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Seed(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Seed(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Below<A> {
    type Error = A::Error;
    type Variant = Below<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0.variant_seed(seed).map(|(name, variant)| (name, Below(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Below<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Seed(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Seen(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Object(visitor))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        inner: Option<Inner>,
        list: Vec<Inner>,
        mode: Mode,
        pair: (f64, f64),
        raw: Option<Box<serde_json::value::RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        a: f64,
        b: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only read")]
    enum Mode {
        Plain,
        Of(Inner),
        With { inner: Inner },
    }

    fn error(change: &str, to: Value) -> String {
        let mut body = json!({
            "inner": {"a": 1}, "list": [{"a": 1, "b": 2}], "mode": "plain", "pair": [1, 2], "raw": [1]
        });
        *body.pointer_mut(change).unwrap() = to;
        let text = body.to_string();
        match Outer::deserialize(Strict(&mut serde_json::Deserializer::from_str(&text))) {
            Ok(_) => String::new(),
            Err(error) => {
                assert!(error.is_data(), "{text}: {error}");
                error.to_string()
            }
        }
    }

    #[test]
    fn what_is_right_is_read_as_without_it() {
        for (change, to) in [
            ("/inner", Value::Null),
            ("/list", json!([])),
            ("/mode", json!({"of": {"a": 1}})),
            ("/mode", json!({"with": {"inner": {"a": 1}}})),
            ("/raw", json!({"any": ["thing"]})),
        ] {
            assert_eq!(error(change, to.clone()), "", "{change} {to}");
        }
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for (change, to) in [
            ("/inner", json!([1, 2])),
            ("/list/0", json!([1, 2])),
            ("/mode", json!({"of": [1, 2]})),
            ("/mode", json!({"with": [{"a": 1}]})),
            ("/mode", json!({"with": {"inner": [1, 2]}})),
        ] {
            let error = error(change, to.clone());
            assert!(error.contains("expected an object"), "{change} {to}: {error}");
        }
    }

    #[test]
    fn of_a_long_name_or_word_an_error_holds_the_start() {
        let long = "x".repeat(100_000);
        for (change, to, says) in [
            ("/inner", json!({long.clone(): 1, "a": 1}), "unknown field `xxx"),
            ("/mode", json!(long), "unknown variant `xxx"),
        ] {
            let error = error(change, to);
            assert!(error.contains(says) && error.len() < 1_000, "{change}: {error}");
        }
        // A short name is reported whole, with the valid ones.
        let error = error("/inner", json!({"c": 1}));
        assert!(error.contains("unknown field `c`, expected `a` or `b`"), "{error}");
    }

    #[test]
    fn an_enum_takes_its_words_and_says_them() {
        for to in [json!(1), json!(null), json!(true), json!(["plain"]), json!(1.5)] {
            let error = error("/mode", to.clone());
            assert!(error.contains("expected one of `plain`, `of`, `with`"), "{to}: {error}");
        }
        assert!(error("/mode", json!("other")).contains("unknown variant `other`"));
    }
}

//! TOML values as a serde deserializer whose errors are values too: what is wrong, with which key, and where. No message
//! of another crate is ever read.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, StringDeserializer},
    },
};
use std::{fmt, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A value with its place.
pub type Value<'s> = Spanned<DeValue<'s>>;

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Mistake {
    /// A table lacks a key.
    Missing(&'static str),
    /// A table has a key that nobody knows.
    UnknownKey(String, &'static [&'static str]),
    /// A word is none of those that may stand there.
    UnknownChoice(String, &'static [&'static str]),
    /// Another type or value was expected.
    Type {
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Anything else, in words.
    Other(String),
}

/// A mistake and its place; without one it is the whole value's.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub mistake: Mistake,
    /// Where.
    pub span: Option<Range<usize>>,
}

impl Fault {
    fn new(mistake: Mistake) -> Fault {
        Fault { mistake, span: None }
    }

    /// The innermost place that is known stays.
    fn at(mut self, span: Range<usize>) -> Fault {
        self.span.get_or_insert(span);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.mistake)
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(Mistake::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::new(Mistake::Type { expected: expected.to_string(), found: found.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Fault {
        Fault::new(Mistake::Type { expected: expected.to_string(), found: format!("{length} of them") })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(Mistake::UnknownChoice(variant.to_owned(), known))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(Mistake::UnknownKey(field.to_owned(), known))
    }

    fn missing_field(field: &'static str) -> Fault {
        Fault::new(Mistake::Missing(field))
    }
}

/// Deserialises a value.
pub struct Values<'s>(pub Value<'s>);

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let span = self.0.span();
        let visited = match self.0.into_inner() {
            DeValue::String(text) => visitor.visit_string(text.into_owned()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => match (i64::try_from(number), u64::try_from(number)) {
                    (Ok(number), _) => visitor.visit_i64(number),
                    (_, Ok(number)) => visitor.visit_u64(number),
                    _ => visitor.visit_i128(number),
                },
                Err(_) => Err(Fault::custom(format!("expected a number of at most 38 digits, found {number}"))),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(value) => visitor.visit_f64(value),
                Err(_) => Err(Fault::custom(format!("expected a number, found {number}"))),
            },
            DeValue::Boolean(value) => visitor.visit_bool(value),
            DeValue::Datetime(time) => visitor.visit_string(time.to_string()),
            DeValue::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            DeValue::Table(table) => visitor.visit_map(Entries::new(table)),
        };
        visited.map_err(|fault| fault.at(span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // What is written is there; what is absent is not written.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let span = self.0.span();
        let visited = match self.0.into_inner() {
            DeValue::String(text) => visitor.visit_enum(text.into_owned().into_deserializer()),
            DeValue::Table(table) => visitor.visit_enum(MapAccessDeserializer::new(Entries::new(table))),
            other => Err(Fault::invalid_type(Unexpected::Other(other.type_str()), &"a word")),
        };
        visited.map_err(|fault: Fault| fault.at(span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<I>(I);

impl<'de, I: Iterator<Item = Value<'de>>> SeqAccess<'de> for Items<I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|value| seed.deserialize(Values(value))).transpose()
    }
}

type Entry<'s> = (Spanned<std::borrow::Cow<'s, str>>, Value<'s>);

struct Entries<'s> {
    entries: std::vec::IntoIter<Entry<'s>>,
    value: Option<Value<'s>>,
}

impl<'s> Entries<'s> {
    fn new(table: DeTable<'s>) -> Entries<'s> {
        Entries { entries: table.into_iter().collect::<Vec<_>>().into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let span = key.span();
        let name: StringDeserializer<Fault> = key.into_inner().into_owned().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.value.take() {
            Some(value) => seed.deserialize(Values(value)),
            None => Err(Fault::custom("a value was asked for before its key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Table {
        count: u32,
        #[serde(default)]
        ratio: Option<f64>,
        #[serde(default)]
        word: Option<Word>,
        #[serde(default)]
        pair: Option<[i64; 2]>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        Short,
        RatherLong,
    }

    fn read(text: &str) -> Result<Table, Fault> {
        let table = DeTable::parse(text).expect("TOML");
        let span = 0..text.len();
        Table::deserialize(Values(Spanned::new(span, DeValue::Table(table.into_inner()))))
    }

    #[test]
    fn what_is_right_is_read() {
        let table = read("count = 0x10\nratio = 2\nword = \"rather-long\"\npair = [-1, 2]").expect("a table");
        assert_eq!(table, Table { count: 16, ratio: Some(2.0), word: Some(Word::RatherLong), pair: Some([-1, 2]) });
    }

    #[test]
    fn every_mistake_has_its_kind_and_its_place() {
        let cases: [(&str, Mistake, &str); 6] = [
            ("ratio = 1.0", Mistake::Missing("count"), "ratio = 1.0"),
            (
                "count = 1\nrato = 1",
                Mistake::UnknownKey("rato".to_owned(), &["count", "ratio", "word", "pair"]),
                "rato",
            ),
            ("count = 1\nword = \"x\"", Mistake::UnknownChoice("x".to_owned(), &["short", "rather-long"]), "\"x\""),
            (
                "count = \"many\"",
                Mistake::Type { expected: "u32".to_owned(), found: "string \"many\"".to_owned() },
                "\"many\"",
            ),
            ("count = -1", Mistake::Type { expected: "u32".to_owned(), found: "integer `-1`".to_owned() }, "-1"),
            (
                "count = 1\npair = [1, true]",
                Mistake::Type { expected: "i64".to_owned(), found: "boolean `true`".to_owned() },
                "true",
            ),
        ];
        for (text, mistake, place) in cases {
            let fault = read(text).expect_err(text);
            assert_eq!(fault.mistake, mistake, "{text}");
            assert_eq!(&text[fault.span.expect("a place")], place, "{text}");
        }
    }
}

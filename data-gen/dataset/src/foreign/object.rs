//! A row of JSON, looked into by the names of its columns. Nothing but what is wanted is decoded; numbers stay as they were
//! written, and nothing recurses into what is not wanted.

use super::cell::{Cell, Unreadable};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// An object's names and what stands behind each, not looked at yet.
pub(super) struct Object<'r>(Vec<(String, &'r RawValue)>);

impl<'r> Object<'r> {
    /// The object in a text.
    pub(super) fn read(text: &'r str) -> Result<Object<'r>, Unreadable> {
        serde_json::from_str(text).map_err(|error| Unreadable::new("malformed-json", error))
    }

    /// Its names, in order, and whether a text, a number or a truth stands behind each.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), !raw.get().starts_with(['[', '{'])))
    }

    /// What stands at a path: a name, or names and places in lists with dots between them. A name that has dots itself is
    /// found before a path.
    pub(super) fn find(&self, path: &str) -> Option<&'r RawValue> {
        // Of several of one name the last counts, as it does for most readers.
        let named = |name: &str| self.0.iter().rev().find(|(known, _)| known == name).map(|(_, raw)| *raw);
        if let Some(found) = named(path) {
            return Some(found);
        }
        let dots = path.char_indices().rev().filter(|(_, c)| *c == '.').map(|(at, _)| at);
        dots.into_iter().find_map(|at| within(named(&path[..at])?, &path[at + 1..]))
    }

    /// The value in each column.
    pub(super) fn cells(&self, columns: &[String]) -> Result<Vec<Option<Cell>>, Unreadable> {
        let cell = |column: &String| match self.find(column) {
            Some(raw) => cell(raw).map_err(|error| Unreadable::new("malformed-json", format!("`{column}`: {error}"))),
            None => Ok(None),
        };
        columns.iter().map(cell).collect()
    }
}

/// What stands at a path in a value.
fn within<'r>(raw: &'r RawValue, path: &str) -> Option<&'r RawValue> {
    match raw.get().as_bytes().first()? {
        b'{' => Object::read(raw.get()).ok()?.find(path),
        b'[' => {
            let (place, rest) = path.split_once('.').map_or((path, None), |(place, rest)| (place, Some(rest)));
            let items: Vec<&'r RawValue> = serde_json::from_str(raw.get()).ok()?;
            let item = *items.get(place.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| within(item, rest))
        }
        _ => None,
    }
}

fn cell(raw: &RawValue) -> Result<Option<Cell>, serde_json::Error> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        None | Some(b'n') => None,
        Some(b'"') => Some(Cell::Text(serde_json::from_str(text)?)),
        Some(b'{' | b'[') => Some(Cell::Json(compact(text))),
        Some(_) => Some(Cell::Text(text.to_owned())),
    })
}

/// JSON without the white space between its parts.
fn compact(text: &str) -> String {
    let (mut compact, mut quoted, mut escaped) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        if !quoted && matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        compact.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    compact
}

impl<'de: 'r, 'r> Deserialize<'de> for Object<'r> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if entries.len() < MOST_NAMES {
                        entries.push((name, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Object)
    }
}

/// Most names of an object that are looked at.
const MOST_NAMES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, column: &str) -> Option<Cell> {
        Object::read(text).expect("an object").cells(&[column.to_owned()]).expect("cells").remove(0)
    }

    fn text(text: &str) -> Option<Cell> {
        Some(Cell::Text(text.to_owned()))
    }

    #[test]
    fn values_are_what_was_written() {
        let row = r#"{"q": "a\n\u00e9", "n": 2.50, "long": 123456789012345678901234567890, "e": -1E+5, "yes": true,
            "no": false, "null": null, "list": [ 1.0, " a  b\" " ], "o": { "a" : [ ] }}"#;
        for (column, expected) in [
            ("q", "a\né"),
            ("n", "2.50"),
            ("long", "123456789012345678901234567890"),
            ("e", "-1E+5"),
            ("yes", "true"),
            ("no", "false"),
        ] {
            assert_eq!(found(row, column), text(expected), "{column}");
        }
        assert_eq!((found(row, "null"), found(row, "other")), (None, None));
        assert_eq!(found(row, "list"), Some(Cell::Json(r#"[1.0," a  b\" "]"#.to_owned())));
        assert_eq!(found(row, "o"), Some(Cell::Json(r#"{"a":[]}"#.to_owned())));
    }

    #[test]
    fn paths_go_through_objects_and_lists_and_a_name_with_dots_comes_first() {
        let row = r#"{"a": {"b": {"c": "deep"}, "b.c": "dotted"}, "x.y": 1, "x": {"y": 2, "z": 3},
            "m": [{"t": "first"}, {"t": ["second", "third"]}]}"#;
        for (path, expected) in
            [("a.b.c", "dotted"), ("x.y", "1"), ("x.z", "3"), ("m.0.t", "first"), ("m.1.t.1", "third")]
        {
            assert_eq!(found(row, path), text(expected), "{path}");
        }
        for path in ["m.2.t", "m.t", "m.-1", "a.b.c.d", "a.", ".a", "", "m.18446744073709551616"] {
            assert_eq!(found(row, path), None, "{path}");
        }
    }

    #[test]
    fn of_several_values_of_one_name_the_last_counts() {
        assert_eq!(found(r#"{"a": 1, "a": 2}"#, "a"), text("2"));
    }

    #[test]
    fn what_is_no_object_or_no_text_is_told() {
        for row in ["[1]", "1", "{\"a\": 1", "{\"a\": NaN}", "{\"a\": 1} x", "", "{\"a\": \"\\ud800\"}"] {
            let read = Object::read(row).and_then(|object| object.cells(&["a".to_owned()]));
            assert_eq!(read.expect_err(row).reason, "malformed-json", "{row}");
        }
    }

    #[test]
    fn depth_without_end_is_no_depth_of_the_stack() {
        let deep = format!("{{\"q\": \"a\", \"d\": {}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(found(&deep, "q"), text("a"));
        assert!(matches!(found(&deep, "d"), Some(Cell::Json(json)) if json.len() == 2 << 20));
        assert!(found(&deep, "d.0.0.0").is_some_and(|cell| cell.said().len() == (2 << 20) - 6));
    }
}

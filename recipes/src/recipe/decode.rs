//! TOML values into the stages' own configuration types, with every mistake recorded instead of only the first.
//!
//! serde stops at the first error of a table. Decoding therefore records the error, takes the offending entry out, and
//! tries again until the table is clean or the error cannot be taken out (a missing key).

use super::{
    diagnostic::Diagnostic,
    values::{Fault, Mistake, Value, Values},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Collects mistakes.
#[derive(Default)]
pub struct Diagnostics {
    /// In the order in which they were found.
    pub found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Records a mistake.
    pub fn push(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.found.push(Diagnostic { span, message: message.into(), help });
    }

    /// Decodes a value as `T`; `what` names it in messages, e.g. `student.training`.
    pub fn decode<T: DeserializeOwned>(&mut self, value: Value<'_>, what: &str) -> Option<T> {
        let before = self.found.len();
        let (decoded, _) = self.decode_for_check(value, what, &|value| T::deserialize(Values(value)))?;
        (self.found.len() == before).then_some(decoded)
    }

    /// Decodes as far as it goes: a missing value, or one of the wrong type, is recorded and gets a stand-in, so that the
    /// others can still be checked. Returns the keys of the stand-ins beside the value.
    pub fn decode_for_check<T>(
        &mut self,
        mut value: Value<'_>,
        what: &str,
        read: &dyn Fn(Value<'_>) -> Result<T, Fault>,
    ) -> Option<(T, BTreeSet<String>)> {
        let mut removed = BTreeSet::new();
        let mut stand_ins: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let fault = match read(value.clone()) {
                Ok(decoded) => return Some((decoded, stand_ins.into_keys().collect())),
                Err(fault) => fault,
            };
            if let Mistake::Missing(key) = fault.mistake {
                if !removed.contains(key) {
                    self.push(value.span(), format!("`{what}` lacks the key `{key}`"), None);
                }
                stand_in(&mut value, key, &mut stand_ins)?;
                continue;
            }
            let span = fault.span.unwrap_or(value.span());
            let key_is_wrong = matches!(fault.mistake, Mistake::UnknownKey(..));
            let entry = take_entry(&mut value, &span, key_is_wrong);
            if let Some((_, key)) = entry.as_ref().filter(|(_, key)| stand_ins.contains_key(key)) {
                stand_in(&mut value, key, &mut stand_ins)?;
                continue;
            }
            let (place, key) = entry.clone().unwrap_or((span, String::new()));
            let subject = if key.is_empty() { format!("`{what}`") } else { format!("`{what}.{key}`") };
            match fault.mistake {
                Mistake::UnknownKey(key, known) => self.unknown_key(place, &key, known, what),
                Mistake::UnknownChoice(found, known) => {
                    self.push(place, format!("{subject}: unknown choice `{found}`"), suggestion(&found, known));
                }
                Mistake::Type { expected, found } => {
                    self.push(place, format!("{subject}: expected {}, found {found}", plain_type(&expected)), None);
                }
                Mistake::Other(message) => self.push(place, format!("{subject}: {message}"), None),
                Mistake::Missing(_) => {}
            }
            match entry {
                Some((_, key)) => removed.insert(key),
                None => return None,
            };
        }
    }

    /// Records an unknown key with the nearest known one.
    pub fn unknown_key(&mut self, span: Range<usize>, key: &str, known: &[&str], what: &str) {
        let place = if what.is_empty() { String::new() } else { format!(" in `{what}`") };
        self.push(span, format!("unknown key `{key}`{place}"), suggestion(key, known));
    }
}

/// A table whose keys are taken one by one; what is left over is unknown.
pub struct Section<'s> {
    table: DeTable<'s>,
    /// Its place.
    pub span: Range<usize>,
    /// Its dotted name; empty for the whole recipe.
    pub what: String,
    asked: Vec<String>,
}

impl<'s> Section<'s> {
    /// The table in `value`; anything else is a mistake.
    pub fn new(value: Value<'s>, what: &str, diagnostics: &mut Diagnostics) -> Option<Section<'s>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Section { table, span, what: what.to_owned(), asked: Vec::new() }),
            other => {
                diagnostics.push(span, format!("`{what}`: expected a table, found {}", other.type_str()), None);
                None
            }
        }
    }

    /// The whole recipe.
    pub fn root(root: Spanned<DeTable<'s>>) -> Section<'s> {
        Section { span: 0..0, table: root.into_inner(), what: String::new(), asked: Vec::new() }
    }

    /// The place of an entry's value.
    pub fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// Takes an entry out, with the place of its key.
    pub fn take(&mut self, key: &str) -> Option<Value<'s>> {
        self.asked.push(key.to_owned());
        self.table.remove(key)
    }

    /// Takes and decodes an entry that must be there.
    pub fn required<T: DeserializeOwned>(&mut self, key: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        match self.take(key) {
            Some(value) => diagnostics.decode(value, &self.path(key)),
            None => {
                let message = if self.what.is_empty() {
                    format!("the recipe lacks the key `{key}`")
                } else {
                    format!("`{}` lacks the key `{key}`", self.what)
                };
                diagnostics.push(self.span.clone(), message, None);
                None
            }
        }
    }

    /// Takes and decodes an entry that may be absent.
    pub fn optional<T: DeserializeOwned>(&mut self, key: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        self.take(key).and_then(|value| diagnostics.decode(value, &self.path(key)))
    }

    /// Which of `keys` is there: the one that says what kind of table this is.
    pub fn one_of(&mut self, keys: &[&'static str], diagnostics: &mut Diagnostics) -> Option<&'static str> {
        self.asked.extend(keys.iter().map(|key| (*key).to_owned()));
        let found: Vec<&'static str> = keys.iter().copied().filter(|key| self.table.contains_key(*key)).collect();
        match found[..] {
            [key] => Some(key),
            _ => {
                let present = if found.is_empty() { "none of them".to_owned() } else { list(&found) };
                let message = format!("`{}`: expected one of the keys {}, found {present}", self.what, list(keys));
                let help = self
                    .table
                    .keys()
                    .find_map(|key| nearest(key.get_ref(), keys))
                    .map(|near| format!("did you mean `{near}`?"));
                diagnostics.push(self.span.clone(), message, help);
                None
            }
        }
    }

    /// The rest of the table as one value.
    pub fn rest(self) -> Value<'s> {
        Spanned::new(self.span, DeValue::Table(self.table))
    }

    /// Records what nobody asked for.
    pub fn finish(self, diagnostics: &mut Diagnostics) {
        let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        for key in self.table.keys() {
            diagnostics.unknown_key(key.span(), key.get_ref(), &known, &self.what);
        }
    }

    /// The dotted name of an entry.
    pub fn path(&self, key: &str) -> String {
        if self.what.is_empty() { key.to_owned() } else { format!("{}.{key}", self.what) }
    }
}

/// Puts the next stand-in for `key` into a table; nothing when there is none left to try.
fn stand_in(value: &mut Value<'_>, key: &str, tried: &mut BTreeMap<String, usize>) -> Option<()> {
    let DeValue::Table(table) = value.get_mut() else { return None };
    let place = usize::MAX - 2 * tried.len() - 2;
    let count = tried.get(key).map_or(0, |count| count + 1);
    let next = DeValue::parse(["1", "\"1\"", "true", "[1, 1]"].get(count)?).ok()?.into_inner();
    tried.insert(key.to_owned(), count);
    table.insert(Spanned::new(place..place + 1, key.to_owned().into()), Spanned::new(place..place + 1, next));
    Some(())
}

/// Removes the entry at `span` from the table, however deep; returns the place to show and its key. The place is the
/// key's own when the key is what is wrong.
fn take_entry(value: &mut Value<'_>, span: &Range<usize>, key_is_wrong: bool) -> Option<(Range<usize>, String)> {
    let DeValue::Table(table) = value.get_mut() else { return None };
    let hit = table.iter().find(|(name, value)| name.span() == *span || value.span() == *span);
    if let Some((name, value)) = hit {
        let (name, name_span, value_span) = (name.get_ref().to_string(), name.span(), value.span());
        table.remove(name.as_str());
        let place = if key_is_wrong { name_span } else { value_span };
        return Some((place, name));
    }
    let encloses = |value: &Value<'_>| value.span().start <= span.start && span.end <= value.span().end;
    let name = table.iter().find(|(_, value)| encloses(value)).map(|(name, _)| name.get_ref().to_string())?;
    if let Some((place, key)) = take_entry(table.get_mut(name.as_str())?, span, key_is_wrong) {
        return Some((place, format!("{name}.{key}")));
    }
    // Inside a list: the list as a whole is what is wrong.
    table.remove(name.as_str());
    Some((span.clone(), name))
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        other => other,
    }
}

fn suggestion(found: &str, known: &[&str]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    let all = list(known);
    Some(match nearest(found, known) {
        Some(near) => format!("did you mean `{near}`? known here: {all}"),
        None => format!("known here: {all}"),
    })
}

/// The most similar known word, if it is similar at all.
pub fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let close =
        known.iter().map(|key| (strsim::jaro_winkler(found, key), *key)).filter(|(similarity, _)| *similarity > 0.75);
    close.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
}

fn list(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

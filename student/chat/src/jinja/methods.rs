//! Methods of Python's texts, lists and dictionaries, without those that change anything.

use super::{
    format,
    run::{Passed, Run},
    text::{capitalize, is_space, lines, split, title},
    value::{Outcome, Value, fault},
};

const OF_TEXTS: [&str; 42] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
];
const MORE_OF_TEXTS: [&str; 2] = ["upper", "zfill"];
const OF_DICTIONARIES: [&str; 5] = ["items", "keys", "values", "get", "copy"];
/// Attributes of dictionaries that templates may not have: they hide entries of these names.
const FORBIDDEN: [&str; 6] = ["clear", "fromkeys", "pop", "popitem", "setdefault", "update"];

/// Whether a value has a method of that name.
pub(super) fn exists(value: &Value, name: &str) -> bool {
    match value {
        Value::Str(_) => OF_TEXTS.contains(&name) || MORE_OF_TEXTS.contains(&name),
        Value::Dict(_) => OF_DICTIONARIES.contains(&name),
        Value::List(_) => matches!(name, "index" | "count" | "copy"),
        Value::Tuple(_) => matches!(name, "index" | "count"),
        Value::Loop(_) => matches!(name, "cycle" | "changed"),
        _ => false,
    }
}

/// Whether a dictionary's attribute of that name is one that changes it.
pub(super) fn is_forbidden(value: &Value, name: &str) -> bool {
    matches!(value, Value::Dict(_)) && FORBIDDEN.contains(&name)
}

pub(super) fn call(run: &mut Run<'_>, value: &Value, name: &str, passed: Passed) -> Outcome<Value> {
    match value {
        Value::Str(text) => {
            run.step(text.len() / 64)?;
            of_text(run, text, name, passed)
        }
        Value::Dict(entries) => {
            let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
            match (name, passed.positional.as_slice()) {
                ("items", []) => Value::list(entries.entries.iter().map(pair).collect::<Outcome<_>>()?),
                ("keys", []) => Value::list(entries.entries.iter().map(|(key, _)| key.clone()).collect()),
                ("values", []) => Value::list(entries.entries.iter().map(|(_, value)| value.clone()).collect()),
                ("copy", []) => Ok(value.clone()),
                ("get", [key]) => Ok(value.entry(key).cloned().unwrap_or(Value::None)),
                ("get", [key, default]) => Ok(value.entry(key).unwrap_or(default).clone()),
                (_, found) => fault(format!("dict.{name}: {} arguments do not fit", found.len())),
            }
        }
        other => {
            run.step(other.size() / 64)?;
            let items = other.as_items().unwrap_or_default();
            match (name, passed.positional.as_slice()) {
                ("copy", []) => Ok(other.clone()),
                ("count", [wanted]) => Ok(Value::Int(items.iter().filter(|item| item.equals(wanted)).count() as i128)),
                ("index", [wanted]) => match items.iter().position(|item| item.equals(wanted)) {
                    Some(at) => Ok(Value::Int(at as i128)),
                    None => fault(format!("{} is not in the list", wanted.repr())),
                },
                (_, found) => fault(format!("{}.{name}: {} arguments do not fit", other.kind(), found.len())),
            }
        }
    }
}

/// Arguments of a method, by place or by name.
struct Given<'a> {
    method: &'a str,
    passed: &'a Passed,
}

impl Given<'_> {
    fn get(&self, at: usize, name: &str) -> Option<&Value> {
        let named = || self.passed.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value);
        self.passed.positional.get(at).or_else(named)
    }

    /// A text, or nothing where it is not given or `None`.
    fn maybe_text(&self, at: usize, name: &str) -> Outcome<Option<&str>> {
        match self.get(at, name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => fault(format!("str.{}: expected a text, found {}", self.method, other.kind())),
        }
    }

    fn text(&self, at: usize, name: &str) -> Outcome<&str> {
        match self.maybe_text(at, name)? {
            Some(text) => Ok(text),
            None => fault(format!("str.{}: expected a text", self.method)),
        }
    }

    fn number(&self, at: usize, name: &str, default: i128) -> Outcome<i128> {
        match self.get(at, name) {
            None => Ok(default),
            Some(value) => match value.as_int() {
                Some(value) => Ok(value),
                None => fault(format!("str.{}: expected a whole number, found {}", self.method, value.kind())),
            },
        }
    }
}

fn of_text(run: &mut Run<'_>, text: &str, name: &str, passed: Passed) -> Outcome<Value> {
    let given = Given { method: name, passed: &passed };
    let all = |holds: &dyn Fn(char) -> bool| Ok(Value::Bool(!text.is_empty() && text.chars().all(holds)));
    let cased = |c: char| c.is_lowercase() || c.is_uppercase();
    let text_value = |text: String| Ok(Value::str(text));
    let list = |parts: Vec<&str>| Value::list(parts.into_iter().map(Value::str).collect());
    match name {
        "upper" => text_value(text.to_uppercase()),
        "lower" => text_value(text.to_lowercase()),
        "casefold" => text_value(text.replace('ß', "ss").to_lowercase()),
        "capitalize" => text_value(capitalize(text)),
        "title" => text_value(title(text)),
        "swapcase" => {
            let swap =
                |c: char| if c.is_lowercase() { c.to_uppercase().to_string() } else { c.to_lowercase().to_string() };
            text_value(text.chars().map(swap).collect())
        }
        "strip" | "lstrip" | "rstrip" => {
            let set = given.maybe_text(0, "chars")?.map(str::to_owned);
            let strips = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(c));
            let text = if name == "rstrip" { text } else { text.trim_start_matches(strips) };
            Ok(Value::str(if name == "lstrip" { text } else { text.trim_end_matches(strips) }))
        }
        "split" | "rsplit" => {
            let separator = given.maybe_text(0, "sep")?;
            if separator == Some("") {
                return fault("empty separator");
            }
            let parts = split(text, separator, given.number(1, "maxsplit", -1)?, name == "rsplit");
            run.step(parts.len())?;
            list(parts)
        }
        "splitlines" => list(lines(text, given.get(0, "keepends").is_some_and(Value::is_true))),
        "partition" | "rpartition" => {
            let separator = given.text(0, "sep")?;
            if separator.is_empty() {
                return fault("empty separator");
            }
            let cut = if name == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match (cut, name) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::tuple(parts.into_iter().map(Value::str).collect())
        }
        "removeprefix" => Ok(Value::str(text.strip_prefix(given.text(0, "prefix")?).unwrap_or(text))),
        "removesuffix" => Ok(Value::str(text.strip_suffix(given.text(0, "suffix")?).unwrap_or(text))),
        "replace" => {
            let (old, new) = (given.text(0, "old")?, given.text(1, "new")?);
            let count = given.number(2, "count", -1)?;
            let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(found);
            run.made(count.saturating_mul(new.len()))?;
            text_value(text.replacen(old, new, count))
        }
        "startswith" | "endswith" => {
            let Some(wanted) = given.get(0, "prefix") else { return fault(format!("str.{name}: expected a text")) };
            let wanted = match wanted {
                Value::Tuple(items) => items.items.clone(),
                other => vec![other.clone()],
            };
            let part = bounded(text, &given, 1)?.map_or("", |(_, part)| part);
            for wanted in &wanted {
                let Some(wanted) = wanted.as_str() else {
                    return fault(format!("str.{name}: expected a text or a tuple of texts, found {}", wanted.kind()));
                };
                if if name == "startswith" { part.starts_with(wanted) } else { part.ends_with(wanted) } {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let wanted = given.text(0, "sub")?;
            let found = bounded(text, &given, 1)?.and_then(|(offset, part)| {
                let at = if name.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) };
                at.map(|at| offset + part[..at].chars().count())
            });
            match found {
                Some(at) => Ok(Value::Int(at as i128)),
                None if name.ends_with("index") => fault("substring not found"),
                None => Ok(Value::Int(-1)),
            }
        }
        "count" => {
            let wanted = given.text(0, "sub")?;
            let part = bounded(text, &given, 1)?.map_or("", |(_, part)| part);
            let count = if wanted.is_empty() { part.chars().count() + 1 } else { part.matches(wanted).count() };
            Ok(Value::Int(count as i128))
        }
        "join" => {
            let Some(items) = passed.positional.first() else { return fault("str.join: expected items") };
            let mut out = String::new();
            for (index, item) in run.items(items)?.iter().enumerate() {
                let Some(item) = item.as_str() else {
                    return fault(format!("str.join: expected texts, found {} at {index}", item.kind()));
                };
                run.made(text.len() + item.len())?;
                out.push_str(if index > 0 { text } else { "" });
                out.push_str(item);
            }
            text_value(out)
        }
        "format" => text_value(format::braces(run, text, &passed)?),
        "format_map" => match passed.positional.first() {
            Some(Value::Dict(entries)) => {
                let named = entries.entries.iter().map(|(key, value)| (key.text(), value.clone())).collect();
                text_value(format::braces(run, text, &Passed { positional: Vec::new(), named })?)
            }
            _ => fault("str.format_map: expected a dictionary"),
        },
        "center" | "ljust" | "rjust" | "zfill" => {
            let width = usize::try_from(given.number(0, "width", 0)?.max(0)).unwrap_or(usize::MAX);
            let fill = given.maybe_text(1, "fillchar")?.unwrap_or(" ").chars().next().unwrap_or(' ');
            let missing = width.saturating_sub(text.chars().count());
            run.made(missing.saturating_mul(4))?;
            let filled = |count: usize| fill.to_string().repeat(count);
            text_value(match name {
                "ljust" => text.to_owned() + &filled(missing),
                "rjust" => filled(missing) + text,
                "center" => {
                    // The odd one goes where Python puts it.
                    let left = missing / 2 + (missing & width & 1);
                    filled(left) + text + &filled(missing - left)
                }
                _ => {
                    let sign = if text.starts_with(['+', '-']) { 1 } else { 0 };
                    text[..sign].to_owned() + &"0".repeat(missing) + &text[sign..]
                }
            })
        }
        "expandtabs" => {
            let width = usize::try_from(given.number(0, "tabsize", 8)?.clamp(0, 64)).unwrap_or(8);
            run.made(text.matches('\t').count() * width)?;
            let (mut out, mut column) = (String::new(), 0);
            for c in text.chars() {
                match c {
                    '\t' if width == 0 => {}
                    '\t' => {
                        let blanks = width - column % width;
                        out.push_str(&" ".repeat(blanks));
                        column += blanks;
                    }
                    '\n' | '\r' => {
                        out.push(c);
                        column = 0;
                    }
                    _ => {
                        out.push(c);
                        column += 1;
                    }
                }
            }
            text_value(out)
        }
        "isspace" => all(&is_space),
        "isdigit" => {
            all(&|c| c.is_ascii_digit() || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉') || is_decimal(c))
        }
        "isdecimal" => all(&is_decimal),
        "isnumeric" => all(&|c| c.is_numeric()),
        "isalpha" => all(&|c| c.is_alphabetic()),
        "isalnum" => all(&|c| c.is_alphanumeric()),
        "isascii" => Ok(Value::Bool(text.is_ascii())),
        "isprintable" => Ok(Value::Bool(!text.chars().any(|c| c.is_control()))),
        "isidentifier" => {
            let begins = text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
            Ok(Value::Bool(begins && text.chars().all(|c| c == '_' || c.is_alphanumeric())))
        }
        "islower" => Ok(Value::Bool(text.chars().any(cased) && !text.chars().any(char::is_uppercase))),
        "isupper" => Ok(Value::Bool(text.chars().any(cased) && !text.chars().any(char::is_lowercase))),
        _ => Ok(Value::Bool(text.chars().any(cased) && title(text) == text)),
    }
}

fn is_decimal(c: char) -> bool {
    c.is_ascii_digit()
        || (!c.is_ascii()
            && c.is_numeric()
            && matches!(c as u32, 0x660..=0x669 | 0x6f0..=0x6f9 | 0x966..=0x96f | 0xff10..=0xff19))
}

/// The part of a text between two optional places, counted in characters, and where it begins.
fn bounded<'t>(text: &'t str, given: &Given<'_>, at: usize) -> Outcome<Option<(usize, &'t str)>> {
    if given.get(at, "start").is_none() {
        return Ok(Some((0, text)));
    }
    let places = super::text::places(text);
    let length = places.len() as i128 - 1;
    let bound = |value: i128| (if value < 0 { (value + length).max(0) } else { value }) as usize;
    let start = bound(given.number(at, "start", 0)?);
    let end = match given.get(at + 1, "end") {
        None | Some(Value::None) => length as usize,
        Some(_) => bound(given.number(at + 1, "end", length)?).min(length as usize),
    };
    Ok((start <= end && start <= length as usize).then(|| (start, &text[places[start]..places[end]])))
}

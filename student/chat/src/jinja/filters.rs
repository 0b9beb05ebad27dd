//! What `|` applies. Filters that make things lazily in the reference give what is iterated once here as well: it is always
//! true, has no length, and is empty the second time.

use super::{
    checks, number,
    run::{Passed, Run},
    sequences,
    text::{capitalize, is_space},
    tojson::tojson,
    value::{Outcome, Value, fault},
};

const NAMES: [&str; 52] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
    "xmlattr",
    "filesizeformat",
];

/// Those that make a text of whatever they are given.
const OF_TEXT: [&str; 17] = [
    "capitalize",
    "center",
    "e",
    "escape",
    "forceescape",
    "format",
    "indent",
    "lower",
    "pprint",
    "replace",
    "string",
    "title",
    "trim",
    "truncate",
    "upper",
    "urlencode",
    "wordcount",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Arguments of a filter by place or by name.
pub(super) struct Given<'a> {
    pub(super) filter: &'a str,
    pub(super) passed: &'a Passed,
}

impl Given<'_> {
    pub(super) fn get(&self, at: usize, name: &str) -> Option<&Value> {
        let named = || self.passed.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value);
        self.passed.positional.get(at).or_else(named)
    }

    pub(super) fn flag(&self, at: usize, name: &str, default: bool) -> bool {
        self.get(at, name).map_or(default, Value::is_true)
    }

    pub(super) fn number(&self, at: usize, name: &str, default: i128) -> Outcome<i128> {
        match self.get(at, name) {
            None => Ok(default),
            Some(value) => match value.as_int() {
                Some(value) => Ok(value),
                None => fault(format!("{}: expected a whole number, found {}", self.filter, value.kind())),
            },
        }
    }
}

pub(super) fn apply(run: &mut Run<'_>, name: &str, value: Value, passed: Passed) -> Outcome<Value> {
    let given = Given { filter: name, passed: &passed };
    if OF_TEXT.contains(&name) {
        return of_text(run, name, &value, &given);
    }
    Ok(match name {
        "d" | "default" => {
            let missing = matches!(value, Value::Undefined(_)) || (given.flag(1, "boolean", false) && !value.is_true());
            match missing {
                true => given.get(0, "default_value").cloned().unwrap_or_else(|| Value::str("")),
                false => value,
            }
        }
        "tojson" => {
            run.step(value.size() / 64)?;
            Value::str(tojson(&value, &given)?)
        }
        "length" | "count" => Value::Int(length(run, &value)? as i128),
        "list" => Value::list(run.items(&value)?)?,
        "items" => match &value {
            Value::Undefined(_) => run.generator(Vec::new()),
            Value::Dict(entries) => {
                let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
                let pairs = entries.entries.iter().map(pair).collect::<Outcome<_>>()?;
                run.generator(pairs)
            }
            other => return fault(format!("items: expected a dictionary, found {}", other.kind())),
        },
        "attr" => match given.get(0, "name").and_then(Value::as_str) {
            // The attribute only, never an entry.
            Some(name) if !matches!(value, Value::Dict(_)) => run.attribute(&value, &name.into())?,
            Some(name) => Value::undefined(&format!("dict has no attribute `{name}`: it")),
            None => return fault("attr: expected a name"),
        },
        "abs" => match &value {
            Value::Float(value) => Value::Float(value.abs()),
            other => match other.as_int() {
                Some(value) => Value::Int(value.saturating_abs()),
                None => return fault(format!("abs: expected a number, found {}", other.kind())),
            },
        },
        "int" => int(&value, &given)?,
        "float" => match &value {
            Value::Undefined(name) => return fault(format!("{name} is undefined")),
            Value::Str(text) => match text.trim_matches(is_space).replace('_', "").parse::<f64>() {
                Ok(value) => Value::Float(value),
                Err(_) => given.get(0, "default").cloned().unwrap_or(Value::Float(0.0)),
            },
            other => match other.as_float() {
                Some(value) => Value::Float(value),
                None => given.get(0, "default").cloned().unwrap_or(Value::Float(0.0)),
            },
        },
        "round" => round(&value, &given)?,
        "safe" => value,
        _ => sequences::apply(run, name, value, &passed)?,
    })
}

fn length(run: &mut Run<'_>, value: &Value) -> Outcome<usize> {
    match value {
        Value::Str(text) => {
            run.step(text.len() / 64)?;
            Ok(text.chars().count())
        }
        Value::Generator(_) => fault("a generator has no length"),
        Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Undefined(_) => Ok(run.items(value)?.len()),
        other => fault(format!("a {} has no length", other.kind())),
    }
}

fn int(value: &Value, given: &Given<'_>) -> Outcome<Value> {
    let default = || given.get(0, "default").cloned().unwrap_or(Value::Int(0));
    Ok(match value {
        Value::Undefined(name) => return fault(format!("{name} is undefined")),
        Value::Str(text) => {
            let base = u32::try_from(given.number(1, "base", 10)?).ok().filter(|base| (2..=36).contains(base));
            let Some(base) = base else { return fault("int: expected a base of 2 to 36") };
            let text = text.trim_matches(is_space).replace('_', "");
            let digits = match base {
                16 => text.trim_start_matches("0x").trim_start_matches("0X"),
                8 => text.trim_start_matches("0o"),
                2 => text.trim_start_matches("0b"),
                _ => &text,
            };
            match (i128::from_str_radix(digits, base), text.parse::<f64>()) {
                (Ok(value), _) => Value::Int(value),
                (_, Ok(value)) if value.is_finite() && value.abs() < 1e38 => Value::Int(value.trunc() as i128),
                _ => default(),
            }
        }
        Value::Float(value) if value.is_finite() && value.abs() < 1e38 => Value::Int(value.trunc() as i128),
        other => other.as_int().map_or_else(default, Value::Int),
    })
}

fn round(value: &Value, given: &Given<'_>) -> Outcome<Value> {
    let precision = given.number(0, "precision", 0)?.clamp(-300, 300) as i32;
    let Some(found) = value.as_float() else {
        return fault(format!("round: expected a number, found {}", value.kind()));
    };
    let scale = 10_f64.powi(precision);
    let rounded = match given.get(1, "method").and_then(Value::as_str).unwrap_or("common") {
        "ceil" => (found * scale).ceil() / scale,
        "floor" => (found * scale).floor() / scale,
        "common" => match (value, precision) {
            (Value::Int(_) | Value::Bool(_), 0..) => return Ok(Value::Int(value.as_int().unwrap_or(0))),
            // Exact decimal digits, ties to even, as Python rounds.
            (_, 0..=60) => format!("{found:.*}", precision as usize).parse().unwrap_or(found),
            _ => (found * scale).round_ties_even() / scale,
        },
        other => return fault(format!("round: expected common, ceil or floor, found {other:?}")),
    };
    match value {
        Value::Int(_) | Value::Bool(_) if precision < 0 => Ok(Value::Int(rounded as i128)),
        _ => Ok(Value::Float(rounded)),
    }
}

fn of_text(run: &mut Run<'_>, name: &str, value: &Value, given: &Given<'_>) -> Outcome<Value> {
    let text = run.text(value)?;
    let argument = |at: usize, name: &str| given.get(at, name).map(Value::text);
    Ok(Value::str(match name {
        "string" => return Ok(Value::Str(text)),
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "capitalize" => capitalize(&text),
        "title" => {
            // Words begin after blanks, hyphens and opening brackets only.
            let mut out = String::new();
            for part in text.split_inclusive(|c: char| is_space(c) || "-([{<".contains(c)) {
                let mut chars = part.chars();
                out.extend(chars.next().into_iter().flat_map(char::to_uppercase));
                out.push_str(&chars.as_str().to_lowercase());
            }
            out
        }
        "trim" => {
            let set = argument(0, "chars").filter(|_| !matches!(given.get(0, "chars"), Some(Value::None)));
            text.trim_matches(|c| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(c))).to_owned()
        }
        "replace" => {
            let (Some(old), Some(new)) = (argument(0, "old"), argument(1, "new")) else {
                return fault("replace: expected two texts");
            };
            let count = match given.get(2, "count") {
                None | Some(Value::None) => -1,
                Some(_) => given.number(2, "count", -1)?,
            };
            let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&*old).count() };
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(found);
            run.made(count.saturating_mul(new.len()))?;
            text.replacen(&*old, &new, count)
        }
        "indent" => indent(run, &text, given)?,
        "center" => {
            let width = usize::try_from(given.number(0, "width", 80)?.max(0)).unwrap_or(usize::MAX);
            let missing = width.saturating_sub(text.chars().count());
            run.made(missing)?;
            let left = missing / 2 + (missing & width & 1);
            " ".repeat(left) + &text + &" ".repeat(missing - left)
        }
        "e" | "escape" | "forceescape" => {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '"' => out.push_str("&#34;"),
                    '\'' => out.push_str("&#39;"),
                    c => out.push(c),
                }
            }
            out
        }
        "format" => {
            let arguments = match given.passed.named.is_empty() {
                true => Value::tuple(given.passed.positional.clone())?,
                false => {
                    let named =
                        given.passed.named.iter().map(|(name, value)| (Value::Str(name.clone()), value.clone()));
                    Value::dict(named.collect())?
                }
            };
            super::format::percent(&text, &arguments)?
        }
        "pprint" => value.repr(),
        "truncate" => {
            let length = usize::try_from(given.number(0, "length", 255)?.max(0)).unwrap_or(0);
            let end = argument(2, "end").unwrap_or_else(|| "...".into());
            let leeway = usize::try_from(given.number(3, "leeway", 5)?.max(0)).unwrap_or(0);
            if text.chars().count() <= length.saturating_add(leeway) {
                text.to_string()
            } else {
                let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
                let kept = match given.flag(1, "killwords", false) {
                    true => kept.as_str(),
                    false => kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before),
                };
                format!("{kept}{end}")
            }
        }
        "wordcount" => {
            let word = |c: char| c == '_' || c.is_alphanumeric();
            return Ok(Value::Int(text.split(|c| !word(c)).filter(|part| !part.is_empty()).count() as i128));
        }
        "urlencode" => {
            let mut out = String::new();
            for byte in text.bytes() {
                match byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
                    true => out.push(byte as char),
                    false => out.push_str(&format!("%{byte:02X}")),
                }
            }
            out
        }
        _ => return fault(format!("there is no filter {name}")),
    }))
}

/// All lines but the first are indented, blank ones only if asked for.
fn indent(run: &mut Run<'_>, text: &str, given: &Given<'_>) -> Outcome<String> {
    let by = match given.get(0, "width") {
        None => "    ".to_owned(),
        Some(Value::Str(text)) => text.to_string(),
        Some(_) => {
            let width = usize::try_from(given.number(0, "width", 4)?.max(0)).unwrap_or(usize::MAX);
            if width > 1024 {
                return fault(format!("indent: expected a width of at most 1024, found {width}"));
            }
            " ".repeat(width)
        }
    };
    let (first, blank) = (given.flag(1, "first", false), given.flag(2, "blank", false));
    run.made(text.matches('\n').count().saturating_mul(by.len()))?;
    // A line end that nothing follows begins a line: as if one more stood there.
    let whole = format!("{text}\n");
    let lines = super::text::lines(&whole, false);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if (index > 0 || first) && (blank || index == 0 || !line.is_empty()) {
            out.push_str(&by);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Whether a test of this name holds, with what is passed after the name; without a name, whether the value is true.
pub(super) fn passes(run: &mut Run<'_>, value: &Value, test: &[Value]) -> Outcome<bool> {
    match test.split_first() {
        None => Ok(value.is_true()),
        Some((name, arguments)) => match name.as_str() {
            Some(name) if checks::exists(name) => checks::holds(run, name, value, arguments),
            _ => fault(format!("there is no test {}", name.repr())),
        },
    }
}

/// A sum, for filters that add.
pub(super) fn add(left: &Value, right: &Value) -> Outcome<Value> {
    number::compute(super::ast::Operator::Add, left, right)
}

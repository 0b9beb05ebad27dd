//! `tojson` as Transformers' templates have it: Python's `json.dumps`, not Jinja's HTML-safe one.

use super::{
    filters::Given,
    number,
    value::{Outcome, Value, fault},
};

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(value: &Value, given: &Given<'_>) -> Outcome<String> {
    let indent = match given.get(1, "indent") {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) if text.len() <= 64 => Some(text.to_string()),
        Some(other) => match other.as_int() {
            Some(width) if width <= 64 => Some(" ".repeat(width.max(0) as usize)),
            _ => return fault("tojson: expected an indent of up to 64 characters"),
        },
    };
    let (item, key) = match given.get(2, "separators").map(|separators| separators.as_items().unwrap_or_default()) {
        Some([item, key]) => (item.text().to_string(), key.text().to_string()),
        Some(_) if !matches!(given.get(2, "separators"), Some(Value::None)) => {
            return fault("tojson: expected two separators");
        }
        // With an indent, Python leaves no blank before the line break.
        _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let known = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if let Some((name, _)) = given.passed.named.iter().find(|(name, _)| !known.contains(&&**name)) {
        return fault(format!("tojson: there is no parameter {name}"));
    }
    let (ensure_ascii, sort_keys) = (given.flag(0, "ensure_ascii", false), given.flag(3, "sort_keys", false));
    let mut writer = Writer { indent, item, key, ensure_ascii, sort_keys, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    indent: Option<String>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
    out: String,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Outcome<()> {
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => self.out.push_str(&value.to_string()),
            Value::Float(value) => self.out.push_str(&float(*value)),
            Value::Str(text) => self.text(text),
            Value::List(items) | Value::Tuple(items) => {
                self.list(['[', ']'], &items.items, depth, |writer, item| writer.value(item, depth + 1))?;
            }
            Value::Dict(entries) => {
                let mut entries: Vec<&(Value, Value)> = entries.entries.iter().collect();
                if self.sort_keys {
                    entries.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(std::cmp::Ordering::Equal));
                }
                self.list(['{', '}'], &entries, depth, |writer, (key, value)| {
                    // Python writes keys that are no texts as texts of their JSON.
                    match key {
                        Value::Str(text) => writer.text(text),
                        Value::None => writer.text("null"),
                        Value::Bool(value) => writer.text(if *value { "true" } else { "false" }),
                        Value::Int(value) => writer.text(&value.to_string()),
                        Value::Float(value) => writer.text(&float(*value)),
                        other => return fault(format!("tojson: a {} is no key of JSON", other.kind())),
                    }
                    let separator = writer.key.clone();
                    writer.out.push_str(&separator);
                    writer.value(value, depth + 1)
                })?;
            }
            other => return fault(format!("tojson: a {} is not JSON", other.kind())),
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        brackets: [char; 2],
        items: &[T],
        depth: usize,
        write: impl Fn(&mut Writer, &T) -> Outcome<()>,
    ) -> Outcome<()> {
        self.out.push(brackets[0]);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(brackets[1]);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                control if control < ' ' => self.out.push_str(&format!("\\u{:04x}", control as u32)),
                other if self.ensure_ascii && (!other.is_ascii() || other == '\u{7f}') => {
                    let mut units = [0; 2];
                    for unit in other.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}

fn float(value: f64) -> String {
    match value {
        x if x.is_nan() => "NaN".to_owned(),
        x if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        x => number::repr(x),
    }
}

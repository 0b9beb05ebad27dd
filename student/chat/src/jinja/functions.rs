//! The functions that templates are given.

use super::{
    run::{Passed, Run},
    value::{Outcome, Value, fault},
};

pub(super) const NAMES: [&str; 8] =
    ["range", "namespace", "dict", "raise_exception", "strftime_now", "cycler", "joiner", "lipsum"];

/// Most numbers that `range` makes.
const MAX_RANGE: usize = 100_000;

/// The day that `strftime_now` tells: the default date of Llama 3.1's template. The clock stands still, so that a recipe
/// renders the same text tomorrow.
const TODAY: jiff::civil::DateTime = jiff::civil::datetime(2024, 7, 26, 0, 0, 0, 0);

pub(super) fn call(run: &mut Run<'_>, name: &str, passed: Passed) -> Outcome<Value> {
    match name {
        "range" => range(&passed.positional),
        "namespace" | "dict" => {
            let mut entries = Vec::new();
            if let Some(first) = passed.positional.first() {
                match first {
                    Value::Dict(first) => entries.extend(first.entries.iter().cloned()),
                    other => {
                        for pair in run.items(other)? {
                            match <[Value; 2]>::try_from(run.items(&pair)?) {
                                Ok([key, value]) => entries.push((key, value)),
                                Err(_) => return fault(format!("{name}: expected pairs of keys and values")),
                            }
                        }
                    }
                }
            }
            // Each key is looked for among those before it.
            run.step(entries.len().saturating_mul(entries.len()) / 16)?;
            entries.extend(passed.named.into_iter().map(|(name, value)| (Value::Str(name), value)));
            if name == "dict" {
                return Value::dict(entries);
            }
            let mut names: Vec<(std::sync::Arc<str>, Value)> = Vec::new();
            for (key, value) in entries {
                let key = key.text();
                names.retain(|(known, _)| *known != key);
                names.push((key, value));
            }
            run.made(64 * (1 + names.len()))?;
            run.namespaces.push(names);
            Ok(Value::Namespace(run.namespaces.len() - 1))
        }
        "raise_exception" => {
            let message = passed.positional.first().map_or_else(|| "raised without a message".into(), Value::text);
            fault(&*message)
        }
        "cycler" | "joiner" | "lipsum" => fault(format!("the function {name} is not supported")),
        _ => {
            let Some(format) = passed.positional.first().and_then(Value::as_str) else {
                return fault("strftime_now: expected a format");
            };
            match jiff::fmt::strtime::format(format, TODAY) {
                Ok(text) => Ok(Value::str(text)),
                Err(error) => fault(format!("strftime_now: {error}")),
            }
        }
    }
}

fn range(arguments: &[Value]) -> Outcome<Value> {
    let numbers: Option<Vec<i128>> = arguments.iter().map(Value::as_int).collect();
    let (start, end, step) = match numbers.as_deref() {
        Some([end]) => (0, *end, 1),
        Some([start, end]) => (*start, *end, 1),
        Some([start, end, step]) if *step != 0 => (*start, *end, *step),
        _ => return fault("range: expected one to three whole numbers, the last of them not zero"),
    };
    let mut items = Vec::new();
    let mut at = start;
    while (step > 0 && at < end) || (step < 0 && at > end) {
        if items.len() == MAX_RANGE {
            return fault(format!("range: expected at most {MAX_RANGE} numbers"));
        }
        items.push(Value::Int(at));
        at = at.saturating_add(step);
    }
    Value::list(items)
}

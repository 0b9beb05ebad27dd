//! What `is` asks.

use super::{
    ast::Comparison,
    filters,
    run::Run,
    value::{Outcome, Value, fault},
};
use std::sync::Arc;

/// Names of all tests.
const NAMES: [&str; 39] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "integer",
    "float",
    "number",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "lower",
    "upper",
    "odd",
    "even",
    "divisibleby",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
    ">",
    "gt",
    "greaterthan",
    ">=",
    "ge",
    "filter",
    "test",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn holds(run: &mut Run<'_>, name: &str, value: &Value, arguments: &[Value]) -> Outcome<bool> {
    let argument = || match arguments.first() {
        Some(argument) => Ok(argument.clone()),
        None => fault(format!("is {name}: expected an argument")),
    };
    let number = |value: &Value| match value {
        Value::Undefined(name) => fault(format!("{name} is undefined")),
        _ => match value.as_int() {
            Some(number) => Ok(number),
            None => fault(format!("is {name}: expected a whole number, found {}", value.kind())),
        },
    };
    let comparison = match name {
        "==" | "eq" | "equalto" => Some(Comparison::Equal),
        "!=" | "ne" => Some(Comparison::Unequal),
        "<" | "lt" | "lessthan" => Some(Comparison::Less),
        "<=" | "le" => Some(Comparison::LessOrEqual),
        ">" | "gt" | "greaterthan" => Some(Comparison::Greater),
        ">=" | "ge" => Some(Comparison::GreaterOrEqual),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        return run.compares(comparison, value, &argument()?);
    }
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        // What has a length and items: texts, dictionaries and what is undefined too.
        "sequence" => {
            matches!(value, Value::List(_) | Value::Tuple(_) | Value::Str(_) | Value::Dict(_) | Value::Undefined(_))
        }
        "iterable" => matches!(
            value,
            Value::List(_)
                | Value::Tuple(_)
                | Value::Str(_)
                | Value::Dict(_)
                | Value::Generator(_)
                | Value::Undefined(_)
        ),
        "callable" => matches!(
            value,
            Value::Macro(..)
                | Value::Caller(_)
                | Value::Function(_)
                | Value::Method(_)
                | Value::Loop(_)
                | Value::Undefined(_)
        ),
        "sameas" => match (value, argument()?) {
            (Value::Bool(a), Value::Bool(b)) => *a == b,
            (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
            // The very same list; two that are equal are two.
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Arc::ptr_eq(a, &b),
            (Value::Dict(a), Value::Dict(b)) => Arc::ptr_eq(a, &b),
            (Value::Float(_), _) => false,
            (a, b) => a.kind() == b.kind() && a.equals(&b),
        },
        "escaped" => false,
        "lower" | "upper" => {
            let text = run.text(value)?;
            let cased = |c: char| c.is_lowercase() || c.is_uppercase();
            let same = if name == "lower" { text.to_lowercase() } else { text.to_uppercase() };
            text.chars().any(cased) && *same == *text
        }
        "odd" => number(value)? % 2 != 0,
        "even" => number(value)? % 2 == 0,
        "divisibleby" => {
            let (value, by) = (number(value)?, number(&argument()?)?);
            if by == 0 {
                return fault("is divisibleby: division by zero");
            }
            value % by == 0
        }
        "filter" => value.as_str().is_some_and(filters::exists),
        "test" => value.as_str().is_some_and(exists),
        _ => return fault(format!("there is no test {name}")),
    })
}

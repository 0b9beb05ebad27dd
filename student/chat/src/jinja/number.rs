//! Python's numbers: literals, how floats are written, arithmetic.

use super::{
    ast::Operator,
    lexer::Token,
    value::{Outcome, Value, fault},
};
use std::sync::Arc;

/// Longest text or list that multiplication makes, in bytes or items.
const MAX_REPEATED: usize = 1 << 24;

/// A number at the beginning of `rest`, and its length. After a point (`a.0.1`) it is whole.
pub(super) fn read(rest: &str, after_point: bool) -> Outcome<(Token, usize)> {
    let digits = |text: &str, radix: u32| -> usize {
        let mut length = 0;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c.is_digit(radix) {
                length = at + 1;
            } else if !(c == '_' && at == length && at > 0 && chars.peek().is_some_and(|(_, c)| c.is_digit(radix))) {
                break;
            }
        }
        length
    };
    let clean = |text: &str| text.replace('_', "");
    let whole = |text: &str, radix: u32| match i128::from_str_radix(&clean(text), radix) {
        Ok(value) => Ok(Token::Int(value)),
        Err(_) => fault(format!("{text}: a whole number beyond what is supported")),
    };
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
        if let Some(body) = rest.strip_prefix(prefix) {
            let body = body.strip_prefix('_').unwrap_or(body);
            let length = digits(body, radix);
            if length > 0 {
                let skipped = rest.len() - body.len();
                return Ok((whole(&body[..length], radix)?, skipped + length));
            }
        }
    }
    let mut length = digits(rest, 10);
    let integer = length;
    if !after_point {
        if let Some(fraction) = rest[length..].strip_prefix('.') {
            let more = digits(fraction, 10);
            length += if more > 0 { more + 1 } else { 0 };
        }
        if let Some(exponent) = rest[length..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let more = digits(&exponent[sign..], 10);
            length += if more > 0 { 1 + sign + more } else { 0 };
        }
    }
    if length > integer {
        let value = clean(&rest[..length]).parse().unwrap_or(f64::NAN);
        return Ok((Token::Float(value), length));
    }
    Ok((whole(&rest[..integer], 10)?, integer))
}

/// A float as Python writes it: shortest digits, an exponent below 1e-4 and from 1e16.
pub(crate) fn repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value:?}"),
    }
}

/// Python's arithmetic.
pub(crate) fn compute(operator: Operator, left: &Value, right: &Value) -> Outcome<Value> {
    let (sign, unsupported) = (sign(operator), || {
        if let Value::Undefined(name) = left {
            return fault(format!("{name} is undefined"));
        }
        if let Value::Undefined(name) = right {
            return fault(format!("{name} is undefined"));
        }
        fault(format!("{} and {} do not go with {}", left.kind(), right.kind(), self::sign(operator)))
    });
    match (operator, left, right) {
        (Operator::Add, Value::Str(a), Value::Str(b)) => return Ok(Value::str(format!("{a}{b}"))),
        (Operator::Add, Value::List(a), Value::List(b)) => {
            return Value::list(a.items.iter().chain(&b.items).cloned().collect());
        }
        (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
            return Value::tuple(a.items.iter().chain(&b.items).cloned().collect());
        }
        (Operator::Multiply, Value::Str(_) | Value::List(_) | Value::Tuple(_), _) if right.as_int().is_some() => {
            return repeat(left, right.as_int().unwrap_or(0));
        }
        (Operator::Multiply, _, Value::Str(_) | Value::List(_) | Value::Tuple(_)) if left.as_int().is_some() => {
            return repeat(right, left.as_int().unwrap_or(0));
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let too_large = || super::value::Fault::new(format!("{a} {sign} {b}: a whole number beyond what is supported"));
        let whole = |value: Option<i128>| value.map(Value::Int).ok_or_else(too_large);
        let zero = || fault("division by zero");
        return match operator {
            Operator::Add => whole(a.checked_add(b)),
            Operator::Subtract => whole(a.checked_sub(b)),
            Operator::Multiply => whole(a.checked_mul(b)),
            Operator::Divide if b == 0 => zero(),
            Operator::Divide => Ok(Value::Float(a as f64 / b as f64)),
            Operator::FloorDivide | Operator::Modulo if b == 0 => zero(),
            Operator::FloorDivide => {
                let quotient = a.checked_div(b).ok_or_else(too_large)?;
                Ok(Value::Int(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }))
            }
            Operator::Modulo => {
                let rest = a.checked_rem(b).unwrap_or(0);
                Ok(Value::Int(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }))
            }
            Operator::Power if b < 0 && a == 0 => zero(),
            Operator::Power if b < 0 => Ok(Value::Float((a as f64).powf(b as f64))),
            Operator::Power => whole(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        };
    }
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else { return unsupported() };
    if b == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo) {
        return fault("division by zero");
    }
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Modulo => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        Operator::Power => a.powf(b),
    }))
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Modulo => "%",
        Operator::Power => "**",
    }
}

fn repeat(value: &Value, times: i128) -> Outcome<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let one = match value {
        Value::Str(text) => text.len(),
        other => other.as_items().map_or(0, <[Value]>::len),
    };
    if one.saturating_mul(times) > MAX_REPEATED {
        return fault(format!(
            "expected a repetition of at most {MAX_REPEATED} bytes or items, found {one} times {times}"
        ));
    }
    let items = |items: &[Value]| items.iter().cycle().take(items.len() * times).cloned().collect();
    match value {
        Value::Str(text) => Ok(Value::Str(Arc::from(text.repeat(times)))),
        Value::List(list) => Value::list(items(&list.items)),
        other => Value::tuple(items(other.as_items().unwrap_or_default())),
    }
}

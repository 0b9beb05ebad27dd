//! Python's two ways to format: `'%s' % value` and `'{}'.format(value)`.

use super::{
    number,
    run::{Passed, Run},
    value::{Outcome, Value, fault},
};

/// Widest field.
const MAX_WIDTH: usize = 1024;
/// Longest text that one `%` makes, beside what it is given.
const MAX_MADE: usize = 16 << 20;

/// How one value is written.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `format % values`.
pub(super) fn percent(format: &str, values: &Value) -> Outcome<String> {
    let single = [values.clone()];
    let mut positional = match values {
        Value::Tuple(items) => items.items.iter(),
        _ => single.iter(),
    };
    let mut used = !matches!(values, Value::Tuple(_));
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut took = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if out.len() > MAX_MADE + 4 * format.len() {
            return fault(format!("expected a formatted text of at most {MAX_MADE} bytes"));
        }
        let named = match chars.next_if_eq(&'(') {
            None => None,
            Some(_) => {
                let name: String = chars.by_ref().take_while(|c| *c != ')').collect();
                used = true;
                took = true;
                match (values, values.named(&name)) {
                    (_, Some(value)) => Some(value.clone()),
                    (Value::Dict(_), None) => return fault(format!("there is no {name:?} to format")),
                    _ => return fault("expected a dictionary to format names from"),
                }
            }
        };
        let mut spec = Spec::default();
        let mut zero = false;
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | ' ' | '#' | '0')) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.sign = Some('+'),
                ' ' if spec.sign.is_none() => spec.sign = Some(' '),
                '#' => spec.alternate = true,
                '0' => zero = true,
                _ => {}
            }
        }
        let mut next = || match &named {
            Some(value) => Ok(value.clone()),
            None => {
                took = true;
                match positional.next() {
                    Some(value) => Ok(value.clone()),
                    None => fault("not enough arguments for format string"),
                }
            }
        };
        let count = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
                     next: &mut dyn FnMut() -> Outcome<Value>|
         -> Outcome<usize> {
            if chars.next_if_eq(&'*').is_some() {
                return match next()?.as_int().and_then(|count| usize::try_from(count).ok()) {
                    Some(count) => Ok(count),
                    None => fault("* wants a whole number"),
                };
            }
            let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect();
            Ok(digits.parse().unwrap_or(if digits.is_empty() { 0 } else { usize::MAX }))
        };
        spec.width = count(&mut chars, &mut next)?;
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(count(&mut chars, &mut next)?);
        }
        while chars.next_if(|c| matches!(c, 'h' | 'l' | 'L')).is_some() {}
        let Some(kind) = chars.next() else { return fault("incomplete format") };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = next()?;
        match kind {
            's' | 'r' | 'a' => {
                let text = if kind == 's' { value.text().to_string() } else { value.repr() };
                let text = match spec.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                };
                pad(&text, &spec, '>', &mut out)?;
            }
            'c' => {
                let text =
                    match (&value, value.as_int().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32)) {
                        (Value::Str(text), _) if text.chars().count() == 1 => text.to_string(),
                        (_, Some(c)) => c.to_string(),
                        _ => return fault("%c wants a character"),
                    };
                pad(&text, &spec, '>', &mut out)?;
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' | 'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
                if zero && spec.align.is_none() {
                    (spec.fill, spec.align) = (Some('0'), Some('='));
                }
                let whole = matches!(kind, 'd' | 'i' | 'u');
                let value = match (&value, whole) {
                    (Value::Float(float), true) if float.is_finite() => Value::Int(float.trunc() as i128),
                    (Value::Int(_) | Value::Bool(_), _) | (Value::Float(_), false) => value,
                    _ => return fault(format!("%{kind} wants a number, found {}", value.kind())),
                };
                spec.kind = Some(if whole { 'd' } else { kind });
                numeric(&value, &spec, &mut out)?;
            }
            other => return fault(format!("unsupported format character {other:?}")),
        }
    }
    if positional.next().is_some() && !(used && (took || matches!(values, Value::Dict(_) | Value::List(_)))) {
        return fault("not all arguments converted during string formatting");
    }
    Ok(out)
}

/// `text.format(…)`.
pub(super) fn braces(run: &mut Run<'_>, text: &str, passed: &Passed) -> Outcome<String> {
    let mut automatic = 0;
    replace_fields(run, text, passed, &mut automatic, 0)
}

fn replace_fields(
    run: &mut Run<'_>,
    text: &str,
    passed: &Passed,
    automatic: &mut usize,
    depth: u32,
) -> Outcome<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace).filter(|_| depth == 0) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return fault("single '}' in a format");
        }
        let mut open = 1;
        let end = rest.find(|c| {
            open += i32::from(c == '{') - i32::from(c == '}');
            open == 0
        });
        let Some(end) = end else { return fault("expected '}' before the end of a format") };
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let cut = field.find([':', '!']).unwrap_or(field.len());
        let mut value = look_up(run, &field[..cut], passed, automatic)?;
        let mut spec = &field[cut..];
        if let Some(conversion) = spec.strip_prefix('!') {
            let (conversion, after) = conversion.split_at(conversion.find(':').unwrap_or(conversion.len()));
            value = match conversion {
                "s" => Value::Str(value.text()),
                "r" | "a" => Value::str(value.repr()),
                other => return fault(format!("unknown conversion {other:?} in a format")),
            };
            spec = after;
        }
        let spec = spec.strip_prefix(':').unwrap_or(spec);
        let spec = match spec.contains('{') {
            true if depth > 0 => return fault("a format is nested too deeply"),
            true => replace_fields(run, spec, passed, automatic, depth + 1)?,
            false => spec.to_owned(),
        };
        write_value(&value, &spec, &mut out)?;
        run.made(out.len() / 64)?;
    }
    out.push_str(rest);
    Ok(out)
}

/// `0`, `name`, `name.attribute[key]`.
fn look_up(run: &mut Run<'_>, path: &str, passed: &Passed, automatic: &mut usize) -> Outcome<Value> {
    let (first, mut rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    let missing = || super::value::Fault::new(format!("there is no argument {first:?} to format"));
    let mut value = match (first, first.parse::<usize>()) {
        ("", _) => {
            *automatic += 1;
            passed.positional.get(*automatic - 1).cloned().ok_or_else(missing)?
        }
        (_, Ok(index)) => passed.positional.get(index).cloned().ok_or_else(missing)?,
        (name, _) => passed.named.iter().find(|(known, _)| **known == *name).ok_or_else(missing)?.1.clone(),
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, after) = after.split_at(after.find(['.', '[']).unwrap_or(after.len()));
            value = run.attribute(&value, &name.into())?;
            rest = after;
        } else {
            let Some((key, after)) = rest[1..].split_once(']') else { return fault("expected ']' in a format") };
            let key = key.parse::<i128>().map_or_else(|_| Value::str(key), Value::Int);
            value = run.item(&value, &key)?;
            rest = after;
        }
    }
    Ok(value)
}

fn write_value(value: &Value, spec: &str, out: &mut String) -> Outcome<()> {
    if spec.is_empty() {
        out.push_str(&value.text());
        return Ok(());
    }
    let mut parsed = Spec::default();
    let mut chars: Vec<char> = spec.chars().collect();
    if chars.len() > 1 && matches!(chars[1], '<' | '>' | '^' | '=') {
        (parsed.fill, parsed.align) = (Some(chars[0]), Some(chars[1]));
        chars.drain(..2);
    } else if matches!(chars[0], '<' | '>' | '^' | '=') {
        parsed.align = Some(chars.remove(0));
    }
    let mut rest = chars.into_iter().peekable();
    parsed.sign = rest.next_if(|c| matches!(c, '+' | '-' | ' '));
    parsed.alternate = rest.next_if_eq(&'#').is_some();
    if rest.next_if_eq(&'0').is_some() && parsed.align.is_none() {
        (parsed.fill, parsed.align) = (Some('0'), Some('='));
    }
    let mut count = || {
        let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
        (!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX))
    };
    parsed.width = count().unwrap_or(0);
    parsed.grouping = rest.next_if(|c| matches!(c, ',' | '_'));
    if rest.next_if_eq(&'.').is_some() {
        let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
        parsed.precision = Some(digits.parse().unwrap_or(usize::MAX));
    }
    parsed.kind = rest.next();
    if rest.next().is_some() {
        return fault(format!("{spec:?} is no format"));
    }
    match (value, parsed.kind) {
        (Value::Str(text), None | Some('s')) => {
            let text: String = text.chars().take(parsed.precision.unwrap_or(usize::MAX)).collect();
            pad(&text, &parsed, '<', out)
        }
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), kind) if kind != Some('s') => numeric(value, &parsed, out),
        _ => fault(format!("a {} cannot be formatted as {spec:?}", value.kind())),
    }
}

/// A number by its sign and digits.
fn numeric(value: &Value, spec: &Spec, out: &mut String) -> Outcome<()> {
    let precision = spec.precision.unwrap_or(6).min(MAX_WIDTH);
    let float = || value.as_float().unwrap_or(0.0);
    let kind = match (spec.kind, value) {
        (None, Value::Float(_)) => 'r',
        (None | Some('n'), _) => 'd',
        (Some(kind), _) => kind,
    };
    let (negative, mut digits) = match (kind, value.as_int()) {
        ('d', Some(whole)) => {
            let digits = whole.unsigned_abs().to_string();
            let zeros = spec.precision.unwrap_or(0).min(MAX_WIDTH).saturating_sub(digits.len());
            (whole < 0, "0".repeat(zeros) + &digits)
        }
        ('x', Some(whole)) => (whole < 0, prefixed(spec, "0x", format!("{:x}", whole.unsigned_abs()))),
        ('X', Some(whole)) => (whole < 0, prefixed(spec, "0X", format!("{:X}", whole.unsigned_abs()))),
        ('o', Some(whole)) => (whole < 0, prefixed(spec, "0o", format!("{:o}", whole.unsigned_abs()))),
        ('b', Some(whole)) => (whole < 0, prefixed(spec, "0b", format!("{:b}", whole.unsigned_abs()))),
        ('r', _) if spec.precision.is_none() => (float().is_sign_negative(), number::repr(float().abs())),
        ('f' | 'F', _) => (float().is_sign_negative(), special(float().abs(), |x| format!("{x:.precision$}"))),
        ('%', _) => (float().is_sign_negative(), special(100.0 * float().abs(), |x| format!("{x:.precision$}")) + "%"),
        ('e' | 'E', _) => (float().is_sign_negative(), special(float().abs(), |x| exponent(x, precision))),
        ('g' | 'G' | 'r', _) => {
            (float().is_sign_negative(), special(float().abs(), |x| general(x, precision.max(1), spec.alternate)))
        }
        (kind, _) => return fault(format!("a {} cannot be formatted as {kind:?}", value.kind())),
    };
    if matches!(kind, 'E' | 'G' | 'F') {
        digits = digits.to_uppercase();
    }
    if let Some(separator) = spec.grouping {
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let mut grouped = String::new();
        for (index, digit) in digits[..end].chars().enumerate() {
            if index > 0 && (end - index) % 3 == 0 {
                grouped.push(separator);
            }
            grouped.push(digit);
        }
        digits = grouped + &digits[end..];
    }
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    if spec.align == Some('=') {
        if spec.width > MAX_WIDTH {
            return fault(format!("expected a width of at most {MAX_WIDTH}"));
        }
        let missing = spec.width.saturating_sub(sign.len() + digits.len());
        out.push_str(sign);
        out.push_str(&spec.fill.unwrap_or(' ').to_string().repeat(missing));
        out.push_str(&digits);
        return Ok(());
    }
    pad(&format!("{sign}{digits}"), spec, '>', out)
}

fn prefixed(spec: &Spec, prefix: &str, digits: String) -> String {
    if spec.alternate { format!("{prefix}{digits}") } else { digits }
}

fn special(value: f64, write: impl Fn(f64) -> String) -> String {
    match value {
        x if x.is_nan() => "nan".to_owned(),
        x if x.is_infinite() => "inf".to_owned(),
        x => write(x),
    }
}

/// `1.5e+20`.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn general(value: f64, precision: usize, keep_zeros: bool) -> String {
    let scientific = format!("{value:.*e}", precision - 1);
    let magnitude: i32 = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let short = |text: String| match text.contains('.') && !keep_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if magnitude < -4 || magnitude >= precision as i32 {
        let text = exponent(value, precision - 1);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{exponent}", short(digits.to_owned()));
    }
    let places = (precision as i32 - 1 - magnitude).max(0) as usize;
    short(format!("{value:.places$}"))
}

fn pad(text: &str, spec: &Spec, align: char, out: &mut String) -> Outcome<()> {
    if spec.width > MAX_WIDTH {
        return fault(format!("expected a width of at most {MAX_WIDTH}, found {}", spec.width));
    }
    let missing = spec.width.saturating_sub(text.chars().count());
    let left = match spec.align.unwrap_or(align) {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let fill = spec.fill.unwrap_or(' ').to_string();
    out.push_str(&fill.repeat(left));
    out.push_str(text);
    out.push_str(&fill.repeat(missing - left));
    Ok(())
}

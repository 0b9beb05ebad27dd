//! Numbers as people and models write them: integers, decimals, fractions, mixed numbers, exactly.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

/// Longer spellings are not read: nobody means them, and arithmetic on them costs.
const MAX_LENGTH: usize = 1024;
/// Largest power of ten in `1e…`.
const MAX_EXPONENT: u32 = 1024;

/// A number, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its value; that of the digits before a percent sign.
    pub value: BigRational,
    /// Whether a percent sign followed.
    pub percent: bool,
}

/// Reads a number; nothing when the text is anything else or ambiguous (`12,34`, `1 2`).
pub fn parse_number(text: &str) -> Option<Number> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let plain = strip(text);
    let (plain, percent) = match plain.strip_suffix("\\%").or_else(|| plain.strip_suffix('%')) {
        Some(rest) => (rest.trim(), true),
        None => (plain.as_str(), false),
    };
    // `x = 5` states 5.
    let plain = plain.rsplit_once('=').map_or(plain, |(_, right)| right).trim();
    let (negative, magnitude) = match plain.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest.trim_start()),
        None => (false, plain.strip_prefix('+').unwrap_or(plain).trim_start()),
    };
    let value = magnitude_of(magnitude)?;
    Some(Number { value: if negative { -value } else { value }, percent })
}

/// Takes off what stands around numbers in LaTeX and prose: `$`, `\(…\)`, `\text{…}`, a final full stop.
fn strip(text: &str) -> String {
    let mut plain = text.replace("\\$", "").replace('$', "").replace("\\(", "").replace("\\)", "");
    while let Some(start) = plain.find("\\text{") {
        let Some(length) = plain[start..].find('}') else { break };
        plain.replace_range(start..=start + length, " ");
    }
    for thousands in ["{,}", "\\,", "\\!"] {
        plain = plain.replace(thousands, if thousands == "{,}" { "," } else { "" });
    }
    let plain = plain.trim();
    plain.strip_suffix('.').unwrap_or(plain).trim().to_owned()
}

fn magnitude_of(text: &str) -> Option<BigRational> {
    for command in ["\\frac", "\\dfrac", "\\tfrac"] {
        let Some((whole, rest)) = text.split_once(command) else { continue };
        let (numerator, rest) = argument(rest)?;
        let (denominator, rest) = argument(rest)?;
        let fraction = quotient(signed(numerator)?, signed(denominator)?)?;
        let whole = whole.trim();
        return match (whole.is_empty(), rest.trim().is_empty()) {
            (true, true) => Some(fraction),
            // A mixed number.
            (false, true) if whole.bytes().all(|byte| byte.is_ascii_digit()) => Some(decimal(whole)? + fraction),
            _ => None,
        };
    }
    match text.split_once('/') {
        Some((numerator, denominator)) => quotient(decimal(numerator.trim())?, signed(denominator.trim())?),
        None => decimal(text),
    }
}

/// A LaTeX argument: `{…}` or one digit.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    match text.strip_prefix('{') {
        Some(rest) => rest.split_once('}'),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => Some(text.split_at(1)),
        None => None,
    }
}

fn signed(text: &str) -> Option<BigRational> {
    match text.trim().strip_prefix('-') {
        Some(rest) => decimal(rest.trim_start()).map(|value| -value),
        None => decimal(text.trim()),
    }
}

fn quotient(numerator: BigRational, denominator: BigRational) -> Option<BigRational> {
    (!denominator.is_zero()).then(|| numerator / denominator)
}

/// Digits, with thousands separators in the right places, a decimal point, a power of ten.
fn decimal(text: &str) -> Option<BigRational> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.parse::<i32>().ok()?)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(fraction) {
        return None;
    }
    let whole = if whole.contains(',') { grouped(whole)? } else { whole.to_owned() };
    if !digits(&whole) {
        return None;
    }
    let all = BigInt::parse_bytes(format!("0{whole}{fraction}").as_bytes(), 10)?;
    let mut value = BigRational::new(all, power_of_ten(fraction.len() as u32));
    if let Some(exponent) = exponent {
        if exponent.unsigned_abs() > MAX_EXPONENT {
            return None;
        }
        let scale = BigRational::from_integer(power_of_ten(exponent.unsigned_abs()));
        value = if exponent < 0 { value / scale } else { value * scale };
    }
    Some(value)
}

fn power_of_ten(exponent: u32) -> BigInt {
    if exponent == 0 { BigInt::one() } else { BigInt::from(10).pow(exponent) }
}

/// `1,234,567` → `1234567`; any other grouping may be a list.
fn grouped(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let right = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    right.then(|| text.replace(',', ""))
}

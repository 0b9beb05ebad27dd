//! Numerals to other bases than ten: `1011_2`, `(1011)_{two}`, `1011 (base 2)`, `0x1F`, `10.1_2`.

use crate::Verdict;
use crate::decide::Finding;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Pow;

const NAMES: &[(&str, u32)] = &[
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("sixteen", 16),
    ("binary", 2),
    ("octal", 8),
    ("decimal", 10),
    ("hexadecimal", 16),
    ("hex", 16),
    ("bin", 2),
    ("dec", 10),
];

/// Decides on two numerals of which at least one states a base.
pub(crate) fn finding(gold: &str, answer: &str) -> Option<Finding> {
    let states = |text: &str| {
        let possible = text.bytes().any(|byte| matches!(byte, b'_' | b'b' | b'x' | b'X' | b'o' | b'n'));
        possible && ["_", "base", " in ", "0x", "0X", "0b", "0o"].iter().any(|mark| text.contains(mark))
    };
    if !states(gold) && !states(answer) {
        return None;
    }
    let (wanted, given) = (numeral(gold)?, numeral(answer)?);
    if wanted.base.is_none() && given.base.is_none() {
        return None;
    }
    let plain = |numeral: &Numeral| numeral.digits.chars().all(|c| c.is_ascii_digit());
    if wanted.value() == given.value() {
        let proven = wanted.certain && given.certain;
        return Some(Finding { certainty: certainty(proven), ..Finding::proven(Verdict::Equal, "exact-arithmetic") });
    }
    // `204` for `204_5`: the base may have been part of the question.
    let one_sided = wanted.base.is_none() || given.base.is_none();
    if one_sided && wanted.digits == given.digits && plain(&wanted) {
        return Some(Finding::unknown("base-on-one-side"));
    }
    let proven = wanted.certain && given.certain && !one_sided;
    Some(Finding { certainty: certainty(proven), ..Finding::proven(Verdict::Unequal, "exact-arithmetic") })
}

fn certainty(proven: bool) -> crate::Certainty {
    if proven { crate::Certainty::Proven } else { crate::Certainty::Probable }
}

struct Numeral {
    digits: String,
    base: Option<u32>,
    /// Written as `digits_base`.
    certain: bool,
}

impl Numeral {
    fn value(&self) -> Option<BigRational> {
        let base = self.base.unwrap_or(10);
        let (negative, digits) =
            self.digits.strip_prefix('-').map_or((false, self.digits.as_str()), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let value = crate::read::number::in_base(&format!("{whole}{fraction}"), base)?;
        let scale = Pow::pow(BigInt::from(base), u32::try_from(fraction.len()).ok()?);
        let value = value / BigRational::from_integer(scale);
        Some(if negative { -value } else { value })
    }
}

fn numeral(text: &str) -> Option<Numeral> {
    const MAX: usize = 160;
    if text.len() > MAX {
        return None;
    }
    let text: String = plain(text);
    let text = text.trim();
    for (prefix, base) in [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return checked(digits, Some(base), true);
        }
    }
    if let Some((digits, base)) = text.rsplit_once('_') {
        let certain = base.chars().all(|c| c.is_ascii_digit()) && !digits.contains('(');
        return checked(digits, Some(base_of(base)?), certain);
    }
    for words in [" in base ", " base ", "(base ", " to base ", " in "] {
        if let Some((digits, base)) = text.split_once(words) {
            return checked(digits, Some(base_of(base)?), false);
        }
    }
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    checked(text, None, true)
}

fn base_of(text: &str) -> Option<u32> {
    let text = text.trim().trim_matches(['(', ')', ' ', '{', '}']).to_lowercase();
    let text = text.strip_prefix("base").map_or(text.as_str(), str::trim);
    let base = text.parse().ok().or_else(|| NAMES.iter().find(|(name, _)| *name == text).map(|(_, base)| *base))?;
    (2..=36).contains(&base).then_some(base)
}

/// Digits that the base has.
fn checked(digits: &str, base: Option<u32>, certain: bool) -> Option<Numeral> {
    let digits = digits.trim();
    let digits = digits.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(digits);
    let digits: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
    let body = digits.strip_prefix('-').unwrap_or(&digits);
    let valid = |c: char| c == '.' || !c.is_ascii_lowercase() && c.is_digit(base.unwrap_or(10));
    let points = body.matches('.').count();
    (!body.is_empty() && body.chars().all(valid) && points <= 1 && !body.ends_with('.') && !body.starts_with('.'))
        .then(|| Numeral { digits: digits.clone(), base, certain })
}

/// Without the braces, dollars and commands that only style.
fn plain(text: &str) -> String {
    let mut text = text.trim().trim_matches('$').to_owned();
    for command in ["\\text", "\\mathrm", "\\textrm", "\\mathbf", "\\textbf", "\\left", "\\right", "\\,", "\\;", "\\!"]
    {
        text = text.replace(command, "");
    }
    text.replace(['{', '}'], "").replace("\\ ", " ").replace('~', " ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerals_are_read_in_every_spelling() {
        let value = |text: &str| numeral(text).and_then(|numeral| numeral.value()).map(|value| value.to_string());
        for text in [
            "1011_2",
            "(1011)_2",
            "1011_{2}",
            "1011_{\\text{two}}",
            "1011_{(2)}",
            "1011 (base 2)",
            "0b1011",
            "$1011_{two}$",
        ] {
            assert_eq!(value(text).as_deref(), Some("11"), "{text}");
        }
        assert_eq!(value("10.1_2").as_deref(), Some("5/2"));
        assert_eq!(value("\\text{A1}_{16}").as_deref(), Some("161"));
        assert_eq!(value("-12_3").as_deref(), Some("-5"));
        for text in ["12_2", "x_2", "2_{40}", "a_1", "abc", "", "_2", "1011_{}"] {
            assert!(numeral(text).is_none(), "{text}");
        }
    }
}

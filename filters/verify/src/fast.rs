//! The short way for what most answers are: two integers, or fractions of integers, in plain digits.

use crate::Verdict;
use crate::decide::Finding;

/// A verdict where both are integers or fractions of up to 17 digits; nothing for anything else.
pub(crate) fn finding(answer: &str, gold: &str) -> Option<Finding> {
    let (gold, answer) = (fraction(gold)?, fraction(answer)?);
    let same = i128::from(gold.0) * i128::from(answer.1) == i128::from(answer.0) * i128::from(gold.1);
    Some(Finding::proven(if same { Verdict::Equal } else { Verdict::Unequal }, "exact-arithmetic"))
}

/// `-12`, `3/4`, `\frac{3}{4}`.
fn fraction(text: &str) -> Option<(i64, i64)> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (above, below) = if let Some(rest) = text.strip_prefix("\\frac{").or_else(|| text.strip_prefix("\\dfrac{")) {
        let (above, below) = rest.split_once("}{")?;
        (integer(above)?, digits(below.strip_suffix('}')?)?)
    } else if let Some((above, below)) = text.split_once('/') {
        (digits(above)?, digits(below)?)
    } else {
        (digits(text)?, 1)
    };
    (below != 0).then_some((if negative { -above } else { above }, below))
}

fn integer(text: &str) -> Option<i64> {
    text.strip_prefix('-').map_or_else(|| digits(text), |rest| digits(rest).map(|value| -value))
}

fn digits(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 17 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0')))
}

//! Words, and words with formulas: the same words are equal, short other words are unequal, and most else is not decided.

use super::{Case, Finding, Verdict, same as same_value};
use crate::read::{Value, words};

/// Two values of which one is words or prose.
pub(super) fn same(gold: &Value, answer: &Value, case: &Case<'_>) -> Finding {
    match (gold, answer) {
        (Value::Words(a), Value::Words(b)) => {
            let joined = |text: &str| text.replace(' ', "");
            let short = |text: &str| text.split(' ').count() <= 2;
            if joined(a) == joined(b) {
                Finding::probable(Verdict::Equal, "same-words")
            } else if short(a) && short(b) {
                Finding::probable(Verdict::Unequal, "other-words")
            } else {
                Finding::unknown("words-differ")
            }
        }
        (Value::Prose { words: a, formulas: left }, Value::Prose { words: b, formulas: right }) => {
            if a != b || left.len() != right.len() {
                return Finding::unknown("words-differ");
            }
            match Finding::all(left.iter().zip(right).map(|(a, b)| same_value(a, b, case))) {
                Finding { verdict: Verdict::Equal, .. } => Finding::probable(Verdict::Equal, "same-words"),
                other => other,
            }
        }
        (Value::Prose { words, formulas }, other) | (other, Value::Prose { words, formulas }) => {
            let negated = words::refuses(words);
            let [one] = formulas.as_slice() else { return Finding::unknown("prose") };
            if negated || matches!(other, Value::Words(_)) {
                return Finding::unknown("prose");
            }
            let gold_is_other = std::ptr::eq(other, gold);
            let found = if gold_is_other { same_value(other, one, case) } else { same_value(one, other, case) };
            match found.verdict {
                Verdict::Equal => Finding::probable(Verdict::Equal, "formula-in-prose"),
                _ => Finding::unknown("prose"),
            }
        }
        (Value::Words(words), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Words(words)) => {
            let one = !words.contains(' ') && words.chars().count() > 1;
            // A word of another language may be a number.
            if one && words.is_ascii() && scalar.expr.as_number().is_some() && !words::is_quantifier(words) {
                Finding::probable(Verdict::Unequal, "word-against-number")
            } else {
                Finding::unknown("words-against-value")
            }
        }
        _ => Finding::unknown("words-against-value"),
    }
}

//! Words, and words with formulas among them: what is left when a text is no mathematics as a whole.

use super::token::{self, Commas, Mode};
use super::{Value, list, words};

/// More formulas than this are not read.
const MAX_FORMULAS: usize = 32;
/// Longer texts are not read as prose, in bytes.
const MAX_BYTES: usize = 8000;

/// `text` as words alone, or as words with formulas that can all be read.
pub(super) fn prose(text: &str, mode: Mode) -> Option<Value> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let normal = words::normal(text);
    if matches!(normal.as_str(), "all real numbers" | "all reals" | "all real number" | "set of all real numbers") {
        return Some(Value::Field('R'));
    }
    if words::wordy(&normal) {
        return Some(Value::Words(normal));
    }
    // AZYUK2A: a code of some kind.
    let letters = text.chars().filter(char::is_ascii_alphabetic).count();
    if letters >= 4
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return Some(Value::Words(text.to_lowercase()));
    }
    let read = |formula: &str| {
        let tokens = token::tokens(formula, Commas::Group).ok()?;
        list::value(&tokens, mode).ok()
    };
    let (mut outside, mut formulas, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, formula, after)) = next_formula(rest) {
        outside.push_str(before);
        outside.push_str(" # ");
        formulas.push(read(formula)?);
        if formulas.len() > MAX_FORMULAS {
            return None;
        }
        rest = after;
    }
    outside.push_str(rest);
    if formulas.is_empty() {
        // The current is 2 amps.
        let (before, tail) = [" is ", " are ", ": "].iter().find_map(|word| text.rsplit_once(word))?;
        formulas.push(read(tail.trim())?);
        outside = format!("{before} is #");
    }
    let words = words::normal(&outside);
    let wordy = words.split(' ').any(|word| word.chars().count() > 1 && word.chars().all(char::is_alphabetic));
    wordy.then_some(Value::Prose { words, formulas })
}

/// What stands before the next `$…$`, `$$…$$`, `\(…\)` or `\[…\]`, its inside, and what follows.
fn next_formula(text: &str) -> Option<(&str, &str, &str)> {
    let (at, open, close) = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]
        .into_iter()
        .filter_map(|(open, close)| text.find(open).map(|at| (at, open, close)))
        .min_by_key(|(at, ..)| *at)?;
    let inner = &text[at + open.len()..];
    let end = inner.find(close)?;
    Some((&text[..at], &inner[..end], &inner[end + close.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_formulas_are_told_apart() {
        assert_eq!(prose("It converges.", Mode::default()), Some(Value::Words("it converges".into())));
        let Some(Value::Prose { words, formulas }) = prose("The mode is $1/3$.", Mode::default()) else {
            panic!("prose")
        };
        assert_eq!((words.as_str(), formulas.len()), ("mode #", 1));
        assert_eq!(prose("The mode is $\\foo{Q}$", Mode::default()), None, "a formula that cannot be read");
        assert!(matches!(prose("The current is 2 amps", Mode::default()), Some(Value::Prose { .. })));
    }
}

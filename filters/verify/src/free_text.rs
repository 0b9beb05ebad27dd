//! Free text: the same words, or the same after what does not matter was taken away.

use crate::{Certainty, Judgement, Verdict, extract};

/// Judges the answer that `response` states against `gold` as text: first as it is, then without case, spacing, quotes,
/// LaTeX's wrapping and a full stop at the end.
pub fn judge_text(response: &str, gold: &str) -> Judgement {
    let Some(found) = extract::extract(response, false) else { return Judgement::unknown("no-answer") };
    let (verdict, certainty, reason) = if found.text.trim() == gold.trim() {
        (Verdict::Equal, Certainty::Proven, "identical")
    } else if plain_text(&found.text) == plain_text(gold) {
        (Verdict::Equal, Certainty::Probable, "same-words")
    } else {
        (Verdict::Unequal, Certainty::Probable, "other-text")
    };
    Judgement { verdict, certainty, found: found.text, rule: found.rule, ..Judgement::unknown(reason) }
}

/// A text without case, spacing, wrapping and what ends a sentence. Digits and signs inside it stay: they carry meaning.
pub fn plain_text(text: &str) -> String {
    let mut text = text.trim();
    loop {
        let before = text;
        for wrapper in ["\\text", "\\textbf", "\\textit", "\\mathrm", "\\mathbf"] {
            let inner = text.strip_prefix(wrapper).and_then(|rest| rest.trim_start().strip_prefix('{'));
            if let Some(inner) = inner.and_then(|rest| rest.strip_suffix('}')).filter(|inner| !inner.contains('}')) {
                text = inner.trim();
            }
        }
        text = text.trim_matches(['"', '\'', '`', '*', '“', '”', '‘', '’', '«', '»', '$']).trim();
        let stripped = text.strip_suffix(['.', '。', ',', ';', '!']);
        text = stripped.map_or(text, str::trim_end);
        if text == before {
            break;
        }
    }
    let text = unescaped(text);
    let text = text.trim_matches('$');
    let words = text.replace(['~', '\u{a0}'], " ").replace("\\ ", " ").replace("\\,", " ").to_lowercase();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters that LaTeX needs a backslash before, without it.
fn unescaped(text: &str) -> String {
    const NAMED: [(&str, &str); 5] = [
        ("\\textunderscore", "_"),
        ("\\textbackslash", "\\"),
        ("\\textasciitilde", "~"),
        ("\\textasciicircum", "^"),
        ("\\lbrace", "{"),
    ];
    let text = NAMED.iter().fold(text.to_owned(), |text, (name, sign)| {
        if text.contains(name) {
            text.replace(&format!("{name}{{}}"), sign).replace(&format!("{name} "), sign).replace(name, sign)
        } else {
            text
        }
    });
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped =
            c == '\\' && chars.peek().is_some_and(|next| matches!(next, '_' | '%' | '#' | '&' | '$' | '{' | '}'));
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_taken_away_and_nothing_else() {
        for (response, gold, verdict, reason) in [
            ("\\boxed{Paris}", "Paris", Verdict::Equal, "identical"),
            ("\\boxed{\\text{ paris. }}", "Paris", Verdict::Equal, "same-words"),
            ("The answer is \"New  York\".", "new york", Verdict::Equal, "same-words"),
            ("\\boxed{Paris, France}", "Paris", Verdict::Unequal, "other-text"),
            ("\\boxed{1.5}", "15", Verdict::Unequal, "other-text"),
            ("\\boxed{-5}", "5", Verdict::Unequal, "other-text"),
            ("\\boxed{a\\_b}", "a_b", Verdict::Equal, "same-words"),
            ("\\boxed{50\\%}", "50%", Verdict::Equal, "same-words"),
            ("\\boxed{a\\_b}", "ab", Verdict::Unequal, "other-text"),
            ("\\boxed{C++}", "C", Verdict::Unequal, "other-text"),
            ("Paris", "Paris", Verdict::Unknown, "no-answer"),
        ] {
            let judgement = judge_text(response, gold);
            assert_eq!((judgement.verdict, judgement.reason), (verdict, reason), "{response} against {gold}");
        }
    }
}

//! What reasoning and answer come to, and whether that is the same: found and compared as the verifier finds and compares.

use distill_dataset::Verdict;
use distill_verify::{
    Policy,
    extract::{Extracted, Rule, extract},
    judge_answer, last_boxed,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of a part in which boxes and its answer are looked for, from its end.
const WINDOW: usize = 1 << 17;

/// An answer of more bytes is no answer in other words.
const FEW_WORDS: usize = 200;

/// What the two parts of a turn state.
pub(super) struct Stated {
    /// What the reasoning comes to.
    pub(super) reasoned: Option<String>,
    /// What the answer says.
    pub(super) answered: Option<String>,
    /// Whether the two are the same, where the reasoning boxes what it comes to.
    pub(super) agreement: Verdict,
    /// Whether an answer in which none was found says what the reasoning comes to all the same.
    pub(super) says_the_same: bool,
}

/// What the verifier finds in both parts. A part that it cannot take states nothing.
pub(super) fn stated(reasoning: &str, answer: &str) -> Stated {
    let guarded = catch_unwind(AssertUnwindSafe(|| compared(reasoning, answer)));
    guarded.unwrap_or(Stated { reasoned: None, answered: None, agreement: Verdict::Unknown, says_the_same: false })
}

fn compared(reasoning: &str, answer: &str) -> Stated {
    let (reasoned, answered) = (found_in(reasoning), found_in(answer));
    let boxes = reasoned.as_ref().is_some_and(|found| matches!(found.rule, Rule::Boxed | Rule::BoxedSeveral));
    let agreement = match (&reasoned, &answered) {
        (Some(reasoned), Some(answered)) if boxes => {
            agreement(&readings(reasoned, reasoning), &readings(answered, answer))
        }
        _ => Verdict::Unknown,
    };
    let says = |reasoned: &Extracted| {
        let (wanted, answer) = (reasoned.text.trim(), answer.trim());
        let alone = !answer.is_empty() && answer.len() <= FEW_WORDS;
        contains_word(tail(answer), wanted) || alone && same(answer, wanted) == Verdict::Pass
    };
    let says_the_same = answered.is_none() && reasoned.as_ref().is_some_and(says);
    let text = |found: Option<Extracted>| found.map(|found| found.text);
    Stated { reasoned: text(reasoned), answered: text(answered), agreement, says_the_same }
}

/// The answer at the end of a part. One that is left to be filled in is none.
fn found_in(part: &str) -> Option<Extracted> {
    extract(tail(part), false).filter(|found| !is_placeholder(&found.text))
}

/// The end of a part: what the verifier's readers are given of it, whose time is not linear in every text.
pub(super) fn tail(part: &str) -> &str {
    let mut from = part.len().saturating_sub(WINDOW);
    while !part.is_char_boundary(from) {
        from += 1;
    }
    &part[from..]
}

/// `\boxed{answer}`, `\boxed{...}`: how a box is spoken of.
fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "answer",
        "youranswer",
        "finalanswer",
        "yourfinalanswer",
        "theanswer",
        "thefinalanswer",
        "youranswerhere",
        "result",
        "number",
        "value",
        "ans",
        "答案",
    ];
    const BLANKS: [&str; 6] = ["\\ldots", "\\dots", "\\cdots", "\\quad", "\\square", "\\;"];
    let plain = text.replace("\\text", "").to_lowercase();
    let signs = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '.' | '…' | '_' | '?' | '[' | ']');
    let plain: String = plain.chars().filter(|c| !signs(*c)).collect();
    plain.is_empty() || WORDS.contains(&plain.as_str()) || BLANKS.contains(&text.trim())
}

/// What an answer may be: several boxes that are joined, or the last of them.
fn readings<'t>(found: &'t Extracted, part: &'t str) -> Vec<&'t str> {
    let last = if found.rule == Rule::BoxedSeveral { last_boxed(tail(part)) } else { None };
    std::iter::once(found.text.as_str()).chain(last).collect()
}

/// One pair that is the same suffices, all must differ.
fn agreement(reasoned: &[&str], answered: &[&str]) -> Verdict {
    let pairs = reasoned.iter().flat_map(|reasoned| answered.iter().map(move |answered| same(answered, reasoned)));
    pairs.reduce(either).unwrap_or(Verdict::Unknown)
}

fn either(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Pass, _) | (_, Verdict::Pass) => Verdict::Pass,
        (Verdict::Fail, Verdict::Fail) => Verdict::Fail,
        _ => Verdict::Unknown,
    }
}

/// Whether two answers are the same by the widest conventions, whichever of them is taken for the right one: neither is.
fn same(answer: &str, reasoned: &str) -> Verdict {
    if answer.trim() == reasoned.trim() {
        return Verdict::Pass;
    }
    // Of a question with options, which are not known here, one side names the letter and the other the value.
    if is_letter(answer) != is_letter(reasoned) {
        return Verdict::Unknown;
    }
    let policy = Policy { tuple_for_set: true, rounded_answers: true, ..Policy::default() };
    let verdict = |answer, gold| match judge_answer(answer, gold, &policy).verdict {
        distill_verify::Verdict::Equal => Verdict::Pass,
        distill_verify::Verdict::Unequal => Verdict::Fail,
        distill_verify::Verdict::Unknown => Verdict::Unknown,
    };
    either(verdict(answer, reasoned), verdict(reasoned, answer))
}

/// A single capital letter, however it is set: an option.
fn is_letter(text: &str) -> bool {
    let plain = ["\\textbf", "\\text", "\\mathbf", "\\mathrm"]
        .iter()
        .fold(text.to_owned(), |text, command| if text.contains(command) { text.replace(command, "") } else { text });
    let mut letters = plain.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '{' | '}' | '.' | '$'));
    letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.next().is_none()
}

/// Whether a text says a word or formula, and not only as a part of a longer one.
fn contains_word(text: &str, word: &str) -> bool {
    if word.is_empty() {
        return false;
    }
    let joins = |outside: Option<char>, inside: Option<char>| {
        outside.is_some_and(char::is_alphanumeric) && inside.is_some_and(char::is_alphanumeric)
    };
    let (first, last) = (word.chars().next(), word.chars().next_back());
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !joins(before.chars().next_back(), first) && !joins(after.chars().next(), last)
    })
}

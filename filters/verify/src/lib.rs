//! Is this answer right? A gold answer and a model's come in; equal, unequal or unknown goes out, proven or probable,
//! with the reason.
//!
//! `extract` finds the answer in a response, `read` turns text into values, `decide` compares two values; `normal` and
//! `numeric` are what it proves with. Unknown is never folded into unequal: an answer that this crate cannot read is
//! nobody's mistake. The same pair gives the same verdict, everywhere: no clock, no threads, no random numbers.

mod boxed;
mod decide;
mod expr;
pub mod extract;
mod fast;
mod normal;
mod numeric;
mod read;

pub use boxed::{boxed_answers, last_boxed};

use decide::Finding;
use read::{Value, token::Commas, words};
use serde::{Deserialize, Serialize};

/// What the judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Equal,
    /// Another.
    Unequal,
    /// Not decided; `Judgement::reason` says why.
    Unknown,
}

/// How sure the verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// By exact arithmetic, a normal form, or values that cannot meet.
    Proven,
    /// By a convention, or because no difference was found where one was looked for.
    Probable,
}

/// Where conventions differ: what counts as the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// `5` for `x = 5`, and the other way round.
    pub bare_names: bool,
    /// `5` for `5 cm`, and the other way round. Two different units are never the same.
    pub bare_units: bool,
    /// `28` for `28 %`. `0.28` always is.
    pub bare_percent: bool,
    /// `{1, 2}` or `1, 2` for `(1, 2)`.
    pub tuple_for_set: bool,
    /// What rounds to a decimal gold at its stated digits.
    pub rounding: bool,
    /// Takes the last formula or number of a response without a box and an anchor. Not for filtering.
    pub loose: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            bare_names: true,
            bare_units: true,
            bare_percent: true,
            tuple_for_set: false,
            rounding: true,
            loose: false,
        }
    }
}

/// A verdict with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Equal, unequal or unknown.
    pub verdict: Verdict,
    /// How sure that is.
    pub certainty: Certainty,
    /// By what, in one word: `exact-arithmetic`, `normal-form`, `disjoint-balls`, `no-answer`, …
    pub reason: &'static str,
    /// The answer that was read out of the text; empty when there was none.
    pub found: String,
    /// How it was found.
    pub rule: extract::Rule,
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Equal => "equal",
            Verdict::Unequal => "unequal",
            Verdict::Unknown => "unknown",
        }
    }
}

impl Certainty {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Certainty::Proven => "proven",
            Certainty::Probable => "probable",
        }
    }
}

impl Judgement {
    /// Not decided, nothing read.
    pub fn unknown(reason: &'static str) -> Judgement {
        let (verdict, certainty) = (Verdict::Unknown, Certainty::Probable);
        Judgement { verdict, certainty, reason, found: String::new(), rule: extract::Rule::Given }
    }
}

/// Judges the answer that `response` states against `gold`.
pub fn judge_math(response: &str, gold: &str, policy: &Policy) -> Judgement {
    let Some(found) = extract::extract(response, policy.loose) else {
        return Judgement::unknown("no-answer");
    };
    Judgement { rule: found.rule, ..judge_answer(&found.text, gold, policy) }
}

/// Judges the last boxed answer in `response` against `gold` as text, white space at the ends aside.
pub fn judge_text(response: &str, gold: &str) -> Judgement {
    let judgement = |verdict, certainty, reason, found: &str| Judgement {
        verdict,
        certainty,
        reason,
        found: found.to_owned(),
        rule: extract::Rule::Boxed,
    };
    match last_boxed(response) {
        None => judgement(Verdict::Unknown, Certainty::Probable, "no-answer", ""),
        Some(found) if found.trim() == gold.trim() => judgement(Verdict::Equal, Certainty::Proven, "identical", found),
        Some(found) => judgement(Verdict::Unequal, Certainty::Proven, "other-text", found),
    }
}

/// Judges an answer alone against `gold`.
pub fn judge_answer(answer: &str, gold: &str, policy: &Policy) -> Judgement {
    let finding = finding(answer, gold, policy);
    Judgement {
        verdict: finding.verdict,
        certainty: finding.certainty,
        reason: finding.reason,
        found: answer.to_owned(),
        rule: extract::Rule::Given,
    }
}

/// How `text` is read, for people: the likeliest reading.
pub fn reading(text: &str) -> Option<String> {
    read::read(text, false).values.first().map(|value| format!("{value:?}"))
}

fn finding(answer: &str, gold: &str, policy: &Policy) -> Finding {
    if let Some(finding) = fast::finding(answer, gold) {
        return finding;
    }
    if answer.len() > 4 * read::token::MAX_CHARS || gold.len() > 4 * read::token::MAX_CHARS {
        return Finding::unknown("too-long");
    }
    if let Some(finding) = in_words(answer, gold, policy) {
        return finding;
    }
    let mut result = by_value(answer, gold, policy, false);
    // A bare logarithm is to base 10 here and to base e there; one that fits suffices.
    if result.verdict != Verdict::Equal && (answer.contains("log") || gold.contains("log")) {
        let natural = by_value(answer, gold, policy, true);
        if natural.verdict == Verdict::Equal {
            result = Finding::probable(Verdict::Equal, natural.reason);
        }
    }
    result
}

/// Readings against readings: one pair that is equal suffices, all must be unequal.
fn by_value(answer: &str, gold: &str, policy: &Policy, natural: bool) -> Finding {
    let (gold, answer) = (read::read(gold, natural), read::read(answer, natural));
    if gold.values.is_empty() || answer.values.is_empty() {
        return in_text(&gold, &answer);
    }
    let mut result: Option<Finding> = None;
    for (place, wanted) in gold.values.iter().enumerate() {
        for given in &answer.values {
            let found = decide::same(wanted, given, policy);
            if found.verdict == Verdict::Equal {
                let alone = place == 0 && answer.values.len() == 1;
                return if alone { found } else { Finding { certainty: Certainty::Probable, ..found } };
            }
            if found.verdict == Verdict::Unknown || result.is_none() {
                result = Some(found);
            }
        }
    }
    result.unwrap_or(Finding::unknown("unread"))
}

/// Choices, times, dates and numbers in words.
fn in_words(answer: &str, gold: &str, policy: &Policy) -> Option<Finding> {
    let decided =
        |same: bool, reason| Some(Finding::probable(if same { Verdict::Equal } else { Verdict::Unequal }, reason));
    if let Some((wanted, rest)) = words::choice(gold) {
        if let Some((given, text)) = words::choice(answer) {
            if wanted != given {
                return decided(false, "other-choice");
            }
            if rest.is_empty() || text.is_empty() {
                return decided(true, "choice");
            }
            return Some(finding(text, rest, policy));
        }
        if !rest.is_empty() {
            return Some(finding(answer, rest, policy));
        }
    }
    let tidy = |text: &str| words::normal(&text.replace(':', "：")).replace('：', ":");
    let (plain_gold, plain_answer) = (tidy(gold), tidy(answer));
    if let (Some(a), Some(b)) = (words::time(&plain_gold), words::time(&plain_answer)) {
        if a == b {
            return decided(true, "time");
        }
        if a.certain && b.certain {
            return decided(false, "other-time");
        }
        return decided(a.minutes % 720 == b.minutes % 720, "time-of-half-a-day");
    }
    if let (Some(a), Some(b)) = (words::date(&plain_gold), words::date(&plain_answer)) {
        if (a.month, a.day) != (b.month, b.day) || a.year.is_some() && b.year.is_some() && a.year != b.year {
            return decided(false, "other-date");
        }
        return if a.year == b.year { decided(true, "date") } else { Some(Finding::unknown("year-on-one-side")) };
    }
    // Numbers in words, and numerals in another base.
    let gold_number = words::number(&plain_gold).map(|number| number.to_string());
    let answer_number = words::number(&plain_answer).map(|number| number.to_string());
    if gold_number.is_some() || answer_number.is_some() {
        let found = finding(answer_number.as_deref().unwrap_or(answer), gold_number.as_deref().unwrap_or(gold), policy);
        return Some(Finding { certainty: Certainty::Probable, ..found });
    }
    let empty = |text: &str| text == "no solution" || text == "empty set";
    if empty(&plain_gold) != empty(&plain_answer) && (empty(&plain_gold) || empty(&plain_answer)) {
        let other = if empty(&plain_gold) { answer } else { gold };
        let none =
            matches!(read::read(other, false).values.first(), Some(Value::Set { members, .. }) if members.is_empty());
        return decided(none, "empty-set");
    }
    based(gold)
        .zip(based(answer))
        .map(|((a, a_base), (b, b_base))| {
            if a == b {
                Finding::proven(Verdict::Equal, "exact-arithmetic")
            } else {
                let _ = (a_base, b_base);
                Finding::proven(Verdict::Unequal, "exact-arithmetic")
            }
        })
        .filter(|_| {
            based(gold).is_some_and(|(_, base)| base != 10) || based(answer).is_some_and(|(_, base)| base != 10)
        })
        .or_else(|| digits_without_base(gold, answer))
}

/// A numeral with its base: `FF_{16}`, `0x1F`, `204_5`; plain digits are to base 10.
fn based(text: &str) -> Option<(num_rational::BigRational, u32)> {
    let text = text.trim().trim_matches('$').trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return Some((read::number::in_base(digits, 16)?, 16));
    }
    let (digits, base) = match text.split_once('_') {
        Some((digits, base)) => {
            let base = base.trim().strip_prefix('{').and_then(|base| base.strip_suffix('}')).unwrap_or(base.trim());
            (digits.trim(), base.trim().parse().ok()?)
        }
        None => (text, 10),
    };
    let numeral = digits.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let digits = digits.trim_matches(|c| c == '(' || c == ')');
    (numeral && !digits.is_empty()).then(|| read::number::in_base(digits, base).map(|value| (value, base)))?
}

/// `204` for `204_5`: the base was part of the question.
fn digits_without_base(gold: &str, answer: &str) -> Option<Finding> {
    let (digits, _) = gold.trim().trim_matches('$').split_once('_')?;
    let plain = answer.trim().trim_matches('$');
    let same = digits.trim() == plain && plain.bytes().all(|byte| byte.is_ascii_digit());
    (same && based(gold).is_some()).then(|| Finding::probable(Verdict::Equal, "base-on-one-side"))
}

/// What at least one side of could not be read: the same words, other words, or nothing to say.
fn in_text(gold: &read::Answer<'_>, answer: &read::Answer<'_>) -> Finding {
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    if squeezed(gold.text) == squeezed(answer.text) && !gold.text.is_empty() {
        return Finding::proven(Verdict::Equal, "identical");
    }
    if let (Ok(a), Ok(b)) =
        (read::token::tokens(gold.text, Commas::Group), read::token::tokens(answer.text, Commas::Group))
        && !a.is_empty()
        && a.iter().map(|token| &token.kind).eq(b.iter().map(|token| &token.kind))
    {
        return Finding::probable(Verdict::Equal, "same-tokens");
    }
    let (left, right) = (words::normal(gold.text), words::normal(answer.text));
    let wordy = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-');
    let joined = |text: &str| text.replace(' ', "");
    if wordy(&left) && wordy(&right) {
        if joined(&left) == joined(&right) {
            return Finding::probable(Verdict::Equal, "same-words");
        }
        let short = |text: &str| text.split(' ').count() <= 2;
        if short(&left) && short(&right) {
            return Finding::probable(Verdict::Unequal, "other-words");
        }
        return Finding::unknown("words-differ");
    }
    // A word is no number.
    let number = |answer: &read::Answer<'_>| matches!(answer.values.first(), Some(Value::Scalar(scalar)) if scalar.expr.as_number().is_some());
    let word = |text: &str| wordy(text) && !text.contains(' ') && text.chars().count() > 1;
    if number(gold) && word(&right) || number(answer) && word(&left) {
        return Finding::probable(Verdict::Unequal, "word-against-number");
    }
    Finding::unknown(if gold.values.is_empty() { "gold-unread" } else { "answer-unread" })
}

//! One answer against one gold, as texts: the short way for plain numbers, then words (choices, times, dates, numerals),
//! then every reading of the one against every reading of the other, then the texts themselves.

use crate::decide::{self, Case, Finding};
use crate::effort::Effort;
use crate::read::{
    self, Value,
    token::{Commas, Mode},
    words,
};
use crate::{Certainty, Policy, Verdict, base, fast};

/// A finding with the two readings that it is about: the gold's and the answer's.
pub(crate) struct Decided {
    /// What was found.
    pub finding: Finding,
    /// Of what, where it was read as mathematics.
    pub readings: Option<(String, String)>,
}

impl From<Finding> for Decided {
    fn from(finding: Finding) -> Decided {
        Decided { finding, readings: None }
    }
}

/// Decides on `answer`.
pub(crate) fn decide(answer: &str, gold: &str, policy: &Policy) -> Decided {
    if let Some(finding) = fast::finding(answer, gold) {
        return finding.into();
    }
    if answer.len() > 4 * read::token::MAX_CHARS || gold.len() > 4 * read::token::MAX_CHARS {
        return Finding::unknown("too-long").into();
    }
    match (words::choice(gold), words::choice(answer)) {
        (Some((wanted, _)), Some((given, _))) if wanted != given => {
            Finding::probable(Verdict::Unequal, "other-choice").into()
        }
        (Some((_, wanted)), Some((_, given))) if wanted.is_empty() || given.is_empty() => {
            Finding::probable(Verdict::Equal, "choice").into()
        }
        (Some((_, wanted)), Some((_, given))) => without_choice(given, wanted, policy),
        (Some((_, wanted)), None) if !wanted.is_empty() => without_choice(answer, wanted, policy),
        (None, Some((_, given))) if !given.is_empty() => without_choice(given, gold, policy),
        _ => without_choice(answer, gold, policy),
    }
}

fn without_choice(answer: &str, gold: &str, policy: &Policy) -> Decided {
    if let Some(finding) = in_words(answer, gold) {
        return finding.into();
    }
    if let Some(finding) = same_word(answer, gold) {
        return finding.into();
    }
    let case = Case { policy, effort: Effort::new() };
    // Numbers in words.
    let (gold_number, answer_number) = (words::in_digits(gold), words::in_digits(answer));
    if gold_number.is_some() || answer_number.is_some() {
        let (gold, answer) = (gold_number.as_deref().unwrap_or(gold), answer_number.as_deref().unwrap_or(answer));
        let Decided { finding, readings } = by_value(answer, gold, &case, Mode::default());
        return Decided { finding: Finding { certainty: Certainty::Probable, ..finding }, readings };
    }
    if let Some(finding) = base::finding(gold, answer) {
        return finding.into();
    }
    let mode = Mode::default();
    let result = by_value(answer, gold, &case, mode);
    // A bare logarithm is to base 10 here and to base e there; one that fits suffices.
    if result.finding.verdict != Verdict::Equal && (answer.contains("log") || gold.contains("log")) {
        let natural = by_value(answer, gold, &case, Mode { natural: true, ..mode });
        if natural.finding.verdict == Verdict::Equal {
            return Decided { finding: Finding::probable(Verdict::Equal, natural.finding.reason), ..natural };
        }
    }
    result
}

/// Readings against readings. Capital letters side by side are read both ways, and both must say the same.
fn by_value(answer: &str, gold: &str, case: &Case<'_>, mode: Mode) -> Decided {
    let (wanted, given) = (read::read(gold, mode), read::read(answer, mode));
    let labels = wanted.labels || given.labels;
    let result = among(&wanted, &given, case);
    if !labels || result.finding.verdict == Verdict::Unknown {
        return result;
    }
    let mode = mode.with_labels();
    let named = among(&read::read(gold, mode), &read::read(answer, mode), case);
    if named.finding.verdict == result.finding.verdict {
        return result;
    }
    Decided { finding: Finding::unknown("readings-differ"), ..named }
}

/// One pair that is equal suffices, all must be unequal; nothing is proven where a reading is in doubt.
fn among(gold: &read::Answer<'_>, answer: &read::Answer<'_>, case: &Case<'_>) -> Decided {
    if gold.values.is_empty() || answer.values.is_empty() {
        let show = |answer: &read::Answer<'_>| answer.values.first().map_or(answer.text.to_owned(), Value::to_string);
        return Decided { finding: in_text(gold, answer), readings: Some((show(gold), show(answer))) };
    }
    let doubt = (gold.doubt || answer.doubt) && gold.text != answer.text;
    let stated = |finding: Finding| if doubt { Finding { certainty: Certainty::Probable, ..finding } } else { finding };
    let mut result: Option<(Finding, &Value, &Value)> = None;
    for wanted in &gold.values {
        for given in &answer.values {
            let found = decide::same(wanted, given, case);
            if found.verdict == Verdict::Equal {
                let readings = Some((wanted.to_string(), given.to_string()));
                return Decided { finding: stated(found), readings };
            }
            if found.verdict == Verdict::Unknown || result.is_none() {
                result = Some((found, wanted, given));
            }
        }
    }
    // What another way of reading makes equal is not unequal.
    let unequal = result.as_ref().is_some_and(|(finding, ..)| finding.verdict == Verdict::Unequal);
    if unequal && !(gold.others.is_empty() && answer.others.is_empty()) {
        let either =
            |answer: &read::Answer<'_>| answer.values.iter().chain(&answer.others).cloned().collect::<Vec<_>>();
        let (wanted, given) = (either(gold), either(answer));
        let equal =
            |gold: &Value| given.iter().any(|answer| decide::same(gold, answer, case).verdict == Verdict::Equal);
        if wanted.iter().any(equal) {
            return Finding::unknown("readings-differ").into();
        }
    }
    match result {
        Some((finding, gold, answer)) => {
            let spent = finding.verdict == Verdict::Unknown && case.effort.is_spent();
            let finding = if spent { Finding::unknown("out-of-budget") } else { stated(finding) };
            Decided { finding, readings: Some((gold.to_string(), answer.to_string())) }
        }
        None => Finding::unknown("unread").into(),
    }
}

/// The same run of letters, styled as a word on at least one side: `\text{Ann}` and `Ann`.
fn same_word(answer: &str, gold: &str) -> Option<Finding> {
    // Most answers have figures in them.
    if gold.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bare = |text: &str| -> Option<(String, bool)> {
        let text = text.trim().trim_matches('$').trim();
        let inner = ["\\text{", "\\textbf{", "\\mathrm{", "\\mbox{", "\\textit{", "\\textrm{", "\\operatorname{"]
            .into_iter()
            .find_map(|command| text.strip_prefix(command)?.strip_suffix('}'));
        let word = inner.unwrap_or(text).trim();
        let letters = word.chars().count() > 1 && word.chars().all(char::is_alphabetic);
        letters.then(|| (word.to_owned(), inner.is_some()))
    };
    let ((gold, styled), (answer, also)) = (bare(gold)?, bare(answer)?);
    (gold == answer && (styled || also)).then(|| Finding::probable(Verdict::Equal, "same-words"))
}

/// Times, dates, and what has no solution.
fn in_words(answer: &str, gold: &str) -> Option<Finding> {
    let decided =
        |same: bool, reason| Some(Finding::probable(if same { Verdict::Equal } else { Verdict::Unequal }, reason));
    // The points of `a.m.` would leave an article behind.
    let tidy = |text: &str| {
        let text = text.replace(':', "：").replace("a.m", "am").replace("p.m", "pm");
        words::normal(&text).replace('：', ":")
    };
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
    let empty = |text: &str| text == "no solution" || text == "empty set";
    if empty(&plain_gold) != empty(&plain_answer) {
        let other = if empty(&plain_gold) { answer } else { gold };
        let none = matches!(read::read(other, Mode::default()).values.first(), Some(Value::Set { members, .. }) if members.is_empty());
        return decided(none, "empty-set");
    }
    None
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
    Finding::unknown(if gold.values.is_empty() { "gold-unread" } else { "answer-unread" })
}

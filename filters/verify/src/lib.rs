//! Is this answer right? A gold answer and a model's come in; equal, unequal or unknown goes out, proven or probable,
//! with the reason.
//!
//! `extract` finds the answer in a response, `read` turns text into values, `decide` compares two values; `normal` and
//! `numeric` are what it proves with. Unknown is never folded into unequal: an answer that this crate cannot read is
//! nobody's mistake. The same pair gives the same verdict, everywhere: no clock, no threads, no random numbers.
//!
//! ```
//! # use distill_verify::{Certainty, Policy, Verdict, judge_answer, judge_math};
//! let policy = Policy::default();
//! let judged = judge_answer("\\sqrt{12}", "2\\sqrt{3}", &policy);
//! assert_eq!((judged.verdict, judged.certainty), (Verdict::Equal, Certainty::Proven));
//!
//! // Of a whole response, the answer that it states is judged.
//! let judged = judge_math("Adding up gives 7, so the answer is \\boxed{7}.", "8", &policy);
//! assert_eq!((judged.found.as_str(), judged.verdict), ("7", Verdict::Unequal));
//!
//! let judged = judge_math("I do not know.", "8", &policy);
//! assert_eq!((judged.verdict, judged.reason), (Verdict::Unknown, "no-answer"));
//! ```

mod anchor;
mod angle;
mod base;
mod boxed;
mod choice;
pub mod code;
mod decide;
mod effort;
mod expr;
pub mod extract;
mod fast;
mod free_text;
mod judge;
mod normal;
mod numeric;
mod read;
mod vote;

pub use boxed::{boxed_answers, last_boxed};
pub use choice::{judge_choice, options_in};
pub use free_text::{judge_text, plain_text};
pub use vote::{Vote, vote};

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
    /// A decimal of at least four digits for the exact gold that rounds to it: `0.3333` for `1/3`.
    pub rounded_answers: bool,
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
            rounded_answers: false,
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
    /// What both sides were understood as, where they were read as mathematics.
    pub readings: Option<Readings>,
}

/// What gold and answer were understood as, in plain spelling; of several readings, the two that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// The gold's.
    pub gold: String,
    /// The answer's.
    pub answer: String,
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
        Judgement { verdict, certainty, reason, found: String::new(), rule: extract::Rule::Given, readings: None }
    }
}

/// Judges the answer that `response` states against `gold`.
pub fn judge_math(response: &str, gold: &str, policy: &Policy) -> Judgement {
    let Some(found) = extract::extract(response, policy.loose) else {
        return Judgement::unknown("no-answer");
    };
    let judged = Judgement { rule: found.rule, ..judge_answer(&found.text, gold, policy) };
    // What a sentence states, or several boxes, is a reading of prose.
    let certain = matches!(found.rule, extract::Rule::Given | extract::Rule::Boxed);
    if certain { judged } else { Judgement { certainty: Certainty::Probable, ..judged } }
}

/// Judges an answer alone against `gold`.
pub fn judge_answer(answer: &str, gold: &str, policy: &Policy) -> Judgement {
    // Golds, and answers too, come as worked solutions with a box at the end.
    let (inner_gold, inner_answer) = (extract::within(gold), extract::within(answer));
    let text = |inner: &Option<extract::Extracted>| inner.as_ref().map(|inner| inner.text.clone());
    let (gold_text, answer_text) = (text(&inner_gold), text(&inner_answer));
    let decided = judge::decide(answer_text.as_deref().unwrap_or(answer), gold_text.as_deref().unwrap_or(gold), policy);
    let judge::Decided { finding, readings } = decided;
    let prose = [inner_gold, inner_answer].iter().flatten().any(|inner| inner.rule != extract::Rule::Boxed);
    Judgement {
        verdict: finding.verdict,
        certainty: if prose { Certainty::Probable } else { finding.certainty },
        reason: finding.reason,
        found: answer.to_owned(),
        rule: extract::Rule::Given,
        readings: readings.map(|(gold, answer)| Readings { gold, answer }),
    }
}

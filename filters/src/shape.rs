//! Shaping: what an example says of its trace. Off unless a recipe asks for it; the trace itself is never changed.
//!
//! `cut-tail` ends the reasoning at its conclusion: behind the first paragraph that states the final answer, where none
//! after it states another. What follows such a paragraph is checking that changed nothing; students of models that were
//! taught without it were better in arXiv 2605.29288 (49.3 against 29.0 for a cut at random, mean of MATH-500, AMC 23 and
//! GSM8K; not measured here).

use distill_dataset::{Keyed, TurnFormat};
use distill_verify::{Policy, Verdict, extract::extract, judge_math};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What examples say of their traces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ShapingConfig {
    /// Ends the reasoning at its conclusion.
    pub cut_tail: bool,
}

impl ShapingConfig {
    /// What decides the examples.
    pub fn keyed(&self) -> Keyed {
        Keyed::of(self, &ShapingConfig::default())
    }

    /// The turn as an example has it; nothing where it stays as it is.
    pub(crate) fn shaped(&self, format: &TurnFormat, turn: &str) -> Option<String> {
        if !self.cut_tail {
            return None;
        }
        // One text that the verifier cannot take must not cost the others.
        catch_unwind(AssertUnwindSafe(|| cut_tail(format, turn))).ok().flatten()
    }
}

fn cut_tail(format: &TurnFormat, turn: &str) -> Option<String> {
    let split = format.split(turn);
    let (reasoning, answer) = (split.reasoning?, split.answer?);
    let stated = extract(answer, false)?.text;
    let mut conclusion = None;
    let mut at = 0;
    for paragraph in reasoning.split_inclusive("\n\n") {
        at += paragraph.len();
        let judgement = judge_math(paragraph.trim(), &stated, &Policy::default());
        match judgement.verdict {
            Verdict::Equal => conclusion = conclusion.or(Some(at)),
            // Another answer: it was not settled.
            Verdict::Unequal => conclusion = None,
            Verdict::Unknown => {}
        }
    }
    let end = conclusion?;
    let (kept, tail) = (reasoning[..end].trim_end(), &reasoning[end..]);
    if tail.trim().is_empty() {
        return None;
    }
    let begin = reasoning.as_ptr() as usize - turn.as_ptr() as usize;
    // What stood between the reasoning and its closing tag stays.
    let space = &reasoning[reasoning.trim_end().len()..];
    Some([&turn[..begin], kept, space, &turn[begin + reasoning.len()..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(turn: &str) -> Option<String> {
        ShapingConfig { cut_tail: true }.shaped(&TurnFormat::default(), turn)
    }

    #[test]
    fn what_follows_the_conclusion_goes_and_nothing_else() {
        let turn = "<think>\nTwo and two.\n\nSo the answer is 4.\n\nWait, let me check. 1+1+1+1 = 4.\n\nYes.\n</think>\n\n\\boxed{4}";
        let expected = "<think>\nTwo and two.\n\nSo the answer is 4.\n</think>\n\n\\boxed{4}";
        assert_eq!(cut(turn).as_deref(), Some(expected));
        assert_eq!(cut(expected), None, "a second time there is nothing to cut");
        assert_eq!(ShapingConfig::default().shaped(&TurnFormat::default(), turn), None, "never by default");
    }

    #[test]
    fn look_alikes_stay_as_they_are() {
        for (name, turn) in [
            ("the conclusion is the end", "<think>\na\n\nThe answer is 4.\n</think>\n\\boxed{4}"),
            ("another answer came later", "<think>The answer is 4.\n\nNo: the answer is 5.</think>\\boxed{4}"),
            ("the number is a step", "<think>There are 4 cases.\n\nEach has 1.\n\nSum.</think>\\boxed{4}"),
            ("the answer is stated in other words", "<think>It is four.\n\nCheck.</think>\\boxed{4}"),
            ("nothing is stated at the end", "<think>The answer is 4.\n\nCheck.</think>Done."),
            ("never closed", "<think>The answer is 4.\n\nCheck."),
            ("no reasoning", "The answer is 4.\n\nCheck: \\boxed{4}"),
        ] {
            assert_eq!(cut(turn), None, "{name}");
        }
    }

    #[test]
    fn an_answer_that_was_doubted_and_came_back_is_cut_where_it_came_back() {
        let turn = "<think>The answer is 4.\n\nOr the answer is 5.\n\nNo. The answer is \\boxed{4.0}.\n\nSure.</think>\\boxed{4}";
        let expected =
            "<think>The answer is 4.\n\nOr the answer is 5.\n\nNo. The answer is \\boxed{4.0}.</think>\\boxed{4}";
        assert_eq!(cut(turn).as_deref(), Some(expected));
    }
}

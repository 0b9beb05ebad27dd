//! One attempt judged by the verifier that its problem asks for. A judge that panics on one answer leaves that one
//! undecided.

use crate::Attempt;
use distill_dataset::{Problem, Reference, Trace, Verdict};
use distill_verify::{Judgement, Policy};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// By what answers with such a reference are judged.
pub(crate) fn describe(reference: Reference) -> &'static str {
    match reference {
        Reference::Math => "mathematical equality",
        Reference::Text => "equality of text",
        Reference::Choice => "the option chosen",
        Reference::Tests => "nothing (code is not run)",
        Reference::None => "nothing (no reference)",
    }
}

/// Judges an answer.
pub(crate) fn judge(problem: &Problem, trace: Trace) -> Attempt {
    let turn = trace.turn();
    let judgement = guarded(|| judgement(problem, trace.format.split(&turn).answered()));
    let verdict = match judgement.verdict {
        distill_verify::Verdict::Equal => Verdict::Pass,
        distill_verify::Verdict::Unequal => Verdict::Fail,
        distill_verify::Verdict::Unknown => Verdict::Unknown,
    };
    Attempt {
        problem_id: trace.problem_id,
        sample_index: trace.sample_index,
        seed: trace.seed,
        finish_reason: trace.finish_reason,
        prompt_tokens: trace.prompt_tokens,
        completion_tokens: trace.completion_tokens,
        token_ids: trace.token_ids,
        verdict,
        reason: judgement.reason.to_owned(),
        found: judgement.found,
        turn,
    }
}

fn judgement(problem: &Problem, answer: &str) -> Judgement {
    match problem.reference {
        Reference::Math => distill_verify::judge_math(answer, &problem.answer, &Policy::default()),
        Reference::Text => distill_verify::judge_text(answer, &problem.answer),
        Reference::Choice => {
            let question: Vec<&str> = problem.messages.iter().map(|message| message.content.as_str()).collect();
            distill_verify::judge_choice(answer, &problem.answer, &distill_verify::options_in(&question.join("\n")))
        }
        // Running code takes a sandbox, which evaluations do not have yet: nothing is claimed.
        Reference::Tests => Judgement::unknown("code-is-not-run-here"),
        Reference::None => Judgement::unknown("no-reference"),
    }
}

fn guarded(judge: impl FnOnce() -> Judgement) -> Judgement {
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| Judgement::unknown("judge-panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_panics_decides_nothing() {
        let judgement = guarded(|| panic!("on purpose"));
        assert_eq!(judgement.verdict, distill_verify::Verdict::Unknown);
        assert_eq!(judgement.reason, "judge-panicked");
    }
}

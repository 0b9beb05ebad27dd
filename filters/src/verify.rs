//! Is the answer right? What is asked of a trace depends on its problem's reference: mathematics, text, a choice, tests.
//!
//! | reason | when |
//! |---|---|
//! | `unequal` | the answer is another |
//! | an outcome (`wrong-answer`, `time`, …), `flaky` | tests that do not pass |
//! | `no-answer`, `answer-unread`, `no-reference`, `tests-unreadable`, `judge-panicked`, … | undecided: `on-unknown` says what becomes of it |
//!
//! Verdicts on code are written into a journal as they come: running tests takes time, and a killed unit goes on where it
//! was.

use crate::{
    Decided, Filter, FilterError, Listed, OnUnknown, Unit,
    filter::decide_each,
    unit::{ProblemRow, Said, problem_of},
};
use distill_dataset::{
    Context, Entry, Journal, Keyed, Message, Reference, Shard, ShardWriter, Stage, Tally, TurnFormat, Verdict,
};
use distill_verify::{
    Judgement, Policy,
    code::{self, Code, Judges, Language, in_order, parse_reference},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Is the answer right?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VerifyConfig {
    /// What becomes of answers that cannot be judged.
    pub on_unknown: OnUnknown,
    /// Where conventions differ: what counts as the same.
    #[serde(default)]
    pub policy: Policy,
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The trace.
    pub trace_id: String,
    /// Right, wrong or undecided.
    pub verdict: Verdict,
    /// Why not right, or why that is unknown; empty where it is right.
    pub reason: String,
    /// The answer that was found; empty where there was none.
    pub found: String,
    /// How it was found, e.g. `boxed`; `tests` where code was run.
    pub rule: String,
    /// The right answer; for code, what the deciding test expected.
    pub expected: String,
    /// How sure a comparison is: `proven` or `probable`; absent where nothing was compared.
    pub certainty: Option<String>,
    /// By what the comparison was decided, e.g. `normal-form`; for code, what was seen.
    pub by: String,
    /// Tests passed and tests run, where code was run.
    pub tests: Option<[u32; 2]>,
}

impl Verified {
    pub(crate) fn unknown(trace_id: &str, reason: &str, by: String) -> Verified {
        Verified {
            trace_id: trace_id.to_owned(),
            verdict: Verdict::Unknown,
            reason: reason.to_owned(),
            found: String::new(),
            rule: String::new(),
            expected: String::new(),
            certainty: None,
            by,
            tests: None,
        }
    }
}

impl Entry for Verified {
    fn key(&self) -> String {
        self.trace_id.clone()
    }
}

/// The columns of a problem that say what is right.
#[derive(Serialize, Deserialize)]
pub(crate) struct Referenced {
    pub(crate) id: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) reference: Reference,
    pub(crate) answer: String,
}

impl ProblemRow for Referenced {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for VerifyConfig {
    fn settings(&self) -> Keyed {
        self.keyed().with("on-unknown", self.on_unknown)
    }
}

impl Filter for VerifyConfig {
    fn stage(&self) -> Stage {
        Stage { name: "verify", version: 1 }
    }

    fn verifies(&self) -> bool {
        true
    }

    fn keyed(&self) -> Keyed {
        Keyed::default().nest("policy", Keyed::of(&self.policy, &Policy::default()))
    }

    fn verifier(&self) -> Option<&VerifyConfig> {
        Some(self)
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let mut problems = unit.problems::<Referenced>();
        let mut programs = Programs { judges: unit.inputs.judges, context, journal: None };
        let mut writer = ShardWriter::beside(out, unit.index)?;
        unit.windows("verify", context, |window| {
            let rows: &[Said] = &window.rows;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
            let known = problems.advance(&first.problem_id, &last.problem_id)?;
            let pairs = rows.iter().map(|said| Ok((said, problem_of(known, &said.id, &said.problem_id)?)));
            let pairs: Vec<(&Said, &Referenced)> = pairs.collect::<Result<_, FilterError>>()?;
            let mut verdicts: Vec<Option<Verified>> =
                pairs.par_iter().map(|(said, problem)| compare(said, problem, &self.policy)).collect();
            programs.run(&pairs, &mut verdicts)?;
            Ok(writer.extend(verdicts.into_iter().flatten().collect())?)
        })?;
        Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |verified: Verified| match verified.verdict {
            Verdict::Pass => Decided::accept(verified.trace_id),
            Verdict::Fail => Decided::reject(verified.trace_id, verified.reason),
            Verdict::Unknown => Decided::unknown(verified.trace_id, self.on_unknown, verified.reason),
        })
    }
}

/// The verdict on an answer that needs no program run; nothing where one does.
fn compare(said: &Said, problem: &Referenced, policy: &Policy) -> Option<Verified> {
    if problem.reference == Reference::Tests {
        return None;
    }
    let asked = (problem.reference, problem.messages.as_slice(), problem.answer.as_str());
    Some(match judged(&said.format, &said.turn(), asked, policy) {
        Ok(Some(judgement)) => compared(&said.id, judgement, &problem.answer),
        Ok(None) => Verified::unknown(&said.id, "no-reference", String::new()),
        Err(_) => Verified::unknown(&said.id, "judge-panicked", String::new()),
    })
}

/// What the verifier says of a turn's answer; nothing where there is nothing to compare it with.
pub(crate) fn judged(
    format: &TurnFormat,
    turn: &str,
    (reference, messages, answer): (Reference, &[Message], &str),
    policy: &Policy,
) -> std::thread::Result<Option<Judgement>> {
    // One answer that the verifier cannot take must not cost the others.
    catch_unwind(AssertUnwindSafe(|| {
        let text = format.split(turn).answered();
        Some(match reference {
            Reference::Math => distill_verify::judge_math(text, answer, policy),
            Reference::Text => distill_verify::judge_text(text, answer),
            Reference::Choice => {
                let question: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                let options = distill_verify::options_in(&question.join("\n"));
                distill_verify::judge_choice(text, answer, &options)
            }
            Reference::Tests | Reference::None => return None,
        })
    }))
}

pub(crate) fn compared(trace_id: &str, judgement: Judgement, answer: &str) -> Verified {
    // The funnel counts what is unequal as one; by what that was decided is evidence. Why something could not be decided
    // is what people act on.
    let (verdict, reason) = match judgement.verdict {
        distill_verify::Verdict::Equal => (Verdict::Pass, ""),
        distill_verify::Verdict::Unequal => (Verdict::Fail, "unequal"),
        distill_verify::Verdict::Unknown => (Verdict::Unknown, judgement.reason),
    };
    let decided = verdict != Verdict::Unknown;
    Verified {
        trace_id: trace_id.to_owned(),
        verdict,
        reason: reason.to_owned(),
        found: judgement.found,
        rule: judgement.rule.name().to_owned(),
        expected: answer.to_owned(),
        certainty: decided.then(|| judgement.certainty.name().to_owned()),
        by: if decided { judgement.reason.to_owned() } else { String::new() },
        tests: None,
    }
}

/// Tests run in the sandbox, with a journal of their verdicts once there is a first.
struct Programs<'u> {
    judges: Option<&'u Judges>,
    context: &'u Context,
    journal: Option<Journal<Verified>>,
}

impl Programs<'_> {
    /// Fills in the verdicts that are missing.
    fn run(&mut self, pairs: &[(&Said, &Referenced)], verdicts: &mut [Option<Verified>]) -> Result<(), FilterError> {
        let open: Vec<usize> = (0..pairs.len()).filter(|index| verdicts[*index].is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open(&self.context.scratch.join("verdicts"))?),
        };
        let mut todo = Vec::new();
        for index in open {
            match journal.get(&pairs[index].0.id)? {
                Some(verified) => verdicts[index] = Some(verified),
                None => todo.push(index),
            }
        }
        if todo.is_empty() {
            return Ok(());
        }
        let judges = self.judges.ok_or(FilterError::NoJudges)?;
        if judges.options().tools.has(Language::Python) {
            judges.prepare(Language::Python)?;
        }
        let mut failed = None;
        in_order(
            todo.into_iter(),
            judges.options().threads,
            || (),
            |(), index| {
                let (said, problem) = pairs[index];
                (index, run_tests(&said.id, (&said.format, &said.turn()), &problem.answer, judges))
            },
            |(index, verified)| {
                let kept = journal.append(&verified).map_err(FilterError::from);
                verdicts[index] = Some(verified);
                failed = kept.and_then(|()| Ok(self.context.cancel.check()?)).err();
                failed.is_none()
            },
        );
        failed.map_or(Ok(()), Err)
    }
}

/// The verdict of tests on a turn.
pub(crate) fn run_tests(trace_id: &str, (format, turn): (&TurnFormat, &str), tests: &str, judges: &Judges) -> Verified {
    let (language, tests) = match parse_reference(tests) {
        Ok(tests) => tests,
        Err(error) => return Verified::unknown(trace_id, "tests-unreadable", error),
    };
    let answer = format.split(turn).answered();
    let judged = catch_unwind(AssertUnwindSafe(|| judges.judge(language, Code::Answer(answer), &tests).0));
    judged.map_or_else(
        |_| Verified::unknown(trace_id, "judge-panicked", String::new()),
        |judgement| ran(trace_id, judgement),
    )
}

fn ran(trace_id: &str, judgement: code::Judgement) -> Verified {
    let verdict = match judgement.verdict() {
        code::Verdict::Pass => Verdict::Pass,
        code::Verdict::Fail => Verdict::Fail,
        code::Verdict::Unknown => Verdict::Unknown,
    };
    let reason = match verdict {
        Verdict::Pass => "",
        _ if judgement.flaky => "flaky",
        _ => judgement.outcome.name(),
    };
    Verified {
        trace_id: trace_id.to_owned(),
        verdict,
        reason: reason.to_owned(),
        found: judgement.got,
        rule: "tests".to_owned(),
        expected: judgement.expected,
        certainty: None,
        by: judgement.detail,
        tests: Some([judgement.passed as u32, judgement.total as u32]),
    }
}

//! Is the answer right? What is asked of a trace depends on its problem's reference: mathematics, text, a choice, tests.
//! On all cores, since running code takes time; the table keeps the order of the traces.

use super::of;
use crate::FilterError;
use distill_dataset::{
    Context, Dataset, DatasetError, Measure, Problem, Reference, ShardWriter, Tally, Trace, Verdict,
};
use distill_verify::{
    Judgement, Policy,
    code::{self, Code, Judges, Language, in_order, parse_reference},
};
use std::{collections::HashMap, path::Path};

/// How the right answer of a problem is known.
enum Known {
    /// Nobody knows it.
    None,
    Math(String),
    Text(String),
    Choice(String, Vec<String>),
    Tests(Result<Box<(Language, code::Tests)>, String>),
}

pub(super) fn measure(
    policy: &Policy,
    problems: &[Dataset],
    traces: &[Dataset],
    judges: &Judges,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let known = references(problems)?;
    if known.values().any(|known| matches!(known, Known::Tests(Ok(tests)) if judges.options().tools.has(tests.0))) {
        judges.prepare(Language::Python)?;
    }
    let mut writer = ShardWriter::new(out)?;
    context.progress.begin("measure", traces.iter().map(Dataset::num_rows).sum(), "traces");
    let (mut done, mut failed) = (0, None);
    let judge = |_: &mut (), trace: Result<Trace, DatasetError>| {
        let trace = trace?;
        match known.get(&trace.problem_id) {
            Some(known) => Ok(judge(&trace, known, policy, judges)),
            None => Err(FilterError::Mismatch {
                trace_id: trace.id.clone(),
                expected: format!("problem {}", trace.problem_id),
                found: "no such problem".to_owned(),
            }),
        }
    };
    let rows = traces.iter().flat_map(Dataset::rows::<Trace>);
    in_order(
        rows,
        judges.options().threads,
        || (),
        judge,
        |measure| {
            let written = measure.and_then(|measure| Ok(writer.push(measure)?));
            done += 1;
            if done % 64 == 0 {
                context.progress.advance(done, "");
            }
            let stopped = if context.cancel.is_cancelled() { Err(FilterError::Interrupted) } else { written };
            failed = stopped.err();
            failed.is_none()
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    context.progress.end();
    Ok(Tally { rows_in: done, rows_out: writer.finish()?, ..Tally::default() })
}

fn references(problems: &[Dataset]) -> Result<HashMap<String, Known>, FilterError> {
    let mut references = HashMap::new();
    for problem in problems.iter().flat_map(Dataset::rows::<Problem>) {
        let Problem { id, messages, reference, answer, .. } = problem?;
        let known = match reference {
            Reference::None => Known::None,
            Reference::Math => Known::Math(answer),
            Reference::Text => Known::Text(answer),
            Reference::Choice => {
                let question: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                Known::Choice(answer, distill_verify::options_in(&question.join("\n")))
            }
            Reference::Tests => Known::Tests(parse_reference(&answer).map(Box::new)),
        };
        references.insert(id, known);
    }
    Ok(references)
}

fn judge(trace: &Trace, known: &Known, policy: &Policy, judges: &Judges) -> Measure {
    let turn = trace.turn();
    let text = Trace::answer_text(&turn);
    let (judgement, answer) = match known {
        Known::None => return of(trace, Some(Verdict::Unknown), "no-reference", String::new()),
        Known::Math(answer) => (distill_verify::judge_math(text, answer, policy), answer),
        Known::Text(answer) => (distill_verify::judge_text(text, answer), answer),
        Known::Choice(answer, options) => (distill_verify::judge_choice(text, answer, options), answer),
        Known::Tests(Err(error)) => {
            return of(trace, Some(Verdict::Unknown), "tests-unreadable", error.clone());
        }
        Known::Tests(Ok(tests)) => {
            let (language, tests) = tests.as_ref();
            return run(trace, judges.judge(*language, Code::Response(&turn), tests).0);
        }
    };
    compared(trace, &judgement, answer)
}

fn compared(trace: &Trace, judgement: &Judgement, answer: &str) -> Measure {
    // The funnel counts what is unequal as one; by what that was decided is evidence. Why something could not be decided
    // is what people act on.
    let (verdict, reason) = match judgement.verdict {
        distill_verify::Verdict::Equal => (Verdict::Pass, ""),
        distill_verify::Verdict::Unequal => (Verdict::Fail, "unequal"),
        distill_verify::Verdict::Unknown => (Verdict::Unknown, judgement.reason),
    };
    let (rule, certainty) = (judgement.rule.name(), judgement.certainty.name());
    let mut evidence = format!("found {:?} ({rule}), expected {answer:?}", judgement.found);
    if verdict != Verdict::Unknown {
        evidence.push_str(&format!(": {certainty} by {}", judgement.reason));
    }
    of(trace, Some(verdict), reason, evidence)
}

fn run(trace: &Trace, judgement: code::Judgement) -> Measure {
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
    let mut evidence = format!("{} of {} tests", judgement.passed, judgement.total);
    for (name, text) in [("", &judgement.detail), ("expected ", &judgement.expected), ("got ", &judgement.got)] {
        if !text.is_empty() {
            evidence.push_str(&format!("; {name}{text}"));
        }
    }
    of(trace, Some(verdict), reason, evidence)
}

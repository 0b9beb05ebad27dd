//! Does a trace say what most answers to its problem say? The answers are gathered first, which is all that is held; then
//! every trace is measured against its problem's vote.

use super::of;
use crate::FilterError;
use distill_dataset::{Context, Dataset, Measure, ShardWriter, Tally, Trace, Verdict};
use distill_verify::{Policy, Vote, extract, vote};
use std::{collections::HashMap, path::Path};

/// The answers to one problem, in the order of its traces, and how they voted.
#[derive(Default)]
struct Poll {
    answers: Vec<String>,
    vote: Option<Vote>,
    /// The answers that were given out again so far.
    next: usize,
}

pub(super) fn measure(
    policy: &Policy,
    traces: &[Dataset],
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let total: u64 = traces.iter().map(Dataset::num_rows).sum();
    context.progress.begin("measure", 2 * total, "traces");
    let mut polls: HashMap<String, Poll> = HashMap::new();
    let mut done = 0;
    for trace in traces.iter().flat_map(Dataset::rows::<Trace>) {
        let trace = trace?;
        if let Some(answer) = stated(&trace, policy) {
            polls.entry(trace.problem_id).or_default().answers.push(answer);
        }
        look(context, &mut done)?;
    }
    for poll in polls.values_mut() {
        let answers: Vec<&str> = poll.answers.iter().map(String::as_str).collect();
        poll.vote = vote(&answers, policy);
    }
    let mut writer = ShardWriter::new(out)?;
    for trace in traces.iter().flat_map(Dataset::rows::<Trace>) {
        let trace = trace?;
        let measured = match stated(&trace, policy) {
            None => of(&trace, Some(Verdict::Unknown), "no-answer", String::new()),
            Some(answer) => polls.get_mut(&trace.problem_id).map_or_else(
                || of(&trace, Some(Verdict::Unknown), "no-answer", String::new()),
                |poll| place(&trace, &answer, poll),
            ),
        };
        writer.push(measured)?;
        look(context, &mut done)?;
    }
    context.progress.end();
    Ok(Tally { rows_in: total, rows_out: writer.finish()?, ..Tally::default() })
}

fn look(context: &Context, done: &mut u64) -> Result<(), FilterError> {
    *done += 1;
    if done.is_multiple_of(super::LOOK_EVERY) {
        context.progress.advance(*done, "");
        if context.cancel.is_cancelled() {
            return Err(FilterError::Interrupted);
        }
    }
    Ok(())
}

fn stated(trace: &Trace, policy: &Policy) -> Option<String> {
    let turn = trace.turn();
    extract::extract(Trace::answer_text(&turn), policy.loose).map(|found| found.text)
}

/// The measure's value is the winner's share; its evidence names the winner, which is the label.
fn place(trace: &Trace, answer: &str, poll: &mut Poll) -> Measure {
    let index = poll.next;
    poll.next += 1;
    let Some(vote) = &poll.vote else { return of(trace, Some(Verdict::Unknown), "no-answer", String::new()) };
    let evidence = format!(
        "found {answer:?}, label {:?}: {} of {} votes, {} for the next, {} not comparable",
        vote.label, vote.votes, vote.total, vote.runner_up, vote.undecided
    );
    let (verdict, reason) = match vote.classes.get(index).copied().flatten() {
        _ if !vote.is_clear() => (Verdict::Unknown, "no-clear-majority"),
        Some(0) => (Verdict::Pass, ""),
        Some(_) => (Verdict::Fail, "minority"),
        None => (Verdict::Unknown, "not-comparable"),
    };
    let share = vote.votes as f64 / vote.total as f64;
    Measure { value: Some(share), ..of(trace, Some(verdict), reason, evidence) }
}

//! Attempts of an evaluation with their verdicts: what a model answered, and why that counts or does not.

use crate::{
    cli::ShowArgs,
    explained::Misused,
    show,
    terminal::{printable, printable_json},
    view::View,
};
use anyhow::{Result, bail};
use distill_dataset::{Dataset, Detail, Verdict};
use distill_evaluate::{Attempt, EVALUATION};
use serde::Serialize;
use std::fmt::Write;

/// An attempt, and what it was an attempt at.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Whose it is: `before`, `after`, `teacher`, or a name of the recipe's.
    pub subject: String,
    /// The question.
    pub question: String,
    /// The right answer.
    pub expected: String,
    /// What was answered, and how that was judged.
    pub attempt: Attempt,
}

/// The evaluations of a run that are done, by subject.
fn evaluations(view: &View) -> impl Iterator<Item = (&str, &Dataset)> {
    view.of(EVALUATION.name).filter_map(|dataset| match &dataset.manifest.tally.detail {
        Detail::Evaluation { subject, .. } => Some((subject.as_str(), dataset)),
        _ => None,
    })
}

/// Attempts that `wanted` picks, at most `limit` of each subject, in order.
///
/// # Errors
/// When a dataset cannot be read.
pub fn of(view: &View, limit: usize, mut wanted: impl FnMut(&str, &Attempt) -> bool) -> Result<Vec<Shown>> {
    let mut found = Vec::new();
    for (subject, dataset) in evaluations(view) {
        let mut left = limit;
        for attempt in dataset.rows::<Attempt>() {
            if left == 0 {
                break;
            }
            let attempt = attempt?;
            if wanted(subject, &attempt) {
                left -= 1;
                let (question, expected) = (String::new(), String::new());
                found.push(Shown { subject: subject.to_owned(), question, expected, attempt });
            }
        }
    }
    let ids = found.iter().map(|shown| shown.attempt.problem_id.clone()).collect::<Vec<_>>();
    show::asked(view, &ids, |place, problem| {
        found[place].question = show::question(&problem.messages);
        found[place].expected.clone_from(&problem.answer);
    })?;
    Ok(found)
}

/// What `distill show` prints of evaluations.
///
/// # Errors
/// When there is no such evaluation or attempt, or a dataset cannot be read.
pub(crate) fn render(view: &View, args: &ShowArgs) -> Result<String> {
    let subjects: Vec<&str> = evaluations(view).map(|(subject, _)| subject).collect();
    let known = subjects.join(", ");
    match &args.evaluation {
        _ if subjects.is_empty() => bail!("no evaluation is done yet\nhint: `distill evaluate RECIPE` makes it"),
        Some(name) if !subjects.contains(&name.as_str()) => {
            bail!(Misused(format!("--evaluation: expected one of {known}, found `{name}`")))
        }
        _ => {}
    }
    let wanted = |subject: &str, attempt: &Attempt| {
        let is_so = |reason: &String| attempt.reason == *reason;
        args.evaluation.as_ref().is_none_or(|name| name == subject)
            && args.id.as_ref().is_none_or(|id| attempt.problem_id.starts_with(id.as_str()))
            && args.dropped.as_ref().is_none_or(is_so)
            && (!args.wrong || attempt.verdict != Verdict::Pass)
            && (!args.unknown || attempt.verdict == Verdict::Unknown)
    };
    let shown = of(view, args.limit, wanted)?;
    if shown.is_empty() {
        bail!("no attempt of {known} is one of those that were asked for");
    }
    let mut text = String::new();
    for shown in &shown {
        match args.json {
            true => text.push_str(&(printable_json(&serde_json::to_string(shown)?) + "\n")),
            false => describe(shown, &mut text),
        }
    }
    Ok(text)
}

/// Right, wrong or undecided, and why.
pub(crate) fn verdict(attempt: &Attempt) -> String {
    match attempt.verdict {
        Verdict::Pass => "right".to_owned(),
        Verdict::Fail => format!("wrong: {}", attempt.reason),
        Verdict::Unknown => format!("undecided: {}", attempt.reason),
    }
}

fn describe(shown: &Shown, text: &mut String) {
    let attempt = &shown.attempt;
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "{}: problem {} (sample {}, {} tokens, {})",
        shown.subject,
        attempt.problem_id,
        attempt.sample_index,
        attempt.completion_tokens,
        attempt.finish_reason.as_str()
    );
    let _ = writeln!(text, "  {}", printable(&verdict(attempt)));
    let _ = writeln!(text, "  question  {}", printable(&shown.question));
    let _ = writeln!(text, "  expected  {}", printable(&shown.expected));
    let _ = writeln!(text, "  found     {}", printable(&attempt.found));
    for line in attempt.turn.lines() {
        let _ = writeln!(text, "  | {}", printable(line));
    }
    text.push('\n');
}

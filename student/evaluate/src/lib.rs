//! Evaluation: held-out problems and somebody who answers in; every attempt with its verdict, and pass@1 with its 95 %
//! interval, out. The same protocol and the same seeds for every subject, so that their scores can be compared.

mod interval;

pub use interval::mean_with_interval;

use distill_dataset::{
    Context, Dataset, DatasetError, Detail, Digest, Entry, FinishReason, Journal, Problem, Reference, SamplingParams,
    Score, ShardWriter, Split, Tally, Trace, Verdict,
};
use distill_teacher::{Complete, Completion, Queue, Request, TeacherError};
use distill_verify::{Judgement, Policy};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::ControlFlow, path::Path};

/// How models are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EvaluationConfig {
    /// Samples for each problem: pass@1 is the mean over all of them.
    pub samples_per_problem: u32,
    /// Softmax temperature.
    pub temperature: f32,
    /// Nucleus mass.
    #[serde(default = "one")]
    pub top_p: f32,
    /// Limit on generated tokens.
    pub max_new_tokens: u32,
    /// Evaluates only so many of the held-out problems, the first by id; all when absent.
    #[serde(default)]
    pub max_problems: Option<u32>,
    /// Whether the teacher is evaluated too: with a paid endpoint that costs.
    #[serde(default = "yes", skip_serializing)]
    pub teacher: bool,
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

impl EvaluationConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if self.samples_per_problem == 0 {
            wrong.push("`samples-per-problem`: expected at least 1, found 0".to_owned());
        }
        if self.max_problems == Some(0) {
            wrong.push("`max-problems`: expected at least 1, found 0".to_owned());
        }
        wrong.extend(self.params().check().err());
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn params(&self) -> SamplingParams {
        SamplingParams { temperature: self.temperature, top_p: self.top_p, max_new_tokens: self.max_new_tokens }
    }

    fn protocol(&self) -> String {
        format!(
            "mean of {} samples, temperature {}, top-p {}, at most {} new tokens, no system prompt; the last \\boxed{{}} after the reasoning compared exactly",
            self.samples_per_problem, self.temperature, self.top_p, self.max_new_tokens
        )
    }
}

/// Why a model was not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing to evaluate on.
    #[error("expected held-out problems, found none\nhint: set `holdout` in a source")]
    NoProblems,
    /// A request failed for good.
    #[error(
        "{failed} of {total} attempts could not be made; the first: {first}\nhint: attempts so far are kept; run the same command again"
    )]
    Failed {
        /// Attempts that failed.
        failed: usize,
        /// Attempts wanted.
        total: u64,
        /// What the first said.
        first: String,
    },
    /// Asked to stop; attempts so far are kept.
    #[error("interrupted")]
    Interrupted,
    /// Nobody answers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// One attempt at one held-out problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The problem.
    pub problem_id: String,
    /// Which attempt at it, from 0.
    pub sample_index: u32,
    /// The sampler's seed; the same for every subject.
    pub seed: u64,
    /// What was written, prefill included.
    pub turn: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// The generated tokens, end of turn included, where the model tells them.
    pub token_ids: Option<Vec<u32>>,
    /// Right, wrong or undecided; undecided counts as not passed and is counted apart.
    pub verdict: Verdict,
    /// The judge's reason.
    pub reason: String,
    /// The answer that was read.
    pub found: String,
}

impl Entry for Attempt {
    fn key(&self) -> String {
        key(&self.problem_id, self.sample_index)
    }
}

fn key(problem_id: &str, sample_index: u32) -> String {
    format!("{problem_id}/{sample_index}")
}

/// Evaluates `model`, which is the `subject` (`before`, `after`, `teacher`), on the held-out problems.
///
/// # Errors
/// When there are none, nobody answers, or a stop was asked for; attempts so far are kept in the scratch space.
pub fn evaluate(
    subject: &str,
    config: &EvaluationConfig,
    problems: &[Dataset],
    model: &dyn Complete,
    context: &Context,
    out: &Path,
) -> Result<Tally, EvaluateError> {
    let problems = held_out(problems, config)?;
    let total = problems.len() as u64 * u64::from(config.samples_per_problem);
    let journal = Journal::<Attempt>::open(&context.scratch.join("attempts"))?;
    context.progress.begin("evaluate", total, "attempts");
    let (passed, judged) = (0, 0);
    let mut asking = Asking {
        config,
        problems: &problems,
        journal,
        context,
        place: 0,
        in_flight: HashMap::new(),
        failed: vec![],
        broken: None,
        passed,
        judged,
    };
    model.complete(&mut asking, &context.cancel)?;
    let Asking { journal, failed, broken, .. } = asking;
    context.progress.end();
    if let Some(error) = broken {
        return Err(error.into());
    }
    if context.cancel.is_cancelled() {
        return Err(EvaluateError::Interrupted);
    }
    if let Some(first) = failed.first() {
        return Err(EvaluateError::Failed { failed: failed.len(), total, first: first.clone() });
    }
    write(subject, config, &problems, &journal, out)
}

fn held_out(problems: &[Dataset], config: &EvaluationConfig) -> Result<Vec<Problem>, EvaluateError> {
    let rows = problems.iter().flat_map(Dataset::rows::<Problem>);
    let mut held: Vec<Problem> =
        rows.filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Holdout)).collect::<Result<_, _>>()?;
    held.sort_by(|a, b| a.id.cmp(&b.id));
    held.dedup_by(|a, b| a.id == b.id);
    held.truncate(config.max_problems.map_or(usize::MAX, |most| most as usize));
    if held.is_empty() { Err(EvaluateError::NoProblems) } else { Ok(held) }
}

fn write(
    subject: &str,
    config: &EvaluationConfig,
    problems: &[Problem],
    journal: &Journal<Attempt>,
    out: &Path,
) -> Result<Tally, EvaluateError> {
    let mut writer = ShardWriter::new(out)?;
    let (mut tally, mut means) = (Tally::default(), Vec::new());
    let (mut censored, mut unknown) = (0_u64, 0);
    for problem in problems {
        let mut passed = 0_u32;
        for index in 0..config.samples_per_problem {
            let Some(attempt) = journal.get(&key(&problem.id, index))? else { continue };
            passed += u32::from(attempt.verdict == Verdict::Pass);
            unknown += u64::from(attempt.verdict == Verdict::Unknown);
            censored += u64::from(attempt.finish_reason.is_censored());
            tally.prompt_tokens += u64::from(attempt.prompt_tokens);
            tally.completion_tokens += u64::from(attempt.completion_tokens);
            writer.push(attempt)?;
        }
        means.push(f64::from(passed) / f64::from(config.samples_per_problem));
    }
    tally.rows_out = writer.finish()?;
    tally.rows_in = problems.len() as u64 * u64::from(config.samples_per_problem);
    let (mean, low, high) = mean_with_interval(&means, config.samples_per_problem);
    let score = Score {
        metric: "pass@1".to_owned(),
        mean,
        low,
        high,
        num_problems: problems.len() as u64,
        samples_per_problem: config.samples_per_problem,
        censored: censored as f64 / tally.rows_in as f64,
        num_unknown: unknown,
        protocol: config.protocol(),
    };
    tally.detail = Detail::Evaluation { subject: subject.to_owned(), score };
    Ok(tally)
}

struct Asking<'a> {
    config: &'a EvaluationConfig,
    problems: &'a [Problem],
    journal: Journal<Attempt>,
    context: &'a Context,
    place: u64,
    in_flight: HashMap<u64, u64>,
    failed: Vec<String>,
    broken: Option<DatasetError>,
    passed: u64,
    judged: u64,
}

impl Asking<'_> {
    /// The problem and sample of a place in the list of all attempts.
    fn at(&self, place: u64) -> Option<(&Problem, u32)> {
        let samples = u64::from(self.config.samples_per_problem);
        Some((self.problems.get((place / samples) as usize)?, (place % samples) as u32))
    }

    /// Depends on run, problem and sample, not on who answers: subjects meet the same draws.
    fn seed(&self, problem: &Problem, sample_index: u32) -> u64 {
        let mut digest = Digest::new("attempt-seed");
        digest.field(&self.context.seed.to_string()).field(&problem.id).field(&sample_index.to_string());
        digest.finish_u64()
    }
}

impl Queue for Asking<'_> {
    fn next(&mut self) -> Option<Request> {
        loop {
            let place = self.place;
            let (problem, index) = self.at(place)?;
            let (seed, messages) = (self.seed(problem, index), problem.messages.clone());
            let known = self.journal.contains(&key(&problem.id, index));
            self.place += 1;
            if known {
                self.judged += 1;
                continue;
            }
            self.in_flight.insert(place, seed);
            return Some(Request { id: place, messages, sampling: self.config.params(), seed });
        }
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        let Some(seed) = self.in_flight.remove(&id) else { return ControlFlow::Continue(()) };
        let Some((problem, sample_index)) = self.at(id) else { return ControlFlow::Continue(()) };
        match outcome {
            Err(error) => self.failed.push(error.to_string()),
            Ok(completion) => {
                let attempt = judge(problem, sample_index, seed, completion);
                self.passed += u64::from(attempt.verdict == Verdict::Pass);
                if let Err(error) = self.journal.append(&attempt) {
                    self.broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        self.judged += 1;
        self.context.progress.advance(self.judged, format!("{} right", self.passed));
        ControlFlow::Continue(())
    }
}

fn judge(problem: &Problem, sample_index: u32, seed: u64, completion: Completion) -> Attempt {
    let turn = format!("{}{}", completion.prefill, completion.text);
    let answer = Trace::answer_text(&turn);
    let judgement = match problem.reference {
        Reference::Math => distill_verify::judge_math(answer, &problem.answer, &Policy::default()),
        Reference::Text => distill_verify::judge_text(answer, &problem.answer),
        Reference::Choice => {
            let question: Vec<&str> = problem.messages.iter().map(|message| message.content.as_str()).collect();
            distill_verify::judge_choice(answer, &problem.answer, &distill_verify::options_in(&question.join("\n")))
        }
        // Running code takes a sandbox, which evaluations do not have yet: nothing is claimed.
        Reference::Tests => Judgement::unknown("code-is-not-run-here"),
        Reference::None => Judgement::unknown("no-reference"),
    };
    let verdict = match judgement.verdict {
        distill_verify::Verdict::Equal => Verdict::Pass,
        distill_verify::Verdict::Unequal => Verdict::Fail,
        distill_verify::Verdict::Unknown => Verdict::Unknown,
    };
    Attempt {
        problem_id: problem.id.clone(),
        sample_index,
        seed,
        finish_reason: completion.finish_reason,
        prompt_tokens: completion.prompt_tokens,
        completion_tokens: completion.completion_tokens,
        token_ids: completion.token_ids,
        verdict,
        reason: judgement.reason.to_owned(),
        found: judgement.found,
        turn,
    }
}

#[cfg(test)]
mod tests;

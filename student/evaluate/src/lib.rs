//! Evaluation: held-out problems and somebody who answers in; every attempt with its verdict, and pass@1 with its 95 %
//! interval, out. The same protocol and the same seeds for every subject, so that their scores can be compared.
//!
//! [`ask`] asks for every attempt that is not there yet; [`score`] judges what is there. Whoever pays for answers hands
//! both the journal that all runs share, so that an attempt is bought once.
//!
//! A subject that is right about one problem of two:
//!
//! ```
//! # use distill_dataset::{Cancel, Context, Dataset, Detail, Problem, Progress};
//! # use distill_evaluate::{EvaluationConfig, evaluate};
//! # use distill_teacher::{Complete, Completion, Identity, Queue, TeacherError};
//! struct Four;
//! impl Complete for Four {
//! #     fn identity(&self) -> Identity {
//! #         Identity { teacher: "four".to_owned(), ..Identity::default() }
//! #     }
//!     // Whatever it is asked, it answers 4.
//!     fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
//!         while let Some(request) = queue.next() {
//!             let text = "\\boxed{4}".to_owned();
//!             let _ = queue.deliver(request.id, Ok(Completion { text, completion_tokens: 3, ..Completion::default() }));
//!         }
//!         Ok(())
//!     }
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let [rows, out, scratch] = ["rows", "out", "scratch"].map(|name| folder.path().join(name));
//! # std::fs::create_dir_all(&rows)?;
//! # std::fs::create_dir_all(&out)?;
//! # let context = Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed: 17 };
//! let asked = [Problem::asking("What is 2+2?", "4", "sums"), Problem::asking("What is 2+3?", "5", "sums")];
//! let problems = [Dataset::write(&rows, asked)?];
//! let config = EvaluationConfig { samples_per_problem: 2, temperature: 0.6, max_new_tokens: 64, ..EvaluationConfig::unset() };
//! let config = EvaluationConfig { every_problem: true, ..config };
//! let tally = evaluate("after", &config, &problems, &Four, &context, &out)?;
//! let Detail::Evaluation { score, .. } = tally.detail else { return Err("expected a score".into()) };
//! assert_eq!((score.mean, score.num_problems), (0.5, 2));
//! assert!(score.low < 0.1 && score.high > 0.9, "two problems tell little");
//! # Ok(())
//! # }
//! ```

mod interval;
mod judge;
mod legacy;

pub use interval::mean_with_interval;
pub use legacy::adopt;

use distill_dataset::{
    Amount, Context, Dataset, DatasetError, Detail, Digest, FinishReason, Interrupted, Message, Problem, Role,
    SamplingParams, Score, ShardWriter, Split, Stage, Tally, Verdict,
};
use distill_teacher::{
    Answer, Answers, Ask, Asks, Budget, Charges, Complete, Identity, Order, PumpError, TeacherError, pump,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::Path};

/// Attempts judged between two looks at cancellation, and held at once.
const BATCH: u32 = 256;

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
    /// Most tokens that one evaluation may take to generate, those of broken attempts included.
    #[serde(default, skip_serializing)]
    pub budget_tokens: Option<u64>,
    /// Most US dollars that one evaluation may cost, broken attempts included.
    #[serde(default, skip_serializing)]
    pub budget_usd: Option<f64>,
    /// The same in another currency, which the teacher has to charge in: `{ currency = "CNY", amount = 100 }`.
    #[serde(default, skip_serializing)]
    pub budget_money: Option<Amount>,
    /// Whether the problems are a set of their own, each to be attempted, and not those that a source holds out.
    #[serde(skip)]
    pub every_problem: bool,
}

/// The stage of an evaluation.
pub const EVALUATION: Stage = Stage { name: "evaluation", version: 4 };

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

impl EvaluationConfig {
    /// What each key is when a recipe leaves it out; what a recipe has to say is nothing here, so that it is in every key.
    pub fn unset() -> EvaluationConfig {
        EvaluationConfig {
            samples_per_problem: 0,
            temperature: -1.0,
            top_p: one(),
            max_new_tokens: 0,
            max_problems: None,
            teacher: yes(),
            budget_tokens: None,
            budget_usd: None,
            budget_money: None,
            every_problem: false,
        }
    }

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
        wrong.extend(Budget::wrong_money(self.budget_usd, self.budget_money));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            max_new_tokens: self.max_new_tokens,
            log_probabilities: None,
        }
    }

    /// The most that one evaluation may cost.
    pub fn budget(&self) -> Budget {
        let money = Budget::money_of(self.budget_usd, self.budget_money);
        Budget { tokens: self.budget_tokens, money, ..Budget::default() }
    }

    /// What was done, in one line: only what the configuration, the problems and the judge make true.
    fn protocol(&self, problems: &[Problem]) -> String {
        let is_system = |message: &Message| message.role == Role::System;
        let systems = problems.iter().filter(|problem| problem.messages.iter().any(is_system)).count();
        let systems = match systems {
            0 => "none with a system message".to_owned(),
            all if all == problems.len() => "each with its system message".to_owned(),
            some => format!("{some} of {} with a system message", problems.len()),
        };
        let judges: BTreeSet<&str> = problems.iter().map(|problem| judge::describe(problem.reference)).collect();
        let judges = judges.into_iter().collect::<Vec<_>>().join(", ");
        format!(
            "mean of {} samples, temperature {}, top-p {}, at most {} new tokens; the problems' own messages, {systems}, under the subject's chat template; what follows the reasoning is judged by {judges}",
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
    /// The budget is reached; what was bought is kept.
    #[error(
        "the budget of {budget} is reached: {done} of {total} attempts are there\nhint: what is there is kept; raise `{key}` and run the same command again to go on"
    )]
    Budget {
        /// The budget in words.
        budget: String,
        /// The key that sets it.
        key: String,
        /// Attempts there.
        done: u64,
        /// Attempts wanted.
        total: u64,
    },
    /// Another model answers than before, or the budget cannot be counted.
    #[error(transparent)]
    Unfit(PumpError),
    /// Asked to stop; attempts so far are kept.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// Nobody answers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

impl From<PumpError> for EvaluateError {
    fn from(error: PumpError) -> EvaluateError {
        match error {
            PumpError::Budget { limit, done, total } => {
                let key = format!("evaluation.{}", limit.key());
                EvaluateError::Budget { budget: limit.to_string(), key, done, total }
            }
            PumpError::Interrupted(stop) => EvaluateError::Interrupted(stop),
            PumpError::Teacher(error) => EvaluateError::Teacher(error),
            PumpError::Dataset(error) => EvaluateError::Dataset(error),
            other @ (PumpError::Model { .. } | PumpError::Money(_)) => EvaluateError::Unfit(other),
        }
    }
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
    /// What was written, the prompt's prefix included; what was received where there is no whole answer.
    pub turn: String,
    /// Why it ended; `unknown` where nobody answered.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// The generated tokens, end of turn included, where the model tells them.
    pub token_ids: Option<Vec<u32>>,
    /// Right, wrong or undecided; undecided counts as not passed and is counted apart.
    pub verdict: Verdict,
    /// The judge's reason, or why there is no answer to judge.
    pub reason: String,
    /// The answer that was read.
    pub found: String,
}

/// Evaluates `model`, which is the `subject` (`before`, `after`, `teacher`), on the held-out problems. Answers are kept in
/// the stage's scratch space: for a subject that costs nothing.
///
/// # Errors
/// When there are no problems, nobody answers, or a stop was asked for; attempts so far are kept.
pub fn evaluate(
    subject: &str,
    config: &EvaluationConfig,
    problems: &[Dataset],
    model: &dyn Complete,
    context: &Context,
    out: &Path,
) -> Result<Tally, EvaluateError> {
    let answers = Answers::open(&context.scratch.join("attempts"))?;
    ask(config, problems, model, &answers, context)?;
    score((subject, &model.identity()), config, problems, &answers, context, out)
}

/// Asks `model` for every attempt at the held-out problems that is not in `answers` yet. An attempt that cannot be had is
/// an outcome like any other.
///
/// # Errors
/// When there are no problems, nobody answers, a budget is reached, or a stop was asked for; attempts so far are kept.
pub fn ask(
    config: &EvaluationConfig,
    problems: &[Dataset],
    model: &dyn Complete,
    answers: &Answers,
    context: &Context,
) -> Result<(), EvaluateError> {
    let held = held_out(problems, config, context)?;
    let (identity, seed) = (model.identity(), context.seed);
    let asks = || -> Asks<'_> {
        let identity = &identity;
        Box::new(held.iter().flat_map(move |problem| {
            (0..config.samples_per_problem).map(move |index| Ok(attempt(config, problem, index, identity, seed)))
        }))
    };
    let budget = config.budget();
    let attempts = [config.samples_per_problem.to_string(), held.len().to_string(), seed.to_string()];
    let mut dataset = Digest::new("attempts");
    dataset.field(&identity.digest());
    for part in &attempts {
        dataset.field(part);
    }
    let (all, dataset, task) = (&asks, dataset.finish_short(), ("evaluate", "attempts"));
    pump(&Order { asks: &asks, all, dataset, budget, task }, model, answers, context)?;
    Ok(())
}

/// What is there of the attempts that are wanted, and what is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Attempts whose outcome is known.
    pub held: u64,
    /// Those that are not.
    pub attempts: u64,
    /// Bytes of the questions of those that are not there.
    pub bytes: u64,
}

/// Counts what `dir`, the folder of everything ever asked of a teacher, lacks of the attempts at the held-out problems.
///
/// # Errors
/// When there are no problems, a journal cannot be read, or a stop was asked for.
pub fn missing(
    config: &EvaluationConfig,
    problems: &[Dataset],
    identity: &Identity,
    dir: &Path,
    context: &Context,
) -> Result<Missing, EvaluateError> {
    let answers = if dir.join("answers").is_dir() { Some(Answers::open(dir)?) } else { None };
    let mut missing = Missing::default();
    for problem in held_out(problems, config, context)? {
        let bytes: usize = problem.messages.iter().map(|message| message.content.len()).sum();
        for index in 0..config.samples_per_problem {
            let id = attempt(config, &problem, index, identity, context.seed).id;
            if answers.as_ref().is_some_and(|answers| answers.contains(&id)) {
                missing.held += 1;
            } else {
                missing.attempts += 1;
                missing.bytes += bytes as u64;
            }
        }
    }
    Ok(missing)
}

/// Judges every attempt in `answers` and writes them into `out`. Nobody is asked; an attempt that is not there is one that
/// failed. `subject` is what the model is to the run, and who answered.
///
/// # Errors
/// When there are no problems, a journal cannot be read, the disk refuses, or a stop was asked for.
pub fn score(
    (subject, identity): (&str, &Identity),
    config: &EvaluationConfig,
    problems: &[Dataset],
    answers: &Answers,
    context: &Context,
    out: &Path,
) -> Result<Tally, EvaluateError> {
    let held = held_out(problems, config, context)?;
    let total = held.len() as u64 * u64::from(config.samples_per_problem);
    let mut writer = ShardWriter::new(out)?;
    let (mut tally, mut means) = (Tally { rows_in: total, ..Tally::default() }, Vec::new());
    let (mut censored, mut num_unknown, mut num_unanswered) = (0_u64, 0, 0);
    context.progress.begin("judge", total, "attempts");
    let samples = config.samples_per_problem;
    for batch in held.chunks((BATCH / samples).max(1) as usize) {
        context.cancel.check()?;
        let attempts: Vec<(&Problem, u32)> =
            batch.iter().flat_map(|problem| (0..samples).map(move |index| (problem, index))).collect();
        let judge = |(problem, index): &(&Problem, u32)| {
            judged(&attempt(config, problem, *index, identity, context.seed), problem, answers)
        };
        let mut judged = attempts.par_iter().map(judge).collect::<Result<Vec<_>, _>>()?.into_iter();
        for _ in batch {
            let mut passed = 0_u32;
            for Judged { attempt, charges, answered } in judged.by_ref().take(samples as usize) {
                passed += u32::from(attempt.verdict == Verdict::Pass);
                num_unknown += u64::from(attempt.verdict == Verdict::Unknown);
                num_unanswered += u64::from(!answered);
                censored += u64::from(attempt.finish_reason.is_censored());
                charges.count_in(&mut tally);
                writer.push(attempt)?;
                tally.rows_out += 1;
            }
            means.push(f64::from(passed) / f64::from(samples));
        }
        context.progress.advance(tally.rows_out, "");
    }
    writer.finish()?;
    context.progress.end();
    let (mean, low, high) = mean_with_interval(&means, config.samples_per_problem);
    let score = Score {
        metric: "pass@1".to_owned(),
        mean,
        low,
        high,
        num_problems: held.len() as u64,
        samples_per_problem: config.samples_per_problem,
        censored: censored as f64 / total as f64,
        num_unknown,
        num_unanswered,
        protocol: config.protocol(&held),
    };
    tally.detail = Detail::Evaluation { subject: subject.to_owned(), score };
    Ok(tally)
}

fn held_out(problems: &[Dataset], config: &EvaluationConfig, context: &Context) -> Result<Vec<Problem>, EvaluateError> {
    let mut held = Vec::new();
    for problem in problems.iter().flat_map(Dataset::rows::<Problem>) {
        context.cancel.check()?;
        let problem = problem?;
        if config.every_problem || problem.split == Split::Holdout {
            held.push(problem);
        }
    }
    held.sort_by(|a, b| a.id.cmp(&b.id));
    held.dedup_by(|a, b| a.id == b.id);
    held.truncate(config.max_problems.map_or(usize::MAX, |most| most as usize));
    if held.is_empty() { Err(EvaluateError::NoProblems) } else { Ok(held) }
}

/// An attempt to be asked for. Its seed depends on run, problem and sample, not on who answers: subjects meet the same
/// draws.
fn attempt(config: &EvaluationConfig, problem: &Problem, sample_index: u32, identity: &Identity, run_seed: u64) -> Ask {
    let mut digest = Digest::new("attempt-seed");
    digest.field(&run_seed.to_string()).field(&problem.id).field(&sample_index.to_string());
    Ask::attempt(problem, sample_index, identity, &config.params(), digest.finish_u64())
}

/// An attempt with what it cost.
struct Judged {
    attempt: Attempt,
    charges: Charges,
    answered: bool,
}

fn judged(ask: &Ask, problem: &Problem, answers: &Answers) -> Result<Judged, DatasetError> {
    let charges = answers.charges(&ask.id)?;
    let unanswered = |reason: String, turn: String| Attempt {
        problem_id: problem.id.clone(),
        sample_index: ask.sample_index,
        seed: ask.seed,
        turn,
        finish_reason: FinishReason::Unknown,
        prompt_tokens: 0,
        completion_tokens: 0,
        token_ids: None,
        verdict: Verdict::Unknown,
        reason,
        found: String::new(),
    };
    let (attempt, answered) = match answers.get(&ask.id)? {
        Some(Answer::Answered(trace)) => (judge::judge(problem, *trace), true),
        Some(Answer::Unanswered { reason, text, .. }) => (unanswered(reason, text), false),
        None => (unanswered("failed".to_owned(), String::new()), false),
    };
    Ok(Judged { attempt, charges, answered })
}

#[cfg(test)]
mod tests;

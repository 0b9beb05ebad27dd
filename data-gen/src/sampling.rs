//! Sampling: problems in, traces out. [`buy`] asks a teacher for everything that is not there yet, [`write_traces`] writes
//! what is there, in the order of problems and samples, whatever the order in which answers came.

mod legacy;
mod schedule;
mod write;

pub use legacy::{Holdings, OldAnswers, holdings};
pub use schedule::{AdaptiveConfig, Judge, Outcome, Standing};
pub(crate) use write::TraceWriter;
pub use write::{write_traces, write_worked_solutions};

use distill_dataset::{
    Amount, Cancel, Context, DatasetError, Digest, Interrupted, Problem, SamplingParams, Shard, Split, Stage,
};
use distill_teacher::{
    Answer, Answers, Ask, Asks, Budget, Complete, Identity, Order, PumpError, Pumped, TeacherError, Variant, pump,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a teacher is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SamplingConfig {
    /// Samples for each problem.
    pub samples_per_problem: u32,
    /// Softmax temperature.
    pub temperature: f32,
    /// Nucleus mass.
    #[serde(default = "one")]
    pub top_p: f32,
    /// Limit on generated tokens.
    pub max_new_tokens: u32,
    /// A lower limit with which samples were bought before: those that it cut are gone on from, the others are taken as they
    /// are. It decides rows: without it, all are drawn anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<u32>,
    /// Log-probabilities that are kept beside the traces: of each generated token, and of so many of the most probable
    /// tokens in its place, 0 to 20. None are asked for where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_probabilities: Option<u8>,
    /// Share of samples that may fail after every retry before the stage does: it decides rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_failed_share: f64,
    /// Most tokens that this dataset may take to generate, those of broken attempts included.
    #[serde(default, skip_serializing)]
    pub budget_tokens: Option<u64>,
    /// Most US dollars that this dataset may cost, broken attempts included.
    #[serde(default, skip_serializing)]
    pub budget_usd: Option<f64>,
    /// The same in another currency, which the teacher has to charge in: `{ currency = "CNY", amount = 100 }`.
    #[serde(default, skip_serializing)]
    pub budget_money: Option<Amount>,
    /// More samples of a problem until its outcome is settled, `samples-per-problem` at most. It decides rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveConfig>,
    /// System prompts, in turn: the first sample of a problem is asked with the first, and so on, again from the first behind
    /// the last. `""` leaves the problem's own, if it has one; any other takes its place. A trace keeps the one that it was
    /// asked with, and so do the examples and the exported conversation. It decides rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_prompts: Vec<String>,
    /// Most hours in which this dataset is bought.
    #[serde(default, skip_serializing)]
    pub budget_hours: Option<f64>,
    /// Most of those hours, times the GPUs that the teacher says are behind it.
    #[serde(default, skip_serializing)]
    pub budget_gpu_hours: Option<f64>,
}

/// The stage of a source's traces.
pub const TRACES: Stage = Stage { name: "traces", version: 3 };

fn one() -> f32 {
    1.0
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl SamplingConfig {
    /// What each key is when a recipe leaves it out; what a recipe has to say is nothing here, so that it is in every key.
    pub fn unset() -> SamplingConfig {
        SamplingConfig {
            samples_per_problem: 0,
            temperature: -1.0,
            top_p: one(),
            max_new_tokens: 0,
            continues: None,
            log_probabilities: None,
            max_failed_share: 0.0,
            budget_tokens: None,
            budget_usd: None,
            budget_money: None,
            adaptive: None,
            system_prompts: Vec::new(),
            budget_hours: None,
            budget_gpu_hours: None,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A line for each key out of range: expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if self.samples_per_problem == 0 || self.samples_per_problem > 1 << 16 {
            let found = self.samples_per_problem;
            wrong.push(format!("`samples-per-problem`: expected 1 to {}, found {found}", 1 << 16));
        }
        wrong.extend(self.params().check().err());
        if !(0.0..=1.0).contains(&self.max_failed_share) {
            wrong.push(format!("`max-failed-share`: expected 0 to 1, found {}", self.max_failed_share));
        }
        wrong.extend(self.adaptive.iter().flat_map(|adaptive| adaptive.check(self.samples_per_problem)));
        if self.system_prompts.len() > self.samples_per_problem as usize {
            let (found, most) = (self.system_prompts.len(), self.samples_per_problem);
            wrong.push(format!(
                "`system-prompts`: expected at most one a sample (`samples-per-problem` = {most}), found {found}"
            ));
        }
        if let Some(shorter) = self.continues.filter(|shorter| *shorter == 0 || *shorter >= self.max_new_tokens) {
            let limit = self.max_new_tokens;
            wrong.push(format!("`continues`: expected a limit below `max-new-tokens` = {limit}, found {shorter}"));
        }
        wrong.extend(Budget::wrong_money(self.budget_usd, self.budget_money));
        for (key, most) in [("budget-hours", self.budget_hours), ("budget-gpu-hours", self.budget_gpu_hours)] {
            if let Some(found) = most.filter(|most| !most.is_finite() || *most < 0.0) {
                wrong.push(format!("`{key}`: expected 0 or more, found {found}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// How one of a problem's samples is asked for.
    pub fn variant(&self, index: u32) -> Variant<'_> {
        let usual = self.params();
        let temperature =
            self.adaptive.as_ref().map_or(usual.temperature, |adaptive| adaptive.temperature(index, usual.temperature));
        let place = index as usize % self.system_prompts.len().max(1);
        let system = self.system_prompts.get(place).map(String::as_str).filter(|system| !system.is_empty());
        Variant { sampling: SamplingParams { temperature, ..usual }, system }
    }

    /// The samples of a problem that come next.
    fn next(&self, standing: Standing) -> Option<std::ops::Range<u32>> {
        let most = self.samples_per_problem;
        match &self.adaptive {
            Some(adaptive) => adaptive.next(standing, most),
            None => (standing.tried < most).then_some(standing.tried..most),
        }
    }

    /// Whether samples are judged while they are bought.
    pub fn judges(&self) -> bool {
        self.adaptive.as_ref().is_some_and(AdaptiveConfig::judges)
    }

    /// The most that the dataset may cost.
    pub fn budget(&self) -> Budget {
        Budget {
            tokens: self.budget_tokens,
            money: Budget::money_of(self.budget_usd, self.budget_money),
            hours: self.budget_hours,
            gpu_hours: self.budget_gpu_hours,
        }
    }

    /// What is asked of the sampler.
    pub fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            max_new_tokens: self.max_new_tokens,
            log_probabilities: self.log_probabilities,
        }
    }
}

/// Why sampling stopped.
#[derive(Debug, thiserror::Error)]
pub enum SamplingError {
    /// The budget is reached; what was bought is kept.
    #[error(
        "the budget of {budget} is reached: {done} of {total} traces are there\nhint: what is there is kept; raise `{key}` and run the same command again to go on"
    )]
    Budget {
        /// The budget in words.
        budget: String,
        /// The key that sets it.
        key: String,
        /// Traces there.
        done: u64,
        /// Traces wanted.
        total: u64,
    },
    /// Too many requests failed for good.
    #[error(
        "{failed} of {total} requests failed, at most {most} may; the first: {first}\nhint: answers so far are kept; run the same command again to ask the rest, or allow failures with `max-failed-share`"
    )]
    Failed {
        /// Requests that failed.
        failed: u64,
        /// Requests wanted.
        total: u64,
        /// How many may fail.
        most: u64,
        /// What the first said.
        first: String,
    },
    /// A problem has no worked solution.
    #[error(
        "problem {0} of source `{1}` has no worked solution\nhint: worked solutions come from generators and from sources with a solution column"
    )]
    NoSolution(String, String),
    /// Asked to stop; answers so far are kept.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// Another model answers than before, or the budget cannot be counted.
    #[error(transparent)]
    Unfit(PumpError),
    /// Nobody answers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

impl From<PumpError> for SamplingError {
    fn from(error: PumpError) -> SamplingError {
        match error {
            PumpError::Budget { limit, done, total } => {
                let key = format!("sampling.{}", limit.key());
                SamplingError::Budget { budget: limit.to_string(), key, done, total }
            }
            PumpError::Interrupted(stop) => SamplingError::Interrupted(stop),
            PumpError::Teacher(error) => SamplingError::Teacher(error),
            PumpError::Dataset(error) => SamplingError::Dataset(error),
            other @ (PumpError::Model { .. } | PumpError::Money(_)) => SamplingError::Unfit(other),
        }
    }
}

/// What was bought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bought {
    /// Samples wanted.
    pub total: u64,
    /// Samples whose outcome is known: answered, or not to be had.
    pub done: u64,
    /// Samples that failed after every retry.
    pub failed: u64,
    /// What became of the answers of older versions.
    pub old: OldAnswers,
}

/// Asks `teacher` for every sample of the training problems in these shards, of all `whole` ones, that is not in `answers`
/// yet. Answers that an older version paid for are adopted first. The budget is that of the whole dataset, whoever buys it.
/// `judge` says which answers are usable, where samples are bought until a problem is settled.
///
/// # Errors
/// When nobody answers, the budget is reached, too many requests fail, or a stop was asked for. Answers are kept.
pub fn buy(
    config: &SamplingConfig,
    (problems, whole): (&[Shard], &[Shard]),
    teacher: &dyn Complete,
    (answers, judge): (&Answers, Judge<'_>),
    context: &Context,
) -> Result<Bought, SamplingError> {
    let identity = teacher.identity();
    let old = legacy::adopt(config, problems, &identity, answers, context)?;
    let mut bought = Bought { old, ..Bought::default() };
    let mut standings = Vec::new();
    let judges = config.judges();
    loop {
        if judges {
            look(config, problems, (&identity, answers), judge, &mut standings, &context.cancel)?;
        }
        let open = judges.then_some(&*standings);
        if judges && wanted(config, problems, &identity, open).next().is_none() {
            return Ok(bought);
        }
        let pumped = round(config, (problems, whole), open, teacher, answers, context)?;
        bought.total += pumped.total;
        bought.done += pumped.done;
        bought.failed += pumped.failed;
        let most = (config.max_failed_share * bought.total as f64) as u64;
        if bought.failed > most {
            let (failed, total, first) = (bought.failed, bought.total, pumped.first_failure);
            return Err(SamplingError::Failed { failed, total, most, first });
        }
        if !judges {
            return Ok(bought);
        }
        give_up(config, problems, (&identity, answers), judge, &mut standings)?;
    }
}

/// Asks for the samples that come next where it is known how the problems stand, else for all of them.
fn round(
    config: &SamplingConfig,
    (problems, whole): (&[Shard], &[Shard]),
    standings: Option<&[Standing]>,
    teacher: &dyn Complete,
    answers: &Answers,
    context: &Context,
) -> Result<Pumped, SamplingError> {
    let identity = teacher.identity();
    let (asks, all) = (|| wanted(config, problems, &identity, standings), || wanted(config, whole, &identity, None));
    let (dataset, budget, task) = (dataset(config, whole, &identity), config.budget(), ("sample", "traces"));
    Ok(pump(&Order { asks: &asks, all: &all, dataset, budget, task }, teacher, answers, context)?)
}

/// Problems whose answers are judged side by side.
const JUDGED_AT_ONCE: usize = 1024;

/// How each of these problems stands, by the answers that are there.
fn look(
    config: &SamplingConfig,
    problems: &[Shard],
    (identity, answers): (&Identity, &Answers),
    judge: Judge<'_>,
    standings: &mut Vec<Standing>,
    cancel: &Cancel,
) -> Result<(), SamplingError> {
    let (mut rows, mut from) = (training(problems), 0);
    loop {
        cancel.check()?;
        let window: Vec<Problem> = rows.by_ref().take(JUDGED_AT_ONCE).collect::<Result<_, _>>()?;
        if window.is_empty() {
            return Ok(());
        }
        let to = from + window.len();
        if standings.len() < to {
            standings.resize(to, Standing::default());
        }
        let judged = window.par_iter().zip(&mut standings[from..to]);
        judged.try_for_each(|(problem, standing)| {
            while let Some(block) = config.next(*standing) {
                let ids: Vec<String> = block.map(|index| id(config, problem, index, identity)).collect();
                if !ids.iter().all(|id| answers.contains(id)) {
                    break;
                }
                for id in &ids {
                    standing.take(outcome(answers.get(id)?.as_ref(), problem, judge));
                }
            }
            Ok::<_, SamplingError>(())
        })?;
        from = to;
    }
}

/// Of the samples that were just asked for, those that failed after every retry count as tried: the problem goes on.
fn give_up(
    config: &SamplingConfig,
    problems: &[Shard],
    (identity, answers): (&Identity, &Answers),
    judge: Judge<'_>,
    standings: &mut [Standing],
) -> Result<(), SamplingError> {
    for (problem, standing) in training(problems).zip(standings) {
        let problem = problem?;
        let ids = config.next(*standing).into_iter().flatten().map(|index| id(config, &problem, index, identity));
        let ids: Vec<String> = ids.collect();
        if !ids.iter().all(|id| answers.contains(id)) {
            for id in &ids {
                standing.take(outcome(answers.get(id)?.as_ref(), &problem, judge));
            }
        }
    }
    Ok(())
}

/// What an answer is worth. One that is not there, or whose end is not the model's word, is worth nothing.
fn outcome(answer: Option<&Answer>, problem: &Problem, judge: Judge<'_>) -> Outcome {
    match answer {
        Some(Answer::Answered(trace)) if !trace.finish_reason.is_censored() => judge(problem, trace),
        _ => Outcome::Wrong,
    }
}

fn id(config: &SamplingConfig, problem: &Problem, index: u32, identity: &Identity) -> String {
    identity.sample_id(&problem.id, config.variant(index), index)
}

/// A name of the samples of these problems: the same for all who buy them.
fn dataset(config: &SamplingConfig, problems: &[Shard], identity: &Identity) -> String {
    let mut digest = Digest::new("bought");
    digest.field(&identity.digest()).field(&config.samples_per_problem.to_string());
    for (name, value) in config.params().pairs() {
        digest.field(&name).field(&value);
    }
    for system in &config.system_prompts {
        digest.field("system").field(system);
    }
    for shard in problems {
        digest.field(&shard.num_rows().to_string());
        for end in shard.span().iter().flatten() {
            digest.field(end);
        }
    }
    digest.finish_short()
}

/// The training problems of several shards, in their order.
fn training(problems: &[Shard]) -> impl Iterator<Item = Result<Problem, DatasetError>> + '_ {
    let rows = problems.iter().flat_map(Shard::all_rows::<Problem>);
    rows.filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Train))
}

/// Every sample that is wanted, problem by problem: those that come next where it is known how the problems stand, else
/// all that there may ever be.
fn wanted<'a>(
    config: &'a SamplingConfig,
    problems: &'a [Shard],
    identity: &'a Identity,
    standings: Option<&'a [Standing]>,
) -> Asks<'a> {
    let places = training(problems).enumerate();
    Box::new(places.flat_map(move |(place, problem)| -> Box<dyn Iterator<Item = _>> {
        match problem {
            Ok(problem) => {
                let block = match standings {
                    Some(standings) => config.next(standings.get(place).copied().unwrap_or_default()).unwrap_or(0..0),
                    None => 0..config.samples_per_problem,
                };
                let ask = move |index| {
                    let variant = config.variant(index);
                    let shorter = config.continues.map(|max_new_tokens| {
                        let sampling = SamplingParams { max_new_tokens, ..variant.sampling };
                        identity.sample_id(&problem.id, Variant { sampling, ..variant }, index)
                    });
                    Ok(Ask { shorter, ..Ask::sample(&problem, index, identity, variant) })
                };
                Box::new(block.map(ask))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

#[cfg(test)]
mod tests;

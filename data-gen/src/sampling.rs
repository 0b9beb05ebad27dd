//! Sampling: problems in, traces out. [`buy`] asks a teacher for everything that is not there yet, [`write_traces`] writes
//! what is there, in the order of problems and samples, whatever the order in which answers came.

mod legacy;
mod write;

pub use legacy::{Holdings, OldAnswers, holdings};
pub use write::{write_traces, write_worked_solutions};

use distill_dataset::{Context, DatasetError, Digest, Interrupted, Problem, SamplingParams, Shard, Split, Stage};
use distill_teacher::{Answers, Ask, Asks, Budget, Complete, Identity, Order, PumpError, TeacherError, pump};
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
        if let Some(shorter) = self.continues.filter(|shorter| *shorter == 0 || *shorter >= self.max_new_tokens) {
            let limit = self.max_new_tokens;
            wrong.push(format!("`continues`: expected a limit below `max-new-tokens` = {limit}, found {shorter}"));
        }
        for (key, most) in [
            ("budget-usd", self.budget_usd),
            ("budget-hours", self.budget_hours),
            ("budget-gpu-hours", self.budget_gpu_hours),
        ] {
            if let Some(found) = most.filter(|most| !most.is_finite() || *most < 0.0) {
                wrong.push(format!("`{key}`: expected 0 or more, found {found}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn budget(&self) -> Budget {
        Budget {
            tokens: self.budget_tokens,
            usd: self.budget_usd,
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
    /// Another model answers than before.
    #[error(transparent)]
    OtherModel(PumpError),
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
            other @ PumpError::Model { .. } => SamplingError::OtherModel(other),
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
///
/// # Errors
/// When nobody answers, the budget is reached, too many requests fail, or a stop was asked for. Answers are kept.
pub fn buy(
    config: &SamplingConfig,
    (problems, whole): (&[Shard], &[Shard]),
    teacher: &dyn Complete,
    answers: &Answers,
    context: &Context,
) -> Result<Bought, SamplingError> {
    let identity = teacher.identity();
    let old = legacy::adopt(config, problems, &identity, answers, context)?;
    let (asks, all) = (|| wanted(config, problems, &identity), || wanted(config, whole, &identity));
    let (sampling, budget, dataset) = (config.params(), config.budget(), dataset(config, whole, &identity));
    let order = Order { asks: &asks, all: &all, dataset, sampling, budget, task: ("sample", "traces") };
    let pumped = pump(&order, teacher, answers, context)?;
    let most = (config.max_failed_share * pumped.total as f64) as u64;
    if pumped.failed > most {
        let (failed, total, first) = (pumped.failed, pumped.total, pumped.first_failure);
        return Err(SamplingError::Failed { failed, total, most, first });
    }
    Ok(Bought { total: pumped.total, done: pumped.done, failed: pumped.failed, old })
}

/// A name of the samples of these problems: the same for all who buy them.
fn dataset(config: &SamplingConfig, problems: &[Shard], identity: &Identity) -> String {
    let mut digest = Digest::new("bought");
    digest.field(&identity.digest()).field(&config.samples_per_problem.to_string());
    for (name, value) in config.params().pairs() {
        digest.field(&name).field(&value);
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

/// Every sample that is wanted, problem by problem.
fn wanted<'a>(config: &'a SamplingConfig, problems: &'a [Shard], identity: &'a Identity) -> Asks<'a> {
    let sampling = config.params();
    Box::new(training(problems).flat_map(move |problem| -> Box<dyn Iterator<Item = _>> {
        match problem {
            Ok(problem) => {
                let shorter = config.continues.map(|limit| SamplingParams { max_new_tokens: limit, ..sampling });
                let ask = move |index| {
                    let shorter = shorter.map(|sampling| identity.sample_id(&problem.id, &sampling, index));
                    Ok(Ask { shorter, ..Ask::sample(&problem, index, identity, &sampling) })
                };
                Box::new((0..config.samples_per_problem).map(ask))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

#[cfg(test)]
mod tests;

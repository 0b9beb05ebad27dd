//! Sampling: problems in, traces out. Every answer goes into the journal before anything else happens to it; the dataset
//! is then written from the journal in the order of the problems, whatever the order in which answers came.

use distill_dataset::{
    Context, Dataset, DatasetError, Detail, Digest, Entry, FinishReason, Histogram, Interrupted, Journal, Problem,
    SamplingParams, Segment, Shard, ShardWriter, Split, Stage, Tally, Trace, trace_id,
};
use distill_teacher::{Complete, Completion, Identity, Queue, Request, TeacherError};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::Path,
};

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
    /// Share of requests that may fail for good before the stage does.
    #[serde(default, skip_serializing)]
    pub max_failed_share: f64,
    /// Most tokens that this dataset may take to generate.
    #[serde(default, skip_serializing)]
    pub budget_tokens: Option<u64>,
    /// Most US dollars that this dataset may cost.
    #[serde(default, skip_serializing)]
    pub budget_usd: Option<f64>,
}

fn one() -> f32 {
    1.0
}

/// The stage of a source's traces.
pub const TRACES: Stage = Stage { name: "traces", version: 3 };

impl SamplingConfig {
    /// What each key is when a recipe leaves it out; what a recipe has to say is nothing here, so that it is in every key.
    pub fn unset() -> SamplingConfig {
        SamplingConfig {
            samples_per_problem: 0,
            temperature: -1.0,
            top_p: one(),
            max_new_tokens: 0,
            max_failed_share: 0.0,
            budget_tokens: None,
            budget_usd: None,
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
        if let Some(usd) = self.budget_usd.filter(|usd| usd.is_nan() || *usd < 0.0) {
            wrong.push(format!("`budget-usd`: expected 0 or more, found {usd}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// What is asked of the sampler.
    pub fn params(&self) -> SamplingParams {
        SamplingParams { temperature: self.temperature, top_p: self.top_p, max_new_tokens: self.max_new_tokens }
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
        key: &'static str,
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
    /// Nobody answers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// A trace in the journal.
#[derive(Serialize, Deserialize)]
struct Bought(Trace);

impl Entry for Bought {
    fn key(&self) -> String {
        self.0.id.clone()
    }
}

/// Samples every training problem. `name` is what the recipe calls the teacher, `journal` the folder of everything ever
/// sampled from it.
///
/// # Errors
/// When nobody answers, the budget is reached, too many requests fail, or a stop was asked for. Answers are kept.
pub fn sample(
    config: &SamplingConfig,
    problems: &Dataset,
    teacher: &dyn Complete,
    (name, journal): (&str, &Path),
    context: &Context,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let identity = teacher.identity();
    let mut asked = training_problems(problems)?;
    asked.sort_by(|a, b| a.id.cmp(&b.id));
    let total = asked.len() as u64 * u64::from(config.samples_per_problem);
    let journal = Journal::<Bought>::open(journal)?;
    context.progress.begin("sample", total, "traces");
    let mut asking = Asking {
        config,
        teacher,
        identity: &identity,
        name,
        problems: &asked,
        journal,
        context,
        place: (0, 0),
        in_flight: HashMap::new(),
        next_id: 0,
        spent: Spent::default(),
        failed: Vec::new(),
        done: 0,
        out_of: None,
        broken: None,
    };
    asking.count_journal()?;
    teacher.complete(&mut asking, &context.cancel)?;
    let Asking { mut journal, failed, done, out_of, broken, .. } = asking;
    journal.sync()?;
    context.progress.end();
    if let Some(error) = broken {
        return Err(error.into());
    }
    if let Some((budget, key)) = out_of {
        return Err(SamplingError::Budget { budget, key, done, total });
    }
    context.cancel.check()?;
    let most = (config.max_failed_share * total as f64) as u64;
    if failed.len() as u64 > most {
        let first = failed[0].clone();
        return Err(SamplingError::Failed { failed: failed.len() as u64, total, most, first });
    }
    write(config, &asked, &identity, name, &journal, out)
}

/// The problems' own worked solutions as traces: what a student learns from before there is a teacher.
///
/// # Errors
/// When a problem has none, or the disk refuses.
pub fn worked_solutions(problems: &Shard, unit: usize, out: &Path) -> Result<Tally, SamplingError> {
    let identity = Identity { teacher: "worked-solutions".to_owned(), template_hash: String::new() };
    let sampling = SamplingParams { temperature: 0.0, top_p: 1.0, max_new_tokens: 0 };
    let mut writer = TraceWriter::new("worked-solutions", unit, out)?;
    for problem in problems.rows::<Problem>()? {
        let problem = problem?;
        if problem.split == Split::Holdout {
            continue;
        }
        let Some(solution) = &problem.solution else {
            return Err(SamplingError::NoSolution(problem.id, problem.source));
        };
        let completion = Completion {
            prefill: String::new(),
            text: format!("<think>\n{solution}\n</think>\n\n\\boxed{{{}}}", problem.answer),
            finish_reason: FinishReason::Stop,
            response_model: identity.teacher.clone(),
            prompt_tokens: 0,
            completion_tokens: 0,
            token_ids: None,
            cost_usd: 0.0,
        };
        let id = trace_id(&problem.id, &identity.teacher, "", &sampling, 0);
        let ticket = Ticket { id, problem_id: problem.id.clone(), sample_index: 0, seed: 0, reserved_usd: 0.0 };
        writer.push(trace(ticket, completion, &identity, "worked-solutions", sampling))?;
    }
    writer.finish(BTreeMap::new())
}

fn training_problems(problems: &Dataset) -> Result<Vec<Problem>, DatasetError> {
    problems.rows::<Problem>().filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Train)).collect()
}

/// Writes the traces of the journal in the order of problems and samples.
fn write(
    config: &SamplingConfig,
    problems: &[Problem],
    identity: &Identity,
    name: &str,
    journal: &Journal<Bought>,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let mut writer = TraceWriter::new(name, 0, out)?;
    let mut rejected = BTreeMap::new();
    for problem in problems {
        for index in 0..config.samples_per_problem {
            let id = trace_id(&problem.id, &identity.teacher, &identity.template_hash, &config.params(), index);
            match journal.get(&id)? {
                Some(Bought(trace)) => writer.push(Trace { teacher: name.to_owned(), ..trace })?,
                None => *rejected.entry("failed".to_owned()).or_default() += 1,
            }
        }
    }
    writer.finish(rejected)
}

/// Writes traces and counts what is in them.
struct TraceWriter {
    writer: ShardWriter<Trace>,
    tally: Tally,
    lengths: Vec<u32>,
    finish_reasons: BTreeMap<String, u64>,
    teacher: String,
}

impl TraceWriter {
    fn new(teacher: &str, unit: usize, out: &Path) -> Result<TraceWriter, DatasetError> {
        let (tally, finish_reasons) = (Tally::default(), BTreeMap::new());
        Ok(TraceWriter {
            writer: ShardWriter::of_unit(out, unit)?.sorted_by(|trace: &Trace| &trace.problem_id),
            tally,
            lengths: vec![],
            finish_reasons,
            teacher: teacher.to_owned(),
        })
    }

    fn push(&mut self, trace: Trace) -> Result<(), DatasetError> {
        self.tally.prompt_tokens += u64::from(trace.prompt_tokens);
        self.tally.completion_tokens += u64::from(trace.completion_tokens);
        self.tally.cost_usd += trace.cost_usd;
        self.lengths.push(trace.completion_tokens);
        *self.finish_reasons.entry(trace.finish_reason.as_str().to_owned()).or_default() += 1;
        self.writer.push(trace)
    }

    fn finish(self, rejected: BTreeMap<String, u64>) -> Result<Tally, SamplingError> {
        let rows_out = self.writer.finish()?;
        let rows_in = rows_out + rejected.values().sum::<u64>();
        let lengths = Histogram::of(self.lengths.iter().copied());
        let detail = Detail::Traces { teacher: self.teacher, lengths, finish_reasons: self.finish_reasons };
        Ok(Tally { rows_in, rows_out, rejected, detail, ..self.tally })
    }
}

/// What a request will become.
struct Ticket {
    id: String,
    problem_id: String,
    sample_index: u32,
    seed: u64,
    reserved_usd: f64,
}

fn trace(ticket: Ticket, completion: Completion, identity: &Identity, name: &str, sampling: SamplingParams) -> Trace {
    let turn = format!("{}{}", completion.prefill, completion.text);
    let (reasoning, answer) = Trace::split_turn(&turn);
    let segment = Segment {
        num_bytes: completion.text.len() as u32,
        num_tokens: completion.completion_tokens,
        finish_reason: completion.finish_reason,
    };
    Trace {
        id: ticket.id,
        problem_id: ticket.problem_id,
        sample_index: ticket.sample_index,
        prefill: completion.prefill,
        text: completion.text,
        reasoning,
        answer,
        finish_reason: completion.finish_reason,
        segments: vec![segment],
        teacher: name.to_owned(),
        response_model: completion.response_model,
        template_hash: identity.template_hash.clone(),
        sampling,
        seed: ticket.seed,
        prompt_tokens: completion.prompt_tokens,
        completion_tokens: completion.completion_tokens,
        token_ids: completion.token_ids,
        cost_usd: completion.cost_usd,
    }
}

#[derive(Default)]
struct Spent {
    tokens: u64,
    usd: f64,
    reserved_usd: f64,
}

/// The queue of everything that is not in the journal yet.
struct Asking<'a> {
    config: &'a SamplingConfig,
    teacher: &'a dyn Complete,
    identity: &'a Identity,
    name: &'a str,
    problems: &'a [Problem],
    journal: Journal<Bought>,
    context: &'a Context,
    /// Next problem and sample.
    place: (usize, u32),
    in_flight: HashMap<u64, Ticket>,
    next_id: u64,
    spent: Spent,
    failed: Vec<String>,
    done: u64,
    /// The budget that stopped it, and its key.
    out_of: Option<(String, &'static str)>,
    /// The disk refused.
    broken: Option<DatasetError>,
}

impl Asking<'_> {
    fn id_of(&self, problem: &Problem, sample_index: u32) -> String {
        let identity = self.identity;
        trace_id(&problem.id, &identity.teacher, &identity.template_hash, &self.config.params(), sample_index)
    }

    /// What is already there counts towards the budget.
    fn count_journal(&mut self) -> Result<(), DatasetError> {
        for problem in self.problems {
            for index in 0..self.config.samples_per_problem {
                if let Some(Bought(trace)) = self.journal.get(&self.id_of(problem, index))? {
                    self.done += 1;
                    self.spent.tokens += u64::from(trace.completion_tokens);
                    self.spent.usd += trace.cost_usd;
                }
            }
        }
        self.context.progress.advance(self.done, "");
        Ok(())
    }

    fn advance_place(&mut self) {
        self.place.1 += 1;
        if self.place.1 == self.config.samples_per_problem {
            self.place = (self.place.0 + 1, 0);
        }
    }

    /// Whether one more request fits, counting all that are under way at their most. One that does not fit now may fit
    /// once those have cost less; with none under way, the budget is reached.
    fn affordable(&mut self, usd: f64) -> bool {
        let most = u64::from(self.config.max_new_tokens);
        let tokens = self.spent.tokens + (self.in_flight.len() as u64 + 1) * most;
        let reached = match (self.config.budget_tokens, self.config.budget_usd) {
            (Some(budget), _) if tokens > budget => (format!("{budget} tokens"), "sampling.budget-tokens"),
            (_, Some(budget)) if self.spent.usd + self.spent.reserved_usd + usd > budget => {
                (format!("${budget}"), "sampling.budget-usd")
            }
            _ => return true,
        };
        if self.in_flight.is_empty() {
            self.out_of = Some(reached);
        }
        false
    }
}

impl Queue for Asking<'_> {
    fn next(&mut self) -> Option<Request> {
        if self.out_of.is_some() {
            return None;
        }
        loop {
            let (at, sample_index) = self.place;
            let problem = self.problems.get(at)?;
            let id = self.id_of(problem, sample_index);
            if !self.journal.contains(&id) {
                // From the identity alone: the same sample, whichever run buys it.
                let seed = Digest::new("sample-seed").field(&id).finish_u64();
                let request = Request {
                    id: self.next_id,
                    messages: problem.messages.clone(),
                    sampling: self.config.params(),
                    seed,
                };
                let reserved_usd = self.teacher.max_cost_usd(&request);
                if !self.affordable(reserved_usd) {
                    return None;
                }
                self.spent.reserved_usd += reserved_usd;
                let ticket = Ticket { id, problem_id: problem.id.clone(), sample_index, seed, reserved_usd };
                self.in_flight.insert(self.next_id, ticket);
                self.next_id += 1;
                self.advance_place();
                return Some(request);
            }
            self.advance_place();
        }
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        let Some(ticket) = self.in_flight.remove(&id) else { return ControlFlow::Continue(()) };
        self.spent.reserved_usd -= ticket.reserved_usd;
        match outcome {
            Err(error) => self.failed.push(error.to_string()),
            Ok(completion) => {
                self.spent.tokens += u64::from(completion.completion_tokens);
                self.spent.usd += completion.cost_usd;
                let trace = trace(ticket, completion, self.identity, self.name, self.config.params());
                if let Err(error) = self.journal.append(&Bought(trace)) {
                    self.broken = Some(error);
                    return ControlFlow::Break(());
                }
                self.done += 1;
            }
        }
        let note = if self.failed.is_empty() { String::new() } else { format!("{} failed", self.failed.len()) };
        self.context.progress.advance(self.done, note);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;

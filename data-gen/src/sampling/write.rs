//! What is in the journal, written as shards: in the order of problem and sample, counted with what it cost. Log-probabilities,
//! where they were asked for, are written beside them.

use super::{Judge, Outcome, SamplingConfig, SamplingError, Standing, id, outcome};
use distill_dataset::{
    Cancel, DatasetError, Detail, FinishReason, Histogram, LogProbs, LogProbsWriter, Problem, Reference,
    SamplingParams, Shard, ShardWriter, Split, Tally, Trace, TurnFormat,
};
use distill_teacher::{Answer, Answers, Ask, Completion, Identity, trace};
use std::{collections::BTreeMap, path::Path};

/// Why a sample that was asked for is not there, where no more is known.
const FAILED: &str = "failed";

/// Writes the traces of the training problems in unit `unit` into `out`, in the order of problems and samples. `teacher`
/// is who answered, and what the recipe calls it. What nobody answered is counted by its reason. Where samples are bought until a
/// problem is settled, those behind that are not written, whoever bought them. Where log-probabilities were asked for,
/// `logprobs-UNIT.bin` is written too (see [`LogProbsWriter`]), and traces that have none are counted.
///
/// # Errors
/// When the journal cannot be read, the disk refuses, or a stop was asked for.
pub fn write_traces(
    config: &SamplingConfig,
    (problems, unit): (&Shard, usize),
    (identity, name): (&Identity, &str),
    (answers, judge): (&Answers, Judge<'_>),
    cancel: &Cancel,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let mut writer = TraceWriter::new(name, unit, out)?;
    let asks = config.log_probabilities.is_some();
    let mut beside = asks.then(|| LogProbsWriter::of_unit(out, unit)).transpose()?;
    for problem in training(problems) {
        cancel.check()?;
        let problem = problem?;
        let mut standing = Standing::default();
        while let Some(block) = config.next(standing) {
            for index in block {
                let id = id(config, &problem, index, identity);
                answers.charges(&id)?.count_in(&mut writer.tally);
                let (answer, log_probs) = answers.get_with_log_probs(&id)?.unzip();
                standing.take(match config.judges() {
                    true => outcome(answer.as_ref(), &problem, judge),
                    false => Outcome::Unknown,
                });
                match answer {
                    Some(Answer::Answered(trace)) => {
                        if let Some(beside) = &mut beside {
                            match log_probs.flatten().as_deref().and_then(readable) {
                                Some(encoded) => beside.push(&trace.id, &encoded)?,
                                None => writer.without_log_probs += 1,
                            }
                        }
                        writer.push(Trace { teacher: name.to_owned(), ..*trace })?;
                    }
                    Some(Answer::Unanswered { reason, .. }) => writer.reject(&reason),
                    None => writer.reject(FAILED),
                }
            }
        }
    }
    beside.map_or(Ok(()), LogProbsWriter::finish)?;
    writer.finish()
}

/// The problems' own worked solutions as traces: what a student learns from before there is a teacher. A solution that marks its
/// reasoning or boxes its answer itself is the trace as it is, and so is one without a right answer that could be boxed; any
/// other becomes the reasoning, and the right answer is boxed behind it.
///
/// # Errors
/// When a problem has none, the disk refuses, or a stop was asked for.
pub fn write_worked_solutions(
    problems: &Shard,
    unit: usize,
    cancel: &Cancel,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let identity = Identity { teacher: "worked-solutions".to_owned(), ..Identity::default() };
    let sampling = SamplingParams { temperature: 0.0, top_p: 1.0, max_new_tokens: 0, log_probabilities: None };
    let mut writer = TraceWriter::new(&identity.teacher, unit, out)?;
    for problem in training(problems) {
        cancel.check()?;
        let problem = problem?;
        let Some(solution) = &problem.solution else {
            return Err(SamplingError::NoSolution(problem.id, problem.source));
        };
        let boxed = match problem.reference {
            Reference::Math | Reference::Text | Reference::Choice => Some(format!("\\boxed{{{}}}", problem.answer)),
            Reference::Tests | Reference::None => None,
        };
        let format = TurnFormat::of_text(solution);
        let is_marked = format.count_tags(solution) != [0, 0] || solution.contains("\\boxed");
        let (turn, text) = match boxed.filter(|_| !is_marked) {
            Some(boxed) => (identity.turn.clone(), identity.turn.join(solution, &boxed)),
            None => (format, solution.clone()),
        };
        let completion = Completion {
            text,
            finish_reason: FinishReason::Stop,
            response_model: identity.teacher.clone(),
            ..Completion::default()
        };
        let ask = Ask { seed: 0, ..Ask::sample(&problem, 0, &identity, &sampling) };
        // Its identity is who wrote it, however it is laid out.
        writer.push(Trace { format: turn, ..trace(&ask, completion, &identity) })?;
    }
    writer.finish()
}

/// The bytes of log-probabilities that a journal keeps as text, where they can be read.
fn readable(text: &str) -> Option<Vec<u8>> {
    let encoded = LogProbs::bytes_of_text(text).ok()?;
    LogProbs::decode(&encoded).is_ok().then_some(encoded)
}

/// The training problems of a shard.
fn training(problems: &Shard) -> impl Iterator<Item = Result<Problem, DatasetError>> + '_ {
    problems.all_rows().filter(|row: &Result<Problem, _>| row.as_ref().map_or(true, |row| row.split == Split::Train))
}

/// Writes traces and counts what is in them.
pub(crate) struct TraceWriter {
    writer: ShardWriter<Trace>,
    tally: Tally,
    lengths: Vec<u32>,
    finish_reasons: BTreeMap<String, u64>,
    teacher: String,
    without_log_probs: u64,
}

impl TraceWriter {
    pub(crate) fn new(teacher: &str, unit: usize, out: &Path) -> Result<TraceWriter, DatasetError> {
        let (tally, finish_reasons) = (Tally::default(), BTreeMap::new());
        let writer = ShardWriter::of_unit(out, unit)?.sorted_by(|trace: &Trace| &trace.problem_id);
        let teacher = teacher.to_owned();
        Ok(TraceWriter { writer, tally, lengths: vec![], finish_reasons, teacher, without_log_probs: 0 })
    }

    pub(crate) fn push(&mut self, trace: Trace) -> Result<(), DatasetError> {
        self.lengths.push(trace.completion_tokens);
        let name = trace.finish_name.as_deref().unwrap_or(trace.finish_reason.as_str());
        *self.finish_reasons.entry(name.to_owned()).or_default() += 1;
        self.writer.push(trace)
    }

    pub(crate) fn reject(&mut self, reason: &str) {
        *self.tally.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn finish(self) -> Result<Tally, SamplingError> {
        let rows_out = self.writer.finish()?;
        let rows_in = rows_out + self.tally.rejected.values().sum::<u64>();
        let lengths = Histogram::of(self.lengths.iter().copied());
        let detail = Detail::Traces {
            teacher: self.teacher,
            lengths,
            finish_reasons: self.finish_reasons,
            without_log_probs: self.without_log_probs,
        };
        Ok(Tally { rows_in, rows_out, detail, ..self.tally })
    }
}

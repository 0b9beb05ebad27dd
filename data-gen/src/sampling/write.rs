//! What is in the journal, written as shards: in the order of problem and sample, counted with what it cost.

use super::{SamplingConfig, SamplingError};
use distill_dataset::{
    Dataset, DatasetError, Detail, FinishReason, Histogram, Problem, SamplingParams, ShardWriter, Split, Tally, Trace,
};
use distill_teacher::{Answer, Answers, Ask, Charges, Completion, Identity, trace};
use std::{collections::BTreeMap, path::Path};

/// Why a sample that was asked for is not there, where no more is known.
const FAILED: &str = "failed";

/// Writes the traces of the training problems among `problems` into `out`, sorted by problem and sample. `teacher` is who
/// answered, and what the recipe calls it. What nobody answered is counted by its reason.
///
/// # Errors
/// When the journal cannot be read or the disk refuses.
pub fn write_traces(
    config: &SamplingConfig,
    problems: impl IntoIterator<Item = Result<Problem, DatasetError>>,
    (identity, name): (&Identity, &str),
    answers: &Answers,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let mut writer = TraceWriter::new(name, out)?;
    for problem in sorted(problems)? {
        for index in 0..config.samples_per_problem {
            let id = identity.sample_id(&problem.id, &config.params(), index);
            writer.charge(&answers.charges(&id)?);
            match answers.get(&id)? {
                Some(Answer::Answered(trace)) => writer.push(Trace { teacher: name.to_owned(), ..*trace })?,
                Some(Answer::Unanswered { reason, .. }) => writer.reject(&reason),
                None => writer.reject(FAILED),
            }
        }
    }
    writer.finish()
}

/// The problems' own worked solutions as traces: what a student learns from before there is a teacher.
///
/// # Errors
/// When a problem has none, or the disk refuses.
pub fn write_worked_solutions(
    problems: impl IntoIterator<Item = Result<Problem, DatasetError>>,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let identity = Identity { teacher: "worked-solutions".to_owned(), ..Identity::default() };
    let sampling = SamplingParams { temperature: 0.0, top_p: 1.0, max_new_tokens: 0 };
    let mut writer = TraceWriter::new(&identity.teacher, out)?;
    for problem in sorted(problems)? {
        let Some(solution) = &problem.solution else {
            return Err(SamplingError::NoSolution(problem.id, problem.source));
        };
        let completion = Completion {
            text: format!("<think>\n{solution}\n</think>\n\n\\boxed{{{}}}", problem.answer),
            finish_reason: FinishReason::Stop,
            response_model: identity.teacher.clone(),
            ..Completion::default()
        };
        let ask = Ask { seed: 0, ..Ask::sample(&problem, 0, &identity, &sampling) };
        writer.push(trace(&ask, completion, &identity, sampling))?;
    }
    writer.finish()
}

/// [`write_worked_solutions`] of a whole dataset.
///
/// # Errors
/// As there.
pub fn worked_solutions(problems: &Dataset, out: &Path) -> Result<Tally, SamplingError> {
    write_worked_solutions(problems.rows(), out)
}

/// The training problems, sorted by identity.
fn sorted(problems: impl IntoIterator<Item = Result<Problem, DatasetError>>) -> Result<Vec<Problem>, DatasetError> {
    let training = |row: &Result<Problem, _>| row.as_ref().map_or(true, |row| row.split == Split::Train);
    let mut problems: Vec<Problem> = problems.into_iter().filter(training).collect::<Result<_, _>>()?;
    problems.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(problems)
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
    fn new(teacher: &str, out: &Path) -> Result<TraceWriter, DatasetError> {
        let (tally, finish_reasons) = (Tally::default(), BTreeMap::new());
        let (writer, teacher) = (ShardWriter::new(out)?, teacher.to_owned());
        Ok(TraceWriter { writer, tally, lengths: vec![], finish_reasons, teacher })
    }

    fn charge(&mut self, charges: &Charges) {
        self.tally.prompt_tokens += charges.all.prompt_tokens;
        self.tally.completion_tokens += charges.all.completion_tokens;
        self.tally.cost_usd += charges.all.usd;
        self.tally.wasted_tokens += charges.wasted.completion_tokens;
    }

    fn push(&mut self, trace: Trace) -> Result<(), DatasetError> {
        self.lengths.push(trace.completion_tokens);
        let name = trace.finish_name.as_deref().unwrap_or(trace.finish_reason.as_str());
        *self.finish_reasons.entry(name.to_owned()).or_default() += 1;
        self.writer.push(trace)
    }

    fn reject(&mut self, reason: &str) {
        *self.tally.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    fn finish(self) -> Result<Tally, SamplingError> {
        let rows_out = self.writer.finish()?;
        let rows_in = rows_out + self.tally.rejected.values().sum::<u64>();
        let lengths = Histogram::of(self.lengths.iter().copied());
        let detail = Detail::Traces { teacher: self.teacher, lengths, finish_reasons: self.finish_reasons };
        Ok(Tally { rows_in, rows_out, detail, ..self.tally })
    }
}

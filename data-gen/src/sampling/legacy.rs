//! Answers that an older version paid for are not bought again. It kept traces in `<dir>/journal`, under an identity that
//! knew neither the endpoint's call nor who served the model. Such an answer is adopted where what it recorded agrees with
//! what is asked for now; what it did not record is kept as `unknown`.

use super::{SamplingConfig, SamplingError, training};
use distill_dataset::{Context, DatasetError, Digest, Entry, Journal, SamplingParams, Shard, Trace, TurnFormat};
use distill_teacher::{Answers, Cost, Identity};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// What becomes of the answers of older versions to the samples that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OldAnswers {
    /// Those that are used.
    pub adopted: u64,
    /// Those that are not, by what they disagree in.
    pub unadopted: BTreeMap<String, u64>,
}

/// An entry of the older version's journal: a trace that knew of its turn's format only the prefix.
#[derive(Serialize, Deserialize)]
struct Old {
    prefill: String,
    #[serde(flatten)]
    trace: Trace,
}

impl Entry for Old {
    fn key(&self) -> String {
        self.trace.id.clone()
    }
}

impl From<Old> for Trace {
    fn from(Old { prefill, trace }: Old) -> Trace {
        Trace { format: TurnFormat { prefix: prefill, ..TurnFormat::default() }, ..trace }
    }
}

/// The identity that the older version gave a sample: a hash of fields by their place. Kept to find what it bought.
pub(super) fn legacy_trace_id(
    problem_id: &str,
    teacher: &str,
    template_hash: &str,
    sampling: &SamplingParams,
    sample_index: u32,
) -> String {
    let mut digest = Digest::new("trace");
    digest.field(problem_id).field(teacher).field(template_hash);
    digest.field(&sampling.temperature.to_bits().to_string()).field(&sampling.top_p.to_bits().to_string());
    digest.field(&sampling.max_new_tokens.to_string()).field(&sample_index.to_string());
    digest.finish_short()
}

/// What is there of the samples that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Samples whose outcome is known.
    pub held: u64,
    /// Of the others: what older versions bought.
    pub old: OldAnswers,
    /// Bytes of the questions of those that are not there.
    pub missing_bytes: u64,
}

/// Counts what is in `dir`, the folder of everything ever asked of the teacher. Nothing is changed.
///
/// # Errors
/// When a journal cannot be read.
pub fn holdings(
    config: &SamplingConfig,
    problems: &[Shard],
    identity: &Identity,
    dir: &Path,
) -> Result<Holdings, DatasetError> {
    let mut counts = Holdings::default();
    let answers = if dir.join("answers").is_dir() { Some(Answers::open(dir)?) } else { None };
    let (journal, params) = (open(dir)?, config.params());
    let mut model = None;
    for problem in training(problems) {
        let problem = problem?;
        let bytes: usize = problem.messages.iter().map(|message| message.content.len()).sum();
        for index in 0..config.samples_per_problem {
            let variant = config.variant(index);
            let id = identity.sample_id(&problem.id, variant, index);
            if answers.as_ref().is_some_and(|answers| answers.contains(&id)) {
                counts.held += 1;
                continue;
            }
            counts.missing_bytes += bytes as u64;
            if variant.system.is_none()
                && let Some(journal) = &journal
                && let Some(old) = find(journal, &problem.id, identity, &params, index)?
            {
                count(&mut counts.old, disagreement(&old, identity, &params, &mut model));
            }
        }
    }
    Ok(counts)
}

/// Takes over every answer of the older version that is wanted, agrees, and is not there yet.
pub(super) fn adopt(
    config: &SamplingConfig,
    problems: &[Shard],
    identity: &Identity,
    answers: &Answers,
    context: &Context,
) -> Result<OldAnswers, SamplingError> {
    let mut counts = OldAnswers::default();
    if !dir_has_journal(answers.dir()) {
        return Ok(counts);
    }
    let sampling = config.params();
    let recorded = answers.model(identity)?;
    let mut model = recorded.clone();
    // Opened when something is missing: reading it whole takes its time.
    let mut journal = None;
    for problem in training(problems) {
        let problem = problem?;
        // The older version knew no system prompts of a sampling.
        for index in (0..config.samples_per_problem).filter(|index| config.variant(*index).system.is_none()) {
            let id = identity.sample_id(&problem.id, &sampling, index);
            if answers.contains(&id) {
                continue;
            }
            if let Err(stop) = context.cancel.check() {
                answers.sync()?;
                return Err(stop.into());
            }
            if journal.is_none() {
                journal = open(answers.dir())?;
            }
            let Some(journal) = &journal else { return Ok(counts) };
            let Some(old) = find(journal, &problem.id, identity, &sampling, index)? else { continue };
            let disagreement = disagreement(&old, identity, &sampling, &mut model);
            count(&mut counts, disagreement);
            if disagreement.is_none() {
                take_over(old, id, identity, &sampling, answers)?;
            }
        }
    }
    if let Some(model) = model.filter(|_| recorded.is_none()) {
        answers.keep_model(identity, &model)?;
    }
    answers.sync()?;
    Ok(counts)
}

fn dir_has_journal(dir: &Path) -> bool {
    dir.join("journal").is_file()
}

fn open(dir: &Path) -> Result<Option<Journal<Old>>, DatasetError> {
    if dir_has_journal(dir) { Journal::open(dir).map(Some) } else { Ok(None) }
}

/// The older version's answer to a sample: under our template, or under the endpoint's own.
fn find(
    journal: &Journal<Old>,
    problem_id: &str,
    identity: &Identity,
    sampling: &SamplingParams,
    index: u32,
) -> Result<Option<Trace>, DatasetError> {
    for template in [identity.template_hash.as_str(), ""] {
        let id = legacy_trace_id(problem_id, &identity.teacher, template, sampling, index);
        if let Some(old) = journal.get(&id)? {
            return Ok(Some(old.into()));
        }
    }
    Ok(None)
}

/// What an old answer disagrees in with what is asked for now, if anything. Model, revision and grammar agree: it would
/// not have been found otherwise.
fn disagreement(
    old: &Trace,
    identity: &Identity,
    sampling: &SamplingParams,
    model: &mut Option<String>,
) -> Option<&'static str> {
    if old.template_hash != identity.template_hash {
        return Some("template");
    }
    // The endpoint's chat call and our prompts could share an identity; only our prompts begin the answer.
    if !identity.api.is_empty() && old.format.prefix != identity.turn.prefix {
        return Some("api");
    }
    if old.sampling != *sampling {
        return Some("sampling");
    }
    if old.response_model.is_empty() {
        return None;
    }
    let expected = model.get_or_insert_with(|| old.response_model.clone());
    (*expected != old.response_model).then_some("response-model")
}

fn count(counts: &mut OldAnswers, disagreement: Option<&'static str>) {
    match disagreement {
        None => counts.adopted += 1,
        Some(reason) => *counts.unadopted.entry(reason.to_owned()).or_default() += 1,
    }
}

fn take_over(
    old: Trace,
    id: String,
    identity: &Identity,
    sampling: &SamplingParams,
    answers: &Answers,
) -> Result<(), DatasetError> {
    let cost = Cost {
        prompt_tokens: old.prompt_tokens.into(),
        completion_tokens: old.completion_tokens.into(),
        usd: old.cost_usd,
        ..Cost::default()
    };
    answers.adopt(identity.asked(sampling, None), &["api", "served-as"], cost, Trace { id, ..old })
}

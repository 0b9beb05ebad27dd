//! Attempts that an older version paid for are not bought again. It kept a teacher's answers with its evaluation only: the
//! finished stages of a store. An attempt is adopted where what was recorded of it agrees with what is asked for now:
//! model and revision, sampling, problem, index, seed. What was not recorded is kept as `unknown`.

use crate::{Attempt, EvaluateError, EvaluationConfig, attempt, held_out};
use distill_dataset::{
    Context, Dataset, DatasetError, FinishReason, Input, Manifest, Segment, ShardInfo, Trace, entries, read_regular,
};
use distill_teacher::{Answers, Ask, Cost, Identity, UNKNOWN};
use serde::Deserialize;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Most bytes of a manifest.
const MAX_MANIFEST: u64 = 1 << 28;

/// What the older version's manifest of an evaluation says of the request.
#[derive(Deserialize)]
struct OldManifest {
    format: u32,
    inputs: Vec<Input>,
    /// What the model was to the run, and how it was asked.
    config: (String, EvaluationConfig),
    files: Vec<ShardInfo>,
}

/// Takes over the attempts that are wanted of the teacher `identity` and not in `answers` yet, from the older version's
/// evaluations below `dir`, a folder each; how many.
///
/// # Errors
/// When there are no problems, a dataset cannot be read, the disk refuses, or a stop was asked for.
pub fn adopt(
    config: &EvaluationConfig,
    problems: &[Dataset],
    (identity, dir): (&Identity, &Path),
    answers: &Answers,
    context: &Context,
) -> Result<u64, EvaluateError> {
    let old = agreeing(dir, config, identity)?;
    if old.is_empty() {
        return Ok(0);
    }
    let mut wanted: HashMap<(String, u32), Ask> = HashMap::new();
    for problem in held_out(problems, config, context)? {
        for index in 0..config.samples_per_problem {
            let ask = attempt(config, &problem, index, identity, context.seed);
            if !answers.contains(&ask.id) {
                wanted.insert((problem.id.clone(), index), ask);
            }
        }
    }
    let mut adopted = 0;
    for row in old.iter().flat_map(Dataset::rows::<Attempt>) {
        context.cancel.check()?;
        let row = row?;
        let key = (row.problem_id.clone(), row.sample_index);
        // Our own template's beginning is in the turn, or the turn was not made with it.
        let fits = |ask: &Ask| ask.seed == row.seed && row.turn.starts_with(&identity.turn.prefix);
        if !wanted.get(&key).is_some_and(fits) || row.finish_reason == FinishReason::Unknown {
            continue;
        }
        let Some(ask) = wanted.remove(&key) else { continue };
        let cost = Cost {
            prompt_tokens: row.prompt_tokens.into(),
            completion_tokens: row.completion_tokens.into(),
            // What it cost in dollars was not recorded.
            estimated: true,
            ..Cost::default()
        };
        let asked = identity.asked(&config.params(), Some(ask.seed));
        let unrecorded = ["api", "template", "prefill", "served-as"];
        answers.adopt(asked, &unrecorded, cost, trace_of(row, &ask, config, identity))?;
        adopted += 1;
    }
    answers.sync()?;
    Ok(adopted)
}

/// The older version's evaluations of that teacher with that sampling.
fn agreeing(dir: &Path, config: &EvaluationConfig, identity: &Identity) -> Result<Vec<Dataset>, DatasetError> {
    let mut folders = entries(dir).map_err(DatasetError::io("list", dir))?;
    folders.sort();
    // One that is unfinished, or of today, is none of these.
    let read = |folder: PathBuf| {
        let text = read_regular(&folder.join("manifest.json"), MAX_MANIFEST).ok()?;
        let manifest: OldManifest = serde_json::from_slice(&text).ok()?;
        let files = manifest.files.clone();
        agrees(&manifest, config, identity).then(|| Dataset::new(folder, Manifest { files, ..Manifest::default() }))
    };
    Ok(folders.into_iter().filter_map(read).collect())
}

fn agrees(manifest: &OldManifest, config: &EvaluationConfig, identity: &Identity) -> bool {
    let (subject, recorded) = &manifest.config;
    let is_model = |input: &Input| input.name == "model" && input.digest == identity.teacher;
    manifest.format == 1
        && subject == "teacher"
        && manifest.inputs.iter().any(is_model)
        && recorded.params() == config.params()
}

fn trace_of(row: Attempt, ask: &Ask, config: &EvaluationConfig, identity: &Identity) -> Trace {
    let text = row.turn[identity.turn.prefix.len()..].to_owned();
    let (num_bytes, num_tokens) = (text.len() as u32, row.completion_tokens);
    Trace {
        id: ask.id.clone(),
        problem_id: row.problem_id,
        sample_index: row.sample_index,
        format: identity.turn.clone(),
        text,
        finish_reason: row.finish_reason,
        segments: vec![Segment { num_bytes, num_tokens, finish_reason: row.finish_reason }],
        teacher: identity.teacher.clone(),
        response_model: String::new(),
        template_hash: UNKNOWN.to_owned(),
        sampling: config.params(),
        seed: row.seed,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        token_ids: row.token_ids,
        cost_usd: 0.0,
        finish_name: None,
        system: None,
        claims: None,
    }
}

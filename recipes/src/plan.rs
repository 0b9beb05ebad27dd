//! What a run would do and cost, before anything is spent.

use crate::{
    recipe::{BaseConfig, Recipe, TeacherConfig},
    session::{Session, State},
};
use anyhow::Result;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_data_gen::ProblemsConfig;
use distill_dataset::Detail;
use serde::Serialize;
use std::fmt::Write;

/// What a source's sampling asks for, at most.
#[derive(Debug, Serialize)]
struct Sampling {
    teacher: String,
    /// Requests at most, where the number of problems is known already.
    requests: Option<u64>,
    completion_tokens_at_most: Option<u64>,
    usd_at_most: Option<f64>,
}

/// The plan of a session in `Mode::Plan`.
///
/// # Errors
/// When the student's configuration cannot be read.
pub fn render(session: &Session, recipe: &Recipe, as_json: bool) -> Result<String> {
    let sampling: Vec<Sampling> =
        (0..recipe.sources.len()).filter_map(|index| of_source(session, recipe, index)).collect();
    let memory = training_memory(recipe)?;
    if as_json {
        let value = serde_json::json!({
            "name": recipe.name, "stages": session.record.stages, "sampling": sampling, "training_memory_bytes": memory,
        });
        return Ok(serde_json::to_string_pretty(&value)? + "\n");
    }
    let mut text = format!("{} (seed {})\n\n", recipe.name, recipe.seed);
    for stage in &session.record.stages {
        let state = if stage.state == State::Pending { "to do" } else { "done" };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  {state:<6} {}", stage.label);
    }
    for source in &sampling {
        let count =
            |value: Option<u64>| value.map_or("known once the problems are made".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "\nteacher {}", source.teacher);
        let _ = writeln!(text, "  requests                   {}", count(source.requests));
        let _ = writeln!(text, "  completion tokens, at most {}", count(source.completion_tokens_at_most));
        if let Some(usd) = source.usd_at_most.filter(|usd| *usd > 0.0) {
            let _ = writeln!(text, "  cost, at most              ${usd:.2}, prompts aside");
        }
    }
    if let Some(bytes) = memory {
        let _ = writeln!(
            text,
            "\nweights, gradients and moments {:.1} MiB, activations aside",
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(text)
}

fn of_source(session: &Session, recipe: &Recipe, index: usize) -> Option<Sampling> {
    let source = &recipe.sources[index];
    let sampling = source.sampling.as_ref()?;
    let (teacher, price) = match &source.teacher {
        TeacherConfig::WorkedSolutions => return None,
        TeacherConfig::Local { dir, .. } => (dir.file_name()?.to_string_lossy().into_owned(), 0.0),
        TeacherConfig::Http(config) => (config.endpoint.model.clone(), config.endpoint.usd_per_million_tokens[1]),
    };
    let label = if index == 0 { "problems".to_owned() } else { format!("problems-{}", index + 1) };
    let stage = session.record.stages.iter().find(|stage| stage.label == label && stage.state != State::Pending);
    let made = stage.and_then(|stage| session.store.stage(&stage.stage, &stage.key).manifest().ok().flatten());
    let train = match made.map(|manifest| manifest.tally.detail) {
        Some(Detail::Problems { train, .. }) => Some(train),
        _ => match &source.problems {
            ProblemsConfig::Generator(generator) => Some(u64::from(generator.count().saturating_sub(source.holdout))),
            ProblemsConfig::File { .. } => None,
        },
    };
    let requests = train.map(|train| train * u64::from(sampling.samples_per_problem));
    let tokens = requests.map(|requests| requests * u64::from(sampling.max_new_tokens));
    let usd_at_most = tokens.map(|tokens| tokens as f64 * price / 1e6);
    Some(Sampling { teacher, requests, completion_tokens_at_most: tokens, usd_at_most })
}

/// Weights, gradients and two moments in float32.
fn training_memory(recipe: &Recipe) -> Result<Option<u64>> {
    let Some(student) = &recipe.student else { return Ok(None) };
    let config = match &student.base {
        BaseConfig::Checkpoint { path, .. } => Checkpoint::open(path)?.config().clone(),
        BaseConfig::Config { config, .. } => ModelConfig::load(config)?,
    };
    Ok(Some(config.num_parameters() as u64 * 16))
}

//! What a run would do and cost, before anything is spent.

use crate::{
    recipe::{BaseConfig, Recipe, TeacherConfig},
    record::State,
    session::Session,
    teachers::Teacher,
};
use anyhow::Result;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_data_gen::{Holdings, OldAnswers, ProblemsConfig};
use distill_dataset::{Dataset, Detail};
use serde::Serialize;
use std::fmt::Write;

/// What a source's sampling asks for, at most.
#[derive(Debug, Serialize)]
struct Sampling {
    teacher: String,
    /// Requests still to be made at most, where the number of problems is known already.
    requests: Option<u64>,
    completion_tokens_at_most: Option<u64>,
    usd_at_most: Option<f64>,
    /// Answers that were paid for, where the problems are made already.
    answers: Option<Holdings>,
}

/// The plan of a session in `Mode::Plan`.
///
/// # Errors
/// When the student's configuration cannot be read.
pub fn render(session: &Session, recipe: &Recipe, as_json: bool) -> Result<String> {
    let mut sampling = Vec::new();
    for index in 0..recipe.sources.len() {
        sampling.extend(of_source(session, recipe, index)?);
    }
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
        if let Some(Holdings { held, old }) = source.answers.as_ref().filter(|there| **there != Holdings::default()) {
            let _ = writeln!(text, "  answers that are there      {held}");
            if *old != OldAnswers::default() {
                let _ = writeln!(text, "  answers of an older version {} used again", old.adopted);
            }
            for (reason, count) in &old.unadopted {
                let _ = writeln!(text, "                              {count} not used: another {reason}");
            }
        }
        let _ = writeln!(text, "  requests                    {}", count(source.requests));
        let _ = writeln!(text, "  completion tokens, at most  {}", count(source.completion_tokens_at_most));
        if let Some(usd) = source.usd_at_most.filter(|usd| *usd > 0.0) {
            let _ = writeln!(text, "  cost, at most               ${usd:.2}, prompts aside");
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

fn of_source(session: &Session, recipe: &Recipe, index: usize) -> Result<Option<Sampling>> {
    let source = &recipe.sources[index];
    let Some(sampling) = &source.sampling else { return Ok(None) };
    let Some(teacher) = Teacher::of(source, &session.outside)? else { return Ok(None) };
    let price = match &source.teacher {
        TeacherConfig::Http(config) => {
            let places = config.endpoint.places();
            // The dearest may have to do it all.
            places.iter().map(|place| place.usd_per_million_tokens.unwrap_or_default()[1]).fold(0.0, f64::max)
        }
        TeacherConfig::Local { .. } | TeacherConfig::WorkedSolutions => 0.0,
    };
    let label = if index == 0 { "problems".to_owned() } else { format!("problems-{}", index + 1) };
    let stage = session.record.stages.iter().find(|stage| stage.label == label && stage.state != State::Pending);
    let dir = stage.map(|stage| session.store.stage(&stage.stage, &stage.key));
    let made = dir.as_ref().map(|dir| dir.manifest()).transpose()?.flatten();
    let answers = match (dir, &made) {
        (Some(dir), Some(manifest)) => {
            let shards: Vec<_> = Dataset::new(dir.path().to_owned(), manifest.clone()).shards().collect();
            let folder = session.store.samples(&teacher.folder());
            Some(distill_data_gen::holdings(sampling, &shards, &teacher.asked()?, &folder)?)
        }
        _ => None,
    };
    let train = match made.as_ref().map(|manifest| &manifest.tally.detail) {
        Some(Detail::Problems { train, .. }) => Some(*train),
        _ => match &source.problems {
            ProblemsConfig::Generator(generator) => Some(u64::from(generator.count().saturating_sub(source.holdout))),
            ProblemsConfig::File { .. } => None,
        },
    };
    let there = answers.as_ref().map_or(0, |there| there.held + there.old.adopted);
    let requests = train.map(|train| (train * u64::from(sampling.samples_per_problem)).saturating_sub(there));
    let tokens = requests.map(|requests| requests * u64::from(sampling.max_new_tokens));
    let usd_at_most = tokens.map(|tokens| tokens as f64 * price / 1e6);
    let teacher = teacher.name;
    Ok(Some(Sampling { teacher, requests, completion_tokens_at_most: tokens, usd_at_most, answers }))
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

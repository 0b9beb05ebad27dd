//! Before the first request is sent: everything that a later stage would refuse is tried now, while it costs nothing.
//!
//! All problems are made and split already. What is checked here: who is to answer, the device, the base model with its
//! tokenizer and both templates on three problems of every source, held-out problems, licences, and room on the disk.

use crate::{
    recipe::{BaseConfig, Recipe, TeacherConfig},
    teachers::{self, Secrets},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::{Dataset, Detail, Message, Problem, Split, TurnFormat, with_system};
use distill_teacher::HttpTeacherConfig;
use std::path::{Path, PathBuf};

/// Problems of each source that are rendered and tokenised.
const TRIED: usize = 3;

/// Where the run is to happen.
pub(crate) struct Place {
    /// `cpu`, `cuda` or `cuda:N`.
    pub(crate) device: String,
    /// The store's folder.
    pub(crate) store: PathBuf,
}

/// Checks a recipe against the problems of its sources.
///
/// # Errors
/// The first thing that a later stage would refuse, and what to do about it.
pub(crate) fn check(recipe: &Recipe, problems: &[Dataset], place: &Place, secrets: Secrets<'_>) -> Result<()> {
    let check = || {
        keys(recipe, secrets)?;
        money(recipe)?;
        gpus(recipe)?;
        log_probs(recipe)?;
        held_out(recipe, problems)?;
        licences(recipe, problems)?;
        if recipe.student.is_some() {
            distill_model::device(&place.device).map(drop)?;
        }
        student(recipe, problems, &place.store)
    };
    check().context("nothing was sampled")
}

/// Every endpoint's key is at hand.
fn keys(recipe: &Recipe, secrets: Secrets<'_>) -> Result<()> {
    for (_, teacher, _) in recipe.asked() {
        let TeacherConfig::Http(config) = teacher else { continue };
        let places = config.endpoint.places();
        let own = places.iter().filter_map(|place| place.api_key_env.as_ref());
        teachers::own_key(config, secrets)?;
        for name in own {
            teachers::key(name, secrets)?;
        }
    }
    Ok(())
}

/// Budgets of money can be counted: what is charged is known, and in their currency.
fn money(recipe: &Recipe) -> Result<()> {
    for (table, teacher, sampling) in recipe.asked() {
        if let Some(endpoint) = endpoint(teacher) {
            let checked = endpoint.check_budget(&sampling.budget());
            checked.map_err(|message| anyhow!("`{table}.sampling`: {message}"))?;
        }
    }
    let Some(evaluation) = recipe.evaluation.as_ref().filter(|evaluation| evaluation.teacher) else { return Ok(()) };
    let teacher = recipe.sources.iter().find(|source| !matches!(source.teacher, TeacherConfig::WorkedSolutions));
    match teacher.and_then(|source| endpoint(&source.teacher)).filter(|_| recipe.student.is_some()) {
        Some(endpoint) => {
            endpoint.check_budget(&evaluation.budget()).map_err(|message| anyhow!("`evaluation`: {message}"))
        }
        None => Ok(()),
    }
}

fn endpoint(teacher: &TeacherConfig) -> Option<&HttpTeacherConfig> {
    match teacher {
        TeacherConfig::Http(config) => Some(&config.endpoint),
        TeacherConfig::Local { .. } | TeacherConfig::WorkedSolutions => None,
    }
}

/// A budget of GPU-hours can be counted.
fn gpus(recipe: &Recipe) -> Result<()> {
    for (table, teacher, sampling) in recipe.asked() {
        let limited = sampling.budget_gpu_hours.is_some();
        let known = matches!(teacher, TeacherConfig::Http(config) if config.endpoint.gpus.is_some());
        ensure!(
            known || !limited,
            "`{table}.sampling.budget-gpu-hours`: expected `gpus` in `{table}.teacher.http`, found none\nhint: say how many GPUs are behind the endpoints, or use `budget-hours`"
        );
    }
    Ok(())
}

/// Log-probabilities are asked only of who can tell them.
fn log_probs(recipe: &Recipe) -> Result<()> {
    for (index, source) in recipe.sources.iter().enumerate() {
        if source.sampling.as_ref().is_none_or(|sampling| sampling.log_probabilities.is_none()) {
            continue;
        }
        let key = format!("`sources.{index}.sampling.log-probabilities`");
        let TeacherConfig::Http(config) = &source.teacher else {
            bail!(
                "{key}: expected an endpoint as `teacher`, found another: only endpoints tell log-probabilities\nhint: serve the checkpoint and name it in `teacher.http`, or remove the key"
            );
        };
        let twice = ["logprobs", "top_logprobs"].into_iter().find(|name| config.endpoint.body.contains_key(*name));
        if let Some(name) = twice {
            bail!("{key}: expected no {name:?} in this source's `teacher.http.body` beside it, found one");
        }
    }
    Ok(())
}

/// An evaluation has something to evaluate on, and a source something to sample.
fn held_out(recipe: &Recipe, problems: &[Dataset]) -> Result<()> {
    let (mut train, mut holdout) = (0, 0);
    for dataset in problems {
        if let Detail::Problems { train: more, holdout: held, .. } = &dataset.manifest.tally.detail {
            train += more;
            holdout += held;
        }
    }
    ensure!(train > 0, "expected training problems, found none\nhint: lower `holdout`, or add problems");
    let evaluated = recipe.student.is_some() && recipe.evaluation.is_some();
    ensure!(
        !evaluated || holdout > 0,
        "`[evaluation]`: expected held-out problems, found none\nhint: set `holdout` in a source"
    );
    Ok(())
}

/// What is published may be published.
fn licences(recipe: &Recipe, problems: &[Dataset]) -> Result<()> {
    let Some(config) = recipe.publish.as_ref().filter(|_| recipe.student.is_some()) else { return Ok(()) };
    let manifests: Vec<_> = problems.iter().map(|dataset| dataset.manifest.clone()).collect();
    let has_base = matches!(recipe.student.as_ref().map(|student| &student.base), Some(BaseConfig::Checkpoint { .. }));
    Ok(distill_publish::check_licences(config, &manifests, has_base)?)
}

/// The student can be made, and can be taught three problems of each source.
fn student(recipe: &Recipe, problems: &[Dataset], store: &Path) -> Result<()> {
    let Some(student) = &recipe.student else { return Ok(()) };
    let scratch = Scratch(store.join(format!("preflight-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0).with_context(|| format!("cannot create {}", scratch.0.display()))?;
    let folder = match &student.base {
        BaseConfig::Config { config, tokenizer } => {
            ModelConfig::load(config)?;
            tokenizer
        }
        BaseConfig::Checkpoint { path, surgery } => {
            let checkpoint = Checkpoint::open(path)?;
            match checkpoint.vocabulary() {
                Some(vocabulary) => vocabulary.write_files(&scratch.0)?,
                None => Chat::copy_files(path, &scratch.0)?,
            }
            distill_chat::add_tokens(&scratch.0, &surgery.add_tokens, &surgery.add_special_tokens)?;
            &scratch.0
        }
    };
    let chat = Chat::load_with(folder, student.chat_template.as_deref())?;
    Chat::load_with(folder, student.publish_template.as_deref()).context("`publish-template`")?;
    for (source, dataset) in recipe.sources.iter().zip(problems) {
        let systems = source.sampling.as_ref().map_or(&[][..], |sampling| &sampling.system_prompts);
        let systems: Vec<_> =
            systems.iter().filter(|system| !system.is_empty()).map(|system| Some(&**system)).collect();
        let rows = dataset.rows::<Problem>().filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Train));
        for problem in rows.take(TRIED) {
            let problem = problem?;
            for system in systems.iter().copied().chain([None]) {
                let mut messages = with_system(&problem.messages, system);
                messages.push(Message::assistant(TurnFormat::default().join("One step.", "It is \\boxed{1}.")));
                chat.encode_example(&messages).context("the chat template cannot be trained with")?;
            }
        }
    }
    Ok(())
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a few small files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Before the first request is sent: everything that a later stage would refuse is tried now, while it costs nothing.
//!
//! Paths are looked at before anything is made; where one leads nowhere, all that can be tried without problems is told with it.
//! Once all problems are made and split: who is to answer, the device, the base model with its tokenizer and both templates on
//! three problems of every source, held-out problems, licences. All that is wrong is told together.

use crate::{
    doubts,
    explained::explain,
    filtering,
    identity::Outside,
    recipe::{BaseConfig, BenchmarkConfig, Recipe, TeacherConfig},
    run::Begun,
    session::{Session, ready},
    student,
    teachers::{self, Secrets, Teacher},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_data_gen::ProblemsConfig;
use distill_dataset::{Dataset, Detail, Message, Problem, Split, TurnFormat, with_system};
use distill_teacher::HttpTeacher;
use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// Problems of each source that are rendered and tokenised.
const TRIED: usize = 3;

/// What a recipe asks for that cannot be had here: nothing was begun, least of all bought.
#[derive(Debug)]
pub struct Unfit {
    /// Each with what was expected, what was found, and what to do.
    pub faults: Vec<String>,
}

impl Unfit {
    /// An error where there is a fault.
    fn of(faults: Vec<String>) -> Result<(), Unfit> {
        if faults.is_empty() { Ok(()) } else { Err(Unfit { faults }) }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.faults[..] {
            [one] => write!(f, "nothing was begun: {one}"),
            all => {
                write!(f, "nothing was begun: {} things are wrong", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n- {}", fault.replace('\n', "\n  ")))
            }
        }
    }
}

impl std::error::Error for Unfit {}

/// Where the run is to happen.
pub(crate) struct Place {
    /// `cpu`, `cuda` or `cuda:N`.
    pub(crate) device: String,
    /// The store's folder, where digests are remembered.
    pub(crate) store: PathBuf,
    /// Where a few small files may lie for a moment.
    pub(crate) scratch: PathBuf,
}

/// Tries everything once, before the first stage that is not done yet.
pub(crate) struct Preflight<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) begun: &'a Begun,
    pub(crate) place: Place,
    pub(crate) secrets: Secrets<'a>,
    pub(crate) is_done: Cell<bool>,
}

impl Preflight<'_> {
    /// Tries everything, the first time that it is called.
    ///
    /// # Errors
    /// All that a later stage would refuse.
    pub(crate) fn once(&self) -> Result<()> {
        if !self.is_done.replace(true) {
            Unfit::of(faults(self.recipe, self.begun, &self.place, self.secrets)?)?;
            doubts::of(self.recipe).iter().for_each(|doubt| tracing::warn!("{doubt}"));
        }
        Ok(())
    }
}

/// The files and folders that a recipe names are there.
///
/// # Errors
/// Every path that leads nowhere, with its key, and then all else that can be seen without problems.
pub(crate) fn named(session: &Session, recipe: &Recipe, secrets: Secrets<'_>) -> Result<(), Unfit> {
    let mut faults = paths(recipe);
    faults.extend(filtering::check_files(session, recipe).iter().map(explain));
    if !faults.is_empty() {
        faults.extend(without_problems(recipe, &session.place().device, secrets));
    }
    Unfit::of(faults)
}

/// Every path that leads nowhere, with its key.
fn paths(recipe: &Recipe) -> Vec<String> {
    let mut faults = Vec::new();
    let mut look = |key: String, looked: Result<()>| {
        faults.extend(looked.err().map(|error| format!("`{key}`: {}", explain(&error))));
    };
    for (index, source) in recipe.sources.iter().enumerate() {
        look(format!("sources.{index}.problems"), problems_there(&source.problems));
    }
    for (key, teacher, _) in recipe.askers() {
        match teacher {
            TeacherConfig::Local { dir, .. } => look(format!("{key}.local"), checkpoint_there(dir)),
            TeacherConfig::Http(config) => {
                let chat = config.chat.as_deref().map_or(Ok(()), |dir| Ok(Chat::load(dir).map(drop)?));
                look(format!("{key}.http.chat"), chat);
            }
            TeacherConfig::WorkedSolutions | TeacherConfig::ReadyTraces(_) => {}
        }
    }
    if let Some(problems) = &recipe.evaluated_on {
        look("evaluation.problems".to_owned(), problems_there(problems));
    }
    for (index, BenchmarkConfig { problems, .. }) in recipe.benchmarks.iter().enumerate() {
        look(format!("benchmarks.{index}.problems"), problems_there(problems));
    }
    if let Some(student) = &recipe.student {
        match &student.base {
            BaseConfig::Checkpoint { path, .. } => look("student.base.checkpoint".to_owned(), checkpoint_there(path)),
            BaseConfig::Config { config, tokenizer } => {
                look("student.base.config".to_owned(), ModelConfig::load(config).map(drop).map_err(Into::into));
                look("student.base.tokenizer".to_owned(), Chat::load_for_text(tokenizer).map(drop).map_err(Into::into));
            }
        }
        let templates = [("chat-template", &student.chat_template), ("publish-template", &student.publish_template)];
        for (key, path) in templates.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
            look(
                format!("student.{key}"),
                distill_dataset::open_regular(path)
                    .map(drop)
                    .with_context(|| format!("cannot read {}", path.display())),
            );
        }
    }
    faults
}

fn problems_there(problems: &ProblemsConfig) -> Result<()> {
    if let ProblemsConfig::File { path, format, .. } = problems {
        distill_data_gen::problem_files(path, *format)?;
    }
    Ok(())
}

fn checkpoint_there(path: &Path) -> Result<()> {
    let hint = "hint: paths in a recipe are relative to the recipe's own folder";
    student::there(path).map_err(|missing| anyhow!("{missing}\n{hint}"))
}

/// All that a later stage would refuse of a recipe and the problems of its sources, and what to do about it.
///
/// # Errors
/// When the problems are not made yet.
pub(crate) fn faults(recipe: &Recipe, begun: &Begun, place: &Place, secrets: Secrets<'_>) -> Result<Vec<String>> {
    let (problems, evaluated) = (ready(&begun.problems)?, ready(&begun.evaluated)?);
    let mut faults = without_problems(recipe, &place.device, secrets);
    let checks = [
        held_out(recipe, &problems, &evaluated),
        licences(recipe, &problems),
        teachers(recipe, place),
        student(recipe, &problems, &place.scratch),
    ];
    faults.extend(checks.into_iter().filter_map(Result::err).map(|error| explain(&error)));
    Ok(faults)
}

/// What can be tried before there are problems, paths aside.
fn without_problems(recipe: &Recipe, device: &str, secrets: Secrets<'_>) -> Vec<String> {
    let device = distill_model::device(device).map(drop).context("`--device`");
    let checks = [money(recipe), gpus(recipe), contexts(recipe), log_probs(recipe), device, calls(recipe)];
    let checks = keys(recipe, secrets).into_iter().chain(checks);
    checks.filter_map(Result::err).map(|error| explain(&error)).collect()
}

/// Endpoints can be called as the recipe says: prompts that are rendered here have a template. Nothing is sent.
fn calls(recipe: &Recipe) -> Result<()> {
    for (key, teacher, _) in recipe.askers() {
        let TeacherConfig::Http(config) = teacher else { continue };
        if config.chat.is_none() {
            HttpTeacher::new(config.endpoint.clone(), None, None).with_context(|| format!("`{key}.http`"))?;
        }
    }
    Ok(())
}

/// Checkpoints that answer can be opened, and their cache holds the longest answer.
fn teachers(recipe: &Recipe, place: &Place) -> Result<()> {
    let outside = Outside::read(&place.store);
    for (key, config, longest) in recipe.askers() {
        let TeacherConfig::Local { .. } = config else { continue };
        let Some(teacher) = Teacher::of(config, &outside)? else { continue };
        teacher.asked().with_context(|| format!("`{key}.local`"))?;
        // A device that is not there is told by itself.
        if distill_model::device(&place.device).is_ok() {
            teacher.plan(&place.device, longest)?;
        }
    }
    Ok(())
}

/// Whether every endpoint's key and secret headers are at hand, each once.
fn keys(recipe: &Recipe, secrets: Secrets<'_>) -> Vec<Result<()>> {
    let (mut looked, mut tried) = (Vec::new(), BTreeSet::new());
    for (_, teacher, _) in recipe.askers() {
        let TeacherConfig::Http(config) = teacher else { continue };
        let own = (&config.api_key_env, &config.api_key_file);
        if tried.insert(format!("{own:?}")) {
            looked.push(teachers::own_key(config, secrets).map(drop));
        }
        for name in config.endpoint.places().into_iter().filter_map(|place| place.api_key_env) {
            if tried.insert(format!("{:?}", (Some(&name), None::<PathBuf>))) {
                looked.push(teachers::key(&name, secrets).map(drop));
            }
        }
        for (header, name) in &config.endpoint.headers_env {
            looked.push(teachers::secret_header(header, name, secrets).map(drop));
        }
    }
    looked
}

/// Budgets of money can be counted: what is charged is known, and in their currency.
fn money(recipe: &Recipe) -> Result<()> {
    for (table, teacher, sampling) in recipe.asked() {
        if let Some(endpoint) = teacher.endpoint() {
            let checked = endpoint.check_budget(&sampling.budget());
            checked.map_err(|message| anyhow!("`{table}.sampling`: {message}"))?;
        }
    }
    let Some(evaluation) = &recipe.evaluation else { return Ok(()) };
    for (_, teacher) in recipe.compared() {
        if let Some(endpoint) = teacher.endpoint() {
            let checked = endpoint.check_budget(&evaluation.budget());
            checked.map_err(|message| anyhow!("`evaluation`: {message}"))?;
        }
    }
    Ok(())
}

/// A budget of GPU-hours can be counted.
fn gpus(recipe: &Recipe) -> Result<()> {
    for (table, teacher, sampling) in recipe.asked() {
        let limited = sampling.budget_gpu_hours.is_some();
        let known = teacher.endpoint().is_some_and(|endpoint| endpoint.gpus.is_some());
        ensure!(
            known || !limited,
            "`{table}.sampling.budget-gpu-hours`: expected `gpus` in `{table}.teacher.http`, found none\nhint: say how many GPUs are behind the endpoints, or use `budget-hours`"
        );
    }
    Ok(())
}

/// A server that is launched for the recipe has room for its answers.
fn contexts(recipe: &Recipe) -> Result<()> {
    for (key, teacher, longest) in recipe.askers() {
        if let TeacherConfig::Http(config) = teacher
            && let Some(launch) = &config.launch
        {
            launch.check_context(longest).map_err(|message| anyhow!("`{key}.http`: {message}"))?;
        }
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
        if let Some(host) = config.endpoint.profile().filter(|host| host.refuses_log_probs()) {
            bail!(
                "{key}: expected a host that tells log-probabilities, found {}: its documentation says that it refuses them\nhint: remove the key",
                host.title
            );
        }
        let twice = ["logprobs", "top_logprobs"].into_iter().find(|name| config.endpoint.body.contains_key(*name));
        if let Some(name) = twice {
            bail!("{key}: expected no {name:?} in this source's `teacher.http.body` beside it, found one");
        }
    }
    Ok(())
}

/// An evaluation has something to evaluate on, and a source something to sample.
fn held_out(recipe: &Recipe, problems: &[Dataset], evaluated: &[Dataset]) -> Result<()> {
    let (mut train, mut holdout) = (0, 0);
    for dataset in problems {
        if let Detail::Problems { train: more, holdout: held, .. } = &dataset.manifest.tally.detail {
            train += more;
            holdout += held;
        }
    }
    let sampled = !recipe.sources.is_empty();
    ensure!(!sampled || train > 0, "expected training problems, found none\nhint: lower `holdout`, or add problems");
    let Some(config) = &recipe.evaluation else { return Ok(()) };
    let rows: u64 = evaluated.iter().map(|dataset| dataset.manifest.tally.rows_out).sum();
    let found = if config.every_problem { rows } else { holdout };
    ensure!(
        found > 0,
        "`[evaluation]`: expected held-out problems, found none\nhint: set `holdout` in a source, or give it `problems` of its own"
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
fn student(recipe: &Recipe, problems: &[Dataset], scratch: &Path) -> Result<()> {
    let Some(student) = &recipe.student else { return Ok(()) };
    let refused = || format!("cannot create a folder in {}", scratch.display());
    std::fs::create_dir_all(scratch).with_context(refused)?;
    let held = tempfile::Builder::new().prefix("preflight-").tempdir_in(scratch).with_context(refused)?;
    let scratch = held.path();
    let folder = match &student.base {
        BaseConfig::Config { config, tokenizer } => {
            ModelConfig::load(config)?;
            tokenizer
        }
        BaseConfig::Checkpoint { path, surgery } => {
            let checkpoint = Checkpoint::open(path)?;
            match checkpoint.vocabulary() {
                Some(vocabulary) => vocabulary.write_files(scratch)?,
                None => Chat::copy_files(path, scratch)?,
            }
            distill_chat::add_tokens(scratch, &surgery.add_tokens, &surgery.add_special_tokens)?;
            scratch
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
                chat.encode_example(&messages).with_context(|| {
                    let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
                    format!(
                        "the chat template cannot be trained with, tried on problem {} of {} ({})\nhint: give `student.chat-template` a template that renders these roles, or leave such rows out of the file",
                        problem.id,
                        problem.source,
                        roles.join(", ")
                    )
                })?;
            }
        }
    }
    Ok(())
}

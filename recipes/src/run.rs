//! The whole path, top to bottom: what a row of data goes through, in order.
//!
//! `problems → traces → measures → selection → export, examples → student → evaluation → published`

use crate::{
    identity,
    recipe::{BaseConfig, Recipe, SourceConfig},
    session::{Interrupted, Session, Slot, Spec, ready},
    teachers::{Secrets, Teacher},
    verify,
};
use anyhow::{Context as _, Result};
use distill_data_gen::{ProblemsConfig, SamplingError};
use distill_dataset::{Dataset, Manifest, Problem};
use distill_evaluate::{EvaluateError, EvaluationConfig};
use distill_filters::FilterError;
use distill_publish::Lineage;
use distill_student::{Base, TrainError};
use distill_teacher_local::{LocalTeacher, Placement};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The last stage that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Traces.
    Sample,
    /// Decisions.
    Filter,
    /// The shareable dataset.
    Export,
    /// The trained checkpoint.
    Train,
    /// Scores.
    Evaluate,
    /// Everything.
    Publish,
}

/// Runs every stage up to `until` that is not done, or, in a plan, says which are missing.
///
/// # Errors
/// What the first failing stage says; stages before it are done and stay done.
pub fn run(session: &mut Session, recipe: &Recipe, until: Until, secrets: Secrets<'_>) -> Result<()> {
    let mut problems = Vec::new();
    let mut traces = Vec::new();
    for (index, source) in recipe.sources.iter().enumerate() {
        let made = make_problems(session, source, index)?;
        traces.push(make_traces(session, source, index, &made, secrets)?);
        problems.push(made);
    }
    if until == Until::Sample {
        return Ok(());
    }
    let (measures, selection) = filter(session, recipe, &problems, &traces)?;
    if until == Until::Filter {
        return Ok(());
    }
    let data = Data { problems: &problems, traces: &traces, selection: &selection };
    if let Some(config) = &recipe.export {
        let spec = data.inputs(Spec::new("export", 1, config)?);
        let verdicts = recipe.filters.iter().position(|filter| filter.kind() == "verify").map(|at| &measures[at]);
        session.stage(verdicts.into_iter().fold(spec, |spec, slot| spec.input("verdicts", slot)), |context, out| {
            let (problems, traces) = (ready(&problems)?, ready(&traces)?);
            let verdicts = verdicts.map(Slot::ready).transpose()?;
            let tally = distill_filters::export(&problems, &traces, selection.ready()?, verdicts, context, out)?;
            let lineage = data.lineage()?;
            let card = distill_publish::data_card(&config.dataset_name, &config.license, &lineage, tally.rows_out);
            std::fs::write(out.join("README.md"), card).context("cannot write the dataset's card")?;
            Ok(tally)
        })?;
    }
    let Some(student) = &recipe.student else {
        return if until < Until::Train || until == Until::Publish { Ok(()) } else { missing("[student]", "trained") };
    };
    if until == Until::Export {
        return Ok(());
    }

    let examples = session.stage(data.inputs(Spec::new("examples", 1, &())?), |context, out| {
        let (problems, traces) = (ready(&problems)?, ready(&traces)?);
        Ok(distill_filters::examples(&problems, &traces, selection.ready()?, context, out)?)
    })?;
    let base = base_model(session, &student.base)?;
    let device = session.device.clone();
    let mut spec =
        base.input(Spec::new("training", 3, &student.training.keyed())?, "base").input("examples", &examples);
    for (name, template) in [("chat-template", &student.chat_template), ("publish-template", &student.publish_template)]
    {
        if let Some(path) = template {
            spec = spec.outside(name, identity::digest_all("template", std::slice::from_ref(path))?);
        }
    }
    let trained = session.stage(spec, |context, out| {
        let examples = [examples.ready()?.clone()];
        let base = Base {
            dir: base.dir()?,
            chat_template: student.chat_template.as_deref(),
            publish_template: student.publish_template.as_deref(),
        };
        Ok(distill_student::train(base, &examples, &student.training, &device, context, out)?)
    })?;
    if until == Until::Train {
        return Ok(());
    }

    let mut evaluations = Vec::new();
    if let Some(config) = &recipe.evaluation {
        let after = Model::Made(Box::new(trained.clone()));
        for (subject, model) in [("before", &base), ("after", &after)] {
            evaluations.push(evaluate_checkpoint(session, config, subject, model, &problems)?);
        }
        if config.teacher
            && let Some(teacher) = recipe.sources.iter().find_map(|source| Teacher::of(source).transpose())
        {
            evaluations.push(evaluate_teacher(session, config, &teacher?, &problems, secrets)?);
        }
    } else if until == Until::Evaluate {
        return missing("[evaluation]", "evaluated");
    }
    if until == Until::Evaluate {
        return Ok(());
    }

    if let Some(config) = &recipe.publish {
        let spec = data.inputs(Spec::new("published", 1, &(config, &recipe.name))?).input("checkpoint", &trained);
        session.stage(spec.inputs("evaluation", &evaluations), |context, out| {
            let lineage = Lineage {
                recipe: recipe.name.clone(),
                training: Some(trained.ready()?.manifest.clone()),
                evaluations: manifests(&evaluations)?,
                ..data.lineage()?
            };
            Ok(distill_publish::publish(config, &trained.ready()?.dir, &lineage, context, out)?)
        })?;
    }
    Ok(())
}

fn missing(table: &str, done: &str) -> Result<()> {
    anyhow::bail!("the recipe has no {table}: nothing can be {done}")
}

/// The label of a source's stage: the first has no number.
fn label(stage: &str, index: usize) -> String {
    if index == 0 { stage.to_owned() } else { format!("{stage}-{}", index + 1) }
}

fn make_problems(session: &mut Session, source: &SourceConfig, index: usize) -> Result<Slot> {
    let mut spec = Spec::new("problems", 1, &(&source.problems, source.holdout))?.label(label("problems", index));
    if let ProblemsConfig::File { path, format, .. } = &source.problems {
        let files = distill_data_gen::problem_files(path, *format)?;
        spec = spec.outside("file", identity::digest_all("problem-files", &files)?);
    }
    session.stage(spec, |context, out| Ok(distill_data_gen::problems(&source.problems, source.holdout, context, out)?))
}

fn make_traces(
    session: &mut Session,
    source: &SourceConfig,
    index: usize,
    problems: &Slot,
    secrets: Secrets<'_>,
) -> Result<Slot> {
    let teacher = Teacher::of(source)?;
    let (Some(teacher), Some(sampling)) = (teacher, &source.sampling) else {
        let spec = Spec::new("traces", 1, &"worked-solutions")?.label(label("traces", index));
        return session.stage(spec.input("problems", problems), |_, out| {
            Ok(distill_data_gen::worked_solutions(problems.ready()?, out)?)
        });
    };
    let spec = Spec::new("traces", 2, &(sampling, &teacher.name, &teacher.identity))?.label(label("traces", index));
    let (device, journal) = (session.device.clone(), session.store.samples(&teacher.folder()));
    session.stage(spec.input("problems", problems), |context, out| {
        let complete = teacher.open(&device, secrets)?;
        let place = (teacher.name.as_str(), journal.as_path());
        Ok(distill_data_gen::sample(sampling, problems.ready()?, &*complete, place, context, out)?)
    })
}

/// One side table per filter, then the decisions.
fn filter(session: &mut Session, recipe: &Recipe, problems: &[Slot], traces: &[Slot]) -> Result<(Vec<Slot>, Slot)> {
    let mut measures = Vec::new();
    for (index, filter) in recipe.filters.iter().enumerate() {
        let name = format!("measure-{}-{}", index + 1, filter.kind());
        let measurement = filter.measurement();
        let spec = Spec::new("measures", 3, &measurement)?.label(name).inputs("problems", problems);
        measures.push(session.stage(spec.inputs("traces", traces), |context, out| {
            let (problems, traces) = (ready(problems)?, ready(traces)?);
            let judges = verify::judges_for(&measurement);
            Ok(distill_filters::measure(&measurement, &problems, &traces, &judges, context, out)?)
        })?);
    }
    let spec = Spec::new("selection", 1, &recipe.filters)?.inputs("traces", traces).inputs("measures", &measures);
    let selection = session.stage(spec, |context, out| {
        let (traces, measures) = (ready(traces)?, ready(&measures)?);
        Ok(distill_filters::select(&recipe.filters, &traces, &measures, context, out)?)
    })?;
    Ok((measures, selection))
}

/// What the later stages read together.
struct Data<'a> {
    problems: &'a [Slot],
    traces: &'a [Slot],
    selection: &'a Slot,
}

impl Data<'_> {
    fn inputs(&self, spec: Spec) -> Spec {
        spec.inputs("problems", self.problems).inputs("traces", self.traces).input("selection", self.selection)
    }

    fn lineage(&self) -> Result<Lineage> {
        let mut licences = BTreeSet::new();
        for problem in ready(self.problems)?.iter().flat_map(Dataset::rows::<Problem>) {
            licences.extend(problem?.licence);
        }
        let selection = Some(self.selection.ready()?.manifest.clone());
        let (problems, traces) = (manifests(self.problems)?, manifests(self.traces)?);
        Ok(Lineage { problems, traces, selection, licences, ..Lineage::default() })
    }
}

fn manifests(slots: &[Slot]) -> Result<Vec<Manifest>> {
    slots.iter().map(|slot| Ok(slot.ready()?.manifest.clone())).collect()
}

/// A model: a folder from outside, or one that a stage makes.
enum Model {
    Given { dir: PathBuf, digest: String },
    Made(Box<Slot>),
}

impl Model {
    fn input(&self, spec: Spec, name: &str) -> Spec {
        match self {
            Model::Given { digest, .. } => spec.outside(name, digest.clone()),
            Model::Made(slot) => spec.input(name, slot.as_ref()),
        }
    }

    fn dir(&self) -> Result<&Path> {
        match self {
            Model::Given { dir, .. } => Ok(dir),
            Model::Made(slot) => Ok(&slot.ready()?.dir),
        }
    }

    fn digest(&self) -> Result<&str> {
        match self {
            Model::Given { digest, .. } => Ok(digest),
            Model::Made(slot) => Ok(&slot.ready()?.manifest.digest),
        }
    }
}

fn base_model(session: &mut Session, base: &BaseConfig) -> Result<Model> {
    match base {
        BaseConfig::Checkpoint { path, surgery } if path.is_dir() && surgery.is_empty() => {
            Ok(Model::Given { dir: path.clone(), digest: identity::checkpoint(path)? })
        }
        BaseConfig::Checkpoint { path, surgery } => {
            let spec = Spec::new("base", 1, surgery)?.outside("checkpoint", identity::checkpoint(path)?);
            let slot = session.stage(spec, |context, out| {
                Ok(distill_student::adapt(path, surgery, None, None, &context.cancel, out)?)
            })?;
            Ok(Model::Made(Box::new(slot)))
        }
        BaseConfig::Config { config, tokenizer } => {
            let files = identity::digest_all("config", std::slice::from_ref(config))?;
            let spec = Spec::new("base", 1, &())?.outside("config", files);
            let spec = spec.outside("tokenizer", identity::chat(tokenizer)?);
            let device = session.device.clone();
            let slot = session.stage(spec, |context, out| {
                Ok(distill_student::initialise(config, tokenizer, &device, context, out)?)
            })?;
            Ok(Model::Made(Box::new(slot)))
        }
    }
}

fn evaluation(config: &EvaluationConfig, subject: &str, problems: &[Slot]) -> Result<Spec> {
    let spec = Spec::new("evaluation", 3, &(subject, config))?.label(format!("evaluation-{subject}"));
    Ok(spec.inputs("problems", problems))
}

fn evaluate_checkpoint(
    session: &mut Session,
    config: &EvaluationConfig,
    subject: &str,
    model: &Model,
    problems: &[Slot],
) -> Result<Slot> {
    let device = session.device.clone();
    session.stage(model.input(evaluation(config, subject, problems)?, "model"), |context, out| {
        let complete = LocalTeacher::load(model.dir()?, model.digest()?, Placement::on(&device))?;
        Ok(distill_evaluate::evaluate(subject, config, &ready(problems)?, &complete, context, out)?)
    })
}

fn evaluate_teacher(
    session: &mut Session,
    config: &EvaluationConfig,
    teacher: &Teacher,
    problems: &[Slot],
    secrets: Secrets<'_>,
) -> Result<Slot> {
    let device = session.device.clone();
    let spec = evaluation(config, "teacher", problems)?.outside("model", teacher.identity.clone());
    session.stage(spec, |context, out| {
        let complete = teacher.open(&device, secrets)?;
        Ok(distill_evaluate::evaluate("teacher", config, &ready(problems)?, &*complete, context, out)?)
    })
}

/// Whether an error says that somebody asked to stop.
pub fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Interrupted>()
        || matches!(cause.downcast_ref(), Some(SamplingError::Interrupted))
        || matches!(cause.downcast_ref(), Some(EvaluateError::Interrupted))
        || matches!(cause.downcast_ref(), Some(FilterError::Interrupted))
        || matches!(cause.downcast_ref(), Some(TrainError::Interrupted))
}

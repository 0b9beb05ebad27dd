//! The whole path, top to bottom: what a row of data goes through, in order.
//!
//! `sources → problems → traces → measures → selection → export, examples → student → evaluation → published`

use crate::{
    asking::Asking,
    data::{Data, manifests},
    filtering::{self, Benchmarks},
    preflight::{self, Preflight},
    recipe::{BaseConfig, ExportConfig, Recipe, StudentConfig},
    session::{Session, Slot, Spec, Work, ready},
    student::{Model, base_model},
    teachers::{self, Secrets, Teacher},
    written,
};
use anyhow::{Context as _, Result};
use distill_data_gen::{Copies, PROBLEMS, ProblemsConfig, SOURCE, SplitConfig, TRACES};
use distill_dataset::{Dataset, Keyed};
use distill_evaluate::{EVALUATION, EvaluationConfig};
use distill_filters::{EXAMPLES, EXPORT, EXPORT_DROPPED, Exported, Inputs, ShapingConfig};
use distill_publish::{Lineage, PUBLISHED, PublishConfig};
use distill_student::{Base, TRAINING, TrainingConfig};
use distill_teacher::Answers;
use distill_teacher_local::{LocalTeacher, Precision};
use std::cell::Cell;

/// The parts of the path: a command goes up to and including one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Problems, split: nothing is bought yet.
    Problems,
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

/// Walks the whole path. What is done is found; what is wanted and missing is made; the rest stays pending.
///
/// # Errors
/// What the first failing stage says; stages before it are done and stay done.
pub fn run(session: &mut Session, recipe: &Recipe, secrets: Secrets<'_>) -> Result<()> {
    let begun = problems(session, recipe, secrets)?;
    onward(session, recipe, &begun, secrets)
}

/// The first part of the path, in which nothing is bought: benchmarks, and every source's problems.
///
/// # Errors
/// What is named and not there; what the first failing stage says.
pub fn problems(session: &mut Session, recipe: &Recipe, secrets: Secrets<'_>) -> Result<Begun> {
    session.phase(Until::Problems);
    preflight::named(session, recipe, secrets)?;
    let benchmarks = filtering::benchmarks(session, recipe)?;
    let problems = make_problems(session, recipe, &benchmarks)?;
    let evaluated_on = recipe.evaluated_on.as_ref();
    let evaluated_on = evaluated_on
        .map(|config| source(session, recipe.seed, (config, Copies::First), EVALUATED.to_owned()))
        .transpose()?;
    let evaluated = evaluated_on.as_ref().map_or(problems.clone(), |own| vec![own.clone()]);
    Ok(Begun { benchmarks, problems, evaluated_on, evaluated })
}

/// The first part of a path.
pub struct Begun {
    /// Benchmarks by name.
    pub(crate) benchmarks: Vec<(String, Slot)>,
    /// Every source's problems, split.
    pub(crate) problems: Vec<Slot>,
    /// The set of their own that models are evaluated on, where there is one.
    pub(crate) evaluated_on: Option<Slot>,
    /// What models are evaluated on: that set of its own, or what is held out of those.
    pub(crate) evaluated: Vec<Slot>,
}

/// The path from the problems on.
///
/// # Errors
/// As [`run`].
pub fn onward(session: &mut Session, recipe: &Recipe, begun: &Begun, secrets: Secrets<'_>) -> Result<()> {
    let problems = &begun.problems;
    let place = session.place();
    let preflight = Preflight { recipe, begun, place, secrets, is_done: Cell::new(false) };
    if recipe.sources.is_empty() {
        return evaluate(session, &preflight, None).map(drop);
    }
    session.phase(Until::Sample);
    let mut traces = Vec::new();
    for index in 0..recipe.sources.len() {
        traces.push(make_traces(session, &preflight, index)?);
    }
    session.phase(Until::Filter);
    let (verdicts, selection) = filtering::traces(session, &preflight, &traces)?;
    let data = Data { problems, traces: &traces, selection: &selection };
    session.phase(Until::Export);
    if let Some(config) = &recipe.export {
        export(session, config, &data, verdicts.as_ref())?;
    }
    let Some(student) = &recipe.student else { return evaluate(session, &preflight, None).map(drop) };
    session.phase(Until::Train);
    let base = base_model(session, &student.base)?;
    let examples = examples(session, &data, &recipe.shaping)?;
    let trained = train(session, student, &base, &examples, &preflight)?;
    let scores = evaluate(session, &preflight, Some((&base, &trained)))?;
    session.phase(Until::Publish);
    if let Some(config) = &recipe.publish {
        let has_base = matches!(student.base, BaseConfig::Checkpoint { .. });
        let origin = Lineage { recipe: recipe.name.clone(), has_base, ..Lineage::default() };
        publish(session, config, origin, &data, (&examples, &trained), &scores)?;
    }
    Ok(())
}

/// The label of the problems that models are evaluated on, where they are a set of their own.
pub(crate) const EVALUATED: &str = "evaluation-problems";

/// The label of a source's stage: the first has no number.
pub(crate) fn label(stage: &str, index: usize) -> String {
    if index == 0 { stage.to_owned() } else { format!("{stage}-{}", index + 1) }
}

/// Each source's problems, which of them go on, then one split across all of them.
fn make_problems(session: &mut Session, recipe: &Recipe, benchmarks: &Benchmarks) -> Result<Vec<Slot>> {
    let seed = recipe.seed;
    let mut sources = Vec::new();
    for (index, source) in recipe.sources.iter().enumerate() {
        let problems = (&source.problems, filtering::copies(recipe, index));
        sources.push(self::source(session, seed, problems, label("source", index))?);
    }
    let decisions = filtering::problems(session, recipe, benchmarks, &sources)?.map(|judged| judged.decisions);
    let holdout: Vec<u32> = recipe.sources.iter().map(|source| source.holdout).collect();
    let split = |index| {
        let config = SplitConfig { source: index, holdout: holdout.clone() };
        let spec = Spec::new(PROBLEMS, &config, config.keyed(seed))?.label(label("problems", index));
        session.stage(spec.inputs("source", &sources).inputs("decisions", &decisions), |_| {
            let (sources, decisions) = (ready(&sources)?, decisions.as_ref().map(Slot::ready).transpose()?);
            let sources = distill_data_gen::Sources::new(sources, decisions.cloned());
            Ok(Work::gather(move |context, out| Ok(distill_data_gen::split(&config, &sources, context, out)?)))
        })
    };
    (0..recipe.sources.len()).map(split).collect()
}

/// The problems of one source, or of a benchmark.
pub(crate) fn source(
    session: &mut Session,
    seed: u64,
    (config, copies): (&ProblemsConfig, Copies),
    label: String,
) -> Result<Slot> {
    let mut spec = Spec::new(SOURCE, config, config.keyed(seed, copies))?.label(label);
    if let ProblemsConfig::File { path, format, .. } = config {
        let files = distill_data_gen::problem_files(path, *format)?;
        spec = spec.outside("file", session.outside.files("problem-files", &files)?);
    }
    session.stage(spec, |_| {
        Ok(Work::gather(|context, out| Ok(distill_data_gen::read_source(config, copies, context, out)?)))
    })
}

/// What a teacher answers to a source's training problems, or what is written already.
fn make_traces(session: &mut Session, preflight: &Preflight<'_>, index: usize) -> Result<Slot> {
    let Preflight { recipe, secrets, .. } = *preflight;
    let source = &recipe.sources[index];
    let own = &preflight.begun.problems[index];
    let (Some(teacher), Some(sampling)) = (Teacher::of(&source.teacher, &session.outside)?, &source.sampling) else {
        return written::traces(session, preflight, index);
    };
    let (stage, label) = (TRACES, label("traces", index));
    let asking = Asking { stage, label, teacher, sampling, verifier: recipe.verifier() };
    asking.traces(session, own, secrets, || preflight.once())
}

/// Units of a map over these.
pub(crate) fn num_shards(datasets: &[Dataset]) -> usize {
    datasets.iter().map(|dataset| dataset.shards().count()).sum()
}

/// The kept traces as a dataset to share, with its card; and those that were dropped, where the recipe asks for them.
fn export(session: &mut Session, config: &ExportConfig, data: &Data<'_>, verdicts: Option<&Slot>) -> Result<()> {
    let dropped = Exported::DroppedBy(&config.dropped_by);
    let parts = [(EXPORT, Exported::Kept), (EXPORT_DROPPED, dropped)];
    for (stage, which) in parts.into_iter().take(if config.dropped_by.is_empty() { 1 } else { 2 }) {
        let settings = match which {
            Exported::Kept => Keyed::all(&ExportConfig { dropped_by: Vec::new(), ..config.clone() }),
            Exported::DroppedBy(_) => Keyed::all(config),
        };
        let spec = data.inputs(Spec::new(stage, config, settings)?).taken_away();
        session.stage(verdicts.into_iter().fold(spec, |spec, slot| spec.input("verdicts", slot)), |_| {
            let (problems, traces) = (ready(data.problems)?, ready(data.traces)?);
            let (selection, verdicts) = (data.selection.ready()?, verdicts.map(Slot::ready).transpose()?);
            let lineage = data.lineage()?;
            Ok(Work::map(num_shards(&traces), move |unit, context, out| {
                let inputs = Inputs::traces(&problems, &traces);
                if unit == 0 {
                    let (name, license) = (&config.dataset_name, &config.license);
                    let card = match which {
                        Exported::Kept => distill_publish::data_card(name, license, &lineage)?,
                        Exported::DroppedBy(filters) => {
                            distill_publish::dropped_card(name, license, filters, &lineage)?
                        }
                    };
                    distill_dataset::write_whole(&out.join("README.md"), card.as_bytes())
                        .context("cannot write the dataset's card")?;
                }
                Ok(distill_filters::export(which, (selection, verdicts), &inputs.unit(unit)?, context, out)?)
            }))
        })?;
    }
    Ok(())
}

/// Examples from the kept traces.
fn examples(session: &mut Session, data: &Data<'_>, shaping: &ShapingConfig) -> Result<Slot> {
    let spec = data.inputs(Spec::new(EXAMPLES, shaping, shaping.keyed())?);
    session.stage(spec, |_| {
        let (problems, traces) = (ready(data.problems)?, ready(data.traces)?);
        let selection = data.selection.ready()?;
        Ok(Work::map(num_shards(&traces), move |unit, context, out| {
            let inputs = Inputs::traces(&problems, &traces);
            Ok(distill_filters::examples(shaping, selection, &inputs.unit(unit)?, context, out)?)
        }))
    })
}

/// A student that learns them.
fn train(
    session: &mut Session,
    student: &StudentConfig,
    base: &Model,
    examples: &Slot,
    preflight: &Preflight<'_>,
) -> Result<Slot> {
    let settings = Keyed::of(&student.training.keyed(), &TrainingConfig::unset()).with("seed", session.record.seed);
    let mut spec = base.input(Spec::new(TRAINING, &student.training, settings)?, "base").input("examples", examples);
    for (name, template) in [("chat-template", &student.chat_template), ("publish-template", &student.publish_template)]
    {
        if let Some(path) = template {
            spec = spec.outside(name, session.outside.files("template", std::slice::from_ref(path))?);
        }
    }
    let device = session.device.clone();
    session.stage(spec, |_| {
        preflight.once()?;
        Ok(Work::gather(move |context, out| {
            let examples = [examples.ready()?.clone()];
            let base = Base {
                dir: base.dir()?,
                chat_template: student.chat_template.as_deref(),
                publish_template: student.publish_template.as_deref(),
            };
            Ok(distill_student::train(base, &examples, &student.training, &device, context, out)?)
        }))
    })
}

/// The student before and after, its teacher where the recipe says so, and whoever else is to be compared.
fn evaluate(session: &mut Session, preflight: &Preflight<'_>, student: Option<(&Model, &Slot)>) -> Result<Vec<Slot>> {
    let recipe = preflight.recipe;
    let Some(config) = &recipe.evaluation else { return Ok(Vec::new()) };
    session.phase(Until::Evaluate);
    let mut scores = Vec::new();
    if let Some((base, trained)) = student {
        let problems = &preflight.begun.evaluated;
        let after = Model::Made(Box::new(trained.clone()));
        for (subject, model) in [("before", base), ("after", &after)] {
            let device = session.device.clone();
            let spec = evaluation(preflight, config, subject)?;
            scores.push(session.stage(model.input(spec, "model"), |_| {
                preflight.once()?;
                Ok(Work::gather(move |context, out| {
                    let placement = teachers::placement(&device, Precision::default(), config.max_new_tokens);
                    let complete = LocalTeacher::load(model.dir()?, model.digest()?, placement)?;
                    Ok(distill_evaluate::evaluate(subject, config, &ready(problems)?, &complete, context, out)?)
                }))
            })?);
        }
    }
    for (name, teacher) in recipe.compared() {
        if let Some(teacher) = Teacher::of(teacher, &session.outside)? {
            scores.push(evaluate_teacher(session, preflight, (name, &teacher), config)?);
        }
    }
    Ok(scores)
}

/// The stage of a subject's evaluation, its model aside.
fn evaluation(preflight: &Preflight<'_>, config: &EvaluationConfig, subject: &str) -> Result<Spec> {
    let settings = Keyed::of(config, &EvaluationConfig::unset()).with("subject", subject);
    let settings = settings.with("seed", preflight.recipe.seed);
    let spec = Spec::new(EVALUATION, config, settings)?.label(format!("evaluation-{subject}"));
    Ok(spec.inputs("problems", &preflight.begun.evaluated))
}

/// A model that is there. What its answers cost is paid once: they lie where all runs find them.
fn evaluate_teacher(
    session: &mut Session,
    preflight: &Preflight<'_>,
    (subject, teacher): (&str, &Teacher),
    config: &EvaluationConfig,
) -> Result<Slot> {
    let (answers, store) = (session.store.samples(&teacher.folder()), session.store.clone());
    let old_evaluations = session.store.root().join(EVALUATION.name);
    let (device, problems) = (session.device.clone(), &preflight.begun.evaluated);
    let name = format!("{}/evaluation-{subject}", session.record.name);
    let spec = evaluation(preflight, config, subject)?.outside("model", teacher.digest());
    session.stage(spec, |owner| {
        preflight.once()?;
        Ok(Work::gather(move |context, out| {
            let (complete, answers) = (
                // Evaluations are one process's.
                teacher.open(&device, config.max_new_tokens, Some(&store), preflight.secrets, 1)?,
                Answers::share(&answers, owner)?.labelled(name),
            );
            let problems = ready(problems)?;
            let old = (&complete.identity(), &*old_evaluations);
            distill_evaluate::adopt(config, &problems, old, &answers, context)?;
            distill_evaluate::ask(config, &problems, &*complete, &answers, context)?;
            let subject = (subject, &complete.identity());
            Ok(distill_evaluate::score(subject, config, &problems, &answers, context, out)?)
        }))
    })
}

/// The folder that others load, with a card that says where everything in it comes from.
fn publish(
    session: &mut Session,
    config: &PublishConfig,
    origin: Lineage,
    data: &Data<'_>,
    (examples, trained): (&Slot, &Slot),
    scores: &[Slot],
) -> Result<()> {
    let settings = Keyed::all(config).with("recipe", &origin.recipe).with("has-base", origin.has_base);
    let spec = data.inputs(Spec::new(PUBLISHED, config, settings)?).input("checkpoint", trained).taken_away();
    session.stage(spec.inputs("evaluation", scores), |_| {
        Ok(Work::gather(move |context, out| {
            let trained = trained.ready()?;
            trained.verify()?;
            let lineage = Lineage {
                recipe: origin.recipe,
                has_base: origin.has_base,
                examples: Some(examples.ready()?.manifest.clone()),
                training: Some(trained.manifest.clone()),
                evaluations: manifests(scores)?,
                ..data.lineage()?
            };
            Ok(distill_publish::publish(config, &trained.dir, &lineage, context, out)?)
        }))
    })?;
    Ok(())
}

//! Traces that nobody is asked for: the problems' own worked solutions, or those that the file of the problems brings.

use crate::{
    filtering,
    preflight::Preflight,
    recipe::{SourceConfig, TeacherConfig},
    run::label,
    session::{Session, Slot, Spec, Work},
};
use anyhow::{Result, bail};
use distill_data_gen::{ProblemsConfig, READY, ReadyConfig, TRACES};
use distill_dataset::{Keyed, Shard};

/// What answers the training problems of a source.
pub(crate) fn traces(session: &mut Session, preflight: &Preflight<'_>, index: usize) -> Result<Slot> {
    match &preflight.recipe.sources[index].teacher {
        TeacherConfig::ReadyTraces(config) => ready_traces(session, preflight, (index, config)),
        _ => worked_solutions(session, preflight, index),
    }
}

fn worked_solutions(session: &mut Session, preflight: &Preflight<'_>, index: usize) -> Result<Slot> {
    let problems = &preflight.begun.problems[index];
    // What is boxed or marked already is left as it is.
    let settings = Keyed::default().with("teacher", "worked-solutions").with("as-written", true);
    let spec = Spec::new(TRACES, &"worked-solutions", settings)?.label(label("traces", index));
    session.stage(spec.input("problems", problems), |_| {
        preflight.once()?;
        let shards: Vec<Shard> = problems.ready()?.shards().collect();
        Ok(Work::map(shards.len(), move |unit, context, out| {
            Ok(distill_data_gen::write_worked_solutions(&shards[unit], unit, &context.cancel, out)?)
        }))
    })
}

/// Every trace of the file, sorted once; of these the ones that answer training problems.
fn ready_traces(
    session: &mut Session,
    preflight: &Preflight<'_>,
    (index, config): (usize, &ReadyConfig),
) -> Result<Slot> {
    let (recipe, problems) = (preflight.recipe, &preflight.begun.problems);
    let SourceConfig { problems: ProblemsConfig::File { path, format, config: file }, .. } = &recipe.sources[index]
    else {
        bail!("`sources.{index}.teacher.ready-traces`: expected a file of problems, found a generator");
    };
    let name = config.named(path);
    let copies = filtering::copies(recipe, index);
    let settings = recipe.sources[index].problems.keyed(recipe.seed, copies).with("teacher", &name);
    let files = distill_data_gen::problem_files(path, *format)?;
    let spec = Spec::new(READY, &(file, &name), settings)?.label(label("ready-traces", index));
    let spec = spec.outside("file", session.outside.files("problem-files", &files)?);
    let all = session.stage(spec, |_| {
        let (path, name) = ((&**path, *format), (&*name, copies));
        Ok(Work::gather(move |context, out| Ok(distill_data_gen::read_ready(file, path, name, context, out)?)))
    })?;
    let settings = Keyed::default().with("teacher", "ready-traces").with("name", &name);
    let spec = Spec::new(TRACES, &("ready-traces", &name), settings)?.label(label("traces", index));
    session.stage(spec.input("problems", &problems[index]).input("ready-traces", &all), |_| {
        preflight.once()?;
        let (all, shards) = (all.ready()?.clone(), problems[index].ready()?.shards().collect::<Vec<Shard>>());
        let name = name.clone();
        Ok(Work::map(shards.len(), move |unit, context, out| {
            Ok(distill_data_gen::write_ready((&shards, unit), (&all, &name), &context.cancel, out)?)
        }))
    })
}

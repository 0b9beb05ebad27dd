//! What a teacher is asked: problems → traces, bought once, whoever asks.

use crate::{
    session::{Session, Slot, Spec, Work},
    teachers::{Secrets, Teacher},
    verify,
};
use anyhow::Result;
use distill_data_gen::{Outcome, SamplingConfig};
use distill_dataset::{Keyed, Problem, Shard, Stage, Trace, Verdict};
use distill_filters::{Filter, Verdicts, VerifyConfig};
use distill_teacher::Answers;
use std::rc::Rc;

/// Who is asked what, and how often.
pub(crate) struct Asking<'r> {
    /// The stage that the answers are.
    pub(crate) stage: Stage,
    /// What it is called in the run.
    pub(crate) label: String,
    /// Who.
    pub(crate) teacher: Teacher,
    /// How often, and at what cost.
    pub(crate) sampling: &'r SamplingConfig,
    /// Who says which answers are usable, where samples are bought until a problem is settled.
    pub(crate) verifier: VerifyConfig,
}

impl Asking<'_> {
    /// The answers to the training problems among `problems`. `check` is called before anything is bought.
    ///
    /// # Errors
    /// What `check` says, or why they cannot be had.
    pub(crate) fn traces(
        self,
        session: &mut Session,
        problems: &Slot,
        secrets: Secrets<'_>,
        check: impl FnOnce() -> Result<()>,
    ) -> Result<Slot> {
        let Asking { stage, label, teacher, sampling, verifier } = self;
        let settings = Keyed::of(sampling, &SamplingConfig::unset()).nest("teacher", teacher.keyed());
        // Verdicts decide which samples there are.
        let settings = match sampling.judges() {
            true => settings.nest("judged", verifier.keyed()).with("judged-by", verifier.stage().version),
            false => settings,
        };
        let mut spec = Spec::new(stage, &(sampling, &teacher.name), settings)?.label(label.clone());
        let (judges, tools) = verify::judges_for(sampling.judges(), problems.get());
        if let Some(tools) = &tools {
            spec = spec.outside("tools", tools.clone());
        }
        let (device, store, world) = (session.device.clone(), session.store.clone(), session.rank.world);
        let (answers, name) = (store.samples(&teacher.folder()), format!("{}/{label}", session.record.name));
        session.stage(spec.input("problems", problems), |owner| {
            check()?;
            teacher.plan(&device, sampling.max_new_tokens)?;
            let shards: Rc<Vec<Shard>> = Rc::new(problems.ready()?.shards().collect());
            let mut verdicts = Verdicts::new(verifier.policy);
            if let Some(tools) = &tools {
                verdicts = verdicts.running(judges, &answers.join("verdicts").join(tools))?;
            }
            let judge = move |problem: &Problem, trace: &Trace| match verdicts.of(problem, trace) {
                Verdict::Pass => Outcome::Usable,
                Verdict::Fail => Outcome::Wrong,
                Verdict::Unknown => Outcome::Unknown,
            };
            let judge = Rc::new(judge);
            let complete = teacher.open(&device, sampling.max_new_tokens, Some(&store), secrets, world)?;
            let answers = Rc::new(Answers::share(&answers, owner)?.labelled(name));
            let (identity, name) = (complete.identity(), teacher.name.clone());
            let (all, bought, judging) = (shards.clone(), answers.clone(), judge.clone());
            Ok(Work::map(shards.len(), move |unit, context, out| {
                let (unit, teacher) = ((&shards[unit], unit), (&identity, name.as_str()));
                Ok(distill_data_gen::write_traces(sampling, unit, teacher, (&answers, &*judge), &context.cancel, out)?)
            })
            .after(move |units, context| {
                let wanted: Vec<Shard> = units.iter().map(|unit| all[*unit].clone()).collect();
                distill_data_gen::buy(sampling, (&wanted, &all), &*complete, (&bought, &*judging), context)?;
                Ok(())
            }))
        })
    }
}

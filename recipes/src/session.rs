//! One run of one recipe: keys, units, manifests and the record of what this run uses.
//!
//! A stage goes in as a specification (what its key depends on) and its work (units, and a function that does one); out
//! comes its dataset, made now or found in the store. Units are claimed, run and committed one after the other, those of
//! this rank, and the manifest is written by whoever finds all of them done. When only a plan is wanted, nothing is run
//! and what is missing stays pending, with everything behind it.

mod clock;

use crate::{
    identity::Outside,
    kept::KeptNothing,
    links::link,
    preflight::Place,
    progress::Reporter,
    record::{RunRecord, StageRecord, State},
    run::Until,
    standing, users,
};
use anyhow::{Context as _, Result};
use clock::Clock;
use distill_dataset::{
    Cancel, Claim, Claimed, Context, Dataset, Input, Keyed, Manifest, Owner, Stage, StageDir, StageTime, Store, Tally,
    stage_key, timestamp,
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// Silence after which another machine takes this process for dead.
const TTL: Duration = Duration::from_secs(120);
/// Pause between two looks at units that others work on.
const POLL: Duration = Duration::from_millis(200);
/// Digits of a key that people see.
const KEY_DIGITS: usize = 16;

/// What a stage is: everything that its key depends on.
pub struct Spec {
    /// What it is called in this run, e.g. `evaluation-before`.
    label: String,
    stage: Stage,
    config: serde_json::Value,
    settings: Keyed,
    inputs: Vec<(String, Option<String>)>,
    /// People take it away: no later stage reads it, and notices that it changed.
    taken_away: bool,
}

impl Spec {
    /// A stage with its resolved configuration, and the settings among it that decide its result.
    pub fn new(stage: Stage, config: &impl Serialize, settings: Keyed) -> Result<Spec> {
        let config = serde_json::to_value(config).context("the configuration does not serialise")?;
        Ok(Spec { label: stage.name.to_owned(), stage, config, settings, inputs: Vec::new(), taken_away: false })
    }

    /// Another name within the run, where a stage occurs more than once.
    pub fn label(mut self, label: impl Into<String>) -> Spec {
        self.label = label.into();
        self
    }

    /// People take its output away. That it is as it was made is looked at whenever it is found.
    pub fn taken_away(mut self) -> Spec {
        self.taken_away = true;
        self
    }

    /// Adds the output of another stage as an input.
    pub fn input(mut self, name: &str, slot: &Slot) -> Spec {
        self.inputs.push((name.to_owned(), slot.0.as_ref().map(|dataset| dataset.manifest.digest.clone())));
        self
    }

    /// Adds several.
    pub fn inputs<'a>(self, name: &str, slots: impl IntoIterator<Item = &'a Slot>) -> Spec {
        slots.into_iter().fold(self, |spec, slot| spec.input(name, slot))
    }

    /// Adds something from outside the store, by its content's digest.
    pub fn outside(mut self, name: &str, digest: String) -> Spec {
        self.inputs.push((name.to_owned(), Some(digest)));
        self
    }

    /// The inputs, or nothing while one of them is not made yet.
    fn known_inputs(&self) -> Option<Vec<Input>> {
        self.inputs.iter().map(|(name, digest)| Some(Input { name: name.clone(), digest: digest.clone()? })).collect()
    }

    /// The key as far as it is known: an input that is not made yet counts by its name alone.
    fn sketch(&self) -> String {
        let inputs = self.inputs.iter().map(|(name, digest)| (name.as_str(), digest.as_deref().unwrap_or("pending")));
        stage_key(self.stage, &self.settings, inputs)
    }
}

/// Does one unit, whose output goes into the folder.
type UnitWork<'w> = Box<dyn FnMut(usize, &Context, &Path) -> Result<Tally> + 'w>;
/// Does what some units need together.
type Preparation<'w> = Box<dyn FnOnce(&[usize], &Context) -> Result<()> + 'w>;

/// The work of a stage: its units, and how one is done.
pub struct Work<'w> {
    num_units: usize,
    prepare: Option<Preparation<'w>>,
    unit: UnitWork<'w>,
}

impl<'w> Work<'w> {
    /// One unit: everything at once.
    pub fn gather(work: impl FnOnce(&Context, &Path) -> Result<Tally> + 'w) -> Work<'w> {
        let mut work = Some(work);
        Work::map(1, move |_, context, out| {
            let work = work.take().context("a stage of one unit was run twice")?;
            work(context, out)
        })
    }

    /// `num_units` units, each by itself.
    pub fn map(num_units: usize, unit: impl FnMut(usize, &Context, &Path) -> Result<Tally> + 'w) -> Work<'w> {
        Work { num_units, prepare: None, unit: Box::new(unit) }
    }

    /// What is done first, for all units of this process that are not done yet.
    pub fn after(mut self, prepare: impl FnOnce(&[usize], &Context) -> Result<()> + 'w) -> Work<'w> {
        self.prepare = Some(Box::new(prepare));
        self
    }
}

/// A stage's dataset, or, in a plan, that it is not made yet.
#[derive(Clone, Debug)]
pub struct Slot(Option<Dataset>);

impl Slot {
    /// The dataset, if it is there.
    pub fn get(&self) -> Option<&Dataset> {
        self.0.as_ref()
    }

    /// The dataset; a stage is only run when all its inputs are there.
    pub fn ready(&self) -> Result<&Dataset> {
        self.0.as_ref().context("a stage was started before its input was made")
    }
}

/// The datasets of several slots.
pub fn ready<'a>(slots: impl IntoIterator<Item = &'a Slot>) -> Result<Vec<Dataset>> {
    slots.into_iter().map(|slot| slot.ready().cloned()).collect()
}

/// Whether stages are run or only looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Run what is missing, up to and including a stage.
    Run(Until),
    /// Run nothing and write nothing, but for problems where [`Session::aside`] says so.
    Plan,
}

/// Which of the processes that share the work this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
}

impl Default for Rank {
    /// The only one.
    fn default() -> Rank {
        Rank { rank: 0, world: 1 }
    }
}

/// A run in progress.
pub struct Session {
    /// Run or plan.
    pub mode: Mode,
    /// Where results live.
    pub store: Store,
    /// The device that models run on.
    pub device: String,
    /// Asks everything to stop.
    pub cancel: Cancel,
    /// `runs/<recipe>`.
    pub folder: PathBuf,
    /// What the run uses so far.
    pub record: RunRecord,
    /// Which units are this process's.
    pub rank: Rank,
    /// Digests of files outside the store.
    pub outside: Outside,
    /// Stages with their keys as far as they are known.
    pub sketches: Vec<(String, String)>,
    /// Whether a stage that keeps no row fails.
    pub wants_rows: bool,
    /// In a plan, the store in which problems are made that are not there yet: all that a plan counts depends on them.
    pub aside: Option<Store>,
    phase: Until,
    reporter: Reporter,
    made: usize,
    /// Whether the store knows of the run.
    noted: bool,
    alive: Option<Alive>,
}

impl Session {
    /// A session for a recipe of that name below `runs`.
    pub fn new(mode: Mode, store: Store, runs: &Path, device: &str, record: RunRecord, reporter: Reporter) -> Session {
        Session {
            mode,
            device: device.to_owned(),
            cancel: Cancel::default(),
            folder: runs.join(&record.name),
            record,
            rank: Rank::default(),
            outside: Outside::read(store.root()),
            sketches: Vec::new(),
            wants_rows: false,
            aside: None,
            phase: Until::Problems,
            reporter,
            made: 0,
            noted: false,
            alive: None,
            store,
        }
    }

    /// How many stages this session has run.
    pub fn num_made(&self) -> usize {
        self.made
    }

    /// The stages from here on belong to this part of the path; those beyond what is wanted are only looked up.
    pub fn phase(&mut self, phase: Until) {
        self.phase = phase;
    }

    /// Whether stages of this part are run.
    pub fn is_wanted(&self, phase: Until) -> bool {
        matches!(self.mode, Mode::Run(until) if phase <= until)
    }

    /// Where everything is tried before anything is bought: a plan leaves nothing in the store.
    pub(crate) fn place(&self) -> Place {
        let (store, device) = (self.store.root().to_owned(), self.device.clone());
        let scratch = self.aside.as_ref().map_or(store.clone(), |aside| aside.root().to_owned());
        Place { device, store, scratch }
    }

    /// This process, as others see it who work on the same store.
    fn owner(&mut self) -> Result<Arc<Owner>> {
        let alive = match self.alive.take() {
            Some(alive) => alive,
            None => Alive::new(Owner::register(&self.aside.as_ref().unwrap_or(&self.store).owners(), TTL)?),
        };
        Ok(self.alive.insert(alive).owner.clone())
    }

    /// Finds a stage's dataset in the store, or makes it. `open` is called only where something is to be done, with all
    /// inputs there; it is told as whom this process is known to the others.
    ///
    /// # Errors
    /// What the work says; then the stage has no manifest and the next run resumes it.
    pub fn stage<'w>(&mut self, spec: Spec, open: impl FnOnce(Arc<Owner>) -> Result<Work<'w>>) -> Result<Slot> {
        self.sketches.push((spec.label.clone(), spec.sketch()));
        let Some(inputs) = spec.known_inputs() else {
            self.enter(&spec, "", State::Pending)?;
            return Ok(Slot(None));
        };
        let key = stage_key(
            spec.stage,
            &spec.settings,
            inputs.iter().map(|input| (input.name.as_str(), input.digest.as_str())),
        );
        let dir = self.store.stage(spec.stage.name, &key);
        if let Some(manifest) = dir.manifest()? {
            let dataset = Dataset::new(dir.path().to_owned(), manifest);
            if spec.taken_away && self.is_wanted(self.phase) && self.rank.rank == 0 {
                self.outside.unchanged(&dataset).with_context(|| format!("stage `{}`", spec.label))?;
            }
            self.enter(&spec, &key, State::Found)?;
            self.reporter.found(&spec.label, &dataset.manifest);
            self.check_rows(&spec, &dataset.manifest)?;
            return Ok(Slot(Some(dataset)));
        }
        self.enter(&spec, &key, State::Pending)?;
        let aside = self.aside.as_ref().filter(|_| self.phase == Until::Problems);
        let dir = match aside.map(|store| store.stage(spec.stage.name, &key)) {
            Some(aside) => aside,
            None if self.is_wanted(self.phase) => dir,
            None => return Ok(Slot(None)),
        };
        self.cancel.check()?;
        tracing::info!(stage = spec.label, key = &key[..KEY_DIGITS], "stage begins");
        let draft = Manifest {
            format: Manifest::FORMAT,
            stage: spec.stage.name.to_owned(),
            stage_version: spec.stage.version,
            key: key.clone(),
            inputs,
            config: spec.config.clone(),
            settings: spec.settings.clone(),
            seed: self.record.seed,
            revision: env!("DISTILL_REVISION").to_owned(),
            device: self.device.clone(),
            time: StageTime { finished_at: String::new(), wall_s: 0.0 },
            ..Manifest::default()
        };
        let manifest = self.run_units(&spec, &dir, draft, open).with_context(|| format!("stage `{}`", spec.label))?;
        if self.aside.is_some() {
            return Ok(Slot(Some(Dataset::new(dir.path().to_owned(), manifest))));
        }
        self.made += 1;
        self.enter(&spec, &key, State::Made)?;
        self.reporter.made(&spec.label, &manifest);
        self.check_rows(&spec, &manifest)?;
        let dataset = Dataset::new(dir.path().to_owned(), manifest);
        if spec.taken_away {
            self.outside.learn(&dataset);
        }
        Ok(Slot(Some(dataset)))
    }

    /// A stage that kept no row ends the run, where rows are wanted.
    fn check_rows(&self, spec: &Spec, manifest: &Manifest) -> Result<()> {
        if !self.wants_rows || !self.is_wanted(self.phase) {
            return Ok(());
        }
        KeptNothing::of(manifest, &spec.label, &self.record.name).map_or(Ok(()), |nothing| Err(nothing.into()))
    }

    /// Does this rank's units, waits for the others', and writes the manifest.
    fn run_units<'w>(
        &mut self,
        spec: &Spec,
        dir: &StageDir,
        draft: Manifest,
        open: impl FnOnce(Arc<Owner>) -> Result<Work<'w>>,
    ) -> Result<Manifest> {
        let owner = self.owner()?;
        let begun = Instant::now();
        let mut work = open(owner.clone())?;
        let Rank { rank, world } = self.rank;
        let mine: Vec<usize> = (0..work.num_units).filter(|unit| unit % world == rank).collect();
        let context = Context {
            scratch: PathBuf::new(),
            cancel: self.cancel.clone(),
            progress: self.reporter.progress(&spec.label),
            seed: self.record.seed,
        };
        let todo: Vec<usize> = mine.iter().copied().filter(|unit| !dir.is_done(*unit)).collect();
        if let (Some(first), prepare) = (todo.first(), work.prepare.take()) {
            // What is done for all units, opening a model and buying among it, counts as the first one's time.
            let clock = Clock::since(begun, &dir.path().join(format!("scratch/{first:05}")));
            let context = Context { progress: clock.watched(&context.progress), ..context.clone() };
            let prepared = prepare.map_or(Ok(()), |prepare| prepare(&todo, &context));
            clock.save();
            prepared?;
        }
        let mut waiting = Waiting::default();
        loop {
            self.cancel.check()?;
            let mut held = None;
            for unit in &mine {
                self.cancel.check()?;
                match dir.claim(*unit, &owner)? {
                    Claimed::Done => {}
                    Claimed::Held { by } => held = Some((*unit, by)),
                    Claimed::Mine(claim) => {
                        let scratch = claim.scratch();
                        let clock = Clock::since(Instant::now(), &scratch);
                        let progress = standing::recorded(&context.progress, &scratch, (*unit, work.num_units));
                        let context = Context { scratch, progress: clock.watched(&progress), ..context.clone() };
                        run_unit((claim, *unit), &clock, dir, &context, &mut work.unit)?;
                        waiting = Waiting::default();
                    }
                }
            }
            let missing = (0..work.num_units).filter(|unit| !dir.is_done(*unit)).count();
            if missing == 0 {
                let time = StageTime { finished_at: timestamp(), ..draft.time };
                return Ok(dir.finish(work.num_units, Manifest { time, ..draft })?);
            }
            waiting.wait(&context, work.num_units, missing, held);
        }
    }

    /// Records how a stage stands, in `run.json` and as a link.
    fn enter(&mut self, spec: &Spec, key: &str, state: State) -> Result<()> {
        let stage = spec.stage.name.to_owned();
        let entry = StageRecord { label: spec.label.clone(), stage, key: key.to_owned(), state };
        match self.record.stages.iter_mut().find(|stage| stage.label == spec.label) {
            Some(known) => *known = entry,
            None => self.record.stages.push(entry),
        }
        if self.mode == Mode::Plan {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot create {}", self.folder.display()))?;
        self.record.write(&self.folder)?;
        if !self.noted {
            users::note(&self.store, &self.folder)?;
            self.noted = true;
        }
        if !key.is_empty() && state != State::Pending {
            link(&self.folder.join(&spec.label), self.store.stage(spec.stage.name, key).path())?;
        }
        Ok(())
    }
}

/// Runs one unit and commits it. One that fails is given up, its scratch space kept.
fn run_unit(
    (claim, unit): (Claim, usize),
    clock: &Clock,
    dir: &StageDir,
    context: &Context,
    work: &mut UnitWork<'_>,
) -> Result<()> {
    let outcome = work(unit, context, &claim.output());
    let committed = outcome.and_then(|tally| Ok(claim.commit(tally, clock.elapsed_s())?));
    match committed {
        Ok(_) => Ok(()),
        // Stopped for so long that another owner took it for dead, and did its work.
        Err(_) if dir.is_done(unit) => Ok(()),
        Err(error) => {
            clock.save();
            Err(error)
        }
    }
}

/// Waiting for units that others do.
#[derive(Default)]
struct Waiting {
    since: Option<Instant>,
}

impl Waiting {
    /// Waits a moment, and says for what once that is no matter of moments.
    fn wait(&mut self, context: &Context, num_units: usize, missing: usize, held: Option<(usize, String)>) {
        let since = self.since.get_or_insert_with(|| {
            context.progress.begin("wait", num_units as u64, "units");
            Instant::now()
        });
        let whom = match held {
            Some((unit, by)) => format!("{by} works on unit {unit}"),
            None => "other ranks work on the rest".to_owned(),
        };
        let waited = since.elapsed().as_secs();
        context.progress.advance((num_units - missing) as u64, format!("{whom}; waited {waited} s"));
        std::thread::sleep(POLL);
    }
}

/// A registered process that tells others that it lives, until it is dropped.
struct Alive {
    owner: Arc<Owner>,
    /// Dropped, it ends the thread.
    _stop: mpsc::Sender<()>,
}

impl Alive {
    fn new(owner: Owner) -> Alive {
        let owner = Arc::new(owner);
        let (stop, stopped) = mpsc::channel::<()>();
        let beating = Arc::downgrade(&owner);
        std::thread::spawn(move || {
            while stopped.recv_timeout(TTL / 8) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(owner) = beating.upgrade() else { return };
                if let Err(error) = owner.beat() {
                    tracing::warn!(%error, "other machines cannot see that this process lives");
                }
            }
        });
        Alive { owner, _stop: stop }
    }
}

#[cfg(test)]
mod tests;

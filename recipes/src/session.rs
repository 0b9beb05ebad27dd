//! One run of one recipe: keys, claims, manifests and the record of what this run uses.
//!
//! A stage goes in as a specification (name, version, configuration, inputs) and a function that does the work; out
//! comes its dataset, made now or found in the store. When only a plan is wanted, nothing is run and what is missing
//! stays pending, with everything behind it.

use crate::progress::Reporter;
use anyhow::{Context as _, Result};
use distill_dataset::{Cancel, Context, Dataset, Digest, Input, Manifest, StageTime, Store, Tally, timestamp};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Somebody asked to stop before a stage began.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What a stage is: everything that its key depends on.
pub struct Spec {
    /// What it is called in this run, e.g. `evaluation-before`.
    pub label: String,
    /// The stage's name: its folder in the store.
    pub stage: &'static str,
    /// Raised whenever the stage's code gives other results for the same inputs.
    pub version: u32,
    config: serde_json::Value,
    inputs: Vec<(String, Option<String>)>,
    datasets: Vec<Dataset>,
}

impl Spec {
    /// A stage of that name and version, with the configuration that decides its result.
    pub fn new(stage: &'static str, version: u32, config: &impl Serialize) -> Result<Spec> {
        let config = serde_json::to_value(config).context("the configuration does not serialise")?;
        Ok(Spec { label: stage.to_owned(), stage, version, config, inputs: Vec::new(), datasets: Vec::new() })
    }

    /// Another name within the run, where a stage occurs more than once.
    pub fn label(mut self, label: impl Into<String>) -> Spec {
        self.label = label.into();
        self
    }

    /// Adds the output of another stage as an input.
    pub fn input(mut self, name: &str, slot: &Slot) -> Spec {
        self.inputs.push((name.to_owned(), slot.0.as_ref().map(|dataset| dataset.manifest.digest.clone())));
        self.datasets.extend(slot.0.clone());
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
}

/// A stage's dataset, or, in a plan, that it is not made yet.
#[derive(Clone, Debug)]
pub struct Slot(Option<Dataset>);

impl Slot {
    /// A dataset that is there.
    pub fn of(dataset: Dataset) -> Slot {
        Slot(Some(dataset))
    }

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
    /// Run what is missing.
    Run,
    /// Run nothing.
    Plan,
}

/// How a stage stands in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its manifest was there already.
    Found,
    /// This run made it.
    Made,
    /// It is not there yet.
    Pending,
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What it is called in this run.
    pub label: String,
    /// The stage's name.
    pub stage: String,
    /// Its key; empty while its inputs are not known.
    pub key: String,
    /// How it stands.
    pub state: State,
}

/// What a recipe's latest run uses: `runs/<recipe>/run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The recipe's name.
    pub name: String,
    /// The recipe's file.
    pub recipe: PathBuf,
    /// The `--set` overrides.
    pub overrides: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The store.
    pub store: PathBuf,
    /// The stages in order.
    pub stages: Vec<StageRecord>,
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
    reporter: Reporter,
    made: usize,
}

impl Session {
    /// A session for a recipe of that name below `runs`.
    pub fn new(mode: Mode, store: Store, runs: &Path, device: &str, record: RunRecord, reporter: Reporter) -> Session {
        let folder = runs.join(&record.name);
        Session { mode, store, device: device.to_owned(), cancel: Cancel::default(), folder, record, reporter, made: 0 }
    }

    /// How many stages this session has run.
    pub fn num_made(&self) -> usize {
        self.made
    }

    /// Finds a stage's dataset in the store, or makes it with `work`, which writes into the folder it is given.
    ///
    /// # Errors
    /// What `work` says; then the stage has no manifest and the next run resumes it.
    pub fn stage(&mut self, spec: Spec, work: impl FnOnce(&Context, &Path) -> Result<Tally>) -> Result<Slot> {
        let Some(inputs) = spec.known_inputs() else {
            self.enter(&spec, "", State::Pending)?;
            return Ok(Slot(None));
        };
        let key = key(&spec, self.record.seed, &inputs);
        let dir = self.store.stage(spec.stage, &key);
        if let Some(manifest) = dir.manifest()? {
            self.enter(&spec, &key, State::Found)?;
            self.reporter.found(&spec.label, &manifest);
            return Ok(Slot::of(Dataset { dir: dir.path().to_owned(), manifest }));
        }
        if self.mode == Mode::Plan {
            self.enter(&spec, &key, State::Pending)?;
            return Ok(Slot(None));
        }
        if self.cancel.is_cancelled() {
            return Err(Interrupted.into());
        }
        let claim = dir.claim()?;
        if let Some(manifest) = dir.manifest()? {
            // Another process finished it between the look and the claim.
            self.enter(&spec, &key, State::Found)?;
            return Ok(Slot::of(Dataset { dir: dir.path().to_owned(), manifest }));
        }
        self.enter(&spec, &key, State::Pending)?;
        // What a stage reads is what its key says: files that changed since are noticed before they are used.
        spec.datasets.iter().try_for_each(Dataset::verify)?;
        let context = Context {
            scratch: claim.scratch(),
            cancel: self.cancel.clone(),
            progress: self.reporter.progress(&spec.label),
            seed: self.record.seed,
        };
        tracing::info!(stage = spec.label, key = &key[..16], "stage begins");
        let (started, earlier) = (Instant::now(), Elapsed::read(&claim.scratch()));
        let outcome = work(&context, claim.output()).with_context(|| format!("stage `{}`", spec.label));
        let wall_s = earlier.0 + started.elapsed().as_secs_f64();
        let tally = outcome.inspect_err(|_| Elapsed(wall_s).write(&claim.scratch()))?;
        let manifest = claim.commit(Manifest {
            format: Manifest::FORMAT,
            stage: spec.stage.to_owned(),
            stage_version: spec.version,
            key: key.clone(),
            inputs,
            config: spec.config.clone(),
            seed: self.record.seed,
            revision: env!("DISTILL_REVISION").to_owned(),
            device: self.device.clone(),
            time: StageTime { finished_at: timestamp(), wall_s },
            tally,
            ..Manifest::default()
        })?;
        self.made += 1;
        self.enter(&spec, &key, State::Made)?;
        self.reporter.made(&spec.label, &manifest);
        Ok(Slot::of(Dataset { dir: dir.path().to_owned(), manifest }))
    }

    /// Records how a stage stands, in `run.json` and as a link.
    fn enter(&mut self, spec: &Spec, key: &str, state: State) -> Result<()> {
        let entry = StageRecord { label: spec.label.clone(), stage: spec.stage.to_owned(), key: key.to_owned(), state };
        match self.record.stages.iter_mut().find(|stage| stage.label == spec.label) {
            Some(known) => *known = entry,
            None => self.record.stages.push(entry),
        }
        if self.mode == Mode::Plan {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot create {}", self.folder.display()))?;
        let json = serde_json::to_string_pretty(&self.record)?;
        write_whole(&self.folder.join("run.json"), &json)?;
        if !key.is_empty() && state != State::Pending {
            link(&self.folder.join(&spec.label), self.store.stage(spec.stage, key).path())?;
        }
        Ok(())
    }
}

/// hash(stage, version, configuration, seed, each input's content digest), 64 hex digits.
fn key(spec: &Spec, seed: u64, inputs: &[Input]) -> String {
    let mut digest = Digest::new("stage");
    digest.field(spec.stage).field(&spec.version.to_string()).field(&spec.config.to_string()).field(&seed.to_string());
    for input in inputs {
        digest.field(&input.name).field(&input.digest);
    }
    digest.finish()
}

/// Writes a small file under a temporary name, then renames it: a reader sees the old text or the new, never half.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Points `link` at `target`, replacing an earlier link and never a real file.
fn link(link: &Path, target: &Path) -> Result<()> {
    let target = std::path::absolute(target)?;
    match fs::read_link(link) {
        Ok(old) if old == target => return Ok(()),
        Ok(_) => fs::remove_file(link)?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(&target, link)
        .with_context(|| format!("cannot link {} to {}", link.display(), target.display()))
}

/// Seconds that earlier, interrupted attempts at a stage took.
struct Elapsed(f64);

impl Elapsed {
    fn read(scratch: &Path) -> Elapsed {
        Elapsed(fs::read_to_string(scratch.join("elapsed-s")).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0))
    }

    fn write(&self, scratch: &Path) {
        // Only a figure for the report: that it cannot be written must not hide why the stage failed.
        let _ = fs::write(scratch.join("elapsed-s"), self.0.to_string());
    }
}

#[cfg(test)]
mod tests;

//! A run as it stands on disk: its record, and the manifests that its links lead to. What status, report and show read.

use crate::{
    record::{RunRecord, StageRecord, State},
    standing::Unfinished,
};
use anyhow::Result;
use distill_dataset::{Dataset, Detail, Funnel, Manifest, Score, Store};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A run.
pub struct View {
    /// `runs/<recipe>`.
    pub folder: PathBuf,
    /// What it uses.
    pub record: RunRecord,
    /// Its stages in order, those that are done with their datasets.
    pub stages: Vec<(StageRecord, Option<Dataset>)>,
}

impl View {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When its record or a manifest cannot be read.
    pub fn read(folder: &Path) -> Result<View> {
        let record = RunRecord::read(folder)?;
        let stages = record.stages.iter().map(|stage| Ok((stage.clone(), dataset(folder, stage)?)));
        let stages = stages.collect::<Result<_>>()?;
        Ok(View { folder: folder.to_owned(), record, stages })
    }

    /// The finished datasets of a stage.
    pub fn of<'v>(&'v self, stage: &'v str) -> impl Iterator<Item = &'v Dataset> {
        self.stages.iter().filter(move |(record, _)| record.stage == stage).filter_map(|(_, dataset)| dataset.as_ref())
    }

    /// The store: where a finished stage's link leads, else as the run was told.
    pub fn store(&self) -> Store {
        let linked = self.stages.iter().filter(|(_, dataset)| dataset.is_some()).find_map(|(stage, _)| {
            // `<store>/<stage>/<key>`
            let target = fs::canonicalize(self.folder.join(&stage.label)).ok()?;
            target.ancestors().nth(2).map(Path::to_owned)
        });
        Store::new(linked.unwrap_or_else(|| PathBuf::from(&self.record.store)))
    }

    /// How far a stage is that was begun and is not done.
    pub fn unfinished(&self, stage: &StageRecord) -> Option<Unfinished> {
        let known = Some(stage).filter(|stage| !stage.key.is_empty())?;
        let unfinished = Unfinished::of(&self.store().stage(&known.stage, &known.key));
        (!unfinished.is_empty()).then_some(unfinished)
    }

    /// Manifests of what is done.
    pub fn manifests(&self) -> impl Iterator<Item = (&StageRecord, &Manifest)> {
        self.stages.iter().filter_map(|(record, dataset)| Some((record, &dataset.as_ref()?.manifest)))
    }

    /// What became of all traces.
    pub fn funnel(&self) -> Option<&Funnel> {
        self.funnel_of("selection")
    }

    /// What became of all problems, where something filters them.
    pub fn problem_funnel(&self) -> Option<&Funnel> {
        self.funnel_of("problem-selection")
    }

    fn funnel_of(&self, stage: &str) -> Option<&Funnel> {
        let mut manifests = self.manifests().filter(|(record, _)| record.stage == stage);
        manifests.find_map(|(_, manifest)| match &manifest.tally.detail {
            Detail::Selection { funnel, .. } => Some(funnel),
            _ => None,
        })
    }

    /// Scores by subject, in order.
    pub fn scores(&self) -> impl Iterator<Item = (&str, &Score)> {
        self.manifests().filter_map(|(_, manifest)| match &manifest.tally.detail {
            Detail::Evaluation { subject, score } => Some((subject.as_str(), score)),
            _ => None,
        })
    }
}

fn dataset(folder: &Path, stage: &StageRecord) -> Result<Option<Dataset>> {
    if stage.state == State::Pending {
        return Ok(None);
    }
    let dir = folder.join(&stage.label);
    let path = dir.join("manifest.json");
    if !path.exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(&path)?;
    Ok((manifest.key == stage.key).then(|| Dataset::new(dir, manifest)))
}

//! What a student starts from: a checkpoint from outside as it is, or one that a stage makes.

use crate::{
    explained::Misused,
    recipe::BaseConfig,
    session::{Session, Slot, Spec, Work},
};
use anyhow::Result;
use distill_dataset::Keyed;
use distill_student::BASE;
use std::path::{Path, PathBuf};

/// A checkpoint is there: a Hugging Face folder or a GGUF file. What it holds is not read.
///
/// # Errors
/// What was expected; of a run's folder, where its checkpoint is.
pub(crate) fn there(path: &Path) -> Result<(), Misused> {
    let is_folder = |dir: &Path| dir.join("config.json").exists();
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf") && path.is_file();
    if is_gguf || is_folder(path) {
        return Ok(());
    }
    let made = [distill_publish::PUBLISHED.name, distill_student::TRAINING.name].map(|label| path.join(label));
    let hint = match made.iter().find(|dir| is_folder(dir)) {
        Some(dir) => format!("\nhint: that is the folder of a run; its checkpoint is {}", dir.display()),
        None => String::new(),
    };
    Err(Misused(format!(
        "no checkpoint at {}: expected a folder with config.json, model.safetensors and tokenizer.json, or a .gguf file{hint}",
        path.display()
    )))
}

/// A model: a folder from outside, or one that a stage makes.
pub enum Model {
    /// From outside.
    Given {
        /// The folder.
        dir: PathBuf,
        /// The digest of what decides its output.
        digest: String,
    },
    /// Made by a stage.
    Made(Box<Slot>),
}

impl Model {
    /// Adds it to a stage's inputs.
    pub fn input(&self, spec: Spec, name: &str) -> Spec {
        match self {
            Model::Given { digest, .. } => spec.outside(name, digest.clone()),
            Model::Made(slot) => spec.input(name, slot.as_ref()),
        }
    }

    /// Its folder, checked against its manifest where it has one.
    ///
    /// # Errors
    /// When it is not made yet, or its files changed.
    pub fn dir(&self) -> Result<&Path> {
        match self {
            Model::Given { dir, .. } => Ok(dir),
            Model::Made(slot) => {
                let dataset = slot.ready()?;
                dataset.verify()?;
                Ok(&dataset.dir)
            }
        }
    }

    /// Its digest.
    ///
    /// # Errors
    /// When it is not made yet.
    pub fn digest(&self) -> Result<&str> {
        match self {
            Model::Given { digest, .. } => Ok(digest),
            Model::Made(slot) => Ok(&slot.ready()?.manifest.digest),
        }
    }
}

/// The model that a student starts from.
///
/// # Errors
/// When a file of it cannot be read, or the stage that makes it fails.
pub fn base_model(session: &mut Session, base: &BaseConfig) -> Result<Model> {
    match base {
        BaseConfig::Checkpoint { path, surgery } if path.is_dir() && surgery.is_empty() => {
            Ok(Model::Given { dir: path.clone(), digest: session.outside.checkpoint(path)? })
        }
        BaseConfig::Checkpoint { path, surgery } => {
            let settings = Keyed::of(surgery, &distill_student::Surgery::default());
            let spec = Spec::new(BASE, surgery, settings)?.outside("checkpoint", session.outside.checkpoint(path)?);
            Ok(Model::Made(Box::new(session.stage(spec, |_| {
                Ok(Work::gather(|context, out| {
                    Ok(distill_student::adapt(path, surgery, None, None, &context.cancel, out)?)
                }))
            })?)))
        }
        BaseConfig::Config { config, tokenizer } => {
            let files = session.outside.files("config", std::slice::from_ref(config))?;
            let settings = Keyed::default().with("seed", session.record.seed);
            let spec = Spec::new(BASE, &(), settings)?.outside("config", files);
            let spec = spec.outside("tokenizer", session.outside.chat(tokenizer)?);
            let device = session.device.clone();
            Ok(Model::Made(Box::new(session.stage(spec, |_| {
                Ok(Work::gather(move |context, out| {
                    Ok(distill_student::initialise(config, tokenizer, &device, context, out)?)
                }))
            })?)))
        }
    }
}

//! From what a recipe says of a teacher to somebody who answers: opened only when a stage really asks.

use crate::{
    identity::Outside,
    recipe::{HttpConfig, SourceConfig, TeacherConfig},
};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::Keyed;
use distill_teacher::{ApiKey, Complete, HttpTeacher, Render};
use distill_teacher_local::{LocalTeacher, Placement, Precision};
use std::path::PathBuf;

/// Looks up a secret by the name of its environment variable.
pub type Secrets<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A teacher, not opened yet.
pub struct Teacher {
    /// What it is called in reports.
    pub name: String,
    /// Who it is: digest of a checkpoint, or model and revision of an endpoint.
    pub identity: String,
    kind: Kind,
}

enum Kind {
    Local(PathBuf, Precision),
    Http(HttpConfig),
}

impl Teacher {
    /// The teacher of a source; nobody for worked solutions.
    ///
    /// # Errors
    /// When its checkpoint is not there.
    pub fn of(source: &SourceConfig, outside: &Outside) -> Result<Option<Teacher>> {
        Ok(match &source.teacher {
            TeacherConfig::WorkedSolutions => None,
            TeacherConfig::Local { dir, precision } => {
                let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let identity = outside.decoded(dir, *precision)?;
                Some(Teacher { name, identity, kind: Kind::Local(dir.clone(), *precision) })
            }
            TeacherConfig::Http(config) => {
                let identity = config.endpoint.identity();
                Some(Teacher { name: config.endpoint.model.clone(), identity, kind: Kind::Http((**config).clone()) })
            }
        })
    }

    /// What decides its answers, beside what it is asked.
    pub fn keyed(&self) -> Keyed {
        Keyed::default().with("identity", &self.identity)
    }

    /// Who it is, as one digest.
    pub fn digest(&self) -> String {
        distill_dataset::Digest::new("teacher").field(&self.keyed().to_string()).finish()
    }

    /// The name of its folder among the samples.
    pub fn folder(&self) -> String {
        let mut digest = distill_dataset::Digest::new("teacher");
        digest.field(&self.identity);
        if matches!(self.kind, Kind::Local(..)) {
            // Another engine draws other tokens from the same seed: its samples are not these.
            digest.field(&distill_teacher_local::VERSION.to_string());
        }
        let digest = digest.finish();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
        format!("{}-{}", self.name.chars().take(40).map(safe).collect::<String>(), &digest[..12])
    }

    /// Gets it ready to answer.
    ///
    /// # Errors
    /// When the checkpoint is damaged, the device is not there, or a key is missing.
    pub fn open(&self, device: &str, secrets: Secrets<'_>) -> Result<Box<dyn Complete>> {
        match &self.kind {
            Kind::Local(dir, precision) => {
                let placement = Placement { precision: *precision, ..Placement::on(device) };
                Ok(Box::new(LocalTeacher::load(dir, &self.identity, placement)?))
            }
            Kind::Http(config) => {
                let key = match &config.api_key_env {
                    None => None,
                    Some(name) => match secrets(name) {
                        Some(key) => Some(ApiKey::new(key)),
                        None => bail!(
                            "the environment variable {name} is not set\nhint: `api-key-env` names it; export it before the run"
                        ),
                    },
                };
                let render = config.chat.as_ref().map(|dir| {
                    let chat = Chat::load(dir).with_context(|| format!("chat folder {}", dir.display()))?;
                    let (template_hash, prefill) = (chat.template_hash().to_owned(), chat.prefill().to_owned());
                    let render = Box::new(move |messages: &[distill_dataset::Message]| {
                        chat.render(messages, true).map(|rendered| rendered.text).map_err(|error| error.to_string())
                    });
                    anyhow::Ok(Render { template_hash, prefill, render })
                });
                Ok(Box::new(HttpTeacher::new(config.endpoint.clone(), key, render.transpose()?)?))
            }
        }
    }
}

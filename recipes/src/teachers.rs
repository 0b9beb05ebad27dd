//! From what a recipe says of a teacher to somebody who answers: opened only when a stage really asks.

use crate::{
    identity::Outside,
    launch,
    recipe::{HttpConfig, TeacherConfig},
};
use anyhow::{Context, Result, ensure};
use distill_chat::Chat;
use distill_dataset::{Keyed, Store, open_regular};
use distill_teacher::{Api, ApiKey, Complete, HttpTeacher, Identity, Probed, Render, Tokenizer};
use distill_teacher_local::{Limits, LocalTeacher, Placement, Precision, plan_cache};
use std::{
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Looks up a secret by the name of its environment variable.
pub type Secrets<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A teacher, not opened yet.
pub struct Teacher {
    /// What it is called in reports.
    pub name: String,
    /// Who it is, for the keys of stages: digest of a checkpoint, or all that is known of an endpoint, its call and our
    /// template included.
    pub identity: String,
    kind: Kind,
}

enum Kind {
    Local(PathBuf, Precision),
    Http(Box<(HttpConfig, Identity)>),
}

impl Teacher {
    /// Who a recipe names; nothing where nobody is asked.
    ///
    /// # Errors
    /// When its checkpoint is not there.
    pub fn of(config: &TeacherConfig, outside: &Outside) -> Result<Option<Teacher>> {
        Ok(match config {
            TeacherConfig::WorkedSolutions | TeacherConfig::ReadyTraces(_) => None,
            TeacherConfig::Local { dir, precision } => {
                let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let identity = outside.decoded(dir, *precision)?;
                Some(Teacher { name, identity, kind: Kind::Local(dir.clone(), *precision) })
            }
            TeacherConfig::Http(config) => {
                // The template decides every prompt that is rendered here.
                let chat = config.chat.as_deref().filter(|_| config.endpoint.api() == Api::Completions);
                let chat = chat.map(load_chat).transpose()?;
                let asked = config.endpoint.asked(chat.as_ref().map(|chat| (chat.template_hash(), chat.turn())));
                let (name, identity) = (config.endpoint.model.clone(), asked.describe());
                Some(Teacher { name, identity, kind: Kind::Http(Box::new(((**config).clone(), asked))) })
            }
        })
    }

    /// What decides its answers, beside what it is asked.
    pub fn keyed(&self) -> Keyed {
        let keyed = Keyed::default().with("identity", &self.identity);
        match self.kind {
            // Another engine draws other tokens from the same seed.
            Kind::Local(..) => keyed.with("engine", distill_teacher_local::VERSION),
            Kind::Http(..) => keyed,
        }
    }

    /// Who it is, as one digest.
    pub fn digest(&self) -> String {
        distill_dataset::Digest::new("teacher").field(&self.keyed().to_string()).finish()
    }

    /// All that is known of who answers: what its samples' identities are made of, known before it is opened.
    ///
    /// # Errors
    /// When a checkpoint's chat folder cannot be read.
    pub fn asked(&self) -> Result<Identity> {
        match &self.kind {
            Kind::Http(known) => Ok(known.1.clone()),
            Kind::Local(dir, _) => {
                let chat = distill_teacher_local::chat_of(dir)?.templated();
                let chat = chat.with_context(|| format!("chat folder {}", dir.display()))?;
                let template_hash = chat.template_hash().to_owned();
                Ok(Identity { teacher: self.identity.clone(), template_hash, ..Identity::default() })
            }
        }
    }

    /// The name of its folder among the samples. It does not change with what older versions did not know of a teacher,
    /// so that what they bought is found; samples are told apart by their own identities.
    pub fn folder(&self) -> String {
        let mut digest = distill_dataset::Digest::new("teacher");
        match &self.kind {
            Kind::Local(..) => digest.field(&self.identity),
            Kind::Http(known) => digest.field(&known.0.endpoint.identity()),
        };
        if matches!(self.kind, Kind::Local(..)) {
            // Another engine draws other tokens from the same seed: its samples are not these.
            digest.field(&distill_teacher_local::VERSION.to_string());
        }
        let digest = digest.finish();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
        format!("{}-{}", self.name.chars().take(40).map(safe).collect::<String>(), &digest[..12])
    }

    /// Checks, without loading anything but headers, that a local teacher's cache holds answers of `max_new_tokens`.
    ///
    /// # Errors
    /// When the checkpoint cannot be opened or the device has too little memory: bytes needed and found.
    pub fn plan(&self, device: &str, max_new_tokens: u32) -> Result<()> {
        if let Kind::Local(dir, precision) = &self.kind {
            plan_cache(dir, &placement(device, *precision, max_new_tokens))?;
        }
        Ok(())
    }

    /// Gets it ready to answer with at most `max_new_tokens`, as one of `world` processes that ask it. Servers that were launched
    /// for it are found in `store`.
    ///
    /// # Errors
    /// When the checkpoint is damaged, the device is not there, or a key is missing.
    pub fn open(
        &self,
        device: &str,
        max_new_tokens: u32,
        store: Option<&Store>,
        secrets: Secrets<'_>,
        world: usize,
    ) -> Result<Box<dyn Complete>> {
        match &self.kind {
            Kind::Local(dir, precision) => {
                let placement = placement(device, *precision, max_new_tokens);
                Ok(Box::new(LocalTeacher::load(dir, &self.identity, placement)?))
            }
            Kind::Http(known) => {
                let config = &known.0;
                let mut teacher = self.endpoint(config, store, secrets, world)?;
                if config.endpoint.probes() {
                    teacher = self.looked_at(teacher, store)?;
                }
                Ok(Box::new(teacher))
            }
        }
    }

    /// A client of its endpoints, with their keys.
    fn endpoint(
        &self,
        config: &HttpConfig,
        store: Option<&Store>,
        secrets: Secrets<'_>,
        world: usize,
    ) -> Result<HttpTeacher> {
        let own = own_key(config, secrets)?;
        let render = config.chat.as_ref().map(|dir| load_chat(dir).map(render));
        let mut endpoint = config.endpoint.among(world);
        let mut registry = None;
        if let (Some(store), Some(launched)) = (store, &config.launch) {
            let dir = launch::registry(store, self, launched);
            endpoint.endpoints = launch::endpoints(&dir)?;
            registry = Some(dir);
        }
        let mut teacher = HttpTeacher::new(endpoint, own, render.transpose()?)?;
        if let Some(dir) = registry {
            // A week is longer than a job: who is registered is read again while they are asked.
            teacher =
                teacher.with_registry(Arc::new(move || launch::endpoints(&dir).map_err(|error| format!("{error:#}"))));
        }
        for name in config.endpoint.places().iter().filter_map(|place| place.api_key_env.as_ref()) {
            teacher = teacher.with_key(name, &key(name, secrets)?);
        }
        for (header, name) in &config.endpoint.headers_env {
            teacher = teacher.with_secret_header(header, &secret_header(header, name, secrets)?)?;
        }
        Ok(teacher)
    }

    /// Its endpoints as they show themselves; what differs from the recipe or from earlier looks is told.
    fn looked_at(&self, teacher: HttpTeacher, store: Option<&Store>) -> Result<HttpTeacher> {
        let probed = teacher.probe()?;
        let mut told = Vec::new();
        if let Some(store) = store {
            let dir = store.samples(&self.folder()).join("looks").join(teacher.identity().digest());
            told = Probed::compare(&probed, &dir)?;
        }
        let (teacher, remarks) = teacher.as_probed(&probed);
        told.extend(remarks);
        told.iter().for_each(|remark| tracing::warn!("{remark}"));
        Ok(teacher)
    }

    /// Looks at its endpoints, and buys nothing of them but that.
    ///
    /// # Errors
    /// When it is no endpoint, a key is missing, or the network cannot be used.
    pub fn probe(&self, store: &Store, secrets: Secrets<'_>) -> Result<Vec<Probed>> {
        let Kind::Http(known) = &self.kind else {
            anyhow::bail!(
                "expected a teacher behind an endpoint, found a checkpoint\nhint: it is looked at when it is opened"
            )
        };
        let teacher = self.endpoint(&known.0, Some(store), secrets, 1)?;
        Ok(teacher.probe()?)
    }
}

/// Where a checkpoint is decoded for answers of at most `max_new_tokens`: the cache is sized by them.
pub fn placement(device: &str, precision: Precision, max_new_tokens: u32) -> Placement<'_> {
    let limits = Limits::for_request(None, max_new_tokens as usize);
    Placement { precision, limits, ..Placement::on(device) }
}

/// The key of all endpoints that name none of their own.
///
/// # Errors
/// When it is said where it is and it is not there, or others may read it.
pub(crate) fn own_key(config: &HttpConfig, secrets: Secrets<'_>) -> Result<Option<ApiKey>> {
    match (&config.api_key_env, &config.api_key_file) {
        (Some(_), Some(_)) => anyhow::bail!("expected `api-key-env` or `api-key-file`, found both"),
        (Some(name), None) => key(name, secrets).map(Some),
        (None, Some(path)) => key_in(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// The key in a file that only its owner may read.
fn key_in(path: &Path) -> Result<ApiKey> {
    const MOST_BYTES: u64 = 1 << 16;
    let at = path.display();
    let unread = || format!("`api-key-file`: cannot read {at}");
    // Of the file that is read, which may be another by now than the one at this path.
    let file = open_regular(path).with_context(unread)?;
    let mode = file.metadata().with_context(unread)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "`api-key-file`: expected a file that only you may read (mode 600), found mode {:o} of {at}\nhint: chmod 600 {at}",
        mode & 0o777
    );
    let mut text = String::new();
    let length = file.take(MOST_BYTES + 1).read_to_string(&mut text).with_context(unread)? as u64;
    ensure!(length <= MOST_BYTES, "`api-key-file`: expected at most {MOST_BYTES} bytes, found more in {at}");
    ensure!(!text.trim().is_empty(), "`api-key-file`: expected a key, found nothing in {at}");
    Ok(ApiKey::new(text))
}

/// The key that an environment variable holds.
///
/// # Errors
/// When it is not set.
pub(crate) fn key(name: &str, secrets: Secrets<'_>) -> Result<ApiKey> {
    let hint = "hint: `api-key-env` names it; export it before the run";
    secrets(name).map(ApiKey::new).with_context(|| format!("the environment variable {name} is not set\n{hint}"))
}

/// The value of a header that an environment variable holds.
///
/// # Errors
/// When it is not set.
pub(crate) fn secret_header(header: &str, name: &str, secrets: Secrets<'_>) -> Result<ApiKey> {
    let set = secrets(name).filter(|value| !value.trim().is_empty()).map(ApiKey::new);
    let hint = "hint: `headers-env` names it; export it before the run";
    set.with_context(|| format!("the environment variable {name}, for the header {header:?}, is not set\n{hint}"))
}

/// How prompts are rendered by a folder's template, and tokenised by its tokenizer.
fn render(chat: Chat) -> Render {
    let chat = Arc::new(chat);
    let told = |error: distill_chat::ChatError| error.to_string();
    let [renders, encodes, decodes] = [&chat, &chat, &chat].map(Arc::clone);
    let tokenizer = Tokenizer {
        encode: Box::new(move |text| encodes.encode(text).map_err(told)),
        decode: Box::new(move |ids, written| decodes.decode_following(ids, written).map_err(told)),
        begin: chat.begin().map(|begin| begin.text.clone()),
        adds_begin: chat.begin().is_some_and(|begin| begin.is_added),
        ends: chat.eos_ids().to_vec(),
    };
    Render {
        template_hash: chat.template_hash().to_owned(),
        turn: chat.turn().clone(),
        render: Box::new(move |messages| renders.prompt(messages).map_err(told)),
        tokenizer: Some(Arc::new(tokenizer)),
    }
}

fn load_chat(dir: &Path) -> Result<Chat> {
    Chat::load(dir).with_context(|| format!("chat folder {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    /// The teacher of a shipped recipe that asks an endpoint, with these keys of it changed.
    fn teacher(keys: &[&str]) -> Teacher {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let sets: Vec<String> = keys.iter().map(|key| format!("sources.0.teacher.http.{key}")).collect();
        let recipe = Recipe::load(&recipes.join("gsm8k.toml"), &sets).expect("a recipe");
        Teacher::of(&recipe.sources[0].teacher, &Outside::read(Path::new("no-store")))
            .expect("a teacher")
            .expect("an endpoint")
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-secret-0123456789\n").expect("a file");
        let with_mode = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            key_in(&path).map_err(|error| error.to_string())
        };
        for mode in [0o644, 0o640, 0o604] {
            let error = with_mode(mode).expect_err("others may read it");
            assert!(
                error.contains("mode 600") && error.contains("chmod 600") && !error.contains("sk-secret"),
                "{error}"
            );
        }
        assert!(with_mode(0o600).is_ok());
        std::fs::write(&path, " \n").expect("a file");
        assert!(with_mode(0o600).expect_err("nothing in it").contains("found nothing"));
    }

    #[test]
    fn call_template_and_serving_change_the_key_and_not_the_folder_of_what_was_paid_for() {
        let chat = "chat=\"nano\"";
        let plain = teacher(&[]);
        assert_eq!(plain.identity, teacher(&["url=\"http://elsewhere:1/v1\"", "concurrency=3"]).identity);
        assert_eq!(plain.identity, teacher(&[chat]).identity, "the chat call applies the endpoint's own template");
        for keys in [&["api=\"completions\"", chat][..], &["served-as=\"vllm fp8\""]] {
            let other = teacher(keys);
            assert_ne!(plain.identity, other.identity, "{keys:?}");
            assert_eq!(plain.folder(), other.folder(), "{keys:?}");
            assert_ne!(plain.asked().expect("an identity"), other.asked().expect("an identity"), "{keys:?}");
        }
        // As version 0.1.0 named it: another name would lose what lies there.
        assert_eq!(plain.folder(), "deepseek-ai-DeepSeek-R1-a2a279f7cceb");
    }
}

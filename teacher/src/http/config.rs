//! What a recipe says of an endpoint, and the key that it never says.

use crate::Identity;
use distill_dataset::{Digest, TurnFormat};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which of the two OpenAI-compatible calls is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/chat/completions`: the server applies its template.
    #[default]
    Chat,
    /// `/completions`: our template, so that every byte of the prompt is ours.
    Completions,
}

impl Api {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Api::Chat => "chat",
            Api::Completions => "completions",
        }
    }
}

/// An OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpTeacherConfig {
    /// Its base, e.g. `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The model's revision, where the host states one: part of every sample's identity.
    #[serde(default)]
    pub revision: String,
    /// Which call is used.
    #[serde(default)]
    pub api: Api,
    /// Engine and precision behind it, e.g. `vllm fp8`: part of every sample's identity.
    #[serde(default)]
    pub served_as: String,
    /// A GBNF grammar that constrains the output, where the server takes one (llama.cpp).
    #[serde(default)]
    pub grammar: Option<String>,
    /// Most requests in flight.
    #[serde(default = "concurrency")]
    pub concurrency: u32,
    /// How often a request is tried again.
    #[serde(default = "max_retries")]
    pub max_retries: u32,
    /// Most seconds for one answer.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
    /// Most seconds without a byte.
    #[serde(default = "idle_timeout_s")]
    pub idle_timeout_s: u64,
    /// Most seconds that an endpoint may be away; it is waited for however long where this is absent.
    #[serde(default)]
    pub max_wait_s: Option<u64>,
    /// US dollars for a million tokens of prompt and of completion.
    #[serde(default)]
    pub usd_per_million_tokens: [f64; 2],
}

fn concurrency() -> u32 {
    32
}
fn max_retries() -> u32 {
    8
}
fn timeout_s() -> u64 {
    3600
}
fn idle_timeout_s() -> u64 {
    300
}

impl HttpTeacherConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        match reqwest::Url::parse(&self.url).ok().filter(|url| ["http", "https"].contains(&url.scheme())) {
            None => wrong.push(format!("`url`: expected http://… or https://…, found {:?}", self.url)),
            Some(url) if !url.username().is_empty() || url.password().is_some() => wrong.push(
                "`url`: expected no user or password in it (`api-key-env` names a key's environment variable)"
                    .to_owned(),
            ),
            Some(_) => {}
        }
        if self.model.is_empty() {
            wrong.push("`model`: expected the model's name, found nothing".to_owned());
        }
        for (key, found, most) in [
            ("concurrency", u64::from(self.concurrency), 4096),
            ("timeout-s", self.timeout_s, 1 << 20),
            ("idle-timeout-s", self.idle_timeout_s, 1 << 20),
        ] {
            if found == 0 || found > most {
                wrong.push(format!("`{key}`: expected 1 to {most}, found {found}"));
            }
        }
        if let Some(price) = self.usd_per_million_tokens.iter().find(|price| price.is_nan() || **price < 0.0) {
            wrong.push(format!("`usd-per-million-tokens`: expected 0 or more, found {price}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Where requests go.
    pub(crate) fn endpoint(&self) -> String {
        let call = match self.api {
            Api::Chat => "chat/completions",
            Api::Completions => "completions",
        };
        format!("{}/{call}", self.url.trim_end_matches('/'))
    }

    /// Name, revision and grammar. Not where it stands: a model may move. Names the folder of its answers as well, so that
    /// it stays as it is; whatever else changes an answer is in [`HttpTeacherConfig::asked`].
    pub fn identity(&self) -> String {
        let mut name = self.model.clone();
        if !self.revision.is_empty() {
            name = format!("{name}@{}", self.revision);
        }
        match &self.grammar {
            None => name,
            Some(grammar) => format!("{name}+grammar-{}", &Digest::new("grammar").field(grammar).finish()[..8]),
        }
    }

    /// All that is known of who answers. `template` is the hash of our chat template and how the turns that it
    /// begins are laid out; both matter only where prompts are rendered here.
    pub fn asked(&self, template: Option<(&str, &TurnFormat)>) -> Identity {
        let template = template.filter(|_| self.api == Api::Completions);
        let (template_hash, turn) = template.map_or_else(Default::default, |(hash, turn)| (hash, turn.clone()));
        Identity {
            teacher: self.identity(),
            template_hash: template_hash.to_owned(),
            api: self.api.name().to_owned(),
            turn,
            served_as: self.served_as.clone(),
        }
    }
}

/// A key that never shows itself.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key.
    pub fn new(key: String) -> ApiKey {
        ApiKey(key.trim().to_owned())
    }

    pub(crate) fn authorise(&self, call: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        call.bearer_auth(&self.0)
    }

    /// Takes the key out of a text, should a server repeat it.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "[key]") }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

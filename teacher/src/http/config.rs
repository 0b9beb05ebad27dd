//! What a recipe says of an endpoint.

use super::Price;
use crate::{HostProfile, Identity, ModelProfile};
use distill_dataset::{Digest, TurnFormat};
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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

/// How a server is told to go on from a part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Continuation {
    /// Not at all: an answer that breaks off is asked for anew.
    None,
    /// `/completions`: the part is behind the prompt.
    Prompt,
    /// `/chat/completions`: the part is a last message of the assistant, as vLLM and SGLang take it with
    /// `continue_final_message`.
    ContinueFinalMessage,
    /// The same with nothing said of it, as llama.cpp takes it.
    AssistantTurn,
    /// The same with `prefix` set in the message, as DeepSeek's beta takes it.
    Prefix,
}

/// A field of a request that some hosts refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Omit {
    /// `seed`: answers cannot be drawn again then, by anybody.
    Seed,
    /// `stream_options`: tokens are counted here then, where the host does not tell them unasked.
    StreamOptions,
}

/// One of several places where a model is served. What it leaves out is as the teacher has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EndpointConfig {
    /// Its base, e.g. `http://gpu-1:8000/v1`.
    pub url: String,
    /// Most requests in flight there, by all processes of a run together.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Most requests that are sent there in a minute.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// Most tokens, of prompts and answers, that are asked of it in a minute.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// The environment variable that holds its key. A key goes to no other endpoint.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// US dollars for a million tokens of prompt and of completion there.
    #[serde(default)]
    pub usd_per_million_tokens: Option<[f64; 2]>,
    /// In place of it: what a million tokens cost there, in any currency.
    #[serde(default)]
    pub price: Option<Price>,
}

/// An OpenAI-compatible teacher, behind one endpoint or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpTeacherConfig {
    /// Its base, e.g. `http://127.0.0.1:8000/v1`.
    #[serde(default)]
    pub url: String,
    /// In place of `url`: the endpoints that serve the model.
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
    /// What serves it, where that is known: a host of `distill teacher hosts`. What is not said here is as that host has it.
    #[serde(default)]
    pub host: Option<String>,
    /// The model's name there.
    pub model: String,
    /// The model's revision, where the host states one: part of every sample's identity.
    #[serde(default)]
    pub revision: String,
    /// Which call is used: `completions` where the host has it and prompts can be rendered here, else `chat`; `chat` where no
    /// host is named.
    #[serde(default)]
    pub api: Option<Api>,
    /// Engine and precision behind it, e.g. `vllm fp8`: part of every sample's identity.
    #[serde(default)]
    pub served_as: String,
    /// A GBNF grammar that constrains the output, where the server takes one (llama.cpp).
    #[serde(default)]
    pub grammar: Option<String>,
    /// Fields that are sent with every request beside those that this program sets, such as `top_k`: part of every
    /// sample's identity.
    #[serde(default)]
    pub body: Map<String, Value>,
    /// Headers that are sent with every request. A key's place is `api-key-env`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Headers whose values are secrets: by each header's name, the environment variable that holds its value. They are sent to
    /// every endpoint, and never written down.
    #[serde(default)]
    pub headers_env: BTreeMap<String, String>,
    /// Fields of a request that are left out.
    #[serde(default)]
    pub omit: Vec<Omit>,
    /// Whether prompts that are rendered here are sent as token ids, by the tokenizer of their template's folder. Where that
    /// was found to work, unless something is said. It is how a prompt travels: no part of any sample's identity.
    #[serde(default)]
    pub prompt_ids: Option<bool>,
    /// How it goes on from a part of an answer: `prompt` for completions, else `none` unless something is said.
    #[serde(default)]
    pub continuation: Option<Continuation>,
    /// Most requests in flight, at each endpoint, by all processes of a run together.
    #[serde(default = "concurrency")]
    pub concurrency: u32,
    /// Most requests that are sent in a minute, to each endpoint, by all processes of a run together.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// Most tokens, of prompts and answers, that are asked in a minute of each endpoint, by all processes of a run together.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
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
    pub usd_per_million_tokens: Option<[f64; 2]>,
    /// In place of it: what a million tokens cost, in any currency. Where neither is said, what is known of the host's prices
    /// counts as long as it is in force.
    #[serde(default)]
    pub price: Option<Price>,
    /// GPUs behind all endpoints together, for a budget of GPU-hours.
    #[serde(default)]
    pub gpus: Option<f64>,
    /// Whether its endpoints are looked at before anything is bought: which model answers, whether seeds and continuation
    /// work. Where a host is named unless something is said: it takes a few short requests.
    #[serde(default)]
    pub probe: Option<bool>,
    /// Whether a folder's template renders prompts, by whose tokenizer they can be sent as ids.
    #[serde(skip)]
    pub has_template: bool,
    /// Whether its endpoints are those that are registered when it is asked.
    #[serde(skip)]
    pub is_launched: bool,
}

/// Fields of a request that this program sets.
const OURS: [&str; 14] = [
    "model",
    "messages",
    "prompt",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stream",
    "stream_options",
    "grammar",
    "add_generation_prompt",
    "continue_final_message",
    "n",
];

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
        match (self.url.is_empty(), self.endpoints.is_empty()) {
            (true, true) if self.is_launched => {}
            (true, true) => {
                wrong.push("`url`: expected http://… or https://…, or `endpoints`, found neither".to_owned())
            }
            (false, false) => wrong.push("expected `url` or `endpoints`, found both".to_owned()),
            _ => {}
        }
        let places = self.places();
        for (number, place) in places.iter().enumerate() {
            wrong.extend(wrong_url(&place.url));
            if places[..number].iter().any(|other| other.url == place.url) {
                wrong.push(format!(
                    "`endpoints`: expected each of them once, found {} again",
                    without_secrets(&place.url)
                ));
            }
        }
        let fits = match self.continues_by() {
            Continuation::None => true,
            Continuation::Prompt => self.api() == Api::Completions,
            _ => self.api() == Api::Chat,
        };
        if !fits {
            wrong.push(
                "`continuation`: expected `prompt` or `none` with `api = \"completions\"`, and one of the others with `chat`"
                    .to_owned(),
            );
        }
        if self.model.is_empty() {
            wrong.push("`model`: expected the model's name, found nothing".to_owned());
        }
        let mut in_range =
            vec![("timeout-s", self.timeout_s, 1 << 20), ("idle-timeout-s", self.idle_timeout_s, 1 << 20)];
        for place in &places {
            let [requests, concurrency] =
                [place.requests_per_minute, place.concurrency].map(|count| count.map(u64::from));
            in_range.extend(concurrency.map(|found| ("concurrency", found, 4096)));
            in_range.extend(requests.map(|found| ("requests-per-minute", found, 1 << 32)));
            in_range.extend(place.tokens_per_minute.map(|found| ("tokens-per-minute", found, 1 << 40)));
        }
        wrong.extend(self.wrong_prices());
        for (key, found, most) in in_range {
            if found == 0 || found > most {
                wrong.push(format!("`{key}`: expected 1 to {most}, found {found}"));
            }
        }
        if let Some(host) = self.host.as_deref().filter(|_| self.profile().is_none()) {
            let known: Vec<&str> = HostProfile::all().iter().map(|host| host.name).collect();
            wrong.push(format!("`host`: expected one of {}, found {host:?}", known.join(", ")));
        }
        for name in self.body.keys().filter(|name| OURS.contains(&name.as_str())) {
            wrong.push(format!("`body`: expected fields that no other key sets, found {name:?}"));
        }
        wrong.extend(self.wrong_headers());
        if self.prompt_ids == Some(true) && (self.api() != Api::Completions || !self.has_template) {
            wrong.push(
                "`prompt-ids`: expected `api = \"completions\"` and `chat`, the folder whose tokenizer makes ids, found one of them missing"
                    .to_owned(),
            );
        }
        if let Some(gpus) = self.gpus.filter(|gpus| !gpus.is_finite() || *gpus <= 0.0) {
            wrong.push(format!("`gpus`: expected more than 0, found {gpus}"));
        }
        wrong.dedup();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// What is wrong with its headers.
    fn wrong_headers(&self) -> Vec<String> {
        let is_name = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
        let mut wrong = Vec::new();
        for (name, value) in &self.headers {
            if !is_name(name) || HeaderValue::from_str(value).is_err() {
                wrong.push(format!("`headers`: expected a header, found {name:?}"));
            } else if ["authorization", "api-key", "x-api-key"].contains(&name.to_ascii_lowercase().as_str()) {
                wrong.push(format!(
                    "`headers`: expected no key here, found {name:?} (`api-key-env` or `headers-env` names a secret's environment variable)"
                ));
            }
        }
        for (name, variable) in &self.headers_env {
            if !is_name(name) {
                wrong.push(format!("`headers-env`: expected a header, found {name:?}"));
            } else if self.headers.keys().any(|other| other.eq_ignore_ascii_case(name)) {
                wrong.push(format!(
                    "`headers-env`: expected headers that `headers` does not have, found {name:?} in both"
                ));
            } else if !is_variable(variable) {
                // It may be the secret itself, so it is not repeated.
                wrong.push(format!(
                    "`headers-env`: expected the name of an environment variable for {name:?}, found something else"
                ));
            }
        }
        wrong
    }

    /// How it goes on from a part of an answer.
    pub fn continues_by(&self) -> Continuation {
        let call = self.profile().map(|host| &host.call);
        self.continuation.unwrap_or(match self.api() {
            Api::Completions => Continuation::Prompt,
            Api::Chat => call
                .and_then(|call| call.chat_continuation.or(call.continuation.filter(|_| call.api == "chat")))
                .unwrap_or(Continuation::None),
        })
    }

    /// What is known of its host.
    pub fn profile(&self) -> Option<&'static HostProfile> {
        self.host.as_deref().and_then(HostProfile::of)
    }

    /// Whether its endpoints are looked at before anything is bought.
    pub fn probes(&self) -> bool {
        self.probe.unwrap_or(self.host.is_some())
    }

    /// The call that is used.
    pub fn api(&self) -> Api {
        let renders = || self.has_template || self.model_prompt().is_some();
        let completes = |host: &HostProfile| host.call.api == "completions" && renders();
        self.api.unwrap_or(if self.profile().is_some_and(completes) { Api::Completions } else { Api::Chat })
    }

    /// How the model's prompts are written, where that is known without a template of its folder.
    pub(crate) fn model_prompt(&self) -> Option<&'static ModelProfile> {
        ModelProfile::of(&self.model).filter(|model| model.prompt.is_some())
    }

    /// Whether a field of a request is left out.
    pub(crate) fn omits(&self, field: Omit) -> bool {
        self.omit.contains(&field) || self.profile().is_some_and(|host| host.call.omit.contains(&field))
    }

    /// Fields that are sent beside those that this program sets; with those that ask for the ids of generated tokens.
    pub(crate) fn extra(&self, asks_ids: bool) -> Map<String, Value> {
        let call = self.profile().map(|host| &host.call);
        let mut extra = call.map_or_else(Map::new, |call| match self.api() {
            Api::Completions => call.extra_body.clone(),
            Api::Chat => call.chat_extra_body.clone(),
        });
        extra.extend(call.filter(|_| asks_ids).into_iter().flat_map(|call| call.ids_body.clone()));
        extra.extend(self.body.clone());
        extra
    }

    /// The endpoints that the recipe names itself.
    pub fn places_said(&self) -> Vec<EndpointConfig> {
        if self.url.is_empty() && self.endpoints.is_empty() { Vec::new() } else { self.places() }
    }

    /// The endpoints, each with everything said of it.
    pub fn places(&self) -> Vec<EndpointConfig> {
        let one = EndpointConfig { url: self.url.clone(), ..EndpointConfig::default() };
        let places = if self.endpoints.is_empty() { std::slice::from_ref(&one) } else { &self.endpoints };
        places.iter().map(|place| self.place(place)).collect()
    }

    /// An endpoint with everything said of it.
    pub(super) fn place(&self, place: &EndpointConfig) -> EndpointConfig {
        let ours = Price::said(self.price, self.usd_per_million_tokens);
        EndpointConfig {
            url: place.url.trim_end_matches('/').to_owned(),
            concurrency: place.concurrency.or(Some(self.concurrency)),
            requests_per_minute: place.requests_per_minute.or(self.requests_per_minute),
            tokens_per_minute: place.tokens_per_minute.or(self.tokens_per_minute),
            api_key_env: place.api_key_env.clone(),
            usd_per_million_tokens: None,
            price: Price::said(place.price, place.usd_per_million_tokens).or(ours),
        }
    }

    /// As one of `world` processes keeps it that ask at the same time: of every endpoint's limits each has its part, and one
    /// request at least.
    pub fn among(&self, world: usize) -> HttpTeacherConfig {
        let part = |limit: u64| (limit / world.max(1) as u64).max(1);
        let short = |limit: u32| u32::try_from(part(u64::from(limit))).unwrap_or(limit);
        let endpoints = self.endpoints.iter().map(|place| EndpointConfig {
            concurrency: place.concurrency.map(short),
            requests_per_minute: place.requests_per_minute.map(short),
            tokens_per_minute: place.tokens_per_minute.map(part),
            ..place.clone()
        });
        HttpTeacherConfig {
            endpoints: endpoints.collect(),
            concurrency: short(self.concurrency),
            requests_per_minute: self.requests_per_minute.map(short),
            tokens_per_minute: self.tokens_per_minute.map(part),
            ..self.clone()
        }
    }

    /// As it is served by `host`, where none is named: the call stays what it is without one, and with it who answers.
    pub fn served_by(self, host: &str) -> HttpTeacherConfig {
        match self.host {
            Some(_) => self,
            None => HttpTeacherConfig { api: Some(self.api()), host: Some(host.to_owned()), ..self },
        }
    }

    /// Whether its host completes prompts that could be rendered here, and it is asked by chats: its own template counts.
    pub fn could_complete(&self) -> bool {
        self.api() == Api::Chat && HttpTeacherConfig { api: None, ..self.clone() }.api() == Api::Completions
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
        let (template_hash, turn) = match (self.api(), template, self.model_prompt()) {
            (Api::Completions, Some((hash, turn)), _) => (hash.to_owned(), turn.clone()),
            (Api::Completions, None, Some(model)) => {
                (model.prompt.as_ref().map(crate::profiles::ModelPrompt::digest).unwrap_or_default(), model.format())
            }
            _ => Default::default(),
        };
        Identity {
            teacher: self.identity(),
            template_hash,
            api: self.api().name().to_owned(),
            turn,
            served_as: self.served_as.clone(),
            body: if self.body.is_empty() { String::new() } else { Value::from(self.body.clone()).to_string() },
        }
    }
}

/// Whether a text can be an environment variable's name: letters, digits and `_`, the first no digit.
fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(fits) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// What is wrong with an endpoint's URL.
fn wrong_url(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    Some(match url {
        None if text.is_empty() => return None,
        None => format!("`url`: expected http://… or https://…, found {:?}", without_secrets(text)),
        // A call's path is put behind it, and what stands there is told in every message.
        Some(url) if url.query().is_some() || url.fragment().is_some() => {
            "`url`: expected no `?` or `#` in it (`api-key-env` names a key's environment variable)".to_owned()
        }
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            "`url`: expected no user or password in it (`api-key-env` names a key's environment variable)".to_owned()
        }
        Some(_) => return None,
    })
}

/// A URL that is refused, without what may be a secret in it: user and password, and all behind `?`.
fn without_secrets(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = shown.split_at(shown.find("//").map_or(0, |at| at + 2));
    let rest = rest.rsplit_once('@').map_or(rest.to_owned(), |(_, host)| format!("…@{host}"));
    let cut = if shown.len() < url.len() { "…" } else { "" };
    format!("{scheme}{rest}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_the_limits_of_every_endpoint() {
        let text = r#"{"model": "m", "concurrency": 64, "requests-per-minute": 61, "tokens-per-minute": 10,
            "endpoints": [{"url": "http://a/v1", "concurrency": 2}, {"url": "http://b/v1"}]}"#;
        let config: HttpTeacherConfig = serde_json::from_str(text).expect("a configuration");
        let limits = |config: &HttpTeacherConfig| {
            let all = config.places().into_iter();
            all.map(|it| (it.concurrency, it.requests_per_minute, it.tokens_per_minute)).collect::<Vec<_>>()
        };
        assert_eq!(limits(&config.among(4)), [(Some(1), Some(15), Some(2)), (Some(16), Some(15), Some(2))]);
        assert_eq!(config.among(1), config);
        assert_eq!(config.asked(None), config.among(4).asked(None), "who answers is the same");
    }

    #[test]
    fn a_host_that_is_implied_changes_nobody() {
        let text = r#"{"model": "deepseek-ai/DeepSeek-R1", "url": "http://a/v1"}"#;
        let config: HttpTeacherConfig = serde_json::from_str(text).expect("a configuration");
        let served = config.clone().served_by("vllm");
        assert_eq!(served.asked(None), config.asked(None), "what was paid for would be bought anew");
        assert!(served.continues_by() != Continuation::None && served.could_complete() && served.check().is_ok());
    }

    #[test]
    fn a_url_with_a_secret_is_refused_and_not_repeated() {
        for url in [
            "http://me:s3cret@h/v1",
            "http://s3cret@h/v1",
            "ftp://me:s3cret@h/v1",
            "me:s3cret@h/v1",
            "http://me:s3cret@:x/v1?api_key=s3cret",
            "https://h/v1?api_key=s3cret",
            "https://h/v1#s3cret",
        ] {
            let text = format!(r#"{{"url": "{url}", "model": "m"}}"#);
            let config: HttpTeacherConfig = serde_json::from_str(&text).expect("a configuration");
            let error = config.check().expect_err(url);
            assert!(error.contains("`url`") && !error.contains("s3cret"), "{url}: {error}");
        }
    }
}

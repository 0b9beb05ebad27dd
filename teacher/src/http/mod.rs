//! OpenAI-compatible endpoints as a teacher. This file makes one attempt at one request; `flights.rs` makes many at once,
//! again where that helps, at one of several endpoints (`route.rs`), which may come and go (`registry.rs`), at the pace that
//! each sets (`pace.rs`, `rates.rs`, `metrics.rs`); `health.rs` asks how one is that failed.

mod body;
mod config;
mod events;
mod expected;
mod flights;
pub mod fuzzing;
mod health;
mod ids;
mod logprobs;
mod metrics;
mod pace;
mod price;
mod probe;
mod rates;
mod registry;
mod response;
mod retry_after;
mod route;
mod secret;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{Api, Continuation, EndpointConfig, HttpTeacherConfig, Omit};
pub use ids::{Decode, Encode, Tokenizer};
pub use price::Price;
pub use probe::{Probed, TextCount};
pub use secret::ApiKey;

use crate::{Budget, Complete, Completion, Cost, HostProfile, Identity, Partial, Piece, Queue, Request, TeacherError};
use body::Live;
use distill_dataset::{Cancel, Currency, FinishReason, Message, TurnFormat};
use jiff::Timestamp;
use price::Tariff;
use reqwest::header::{HeaderMap, HeaderName};
use response::{Attempt, Ending, read};
use secret::Secrets;
use serde::Serialize;
use std::{cell::Cell, sync::Arc, time::Duration};

/// Tokens by which a server may pass the limit of a request before its stream is cut.
const OVERRUN: u64 = 64;
/// Most tokens that a server's template may write before and between the messages of a chat.
const TEMPLATE: usize = 256;

/// Messages → prompt, or why not.
pub type RenderPrompt = Box<dyn Fn(&[Message]) -> Result<String, String> + Sync>;

/// Renders a conversation into the prompt for `/completions`; `template_hash` says by which template.
pub struct Render {
    /// Digest of the template.
    pub template_hash: String,
    /// How the turns that it begins are laid out.
    pub turn: TurnFormat,
    /// Messages → prompt.
    pub render: RenderPrompt,
    /// The tokenizer of the template's folder.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

/// Who is registered now, or why that cannot be told.
pub type Registry = Arc<dyn Fn() -> Result<Vec<EndpointConfig>, String> + Send + Sync>;

/// One place where the model is served.
#[derive(Clone)]
struct Endpoint {
    /// What is said of it.
    place: EndpointConfig,
    host: Option<&'static HostProfile>,
    key: Option<ApiKey>,
    /// The key and all else that must never be repeated.
    secrets: Secrets,
    tariff: Tariff,
}

impl Endpoint {
    /// A place of nobody known, where nothing costs anything.
    fn of(place: EndpointConfig, key: Option<ApiKey>) -> Endpoint {
        Endpoint { place, host: None, secrets: key.clone().into(), key, tariff: Tariff::default() }
    }

    /// Where requests go.
    fn call(&self, api: Api) -> String {
        let host = self.host.map(|host| &host.call);
        let path = match api {
            Api::Chat => host.map_or("/chat/completions", |call| &call.chat_path),
            Api::Completions => host.map_or("/completions", |call| &call.completions_path),
        };
        let query = host.and_then(|call| call.query.as_ref()).map_or(String::new(), |query| format!("?{query}"));
        format!("{}{path}{query}", self.place.url)
    }

    /// What is asked to find out how it is: the host's own question, at its root unless a gateway stands there, else for its
    /// models.
    fn health(&self) -> String {
        let call = self.host.map(|host| &host.call);
        if let Some(path) = call.and_then(|call| call.health.as_ref())
            && let Ok(mut url) = reqwest::Url::parse(&self.place.url)
            && url.path() == "/v1"
        {
            url.set_path(path);
            return url.into();
        }
        let query = call.and_then(|call| call.query.as_ref()).map_or(String::new(), |query| format!("?{query}"));
        format!("{}/models{query}", self.place.url)
    }
}

/// A model behind one endpoint or several.
pub struct HttpTeacher {
    config: HttpTeacherConfig,
    endpoints: Vec<Endpoint>,
    /// The key of those that name none of their own.
    key: Option<ApiKey>,
    /// Who else is registered, while they are asked.
    registry: Option<Registry>,
    /// How often that is looked up.
    registry_every: Duration,
    /// What the looks at them took.
    looked: Cost,
    /// Of a chat, whose server applies its own template, it only counts tokens.
    render: Option<Render>,
    /// Whether prompts are sent as ids.
    sends_ids: bool,
    /// Those whose values are secrets.
    secret_headers: HeaderMap,
    /// The same, to be taken out of what is said.
    secrets: Vec<ApiKey>,
    client: reqwest::Client,
}

impl HttpTeacher {
    /// A teacher behind the endpoints of `config`. `key` goes to those that name no variable of their own; the keys of
    /// the others are given with [`HttpTeacher::with_key`]. Nothing is sent yet.
    ///
    /// # Errors
    /// When a URL is not one, or `/completions` is wanted without a template.
    pub fn new(
        config: HttpTeacherConfig,
        key: Option<ApiKey>,
        render: Option<Render>,
    ) -> Result<HttpTeacher, TeacherError> {
        let refused = TeacherError::Refused;
        config.check().map_err(refused)?;
        // Chosen once, not for every request.
        let config = HttpTeacherConfig { api: Some(config.api()), ..config };
        let render = match config.api() {
            Api::Chat => render,
            Api::Completions => render.or_else(|| model_render(&config)),
        };
        if config.api() == Api::Completions && render.is_none() {
            return Err(refused(
                "`api = \"completions\"` needs `chat`, the folder whose template renders prompts, or a model of `distill teacher models`"
                    .to_owned(),
            ));
        }
        // The first caller installs the provider; a second attempt is told so and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder();
        // Nodes of a cluster are inside; its proxy is for the outside.
        let builder = if config.is_launched { builder.no_proxy() } else { builder };
        let client = builder
            .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| TeacherError::Refused(error.to_string()))?;
        let sends_ids = config.prompt_ids == Some(true);
        let mut teacher = HttpTeacher {
            config,
            endpoints: Vec::new(),
            key,
            registry: None,
            registry_every: registry::EVERY,
            looked: Cost::default(),
            render,
            sends_ids,
            secret_headers: HeaderMap::new(),
            secrets: Vec::new(),
            client,
        };
        // Of those that jobs register, none may be there yet.
        teacher.endpoints = teacher.config.places_said().into_iter().map(|place| teacher.endpoint(place)).collect();
        Ok(teacher)
    }

    /// An endpoint at a place, which says everything.
    fn endpoint(&self, place: EndpointConfig) -> Endpoint {
        let key = self.key.clone().filter(|_| place.api_key_env.is_none());
        let tariff = self.config.tariff(&place, Timestamp::now());
        let mut endpoint = Endpoint { host: self.config.profile(), tariff, ..Endpoint::of(place, key) };
        self.secrets.iter().for_each(|secret| endpoint.secrets.add(secret));
        endpoint
    }

    /// The teacher with servers that come and go while they are asked: those that `registry` tells now are asked, beside
    /// which none has to be there at first.
    pub fn with_registry(self, registry: Registry) -> HttpTeacher {
        HttpTeacher { registry: Some(registry), ..self }
    }

    /// The teacher with the key that the environment variable `name` holds, for the endpoints that name it.
    pub fn with_key(mut self, name: &str, key: &ApiKey) -> HttpTeacher {
        let named = self.endpoints.iter_mut().filter(|endpoint| endpoint.place.api_key_env.as_deref() == Some(name));
        for endpoint in named {
            endpoint.key = Some(key.clone());
            endpoint.secrets.add(key);
        }
        self
    }

    /// The teacher with a header whose value is a secret, for all endpoints.
    ///
    /// # Errors
    /// When it is none that a request can have.
    pub fn with_secret_header(mut self, name: &str, secret: &ApiKey) -> Result<HttpTeacher, TeacherError> {
        let refused = |_| TeacherError::Refused(format!("expected a header, found {name:?}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(refused)?;
        self.secret_headers.insert(name, secret.header()?);
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.secrets.add(secret));
        self.secrets.push(secret.clone());
        Ok(self)
    }

    /// One attempt at one request; what arrives shows in `live` as it does.
    async fn attempt(&self, endpoint: &Endpoint, request: &Request, live: &Live) -> Attempt {
        live.prompt_estimate.set(prompt_estimate(request));
        let late = Cell::new(false);
        let ending = match self.prompt(request, endpoint, live.is_by_ids()) {
            Ok(counted) => {
                live.prompt_tokens.set(counted.as_ref().and_then(|counted| counted.tokens));
                let prompt = counted.map(|counted| counted.prompt);
                self.send_within(endpoint, &wire::body(&self.config, request, prompt), live, &late).await
            }
            Err(message) => Ending::Unanswerable("not-renderable", message),
        };
        let cost = self.cost(endpoint, live);
        let text = match ending {
            Ending::Done(_) => String::new(),
            _ => {
                live.settle();
                live.text()
            }
        };
        let late = late.get() || matches!(ending, Ending::Broken("timed-out", _));
        Attempt { ending, cost, text, late }
    }

    async fn send(&self, endpoint: &Endpoint, body: &impl Serialize, live: &Live) -> Ending {
        self.send_within(endpoint, body, live, &Cell::default()).await
    }

    /// Sends a request and reads its answer; `late` tells whether time ran out, here or there.
    async fn send_within(&self, endpoint: &Endpoint, body: &impl Serialize, live: &Live, late: &Cell<bool>) -> Ending {
        let call = self.call(endpoint).json(body);
        let idle = Duration::from_secs(self.config.idle_timeout_s);
        let response = match tokio::time::timeout(idle, call.send()).await {
            Err(_) => {
                // It was sent: the server may have been at work on it all the time.
                live.begun.set(true);
                late.set(true);
                return Ending::Server(format!("no answer within {} s", idle.as_secs()), None);
            }
            Ok(Err(error)) if error.is_connect() => {
                late.set(error.is_timeout());
                return Ending::Away { message: source_of(&error), wait: None, busy: false };
            }
            Ok(Err(error)) => return Ending::Server(source_of(&error), None),
            Ok(Ok(response)) => response,
        };
        late.set([408, 504].contains(&response.status().as_u16()));
        let whole = Duration::from_secs(self.config.timeout_s);
        let reading = read(response, idle, live);
        match tokio::time::timeout(whole, reading).await {
            Ok(ending) => ending,
            Err(_) => Ending::Broken("timed-out", format!("not finished within {} s", whole.as_secs())),
        }
    }

    /// A call with its headers and its key, and no body yet.
    fn call(&self, endpoint: &Endpoint) -> reqwest::RequestBuilder {
        self.with_headers(self.client.post(endpoint.call(self.config.api())), endpoint)
    }

    fn with_headers(&self, mut call: reqwest::RequestBuilder, endpoint: &Endpoint) -> reqwest::RequestBuilder {
        for (name, value) in &self.config.headers {
            call = call.header(name, value);
        }
        let call = call.headers(self.secret_headers.clone());
        match &endpoint.key {
            Some(key) => key.authorise(call, endpoint.host.and_then(|host| host.call.key_header.as_deref())),
            None => call,
        }
    }

    /// What an attempt cost, by the price that held when it was sent.
    fn cost(&self, endpoint: &Endpoint, live: &Live) -> Cost {
        let mut cost = live.cost();
        if let Some(price) = endpoint.tariff.at(live.sent) {
            cost.pay(price.of(&cost));
        }
        cost
    }

    /// What arrived of an answer since the piece before, with what the attempt cost so far.
    fn piece(&self, endpoint: &Endpoint, live: &Live, last: bool) -> Option<Piece> {
        live.piece(last).map(|piece| Piece { cost: self.cost(endpoint, live), ..piece })
    }

    fn complete_answer(&self, answer: response::Answer, cost: &Cost, before: Option<Partial>) -> Completion {
        let tokens = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let named_before = || before.as_ref().and_then(|partial| partial.model.clone()).unwrap_or_default();
        let response_model = if answer.model.is_empty() { named_before() } else { answer.model };
        Completion {
            text: answer.text,
            finish_reason: answer.finish_reason,
            finish_name: answer.finish_name,
            response_model,
            prompt_tokens: tokens(cost.prompt_tokens),
            cached_tokens: tokens(cost.cached_tokens),
            completion_tokens: tokens(cost.completion_tokens),
            log_probs: Partial::join_log_probs(before.as_ref(), answer.log_probs),
            token_ids: Partial::join_ids(before.as_ref(), answer.ids),
            earlier: before.map_or_else(Vec::new, |partial| partial.segments),
            cost_usd: cost.usd,
            cost_other: cost.other.clone(),
            estimated: cost.estimated,
        }
    }

    /// What is there of an answer whose server has no room to go on with it.
    fn cut_answer(&self, partial: Partial, cost: &Cost) -> Completion {
        let answer = response::Answer {
            text: partial.text.clone(),
            finish_reason: FinishReason::Length,
            ..response::Answer::default()
        };
        let (log_probs, token_ids) = (partial.log_probs.clone(), partial.ids.clone());
        Completion { log_probs, token_ids, ..self.complete_answer(answer, cost, Some(partial)) }
    }

    /// A message with the endpoint's name and never a secret.
    fn say(&self, endpoint: &Endpoint, message: &str) -> String {
        let message = format!("{}: {message}", endpoint.call(self.config.api()));
        endpoint.secrets.redact(&message)
    }
}

/// How prompts of a model are rendered whose makers' template is known here.
fn model_render(config: &HttpTeacherConfig) -> Option<Render> {
    let model = config.model_prompt()?;
    let prompt = model.prompt.as_ref()?;
    let begins = !config.profile().is_some_and(|host| host.call.adds_begin);
    let render = Box::new(move |messages: &[Message]| prompt.render(messages, &model.turn.prefix, begins));
    Some(Render { template_hash: prompt.digest(), turn: model.format(), render, tokenizer: None })
}

/// Bytes of a conversation, with what marks its turns.
fn message_bytes(request: &Request) -> usize {
    request.messages.iter().map(|message| message.content.len() + 16).sum()
}

/// Tokens of a prompt: four bytes each, about.
fn prompt_estimate(request: &Request) -> u64 {
    let before = request.partial.as_ref().map_or(0, |partial| u64::from(partial.num_tokens()));
    message_bytes(request) as u64 / 4 + before
}

impl Complete for HttpTeacher {
    fn identity(&self) -> Identity {
        self.config.asked(self.render.as_ref().map(|render| (render.template_hash.as_str(), &render.turn)))
    }

    fn continues(&self) -> bool {
        self.config.continues_by() != Continuation::None
    }

    fn gpus(&self) -> f64 {
        self.config.gpus.unwrap_or_default()
    }

    fn most_tokens(&self, request: &Request) -> u64 {
        let beside = self.config.profile().map_or(0, |host| host.call.reasoning_beside);
        u64::from(request.left()) + u64::from(beside) + OVERRUN
    }

    fn opening_cost(&self) -> Cost {
        self.looked.clone()
    }

    fn max_cost(&self, request: &Request, currency: Currency) -> f64 {
        // A token is at least a byte.
        let before = request.partial.as_ref().map_or(0, |partial| partial.text.len());
        let template = if self.config.api() == Api::Chat { TEMPLATE } else { 0 };
        let (prompt, now) = ((message_bytes(request) + before + template) as f64, Timestamp::now());
        let most = self.most_tokens(request) as f64;
        let dearest = |endpoint: &Endpoint| endpoint.tariff.dearest(currency, [prompt, most], now);
        // Those that are registered later cost what the teacher does.
        let later = self.registry.as_ref().map(|_| self.config.tariff(&EndpointConfig::default(), now));
        let later = later.map_or(0.0, |tariff| tariff.dearest(currency, [prompt, most], now));
        self.endpoints.iter().map(dearest).fold(later, f64::max)
    }

    fn check_budget(&self, budget: &Budget) -> Result<(), String> {
        self.config.check_budget(budget)
    }

    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| TeacherError::Local(format!("cannot start the network runtime: {error}")))?;
        runtime.block_on(flights::fly(self, queue, cancel))
    }
}

fn source_of(error: &reqwest::Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

//! An OpenAI-compatible endpoint as a teacher: many requests at once, streamed, retried, at a pace the server sets.

mod config;
mod response;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{Api, ApiKey, HttpTeacherConfig};

use crate::{Complete, Completion, Identity, Queue, Request, TeacherError};
use distill_dataset::{Cancel, Digest, Message};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use response::{Attempt, read};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Longest pause before a retry, unless the server asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A server that asks for a longer pause than this is parked: the request fails and says so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// How often cancellation is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Messages → prompt, or why not.
pub type RenderPrompt = Box<dyn Fn(&[Message]) -> Result<String, String> + Sync>;

/// Renders a conversation into the prompt for `/completions`; `template_hash` says by which template.
pub struct Render {
    /// Digest of the template.
    pub template_hash: String,
    /// What the template already puts into the assistant's turn.
    pub prefill: String,
    /// Messages → prompt.
    pub render: RenderPrompt,
}

/// An endpoint.
pub struct HttpTeacher {
    config: HttpTeacherConfig,
    key: Option<ApiKey>,
    render: Option<Render>,
    client: reqwest::Client,
}

impl HttpTeacher {
    /// A teacher behind `config.url`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the URL is not one, or `/completions` is wanted without a template.
    pub fn new(
        config: HttpTeacherConfig,
        key: Option<ApiKey>,
        render: Option<Render>,
    ) -> Result<HttpTeacher, TeacherError> {
        let refused = TeacherError::Refused;
        config.check().map_err(refused)?;
        if config.api == Api::Completions && render.is_none() {
            return Err(refused(
                "`api = \"completions\"` needs `chat`: the folder whose template renders prompts".to_owned(),
            ));
        }
        // The first caller installs the provider; a second attempt is told so and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| TeacherError::Refused(error.to_string()))?;
        Ok(HttpTeacher { config, key, render, client })
    }

    /// One attempt at one request.
    async fn attempt(&self, request: &Request) -> Attempt {
        let body = match wire::body(&self.config, request, self.render.as_ref()) {
            Ok(body) => body,
            Err(message) => return Attempt::Refused(message),
        };
        let mut call = self.client.post(self.config.endpoint()).json(&body);
        if let Some(key) = &self.key {
            call = key.authorise(call);
        }
        let idle = Duration::from_secs(self.config.idle_timeout_s);
        match tokio::time::timeout(idle, call.send()).await {
            Err(_) => Attempt::Retry(format!("no answer within {} s", idle.as_secs()), None),
            Ok(Err(error)) if error.is_connect() => Attempt::Unreachable(source_of(&error)),
            Ok(Err(error)) => Attempt::Retry(source_of(&error), None),
            Ok(Ok(response)) => {
                let whole = Duration::from_secs(self.config.timeout_s);
                let reading = read(response, self.config.api, idle, self.key.as_ref());
                match tokio::time::timeout(whole, reading).await {
                    Ok(attempt) => attempt,
                    Err(_) => Attempt::Retry(format!("not finished within {} s", whole.as_secs()), None),
                }
            }
        }
    }

    /// Waits `pause`, then tries.
    fn job<'a>(&'a self, work: Work, pause: Duration) -> LocalBoxFuture<'a, (Work, Attempt)> {
        async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let attempt = self.attempt(&work.request).await;
            (work, attempt)
        }
        .boxed_local()
    }

    async fn run(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        let mut flights: FuturesUnordered<LocalBoxFuture<'_, (Work, Attempt)>> = FuturesUnordered::new();
        let mut retries: VecDeque<(Work, Duration)> = VecDeque::new();
        let mut pace = Pace::new(self.config.concurrency);
        let mut answered = false;
        loop {
            while flights.len() < pace.limit() {
                let (work, pause) = match retries.pop_front() {
                    Some(retry) => retry,
                    None => match queue.next() {
                        Some(request) => (Work { request, tries: 0 }, Duration::ZERO),
                        None => break,
                    },
                };
                flights.push(self.job(work, pause));
            }
            if flights.is_empty() {
                return Ok(());
            }
            let finished = tokio::select! {
                finished = flights.next() => finished,
                () = tokio::time::sleep(TICK) => None,
            };
            if cancel.is_cancelled() {
                return Ok(());
            }
            let Some((mut work, attempt)) = finished else { continue };
            let id = work.request.id;
            let (reason, wait) = match attempt {
                Attempt::Done(answer) => {
                    answered = true;
                    pace.succeeded();
                    let completion = self.complete_answer(*answer);
                    if queue.deliver(id, Ok(completion)).is_break() {
                        return Ok(());
                    }
                    continue;
                }
                Attempt::Refused(message) => {
                    let message = self.say(&message);
                    if queue.deliver(id, Err(TeacherError::Failed(message))).is_break() {
                        return Ok(());
                    }
                    continue;
                }
                Attempt::Fatal(message) => return Err(TeacherError::Refused(self.say(&message))),
                Attempt::Unreachable(message) if !answered && work.tries >= 2 => {
                    return Err(TeacherError::Unreachable(format!(
                        "nobody answers at {}: {message}\nhint: is the server running, and is `url` right?",
                        self.config.endpoint()
                    )));
                }
                Attempt::Unreachable(message) => (message, None),
                Attempt::Busy(message, wait) => {
                    pace.refused();
                    (message, wait)
                }
                Attempt::Retry(message, wait) => (message, wait),
            };
            work.tries += 1;
            let parked = wait.is_some_and(|wait| wait > MAX_RETRY_AFTER);
            if work.tries > self.config.max_retries || parked {
                let tries = work.tries;
                let asked = wait.map_or(String::new(), |wait| format!("; it asks to wait {} s", wait.as_secs()));
                let message = self.say(&format!("gave up after {tries} tries: {reason}{asked}"));
                if queue.deliver(id, Err(TeacherError::Failed(message))).is_break() {
                    return Ok(());
                }
                continue;
            }
            tracing::debug!(request = id, tries = work.tries, reason, "retry");
            let pause = wait.unwrap_or_else(|| backoff(work.tries, work.request.seed));
            retries.push_back((work, pause));
        }
    }

    fn complete_answer(&self, answer: response::Answer) -> Completion {
        let prefill = match (&self.render, self.config.api) {
            (Some(render), Api::Completions) => render.prefill.clone(),
            _ => String::new(),
        };
        let [input, output] = self.config.usd_per_million_tokens;
        let cost = f64::from(answer.prompt_tokens) * input + f64::from(answer.completion_tokens) * output;
        Completion {
            prefill,
            text: answer.text,
            finish_reason: answer.finish_reason,
            response_model: answer.model,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            token_ids: None,
            cost_usd: cost / 1e6,
        }
    }

    /// A message with the endpoint's name and never the key.
    fn say(&self, message: &str) -> String {
        let message = format!("{}: {message}", self.config.endpoint());
        self.key.as_ref().map_or(message.clone(), |key| key.redact(&message))
    }
}

impl Complete for HttpTeacher {
    fn identity(&self) -> Identity {
        let template_hash = self.render.as_ref().map_or(String::new(), |render| render.template_hash.clone());
        Identity { teacher: self.config.identity(), template_hash }
    }

    fn max_cost_usd(&self, request: &Request) -> f64 {
        let [input, output] = self.config.usd_per_million_tokens;
        // A token is at least a byte.
        let prompt: usize = request.messages.iter().map(|message| message.content.len() + 16).sum();
        (prompt as f64 * input + f64::from(request.sampling.max_new_tokens) * output) / 1e6
    }

    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| TeacherError::Local(format!("cannot start the network runtime: {error}")))?;
        runtime.block_on(self.run(queue, cancel))
    }
}

/// A request and how often it was tried.
struct Work {
    request: Request,
    tries: u32,
}

/// Exponential, with a share that depends on the request, so that retries do not come in step.
fn backoff(tries: u32, seed: u64) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(tries.min(10));
    let jitter = Digest::new("backoff").field(&seed.to_string()).field(&tries.to_string()).finish_u64() % 1000;
    (base + base.mul_f64(jitter as f64 / 2000.0)).min(MAX_PAUSE)
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

/// Additive increase, multiplicative decrease of the requests in flight (Chiu and Jain, 1989).
struct Pace {
    most: f64,
    now: f64,
    last_cut: Option<Instant>,
}

impl Pace {
    fn new(most: u32) -> Pace {
        Pace { most: f64::from(most), now: f64::from(most), last_cut: None }
    }

    fn limit(&self) -> usize {
        self.now as usize
    }

    fn succeeded(&mut self) {
        self.now = (self.now + 1.0 / self.now).min(self.most);
    }

    /// One cut for each burst of refusals.
    fn refused(&mut self) {
        if self.last_cut.is_none_or(|cut| cut.elapsed() > Duration::from_secs(1)) {
            self.now = (self.now / 2.0).max(1.0);
            self.last_cut = Some(Instant::now());
        }
    }
}

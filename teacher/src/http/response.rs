//! One HTTP response → an answer, or what to do instead. Only a stream that said why it ended is an answer: one that
//! merely stopped is tried again.

use super::{Api, ApiKey, wire::Chunk};
use distill_dataset::FinishReason;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Response, StatusCode, header};
use std::time::Duration;

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 300;
/// Most bytes of an answer: longer ones are an attack or a bug.
const MAX_BYTES: usize = 1 << 26;

/// How an attempt ended.
pub(super) enum Attempt {
    /// With an answer.
    Done(Box<Answer>),
    /// Refused for good, this request only.
    Refused(String),
    /// Refused for good, whatever is asked: wrong key, no balance, unknown model.
    Fatal(String),
    /// The connection was not made.
    Unreachable(String),
    /// Too much at once: try again, more slowly.
    Busy(String, Option<Duration>),
    /// Try again.
    Retry(String, Option<Duration>),
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) finish_reason: FinishReason,
    pub(super) model: String,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
}

/// Reads a response to its end.
pub(super) async fn read(response: Response, api: Api, idle: Duration, key: Option<&ApiKey>) -> Attempt {
    let status = response.status();
    if !status.is_success() {
        return refuse(status, response, idle, key).await;
    }
    let streamed = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let mut parts = Parts::default();
    if !streamed {
        return match tokio::time::timeout(idle, response.bytes()).await {
            Err(_) => Attempt::Retry(format!("silent for {} s", idle.as_secs()), None),
            Ok(Err(error)) => Attempt::Retry(super::source_of(&error), None),
            Ok(Ok(bytes)) => match serde_json::from_slice::<Chunk>(&bytes) {
                Ok(chunk) => parts.take(chunk).unwrap_or_else(|| parts.finish(api)),
                Err(error) => Attempt::Retry(format!("expected a completion as JSON: {error}"), None),
            },
        };
    }
    let mut events = response.bytes_stream().eventsource();
    loop {
        let event = match tokio::time::timeout(idle, events.next()).await {
            Err(_) => return Attempt::Retry(format!("silent for {} s", idle.as_secs()), None),
            Ok(None) => return parts.finish(api),
            Ok(Some(Err(error))) => return Attempt::Retry(format!("the stream broke: {error}"), None),
            Ok(Some(Ok(event))) => event,
        };
        if event.data.trim() == "[DONE]" {
            return parts.finish(api);
        }
        match serde_json::from_str::<Chunk>(&event.data) {
            Err(error) => return Attempt::Retry(format!("expected a chunk as JSON: {error}"), None),
            Ok(chunk) => {
                if let Some(attempt) = parts.take(chunk) {
                    return attempt;
                }
            }
        }
    }
}

async fn refuse(status: StatusCode, response: Response, idle: Duration, key: Option<&ApiKey>) -> Attempt {
    let wait = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = tokio::time::timeout(idle, response.text()).await.ok().and_then(Result::ok).unwrap_or_default();
    let body = key.map_or(body.clone(), |key| key.redact(&body));
    let message = format!("{status}: {}", body.chars().take(MAX_MESSAGE).collect::<String>().trim());
    match status.as_u16() {
        401 | 403 => {
            Attempt::Fatal(format!("{message}\nhint: is the right environment variable named in `api-key-env`?"))
        }
        402 => Attempt::Fatal(message),
        404 => Attempt::Fatal(format!("{message}\nhint: are `url` and `model` right?")),
        300..=399 => Attempt::Fatal(format!("{message}\nhint: the endpoint has moved; correct `url`")),
        408 | 409 | 425 | 500..=599 if status != StatusCode::SERVICE_UNAVAILABLE => Attempt::Retry(message, wait),
        429 | 503 => Attempt::Busy(message, wait),
        _ => Attempt::Refused(message),
    }
}

/// What has arrived so far.
#[derive(Default)]
struct Parts {
    reasoning: String,
    content: String,
    finish_reason: Option<String>,
    model: String,
    usage: Option<(u32, u32)>,
    pieces: u32,
}

impl Parts {
    /// Adds a chunk; an error inside it ends the attempt.
    fn take(&mut self, chunk: Chunk) -> Option<Attempt> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let text = error.to_string().chars().take(MAX_MESSAGE).collect::<String>();
            let code = error.get("code").and_then(serde_json::Value::as_u64);
            return Some(match code {
                Some(400 | 422) => Attempt::Refused(text),
                Some(429 | 503) => Attempt::Busy(text, None),
                _ => Attempt::Retry(text, None),
            });
        }
        if let Some(model) = chunk.model.filter(|_| self.model.is_empty()) {
            self.model = model;
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some((usage.prompt_tokens, usage.completion_tokens));
        }
        let choice = chunk.choices.into_iter().next()?;
        let delta = choice.delta.unwrap_or_default();
        for piece in [delta.reasoning.or(delta.reasoning_content)].into_iter().flatten() {
            self.reasoning.push_str(&piece);
            self.pieces += 1;
        }
        for piece in [delta.content, choice.text].into_iter().flatten().filter(|piece| !piece.is_empty()) {
            self.content.push_str(&piece);
            self.pieces += 1;
        }
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
        if self.reasoning.len() + self.content.len() > MAX_BYTES {
            return Some(Attempt::Refused(format!("expected an answer of at most {MAX_BYTES} bytes")));
        }
        None
    }

    /// The answer, if the server said why it ended.
    fn finish(&mut self, api: Api) -> Attempt {
        let finish_reason = match self.finish_reason.as_deref() {
            Some("stop" | "eos" | "end_turn") => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(other) => return Attempt::Retry(format!("finish reason {other:?}"), None),
            None => return Attempt::Retry("the stream ended without a finish reason".to_owned(), None),
        };
        let parts = std::mem::take(self);
        // Where no usage came, a piece is about a token.
        let (prompt_tokens, completion_tokens) = parts.usage.unwrap_or((0, parts.pieces));
        let text = match api {
            Api::Completions => parts.content,
            Api::Chat => join(parts.reasoning, parts.content, finish_reason),
        };
        Attempt::Done(Box::new(Answer { text, finish_reason, model: parts.model, prompt_tokens, completion_tokens }))
    }
}

/// Puts reasoning that came apart back before the answer, in the tags that the record has. Reasoning that the token limit
/// cut stays open.
fn join(reasoning: String, content: String, finish_reason: FinishReason) -> String {
    if reasoning.is_empty() {
        return content;
    }
    let open = content.is_empty() && finish_reason != FinishReason::Stop;
    let reasoning = if reasoning.starts_with('\n') { reasoning } else { format!("\n{reasoning}") };
    if open {
        return format!("<think>{reasoning}");
    }
    let line = if reasoning.ends_with('\n') { "" } else { "\n" };
    let gap = if content.starts_with('\n') || content.is_empty() { "" } else { "\n\n" };
    format!("<think>{reasoning}{line}</think>{gap}{content}")
}

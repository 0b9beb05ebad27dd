//! One HTTP response → an answer, or what to do instead. Only a stream that said why it ended is an answer; of one that
//! merely stopped, what arrived is kept and charged.

use super::{Api, ApiKey, retry_after, wire::Chunk};
use crate::Cost;
use distill_dataset::{FinishReason, TurnFormat};
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use reqwest::{Response, StatusCode};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 300;
/// Most bytes of an answer: longer ones are an attack or a bug.
const MAX_BYTES: usize = 1 << 26;
/// Most bytes of one event of a stream. Looking for its end takes time that grows with the square.
const MAX_EVENT: usize = 1 << 22;
/// Most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 1 << 16;
/// How hosts say that a conversation is too long.
const TOO_LONG: [&str; 5] = [
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "context window",
    "longer than the maximum model length",
];
/// How hosts say that they do not want to answer.
const WITHHELD: [&str; 4] = ["content_filter", "content_policy", "content management policy", "data_inspection_failed"];

/// What one attempt came to.
pub(super) struct Attempt {
    pub(super) ending: Ending,
    /// What it cost, answered or not.
    pub(super) cost: Cost,
    /// What arrived of an answer that broke off.
    pub(super) text: String,
}

/// How an attempt ended.
pub(super) enum Ending {
    /// With an answer.
    Done(Box<Answer>),
    /// This request cannot be answered: a short reason, and what was said.
    Unanswerable(&'static str, String),
    /// Refused for good, whatever is asked: wrong key, no balance, unknown model.
    Fatal(String),
    /// The endpoint is not there, or full (`busy`).
    Away { message: String, wait: Option<Duration>, busy: bool },
    /// The server broke on it.
    Server(String, Option<Duration>),
    /// An answer began and broke off: a short reason, and what was said.
    Broken(&'static str, String),
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) finish_reason: FinishReason,
    pub(super) finish_name: Option<String>,
    pub(super) model: String,
}

/// What has arrived of an answer, shared with those who watch it. What leaves it has no key in it.
#[derive(Default)]
pub(super) struct Live {
    /// What must never be repeated.
    key: Option<ApiKey>,
    /// Tokens of the prompt, about.
    pub(super) prompt_estimate: Cell<u64>,
    /// Whether the server has begun to work on it.
    pub(super) begun: Cell<bool>,
    admitted: Cell<bool>,
    parts: RefCell<Parts>,
}

impl Live {
    /// In which that key is never repeated.
    pub(super) fn without(key: Option<ApiKey>) -> Live {
        Live { key, ..Live::default() }
    }

    /// Whether a first piece of an answer has arrived since this was asked last.
    pub(super) fn take_admitted(&self) -> bool {
        self.admitted.take()
    }

    /// What it cost so far, dollars aside: what the server says, else what arrived of it.
    pub(super) fn cost(&self) -> Cost {
        let parts = self.parts.borrow();
        match parts.usage {
            Some((prompt, completion)) => {
                Cost { prompt_tokens: prompt.into(), completion_tokens: completion.into(), ..Cost::default() }
            }
            None if !self.begun.get() => Cost::default(),
            // A piece is about a token.
            None => Cost {
                prompt_tokens: self.prompt_estimate.get(),
                completion_tokens: parts.pieces,
                usd: 0.0,
                estimated: true,
            },
        }
    }

    /// What has arrived.
    pub(super) fn text(&self, api: Api) -> String {
        let parts = self.parts.borrow();
        let text = match api {
            Api::Completions => parts.content.clone(),
            Api::Chat => join(&parts.reasoning, &parts.content, FinishReason::Length),
        };
        self.without_key(text, true)
    }

    /// An answer without the key, should the server repeat it; `cut` where it may end within.
    fn without_key(&self, text: String, cut: bool) -> String {
        match &self.key {
            Some(key) => key.redact_answer(&text, cut),
            None => text,
        }
    }

    /// As much of a server's words as is told to people, without the key. It goes before they are cut: half a key is one, too.
    fn quoted(&self, text: &str) -> String {
        let clean = self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.redact(text));
        clean.chars().take(MAX_MESSAGE).collect()
    }

    fn take(&self, chunk: Chunk) -> Option<Ending> {
        if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
            return Some(self.parts.borrow_mut().failed(error, |text| self.quoted(text)));
        }
        let ending = self.parts.borrow_mut().take(chunk);
        if ending.is_none() {
            self.admitted.set(true);
        }
        ending
    }

    fn finish(&self, api: Api) -> Ending {
        match self.parts.borrow().finish(api) {
            Ending::Done(answer) => Ending::Done(Box::new(Answer {
                text: self.without_key(answer.text, answer.finish_reason != FinishReason::Stop),
                finish_name: answer.finish_name.map(|name| self.quoted(&name)),
                model: self.quoted(&answer.model),
                ..*answer
            })),
            other => other,
        }
    }
}

/// Reads a response to its end.
pub(super) async fn read(response: Response, api: Api, idle: Duration, live: &Live) -> Ending {
    let status = response.status();
    if !status.is_success() {
        return refuse(status, response, idle, live).await;
    }
    live.begun.set(true);
    let streamed = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    if !streamed {
        let (bytes, cut) = whole(response, MAX_BYTES, idle).await;
        return match cut {
            Some(ending) => ending,
            None => match serde_json::from_slice::<Chunk>(&bytes) {
                Ok(chunk) => live.take(chunk).unwrap_or_else(|| live.finish(api)),
                Err(error) => {
                    Ending::Broken("incomplete", live.quoted(&format!("expected a completion as JSON: {error}")))
                }
            },
        };
    }
    // An event is held back until it ends: one that never does must not fill the memory.
    let held = Cell::new(0);
    let pieces = response.bytes_stream().map(|piece| {
        let piece = piece.map_err(|error| Some(super::source_of(&error)))?;
        held.set(held.get() + piece.len());
        if held.get() > MAX_EVENT { Err(None::<String>) } else { Ok(piece) }
    });
    let mut events = pieces.eventsource();
    loop {
        let event = match tokio::time::timeout(idle, events.next()).await {
            Err(_) => return silent(idle),
            Ok(None) => return live.finish(api),
            Ok(Some(Err(EventStreamError::Transport(None)))) => return too_long(MAX_EVENT),
            Ok(Some(Err(EventStreamError::Transport(Some(error))))) => {
                return Ending::Broken("incomplete", live.quoted(&format!("the stream broke: {error}")));
            }
            Ok(Some(Err(_))) => return Ending::Broken("incomplete", "the stream is no UTF-8 text".to_owned()),
            Ok(Some(Ok(event))) => event,
        };
        held.set(0);
        if event.data.trim() == "[DONE]" {
            return live.finish(api);
        }
        match serde_json::from_str::<Chunk>(&event.data) {
            Err(error) => {
                return Ending::Broken("incomplete", live.quoted(&format!("expected a chunk as JSON: {error}")));
            }
            Ok(chunk) => {
                if let Some(ending) = live.take(chunk) {
                    return ending;
                }
            }
        }
    }
}

fn silent(idle: Duration) -> Ending {
    Ending::Broken("timed-out", format!("silent for {} s", idle.as_secs()))
}

fn too_long(most: usize) -> Ending {
    Ending::Unanswerable("answer-too-long", format!("expected at most {most} bytes in one piece"))
}

/// A body of at most `most` bytes; what arrived of it where it is longer or breaks off, and how that ends the attempt.
async fn whole(mut response: Response, most: usize, idle: Duration) -> (Vec<u8>, Option<Ending>) {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(idle, response.chunk()).await {
            Err(_) => return (bytes, Some(silent(idle))),
            Ok(Err(error)) => return (bytes, Some(Ending::Broken("incomplete", super::source_of(&error)))),
            Ok(Ok(None)) => return (bytes, None),
            Ok(Ok(Some(piece))) => {
                let room = most - bytes.len();
                bytes.extend_from_slice(&piece[..room.min(piece.len())]);
                if piece.len() > room {
                    return (bytes, Some(too_long(most)));
                }
            }
        }
    }
}

async fn refuse(status: StatusCode, response: Response, idle: Duration, live: &Live) -> Ending {
    let wait = retry_after::read(response.headers());
    // Whatever arrived of it says why.
    let (bytes, _) = whole(response, MAX_REFUSAL, idle).await;
    // JSON is written again, so that no escape hides the key in it.
    let body = match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(json) => json.to_string(),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let message = format!("{status}: {}", live.quoted(&body).trim());
    ending_of(status.as_u16(), &body, message, wait)
}

/// What a status means, in a response's head or inside a 200.
fn ending_of(status: u16, body: &str, message: String, wait: Option<Duration>) -> Ending {
    match status {
        401 | 403 => {
            Ending::Fatal(format!("{message}\nhint: is the right environment variable named in `api-key-env`?"))
        }
        402 => Ending::Fatal(message),
        429 if body.contains("insufficient_quota") => Ending::Fatal(message),
        404 => Ending::Fatal(format!("{message}\nhint: are `url` and `model` right?")),
        300..=399 => Ending::Fatal(format!("{message}\nhint: the endpoint has moved; correct `url`")),
        429 | 503 => Ending::Away { message, wait, busy: true },
        502 | 504 => Ending::Away { message, wait, busy: false },
        408 | 409 | 425 | 500.. => Ending::Server(message, wait),
        _ => Ending::Unanswerable(refusal(status, body), message),
    }
}

/// The short reason of a refusal that holds for one request.
fn refusal(status: u16, body: &str) -> &'static str {
    let body = body.to_ascii_lowercase();
    if status == 413 || TOO_LONG.iter().any(|text| body.contains(text)) {
        "too-long"
    } else if WITHHELD.iter().any(|text| body.contains(text)) {
        "content-refused"
    } else {
        "refused"
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
    pieces: u64,
}

impl Parts {
    /// Adds a chunk.
    fn take(&mut self, chunk: Chunk) -> Option<Ending> {
        if let Some(usage) = chunk.usage {
            self.usage = Some((usage.prompt_tokens, usage.completion_tokens));
        }
        if let Some(model) = chunk.model.filter(|_| self.model.is_empty()) {
            self.model = model;
        }
        let choice = chunk.choices.into_iter().next()?;
        let delta = choice.delta.unwrap_or_default();
        let some = |piece: &String| !piece.is_empty();
        if let Some(piece) = delta.reasoning.filter(some).or(delta.reasoning_content.filter(some)) {
            self.reasoning.push_str(&piece);
            self.pieces += 1;
        }
        for piece in [delta.content, choice.text].into_iter().flatten().filter(some) {
            self.content.push_str(&piece);
            self.pieces += 1;
        }
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
        if self.reasoning.len() + self.content.len() > MAX_BYTES {
            return Some(too_long(MAX_BYTES));
        }
        None
    }

    /// An error that a server tells inside a 200; `quoted` is what people are told of a server's words.
    fn failed(&self, error: &serde_json::Value, quoted: impl Fn(&str) -> String) -> Ending {
        let body = error.to_string();
        let text = quoted(&body);
        let code = error.get("code").and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
        match code.and_then(|code| u16::try_from(code).ok()) {
            Some(code) if code >= 300 && (code < 500 || self.pieces == 0) => ending_of(code, &body, text, None),
            _ if refusal(0, &body) != "refused" => Ending::Unanswerable(refusal(0, &body), text),
            _ if self.pieces == 0 => Ending::Server(text, None),
            _ => Ending::Broken("incomplete", text),
        }
    }

    /// The answer, if the server said why it ended. A reason that is not one of OpenAI's is kept under its own name.
    fn finish(&self, api: Api) -> Ending {
        let (finish_reason, finish_name) = match self.finish_reason.as_deref() {
            Some("stop" | "eos" | "end_turn") => (FinishReason::Stop, None),
            Some("length") => (FinishReason::Length, None),
            Some("content_filter") => (FinishReason::ContentFilter, None),
            Some(other) => (FinishReason::Unknown, Some(other.to_owned())),
            None => return Ending::Broken("incomplete", "the stream ended without a finish reason".to_owned()),
        };
        let text = match api {
            Api::Completions => self.content.clone(),
            Api::Chat => join(&self.reasoning, &self.content, finish_reason),
        };
        Ending::Done(Box::new(Answer { text, finish_reason, finish_name, model: self.model.clone() }))
    }
}

/// Puts reasoning that came apart back before the answer. Reasoning that the token limit cut stays open.
fn join(reasoning: &str, content: &str, finish_reason: FinishReason) -> String {
    // Servers that take reasoning out of the text take these tags.
    let format = TurnFormat::default();
    if content.is_empty() && !reasoning.is_empty() && finish_reason != FinishReason::Stop {
        return format.opened(reasoning);
    }
    format.join(reasoning, content)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The reason of a refusal that holds for one request; nothing where the status means something else.
    pub(in crate::http) fn of_status(status: u16, body: &str) -> Option<&'static str> {
        match ending_of(status, body, String::new(), None) {
            Ending::Unanswerable(reason, _) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn an_empty_balance_is_not_waited_for() {
        let ending = ending_of(429, r#"{"error":{"code":"insufficient_quota"}}"#, String::new(), None);
        assert!(matches!(ending, Ending::Fatal(_)), "a 429 that no waiting mends");
    }
}

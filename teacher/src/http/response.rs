//! One HTTP response → an answer, or what to do instead. Only a stream that said why it ended is an answer; of one that
//! merely stopped, what arrived is kept and charged.

use super::{
    body::{Body, Live},
    retry_after,
};
use crate::{Cost, HostProfile, TokenIds};
use distill_dataset::{FinishReason, LogProbs};
use reqwest::{
    Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use serde_json::Value;
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, sleep};

/// How long one waits for usage and the end of a stream, once the answer has said why it ended.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 1 << 16;
/// The reason of an answer that ended in good order and did not say why.
pub(super) const INCOMPLETE: &str = "incomplete";
/// The reason of an answer that broke off, where a server or a connection gave up on it.
pub(super) const BROKEN_OFF: &str = "broken-off";
/// Where hosts have an error's message.
const SAID: [&str; 4] = ["error.message", "message", "detail", "error"];
/// How hosts say that a conversation is too long.
const TOO_LONG: [&str; 5] = [
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "context window",
    "longer than the maximum model length",
];
/// What is said behind a key that is refused.
const KEY_HINT: &str = "\nhint: is the right environment variable named in `api-key-env`?";
/// How hosts say that they do not want to answer.
const WITHHELD: [&str; 4] = ["content_filter", "content_policy", "content management policy", "data_inspection_failed"];

/// What one attempt came to.
pub(super) struct Attempt {
    pub(super) ending: Ending,
    /// What it cost, answered or not.
    pub(super) cost: Cost,
    /// All that is there of an answer that broke off, with what was received before.
    pub(super) text: String,
    /// Whether time ran out.
    pub(super) late: bool,
}

/// How an attempt ended.
pub(super) enum Ending {
    /// With an answer.
    Done(Box<Answer>),
    /// This request cannot be answered: a short reason, and what was said.
    Unanswerable(&'static str, String),
    /// Refused for good, whatever is asked: wrong key, no balance.
    Fatal(String),
    /// Refused whatever is asked (403, 404, moved): by an address that is wrong, or by what stands before servers that are away.
    Shut(String),
    /// The endpoint is not there, or full (`busy`).
    Away { message: String, wait: Option<Duration>, busy: bool },
    /// The server broke on it.
    Server(String, Option<Duration>),
    /// An answer began and broke off: a short reason, and what was said.
    Broken(&'static str, String),
    /// It is not as the answers before it: why. Nothing of it is kept.
    Another(String),
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) finish_reason: FinishReason,
    pub(super) finish_name: Option<String>,
    pub(super) model: String,
    /// Where its reasoning came, if there was some.
    pub(super) reasoning: Option<&'static str>,
    /// Of the tokens of this generation, where they were asked for and told.
    pub(super) log_probs: Option<LogProbs>,
    /// The same of their ids, where they say the text.
    pub(super) ids: Option<TokenIds>,
}

/// Reads a response to its end.
pub(super) async fn read(mut response: Response, idle: Duration, live: &Live) -> Ending {
    let status = response.status();
    if !status.is_success() {
        return refuse(status, response, idle, live).await;
    }
    live.begun.set(true);
    let ends_by_closing = ends_by_closing(&response);
    let mut body = Body::new(live);
    // One timer for all pieces: it is set again when it has rung, not with each of them.
    let (mut last, mut bell) = (Instant::now(), pin!(sleep(idle)));
    loop {
        let patience = if body.is_answered() { idle.min(AFTERWARDS) } else { idle };
        if bell.deadline() > last + patience {
            bell.as_mut().reset(last + patience);
        }
        let piece = tokio::select! {
            biased;
            piece = response.chunk() => piece,
            () = &mut bell => {
                if Instant::now() >= last + patience {
                    return body.broken("timed-out", &silent(idle));
                }
                bell.as_mut().reset(last + patience);
                continue;
            }
        };
        last = Instant::now();
        match piece {
            Err(error) => {
                return body.broken(BROKEN_OFF, &format!("the stream broke: {}", super::source_of(&error)));
            }
            Ok(None) => {
                return match body.end() {
                    Ending::Broken(INCOMPLETE, _) if ends_by_closing => Ending::Broken(
                        BROKEN_OFF,
                        "the connection was closed before the answer said its end".to_owned(),
                    ),
                    ending => ending,
                };
            }
            Ok(Some(piece)) => {
                if let Some(ending) = body.push(&piece) {
                    return ending;
                }
            }
        }
    }
}

/// Whether nothing but the end of its connection tells where a body ends: a server that goes away ends it the same way.
fn ends_by_closing(response: &Response) -> bool {
    let has = |name| response.headers().contains_key(name);
    response.version() <= Version::HTTP_11 && !has(CONTENT_LENGTH) && !has(TRANSFER_ENCODING)
}

fn silent(idle: Duration) -> String {
    format!("silent for {} s", idle.as_secs())
}

async fn refuse(status: StatusCode, mut response: Response, idle: Duration, live: &Live) -> Ending {
    let wait = retry_after::read(response.headers());
    // Whatever arrives of it says why.
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(idle, response.chunk()).await {
        bytes.extend_from_slice(&piece[..piece.len().min(MAX_REFUSAL - bytes.len())]);
        if bytes.len() == MAX_REFUSAL {
            break;
        }
    }
    // JSON is written again, so that no escape hides the key in it.
    let (body, said) = match serde_json::from_slice::<Value>(&bytes) {
        Ok(json) => (json.to_string(), said_in(&json, live.host()).map(str::to_owned)),
        Err(_) => (String::from_utf8_lossy(&bytes).into_owned(), None),
    };
    let message = format!("{status}: {}", live.quoted(said.as_ref().unwrap_or(&body)).trim());
    ending_of(status.as_u16(), &body, message, wait)
}

/// The message in an error's body: where the host has it, else where others do.
pub(super) fn said_in<'b>(body: &'b Value, host: Option<&HostProfile>) -> Option<&'b str> {
    let of_host = host.and_then(|host| host.answer.error.as_deref());
    let said = |path: &str| path.split('.').try_fold(body, |place, name| place.get(name))?.as_str();
    of_host.into_iter().chain(SAID).filter_map(said).find(|said| !said.trim().is_empty())
}

/// What a status means, in a response's head or inside a 200.
pub(super) fn ending_of(status: u16, body: &str, message: String, wait: Option<Duration>) -> Ending {
    match status {
        401 => Ending::Fatal(format!("{message}{KEY_HINT}")),
        402 => Ending::Fatal(message),
        429 if body.contains("insufficient_quota") => Ending::Fatal(message),
        403 => Ending::Shut(format!("{message}{KEY_HINT}")),
        404 => Ending::Shut(format!("{message}\nhint: are `url` and `model` right?")),
        300..=399 => Ending::Shut(format!("{message}\nhint: the endpoint has moved; correct `url`")),
        429 | 503 => Ending::Away { message, wait, busy: true },
        502 | 504 => Ending::Away { message, wait, busy: false },
        408 | 409 | 425 | 500.. => Ending::Server(message, wait),
        _ => Ending::Unanswerable(refusal(status, body), message),
    }
}

/// The short reason of a refusal that holds for one request.
pub(super) fn refusal(status: u16, body: &str) -> &'static str {
    let body = body.to_ascii_lowercase();
    if status == 413 || TOO_LONG.iter().any(|text| body.contains(text)) {
        "too-long"
    } else if WITHHELD.iter().any(|text| body.contains(text)) {
        "content-refused"
    } else {
        "refused"
    }
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

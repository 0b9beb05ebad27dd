//! The door through which `tests/fuzz` pushes bytes into what reads a response's body. Nothing else uses it.

use super::{
    ApiKey,
    body::{Body, Limits, Live},
    response::Ending,
};
use crate::Partial;

/// A body and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// What must never be repeated.
    pub key: Option<&'a str>,
    /// What was received before.
    pub before: Option<&'a str>,
    /// Most bytes of an answer and of an event, where they are not those in use.
    pub most: Option<(usize, usize)>,
    /// Whether the connection breaks behind the last piece.
    pub breaks: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// How it ended, in a word or two.
    pub ending: &'static str,
    /// What is kept and said of it: text, finish reason and its name, model, or the message.
    pub told: String,
    /// Tokens of the prompt and of the completion, and whether they are estimates.
    pub cost: (u64, u64, bool),
    /// All pieces that were handed out on the way: reasoning and content.
    pub spooled: (String, String),
}

/// Reads a body that arrives in these pieces, as an attempt does.
pub fn read_body<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, how: Arriving<'_>) -> Arrived {
    let limits = how.most.map_or_else(Limits::default, |(body, event)| Limits { body, event });
    let before = how.before.map(|text| Partial { text: text.to_owned(), ..Partial::default() });
    let live = Live::within(limits, how.key.map(|key| ApiKey::new(key.to_owned())).into(), before);
    live.begun.set(true);
    live.prompt_estimate.set(7);
    let mut spooled = (String::new(), String::new());
    let mut spool = |last| {
        if let Some(piece) = live.piece(last) {
            spooled.0 += &piece.reasoning;
            spooled.1 += &piece.content;
        }
    };
    let mut body = Body::new(&live);
    let early = pieces.into_iter().find_map(|piece| {
        let ending = body.push(piece);
        spool(false);
        ending
    });
    let ending = early.unwrap_or_else(|| if how.breaks { body.broken("timed-out", "silent") } else { body.end() });
    spool(true);
    let cost = live.cost();
    let (ending, told) = match ending {
        Ending::Done(answer) => ("answer", format!("{answer:?}")),
        Ending::Unanswerable(reason, message) => (reason, message),
        Ending::Fatal(message) => ("fatal", message),
        Ending::Shut(message) => ("shut", message),
        Ending::Away { message, busy: true, .. } => ("busy", message),
        Ending::Away { message, .. } => ("away", message),
        Ending::Server(message, _) => ("server", message),
        Ending::Broken(reason, message) => (reason, message),
    };
    let told = if ending == "answer" { told } else { format!("{told}\n{}", live.text()) };
    Arrived { ending, told, cost: (cost.prompt_tokens, cost.completion_tokens, cost.estimated), spooled }
}

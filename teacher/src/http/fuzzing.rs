//! The door through which `tests/fuzz` pushes bytes into what reads a response's body. Nothing else uses it.

use super::{
    ApiKey, Tokenizer,
    body::{Body, Limits, Live},
    ids::Ids,
    response::Ending,
};
use crate::Partial;
use distill_dataset::SamplingParams;
use std::sync::Arc;

/// The token that ends a turn; those below it are bytes.
const END: u32 = 256;

/// A body and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// What must never be repeated.
    pub key: Option<&'a str>,
    /// What was received before.
    pub before: Option<&'a str>,
    /// Most bytes of an answer and of an event, where they are not those in use.
    pub most: Option<(usize, usize)>,
    /// The most alternatives, where log-probabilities are asked for.
    pub log_probs: Option<u8>,
    /// Whether ids are asked for: bytes of the text, and 256 behind its end.
    pub by_ids: bool,
    /// The most tokens before the stream is cut.
    pub most_tokens: Option<u64>,
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
    /// Bytes that the ids of an answer say, where they are known. How a body is cut may decide whether they are.
    pub said: Option<Vec<u8>>,
    /// Places of log-probabilities in an answer.
    pub places: Option<usize>,
}

/// A token is a byte.
fn tokenizer() -> Arc<Tokenizer> {
    let byte = |id: &u32| u8::try_from(*id).map_err(|_| format!("expected a byte, found {id}"));
    let bytes = move |ids: &[u32]| ids.iter().filter(|id| **id != END).map(byte).collect::<Result<Vec<u8>, String>>();
    Arc::new(Tokenizer {
        encode: Box::new(|text| Ok(text.bytes().map(u32::from).collect())),
        decode: Box::new(move |ids, _| Ok(String::from_utf8_lossy(&bytes(ids)?).into_owned())),
        begin: None,
        adds_begin: false,
        ends: vec![END],
    })
}

/// What is read as an attempt reads it.
fn live(how: Arriving<'_>) -> Live {
    let limits = how.most.map_or_else(Limits::default, |(body, event)| Limits { body, event });
    let ids: Option<Vec<u32>> = how.by_ids.then(|| how.before.unwrap_or_default().bytes().map(u32::from).collect());
    let before = how.before.map(|text| Partial { text: text.to_owned(), ids: ids.clone(), ..Partial::default() });
    let sampling =
        SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: how.log_probs };
    let live = Live::within(limits, how.key.map(|key| ApiKey::new(key.to_owned())).into(), before).asking(&sampling);
    let live = how.most_tokens.into_iter().fold(live, Live::cut_at);
    let live = ids.into_iter().fold(live, |live, ids| live.by_ids(Some(Ids::behind(tokenizer(), &ids, 0))));
    live.begun.set(true);
    live.prompt_estimate.set(7);
    live
}

/// Reads a body that arrives in these pieces, as an attempt does.
pub fn read_body<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, how: Arriving<'_>) -> Arrived {
    let live = live(how);
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
    let (mut said, mut places) = (None, None);
    let (ending, told) = match ending {
        Ending::Done(mut answer) => {
            let bytes = |id: u32| u8::try_from(id).ok();
            said = answer.ids.take().map(|told| told.ids.into_iter().filter_map(bytes).collect());
            places = answer.log_probs.take().map(|log_probs| log_probs.len());
            ("answer", format!("{answer:?}"))
        }
        Ending::Unanswerable(reason, message) => (reason, message),
        Ending::Fatal(message) => ("fatal", message),
        Ending::Shut(message) => ("shut", message),
        Ending::Away { message, busy: true, .. } => ("busy", message),
        Ending::Away { message, .. } => ("away", message),
        Ending::Server(message, _) => ("server", message),
        Ending::Broken(reason, message) => (reason, message),
        Ending::Another(message) => ("another", message),
    };
    let told = if ending == "answer" { told } else { format!("{told}\n{}", live.text()) };
    let cost = (cost.prompt_tokens, cost.completion_tokens, cost.estimated);
    Arrived { ending, told, cost, spooled, said, places }
}

//! The body of a response that began well → an answer. A stream of events or one JSON object, told apart by how it begins
//! and not by what its headers say. Nothing here waits: bytes are pushed in as they come.

use super::{
    Endpoint,
    events::{BYTE_ORDER_MARK, Events, Stop},
    ids::{self, Ids},
    logprobs::Collected,
    response::{Answer, Ending, ending_of, refusal},
    secret::Secrets,
    wire::{Chunk, Usage},
};
use crate::{Cost, HostProfile, Partial, Piece, TokenIds, partial::go_on};
use distill_dataset::{FinishReason, LogProbs, SamplingParams, Token, TurnFormat};
use jiff::Timestamp;
use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
};

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 300;
/// Most bytes of an answer, or of a body in one piece: longer ones are an attack or a bug.
const MAX_BYTES: usize = 1 << 26;
/// Where OpenAI tells tokens of a prompt that a cache had, in `usage`.
const CACHED_TOKENS: &str = "prompt_tokens_details.cached_tokens";
/// What is wrong where a generation that went on within a character does not tell what it is.
const NO_IDS: &str = "expected the ids of the tokens behind a seam within a character, found none that say its text";
/// Most bytes of one event of a stream.
const MAX_EVENT: usize = 1 << 22;

/// Most bytes of what a server may send.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Of an answer, or of a body in one piece.
    pub(super) body: usize,
    /// Of an event of a stream.
    pub(super) event: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { body: MAX_BYTES, event: MAX_EVENT }
    }
}

/// What has arrived of an answer, shared with those who watch it. What leaves it has no key in it.
#[derive(Default)]
pub(super) struct Live {
    limits: Limits,
    /// What must never be repeated.
    secrets: Secrets,
    /// Whose answer it is.
    host: Option<&'static HostProfile>,
    /// When it was sent.
    pub(super) sent: Timestamp,
    /// Tokens of the prompt, about.
    pub(super) prompt_estimate: Cell<u64>,
    /// The same by our own tokenizer, where it can count them.
    pub(super) prompt_tokens: Cell<Option<u32>>,
    /// Whether the server has begun to work on it.
    pub(super) begun: Cell<bool>,
    admitted: Cell<bool>,
    parts: RefCell<Parts>,
    /// What was received before, which this goes on from.
    before: Option<Partial>,
    /// The most alternatives that were asked for, where log-probabilities were.
    asked_log_probs: Option<u8>,
    /// Bytes of reasoning and of content that were handed out in pieces.
    spooled: Cell<(usize, usize)>,
}

impl Live {
    /// An endpoint's answer to what is sent now, which goes on from what was received before. Its key is never repeated in it.
    pub(super) fn new(endpoint: &Endpoint, before: Option<Partial>) -> Live {
        Live {
            secrets: endpoint.secrets.clone(),
            host: endpoint.host,
            sent: Timestamp::now(),
            before,
            ..Live::default()
        }
    }

    /// As [`Live::new`], of whatever endpoint and within other limits.
    pub(super) fn within(limits: Limits, secrets: Secrets, before: Option<Partial>) -> Live {
        Live { limits, secrets, before, ..Live::default() }
    }

    /// Collects log-probabilities where `sampling` asks for them.
    pub(super) fn asking(self, sampling: &SamplingParams) -> Live {
        Live { asked_log_probs: sampling.log_probabilities, ..self }
    }

    /// Collects the ids of its tokens, where all of those before are known. It is asked for by ids.
    pub(super) fn by_ids(self, ids: Option<Ids>) -> Live {
        let parts = Parts { by_ids: true, ids, ..self.parts.take() };
        Live { parts: RefCell::new(parts), ..self }
    }

    /// Whether it is asked for by ids.
    pub(super) fn is_by_ids(&self) -> bool {
        self.parts.borrow().by_ids
    }

    /// Takes note that nothing more comes.
    pub(super) fn settle(&self) {
        self.parts.borrow_mut().settle();
    }

    /// Tokens of the prompt, by our own count and as the server tells.
    pub(super) fn counted(&self) -> Option<(u32, u32)> {
        self.prompt_tokens.get().zip(self.parts.borrow().told.prompt)
    }

    /// The ids of the tokens that arrived, where the last piece has all of them.
    pub(super) fn told_ids(&self) -> Option<TokenIds> {
        self.parts.borrow().ids.as_ref()?.told()
    }

    /// The log-probabilities of the tokens that arrived, where they were asked for and told for all of them, and nothing
    /// in them was the key.
    pub(super) fn take_log_probs(&self) -> Option<LogProbs> {
        let collected = self.parts.borrow_mut().log_probs.take()?;
        let log_probs = collected.finish()?;
        // Its beginning at an end counts: what follows may come behind a seam.
        let has_key = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            self.secrets.redact_answer(text.clone().into_owned(), true) != text
        };
        let generated: Vec<u8> = log_probs.iter().flat_map(|token| text_of(token.chosen().0)).copied().collect();
        (!has_key(&generated) && !log_probs.tokens().any(|token| has_key(text_of(token)))).then_some(log_probs)
    }

    /// Whether a first piece of an answer has arrived since this was asked last.
    pub(super) fn take_admitted(&self) -> bool {
        self.admitted.take()
    }

    /// What it cost so far, money aside: what the server says, else what arrived of it.
    pub(super) fn cost(&self) -> Cost {
        let parts = self.parts.borrow();
        // A piece is about a token, unless a host sends larger ones: of four bytes, then.
        let bytes = parts.reasoning.len() + parts.content.len();
        let estimate = parts.pieces.max(bytes as u64 / 4);
        let pieces = parts.ids.as_ref().map_or(estimate, |ids| ids.count(parts.pieces, bytes));
        let told = parts.told;
        // Some hosts tell none where there were some.
        let completion = told.completion.filter(|count| *count > 0 || pieces == 0);
        if !self.begun.get() {
            return Cost::default();
        }
        let prompt_tokens = told.prompt.map_or_else(|| self.prompt_estimate.get(), u64::from);
        Cost {
            prompt_tokens,
            // A host that tells more means something else.
            cached_tokens: told.cached.map_or(0, u64::from).min(prompt_tokens),
            completion_tokens: completion.map_or(pieces, u64::from),
            estimated: told.prompt.is_none() || completion.is_none(),
            ..Cost::default()
        }
    }

    /// All that is there, with what was received before.
    pub(super) fn text(&self) -> String {
        self.without_key(self.parts.borrow().text(self.before(), false), true)
    }

    fn before(&self) -> &str {
        self.before.as_ref().map_or("", |partial| &partial.text)
    }

    /// Reasoning, text and ids that arrived since this was asked last.
    fn arrived(&self, last: bool) -> Option<(String, String, Option<TokenIds>)> {
        let mut parts = self.parts.borrow_mut();
        let parts = &mut *parts;
        if last {
            parts.settle();
        }
        let from = self.spooled.get();
        let most = |whole: &str, from: usize| {
            let held = if last { 0 } else { self.secrets.begun_in(&whole[from..]) };
            whole.len() - held
        };
        let mut to = (most(&parts.reasoning, from.0), most(&parts.content, from.1));
        let mut ids = parts.ids.as_mut().and_then(|ids| ids.piece(&parts.content, to.1, last));
        if let Some((end, _)) = &ids {
            to.1 = *end;
        }
        let raw = &parts.content[from.1..to.1];
        let reasoning = self.without_key(parts.reasoning[from.0..to.0].to_owned(), last);
        let content = self.without_key(raw.to_owned(), last);
        // They would spell the key.
        ids = ids.filter(|_| content == raw);
        if ids.is_none() {
            parts.ids = None;
        }
        self.spooled.set(to);
        let ids = ids.map(|(_, ids)| ids);
        let brought = ids.as_ref().is_some_and(|told| !told.ids.is_empty());
        (!reasoning.is_empty() || !content.is_empty() || brought).then_some((reasoning, content, ids))
    }

    /// What arrived since the last piece, with what the attempt cost so far; nothing where nothing did, and money aside.
    /// All of it where it is the `last` piece, else nothing that may be the beginning of the key.
    pub(super) fn piece(&self, last: bool) -> Option<Piece> {
        let (reasoning, content, ids) = self.arrived(last)?;
        Some(Piece { reasoning, content, ids, cost: self.cost() })
    }

    /// An answer without the key, should the server repeat it; `cut` where it may end within.
    fn without_key(&self, text: String, cut: bool) -> String {
        self.secrets.redact_answer(text, cut)
    }

    /// As much of a server's words as is told to people, without the key. It goes before they are cut: half a key is one, too.
    pub(super) fn quoted(&self, text: &str) -> String {
        self.secrets.redact(text).chars().take(MAX_MESSAGE).collect()
    }

    fn take(&self, bytes: &[u8]) -> ControlFlow<Ending> {
        let mut chunk = match Chunk::read(bytes) {
            Ok(chunk) => chunk,
            Err(error) => {
                let found = self.quoted(&String::from_utf8_lossy(bytes));
                let message = self.quoted(&format!("expected a completion as JSON: {error}"));
                return ControlFlow::Break(Ending::Broken("incomplete", format!("{message}, found {found}")));
            }
        };
        if let Some(error) = chunk.take_error() {
            return ControlFlow::Break(self.parts.borrow().failed(&error, |text| self.quoted(text)));
        }
        self.parts.borrow_mut().told.take(&chunk.usage, self.host);
        self.parts.borrow_mut().take(chunk, self.limits.body, self.asked_log_probs)?;
        self.admitted.set(true);
        ControlFlow::Continue(())
    }

    fn finish(&self) -> Ending {
        self.settle();
        let ending = self.parts.borrow().finish(self.before(), self.host);
        match ending {
            Ending::Done(answer) => {
                let text = self.without_key(answer.text.clone(), answer.finish_reason != FinishReason::Stop);
                let mut parts = self.parts.borrow_mut();
                let ids = parts.ids.as_ref().and_then(|ids| ids.finish(&parts.content));
                if ids.is_none() {
                    parts.ids = None;
                }
                drop(parts);
                Ending::Done(Box::new(Answer {
                    log_probs: self.take_log_probs(),
                    // They would spell the key.
                    ids: ids.filter(|_| text == answer.text),
                    text,
                    finish_name: answer.finish_name.map(|name| self.quoted(&name)),
                    model: self.quoted(&answer.model),
                    ..*answer
                }))
            }
            other => other,
        }
    }
}

/// The bytes of a token that is known by them.
fn text_of(token: Token<'_>) -> &[u8] {
    match token {
        Token::Id(_) => &[],
        Token::Text(text) => text,
    }
}

/// A body so far.
pub(super) struct Body<'l> {
    live: &'l Live,
    kind: Kind,
}

enum Kind {
    Unknown(Beginning),
    Json(Vec<u8>),
    Stream(Events),
}

/// Nothing but white space yet, and perhaps a byte-order mark.
#[derive(Default)]
struct Beginning {
    /// Bytes of it, which are not kept.
    skipped: usize,
    marked: bool,
    /// What may be the beginning of the mark.
    begun: Vec<u8>,
}

impl Beginning {
    /// Takes the next bytes; what follows it, if they bring the first byte of that.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let mut start = self.begun.trim_ascii_start();
        if let Some(rest) = start.strip_prefix(BYTE_ORDER_MARK).filter(|_| !self.marked) {
            (self.marked, start) = (true, rest.trim_ascii_start());
        }
        self.skipped += self.begun.len() - start.len();
        let start = start.to_vec();
        let undecided = start.is_empty() || !self.marked && BYTE_ORDER_MARK.starts_with(&start);
        self.begun = if undecided { start.clone() } else { Vec::new() };
        if undecided { Vec::new() } else { start }
    }
}

impl Kind {
    /// The kind of a body that begins so.
    fn of(first: u8, limits: Limits) -> Kind {
        match first {
            // As `data`, `event`, `id`, `retry` and comments do.
            b'd' | b'e' | b'i' | b'r' | b':' => Kind::Stream(Events::new(limits.event)),
            _ => Kind::Json(Vec::new()),
        }
    }
}

impl Body<'_> {
    /// A body of which nothing has arrived.
    pub(super) fn new(live: &Live) -> Body<'_> {
        Body { live, kind: Kind::Unknown(Beginning::default()) }
    }

    /// Takes the next bytes; the end, where they bring it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Ending> {
        match &mut self.kind {
            Kind::Unknown(beginning) => {
                let start = beginning.take(bytes);
                let most = self.live.limits.event;
                if beginning.skipped > most {
                    return Some(too_long(most));
                }
                self.kind = Kind::of(*start.first()?, self.live.limits);
                self.push(&start)
            }
            Kind::Json(whole) => {
                let most = self.live.limits.body;
                let room = most - whole.len();
                whole.extend_from_slice(&bytes[..room.min(bytes.len())]);
                (bytes.len() > room).then(|| too_long(most))
            }
            Kind::Stream(events) => {
                let live = self.live;
                ended(events.push(bytes, &mut |data| take(live, data)), live.limits)
            }
        }
    }

    /// The end of the body.
    pub(super) fn end(mut self) -> Ending {
        let live = self.live;
        let last = match &mut self.kind {
            Kind::Unknown(_) => Some(Ending::Broken("incomplete", "expected a completion, found nothing".to_owned())),
            Kind::Json(whole) => live.take(whole).break_value(),
            Kind::Stream(events) => ended(events.end(&mut |data| take(live, data)), live.limits),
        };
        last.unwrap_or_else(|| live.finish())
    }

    /// It broke off, or fell silent. An answer that had said why it ended is whole.
    pub(super) fn broken(self, reason: &'static str, message: &str) -> Ending {
        match self.live.finish() {
            Ending::Done(answer) => Ending::Done(answer),
            _ => Ending::Broken(reason, self.live.quoted(message)),
        }
    }

    /// Whether the answer has said why it ended, so that little can follow.
    pub(super) fn is_answered(&self) -> bool {
        self.live.parts.borrow().finish_reason.is_some()
    }
}

/// Takes an event of a stream.
fn take(live: &Live, data: &[u8]) -> ControlFlow<Ending> {
    match data.trim_ascii() {
        b"" => ControlFlow::Continue(()),
        // Some hosts put more behind it.
        data if data.starts_with(b"[DONE]") => ControlFlow::Break(live.finish()),
        data => live.take(data),
    }
}

fn ended(flow: ControlFlow<Stop<Ending>>, limits: Limits) -> Option<Ending> {
    match flow.break_value()? {
        Stop::TooLong => Some(too_long(limits.event)),
        Stop::Enough(ending) => Some(ending),
    }
}

fn too_long(most: usize) -> Ending {
    Ending::Unanswerable("answer-too-long", format!("expected at most {most} bytes in one piece"))
}

/// Tokens, as told last.
#[derive(Clone, Copy, Default)]
struct Told {
    prompt: Option<u32>,
    /// Those of them that a cache had.
    cached: Option<u32>,
    completion: Option<u32>,
}

impl Told {
    fn take(&mut self, usage: &Usage, host: Option<&HostProfile>) {
        let cached = host.and_then(|host| host.answer.cached_tokens.as_deref()).unwrap_or(CACHED_TOKENS);
        self.prompt = usage.prompt_tokens.0.or(self.prompt);
        self.cached = usage.at(cached).0.or(self.cached);
        self.completion = usage.completion_tokens.0.or(self.completion);
    }
}

/// What has arrived so far.
#[derive(Default)]
struct Parts {
    reasoning: String,
    /// Where that came.
    place: Option<&'static str>,
    content: String,
    finish_reason: Option<String>,
    model: String,
    told: Told,
    pieces: u64,
    log_probs: Option<Collected>,
    by_ids: bool,
    /// None where they are not told, or do not say the text.
    ids: Option<Ids>,
}

impl Parts {
    /// Adds a chunk.
    fn take(&mut self, chunk: Chunk, most: usize, asked_log_probs: Option<u8>) -> ControlFlow<Ending> {
        if self.model.is_empty() {
            self.model = chunk.model.text;
        }
        let Some(mut choice) = chunk.choices.into_iter().flatten().next() else { return ControlFlow::Continue(()) };
        let finish = std::mem::take(&mut choice.finish_reason.text);
        // Some hosts give the reason before the end as text that says nothing.
        if !matches!(finish.as_str(), "" | "null" | "None") {
            self.finish_reason = Some(finish);
        }
        let told = (choice.logprobs.take(), choice.token_ids.take());
        let mut added = choice.into_piece(self.pieces > 0);
        let mut told_ids = told.1.as_deref().and_then(ids::read);
        if let Some(k) = asked_log_probs.filter(|_| !added.repeats) {
            let log_probs = self.log_probs.get_or_insert_with(|| Collected::new(k));
            let named = log_probs.take(told.0.as_deref(), told_ids.as_deref(), !added.is_empty());
            told_ids = told_ids.or(named);
        }
        if !added.reasoning.is_empty() {
            self.place = Some(added.place);
        }
        self.pieces += [&added.reasoning, &added.content].iter().map(|piece| u64::from(!piece.is_empty())).sum::<u64>();
        // A call that takes ids tells no reasoning apart.
        let ids = self.ids.take().filter(|_| added.reasoning.is_empty());
        if let Some(mut ids) = ids {
            if ids.take(told_ids, &mut added.content) {
                ids.mark(self.content.len() + added.content.len());
                self.ids = Some(ids);
            } else if ids.is_within() {
                return ControlFlow::Break(Ending::Broken("incomplete", NO_IDS.to_owned()));
            }
        }
        self.reasoning.push_str(&added.reasoning);
        self.content.push_str(&added.content);
        let log_probs = self.log_probs.as_ref().map_or(0, Collected::num_bytes);
        let ids = self.ids.as_ref().map_or(0, Ids::num_bytes);
        if self.reasoning.len() + self.content.len() + log_probs + ids > most {
            return ControlFlow::Break(too_long(most));
        }
        ControlFlow::Continue(())
    }

    /// Nothing more comes that would tell what a character is.
    fn settle(&mut self) {
        let Some(ids) = &mut self.ids else { return };
        if let Some(text) = ids.end() {
            self.content.push_str(&text);
            ids.mark(self.content.len());
        }
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

    /// All that is there, after what was received before.
    fn text(&self, before: &str, ended: bool) -> String {
        // Who is given ids does not say once more what it was given.
        if self.by_ids {
            return format!("{before}{}", self.content);
        }
        go_on(before, &self.reasoning, &self.content, ended)
    }

    /// The answer, if the server said why it ended. A reason that no host is known by is kept under its own name.
    fn finish(&self, before: &str, host: Option<&HostProfile>) -> Ending {
        let Some(name) = self.finish_reason.as_deref() else {
            return Ending::Broken("incomplete", "the stream ended without a finish reason".to_owned());
        };
        let of_host = host.and_then(|host| host.finish_reason(name)).map(|reason| match reason {
            FinishReason::Broken => Finish::Aborted,
            reason => Finish::Reason(reason),
        });
        let (finish_reason, finish_name) = match of_host.unwrap_or_else(|| Finish::of(name)) {
            Finish::Reason(reason) => (reason, None),
            Finish::Aborted => return Ending::Broken("incomplete", format!("the server gave up: `{name}`")),
            Finish::Unknown => (FinishReason::Unknown, Some(name.to_owned())),
        };
        if self.ids.as_ref().is_some_and(|ids| !ids.held_nothing()) {
            return Ending::Broken("incomplete", NO_IDS.to_owned());
        }
        let text = self.text(before, finish_reason == FinishReason::Stop);
        let opened = || self.content.trim_start().starts_with(&TurnFormat::default().open).then_some("the text");
        let reasoning = self.place.or_else(opened);
        let model = self.model.clone();
        let (log_probs, ids) = (None, None);
        Ending::Done(Box::new(Answer { text, finish_reason, finish_name, model, reasoning, log_probs, ids }))
    }
}

/// What a host's name for the end of an answer means.
enum Finish {
    Reason(FinishReason),
    /// The server gave up on it.
    Aborted,
    Unknown,
}

impl Finish {
    /// Names as documented, in any case: OpenAI and vLLM (`stop`, `length`, `content_filter`, `abort`), Text Generation
    /// Inference (`eos_token`, `stop_sequence`), Mistral (`model_length`, `error`), Gemini (`STOP`, `MAX_TOKENS`, `SAFETY`…),
    /// Anthropic (`end_turn`, `max_tokens`, `refusal`), Cohere (`COMPLETE`), Together (`eos`), Zhipu (`sensitive`,
    /// `network_error`).
    fn of(name: &str) -> Finish {
        match name.to_ascii_lowercase().as_str() {
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" | "complete" => {
                Finish::Reason(FinishReason::Stop)
            }
            "length" | "max_tokens" | "model_length" => Finish::Reason(FinishReason::Length),
            "content_filter" | "safety" | "refusal" | "sensitive" | "recitation" | "blocklist"
            | "prohibited_content" => Finish::Reason(FinishReason::ContentFilter),
            "abort" | "error" | "network_error" => Finish::Aborted,
            _ => Finish::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;

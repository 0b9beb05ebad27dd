//! The body of a response that began well → an answer. A stream of events or one JSON object, told apart by how it begins
//! and not by what its headers say. Nothing here waits: bytes are pushed in as they come.

mod parts;

use super::{
    Endpoint,
    events::{BYTE_ORDER_MARK, Events, Stop},
    expected::Expected,
    ids::Ids,
    response::{Answer, BROKEN_OFF, Ending},
    secret::Secrets,
    wire::Chunk,
};
use crate::{Cost, HostProfile, Partial, Piece, TokenIds};
use distill_dataset::{FinishReason, LogProbs, SamplingParams, Token};
use jiff::Timestamp;
use parts::Parts;
use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
};

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 300;
/// Most bytes of an answer, or of a body in one piece: longer ones are an attack or a bug.
const MAX_BYTES: usize = 1 << 26;
/// Most bytes of one event of a stream.
const MAX_EVENT: usize = 1 << 22;
/// A stream is at most so many times as long as the answer in it may be: chunks repeat names, and tell log-probabilities.
const MAX_STREAM: usize = 16;
/// Bytes of a stream's beginning that are told where there was nothing in it.
const MAX_HEAD: usize = 1 << 11;

/// Most bytes of what a server may send.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Of an answer, or of a body in one piece.
    pub(super) body: usize,
    /// Of an event of a stream.
    pub(super) event: usize,
}

impl Limits {
    /// Of a stream.
    fn stream(self) -> usize {
        self.body.saturating_mul(MAX_STREAM)
    }
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
    /// The most tokens that it may have, where it is cut at them.
    most_tokens: Option<u64>,
    /// What those before it had in common.
    expected: Expected,
    /// Whether a piece has said which model answers.
    named: Cell<bool>,
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

    /// Expects it to be as those before it.
    pub(super) fn expecting(self, expected: Expected) -> Live {
        Live { expected, ..self }
    }

    /// Cuts it where a server goes on beyond so many tokens.
    pub(super) fn cut_at(self, most_tokens: u64) -> Live {
        Live { most_tokens: Some(most_tokens), ..self }
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

    /// The model that it names, where it does.
    pub(super) fn model(&self) -> Option<String> {
        Some(self.parts.borrow().model.clone()).filter(|model| !model.is_empty())
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
        // Larger tokens than these, then: more were not generated, or the rest was not read.
        let pieces = pieces.min(self.most_tokens.unwrap_or(u64::MAX));
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
        if parts.is_anothers {
            return None;
        }
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
        let model = self.model().filter(|_| !self.named.get());
        self.named.set(self.named.get() || model.is_some());
        Some(Piece { reasoning, content, ids, model, cost: self.cost() })
    }

    /// Whose answer it is, where that is known.
    pub(super) fn host(&self) -> Option<&'static HostProfile> {
        self.host
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
                return ControlFlow::Break(Ending::Broken(BROKEN_OFF, format!("{message}, found {found}")));
            }
        };
        let mut parts = self.parts.borrow_mut();
        parts.has_begun = true;
        if let Some(error) = chunk.take_error() {
            return ControlFlow::Break(parts.failed(&error, |text| self.quoted(text), self.host));
        }
        parts.told.take(&chunk.usage(), self.host);
        let mut alike = Ok(());
        if parts.model.is_empty() && !chunk.model.text.is_empty() {
            parts.model = self.quoted(&chunk.model.text);
            alike = self.expected.take_model(&parts.model);
        }
        let place = parts.place;
        let taken = parts.take(chunk, self.limits.body, self.asked_log_probs);
        if let (None, Some(place)) = (place, parts.place) {
            alike = alike.and_then(|()| self.expected.take_reasoning(place));
        }
        if let Err(why) = alike {
            parts.is_anothers = true;
            return ControlFlow::Break(Ending::Another(why));
        }
        taken?;
        self.admitted.set(true);
        if parts.finish_reason.is_none() && self.most_tokens.is_some_and(|most| self.is_beyond(&parts, most)) {
            parts.finish_reason = Some("length".to_owned());
            drop(parts);
            return ControlFlow::Break(self.finish());
        }
        ControlFlow::Continue(())
    }

    /// Whether more than so many tokens came. A server that says once more what it was given says so much more.
    fn is_beyond(&self, parts: &Parts, most: u64) -> bool {
        let before = self.before();
        let is_again = || parts.content.starts_with(before) || before.starts_with(&parts.content);
        parts.is_beyond(most) && (before.is_empty() || !is_again() || parts.is_beyond(most + before.len() as u64))
    }

    fn finish(&self) -> Ending {
        self.settle();
        let ending = self.parts.borrow().finish(self.before(), self.host);
        match ending {
            Ending::Done(answer) => {
                let text = self.without_key(answer.text.clone(), answer.finish_reason != FinishReason::Stop);
                let mut parts = self.parts.borrow_mut();
                if let Some(Err(why)) = answer.reasoning.map(|place| self.expected.take_reasoning(place)) {
                    parts.is_anothers = true;
                    return Ending::Another(why);
                }
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
    /// Bytes that arrived.
    arrived: usize,
}

enum Kind {
    Unknown(Beginning),
    Json(Vec<u8>),
    /// With the stream's beginning, as long as nothing was in it.
    Stream(Events, Vec<u8>),
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
            // JSON, or a page for people in its place.
            b'{' | b'[' | b'"' | b'<' => Kind::Json(Vec::new()),
            // A field's name, which may be one that nobody knows, or a comment.
            _ => Kind::Stream(Events::new(limits.event), Vec::new()),
        }
    }
}

impl Body<'_> {
    /// A body of which nothing has arrived.
    pub(super) fn new(live: &Live) -> Body<'_> {
        Body { live, kind: Kind::Unknown(Beginning::default()), arrived: 0 }
    }

    /// Takes the next bytes; the end, where they bring it. Comments and empty events count as all else does: a stream
    /// that says nothing comes to its end, too.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Ending> {
        let most = self.live.limits.stream();
        let (bytes, rest) = bytes.split_at(bytes.len().min(most - self.arrived));
        self.arrived += bytes.len();
        if let Some(ending) = self.take(bytes) {
            return Some(ending);
        }
        (!rest.is_empty()).then(|| match self.live.finish() {
            Ending::Done(answer) => Ending::Done(answer),
            _ => Ending::Unanswerable("answer-too-long", format!("expected a stream of at most {most} bytes")),
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Ending> {
        match &mut self.kind {
            Kind::Unknown(beginning) => {
                let start = beginning.take(bytes);
                let most = self.live.limits.event;
                if beginning.skipped > most {
                    return Some(too_long(most));
                }
                self.kind = Kind::of(*start.first()?, self.live.limits);
                self.take(&start)
            }
            Kind::Json(whole) => {
                let most = self.live.limits.body;
                let room = most - whole.len();
                whole.extend_from_slice(&bytes[..room.min(bytes.len())]);
                (bytes.len() > room).then(|| too_long(most))
            }
            Kind::Stream(events, head) => {
                let live = self.live;
                let room = MAX_HEAD - head.len();
                head.extend_from_slice(&bytes[..room.min(bytes.len())]);
                ended(events.push(bytes, &mut |data| take(live, data)), live.limits)
            }
        }
    }

    /// The end of the body.
    pub(super) fn end(mut self) -> Ending {
        let live = self.live;
        let last = match &mut self.kind {
            Kind::Unknown(_) => Some(Ending::Broken(BROKEN_OFF, "expected a completion, found nothing".to_owned())),
            Kind::Json(whole) => live.take(whole).break_value(),
            Kind::Stream(events, head) => {
                let last = ended(events.end(&mut |data| take(live, data)), live.limits);
                let nothing = || {
                    let found = live.quoted(&String::from_utf8_lossy(head));
                    Ending::Broken(BROKEN_OFF, format!("expected a completion, found {found}"))
                };
                last.or_else(|| (!live.parts.borrow().has_begun).then(nothing))
            }
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

#[cfg(test)]
mod tests;

//! The body of a response that began well → an answer. A stream of events or one JSON object, told apart by how it begins
//! and not by what its headers say. Nothing here waits: bytes are pushed in as they come.

use super::{
    ApiKey, Endpoint,
    events::{BYTE_ORDER_MARK, Events, Stop},
    logprobs::Collected,
    response::{Answer, Ending, ending_of, refusal},
    wire::Chunk,
};
use crate::{Cost, HostProfile, Partial, Piece, partial::go_on};
use distill_dataset::{FinishReason, LogProbs, SamplingParams, Token, TurnFormat};
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
    key: Option<ApiKey>,
    /// Whose answer it is.
    host: Option<&'static HostProfile>,
    /// Tokens of the prompt, about.
    pub(super) prompt_estimate: Cell<u64>,
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
    /// An endpoint's answer that goes on from what was received before. Its key is never repeated in it.
    pub(super) fn new(endpoint: &Endpoint, before: Option<Partial>) -> Live {
        Live { key: endpoint.key.clone(), host: endpoint.host, before, ..Live::default() }
    }

    /// As [`Live::new`], of whatever endpoint and within other limits.
    pub(super) fn within(limits: Limits, key: Option<ApiKey>, before: Option<Partial>) -> Live {
        Live { limits, key, before, ..Live::default() }
    }

    /// Collects log-probabilities where `sampling` asks for them.
    pub(super) fn asking(self, sampling: &SamplingParams) -> Live {
        Live { asked_log_probs: sampling.log_probabilities, ..self }
    }

    /// The log-probabilities of the tokens that arrived, where they were asked for and told for all of them, and nothing
    /// in them was the key.
    pub(super) fn take_log_probs(&self) -> Option<LogProbs> {
        let collected = self.parts.borrow_mut().log_probs.take()?;
        let log_probs = collected.finish()?;
        // Its beginning at an end counts: what follows may come behind a seam.
        let has_key = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            self.key.as_ref().is_some_and(|key| key.redact_answer(&text, true) != text)
        };
        let generated: Vec<u8> = log_probs.iter().flat_map(|token| text_of(token.chosen().0)).copied().collect();
        (!has_key(&generated) && !log_probs.tokens().any(|token| has_key(text_of(token)))).then_some(log_probs)
    }

    /// Whether a first piece of an answer has arrived since this was asked last.
    pub(super) fn take_admitted(&self) -> bool {
        self.admitted.take()
    }

    /// What it cost so far, dollars aside: what the server says, else what arrived of it.
    pub(super) fn cost(&self) -> Cost {
        let parts = self.parts.borrow();
        // A piece is about a token, unless a host sends larger ones: of four bytes, then.
        let bytes = parts.reasoning.len() + parts.content.len();
        let (told, pieces) = (parts.usage, parts.pieces.max(bytes as u64 / 4));
        // Some hosts tell none where there were some.
        let completion = told.1.filter(|count| *count > 0 || pieces == 0);
        if !self.begun.get() {
            return Cost::default();
        }
        Cost {
            prompt_tokens: told.0.map_or_else(|| self.prompt_estimate.get(), u64::from),
            completion_tokens: completion.map_or(pieces, u64::from),
            usd: 0.0,
            estimated: told.0.is_none() || completion.is_none(),
        }
    }

    /// All that is there, with what was received before.
    pub(super) fn text(&self) -> String {
        self.without_key(self.parts.borrow().text(self.before(), false), true)
    }

    fn before(&self) -> &str {
        self.before.as_ref().map_or("", |partial| &partial.text)
    }

    /// What arrived since the last piece; nothing where nothing did, and dollars aside. All of it where it is the `last`
    /// piece, else nothing that may be the beginning of the key.
    pub(super) fn piece(&self, last: bool) -> Option<Piece> {
        let parts = self.parts.borrow();
        let (mut reasoning, mut content) = self.spooled.get();
        let next = |whole: &str, from: &mut usize| {
            let held = if last { 0 } else { self.key.as_ref().map_or(0, |key| key.begun_in(&whole[*from..])) };
            let piece = &whole[*from..whole.len() - held];
            *from += piece.len();
            self.without_key(piece.to_owned(), last)
        };
        let piece = (next(&parts.reasoning, &mut reasoning), next(&parts.content, &mut content));
        drop(parts);
        self.spooled.set((reasoning, content));
        (!piece.0.is_empty() || !piece.1.is_empty()).then(|| Piece {
            reasoning: piece.0,
            content: piece.1,
            cost: self.cost(),
        })
    }

    /// An answer without the key, should the server repeat it; `cut` where it may end within.
    fn without_key(&self, text: String, cut: bool) -> String {
        match &self.key {
            Some(key) => key.redact_answer(&text, cut),
            None => text,
        }
    }

    /// As much of a server's words as is told to people, without the key. It goes before they are cut: half a key is one, too.
    pub(super) fn quoted(&self, text: &str) -> String {
        let clean = self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.redact(text));
        clean.chars().take(MAX_MESSAGE).collect()
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
        self.parts.borrow_mut().take(chunk, self.limits.body, self.asked_log_probs)?;
        self.admitted.set(true);
        ControlFlow::Continue(())
    }

    fn finish(&self) -> Ending {
        let ending = self.parts.borrow().finish(self.before(), self.host);
        match ending {
            Ending::Done(answer) => Ending::Done(Box::new(Answer {
                log_probs: self.take_log_probs(),
                text: self.without_key(answer.text, answer.finish_reason != FinishReason::Stop),
                finish_name: answer.finish_name.map(|name| self.quoted(&name)),
                model: self.quoted(&answer.model),
                ..*answer
            })),
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

/// What has arrived so far.
#[derive(Default)]
struct Parts {
    reasoning: String,
    /// Where that came.
    place: Option<&'static str>,
    content: String,
    finish_reason: Option<String>,
    model: String,
    /// Tokens of the prompt and of the completion, as told last.
    usage: (Option<u32>, Option<u32>),
    pieces: u64,
    log_probs: Option<Collected>,
}

impl Parts {
    /// Adds a chunk.
    fn take(&mut self, chunk: Chunk, most: usize, asked_log_probs: Option<u8>) -> ControlFlow<Ending> {
        let (prompt, completion) = (chunk.usage.prompt_tokens.0, chunk.usage.completion_tokens.0);
        self.usage = (prompt.or(self.usage.0), completion.or(self.usage.1));
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
        let added = choice.into_piece(self.pieces > 0);
        if let Some(k) = asked_log_probs.filter(|_| !added.repeats) {
            self.log_probs.get_or_insert_with(|| Collected::new(k)).take(
                told.0.as_deref(),
                told.1.as_deref(),
                !added.is_empty(),
            );
        }
        if !added.reasoning.is_empty() {
            self.place = Some(added.place);
        }
        for (piece, whole) in [(added.reasoning, &mut self.reasoning), (added.content, &mut self.content)] {
            self.pieces += u64::from(!piece.is_empty());
            whole.push_str(&piece);
        }
        let log_probs = self.log_probs.as_ref().map_or(0, Collected::num_bytes);
        if self.reasoning.len() + self.content.len() + log_probs > most {
            return ControlFlow::Break(too_long(most));
        }
        ControlFlow::Continue(())
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
        let text = self.text(before, finish_reason == FinishReason::Stop);
        let opened = || self.content.trim_start().starts_with(&TurnFormat::default().open).then_some("the text");
        let reasoning = self.place.or_else(opened);
        let model = self.model.clone();
        Ending::Done(Box::new(Answer { text, finish_reason, finish_name, model, reasoning, log_probs: None }))
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
mod tests {
    use super::*;

    /// What a body comes to that arrives in pieces of that size, and what it cost.
    fn read(text: &[u8], piece: usize) -> (Ending, Cost) {
        let live = Live::default();
        live.begun.set(true);
        let mut body = Body::new(&live);
        let early = text.chunks(piece).find_map(|bytes| body.push(bytes));
        (early.unwrap_or_else(|| body.end()), live.cost())
    }

    /// The same, whatever the pieces: text, finish reason and the host's own name for it.
    fn answer(text: &str) -> (String, FinishReason, Option<String>) {
        let mut found: Vec<_> = (1..=text.len())
            .map(|piece| match read(text.as_bytes(), piece).0 {
                Ending::Done(answer) => (answer.text, answer.finish_reason, answer.finish_name),
                Ending::Broken(_, message) => panic!("{text}, by {piece}: {message}"),
                _ => panic!("{text}, by {piece}: no answer"),
            })
            .collect();
        found.dedup();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found.remove(0)
    }

    const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n";
    const LAST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"2\"},\"finish_reason\":\"stop\"}]}\n\n";

    #[test]
    fn what_the_official_client_reads_is_read() {
        let cases = [
            format!("{PIECE}{LAST}data: [DONE]\n\n"),
            format!("\u{feff}{PIECE}{LAST}data:[DONE] \n\n"),
            format!("\n\n: ping\n\ndata:\n\nevent: message\n{PIECE}data: \n\n{LAST}"),
            format!("{PIECE}{LAST}").trim_end().to_owned(),
            format!("{PIECE}{LAST}").replace('\n', "\r\n"),
            // A finish reason that says nothing, before and behind the one that does.
            format!("{}{LAST}{}", PIECE.replace("}}]", "},\"finish_reason\":\"\"}]"), "data: {\"choices\":[{\"finish_reason\":null}]}\n\n"),
            // The whole, said once more.
            format!("{PIECE}{}", LAST.replace("\"delta\"", "\"message\":{\"content\":\"42\"},\"delta\"")),
            " \n{\"choices\":[{\"message\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}\n".to_owned(),
            "\u{feff}{\"choices\":[{\"message\":{\"content\":[{\"text\":\"42\"}]},\"finish_reason\":{\"type\":\"stop\"}}],\"usage\":null}".to_owned(),
            "{\"choices\":[{\"text\":\"42\",\"finish_reason\":\"stop\",\"logprobs\":[NaN]}],\"choices\":[{\"text\":\"42\",\"finish_reason\":\"stop\"}]}".to_owned(),
        ];
        for text in cases {
            assert_eq!(answer(&text), ("42".to_owned(), FinishReason::Stop, None), "{text}");
        }
    }

    #[test]
    fn every_host_s_name_for_an_end_is_understood_or_kept() {
        for (names, expected) in [
            (["stop", "eos_token", "STOP", "COMPLETE"], Some(FinishReason::Stop)),
            (["length", "model_length", "MAX_TOKENS", "max_tokens"], Some(FinishReason::Length)),
            (["content_filter", "SAFETY", "sensitive", "refusal"], Some(FinishReason::ContentFilter)),
            (["insufficient_system_resource", "tool_calls", "7", "Stopp"], Some(FinishReason::Unknown)),
            (["abort", "error", "network_error", "ABORT"], None),
        ] {
            for name in names {
                let text = LAST.replace("stop", name);
                match (read(text.as_bytes(), 9).0, expected) {
                    (Ending::Done(found), Some(expected)) => {
                        assert_eq!(found.finish_reason, expected, "{name}");
                        let kept = expected == FinishReason::Unknown;
                        assert_eq!(found.finish_name, kept.then(|| name.to_owned()));
                    }
                    (Ending::Broken("incomplete", message), None) => assert!(message.contains(name), "{message}"),
                    _ => panic!("{name}: another ending"),
                }
            }
        }
    }

    #[test]
    fn tokens_are_as_told_and_counted_where_they_are_not() {
        let usage =
            |usage: &str| format!("{PIECE}{LAST}data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
        for (told, prompt, completion, estimated) in [
            (r#"{"prompt_tokens":11,"completion_tokens":5}"#, 11, 5, false),
            (r#"{"prompt_tokens":11.0,"completion_tokens":"5"}"#, 11, 5, false),
            (r#"{"prompt_tokens":11,"completion_tokens":null}"#, 11, 2, true),
            (r#"{"prompt_tokens":11,"completion_tokens":0}"#, 11, 2, true),
            ("null", 0, 2, true),
        ] {
            let cost = read(usage(told).as_bytes(), 50).1;
            let found = (cost.prompt_tokens, cost.completion_tokens, cost.estimated);
            assert_eq!(found, (prompt, completion, estimated), "{told}");
        }
        let whole = format!(r#"{{"choices":[{{"text":"{}","finish_reason":"stop"}}]}}"#, "four".repeat(100));
        assert_eq!(read(whole.as_bytes(), 99).1.completion_tokens, 100, "one piece of a hundred tokens");
    }

    #[test]
    fn what_is_no_completion_is_told_with_what_was_found() {
        for (text, expected) in [
            ("<html><body>Sign in</body></html>", "Sign in"),
            ("upstream is gone", "upstream is gone"),
            ("[1]", "expected a completion"),
            ("data: <html>\n\n", "<html>"),
            ("", "found nothing"),
            (" \n ", "found nothing"),
            ("{\"choices\":[]}", "without a finish reason"),
            (PIECE, "without a finish reason"),
        ] {
            for piece in [1, 4, 100] {
                match read(text.as_bytes(), piece).0 {
                    Ending::Broken("incomplete", message) => assert!(message.contains(expected), "{text}: {message}"),
                    _ => panic!("{text}: another ending"),
                }
            }
        }
        for (text, code) in [
            (r#"{"object":"error","message":"no such model","code":404}"#, "no such model"),
            (r#"{"error":{"code":"402","message":"no balance"}}"#, "no balance"),
        ] {
            match read(text.as_bytes(), 7).0 {
                Ending::Fatal(message) => assert!(message.contains(code), "{message}"),
                _ => panic!("{text}: another ending"),
            }
        }
        assert!(
            matches!(read(br#"{"detail":"out of memory"}"#, 7).0, Ending::Server(message, _) if message.contains("out of memory"))
        );
    }

    #[test]
    fn what_stands_before_a_body_has_a_greatest_length_however_it_is_cut() {
        let limits = Limits { body: 100, event: 40 };
        for (before, expected) in [
            (" ".repeat(40), "incomplete"),
            (" ".repeat(41), "answer-too-long"),
            (" ".repeat(30) + "\u{feff}" + &"\n".repeat(7), "incomplete"),
            (" ".repeat(30) + "\u{feff}" + &"\n".repeat(8), "answer-too-long"),
        ] {
            let text = before.clone() + "{}";
            for piece in 1..=text.len() {
                let live = Live::within(limits, None, None);
                let mut body = Body::new(&live);
                let early = text.as_bytes().chunks(piece).find_map(|bytes| body.push(bytes));
                match early.unwrap_or_else(|| body.end()) {
                    Ending::Broken(reason, _) | Ending::Unanswerable(reason, _) => {
                        assert_eq!(reason, expected, "{before:?} by {piece}");
                    }
                    _ => panic!("{before:?} by {piece}: another ending"),
                }
            }
        }
    }

    #[test]
    fn a_key_that_ends_as_it_begins_is_in_no_piece() {
        let key = "s7-0123456789-s7";
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{key}\"}}}}]}}\n\n");
        let live = Live::within(Limits::default(), Some(ApiKey::new(key.to_owned())), None);
        let mut body = Body::new(&live);
        let mut spooled = String::new();
        for last in [false, false, true] {
            assert!(body.push(event.as_bytes()).is_none());
            spooled += &live.piece(last).map(|piece| piece.content).unwrap_or_default();
        }
        assert_eq!(spooled, "[key][key][key]");
    }

    /// 64-bit xorshift.
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as usize
    }

    #[test]
    fn no_bytes_harm_the_reader_and_how_they_are_cut_changes_nothing() {
        let sound = [
            format!("\u{feff}: ping\n\n{PIECE}{LAST}data: [DONE]\n\n"),
            r#"{"model":"é🙂","choices":[{"message":{"content":[{"text":"a\ud83d"}],"reasoning":null},"finish_reason":"stop"}],"usage":{"completion_tokens":5.0}}"#.to_owned(),
            r#"data: {"error":{"code":"429","message":[NaN,{"a":"\\u"}]}}"#.to_owned(),
        ];
        let pieces: [&[u8]; 10] =
            [b"\n\n", b"\r", b"data:", b"\"", b"{", b"\\", b"-Infinity", b"\\ud800", b"[[[[[[[[", b"\xef\xbb\xbf"];
        let mut state = 17;
        let (mut answers, mut others) = (0, 0);
        for round in 0..30_000 {
            let mut bytes = sound[round % sound.len()].clone().into_bytes();
            for _ in 0..=next(&mut state) % 4 {
                let at = next(&mut state) % bytes.len();
                match next(&mut state) % 4 {
                    0 => bytes[at] = next(&mut state) as u8,
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    1 | 2 => bytes.truncate(at.max(1)),
                    _ => drop(bytes.splice(at..at, pieces[next(&mut state) % pieces.len()].iter().copied())),
                }
            }
            let [whole, cut] = [bytes.len(), 1 + next(&mut state) % 5].map(|piece| match read(&bytes, piece).0 {
                Ending::Done(answer) => Ok((answer.text, answer.finish_reason, answer.model)),
                Ending::Broken(reason, message) => Err(format!("{reason}: {message}")),
                Ending::Unanswerable(reason, message) => Err(format!("{reason}: {message}")),
                Ending::Fatal(message) | Ending::Server(message, _) | Ending::Away { message, .. } => Err(message),
            });
            assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(&bytes));
            if whole.is_ok() { answers += 1 } else { others += 1 }
        }
        assert!(answers > 1000 && others > 1000, "{answers} answers, {others} others");
    }

    #[test]
    fn an_answer_that_had_ended_is_whole_though_the_stream_broke() {
        for (text, whole) in [(format!("{PIECE}{LAST}"), true), (PIECE.to_owned(), false)] {
            let live = Live::default();
            let mut body = Body::new(&live);
            assert!(body.push(text.as_bytes()).is_none());
            assert_eq!(body.is_answered(), whole);
            assert_eq!(matches!(body.broken("timed-out", "silent"), Ending::Done(_)), whole);
        }
    }
}

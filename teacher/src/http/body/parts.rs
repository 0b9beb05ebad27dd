//! What has arrived of an answer: its text, and what was told beside it.

use super::super::{
    ids::{self, Ids},
    logprobs::Collected,
    response::{Answer, BROKEN_OFF, Ending, INCOMPLETE, ending_of, refusal, said_in},
    wire::{Chunk, Usage},
};
use super::too_long;
use crate::{HostProfile, partial::go_on};
use distill_dataset::{FinishReason, TurnFormat};
use std::ops::ControlFlow;

/// Where OpenAI tells tokens of a prompt that a cache had, in `usage`.
const CACHED_TOKENS: &str = "prompt_tokens_details.cached_tokens";
/// What is wrong where a generation that went on within a character does not tell what it is.
const NO_IDS: &str = "expected the ids of the tokens behind a seam within a character, found none that say its text";
/// Bytes a token that no answer has on average.
const MOST_PER_TOKEN: u64 = 32;

/// Tokens, as told last.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) prompt: Option<u32>,
    /// Those of them that a cache had.
    pub(super) cached: Option<u32>,
    pub(super) completion: Option<u32>,
}

impl Told {
    pub(super) fn take(&mut self, usage: &Usage, host: Option<&HostProfile>) {
        let cached = host.and_then(|host| host.answer.cached_tokens.as_deref()).unwrap_or(CACHED_TOKENS);
        self.prompt = usage.prompt_tokens.0.or(self.prompt);
        self.cached = usage.at(cached).0.or(self.cached);
        self.completion = usage.completion_tokens.0.or(self.completion);
    }
}

/// What has arrived so far.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) reasoning: String,
    /// Where that came first.
    pub(super) place: Option<&'static str>,
    pub(super) content: String,
    pub(super) finish_reason: Option<String>,
    /// The model, as it is told to people.
    pub(super) model: String,
    /// It is not as those before: nothing of it is kept.
    pub(super) is_anothers: bool,
    /// Whether there was a chunk.
    pub(super) has_begun: bool,
    pub(super) told: Told,
    pub(super) pieces: u64,
    /// Characters in them.
    pub(super) letters: u64,
    pub(super) log_probs: Option<Collected>,
    pub(super) by_ids: bool,
    /// None where they are not told, or do not say the text.
    pub(super) ids: Option<Ids>,
}

impl Parts {
    /// Adds a chunk.
    pub(super) fn take(&mut self, chunk: Chunk, most: usize, asked_log_probs: Option<u8>) -> ControlFlow<Ending> {
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
            self.place.get_or_insert(added.place);
        }
        for piece in [&added.reasoning, &added.content].into_iter().filter(|piece| !piece.is_empty()) {
            self.pieces += 1;
            self.letters += piece.chars().count() as u64;
        }
        // A call that takes ids tells no reasoning apart.
        let ids = self.ids.take().filter(|_| added.reasoning.is_empty());
        if let Some(mut ids) = ids {
            if ids.take(told_ids, &mut added.content) {
                ids.mark(self.content.len() + added.content.len());
                self.ids = Some(ids);
            } else if ids.is_within() {
                return ControlFlow::Break(Ending::Broken(BROKEN_OFF, NO_IDS.to_owned()));
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

    /// Whether these are more than so many tokens, by their ids or, where these are not told, for certain. A piece is a token
    /// or more of them, but where a gateway cuts the text into letters.
    pub(super) fn is_beyond(&self, most: u64) -> bool {
        let bytes = (self.reasoning.len() + self.content.len()) as u64;
        if let Some(ids) = &self.ids {
            return ids.num_told() > most;
        }
        let are_letters = 4 * self.letters < 5 * self.pieces;
        self.pieces > most && !are_letters || bytes > most.saturating_mul(MOST_PER_TOKEN)
    }

    /// Nothing more comes that would tell what a character is.
    pub(super) fn settle(&mut self) {
        let Some(ids) = &mut self.ids else { return };
        if let Some(text) = ids.end() {
            self.content.push_str(&text);
            ids.mark(self.content.len());
        }
    }

    /// An error that a server tells inside a 200; `quoted` is what people are told of a server's words.
    pub(super) fn failed(
        &self,
        error: &serde_json::Value,
        quoted: impl Fn(&str) -> String,
        host: Option<&HostProfile>,
    ) -> Ending {
        let body = error.to_string();
        let text = quoted(said_in(error, host).unwrap_or(&body));
        let code = error.get("error").unwrap_or(error).get("code");
        let code = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
        match code.and_then(|code| u16::try_from(code).ok()) {
            Some(code) if code >= 300 && (code < 500 || self.pieces == 0) => ending_of(code, &body, text, None),
            _ if refusal(0, &body) != "refused" => Ending::Unanswerable(refusal(0, &body), text),
            _ if self.pieces == 0 => Ending::Server(text, None),
            _ => Ending::Broken(BROKEN_OFF, text),
        }
    }

    /// All that is there, after what was received before.
    pub(super) fn text(&self, before: &str, ended: bool) -> String {
        // Who is given ids does not say once more what it was given.
        if self.by_ids {
            return format!("{before}{}", self.content);
        }
        go_on(before, &self.reasoning, &self.content, ended)
    }

    /// The answer, if the server said why it ended. A reason that no host is known by is kept under its own name.
    pub(super) fn finish(&self, before: &str, host: Option<&HostProfile>) -> Ending {
        let Some(name) = self.finish_reason.as_deref() else {
            return Ending::Broken(INCOMPLETE, "the answer ended without a finish reason".to_owned());
        };
        let of_host = host.and_then(|host| host.finish_reason(name)).map(|reason| match reason {
            FinishReason::Broken => Finish::Aborted,
            reason => Finish::Reason(reason),
        });
        let (finish_reason, finish_name) = match of_host.unwrap_or_else(|| Finish::of(name)) {
            Finish::Reason(reason) => (reason, None),
            Finish::Aborted => return Ending::Broken(BROKEN_OFF, format!("the server gave up: `{name}`")),
            Finish::Unknown => (FinishReason::Unknown, Some(name.to_owned())),
        };
        if self.ids.as_ref().is_some_and(|ids| !ids.held_nothing()) {
            return Ending::Broken(BROKEN_OFF, NO_IDS.to_owned());
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

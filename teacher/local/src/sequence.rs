//! One request in the making.

use crate::{
    ask::{Ask, Event, Logprobs, Reason},
    sampler::{Sampler, Scratch},
    text::TextStream,
};
use distill_chat::Chat;
use distill_model::Logits;

/// A request with what it has come to.
pub(crate) struct Sequence {
    pub(crate) id: u64,
    /// The prompt, then what was drawn.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// Positions that the cache holds.
    pub(crate) cached: usize,
    /// The blocks of its cache, in the order of positions.
    pub(crate) blocks: Vec<u32>,
    /// Blocks of these that were offered to others.
    pub(crate) published: usize,
    /// Most tokens in all, by the request or by the model's context.
    most: usize,
    /// What it means to come to these.
    full: Reason,
    ask: Ask,
    sampler: Sampler,
    text: Option<TextStream>,
    prompt_logprobs: Vec<Logprobs>,
}

/// What a step made of a sequence.
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    pub(crate) ended: bool,
}

impl Sequence {
    /// `context` is the most tokens that the model was made for.
    pub(crate) fn new(id: u64, mut ask: Ask, context: usize) -> Sequence {
        let tokens = std::mem::take(&mut ask.prompt);
        let asked = tokens.len().saturating_add(ask.max_new_tokens);
        let mut sampler = Sampler::new(ask.sampling, ask.seed);
        sampler.saw(&tokens);
        Sequence {
            id,
            prompt: tokens.len(),
            most: context.min(asked),
            full: if asked > context { Reason::Context } else { Reason::Length },
            text: ask.text.then(|| TextStream::new(std::mem::take(&mut ask.stop))),
            tokens,
            cached: 0,
            blocks: Vec::new(),
            published: 0,
            ask,
            sampler,
            prompt_logprobs: Vec::new(),
        }
    }

    /// Tokens that the cache does not hold yet.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.cached
    }

    /// Whether the logits after each token of the prompt are wanted and not all there yet.
    pub(crate) fn reads_prompt(&self) -> bool {
        self.ask.prompt_logprobs.is_some() && self.prompt_logprobs.len() < self.prompt
    }

    /// Takes the logits of one step: those after each of `positions`, or only the last, starting with row `row`. The cache
    /// holds `self.cached` positions now.
    pub(crate) fn advance(
        &mut self,
        chat: &Chat,
        logits: &Logits,
        row: usize,
        positions: std::ops::Range<usize>,
        scratch: &mut Scratch,
    ) -> Outcome {
        let mut row = row;
        let mut events = Vec::new();
        if self.reads_prompt() {
            for position in positions.clone() {
                logits.copy_row(row + position - positions.start, &mut scratch.logits);
                scratch.logits.truncate(chat.vocab_size());
                if let Some(failed) = self.read_prompt(position, scratch) {
                    return Outcome { events: vec![failed], ended: true };
                }
            }
            row += positions.len() - 1;
            if !self.reads_prompt() {
                events.push(Event::Prompt(std::mem::take(&mut self.prompt_logprobs)));
                // Not asked for again, should the sequence have to read its prompt a second time.
                self.ask.prompt_logprobs = None;
            }
        }
        if self.pending() > 0 {
            return Outcome { events, ended: false };
        }
        if self.tokens.len() >= self.most {
            return self.end(chat, self.full, events);
        }
        logits.copy_row(row, &mut scratch.logits);
        // A vocabulary may be padded: what the tokenizer does not know is never drawn.
        scratch.logits.truncate(chat.vocab_size());
        self.draw(chat, scratch, events)
    }

    fn read_prompt(&mut self, position: usize, scratch: &mut Scratch) -> Option<Event> {
        let top = self.ask.prompt_logprobs.unwrap_or(0);
        if self.prompt_logprobs.is_empty() {
            self.prompt_logprobs.push(Logprobs { chosen: None, top: Vec::new() });
        }
        // What was read before an interruption is known.
        let next = self.tokens.get(position + 1).filter(|_| position + 1 < self.prompt)?;
        if self.prompt_logprobs.len() > position + 1 {
            return None;
        }
        match scratch.logprobs(*next, top) {
            Some(logprobs) => {
                self.prompt_logprobs.push(logprobs);
                None
            }
            None => Some(not_numbers(position)),
        }
    }

    fn draw(&mut self, chat: &Chat, scratch: &mut Scratch, mut events: Vec<Event>) -> Outcome {
        // The draw changes the logits; the token's probability is that before.
        let before = self.ask.logprobs.map(|_| scratch.logits.clone());
        let Some(id) = self.sampler.draw(scratch) else {
            return Outcome { events: vec![not_numbers(self.tokens.len() - 1)], ended: true };
        };
        let logprobs = match (before, self.ask.logprobs) {
            (Some(before), Some(top)) => {
                scratch.logits = before;
                scratch.logprobs(id, top)
            }
            _ => None,
        };
        self.sampler.saw(&[id]);
        self.tokens.push(id);
        let stopped = self.ask.stop_ids.contains(&id);
        let mut text = String::new();
        let mut found = false;
        if let Some(stream) = self.text.as_mut().filter(|_| !stopped) {
            match stream.push(chat, id) {
                Ok(released) => (text, found) = (released.text, released.stopped),
                Err(error) => return Outcome { events: vec![Event::Failed(error.to_string())], ended: true },
            }
        }
        events.push(Event::Token { id, text, logprobs });
        if found {
            // What was held back belongs to the stop text.
            self.text = None;
        }
        if stopped || found {
            self.end(chat, Reason::Stop, events)
        } else if self.tokens.len() >= self.most {
            self.end(chat, self.full, events)
        } else {
            Outcome { events, ended: false }
        }
    }

    fn end(&mut self, chat: &Chat, reason: Reason, mut events: Vec<Event>) -> Outcome {
        let text = match self.text.take().map(|stream| stream.finish(chat)) {
            Some(Err(error)) => return Outcome { events: vec![Event::Failed(error.to_string())], ended: true },
            Some(Ok(text)) => text,
            None => String::new(),
        };
        events.push(Event::End { reason, text, tokens: self.tokens[self.prompt..].to_vec() });
        Outcome { events, ended: true }
    }
}

fn not_numbers(position: usize) -> Event {
    Event::Failed(format!(
        "the model's output after token {position} is not a number: its weights are damaged or diverged"
    ))
}

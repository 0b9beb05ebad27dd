//! Continuous batching: in every step, each running request goes on by one token and waiting ones read some of their
//! prompt. Requests join and leave between steps.
//!
//! Blocks of the cache are taken as they are needed. When there are none left, the request that came last gives its own
//! back and waits; it reads its tokens again later and goes on where it was, bit for bit. So the one that came first
//! always comes to its end, and memory never exceeds its budget.

use crate::{
    ask::{Ask, AskError, Event},
    memory::Longest,
    pool::Pool,
    sampler::Scratch,
    sequence::{Outcome, Sequence},
};
use distill_chat::Chat;
use distill_model::{BLOCK, Logits, Share, Stepper, Wanted};
use rayon::prelude::*;
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes for keys and values. Nothing: what `running` requests like the longest need, up to half of the memory
    /// that the weights leave.
    pub cache_bytes: Option<usize>,
    /// The longest request that will come; the cache holds one of these, or the engine is not started. Nothing: requests of
    /// any length that fits, up to [`Engine::context`].
    pub longest: Option<Longest>,
    /// Most requests decoded together.
    pub running: usize,
    /// Tokens of one step: the next one of every running request, and of prompts as many as are left, but never less than a
    /// quarter while any is to be read.
    pub step_tokens: usize,
}

impl Limits {
    /// For requests of at most `max_new_tokens` after prompts of at most `max_prompt` tokens, if that is known.
    pub fn for_request(max_prompt: Option<usize>, max_new_tokens: usize) -> Limits {
        Limits { longest: Some(Longest { prompt: max_prompt, new: max_new_tokens }), ..Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cache_bytes: None, longest: None, running: 128, step_tokens: 256 }
    }
}

/// Rows of logits of a prompt that are held at once, where they are wanted.
const PROMPT_ROWS: usize = 64;

/// What the engine is doing and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests being decoded.
    pub running: usize,
    /// Requests waiting for room.
    pub waiting: usize,
    /// Blocks that requests hold.
    pub held_blocks: usize,
    /// Blocks in all.
    pub blocks: usize,
    /// Tokens computed of prompts, those read again included.
    pub prompt_tokens: u64,
    /// Tokens of prompts found in the cache.
    pub shared_tokens: u64,
    /// Tokens drawn.
    pub drawn_tokens: u64,
    /// How often a request gave its blocks back to wait.
    pub interruptions: u64,
}

/// A model that answers many requests at once.
pub struct Engine {
    stepper: Stepper,
    chat: Arc<Chat>,
    limits: Limits,
    pool: Pool,
    /// In the order in which they came.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    load: Load,
}

impl Engine {
    /// An engine over a loaded model with its cache.
    pub fn new(stepper: Stepper, chat: Arc<Chat>, limits: Limits) -> Engine {
        let pool = Pool::new(stepper.num_blocks());
        Engine { stepper, chat, limits, pool, running: Vec::new(), waiting: VecDeque::new(), load: Load::default() }
    }

    /// Most tokens of one request, prompt and answer: by the model's context and by the cache.
    pub fn context(&self) -> usize {
        self.model_context().min(self.cache_tokens())
    }

    /// Tokens that the model was made for.
    pub fn model_context(&self) -> usize {
        self.stepper.config().max_position_embeddings
    }

    /// Tokens that the cache holds.
    pub fn cache_tokens(&self) -> usize {
        self.pool.len() * BLOCK
    }

    /// Tokens that the model knows.
    pub fn vocab(&self) -> usize {
        self.stepper.config().vocab_size
    }

    /// Takes a request; what becomes of it is told by [`Engine::step`] under `id`, which no other unfinished one may have.
    ///
    /// # Errors
    /// When it could never be answered, or not to its end: expected and found.
    pub fn submit(&mut self, id: u64, ask: Ask) -> Result<(), AskError> {
        let (context, vocab) = (self.model_context(), self.vocab());
        ask.sampling.check().map_err(AskError::Invalid)?;
        let invalid = |message: String| Err(AskError::Invalid(message));
        if ask.prompt.is_empty() {
            return invalid("expected a prompt of at least one token, found none".to_owned());
        }
        let room = if ask.max_new_tokens == 0 { context + 1 } else { context };
        if ask.prompt.len() >= room {
            return invalid(format!("expected a prompt of fewer than {room} tokens, found {}", ask.prompt.len()));
        }
        if let Some(token) = ask.prompt.iter().find(|token| **token as usize >= vocab) {
            return invalid(format!("the prompt holds token {token}, the model knows {vocab}"));
        }
        if ask.stop.iter().any(String::is_empty) {
            return invalid("expected stop texts of at least one character, found an empty one".to_owned());
        }
        let needed = ask.prompt.len().saturating_add(ask.max_new_tokens).min(context);
        let found = self.cache_tokens();
        if needed > found {
            return Err(AskError::Cache { needed, found, token_bytes: self.stepper.block_bytes() / BLOCK });
        }
        self.waiting.push_back(Sequence::new(id, ask, context));
        Ok(())
    }

    /// Forgets a request; its blocks are free at once. False if there is none of that id.
    pub fn cancel(&mut self, id: u64) -> bool {
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == id) {
            let mut sequence = self.running.remove(at);
            self.give_back(&mut sequence);
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|sequence| sequence.id != id);
        self.waiting.len() < before
    }

    /// Requests that have not ended.
    pub fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is doing.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            held_blocks: self.pool.len() - self.pool.available(),
            blocks: self.pool.len(),
            ..self.load
        }
    }

    /// Takes what is running one step further; `tell` hears what came of it.
    pub fn step(&mut self, tell: &mut dyn FnMut(u64, Event)) {
        self.admit();
        let plan = self.plan();
        if plan.is_empty() {
            return;
        }
        let shares: Vec<Share<'_>> = plan.iter().map(|planned| planned.share(&self.running[planned.index])).collect();
        let stepper = &mut self.stepper;
        // A panic in here is a bug of ours, or a device's; it must not take other people's requests with it. Inside the
        // pool, since a thread outside it would go to sleep and be woken once for every product.
        let step = || rayon::scope(|_| stepper.step(&shares));
        let logits = match catch_unwind(AssertUnwindSafe(step)) {
            Ok(Ok(logits)) => logits,
            Ok(Err(error)) => return self.fail(&plan, &error.to_string(), tell),
            Err(_) => return self.fail(&plan, "the model's step panicked", tell),
        };
        for planned in &plan {
            let sequence = &mut self.running[planned.index];
            let of_prompt = planned.count.min(sequence.prompt.saturating_sub(sequence.cached));
            self.load.prompt_tokens += of_prompt as u64;
            sequence.cached += planned.count;
            publish(&mut self.pool, sequence);
        }
        let outcomes = self.advance(&plan, &logits);
        let mut ended = Vec::new();
        for (planned, outcome) in plan.iter().zip(outcomes) {
            let id = self.running[planned.index].id;
            if outcome.ended {
                ended.push(planned.index);
            }
            for event in outcome.events {
                self.load.drawn_tokens += u64::from(matches!(event, Event::Token { .. }));
                tell(id, event);
            }
        }
        self.remove(ended);
    }

    /// Lets waiting requests in while there is room for what they have to read.
    fn admit(&mut self) {
        while self.running.len() < self.limits.running
            && let Some(sequence) = self.waiting.front()
        {
            // Another is reading the same beginning: it will be there in a moment.
            if self.running.iter().any(|other| reads_for(other, sequence)) {
                return;
            }
            // One more block for each that is running, so that letting this one in does not drive another out at once.
            let needed = (sequence.tokens.len() + 1).div_ceil(BLOCK) + self.running.len();
            if needed > self.pool.available() && !self.running.is_empty() {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            // The last token has to be computed: its logits are wanted. So have all where they are all wanted.
            if !sequence.reads_prompt() {
                sequence.blocks = self.pool.share(&sequence.tokens[..sequence.tokens.len() - 1]);
                sequence.published = sequence.blocks.len();
                sequence.cached = sequence.blocks.len() * BLOCK;
                self.load.shared_tokens += sequence.cached as u64;
            }
            self.running.push(sequence);
        }
    }

    /// What each running request does in this step, with its blocks taken.
    fn plan(&mut self) -> Vec<Planned> {
        let mut counts: Vec<usize> = self.running.iter().map(|sequence| usize::from(sequence.pending() == 1)).collect();
        let step = self.limits.step_tokens.max(1);
        // However many are being decoded, prompts are read: else whoever came last would wait for others to end.
        let mut budget = step.saturating_sub(counts.iter().sum()).max(step.div_ceil(4));
        for (count, sequence) in counts.iter_mut().zip(&self.running) {
            if sequence.pending() > 1 {
                let most = if sequence.reads_prompt() { PROMPT_ROWS } else { usize::MAX };
                *count = sequence.pending().min(budget).min(most);
                budget -= *count;
            }
        }
        let mut plan = Vec::new();
        let mut index = 0;
        while index < self.running.len() {
            let count = counts[index];
            let needed = (self.running[index].cached + count).div_ceil(BLOCK);
            while count > 0 && self.running[index].blocks.len() < needed {
                if let Some(block) = self.pool.take() {
                    self.running[index].blocks.push(block);
                } else if !self.interrupt_last() || index >= self.running.len() {
                    break;
                }
            }
            if index < self.running.len() && count > 0 {
                plan.push(Planned::new(index, count, &self.running[index]));
            }
            index += 1;
        }
        plan
    }

    /// The request that came last gives its blocks back and waits, before all others that wait.
    fn interrupt_last(&mut self) -> bool {
        let Some(mut sequence) = self.running.pop() else { return false };
        self.give_back(&mut sequence);
        self.load.interruptions += 1;
        self.waiting.push_front(sequence);
        true
    }

    fn advance(&mut self, plan: &[Planned], logits: &Logits) -> Vec<Outcome> {
        let chat = &*self.chat;
        let mut rows = Vec::with_capacity(plan.len());
        let mut row = 0;
        for planned in plan {
            rows.push(row);
            row += planned.rows;
        }
        let mut places = self.running.iter_mut().enumerate();
        let jobs: Vec<(&mut Sequence, &Planned, usize)> = plan
            .iter()
            .zip(rows)
            .filter_map(|(planned, row)| {
                let (_, sequence) = places.find(|(index, _)| *index == planned.index)?;
                Some((sequence, planned, row))
            })
            .collect();
        let advance = |scratch: &mut Scratch, (sequence, planned, row): (&mut Sequence, &Planned, usize)| {
            if planned.rows == 0 {
                return Outcome { events: Vec::new(), ended: false };
            }
            let positions = sequence.cached - planned.count..sequence.cached;
            let id = sequence.id;
            let step = || sequence.advance(chat, logits, row, positions, scratch);
            catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
                tracing::error!(request = id, "drawing a token panicked");
                Outcome { events: vec![Event::Failed("drawing a token panicked".to_owned())], ended: true }
            })
        };
        jobs.into_par_iter().map_init(Scratch::default, advance).collect()
    }

    fn fail(&mut self, plan: &[Planned], why: &str, tell: &mut dyn FnMut(u64, Event)) {
        tracing::error!(requests = plan.len(), error = why, "a step failed");
        for planned in plan {
            tell(self.running[planned.index].id, Event::Failed(why.to_owned()));
        }
        self.remove(plan.iter().map(|planned| planned.index).collect());
    }

    fn remove(&mut self, indices: Vec<usize>) {
        for index in indices.into_iter().rev() {
            let mut sequence = self.running.remove(index);
            self.give_back(&mut sequence);
        }
    }

    /// The last first, so that a beginning outlives its end.
    fn give_back(&mut self, sequence: &mut Sequence) {
        for block in sequence.blocks.drain(..).rev() {
            self.pool.release(block);
        }
        (sequence.cached, sequence.published) = (0, 0);
    }
}

/// What one request does in a step.
struct Planned {
    /// Its place among the running.
    index: usize,
    /// How many of its tokens are computed.
    count: usize,
    wanted: Wanted,
    /// Rows of logits that come of it.
    rows: usize,
}

impl Planned {
    fn new(index: usize, count: usize, sequence: &Sequence) -> Planned {
        let (wanted, rows) = match (sequence.reads_prompt(), count == sequence.pending()) {
            (true, _) => (Wanted::All, count),
            (false, true) => (Wanted::Last, 1),
            (false, false) => (Wanted::None, 0),
        };
        Planned { index, count, wanted, rows }
    }

    fn share<'s>(&self, sequence: &'s Sequence) -> Share<'s> {
        let start = sequence.cached;
        Share {
            tokens: &sequence.tokens[start..start + self.count],
            start,
            blocks: &sequence.blocks,
            logits: self.wanted,
        }
    }
}

/// Makes the full blocks of a sequence's prompt known to others. Those of its answer are not: hardly anybody begins with
/// them, and keeping them would fill the cache with what is never asked for again.
fn publish(pool: &mut Pool, sequence: &mut Sequence) {
    let read = sequence.cached.min(sequence.prompt);
    for (index, tokens) in sequence.tokens[..read].as_chunks::<BLOCK>().0.iter().enumerate() {
        if index < sequence.published {
            continue;
        }
        let before = index.checked_sub(1).map(|before| sequence.blocks[before]);
        pool.publish(sequence.blocks[index], before, tokens);
        sequence.published = index + 1;
    }
}

/// Whether `reader` is about to compute blocks that `sequence` begins with.
fn reads_for(reader: &Sequence, sequence: &Sequence) -> bool {
    if reader.pending() <= 1 || sequence.reads_prompt() {
        return false;
    }
    let wanted = &sequence.tokens[..sequence.tokens.len() - 1];
    let same = reader.tokens.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    same / BLOCK * BLOCK > reader.cached
}

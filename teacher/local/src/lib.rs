//! The in-process engine: a checkpoint folder becomes somebody who answers.
//!
//! [`Engine`] decodes many requests at once (`engine.rs`): a cache in blocks (`pool.rs`), what each request has come to
//! (`sequence.rs`), how tokens are drawn (`sampler.rs`) and become text (`text.rs`). [`LocalTeacher`] is the engine behind
//! the trait that sampling and evaluation ask, [`serve`] the engine behind HTTP (`server/`). An answer depends on (weights, messages, sampling, seed) and on nothing
//! that runs beside it.
//!
//! ```
//! # use distill_dataset::Message;
//! # use distill_teacher_local::{Ask, Event, Placement, Sampling, load};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/nano-teacher");
//! let (chat, mut engine) = load(&checkpoint, Placement::on("cpu"))?;
//! let ask = Ask {
//!     prompt: chat.encode_prompt(&[Message::user("What is 34+5-3?")])?,
//!     sampling: Sampling { temperature: 0.0, ..Sampling::default() },
//!     seed: 0,
//!     max_new_tokens: 64,
//!     stop_ids: chat.eos_ids().to_vec(),
//!     stop: Vec::new(),
//!     text: false,
//!     logprobs: None,
//!     prompt_logprobs: None,
//! };
//! engine.submit(0, ask)?;
//! let mut answer = Vec::new();
//! while !engine.is_empty() {
//!     engine.step(&mut |_, event| {
//!         if let Event::End { tokens, .. } = event {
//!             answer = tokens;
//!         }
//!     });
//! }
//! assert!(chat.decode(&answer)?.contains("\\boxed{36}"));
//! # Ok(())
//! # }
//! ```

mod ask;
mod engine;
mod memory;
mod pool;
mod sampler;
mod sequence;
mod server;
#[cfg(test)]
mod tests;
mod text;

pub use ask::{Ask, AskError, Event, Logprobs, Reason, Sampling};
pub use distill_model::Precision;
pub use engine::{Engine, Limits, Load};
pub use memory::{CachePlan, Longest, plan_cache};
pub use server::{ServerConfig, serve};

use distill_chat::Chat;
use distill_checkpoint::Checkpoint;
use distill_dataset::{Cancel, FinishReason};
use distill_model::Stepper;
use distill_teacher::{Complete, Completion, Identity, Queue, Request, TeacherError};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts the changes after which the same request may get another answer. The third tells what the model's context cut from
/// what the request's limit cut, and no answer is cut by the cache any more.
pub const VERSION: u32 = 3;

/// Where a checkpoint is decoded, and how.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: &'a str,
    /// In which precision weights are kept.
    pub precision: Precision,
    /// How much is done at once.
    pub limits: Limits,
}

impl<'a> Placement<'a> {
    /// The checkpoint's own weights on that device, with the limits that suit most.
    pub fn on(device: &'a str) -> Placement<'a> {
        Placement { device, precision: Precision::default(), limits: Limits::default() }
    }
}

/// Loads a checkpoint folder: its chat folder, which may lack a template, and an engine over its weights.
///
/// # Errors
/// When the checkpoint, its tokenizer or the device cannot be used, or its memory does not hold the longest request: bytes
/// needed and found, and what to do.
pub fn load(dir: &Path, placement: Placement<'_>) -> Result<(Arc<Chat>, Engine), TeacherError> {
    load_beside(chat_of(dir)?, dir, placement)
}

/// The same, where its tokenizer and template were read already.
fn load_beside(chat: Chat, dir: &Path, placement: Placement<'_>) -> Result<(Arc<Chat>, Engine), TeacherError> {
    let local = |error: &dyn std::fmt::Display| TeacherError::Local(error.to_string());
    let chat = Arc::new(chat);
    let checkpoint = Checkpoint::open(dir).map_err(|error| local(&error))?;
    let cache = memory::plan(&checkpoint, &placement)?;
    tracing::info!(
        bytes = cache.bytes,
        longest_tokens = cache.longest_tokens,
        free = cache.free_bytes,
        "sized the cache"
    );
    let Placement { device, precision, limits } = placement;
    let cache_bytes = usize::try_from(cache.bytes).unwrap_or(usize::MAX);
    let stepper = Stepper::load(&checkpoint, device, precision, cache_bytes).map_err(|error| local(&error))?;
    Ok((chat.clone(), Engine::new(stepper, chat, limits)))
}

/// The tokenizer and template of a checkpoint: those of its folder, or those inside a GGUF file. A base model's has no
/// template.
///
/// # Errors
/// When they are missing or damaged.
pub fn chat_of(checkpoint: &Path) -> Result<Chat, TeacherError> {
    let local = |error: &dyn std::fmt::Display| TeacherError::Local(error.to_string());
    if !checkpoint.is_file() {
        return Chat::load_for_text(checkpoint).map_err(|error| local(&error));
    }
    let opened = Checkpoint::open(checkpoint).map_err(|error| local(&error))?;
    let vocabulary = opened.vocabulary().ok_or_else(|| {
        TeacherError::Local(format!("{}: expected a folder or a GGUF file, found another", checkpoint.display()))
    })?;
    let folder = tempfile::Builder::new().prefix("distill-chat-").tempdir();
    let folder = folder.map_err(|error| local(&format!("no folder for temporary files: {error}")))?;
    vocabulary.write_files(folder.path()).map_err(|error| local(&error))?;
    Chat::load_for_text(folder.path())
        .map_err(|error| TeacherError::Local(format!("{}: {error}", checkpoint.display())))
}

/// A checkpoint that answers in this process.
pub struct LocalTeacher {
    name: String,
    chat: Arc<Chat>,
    engine: Mutex<Engine>,
    /// Requests that are taken from a queue ahead of their turn.
    ahead: usize,
}

impl LocalTeacher {
    /// Loads a checkpoint folder; `name` is its identity, a digest of its files.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(dir: &Path, name: &str, placement: Placement<'_>) -> Result<LocalTeacher, TeacherError> {
        // It is asked with conversations: a template is needed, and is looked for before the weights are read.
        let chat = chat_of(dir)?.templated().map_err(|error| TeacherError::Local(error.to_string()))?;
        let (chat, engine) = load_beside(chat, dir, placement)?;
        let ahead = 2 * placement.limits.running;
        Ok(LocalTeacher { name: name.to_owned(), chat, engine: Mutex::new(engine), ahead })
    }

    /// Tokenises a request and hands it to the engine; the number of its prompt's tokens.
    fn submit(&self, engine: &mut Engine, request: Request) -> Result<u32, TeacherError> {
        let failed = |message: String| TeacherError::unanswerable("not-answerable", message);
        let prompt = self.chat.encode_prompt(&request.messages).map_err(|error| failed(error.to_string()))?;
        let prompt_tokens = prompt.len() as u32;
        let ask = Ask {
            prompt,
            sampling: Sampling {
                temperature: request.sampling.temperature,
                top_p: request.sampling.top_p,
                ..Sampling::default()
            },
            seed: request.seed,
            max_new_tokens: request.sampling.max_new_tokens as usize,
            stop_ids: self.chat.eos_ids().to_vec(),
            stop: Vec::new(),
            text: false,
            logprobs: None,
            prompt_logprobs: None,
        };
        engine.submit(request.id, ask).map_err(|error| match error {
            AskError::Invalid(message) => TeacherError::Failed(message),
            // Our limit and not this row's fault: nothing shorter is stored in its place.
            error @ AskError::Cache { .. } => TeacherError::Local(error.to_string()),
        })?;
        Ok(prompt_tokens)
    }

    fn completion(&self, prompt_tokens: u32, reason: Reason, tokens: Vec<u32>) -> Result<Completion, TeacherError> {
        let spoken = tokens.len() - usize::from(reason == Reason::Stop);
        let text = self.chat.decode(&tokens[..spoken]).map_err(|error| TeacherError::Failed(error.to_string()))?;
        Ok(Completion {
            text,
            finish_reason: match reason {
                Reason::Stop => FinishReason::Stop,
                Reason::Length => FinishReason::Length,
                Reason::Context => FinishReason::Context,
            },
            response_model: self.name.clone(),
            prompt_tokens,
            completion_tokens: tokens.len() as u32,
            token_ids: Some(tokens),
            ..Completion::default()
        })
    }
}

impl Complete for LocalTeacher {
    fn identity(&self) -> Identity {
        let template_hash = self.chat.template_hash().to_owned();
        Identity { teacher: self.name.clone(), template_hash, turn: self.chat.turn().clone(), ..Identity::default() }
    }

    /// What is in flight when somebody asks to stop is dropped: it costs time and no money, and another run draws the same
    /// tokens again.
    ///
    /// # Errors
    /// When a request is longer than the cache was made for.
    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        // Tokens of the prompts of what is in flight.
        let mut asked: HashMap<u64, u32> = HashMap::new();
        let (mut stopped, mut outcome) = (false, Ok(()));
        while !stopped && !cancel.is_cancelled() {
            while engine.len() < self.ahead && !stopped {
                let Some(request) = queue.next() else { break };
                let id = request.id;
                match self.submit(&mut engine, request) {
                    Ok(prompt_tokens) => {
                        asked.insert(id, prompt_tokens);
                    }
                    Err(error @ TeacherError::Local(_)) => (stopped, outcome) = (true, Err(error)),
                    Err(error) => stopped = queue.deliver(id, Err(error)).is_break(),
                }
            }
            if engine.is_empty() || stopped {
                break;
            }
            engine.step(&mut |id, event| {
                let outcome = match event {
                    Event::Prompt(_) | Event::Token { .. } => return,
                    Event::End { reason, tokens, .. } => {
                        self.completion(asked.get(&id).copied().unwrap_or(0), reason, tokens)
                    }
                    Event::Failed(why) => Err(TeacherError::Failed(why)),
                };
                asked.remove(&id);
                // After a stop, nothing more is delivered.
                stopped = stopped || queue.deliver(id, outcome).is_break();
            });
        }
        for id in asked.into_keys() {
            engine.cancel(id);
        }
        outcome
    }
}

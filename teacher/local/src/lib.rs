//! The in-process engine: a checkpoint folder becomes somebody who answers.
//!
//! Requests are pulled from the queue, put together with others whose prompts are equally long, and decoded in lock step
//! over a key-value cache. An answer depends on (weights, messages, sampling, seed) and on nothing that runs beside it.

mod cohort;
mod sampler;
#[cfg(test)]
mod tests;

use burn::tensor::Device;
use cohort::{Cohort, Row};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::Cancel;
use distill_model::Decoder;
use distill_teacher::{Complete, Identity, Queue, Request, TeacherError};
use std::{collections::BTreeMap, path::Path};

/// Most rows decoded together.
const MAX_ROWS: usize = 128;
/// Most memory for one cohort's keys and values.
const MAX_CACHE_BYTES: usize = 1 << 30;

/// A checkpoint that answers in this process.
pub struct LocalTeacher {
    name: String,
    chat: Chat,
    config: ModelConfig,
    model: Decoder,
    device: Device,
}

/// A request whose prompt is tokenised.
struct Waiting {
    request: Request,
    prompt: Vec<u32>,
}

impl LocalTeacher {
    /// Loads a checkpoint folder; `name` is its identity (a digest of its files), `device` is `cpu`, `cuda` or `cuda:N`.
    ///
    /// # Errors
    /// When the checkpoint, its tokenizer or the device cannot be used.
    pub fn load(dir: &Path, name: &str, device: &str) -> Result<LocalTeacher, TeacherError> {
        let local = |error: &dyn std::fmt::Display| TeacherError::Local(error.to_string());
        let chat = Chat::load(dir).map_err(|error| local(&error))?;
        let checkpoint = Checkpoint::open(dir).map_err(|error| local(&error))?;
        let device = distill_model::device(device).map_err(|error| local(&error))?;
        let model = Decoder::load(&checkpoint, &device).map_err(|error| local(&error))?;
        Ok(LocalTeacher { name: name.to_owned(), chat, config: checkpoint.config().clone(), model, device })
    }

    /// How many rows of this many positions are decoded together.
    fn max_rows(&self, positions: usize) -> usize {
        let config = &self.config;
        let per_position =
            2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * size_of::<f32>();
        (MAX_CACHE_BYTES / (per_position * positions).max(1)).clamp(1, MAX_ROWS)
    }

    /// Tokenises a request, or says why it cannot be answered.
    fn admit(&self, request: Request) -> Result<Waiting, (u64, TeacherError)> {
        let failed = |message: String| (request.id, TeacherError::Failed(message));
        let prompt = self.chat.encode_prompt(&request.messages).map_err(|error| failed(error.to_string()))?;
        let most = self.config.max_position_embeddings;
        if prompt.len() >= most {
            return Err(failed(format!("expected a prompt of fewer than {most} tokens, found {}", prompt.len())));
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= self.config.vocab_size) {
            return Err(failed(format!("the tokenizer gives token {id}, the model knows {}", self.config.vocab_size)));
        }
        Ok(Waiting { request, prompt })
    }
}

impl Complete for LocalTeacher {
    fn identity(&self) -> Identity {
        Identity { teacher: self.name.clone(), template_hash: self.chat.template_hash().to_owned() }
    }

    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        // Requests by prompt length: a cohort never needs padding.
        let mut waiting: BTreeMap<usize, Vec<Waiting>> = BTreeMap::new();
        let mut held = 0;
        loop {
            while held < 4 * MAX_ROWS {
                let Some(request) = queue.next() else { break };
                match self.admit(request) {
                    Ok(admitted) => {
                        waiting.entry(admitted.prompt.len()).or_default().push(admitted);
                        held += 1;
                    }
                    Err((id, error)) => {
                        if queue.deliver(id, Err(error)).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            let Some((&length, _)) = waiting.iter().max_by_key(|(_, rows)| rows.len()) else { return Ok(()) };
            let mut rows = waiting.remove(&length).unwrap_or_default();
            let longest = rows.iter().map(|row| row.request.sampling.max_new_tokens as usize).max().unwrap_or(0);
            let positions = (length + longest).min(self.config.max_position_embeddings);
            let left = rows.split_off(rows.len().min(self.max_rows(positions)));
            if !left.is_empty() {
                waiting.insert(length, left);
            }
            held -= rows.len();
            let rows = rows.into_iter().map(|row| Row::new(row.request, row.prompt, &self.config)).collect();
            if Cohort::new(self, rows).decode(queue, cancel)?.is_break() {
                return Ok(());
            }
        }
    }
}

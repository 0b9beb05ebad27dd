//! A cohort: requests with equally long prompts, decoded in lock step. Rows that end leave the batch.

use crate::{LocalTeacher, sampler::Sampler};
use burn::tensor::{Int, Tensor, TensorData};
use distill_checkpoint::ModelConfig;
use distill_dataset::{Cancel, FinishReason};
use distill_model::KvCache;
use distill_teacher::{Completion, Queue, Request, TeacherError};
use std::ops::ControlFlow;

/// One sample in the making.
pub(crate) struct Row {
    id: u64,
    prompt: Vec<u32>,
    generated: Vec<u32>,
    /// Limit on generated tokens, by request and by context.
    most: usize,
    sampler: Sampler,
}

impl Row {
    pub(crate) fn new(request: Request, prompt: Vec<u32>, config: &ModelConfig) -> Row {
        let room = config.max_position_embeddings - prompt.len();
        let most = (request.sampling.max_new_tokens as usize).min(room);
        let sampler = Sampler::new(request.sampling, request.seed);
        Row { id: request.id, prompt, generated: Vec::new(), most, sampler }
    }
}

/// Rows at the same position.
pub(crate) struct Cohort<'t> {
    teacher: &'t LocalTeacher,
    rows: Vec<Row>,
    /// Which row of the cache belongs to each row.
    places: Vec<usize>,
    cache: KvCache,
}

impl<'t> Cohort<'t> {
    pub(crate) fn new(teacher: &'t LocalTeacher, rows: Vec<Row>) -> Cohort<'t> {
        let places = (0..rows.len()).collect();
        Cohort { teacher, rows, places, cache: KvCache::new() }
    }

    /// Decodes until every row has ended, delivering each as it does.
    pub(crate) fn decode(mut self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<ControlFlow<()>, TeacherError> {
        let mut input: Vec<Vec<u32>> = self.rows.iter().map(|row| row.prompt.clone()).collect();
        // A product of a single row may take another path through the processor, with another last bit: never decode
        // one row alone, so that an answer does not depend on its company.
        if input.len() == 1 {
            input.push(input[0].clone());
        }
        while !self.rows.is_empty() {
            if cancel.is_cancelled() {
                return Ok(ControlFlow::Break(()));
            }
            let logits = self.forward(&input)?;
            let vocab = logits.len() / input.len();
            let known = vocab.min(self.teacher.chat.vocab_size());
            let mut next = vec![self.teacher.chat.pad_id(); input.len()];
            let mut ended = Vec::new();
            for (index, row) in self.rows.iter_mut().enumerate() {
                let place = self.places[index];
                let token = row.sampler.draw(&logits[place * vocab..place * vocab + known]);
                row.generated.push(token);
                next[place] = token;
                let stopped = self.teacher.chat.eos_ids().contains(&token);
                if stopped || row.generated.len() >= row.most {
                    ended.push((index, if stopped { FinishReason::Stop } else { FinishReason::Length }));
                }
            }
            for (index, reason) in ended.into_iter().rev() {
                let row = self.rows.remove(index);
                self.places.remove(index);
                if queue.deliver(row.id, self.completion(row, reason)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            input = self.compact(next);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The last position's logits, `[rows * vocab]`.
    fn forward(&mut self, input: &[Vec<u32>]) -> Result<Vec<f32>, TeacherError> {
        let shape = [input.len(), input[0].len()];
        let ids: Vec<i32> = input.iter().flatten().map(|id| *id as i32).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &self.teacher.device);
        let logits = self.teacher.model.decode(tokens, &mut self.cache);
        let data = logits.into_data().try_to_vec::<f32>();
        data.map_err(|error| TeacherError::Local(format!("expected float32 logits: {error}")))
    }

    /// The next input. Once half of the batch has ended, the rest is moved together.
    fn compact(&mut self, next: Vec<u32>) -> Vec<Vec<u32>> {
        let (live, held) = (self.places.len(), next.len());
        if live == 0 || live * 2 > held || held == 2 {
            return next.into_iter().map(|token| vec![token]).collect();
        }
        let mut kept = self.places.clone();
        if kept.len() == 1 {
            kept.push(kept[0]);
        }
        self.cache.select(&kept);
        self.places = (0..live).collect();
        kept.into_iter().map(|place| vec![next[place]]).collect()
    }

    fn completion(&self, row: Row, finish_reason: FinishReason) -> Result<Completion, TeacherError> {
        let chat = &self.teacher.chat;
        let spoken = row.generated.len() - usize::from(finish_reason == FinishReason::Stop);
        let text = chat.decode(&row.generated[..spoken]).map_err(|error| TeacherError::Failed(error.to_string()))?;
        Ok(Completion {
            prefill: chat.prefill().to_owned(),
            text,
            finish_reason,
            response_model: self.teacher.name.clone(),
            prompt_tokens: row.prompt.len() as u32,
            completion_tokens: row.generated.len() as u32,
            token_ids: Some(row.generated),
            cost_usd: 0.0,
        })
    }
}

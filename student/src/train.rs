//! The training stage: base checkpoint and examples in, a Hugging Face folder out.

use crate::{
    Base, TrainError, TrainingConfig,
    base::{template_name, write_model},
    batch::{self, MicroBatch},
    corpus::{self, Sequence},
    loss::cross_entropy,
    optimizer::{AdamW, global_norm},
    state,
};
use burn::tensor::{Device, Tensor};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::{Context, Curve, Dataset, Detail, Tally};
use distill_model::Decoder;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// Steps between two looks at the loss: each look waits for the device.
const LOOK_EVERY: usize = 10;
/// Least time between two saved states.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Points of the loss curve kept in the manifest.
const CURVE_POINTS: usize = 200;
const METRICS: &str = "metrics.jsonl";

/// One line of `metrics.jsonl`. Nothing in it depends on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Metrics {
    step: u64,
    tokens: u64,
    loss: f32,
    grad_norm: f32,
    learning_rate: f64,
}

/// Trains the checkpoint `base` on `examples`, rendered with the training template, and writes the result into `out`.
///
/// # Errors
/// When an example cannot be trained on, the loss blows up, the disk refuses, or a stop was asked for; then what is
/// saved in the scratch space is resumed by the next call.
pub fn train(
    base: Base<'_>,
    examples: &[Dataset],
    config: &TrainingConfig,
    device: &str,
    context: &Context,
    out: &Path,
) -> Result<Tally, TrainError> {
    let (chat, published) = base.chats()?;
    let checkpoint = Checkpoint::open(base.dir)?;
    fits(checkpoint.config(), &chat)?;
    let corpus = corpus::load(examples, &chat, config, context.seed)?;
    let plain = distill_model::device(device)?;
    let (mut run, model) = Run::start(&checkpoint, config, &plain, context)?;
    let trained_before = run.tokens;
    let started = Instant::now();
    let model = run.go(model, &corpus.sequences, chat.pad_id())?;
    let tokens_per_s = (run.tokens - trained_before) as f64 / started.elapsed().as_secs_f64().max(1e-9);
    write_model(&model, checkpoint.config(), base.dir, out)?;
    base.publish_template(out)?;
    let metrics = context.scratch.join(METRICS);
    fs::copy(&metrics, out.join(METRICS)).map_err(TrainError::io("copy", &metrics))?;
    let detail = Detail::Training {
        architecture: checkpoint.config().architecture.class().to_owned(),
        trained_with: template_name(base.chat_template, &chat),
        published_with: template_name(base.publish_template, &published),
        steps: run.done,
        num_parameters: checkpoint.config().num_parameters() as u64,
        loss: curve(&run.history),
        tokens_per_s,
    };
    let rows_out = corpus.sequences.len() as u64;
    Ok(Tally {
        rows_in: corpus.rows_in,
        rows_out,
        rejected: corpus.rejected,
        trained_tokens: run.tokens,
        detail,
        ..Tally::default()
    })
}

pub(crate) fn fits(config: &ModelConfig, chat: &Chat) -> Result<(), TrainError> {
    let (rows, tokens) = (config.vocab_size, chat.vocab_size());
    if tokens > rows { Err(TrainError::Vocabulary { rows, tokens }) } else { Ok(()) }
}

/// Training in progress.
struct Run<'a> {
    config: &'a TrainingConfig,
    config_json: String,
    context: &'a Context,
    plain: Device,
    optimizer: AdamW,
    /// Steps done.
    done: u64,
    /// Tokens trained on, padding excluded.
    tokens: u64,
    history: Vec<Metrics>,
    /// Steps whose loss and gradient norm are still on the device.
    unread: Vec<(Metrics, Tensor<1>, Tensor<1>)>,
}

impl<'a> Run<'a> {
    /// From the latest saved state, or from the base checkpoint.
    fn start(
        checkpoint: &Checkpoint,
        config: &'a TrainingConfig,
        plain: &Device,
        context: &'a Context,
    ) -> Result<(Run<'a>, Decoder), TrainError> {
        let (done, model, optimizer) = match state::load(&context.scratch, plain)? {
            Some(saved) => saved,
            None => {
                let model = Decoder::load(checkpoint, &plain.clone().autodiff())?;
                let optimizer = AdamW::new(&model, plain);
                (0, model, optimizer)
            }
        };
        let history = read_metrics(&context.scratch, done)?;
        let tokens = history.last().map_or(0, |last| last.tokens);
        let config_json = checkpoint.config().to_json();
        let unread = Vec::new();
        Ok((
            Run { config, config_json, context, plain: plain.clone(), optimizer, done, tokens, history, unread },
            model,
        ))
    }

    fn go(&mut self, mut model: Decoder, sequences: &[Sequence], pad_id: u32) -> Result<Decoder, TrainError> {
        let batch_size = self.config.batch_size as usize;
        let steps_per_epoch = sequences.len().div_ceil(batch_size) as u64;
        let total = steps_per_epoch * u64::from(self.config.epochs);
        self.context.progress.begin("train", total, "steps");
        let mut saved = Instant::now();
        let mut pause = SAVE_EVERY;
        for epoch in self.done / steps_per_epoch.max(1)..u64::from(self.config.epochs) {
            let batches = batch::epoch(sequences, batch_size, self.context.seed, epoch);
            let skip = (self.done - epoch * steps_per_epoch) as usize;
            for rows in &batches[skip..] {
                let rows: Vec<&Sequence> = rows.iter().map(|index| &sequences[*index]).collect();
                self.step(&mut model, &rows, pad_id, total);
                if self.unread.len() >= LOOK_EVERY || self.done == total {
                    self.look()?;
                }
                let stopping = self.context.cancel.is_cancelled();
                if stopping || saved.elapsed() >= pause {
                    let started = Instant::now();
                    self.look()?;
                    state::save(&self.context.scratch, self.done, &model, &self.optimizer, &self.config_json)?;
                    // Large states are saved more rarely: saving takes at most a twentieth of the time.
                    pause = SAVE_EVERY.max(started.elapsed() * 20);
                    saved = Instant::now();
                }
                if stopping {
                    return Err(TrainError::Interrupted);
                }
            }
        }
        self.context.progress.end();
        Ok(model)
    }

    /// One optimiser step over `rows`, in micro-batches.
    fn step(&mut self, model: &mut Decoder, rows: &[&Sequence], pad_id: u32, total: u64) {
        let device = self.plain.clone().autodiff();
        let micro = self.config.micro_batch_size.unwrap_or(self.config.batch_size) as usize;
        let batches: Vec<MicroBatch> = rows.chunks(micro).map(|rows| MicroBatch::of(rows, pad_id)).collect();
        let weight: f64 = batches.iter().map(MicroBatch::weight).sum();
        let mut sum: Option<(Tensor<1>, Vec<Tensor<1>>)> = None;
        for batch in &batches {
            let loss = cross_entropy(model, batch, weight, &device);
            let gradients = model.gradients(&loss.backward());
            let loss = loss.inner();
            sum = Some(match sum {
                None => (loss, gradients),
                Some((old, earlier)) => (old + loss, earlier.into_iter().zip(gradients).map(|(a, b)| a + b).collect()),
            });
            self.tokens += batch.num_tokens;
        }
        let Some((loss, gradients)) = sum else { return };
        let (norm, scale) = global_norm(&gradients, self.config.max_grad_norm);
        let learning_rate = self.config.learning_rate_at(self.done, total);
        self.done += 1;
        self.optimizer.step(model, gradients, &scale, self.config, (self.done, learning_rate));
        let metrics = Metrics { step: self.done, tokens: self.tokens, loss: 0.0, grad_norm: 0.0, learning_rate };
        self.unread.push((metrics, loss, norm));
    }

    /// Reads the losses of the last steps, records them, and stops a run that blew up.
    fn look(&mut self) -> Result<(), TrainError> {
        let mut lines = String::new();
        for (mut metrics, loss, norm) in self.unread.drain(..) {
            (metrics.loss, metrics.grad_norm) = (loss.into_scalar(), norm.into_scalar());
            if !metrics.loss.is_finite() || !metrics.grad_norm.is_finite() {
                return Err(TrainError::Diverged { step: metrics.step, loss: metrics.loss });
            }
            lines.push_str(&serde_json::to_string(&metrics).unwrap_or_default());
            lines.push('\n');
            self.history.push(metrics);
        }
        let path = self.context.scratch.join(METRICS);
        let file = fs::File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(TrainError::io("write", &path))?;
        if let Some(last) = self.history.last() {
            self.context.progress.advance(self.done, format!("loss {:.4}", last.loss));
        }
        Ok(())
    }
}

/// The lines up to `done`; later ones belong to steps that are taken again, and are cut off.
fn read_metrics(scratch: &Path, done: u64) -> Result<Vec<Metrics>, TrainError> {
    let path = scratch.join(METRICS);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let lines = text.lines().map_while(|line| serde_json::from_str::<Metrics>(line).ok());
    let history: Vec<Metrics> = lines.take_while(|metrics| metrics.step <= done).collect();
    let kept: String =
        history.iter().map(|metrics| serde_json::to_string(metrics).unwrap_or_default() + "\n").collect();
    fs::write(&path, kept).map_err(TrainError::io("write", &path))?;
    Ok(history)
}

/// The mean loss over equal stretches of steps.
fn curve(history: &[Metrics]) -> Curve {
    let stretch = history.len().div_ceil(CURVE_POINTS).max(1);
    let mean = |part: &[Metrics]| part.iter().map(|metrics| f64::from(metrics.loss)).sum::<f64>() / part.len() as f64;
    let x = history.chunks(stretch).map(|part| part[part.len() - 1].step as f64).collect();
    Curve { x, y: history.chunks(stretch).map(mean).collect() }
}

//! The training stage: base checkpoint and examples in, a Hugging Face folder out.

use crate::{
    Base, Checkpointing, Select, TrainError, TrainingConfig,
    base::{template_name, write_parameters},
    batch::{self, Bin},
    corpus::{self, Corpus, Sequence},
    journal::{Journal, Look, Metrics},
    learner::{Learner, Plan},
    state::{self, Place, Standing},
};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::{Context, Curve, Dataset, Detail, Tally};
use distill_model::{AdamStep, Documents, Kind, LossOptions, Recompute};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Points of the loss curve kept in the manifest.
const CURVE_POINTS: usize = 200;

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
    let corpus = corpus::load(examples, &chat, config, context)?;
    let learner = Learner::load(&checkpoint, device, config.compute, config.states)?;
    let peak = learner.peak();
    let mut run = Run::start(learner, checkpoint.config(), config, context, peak)?;
    let trained_before = run.standing.tokens;
    let started = Instant::now();
    run.go(&corpus)?;
    let tokens_per_s = (run.standing.tokens - trained_before) as f64 / started.elapsed().as_secs_f64().max(1e-9);
    if let (Select::Best, Some((_, step))) = (config.select, run.standing.best) {
        state::restore(&context.scratch, step, &mut run.learner)?;
    }
    write_parameters(&mut |name| run.learner.read(name, Kind::Value), checkpoint.config(), base.dir, out)?;
    base.publish_template(out)?;
    run.journal.write_to(out)?;
    let (losses, looks) = (run.journal.losses(), run.journal.looks());
    let detail = Detail::Training {
        architecture: checkpoint.config().architecture.class().to_owned(),
        trained_with: template_name(base.chat_template, &chat),
        published_with: template_name(base.publish_template, &published),
        steps: run.standing.taken,
        skipped_steps: run.standing.skipped,
        num_parameters: checkpoint.config().num_parameters() as u64,
        loss: curve(&losses),
        holdout_loss: Curve {
            x: looks.iter().map(|look| look.0).collect(),
            y: looks.iter().map(|look| look.1).collect(),
        },
        tokens_per_s,
    };
    Ok(Tally {
        rows_in: corpus.rows_in,
        rows_out: corpus.rows_out,
        rejected: corpus.rejected,
        trained_tokens: run.standing.tokens,
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
    learner: Learner,
    plan: Plan,
    standing: Standing,
    journal: Journal,
    /// The state that was last saved, when, and for how long none is saved again.
    last: Option<Standing>,
    saved: Instant,
    pause: Duration,
}

impl<'a> Run<'a> {
    /// From the latest saved state, or from the base checkpoint, as it was loaded.
    fn start(
        mut learner: Learner,
        model: &ModelConfig,
        config: &'a TrainingConfig,
        context: &'a Context,
        peak: f64,
    ) -> Result<Run<'a>, TrainError> {
        let plan = Plan::new(&learner.parameters(), config)?;
        let standing = state::resume(&context.scratch, &mut learner)?.unwrap_or_default();
        let journal = Journal::open(&context.scratch, standing.done, model, peak)?;
        let (saved, pause) = (Instant::now(), Duration::from_secs_f64(config.save_every_seconds));
        let (config_json, last) = (model.to_json(), None);
        Ok(Run { config, config_json, context, learner, plan, standing, journal, last, saved, pause })
    }

    fn go(&mut self, corpus: &Corpus) -> Result<(), TrainError> {
        let config = self.config;
        let batch_size = config.batch_size as usize;
        let capacity = config.packing.then_some(config.max_tokens as usize);
        let epoch = |epoch: u64| batch::epoch(&corpus.sequences, batch_size, capacity, (self.context.seed, epoch));
        // Packing may make another number of sequences in each epoch.
        let lengths: Vec<u64> = (0..u64::from(config.epochs))
            .map(|number| if capacity.is_some() { epoch(number).len() as u64 } else { 0 })
            .collect();
        let unpacked = corpus.sequences.len().div_ceil(batch_size) as u64;
        let steps_of = |number: u64| if capacity.is_some() { lengths[number as usize] } else { unpacked };
        let total = (0..u64::from(config.epochs)).map(steps_of).sum();
        let holdout: Vec<Bin> = (0..corpus.holdout.len()).map(|index| vec![index]).collect();
        let holdout =
            batch::micro_batches(&holdout, config.micro_batch_size.map(|size| size as usize), &corpus.holdout);
        self.context.progress.begin("train", total, "steps");
        if self.is_stale() {
            self.context.progress.end();
            return Ok(());
        }
        let mut first = 0;
        for number in 0..u64::from(config.epochs) {
            let steps = steps_of(number);
            if self.standing.done >= first + steps {
                first += steps;
                continue;
            }
            let batches = epoch(number);
            for bins in &batches[(self.standing.done - first) as usize..] {
                self.step(bins, &corpus.sequences, total)?;
                let last = self.standing.done == total;
                let due = self.standing.done.is_multiple_of(u64::from(config.evaluate_every));
                let mut ending = false;
                if !holdout.is_empty() && (due || last) {
                    ending = self.look(&holdout)? && !last;
                }
                let stopping = self.context.cancel.is_cancelled();
                if stopping || ending || self.saved.elapsed() >= self.pause {
                    self.save()?;
                }
                if stopping {
                    return Err(TrainError::Interrupted);
                }
                if ending {
                    self.context.progress.end();
                    return Ok(());
                }
            }
            first += steps;
        }
        self.context.progress.end();
        Ok(())
    }

    /// One optimiser step over `bins`, in micro-batches.
    fn step(&mut self, bins: &[Bin], sequences: &[Sequence], total: u64) -> Result<(), TrainError> {
        let config = self.config;
        let micro = batch::micro_batches(bins, config.micro_batch_size.map(|size| size as usize), sequences);
        let options = LossOptions {
            divisor: micro.iter().map(Documents::weight).sum::<f64>().max(f64::MIN_POSITIVE),
            z_loss: config.z_loss as f32,
        };
        let recompute = match config.checkpointing {
            Checkpointing::Auto => Recompute::Auto,
            Checkpointing::Always => Recompute::Always,
            Checkpointing::Never => Recompute::Never,
        };
        for documents in &micro {
            self.learner.accumulate(documents, options, recompute);
            self.journal.count(documents);
        }
        let plan = &self.plan;
        let totals = self.learner.totals(|index| plan.of(index).is_some());
        let learning_rate = config.learning_rate_at(self.standing.done, total);
        let standing = &mut self.standing;
        standing.done += 1;
        standing.tokens +=
            micro.iter().map(|documents| (documents.tokens.len() + documents.lengths.len()) as u64).sum::<u64>();
        let sound = totals.loss.is_finite() && totals.norm.is_finite();
        if sound {
            standing.taken += 1;
            let step = AdamStep {
                count: standing.taken,
                learning_rate,
                scale: (config.max_grad_norm / (totals.norm + 1e-6)).min(1.0),
                betas: config.betas,
                epsilon: config.epsilon,
                weight_decay: config.weight_decay,
            };
            self.learner.step(&step, |index| plan.of(index));
        } else {
            standing.skipped += 1;
            self.learner.skip();
            if standing.skipped > u64::from(config.max_skipped_steps) {
                return Err(TrainError::Diverged { step: standing.done, skipped: standing.skipped, loss: totals.loss });
            }
        }
        let finite = |value: f64| value.is_finite().then_some(value as f32);
        let metrics = Metrics {
            step: standing.done,
            tokens: standing.tokens,
            loss: finite(totals.loss),
            grad_norm: finite(totals.norm),
            learning_rate,
        };
        let note = self.journal.step(metrics, || self.learner.memory())?;
        self.context.progress.advance(self.standing.done, note);
        Ok(())
    }

    /// Looks at the held-out loss; true when it has not become better for too long.
    fn look(&mut self, holdout: &[Documents]) -> Result<bool, TrainError> {
        let weight: f64 = holdout.iter().map(Documents::weight).sum();
        let sum: f64 = holdout.iter().map(|documents| self.learner.loss(documents)).sum();
        let loss = sum / weight.max(f64::MIN_POSITIVE);
        self.journal.look(Look { step: self.standing.done, holdout_loss: loss.is_finite().then_some(loss) })?;
        if loss.is_finite() && self.standing.best.is_none_or(|(best, _)| loss < best) {
            self.standing.best = Some((loss, self.standing.done));
            self.standing.stale = 0;
            if self.config.select == Select::Best {
                self.save()?;
            }
        } else {
            self.standing.stale += 1;
        }
        Ok(self.is_stale())
    }

    /// Whether the held-out loss has not become better for as many looks as the recipe waits.
    fn is_stale(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.standing.stale >= patience)
    }

    /// Saves the state, unless it is saved. A disk that refuses costs this state, and the run goes on while the one before is
    /// still there; not so where the weights after this step may be the ones that are asked for, or a stop was.
    fn save(&mut self) -> Result<(), TrainError> {
        if self.last == Some(self.standing) {
            return Ok(());
        }
        let started = Instant::now();
        self.journal.sync()?;
        let place = Place {
            scratch: &self.context.scratch,
            config_json: &self.config_json,
            keep: self.config.keep_states as usize,
        };
        let outcome = state::save(&place, &self.standing, &mut self.learner);
        self.pause = match self.config.save_every_seconds {
            0.0 => Duration::ZERO,
            seconds => Duration::from_secs_f64(seconds).max(started.elapsed() * 20),
        };
        self.saved = Instant::now();
        let is_best = self.standing.best.is_some_and(|(_, step)| step == self.standing.done);
        let needed = self.config.select == Select::Best && is_best;
        match outcome {
            Ok(()) => self.last = Some(self.standing),
            Err(error) if self.context.cancel.is_cancelled() || needed => return Err(error),
            Err(error) => self.context.progress.advance(self.standing.done, format!("state not saved: {error}")),
        }
        Ok(())
    }
}

/// The mean loss over equal stretches of steps.
fn curve(history: &[(f64, f64)]) -> Curve {
    let stretch = history.len().div_ceil(CURVE_POINTS).max(1);
    let mean = |part: &[(f64, f64)]| part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
    let x = history.chunks(stretch).map(|part| part[part.len() - 1].0).collect();
    Curve { x, y: history.chunks(stretch).map(mean).collect() }
}

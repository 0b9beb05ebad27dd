//! The training stage: base checkpoint and examples in, a Hugging Face folder out.

use crate::{
    Base, Checkpointing, Select, TrainError, TrainingConfig,
    base::{template_name, write_parameters},
    batch,
    cache::{Cache, Sequences},
    corpus,
    journal::{Journal, Look, Metrics},
    learner::{Learner, Plan},
    state::{self, Place, Standing},
};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::{Context, Curve, Dataset, Detail, Interrupted, Tally};
use distill_model::{AdamStep, Documents, Kind, LossOptions, Recompute};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Points of the loss curve kept in the manifest.
const CURVE_POINTS: usize = 200;

/// Trains the checkpoint `base` on `examples`, rendered with the training template, and writes the result into `out`.
///
/// Examples that tokenizer or template refuse are left out, counted, and named in `rejected.jsonl`.
///
/// # Errors
/// When nothing can be learnt, more examples than one in ten are refused, the loss blows up, the disk refuses, or a stop was
/// asked for; then what is saved in the scratch space is resumed by the next call.
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
    let cache = corpus::load(examples, &chat, config, context)?;
    let mut learner = Learner::load(&checkpoint, device, config.compute, config.states)?;
    let peak = learner.peak()?;
    let mut run = Run::start(learner, checkpoint.config(), config, context, peak)?;
    let trained_before = run.standing.tokens;
    let started = Instant::now();
    run.go(&cache)?;
    let tokens_per_s = (run.standing.tokens - trained_before) as f64 / started.elapsed().as_secs_f64().max(1e-9);
    if let (Select::Best, Some((_, step))) = (config.select, run.standing.best) {
        state::restore(&context.scratch, step, &mut run.learner)?;
    }
    // From here on a stop would only cost what is done: the last act is played to its end.
    write_parameters(&mut |name| Ok(run.learner.read(name, Kind::Value)?), checkpoint.config(), base.dir, out)?;
    base.publish_template(out)?;
    run.journal.write_to(out)?;
    cache.write_rejected(out)?;
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
    let extent = cache.extent();
    Ok(Tally {
        rows_in: extent.rows_in,
        rows_out: extent.rows_out,
        rejected: extent.rejected.clone(),
        trained_tokens: run.standing.tokens,
        detail,
        ..Tally::default()
    })
}

/// The tokens of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Sequences that are learnt.
    pub num_sequences: u64,
    /// Their tokens.
    pub num_tokens: u64,
    /// Steps of an epoch.
    pub num_steps: u64,
}

/// Renders, tokenises and packs `examples` as [`train`] does before its first step, into the same scratch space: what is
/// done here is not done again there. It needs no device.
///
/// # Errors
/// As [`train`], as far as it comes to them.
pub fn prepare(
    base: Base<'_>,
    examples: &[Dataset],
    config: &TrainingConfig,
    context: &Context,
) -> Result<Prepared, TrainError> {
    let (chat, _) = base.chats()?;
    fits(Checkpoint::open(base.dir)?.config(), &chat)?;
    let cache = corpus::load(examples, &chat, config, context)?;
    let learnt = cache.learnt();
    let epoch = batch::epoch(learnt, config.batch_size as usize, capacity(config), (context.seed, 0));
    Ok(Prepared {
        num_sequences: learnt.len() as u64,
        num_tokens: learnt.num_tokens(),
        num_steps: epoch.num_steps() as u64,
    })
}

/// Tokens that a bin of several documents has at most.
fn capacity(config: &TrainingConfig) -> Option<usize> {
    config.packing.then_some(config.max_tokens as usize)
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
        let resumed = state::resume(&context.scratch, &mut learner)?;
        let mut standing = resumed.unwrap_or_default();
        let looked = *standing.looked.get_or_insert(standing.done);
        let journal = Journal::open(&context.scratch, (standing.done, looked), model, peak)?;
        let (saved, pause) = (Instant::now(), Duration::from_secs_f64(config.save_every_seconds));
        let (config_json, last) = (model.to_json(), resumed.map(|_| standing));
        Ok(Run { config, config_json, context, learner, plan, standing, journal, last, saved, pause })
    }

    fn go(&mut self, cache: &Cache) -> Result<(), TrainError> {
        let config = self.config;
        let (batch_size, seed) = (config.batch_size as usize, self.context.seed);
        let plan = |number: u64| batch::epoch(cache.learnt(), batch_size, capacity(config), (seed, number));
        let mut epoch = plan(0);
        let steps = epoch.num_steps() as u64;
        let total = steps * u64::from(config.epochs);
        self.context.progress.begin("train", total, "steps");
        if self.owes_look(cache, total) {
            self.look_or_save(cache)?;
        }
        let mut planned = 0;
        while self.standing.done < total && !self.is_stale() {
            let (number, step) = (self.standing.done / steps, self.standing.done % steps);
            if number != planned {
                // The order of one epoch is forgotten before that of the next is made.
                drop(epoch);
                (epoch, planned) = (plan(number), number);
            }
            let stepped = self.step(&epoch.step(step as usize), cache.learnt(), total);
            self.saving_what_is_done(stepped)?;
            if self.owes_look(cache, total) {
                self.look_or_save(cache)?;
            }
            let ending = self.is_stale() && self.standing.done < total;
            let stopping = self.context.cancel.is_cancelled();
            if stopping || ending || self.saved.elapsed() >= self.pause {
                self.save()?;
            }
            if stopping {
                return Err(Interrupted.into());
            }
        }
        self.context.progress.end();
        Ok(())
    }

    /// Saves the state where something was interrupted: the steps that are done are kept.
    fn saving_what_is_done(&mut self, outcome: Result<(), TrainError>) -> Result<(), TrainError> {
        if matches!(outcome, Err(TrainError::Interrupted(_))) {
            self.save()?;
        }
        outcome
    }

    /// Whether the held-out loss is to be looked at after the step that was done last, and was not: a stop between the two
    /// leaves it to the next run.
    fn owes_look(&self, cache: &Cache, total: u64) -> bool {
        let done = self.standing.done;
        let due = done > 0 && (done.is_multiple_of(u64::from(self.config.evaluate_every)) || done == total);
        due && !cache.held_out().is_empty() && self.standing.looked != Some(done)
    }

    /// Looks at the held-out loss, or keeps what is done.
    fn look_or_save(&mut self, cache: &Cache) -> Result<(), TrainError> {
        let looked = self.look(cache.held_out());
        self.saving_what_is_done(looked)
    }

    /// One optimiser step over `bins`, in micro-batches. An interrupted one leaves everything as it was.
    fn step(&mut self, bins: &[&[u32]], sequences: Sequences<'_>, total: u64) -> Result<(), TrainError> {
        let config = self.config;
        let micro: Vec<Documents> = batch::micro_batches(bins, self.micro_batch_size(), sequences)
            .into_iter()
            .map(|bins| batch::documents(bins, sequences))
            .collect::<Result<_, _>>()?;
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
            if self.context.cancel.is_cancelled() {
                self.learner.skip()?;
                return Err(Interrupted.into());
            }
            self.learner.accumulate(documents, options, recompute)?;
            self.journal.count(documents);
        }
        let plan = &self.plan;
        let totals = self.learner.totals(|index| plan.of(index).is_some())?;
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
            self.learner.step(&step, |index| plan.of(index))?;
        } else {
            standing.skipped += 1;
            self.learner.skip()?;
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

    fn micro_batch_size(&self) -> Option<usize> {
        self.config.micro_batch_size.map(|size| size as usize)
    }

    fn look(&mut self, held_out: Sequences<'_>) -> Result<(), TrainError> {
        let indices: Vec<u32> = (0..held_out.len() as u32).collect();
        let bins: Vec<&[u32]> = indices.chunks(1).collect();
        let (mut weight, mut sum) = (0.0, 0.0);
        for bins in batch::micro_batches(&bins, self.micro_batch_size(), held_out) {
            if self.context.cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            let documents = batch::documents(bins, held_out)?;
            weight += documents.weight();
            sum += self.learner.loss(&documents)?;
        }
        let loss = sum / weight.max(f64::MIN_POSITIVE);
        self.standing.looked = Some(self.standing.done);
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
        Ok(())
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

//! How a student is trained.

use serde::{Deserialize, Serialize};

/// Which answer each problem is taught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// Its own.
    #[default]
    Own,
    /// Another problem's: the control that shows what training alone, without right answers, brings.
    Shuffled,
}

/// What becomes of an example that is longer than `max-tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlong {
    /// It is left out.
    #[default]
    Drop,
    /// Its end is cut off: the student does not learn to stop from it.
    Truncate,
    /// It becomes several sequences, each of which begins at position 0 without what came before.
    Split,
}

/// How the learning rate goes on after its linear warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down to the minimum (Loshchilov and Hutter, 2017).
    #[default]
    Cosine,
    /// A line down to the minimum.
    Linear,
    /// As it is.
    Constant,
    /// As it is, then a line down to the minimum over the last `decay-ratio` of the steps (Hu et al., 2024).
    WarmupStableDecay,
}

/// Which weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Those after the last step.
    #[default]
    Last,
    /// Those with the least held-out loss.
    Best,
}

/// Whether what the backward pass needs of a block is kept or computed again; the result is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checkpointing {
    /// Again where keeping it would take more than 4 GiB on the CPU, or more than is free on a device: there for as many
    /// blocks as do not fit.
    #[default]
    Auto,
    /// Always again.
    Always,
    /// Never.
    Never,
}

/// In which precision activations are formed and matrices multiplied. Weights, gradients, the loss and the statistics of
/// norms are float32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compute {
    /// Float32 on the CPU, bfloat16 elsewhere.
    #[default]
    Auto,
    /// Float32.
    Float32,
    /// Bfloat16.
    Bfloat16,
}

/// In which precision matrices and the optimiser's moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum States {
    /// Float32: 16 bytes for a parameter, gradients included; 18 where products are in bfloat16.
    #[default]
    Float32,
    /// Bfloat16 with stochastic rounding: 10 bytes for a parameter. Not on the CPU.
    Bfloat16,
}

/// Supervised fine-tuning with AdamW.
///
/// What does not decide the result is read and never serialised, so that it enters no key: a training that was stopped goes
/// on from its saved state whatever these say now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainingConfig {
    /// Passes over the examples.
    pub epochs: u32,
    /// Sequences in one optimiser step.
    pub batch_size: u32,
    /// Sequences in one pass, of the held-out loss too; a step accumulates the gradients of several. When absent, as many as stay below 8,192
    /// tokens.
    #[serde(default)]
    pub micro_batch_size: Option<u32>,
    /// Longest sequence in tokens.
    #[serde(default = "max_tokens")]
    pub max_tokens: u32,
    /// What becomes of longer examples; they are counted in any case.
    #[serde(default)]
    pub overlong: Overlong,
    /// Whether a sequence is several examples, packed best-fit-decreasing into at most `max-tokens`. They do not see each
    /// other, and positions begin anew for each.
    #[serde(default)]
    pub packing: bool,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// How it goes on.
    #[serde(default)]
    pub schedule: Schedule,
    /// Where it ends, as a share of the learning rate.
    #[serde(default = "min_learning_rate_ratio")]
    pub min_learning_rate_ratio: f64,
    /// Share of the steps over which the learning rate rises linearly.
    #[serde(default = "warmup_ratio")]
    pub warmup_ratio: f64,
    /// Share of the steps over which `warmup-stable-decay` decays.
    #[serde(default = "decay_ratio")]
    pub decay_ratio: f64,
    /// Decoupled weight decay of matrices; biases and norms do not decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Whether the embedding and the output projection decay too.
    #[serde(default = "yes")]
    pub decay_embeddings: bool,
    /// Decay of the first and of the second moment.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Global L2 norm to which gradients are clipped.
    #[serde(default = "max_grad_norm")]
    pub max_grad_norm: f64,
    /// Factor of the squared logarithm of the softmax's sum in the loss, which keeps logits small; 0 for none.
    #[serde(default)]
    pub z_loss: f64,
    /// Parameters that stay as they are: Hugging Face names, `*` standing for anything.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Whether activations are computed again instead of kept. The result is the same.
    #[serde(default, skip_serializing)]
    pub checkpointing: Checkpointing,
    /// In which precision products are formed.
    #[serde(default)]
    pub compute: Compute,
    /// In which precision matrices and moments are kept.
    #[serde(default)]
    pub states: States,
    /// Steps with a loss or gradient that is no number; they are skipped, and one more ends the run. On a device the first ends it.
    #[serde(default = "max_skipped_steps")]
    pub max_skipped_steps: u32,
    /// Examples whose problems are held out, for a loss on what is not learnt.
    #[serde(default)]
    pub holdout_examples: u32,
    /// Steps between two looks at the held-out loss, which are in the metrics. With `patience` and `select = "best"` they
    /// decide the weights, too.
    #[serde(default = "evaluate_every")]
    pub evaluate_every: u32,
    /// Looks without a better held-out loss after which training ends.
    #[serde(default)]
    pub patience: Option<u32>,
    /// Which weights are written.
    #[serde(default)]
    pub select: Select,
    /// Saved states that are kept, beside the best.
    #[serde(default = "keep_states", skip_serializing)]
    pub keep_states: u32,
    /// Least seconds between two saved states, and longer where they are so large that saving would take more than a
    /// twentieth of the time; 0 saves after every step.
    #[serde(default = "save_every_seconds", skip_serializing)]
    pub save_every_seconds: f64,
    /// Which answer each problem is taught.
    #[serde(default)]
    pub answers: Answers,
}

fn yes() -> bool {
    true
}
fn decay_ratio() -> f64 {
    0.1
}
fn max_skipped_steps() -> u32 {
    10
}
fn evaluate_every() -> u32 {
    100
}
fn keep_states() -> u32 {
    2
}
fn save_every_seconds() -> f64 {
    10.0
}

fn max_tokens() -> u32 {
    4096
}
fn min_learning_rate_ratio() -> f64 {
    0.1
}
fn warmup_ratio() -> f64 {
    0.05
}
fn betas() -> [f64; 2] {
    [0.9, 0.95]
}
fn epsilon() -> f64 {
    1e-8
}
fn max_grad_norm() -> f64 {
    1.0
}

impl TrainingConfig {
    /// The value that each key has where a recipe leaves it out. Those that a recipe must give (`epochs`, `batch-size`,
    /// `learning-rate`) are 0 here, which [`TrainingConfig::check`] refuses: a sound configuration differs in them.
    pub fn unset() -> TrainingConfig {
        TrainingConfig {
            epochs: 0,
            batch_size: 0,
            micro_batch_size: None,
            max_tokens: max_tokens(),
            overlong: Overlong::default(),
            packing: false,
            learning_rate: 0.0,
            schedule: Schedule::default(),
            min_learning_rate_ratio: min_learning_rate_ratio(),
            warmup_ratio: warmup_ratio(),
            decay_ratio: decay_ratio(),
            weight_decay: 0.0,
            decay_embeddings: yes(),
            betas: betas(),
            epsilon: epsilon(),
            max_grad_norm: max_grad_norm(),
            z_loss: 0.0,
            freeze: Vec::new(),
            checkpointing: Checkpointing::default(),
            compute: Compute::default(),
            states: States::default(),
            max_skipped_steps: max_skipped_steps(),
            holdout_examples: 0,
            evaluate_every: evaluate_every(),
            patience: None,
            select: Select::default(),
            keep_states: keep_states(),
            save_every_seconds: save_every_seconds(),
            answers: Answers::default(),
        }
    }

    /// As it enters a key: without held-out examples, how often they are looked at says nothing.
    pub fn keyed(&self) -> TrainingConfig {
        let evaluate_every = if self.holdout_examples == 0 { evaluate_every() } else { self.evaluate_every };
        TrainingConfig { evaluate_every, ..self.clone() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A line for each key out of range: expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        let counts = [
            ("epochs", self.epochs, 10_000),
            ("batch-size", self.batch_size, 1 << 20),
            ("micro-batch-size", self.micro_batch_size.unwrap_or(1), self.batch_size.max(1)),
            ("max-tokens", self.max_tokens, 1 << 24),
            ("evaluate-every", self.evaluate_every, u32::MAX),
            ("patience", self.patience.unwrap_or(1), u32::MAX),
            ("keep-states", self.keep_states, 1000),
        ];
        for (key, found, most) in counts {
            if found == 0 || found > most {
                wrong.push(format!("`{key}`: expected 1 to {most}, found {found}"));
            }
        }
        let numbers = [
            ("learning-rate", self.learning_rate, f64::MIN_POSITIVE, 1.0),
            ("min-learning-rate-ratio", self.min_learning_rate_ratio, 0.0, 1.0),
            ("warmup-ratio", self.warmup_ratio, 0.0, 1.0),
            ("decay-ratio", self.decay_ratio, 0.0, 1.0),
            ("z-loss", self.z_loss, 0.0, 1.0),
            ("weight-decay", self.weight_decay, 0.0, 10.0),
            ("betas.0", self.betas[0], 0.0, 0.999_999),
            ("betas.1", self.betas[1], 0.0, 0.999_999),
            ("epsilon", self.epsilon, 1e-30, 1.0),
            ("max-grad-norm", self.max_grad_norm, f64::MIN_POSITIVE, f64::MAX),
            ("save-every-seconds", self.save_every_seconds, 0.0, 86_400.0),
        ];
        for (key, found, least, most) in numbers {
            if !(least..=most).contains(&found) {
                let least = if least == f64::MIN_POSITIVE { "above 0".to_owned() } else { format!("{least}") };
                let most = if most == f64::MAX { String::new() } else { format!(" to {most}") };
                wrong.push(format!("`{key}`: expected {least}{most}, found {found}"));
            }
        }
        let needs_holdout = self.patience.is_some() || self.select == Select::Best;
        if needs_holdout && self.holdout_examples == 0 {
            wrong.push(
                "`holdout-examples`: expected 1 or more with `patience` or `select = \"best\"`, found 0".to_owned(),
            );
        }
        if self.states == States::Bfloat16 && self.compute == Compute::Float32 {
            wrong.push(
                "`compute`: expected \"auto\" or \"bfloat16\" with `states = \"bfloat16\"`, found \"float32\""
                    .to_owned(),
            );
        }
        if self.max_tokens < 2 {
            wrong.push(format!("`max-tokens`: expected 2 or more, found {}", self.max_tokens));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// The learning rate of `step` (from 0) of `total`.
    pub fn learning_rate_at(&self, step: u64, total: u64) -> f64 {
        let warmup = (self.warmup_ratio * total as f64).round();
        let step = step as f64;
        if step < warmup {
            return self.learning_rate * (step + 1.0) / warmup;
        }
        let progress = (step - warmup) / (total as f64 - warmup).max(1.0);
        let left = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant => 1.0,
            Schedule::WarmupStableDecay => {
                let decay = (self.decay_ratio * total as f64).round().max(1.0);
                ((total as f64 - step) / decay).min(1.0)
            }
        };
        self.learning_rate * (self.min_learning_rate_ratio + (1.0 - self.min_learning_rate_ratio) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(config: &TrainingConfig) -> String {
        serde_json::to_string(&config.keyed()).expect("JSON")
    }

    #[test]
    fn how_to_run_is_in_no_key() {
        let config = crate::tests::config();
        for (what, other) in [
            ("save-every-seconds", TrainingConfig { save_every_seconds: 0.5, ..config.clone() }),
            ("keep-states", TrainingConfig { keep_states: 7, ..config.clone() }),
            ("checkpointing", TrainingConfig { checkpointing: Checkpointing::Always, ..config.clone() }),
            ("evaluate-every without held-out examples", TrainingConfig { evaluate_every: 7, ..config.clone() }),
        ] {
            assert_eq!(key(&config), key(&other), "{what} decides nothing");
        }
        let held = TrainingConfig { holdout_examples: 3, ..config.clone() };
        for (what, other) in [
            ("evaluate-every", TrainingConfig { evaluate_every: 7, ..held.clone() }),
            ("micro-batch-size", TrainingConfig { micro_batch_size: Some(2), ..held.clone() }),
            ("decay-ratio", TrainingConfig { decay_ratio: 0.3, ..held.clone() }),
        ] {
            assert_ne!(key(&held), key(&other), "{what} decides weights or metrics");
        }
    }

    #[test]
    fn unset_is_what_a_recipe_that_says_little_means() {
        let text = r#"{"epochs": 3, "batch-size": 4, "learning-rate": 0.01}"#;
        let read: TrainingConfig = serde_json::from_str(text).expect("a configuration");
        let unset = TrainingConfig::unset();
        assert_eq!(read, TrainingConfig { epochs: 3, batch_size: 4, learning_rate: 0.01, ..unset.clone() });
        let refused = unset.check().expect_err("nothing is trained by it");
        for key in ["epochs", "batch-size", "learning-rate"] {
            assert!(refused.contains(&format!("`{key}`")), "{key} must be given: {refused}");
        }
        assert_eq!(refused.lines().count(), 3, "and everything else is sound: {refused}");
    }

    #[test]
    fn schedules_rise_stay_and_fall_as_they_say() {
        let config = |schedule| TrainingConfig {
            warmup_ratio: 0.1,
            decay_ratio: 0.2,
            min_learning_rate_ratio: 0.1,
            schedule,
            ..crate::tests::config()
        };
        let rates = |schedule| -> Vec<f64> {
            let config = config(schedule);
            (0..100).map(|step| config.learning_rate_at(step, 100) / config.learning_rate).collect()
        };
        for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant, Schedule::WarmupStableDecay] {
            let rates = rates(schedule);
            assert!((rates[0] - 0.1).abs() < 1e-12 && (rates[9] - 1.0).abs() < 1e-12, "{schedule:?}: warm-up");
            assert!((rates[10] - 1.0).abs() < 1e-9, "{schedule:?}: full after it");
        }
        let (cosine, linear) = (rates(Schedule::Cosine), rates(Schedule::Linear));
        assert!((cosine[55] - 0.55).abs() < 1e-9 && (linear[55] - 0.55).abs() < 1e-9, "half way down");
        assert!(cosine[30] > linear[30] && cosine[80] < linear[80], "a cosine is flat at both ends");
        assert!(rates(Schedule::Constant)[10..].iter().all(|rate| *rate == 1.0));
        let stable = rates(Schedule::WarmupStableDecay);
        assert!(stable[10..=80].iter().all(|rate| *rate == 1.0) && (stable[90] - 0.55).abs() < 1e-9, "{stable:?}");
    }
}

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

/// Supervised fine-tuning with AdamW, warm-up and a cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainingConfig {
    /// Passes over the examples.
    pub epochs: u32,
    /// Sequences in one optimiser step.
    pub batch_size: u32,
    /// Sequences in one forward pass; a step accumulates the gradients of several. The whole batch when absent.
    #[serde(default)]
    pub micro_batch_size: Option<u32>,
    /// Longest sequence in tokens; longer examples are left out and counted.
    #[serde(default = "max_tokens")]
    pub max_tokens: u32,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// The cosine ends at this share of the learning rate.
    #[serde(default = "min_learning_rate_ratio")]
    pub min_learning_rate_ratio: f64,
    /// Share of the steps over which the learning rate rises linearly.
    #[serde(default = "warmup_ratio")]
    pub warmup_ratio: f64,
    /// Decoupled weight decay of matrices; biases and norms do not decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay of the first and of the second moment.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Global L2 norm to which gradients are clipped.
    #[serde(default = "max_grad_norm")]
    pub max_grad_norm: f64,
    /// Which answer each problem is taught.
    #[serde(default)]
    pub answers: Answers,
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
            ("weight-decay", self.weight_decay, 0.0, 10.0),
            ("betas.0", self.betas[0], 0.0, 0.999_999),
            ("betas.1", self.betas[1], 0.0, 0.999_999),
            ("epsilon", self.epsilon, 0.0, 1.0),
            ("max-grad-norm", self.max_grad_norm, f64::MIN_POSITIVE, f64::MAX),
        ];
        for (key, found, least, most) in numbers {
            if !(least..=most).contains(&found) {
                let least = if least == f64::MIN_POSITIVE { "above 0".to_owned() } else { format!("{least}") };
                let most = if most == f64::MAX { String::new() } else { format!(" to {most}") };
                wrong.push(format!("`{key}`: expected {least}{most}, found {found}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// The learning rate of `step` (from 0) of `total`: linear warm-up, then a cosine (Loshchilov and Hutter, 2017) down
    /// to `min_learning_rate_ratio`.
    pub fn learning_rate_at(&self, step: u64, total: u64) -> f64 {
        let warmup = (self.warmup_ratio * total as f64).round();
        let step = step as f64;
        if step < warmup {
            return self.learning_rate * (step + 1.0) / warmup;
        }
        let progress = (step - warmup) / (total as f64 - warmup).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.learning_rate * (self.min_learning_rate_ratio + (1.0 - self.min_learning_rate_ratio) * cosine)
    }
}

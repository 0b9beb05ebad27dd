//! The manifest: what a stage did, written last. Its existence means done; cards, funnels and reports are rendered from
//! manifests and from nothing else.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One input of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What it is to the stage, e.g. `traces`.
    pub name: String,
    /// Its content digest.
    pub digest: String,
}

/// One file of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Path relative to the stage's folder.
    pub file: String,
    /// Rows in it; 0 for files that hold none (weights, cards).
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: String,
}

/// A mean with its 95 % interval: percentages are fractions in here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What was measured, e.g. `pass@1`.
    pub metric: String,
    /// The mean over problems of the mean over samples, in 0..=1.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Problems evaluated.
    pub num_problems: u64,
    /// Samples for each problem.
    pub samples_per_problem: u32,
    /// Share of samples cut by the token limit.
    pub censored: f64,
    /// Samples whose verdict was unknown (counted as not passed).
    pub num_unknown: u64,
    /// Samples of those that nobody answered, whatever the reason.
    #[serde(default)]
    pub num_unanswered: u64,
    /// Temperature, top-p, token limit, prompt and judge, in one line.
    pub protocol: String,
}

/// Counts in bins of equal width: bin i covers `[i·width, (i+1)·width)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Width of a bin.
    pub width: u32,
    /// Rows in each bin.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Bins `values` into at most 40 bins of a round width.
    pub fn of(values: impl Iterator<Item = u32> + Clone) -> Self {
        let top = values.clone().max().unwrap_or(0);
        let width = (1..)
            .map(|i: u32| [1, 2, 5][(i as usize - 1) % 3] * 10u32.pow((i - 1) / 3))
            .find(|w| top / w < 40)
            .unwrap_or(u32::MAX);
        let mut counts = vec![0; (top / width) as usize + 1];
        values.for_each(|value| counts[(value / width) as usize] += 1);
        Histogram { width, counts }
    }
}

/// A measured curve, thinned to at most a few hundred points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Horizontal axis, e.g. the step.
    pub x: Vec<f64>,
    /// Vertical axis, e.g. the loss.
    pub y: Vec<f64>,
}

/// One filter's line in the funnel: `entered = accepted + unknown kept + dropped`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The filter.
    pub filter: String,
    /// Traces that reached it.
    pub entered: u64,
    /// Traces that it dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// What became of all traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Funnel {
    /// The filters in order.
    pub steps: Vec<FunnelStep>,
    /// Traces that became examples.
    pub kept: u64,
}

/// What only some stages have to tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Detail {
    /// Nothing more.
    #[default]
    None,
    /// Problems were read or made.
    Problems {
        /// Training problems.
        train: u64,
        /// Held-out problems.
        holdout: u64,
    },
    /// Traces were sampled.
    Traces {
        /// Who answered, as recipes name it.
        teacher: String,
        /// Completion tokens per trace.
        lengths: Histogram,
        /// Traces by finish reason.
        finish_reasons: BTreeMap<String, u64>,
    },
    /// Traces were decided on.
    Selection {
        /// What became of them.
        funnel: Funnel,
        /// Completion tokens of the kept ones.
        lengths: Histogram,
    },
    /// A student was trained.
    Training {
        /// The model's class, e.g. `Qwen2ForCausalLM`.
        architecture: String,
        /// The chat template that examples were rendered with: its file and digest.
        trained_with: String,
        /// The chat template in the checkpoint.
        published_with: String,
        /// Optimiser steps taken.
        steps: u64,
        /// Steps that were skipped because loss or gradient were no numbers.
        #[serde(default)]
        skipped_steps: u64,
        /// Parameters of the model.
        num_parameters: u64,
        /// Mean training loss over the steps.
        loss: Curve,
        /// Loss on what was held out, where something was.
        #[serde(default)]
        holdout_loss: Curve,
        /// Tokens processed per second of training.
        tokens_per_s: f64,
    },
    /// A model was evaluated.
    Evaluation {
        /// Which model: `before`, `after` or `teacher`.
        subject: String,
        /// How well it did.
        score: Score,
    },
}

/// What a stage hands back: what happened, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows read.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows not carried on, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Tokens of prompts sent to a model.
    pub prompt_tokens: u64,
    /// Tokens generated by a model.
    pub completion_tokens: u64,
    /// Tokens trained on, padding excluded.
    pub trained_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// Tokens generated by attempts that broke: part of `completion_tokens`, of no row.
    #[serde(default)]
    pub wasted_tokens: u64,
    /// What only this stage has to tell.
    pub detail: Detail,
}

/// When a stage ran and for how long. Recorded, not part of the key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// UTC, RFC 3339.
    pub finished_at: String,
    /// Seconds spent, summed over resumed attempts that ended in order.
    pub wall_s: f64,
}

/// What a stage did. Written last and whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The stage's name.
    pub stage: String,
    /// The stage's version constant.
    pub stage_version: u32,
    /// hash(stage, version, config, seed, inputs): the folder's name.
    pub key: String,
    /// What it read.
    pub inputs: Vec<Input>,
    /// The resolved configuration, as it entered the key.
    pub config: serde_json::Value,
    /// The run's seed.
    pub seed: u64,
    /// Revision of the program, where known.
    pub revision: String,
    /// The device it ran on.
    pub device: String,
    /// When and how long.
    pub time: StageTime,
    /// What happened.
    pub tally: Tally,
    /// The files, in order.
    pub files: Vec<ShardInfo>,
    /// Digest over the files' names and digests: what downstream keys depend on.
    pub digest: String,
}

impl Manifest {
    /// The version that this program writes.
    pub const FORMAT: u32 = 1;
}

/// Now, UTC, RFC 3339, to the second.
pub fn timestamp() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_else(|_| jiff::Timestamp::now()).to_string()
}

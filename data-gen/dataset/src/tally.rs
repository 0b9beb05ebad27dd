//! What a stage hands back, in numbers. The tally of a stage is the sum of its units' tallies, in the order of the units:
//! it does not depend on how the rows were cut.

use crate::Money;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Counts in bins of equal width: bin i covers `[i·width, (i+1)·width)`. The width is the least power of two that needs
/// at most [`Histogram::MOST_BINS`] bins, so that the histogram of a whole is the sum of its parts' histograms, however
/// it is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Width of a bin.
    pub width: u32,
    /// Rows in each bin.
    pub counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { width: 1, counts: Vec::new() }
    }
}

impl Histogram {
    /// Bins at most.
    pub const MOST_BINS: u32 = 48;

    /// The histogram of `values`.
    pub fn of(values: impl IntoIterator<Item = u32>) -> Self {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }

    /// Counts one more value.
    pub fn add(&mut self, value: u32) {
        while value / self.width >= Self::MOST_BINS {
            self.coarsen();
        }
        let bin = (value / self.width) as usize;
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += 1;
    }

    /// Counts what `other` counted.
    fn merge(&mut self, mut other: Histogram) {
        // Widths of an older version were no powers of two: such a histogram is only ever shown.
        while self.width < other.width {
            self.coarsen();
        }
        while other.width < self.width {
            other.coarsen();
        }
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
    }

    fn coarsen(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The filter.
    pub filter: String,
    /// Traces that reached it.
    pub entered: u64,
    /// Traces that it dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Traces that it lets by with something to tell of them, by what, e.g. `variant`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub noted: BTreeMap<String, u64>,
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
        /// Problems by the licence that their source states.
        #[serde(default)]
        licences: BTreeMap<String, u64>,
        /// Problems whose source states none.
        #[serde(default)]
        unlicensed: u64,
        /// Problems by how their right answer is known, e.g. `math`.
        #[serde(default)]
        references: BTreeMap<String, u64>,
    },
    /// Traces were sampled.
    Traces {
        /// Who answered, as recipes name it.
        teacher: String,
        /// Completion tokens per trace.
        lengths: Histogram,
        /// Traces by finish reason.
        finish_reasons: BTreeMap<String, u64>,
        /// Traces that were asked for with log-probabilities and have none: the server did not tell them for all tokens, or
        /// a process was killed while the answer was on its way.
        #[serde(default, skip_serializing_if = "is_zero")]
        without_log_probs: u64,
    },
    /// Traces were decided on.
    Selection {
        /// What became of them.
        funnel: Funnel,
        /// Completion tokens of the kept ones.
        lengths: Histogram,
        /// Kept traces whose answer a verifier accepted.
        #[serde(default)]
        verified: u64,
    },
    /// A judge was asked about traces.
    Judged {
        /// Traces on which it was asked.
        asked: u64,
        /// Of those that rules decide: how many, by what the rules and the judge say, e.g. `pass/fail`.
        agreement: BTreeMap<String, u64>,
    },
    /// Examples say less than their traces.
    Shaped {
        /// Examples of which something was cut.
        shaped: u64,
        /// Bytes of all turns before.
        bytes_before: u64,
        /// Bytes of all turns after.
        bytes_after: u64,
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

fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// Those of them that a cache of the model's had, as far as that is told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens generated by a model.
    pub completion_tokens: u64,
    /// Tokens generated by attempts that broke: part of `completion_tokens`, of no row.
    #[serde(default)]
    pub wasted_tokens: u64,
    /// Tokens trained on, padding excluded.
    pub trained_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// What it cost in other currencies: nothing is converted.
    #[serde(default, skip_serializing_if = "Money::is_empty")]
    pub cost_other: Money,
    /// What only this stage has to tell.
    pub detail: Detail,
}

impl Tally {
    /// What it cost, by currency.
    pub fn cost(&self) -> Money {
        self.cost_other.and_usd(self.cost_usd)
    }

    /// Adds the tally of the next unit.
    pub fn merge(&mut self, other: Tally) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        add_counts(&mut self.rejected, other.rejected);
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.wasted_tokens += other.wasted_tokens;
        self.trained_tokens += other.trained_tokens;
        self.cost_usd += other.cost_usd;
        self.cost_other.add_all(&other.cost_other);
        match (&mut self.detail, other.detail) {
            (
                Detail::Traces { lengths, finish_reasons, without_log_probs, .. },
                Detail::Traces { lengths: more, finish_reasons: reasons, without_log_probs: without, .. },
            ) => {
                *without_log_probs += without;
                lengths.merge(more);
                add_counts(finish_reasons, reasons);
            }
            (
                Detail::Selection { funnel, lengths, verified },
                Detail::Selection { funnel: other, lengths: more, verified: accepted },
            ) => {
                funnel.kept += other.kept;
                for (step, other) in funnel.steps.iter_mut().zip(other.steps) {
                    step.entered += other.entered;
                    add_counts(&mut step.dropped, other.dropped);
                    add_counts(&mut step.noted, other.noted);
                }
                lengths.merge(more);
                *verified += accepted;
            }
            (Detail::Judged { asked, agreement }, Detail::Judged { asked: more, agreement: counts }) => {
                *asked += more;
                add_counts(agreement, counts);
            }
            (
                Detail::Shaped { shaped, bytes_before, bytes_after },
                Detail::Shaped { shaped: more, bytes_before: before, bytes_after: after },
            ) => {
                *shaped += more;
                *bytes_before += before;
                *bytes_after += after;
            }
            // What only a stage of one unit has.
            (detail, other) if *detail == Detail::None => *detail = other,
            _ => {}
        }
    }
}

fn add_counts(sum: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (reason, count) in counts {
        *sum.entry(reason).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_does_not_depend_on_how_the_values_are_cut() {
        let values: Vec<u32> = (0..5000_u32).map(|i| i.wrapping_mul(2_654_435_761) % 40_000 / (1 + i % 9)).collect();
        let whole = Histogram::of(values.iter().copied());
        assert!(whole.counts.len() <= Histogram::MOST_BINS as usize && whole.counts.iter().sum::<u64>() == 5000);
        for size in [1, 7, 64, 999, 4999] {
            let mut sum = Histogram::default();
            values.chunks(size).for_each(|part| sum.merge(Histogram::of(part.iter().copied())));
            assert_eq!(sum, whole, "cut into pieces of {size}");
        }
    }

    #[test]
    fn tallies_add_up_in_any_grouping() {
        let unit = |kept: u64| Tally {
            rows_in: 10,
            rows_out: kept,
            rejected: BTreeMap::from([(format!("reason-{}", kept % 2), 10 - kept)]),
            detail: Detail::Selection {
                funnel: Funnel {
                    steps: vec![FunnelStep {
                        filter: "length".to_owned(),
                        entered: 10,
                        dropped: BTreeMap::from([("too-long".to_owned(), 10 - kept)]),
                        noted: BTreeMap::from([("variant".to_owned(), kept)]),
                    }],
                    kept,
                },
                lengths: Histogram::of([kept as u32 * 100]),
                verified: kept / 2,
            },
            ..Tally::default()
        };
        let sum = |units: &[u64]| {
            let mut sum = Tally::default();
            units.iter().for_each(|kept| sum.merge(unit(*kept)));
            sum
        };
        let whole = sum(&[3, 8, 5]);
        let mut grouped = sum(&[3]);
        grouped.merge(sum(&[8, 5]));
        assert_eq!(grouped, whole);
        assert_eq!((whole.rows_in, whole.rows_out, whole.rejected["reason-1"]), (30, 16, 12));
        let Detail::Selection { funnel, .. } = whole.detail else { panic!("a selection") };
        assert_eq!(funnel.steps[0].noted["variant"], 16, "what was kept with a note is counted too");
    }
}

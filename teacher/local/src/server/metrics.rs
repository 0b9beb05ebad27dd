//! What Prometheus reads: counters, gauges, and how long answers took.

use super::dispatch::Desk;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How often something took how long.
#[derive(Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum_s: f64,
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        for (count, bound) in self.counts.iter_mut().zip(BOUNDS) {
            *count += u64::from(took <= bound);
        }
        self.count += 1;
        self.sum_s += took;
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (count, bound) in self.counts.iter().zip(BOUNDS) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {}\n{name}_sum {}\n{name}_count {}",
            self.count, self.sum_s, self.count
        );
    }
}

/// What the server counts by itself.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// By path and status.
    responses: BTreeMap<(&'static str, u16), u64>,
    first_token: Histogram,
    answer: Histogram,
}

impl Metrics {
    fn with<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> T {
        change(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A response was begun.
    pub(super) fn responded(&self, path: &'static str, status: u16) {
        self.with(|counted| *counted.responses.entry((path, status)).or_default() += 1);
    }

    /// A first token came so long after its request.
    pub(super) fn first_token(&self, took: Duration) {
        self.with(|counted| counted.first_token.observe(took));
    }

    /// All answers of a request were complete so long after it.
    pub(super) fn answered(&self, took: Duration) {
        self.with(|counted| counted.answer.observe(took));
    }

    /// The text that Prometheus reads.
    pub(super) fn render(&self, desk: &Desk) -> String {
        let load = desk.load();
        let mut out = String::new();
        let rows = [
            ("answers_open", "gauge", "Answers handed in and not ended.", desk.open_answers() as f64),
            ("requests_running", "gauge", "Answers being decoded.", load.running as f64),
            ("requests_waiting", "gauge", "Answers waiting for room.", load.waiting as f64),
            ("cache_blocks_held", "gauge", "Blocks of 32 positions that answers hold.", load.held_blocks as f64),
            ("cache_blocks", "gauge", "Blocks in all.", load.blocks as f64),
            ("prompt_tokens_total", "counter", "Tokens of prompts computed.", load.prompt_tokens as f64),
            (
                "prompt_tokens_shared_total",
                "counter",
                "Tokens of prompts found in the cache.",
                load.shared_tokens as f64,
            ),
            ("tokens_total", "counter", "Tokens drawn.", load.drawn_tokens as f64),
            (
                "interruptions_total",
                "counter",
                "Answers that gave their cache back to wait.",
                load.interruptions as f64,
            ),
            ("cancelled_total", "counter", "Answers whose client went away.", desk.cancelled() as f64),
            (
                "longest_wait_seconds",
                "gauge",
                "The longest wait for a first token so far.",
                desk.longest_wait().as_secs_f64(),
            ),
        ];
        for (name, kind, help, value) in rows {
            let _ = writeln!(out, "# HELP distill_{name} {help}\n# TYPE distill_{name} {kind}\ndistill_{name} {value}");
        }
        self.with(|counted| {
            let _ = writeln!(
                out,
                "# HELP distill_responses_total Responses begun.\n# TYPE distill_responses_total counter"
            );
            for ((path, status), count) in &counted.responses {
                let _ = writeln!(out, "distill_responses_total{{path=\"{path}\",status=\"{status}\"}} {count}");
            }
            counted.first_token.write("distill_first_token_seconds", "From request to first token.", &mut out);
            counted.answer.write("distill_answer_seconds", "From request to complete answer.", &mut out);
        });
        out
    }
}

//! What is written down while training runs: `metrics.jsonl`, in which nothing depends on the clock; TensorBoard's event
//! files; and the line beside the progress bar.

use crate::{
    TrainError,
    events::{Clock, Events},
    speed::{Speed, pairs},
};
use distill_checkpoint::ModelConfig;
use distill_dataset::{copy_fresh, create_fresh};
use distill_model::Documents;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

const METRICS: &str = "metrics.jsonl";
const TENSORBOARD: &str = "tensorboard";
/// Steps over which speed is averaged.
const WINDOW: u64 = 10;

/// A line about a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metrics {
    pub(crate) step: u64,
    pub(crate) tokens: u64,
    /// Nothing where it was no number and the step was skipped.
    pub(crate) loss: Option<f32>,
    pub(crate) grad_norm: Option<f32>,
    pub(crate) learning_rate: f64,
}

/// A line about the held-out loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) step: u64,
    /// Nothing where it is no number.
    pub(crate) holdout_loss: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Step(Metrics),
    Look(Look),
}

impl Line {
    fn step(&self) -> u64 {
        match self {
            Line::Step(metrics) => metrics.step,
            Line::Look(look) => look.step,
        }
    }

    /// Its numbers by TensorBoard's tags.
    fn values(&self) -> Vec<(&'static str, f64)> {
        let number = |value: Option<f32>| value.map_or(f64::NAN, f64::from);
        match self {
            Line::Step(metrics) => vec![
                ("train/loss", number(metrics.loss)),
                ("train/grad_norm", number(metrics.grad_norm)),
                ("train/learning_rate", metrics.learning_rate),
            ],
            Line::Look(look) => vec![("holdout/loss", look.holdout_loss.unwrap_or(f64::NAN))],
        }
    }
}

/// Everything that is written down.
#[derive(Debug)]
pub(crate) struct Journal {
    scratch: PathBuf,
    file: File,
    events: Events,
    lines: Vec<Line>,
    speed: Speed,
    /// Since when tokens and pairs of tokens are counted.
    since: Instant,
    counted: [f64; 2],
    /// Tokens a second and what else was last said.
    said: String,
    last_look: Option<f64>,
}

impl Journal {
    /// Goes on after step `done`, when the held-out loss had been looked at after step `looked`; lines of what is done again
    /// are cut off.
    pub(crate) fn open(
        scratch: &Path,
        (done, looked): (u64, u64),
        model: &ModelConfig,
        peak: f64,
    ) -> Result<Journal, TrainError> {
        let path = scratch.join(METRICS);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<Line> = text
            .lines()
            .map_while(|line| serde_json::from_str::<Line>(line).ok())
            .take_while(|line| line.step() <= if matches!(line, Line::Look(_)) { looked } else { done })
            .collect();
        let steps = lines.iter().filter(|line| matches!(line, Line::Step(_))).count() as u64;
        if steps != done {
            return Err(TrainError::Metrics { path, done, steps });
        }
        let kept: String = lines.iter().map(|line| serde_json::to_string(line).unwrap_or_default() + "\n").collect();
        if kept != text || text.is_empty() {
            let temporary = scratch.join("metrics.tmp");
            let write = || -> std::io::Result<()> {
                let mut file = create_fresh(&temporary)?;
                file.write_all(kept.as_bytes())?;
                file.sync_all()?;
                fs::rename(&temporary, &path)?;
                File::open(scratch)?.sync_all()
            };
            write().map_err(TrainError::io("write", &path))?;
        }
        let file = File::options().append(true).open(&path).map_err(TrainError::io("open", &path))?;
        let speed = Speed::new(model, peak);
        Ok(Journal {
            scratch: scratch.to_owned(),
            file,
            events: Events::create(&scratch.join(TENSORBOARD), Clock::Wall)?,
            lines,
            said: speed.formula(),
            speed,
            since: Instant::now(),
            counted: [0.0; 2],
            last_look: None,
        })
    }

    /// Counts what was trained on.
    pub(crate) fn count(&mut self, documents: &Documents) {
        self.counted[0] += documents.tokens.len() as f64;
        self.counted[1] += documents.lengths.iter().map(|length| pairs(*length)).sum::<f64>();
    }

    /// Writes a step down; returns what is shown beside the bar.
    pub(crate) fn step(&mut self, metrics: Metrics, memory: impl Fn() -> Option<u64>) -> Result<String, TrainError> {
        let line = Line::Step(metrics);
        self.write(line)?;
        let mut values = line.values();
        let (loss, norm) = (values[0].1, values[1].1);
        if metrics.step.is_multiple_of(WINDOW) {
            let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
            let [tokens, pairs] = std::mem::take(&mut self.counted);
            self.since = Instant::now();
            let share = self.speed.utilisation(tokens, pairs, seconds);
            values.extend([("speed/tokens_per_s", tokens / seconds), ("speed/mfu", share)]);
            self.said = format!("{:.0} tok/s, MFU {:.0} %", tokens / seconds, share * 100.0);
            if let Some(bytes) = memory() {
                values.push(("speed/memory_mib", bytes as f64 / f64::from(1 << 20)));
                self.said += &format!(", {} MiB", bytes >> 20);
            }
        }
        self.events.add(metrics.step, &values)?;
        let look = self.last_look.map_or(String::new(), |loss| format!(", held out {loss:.4}"));
        Ok(format!("loss {loss:.4}{look}, norm {norm:.2}, lr {:.1e}, {}", metrics.learning_rate, self.said))
    }

    /// Writes a held-out loss down.
    pub(crate) fn look(&mut self, look: Look) -> Result<(), TrainError> {
        self.last_look = look.holdout_loss;
        let line = Line::Look(look);
        self.events.add(look.step, &line.values())?;
        self.write(line)
    }

    fn write(&mut self, line: Line) -> Result<(), TrainError> {
        let text = serde_json::to_string(&line).unwrap_or_default() + "\n";
        self.lines.push(line);
        self.file.write_all(text.as_bytes()).map_err(TrainError::io("write", self.scratch.join(METRICS)))
    }

    /// Everything that was written is on the disk when this returns.
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(TrainError::io("sync", self.scratch.join(METRICS)))
    }

    /// Steps with their losses.
    pub(crate) fn losses(&self) -> Vec<(f64, f64)> {
        let loss = |line: &Line| match line {
            Line::Step(metrics) => Some((metrics.step as f64, f64::from(metrics.loss?))),
            Line::Look(_) => None,
        };
        self.lines.iter().filter_map(loss).collect()
    }

    /// Steps with their held-out losses.
    pub(crate) fn looks(&self) -> Vec<(f64, f64)> {
        let loss = |line: &Line| match line {
            Line::Step(_) => None,
            Line::Look(look) => Some((look.step as f64, look.holdout_loss?)),
        };
        self.lines.iter().filter_map(loss).collect()
    }

    /// Writes metrics and an event file beside the trained weights; nothing in them depends on the clock or on how often the
    /// run was resumed.
    pub(crate) fn write_to(&self, out: &Path) -> Result<(), TrainError> {
        let (from, to) = (self.scratch.join(METRICS), out.join(METRICS));
        copy_fresh(&from, &to).map_err(TrainError::io("copy", from))?;
        let mut events = Events::create(&out.join(TENSORBOARD), Clock::Steps)?;
        self.lines.iter().try_for_each(|line| events.add(line.step(), &line.values()))
    }
}

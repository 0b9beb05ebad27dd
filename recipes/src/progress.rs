//! What a person or a log sees while stages run: a bar on a terminal, JSON lines off it. Everything goes to standard
//! error; standard output is for data.

use crate::terminal::on_one_line;
use distill_dataset::{Manifest, Progress, ProgressEvent};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How often a log gets a progress line.
const LOG_INTERVAL: Duration = Duration::from_secs(2);

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// Bars on standard error.
    Terminal,
    /// JSON lines on standard error.
    Lines,
    /// Nowhere.
    Silent,
}

impl Reporter {
    /// A terminal gets bars, anything else gets lines.
    pub fn detect() -> Reporter {
        if std::io::stderr().is_terminal() { Reporter::Terminal } else { Reporter::Lines }
    }

    /// The progress of one stage.
    pub fn progress(self, label: &str) -> Progress {
        match self {
            Reporter::Terminal => terminal(),
            Reporter::Lines => lines(label.to_owned()),
            Reporter::Silent => Progress::hidden(),
        }
    }

    /// A stage was made.
    pub fn made(self, label: &str, manifest: &Manifest) {
        self.stage("done", "✓", label, manifest);
    }

    /// A stage was there already.
    pub fn found(self, label: &str, manifest: &Manifest) {
        self.stage("already-done", "·", label, manifest);
    }

    fn stage(self, event: &str, mark: &str, label: &str, manifest: &Manifest) {
        let tally = &manifest.tally;
        match self {
            Reporter::Terminal => {
                let time = if event == "done" {
                    format!("{:>8.1} s", manifest.time.wall_s)
                } else {
                    "   (already done)".to_owned()
                };
                say(&format!("{mark} {label:<22} {:>9} rows {time}", tally.rows_out));
            }
            Reporter::Lines => say_json(&serde_json::json!({
                "event": event, "stage": label, "key": &manifest.key[..16.min(manifest.key.len())],
                "rows_in": tally.rows_in, "rows_out": tally.rows_out, "rejected": tally.rejected, "wall_s": manifest.time.wall_s,
            })),
            Reporter::Silent => {}
        }
    }
}

fn terminal() -> Progress {
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    Progress::new(move |event| {
        let Ok(mut bar) = bar.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                let template = match total {
                    0 => format!("  {{spinner}} {task:<10} {{human_pos}} {unit}  {{elapsed}}  {{wide_msg:.dim}}"),
                    _ => format!(
                        "  {task:<10} {{bar:28.cyan/dim}} {{human_pos}}/{{human_len}} {unit}  {{eta}} left  {{wide_msg:.dim}}"
                    ),
                };
                let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
                *bar = Some(ProgressBar::new(total).with_style(style.progress_chars("━╸─")));
            }
            ProgressEvent::Advance { done, note } => {
                if let Some(bar) = &*bar {
                    bar.set_position(done);
                    bar.set_message(on_one_line(&note));
                }
            }
            ProgressEvent::End => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    })
}

struct Logged {
    task: String,
    total: u64,
    unit: &'static str,
    last: Instant,
}

fn lines(label: String) -> Progress {
    let state: Arc<Mutex<Option<Logged>>> = Arc::default();
    Progress::new(move |event| {
        let Ok(mut state) = state.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                *state = Some(Logged { task, total, unit, last: Instant::now() })
            }
            ProgressEvent::Advance { done, note } => {
                let Some(logged) = state.as_mut() else { return };
                if logged.last.elapsed() < LOG_INTERVAL {
                    return;
                }
                logged.last = Instant::now();
                let (task, total, unit) = (&logged.task, logged.total, logged.unit);
                say_json(
                    &serde_json::json!({"event": "progress", "stage": label, "task": task, "done": done, "total": total, "unit": unit, "note": note}),
                );
            }
            ProgressEvent::End => *state = None,
        }
    })
}

/// A closed standard error must not end the work.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn say_json(value: &serde_json::Value) {
    say(&value.to_string());
}

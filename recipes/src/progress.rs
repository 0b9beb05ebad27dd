//! What a person or a log sees while stages run: a bar on a terminal, JSON lines off it. Everything goes to standard
//! error; standard output is for data.

use crate::terminal::on_one_line;
use distill_dataset::{Manifest, Progress, ProgressEvent};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
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
    /// Bars on a terminal, and nothing of what is done.
    Bars,
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
            Reporter::Bars if std::io::stderr().is_terminal() => terminal(),
            Reporter::Bars | Reporter::Silent => Progress::hidden(),
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
            Reporter::Lines => say_json(&json!({
                "event": event, "stage": label, "key": &manifest.key[..16.min(manifest.key.len())],
                "rows_in": tally.rows_in, "rows_out": tally.rows_out, "rejected": tally.rejected, "wall_s": manifest.time.wall_s,
            })),
            Reporter::Bars | Reporter::Silent => {}
        }
    }
}

/// A bar on a terminal, and what it looks like now.
struct Bar {
    bar: ProgressBar,
    task: String,
    total: u64,
    unit: &'static str,
    /// Where it began: nothing can be told of the time that is left before it has moved on.
    begun_at: Option<u64>,
    /// Whether the time left and a note are shown.
    shown: (bool, bool),
}

impl Bar {
    fn advance(&mut self, done: u64, note: &str) {
        let begun_at = *self.begun_at.get_or_insert(done);
        let shown = (done > begun_at, !note.is_empty());
        if shown != self.shown {
            self.shown = shown;
            self.bar.set_style(style(&self.task, self.total, self.unit, shown));
        }
        self.bar.set_position(done);
        self.bar.set_message(wrapped(&on_one_line(note)));
    }
}

/// Letters of a note in one line: a narrow terminal has eighty.
const NOTE_WIDTH: usize = 74;

/// A note in lines of its own, none of which a terminal cuts: what an endpoint said, and when it is tried next, comes last.
fn wrapped(note: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in note.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > NOTE_WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n    ")
}

/// A note has lines of its own: beside the bar there is no room for it.
fn style(task: &str, total: u64, unit: &str, (eta, note): (bool, bool)) -> ProgressStyle {
    let note = if note { "\n    {msg:.dim}" } else { "" };
    let eta = if eta { "  {eta} left" } else { "" };
    let template = match total {
        0 => format!("  {{spinner}} {task:<10} {{human_pos}} {unit}  {{elapsed}}{note}"),
        _ => format!("  {task:<10} {{bar:28.cyan/dim}} {{human_pos}}/{{human_len}} {unit}{eta}{note}"),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

fn terminal() -> Progress {
    let bar: Mutex<Option<Bar>> = Mutex::new(None);
    Progress::new(move |event| {
        let Ok(mut bar) = bar.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                let shown = (false, false);
                let drawn = ProgressBar::new(total).with_style(style(&task, total, unit, shown));
                *bar = Some(Bar { bar: drawn, task, total, unit, begun_at: None, shown });
            }
            ProgressEvent::Advance { done, note, .. } => {
                if let Some(bar) = &mut *bar {
                    bar.advance(done, &note);
                }
            }
            ProgressEvent::End => {
                if let Some(bar) = bar.take() {
                    bar.bar.finish_and_clear();
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

impl Logged {
    /// A line for programs; a sampling's has how it stands, as `distill status --json` has it.
    fn line(&self, label: &str, done: u64, note: &str, fields: Option<&Value>) -> Value {
        let (task, total, unit) = (&self.task, self.total, self.unit);
        let mut line = json!({"event": "progress", "stage": label, "task": task, "done": done, "total": total, "unit": unit, "note": note});
        if let Some(fields) = fields {
            line["buying"] = fields.clone();
        }
        line
    }
}

fn lines(label: String) -> Progress {
    let state: Arc<Mutex<Option<Logged>>> = Arc::default();
    Progress::new(move |event| {
        let Ok(mut state) = state.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                *state = Some(Logged { task, total, unit, last: Instant::now() })
            }
            ProgressEvent::Advance { done, note, fields } => {
                let Some(logged) = state.as_mut() else { return };
                if logged.last.elapsed() < LOG_INTERVAL {
                    return;
                }
                logged.last = Instant::now();
                say_json(&logged.line(&label, done, &note, fields.as_deref()));
            }
            ProgressEvent::End => *state = None,
        }
    })
}

/// A closed standard error must not end the work.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn say_json(value: &Value) {
    say(&value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_sampling_has_how_it_stands_as_fields() {
        let logged = Logged { task: "sample".to_owned(), total: 9, unit: "traces", last: Instant::now() };
        let seen = distill_teacher::Seen { in_flight: 4, eta_s: Some(2.5), ..distill_teacher::Seen::default() };
        let fields = serde_json::to_value(&seen).expect("JSON");
        let line = logged.line("traces", 3, "4 in flight", Some(&fields));
        assert_eq!(
            (&line["done"], &line["buying"]["in-flight"], &line["buying"]["eta-s"]),
            (&json!(3), &json!(4), &json!(2.5))
        );
        for key in ["ends", "lengths", "tokens-per-s", "prompt-tokens-per-s", "spent-tokens", "cap-tokens", "endpoints"]
        {
            assert!(line["buying"].get(key).is_some(), "{key} is told to people only");
        }
        assert!(logged.line("training", 3, "loss 0.4", None).get("buying").is_none());
    }

    #[test]
    fn a_long_note_is_told_to_its_end_in_lines_that_fit() {
        let note = "4 in flight, $0.00 of $5.00, the endpoint has been away for 61 s, next try in 5 s (HTTP 429 Too Many Requests: Rate limit reached for requests), 8 tried again";
        let told = wrapped(note);
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&told), words(note));
        assert_eq!(wrapped("loss 0.41"), "loss 0.41");
    }
}

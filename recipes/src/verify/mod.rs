//! `distill verify`: JSON lines or rows of a file in, one JSON line out for each, in their order, while they come.

mod code;
mod data;
mod lines;
mod math;

pub use code::{SUPERVISOR, code, judges, judges_for, launcher};
pub use data::{Columns, Judged, Lines};
pub use lines::{Answered, Pace, Tally, answer_each, answer_lines};
pub use math::{Override, math, policy};

use anyhow::{Result, ensure};
use serde::Serialize;
use std::{
    io::{IsTerminal, Write},
    path::Path,
};

/// Where lines come from.
pub enum Input {
    /// Standard input.
    Standard,
    /// Rows of a file, by its name.
    File(String, Lines),
}

impl Input {
    /// The rows of `file`, or standard input where there is none.
    ///
    /// # Errors
    /// As [`Columns::lines`].
    pub fn open(file: Option<&Path>, columns: &Columns, judged: Judged) -> Result<Input> {
        file.map_or(Ok(Input::Standard), |path| {
            Ok(Input::File(path.display().to_string(), columns.lines(path, judged)?))
        })
    }
}

/// Answers every line of `input` on standard output; of a file, what became of its rows is said on standard error.
///
/// # Errors
/// When lines could not be read or judged, or there were none.
pub fn judge(
    input: Input,
    pace: Pace,
    answer: impl Fn(u64, Result<&str, &str>) -> Result<Answered, String> + Send + Sync + 'static,
) -> Result<()> {
    let output = &mut std::io::stdout().lock();
    let say = |text: &str| drop(writeln!(std::io::stderr(), "{text}"));
    let (file, tally) = match input {
        Input::File(name, lines) => (Some(name), answer_each(pace, lines, output, answer)?),
        Input::Standard => {
            if std::io::stdin().is_terminal() {
                say("reading JSON lines from the terminal, to the end (Ctrl-D)");
            }
            (None, answer_lines(pace, std::io::stdin(), output, answer)?)
        }
    };
    let Some(Tally { lines, errors, verdicts }) = tally else { return Ok(()) };
    ensure!(lines > 0, "expected lines to judge, found none in {}", file.as_deref().unwrap_or("standard input"));
    if let Some(name) = file {
        let counts = verdicts.iter().map(|(verdict, count)| format!(", {count} {verdict}"));
        say(&format!("{name}: {lines} judged{}", counts.collect::<String>()));
    }
    ensure!(
        errors == 0,
        "{errors} of {lines} lines could not be judged; each was answered with an error line, the others with a verdict"
    );
    Ok(())
}

/// What is wrong with a line.
#[derive(Debug, Serialize)]
struct Wrong<'a> {
    /// Its own, where it has one.
    id: serde_json::Value,
    line: u64,
    error: &'a str,
}

/// The line that says what is wrong with line `number`.
fn wrong(line: Result<&str, &str>, number: u64, error: &str) -> String {
    let parsed = line.ok().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let id = parsed.and_then(|mut parsed| parsed.get_mut("id").map(serde_json::Value::take)).unwrap_or_default();
    json(&Wrong { id, line: number, error })
}

/// Numbers and texts always become JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

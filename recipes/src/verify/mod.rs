//! `distill verify`: JSON lines in, one JSON line out for each, in their order, while they come.

mod code;
mod lines;
mod math;

pub use code::{SUPERVISOR, code, judges, judges_for, launcher};
pub use lines::{Pace, Tally, answer_lines};
pub use math::{Override, math, policy};

use serde::Serialize;

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

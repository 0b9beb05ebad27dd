//! Is a trace too short or too long? In completion tokens, as the teacher counted them; in characters, of the whole turn, its
//! reasoning and its answer; and in the student's tokens, as `tokenizer` cuts the turn. Of a problem, characters and the
//! student's tokens are counted.
//!
//! | reason | when |
//! |---|---|
//! | `too-short`, `too-long` | fewer than `min-tokens`, more than `max-tokens` |
//! | `too-few-chars`, `too-many-chars` | `min-chars`, `max-chars` |
//! | `short-reasoning`, `long-reasoning` | `min-reasoning-chars`, `max-reasoning-chars` |
//! | `short-answer`, `long-answer` | `min-answer-chars`, `max-answer-chars` |
//! | `too-few-student-tokens`, `too-many-student-tokens` | `min-student-tokens`, `max-student-tokens` |
//! | `not-tokenised` | one of the last two is set, and the student's tokenizer cannot encode the turn |
//!
//! The tokenizer's content is in the measure's key, where it lies is in none.

#[cfg(test)]
mod tests;

use crate::{
    Decided, Filter, FilterConfig, FilterError, Listed, Unit,
    filter::{decide_each, measure_each, measure_said},
    unit::{Of, Said},
};
use distill_chat::TextTokens;
use distill_dataset::{Context, Keyed, Shard, Stage, Tally, TurnFormat};
use serde::{Deserialize, Serialize};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// How long a trace may be. No limit is set by default: what is too long depends on the student.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LengthConfig {
    /// Fewer completion tokens are too few.
    pub min_tokens: u32,
    /// More are too many; no limit when absent, here and below.
    pub max_tokens: Option<u32>,
    /// Fewer characters of the whole turn, tags included, are too few.
    pub min_chars: u64,
    /// More are too many.
    pub max_chars: Option<u64>,
    /// Fewer characters of reasoning are too few.
    pub min_reasoning_chars: u64,
    /// More are too many.
    pub max_reasoning_chars: Option<u64>,
    /// Fewer characters of the answer are too few.
    pub min_answer_chars: u64,
    /// More are too many.
    pub max_answer_chars: Option<u64>,
    /// Fewer of the student's tokens are too few.
    pub min_student_tokens: u32,
    /// More are too many.
    pub max_student_tokens: Option<u32>,
    /// The student's `tokenizer.json`, or a folder with one. Without it its tokens are not counted.
    pub tokenizer: Option<PathBuf>,
}

/// How long a trace is. Characters are counted without what is blank around them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// The trace, or the problem.
    pub trace_id: String,
    /// Tokens that the teacher generated; 0 of a problem, as below but for its characters and the student's tokens.
    pub tokens: u32,
    /// Characters of the whole turn, tags included, or of the question.
    pub chars: u64,
    /// Those of the reasoning: all of a turn where that is never closed.
    pub reasoning_chars: u64,
    /// Those of the answer.
    pub answer_chars: u64,
    /// The student's tokens of the whole turn, without those of its template; absent where there is no tokenizer, or it
    /// cannot encode the turn.
    pub student_tokens: Option<u32>,
}

/// The columns that are read.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    format: TurnFormat,
    text: String,
    completion_tokens: u32,
}

impl Listed for LengthConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check_on_problems(&self) -> Result<(), String> {
        let [tokens, _, reasoning, answer, _] = self.limits();
        let ofs = [("tokens", tokens), ("reasoning-chars", reasoning), ("answer-chars", answer)];
        match ofs.into_iter().find(|(_, limits)| limits.is_set()) {
            None => Ok(()),
            Some((name, Limits { min, .. })) => {
                let end = if min > 0 { "min" } else { "max" };
                Err(format!(
                    "`{end}-{name}`: expected none on problems, which nobody has answered: `{end}-chars` and `{end}-student-tokens` count what is asked"
                ))
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let [tokens, chars, reasoning, answer, student_tokens] = self.limits();
        let ranges = [
            ("tokens", tokens),
            ("chars", chars),
            ("reasoning-chars", reasoning),
            ("answer-chars", answer),
            ("student-tokens", student_tokens),
        ];
        for (name, limits) in ranges {
            if let Some(max) = limits.max.filter(|max| limits.min > *max) {
                return Err(format!("`min-{name}`: expected at most max-{name} = {max}, found {}", limits.min));
            }
        }
        if !student_tokens.is_set() || self.tokenizer.is_some() {
            return Ok(());
        }
        let key = if student_tokens.min > 0 { "min-student-tokens" } else { "max-student-tokens" };
        Err(format!("`{key}`: expected `tokenizer` beside it, the student's tokenizer.json or a folder with one"))
    }

    fn settings(&self) -> Keyed {
        Keyed::of(&LengthConfig { tokenizer: None, ..self.clone() }, &LengthConfig::default())
    }
}

impl Filter for LengthConfig {
    fn stage(&self) -> Stage {
        Stage { name: "length", version: 2 }
    }

    fn keyed(&self) -> Keyed {
        // The tokenizer is an input of the measure, by its content.
        Keyed::default()
    }

    fn files(&self) -> Result<Vec<PathBuf>, FilterError> {
        let Some(file) = self.tokenizer_file()? else { return Ok(Vec::new()) };
        TextTokens::load(&file).map_err(FilterError::Tokenizer)?;
        Ok(vec![file])
    }

    fn laid_from(&self, folder: &Path) -> Result<Option<FilterConfig>, serde_json::Error> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(None) };
        FilterConfig::new(LengthConfig { tokenizer: Some(folder.join(tokenizer)), ..self.clone() }).map(Some)
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let file = self.tokenizer_file()?;
        let tokens = file.map(|file| TextTokens::load(&file)).transpose().map_err(FilterError::Tokenizer)?;
        match unit.inputs.of {
            Of::Traces => measure_each(unit, context, out, |row: &Row| length(row, tokens.as_ref())),
            Of::Problems => measure_said(unit, context, out, |said| of_problem(said, tokens.as_ref())),
        }
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |length: Length| {
            let reason = self.reason(&length);
            Decided::unless(length.trace_id, reason)
        })
    }
}

/// The least and the most of something.
#[derive(Clone, Copy)]
struct Limits {
    min: u64,
    max: Option<u64>,
}

impl Limits {
    fn is_set(self) -> bool {
        self.min > 0 || self.max.is_some()
    }

    /// The first reason where there is too little, the second where there is too much.
    fn broken(self, found: u64, [few, many]: [&'static str; 2]) -> Option<&'static str> {
        if found < self.min {
            Some(few)
        } else if self.max.is_some_and(|max| found > max) {
            Some(many)
        } else {
            None
        }
    }
}

impl LengthConfig {
    /// Of tokens, characters, those of reasoning and of the answer, and the student's tokens.
    fn limits(&self) -> [Limits; 5] {
        [
            Limits { min: self.min_tokens.into(), max: self.max_tokens.map(u64::from) },
            Limits { min: self.min_chars, max: self.max_chars },
            Limits { min: self.min_reasoning_chars, max: self.max_reasoning_chars },
            Limits { min: self.min_answer_chars, max: self.max_answer_chars },
            Limits { min: self.min_student_tokens.into(), max: self.max_student_tokens.map(u64::from) },
        ]
    }

    /// What is too short or too long, first found first told.
    fn reason(&self, length: &Length) -> Option<&'static str> {
        let [tokens, chars, reasoning, answer, student_tokens] = self.limits();
        let in_student_tokens = || match length.student_tokens {
            Some(found) => student_tokens.broken(found.into(), ["too-few-student-tokens", "too-many-student-tokens"]),
            None => student_tokens.is_set().then_some("not-tokenised"),
        };
        tokens
            .broken(length.tokens.into(), ["too-short", "too-long"])
            .or_else(|| chars.broken(length.chars, ["too-few-chars", "too-many-chars"]))
            .or_else(|| reasoning.broken(length.reasoning_chars, ["short-reasoning", "long-reasoning"]))
            .or_else(|| answer.broken(length.answer_chars, ["short-answer", "long-answer"]))
            .or_else(in_student_tokens)
    }

    /// The file that the tokenizer's path names, or the one in its folder.
    fn tokenizer_file(&self) -> Result<Option<PathBuf>, FilterError> {
        let Some(path) = &self.tokenizer else { return Ok(None) };
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.clone() };
        if file.is_file() { Ok(Some(file)) } else { Err(FilterError::NoTokenizer { path: path.clone() }) }
    }
}

fn length(row: &Row, tokens: Option<&TextTokens>) -> Length {
    let turn = row.format.turn(&row.text);
    let split = row.format.split(&turn);
    let (reasoning, answer) = match (split.reasoning, split.answer) {
        (None, None) => (turn.as_str(), ""),
        (reasoning, answer) => (reasoning.unwrap_or(""), answer.unwrap_or("")),
    };
    let chars = |text: &str| text.trim().chars().count() as u64;
    Length {
        trace_id: row.id.clone(),
        tokens: row.completion_tokens,
        chars: chars(&turn),
        reasoning_chars: chars(reasoning),
        answer_chars: chars(answer),
        student_tokens: tokens.and_then(|tokens| tokens.count(&turn).ok()).map(|count| count as u32),
    }
}

/// What is asked, by characters and the student's tokens.
fn of_problem(said: &Said, tokens: Option<&TextTokens>) -> Length {
    Length {
        trace_id: said.id.clone(),
        tokens: 0,
        chars: said.text.trim().chars().count() as u64,
        reasoning_chars: 0,
        answer_chars: 0,
        student_tokens: tokens.and_then(|tokens| tokens.count(&said.text).ok()).map(|count| count as u32),
    }
}

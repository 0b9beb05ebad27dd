//! Does a trace loop, or a problem? A trace's reasoning and its answer, each by itself; the whole turn where it does not come apart into the two,
//! as where the token limit cut a loop.
//!
//! | reason | when |
//! |---|---|
//! | `tail-loop` | the end is one block `loop-repeats` times, over `loop-chars` characters |
//! | `counting-loop` | the same but for numbers that count on: `counting-repeats`, `counting-chars`, blocks of `counting-period` |
//! | `repeated-lines` | lines that stood there `copies` times before are more than `line-share` of the lines, or `line-chars-share` of their characters |
//! | `repeated-n-grams` | runs of words that stood there `copies` times before hold more than `n-gram-share` of the characters |
//!
//! Mathematics repeats honestly: equations restated, drafts of a program, tables, "let me check". So what was there up to
//! `copies` times before is free, and less than `copied-chars` characters of copies are no reason. Rows of numbers that
//! follow no fixed step are a table, however many.
//!
//! Lines and n-grams are those of the last 2^19 characters, and so are periods of loops; the rest of a longer text is seen
//! only where a loop goes on into it.

mod copies;
mod tail;
#[cfg(test)]
mod tests;

pub use copies::Copies;
pub use tail::TailLoop;

use crate::{
    Decided, Filter, FilterError, Listed, Unit,
    filter::{decide_each, measure_said},
    unit::Said,
};
use copies::EARLIER;
use distill_dataset::{Context, Keyed, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};
use tail::FEWEST_REPEATS;

/// What is a loop. `n-gram-words` decides what is measured; all else is thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RepetitionConfig {
    /// Whole copies of a block at the end, at least. 4, as open-instruct's filter has it for sentences that follow one
    /// another (`filter_ngram_repetitions.py`); vLLM's proposal for stopping loops says 3 (issue 52673).
    pub loop_repeats: u64,
    /// Characters that they cover, at least. 240 is ours: three lines of text; long decimals and rules stay below it.
    pub loop_chars: u64,
    /// The part of the text that a loop of either kind covers, at least. 0 is ours: a loop is one after any beginning.
    pub loop_share: f64,
    /// Whole copies of a block with numbers that count on, at least. 16 is ours: a short table of a linear function stays.
    pub counting_repeats: u64,
    /// Characters that they cover, at least. 320 is ours: 16 copies of 20 characters.
    pub counting_chars: u64,
    /// Characters of such a block, at least, a number as one. 8 is ours: lists of numbers and of indexed names stay.
    pub counting_period: u64,
    /// What was there so many times before is free: 1, 2, 4, 8, 16 or 32. 4 is ours: a program in three drafts and an equation
    /// restated are honest; Gopher, for web pages, has 1.
    pub copies: u64,
    /// Characters in copies beyond these, at least. 500 is ours: short texts do not loop.
    pub copied_chars: u64,
    /// The share of copies among the lines, at most. 0.5 is ours; Gopher has 0.3 and counts every second occurrence.
    pub line_share: f64,
    /// The share of their characters among those of all lines, at most. 0.3 is ours; Gopher has 0.2 likewise.
    pub line_chars_share: f64,
    /// The share of the characters in repeated runs of words, at most. 0.3 is ours; Gopher has 0.1 for 10 words likewise.
    pub n_gram_share: f64,
    /// Words of a run. 10 is the longest that Gopher looks at (Rae et al. 2021, table A1).
    pub n_gram_words: u32,
}

impl Default for RepetitionConfig {
    fn default() -> Self {
        RepetitionConfig {
            loop_repeats: 4,
            loop_chars: 240,
            loop_share: 0.0,
            counting_repeats: 16,
            counting_chars: 320,
            counting_period: 8,
            copies: 4,
            copied_chars: 500,
            line_share: 0.5,
            line_chars_share: 0.3,
            n_gram_share: 0.3,
            n_gram_words: 10,
        }
    }
}

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What stands between the tags.
    Reasoning,
    /// What follows.
    Answer,
    /// All of it, where it has not both.
    Turn,
}

/// What a part of a turn repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Which part.
    pub part: Part,
    /// Its characters, without what is blank around it.
    pub chars: u64,
    /// Loops at its end.
    pub loops: Vec<TailLoop>,
    /// Loops at its end where a number is as good as any other.
    pub masked_loops: Vec<TailLoop>,
    /// Equal lines.
    pub lines: Copies,
    /// Equal runs of words.
    pub n_grams: Copies,
}

/// What a trace repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The trace, or the problem.
    pub trace_id: String,
    /// Reasoning and answer, or the whole turn.
    pub parts: Vec<Repeats>,
}

impl Listed for RepetitionConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        let least = [
            ("loop-repeats", self.loop_repeats, FEWEST_REPEATS),
            // Two steps tell nothing.
            ("counting-repeats", self.counting_repeats, FEWEST_REPEATS + 2),
            ("n-gram-words", self.n_gram_words.into(), 2),
        ];
        if let Some((key, found, least)) = least.into_iter().find(|(_, found, least)| found < least) {
            return Err(format!("`{key}`: expected at least {least}, found {found}"));
        }
        if self.n_gram_words > 100 {
            return Err(format!("`n-gram-words`: expected at most 100, found {}", self.n_gram_words));
        }
        if !EARLIER.contains(&self.copies) {
            return Err(format!("`copies`: expected one of {EARLIER:?}, found {}", self.copies));
        }
        let shares = [
            ("loop-share", self.loop_share),
            ("line-share", self.line_share),
            ("line-chars-share", self.line_chars_share),
            ("n-gram-share", self.n_gram_share),
        ];
        match shares.into_iter().find(|(_, found)| !(0.0..=1.0).contains(found)) {
            Some((key, found)) => Err(format!("`{key}`: expected a share from 0 to 1, found {found}")),
            None => Ok(()),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &RepetitionConfig::default())
    }
}

impl Filter for RepetitionConfig {
    fn stage(&self) -> Stage {
        Stage { name: "repetition", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        let measured = |words: u32| RepetitionConfig { n_gram_words: words, ..RepetitionConfig::default() };
        Keyed::of(&measured(self.n_gram_words), &RepetitionConfig::default())
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_said(unit, context, out, |said: &Said| self.repetition(said))
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |Repetition { trace_id, parts }| {
            Decided::unless(trace_id, parts.iter().find_map(|repeats| self.reason(repeats)))
        })
    }
}

impl RepetitionConfig {
    fn repetition(&self, said: &Said) -> Repetition {
        let turn = said.turn();
        let parts = said.format.split(&turn);
        let parts = match (parts.reasoning, parts.answer) {
            (Some(reasoning), Some(answer)) => vec![(Part::Reasoning, reasoning), (Part::Answer, answer)],
            _ => vec![(Part::Turn, turn.as_str())],
        };
        let repeats = |(part, text): (Part, &str)| self.repeats(part, text.trim());
        Repetition { trace_id: said.id.clone(), parts: parts.into_iter().map(repeats).collect() }
    }

    fn repeats(&self, part: Part, text: &str) -> Repeats {
        Repeats {
            part,
            chars: text.chars().count() as u64,
            loops: tail::exact(text),
            masked_loops: tail::masked(text),
            lines: copies::lines(text),
            n_grams: copies::runs(text, self.n_gram_words),
        }
    }

    /// Why a part is none to keep, first found first told.
    fn reason(&self, repeats: &Repeats) -> Option<&'static str> {
        let long = |found: &TailLoop, [copies, chars]: [u64; 2]| {
            found.repeats >= copies && found.chars >= chars && found.share(repeats.chars) >= self.loop_share
        };
        let loops = |found: &TailLoop| long(found, [self.loop_repeats, self.loop_chars]);
        let counts = |found: &TailLoop| {
            let enough = long(found, [self.counting_repeats, self.counting_chars]);
            enough && found.steady && found.period >= self.counting_period
        };
        let (line_share, line_chars_share, line_chars) = repeats.lines.after(self.copies);
        let (_, n_gram_share, n_gram_chars) = repeats.n_grams.after(self.copies);
        if repeats.loops.iter().any(loops) {
            Some("tail-loop")
        } else if repeats.masked_loops.iter().any(counts) {
            Some("counting-loop")
        } else if line_chars >= self.copied_chars
            && (line_share > self.line_share || line_chars_share > self.line_chars_share)
        {
            Some("repeated-lines")
        } else if n_gram_chars >= self.copied_chars && n_gram_share > self.n_gram_share {
            Some("repeated-n-grams")
        } else {
            None
        }
    }
}

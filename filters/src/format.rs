//! Is a trace whole? Its reasoning is closed once and says something, an answer follows, and one answer is boxed.
//!
//! | reason | when |
//! |---|---|
//! | `truncated` | the token limit, or the model's context, cut it |
//! | `withheld` | the endpoint withheld it |
//! | `unknown-end` | the endpoint gave a reason that nobody knows |
//! | `no-closing-tag`, `several-closing-tags`, `several-opening-tags` | the tags of the reasoning |
//! | `empty-reasoning`, `empty-answer` | nothing but white space |
//! | `no-boxed-answer`, `several-boxed-answers` | boxes after the reasoning |

use crate::{
    Decided, Filter, FilterError, Unit,
    filter::{decide_each, measure_each},
};
use distill_dataset::{Context, FinishReason, Keyed, Shard, Stage, Tally, Trace};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FormatConfig {
    /// Whether reasoning between its tags must precede the answer.
    pub reasoning: bool,
    /// Whether exactly one answer must be boxed.
    pub boxed: bool,
}

impl Default for FormatConfig {
    fn default() -> Self {
        FormatConfig { reasoning: true, boxed: true }
    }
}

/// What is wrong with a trace's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misformed {
    /// The token limit cut it.
    Truncated,
    /// The endpoint withheld it.
    Withheld,
    /// It ended for a reason that nobody knows.
    UnknownEnd,
    /// The reasoning is never closed.
    NoClosingTag,
    /// It is closed more than once.
    SeveralClosingTags,
    /// It is opened more than once.
    SeveralOpeningTags,
    /// There is none.
    EmptyReasoning,
    /// Nothing follows it.
    EmptyAnswer,
    /// No answer is boxed.
    NoBoxedAnswer,
    /// More than one is.
    SeveralBoxedAnswers,
}

impl Misformed {
    /// The reason as it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Misformed::Truncated => "truncated",
            Misformed::Withheld => "withheld",
            Misformed::UnknownEnd => "unknown-end",
            Misformed::NoClosingTag => "no-closing-tag",
            Misformed::SeveralClosingTags => "several-closing-tags",
            Misformed::SeveralOpeningTags => "several-opening-tags",
            Misformed::EmptyReasoning => "empty-reasoning",
            Misformed::EmptyAnswer => "empty-answer",
            Misformed::NoBoxedAnswer => "no-boxed-answer",
            Misformed::SeveralBoxedAnswers => "several-boxed-answers",
        }
    }
}

/// The form of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// The trace.
    pub trace_id: String,
    /// What is wrong, first found first told.
    pub misformed: Option<Misformed>,
    /// How often the reasoning is opened.
    pub opening_tags: u32,
    /// How often it is closed.
    pub closing_tags: u32,
    /// The boxed answers after the reasoning, up to eight, each cut after 200 characters.
    pub boxed: Vec<String>,
}

impl Filter for FormatConfig {
    fn stage(&self) -> Stage {
        Stage { name: "format", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::of(self, &FormatConfig::default())
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &FormatConfig::default())
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_each(unit, context, out, |trace: &Trace| form(self, trace))
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |form: Form| Decided::unless(form.trace_id, form.misformed.map(Misformed::name)))
    }
}

fn form(config: &FormatConfig, trace: &Trace) -> Form {
    let turn = trace.turn();
    let [opening_tags, closing_tags] = trace.format.count_tags(&turn);
    let parts = trace.format.split(&turn);
    let answer = parts.answered();
    let boxed = distill_verify::boxed_answers(answer);
    let reasoning_is_empty = || parts.reasoning.is_none_or(|reasoning| reasoning.trim().is_empty());
    let misformed = match (trace.finish_reason, opening_tags, closing_tags) {
        (FinishReason::Length | FinishReason::Context, ..) => Some(Misformed::Truncated),
        (FinishReason::ContentFilter, ..) => Some(Misformed::Withheld),
        (FinishReason::Unknown, ..) => Some(Misformed::UnknownEnd),
        (_, _, 0) if config.reasoning => Some(Misformed::NoClosingTag),
        (_, _, 2..) if config.reasoning => Some(Misformed::SeveralClosingTags),
        (_, 2.., _) if config.reasoning => Some(Misformed::SeveralOpeningTags),
        _ if config.reasoning && reasoning_is_empty() => Some(Misformed::EmptyReasoning),
        _ if answer.trim().is_empty() => Some(Misformed::EmptyAnswer),
        _ if config.boxed && boxed.is_empty() => Some(Misformed::NoBoxedAnswer),
        _ if config.boxed && boxed.len() > 1 => Some(Misformed::SeveralBoxedAnswers),
        _ => None,
    };
    let boxed = boxed.iter().take(8).map(|text| text.chars().take(200).collect()).collect();
    Form { trace_id: trace.id.clone(), misformed, opening_tags, closing_tags, boxed }
}

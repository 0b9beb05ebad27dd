//! Is a trace whole? Its reasoning is closed once and says something, an answer follows, one answer is boxed, and nothing that
//! was opened stays open.
//!
//! | reason | when |
//! |---|---|
//! | `truncated` | the token limit, or the model's context, cut it |
//! | `withheld` | the endpoint withheld it |
//! | `unknown-end` | the endpoint gave a reason that nobody knows |
//! | `no-closing-tag`, `several-closing-tags`, `several-opening-tags` | the tags of the reasoning |
//! | `text-before-reasoning` | something is said before the reasoning opens |
//! | `empty-reasoning`, `empty-answer` | nothing but white space |
//! | `answer-only-in-reasoning` | the reasoning comes to an answer, and what follows it says none |
//! | `no-boxed-answer`, `several-boxed-answers` | boxes after the reasoning |
//! | `unclosed-box`, `unclosed-fence` | what the answer opens and never closes |
//! | `unclosed-box-in-reasoning`, `unclosed-fence-in-reasoning` | the same of the reasoning |
//! | `other-answer-in-reasoning` | the answer is proven or probably another than the last one boxed in the reasoning |
//!
//! The first that holds is told. A measure holds what is there; which reasons count is the selection's. That a turn does not
//! open its reasoning is legitimate: templates do.

mod open;
mod stated;
#[cfg(test)]
mod tests;

use crate::{
    Decided, Evidence, Filter, FilterError, Listed, Unit,
    filter::{decide_each, measure_each},
};
use distill_dataset::{Context, FinishReason, Keyed, Shard, Stage, Tally, TurnFormat, Verdict};
use serde::{Deserialize, Serialize};
use stated::Stated;
use std::{ops::Range, path::Path};

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FormatConfig {
    /// Whether reasoning between its tags must precede the answer.
    pub reasoning: bool,
    /// Whether exactly one answer must be boxed.
    pub boxed: bool,
    /// Whether a trace that a limit cut goes. On: its end is not the model's word.
    pub truncated: bool,
    /// Whether a trace goes whose end nobody can name. On: it may be cut.
    pub unknown_end: bool,
    /// Whether reasoning must be closed, as far as `reasoning` is asked for. Off, a turn of an answer alone stays.
    pub no_closing_tag: bool,
    /// Whether it must be closed once only, likewise.
    pub several_closing_tags: bool,
    /// Whether it must be opened once at most, likewise.
    pub several_opening_tags: bool,
    /// Whether it must come first. Off: some teachers greet before they reason.
    pub text_before_reasoning: bool,
    /// Whether it must say something, as far as `reasoning` is asked for.
    pub empty_reasoning: bool,
    /// Whether what the reasoning comes to must be said again. Off: with `boxed` such traces go for want of a box, without it
    /// prose is an answer.
    pub answer_only_in_reasoning: bool,
    /// Whether something must follow the reasoning.
    pub empty_answer: bool,
    /// Whether more than one box is too many, as far as `boxed` is asked for.
    pub several_boxed_answers: bool,
    /// Whether a box that the answer opens must be closed. On: no reader and no verifier finds its end.
    pub unclosed_box: bool,
    /// Whether a fence of code that the answer opens must be closed. On: the rest of the answer reads as code.
    pub unclosed_fence: bool,
    /// Whether boxes of the reasoning must be closed. Off: drafts break off.
    pub unclosed_box_in_reasoning: bool,
    /// Whether fences of the reasoning must be closed. Off: drafts break off.
    pub unclosed_fence_in_reasoning: bool,
    /// Whether the answer must be the one that the reasoning boxes last. Off: an intermediate result may be boxed last, and
    /// an answer may correct its reasoning; whether it is right is `verify`'s to say.
    pub other_answer_in_reasoning: bool,
}

impl Default for FormatConfig {
    fn default() -> Self {
        FormatConfig {
            reasoning: true,
            boxed: true,
            truncated: true,
            unknown_end: true,
            no_closing_tag: true,
            several_closing_tags: true,
            several_opening_tags: true,
            text_before_reasoning: false,
            empty_reasoning: true,
            answer_only_in_reasoning: false,
            empty_answer: true,
            several_boxed_answers: true,
            unclosed_box: true,
            unclosed_fence: true,
            unclosed_box_in_reasoning: false,
            unclosed_fence_in_reasoning: false,
            other_answer_in_reasoning: false,
        }
    }
}

/// The form of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// The trace.
    pub trace_id: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// How often the reasoning is opened.
    pub opening_tags: u32,
    /// How often it is closed.
    pub closing_tags: u32,
    /// Characters before it is opened, without what is blank around them.
    pub chars_before: u64,
    /// The reasoning.
    pub reasoning: Outline,
    /// What follows it.
    pub answer: Outline,
    /// The boxed answers in the last 2^17 bytes after the reasoning, up to eight, each cut after 200 characters.
    pub boxed: Vec<String>,
    /// What the reasoning comes to, cut likewise: its last box, or behind words as "the answer is".
    pub reasoned: Option<String>,
    /// What the answer says, cut likewise, found in the same way.
    pub answered: Option<String>,
    /// Whether the answer says anything at all: that, a block of code, or what the reasoning comes to in other words.
    pub answers: bool,
    /// Whether the answer is what the reasoning boxes last; unknown where one of them is missing or they cannot be compared.
    pub agreement: Verdict,
}

/// What a part of a turn holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Its characters, without what is blank around it.
    pub chars: u64,
    /// Its blocks of code that end.
    pub code_blocks: u64,
    /// The first box that does not end.
    pub unclosed_box: Option<Evidence>,
    /// The fence of code that is open at its end.
    pub unclosed_fence: Option<Evidence>,
}

/// The columns that are read.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    format: TurnFormat,
    text: String,
    finish_reason: FinishReason,
}

impl Listed for FormatConfig {
    fn settings(&self) -> Keyed {
        Keyed::of(self, &FormatConfig::default())
    }
}

impl Filter for FormatConfig {
    fn stage(&self) -> Stage {
        Stage { name: "format", version: 2 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_each(unit, context, out, form)
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |form: Form| {
            let reason = self.reason(&form);
            Decided::unless(form.trace_id, reason)
        })
    }
}

impl FormatConfig {
    /// What is wrong, first found first told.
    fn reason(&self, form: &Form) -> Option<&'static str> {
        let Form { finish_reason, opening_tags, closing_tags, reasoning, answer, .. } = form;
        let is_closed = *closing_tags > 0;
        let tags = |is_asked: bool, holds: bool| self.reasoning && is_asked && holds;
        let reasons = [
            ("truncated", self.truncated && finish_reason.is_censored()),
            ("withheld", *finish_reason == FinishReason::ContentFilter),
            ("unknown-end", self.unknown_end && *finish_reason == FinishReason::Unknown),
            ("no-closing-tag", tags(self.no_closing_tag, !is_closed)),
            ("several-closing-tags", tags(self.several_closing_tags, *closing_tags > 1)),
            ("several-opening-tags", tags(self.several_opening_tags, *opening_tags > 1)),
            ("text-before-reasoning", self.text_before_reasoning && form.chars_before > 0),
            ("empty-reasoning", tags(self.empty_reasoning, is_closed && reasoning.chars == 0)),
            ("answer-only-in-reasoning", self.answer_only_in_reasoning && form.reasoned.is_some() && !form.answers),
            ("empty-answer", self.empty_answer && answer.chars == 0),
            ("no-boxed-answer", self.boxed && form.boxed.is_empty()),
            ("several-boxed-answers", self.boxed && self.several_boxed_answers && form.boxed.len() > 1),
            ("unclosed-box", self.unclosed_box && answer.unclosed_box.is_some()),
            ("unclosed-fence", self.unclosed_fence && answer.unclosed_fence.is_some()),
            ("unclosed-box-in-reasoning", self.unclosed_box_in_reasoning && reasoning.unclosed_box.is_some()),
            ("unclosed-fence-in-reasoning", self.unclosed_fence_in_reasoning && reasoning.unclosed_fence.is_some()),
            ("other-answer-in-reasoning", self.other_answer_in_reasoning && form.agreement == Verdict::Fail),
        ];
        reasons.into_iter().find(|(_, holds)| *holds).map(|(reason, _)| reason)
    }
}

fn form(row: &Row) -> Form {
    let turn = row.format.turn(&row.text);
    let [opening_tags, closing_tags] = row.format.count_tags(&turn);
    let parts = row.format.split(&turn);
    let (reasoning, answer) = (parts.reasoning.unwrap_or(""), parts.answered());
    let Stated { reasoned, answered, agreement, says_the_same } = stated::stated(reasoning, answer);
    let outlined = outline(&turn, answer);
    let cut = |text: &str| text.chars().take(200).collect::<String>();
    Form {
        trace_id: row.id.clone(),
        finish_reason: row.finish_reason,
        opening_tags,
        closing_tags,
        chars_before: parts.reasoning.map_or(0, |reasoning| chars_before(&row.format, &turn, reasoning)),
        reasoning: outline(&turn, reasoning),
        boxed: distill_verify::boxed_answers(stated::tail(answer)).into_iter().take(8).map(cut).collect(),
        answers: answered.is_some() || outlined.code_blocks > 0 || says_the_same,
        answer: outlined,
        reasoned: reasoned.as_deref().map(cut),
        answered: answered.as_deref().map(cut),
        agreement,
    }
}

/// Characters before the tag that opens this reasoning.
fn chars_before(format: &TurnFormat, turn: &str, reasoning: &str) -> u64 {
    let before = &turn[..reasoning.as_ptr() as usize - turn.as_ptr() as usize];
    before.strip_suffix(format.open.as_str()).map_or(0, chars)
}

fn chars(text: &str) -> u64 {
    text.trim().chars().count() as u64
}

fn outline(turn: &str, part: &str) -> Outline {
    if part.is_empty() {
        return Outline::default();
    }
    let offset = part.as_ptr() as usize - turn.as_ptr() as usize;
    let evidence = |span: Range<usize>| Evidence::of(part, offset, span);
    let fences = open::fences(part);
    Outline {
        chars: chars(part),
        code_blocks: fences.closed.len() as u64,
        unclosed_box: open::unclosed_box(part, &fences.closed).map(evidence),
        unclosed_fence: fences.unclosed.map(evidence),
    }
}

//! Is a trace readable, and is it an answer? What DeepSeek-R1 dropped of its own traces ("long paragraphs, and code blocks",
//! 2.3.3), and what nobody wants to teach: refusals, a teacher that says who it is, doubt without end.
//!
//! | reason | when |
//! |---|---|
//! | `long-paragraph` | more than `max-paragraph-chars` characters without a line break, blocks of code aside |
//! | `code-block` | more than `max-code-blocks` fenced blocks in the reasoning, the problem's domain not among `code-domains` |
//! | `refusal` | the answer begins by refusing to give one |
//! | `identity-leak` | reasoning or answer says which model speaks, or that one does, unasked |
//! | `branch-heavy` | above `max-branches` of `Wait`, `Alternatively`, `Hmm` in a thousand words of reasoning, and `min-branches` of them |
//!
//! Each reason has its switch. What is in quotation marks is not said by the trace; nor is who it is a leak, or a refusal
//! one, where the problem asks for it.

mod phrases;
#[cfg(test)]
mod tests;

use crate::{
    Decided, Filter, FilterError, Listed, Unit,
    filter::{decide_each, measure_asked},
    prose::{Evidence, prose},
    unit::{Asked, Passage, Said},
};
use distill_dataset::{Context, Keyed, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// Readable, and an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StyleConfig {
    /// Whether long paragraphs count. On, as DeepSeek-R1 has it.
    pub long_paragraph: bool,
    /// The characters of the longest paragraph that is read gladly. R1's report gives no number; 4000 are two printed pages.
    pub max_paragraph_chars: u64,
    /// Whether blocks of code in the reasoning count. On, as DeepSeek-R1 has it.
    pub code_block: bool,
    /// How many of them are suffered. None, as R1's report reads.
    pub max_code_blocks: u64,
    /// Domains of problems whose reasoning may hold code. R1's report names no exception; half a solution to a problem of
    /// programming is code.
    pub code_domains: Vec<String>,
    /// Whether refusals count. On: a refusal teaches to refuse.
    pub refusal: bool,
    /// Whether the model's word on itself counts. On: the student is another model.
    pub identity_leak: bool,
    /// Whether branches count. Off: dropping branch-heavy traces gained up to 5.1 points for some students (arXiv
    /// 2604.01702), which is to be tried before it is believed.
    pub branch_heavy: bool,
    /// The branches in a thousand words that are suffered. The paper's measure is another: tune it on your own traces.
    pub max_branches: f64,
    /// Fewer branches are never too many, so that short traces have their doubts.
    pub min_branches: u64,
}

impl Default for StyleConfig {
    fn default() -> Self {
        StyleConfig {
            long_paragraph: true,
            max_paragraph_chars: 4000,
            code_block: true,
            max_code_blocks: 0,
            code_domains: vec!["code".to_owned()],
            refusal: true,
            identity_leak: true,
            branch_heavy: false,
            max_branches: 20.0,
            min_branches: 5,
        }
    }
}

/// The style of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Styled {
    /// The trace.
    pub trace_id: String,
    /// The domain of its problem.
    pub domain: String,
    /// Characters of the longest paragraph.
    pub paragraph_chars: u64,
    /// The longest paragraph.
    pub paragraph: Option<Evidence>,
    /// Blocks of code in the reasoning.
    pub code_blocks: u64,
    /// The first of them.
    pub code_block: Option<Evidence>,
    /// Where the answer refuses.
    pub refusal: Option<Evidence>,
    /// Where the model says who it is.
    pub identity_leak: Option<Evidence>,
    /// Words of the reasoning; a character of Han is one.
    pub words: u64,
    /// Words of the reasoning that begin another branch.
    pub branches: u64,
    /// The first of them.
    pub branch: Option<Evidence>,
}

impl Listed for StyleConfig {
    fn check(&self) -> Result<(), String> {
        if self.max_paragraph_chars == 0 {
            return Err("`max-paragraph-chars`: expected at least 1, found 0".to_owned());
        }
        if !(0.0..=1000.0).contains(&self.max_branches) {
            return Err(format!("`max-branches`: expected 0 to 1000, found {}", self.max_branches));
        }
        Ok(())
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &StyleConfig::default())
    }
}

impl Filter for StyleConfig {
    fn stage(&self) -> Stage {
        Stage { name: "style", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_asked(unit, context, out, styled)
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |styled: Styled| {
            let reason = self.reason(&styled);
            Decided::unless(styled.trace_id, reason)
        })
    }
}

impl StyleConfig {
    fn reason(&self, styled: &Styled) -> Option<&'static str> {
        let is_code = self.code_domains.contains(&styled.domain);
        let rate = styled.branches as f64 * 1000.0 / styled.words.max(1) as f64;
        let branches = styled.branches >= self.min_branches && rate > self.max_branches;
        let reasons = [
            ("long-paragraph", self.long_paragraph && styled.paragraph_chars > self.max_paragraph_chars),
            ("code-block", self.code_block && !is_code && styled.code_blocks > self.max_code_blocks),
            ("refusal", self.refusal && styled.refusal.is_some()),
            ("identity-leak", self.identity_leak && styled.identity_leak.is_some()),
            ("branch-heavy", self.branch_heavy && branches),
        ];
        reasons.into_iter().find(|(_, holds)| *holds).map(|(reason, _)| reason)
    }
}

fn styled(said: &Said, problem: &Asked) -> Styled {
    let turn = said.turn();
    let question: Vec<String> = problem.messages.iter().map(|message| message.content.to_lowercase()).collect();
    let question = question.join("\n");
    let mut styled = Styled { trace_id: said.id.clone(), domain: problem.domain.clone(), ..Styled::default() };
    for Passage { is_reasoning, offset, text } in said.parts(&turn) {
        let evidence = |span: Range<usize>| Evidence::of(text, offset, span);
        let fences = prose(text).fences;
        let (chars, paragraph) = longest_paragraph(text, &fences);
        if chars > styled.paragraph_chars {
            (styled.paragraph_chars, styled.paragraph) = (chars, Some(evidence(paragraph)));
        }
        if styled.identity_leak.is_none() && !phrases::asks_who_speaks(&question) {
            styled.identity_leak = phrases::identity(text).map(evidence);
        }
        if is_reasoning {
            styled.code_blocks = fences.len() as u64;
            styled.code_block = fences.into_iter().next().map(evidence);
            let branches = phrases::branches(text);
            (styled.words, styled.branches) = (branches.words, branches.count);
            styled.branch = branches.first.map(evidence);
        } else if !phrases::asks_to_refuse(&question) && distill_verify::boxed_answers(text).is_empty() {
            styled.refusal = phrases::refusal(text).map(evidence);
        }
    }
    styled
}

/// The longest stretch without a line break, and its characters. Blocks of code are none.
fn longest_paragraph(text: &str, fences: &[Range<usize>]) -> (u64, Range<usize>) {
    let (mut longest, mut span) = (0, 0..0);
    let mut starts = 0;
    let ends = fences.iter().map(|fence| (fence.start, fence.end)).chain([(text.len(), text.len())]);
    for (end, next) in ends {
        let mut at = starts;
        for line in text[starts..end].split('\n') {
            // A line has at most as many characters as bytes.
            if line.len() as u64 > longest {
                let chars = line.chars().count() as u64;
                if chars > longest {
                    (longest, span) = (chars, at..at + line.len());
                }
            }
            at += line.len() + 1;
        }
        starts = next;
    }
    (longest, span)
}

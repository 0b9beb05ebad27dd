//! Does a problem or a trace contain an item of a benchmark? Benchmarks and corpus in; for each document the item that is in it, how
//! much of it and where, out.
//!
//! | reason | when |
//! |---|---|
//! | `contaminated-question` | a benchmark's question stands in the document's question |
//! | `contaminated-answer-side` | a benchmark's question stands in the reasoning or the answer |
//! | `contaminated-answer-text` | a benchmark's answer, of 13 tokens or more, stands anywhere in the document |
//! | `variant` | the same question with other numbers; kept, with this as a note, unless `drop-variants` |
//!
//! Two passes over the corpus. The first counts the benchmarks' n-grams over its problems ([`Counts`]), since only a rare phrase
//! tells anything; the second measures each document ([`measure`]). A threshold is no part of a measure.

mod counts;
mod hash;
mod index;
mod search;
#[cfg(test)]
mod tests;
mod tokens;

use counts::{Counts, Weights};
use index::Index;

use crate::{
    Decided, Filter, FilterError, Inputs, Listed, Prepared, Survey, Unit,
    filter::{decide_each, measure_asked},
    unit::{Asked, Of, Said},
};
use distill_dataset::{Context, Dataset, Keyed, Problem, Shard, Stage, Tally, open_regular, write_whole};
use index::MOST_WORDS;
use rayon::prelude::*;
use search::{Found, LEAST_SHARE, Sought, Text};
use serde::{Deserialize, Serialize};
use std::{io::BufReader, ops::Range, path::Path};
use tokens::Reading;

/// Bytes of evidence that a row shows, at most.
const EXCERPT_BYTES: usize = 160;

/// When an item counts as contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Any 8 words in a row that the question has too; lower case, split at blanks, punctuation kept. open-r1
    /// (`scripts/decontaminate.py`) and s1 (`data/decontaminate_util.py`, whose helper says 13 and whose call says 8).
    EightGram,
    /// Any 10 words in a row. DeepSeek-R1, supplement: "filtered out any training sample that contained a 10-gram sequence matching
    /// an evaluation question". It does not say what a word is; here they are those of `eight-gram`.
    TenGram,
    /// Any 13 words in a row, without the punctuation of ASCII and in its lower case. lm-evaluation-harness (`janitor.py`), after
    /// GPT-3, appendix C. The Janitor cuts 200 characters on both sides and keeps the rest; here the row is marked.
    LmEval,
    /// A share of the question's n-grams, the rare ones weighing more, close together. Ours.
    #[default]
    Containment,
}

impl Rule {
    /// Words of an n-gram, where the rule says how many.
    fn n_gram_words(self) -> Option<u32> {
        match self {
            Rule::EightGram => Some(8),
            Rule::TenGram => Some(10),
            Rule::LmEval => Some(13),
            Rule::Containment => None,
        }
    }

    fn reading(self) -> Reading {
        match self {
            Rule::EightGram | Rule::TenGram => Reading::Words,
            Rule::LmEval => Reading::Bare,
            Rule::Containment => Reading::Mathematics,
        }
    }

    /// What its source looks at: the prompt; the training sample.
    fn sides(self) -> &'static [Side] {
        match self {
            Rule::EightGram => &[Side::Question],
            Rule::TenGram | Rule::LmEval => &[Side::Question, Side::AnswerSide],
            Rule::Containment => &[Side::Question, Side::AnswerSide, Side::AnswerText],
        }
    }
}

/// What stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// A benchmark's question in the document's question.
    Question,
    /// A benchmark's question in the reasoning or the answer.
    AnswerSide,
    /// A benchmark's answer anywhere.
    AnswerText,
}

/// How contamination is told. `rule` and `n-gram-words` decide what is measured; all else is thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ContaminationConfig {
    /// Which rule.
    pub rule: Rule,
    /// Words of an n-gram of `containment`; a letter, number, operator or Han character is half a word. The other rules say their
    /// own.
    pub n_gram_words: u32,
    /// The share of an item that `containment` takes for all of it, at least. The other rules need one n-gram.
    pub threshold: f64,
    /// The share of the item's numbers that stand with it, at least; below it the match is a variant.
    pub numbers: f64,
    /// Whether the same question with other numbers goes.
    pub drop_variants: bool,
    /// What is looked at; the rule's own where nothing is said.
    pub sides: Option<Vec<Side>>,
}

impl Default for ContaminationConfig {
    fn default() -> Self {
        ContaminationConfig {
            rule: Rule::Containment,
            n_gram_words: 3,
            threshold: 0.4,
            numbers: 0.6,
            drop_variants: false,
            sides: None,
        }
    }
}

/// An item of a benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// The benchmark's name.
    benchmark: String,
    /// The item's id within it.
    id: String,
    /// Its question.
    question: String,
    /// Its answer or solution; may be empty.
    answer: String,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
struct Document<'a> {
    /// The problem's question.
    question: &'a str,
    /// A trace's reasoning and answer.
    answer: Option<&'a str>,
}

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Its question.
    Question,
    /// Its reasoning and answer.
    Answer,
}

/// An item in a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The item's benchmark.
    pub benchmark: String,
    /// The item's id.
    pub item: String,
    /// The share of the item that stands there, by the weights of its n-grams; 1 where a short one stands there whole.
    pub score: f32,
    /// Distinct n-grams of the item that stand there. 0 for an item that is too short to have any.
    pub n_grams: u32,
    /// The share of the item's numbers that stand there; 1 where it has none, and for the rules of others.
    pub numbers: f32,
    /// Where it is.
    pub part: Part,
    /// Its first byte in that part.
    pub start: u64,
    /// The byte after it.
    pub end: u64,
    /// Its first 160 bytes, at most.
    pub excerpt: String,
}

/// What benchmarks a document contains: the best match of each kind, the first item of equal ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contamination {
    /// The trace, or the problem.
    pub id: String,
    /// The rule by which it was measured.
    pub rule: Rule,
    /// A benchmark's question in the document's.
    pub question: Option<Match>,
    /// The same where a number is as good as any other; only `containment` looks.
    pub masked: Option<Match>,
    /// A benchmark's question in the reasoning or the answer.
    pub answer_side: Option<Match>,
    /// A benchmark's answer anywhere.
    pub answer_text: Option<Match>,
}

/// What a document contains of the benchmarks. `weights` are those of `index`.
fn measure(index: &Index, weights: &Weights, document: &Document<'_>) -> Contamination {
    let question = Text::new(index, document.question, true);
    let answer = document.answer.map(|answer| Text::new(index, answer, false));
    let sought = |text: &Text<'_>, part: Part, sought: Sought| {
        text.best(index, weights, sought).map(|found| matched(index, text, part, found))
    };
    let whole = question.whole(index).map(|found| matched(index, &question, Part::Question, found));
    let in_question = sought(&question, Part::Question, Sought::Answers);
    let in_answer = answer.as_ref().and_then(|answer| sought(answer, Part::Answer, Sought::Answers));
    let better = |one: &Match, other: &Match| other.score > one.score;
    Contamination {
        id: String::new(),
        rule: index.rule,
        question: whole.or_else(|| sought(&question, Part::Question, Sought::Questions)),
        masked: sought(&question, Part::Question, Sought::Masked),
        answer_side: answer.as_ref().and_then(|answer| sought(answer, Part::Answer, Sought::Questions)),
        answer_text: match (in_question, in_answer) {
            (Some(one), Some(other)) => Some(if better(&one, &other) { other } else { one }),
            (one, other) => one.or(other),
        },
    }
}

fn matched(index: &Index, text: &Text<'_>, part: Part, found: Found) -> Match {
    let item = &index.items[index.entries[found.entry as usize].item as usize];
    let span = text.tokens.get(found.tokens[0]..found.tokens[1]).unwrap_or_default();
    let (start, end) = match span {
        [first, .., last] => (first.bytes().start, last.bytes().end),
        [only] => (only.bytes().start, only.bytes().end),
        [] => (0, 0),
    };
    let evidence = &text.text[start..end];
    Match {
        benchmark: item.benchmark.clone(),
        item: item.id.clone(),
        score: found.share as f32,
        n_grams: found.num_grams,
        numbers: if index.rule == Rule::Containment { text.numbers(index, found) as f32 } else { 1.0 },
        part,
        start: start as u64,
        end: end as u64,
        excerpt: evidence[..evidence.floor_char_boundary(EXCERPT_BYTES)].to_owned(),
    }
}

impl ContaminationConfig {
    /// The benchmarks as these settings read them.
    fn index(&self, items: &[Item]) -> Index {
        Index::new(items, self.rule, self.n_gram_words)
    }

    /// Why a document is none to keep, and what it contains. A variant that is kept has a reason too; [`Self::drops`] tells.
    fn reason<'a>(&self, found: &'a Contamination) -> Option<(&'static str, &'a Match)> {
        let sides = self.sides.as_deref().unwrap_or(self.rule.sides());
        let enough = |found: &&Match| match self.rule {
            Rule::Containment => f64::from(found.score) >= self.threshold,
            _ => true,
        };
        let same = |found: &&Match| f64::from(found.numbers) >= self.numbers;
        let on = |side: Side, found: &'a Option<Match>| found.as_ref().filter(|_| sides.contains(&side)).filter(enough);
        let question = on(Side::Question, &found.question);
        let reasons = [
            ("contaminated-question", question.filter(same)),
            ("contaminated-answer-side", on(Side::AnswerSide, &found.answer_side).filter(same)),
            ("contaminated-answer-text", on(Side::AnswerText, &found.answer_text)),
            ("variant", question.or_else(|| on(Side::Question, &found.masked))),
        ];
        reasons.into_iter().find_map(|(reason, found)| found.map(|found| (reason, found)))
    }

    /// Whether a reason is one to drop a document.
    fn drops(&self, reason: &str) -> bool {
        self.drop_variants || reason != "variant"
    }
}

impl Listed for ContaminationConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MOST_WORDS).contains(&self.n_gram_words) {
            return Err(format!("`n-gram-words`: expected 1 to {MOST_WORDS}, found {}", self.n_gram_words));
        }
        if !(LEAST_SHARE..=1.0).contains(&self.threshold) {
            return Err(format!("`threshold`: expected a share from {LEAST_SHARE} to 1, found {}", self.threshold));
        }
        if !(0.0..=1.0).contains(&self.numbers) {
            return Err(format!("`numbers`: expected a share from 0 to 1, found {}", self.numbers));
        }
        Ok(())
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &ContaminationConfig::default())
    }
}

impl Filter for ContaminationConfig {
    fn stage(&self) -> Stage {
        Stage { name: "contamination", version: 1 }
    }

    fn reads_benchmarks(&self) -> bool {
        true
    }

    fn survey(&self) -> Option<&dyn Survey> {
        // The other rules weigh nothing.
        (self.rule == Rule::Containment).then_some(self)
    }

    fn keyed(&self) -> Keyed {
        let measured = ContaminationConfig { rule: self.rule, n_gram_words: self.n_gram_words, ..Self::default() };
        Keyed::of(&measured, &ContaminationConfig::default())
    }

    fn prepare(&self, inputs: &Inputs<'_>) -> Result<Option<Box<Prepared>>, FilterError> {
        Ok(Some(Box::new(self.sought(inputs)?)))
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let prepared = unit.inputs.prepared.and_then(|prepared| prepared.downcast_ref::<BenchmarksSought>());
        let BenchmarksSought { index, weights } = match prepared {
            Some(prepared) => prepared,
            None => &self.sought(unit.inputs)?,
        };
        let is_trace = unit.inputs.of == Of::Traces;
        measure_asked(unit, context, out, |said: &Said, asked: &Asked| {
            let (turn, question) = (said.turn(), asked.text());
            let document = match is_trace {
                true => Document { question: &question, answer: Some(&turn) },
                false => Document { question: &turn, answer: None },
            };
            Contamination { id: said.id.clone(), ..measure(index, weights, &document) }
        })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |found: Contamination| match self.reason(&found).map(|(reason, _)| reason) {
            Some(reason) if self.drops(reason) => Decided::reject(found.id, reason),
            note => Decided { note, ..Decided::accept(found.id) },
        })
    }
}

/// Benchmarks as they are looked for: the same for all units.
struct BenchmarksSought {
    index: Index,
    weights: Weights,
}

impl ContaminationConfig {
    fn sought(&self, inputs: &Inputs<'_>) -> Result<BenchmarksSought, FilterError> {
        let index = self.index(&items(inputs.benchmarks)?);
        let counts = match (self.survey(), inputs.survey) {
            (None, _) => Counts::new(&index),
            (Some(_), Some(survey)) => read_counts(&survey.dir.join(COUNTS))?,
            (Some(_), None) => return Err(no_counts("none")),
        };
        let weights = Weights::new(&index, &counts).map_err(no_counts)?;
        Ok(BenchmarksSought { index, weights })
    }
}

/// The file that the first pass leaves.
const COUNTS: &str = "counts.json";

impl Survey for ContaminationConfig {
    fn stage(&self) -> Stage {
        Stage { name: "contamination-counts", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Filter::keyed(self)
    }

    fn look(&self, inputs: &Inputs<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let index = self.index(&items(inputs.benchmarks)?);
        let mut counts = Counts::new(&index);
        let tables = if inputs.of == Of::Problems { inputs.rows } else { inputs.problems };
        let total: u64 = tables.iter().map(|table| table.manifest.tally.rows_out).sum();
        let mut rows_in = 0;
        context.progress.begin("count", total, "problems");
        let mut problems = tables.iter().flat_map(Dataset::rows::<Asked>);
        loop {
            context.cancel.check()?;
            let some = problems.by_ref().take(1024).collect::<Result<Vec<Asked>, _>>()?;
            if some.is_empty() {
                break;
            }
            let hits: Vec<_> = some.par_iter().map(|problem| Counts::hits(&index, &problem.text())).collect();
            hits.into_iter().for_each(|hits| counts.count(hits));
            rows_in += some.len() as u64;
            context.progress.advance(rows_in, "");
        }
        context.progress.end();
        // Numbers always become JSON.
        write_whole(&out.join(COUNTS), &serde_json::to_vec(&counts).unwrap_or_default())?;
        Ok(Tally { rows_in, ..Tally::default() })
    }
}

fn no_counts(found: impl std::fmt::Display) -> FilterError {
    FilterError::Survey { filter: "contamination", found: found.to_string() }
}

fn read_counts(path: &Path) -> Result<Counts, FilterError> {
    let file = open_regular(path).map_err(|error| no_counts(format!("{}: {error}", path.display())))?;
    serde_json::from_reader(BufReader::new(file)).map_err(no_counts)
}

/// The items of benchmarks: their questions, and answers or solutions, whichever says more.
fn items(benchmarks: &[(String, Dataset)]) -> Result<Vec<Item>, FilterError> {
    let of = |(name, table): &(String, Dataset)| {
        let name = name.clone();
        table.rows::<Problem>().map(move |problem| {
            let Problem { id, messages, answer, solution, .. } = problem?;
            let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            let answer = solution.filter(|solution| solution.len() > answer.len()).unwrap_or(answer);
            Ok(Item { benchmark: name.clone(), id, question: texts.join("\n\n"), answer })
        })
    };
    benchmarks.iter().flat_map(of).collect()
}

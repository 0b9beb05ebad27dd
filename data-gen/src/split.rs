//! The held-out split, drawn across all sources: a held-out problem is in no source's training part, exactly or after
//! normalisation, by construction.

use crate::ProblemsError;
use distill_dataset::{
    Context, Cut, Dataset, Decision, Detail, Digest, Keyed, Message, Problem, Record, Shard, ShardWriter, Split, Stage,
    Tally, folded_form, normal_form, seeded_rank,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

/// The stage of [`split`].
pub const PROBLEMS: Stage = Stage { name: "problems", version: 2 };

/// Problems in a shard: sampling works shard by shard, and ranks share the shards.
const SHARD_ROWS: usize = 4096;

/// What two problems share that are not both trained on and held out, whatever their spelling: the digest of their messages'
/// folded forms.
pub fn normalised_key(messages: &[Message]) -> [u8; 16] {
    key("normalised-problem", messages, folded_form)
}

/// What two copies of a problem share: the digest of their messages' normal forms.
pub(crate) fn copies_key(messages: &[Message]) -> [u8; 16] {
    key("copies-of-problem", messages, normal_form)
}

fn key(of: &str, messages: &[Message], form: fn(&str) -> String) -> [u8; 16] {
    let mut digest = Digest::new(of);
    for message in messages {
        digest.field(message.role.as_str()).field(&form(&message.content));
    }
    digest.finish_bytes()
}

/// Which source's problems are split, and how many each source holds out.
#[derive(Clone, Debug, Serialize)]
pub struct SplitConfig {
    /// The source, from 0.
    pub source: usize,
    /// Held-out problems of each source.
    pub holdout: Vec<u32>,
}

impl SplitConfig {
    /// What decides the split, beside the sources' problems.
    pub fn keyed(&self, seed: u64) -> Keyed {
        // Who holds nothing out needs no seed, and one source alone no number.
        let keyed = Keyed::default().with("holdout", &self.holdout).with("source", self.source);
        if self.holdout.iter().all(|count| *count == 0) { keyed } else { keyed.with("seed", seed) }
    }
}

/// Gives every problem of one source its split. Each source in turn holds out the problems with the lowest seeded rank
/// among those that no earlier source holds out; every other source drops them.
///
/// # Errors
/// When a source has fewer problems than it is to hold out, or a table cannot be read or written.
pub fn split(config: &SplitConfig, sources: &Sources, context: &Context, out: &Path) -> Result<Tally, ProblemsError> {
    let holders = holders(sources, &config.holdout, context)?;
    let cut = Cut { shard_rows: SHARD_ROWS, ..Cut::default() };
    let mut writer = ShardWriter::cut(out, "part", cut)?.sorted_by(|problem: &Problem| &problem.id);
    let mut counts = Counts::default();
    let mut held = HashSet::new();
    for problem in sources.rows::<Problem>(config.source) {
        let (mut problem, goes_on) = problem?;
        if !goes_on {
            counts.filtered += 1;
            continue;
        }
        let key = normalised_key(&problem.messages);
        problem.split = match holders.get(&key) {
            None => Split::Train,
            Some(source) if *source == config.source => {
                if !held.insert(key) {
                    // Another spelling of what is held out: evaluated on once, and never trained on.
                    counts.held_already += 1;
                    continue;
                }
                Split::Holdout
            }
            Some(_) => {
                counts.elsewhere += 1;
                continue;
            }
        };
        counts.add(&problem);
        writer.push(problem)?;
    }
    Ok(counts.tally(writer.finish()?))
}

#[derive(Default)]
struct Counts {
    holdout: u64,
    elsewhere: u64,
    held_already: u64,
    filtered: u64,
    licences: BTreeMap<String, u64>,
    unlicensed: u64,
    references: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, problem: &Problem) {
        self.holdout += u64::from(problem.split == Split::Holdout);
        match &problem.licence {
            Some(licence) => *self.licences.entry(licence.clone()).or_default() += 1,
            None => self.unlicensed += 1,
        }
        *self.references.entry(problem.reference.as_str().to_owned()).or_default() += 1;
    }

    fn tally(self, rows_out: u64) -> Tally {
        let reasons = [
            ("held-out-by-another-source", self.elsewhere),
            ("held-out-in-another-spelling", self.held_already),
            ("dropped-by-a-filter", self.filtered),
        ];
        let found = reasons.into_iter().filter(|(_, count)| *count > 0);
        let rejected = found.map(|(reason, count)| (reason.to_owned(), count)).collect();
        let rows_in = rows_out + self.elsewhere + self.held_already + self.filtered;
        let detail = Detail::Problems {
            train: rows_out - self.holdout,
            holdout: self.holdout,
            licences: self.licences,
            unlicensed: self.unlicensed,
            references: self.references,
        };
        Tally { rows_in, rows_out, rejected, detail, ..Tally::default() }
    }
}

/// The problems of every source, and what problem filters decided on them.
pub struct Sources {
    problems: Vec<Dataset>,
    /// Beside the sources' shards, one source after the other.
    decisions: Option<Dataset>,
}

impl Sources {
    /// All problems go on where nothing was decided.
    pub fn new(problems: Vec<Dataset>, decisions: Option<Dataset>) -> Sources {
        Sources { problems, decisions }
    }

    /// The problems of a source, and whether each goes on.
    fn rows<R: ProblemRow>(&self, source: usize) -> impl Iterator<Item = Result<(R, bool), ProblemsError>> {
        let count = |dataset: &Dataset| dataset.shards().count();
        let before = self.problems.iter().take(source).map(count).sum::<usize>();
        let own = self.problems.get(source).map_or(0, count);
        let decisions = self.decisions.as_ref().map(|table| {
            let shards: Vec<Shard> = table.shards().skip(before).take(own).collect();
            shards.into_iter().flat_map(|shard| shard.all_rows::<Decision>())
        });
        let mut decisions = decisions;
        let problems = self.problems.get(source).into_iter().flat_map(Dataset::rows::<R>);
        problems.map(move |problem| {
            let problem = problem?;
            let Some(decisions) = &mut decisions else { return Ok((problem, true)) };
            match decisions.next().transpose()? {
                Some(decision) if decision.trace_id == problem.id() => Ok((problem, decision.kept)),
                other => Err(ProblemsError::Mismatch {
                    problem: problem.id().to_owned(),
                    found: other.map_or("the end of the table".to_owned(), |other| other.trace_id),
                }),
            }
        })
    }
}

trait ProblemRow: Record {
    fn id(&self) -> &str;
}

impl ProblemRow for Problem {
    fn id(&self) -> &str {
        &self.id
    }
}

impl ProblemRow for Question {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The columns of a problem that the split looks at.
#[derive(Serialize, Deserialize)]
struct Question {
    id: String,
    messages: Vec<Message>,
}

/// The normalised keys of all held-out problems, and which source holds each out.
fn holders(sources: &Sources, holdout: &[u32], context: &Context) -> Result<HashMap<[u8; 16], usize>, ProblemsError> {
    let mut holders = HashMap::new();
    for (source, count) in holdout.iter().enumerate().filter(|(_, count)| **count > 0) {
        // The lowest ranks so far, each problem once whatever its spellings.
        let mut lowest: BTreeSet<([u8; 16], [u8; 16])> = BTreeSet::new();
        for question in sources.rows::<Question>(source) {
            context.cancel.check()?;
            let (question, goes_on) = question?;
            let key = normalised_key(&question.messages);
            if goes_on && !holders.contains_key(&key) {
                // By what it says, not by its id: another spelling elsewhere has the same rank.
                lowest.insert((seeded_rank("holdout", context.seed, &hex(&key)), key));
                if lowest.len() > *count as usize {
                    lowest.pop_last();
                }
            }
        }
        if lowest.len() < *count as usize {
            return Err(ProblemsError::Holdout { holdout: *count, available: lowest.len() as u64 });
        }
        holders.extend(lowest.into_iter().map(|(_, key)| (key, source)));
    }
    Ok(holders)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

//! The held-out split, drawn across all sources: a held-out problem is in no source's training part, exactly or after
//! normalisation, by construction.

use crate::ProblemsError;
use distill_dataset::{
    Context, Cut, Dataset, Detail, Digest, Keyed, Message, Problem, ShardWriter, Split, Stage, Tally, seeded_rank,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BinaryHeap, HashMap},
    path::Path,
};

/// The stage of [`split`].
pub const PROBLEMS: Stage = Stage { name: "problems", version: 2 };

/// Problems in a shard: sampling works shard by shard, and ranks share the shards.
const SHARD_ROWS: usize = 4096;

/// What two problems share when they differ only in case, white space or the spacing of punctuation. Digits, operators
/// and LaTeX are kept: dropping them, as prose normalisers do, makes different mathematics equal. A space between two
/// letters or digits stays: `12 3` is not `123`.
pub fn normalised_key(messages: &[Message]) -> [u8; 16] {
    let mut digest = Digest::new("normalised-problem");
    for message in messages {
        let mut text = String::with_capacity(message.content.len());
        for word in message.content.split_whitespace() {
            if text.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric) {
                text.push(' ');
            }
            text.extend(word.chars().flat_map(char::to_lowercase));
        }
        digest.field(message.role.as_str()).field(&text);
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
pub fn split(config: &SplitConfig, sources: &[Dataset], context: &Context, out: &Path) -> Result<Tally, ProblemsError> {
    let holders = holders(sources, &config.holdout, context)?;
    let cut = Cut { shard_rows: SHARD_ROWS, ..Cut::default() };
    let mut writer = ShardWriter::cut(out, "part", cut)?.sorted_by(|problem: &Problem| &problem.id);
    let mut counts = Counts::default();
    for problem in sources.get(config.source).into_iter().flat_map(Dataset::rows::<Problem>) {
        let mut problem = problem?;
        problem.split = match holders.get(&normalised_key(&problem.messages)) {
            None => Split::Train,
            Some(source) if *source == config.source => Split::Holdout,
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
        let rejected = match self.elsewhere {
            0 => BTreeMap::new(),
            count => BTreeMap::from([("held-out-by-another-source".to_owned(), count)]),
        };
        let detail = Detail::Problems {
            train: rows_out - self.holdout,
            holdout: self.holdout,
            licences: self.licences,
            unlicensed: self.unlicensed,
            references: self.references,
        };
        Tally { rows_in: rows_out + self.elsewhere, rows_out, rejected, detail, ..Tally::default() }
    }
}

/// The column of a problem that the split looks at.
#[derive(Serialize, Deserialize)]
struct Question {
    messages: Vec<Message>,
}

/// The normalised keys of all held-out problems, and which source holds each out.
fn holders(sources: &[Dataset], holdout: &[u32], context: &Context) -> Result<HashMap<[u8; 16], usize>, ProblemsError> {
    let mut holders = HashMap::new();
    for (source, (dataset, count)) in sources.iter().zip(holdout).enumerate().filter(|(_, (_, count))| **count > 0) {
        // The lowest ranks so far, the highest of them on top.
        let mut lowest: BinaryHeap<([u8; 16], [u8; 16])> = BinaryHeap::new();
        for question in dataset.rows::<Question>() {
            context.cancel.check()?;
            let key = normalised_key(&question?.messages);
            if !holders.contains_key(&key) {
                // By what it says, not by its id: another spelling elsewhere has the same rank.
                lowest.push((seeded_rank("holdout", context.seed, &hex(&key)), key));
                if lowest.len() > *count as usize {
                    lowest.pop();
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

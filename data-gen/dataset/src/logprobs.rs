//! Log-probabilities of a trace's tokens: for each token, that of the token that was generated and those of the most probable
//! tokens in its place. Distillation by logits reads them.
//!
//! [`LogProbsBuilder`] takes them as a server tells them, [`LogProbs`] holds them, `codec.rs` turns them into bytes and back,
//! `file.rs` keeps the bytes of many traces beside a dataset's shards.
//!
//! # Precision
//! A log-probability (natural logarithm, in nats, at most 0) is kept in steps of 1/1024 nat, from 0 to −65535/1024 ≈ −63.999.
//! In this range it is off by at most 1/2048 nat, which changes a probability by less than 0.05 %; what is below it is kept as
//! −63.999, what is above 0, by rounding, as 0.
//!
//! # Tokens
//! A token is known by its id where the server tells ids, else by its bytes. One trace has tokens of one kind. Where
//! tokens are known by their bytes and the server tells the ids of the generated ones, these are kept as well.
//!
//! # Size
//! Measured at k = 20 on 4000 synthetic tokens (alternatives drawn from a Zipf vocabulary of 128 000, normal logits, each place
//! independent of the others): 74 bytes a token with ids, 93 with texts; the JSON that a server sends is more than 1000. Real traces
//! repeat their alternatives more and should take less. In memory an alternative takes 6 bytes, and a distinct token 64 and
//! twice its text. `tests.rs` holds these figures.

mod codec;
mod file;
mod text;

pub use file::{LogProbsReader, LogProbsWriter};

use std::collections::HashMap;

/// Most alternatives of a token: what OpenAI's interface allows.
pub const MAX_ALTERNATIVES: u8 = 20;
/// Steps in a nat.
const STEPS: f32 = 1024.0;
/// Most bytes of one trace's log-probabilities before they are compressed, and about what they take in memory.
const MAX_BYTES: usize = 1 << 26;
/// What a token of the table takes in memory beside its text, about.
const ROW_BYTES: usize = 64;

/// Why log-probabilities cannot be kept, or bytes are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogProbsError {
    /// The bytes are something else.
    #[error("expected log-probabilities (`dlp`), found other bytes")]
    Magic,
    /// Another version wrote them.
    #[error("expected log-probabilities of version {expected}, found version {found}")]
    Version {
        /// What this program reads.
        expected: u8,
        /// What is there.
        found: u8,
    },
    /// The bytes were changed or cut.
    #[error("expected checksum {expected:08x}, found {found:08x}")]
    Checksum {
        /// What the bytes say.
        expected: u32,
        /// What they have.
        found: u32,
    },
    /// The bytes contradict themselves.
    #[error("log-probabilities are damaged: {0}")]
    Damaged(&'static str),
    /// There are too many of them.
    #[error("expected at most {most} bytes of log-probabilities for one trace, found {found}")]
    TooLarge {
        /// What may be.
        most: usize,
        /// What is there.
        found: u64,
    },
    /// A log-probability is no number.
    #[error("expected a log-probability, found NaN")]
    NotANumber,
    /// Some tokens have ids and others have not.
    #[error("expected all tokens of a trace with ids or all without, found both")]
    Mixed,
    /// Two parts of a trace were asked for different numbers of alternatives.
    #[error("expected up to {expected} alternatives a token, found up to {found}")]
    Alternatives {
        /// As the first part was asked for.
        expected: u8,
        /// As the other was.
        found: u8,
    },
    /// There is not one id for each token.
    #[error("expected {expected} ids of tokens, found {found}")]
    Ids {
        /// As many as tokens.
        expected: usize,
        /// What was told.
        found: usize,
    },
}

/// A token, as the server names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token<'a> {
    /// By its number in the teacher's vocabulary.
    Id(u32),
    /// By its bytes, which need not be UTF-8.
    Text(&'a [u8]),
}

/// The distinct tokens of a trace.
#[derive(Clone, Debug)]
enum Table {
    Ids(Vec<u32>),
    /// All bytes, and where each token ends in them.
    Texts(Vec<u8>, Vec<u32>),
}

impl Table {
    fn len(&self) -> usize {
        match self {
            Table::Ids(ids) => ids.len(),
            Table::Texts(_, ends) => ends.len(),
        }
    }

    /// The token in a row that is there.
    fn get(&self, row: u32) -> Token<'_> {
        let row = row as usize;
        match self {
            Table::Ids(ids) => Token::Id(ids[row]),
            Table::Texts(bytes, ends) => {
                let start = row.checked_sub(1).map_or(0, |before| ends[before] as usize);
                Token::Text(&bytes[start..ends[row] as usize])
            }
        }
    }
}

/// The shape of a token's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// How many alternatives it has.
    alternatives: u8,
    /// Which of them was generated, from 1; 0 where none was: an entry of its own then follows them.
    place: u8,
}

impl Shape {
    fn num_entries(self) -> usize {
        usize::from(self.alternatives) + usize::from(self.place == 0)
    }
}

/// The log-probabilities of one trace's tokens, in their order.
#[derive(Clone, Debug)]
pub struct LogProbs {
    k: u8,
    table: Table,
    /// Of the generated tokens, where they are told beside texts.
    ids: Option<Vec<u32>>,
    shapes: Vec<Shape>,
    /// Rows of the table and steps of log-probability: a token's alternatives, the most probable first, then the generated
    /// one where it is none of them.
    rows: Vec<u32>,
    steps: Vec<u16>,
}

impl PartialEq for LogProbs {
    /// The same tokens and log-probabilities, whatever the order of the table.
    fn eq(&self, other: &LogProbs) -> bool {
        let told = |of: &LogProbs| (of.k, of.shapes.len(), of.steps.len());
        told(self) == told(other)
            && self.ids == other.ids
            && self.shapes == other.shapes
            && self.steps == other.steps
            && self.rows.iter().zip(&other.rows).all(|(a, b)| self.table.get(*a) == other.table.get(*b))
    }
}

/// The log-probabilities in one token's place.
#[derive(Clone, Copy, Debug)]
pub struct TokenLogProbs<'a> {
    of: &'a LogProbs,
    index: usize,
    start: usize,
}

impl<'a> TokenLogProbs<'a> {
    fn shape(&self) -> Shape {
        self.of.shapes[self.index]
    }

    fn entry(&self, at: usize) -> (Token<'a>, f32) {
        (self.of.table.get(self.of.rows[at]), -f32::from(self.of.steps[at]) / STEPS)
    }

    /// The token that was generated and its log-probability, in nats.
    pub fn chosen(&self) -> (Token<'a>, f32) {
        let Shape { alternatives, place } = self.shape();
        self.entry(self.start + usize::from(if place == 0 { alternatives } else { place - 1 }))
    }

    /// The id of the generated token, where it is known.
    pub fn chosen_id(&self) -> Option<u32> {
        match (self.chosen().0, &self.of.ids) {
            (Token::Id(id), _) => Some(id),
            (Token::Text(_), ids) => ids.as_ref().map(|ids| ids[self.index]),
        }
    }

    /// The most probable tokens and their log-probabilities in nats, the most probable first. The generated one is among
    /// them where it is that probable. There are k, or fewer where the server told fewer.
    pub fn alternatives(&self) -> impl Iterator<Item = (Token<'a>, f32)> + use<'a> {
        let (this, end) = (*self, self.start + usize::from(self.shape().alternatives));
        (this.start..end).map(move |at| this.entry(at))
    }
}

impl LogProbs {
    /// How many alternatives were asked for.
    pub fn k(&self) -> u8 {
        self.k
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The tokens in their order.
    pub fn iter(&self) -> impl Iterator<Item = TokenLogProbs<'_>> {
        let mut next = 0;
        self.shapes.iter().enumerate().map(move |(index, shape)| {
            let start = next;
            next += shape.num_entries();
            TokenLogProbs { of: self, index, start }
        })
    }

    /// The distinct tokens, generated or not.
    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        (0..self.table.len()).map(|row| self.table.get(row as u32))
    }

    /// About what they take in memory. Before they are compressed, their bytes are not more.
    pub fn num_bytes(&self) -> usize {
        let table = match &self.table {
            Table::Ids(ids) => ids.len() * ROW_BYTES,
            Table::Texts(bytes, ends) => 2 * bytes.len() + ends.len() * ROW_BYTES,
        };
        table + 6 * self.rows.len() + 2 * self.shapes.len() + self.ids.as_ref().map_or(0, |ids| 5 * ids.len())
    }

    /// With the ids of the generated tokens, which are known by their bytes. Where they are known by their ids, nothing is added.
    ///
    /// # Errors
    /// `Ids` when there is not one for each token.
    pub fn with_ids(self, ids: Vec<u32>) -> Result<LogProbs, LogProbsError> {
        if ids.len() != self.len() {
            return Err(LogProbsError::Ids { expected: self.len(), found: ids.len() });
        }
        let ids = matches!(self.table, Table::Texts(..)).then_some(ids);
        Ok(LogProbs { ids, ..self })
    }

    /// Adds those of what was generated behind a seam. Ids beside texts stay only where both parts have them.
    ///
    /// # Errors
    /// When the parts know their tokens in different ways, were asked for different numbers of alternatives, or are too large
    /// together.
    pub fn append(&mut self, next: &LogProbs) -> Result<(), LogProbsError> {
        if next.k != self.k {
            return Err(LogProbsError::Alternatives { expected: self.k, found: next.k });
        }
        let found = (self.num_bytes() + next.num_bytes()) as u64;
        if found > MAX_BYTES as u64 {
            return Err(LogProbsError::TooLarge { most: MAX_BYTES, found });
        }
        if next.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            self.clone_from(next);
            return Ok(());
        }
        let mut builder = LogProbsBuilder::of(std::mem::replace(self, LogProbs::none(self.k)));
        let rows: Result<Vec<u32>, _> = next.tokens().map(|token| builder.row(token)).collect();
        *self = builder.made;
        let rows = rows?;
        self.ids = match (self.ids.take(), &next.ids) {
            (Some(ids), Some(more)) => Some([&ids[..], more].concat()),
            _ => None,
        };
        self.shapes.extend(&next.shapes);
        self.rows.extend(next.rows.iter().map(|row| rows[*row as usize]));
        self.steps.extend(&next.steps);
        Ok(())
    }

    fn none(k: u8) -> LogProbs {
        LogProbs { k, table: Table::Ids(vec![]), ids: None, shapes: vec![], rows: vec![], steps: vec![] }
    }
}

/// Takes log-probabilities token by token.
#[derive(Debug)]
pub struct LogProbsBuilder {
    made: LogProbs,
    ids: HashMap<u32, u32>,
    texts: HashMap<Box<[u8]>, u32>,
}

impl LogProbsBuilder {
    /// A builder for tokens with up to `k` alternatives each, at most [`MAX_ALTERNATIVES`].
    pub fn new(k: u8) -> LogProbsBuilder {
        LogProbsBuilder::of(LogProbs::none(k.min(MAX_ALTERNATIVES)))
    }

    fn of(made: LogProbs) -> LogProbsBuilder {
        let (mut ids, mut texts) = (HashMap::new(), HashMap::new());
        for (row, token) in (0..).zip(made.tokens()) {
            match token {
                Token::Id(id) => drop(ids.insert(id, row)),
                Token::Text(text) => drop(texts.insert(text.into(), row)),
            }
        }
        LogProbsBuilder { made, ids, texts }
    }

    /// Adds a token: what was generated, and alternatives in any order, of which the k most probable are kept. Log-probabilities
    /// are in nats.
    ///
    /// # Errors
    /// `NotANumber`, `Mixed`, or `TooLarge`; nothing more can be added then.
    pub fn push(&mut self, chosen: (Token<'_>, f32), alternatives: &[(Token<'_>, f32)]) -> Result<(), LogProbsError> {
        let own = (chosen.0, steps_of(chosen.1)?);
        let mut list = Vec::with_capacity(alternatives.len());
        for (token, log_prob) in alternatives {
            list.push((*token, steps_of(*log_prob)?));
        }
        list.sort_by_key(|(_, steps)| *steps);
        // Of tokens that have the same text, the most probable: others cannot be told apart from it.
        let mut kept: Vec<(Token<'_>, u16)> = Vec::with_capacity(usize::from(self.made.k));
        for entry in list {
            if kept.len() < usize::from(self.made.k) && kept.iter().all(|(token, _)| *token != entry.0) {
                kept.push(entry);
            }
        }
        let place = kept.iter().position(|entry| *entry == own).map_or(0, |at| at + 1);
        let shape = Shape { alternatives: kept.len() as u8, place: place as u8 };
        if place == 0 {
            kept.push(own);
        }
        let mut rows = Vec::with_capacity(kept.len());
        for (token, _) in &kept {
            rows.push(self.row(*token)?);
        }
        self.made.rows.extend(rows);
        self.made.steps.extend(kept.iter().map(|(_, steps)| *steps));
        self.made.shapes.push(shape);
        match self.num_bytes() {
            found if found > MAX_BYTES => Err(LogProbsError::TooLarge { most: MAX_BYTES, found: found as u64 }),
            _ => Ok(()),
        }
    }

    /// About what they take in memory so far.
    pub fn num_bytes(&self) -> usize {
        self.made.num_bytes()
    }

    /// What was added.
    pub fn finish(self) -> LogProbs {
        self.made
    }

    /// The row of a token.
    fn row(&mut self, token: Token<'_>) -> Result<u32, LogProbsError> {
        let next = self.made.table.len() as u32;
        if next == 0 && matches!(token, Token::Text(_)) {
            self.made.table = Table::Texts(vec![], vec![]);
        }
        match (token, &mut self.made.table) {
            (Token::Id(id), Table::Ids(ids)) => Ok(*self.ids.entry(id).or_insert_with(|| {
                ids.push(id);
                next
            })),
            (Token::Text(text), Table::Texts(bytes, ends)) => {
                if let Some(row) = self.texts.get(text) {
                    return Ok(*row);
                }
                let found = bytes.len() + text.len();
                if found > MAX_BYTES {
                    return Err(LogProbsError::TooLarge { most: MAX_BYTES, found: found as u64 });
                }
                bytes.extend_from_slice(text);
                ends.push(bytes.len() as u32);
                self.texts.insert(text.into(), next);
                Ok(next)
            }
            _ => Err(LogProbsError::Mixed),
        }
    }
}

/// The nearest step; what is out of range is at its end.
fn steps_of(log_prob: f32) -> Result<u16, LogProbsError> {
    if log_prob.is_nan() {
        return Err(LogProbsError::NotANumber);
    }
    // Casts to integers saturate.
    Ok((-log_prob * STEPS).round() as u16)
}

#[cfg(test)]
mod tests;

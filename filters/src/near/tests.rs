//! Whole runs over seeded corpora: what is found against a naive search, recall against theory, and that nothing but the
//! texts and their order moves the result.

mod quality;
mod runs;

use super::*;
use std::{
    collections::HashSet,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Texts in memory, and how often each unit was read.
struct Texts {
    units: Vec<Vec<String>>,
    reads: Vec<AtomicUsize>,
}

impl Texts {
    /// The texts in units of at most so many.
    fn cut(texts: &[String], rows: usize) -> Texts {
        let units: Vec<Vec<String>> = texts.chunks(rows).map(<[String]>::to_vec).collect();
        Texts { reads: units.iter().map(|_| AtomicUsize::new(0)).collect(), units }
    }

    fn reads(&self) -> Vec<usize> {
        self.reads.iter().map(|reads| reads.load(Ordering::Relaxed)).collect()
    }
}

/// The error of a callback.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Corpus for Texts {
    type Error = Refused;

    fn num_units(&self) -> u32 {
        self.units.len() as u32
    }

    fn read(&self, unit: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), Refused> {
        self.reads[unit as usize].fetch_add(1, Ordering::Relaxed);
        for (row, text) in self.units[unit as usize].iter().enumerate() {
            if each(row as u32, text).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A duplicate by the numbers of its texts: text, representative, neighbour; then similarity and cluster size.
type Found = (usize, usize, usize, f32, u32);

/// A run in a folder of its own: places are numbers of texts.
fn run(texts: &[String], rows: usize, config: &NearConfig) -> (NearTally, Vec<Found>) {
    let folder = tempfile::tempdir().expect("no error");
    let corpus = Texts::cut(texts, rows);
    let mut found = Vec::new();
    let number = |place: Place| place.unit as usize * rows + place.row as usize;
    let tally = near_duplicates(
        &corpus,
        config,
        folder.path(),
        |_, _, _| Ok(()),
        |one| {
            let Duplicate { place, representative, neighbour, similarity, cluster_size } = one;
            found.push((number(place), number(representative), number(neighbour), similarity, cluster_size));
            Ok(())
        },
    );
    (tally.expect("no error"), found)
}

/// A seeded generator of numbers.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0 += 1;
        (hash::constant(self.0) % bound as u64) as usize
    }

    /// A text of so many words, each of some 5,000.
    fn words(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| word(self.below(5000))).collect()
    }

    /// The words with some of them replaced.
    fn mutated(&mut self, words: &[String], changes: usize) -> Vec<String> {
        let mut words = words.to_vec();
        for _ in 0..changes {
            let at = self.below(words.len());
            words[at] = word(self.below(5000));
        }
        words
    }
}

/// A word of letters for a number.
fn word(mut number: usize) -> String {
    let mut word = String::from("w");
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

/// The set of a text's shingles of words, as tokens of these texts are.
fn naive_set(text: &str, size: usize) -> HashSet<Vec<&str>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < size { HashSet::from([words]) } else { words.windows(size).map(<[&str]>::to_vec).collect() }
}

fn naive_jaccard(one: &str, other: &str, size: usize) -> f64 {
    let (one, other) = (naive_set(one, size), naive_set(other, size));
    one.intersection(&other).count() as f64 / one.union(&other).count() as f64
}

/// 600 families of one to six texts, of 4 to 120 words, shuffled: texts of a family differ by up to one word in thirty.
fn families() -> Vec<String> {
    let mut seed = Seed(7);
    let mut texts = Vec::new();
    for _ in 0..600 {
        let count = 4 + seed.below(117);
        let first = seed.words(count);
        for _ in 0..1 + seed.below(6) {
            let changes = seed.below(2 + first.len() / 30);
            texts.push(seed.mutated(&first, changes).join(" "));
        }
    }
    for at in (1..texts.len()).rev() {
        let other = seed.below(at + 1);
        texts.swap(at, other);
    }
    texts
}

//! Which entry stands in a text, how much of it, and where.
//!
//! In: a text's tokens and those of its n-grams that are a benchmark's. Out: the entry of which the largest share stands there
//! together, or none. Shares are exact: an entry is passed over only where all its n-grams in the text, wherever they stand, weigh
//! less than what was found already.

use super::{
    Rule,
    counts::{Scale, Weights},
    index::{Entry, Grams, Index, all, each_gram},
    tokens::{Token, equal},
};
use std::{cmp::Reverse, collections::HashMap, ops::Range};

/// Shares below this are not looked at. A threshold of `containment` lies above.
pub(super) const LEAST_SHARE: f64 = 0.2;

/// A text, and where n-grams of benchmarks are in it.
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
    pub(super) plain: Vec<Hit>,
    pub(super) masked: Vec<Hit>,
}

/// An n-gram, and its tokens in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    gram: u32,
    start: u32,
    end: u32,
}

impl Hit {
    fn new(gram: u32, tokens: &Range<usize>) -> Hit {
        Hit { gram, start: tokens.start as u32, end: tokens.end as u32 }
    }

    fn tokens(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An entry that stands in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) entry: u32,
    /// The weight of its n-grams that were found together among that of all, 1 where all of it was compared.
    pub(super) share: f64,
    /// Its tokens in the text.
    pub(super) tokens: [usize; 2],
    /// Its distinct n-grams that were found together.
    pub(super) num_grams: u32,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// Questions.
    Questions,
    /// Questions whose numbers may be others.
    Masked,
    /// Answers.
    Answers,
}

impl<'a> Text<'a> {
    /// Reads a text. With `masked`, n-grams whose numbers are others are kept too.
    pub(super) fn new(index: &Index, text: &'a str, masked: bool) -> Text<'a> {
        let mut read = Text { text, tokens: index.tokens(text), plain: Vec::new(), masked: Vec::new() };
        index.each_hit(&read.tokens, |any, same, run| {
            read.masked.extend(any.filter(|_| masked).map(|gram| Hit::new(gram, &run)));
            read.plain.extend(same.map(|gram| Hit::new(gram, &run)));
        });
        read.plain.sort_unstable();
        read.masked.sort_unstable();
        read
    }

    /// The entry of which the largest share stands here, the first of equal ones.
    pub(super) fn best(&self, index: &Index, weights: &Weights, sought: Sought) -> Option<Found> {
        let (grams, scale, hits) = match (sought, &index.masked) {
            (Sought::Masked, Some(masked)) => (masked, &weights.masked, &self.masked),
            (Sought::Masked, None) => return None,
            _ => (&index.plain, &weights.plain, &self.plain),
        };
        if hits.is_empty() || (sought == Sought::Answers && !index.has_answers) {
            return None;
        }
        let search = Search { index, grams, scale, answers: sought == Sought::Answers };
        let mut hits = hits.clone();
        loop {
            let found = search.best(&hits)?;
            let wrong = self.unequal(index, grams, &hits, found);
            if wrong.is_empty() {
                return Some(found);
            }
            hits.retain(|hit| !wrong.contains(hit));
        }
    }

    /// The entry without n-grams that is all of this text, the first of equal ones.
    pub(super) fn whole(&self, index: &Index) -> Option<Found> {
        let entries = index.tiny.get(&all(&self.tokens))?;
        let same = |entry: &&u32| {
            let text = index.text(**entry);
            let tokens = index.tokens(text);
            let mut pairs = tokens.iter().zip(&self.tokens);
            tokens.len() == self.tokens.len()
                && pairs.all(|(one, other)| equal((text, *one), (self.text, *other), index.rule.reading(), false))
        };
        let entry = *entries.iter().find(same)?;
        Some(Found { entry, share: 1.0, tokens: [0, self.tokens.len()], num_grams: 0 })
    }

    /// The n-grams found whose hash is right and whose tokens are not: none, but for one text in some billions.
    fn unequal(&self, index: &Index, grams: &Grams, hits: &[Hit], found: Found) -> Vec<Hit> {
        let masked = !std::ptr::eq(grams, &index.plain);
        let text = index.text(found.entry);
        let (tokens, mut places) = (index.tokens(text), HashMap::new());
        each_gram(&tokens, index.halves, masked, |gram, run| {
            places.entry(gram).or_insert(run);
        });
        let right = |hit: &Hit| {
            let Some(run) = places.get(&grams.hash(hit.gram)) else { return true };
            let (own, there) = (&tokens[run.clone()], &self.tokens[hit.tokens()]);
            let same =
                |(one, other): (&Token, &Token)| equal((text, *one), (self.text, *other), index.rule.reading(), masked);
            own.len() == there.len() && own.iter().zip(there).all(same)
        };
        let [start, end] = found.tokens;
        let within = |hit: &&Hit| hit.tokens().start >= start && hit.tokens().end <= end;
        hits.iter().filter(within).filter(|hit| !right(hit)).copied().collect()
    }

    /// Of the numbers of an entry, each as often as it stands there, the share that stands where the entry was found. 1 where it
    /// has none.
    pub(super) fn numbers(&self, index: &Index, found: Found) -> f64 {
        let (text, mut wanted) = (index.text(found.entry), HashMap::<u64, usize>::new());
        let numbers = |tokens: &[Token]| tokens.iter().filter(|token| token.is_number()).copied().collect::<Vec<_>>();
        let own = numbers(&index.tokens(text));
        own.iter().for_each(|number| *wanted.entry(number.hash).or_default() += 1);
        let [start, end] = found.tokens;
        // As much on both sides as may belong to the entry without an n-gram that says so.
        let more = index.entries[found.entry as usize].len.saturating_sub(end - start) + index.halves;
        let around = start.saturating_sub(more)..(end + more).min(self.tokens.len());
        let mut num_found = 0;
        for number in numbers(&self.tokens[around]) {
            if let Some(left) = wanted.get_mut(&number.hash).filter(|left| **left > 0) {
                *left -= 1;
                num_found += 1;
            }
        }
        if own.is_empty() { 1.0 } else { f64::from(num_found) / own.len() as f64 }
    }
}

struct Search<'a> {
    index: &'a Index,
    grams: &'a Grams,
    scale: &'a Scale,
    answers: bool,
}

impl Search<'_> {
    fn best(&self, hits: &[Hit]) -> Option<Found> {
        let mut best: Option<Found> = None;
        for (share, Reverse(entry)) in self.bounds(hits) {
            if best.is_some_and(|best| share < best.share) {
                break;
            }
            let better = |found: &Found| {
                best.is_none_or(|best| found.share > best.share || (found.share == best.share && entry < best.entry))
            };
            best = self.together(entry, hits).filter(better).or(best);
        }
        best
    }

    /// Entries with the share of them that stands anywhere in the text, the largest first.
    fn bounds(&self, hits: &[Hit]) -> Vec<(f64, Reverse<u32>)> {
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for run in hits.chunk_by(|one, other| one.gram == other.gram) {
            let weight = self.scale.weights[run[0].gram as usize];
            let entries = self.grams.entries(run[0].gram).iter();
            let wanted = entries.filter(|entry| self.index.entries[**entry as usize].answer == self.answers);
            parts.extend(wanted.map(|entry| (*entry, weight)));
        }
        parts.sort_unstable();
        let least = if self.index.rule == Rule::Containment { LEAST_SHARE } else { 0.0 };
        let share = |parts: &[(u32, u32)]| {
            let sum: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
            (sum as f64 / self.scale.totals[parts[0].0 as usize] as f64, Reverse(parts[0].0))
        };
        let shares = parts.chunk_by(|one, other| one.0 == other.0).map(share);
        let mut bounds: Vec<_> = shares.filter(|(share, _)| *share >= least).collect();
        bounds.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)));
        bounds
    }

    /// The most of an entry that stands in one place of the text: for `containment` twice as long as the entry, or as long as it
    /// where only all of it counts.
    fn together(&self, entry: u32, hits: &[Hit]) -> Option<Found> {
        let own = self.grams.own(entry);
        let Entry { len, whole, .. } = self.index.entries[entry as usize];
        let window = match self.index.rule {
            Rule::Containment if whole => len,
            Rule::Containment => 2 * len,
            _ => usize::MAX,
        };
        // Of each n-gram of the entry, where it is in the text: its place among the entry's, then in the text's order.
        let mut places: Vec<(usize, usize, usize)> = Vec::new();
        for (place, gram) in own.iter().enumerate() {
            let start = hits.partition_point(|hit| hit.gram < *gram);
            let run = hits[start..].iter().take_while(|hit| hit.gram == *gram);
            places.extend(run.map(|hit| (hit.tokens().start, hit.tokens().end, place)));
        }
        places.sort_unstable();
        let weight = |place: usize| u64::from(self.scale.weights[own[place] as usize]);
        let mut inside = vec![0_u32; own.len()];
        let (mut left, mut sum, mut num_grams) = (0, 0, 0);
        let mut most = (0, [0, 0], 0);
        for (_, end, place) in &places {
            inside[*place] += 1;
            if inside[*place] == 1 {
                (sum, num_grams) = (sum + weight(*place), num_grams + 1);
            }
            // What lies too far back goes, and what is there again.
            while let Some((first, _, other)) = places.get(left)
                && (end - first > window || inside[*other] > 1)
            {
                inside[*other] -= 1;
                if inside[*other] == 0 {
                    (sum, num_grams) = (sum - weight(*other), num_grams - 1);
                }
                left += 1;
            }
            if sum > most.0 {
                most = (sum, [places[left].0, *end], num_grams);
            }
        }
        let (sum, tokens, num_grams) = most;
        if sum == 0 || (whole && (num_grams as usize) < own.len()) {
            return None;
        }
        Some(Found { entry, share: sum as f64 / self.scale.totals[entry as usize] as f64, tokens, num_grams })
    }
}

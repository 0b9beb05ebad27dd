//! The n-grams of benchmarks, found by their hash.
//!
//! In: items. Out: an [`Index`], which holds their texts and every distinct n-gram with the entries that contain it. Its memory
//! is about 40 bytes for each token of the benchmarks, twice that with masked n-grams; the corpus is never held.
//!
//! An entry is one text to look for: an item's question, or its answer where that is long enough.

use super::{
    Item, Rule,
    tokens::{Token, tokens},
};
use std::{collections::HashMap, ops::Range};

/// Words of an n-gram, at most.
pub(super) const MOST_WORDS: u32 = 32;

/// Multiplies a rolling hash. Odd, so that no token's bits are lost.
const BASE: u64 = 0x9e6c_63d0_676a_9a99;

/// Powers of [`BASE`], as many as an n-gram has tokens.
const POWERS: [u64; 2 * MOST_WORDS as usize + 1] = {
    let mut powers = [1_u64; 2 * MOST_WORDS as usize + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(BASE);
        at += 1;
    }
    powers
};

/// Tokens of an answer that is looked for, at least: the fewest in which a published rule sees a match (GPT-3, 13-grams).
pub(super) const ANSWER_TOKENS: usize = 13;

/// A question that says less is only found whole: 15 words, or 30 signs. Ours, see README.md.
const SHORT_HALVES: usize = 30;

/// A question that says less is only found where it is all of a problem's question: 8 words, as many as an n-gram of `eight-gram`, or
/// 16 signs. "Which of the following is not true?" is an item of MMLU.
const TINY_HALVES: usize = 16;

/// Benchmarks, ready to be looked for.
pub(super) struct Index {
    pub(super) rule: Rule,
    /// How much an n-gram says, at least, in halves of a word.
    pub(super) halves: usize,
    pub(super) items: Vec<Item>,
    pub(super) entries: Vec<Entry>,
    pub(super) plain: Grams,
    /// Where numbers are masked; only `containment` has them.
    pub(super) masked: Option<Grams>,
    /// Entries without n-grams, by the hash of all their tokens.
    pub(super) tiny: HashMap<u64, Vec<u32>>,
    /// Whether an entry is an answer.
    pub(super) has_answers: bool,
    gate: Gate,
}

/// A text to look for.
pub(super) struct Entry {
    pub(super) item: u32,
    pub(super) answer: bool,
    /// Its tokens.
    pub(super) len: usize,
    /// Only all of it counts.
    pub(super) whole: bool,
}

impl Index {
    /// The n-grams of `items` as `rule` reads them. `n_gram_words` is heard by `containment` alone, and is 1 to 32. Earlier
    /// items win ties.
    pub(super) fn new(items: &[Item], rule: Rule, n_gram_words: u32) -> Index {
        let halves = 2 * rule.n_gram_words().unwrap_or(n_gram_words).clamp(1, MOST_WORDS) as usize;
        let mut index = Index {
            rule,
            halves,
            items: items.to_vec(),
            entries: Vec::new(),
            plain: Grams::default(),
            masked: None,
            tiny: HashMap::new(),
            has_answers: false,
            gate: Gate::default(),
        };
        let (mut plain, mut masked) = (Vec::new(), Vec::new());
        for (place, item) in items.iter().enumerate() {
            for (text, answer) in [(&item.question, false), (&item.answer, true)] {
                let tokens = tokens(text, rule.reading());
                if tokens.is_empty() || (answer && tokens.len() < ANSWER_TOKENS) {
                    continue;
                }
                let says: usize = tokens.iter().map(Token::halves).sum();
                let (entry, len) = (index.entries.len() as u32, tokens.len());
                let whole = rule == Rule::Containment && says < SHORT_HALVES;
                index.has_answers |= answer;
                index.entries.push(Entry { item: place as u32, answer, len, whole });
                if rule == Rule::Containment && !answer && says < TINY_HALVES.max(halves) {
                    index.tiny.entry(all(&tokens)).or_default().push(entry);
                    continue;
                }
                each_gram(&tokens, halves, false, |gram, _| plain.push((gram, entry)));
                if rule == Rule::Containment {
                    each_gram(&tokens, halves, true, |gram, _| masked.push((gram, entry)));
                }
            }
        }
        index.plain = Grams::new(plain, index.entries.len());
        index.masked = (rule == Rule::Containment).then(|| Grams::new(masked, index.entries.len()));
        // What is equal is equal masked, so one gate does for both.
        index.gate = Gate::new(&index.masked.as_ref().unwrap_or(&index.plain).keys);
        index
    }

    pub(super) fn tokens(&self, text: &str) -> Vec<Token> {
        tokens(text, self.rule.reading())
    }

    /// Hands every n-gram that is a benchmark's to `each`: its number where numbers are masked, its number where they are not,
    /// and its tokens. The first number is for `containment` only.
    pub(super) fn each_hit(&self, tokens: &[Token], mut each: impl FnMut(Option<u32>, Option<u32>, Range<usize>)) {
        match &self.masked {
            Some(masked) => each_gram(tokens, self.halves, true, |gram, run| {
                if self.gate.lets_through(gram)
                    && let Some(found) = masked.number(gram)
                {
                    let same = tokens[run.clone()].iter().fold(0, |hash, token| rolled(hash, token.hash));
                    each(Some(found), self.plain.number(same), run);
                }
            }),
            None => each_gram(tokens, self.halves, false, |gram, run| {
                if self.gate.lets_through(gram)
                    && let Some(found) = self.plain.number(gram)
                {
                    each(None, Some(found), run);
                }
            }),
        }
    }

    /// The text of an entry.
    pub(super) fn text(&self, entry: u32) -> &str {
        let entry = &self.entries[entry as usize];
        let item = &self.items[entry.item as usize];
        if entry.answer { &item.answer } else { &item.question }
    }
}

/// The hash of all tokens, in their order.
pub(super) fn all(tokens: &[Token]) -> u64 {
    tokens.iter().fold(tokens.len() as u64, |hash, token| rolled(hash, token.hash))
}

fn rolled(hash: u64, token: u64) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(token)
}

/// Hands the n-gram that begins at each token to `each`, its hash and its tokens: as many as say so many halves of a word. So it is
/// three words, or six signs of a formula, which come in fewer kinds.
pub(super) fn each_gram(tokens: &[Token], halves: usize, masked: bool, mut each: impl FnMut(u64, Range<usize>)) {
    let hash_of = |token: &Token| if masked { token.masked() } else { token.hash };
    let (mut hash, mut says, mut end) = (0, 0, 0);
    for (start, first) in tokens.iter().enumerate() {
        while says < halves {
            let Some(token) = tokens.get(end) else { return };
            hash = rolled(hash, hash_of(token));
            says += token.halves();
            end += 1;
        }
        each(hash, start..end);
        hash = hash.wrapping_sub(hash_of(first).wrapping_mul(POWERS[end - start - 1]));
        says -= first.halves();
    }
}

/// Distinct n-grams, numbered in the order of their hashes, and who contains them.
#[derive(Default)]
pub(super) struct Grams {
    keys: Vec<u64>,
    /// The first key with each value of the highest bits.
    buckets: Vec<u32>,
    shift: u32,
    /// Of each n-gram, its entries: `entries[starts[gram]..starts[gram + 1]]`.
    starts: Vec<u32>,
    entries: Vec<u32>,
    /// Of each entry, its n-grams, likewise.
    own_starts: Vec<u32>,
    own: Vec<u32>,
}

impl Grams {
    fn new(mut pairs: Vec<(u64, u32)>, num_entries: usize) -> Grams {
        pairs.sort_unstable();
        pairs.dedup();
        let mut grams = Grams::default();
        let mut of_entries = vec![0; num_entries + 1];
        for (hash, entry) in &pairs {
            if grams.keys.last() != Some(hash) {
                grams.keys.push(*hash);
                grams.starts.push(grams.entries.len() as u32);
            }
            grams.entries.push(*entry);
            of_entries[*entry as usize + 1] += 1;
        }
        grams.starts.push(grams.entries.len() as u32);
        for at in 1..of_entries.len() {
            of_entries[at] += of_entries[at - 1];
        }
        let mut next = of_entries.clone();
        grams.own_starts = of_entries;
        grams.own = vec![0; grams.entries.len()];
        for gram in 0..grams.keys.len() {
            for entry in &grams.entries[grams.starts[gram] as usize..grams.starts[gram + 1] as usize] {
                grams.own[next[*entry as usize] as usize] = gram as u32;
                next[*entry as usize] += 1;
            }
        }
        let bits = grams.keys.len().next_power_of_two().ilog2().max(1);
        grams.shift = 64 - bits;
        let first = |top: usize| grams.keys.partition_point(|key| (key >> grams.shift) < top as u64) as u32;
        grams.buckets = (0..=1_usize << bits).map(first).collect();
        grams
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Of its hashes, for telling one set from another.
    pub(super) fn fingerprint(&self) -> u64 {
        self.keys.iter().fold(self.keys.len() as u64, |hash, key| rolled(hash, *key).rotate_left(29))
    }

    pub(super) fn number(&self, hash: u64) -> Option<u32> {
        let top = (hash >> self.shift) as usize;
        let bucket = self.buckets[top] as usize..self.buckets[top + 1] as usize;
        let place = self.keys[bucket.clone()].iter().position(|key| *key == hash)?;
        Some((bucket.start + place) as u32)
    }

    /// The entries with an n-gram, in order.
    pub(super) fn entries(&self, gram: u32) -> &[u32] {
        &self.entries[between(&self.starts, gram)]
    }

    /// The distinct n-grams of an entry, in order.
    pub(super) fn own(&self, entry: u32) -> &[u32] {
        &self.own[between(&self.own_starts, entry)]
    }

    pub(super) fn hash(&self, gram: u32) -> u64 {
        self.keys[gram as usize]
    }
}

fn between(starts: &[u32], at: u32) -> Range<usize> {
    starts[at as usize] as usize..starts[at as usize + 1] as usize
}

/// Says of most n-grams that no benchmark has them, at the cost of one look into memory. A Bloom filter of two bits in one word, 16
/// bits a key.
#[derive(Default)]
struct Gate {
    words: Vec<u64>,
    shift: u32,
}

impl Gate {
    fn new(keys: &[u64]) -> Gate {
        let bits = (keys.len().max(64) * 16 / 64).next_power_of_two().ilog2();
        let mut gate = Gate { words: vec![0; 1 << bits], shift: 64 - bits };
        for key in keys {
            let (word, mask) = gate.place(*key);
            gate.words[word] |= mask;
        }
        gate
    }

    fn place(&self, key: u64) -> (usize, u64) {
        let mixed = (key ^ key >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        ((mixed >> self.shift) as usize, 1 << (mixed & 63) | 1 << (mixed >> 6 & 63))
    }

    fn lets_through(&self, key: u64) -> bool {
        let (word, mask) = self.place(key);
        self.words[word] & mask == mask
    }
}

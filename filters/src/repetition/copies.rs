//! What stands in a text again and again, anywhere: lines, and runs of words.
//!
//! The last [`WINDOW`] characters are looked at. A text says the same thing twice for good reasons, so it is counted how much
//! comes after 1, 2, 4, 8, … equal ones: a threshold chooses among these, and nothing is measured again.

use super::tail::WINDOW;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How often the same may have been there before, as it is counted.
pub(super) const EARLIER: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// How much of a text is copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// Lines, or runs of words.
    pub count: u64,
    /// Their characters; those of a word count once, however many runs it is in.
    pub chars: u64,
    /// Of the `count`, those that at least 1, 2, 4, 8, 16, 32 equal ones come before.
    pub copies: Vec<u64>,
    /// The characters of these.
    pub copied_chars: Vec<u64>,
}

impl Copies {
    fn new() -> Copies {
        let none = vec![0; EARLIER.len()];
        Copies { count: 0, chars: 0, copies: none.clone(), copied_chars: none }
    }

    /// Of those that at least `earlier` equal ones come before: their share, that of their characters, and these.
    pub fn after(&self, earlier: u64) -> (f64, f64, u64) {
        let place = EARLIER.iter().position(|known| *known >= earlier).unwrap_or(EARLIER.len() - 1);
        let at = |counts: &[u64]| counts.get(place).copied().unwrap_or(0);
        let (copies, chars) = (at(&self.copies), at(&self.copied_chars));
        (copies as f64 / self.count.max(1) as f64, chars as f64 / self.chars.max(1) as f64, chars)
    }
}

/// Equal lines, without what is blank around them. Lines without a letter or digit (`\[`, `}`, `---`) are none.
pub(super) fn lines(text: &str) -> Copies {
    let (mut all, mut seen) = (Copies::new(), HashMap::<&str, u64>::new());
    for line in end_of(text).lines().map(str::trim).filter(|line| line.contains(char::is_alphanumeric)) {
        let (before, chars) = (seen.entry(line).or_default(), line.chars().count() as u64);
        (all.count, all.chars) = (all.count + 1, all.chars + chars);
        for (place, _) in EARLIER.iter().enumerate().filter(|(_, earlier)| *before >= **earlier) {
            all.copies[place] += 1;
            all.copied_chars[place] += chars;
        }
        *before += 1;
    }
    all
}

/// Equal runs of `length` words. A word is what stands between blanks; in scripts that set none, a character is half a
/// word.
pub(super) fn runs(text: &str, length: u32) -> Copies {
    let words = words(end_of(text));
    // Characters before each word.
    let mut before = vec![0_u64];
    before.extend(words.iter().scan(0, |sum, word| {
        *sum += u64::from(word.chars);
        Some(*sum)
    }));
    let (mut all, mut seen) = (Copies::new(), HashMap::<u64, u64>::new());
    all.chars = before[words.len()];
    let mut counted = [0; EARLIER.len()];
    let (mut end, mut halves) = (0, 0);
    for start in 0..words.len() {
        while halves < 2 * length && end < words.len() {
            halves += words[end].halves;
            end += 1;
        }
        if halves < 2 * length {
            break;
        }
        all.count += 1;
        let run = words[start..end].iter().fold(SEED, |hash, word| mixed(hash, word.hash));
        let equal = seen.entry(run).or_default();
        for (place, _) in EARLIER.iter().enumerate().filter(|(_, earlier)| *equal >= **earlier) {
            all.copies[place] += 1;
            all.copied_chars[place] += before[end] - before[start.max(counted[place])];
            counted[place] = end;
        }
        *equal += 1;
        halves -= words[start].halves;
    }
    all
}

/// The last characters of a text, as many as are looked at.
fn end_of(text: &str) -> &str {
    let start = text.char_indices().rev().nth(WINDOW - 1).map_or(0, |(start, _)| start);
    &text[start..]
}

/// A word, by its hash.
struct Word {
    hash: u64,
    chars: u32,
    /// 2, or 1 for a character that is one by itself.
    halves: u32,
}

fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    for char in text.chars() {
        let alone = stands_alone(char);
        if char.is_whitespace() {
            open = false;
            continue;
        }
        match words.last_mut() {
            Some(word) if open && !alone => {
                (word.hash, word.chars) = (mixed(word.hash, u64::from(char)), word.chars + 1);
            }
            _ => words.push(Word { hash: mixed(SEED, u64::from(char)), chars: 1, halves: if alone { 1 } else { 2 } }),
        }
        open = !alone;
    }
    words
}

/// Whether a character belongs to a script that sets no blanks between words: Han, kana, full-width signs, Thai, Lao,
/// Burmese, Khmer.
fn stands_alone(char: char) -> bool {
    matches!(u32::from(char),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0x312f | 0x31a0..=0xa4cf | 0xf900..=0xfaff
        | 0xff00..=0xffef | 0x20000..=0x3ffff)
}

/// The offset of FNV-1a.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// A hash with one more value: the same on every machine. Two runs that collide count as equal, which no threshold sees.
fn mixed(hash: u64, value: u64) -> u64 {
    let hash = (hash.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

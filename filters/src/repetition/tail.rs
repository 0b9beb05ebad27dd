//! Loops at the end of a text: a suffix with a period, by the Z-function of the text read backwards, in time linear in the
//! text.
//!
//! Periods are looked for in the last [`WINDOW`] characters, which bounds the memory (8 bytes a character of the window) and
//! the longest period (a third of it). A loop that fills the window is followed to its beginning, however long the text.

use serde::{Deserialize, Serialize};

/// Characters of a text's end in which periods are looked for.
pub(super) const WINDOW: usize = 1 << 19;

/// Fewer whole copies are no loop.
pub(super) const FEWEST_REPEATS: u64 = 3;

/// Copies, from the end, whose numbers are looked at.
const LOOKED_AT: usize = 64;

/// What stands for a run of digits.
const NUMBER: char = '0';

/// A block that repeats until the text ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailLoop {
    /// Length of the block in characters; a run of digits is one where digits are masked.
    pub period: u64,
    /// Whole copies of it.
    pub repeats: u64,
    /// Characters of the text that the copies cover, a broken first one with them.
    pub chars: u64,
    /// Whether the block has numbers, and each changes by the same step from copy to copy. Never, where digits are not
    /// masked.
    pub steady: bool,
}

impl TailLoop {
    /// The part of a text of `chars` characters that it covers.
    pub fn share(&self, chars: u64) -> f64 {
        self.chars as f64 / chars.max(1) as f64
    }
}

/// The loops at the end of a text, shortest period first. Each covers more than those before it and repeats less, so that
/// any two thresholds, on repeats and on characters, find theirs.
pub(super) fn exact(text: &str) -> Vec<TailLoop> {
    loops(text.chars().rev().map(|shape| Symbol { shape, chars: 1, number: None }))
}

/// The same where a number is as good as any other.
pub(super) fn masked(text: &str) -> Vec<TailLoop> {
    loops(Masked { text: text.chars().rev().peekable() })
}

/// What is compared of a text, read backwards.
#[derive(Clone, Copy)]
struct Symbol {
    /// The character, or what stands for several.
    shape: char,
    /// How many it stands for.
    chars: u64,
    /// The number that its digits say, modulo 2^64, where it stands for digits.
    number: Option<u64>,
}

/// A text, read backwards, with every run of ASCII digits as one symbol.
#[derive(Clone)]
struct Masked<'t> {
    text: std::iter::Peekable<std::iter::Rev<std::str::Chars<'t>>>,
}

impl Iterator for Masked<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        let shape = self.text.next()?;
        let Some(digit) = shape.to_digit(10) else { return Some(Symbol { shape, chars: 1, number: None }) };
        let (mut chars, mut number, mut place) = (1, u64::from(digit), 1_u64);
        while let Some(digit) = self.text.next_if(char::is_ascii_digit).and_then(|digit| digit.to_digit(10)) {
            place = place.wrapping_mul(10);
            number = number.wrapping_add(place.wrapping_mul(u64::from(digit)));
            chars += 1;
        }
        Some(Symbol { shape: NUMBER, chars, number: Some(number) })
    }
}

fn loops(text: impl Iterator<Item = Symbol> + Clone) -> Vec<TailLoop> {
    let window: Vec<char> = text.clone().take(WINDOW).map(|symbol| symbol.shape).collect();
    let matching = matching(&window);
    let (mut found, mut widest) = (Vec::new(), 0);
    for (period, length) in matching.iter().enumerate().skip(1).take(window.len() / FEWEST_REPEATS as usize) {
        let mut covered = period + *length as usize;
        if covered <= widest || covered < FEWEST_REPEATS as usize * period {
            continue;
        }
        widest = covered;
        if covered == window.len() {
            let ahead = text.clone().skip(period).zip(text.clone());
            covered = period + ahead.take_while(|(this, next)| this.shape == next.shape).count();
        }
        found.push((period, covered));
    }
    // What a longer period covers more of, and as often, is not needed.
    let mut most = 0;
    found.reverse();
    found.retain(|(period, covered)| {
        let (repeats, others) = (covered / period, most);
        most = most.max(repeats);
        repeats > others
    });
    let told = |(period, covered): (usize, usize)| TailLoop {
        period: period as u64,
        repeats: (covered / period) as u64,
        chars: text.clone().take(covered).map(|symbol| symbol.chars).sum(),
        steady: is_steady(text.clone(), period, covered / period),
    };
    found.into_iter().rev().map(told).collect()
}

/// At each place, how many symbols from there on are those from the beginning on: the Z-function.
fn matching(text: &[char]) -> Vec<u32> {
    let mut matching = vec![0_u32; text.len()];
    let (mut start, mut end) = (0, 0);
    for place in 1..text.len() {
        let mut length = if place < end { (matching[place - start] as usize).min(end - place) } else { 0 };
        while place + length < text.len() && text[length] == text[place + length] {
            length += 1;
        }
        matching[place] = length as u32;
        if place + length > end {
            (start, end) = (place, place + length);
        }
    }
    matching
}

/// Whether numbers count on from copy to copy. The last copy is left out: its end may be cut.
fn is_steady(text: impl Iterator<Item = Symbol>, period: usize, repeats: usize) -> bool {
    let copies = repeats.min(LOOKED_AT) - 1;
    let symbols = text.skip(period).take(copies * period);
    let numbers: Vec<u64> = symbols.filter_map(|symbol| symbol.number).collect();
    let each = numbers.len() / copies;
    let step = |at: usize| numbers[at - each].wrapping_sub(numbers[at]);
    each > 0 && (2 * each..numbers.len()).all(|at| step(at) == step(at - each))
}

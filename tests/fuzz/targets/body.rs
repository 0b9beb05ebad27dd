//! A response's body, in pieces: read whole, in the pieces that the input says and, now and then, byte by byte. Each comes
//! to the same to the letter: how it ended, text, finish reason and its name, model, tokens, message, and what was spooled
//! on the way. No key is in any of it, and memory stays within a multiple of what arrived. Some ask for log-probabilities and
//! for token ids: ids that are kept say the answer's text, however the body was cut.
//!
//! An input is eight bytes that say how it is read, and the body. Half of the inputs are put together from what servers
//! send (`body/assemble.rs`). Every million inputs, it says what they came to.
//!
//! The crates have no unsafe code: run it with `--sanitizer none`.

#![no_main]

#[path = "body/assemble.rs"]
mod assemble;

use distill_teacher::fuzzing::{Arrived, Arriving, read_body};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Bytes of memory at once for each byte that arrived, and in any case.
const MOST: (usize, usize) = (160, 1 << 16);
const EVERY: u64 = 1_000_000;

/// What stands before the body.
pub const HEADER: usize = 8;
/// The second one ends as it begins.
pub const KEYS: [&str; 2] = ["sk-secret-0123456789abcdef", "s7Hq-0123456789-xyz-s7"];
const BEFORE: [&str; 3] = ["<think>\nstep 1", "The answer", "<think>\nsk-secret-01"];
/// Most bytes of a body and of an event: small ones, so that they are met.
const LIMITS: [(usize, usize); 3] = [(600, 200), (90, 40), (300, 1000)];

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is left to the system's allocator; sizes are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a while.
        PEAK.fetch_max(NOW.fetch_add(size, Relaxed) + size, Relaxed);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((header, body)) = data.split_first_chunk::<HEADER>() else { return };
    let [key, before, most, breaks, longest, cuts @ ..] = *header;
    let how = Arriving {
        key: KEYS.get(usize::from(key % 4)).copied(),
        before: BEFORE.get(usize::from(before % 8)).copied(),
        most: LIMITS.get(usize::from(most % 6)).copied(),
        log_probs: (breaks & 16 != 0).then_some(breaks >> 6),
        by_ids: breaks & 32 != 0,
        // Whether ids are known, and so how many tokens there are, may depend on the cut.
        most_tokens: (most >= 192 && breaks & 32 == 0).then_some(3),
        breaks: breaks % 4 == 1,
    };
    let start = NOW.load(Relaxed);
    PEAK.store(start, Relaxed);
    let whole = read_body([body], how);
    let taken = PEAK.load(Relaxed).saturating_sub(start);
    assert!(taken <= MOST.0 * body.len() + MOST.1, "{taken} bytes of memory for a body of {}", body.len());
    let longest = [7, 40, 40, 300][usize::from(longest % 4)];
    let state = u32::from_le_bytes([0, cuts[0], cuts[1], cuts[2]]);
    alike(&whole, read_body(Pieces { rest: body, most: longest, state }, how), how);
    if cuts[0] % 32 == 0 {
        alike(&whole, read_body(body.chunks(1), how), how);
    }
    if let Some(key) = how.key {
        let kept = [&whole.told, &whole.spooled.0, &whole.spooled.1];
        assert!(kept.iter().all(|text| !text.contains(key)), "the key is in {whole:?}");
    }
    count(&whole, body.len(), taken);
});

/// Two readings came to the same. How a body is cut may decide whether ids are known, and so how tokens are counted.
fn alike(whole: &Arrived, cut: Arrived, how: Arriving<'_>) {
    for arrived in [whole, &cut] {
        let Some(said) = &arrived.said else { continue };
        let text = String::from_utf8_lossy(said);
        assert!(how.key.is_none_or(|key| !text.contains(key)), "ids spell the key: {arrived:?}");
        // Of a character that has not ended, text has a mark.
        let text = format!("{}{}", how.before.unwrap_or_default(), text.trim_end_matches('\u{fffd}'));
        let quoted = format!("{text:?}");
        assert!(arrived.told.contains(quoted.trim_end_matches('"')), "ids say another text: {text:?} {arrived:?}");
    }
    let cut = Arrived { said: whole.said.clone(), cost: if how.by_ids { whole.cost } else { cut.cost }, ..cut };
    assert_eq!(*whole, cut, "{how:?}");
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = assemble::Random::new(seed);
    if random.below(4) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut input = match random.below(3) {
        0 => data[..size].to_vec(),
        _ => assemble::input(&mut random),
    };
    for _ in 0..random.below(3) {
        assemble::spoil(&mut input, &mut random);
    }
    input.truncate(max_size);
    data[..input.len()].copy_from_slice(&input);
    input.len()
});

/// A body in pieces of up to `most` bytes, whose lengths follow from `state`.
struct Pieces<'a> {
    rest: &'a [u8],
    most: usize,
    state: u32,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = self.rest.split_at(((self.state >> 8) as usize % self.most + 1).min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

/// Counts what an input came to, and says it every now and then.
fn count(arrived: &Arrived, len: usize, taken: usize) {
    static COUNTS: Mutex<(u64, BTreeMap<&str, u64>, f64)> = Mutex::new((0, BTreeMap::new(), 0.0));
    let told = |text: &str| arrived.told.contains(text);
    let also = [
        ("answer: stop", told("finish_reason: Stop")),
        ("answer: length", told("finish_reason: Length")),
        ("answer: content filter", told("finish_reason: ContentFilter")),
        ("answer: name of its own", told("finish_name: Some")),
        ("reasoning", !arrived.spooled.0.is_empty()),
        ("broke off with text", arrived.ending != "answer" && !(arrived.spooled.0.is_empty() && arrived.spooled.1.is_empty())),
        ("gave up", told("the server gave up")),
        ("no JSON", told("expected a completion as JSON")),
        ("nothing", told("found nothing")),
        ("tokens told", !arrived.cost.2),
        ("key taken out", told("[key]")),
        ("log-probabilities", arrived.places.is_some()),
        ("ids", arrived.said.is_some()),
    ];
    let mut counts = COUNTS.lock().expect("a lock");
    *counts.1.entry(arrived.ending).or_default() += 1;
    for (name, _) in also.into_iter().filter(|(_, is)| *is) {
        *counts.1.entry(name).or_default() += 1;
    }
    if len >= 256 {
        counts.2 = counts.2.max(taken as f64 / len as f64);
    }
    counts.0 += 1;
    if counts.0 % EVERY == 0 {
        eprintln!("{} inputs; at most {:.0} bytes of memory a byte: {:?}", counts.0, counts.2, counts.1);
    }
}

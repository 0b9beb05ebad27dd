//! Any two texts, judged both ways: no panic, and nothing slower than 50 ms. A line break parts gold and answer.
//!
//! Equal must not depend on the order of two plain texts in ways that a crash would hide: what is equal one way round is
//! never proven unequal the other way round.

#![no_main]

use distill_verify::{Certainty, Policy, Verdict, judge_answer, judge_math};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

/// For the judge as it is shipped; a build with a sanitizer takes several times as long.
const MOST: Duration = Duration::from_millis(50);

fuzz_target!(|text: &str| {
    let (gold, answer) = text.split_once('\n').unwrap_or((text, text));
    let policy = Policy::default();
    let begin = Instant::now();
    let there = judge_answer(answer, gold, &policy);
    assert!(begin.elapsed() < MOST, "{:?} for {answer:?} against {gold:?}: {}", begin.elapsed(), there.reason);
    let back = judge_answer(gold, answer, &policy);
    let contradict = |a: &distill_verify::Judgement, b: &distill_verify::Judgement| {
        let proven = a.certainty == Certainty::Proven && b.certainty == Certainty::Proven;
        proven && a.verdict == Verdict::Equal && b.verdict == Verdict::Unequal
    };
    assert!(!contradict(&there, &back) && !contradict(&back, &there), "{answer:?} against {gold:?}: {there:?}, {back:?}");
    judge_math(text, gold, &policy);
});

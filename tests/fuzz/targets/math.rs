//! Any two texts, judged both ways: no panic, nothing slower than 50 ms, and what is proven equal one way round is never
//! proven unequal the other way round. A line break parts gold and answer.
//!
//! The crate has no unsafe code: run it with `--sanitizer none`, so that the time is that of the judge as it is shipped.

#![no_main]

use cpu_time::ThreadTime;
use distill_verify::{Certainty, Judgement, Policy, Verdict, judge_answer, judge_math};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

const MOST: Duration = Duration::from_millis(50);

fuzz_target!(|text: &str| {
    let (gold, answer) = text.split_once('\n').unwrap_or((text, text));
    let policy = Policy::default();
    let begin = ThreadTime::now();
    let there = judge_answer(answer, gold, &policy);
    let taken = begin.elapsed();
    assert!(taken < MOST, "{taken:?} for {answer:?} against {gold:?}: {}", there.reason);
    let back = judge_answer(gold, answer, &policy);
    let contradict = |a: &Judgement, b: &Judgement| {
        let proven = a.certainty == Certainty::Proven && b.certainty == Certainty::Proven;
        proven && a.verdict == Verdict::Equal && b.verdict == Verdict::Unequal
    };
    assert!(!contradict(&there, &back) && !contradict(&back, &there), "{answer:?}, {gold:?}: {there:?}, {back:?}");
    judge_math(text, gold, &policy);
});

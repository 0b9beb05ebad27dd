//! Authored traces, each with the reason for which it goes or none; loops of any block in any text; texts beyond the window.

mod cases;

use super::{tail::WINDOW, *};
use cases::{Case, HONEST, cases};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn measured(config: &RepetitionConfig, turn: &str) -> Repetition {
    config.repetition(&Said::whole(turn))
}

/// Why a turn is dropped; empty where it is kept.
fn reason(config: &RepetitionConfig, turn: &str) -> &'static str {
    measured(config, turn).parts.iter().find_map(|repeats| config.reason(repeats)).unwrap_or_default()
}

#[test]
fn every_authored_trace_goes_for_its_reason_or_stays() {
    let (mut dropped, mut kept) = (BTreeMap::new(), BTreeMap::new());
    let mut wrong = Vec::new();
    for Case { of, name, turn, drops } in cases() {
        let found = reason(&RepetitionConfig::default(), &turn);
        let expected = if drops { of } else { "" };
        *if drops { &mut dropped } else { &mut kept }.entry(of).or_insert(0) += 1;
        if found != expected {
            let measure = measured(&RepetitionConfig::default(), &turn);
            wrong.push(format!("{of}, {name}: expected {expected:?}, found {found:?}, {measure:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for reason in ["tail-loop", "counting-loop", "repeated-lines", "repeated-n-grams"] {
        assert!(
            dropped[reason] >= 5 && kept[reason] >= 5,
            "{reason}: {} dropped, {} kept",
            dropped[reason],
            kept[reason]
        );
    }
}

#[test]
fn a_loop_is_told_by_its_block_its_copies_and_what_they_cover() {
    let turn = format!("{HONEST} Wait, 第 {}", "ab cd ef. ".repeat(30));
    let measure = measured(&RepetitionConfig::default(), &turn);
    let [repeats] = &measure.parts[..] else { panic!("one part: {measure:?}") };
    let [found] = &repeats.loops[..] else { panic!("one loop: {measure:?}") };
    // The blank before the first copy ends one too; the one behind the last was trimmed.
    assert_eq!((found.period, found.repeats, found.chars, found.steady), (10, 30, 300, false));
    assert_eq!((repeats.part, repeats.chars), (Part::Turn, turn.trim().chars().count() as u64));
    assert!((found.share(repeats.chars) - 300.0 / repeats.chars as f64).abs() < 1e-12);
}

#[test]
fn a_loop_within_a_loop_is_told_too() {
    let block = format!("{HONEST} {}", "and so on ".repeat(40));
    let config = RepetitionConfig::default();
    let turn = block.repeat(4);
    let measure = measured(&config, &turn);
    let found: Vec<(u64, u64)> = measure.parts[0].loops.iter().map(|found| (found.period, found.repeats)).collect();
    assert_eq!(found.iter().map(|(_, repeats)| *repeats).collect::<Vec<_>>(), [40, 3], "{found:?}");
    assert_eq!(reason(&RepetitionConfig { loop_repeats: 3, loop_chars: 2000, ..config.clone() }, &turn), "tail-loop");
    assert_eq!(reason(&config, &turn), "tail-loop", "by the block within");
}

#[test]
fn thresholds_decide_and_are_not_measured() {
    let turn = format!("{HONEST} {}", "Let me check that again. ".repeat(12));
    let config = RepetitionConfig::default();
    assert_eq!(reason(&config, &turn), "tail-loop");
    let others = [
        RepetitionConfig { loop_repeats: 13, ..config.clone() },
        RepetitionConfig { loop_chars: 400, ..config.clone() },
        RepetitionConfig { loop_share: 0.5, ..config.clone() },
    ];
    for other in others {
        assert_eq!(reason(&other, &turn), "", "{other:?}");
        assert_eq!((other.keyed(), other.check()), (config.keyed(), Ok(())), "measures nothing again");
        assert_ne!(other.settings(), config.settings());
    }
    assert_ne!(RepetitionConfig { n_gram_words: 8, ..config.clone() }.keyed(), config.keyed());
}

#[test]
fn what_is_out_of_range_is_named() {
    let config = RepetitionConfig::default;
    assert_eq!(config().check(), Ok(()));
    let cases = [
        (RepetitionConfig { loop_repeats: 2, ..config() }, "`loop-repeats`: expected at least 3, found 2"),
        (RepetitionConfig { counting_repeats: 4, ..config() }, "`counting-repeats`: expected at least 5, found 4"),
        (RepetitionConfig { n_gram_words: 1, ..config() }, "`n-gram-words`: expected at least 2, found 1"),
        (RepetitionConfig { n_gram_words: 101, ..config() }, "`n-gram-words`: expected at most 100, found 101"),
        (RepetitionConfig { copies: 3, ..config() }, "`copies`: expected one of [1, 2, 4, 8, 16, 32], found 3"),
        (RepetitionConfig { line_share: 1.5, ..config() }, "`line-share`: expected a share from 0 to 1, found 1.5"),
        (
            RepetitionConfig { n_gram_share: f64::NAN, ..config() },
            "`n-gram-share`: expected a share from 0 to 1, found NaN",
        ),
    ];
    for (config, error) in cases {
        assert_eq!(config.check(), Err(error.to_owned()));
    }
}

#[test]
fn texts_beyond_the_window_are_measured_whole_where_they_loop() {
    let config = RepetitionConfig::default();
    let block = "Wait, that is not right, 再来. ";
    let copies = 8 * 1024 * 1024 / block.len();
    let chars = (block.chars().count() * copies - 1) as u64;
    let measure = measured(&config, &block.repeat(copies));
    let found = &measure.parts[0].loops[0];
    assert!(chars > 8 * WINDOW as u64);
    assert_eq!((found.chars, measure.parts[0].chars), (chars, chars));
    // A block longer than a third of the window is not seen, and costs no more.
    let mut seed = 1_u64;
    let mut noise = |length: usize| -> String {
        let letter = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from_u32(u32::from(b'a') + (seed >> 33) as u32 % 26).unwrap_or('a')
        };
        (0..length).map(letter).collect()
    };
    let random = measured(&config, &noise(8 * 1024 * 1024));
    assert!(random.parts[0].loops.is_empty() && random.parts[0].masked_loops.is_empty());
    assert_eq!((random.parts[0].lines.chars, random.parts[0].n_grams.count), (WINDOW as u64, 0));
    assert!(measured(&config, &noise(WINDOW / 2).repeat(4)).parts[0].loops.is_empty());
}

#[test]
fn a_run_of_words_is_as_long_in_every_script() {
    let count = |text: &str| copies::runs(text, 10).count;
    assert_eq!(count("a b c d e f g h i j k"), 2);
    assert_eq!(count("因此我们可以得到以下结论由此可知答案是三"), 1, "twenty characters");
    assert_eq!(count("因此我们可以得到以下结论由此可知答案是"), 0);
    assert_eq!(count("所以 x=3 而且 y=4 因此我们可以得到以下结论"), 1, "two words and sixteen characters");
}

/// Text in which nothing follows a pattern: words of random letters.
fn prose() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-zé结]{1,9}", 0..120).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn copies_of_any_block_are_a_tail_loop(text in ".{0,200}", block in "[^\\s<][^<]{0,80}[^\\s<]", more in 0_usize..20) {
        let config = RepetitionConfig::default();
        let copies = (config.loop_chars as usize).div_ceil(block.chars().count()).max(4) + 1 + more;
        let turn = text.replace('<', "") + &block.repeat(copies);
        prop_assert_eq!(reason(&config, &turn), "tail-loop");
        let measure = measured(&config, &turn);
        let covers = |found: &TailLoop| {
            found.repeats >= copies as u64 && found.chars >= (copies * block.chars().count()) as u64
        };
        prop_assert!(measure.parts[0].loops.iter().any(covers), "{:?}", measure);
    }

    #[test]
    fn copies_that_count_on_are_a_counting_loop(text in prose(), word in "[a-z]{9,20}", from in 0_u64..2000, step in 1_u64..50) {
        let copies = (0..40).map(|copy| format!("{word} {}, ", from + copy * step)).collect::<String>();
        prop_assert_eq!(reason(&RepetitionConfig::default(), &format!("{text}. {copies}")), "counting-loop");
    }

    #[test]
    fn prose_without_loops_has_none(text in prose()) {
        prop_assert_eq!(reason(&RepetitionConfig::default(), &text), "");
        let measure = measured(&RepetitionConfig::default(), &text);
        prop_assert!(measure.parts[0].loops.iter().all(|found| found.chars < 60), "{:?}", measure);
    }

    #[test]
    fn no_text_panics(turn in "(<think>)?.{0,80}[0-9 ]{0,40}(</think>)?.{0,80}") {
        measured(&RepetitionConfig { n_gram_words: 2, ..RepetitionConfig::default() }, &turn);
    }
}

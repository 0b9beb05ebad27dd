//! The authored pairs: no false equal, at most 1 % false unequal, at most 5 % unknown.

#![expect(clippy::print_stdout, reason = "the figures, with --nocapture")]

use distill_verify::{Policy, Verdict, judge_answer};

struct Pair {
    kind: &'static str,
    equal: bool,
    gold: &'static str,
    answer: &'static str,
}

fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for file in
        [include_str!("pairs/numbers.tsv"), include_str!("pairs/expressions.tsv"), include_str!("pairs/structures.tsv")]
    {
        let mut kind = "";
        for line in file.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                kind = name;
                continue;
            }
            let [label, gold, answer] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("three columns: {line}")
            };
            assert!(label == "=" || label == "!", "{line}");
            pairs.push(Pair { kind, equal: label == "=", gold, answer });
        }
    }
    pairs
}

#[test]
fn the_authored_pairs_are_judged_as_labelled() {
    let policy = Policy::default();
    let (mut false_equal, mut false_unequal, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let pairs = pairs();
    for pair in &pairs {
        let judged = judge_answer(pair.answer, pair.gold, &policy);
        let line = format!("{}: {} | {} ({})", pair.kind, pair.gold, pair.answer, judged.reason);
        match judged.verdict {
            Verdict::Equal if !pair.equal => false_equal.push(line),
            Verdict::Unequal if pair.equal => false_unequal.push(line),
            Verdict::Unknown => unknown.push(line),
            _ => {}
        }
    }
    println!("{} pairs, {} of them unequal", pairs.len(), pairs.iter().filter(|pair| !pair.equal).count());
    for (what, lines) in [("false equal", &false_equal), ("false unequal", &false_unequal), ("unknown", &unknown)] {
        println!("{what}: {}", lines.len());
        lines.iter().for_each(|line| println!("  {line}"));
    }
    assert!(pairs.len() >= 600 && pairs.iter().filter(|pair| !pair.equal).count() * 2 > pairs.len());
    assert!(false_equal.is_empty(), "{false_equal:#?}");
    assert!(false_unequal.len() * 100 <= pairs.len(), "{false_unequal:#?}");
    assert!(unknown.len() * 20 <= pairs.len(), "{unknown:#?}");
}

#[test]
fn every_gold_equals_itself() {
    for pair in pairs() {
        let judged = judge_answer(pair.gold, pair.gold, &Policy::default());
        assert_eq!(judged.verdict, Verdict::Equal, "{}: {}", pair.gold, judged.reason);
    }
}

//! Kinds of answers that are easily misread: reported cases and their variants, each with the verdicts that are right, and
//! no wrong one called proven. `expected` is `equal`, `unequal`, `not equal` (unequal or unknown) or `not unequal` (equal
//! or unknown).

#![expect(clippy::print_stdout, reason = "the figures, with --nocapture")]

use distill_verify::{Certainty, Judgement, Policy, Verdict, judge_answer, judge_math, judge_text};
use std::collections::BTreeMap;

fn rows(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn judged(row: &serde_json::Value) -> Judgement {
    let text = |key: &str| row[key].as_str();
    let gold = text("gold").expect("a gold");
    match (text("answer"), text("response"), text("text")) {
        (Some(answer), None, None) => judge_answer(answer, gold, &Policy::default()),
        (None, Some(response), None) => judge_math(response, gold, &Policy::default()),
        (None, None, Some(response)) => judge_text(response, gold),
        _ => panic!("one of answer, response and text: {row}"),
    }
}

fn check(file: &str, least: usize) {
    let rows = rows(file);
    let (mut wrong, mut kinds) = (Vec::new(), BTreeMap::<String, usize>::new());
    for row in &rows {
        let judged = judged(row);
        let expected = row["expected"].as_str().expect("what is expected");
        let right = match expected {
            "equal" => judged.verdict == Verdict::Equal,
            "unequal" => judged.verdict == Verdict::Unequal,
            "not equal" => judged.verdict != Verdict::Equal,
            "not unequal" => judged.verdict != Verdict::Unequal,
            other => panic!("{other}"),
        };
        *kinds.entry(row["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
        if !right {
            let proven = if judged.certainty == Certainty::Proven { "PROVEN " } else { "" };
            wrong.push(format!(
                "{proven}{} ({}) for {row}: {:?}",
                judged.verdict.name(),
                judged.reason,
                judged.readings
            ));
        }
    }
    println!("{} cases of {} kinds", rows.len(), kinds.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), rows.len());
    let negative = rows.iter().filter(|row| row["expected"].as_str().is_some_and(|text| text != "equal")).count();
    assert!(rows.len() >= least && negative * 4 >= rows.len(), "both sides of the line: {negative} of {}", rows.len());
}

#[test]
fn reported_cases_are_judged_right() {
    check(include_str!("kinds/reported.jsonl"), 160);
}

#[test]
fn variants_of_mathematics_are_judged_right() {
    check(include_str!("kinds/mathematics.jsonl"), 300);
}

#[test]
fn variants_of_extraction_are_judged_right() {
    check(include_str!("kinds/extraction.jsonl"), 300);
}

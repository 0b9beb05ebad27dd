//! What the judge is asked, that it is asked once, and that the rules have the last word where they have one.

use super::*;
use crate::tests::{Bench, listed, problem, rows, trace};
use crate::{FilterConfig, VerifyConfig};
use distill_dataset::{Decision, FinishReason::Length, FinishReason::Stop, Outcome, Trace};

/// Traces by what the rules say of them: right, wrong, and unknown because the answer cannot be read.
fn traces() -> Vec<Trace> {
    let unread = "<think>a</think>\\boxed{\\mathfrak{S}_3}";
    vec![
        trace(1, 0, "<think>a</think>\\boxed{1}", 9, Stop),
        trace(1, 1, "<think>a</think>\\boxed{7}", 9, Stop),
        trace(1, 2, unread, 9, Stop),
        // The same answer by another way: one question.
        trace(1, 3, "<think>b</think>\\boxed{\\mathfrak{S}_3}", 9, Stop),
        trace(2, 0, unread, 9, Stop),
        trace(2, 1, "<think>no end", 9, Length),
        trace(2, 2, "<think>a</think>\\boxed{\\mathfrak{S}_4}", 9, Stop),
    ]
}

/// The judge's samples as its traces, by what `say` writes to a question.
fn answered(bench: &Bench, questions: &Dataset, say: impl Fn(&str) -> Vec<(String, FinishReason)>) -> Dataset {
    bench.table(1, usize::MAX, |_, _, out| {
        let mut writer = ShardWriter::new(out)?.sorted_by(|trace: &Trace| &trace.problem_id);
        for question in rows::<Problem>(questions) {
            for (sample, (text, finish_reason)) in (0..).zip(say(&question.messages[0].content)) {
                let id = format!("{}-{sample}", question.id);
                let problem_id = question.id.clone();
                writer.push(Trace { id, problem_id, ..trace(1, sample, &text, 5, finish_reason) })?;
            }
        }
        writer.finish()?;
        Ok(Tally::default())
    })
}

struct Asked {
    questions: Dataset,
    measures: Dataset,
    judged: Vec<Judged>,
    decisions: Vec<Decision>,
}

fn ask(share: f64, on_unknown: OnUnknown, say: impl Fn(&str) -> Vec<(String, FinishReason)>) -> Asked {
    let bench = Bench::of(vec![problem(1), problem(2)], vec![traces()], 3);
    let verify = listed(VerifyConfig { on_unknown: OnUnknown::Keep, policy: Default::default() });
    let config = JudgeConfig { agreement_share: share, ..JudgeConfig::new(on_unknown) };
    let judge: FilterConfig = listed(config.clone());
    let verdicts = bench.measure(&verify, usize::MAX);
    let inputs = Inputs { verdicts: Some(&verdicts), ..bench.inputs() };
    let questions = bench.table(1, usize::MAX, |_, context, out| config.look(&inputs, context, out));
    let answers = answered(&bench, &questions, say);
    let inputs = Inputs { survey: Some(&questions), answers: Some(&answers), ..inputs };
    let measures = bench
        .table(bench.num_units(), usize::MAX, |unit, context, out| config.measure(&inputs.unit(unit)?, context, out));
    let decisions = bench.select(&[verify, judge], &[verdicts, measures.clone()], usize::MAX);
    let judged = rows(&measures);
    Asked { questions, measures, judged, decisions: rows(&decisions) }
}

fn say(text: &str) -> Vec<(String, FinishReason)> {
    vec![(text.to_owned(), Stop)]
}

fn kept(asked: &Asked) -> Vec<&str> {
    let mut kept: Vec<&str> = asked.decisions.iter().filter(|row| row.kept).map(|row| &*row.trace_id).collect();
    kept.sort();
    kept
}

#[test]
fn only_what_the_rules_leave_unknown_is_asked_and_each_question_once() {
    let asked = ask(0.0, OnUnknown::Reject, |_| say("<think>same</think>VERDICT: CORRECT"));
    let tally = &asked.questions.manifest.tally;
    assert_eq!((tally.rows_in, tally.rows_out), (7, 3), "three answers that cannot be read: one of them twice");
    let expected = [("asked-already", 1), ("decided-by-rules", 2), ("not-asked", 1)];
    assert_eq!(tally.rejected, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    // The wrong one stays wrong, whatever the judge says; what never ended is not asked.
    assert_eq!(kept(&asked), ["1-0", "1-2", "1-3", "2-0", "2-2"]);
    let Detail::Judged { asked, agreement } = &asked.measures.manifest.tally.detail else { panic!("judged") };
    assert_eq!((*asked, agreement.len()), (4, 0));
}

#[test]
fn a_judge_that_accepts_makes_nothing_verified() {
    let asked = ask(0.0, OnUnknown::Reject, |_| say("VERDICT: CORRECT"));
    let row = asked.decisions.iter().find(|row| row.trace_id == "1-2").expect("a decision");
    assert_eq!(row.outcomes, [Outcome::Unknown, Outcome::Accept]);
}

#[test]
fn most_samples_decide_and_a_draw_or_silence_does_not() {
    let votes = |words: &'static [&'static str]| {
        move |_: &str| words.iter().map(|word| (format!("<think>x</think>VERDICT: {word}"), Stop)).collect::<Vec<_>>()
    };
    let reasons = |asked: &Asked| {
        let row = asked.decisions.iter().find(|row| row.trace_id == "2-0").expect("a decision");
        (row.kept, row.reason.clone())
    };
    let reject = OnUnknown::Reject;
    assert_eq!(reasons(&ask(0.0, reject, votes(&["CORRECT", "INCORRECT", "CORRECT"]))), (true, String::new()));
    assert_eq!(reasons(&ask(0.0, reject, votes(&["INCORRECT", "UNSURE"]))), (false, "judged-wrong".to_owned()));
    assert_eq!(reasons(&ask(0.0, reject, votes(&["CORRECT", "INCORRECT"]))), (false, "judge-unsure".to_owned()));
    assert_eq!(reasons(&ask(0.0, reject, votes(&[]))), (false, "judge-silent".to_owned()));
    assert!(reasons(&ask(0.0, OnUnknown::Keep, votes(&[]))).0);
    let cut = |_: &str| vec![("VERDICT: CORRECT\nor rather".to_owned(), Length)];
    assert_eq!(reasons(&ask(0.0, reject, cut)), (false, "judge-unsure".to_owned()), "a cut answer has not ended");
    let thinks = |_: &str| say("<think>VERDICT: CORRECT</think>I cannot tell.");
    assert_eq!(reasons(&ask(0.0, reject, thinks)), (false, "judge-unsure".to_owned()), "reasoning is no verdict");
}

#[test]
fn agreement_with_the_rules_is_counted_on_what_they_decide() {
    let asked = ask(1.0, OnUnknown::Reject, |question| {
        say(if question.contains("\\boxed{7}") { "VERDICT: INCORRECT" } else { "VERDICT: CORRECT" })
    });
    let Detail::Judged { asked: count, agreement } = &asked.measures.manifest.tally.detail else { panic!("judged") };
    assert_eq!(*count, 6);
    assert_eq!(*agreement, [("fail/fail", 1), ("pass/pass", 1)].map(|(name, count)| (name.to_owned(), count)).into());
    let row = asked.judged.iter().find(|row| row.trace_id == "1-0").expect("a row");
    assert_eq!((row.rules, row.opinion, row.votes), (Verdict::Pass, Some(Verdict::Pass), [1, 0, 0]));
}

#[test]
fn nothing_asked_needs_no_judge() {
    let bench = Bench::of(vec![problem(1)], vec![vec![trace(1, 0, "<think>a</think>\\boxed{1}", 9, Stop)]], 3);
    let verdicts = bench.measure(&listed(VerifyConfig { on_unknown: OnUnknown::Keep, policy: Default::default() }), 9);
    let config = JudgeConfig { agreement_share: 0.0, ..JudgeConfig::new(OnUnknown::Reject) };
    let inputs = Inputs { verdicts: Some(&verdicts), ..bench.inputs() };
    let measures = bench.table(1, 9, |unit, context, out| config.measure(&inputs.unit(unit)?, context, out));
    assert_eq!(rows::<Judged>(&measures)[0].opinion, None);
}

#[test]
fn every_authored_opinion_has_its_reason() {
    // What the samples say, parted by `|`; what follows; a word why.
    let (wrong, unsure, silent) = ("judged-wrong", "judge-unsure", "judge-silent");
    let cases: [(&str, &str, &str); 24] = [
        ("VERDICT: INCORRECT", wrong, "one says so"),
        ("VERDICT: INCORRECT|VERDICT: INCORRECT|VERDICT: CORRECT", wrong, "two of three"),
        ("VERDICT: INCORRECT|VERDICT: UNSURE", wrong, "who is unsure has no vote"),
        ("It looks right.\n**Verdict:** incorrect.", wrong, "marks and capitals do not matter"),
        ("VERDICT: CORRECT\nNo, the unit differs.\nVERDICT: INCORRECT", wrong, "the last line counts"),
        ("VERDICT: CORRECT", "", "one says so"),
        ("VERDICT: CORRECT|VERDICT: INCORRECT|VERDICT: CORRECT", "", "two of three"),
        ("VERDICT: CORRECT|VERDICT: UNSURE|VERDICT: UNSURE", "", "who is unsure has no vote"),
        ("VERDICT: INCORRECT\nWait: they are equal.\nVERDICT: CORRECT", "", "the last line counts"),
        ("<think>VERDICT: INCORRECT</think>VERDICT: CORRECT", "", "reasoning is no verdict"),
        ("VERDICT: CORRECT|I cannot tell.", "", "who says no verdict has no vote"),
        ("`VERDICT: CORRECT`", "", "set as code"),
        ("VERDICT: UNSURE", unsure, "it says so"),
        ("VERDICT: CORRECT|VERDICT: INCORRECT", unsure, "one against one"),
        ("VERDICT: CORRECT|VERDICT: INCORRECT|VERDICT: UNSURE", unsure, "one against one, and one without a vote"),
        ("I cannot tell.", unsure, "no verdict"),
        ("VERDICT: CORRECT or VERDICT: INCORRECT", unsure, "both in one line"),
        ("<think>VERDICT: CORRECT</think>I cannot tell.", unsure, "a verdict in the reasoning alone"),
        ("VERDICT: CORRECTNESS", unsure, "another word"),
        ("", silent, "it was asked, and nothing came"),
        (" ", unsure, "a blank came: it has answered"),
        ("VERDICT:", unsure, "the beginning of a verdict"),
        ("\n|VERDICT: CORRECT", "", "an empty answer beside one that says something"),
        ("VERDICT: UNSURE|VERDICT: INCORRECT|VERDICT: INCORRECT", wrong, "two of two that have a vote"),
    ];
    for (said, expected, why) in cases {
        let mut votes = Votes::default();
        for text in said.split('|').filter(|text| !text.is_empty()) {
            let (problem_id, format, text) = (String::new(), TurnFormat::default(), text.to_owned());
            votes.count(&Answered { problem_id, format, text, finish_reason: Stop });
        }
        let found = match votes.opinion() {
            (Verdict::Fail, _) => wrong,
            (_, reason) => reason,
        };
        assert_eq!(found, expected, "{why}: {said:?}");
    }
}

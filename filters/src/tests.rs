//! The filters as stages: every trace measured, every trace decided on, the funnel sums, thresholds measure nothing again.

use crate::*;
use distill_dataset::*;
use distill_verify::{
    Policy,
    code::{Judges, Launcher, Options, Tools},
};
use std::{collections::BTreeMap, fs, path::Path};

fn problem(index: u32) -> Problem {
    let messages = vec![Message::user(format!("problem {index}"))];
    Problem {
        id: problem_id(&messages),
        messages,
        domain: "math".to_owned(),
        reference: Reference::Math,
        answer: index.to_string(),
        solution: None,
        source: "test".to_owned(),
        split: Split::Train,
        licence: None,
    }
}

fn trace(index: u32, sample_index: u32, turn: &str, tokens: u32, finish_reason: FinishReason) -> Trace {
    let (reasoning, answer) = Trace::split_turn(turn);
    Trace {
        id: format!("{index}-{sample_index}"),
        problem_id: problem(index).id,
        sample_index,
        prefill: String::new(),
        text: turn.to_owned(),
        reasoning,
        answer,
        finish_reason,
        segments: vec![],
        teacher: "test".to_owned(),
        response_model: String::new(),
        template_hash: String::new(),
        sampling: SamplingParams { temperature: 1.0, top_p: 1.0, max_new_tokens: 99 },
        seed: 1,
        prompt_tokens: 3,
        completion_tokens: tokens,
        token_ids: None,
        cost_usd: 0.0,
        finish_name: None,
    }
}

/// What is sampled, by the reason for which it goes; the empty reason is kept.
fn cases() -> Vec<(Trace, &'static str)> {
    use FinishReason::{ContentFilter, Length, Stop};
    let good = "<think>\nsteps\n</think>\n\n\\boxed{1}";
    vec![
        (trace(1, 0, good, 20, Stop), ""),
        (trace(1, 1, good, 20, Stop), "duplicate"),
        (trace(1, 2, "<think>\nother\n</think>\\boxed{2}", 20, Stop), "unequal"),
        (trace(1, 3, "<think>\nno end", 99, Length), "truncated"),
        (trace(2, 0, "", 0, ContentFilter), "withheld"),
        (trace(2, 1, "\\boxed{2}", 20, Stop), "no-closing-tag"),
        (trace(2, 2, "<think>a</think>b</think>\\boxed{2}", 20, Stop), "several-closing-tags"),
        (trace(2, 3, "<think> </think>\\boxed{2}", 20, Stop), "empty-reasoning"),
        (trace(2, 4, "<think>a</think> ", 20, Stop), "empty-answer"),
        (trace(2, 5, "<think>\\boxed{2}</think>two", 20, Stop), "no-boxed-answer"),
        (trace(2, 6, "<think>a</think>\\boxed{2} or \\boxed{3}", 20, Stop), "several-boxed-answers"),
        (trace(2, 7, "<think>a</think>\\boxed{\\mathfrak{S}_3}", 20, Stop), "answer-unread"),
        (trace(2, 8, "<think>a</think>\\boxed{2}", 3, Stop), "too-short"),
        (trace(2, 9, "a</think>\\boxed{2.0}", 20, Stop), ""),
    ]
}

fn filters(on_unknown: OnUnknown) -> Vec<FilterConfig> {
    vec![
        FilterConfig::Format(FormatConfig::default()),
        FilterConfig::Length(LengthConfig { min_tokens: 10, max_tokens: Some(50) }),
        FilterConfig::Duplicates(DuplicatesConfig::default()),
        FilterConfig::Verify(VerifyConfig { on_unknown, policy: Policy::default() }),
    ]
}

struct Bench {
    root: tempfile::TempDir,
    problems: Dataset,
    traces: Dataset,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let problems = write(root.path(), "problems", (1..3).map(problem));
        let traces = write(root.path(), "traces", cases().into_iter().map(|(trace, _)| trace));
        Bench { root, problems, traces }
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.root.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn decide(&self, filters: &[FilterConfig]) -> (Tally, Dataset, Vec<Dataset>) {
        let context = context(self.root.path());
        let (problems, traces) = ([self.problems.clone()], [self.traces.clone()]);
        let measures: Vec<Dataset> = filters
            .iter()
            .map(|filter| {
                let out = self.folder(filter.kind());
                measure(&filter.measurement(), &problems, &traces, &judges(), &context, &out).expect("measures");
                reread(&out)
            })
            .collect();
        let out = self.folder("selection");
        let tally = select(filters, &traces, &measures, &context, &out).expect("a selection");
        (tally, reread(&out), measures)
    }
}

/// Judges without an interpreter: nothing here runs code.
fn judges() -> Judges {
    let launcher = Launcher { program: "/bin/false".into(), arguments: Vec::new(), user: None };
    Judges::new(Options::new(launcher, Tools::default().into()))
}

fn context(scratch: &Path) -> Context {
    Context { scratch: scratch.to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 1 }
}

fn write<R: Record>(root: &Path, name: &str, rows: impl Iterator<Item = R>) -> Dataset {
    let dir = root.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    Dataset::write(&dir, rows).expect("rows")
}

fn reread(dir: &Path) -> Dataset {
    let file = ShardInfo { file: "part-00000.parquet".to_owned(), rows: 0, bytes: 0, digest: String::new() };
    Dataset { dir: dir.to_owned(), manifest: Manifest { files: vec![file], ..Manifest::default() } }
}

#[test]
fn every_trace_is_kept_or_dropped_for_its_reason() {
    let bench = Bench::new();
    let (tally, decisions, _) = bench.decide(&filters(OnUnknown::Reject));
    let decisions: Vec<Decision> = decisions.rows().collect::<Result<_, _>>().expect("decisions");
    assert_eq!(decisions.len(), cases().len());
    for (decision, (trace, reason)) in decisions.iter().zip(cases()) {
        assert_eq!(
            (decision.trace_id.as_str(), decision.reason.as_str()),
            (trace.id.as_str(), reason),
            "{}",
            trace.text
        );
        assert_eq!(decision.kept, reason.is_empty());
    }
    let Detail::Selection { funnel, .. } = tally.detail else { panic!("a selection") };
    let mut entered = tally.rows_in;
    for step in &funnel.steps {
        assert_eq!(step.entered, entered, "the funnel sums at `{}`", step.filter);
        entered -= step.dropped.values().sum::<u64>();
    }
    assert_eq!((entered, funnel.kept), (tally.rows_out, tally.rows_out));
    assert_eq!(tally.rows_out, 2);
}

#[test]
fn what_cannot_be_judged_goes_on_when_the_recipe_says_so() {
    let bench = Bench::new();
    let (tally, decisions, _) = bench.decide(&filters(OnUnknown::Keep));
    assert_eq!(tally.rows_out, 3);
    let undecided = decisions.rows::<Decision>().map(|row| row.expect("a decision")).find(|row| row.trace_id == "2-7");
    let undecided = undecided.expect("the trace that boxed x");
    assert!(undecided.kept && undecided.outcomes[3] == Outcome::Unknown);
}

#[test]
fn thresholds_are_no_part_of_the_measurement() {
    let strict = FilterConfig::Length(LengthConfig { min_tokens: 10, max_tokens: Some(20) });
    let lax = FilterConfig::Length(LengthConfig { min_tokens: 0, max_tokens: None });
    assert_eq!(strict.measurement(), lax.measurement());
    let keep = FilterConfig::Verify(VerifyConfig { on_unknown: OnUnknown::Keep, policy: Policy::default() });
    let reject = FilterConfig::Verify(VerifyConfig { on_unknown: OnUnknown::Reject, policy: Policy::default() });
    assert_eq!(keep.measurement(), reject.measurement());
}

#[test]
fn a_side_table_of_other_traces_is_refused() {
    let bench = Bench::new();
    let filters = filters(OnUnknown::Reject);
    let (_, _, mut measures) = bench.decide(&filters);
    let mut rows: Vec<Measure> = measures[1].rows().collect::<Result<_, _>>().expect("measures");
    rows.swap(0, 1);
    measures[1] = write(bench.root.path(), "swapped", rows.into_iter());
    let out = bench.folder("again");
    let error = select(&filters, std::slice::from_ref(&bench.traces), &measures, &context(bench.root.path()), &out);
    assert!(matches!(error, Err(FilterError::Mismatch { .. })));
}

#[test]
fn examples_and_export_hold_the_kept_turns_whole() {
    let bench = Bench::new();
    let (_, decisions, measures) = bench.decide(&filters(OnUnknown::Reject));
    let (problems, traces) = ([bench.problems.clone()], [bench.traces.clone()]);
    let context = context(bench.root.path());
    let out = bench.folder("examples");
    examples(&problems, &traces, &decisions, &context, &out).expect("examples");
    let kept: BTreeMap<String, Example> = reread(&out)
        .rows()
        .map(|row: Result<Example, _>| row.map(|row| (row.trace_id.clone(), row)).expect("a row"))
        .collect();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["1-0", "2-9"]);
    assert_eq!(kept["1-0"].messages[1].content, cases()[0].0.text);

    let out = bench.folder("export");
    export(&problems, &traces, &decisions, Some(&measures[3]), &context, &out).expect("an export");
    let rows: Vec<ExportedRow> = reread(&out).rows().collect::<Result<_, _>>().expect("rows");
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].correctness_math_verify[0], rows[0].correctness_count), (Some(true), 1));
    assert_eq!((rows[0].problem.as_str(), rows[0].generations[0].as_str()), ("problem 1", cases()[0].0.text.as_str()));
}

#[test]
fn what_is_asked_depends_on_the_problems_reference() {
    let tests = r#"{"language": "python", "tests": {"kind": "stdin", "cases": [{"input": "", "output": "1"}]}}"#;
    let root = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        (Reference::Math, "1/2", "\\boxed{0.5}", Some(Verdict::Pass), ""),
        (Reference::Text, "New York", "\\boxed{new york}", Some(Verdict::Pass), ""),
        (Reference::Text, "New York", "\\boxed{York}", Some(Verdict::Fail), "unequal"),
        (Reference::Choice, "B", "\\boxed{Rome}", Some(Verdict::Pass), ""),
        (Reference::Choice, "B", "The answer is (A).", Some(Verdict::Fail), "unequal"),
        (Reference::Choice, "B", "\\boxed{A} or \\boxed{B}", Some(Verdict::Unknown), "several-choices"),
        (Reference::Tests, tests, "no code", Some(Verdict::Unknown), "no-code"),
        (Reference::Tests, tests, "```python\nprint(1)\n```", Some(Verdict::Unknown), "unsupported"),
        (Reference::Tests, "{}", "```python\nprint(1)\n```", Some(Verdict::Unknown), "tests-unreadable"),
        (Reference::None, "", "\\boxed{1}", Some(Verdict::Unknown), "no-reference"),
    ];
    let question = |index: usize| vec![Message::user(format!("{index}: Which?\nA. Paris\nB. Rome"))];
    let problems = cases.iter().enumerate().map(|(index, (reference, answer, ..))| {
        let (messages, answer) = (question(index), (*answer).to_owned());
        Problem { id: problem_id(&messages), messages, reference: *reference, answer, ..problem(0) }
    });
    let problems = write(root.path(), "problems", problems);
    let traces = cases.iter().enumerate().map(|(index, (_, _, turn, ..))| {
        let id = problem_id(&question(index));
        Trace { problem_id: id, ..trace(index as u32, 0, &format!("<think>x</think>{turn}"), 9, FinishReason::Stop) }
    });
    let traces = write(root.path(), "traces", traces);
    let filter = FilterConfig::Verify(VerifyConfig { on_unknown: OnUnknown::Keep, policy: Policy::default() });
    let (out, context) = (root.path().join("verify"), context(root.path()));
    fs::create_dir_all(&out).expect("a folder");
    measure(&filter.measurement(), &[problems], &[traces], &judges(), &context, &out).expect("measures");
    for (measure, (reference, _, turn, verdict, reason)) in reread(&out).rows::<Measure>().zip(cases) {
        let measure = measure.expect("a measure");
        assert_eq!((measure.verdict, measure.reason.as_str()), (verdict, reason), "{reference:?} {turn}: {measure:?}");
    }
}

#[test]
fn a_majority_labels_what_nobody_knows() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let problems = write(root.path(), "problems", [Problem { reference: Reference::None, ..problem(1) }].into_iter());
    let turns = ["\\boxed{0.5}", "\\boxed{\\frac12}", "I do not know", "\\boxed{2}", "\\boxed{1/2}"];
    let traces = (0_u32..).zip(turns).map(|(index, turn)| trace(1, index, turn, 9, FinishReason::Stop));
    let traces = write(root.path(), "traces", traces);
    let vote = |min_share| VoteConfig { min_share, on_unknown: OnUnknown::Reject, policy: Policy::default() };
    let filter = FilterConfig::Vote(vote(0.5));
    let (out, context) = (root.path().join("vote"), context(root.path()));
    fs::create_dir_all(&out).expect("a folder");
    measure(&filter.measurement(), &[problems], &[traces], &judges(), &context, &out).expect("measures");
    let measures: Vec<Measure> = reread(&out).rows().collect::<Result<_, _>>().expect("measures");
    let verdicts: Vec<_> = measures.iter().map(|measure| measure.verdict).collect();
    let (pass, fail, unknown) = (Some(Verdict::Pass), Some(Verdict::Fail), Some(Verdict::Unknown));
    assert_eq!(verdicts, [pass, pass, unknown, fail, pass]);
    assert_eq!(measures[0].value, Some(0.75));
    assert!(measures[3].evidence.contains("label \"0.5\": 3 of 4 votes"), "{}", measures[3].evidence);
    assert_eq!(filter.decide(&measures[0]), (Outcome::Accept, true, String::new()));
    assert_eq!(filter.decide(&measures[3]), (Outcome::Reject, false, "minority".to_owned()));
    let strict = FilterConfig::Vote(vote(0.8));
    assert_eq!(strict.decide(&measures[0]), (Outcome::Unknown, false, "small-majority".to_owned()));
    assert_eq!(strict.measurement(), filter.measurement(), "a threshold measures nothing again");
}

//! The evaluation as a stage: what is counted, and that a stopped one goes on.

use super::*;
use distill_dataset::{Cancel, Currency, Message, Progress, Reference, problem_id};
use distill_teacher::{Completion, Queue};
use std::sync::Mutex;

/// Answers right when the problem's number is below a limit; records the seeds it was given.
struct Fake {
    right_below: u64,
    seeds: Mutex<Vec<u64>>,
    stop_after: usize,
    /// Cannot answer the problem with this number.
    impossible: Option<u64>,
}

impl Complete for Fake {
    fn identity(&self) -> Identity {
        Identity { teacher: "fake".to_owned(), ..Identity::default() }
    }

    fn max_cost(&self, _: &distill_teacher::Request, _: Currency) -> f64 {
        0.125
    }

    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        while let Some(request) = queue.next() {
            let mut seeds = self.seeds.lock().expect("a lock");
            if seeds.len() == self.stop_after {
                cancel.cancel();
                return Ok(());
            }
            seeds.push(request.seed);
            let number: u64 = request.messages[0].content.parse().expect("a number");
            if self.impossible == Some(number) {
                let error = TeacherError::unanswerable("too-long", "4096 tokens at most".to_owned());
                let _ = queue.deliver(request.id, Err(error));
                continue;
            }
            let text = match number {
                n if n < self.right_below => format!("<think>\n</think>\\boxed{{{n}}}"),
                n if n.is_multiple_of(2) => "<think>\nno end".to_owned(),
                n => format!("<think>\n\\boxed{{{n}}}</think>\\boxed{{{}}}", n + 1),
            };
            let cut = if number.is_multiple_of(2) { FinishReason::Length } else { FinishReason::Stop };
            let completion = Completion {
                text,
                finish_reason: cut,
                prompt_tokens: 1,
                completion_tokens: 2,
                cost_usd: 0.125,
                ..Completion::default()
            };
            let _ = queue.deliver(request.id, Ok(completion));
        }
        Ok(())
    }
}

fn fake(right_below: u64, stop_after: usize) -> Fake {
    Fake { right_below, seeds: Mutex::new(vec![]), stop_after, impossible: None }
}

fn problems(dir: &Path) -> Dataset {
    let rows = (0..40).map(|number| {
        let messages = vec![Message::user(number.to_string())];
        Problem {
            id: problem_id(&messages),
            messages,
            domain: "math".to_owned(),
            reference: Reference::Math,
            answer: number.to_string(),
            solution: None,
            source: "test".to_owned(),
            split: if number < 30 { Split::Holdout } else { Split::Train },
            licence: None,
        }
    });
    Dataset::write(dir, rows).expect("problems")
}

fn config() -> EvaluationConfig {
    EvaluationConfig {
        samples_per_problem: 2,
        temperature: 0.6,
        top_p: 0.95,
        max_new_tokens: 9,
        max_problems: None,
        teacher: true,
        budget_tokens: None,
        budget_usd: None,
        budget_money: None,
        every_problem: false,
    }
}

fn run(root: &Path, name: &str, model: &Fake) -> Result<Tally, EvaluateError> {
    let (scratch, out) = (root.join(format!("{name}-scratch")), root.join(name));
    std::fs::create_dir_all(&out).expect("a folder");
    let context = Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed: 4 };
    evaluate("after", &config(), &[problems(root)], model, &context, &out)
}

#[test]
fn right_wrong_and_cut_are_counted_apart() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let tally = run(root.path(), "out", &fake(12, usize::MAX)).expect("an evaluation");
    let Detail::Evaluation { score, subject } = tally.detail else { panic!("an evaluation") };
    assert_eq!((subject.as_str(), score.num_problems, tally.rows_out), ("after", 30, 60));
    assert!((score.mean - 12.0 / 30.0).abs() < 1e-12, "{}", score.mean);
    assert_eq!(score.num_unknown, 18, "nine problems whose reasoning never ended, twice");
    assert!((score.censored - 0.5).abs() < 1e-12);
    assert!(score.low < 0.4 && 0.4 < score.high);
}

#[test]
fn a_stopped_evaluation_asks_only_what_is_missing() {
    let root = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(run(root.path(), "out", &fake(12, 25)), Err(EvaluateError::Interrupted(_))));
    let rest = fake(12, usize::MAX);
    let tally = run(root.path(), "out", &rest).expect("the rest");
    assert_eq!(rest.seeds.lock().expect("a lock").len(), 35, "25 of 60 attempts were there");
    let whole = run(root.path(), "whole", &fake(12, usize::MAX)).expect("an evaluation");
    assert_eq!(tally, whole);
}

#[test]
fn a_problem_that_cannot_be_answered_is_an_undecided_attempt_with_its_reason() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let model = Fake { impossible: Some(3), ..fake(12, usize::MAX) };
    let tally = run(root.path(), "out", &model).expect("an evaluation");
    assert_eq!((tally.rows_in, tally.rows_out), (60, 60), "an attempt is a row, answered or not");
    let Detail::Evaluation { score, .. } = tally.detail else { panic!("an evaluation") };
    assert_eq!((score.num_unanswered, score.num_unknown), (2, 20));
    assert!((score.mean - 11.0 / 30.0).abs() < 1e-12, "counted as not passed: {}", score.mean);
    let rows = Dataset::of_folder(&root.path().join("out")).expect("a dataset").rows::<Attempt>();
    let rows: Vec<Attempt> = rows.collect::<Result<_, _>>().expect("attempts");
    let unanswered = rows.iter().filter(|attempt| attempt.reason == "too-long" && attempt.verdict == Verdict::Unknown);
    assert_eq!(unanswered.count(), 2);
}

#[test]
fn what_a_paid_teacher_answered_is_bought_once_and_its_cost_is_told() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (problems, shared) = ([problems(root.path())], root.path().join("samples"));
    let judge = |name: &str, config: &EvaluationConfig, model: &Fake| {
        let out = root.path().join(name);
        std::fs::create_dir_all(&out).expect("a folder");
        let context =
            Context { scratch: out.join("scratch"), cancel: Cancel::default(), progress: Progress::hidden(), seed: 4 };
        let answers = Answers::open(&shared).expect("answers");
        ask(config, &problems, model, &answers, &context)?;
        score(("teacher", &model.identity()), config, &problems, &answers, &context, &out)
    };
    let half = EvaluationConfig { budget_usd: Some(3.0), ..config() };
    match judge("half", &half, &fake(12, usize::MAX)) {
        Err(EvaluateError::Budget { key, done, total, .. }) => {
            assert_eq!((key.as_str(), done, total), ("evaluation.budget-usd", 24, 60));
        }
        other => panic!("expected the budget to stop it, found {other:?}"),
    }
    let rest = fake(12, usize::MAX);
    let tally = judge("whole", &config(), &rest).expect("an evaluation");
    assert_eq!(rest.seeds.lock().expect("a lock").len(), 36, "24 of 60 were paid for");
    assert!((tally.cost_usd - 7.5).abs() < 1e-12 && tally.completion_tokens == 120, "{tally:?}");
    let more = fake(12, usize::MAX);
    judge("more", &EvaluationConfig { samples_per_problem: 3, ..config() }, &more).expect("an evaluation");
    assert_eq!(more.seeds.lock().expect("a lock").len(), 30, "one more of each");
}

#[test]
fn the_protocol_says_what_was_done() {
    let problem = |reference, system: bool| {
        let mut messages = vec![Message::user("1")];
        if system {
            messages.insert(0, Message::system("be brief"));
        }
        Problem {
            id: problem_id(&messages),
            messages,
            domain: "math".to_owned(),
            reference,
            answer: "1".to_owned(),
            solution: None,
            source: "test".to_owned(),
            split: Split::Holdout,
            licence: None,
        }
    };
    let text = config().protocol(&[problem(Reference::Math, false), problem(Reference::Choice, true)]);
    assert!(text.contains("1 of 2 with a system message"), "{text}");
    assert!(text.contains("judged by mathematical equality, the option chosen"), "{text}");
    let text = config().protocol(&[problem(Reference::Tests, false)]);
    assert!(text.contains("none with a system message") && text.contains("code is not run"), "{text}");
}

#[test]
fn attempts_that_the_version_before_paid_for_are_adopted_where_they_agree() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (problems, first) = ([problems(root.path())], fake(12, usize::MAX));
    // What that version left of it: the rows, and a manifest with model, subject and configuration.
    let tally = run(root.path(), "made", &first).expect("an evaluation");
    let made = Dataset::of_folder(&root.path().join("made")).expect("a dataset");
    let old = |name: &str, model: &str, config: &EvaluationConfig| {
        let dir = root.path().join(name).join("evaluation/0123456789abcdef");
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::copy(root.path().join("made/part-00000.parquet"), dir.join("part-00000.parquet")).expect("a shard");
        let manifest = serde_json::json!({
            "format": 1, "stage": "evaluation", "stage_version": 3, "config": ["teacher", config], "seed": 4,
            "inputs": [{"name": "model", "digest": model}, {"name": "problems", "digest": "p"}],
            "files": made.manifest.files,
        });
        std::fs::write(dir.join("manifest.json"), manifest.to_string()).expect("a manifest");
    };
    let adopted = |name: &str, seed: u64| {
        let context =
            Context { scratch: root.path().join(name), cancel: Cancel::default(), progress: Progress::hidden(), seed };
        let answers = Answers::open(&root.path().join(name).join("samples")).expect("answers");
        let from = (&first.identity(), &*root.path().join(name).join("evaluation"));
        let count = adopt(&config(), &problems, from, &answers, &context).expect("a count");
        let rest = fake(12, usize::MAX);
        ask(&config(), &problems, &rest, &answers, &context).expect("the rest");
        let out = root.path().join(name).join("out");
        std::fs::create_dir_all(&out).expect("a folder");
        let subject = ("teacher", &first.identity());
        let again = score(subject, &config(), &problems, &answers, &context, &out).expect("a score");
        (count, rest.seeds.into_inner().expect("a lock").len(), again)
    };
    old("same", "fake", &config());
    old("model", "other", &config());
    old("sampling", "fake", &EvaluationConfig { temperature: 1.0, ..config() });
    old("seed", "fake", &config());
    let (count, asked, again) = adopted("same", 4);
    assert_eq!((count, asked), (60, 0));
    let mean = |tally: &Tally| match &tally.detail {
        Detail::Evaluation { score, .. } => score.mean,
        _ => f64::NAN,
    };
    assert!((mean(&again) - mean(&tally)).abs() < 1e-12, "the same answers");
    assert_eq!(adopted("model", 4).0, 0, "another model");
    assert_eq!(adopted("sampling", 4).0, 0, "another temperature");
    assert_eq!(adopted("nothing", 4).0, 0, "a store without evaluations");
    let (count, asked, _) = adopted("seed", 5);
    assert_eq!((count, asked), (0, 60), "other seeds, so other draws");
}

//! The evaluation as a stage: what is counted, and that a stopped one goes on.

use super::*;
use distill_dataset::{Cancel, Message, Progress, problem_id};
use distill_teacher::Identity;
use std::sync::Mutex;

/// Answers right when the problem's number is below a limit; records the seeds it was given.
struct Fake {
    right_below: u64,
    seeds: Mutex<Vec<u64>>,
    stop_after: usize,
}

impl Complete for Fake {
    fn identity(&self) -> Identity {
        Identity { teacher: "fake".to_owned(), template_hash: String::new() }
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
            let text = match number {
                n if n < self.right_below => format!("<think>\n</think>\\boxed{{{n}}}"),
                n if n.is_multiple_of(2) => "<think>\nno end".to_owned(),
                n => format!("<think>\n\\boxed{{{n}}}</think>\\boxed{{{}}}", n + 1),
            };
            let cut = if number.is_multiple_of(2) { FinishReason::Length } else { FinishReason::Stop };
            let completion = Completion {
                prefill: String::new(),
                text,
                finish_reason: cut,
                response_model: String::new(),
                prompt_tokens: 1,
                completion_tokens: 2,
                token_ids: None,
                cost_usd: 0.0,
            };
            let _ = queue.deliver(request.id, Ok(completion));
        }
        Ok(())
    }
}

fn fake(right_below: u64, stop_after: usize) -> Fake {
    Fake { right_below, seeds: Mutex::new(vec![]), stop_after }
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

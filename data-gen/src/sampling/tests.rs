//! Sampling as a stage: nothing is bought twice, budgets hold, the order of answers does not show.

use super::*;
use distill_dataset::{Cancel, Message, Progress, Reference, problem_id};
use std::{cell::RefCell, path::PathBuf, sync::Mutex};

/// Answers with the request's seed; counts what it was asked.
struct Fake {
    asked: Mutex<Vec<u64>>,
    /// Answers in reverse order.
    reversed: bool,
    /// Stops after so many answers, as a killed process does.
    stop_after: usize,
    /// Requests for problems with this text fail.
    failing: &'static str,
}

impl Fake {
    fn new() -> Fake {
        Fake { asked: Mutex::default(), reversed: false, stop_after: usize::MAX, failing: "none" }
    }

    fn num_asked(&self) -> usize {
        self.asked.lock().expect("a lock").len()
    }
}

impl Complete for Fake {
    fn identity(&self) -> Identity {
        Identity { teacher: "fake".to_owned(), template_hash: "t".to_owned() }
    }

    fn max_cost_usd(&self, _: &Request) -> f64 {
        0.5
    }

    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        loop {
            let mut batch: Vec<Request> = (0..8).map_while(|_| queue.next()).collect();
            if batch.is_empty() {
                return Ok(());
            }
            if self.reversed {
                batch.reverse();
            }
            for request in batch {
                if self.num_asked() == self.stop_after {
                    cancel.cancel();
                    return Ok(());
                }
                self.asked.lock().expect("a lock").push(request.seed);
                let outcome = if request.messages[0].content == self.failing {
                    Err(TeacherError::Failed("too hard".to_owned()))
                } else {
                    Ok(Completion {
                        prefill: "<think>\n".to_owned(),
                        text: format!("{}</think>\n\n\\boxed{{1}}", request.seed),
                        finish_reason: FinishReason::Stop,
                        response_model: "fake-1".to_owned(),
                        prompt_tokens: 3,
                        completion_tokens: 10,
                        token_ids: None,
                        cost_usd: 0.25,
                    })
                };
                if queue.deliver(request.id, outcome).is_break() {
                    return Ok(());
                }
            }
        }
    }
}

struct Bench {
    root: tempfile::TempDir,
    num_runs: RefCell<u32>,
}

impl Bench {
    fn new() -> Bench {
        Bench { root: tempfile::tempdir().expect("a temporary folder"), num_runs: RefCell::new(0) }
    }

    fn problems(&self, texts: impl Iterator<Item = u32>) -> Dataset {
        let dir = self.folder();
        let problem = |number: u32| {
            let messages = vec![Message::user(number.to_string())];
            Problem {
                id: problem_id(&messages),
                messages,
                domain: "math".to_owned(),
                reference: Reference::Math,
                answer: "1".to_owned(),
                solution: None,
                source: "test".to_owned(),
                split: if number < 100 { Split::Train } else { Split::Holdout },
                licence: None,
            }
        };
        Dataset::write(&dir, texts.map(problem)).expect("problems")
    }

    fn folder(&self) -> PathBuf {
        *self.num_runs.borrow_mut() += 1;
        let dir = self.root.path().join(self.num_runs.borrow().to_string());
        std::fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    /// Samples into the journal shared by all runs of this bench.
    fn sample(
        &self,
        config: &SamplingConfig,
        problems: &Dataset,
        fake: &Fake,
    ) -> Result<(Tally, Vec<Trace>), SamplingError> {
        let out = self.folder();
        let context =
            Context { scratch: out.clone(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 5 };
        let journal = self.root.path().join("samples");
        let tally = sample(config, problems, fake, ("name", &journal), &context, &out)?;
        let rows = Dataset::of_folder(&out)?.rows().collect::<Result<_, _>>()?;
        Ok((tally, rows))
    }
}

fn config(samples_per_problem: u32) -> SamplingConfig {
    SamplingConfig {
        samples_per_problem,
        temperature: 0.6,
        top_p: 0.95,
        max_new_tokens: 20,
        max_failed_share: 0.0,
        budget_tokens: None,
        budget_usd: None,
    }
}

#[test]
fn more_samples_buy_only_the_difference_and_a_second_run_nothing() {
    let bench = Bench::new();
    let problems = bench.problems(0..10);
    let first = Fake::new();
    let (tally, four) = bench.sample(&config(4), &problems, &first).expect("traces");
    assert_eq!((first.num_asked(), four.len(), tally.completion_tokens), (40, 40, 400));
    let more = Fake::new();
    let (_, sixteen) = bench.sample(&config(16), &problems, &more).expect("traces");
    assert_eq!((more.num_asked(), sixteen.len()), (120, 160));
    assert!(four.iter().all(|trace| sixteen.contains(trace)), "what was bought is used again");
    let again = Fake::new();
    bench.sample(&config(16), &problems, &again).expect("traces");
    assert_eq!(again.num_asked(), 0);
}

#[test]
fn neither_the_order_of_problems_nor_of_answers_shows() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (_, straight) = bench.sample(&config(3), &bench.problems(0..30), &Fake::new()).expect("traces");
    let reversed = Fake { reversed: true, ..Fake::new() };
    let (_, backwards) = other.sample(&config(3), &other.problems((0..30).rev()), &reversed).expect("traces");
    assert_eq!(straight, backwards);
}

#[test]
fn what_was_answered_before_a_stop_is_not_asked_again() {
    let (bench, other) = (Bench::new(), Bench::new());
    let problems = bench.problems(0..10);
    let stopped = Fake { stop_after: 13, ..Fake::new() };
    assert!(matches!(bench.sample(&config(4), &problems, &stopped), Err(SamplingError::Interrupted(_))));
    let rest = Fake::new();
    let (_, resumed) = bench.sample(&config(4), &problems, &rest).expect("the rest");
    assert_eq!(rest.num_asked(), 27);
    let (_, whole) = other.sample(&config(4), &other.problems(0..10), &Fake::new()).expect("traces");
    assert_eq!(resumed, whole);
}

#[test]
fn held_out_problems_are_never_asked() {
    let bench = Bench::new();
    let fake = Fake::new();
    bench.sample(&config(1), &bench.problems(90..110), &fake).expect("traces");
    assert_eq!(fake.num_asked(), 10);
}

#[test]
fn a_budget_is_never_passed_and_raising_it_goes_on() {
    let bench = Bench::new();
    let problems = bench.problems(0..10);
    let fake = Fake::new();
    let tokens = SamplingConfig { budget_tokens: Some(105), ..config(4) };
    match bench.sample(&tokens, &problems, &fake) {
        Err(SamplingError::Budget { done, total, key, .. }) => {
            assert_eq!((total, key), (40, "sampling.budget-tokens"));
            assert_eq!(done as usize, fake.num_asked());
            assert_eq!(done, 9, "a tenth could have taken 20 tokens more");
        }
        other => panic!("expected the budget to stop it, found {:?}", other.map(|(tally, _)| tally.rows_out)),
    }
    let usd = SamplingConfig { budget_usd: Some(5.0), ..config(4) };
    let more = Fake::new();
    assert!(matches!(
        bench.sample(&usd, &problems, &more),
        Err(SamplingError::Budget { key: "sampling.budget-usd", .. })
    ));
    assert!((fake.num_asked() + more.num_asked()) as f64 * 0.25 <= 5.0);
    let (tally, _) = bench.sample(&config(4), &problems, &Fake::new()).expect("all");
    assert_eq!(tally.rows_out, 40);
}

#[test]
fn failures_are_counted_or_stop_the_stage_as_the_recipe_says() {
    let bench = Bench::new();
    let problems = bench.problems(0..10);
    let failing = || Fake { failing: "3", ..Fake::new() };
    let error = bench.sample(&config(2), &problems, &failing()).expect_err("failures").to_string();
    assert!(error.contains("2 of 20 requests failed") && error.contains("too hard"), "{error}");
    let lenient = SamplingConfig { max_failed_share: 0.1, ..config(2) };
    let again = failing();
    let (tally, traces) = bench.sample(&lenient, &problems, &again).expect("most");
    assert_eq!(
        (again.num_asked(), traces.len(), tally.rejected["failed"]),
        (2, 18, 2),
        "only failures are asked again"
    );
}

#[test]
fn budgets_do_not_change_what_a_finished_dataset_is() {
    let json = |config: &SamplingConfig| serde_json::to_string(config).expect("JSON");
    assert_eq!(json(&config(4)), json(&SamplingConfig { budget_usd: Some(1.0), max_failed_share: 0.5, ..config(4) }));
}

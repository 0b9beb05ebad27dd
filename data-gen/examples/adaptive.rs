//! What a fixed budget buys with a fixed number of samples a problem, and with samples until a problem is settled: usable
//! traces for a million tokens, over several seeds.
//!
//!     cargo run --release --example adaptive -- [PROBLEMS] [SEEDS]
//!
//! The teacher is simulated. A problem has a pass rate, drawn from the shape that R1's own pass rates on mixed competition
//! problems have: many that are nearly always solved, some that never are, and what lies between. Wrong answers are twice as long
//! as right ones, as R1's are. At most two usable traces of a problem are wanted: further ones of the same
//! problem add little (`samples-per-problem` of the mixes that were published are 1 to 4).

#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use distill_data_gen::{AdaptiveConfig, Judge, Outcome, SamplingConfig, SamplingError, buy};
use distill_dataset::{Cancel, Context, Dataset, Digest, FinishReason, Problem, Progress};
use distill_teacher::{Answer, Answers, Complete, Completion, Identity, Queue, TeacherError};
use std::{collections::BTreeMap, path::Path};

/// Usable traces that are wanted of a problem.
const WANTED: u32 = 2;
/// Tokens of a right answer; a wrong one has twice as many.
const TOKENS: u32 = 4000;

/// A teacher that knows each problem to some degree.
struct Simulated {
    seed: u64,
}

/// A number from 0 to 1 that depends on these alone.
fn draw(parts: &[&str]) -> f64 {
    let mut digest = Digest::new("draw");
    for part in parts {
        digest.field(part);
    }
    (digest.finish_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// How often a problem is solved: a fifth never, two fifths nearly always, the rest anything between.
fn pass_rate(problem: &str, seed: u64) -> f64 {
    let at = draw(&["kind", problem, &seed.to_string()]);
    let within = draw(&["rate", problem, &seed.to_string()]);
    match at {
        ..0.2 => 0.0,
        0.2..0.6 => 0.9 + 0.1 * within,
        _ => within,
    }
}

impl Complete for Simulated {
    fn identity(&self) -> Identity {
        Identity { teacher: format!("simulated-{}", self.seed), ..Identity::default() }
    }

    fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
        while let Some(request) = queue.next() {
            let question = request.messages[0].content.clone();
            let right = draw(&["answer", &question, &request.seed.to_string()]) < pass_rate(&question, self.seed);
            let length = 0.5 + draw(&["length", &question, &request.seed.to_string()]);
            let tokens = f64::from(if right { TOKENS } else { 2 * TOKENS }) * length;
            let completion = Completion {
                text: if right { "right" } else { "wrong" }.to_owned(),
                finish_reason: FinishReason::Stop,
                completion_tokens: tokens as u32,
                ..Completion::default()
            };
            if queue.deliver(request.id, Ok(completion)).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn problems(count: u32, dir: &Path) -> Dataset {
    let problem = |number: u32| Problem::asking(format!("problem {number}"), "1", "simulated");
    let mut all: Vec<Problem> = (0..count).map(problem).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Dataset::write(dir, all).expect("problems")
}

/// Usable traces, at most [`WANTED`] of a problem, for a million tokens; how many; the share of the budget that they took; and
/// how many problems have one.
fn run(config: &SamplingConfig, problems: &Dataset, seed: u64) -> (f64, u32, f64, usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let (answers, teacher) = (Answers::open(dir.path()).expect("answers"), Simulated { seed });
    let judge: Judge<'_> = &|_, trace| if trace.text == "right" { Outcome::Usable } else { Outcome::Wrong };
    let context =
        Context { scratch: dir.path().to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed };
    let shards: Vec<_> = problems.shards().collect();
    match buy(config, (&shards, &shards), &teacher, (&answers, judge), &context) {
        Ok(_) | Err(SamplingError::Budget { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let (mut usable, mut tokens) = (BTreeMap::<String, u32>::new(), 0);
    for problem in problems.rows::<Problem>() {
        let problem = problem.expect("a problem");
        for index in 0..config.samples_per_problem {
            let id = teacher.identity().sample_id(&problem.id, config.variant(index), index);
            if let Some(Answer::Answered(trace)) = answers.get(&id).expect("an answer") {
                tokens += u64::from(trace.completion_tokens);
                *usable.entry(problem.id.clone()).or_default() += u32::from(trace.text == "right");
            }
        }
    }
    let kept: u32 = usable.values().map(|count| (*count).min(WANTED)).sum();
    let share = tokens as f64 / config.budget_tokens.unwrap_or(tokens) as f64;
    (f64::from(kept) * 1e6 / tokens as f64, kept, share, usable.values().filter(|count| **count > 0).count())
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (count, seeds) = (arguments.next().unwrap_or(2000), arguments.next().unwrap_or(5));
    let dir = tempfile::tempdir().expect("a folder");
    let problems = problems(count, dir.path());
    // What four samples of each problem cost, about, and a half of it.
    let whole = u64::from(count) * 4 * 5500;
    let fixed = |samples: u32| SamplingConfig {
        samples_per_problem: samples,
        temperature: 0.6,
        max_new_tokens: 3 * TOKENS,
        ..SamplingConfig::unset()
    };
    let adaptive = SamplingConfig {
        adaptive: Some(AdaptiveConfig { usable: Some(WANTED), hopeless_after: Some(4), ..AdaptiveConfig::default() }),
        ..fixed(8)
    };
    println!("{count} problems, {seeds} seeds; usable traces, at most {WANTED} a problem");
    println!("budget samples           per M tok  least to most   traces   budget used  problems with one");
    for (budget, part) in [(whole, "whole"), (whole / 2, "half")] {
        for (name, config) in [
            ("fixed, 1 sample", fixed(1)),
            ("fixed, 2 samples", fixed(2)),
            ("fixed, 4 samples", fixed(4)),
            ("until settled", adaptive.clone()),
        ] {
            let config = SamplingConfig { budget_tokens: Some(budget), ..config };
            let each: Vec<_> = (0..seeds).map(|seed| run(&config, &problems, u64::from(seed))).collect();
            let mean = |of: fn(&(f64, u32, f64, usize)) -> f64| each.iter().map(of).sum::<f64>() / each.len() as f64;
            let least = each.iter().map(|run| run.0).fold(f64::INFINITY, f64::min);
            let most = each.iter().map(|run| run.0).fold(0.0, f64::max);
            println!(
                "{part:<6} {name:<17} {:>6.1} {:>16} {:>8.0} {:>8.0} % {:>9.0}",
                mean(|run| run.0),
                format!("{least:.1} to {most:.1}"),
                mean(|run| f64::from(run.1)),
                100.0 * mean(|run| run.2),
                mean(|run| run.3 as f64)
            );
        }
    }
}

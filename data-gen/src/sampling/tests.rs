//! Sampling as a stage: nothing is bought twice, budgets hold, the order of answers does not show.

use super::*;
use distill_dataset::{Cancel, Currency, FinishReason, Progress, Role, Segment, Trace, TurnFormat};
use distill_dataset::{Dataset, Detail, LogProbs, LogProbsBuilder, Tally, Token};
use distill_teacher::{Completion, Queue, Request};
use std::path::Path;
use std::{
    cell::RefCell,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Answers with the request's seed; counts what it was asked.
struct Fake {
    asked: Mutex<Vec<u64>>,
    /// The system prompts that it was asked with.
    systems: Mutex<Vec<String>>,
    /// Answers in reverse order.
    reversed: bool,
    /// Stops after so many answers, as a killed process does.
    stop_after: usize,
    /// Requests for problems with this text fail.
    failing: &'static str,
    /// Requests for problems with this text cannot be answered.
    impossible: &'static str,
    api: &'static str,
    template: &'static str,
    /// Tells log-probabilities where they are asked for.
    tells: bool,
}

impl Fake {
    fn new() -> Fake {
        Fake {
            asked: Mutex::default(),
            systems: Mutex::default(),
            reversed: false,
            stop_after: usize::MAX,
            failing: "none",
            impossible: "none",
            api: "completions",
            template: "t",
            tells: true,
        }
    }

    fn num_asked(&self) -> usize {
        self.asked.lock().expect("a lock").len()
    }
}

impl Complete for Fake {
    fn identity(&self) -> Identity {
        Identity {
            teacher: "fake".to_owned(),
            template_hash: self.template.to_owned(),
            api: self.api.to_owned(),
            turn: TurnFormat::of_prompt(if self.api == "completions" { "<think>\n" } else { "" }),
            ..Identity::default()
        }
    }

    fn max_cost(&self, _: &Request, _: Currency) -> f64 {
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
                let systems = request.messages.iter().filter(|message| message.role == Role::System);
                self.systems.lock().expect("a lock").extend(systems.map(|message| message.content.clone()));
                let outcome = if request.messages[0].content == self.failing {
                    Err(TeacherError::Failed("too hard".to_owned()))
                } else if request.messages[0].content == self.impossible {
                    Err(TeacherError::unanswerable("too-long", "4096 tokens at most".to_owned()))
                } else {
                    Ok(Completion {
                        text: format!("{}</think>\n\n\\boxed{{1}}", request.seed),
                        finish_reason: FinishReason::Stop,
                        response_model: "fake-1".to_owned(),
                        prompt_tokens: 3,
                        completion_tokens: 10,
                        cost_usd: 0.25,
                        log_probs: request
                            .sampling
                            .log_probabilities
                            .filter(|_| self.tells)
                            .map(|k| log_probs(request.seed, k)),
                        ..Completion::default()
                    })
                };
                if queue.deliver(request.id, outcome).is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// Two tokens with one alternative, told by the seed.
fn log_probs(seed: u64, k: u8) -> Arc<LogProbs> {
    let mut builder = LogProbsBuilder::new(k);
    let (token, other) = (Token::Id(seed as u32), (Token::Id(7), -2.0));
    for log_prob in [-0.5, -0.25] {
        builder.push((token, log_prob), &[(token, log_prob), other]).expect("a token");
    }
    Arc::new(builder.finish())
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
        let problem = |number: u32| Problem {
            split: if number < 100 { Split::Train } else { Split::Holdout },
            ..Problem::asking(number.to_string(), "1", "test")
        };
        // As the stage before leaves them: sorted by id.
        let mut problems: Vec<Problem> = texts.map(problem).collect();
        problems.sort_by(|a, b| a.id.cmp(&b.id));
        Dataset::write(&dir, problems).expect("problems")
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
        let shards = [only(problems)];
        let answers = Answers::open(&journal)?;
        buy(config, (&shards, &shards), fake, (&answers, JUDGE), &context)?;
        let tally = write_traces(
            config,
            (&shards[0], 0),
            (&fake.identity(), "name"),
            (&answers, JUDGE),
            &context.cancel,
            &out,
        )?;
        let rows = read(&out);
        Ok((tally, rows))
    }
}

const JUDGE: Judge<'static> = &|_, trace| if is_right(trace) { Outcome::Usable } else { Outcome::Wrong };

/// Whether the judge of these tests takes an answer: a quarter of them.
fn is_right(trace: &Trace) -> bool {
    trace.seed.is_multiple_of(4)
}

/// The one shard of a small dataset.
fn only(dataset: &Dataset) -> Shard {
    dataset.shards().next().expect("a shard")
}

/// The traces written into a folder.
fn read(out: &Path) -> Vec<Trace> {
    let dataset = Dataset::of_folder(out).expect("a dataset");
    dataset.rows().collect::<Result<_, _>>().expect("traces")
}

fn config(samples_per_problem: u32) -> SamplingConfig {
    SamplingConfig {
        samples_per_problem,
        temperature: 0.6,
        top_p: 0.95,
        max_new_tokens: 20,
        continues: None,
        log_probabilities: None,
        max_failed_share: 0.0,
        budget_tokens: None,
        budget_usd: None,
        budget_money: None,
        adaptive: None,
        system_prompts: Vec::new(),
        budget_hours: None,
        budget_gpu_hours: None,
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
fn samples_are_asked_with_the_system_prompts_in_turn_and_keep_theirs() {
    let bench = Bench::new();
    let problems = bench.problems(0..4);
    let plain = Fake::new();
    let (_, without) = bench.sample(&config(3), &problems, &plain).expect("traces");
    assert!(plain.systems.lock().expect("a lock").is_empty());
    let prompts = ["", "Reflect."].map(str::to_owned);
    let prompted = SamplingConfig { system_prompts: prompts.to_vec(), ..config(3) };
    let fake = Fake::new();
    let (_, with) = bench.sample(&prompted, &problems, &fake).expect("traces");
    // The first and third samples are those that are there; the second of each problem is asked anew, with its prompt.
    assert_eq!(*fake.systems.lock().expect("a lock"), ["Reflect."; 4]);
    assert_eq!(fake.num_asked(), 4);
    for (before, after) in without.iter().zip(&with) {
        let prompted = after.sample_index == 1;
        assert_eq!(after.system.as_deref(), prompted.then_some("Reflect."));
        assert_eq!(before == after, !prompted, "sample {}", after.sample_index);
    }
    let other = SamplingConfig { system_prompts: vec![String::new(), "Be brief.".to_owned()], ..config(3) };
    let again = Fake::new();
    bench.sample(&other, &problems, &again).expect("traces");
    assert_eq!(again.num_asked(), 4, "another prompt is another sample");
    assert!(SamplingConfig { system_prompts: vec![String::new(); 4], ..config(3) }.check().is_err());
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
            assert_eq!((total, key.as_str()), (40, "sampling.budget-tokens"));
            assert_eq!(done as usize, fake.num_asked());
            assert_eq!(done, 9, "a tenth could have taken 20 tokens more");
        }
        other => panic!("expected the budget to stop it, found {:?}", other.map(|(tally, _)| tally.rows_out)),
    }
    let usd = SamplingConfig { budget_usd: Some(5.0), ..config(4) };
    let more = Fake::new();
    assert!(matches!(
        bench.sample(&usd, &problems, &more),
        Err(SamplingError::Budget { key, .. }) if key == "sampling.budget-usd"
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
fn budgets_do_not_change_what_a_finished_dataset_is_and_the_share_of_failures_does() {
    let json = |config: &SamplingConfig| serde_json::to_string(config).expect("JSON");
    assert_eq!(json(&config(4)), json(&SamplingConfig { budget_usd: Some(1.0), budget_tokens: Some(1), ..config(4) }));
    assert_ne!(json(&config(4)), json(&SamplingConfig { max_failed_share: 0.5, ..config(4) }), "it decides rows");
    assert!(!json(&config(4)).contains("max-failed-share"), "a default changes no key");
}

#[test]
fn a_problem_that_cannot_be_answered_costs_its_own_rows_only() {
    let bench = Bench::new();
    let problems = bench.problems(0..10);
    let fake = Fake { impossible: "3", ..Fake::new() };
    let (tally, traces) = bench.sample(&config(2), &problems, &fake).expect("the rest");
    assert_eq!((traces.len(), tally.rows_in, tally.rejected["too-long"]), (18, 20, 2));
    let again = Fake::new();
    let (same, _) = bench.sample(&config(2), &problems, &again).expect("the same");
    assert_eq!((again.num_asked(), same.rejected["too-long"]), (0, 2), "it is known by now");
}

#[test]
fn units_written_apart_hold_what_the_whole_holds() {
    let bench = Bench::new();
    let (all, first, second) = (bench.problems(0..20), bench.problems(0..9), bench.problems(9..20));
    let fake = Fake::new();
    let (whole, traces) = bench.sample(&config(3), &all, &fake).expect("traces");
    let answers = Answers::open(&bench.root.path().join("samples")).expect("answers");
    let mut parts = Vec::new();
    let mut rows = 0;
    for unit in [&first, &second] {
        let out = bench.folder();
        let place = (&fake.identity(), "name");
        rows +=
            write_traces(&config(3), (&only(unit), rows as usize), place, (&answers, JUDGE), &Cancel::default(), &out)
                .expect("a unit")
                .rows_out;
        parts.extend(read(&out));
    }
    parts.sort_by(|a, b| (&a.problem_id, a.sample_index).cmp(&(&b.problem_id, b.sample_index)));
    assert_eq!((rows, parts), (whole.rows_out, traces));
}

/// A journal as the version before wrote it: frames of length, CRC-32 and JSON after a magic.
fn write_old_journal(dir: &Path, traces: &[Trace]) {
    std::fs::create_dir_all(dir).expect("a folder");
    let mut file = std::fs::File::create(dir.join("journal")).expect("a file");
    file.write_all(b"distill1").expect("the magic");
    for trace in traces {
        let mut value = serde_json::to_value(trace).expect("JSON");
        let fields = value.as_object_mut().expect("an object");
        fields.remove("finish_name").expect("a field of today");
        let format = fields.remove("format").expect("a field of today");
        fields.insert("prefill".to_owned(), format["prefix"].clone());
        fields.extend([("reasoning", 0), ("answer", 0)].map(|(name, _)| (name.to_owned(), serde_json::Value::Null)));
        let json = serde_json::to_vec(&value).expect("JSON");
        let (length, crc) = (json.len() as u32, crc32fast::hash(&json));
        file.write_all(&[&length.to_le_bytes()[..], &crc.to_le_bytes()[..], &json[..]].concat()).expect("a frame");
    }
}

/// A trace as the version before identified it.
fn old_trace(problem: &Problem, index: u32, template: &str, prefill: &str) -> Trace {
    let sampling = config(1).params();
    Trace {
        id: legacy::legacy_trace_id(&problem.id, "fake", template, &sampling, index),
        problem_id: problem.id.clone(),
        sample_index: index,
        format: TurnFormat::of_prompt(prefill),
        text: "bought long ago</think>1".to_owned(),
        finish_reason: FinishReason::Stop,
        segments: vec![Segment { num_bytes: 24, num_tokens: 7, finish_reason: FinishReason::Stop }],
        teacher: "old name".to_owned(),
        response_model: "fake-1".to_owned(),
        template_hash: template.to_owned(),
        sampling,
        seed: 9,
        prompt_tokens: 3,
        completion_tokens: 7,
        token_ids: None,
        cost_usd: 0.5,
        finish_name: None,
        system: None,
        claims: None,
    }
}

#[test]
fn the_identity_of_the_version_before_is_as_it_was() {
    let sampling = SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: None };
    // Made by that version: what it bought is found under this.
    assert_eq!(legacy::legacy_trace_id("p", "r1@1", "t", &sampling, 3), "f3397645bf2a3a28d1fd27c17402501d");
}

#[test]
fn what_the_version_before_paid_for_is_adopted_where_it_agrees() {
    let bench = Bench::new();
    let dataset = bench.problems(0..4);
    let problems: Vec<Problem> = dataset.rows().collect::<Result<_, _>>().expect("problems");
    let prefill = "<think>\n";
    let old = [
        old_trace(&problems[0], 0, "t", prefill),
        old_trace(&problems[0], 1, "t", prefill),
        // Bought through the chat call, which that version gave the same identity.
        old_trace(&problems[1], 0, "t", ""),
        // Bought under the endpoint's own template.
        old_trace(&problems[2], 0, "", ""),
        // Another model answered.
        Trace { response_model: "fake-2".to_owned(), ..old_trace(&problems[3], 0, "t", prefill) },
    ];
    let journal = bench.root.path().join("samples");
    write_old_journal(&journal, &old);
    let fake = Fake::new();
    let counted = || holdings(&config(2), &[only(&dataset)], &fake.identity(), &journal).expect("a count");
    let unadopted = [("api", 1), ("response-model", 1), ("template", 1)];
    let expected = OldAnswers {
        adopted: 2,
        unadopted: unadopted.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
    };
    assert_eq!(counted(), Holdings { held: 0, old: expected, ..counted() });
    assert!(!journal.join("answers").exists(), "counting changes nothing");

    let (tally, traces) = bench.sample(&config(2), &dataset, &fake).expect("traces");
    assert_eq!(fake.num_asked(), 6, "two of eight are there");
    let adopted: Vec<&Trace> = traces.iter().filter(|trace| trace.seed == 9).collect();
    assert_eq!(adopted.len(), 2);
    let id = fake.identity().sample_id(&problems[0].id, &config(2).params(), 0);
    assert!(adopted.iter().any(|trace| trace.id == id), "under today's identity");
    assert!((tally.cost_usd - (2.0 * 0.5 + 6.0 * 0.25)).abs() < 1e-12, "with what they cost: {}", tally.cost_usd);
    let again = Fake::new();
    bench.sample(&config(2), &dataset, &again).expect("the same");
    assert_eq!(again.num_asked(), 0);
    assert_eq!(counted(), Holdings { held: 8, ..Holdings::default() }, "what is there is not counted as old");
}

#[test]
fn an_old_answer_of_the_chat_call_is_adopted_for_the_chat_call() {
    let bench = Bench::new();
    let dataset = bench.problems(0..2);
    let problems: Vec<Problem> = dataset.rows().collect::<Result<_, _>>().expect("problems");
    write_old_journal(&bench.root.path().join("samples"), &[old_trace(&problems[0], 0, "", "")]);
    let chat = Fake { api: "chat", template: "", ..Fake::new() };
    bench.sample(&config(1), &dataset, &chat).expect("traces");
    assert_eq!(chat.num_asked(), 1);
}

#[test]
fn another_call_or_template_is_another_sample() {
    let bench = Bench::new();
    let problems = bench.problems(0..5);
    bench.sample(&config(1), &problems, &Fake::new()).expect("traces");
    for other in [Fake { api: "chat", template: "", ..Fake::new() }, Fake { template: "u", ..Fake::new() }] {
        bench.sample(&config(1), &problems, &other).expect("traces");
        assert_eq!(other.num_asked(), 5, "the answers of the first are not these");
    }
}

#[test]
fn a_stop_ends_the_writing_too() {
    let bench = Bench::new();
    let problems = bench.problems(0..3);
    bench.sample(&config(1), &problems, &Fake::new()).expect("traces");
    let (answers, stopped) = (Answers::open(&bench.root.path().join("samples")).expect("answers"), Cancel::default());
    stopped.cancel();
    let (shard, place) = (only(&problems), (&Fake::new().identity(), "name"));
    let stop = write_traces(&config(1), (&shard, 0), place, (&answers, JUDGE), &stopped, &bench.folder());
    assert!(matches!(stop, Err(SamplingError::Interrupted(_))), "traces");
    let stop = write_worked_solutions(&shard, 0, &stopped, &bench.folder());
    assert!(matches!(stop, Err(SamplingError::Interrupted(_))), "worked solutions");
}

/// The dataset that the bench's last run left.
fn last(bench: &Bench) -> Dataset {
    Dataset::of_folder(&bench.root.path().join(bench.num_runs.borrow().to_string())).expect("a dataset")
}

fn without(tally: &Tally) -> u64 {
    match tally.detail {
        Detail::Traces { without_log_probs, .. } => without_log_probs,
        _ => panic!("expected a tally of traces"),
    }
}

#[test]
fn log_probabilities_lie_beside_the_traces_in_their_order_and_are_read_back() {
    let bench = Bench::new();
    let problems = bench.problems(0..6);
    let asking = SamplingConfig { log_probabilities: Some(1), ..config(2) };
    let (tally, traces) = bench.sample(&asking, &problems, &Fake::new()).expect("traces");
    let dataset = last(&bench);
    assert!(dataset.has_log_probs() && without(&tally) == 0);
    assert!(dataset.manifest.files.iter().any(|file| file.file == "logprobs-00000.bin" && file.rows == 0));
    let read: Vec<_> = dataset.log_probs().collect::<Result<_, _>>().expect("log-probabilities");
    assert_eq!(
        read.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        traces.iter().map(|trace| &trace.id).collect::<Vec<_>>()
    );
    for ((_, found), trace) in read.iter().zip(&traces) {
        assert_eq!(*found, *log_probs(trace.seed, 1));
    }
    assert_eq!(dataset.num_rows(), traces.len() as u64, "it is no shard");
    let again = Fake::new();
    bench.sample(&asking, &problems, &again).expect("the same");
    assert_eq!((again.num_asked(), last(&bench).manifest.digest), (0, dataset.manifest.digest));
}

#[test]
fn a_trace_without_log_probabilities_is_kept_and_counted() {
    let bench = Bench::new();
    let problems = bench.problems(0..3);
    let asking = SamplingConfig { log_probabilities: Some(1), ..config(2) };
    let silent = Fake { tells: false, ..Fake::new() };
    let (tally, traces) = bench.sample(&asking, &problems, &silent).expect("traces");
    assert_eq!((traces.len(), without(&tally), last(&bench).log_probs().count()), (6, 6, 0));
    let mut sum = tally.clone();
    sum.merge(tally);
    assert_eq!(without(&sum), 12, "over units");
}

#[test]
fn a_dataset_without_log_probabilities_is_what_it_was_and_another_one_with_them() {
    let bench = Bench::new();
    let problems = bench.problems(0..3);
    let (tally, plain) = bench.sample(&config(2), &problems, &Fake::new()).expect("traces");
    let dataset = last(&bench);
    // Made by the version before this one: a digest that moves makes every later stage run again.
    assert_eq!(dataset.manifest.digest, "e4fac11fc5e2ea97e4215a11a31bb6bb2aa832a00c00641736497f7e4058abc3");
    assert_eq!(dataset.manifest.files.len(), 1, "no other file");
    assert!(!serde_json::to_string(&tally).expect("JSON").contains("log"), "nothing more is told");
    let fake = Fake::new();
    let asking = SamplingConfig { log_probabilities: Some(0), ..config(2) };
    let (_, traces) = bench.sample(&asking, &problems, &fake).expect("traces");
    assert_eq!(fake.num_asked(), 6, "what was bought without them cannot serve");
    assert!(traces.iter().all(|trace| plain.iter().all(|other| other.id != trace.id)));
    let json = |config: &SamplingConfig| serde_json::to_string(config).expect("JSON");
    assert!(
        !json(&config(2)).contains("log") && json(&asking).contains("\"log-probabilities\":0"),
        "in the key where set"
    );
    let refused = SamplingConfig { log_probabilities: Some(21), ..config(2) }.check().expect_err("too many");
    assert!(refused.contains("`log-probabilities`: expected 0 to 20, found 21"), "{refused}");
}

#[test]
fn samples_until_a_problem_is_settled_are_the_same_whatever_was_bought_before() {
    let config = |most: u32| SamplingConfig {
        adaptive: Some(AdaptiveConfig { usable: Some(2), hopeless_after: Some(3), ..AdaptiveConfig::default() }),
        ..config(most)
    };
    let traces = |bench: &Bench, fake: &Fake| {
        let (tally, rows) = bench.sample(&config(8), &bench.problems(0..20), fake).expect("traces");
        let rows: Vec<(String, u32, bool)> =
            rows.iter().map(|trace| (trace.problem_id.clone(), trace.sample_index, is_right(trace))).collect();
        (tally.rows_out, rows)
    };
    let (fresh, fake) = (Bench::new(), Fake::new());
    let (count, rows) = traces(&fresh, &fake);
    assert_eq!(fake.num_asked() as u64, count, "nothing is bought that is not written");
    let mut by_problem = std::collections::BTreeMap::<&str, Vec<bool>>::new();
    for (problem, index, right) in &rows {
        let known = by_problem.entry(problem).or_default();
        assert_eq!(known.len(), *index as usize, "in their order, without gaps");
        known.push(*right);
    }
    assert_eq!(by_problem.len(), 20);
    for outcomes in by_problem.values() {
        let right = outcomes.iter().filter(|right| **right).count();
        let settled = right == 2 || right == 0 && outcomes.len() == 3 || outcomes.len() == 8;
        assert!(settled, "{outcomes:?}");
        let before = outcomes[..outcomes.len() - 1].iter().filter(|right| **right).count();
        assert!(
            before < 2 && !(before == 0 && outcomes.len() > 3 && right == 0),
            "{outcomes:?}: settled before its last"
        );
    }
    let lengths: std::collections::BTreeSet<usize> = by_problem.values().map(Vec::len).collect();
    assert!(lengths.len() > 2, "problems differ: {lengths:?}");
    // Where eight of each were bought before, the same rows come out, and nothing is asked.
    let (rich, all) = (Bench::new(), Fake::new());
    let fixed = SamplingConfig { adaptive: None, ..config(8) };
    rich.sample(&fixed, &rich.problems(0..20), &all).expect("traces");
    let again = Fake::new();
    assert_eq!(traces(&rich, &again), (count, rows));
    assert_eq!(again.num_asked(), 0);
}

#[test]
fn each_sample_has_the_temperature_of_its_place() {
    let bench = Bench::new();
    let adaptive = AdaptiveConfig { temperatures: vec![0.2, 0.9], ..AdaptiveConfig::default() };
    let config = SamplingConfig { adaptive: Some(adaptive), ..config(3) };
    let (_, rows) = bench.sample(&config, &bench.problems(0..2), &Fake::new()).expect("traces");
    let temperatures: Vec<f32> = rows.iter().map(|trace| trace.sampling.temperature).collect();
    assert_eq!(temperatures, [0.2, 0.9, 0.9, 0.2, 0.9, 0.9]);
}

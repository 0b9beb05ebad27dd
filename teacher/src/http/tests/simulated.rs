//! The client and the loop against a server that fails in every way, with its log beside our journal and ledger.

use super::*;
use crate::{Answer, Answers, Ask, Asks, Budget, Order, Pumped, pump};
use distill_dataset::{Context, Problem, Progress, Trace};
use distill_simulator::{Answer as Simulated, Fault, Script, Shape, Simulator};

const LENGTHS: (usize, usize) = (20, 60);
pub(super) const SAMPLING: SamplingParams =
    SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 4096, log_probabilities: None };

pub(super) fn problem(number: u32) -> Problem {
    Problem::asking(format!("What is {number}?"), "7", "test")
}

pub(super) fn teacher(config: HttpTeacherConfig) -> HttpTeacher {
    let render = Render {
        template_hash: "t".to_owned(),
        turn: TurnFormat::of_prompt("<think>\n"),
        render: Box::new(|messages| Ok(format!("<user>{}<assistant><think>\n", messages[0].content))),
        tokenizer: None,
    };
    HttpTeacher::new(config, None, Some(render)).expect("a teacher")
}

fn at(url: String) -> HttpTeacherConfig {
    HttpTeacherConfig {
        api: Some(Api::Completions),
        concurrency: 64,
        max_retries: 12,
        idle_timeout_s: 60,
        ..config(url)
    }
}

/// Asks for one sample of each of `count` problems, and gives their traces.
pub(super) fn sample(teacher: &HttpTeacher, dir: &std::path::Path, count: u32) -> (Pumped, Vec<Trace>, u64) {
    let answers = Answers::open(dir).expect("answers");
    let identity = teacher.identity();
    let asks = || -> Asks<'_> {
        Box::new((0..count).map(|number| Ok(Ask::sample(&problem(number), 0, &identity, &SAMPLING))))
    };
    let order = Order {
        asks: &asks,
        all: &asks,
        dataset: "all".to_owned(),
        budget: Budget::default(),
        task: ("sample", "traces"),
    };
    let (scratch, progress) = (dir.to_owned(), Progress::hidden());
    let context = Context { scratch, cancel: Cancel::default(), progress, seed: 1 };
    let pumped = pump(&order, teacher, &answers, &context).expect("answers");
    let (mut traces, mut charged) = (Vec::new(), 0);
    for number in 0..count {
        let id = identity.sample_id(&problem(number).id, &SAMPLING, 0);
        charged += answers.charges(&id).expect("charges").all.completion_tokens;
        match answers.get(&id).expect("an answer") {
            Some(Answer::Answered(trace)) => traces.push(*trace),
            other => panic!("sample {number}: expected an answer, found {other:?}"),
        }
    }
    (pumped, traces, charged)
}

pub(super) fn seed_of(trace: &Trace) -> u32 {
    (trace.seed & 0x7fff_ffff) as u32
}

#[test]
fn under_every_fault_each_answer_is_whole_and_no_token_is_bought_twice() {
    // A silence that is waited for tells of a machine's speed as well: silent for ever is a test of its own.
    let faults = Fault::PASSING.into_iter().filter(|fault| *fault != Fault::Hang).collect();
    let script = Script { lengths: LENGTHS, harmed: 0.4, faults, seed: 3, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (pumped, traces, charged) = sample(&teacher(at(simulator.url())), dir.path(), 600);
    assert_eq!((pumped.done, pumped.failed, pumped.unanswered), (600, 0, 0));
    let log = simulator.log();
    let hit: std::collections::BTreeSet<String> =
        log.iter().filter_map(|served| served.fault).map(|fault| format!("{fault:?}")).collect();
    assert!(hit.len() >= 11, "faults of streams: {hit:?}");
    let mut tokens = 0;
    for trace in &traces {
        let answer = Simulated::of(seed_of(trace), LENGTHS);
        assert_eq!(trace.text, answer.text(), "segments {:?}", trace.segments);
        assert_eq!(trace.completion_tokens as usize, answer.len);
        let untold = log.iter().any(|served| served.seed == answer.seed && served.fault == Some(Fault::NoUsage));
        assert!(trace.prompt_tokens == 12 || untold, "{}: of the question alone", trace.prompt_tokens);
        tokens += answer.len as u64;
        // Each request went on where the one before it had come to, but for a reset, which throws away what was sent.
        let mut came_to = 0;
        for served in log.iter().filter(|served| served.seed == answer.seed) {
            let lost = came_to - served.from;
            assert_eq!(
                lost,
                0,
                "{served:?} of {log:?}",
                log = log.iter().filter(|other| other.seed == answer.seed).collect::<Vec<_>>()
            );
            came_to = served.from + if served.fault == Some(Fault::Reset) && !served.ended { 0 } else { served.sent };
            if served.fault == Some(Fault::Reset) {
                // What arrived of it is known to the next request alone.
                let next = log.iter().filter(|other| other.seed == answer.seed && other.number > served.number);
                came_to = next.map(|next| next.from).min().unwrap_or(served.from);
                assert!((served.from..=served.from + served.sent).contains(&came_to), "{served:?}");
            }
        }
    }
    assert_eq!(charged, tokens, "the ledger has every token once");
    assert!(std::fs::read_dir(dir.path().join("partial")).map_or(0, Iterator::count) == 0, "nothing is on its way");
}

#[test]
fn a_server_that_is_changed_in_mid_run_is_asked_nothing_more() {
    for (fault, before, now) in
        [(Fault::OtherModel, "`sim`", "`another`"), (Fault::OtherField, "`reasoning`", "`reasoning_content`")]
    {
        let shape = Shape { reasoning: Some("reasoning".to_owned()), ..Shape::default() };
        let script =
            Script { lengths: LENGTHS, harmed: 0.05, faults: vec![fault], seed: 3, shape, ..Script::default() };
        let simulator = Simulator::start(script).expect("a server");
        let teacher = HttpTeacher::new(config(simulator.url()), None, None).expect("a teacher");
        let mut list = List::of(300);
        let error = teacher.complete(&mut list, &Cancel::default()).expect_err("a change").to_string();
        assert!(error.contains(before) && error.contains(now), "{error}");
        let answers = list.answers.into_values().map(|answer| answer.expect("an answer"));
        let models: std::collections::BTreeSet<_> = answers.map(|answer| answer.response_model).collect();
        assert_eq!(models.len(), 1, "{models:?}");
        assert!(simulator.num_requests() < 200, "{} requests", simulator.num_requests());
    }
}

#[test]
fn a_pause_of_hours_is_told_and_ends_the_run_where_the_recipe_says_how_long_one_waits() {
    let script = Script { harmed: 1.0, faults: vec![Fault::BusyLong], ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let config = HttpTeacherConfig { max_wait_s: Some(60), ..config(simulator.url()) };
    let teacher = HttpTeacher::new(config, None, None).expect("a teacher");
    let error = ask(&teacher, 1).expect_err("a long pause").to_string();
    assert!(error.contains("wait 24367 s"), "{error}");
}

#[test]
fn a_server_that_admits_few_is_waited_for() {
    let script = Script { lengths: LENGTHS, rate: Some(2000.0), admitted: 8, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (pumped, ..) = sample(&teacher(at(simulator.url())), dir.path(), 200);
    assert_eq!((pumped.done, pumped.failed), (200, 0));
}

#[test]
fn thousands_of_streams_at_once_are_read() {
    let script = Script { lengths: (40, 40), rate: Some(5.0), ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = HttpTeacherConfig { concurrency: 4096, ..at(simulator.url()) };
    let (pumped, traces, _) = sample(&teacher(config), dir.path(), 4096);
    assert_eq!((pumped.done, pumped.failed), (4096, 0));
    assert!(simulator.peak() > 2048, "{} at once", simulator.peak());
    assert!(traces.iter().all(|trace| trace.segments.len() == 1), "no stream broke");
}

#[test]
fn two_servers_of_which_one_is_another_model_end_with_one_model() {
    let right = Simulator::start(Script { lengths: LENGTHS, ..Script::default() }).expect("a server");
    let wrong = Script { lengths: LENGTHS, model: "other".to_owned(), ..Script::default() };
    let wrong = Simulator::start(wrong).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    // The first run learns which model it is.
    sample(&teacher(at(right.url())), dir.path(), 4);
    let place = |url| EndpointConfig { url, ..EndpointConfig::default() };
    let both = HttpTeacherConfig { endpoints: vec![place(wrong.url()), place(right.url())], ..at(String::new()) };
    let (_, traces, _) = sample(&teacher(both), dir.path(), 200);
    assert!(traces.iter().all(|trace| trace.response_model == "sim"));
    assert!((1..=64).contains(&wrong.num_requests()), "{}", wrong.num_requests());
}

//! The engine against itself: alone or in company, in whatever order, the same answers.

use crate::{
    Ask, Engine, Event, Limits, LocalTeacher, Logprobs, Longest, Placement, Reason, Sampling, load, plan_cache,
};
use distill_chat::Chat;
use distill_checkpoint::{Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
use distill_dataset::{Cancel, FinishReason, Message, SamplingParams};
use distill_model::{Decoder, Precision, block_bytes};
use distill_teacher::{Complete, Completion, Queue, Request, TeacherError};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
};

/// A queue over a list.
struct List {
    requests: Vec<Request>,
    answers: BTreeMap<u64, Result<Completion, TeacherError>>,
    stop_after: usize,
}

impl Queue for List {
    fn next(&mut self) -> Option<Request> {
        self.requests.pop()
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        assert!(self.answers.insert(id, outcome).is_none(), "request {id} was answered twice");
        if self.answers.len() == self.stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

const CONTEXT: usize = 160;

/// Bytes of a block of the cache.
pub(crate) fn block() -> usize {
    block_bytes(&shape(), "cpu", Precision::Stored)
}

pub(crate) fn shape() -> ModelConfig {
    ModelConfig::from_json(
        r#"{"model_type": "qwen2", "vocab_size": 272, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 160, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "initializer_range": 0.4}"#,
    )
    .expect("a shape")
}

pub(crate) fn checkpoint(root: &Path) {
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/nano");
    let model = Decoder::init(&shape(), 3, &distill_model::device("cpu").expect("the CPU"));
    let mut read = |name: &str| Ok(model.read(name).expect("a parameter"));
    write_folder(root, &shape(), Dtype::F32, MAX_SHARD_BYTES, &mut read).expect("weights");
    Chat::copy_files(&nano, root).expect("a chat folder");
}

fn teacher(root: &Path) -> LocalTeacher {
    checkpoint(root);
    LocalTeacher::load(root, "random", Placement::on("cpu")).expect("a teacher")
}

/// An engine whose cache holds so many blocks of 32 positions.
fn engine(root: &Path, blocks: usize, running: usize, step_tokens: usize) -> Engine {
    let limits = Limits { cache_bytes: Some(blocks * block()), longest: None, running, step_tokens };
    load(root, Placement { limits, ..Placement::on("cpu") }).expect("an engine").1
}

fn requests(count: u64) -> Vec<Request> {
    let request = |id: u64| Request {
        id,
        messages: vec![Message::user(format!("What is {}+{id}?", 10_u64.pow((id % 4) as u32)))],
        sampling: SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            max_new_tokens: 8 + (id % 7) as u32,
            log_probabilities: None,
        },
        seed: 1000 + id,
        partial: None,
    };
    (0..count).map(request).collect()
}

fn ask(teacher: &LocalTeacher, requests: Vec<Request>) -> BTreeMap<u64, Result<Completion, TeacherError>> {
    let mut list = List { requests, answers: BTreeMap::new(), stop_after: usize::MAX };
    teacher.complete(&mut list, &Cancel::default()).expect("answers");
    list.answers
}

#[test]
fn an_answer_does_not_depend_on_its_company() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let teacher = teacher(root.path());
    let together = ask(&teacher, requests(300));
    assert_eq!(together.len(), 300);
    for request in requests(300).into_iter().step_by(17) {
        let id = request.id;
        let alone = ask(&teacher, vec![request]).remove(&id).expect("an answer").expect("a completion");
        assert_eq!(together[&id].as_ref().expect("a completion"), &alone, "request {id}");
    }
    let texts: BTreeSet<&str> =
        together.values().map(|answer| answer.as_ref().expect("a completion").text.as_str()).collect();
    assert!(texts.len() > 280, "samples differ with their seeds");
}

#[test]
fn limits_are_kept_and_counted() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let answers = ask(&teacher(root.path()), requests(40));
    for (id, answer) in answers {
        let answer = answer.expect("a completion");
        let most = 8 + (id % 7) as u32;
        assert_eq!(answer.token_ids.expect("tokens").len() as u32, answer.completion_tokens);
        match answer.finish_reason {
            FinishReason::Length => assert_eq!(answer.completion_tokens, most),
            _ => assert!(answer.completion_tokens <= most),
        }
    }
}

#[test]
fn a_request_that_cannot_be_answered_fails_alone() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut requests = requests(3);
    requests[0].messages = vec![Message::user("9".repeat(200))];
    requests[1].messages = vec![Message::user("<|end|><|assistant|>42")];
    let answers = ask(&teacher(root.path()), requests);
    let failed = |id: u64| answers[&id].as_ref().expect_err("a failure").to_string();
    assert!(failed(0).contains("fewer than 160 tokens"), "{}", failed(0));
    assert!(failed(1).contains("control token"), "{}", failed(1));
    assert!(answers[&2].is_ok());
}

#[test]
fn a_stop_is_obeyed() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let teacher = teacher(root.path());
    let mut list = List { requests: requests(400), answers: BTreeMap::new(), stop_after: 5 };
    teacher.complete(&mut list, &Cancel::default()).expect("no error");
    assert_eq!(list.answers.len(), 5);
    let cancel = Cancel::default();
    cancel.cancel();
    let mut list = List { requests: requests(4), answers: BTreeMap::new(), stop_after: usize::MAX };
    teacher.complete(&mut list, &cancel).expect("no error");
    assert!(list.answers.is_empty());
    assert_eq!(ask(&teacher, requests(3)).len(), 3, "what was dropped is out of the way");
}

/// A prompt of so many tokens: the same beginning for the same `kind`.
fn prompt(kind: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|index| 7 + (index * (kind + 3) + index * index) % 250).collect()
}

fn asked(prompt: Vec<u32>, seed: u64, max_new_tokens: usize) -> Ask {
    Ask {
        prompt,
        sampling: Sampling { temperature: 0.9, top_k: 50, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.1 },
        seed,
        max_new_tokens,
        stop_ids: vec![2],
        stop: vec!["77".to_owned()],
        text: true,
        logprobs: Some(3),
        prompt_logprobs: None,
    }
}

/// Everything that was said of every request.
type Said = BTreeMap<u64, Vec<Event>>;

fn finish(engine: &mut Engine, said: &mut Said) {
    let mut steps = 0;
    while !engine.is_empty() {
        engine.step(&mut |id, event| said.entry(id).or_default().push(event));
        steps += 1;
        assert!(steps < 100_000, "the engine comes to an end");
    }
}

fn alone(engine: &mut Engine, ask: Ask) -> Vec<Event> {
    let mut said = Said::new();
    engine.submit(0, ask).expect("a request");
    finish(engine, &mut said);
    said.remove(&0).expect("an answer")
}

/// One thing that happens to an engine.
#[derive(Clone, Debug)]
enum Happening {
    Arrives { kind: u32, len: usize, new: usize, reads_prompt: bool },
    Cancelled(prop::sample::Index),
    Steps(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_u32..3, 1_usize..90, 0_usize..40, prop::bool::weighted(0.2))
            .prop_map(|(kind, len, new, reads_prompt)| Happening::Arrives { kind, len, new, reads_prompt }),
        1 => any::<prop::sample::Index>().prop_map(Happening::Cancelled),
        2 => (1_usize..12).prop_map(Happening::Steps),
    ]
}

/// Cases of the property below; each runs dozens of requests twice.
const CASES: u32 = 24;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any interleaving of arrivals, cancellations and lengths gives each request what it gets alone, to the last bit of
    /// its log-probabilities: in a cache so small that requests have to wait and to be interrupted, in steps so short that
    /// prompts are cut.
    #[test]
    fn any_interleaving_gives_each_request_what_it_gets_alone(
        happenings in prop::collection::vec(happening(), 4..24),
        blocks in 5_usize..12,
        running in 1_usize..9,
        step_tokens in 1_usize..48,
    ) {
        let root = tempfile::tempdir().expect("a temporary folder");
        checkpoint(root.path());
        let mut crowded = engine(root.path(), blocks, running, step_tokens);
        let mut quiet = engine(root.path(), 5, 1, 4096);
        let (mut said, mut asks, mut cancelled) = (Said::new(), BTreeMap::new(), BTreeSet::new());
        for happening in happenings {
            match happening {
                Happening::Arrives { kind, len, new, reads_prompt } => {
                    let id = asks.len() as u64;
                    let prompt_logprobs = reads_prompt.then_some(2);
                    let ask = Ask { prompt_logprobs, ..asked(prompt(kind, len), id, new) };
                    crowded.submit(id, ask.clone()).expect("a request");
                    asks.insert(id, ask);
                }
                Happening::Cancelled(index) if !asks.is_empty() => {
                    let id = index.index(asks.len()) as u64;
                    let ended = matches!(said.get(&id).and_then(|said| said.last()), Some(Event::End { .. }));
                    let known = !ended && !cancelled.contains(&id);
                    prop_assert_eq!(crowded.cancel(id), known, "request {}", id);
                    if known {
                        cancelled.insert(id);
                    }
                }
                Happening::Cancelled(_) => {}
                Happening::Steps(count) => {
                    for _ in 0..count {
                        crowded.step(&mut |id, event| said.entry(id).or_default().push(event));
                    }
                }
            }
        }
        finish(&mut crowded, &mut said);
        prop_assert_eq!(crowded.load().held_blocks, 0, "every block is given back");
        for (id, ask) in asks {
            let alone = alone(&mut quiet, ask);
            let found = said.remove(&id).unwrap_or_default();
            if cancelled.contains(&id) {
                prop_assert!(alone.starts_with(&found), "request {} up to its cancellation", id);
            } else {
                prop_assert_eq!(found, alone, "request {}", id);
            }
        }
    }
}

#[test]
fn a_small_cache_makes_requests_wait_and_not_fail() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 6, 16, 256);
    let mut said = Said::new();
    for id in 0..12 {
        let ask = Ask { stop_ids: vec![], stop: vec![], ..asked(prompt(id as u32, 40), id, 100) };
        engine.submit(id, ask).expect("a request");
    }
    let mut ends = Vec::new();
    while !engine.is_empty() {
        engine.step(&mut |id, event| {
            if matches!(event, Event::End { .. }) {
                ends.push(id);
            }
            said.entry(id).or_default().push(event);
        });
        assert!(engine.load().held_blocks <= 6, "the budget is kept");
    }
    assert!(engine.load().interruptions > 0, "12 requests of 140 tokens do not fit into 192 positions");
    assert_eq!(ends, (0..12).collect::<Vec<_>>(), "who comes first ends first");
    for said in said.values() {
        assert!(matches!(said.last(), Some(Event::End { reason: Reason::Length, tokens, .. }) if tokens.len() == 100));
    }
}

#[test]
fn samples_of_one_prompt_share_its_beginning() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 32, 16, 256);
    let mut said = Said::new();
    for id in 0..8 {
        engine.submit(id, asked(prompt(1, 70), id, 4)).expect("a request");
    }
    finish(&mut engine, &mut said);
    let load = engine.load();
    assert_eq!(load.shared_tokens, 7 * 64, "seven take both full blocks of the first");
    assert_eq!(load.prompt_tokens, 70 + 7 * 6);
    // Later, the beginning is still there.
    engine.submit(9, asked(prompt(1, 70), 9, 4)).expect("a request");
    finish(&mut engine, &mut said);
    assert_eq!(engine.load().shared_tokens, 8 * 64);
}

#[test]
fn prompt_logprobs_are_those_of_the_tokens_when_they_are_drawn() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 8, 4, 256);
    let sampling = Sampling::default();
    let drawn = alone(&mut engine, Ask { stop: vec![], stop_ids: vec![], sampling, ..asked(prompt(1, 5), 1, 30) });
    let mut tokens = prompt(1, 5);
    let mut expected: Vec<Logprobs> = Vec::new();
    for event in &drawn {
        if let Event::Token { id, logprobs, .. } = event {
            tokens.push(*id);
            expected.push(logprobs.clone().expect("logprobs"));
        }
    }
    let read = alone(&mut engine, Ask { prompt_logprobs: Some(3), max_new_tokens: 0, ..asked(tokens, 1, 0) });
    let [Event::Prompt(found), Event::End { reason: Reason::Length, tokens, .. }] = read.as_slice() else {
        panic!("expected the prompt's log-probabilities and an end, found {read:?}");
    };
    assert!(tokens.is_empty());
    assert_eq!((found.len(), found[0].chosen), (35, None));
    assert_eq!(found[5..], expected, "bit for bit");
    let best = &found[7].top;
    assert!(best[0].1 >= best[1].1 && found[7].chosen.expect("a token") <= best[0].1);
}

#[test]
fn stop_texts_end_an_answer_before_they_are_told() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 8, 4, 256);
    let free = Ask { stop_ids: vec![], stop: vec![], ..asked(prompt(2, 9), 4, 60) };
    let text = |events: &[Event]| -> String {
        let text = events.iter().map(|event| match event {
            Event::Token { text, .. } | Event::End { text, .. } => text.as_str(),
            _ => "",
        });
        text.collect()
    };
    let said = alone(&mut engine, free.clone());
    let whole = text(&said);
    let Some(Event::End { tokens, .. }) = said.last() else { panic!("an end") };
    let chat = Chat::load(root.path()).expect("a chat folder");
    assert_eq!(whole, chat.decode(tokens).expect("text"), "the pieces are the whole");
    // Any three characters in the middle of it end it there.
    let at = whole.char_indices().nth(whole.chars().count() / 2).expect("a middle").0;
    let stop: String = whole[at..].chars().take(3).collect();
    let before = &whole[..whole.find(&stop).expect("it is there")];
    let said = alone(&mut engine, Ask { stop: vec![stop, "never".to_owned()], ..free });
    assert_eq!(text(&said), before);
    assert!(matches!(said.last(), Some(Event::End { reason: Reason::Stop, .. })));
}

#[test]
fn what_can_never_be_answered_is_refused_with_its_reason() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 4, 4, 256);
    assert_eq!(engine.context(), 128, "what the cache holds, where that is less than {CONTEXT}");
    let good = asked(prompt(1, 5), 1, 5);
    let sampling = |change: fn(&mut Sampling)| {
        let mut ask = good.clone();
        change(&mut ask.sampling);
        ask
    };
    let refused = [
        (Ask { prompt: vec![], ..good.clone() }, "at least one token"),
        (Ask { prompt: prompt(1, 160), ..good.clone() }, "fewer than 160"),
        (Ask { prompt: prompt(1, 124), ..good.clone() }, "needs 129 tokens of cache"),
        (Ask { prompt: vec![272], ..good.clone() }, "token 272"),
        (Ask { stop: vec![String::new()], ..good.clone() }, "empty"),
        (sampling(|sampling| sampling.temperature = f32::NAN), "`temperature`"),
        (sampling(|sampling| sampling.top_p = 0.0), "`top_p`"),
        (sampling(|sampling| sampling.min_p = 1.5), "`min_p`"),
        (sampling(|sampling| sampling.repetition_penalty = 0.0), "`repetition_penalty`"),
        (sampling(|sampling| sampling.temperature = 1e-40), "underflows"),
        (sampling(|sampling| sampling.top_p = 1e-40), "underflows"),
    ];
    for (ask, reason) in refused {
        let error = engine.submit(1, ask).expect_err("a refusal").to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(engine.is_empty());
    assert!(matches!(alone(&mut engine, good).last(), Some(Event::End { .. })));
}

/// Why an answer of so many tokens to a prompt of so many ends, and after how many; nothing stops it but a limit.
fn ending(engine: &mut Engine, len: usize, new: usize) -> (Reason, usize) {
    let free = Ask { stop_ids: vec![], stop: vec![], ..asked(prompt(1, len), 1, new) };
    match alone(engine, free).pop() {
        Some(Event::End { reason, tokens, .. }) => (reason, tokens.len()),
        other => panic!("expected an end, found {other:?}"),
    }
}

#[test]
fn an_answer_tells_which_limit_cut_it() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut engine = engine(root.path(), 5, 4, 256);
    assert_eq!(ending(&mut engine, 60, 30), (Reason::Length, 30));
    assert_eq!(ending(&mut engine, 60, 100), (Reason::Length, 100), "the limit and the context at once");
    assert_eq!(ending(&mut engine, 60, 101), (Reason::Context, 100));
    assert_eq!(ending(&mut engine, 60, usize::MAX), (Reason::Context, 100));
    assert_eq!(ending(&mut engine, 160, 0), (Reason::Length, 0));
    let teacher = LocalTeacher::load(root.path(), "random", Placement::on("cpu")).expect("a teacher");
    let mut requests = requests(60);
    requests.iter_mut().for_each(|request| request.sampling.max_new_tokens = 4000);
    let answers = ask(&teacher, requests);
    let mut cut = 0;
    for answer in answers.into_values().map(|answer| answer.expect("a completion")) {
        assert_ne!(answer.finish_reason, FinishReason::Length, "nobody reaches 4000 tokens in a context of {CONTEXT}");
        if answer.finish_reason == FinishReason::Context {
            cut += 1;
            assert_eq!((answer.prompt_tokens + answer.completion_tokens) as usize, CONTEXT);
        }
    }
    assert!(cut > 0, "some answers fill the context");
}

/// A teacher whose cache holds so many blocks, whatever is asked of it.
fn cramped(root: &Path, blocks: usize, longest: Option<Longest>) -> Result<LocalTeacher, TeacherError> {
    let limits = Limits { cache_bytes: Some(blocks * block()), longest, ..Limits::default() };
    LocalTeacher::load(root, "random", Placement { limits, ..Placement::on("cpu") })
}

#[test]
fn a_cache_that_is_too_small_is_an_error_and_never_a_shorter_answer() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    // Known before: an error before the start.
    let longest = Longest { prompt: Some(30), new: 80 };
    let error = cramped(root.path(), 3, Some(longest)).err().expect("too little cache").to_string();
    let (needed, found) = (4 * block(), 3 * block());
    assert!(error.contains(&format!("110 tokens needs {needed} bytes")), "{error}");
    assert!(error.contains(&format!("found {found}")) && error.contains("hint: "), "{error}");
    assert!(cramped(root.path(), 4, Some(longest)).is_ok());
    // Not known before: the error ends the work, and is no row's answer.
    let teacher = cramped(root.path(), 3, None).expect("a teacher");
    let mut requests = requests(4);
    requests[2].sampling.max_new_tokens = 120;
    let mut list = List { requests, answers: BTreeMap::new(), stop_after: usize::MAX };
    let error = teacher.complete(&mut list, &Cancel::default()).expect_err("a request that does not fit").to_string();
    assert!(error.contains("tokens of cache") && error.contains("found 96"), "{error}");
    assert!(!list.answers.contains_key(&2), "nothing is stored for it");
}

#[test]
fn the_cache_follows_the_model_and_the_request() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let plan = |limits: Limits| plan_cache(root.path(), &Placement { limits, ..Placement::on("cpu") }).expect("a plan");
    let few = Limits { running: 3, ..Limits::for_request(Some(20), 40) };
    assert_eq!(plan(few).bytes as usize, 3 * 2 * block(), "three requests of 60 tokens, two blocks each");
    assert_eq!(plan(few).longest_tokens, 60);
    let long = Limits { running: 1, ..Limits::for_request(Some(20), 40_000) };
    assert_eq!(plan(long).longest_tokens as usize, CONTEXT, "the model's context ends it");
}

#[test]
fn prompts_are_read_however_many_answers_are_made() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    // As many answers are made as a step has tokens; another comes while they go on.
    let mut engine = engine(root.path(), 64, 64, 8);
    let mut said = Said::new();
    let long = |id: u64, len: usize| Ask { stop_ids: vec![], stop: vec![], ..asked(prompt(id as u32, len), id, 100) };
    for id in 0..8 {
        engine.submit(id, long(id, 2)).expect("a request");
    }
    for _ in 0..20 {
        engine.step(&mut |id, event| said.entry(id).or_default().push(event));
    }
    assert_eq!(engine.load().running, 8);
    engine.submit(8, long(8, 40)).expect("a request");
    while !said.contains_key(&8) {
        engine.step(&mut |id, event| said.entry(id).or_default().push(event));
        let ended = |said: &Said| said.values().any(|said| matches!(said.last(), Some(Event::End { .. })));
        assert!(!ended(&said), "an answer came to its end before another's prompt was read");
    }
}

#[test]
fn a_teacher_needs_a_template_and_text_does_not() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    std::fs::remove_file(root.path().join("chat_template.jinja")).expect("a template");
    let error = LocalTeacher::load(root.path(), "base", Placement::on("cpu")).err().expect("no template").to_string();
    assert!(error.contains("chat_template.jinja") && error.contains("base model"), "{error}");
    let (chat, mut engine) = load(root.path(), Placement::on("cpu")).expect("an engine");
    let prompt = chat.encode("1+1=").expect("tokens");
    assert!(matches!(alone(&mut engine, asked(prompt, 1, 5)).last(), Some(Event::End { .. })));
}

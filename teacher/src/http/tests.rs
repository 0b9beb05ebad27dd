//! The client against a server that behaves as real ones do: reasoning in three places, broken streams, refusals, pauses,
//! errors inside a 200.

use super::*;
use crate::ledger::Cost;
use distill_dataset::{FinishReason, SamplingParams, TurnFormat};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

mod away;
mod bounds;
mod by_ids;
mod continuation;
#[path = "../../../tests/endpoint.rs"]
mod endpoint;
mod hosts;
mod logprobs;
mod money;
mod probe;
mod several;
mod simulated;

use endpoint::Asked;

/// A response: status, headers, body.
type Reply = (u16, Vec<(&'static str, String)>, String);
/// What the server does with the n-th request (from 0), given its body.
type Behaviour = fn(usize, &serde_json::Value) -> Reply;

struct Server {
    behaviour: Behaviour,
    calls: AtomicUsize,
    now: AtomicUsize,
    peak: AtomicUsize,
    keys: Mutex<Vec<String>>,
}

impl Server {
    fn of(behaviour: Behaviour) -> Arc<Server> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Server { behaviour, calls: zero(), now: zero(), peak: zero(), keys: Mutex::default() })
    }

    fn reply(&self, Asked { number, key, body }: Asked) -> endpoint::Reply {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.keys.lock().expect("a lock").push(key);
        std::thread::sleep(Duration::from_millis(5));
        let (status, headers, text) = (self.behaviour)(number, &body);
        self.now.fetch_sub(1, Ordering::SeqCst);
        endpoint::Reply { status, headers, text }
    }
}

/// Starts a server; it ends with the test's process.
fn serve(behaviour: Behaviour) -> (String, Arc<Server>) {
    let server = Server::of(behaviour);
    let serving = server.clone();
    (endpoint::serve(move |asked| serving.reply(asked)), server)
}

fn config(url: String) -> HttpTeacherConfig {
    let text = format!(r#"{{"url": "{url}", "model": "r1", "concurrency": 4, "max-retries": 3, "idle-timeout-s": 5}}"#);
    serde_json::from_str(&text).expect("a configuration")
}

#[derive(Default)]
struct List {
    left: u64,
    answers: BTreeMap<u64, Result<Completion, TeacherError>>,
    charges: Vec<(u64, Cost)>,
    remarks: Vec<String>,
    /// Cancelled when so many requests were handed out.
    cancel_at: Option<(u64, Cancel)>,
    drain: Duration,
    /// What was received before.
    partial: Option<Partial>,
    pieces: Vec<(u64, crate::Piece)>,
    /// The model that answered before.
    model: Option<String>,
    /// Most tokens of an answer, where that is not 64.
    limit: Option<u32>,
}

impl List {
    fn of(count: u64) -> List {
        List { left: count, drain: Duration::from_secs(30), ..List::default() }
    }
}

impl Queue for List {
    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        if let Some((at, cancel)) = &self.cancel_at
            && *at == self.left
        {
            cancel.cancel();
        }
        Some(Request {
            id: self.left,
            messages: vec![Message::user(format!("question {}", self.left))],
            sampling: SamplingParams {
                temperature: 0.6,
                top_p: 0.95,
                max_new_tokens: self.limit.unwrap_or(64),
                log_probabilities: None,
            },
            seed: 7 + self.left,
            partial: self.partial.clone(),
        })
    }

    fn model(&self) -> Option<String> {
        self.model.clone()
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        assert!(self.answers.insert(id, outcome).is_none(), "request {id} was answered twice");
        ControlFlow::Continue(())
    }

    fn charge(&mut self, id: u64, cost: Cost, _: Option<&Partial>) -> bool {
        if cost != Cost::default() {
            self.charges.push((id, cost));
        }
        true
    }

    fn spool(&mut self, pieces: Vec<(u64, crate::Piece)>) {
        self.pieces.extend(pieces);
    }

    fn say(&mut self, remark: &str) {
        self.remarks.push(remark.to_owned());
    }

    fn drain_limit(&self) -> Duration {
        self.drain
    }
}

fn ask(teacher: &HttpTeacher, count: u64) -> Result<BTreeMap<u64, Result<Completion, TeacherError>>, TeacherError> {
    let mut list = List::of(count);
    teacher.complete(&mut list, &Cancel::default()).map(|()| list.answers)
}

fn one(behaviour: Behaviour) -> Result<Completion, TeacherError> {
    let teacher = HttpTeacher::new(config(serve(behaviour).0), None, None).expect("a teacher");
    ask(&teacher, 1)?.remove(&0).expect("an outcome")
}

fn stream(chunks: &[&str]) -> Reply {
    let text: String = chunks.iter().map(|chunk| format!(": keep-alive\n\ndata: {chunk}\n\n")).collect();
    (200, vec![("content-type", "text/event-stream".to_owned())], text)
}

const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}"#;

/// A server that sends these very bytes to whoever asks, and keeps the connection.
fn serve_bytes(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&bytes);
            held.push(stream);
        }
    });
    url
}

/// A server that begins a stream and then falls silent: the length promises more.
fn serve_beginning(chunks: &[&str]) -> String {
    let (_, _, text) = stream(chunks);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n";
    serve_bytes((head.to_owned() + &text).into_bytes())
}

#[test]
fn reasoning_is_found_in_all_three_places() {
    let whole = "<think>\nsteps\n</think>\n\n42";
    let cases: [Behaviour; 4] = [
        |_, _| {
            stream(&[
                r#"{"model":"r1-0528","choices":[{"delta":{"reasoning":"steps"}}]}"#,
                r#"{"choices":[{"delta":{"content":"42"}}]}"#,
                STOP,
                USAGE,
                "[DONE]",
            ])
        },
        |_, _| {
            stream(&[
                r#"{"model":"r1-0528","choices":[{"delta":{"reasoning_content":"ste"}}]}"#,
                r#"{"choices":[{"delta":{"reasoning_content":"ps"}}]}"#,
                r#"{"choices":[{"delta":{"content":"42"}}]}"#,
                STOP,
                USAGE,
                "[DONE]",
            ])
        },
        |_, _| {
            stream(&[
                r#"{"model":"r1-0528","choices":[{"delta":{"content":"<think>\nsteps\n</th"}}]}"#,
                r#"{"choices":[{"delta":{"content":"ink>\n\n42"}}]}"#,
                STOP,
                USAGE,
                "[DONE]",
            ])
        },
        |_, _| {
            (200, vec![("content-type", "application/json".to_owned())], r#"{"model":"r1-0528","choices":[{"message":{"content":"42","reasoning_content":"steps\n"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":5}}"#.to_owned())
        },
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let completion = one(case).expect("a completion");
        assert_eq!(completion.text, whole, "case {index}");
        assert_eq!((completion.response_model.as_str(), completion.finish_reason), ("r1-0528", FinishReason::Stop));
        assert_eq!((completion.prompt_tokens, completion.completion_tokens), (11, 5), "case {index}");
    }
}

#[test]
fn reasoning_cut_by_the_limit_stays_open() {
    let completion =
        one(|_, _| stream(&[r#"{"choices":[{"delta":{"reasoning":"step"},"finish_reason":"length"}]}"#, "[DONE]"]));
    let completion = completion.expect("a completion");
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("<think>\nstep", FinishReason::Length));
}

#[test]
fn what_broke_is_tried_again_and_half_an_answer_is_none() {
    let completion = one(|call, _| match call {
        0 => stream(&[r#"{"choices":[{"delta":{"content":"half"}}]}"#, r#"{"error":{"message":"out of memory"}}"#]),
        1 => (502, vec![], "upstream".to_owned()),
        2 => stream(&[r#"{"error":{"code":502,"message":"inside a 200"}}"#]),
        _ => stream(&[r#"{"choices":[{"delta":{"content":"whole"}}]}"#, STOP, "[DONE]"]),
    });
    assert_eq!(completion.expect("a completion").text, "whole");
}

#[test]
fn a_request_that_always_fails_fails_alone() {
    let (url, server) = serve(|_, body| {
        if body["messages"][0]["content"] == "question 1" {
            return (500, vec![], "broken".to_owned());
        }
        stream(&[r#"{"choices":[{"delta":{"content":"fine"}}]}"#, STOP])
    });
    let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 3).expect("answers");
    assert!(answers[&0].is_ok() && answers[&2].is_ok());
    let message = answers[&1].as_ref().expect_err("a failure").to_string();
    assert!(message.contains("gave up after 4 tries") && message.contains("broken"), "{message}");
    assert_eq!(server.calls.load(Ordering::SeqCst), 6);
}

#[test]
fn refusals_for_good_are_not_repeated_and_show_no_key() {
    let (url, server) = serve(|_, _| (401, vec![], "key sk-secret is wrong".to_owned()));
    let key = ApiKey::new("sk-secret\n".to_owned());
    assert_eq!(format!("{key:?}"), "[key]");
    let teacher = HttpTeacher::new(config(url), Some(key), None).expect("a teacher");
    let error = ask(&teacher, 9).expect_err("a refusal").to_string();
    assert!(error.contains("401") && error.contains("api-key-env") && !error.contains("sk-secret"), "{error}");
    assert!(server.calls.load(Ordering::SeqCst) <= 4, "no more than were in flight");
    assert_eq!(server.keys.lock().expect("a lock")[0], "Bearer sk-secret");
}

#[test]
fn a_busy_server_sets_the_pace() {
    let (url, server) = serve(|call, _| match call {
        0..4 => (429, vec![("retry-after", "0".to_owned())], String::new()),
        _ => stream(&[r#"{"choices":[{"delta":{"content":"fine"}}]}"#, STOP]),
    });
    let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 20).expect("answers");
    assert!(answers.len() == 20 && answers.values().all(Result::is_ok));
    assert!(server.peak.load(Ordering::SeqCst) <= 4, "never more in flight than allowed");
}

#[test]
fn a_pause_of_hours_ends_the_run_only_where_the_recipe_says_how_long_it_may_be() {
    let (url, _) = serve(|_, _| (429, vec![("retry-after", "24367".to_owned())], String::new()));
    let config = HttpTeacherConfig { max_wait_s: Some(60), ..config(url) };
    let error = ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 1).expect_err("a long pause");
    assert!(error.to_string().contains("wait 24367 s, longer than `max-wait-s` = 60"), "{error}");
}

/// A teacher that never tries a request again by itself.
fn once(url: String) -> HttpTeacher {
    HttpTeacher::new(HttpTeacherConfig { max_retries: 0, ..config(url) }, None, None).expect("a teacher")
}

fn whole() -> Reply {
    stream(&[r#"{"choices":[{"delta":{"content":"fine"}}]}"#, STOP, USAGE, "[DONE]"])
}

#[test]
fn an_endpoint_that_is_away_for_a_while_fails_nothing_and_is_said() {
    for status in [429, 502, 503] {
        let (url, _) = match status {
            429 => serve(|call, _| if (6..13).contains(&call) { (429, vec![], "full".to_owned()) } else { whole() }),
            502 => serve(|call, _| if (6..13).contains(&call) { (502, vec![], "gone".to_owned()) } else { whole() }),
            _ => serve(|call, _| if (6..13).contains(&call) { (503, vec![], "loading".to_owned()) } else { whole() }),
        };
        let mut list = List::of(20);
        once(url).complete(&mut list, &Cancel::default()).expect("an endpoint that comes back");
        assert!(list.answers.len() == 20 && list.answers.values().all(Result::is_ok), "{status}: {:?}", list.answers);
        assert!(list.remarks.iter().any(|remark| remark.contains("has been away for")), "{:?}", list.remarks);
        assert_eq!(list.remarks.last().map(String::as_str), Some(""), "and it is said that it is back");
    }
}

#[test]
fn a_server_that_is_started_again_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::of(|_, _| whole());
    let answer = move |stream: &TcpStream| endpoint::answer(stream, &AtomicUsize::new(0), &|asked| server.reply(asked));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(5) {
            answer(&stream).expect("an answer");
        }
        drop(listener);
        std::thread::sleep(Duration::from_millis(1500));
        let listener = TcpListener::bind(address).expect("the same port");
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(&stream));
        }
    });
    // A request that was under way when the server ended may have been read by it: those count.
    let config = HttpTeacherConfig { max_retries: 4, ..config(format!("http://{address}/v1")) };
    let mut list = List::of(12);
    HttpTeacher::new(config, None, None)
        .expect("a teacher")
        .complete(&mut list, &Cancel::default())
        .expect("a server that comes back");
    assert!(list.answers.len() == 12 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
}

#[test]
fn a_storm_of_server_errors_is_waited_for() {
    let (url, _) = serve(|call, _| if (2..11).contains(&call) { (500, vec![], "dead".to_owned()) } else { whole() });
    let config = HttpTeacherConfig { concurrency: 8, ..config(url) };
    let answers = ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 16).expect("answers");
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

#[test]
fn an_unknown_finish_reason_is_an_outcome_under_its_own_name_and_is_not_bought_again() {
    let (url, server) = serve(|_, _| {
        stream(&[r#"{"choices":[{"delta":{"content":"part"},"finish_reason":"insufficient_system_resource"}]}"#, USAGE])
    });
    let mut answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 1).expect("answers");
    let completion = answers.remove(&0).expect("an outcome").expect("a completion");
    assert_eq!(completion.finish_reason, FinishReason::Unknown);
    assert_eq!(completion.finish_name.as_deref(), Some("insufficient_system_resource"));
    assert_eq!((completion.text.as_str(), server.calls.load(Ordering::SeqCst)), ("part", 1));
}

#[test]
fn an_answer_without_a_finish_reason_is_charged_kept_and_never_bought_anew() {
    let cases: [Behaviour; 3] = [
        |_, _| {
            stream(&[
                r#"{"choices":[{"delta":{"content":"half "}}]}"#,
                r#"{"choices":[{"delta":{"content":"of it"}}]}"#,
            ])
        },
        |_, _| stream(&[r#"{"choices":[{"delta":{"content":"half of it"}}]}"#, USAGE, "[DONE]"]),
        |_, _| {
            let whole = r#"{"choices":[{"message":{"content":"half of it"}}],"usage":{"completion_tokens":5}}"#;
            (200, vec![("content-type", "application/json".to_owned())], whole.to_owned())
        },
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let (url, server) = serve(case);
        let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 1).expect("an outcome");
        let Err(TeacherError::Unanswerable { reason, text, cost, .. }) = &answers[&0] else {
            panic!("case {index}: expected an outcome with a reason, found {answers:?}")
        };
        assert_eq!((*reason, text.as_str()), ("incomplete", "half of it"), "case {index}");
        assert_eq!(cost.completion_tokens, [2, 5, 5][index], "case {index}: it was paid for");
        assert_eq!(server.calls.load(Ordering::SeqCst), 1, "case {index}: bought once");
    }
}

#[test]
fn an_answer_that_breaks_off_each_time_is_charged_each_time_and_its_text_is_kept() {
    let (url, server) = serve(|_, _| {
        stream(&[
            r#"{"choices":[{"delta":{"content":"half "}}]}"#,
            r#"{"choices":[{"delta":{"content":"of it"}}]}"#,
            r#"{"error":{"message":"out of memory"}}"#,
        ])
    });
    let config = HttpTeacherConfig { usd_per_million_tokens: Some([0.0, 1e6]), max_retries: 2, ..config(url) };
    let mut list = List::of(1);
    HttpTeacher::new(config, None, None)
        .expect("a teacher")
        .complete(&mut list, &Cancel::default())
        .expect("an outcome");
    let Some(Err(TeacherError::Unanswerable { reason, text, cost, .. })) = list.answers.remove(&0) else {
        panic!("expected an outcome with a reason, found {:?}", list.answers)
    };
    assert_eq!((reason, text.as_str()), ("broken-off", "half of it"));
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);
    let charged: u64 = list.charges.iter().map(|(_, cost)| cost.completion_tokens).sum();
    assert_eq!((charged, cost.completion_tokens, cost.usd), (4, 2, 2.0), "three attempts, two pieces each");
    assert!(cost.estimated && list.charges.iter().all(|(_, cost)| cost.estimated), "nobody told how many tokens");
}

#[test]
fn a_request_that_cannot_be_answered_says_why_at_once() {
    for (status, body, expected) in [
        (400, "This model's maximum context length is 4096 tokens", "too-long"),
        (413, "big", "too-long"),
        (400, r#"{"error":{"code":"content_filter"}}"#, "content-refused"),
        (422, "bad temperature", "refused"),
    ] {
        let ending = response::tests::of_status(status, body);
        assert_eq!(ending, Some(expected), "{status} {body}");
    }
    let (url, server) = serve(|_, _| (400, vec![], "no".to_owned()));
    let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 1).expect("answers");
    assert!(matches!(&answers[&0], Err(TeacherError::Unanswerable { reason: "refused", .. })), "{answers:?}");
    assert_eq!(server.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_in_flight_when_an_endpoint_refuses_is_delivered() {
    let (url, _) = serve(|_, body| {
        if body["messages"][0]["content"] == "question 0" {
            return (401, vec![], "no".to_owned());
        }
        std::thread::sleep(Duration::from_millis(300));
        whole()
    });
    let mut list = List::of(4);
    let teacher = HttpTeacher::new(config(url), None, None).expect("a teacher");
    let error = teacher.complete(&mut list, &Cancel::default()).expect_err("a refusal");
    assert!(error.to_string().contains("401"), "{error}");
    assert_eq!(list.answers.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "these were paid for");
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_asks_nothing_more() {
    let (url, server) = serve(|_, _| {
        std::thread::sleep(Duration::from_millis(300));
        whole()
    });
    let cancel = Cancel::default();
    let mut list = List { cancel_at: Some((6, cancel.clone())), ..List::of(10) };
    HttpTeacher::new(config(url), None, None).expect("a teacher").complete(&mut list, &cancel).expect("a stop");
    assert!(list.answers.len() == 4 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    assert_eq!(server.calls.load(Ordering::SeqCst), 4, "the stop came with the fourth");
    assert!(list.remarks.iter().any(|remark| remark.contains("4 in flight, waited for")), "{:?}", list.remarks);
}

#[test]
fn what_a_stop_cannot_wait_for_is_charged() {
    let url = serve_beginning(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#; 2]);
    let cancel = Cancel::default();
    let mut list = List { cancel_at: Some((0, cancel.clone())), drain: Duration::from_millis(500), ..List::of(1) };
    HttpTeacher::new(config(url), None, None).expect("a teacher").complete(&mut list, &cancel).expect("a stop");
    assert!(list.answers.is_empty());
    let [(0, cost)] = &list.charges[..] else { panic!("expected one charge, found {:?}", list.charges) };
    assert!(cost.estimated && cost.completion_tokens == 2, "{cost:?}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let mut config = config("http://127.0.0.1:9/v1".to_owned());
    config.max_retries = 8;
    let error = ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 3).expect_err("nobody");
    assert!(matches!(error, TeacherError::Unreachable(_)));
    assert!(error.to_string().contains("nobody answers at http://127.0.0.1:9/v1/chat/completions"), "{error}");
}

#[test]
fn completions_get_our_prompt_and_cost_is_counted() {
    let (url, _) = serve(|_, body| {
        assert_eq!(body["prompt"], "<|user|>question 0<|assistant|><think>\n");
        assert_eq!(body["seed"], 7);
        assert!(body.get("messages").is_none());
        stream(&[r#"{"choices":[{"text":"x</think>\n\n42","finish_reason":"stop"}]}"#, USAGE, "[DONE]"])
    });
    let render = Render {
        template_hash: "t".to_owned(),
        turn: TurnFormat::of_prompt("<think>\n"),
        render: Box::new(|messages| Ok(format!("<|user|>{}<|assistant|><think>\n", messages[0].content))),
        tokenizer: None,
    };
    let config =
        HttpTeacherConfig { api: Some(Api::Completions), usd_per_million_tokens: Some([1.0, 10.0]), ..config(url) };
    assert!(HttpTeacher::new(config.clone(), None, None).is_err(), "no template, no prompt");
    let teacher = HttpTeacher::new(config, None, Some(render)).expect("a teacher");
    assert_eq!(teacher.identity().template_hash, "t");
    let completion = ask(&teacher, 1).expect("answers").remove(&0).expect("an outcome").expect("a completion");
    assert_eq!(completion.text, "x</think>\n\n42", "as it was generated, behind the prefix");
    assert!((completion.cost_usd - 61e-6).abs() < 1e-12);
}

#[test]
fn what_changes_an_answer_changes_who_answers_and_a_url_does_not() {
    let plain = config("http://a/v1".to_owned());
    let turn = TurnFormat::of_prompt("<think>\n");
    let template = Some(("hash", &turn));
    assert_eq!(plain.asked(template), config("http://b/v1".to_owned()).asked(template));
    assert_eq!(plain.asked(None), plain.asked(template), "the chat call applies the server's own template");
    let completions = HttpTeacherConfig { api: Some(Api::Completions), ..plain.clone() };
    let others = [
        HttpTeacherConfig { grammar: Some("root ::= \"x\"".to_owned()), ..plain.clone() }.asked(template),
        HttpTeacherConfig { revision: "2".to_owned(), ..plain.clone() }.asked(template),
        HttpTeacherConfig { served_as: "vllm fp8".to_owned(), ..plain.clone() }.asked(template),
        completions.asked(template),
        completions.asked(Some(("other", &turn))),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(plain.asked(template), *other, "case {index}");
        assert!(others[..index].iter().all(|earlier| earlier != other), "case {index}");
    }
}

#[test]
fn an_answer_that_ended_is_not_waited_for_nor_bought_again() {
    let url = serve_beginning(&[r#"{"choices":[{"delta":{"content":"42"},"finish_reason":"stop"}]}"#]);
    let config = HttpTeacherConfig { idle_timeout_s: 1, max_retries: 0, ..config(url) };
    let answers = ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 1).expect("answers");
    let completion = answers[&0].as_ref().expect("a completion");
    assert_eq!(completion.text, "42");
    assert!(completion.estimated, "nobody told the tokens");
}

#[test]
fn fields_that_a_host_refuses_are_left_out() {
    let (url, _) = serve(|_, body| {
        assert!(body.get("seed").is_none() && body.get("stream_options").is_none(), "{body}");
        assert_eq!(body["stream"], true);
        whole()
    });
    let config = HttpTeacherConfig { omit: vec![Omit::Seed, Omit::StreamOptions], ..config(url) };
    assert!(ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 1).expect("answers")[&0].is_ok());
}

#[test]
fn a_key_that_a_server_repeats_is_nowhere_in_what_is_kept_or_said() {
    const KEY: &str = "sk-secret-0123456789abcdef";
    let teacher = |behaviour: Behaviour| {
        let key = Some(ApiKey::new(KEY.to_owned()));
        HttpTeacher::new(HttpTeacherConfig { max_retries: 0, ..config(serve(behaviour).0) }, key, None)
            .expect("a teacher")
    };
    let cases: [Behaviour; 9] = [
        // In an answer, cut between two pieces, in its model's name and in its finish reason.
        |_, _| {
            stream(&[
                r#"{"model":"m-sk-secret-0123456789abcdef","choices":[{"delta":{"reasoning":"sk-secret-0123"}}]}"#,
                r#"{"choices":[{"delta":{"reasoning":"456789abcdef"}}]}"#,
                r#"{"choices":[{"delta":{"content":"it is sk-secret-0123456789abcdef"},"finish_reason":"sk-secret-0123456789abcdef"}]}"#,
                "[DONE]",
            ])
        },
        // In an error, so that the cut of the message goes through it.
        |_, _| (400, vec![], format!("{}sk-secret-0123456789abcdef", "a".repeat(290))),
        |_, _| (500, vec![], format!("{}sk-secret-0123456789abcdef", "a".repeat(290))),
        |_, _| (401, vec![], format!("{}sk-secret-0123456789abcdef", "a".repeat(290))),
        |_, _| {
            let message = format!("{}sk-secret-0123456789abcdef", "a".repeat(270));
            stream(&[&format!(r#"{{"error":{{"code":400,"message":"{message}"}}}}"#)])
        },
        // Hidden by escapes.
        |_, _| (400, vec![], r#"{"error":"sk\u002dsecret\u002d0123456789abcdef"}"#.to_owned()),
        // In what is not a completion.
        |_, _| stream(&[r#"{"choices":"sk-secret-0123456789abcdef"}"#]),
        |_, _| (200, vec![], r#"{"choices":"sk-secret-0123456789abcdef"}"#.to_owned()),
        // In half an answer.
        |_, _| stream(&[r#"{"choices":[{"delta":{"content":"sk-secret-0123456789abcdef"}}]}"#]),
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let told = format!("{:?}", ask(&teacher(case), 1));
        // Ten letters of it are too many, too.
        assert!(!told.contains(&KEY[..10]), "case {index}: {told}");
        assert!(told.len() > 10, "case {index}: something is told");
    }
}

//! The client against a server that behaves as real ones do: reasoning in three places, broken streams, refusals, pauses,
//! errors inside a 200.

use super::*;
use distill_dataset::{FinishReason, SamplingParams};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

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
    /// Reads one HTTP/1.1 request, answers it and closes.
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut length, mut key) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap_or(0)
                }
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.clone_into(&mut key),
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.keys.lock().expect("a lock").push(key);
        std::thread::sleep(Duration::from_millis(5));
        let (status, headers, text) = (self.behaviour)(call, &serde_json::from_slice(&body).expect("JSON"));
        self.now.fetch_sub(1, Ordering::SeqCst);
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", text.len());
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(text.as_bytes())
    }
}

/// Starts a server; it ends with the test's process.
fn serve(behaviour: Behaviour) -> (String, Arc<Server>) {
    let zero = || AtomicUsize::new(0);
    let server = Arc::new(Server { behaviour, calls: zero(), now: zero(), peak: zero(), keys: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let serving = server.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = serving.clone();
            std::thread::spawn(move || server.answer(&stream));
        }
    });
    (url, server)
}

fn config(url: String) -> HttpTeacherConfig {
    let text = format!(r#"{{"url": "{url}", "model": "r1", "concurrency": 4, "max-retries": 3, "idle-timeout-s": 5}}"#);
    serde_json::from_str(&text).expect("a configuration")
}

struct List {
    left: u64,
    answers: BTreeMap<u64, Result<Completion, TeacherError>>,
}

impl Queue for List {
    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        Some(Request {
            id: self.left,
            messages: vec![Message::user(format!("question {}", self.left))],
            sampling: SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64 },
            seed: 7 + self.left,
        })
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        assert!(self.answers.insert(id, outcome).is_none(), "request {id} was answered twice");
        ControlFlow::Continue(())
    }
}

fn ask(teacher: &HttpTeacher, count: u64) -> Result<BTreeMap<u64, Result<Completion, TeacherError>>, TeacherError> {
    let mut list = List { left: count, answers: BTreeMap::new() };
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
        0 => stream(&[r#"{"choices":[{"delta":{"content":"half"}}]}"#]),
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
    let mut pace = Pace::new(16);
    pace.refused();
    pace.refused();
    assert_eq!(pace.limit(), 8, "one cut for a burst");
    (0..200).for_each(|_| pace.succeeded());
    assert_eq!(pace.limit(), 16, "and back, slowly");
}

#[test]
fn a_pause_of_hours_is_not_slept() {
    let error = one(|_, _| (429, vec![("retry-after", "24367".to_owned())], String::new()));
    assert!(error.expect_err("a failure").to_string().contains("wait 24367 s"));
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
        prefill: "<think>\n".to_owned(),
        render: Box::new(|messages| Ok(format!("<|user|>{}<|assistant|><think>\n", messages[0].content))),
    };
    let config = HttpTeacherConfig { api: Api::Completions, usd_per_million_tokens: [1.0, 10.0], ..config(url) };
    assert!(HttpTeacher::new(config.clone(), None, None).is_err(), "no template, no prompt");
    let teacher = HttpTeacher::new(config, None, Some(render)).expect("a teacher");
    assert_eq!(teacher.identity().template_hash, "t");
    let completion = ask(&teacher, 1).expect("answers").remove(&0).expect("an outcome").expect("a completion");
    assert_eq!((completion.prefill.as_str(), completion.text.as_str()), ("<think>\n", "x</think>\n\n42"));
    assert!((completion.cost_usd - 61e-6).abs() < 1e-12);
}

#[test]
fn a_grammar_changes_who_answers_and_a_url_does_not() {
    let plain = config("http://a/v1".to_owned());
    let moved = config("http://b/v1".to_owned());
    let constrained = HttpTeacherConfig { grammar: Some("root ::= \"x\"".to_owned()), ..plain.clone() };
    assert_eq!(plain.identity(), moved.identity());
    assert_ne!(plain.identity(), constrained.identity());
}

//! The client against a server that behaves as real ones do: reasoning in three places, broken streams, refusals, pauses,
//! errors inside a 200.

use super::*;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use distill_dataset::{FinishReason, SamplingParams};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What the server does with the n-th request (from 0), given its body.
type Behaviour = fn(usize, &serde_json::Value) -> (StatusCode, Vec<(&'static str, String)>, String);

struct Server {
    behaviour: Behaviour,
    calls: AtomicUsize,
    now: AtomicUsize,
    peak: AtomicUsize,
    keys: Mutex<Vec<String>>,
}

async fn answer(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let call = server.calls.fetch_add(1, Ordering::SeqCst);
    let now = server.now.fetch_add(1, Ordering::SeqCst) + 1;
    server.peak.fetch_max(now, Ordering::SeqCst);
    let key = headers.get("authorization").map_or("", |value| value.to_str().expect("text")).to_owned();
    server.keys.lock().expect("a lock").push(key);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (status, headers, text) = (server.behaviour)(call, &serde_json::from_slice(&body).expect("JSON"));
    server.now.fetch_sub(1, Ordering::SeqCst);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(text)).expect("a response")
}

/// Starts a server; it ends with the test's process.
fn serve(behaviour: Behaviour) -> (String, Arc<Server>) {
    let zero = || AtomicUsize::new(0);
    let server = Arc::new(Server { behaviour, calls: zero(), now: zero(), peak: zero(), keys: Mutex::default() });
    let state = server.clone();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let routes =
                Router::new().route("/v1/chat/completions", post(answer)).route("/v1/completions", post(answer));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("a listener");
            axum::serve(listener, routes.with_state(state)).await.expect("a server");
        });
    });
    (format!("http://{}/v1", told.recv().expect("an address")), server)
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

fn stream(chunks: &[&str]) -> (StatusCode, Vec<(&'static str, String)>, String) {
    let text: String = chunks.iter().map(|chunk| format!(": keep-alive\n\ndata: {chunk}\n\n")).collect();
    (StatusCode::OK, vec![("content-type", "text/event-stream".to_owned())], text)
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
            (StatusCode::OK, vec![("content-type", "application/json".to_owned())], r#"{"model":"r1-0528","choices":[{"message":{"content":"42","reasoning_content":"steps\n"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":5}}"#.to_owned())
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
        1 => (StatusCode::BAD_GATEWAY, vec![], "upstream".to_owned()),
        2 => stream(&[r#"{"error":{"code":502,"message":"inside a 200"}}"#]),
        _ => stream(&[r#"{"choices":[{"delta":{"content":"whole"}}]}"#, STOP, "[DONE]"]),
    });
    assert_eq!(completion.expect("a completion").text, "whole");
}

#[test]
fn a_request_that_always_fails_fails_alone() {
    let (url, server) = serve(|_, body| {
        if body["messages"][0]["content"] == "question 1" {
            return (StatusCode::INTERNAL_SERVER_ERROR, vec![], "broken".to_owned());
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
    let (url, server) = serve(|_, _| (StatusCode::UNAUTHORIZED, vec![], "key sk-secret is wrong".to_owned()));
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
        0..4 => (StatusCode::TOO_MANY_REQUESTS, vec![("retry-after", "0".to_owned())], String::new()),
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
    let error = one(|_, _| (StatusCode::TOO_MANY_REQUESTS, vec![("retry-after", "24367".to_owned())], String::new()));
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

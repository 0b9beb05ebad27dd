//! The server over real connections, with a small random model.

use super::{ServerConfig, serve};
use crate::{Limits, Placement, load, tests::checkpoint};
use distill_dataset::Cancel;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A server in a thread; it is stopped when dropped.
struct Running {
    address: SocketAddr,
    cancel: Cancel,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _root: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
        let outcome = self.thread.take().expect("a thread").join().expect("no panic");
        outcome.expect("a server that ends well");
    }
}

fn start(change: impl FnOnce(&mut ServerConfig, &mut Limits)) -> Running {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let mut config = ServerConfig { grace: Duration::from_millis(200), ..ServerConfig::local("random") };
    config.address.set_port(0);
    let mut limits = Limits { cache_bytes: 4 << 20, ..Limits::default() };
    change(&mut config, &mut limits);
    let (chat, engine) = load(root.path(), Placement { limits, ..Placement::on("cpu") }).expect("an engine");
    let cancel = Cancel::default();
    let (told, address) = mpsc::channel();
    let stop = cancel.clone();
    let run = move || serve(engine, chat, config, &stop, |address| told.send(address).expect("someone listens"));
    let thread = Some(std::thread::spawn(run));
    let address = address.recv_timeout(Duration::from_secs(20)).expect("an address");
    Running { address, cancel, thread, _root: root }
}

impl Running {
    fn connect(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{head} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{length}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("a request");
        stream
    }

    /// Status and body.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut reply = String::new();
        // A refusal may close the connection before all of the body was read.
        let _ = self.connect(head, body).read_to_string(&mut reply);
        let status = reply.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, if chunked { unchunk(body) } else { body.to_owned() })
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, reply) = self.ask(&format!("POST {path}"), &body.to_string());
        (status, serde_json::from_str(&reply).unwrap_or(Value::String(reply)))
    }

    /// The events of a stream, the closing one taken off.
    fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, reply) = self.ask(&format!("POST {path}"), &body.to_string());
        assert_eq!(status, 200, "{reply}");
        let mut events: Vec<&str> = reply.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{reply}");
        let parse = |event: &str| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON");
        events.into_iter().map(parse).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Running) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < Duration::from_secs(20), "{what} within 20 s: {}", self.get("/metrics").1);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        out.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    out
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn question(change: Value) -> Value {
    let mut body = json!({"model": "random", "messages": [{"role": "user", "content": "What is 34+5?"}], "max_tokens": 20, "seed": 4});
    for (key, value) in change.as_object().expect("changes") {
        body[key] = value.clone();
    }
    body
}

fn text<'v>(choice: &'v Value, key: &str) -> &'v str {
    choice[key].as_str().unwrap_or_default()
}

#[test]
fn a_stream_says_what_the_whole_answer_says_and_a_seed_repeats_it() {
    let server = start(|_, _| {});
    let (status, whole) = server.post(CHAT, &question(json!({"n": 3})));
    assert_eq!(status, 200, "{whole}");
    assert_eq!(server.post(CHAT, &question(json!({"n": 3}))).1["choices"], whole["choices"], "the same seed");
    let events =
        server.stream(CHAT, &question(json!({"n": 3, "stream": true, "stream_options": {"include_usage": true}})));
    assert_eq!(events.last().expect("usage")["usage"], whole["usage"]);
    let mut answers = std::collections::BTreeSet::new();
    for index in 0..3 {
        let deltas = || {
            let choices = events.iter().flat_map(|event| event["choices"].as_array().expect("choices"));
            choices.filter(|choice| choice["index"] == index)
        };
        let said = |key: &str| deltas().map(|choice| text(&choice["delta"], key)).collect::<String>();
        let message = &whole["choices"][index]["message"];
        assert_eq!(said("content"), text(message, "content"));
        assert_eq!(said("reasoning_content"), text(message, "reasoning_content"));
        let last = deltas().next_back().expect("a last piece");
        assert_eq!(last["finish_reason"], whole["choices"][index]["finish_reason"]);
        answers.insert(said("reasoning_content") + &said("content"));
    }
    assert_eq!(answers.len(), 3, "samples differ");
    assert!(!text(&whole["choices"][0]["message"], "reasoning_content").is_empty(), "the template opens the reasoning");
}

#[test]
fn completions_take_tokens_and_echo_log_probabilities() {
    let server = start(|_, _| {});
    let tokens: Vec<u32> = (20..30).collect();
    let greedy = json!({"prompt": tokens, "max_tokens": 6, "temperature": 0, "logprobs": 2, "ignore_eos": true});
    let (status, drawn) = server.post(COMPLETIONS, &greedy);
    assert_eq!(status, 200, "{drawn}");
    let logprobs = &drawn["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().map(Vec::len), Some(6));
    assert_eq!(drawn["usage"], json!({"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}));
    let best = logprobs["top_logprobs"][0].as_object().expect("a top").values().filter_map(Value::as_f64);
    assert_eq!(logprobs["token_logprobs"][0].as_f64(), best.reduce(f64::max), "greedy takes the best");

    let mut echo = greedy.clone();
    (echo["echo"], echo["max_tokens"], echo["prompt"]) = (json!(true), json!(1), json!([tokens, tokens]));
    let (status, echoed) = server.post(COMPLETIONS, &echo);
    assert_eq!(status, 200, "{echoed}");
    assert_eq!(echoed["choices"][0]["logprobs"], echoed["choices"][1]["logprobs"]);
    let echoed = &echoed["choices"][0]["logprobs"];
    assert_eq!(echoed["token_logprobs"].as_array().map(Vec::len), Some(11), "ten of the prompt and one new");
    assert_eq!((&echoed["token_logprobs"][0], &echoed["top_logprobs"][0]), (&Value::Null, &Value::Null));
    assert_eq!(echoed["token_logprobs"][10], logprobs["token_logprobs"][0]);
    assert!(echoed["token_logprobs"][5].as_f64().expect("a number") < 0.0);
    let pieces = server.stream(COMPLETIONS, &json!({"prompt": "34+5", "max_tokens": 5, "stream": true, "seed": 1}));
    let (_, whole) = server.post(COMPLETIONS, &json!({"prompt": "34+5", "max_tokens": 5, "seed": 1}));
    let streamed: String = pieces.iter().map(|piece| text(&piece["choices"][0], "text")).collect();
    assert_eq!(streamed, text(&whole["choices"][0], "text"));
}

#[test]
fn every_limit_has_its_status_and_its_words() {
    let server = start(|config, _| {
        config.max_body_bytes = 2000;
        config.max_choices = 3;
    });
    let refused = [
        (CHAT, question(json!({"messages": []})), 400, "at least one"),
        (CHAT, question(json!({"messages": [{"role": "tool", "content": "x"}]})), 400, "found \"tool\""),
        (CHAT, question(json!({"messages": [{"role": "user", "content": "<|end|>"}]})), 400, "control token"),
        (CHAT, question(json!({"messages": [{"role": "user", "content": "9".repeat(300)}]})), 400, "1 to 159 tokens"),
        (CHAT, question(json!({"temperature": -1})), 400, "`temperature`"),
        (CHAT, question(json!({"top_k": -2})), 400, "`top_k`"),
        (CHAT, question(json!({"n": 4})), 400, "1 to 3 choices"),
        (CHAT, question(json!({"n": 0})), 400, "1 to 3 choices"),
        (CHAT, question(json!({"tools": [{"type": "function"}]})), 400, "`tools` is not supported"),
        (CHAT, question(json!({"frequency_penalty": 0.5})), 400, "`frequency_penalty`"),
        (CHAT, question(json!({"logprobs": true, "top_logprobs": 21})), 400, "at most 20"),
        (CHAT, question(json!({"stop": [""]})), 400, "`stop`"),
        (CHAT, question(json!({"model": "other"})), 404, "no model \"other\""),
        (CHAT, question(json!({"messages": [{"role": "user", "content": "9".repeat(3000)}]})), 413, "2000 bytes"),
        (COMPLETIONS, json!({"prompt": [9999]}), 400, "token 9999"),
        (COMPLETIONS, json!({"prompt": []}), 400, "1 to 159 tokens"),
        (COMPLETIONS, json!({"prompt": [1.5]}), 400, "not what was expected"),
        (COMPLETIONS, json!({}), 400, "prompt"),
        ("/v1/embeddings", json!({}), 404, "no /v1/embeddings"),
    ];
    for (path, body, expected, words) in refused {
        let (status, reply) = server.post(path, &body);
        assert_eq!(status, expected, "{body}: {reply}");
        assert!(text(&reply["error"], "message").contains(words), "{body}: {reply}");
    }
    assert_eq!(server.ask(&format!("POST {CHAT}"), "{\"messages\": [").0, 400, "broken JSON");
    assert_eq!(server.get(CHAT).0, 405);
    assert_eq!(server.ask("POST /health", "{}").0, 405);
    let harmless = question(json!({"tools": null, "user": "me", "response_format": {"type": "text"}, "top_k": -1}));
    assert_eq!(server.post(CHAT, &harmless).0, 200, "what changes nothing is taken");
    server.wait_for("nothing is left", |server| server.metric("distill_requests_running") == 0.0);
}

#[test]
fn the_key_opens_the_models_and_nothing_else_does() {
    let server = start(|config, _| config.api_key = Some("k-123".to_owned()));
    for wrong in ["", "authorization: Bearer k-12\r\n", "authorization: k-123\r\n", "authorization: Bearer k-1234\r\n"]
    {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream
            .write_all(format!("GET /v1/models HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{wrong}\r\n").as_bytes())
            .expect("a request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 401"), "{wrong}: {reply}");
    }
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    let right = "GET /v1/models HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer k-123\r\n\r\n";
    stream.write_all(right.as_bytes()).expect("a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"id\":\"random\""), "{reply}");
    assert_eq!(server.get("/health").0, 200, "health needs no key");
}

#[test]
fn a_client_that_goes_away_gives_its_cache_back_and_a_full_queue_turns_others_away() {
    let server = start(|config, limits| {
        config.max_open = 2;
        limits.running = 1;
    });
    let long = question(json!({"stream": true, "max_tokens": 140, "ignore_eos": true}));
    // The second waits for the first, which is never read.
    let clients: Vec<TcpStream> = (0..2).map(|_| server.connect(&format!("POST {CHAT}"), &long.to_string())).collect();
    let (status, reply) = server.post(CHAT, &question(json!({"n": 3})));
    assert_eq!(status, 429, "three do not fit where two may be open: {reply}");
    drop(clients);
    server.wait_for("others go on", |server| server.post(CHAT, &question(json!({}))).0 == 200);
    server.wait_for("the cache is free", |server| {
        server.metric("distill_cache_blocks_held") == 0.0 && server.metric("distill_answers_open") == 0.0
    });
}

#[test]
fn a_stop_ends_what_is_being_said() {
    let server = start(|_, _| {});
    let long = question(json!({"stream": true, "max_tokens": 140, "n": 8, "ignore_eos": true}));
    let clients: Vec<TcpStream> = (0..20).map(|_| server.connect(&format!("POST {CHAT}"), &long.to_string())).collect();
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(15), "a stop does not wait for the last token");
    drop(clients);
}

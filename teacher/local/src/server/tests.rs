//! The server over real connections, with a small random model.

use super::{ServerConfig, serve};
use crate::{Limits, Placement, load, tests::checkpoint};
use distill_dataset::Cancel;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
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
    start_with(change, |_| {})
}

/// As [`start`], over a folder that `prepare` has changed.
fn start_with(change: impl FnOnce(&mut ServerConfig, &mut Limits), prepare: impl FnOnce(&Path)) -> Running {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    prepare(root.path());
    let mut config = ServerConfig { grace: Duration::from_millis(200), ..ServerConfig::local("random") };
    config.address.set_port(0);
    let mut limits = Limits { cache_bytes: Some(4 << 20), ..Limits::default() };
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
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let request = format!("{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("a request");
        stream
    }

    /// Status and body.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let (status, _, body) = heard(self.connect(head, body));
        (status, body)
    }

    /// Status and head of the answer to a request with these header lines.
    fn ask_as(&self, method: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let request = format!("{method} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let (status, head, _) = heard(stream);
        (status, head.to_ascii_lowercase())
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

/// Status, head and body of an answer.
fn heard(mut stream: TcpStream) -> (u16, String, String) {
    let mut reply = String::new();
    // A refusal may close the connection before all of the body was read.
    let _ = stream.read_to_string(&mut reply);
    let status = reply.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, head.to_owned(), if chunked { unchunk(body) } else { body.to_owned() })
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
        (CHAT, question(json!({"stop": "9".repeat(600)})), 400, "1 to 512 bytes"),
        (CHAT, question(json!({"stop": vec!["9"; 17]})), 400, "at most 16 texts"),
        (CHAT, question(json!({"stop_token_ids": vec![1; 300]})), 400, "at most 256"),
        (CHAT, question(json!({"temperature": 1e-50})), 400, "`temperature`: expected 0 or at least 1.17"),
        (CHAT, question(json!({"top_p": 1e-42})), 400, "underflows"),
        (CHAT, question(json!({"min_p": 1e-300})), 400, "underflows"),
        (CHAT, question(json!({"repetition_penalty": 1e-39})), 400, "underflows"),
        (CHAT, question(json!({"repetition_penalty": 1e-30})), 400, "0.01 to 10"),
        (CHAT, question(json!({"temperature": 1e300})), 400, "0 to 10"),
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
            .write_all(
                format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{wrong}\r\n").as_bytes(),
            )
            .expect("a request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 401"), "{wrong}: {reply}");
    }
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    let right =
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer k-123\r\n\r\n";
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

#[test]
fn only_this_machines_names_and_pages_are_answered() {
    let server = start(|config, _| config.allowed_origins = vec!["https://desk.example".to_owned()]);
    let models = "GET /v1/models";
    assert_eq!(server.ask_as(models, "host: 127.0.0.1:8080\r\n").0, 200);
    assert_eq!(server.ask_as(models, "host: rebound.example\r\n").0, 403);
    assert_eq!(server.ask_as(models, "").0, 403, "no host at all");
    assert_eq!(server.ask_as(models, "host: localhost\r\norigin: http://evil.example\r\n").0, 403);
    assert_eq!(server.ask_as("GET /metrics", "host: localhost\r\norigin: null\r\n").0, 403);
    let (status, head) = server.ask_as(models, "host: desk.example\r\norigin: https://desk.example\r\n");
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-origin: https://desk.example"), "the page may read it: {head}");
    let asked = "host: localhost\r\norigin: https://desk.example\r\naccess-control-request-method: POST\r\n";
    let (status, head) = server.ask_as("OPTIONS /v1/chat/completions", asked);
    assert!(status == 204 && head.contains("access-control-allow-headers: authorization, content-type"), "{head}");
    let (_, head) = server.ask_as(models, "host: localhost\r\n");
    assert!(!head.contains("access-control"), "nobody asked for a page: {head}");
}

#[test]
fn only_json_is_read() {
    let server = start(|_, _| {});
    let post = |kind: &str| {
        server.ask_as("POST /v1/completions", &format!("host: localhost\r\ncontent-length: 0\r\n{kind}")).0
    };
    for foreign in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(post(foreign), 415, "{foreign}");
    }
    assert_eq!(
        post("content-type: Application/JSON; charset=utf-8\r\n"),
        400,
        "an empty body is not what was expected"
    );
}

#[test]
fn an_origin_that_is_none_is_an_error_at_the_start() {
    let root = tempfile::tempdir().expect("a temporary folder");
    checkpoint(root.path());
    let (chat, engine) = load(root.path(), Placement::on("cpu")).expect("an engine");
    let mut config = ServerConfig { allowed_origins: vec!["desk.example".to_owned()], ..ServerConfig::local("random") };
    config.address.set_port(0);
    let error = serve(engine, chat, config, &Cancel::default(), |_| {}).expect_err("no origin");
    assert!(error.to_string().contains("found \"desk.example\""), "{error}");
}

#[test]
fn a_base_model_completes_text_and_says_that_it_has_no_template() {
    let server = start_with(
        |_, _| {},
        |root| {
            std::fs::remove_file(root.join("chat_template.jinja")).expect("a template");
        },
    );
    let (status, reply) = server.post(COMPLETIONS, &json!({"prompt": "34+5=", "max_tokens": 4, "ignore_eos": true}));
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["usage"]["completion_tokens"], 4);
    let (status, reply) = server.post(CHAT, &question(json!({})));
    assert_eq!(status, 400, "{reply}");
    assert!(text(&reply["error"], "message").contains("chat_template.jinja"), "{reply}");
}

#[test]
fn what_the_cache_cannot_hold_is_refused_and_what_the_context_cuts_is_told_as_length() {
    let server = start(|_, limits| limits.cache_bytes = Some(3 * crate::tests::block()));
    let prompt: Vec<u32> = (20..30).collect();
    let ask = |new: usize| server.post(COMPLETIONS, &json!({"prompt": prompt, "max_tokens": new, "ignore_eos": true}));
    let (status, reply) = ask(90);
    assert!(
        status == 400 && text(&reply["error"], "message").contains("need 100 tokens of cache, found 96"),
        "{reply}"
    );
    assert_eq!(ask(86).0, 200);
    let whole = start(|_, _| {});
    let (status, reply) = whole.post(COMPLETIONS, &json!({"prompt": prompt, "max_tokens": 5000, "ignore_eos": true}));
    assert_eq!((status, text(&reply["choices"][0], "finish_reason")), (200, "length"), "{reply}");
    let many = json!({"prompt": prompt, "max_tokens": 150, "n": 64, "logprobs": 20, "echo": true});
    assert_eq!(whole.post(COMPLETIONS, &many).0, 200);
    let (status, reply) = start(|config, _| config.max_choices = 4096)
        .post(COMPLETIONS, &json!({"prompt": prompt, "max_tokens": 150, "n": 1000, "logprobs": 20}));
    assert!(status == 400 && text(&reply["error"], "message").contains("262144 log-probabilities"), "{reply}");
}

#[test]
fn long_requests_do_not_keep_short_ones_waiting() {
    // A template that takes long over one message, and bodies that are long: nothing but their length tells.
    let slow = "{% if 'slow' in messages[0].content %}{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}";
    let server = start_with(
        |_, _| {},
        |root| {
            std::fs::write(root.join("chat_template.jinja"), slow).expect("a template");
        },
    );
    let long = question(
        json!({"messages": [{"role": "user", "content": "slow"}], "user": "x".repeat(100_000), "max_tokens": 1}),
    );
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (tell, stream) = (tell.clone(), server.connect(&format!("POST {CHAT}"), &long.to_string()));
            std::thread::spawn(move || {
                let (status, _, reply) = heard(stream);
                let _ = tell.send((status, reply));
            })
        })
        .collect();
    assert_eq!(server.post(CHAT, &question(json!({"max_tokens": 1}))).0, 200);
    let before = told.try_iter().count();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(before < 6, "a short request was answered after all long ones");
    let after: Vec<_> = told.try_iter().collect();
    assert!(after.iter().all(|(status, _)| *status == 200), "{after:?}");
}

#[test]
fn an_echoed_prompt_comes_in_pieces_that_are_the_whole() {
    let server = start(|_, _| {});
    let prompt: Vec<u32> = (0..140).map(|index| 20 + index).collect();
    let ask =
        json!({"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": true, "ignore_eos": true});
    let (_, whole) = server.post(COMPLETIONS, &ask);
    let mut streamed = ask.clone();
    streamed["stream"] = true.into();
    let pieces = server.stream(COMPLETIONS, &streamed);
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let told = pieces.iter().filter_map(|piece| piece["choices"][0]["logprobs"][key].as_array());
        let longest = told.clone().map(Vec::len).max();
        assert!(longest <= Some(64), "{key}: a piece of {longest:?}");
        let told: Vec<Value> = told.flatten().cloned().collect();
        assert_eq!(Value::Array(told), whole["choices"][0]["logprobs"][key], "{key}");
    }
}

//! Endpoints that are away, in every form that this has: nobody listens, somebody accepts and says nothing, a gateway
//! refuses, a job has moved to another node.

use super::*;
use crate::{Answers, Ask, Asks, Budget, EndpointSeen, Exceeded, Order, PumpError, pump};
use distill_dataset::{Context, Problem, Progress};
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// A request that a backend gets, or a question how it is.
enum Got {
    Request,
    Question,
}

/// A port that accepts whatever happens; behind it, `backend` answers with bytes, or nothing where it is gone.
fn gateway(backend: impl Fn(Got) -> Option<Reply> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let backend = Arc::new(backend);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let backend = backend.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 1 << 14];
                let count = stream.read(&mut bytes).unwrap_or(0);
                let got = if bytes[..count].starts_with(b"GET") { Got::Question } else { Got::Request };
                if let Some((status, _, text)) = backend(got) {
                    let length = text.len();
                    let head =
                        format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
                    let _ = stream.write_all((head + &text).as_bytes());
                }
            });
        }
    });
    url
}

/// True until so long after the call.
fn outage(lasts: Duration) -> Arc<AtomicBool> {
    let is_out = Arc::new(AtomicBool::new(true));
    let ends = is_out.clone();
    std::thread::spawn(move || {
        std::thread::sleep(lasts);
        ends.store(false, Ordering::SeqCst);
    });
    is_out
}

fn said(list: &List, words: &str) -> bool {
    list.remarks.iter().any(|remark| remark.contains(words))
}

/// A queue that ends by the clock, and sees how the endpoints stand.
struct Timed {
    list: List,
    ends: Option<Instant>,
    seen: Vec<EndpointSeen>,
}

impl Timed {
    fn of(count: u64) -> Timed {
        Timed { list: List::of(count), ends: None, seen: Vec::new() }
    }
}

impl Queue for Timed {
    fn next(&mut self) -> Option<Request> {
        self.list.next()
    }
    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        self.list.deliver(id, outcome)
    }
    fn is_over(&mut self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
    fn say(&mut self, remark: &str) {
        self.list.say(remark);
    }
    fn see(&mut self, endpoints: Vec<EndpointSeen>) {
        self.seen.extend(endpoints);
    }
}

#[test]
fn an_outage_behind_a_port_that_accepts_fails_no_row_however_few_are_left() {
    // A tunnel closes what it cannot hand on; a gateway says 500, to questions as well.
    for status in [None, Some(500)] {
        let answered = AtomicUsize::new(0);
        let out = AtomicBool::new(false);
        let since = Mutex::new(None::<Instant>);
        let url = gateway(move |got| {
            // After one answer it is gone for a while.
            let mut since = since.lock().expect("a lock");
            let is_out = out.load(Ordering::SeqCst) || since.is_some_and(|since| since.elapsed().as_millis() < 1500);
            match got {
                _ if is_out => status.map(|status| (status, vec![], "backend gone".to_owned())),
                Got::Question => Some((200, vec![], "{}".to_owned())),
                Got::Request => {
                    if answered.fetch_add(1, Ordering::SeqCst) == 0 {
                        *since = Some(Instant::now());
                    }
                    Some(whole())
                }
            }
        });
        let mut list = List::of(3);
        once(url).complete(&mut list, &Cancel::default()).expect("an endpoint that comes back");
        assert!(list.answers.len() == 3 && list.answers.values().all(Result::is_ok), "{status:?}: {:?}", list.answers);
        assert!(said(&list, "has been away for"), "{status:?}: {:?}", list.remarks);
    }
}

#[test]
fn somebody_who_accepts_and_never_answered_is_nobody() {
    let error = once(gateway(|_| None)).complete(&mut List::of(3), &Cancel::default()).expect_err("nobody");
    assert!(error.to_string().contains("nobody answers at"), "{error}");
    // Unless it is said how long one waits.
    let config = HttpTeacherConfig { max_wait_s: Some(60), ..config(gateway(|_| None)) };
    let mut queue = Timed { ends: Some(Instant::now() + Duration::from_secs(3)), ..Timed::of(3) };
    let waited = HttpTeacher::new(config, None, None).expect("a teacher").complete(&mut queue, &Cancel::default());
    waited.expect("it is waited for");
    assert!(queue.list.answers.is_empty() && said(&queue.list, "has been away for"), "{:?}", queue.list.remarks);
}

#[test]
fn a_gateway_that_knows_no_backend_is_waited_for_where_there_was_one() {
    for status in [403, 404, 302] {
        let calls = AtomicUsize::new(0);
        let out = outage(Duration::from_millis(1500));
        let url = gateway(move |got| match got {
            Got::Request if calls.fetch_add(1, Ordering::SeqCst) == 0 => Some(whole()),
            _ if out.load(Ordering::SeqCst) => Some((status, vec![], "no such route".to_owned())),
            Got::Question => Some((200, vec![], "{}".to_owned())),
            Got::Request => Some(whole()),
        });
        // One at a time: the first is answered before any other is refused.
        let config = HttpTeacherConfig { concurrency: 1, max_retries: 0, ..config(url) };
        let mut list = List::of(3);
        let teacher = HttpTeacher::new(config, None, None).expect("a teacher");
        teacher.complete(&mut list, &Cancel::default()).expect("an endpoint that comes back");
        assert!(list.answers.len() == 3 && list.answers.values().all(Result::is_ok), "{status}: {:?}", list.answers);
        assert!(said(&list, "no such route"), "{status}: {:?}", list.remarks);
    }
}

#[test]
fn one_request_that_is_refused_as_by_nobody_fails_alone_where_the_endpoint_is_well() {
    let (url, _) = serve(|_, body| match body["messages"][0]["content"] == "question 0" {
        true => (403, vec![], "blocked".to_owned()),
        false => whole(),
    });
    let config = HttpTeacherConfig { concurrency: 1, max_retries: 1, ..config(url) };
    let answers = ask(&HttpTeacher::new(config, None, None).expect("a teacher"), 3).expect("answers");
    let failed = answers[&0].as_ref().expect_err("a refusal").to_string();
    assert!(failed.contains("gave up after 2 tries") && failed.contains("blocked"), "{failed}");
    assert!(answers[&1].is_ok() && answers[&2].is_ok());
}

#[test]
fn timeouts_lower_the_pace() {
    let (url, _) = serve(|call, _| {
        if call < 4 {
            std::thread::sleep(Duration::from_millis(1500));
        }
        whole()
    });
    let config = HttpTeacherConfig { idle_timeout_s: 1, concurrency: 4, ..config(url) };
    let mut queue = Timed::of(4);
    let teacher = HttpTeacher::new(config, None, None).expect("a teacher");
    teacher.complete(&mut queue, &Cancel::default()).expect("answers");
    assert!(queue.list.answers.values().all(Result::is_ok), "{:?}", queue.list.answers);
    let limits: Vec<u64> = queue.seen.iter().map(|seen| seen.limit).collect();
    assert!(limits.first() == Some(&4) && limits.iter().any(|limit| *limit < 4), "{limits:?}");
}

#[test]
fn nothing_is_sent_once_the_time_is_over_however_long_an_endpoint_is_away() {
    let (url, server) = serve(|call, _| if call == 0 { whole() } else { (502, vec![], "gone".to_owned()) });
    let mut queue = Timed { ends: Some(Instant::now() + Duration::from_millis(1200)), ..Timed::of(20) };
    let begun = Instant::now();
    once(url).complete(&mut queue, &Cancel::default()).expect("an end");
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for {:?}", begun.elapsed());
    let calls = server.calls.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.calls.load(Ordering::SeqCst), calls, "something was sent afterwards");
    assert!(queue.list.answers.len() < 20 && queue.list.answers.values().all(Result::is_ok));
}

#[test]
fn a_budget_of_hours_ends_a_run_that_waits() {
    let (url, _) = serve(|call, _| if call == 0 { whole() } else { (502, vec![], "gone".to_owned()) });
    let teacher = HttpTeacher::new(HttpTeacherConfig { concurrency: 1, ..config(url) }, None, None).expect("a teacher");
    let dir = tempfile::tempdir().expect("a folder");
    let answers = Answers::open(dir.path()).expect("answers");
    let (identity, sampling) = (
        teacher.identity(),
        SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: None },
    );
    let problem = |number: u32| Problem::asking(number.to_string(), "1", "test");
    let asks =
        || -> Asks<'_> { Box::new((0..5).map(|number| Ok(Ask::sample(&problem(number), 0, &identity, &sampling)))) };
    let budget = Budget { hours: Some(1.0 / 3600.0), ..Budget::default() };
    let order = Order { asks: &asks, all: &asks, dataset: "all".to_owned(), budget, task: ("sample", "traces") };
    let (scratch, progress) = (dir.path().to_owned(), Progress::hidden());
    let context = Context { scratch, cancel: Cancel::default(), progress, seed: 1 };
    let error = pump(&order, &teacher, &answers, &context).expect_err("the budget");
    assert!(
        matches!(error, PumpError::Budget { limit: Exceeded::Hours(_), done: 1, total: 5 }),
        "a wait of hours has to end by them: {error}"
    );
}

#[test]
fn servers_that_register_while_they_are_asked_take_the_place_of_those_that_are_gone() {
    let registered = Arc::new(Mutex::new(Vec::<String>::new()));
    let listed = registered.clone();
    let registry: Registry = Arc::new(move || {
        let place = |url: &String| EndpointConfig { url: url.clone(), ..EndpointConfig::default() };
        Ok(listed.lock().expect("a lock").iter().map(place).collect())
    });
    let config = HttpTeacherConfig { is_launched: true, max_retries: 0, ..config(String::new()) };
    let mut teacher = HttpTeacher::new(config, None, None).expect("a teacher").with_registry(registry);
    teacher.registry_every = Duration::from_millis(50);
    // One that answers four times and is gone then, behind a port that accepts.
    let left = AtomicUsize::new(4);
    let first = gateway(move |got| match got {
        Got::Question => (left.load(Ordering::SeqCst) > 0).then(|| (200, vec![], "{}".to_owned())),
        Got::Request => {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok().map(|_| whole())
        }
    });
    let (second, server) = serve(|_, _| whole());
    let register = move |url: &str| *registered.lock().expect("a lock") = vec![url.to_owned()];
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        register(&first);
        std::thread::sleep(Duration::from_millis(1000));
        register(&second);
    });
    let mut list = List::of(12);
    teacher.complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 12 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    assert!(said(&list, "no server of this teacher has been registered"), "{:?}", list.remarks);
    assert_eq!(server.calls.load(Ordering::SeqCst), 8, "what the first did not answer");
}

#[test]
fn a_wait_for_tokens_of_the_next_minutes_is_said() {
    let (url, _) = serve(|_, _| {
        std::thread::sleep(Duration::from_millis(400));
        whole()
    });
    let config = HttpTeacherConfig { tokens_per_minute: Some(300), ..config(url) };
    let mut list = List::of(2);
    let teacher = HttpTeacher::new(config, None, None).expect("a teacher");
    teacher.complete(&mut list, &Cancel::default()).expect("answers");
    assert!(said(&list, "`tokens-per-minute` is used up: the next request in"), "{:?}", list.remarks);
}

#[test]
fn a_server_that_goes_away_ends_no_answer_though_its_streams_end_by_closing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let half = r#"{"choices":[{"delta":{"content":"half"}}]}"#;
        let whole = r#"{"choices":[{"delta":{"content":"all of it"},"finish_reason":"stop"}]}"#;
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("a stream"));
            let mut length = 0;
            loop {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut reader, &mut line).expect("a head");
                match line.to_ascii_lowercase().trim().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().expect("a length"),
                    None if line.trim().is_empty() => break,
                    _ => {}
                }
            }
            std::io::Read::read_exact(&mut reader, &mut vec![0; length]).expect("a body");
            let event = if number == 0 { half } else { whole };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut stream, format!("{head}data: {event}\n\n").as_bytes()).expect("an answer");
        }
    });
    let teacher = HttpTeacher::new(config(url), None, None).expect("a teacher");
    let answers = ask(&teacher, 1).expect("answers");
    assert_eq!(answers[&0].as_ref().expect("an answer").text, "all of it");
}

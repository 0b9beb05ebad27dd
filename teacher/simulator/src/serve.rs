//! Connections, requests and streams.

use crate::{
    Answer, Fault, Script, Shape,
    answer::{UNSAID, mix},
    vocabulary,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until},
};

/// Tokens of any prompt.
const PROMPT_TOKENS: usize = 12;
/// How long a stream is silent that hangs.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What was sent of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Which request, from 0.
    pub number: u64,
    /// The seed of the answer's first request: which answer it is.
    pub seed: u32,
    /// The token that it went on at.
    pub from: usize,
    /// Tokens that were written to the connection.
    pub sent: usize,
    /// Whether its end was told.
    pub ended: bool,
    /// What went wrong with it.
    pub fault: Option<Fault>,
}

struct State {
    script: Mutex<Script>,
    requests: AtomicU64,
    running: AtomicUsize,
    peak: AtomicUsize,
    log: Mutex<Vec<Served>>,
    /// The seeds of the first requests for each prompt.
    firsts: Mutex<HashMap<String, Vec<u32>>>,
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server on a thread of its own. It ends with the process, or when it is dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Simulator {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(script: Script) -> io::Result<Simulator> {
        Simulator::start_at(script, "127.0.0.1:0")
    }

    /// Starts one at an address.
    ///
    /// # Errors
    /// When it is taken.
    pub fn start_at(script: Script, address: &str) -> io::Result<Simulator> {
        let state = Arc::new(State::of(script));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (told, bound) = mpsc::channel();
        let (serving, address) = (state.clone(), address.to_owned());
        let thread = thread::spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(told.send(Err(error))),
            };
            runtime.block_on(async {
                let listener = match TcpListener::bind(address).await {
                    Ok(listener) => listener,
                    Err(error) => return drop(told.send(Err(error))),
                };
                let _ = told.send(listener.local_addr());
                tokio::select! {
                    () = accept(&listener, &serving) => {}
                    _ = stopped => {}
                }
            });
        });
        let gone = || io::Error::other("the server's thread ended");
        let address = bound.recv().map_err(|_| gone())??;
        Ok(Simulator { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// The base of its calls.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How its calls look.
    pub fn shape(&self) -> Shape {
        locked(&self.state.script).shape.clone()
    }

    /// Another behaviour, from the next request on.
    pub fn behave(&self, script: Script) {
        *locked(&self.state.script) = script;
    }

    /// What it sent so far. Streams that are under way are not in it.
    pub fn log(&self) -> Vec<Served> {
        locked(&self.state.log).clone()
    }

    /// Requests so far, refused ones too.
    pub fn num_requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Most requests that it worked on at once.
    pub fn peak(&self) -> usize {
        self.state.peak.load(Ordering::SeqCst)
    }

    /// Requests that it works on now.
    pub fn num_running(&self) -> usize {
        self.state.running.load(Ordering::SeqCst)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Serves at an address until the process ends; `bound` is told where.
///
/// # Errors
/// When the address is taken.
pub fn serve_forever(script: Script, address: &str, bound: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let state = Arc::new(State::of(script));
    runtime()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        bound(listener.local_addr()?);
        accept(&listener, &state).await;
        Ok(())
    })
}

async fn accept(listener: &TcpListener, state: &Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = state.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // A client that is gone is no error of the server.
            let _ = converse(stream, &state).await;
        });
    }
}

/// A request.
struct Asked {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

type Connection = BufReader<TcpStream>;

async fn read(connection: &mut Connection) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(Some(Asked { path, headers, body }))
}

async fn converse(stream: TcpStream, state: &Arc<State>) -> io::Result<()> {
    let mut connection = BufReader::new(stream);
    while let Some(Asked { path, headers, body }) = read(&mut connection).await? {
        let shape = locked(&state.script).shape.clone();
        if let Some((name, value)) = &shape.key
            && headers.get(name) != Some(value)
        {
            whole(&mut connection, 401, &[], &shape.error(401, "no such key")).await?;
            continue;
        }
        match path.as_str() {
            path if path == shape.completions || path == shape.chat => {
                let number = state.requests.fetch_add(1, Ordering::SeqCst);
                let running = Running::new(state);
                let request = Call { state, number, chat: path == shape.chat, running: running.count };
                if !request.answer(&mut connection, &body).await? {
                    return Ok(());
                }
            }
            "/v1/models" => {
                let model = locked(&state.script).model.clone();
                whole(&mut connection, 200, &[], &json!({"data": [{"id": model}]}).to_string()).await?;
            }
            "/metrics" => {
                let running = state.running.load(Ordering::SeqCst);
                let text = format!("vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n");
                whole(&mut connection, 200, &[], &text).await?;
            }
            "/log" => {
                let lines: Vec<String> =
                    locked(&state.log).iter().filter_map(|served| serde_json::to_string(served).ok()).collect();
                whole(&mut connection, 200, &[], &(lines.join("\n") + "\n")).await?;
            }
            _ => whole(&mut connection, 404, &[], "no such call").await?,
        }
    }
    Ok(())
}

async fn whole(connection: &mut Connection, status: u16, headers: &[(&str, String)], text: &str) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n{text}", text.len());
    connection.write_all(head.as_bytes()).await
}

/// Counts a request while it is worked on.
struct Running<'s> {
    state: &'s State,
    count: usize,
}

impl<'s> Running<'s> {
    fn new(state: &'s State) -> Running<'s> {
        let count = state.running.fetch_add(1, Ordering::SeqCst) + 1;
        state.peak.fetch_max(count, Ordering::SeqCst);
        Running { state, count }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.state.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    fn of(script: Script) -> State {
        State {
            script: Mutex::new(script),
            requests: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            log: Mutex::default(),
            firsts: Mutex::default(),
        }
    }
}

/// A call for an answer.
struct Call<'s> {
    state: &'s State,
    number: u64,
    chat: bool,
    /// Requests that are worked on, this one too.
    running: usize,
}

impl Call<'_> {
    /// Answers it; whether the connection stays open.
    async fn answer(&self, connection: &mut Connection, body: &[u8]) -> io::Result<bool> {
        let script = locked(&self.state.script).clone();
        if self.running > script.admitted {
            return whole(connection, 503, &[], "full").await.map(|()| true);
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return whole(connection, 400, &[], "expected JSON").await.map(|()| true);
        };
        if let Some(field) = script.shape.refused.iter().find(|field| body.get(field.as_str()).is_some()) {
            let text = script.shape.error(400, &format!("unknown field {field}"));
            return whole(connection, 400, &[], &text).await.map(|()| true);
        }
        let fault = script.fault(self.number);
        let (status, wait) = match fault {
            Some(Fault::Shut) => return Ok(false),
            Some(Fault::Broken) => (500, None),
            Some(Fault::BadGateway) => (502, None),
            Some(Fault::Unavailable) => (503, None),
            Some(Fault::Busy) => (429, None),
            Some(Fault::BusyShort) => (429, Some("0.2".to_owned())),
            Some(Fault::BusyDate) => (429, http_date(Duration::from_secs(1))),
            Some(Fault::BusyLong) => (429, Some("24367".to_owned())),
            _ => (200, None),
        };
        if status != 200 {
            let headers: Vec<_> = wait.into_iter().map(|wait| ("retry-after", wait)).collect();
            return whole(connection, status, &headers, &script.shape.error(status, "simulated")).await.map(|()| true);
        }
        if fault == Some(Fault::SlowHead) {
            sleep(Duration::from_secs(1)).await;
        }
        let ids = body["prompt"].as_array().map(|ids| {
            ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<Vec<u32>>>().unwrap_or_default()
        });
        let bytes = ids.as_ref().map(|ids| vocabulary::decode(ids, true).filter(|_| script.shape.takes_ids));
        let (prompt, is_within) = match (body["messages"].as_array(), bytes) {
            (Some(turns), _) => (turns.iter().filter_map(|turn| turn["content"].as_str()).collect(), false),
            (None, Some(Some(bytes))) => match String::from_utf8(bytes) {
                Ok(prompt) => (prompt, false),
                Err(error) => {
                    let end = error.utf8_error().valid_up_to();
                    (String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned(), true)
                }
            },
            (None, Some(None)) => {
                let text = script.shape.error(400, "expected a prompt of text");
                return whole(connection, 400, &[], &text).await.map(|()| true);
            }
            (None, None) => (body["prompt"].as_str().unwrap_or_default().to_owned(), false),
        };
        let seed = body["seed"].as_u64().unwrap_or_default() as u32;
        let (answer, from) = self.begun(&prompt, seed, &script);
        let from = from + usize::from(is_within);
        let asks_ids = body["return_token_ids"] == json!(true);
        let prompt_tokens = ids.map_or(PROMPT_TOKENS + from, |ids| ids.len());
        let most = body["max_tokens"].as_u64().map_or(usize::MAX, |most| most as usize);
        let stream = Stream { call: self, script: &script, answer, from, most, fault, asks_ids, prompt_tokens };
        let mut served = Served { number: self.number, seed: answer.seed, from, sent: 0, ended: false, fault };
        let result = stream.run(connection, &mut served).await;
        locked(&self.state.log).push(served);
        result
    }
}

impl Call<'_> {
    /// The answer that is asked for, and where it goes on.
    fn begun(&self, prompt: &str, seed: u32, script: &Script) -> (Answer, usize) {
        if let Some(begun) = Answer::begun_in(prompt, script.lengths) {
            return begun;
        }
        let mut firsts = locked(&self.state.firsts);
        for length in 1..=UNSAID.min(prompt.len()) {
            let Some((question, part)) = prompt.split_at_checked(prompt.len() - length) else { continue };
            let seeds = firsts.get(question).map_or(&[][..], Vec::as_slice);
            if let Some(begun) = Answer::begun_by(part, seeds, script.lengths) {
                return begun;
            }
        }
        firsts.entry(prompt.to_owned()).or_default().push(seed);
        (Answer::of(seed, script.lengths), 0)
    }
}

/// An answer on its way.
struct Stream<'c> {
    call: &'c Call<'c>,
    script: &'c Script,
    answer: Answer,
    from: usize,
    most: usize,
    fault: Option<Fault>,
    asks_ids: bool,
    prompt_tokens: usize,
}

impl Stream<'_> {
    async fn run(&self, connection: &mut Connection, served: &mut Served) -> io::Result<bool> {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).await?;
        if self.fault == Some(Fault::ErrorAtOnce) {
            self.send(connection, "data: {\"error\":{\"code\":500,\"message\":\"simulated\"}}\n\n").await?;
            return self.close(connection).await;
        }
        let end = self.answer.len.min(self.from.saturating_add(self.most));
        // The place at which something goes wrong in its midst.
        let amidst = self.from + (mix(self.call.number) as usize) % (end - self.from).max(1);
        let (start, mut text) = (Instant::now(), String::new());
        for at in self.from..end {
            if let Some(rate) = self.script.rate {
                sleep_until(start + Duration::from_secs_f64((at - self.from) as f64 / rate)).await;
            }
            if at == amidst
                && let Some(open) = self.harm(connection).await?
            {
                return Ok(open);
            }
            text.clear();
            if self.fault == Some(Fault::KeepAlive) {
                text.push_str(": keep-alive\n\n");
            }
            self.event(&mut text, at, &self.told(at), None);
            self.send(connection, &text).await?;
            served.sent += 1;
        }
        text.clear();
        let shape = &self.script.shape;
        self.event(&mut text, end, "", Some(if end == self.answer.len { &shape.stop } else { &shape.length }));
        if self.fault != Some(Fault::NoUsage) {
            let prompt = self.prompt_tokens;
            let mut usage = json!({ "prompt_tokens": prompt, "completion_tokens": end - self.from });
            let cached = self.script.cached.min(prompt);
            if cached > 0 {
                let path = shape.cached.split('.');
                let place = path.fold(&mut usage, |place, name| &mut place[name]);
                *place = json!(cached);
            }
            let _ = write!(text, "data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
        }
        if self.fault != Some(Fault::NoDone) {
            text.push_str("data: [DONE]\n\n");
        }
        self.send(connection, &text).await?;
        served.ended = true;
        self.close(connection).await
    }

    /// What goes wrong in its midst: whether the connection is still open, where that ends the stream.
    async fn harm(&self, connection: &mut Connection) -> io::Result<Option<bool>> {
        match self.fault {
            Some(Fault::Reset) => {
                // Closed with something unsaid, it is reset.
                connection.get_ref().set_zero_linger()?;
                return Ok(Some(false));
            }
            Some(Fault::Cut) => return self.close(connection).await.map(Some),
            Some(Fault::Stall) => sleep(Duration::from_millis(500)).await,
            Some(Fault::Hang) => tokio::select! {
                () = sleep(FOR_EVER) => {}
                // Nobody listens any more.
                _ = connection.fill_buf() => return Ok(Some(false)),
            },
            Some(Fault::HugeLine) => self.send(connection, &format!(": {}\n\n", "x".repeat(1 << 20))).await?,
            Some(Fault::ErrorAmidst) => {
                self.send(connection, "data: {\"error\":{\"code\":500,\"message\":\"simulated\"}}\n\n").await?;
                return self.close(connection).await.map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    /// What is told of a token. Where ids are told, one letter is in two tokens, and its text comes with the second; where
    /// the first was in the prompt, servers tell of it all, a mark, or nothing.
    fn told(&self, at: usize) -> String {
        let within = self.answer.within();
        match at {
            _ if !self.asks_ids => self.answer.token(at),
            at if at + 1 == within => String::new(),
            at if at == within => {
                let letter = match self.call.number % 3 {
                    _ if self.from < at => "🙂",
                    0 => "🙂",
                    1 => "\u{fffd}",
                    _ => "",
                };
                format!("{letter}{}", self.answer.token(at))
            }
            _ => self.answer.token(at),
        }
    }

    /// Adds an event of the stream.
    fn event(&self, text: &mut String, at: usize, token: &str, finish: Option<&str>) {
        let number = self.call.number;
        let model = match self.fault {
            Some(Fault::OtherModel) => "another",
            _ => self.script.model.as_str(),
        };
        let token = Value::from(token);
        let field = match (self.script.shape.reasoning.as_deref(), self.fault) {
            (Some("reasoning"), Some(Fault::OtherField)) => Some("reasoning_content"),
            (_, Some(Fault::OtherField)) => Some("reasoning"),
            (field, _) => field,
        };
        let field = field.filter(|_| at < self.answer.len / 2).unwrap_or("content");
        let part =
            if self.call.chat { format!("\"delta\":{{\"{field}\":{token}}}") } else { format!("\"text\":{token}") };
        let ids = match (self.asks_ids, finish) {
            (false, _) => String::new(),
            (true, None) => format!("\"token_ids\":[{}],", self.answer.id(at)),
            (true, Some(_)) if at == self.answer.len => format!("\"token_ids\":[{}],", vocabulary::END),
            (true, Some(_)) => "\"token_ids\":[],".to_owned(),
        };
        let finish = finish.map_or(Value::Null, Value::from);
        let _ = write!(
            text,
            "data: {{\"id\":\"cmpl-{number}\",\"object\":\"text_completion\",\"created\":1,\"model\":\"{model}\",\
             \"choices\":[{{\"index\":0,{part},{ids}\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        );
    }

    async fn send(&self, connection: &mut Connection, text: &str) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
        chunk.extend_from_slice(text.as_bytes());
        chunk.extend_from_slice(b"\r\n");
        if self.fault == Some(Fault::Dribble) {
            for piece in chunk.chunks(41) {
                connection.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        connection.write_all(&chunk).await
    }

    async fn close(&self, connection: &mut Connection) -> io::Result<bool> {
        connection.write_all(b"0\r\n\r\n").await.map(|()| true)
    }
}

/// A time from now, as HTTP writes it.
fn http_date(from_now: Duration) -> Option<String> {
    let time = jiff::Timestamp::now().checked_add(from_now).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}

//! An OpenAI-compatible HTTP server over the engine.
//!
//! In: connections. Out: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, `/health`, `/metrics`. Every limit has
//! its status: 401 without the key, 403 for a page of another site, 404 and 405, 400 for what was asked wrongly, 408 for a
//! body that does not come, 413 for one that is too large, 415 for one that is not JSON, 429 when too much is waiting, 503
//! when the engine is gone. A client that goes away is forgotten at once.
//!
//! The event loop only passes bytes on. Requests are parsed, rendered and tokenised on other threads, and whole answers are
//! written there; a long request waits for other long ones and never keeps a short one waiting.

mod answer;
mod dispatch;
mod gate;
mod metrics;
mod request;
#[cfg(test)]
mod tests;

use crate::engine::Engine;
use answer::{Answer, Stream};
use bytes::Bytes;
use dispatch::Desk;
use distill_chat::Chat;
use distill_dataset::Cancel;
use gate::Gate;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION,
        CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    },
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use metrics::Metrics;
use request::Asked;
use serde_json::json;
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

/// How a model is served.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any.
    pub address: SocketAddr,
    /// The name of the model.
    pub model: String,
    /// The key that requests must bear, if there is one.
    pub api_key: Option<String>,
    /// Origins of other machines whose pages may ask, such as `https://example.org`, or `*`; their hosts are names that the
    /// server answers to.
    pub allowed_origins: Vec<String>,
    /// Most bytes of a request's body.
    pub max_body_bytes: usize,
    /// Most choices of one request: prompts times `n`.
    pub max_choices: usize,
    /// Most choices of all requests that have not ended; more are turned away.
    pub max_open: usize,
    /// Most connections; more wait to be accepted.
    pub max_connections: usize,
    /// How long what is being answered may go on after a stop was asked for.
    pub grace: Duration,
}

impl ServerConfig {
    /// Limits that suit most, on this machine only.
    pub fn local(model: &str) -> ServerConfig {
        ServerConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            model: model.to_owned(),
            api_key: None,
            allowed_origins: Vec::new(),
            max_body_bytes: 4 << 20,
            max_choices: 64,
            max_open: 1024,
            max_connections: 2048,
            grace: Duration::from_secs(10),
        }
    }
}

/// Longest wait for a request's head and for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Threads that turn bodies into tokens, and answers into JSON.
const WORKERS: usize = 4;
/// Requests that are read at once; the other threads write answers.
const READERS: usize = 2;
/// A body that takes long to read: such are read one by one, so that the others go on.
const LONG_BODY: usize = 64 << 10;
/// How often a stop is looked for.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Why a request is not answered.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn bad(message: &str) -> Refusal {
        Refusal { status: 400, code: "invalid_request", message: message.to_owned() }
    }
}

type Reply = Response<Either<Full<Bytes>, Stream>>;

/// What every request needs.
struct Server {
    config: ServerConfig,
    chat: Arc<Chat>,
    desk: Desk,
    gate: Gate,
    readers: Arc<Semaphore>,
    long_reader: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Serves until `cancel`; `ready` is told where.
///
/// # Errors
/// When the address cannot be listened on, a thread cannot be started, or an allowed origin is none.
pub fn serve(
    engine: Engine,
    chat: Arc<Chat>,
    config: ServerConfig,
    cancel: &Cancel,
    ready: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let gate = Gate::new(config.address.ip(), &config.allowed_origins)
        .map_err(|message| std::io::Error::new(std::io::ErrorKind::InvalidInput, message))?;
    // Requests are read by few threads: each keeps buffers of its own for the tokenizer, and the engine needs the cores.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(WORKERS).enable_all().build()?;
    let (desk, thread) = Desk::open(engine)?;
    let (readers, long_reader) = (Arc::new(Semaphore::new(READERS)), Arc::new(Semaphore::new(1)));
    let server = Arc::new(Server { config, chat, desk, gate, readers, long_reader, metrics: Arc::default() });
    let outcome = runtime.block_on(listen(&server, cancel, ready));
    // Streams that did not end in time are dropped here, which cancels them.
    runtime.shutdown_timeout(Duration::from_secs(1));
    server.desk.close();
    if thread.join().is_err() {
        tracing::error!("the engine's thread panicked");
    }
    outcome
}

async fn listen(server: &Arc<Server>, cancel: &Cancel, ready: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
    let listener = TcpListener::bind(server.config.address).await?;
    ready(listener.local_addr()?);
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(server.config.max_connections));
    while !cancel.is_cancelled() {
        let Ok(Ok(permit)) = timeout(STOP_POLL, connections.clone().acquire_owned()).await else { continue };
        let stream = match timeout(STOP_POLL, listener.accept()).await {
            Err(_) => continue,
            Ok(Ok((stream, _))) => stream,
            Ok(Err(error)) => {
                // Out of file descriptors, most likely: what is open goes on, and gives some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(STOP_POLL).await;
                continue;
            }
        };
        // Tokens are small and come one by one.
        let _ = stream.set_nodelay(true);
        let server = server.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no error of ours.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if timeout(server.config.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = server.desk.open_answers(), "answers are cut off by the stop");
    }
    Ok(())
}

impl Server {
    async fn answer(self: Arc<Server>, request: Request<Incoming>) -> Reply {
        let path = match request.uri().path() {
            "/health" => "/health",
            "/metrics" => "/metrics",
            "/v1/models" => "/v1/models",
            "/v1/chat/completions" => "/v1/chat/completions",
            "/v1/completions" => "/v1/completions",
            _ => "other",
        };
        let metrics = self.metrics.clone();
        let (origin, outcome) = match self.gate.check(request.uri(), request.headers()) {
            Ok(origin) => (origin, self.route(path, request).await),
            Err(refusal) => (None, Err(refusal)),
        };
        let mut reply = outcome.unwrap_or_else(|refusal| refuse(&refusal));
        if let Some(origin) = origin {
            reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            reply.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        metrics.responded(path, reply.status().as_u16());
        reply
    }

    async fn route(self: Arc<Server>, path: &'static str, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let get = request.method() == Method::GET || request.method() == Method::HEAD;
        match path {
            // What browsers ask before they ask: they send no key with it.
            _ if request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN) => {
                let mut reply = whole(204, "text/plain", "");
                let headers = reply.headers_mut();
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
                Ok(reply)
            }
            "/health" if get && self.desk.is_alive() => Ok(whole(200, "application/json", "{\"status\":\"ok\"}\n")),
            "/health" if get => Err(gone()),
            "/metrics" if get => Ok(whole(200, "text/plain; version=0.0.4", self.metrics.render(&self.desk))),
            "other" => {
                Err(Refusal { status: 404, code: "not_found", message: format!("no {} here", request.uri().path()) })
            }
            _ if !self.is_allowed(&request) => Err(Refusal {
                status: 401,
                code: "invalid_api_key",
                message: "expected `Authorization: Bearer` with this server's key".to_owned(),
            }),
            "/v1/models" if get => {
                let model = json!({"id": self.config.model, "object": "model", "created": 0, "owned_by": "distill",
                    "max_model_len": self.desk.room().context});
                let models = json!({"object": "list", "data": [model]});
                Ok(whole(200, "application/json", models.to_string()))
            }
            "/v1/chat/completions" | "/v1/completions" if request.method() == Method::POST => {
                require_json(&request)?;
                let body = self.body(request).await?;
                self.complete(path, body).await
            }
            _ => {
                let message = format!("{path} does not know {}", request.method());
                Err(Refusal { status: 405, code: "method_not_allowed", message })
            }
        }
    }

    /// Compares every byte whatever the first ones are, so that the time taken does not tell how far a guess was right.
    fn is_allowed(&self, request: &Request<Incoming>) -> bool {
        let Some(key) = &self.config.api_key else { return true };
        let given = request.headers().get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let given = given.strip_prefix(b"Bearer ").unwrap_or(b"");
        let digest = |bytes: &[u8]| distill_dataset::Digest::new("api-key").bytes(bytes).finish_bytes();
        let (given, key) = (digest(given), digest(key.as_bytes()));
        given.iter().zip(key).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        let most = self.config.max_body_bytes;
        let too_large = || Refusal {
            status: 413,
            code: "body_too_large",
            message: format!("expected a body of at most {most} bytes"),
        };
        let declared = request.headers().get(hyper::header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        match timeout(READ_TIMEOUT, Limited::new(request.into_body(), most).collect()).await {
            Err(_) => {
                Err(Refusal { status: 408, code: "timeout", message: "the body did not come in time".to_owned() })
            }
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Refusal::bad(&format!("the body broke off: {error}"))),
        }
    }

    async fn complete(self: Arc<Server>, path: &'static str, body: Bytes) -> Result<Reply, Refusal> {
        let full = |more: usize| {
            let (most, open) = (self.config.max_open, self.desk.open_answers());
            let message = format!("expected at most {most} answers open, found {open} and {more} more");
            Refusal { status: 429, code: "queue_full", message }
        };
        if self.desk.open_answers() >= self.config.max_open {
            return Err(full(1));
        }
        let mut asked: Asked = self.clone().read(path, body).await??;
        if !self.desk.is_alive() {
            return Err(gone());
        }
        let asks = std::mem::take(&mut asked.asks);
        let (count, stream, include_usage) = (asks.len(), asked.stream, asked.include_usage);
        let mut answer = Answer::new(asked, count, &self.config.model, self.chat.clone(), self.metrics.clone());
        let mut flight = self.desk.submit(asks, self.config.max_open).ok_or_else(|| full(count))?;
        let failed = |message: String| Refusal { status: 500, code: "failed", message };
        if !stream {
            answer.hear_all(&mut flight).await.map_err(failed)?;
            let text = off_the_loop(move || answer.whole()).await?.map_err(failed)?;
            return Ok(whole(200, "application/json", text));
        }
        let stream = off_the_loop(move || Stream::new(answer, flight, include_usage)).await?.map_err(failed)?;
        let mut reply = Response::new(Either::Right(stream));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(reply)
    }

    /// A body → what is asked. A panic in a template or a tokenizer ends this request alone.
    async fn read(self: Arc<Server>, path: &'static str, body: Bytes) -> Result<Result<Asked, Refusal>, Refusal> {
        // The places are held by the work and not by the client, who may have gone away meanwhile.
        let long = match body.len() > LONG_BODY {
            true => Some(self.long_reader.clone().acquire_owned().await.map_err(|_| gone())?),
            false => None,
        };
        let place = self.readers.clone().acquire_owned().await.map_err(|_| gone())?;
        off_the_loop(move || {
            let _places = (long, place);
            let (chat, config, room) = (&self.chat, &self.config, self.desk.room());
            match path {
                "/v1/completions" => request::completion(&body, chat, config, room),
                _ => request::chat(&body, chat, config, room),
            }
        })
        .await
    }
}

/// Runs what may take long on a thread of its own.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal {
        status: 500,
        code: "panic",
        message: "the request could not be worked on: its work panicked, or the server stops".to_owned(),
    })
}

/// A form of another site can send text, but not JSON, without being asked first.
fn require_json(request: &Request<Incoming>) -> Result<(), Refusal> {
    let found = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = found.map(|found| found.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json")) {
        return Ok(());
    }
    let found = found.map_or("none".into(), String::from_utf8_lossy);
    Err(Refusal {
        status: 415,
        code: "unsupported_media_type",
        message: format!("expected `Content-Type: application/json`, found {found}"),
    })
}

fn gone() -> Refusal {
    Refusal { status: 503, code: "engine_gone", message: "the engine is gone; see the server's log".to_owned() }
}

fn whole(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

fn refuse(refusal: &Refusal) -> Reply {
    let kind = if refusal.status >= 500 { "server_error" } else { "invalid_request_error" };
    let error = json!({"error": {"message": refusal.message, "type": kind, "param": null, "code": refusal.code}});
    let mut reply = whole(refusal.status, "application/json", error.to_string());
    let header = match refusal.status {
        401 => Some((WWW_AUTHENTICATE, "Bearer")),
        405 => Some((ALLOW, "GET, HEAD, POST")),
        429 => Some((RETRY_AFTER, "1")),
        _ => None,
    };
    if let Some((name, value)) = header {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

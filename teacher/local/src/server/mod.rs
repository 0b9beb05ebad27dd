//! An OpenAI-compatible HTTP server over the engine.
//!
//! In: connections. Out: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, `/health`, `/metrics`. Every limit has
//! its status: 401 without the key, 404 and 405, 400 for what was asked wrongly, 408 for a body that does not come, 413 for
//! one that is too large, 429 when too much is waiting, 503 when the engine is gone. A client that goes away is forgotten
//! at once.

mod answer;
mod dispatch;
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
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
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
/// Threads that turn bodies into tokens.
const READERS: usize = 2;
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
    metrics: Arc<Metrics>,
}

/// Serves until `cancel`; `ready` is told where.
///
/// # Errors
/// When the address cannot be listened on, or a thread cannot be started.
pub fn serve(
    engine: Engine,
    chat: Arc<Chat>,
    config: ServerConfig,
    cancel: &Cancel,
    ready: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    // Requests are read by few threads: each keeps buffers of its own for the tokenizer, and the engine needs the cores.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(READERS).enable_all().build()?;
    let (desk, thread) = Desk::open(engine)?;
    let server = Arc::new(Server { config, chat, desk, metrics: Arc::default() });
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
        let reply = match self.route(path, request).await {
            Ok(reply) => reply,
            Err(refusal) => refuse(&refusal),
        };
        metrics.responded(path, reply.status().as_u16());
        reply
    }

    async fn route(self: Arc<Server>, path: &'static str, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let get = request.method() == Method::GET || request.method() == Method::HEAD;
        match path {
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
        let server = self.clone();
        // Templates and tokenizers may take long for a long text; a panic in them ends this request alone.
        let read = move || {
            let (chat, config, room) = (&server.chat, &server.config, server.desk.room());
            match path {
                "/v1/completions" => request::completion(&body, chat, config, room),
                _ => request::chat(&body, chat, config, room),
            }
        };
        let mut asked: Asked = tokio::task::spawn_blocking(read).await.map_err(|_| Refusal {
            status: 500,
            code: "panic",
            message: "reading the request panicked".to_owned(),
        })??;
        if !self.desk.is_alive() {
            return Err(gone());
        }
        let answer = Answer::new(&asked, &self.config.model, self.chat.clone(), self.metrics.clone());
        let asks = std::mem::take(&mut asked.asks);
        let count = asks.len();
        let flight = self.desk.submit(asks, self.config.max_open).ok_or_else(|| Refusal {
            status: 429,
            code: "queue_full",
            message: format!(
                "expected at most {} answers open, found {} and {count} more",
                self.config.max_open,
                self.desk.open_answers()
            ),
        })?;
        let failed = |message: String| Refusal { status: 500, code: "failed", message };
        if !asked.stream {
            let value = answer.whole(flight).await.map_err(failed)?;
            return Ok(whole(200, "application/json", value.to_string()));
        }
        let stream = Stream::new(answer, flight, asked.include_usage).map_err(failed)?;
        let mut reply = Response::new(Either::Right(stream));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(reply)
    }
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

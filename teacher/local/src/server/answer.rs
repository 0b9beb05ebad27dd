//! What the engine says → JSON, whole or in pieces as server-sent events.

use super::{
    dispatch::{Flight, Said},
    metrics::Metrics,
    request::{Asked, Shape},
};
use crate::ask::{Event, Logprobs, Reason};
use bytes::Bytes;
use distill_chat::Chat;
use distill_dataset::{Parts, TurnReader};
use http_body::{Body, Frame};
use serde_json::{Map, Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The answer to one HTTP request, as far as it has come.
pub(super) struct Answer {
    id: String,
    created: u64,
    model: String,
    chat: Arc<Chat>,
    metrics: Arc<Metrics>,
    since: Instant,
    heard: bool,
    shape: Shape,
    prompts: Vec<Vec<u32>>,
    samples: usize,
    choices: Vec<Choice>,
    completion_tokens: usize,
}

/// One choice.
struct Choice {
    cut: Option<TurnReader>,
    parts: Parts,
    tokens: Vec<(u32, Option<Logprobs>)>,
    /// Characters told so far: where the next token's text begins.
    offset: usize,
    finish: Option<&'static str>,
}

impl Answer {
    /// The answer to `asked`, with so many choices.
    pub(super) fn new(asked: Asked, choices: usize, model: &str, chat: Arc<Chat>, metrics: Arc<Metrics>) -> Answer {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let kind = if matches!(asked.shape, Shape::Chat { .. }) { "chatcmpl" } else { "cmpl" };
        let turn = chat.turn().clone();
        let cut = || matches!(asked.shape, Shape::Chat { .. }).then(|| TurnReader::new(turn.clone()));
        let choice = |_| Choice { cut: cut(), parts: Parts::default(), tokens: Vec::new(), offset: 0, finish: None };
        Answer {
            id: format!("{kind}-{:016x}", super::request::random_seed()),
            created,
            model: model.to_owned(),
            chat,
            metrics,
            since: Instant::now(),
            heard: false,
            shape: asked.shape,
            prompts: asked.prompts,
            samples: asked.samples,
            choices: (0..choices).map(choice).collect(),
            completion_tokens: 0,
        }
    }

    /// Takes what one choice says; what is new in it.
    fn hear(&mut self, (index, event): Said) -> Result<News, String> {
        if !self.heard {
            self.heard = true;
            self.metrics.first_token(self.since.elapsed());
        }
        let choice = &mut self.choices[index];
        let mut news = News { index, ..News::default() };
        match event {
            Event::Failed(why) => return Err(why),
            Event::Prompt(logprobs) => {
                let prompt = &self.prompts[index / self.samples];
                news.tokens = prompt.iter().copied().zip(logprobs.into_iter().map(Some)).collect();
            }
            Event::Token { id, text, logprobs } => {
                self.completion_tokens += 1;
                news.parts = choice.take(&text);
                news.tokens.push((id, logprobs));
            }
            Event::End { reason, text, .. } => {
                news.parts = choice.take(&text);
                if let Some(rest) = choice.cut.take().map(TurnReader::finish) {
                    news.parts.reasoning += &rest.reasoning;
                    news.parts.answer += &rest.answer;
                }
                choice.finish = Some(match reason {
                    Reason::Stop => "stop",
                    Reason::Length | Reason::Context => "length",
                });
                news.finish = choice.finish;
                if self.choices.iter().all(|choice| choice.finish.is_some()) {
                    self.metrics.answered(self.since.elapsed());
                }
            }
        }
        Ok(news)
    }

    /// Waits for all choices.
    pub(super) async fn hear_all(&mut self, flight: &mut Flight) -> Result<(), String> {
        let logprobs = self.shape.logprobs();
        while let Some(said) = flight.next().await {
            let news = self.hear(said)?;
            let choice = &mut self.choices[news.index];
            choice.parts.reasoning += &news.parts.reasoning;
            choice.parts.answer += &news.parts.answer;
            if logprobs {
                choice.tokens.extend(news.tokens);
            }
        }
        Ok(())
    }

    /// The whole answer as JSON, when all choices were heard.
    pub(super) fn whole(self) -> Result<String, String> {
        let echo = matches!(self.shape, Shape::Completion { echo: true, .. });
        let mut choices = Vec::with_capacity(self.choices.len());
        for (index, choice) in self.choices.iter().enumerate() {
            let logprobs = self.logprobs(&choice.tokens, 0).0;
            choices.push(match self.shape {
                Shape::Chat { .. } => {
                    let mut message = json!({"role": "assistant", "content": choice.parts.answer});
                    if !choice.parts.reasoning.is_empty() {
                        message["reasoning_content"] = choice.parts.reasoning.clone().into();
                    }
                    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish})
                }
                Shape::Completion { .. } => {
                    let before = if echo { self.prompt_text(index)? } else { String::new() };
                    let text = before + &choice.parts.answer;
                    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": choice.finish})
                }
            });
        }
        let object = match self.shape {
            Shape::Chat { .. } => "chat.completion",
            Shape::Completion { .. } => "text_completion",
        };
        let (id, created, model) = (&self.id, self.created, &self.model);
        let usage = self.usage();
        let whole =
            json!({"id": id, "object": object, "created": created, "model": model, "choices": choices, "usage": usage});
        Ok(whole.to_string())
    }

    fn prompt_text(&self, index: usize) -> Result<String, String> {
        self.chat.decode(&self.prompts[index / self.samples]).map_err(|error| error.to_string())
    }

    fn usage(&self) -> Value {
        let prompt: usize = self.prompts.iter().map(Vec::len).sum();
        let completion = self.completion_tokens;
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    /// The log-probabilities of tokens in the endpoint's own shape, if they were asked for; and where their text ends.
    fn logprobs(&self, tokens: &[(u32, Option<Logprobs>)], offset: usize) -> (Value, usize) {
        let text = |id: u32| self.chat.decode(&[id]).unwrap_or_default();
        let entry = |id: u32, logprob: Option<f32>| {
            let token = text(id);
            json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()})
        };
        match self.shape {
            Shape::Chat { logprobs: true } => {
                let entries = tokens.iter().map(|(id, logprobs)| {
                    let mut entry_of = entry(*id, logprobs.as_ref().and_then(|logprobs| logprobs.chosen));
                    let top = logprobs.iter().flat_map(|logprobs| &logprobs.top);
                    entry_of["top_logprobs"] = top.map(|(id, logprob)| entry(*id, Some(*logprob))).collect();
                    entry_of
                });
                (json!({"content": entries.collect::<Vec<_>>()}), offset)
            }
            Shape::Completion { logprobs: true, .. } => {
                let (mut texts, mut chosen, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
                let mut offset = offset;
                for (id, logprobs) in tokens {
                    let token = text(*id);
                    let logprob = logprobs.as_ref().and_then(|logprobs| logprobs.chosen);
                    let mut top = Map::new();
                    // The token itself is always among them; of two that read alike, the likelier stays.
                    for (id, logprob) in logprobs.iter().flat_map(|logprobs| &logprobs.top) {
                        top.entry(text(*id)).or_insert_with(|| json!(logprob));
                    }
                    if let Some(logprob) = logprob {
                        top.entry(token.clone()).or_insert_with(|| json!(logprob));
                    }
                    offsets.push(offset);
                    offset += token.chars().count();
                    texts.push(token);
                    tops.push(if logprob.is_some() { Value::Object(top) } else { Value::Null });
                    chosen.push(logprob);
                }
                let all =
                    json!({"tokens": texts, "token_logprobs": chosen, "top_logprobs": tops, "text_offset": offsets});
                (all, offset)
            }
            _ => (Value::Null, offset),
        }
    }

    /// One piece of a stream.
    fn chunk(&self, choices: Vec<Value>) -> Value {
        let object = match self.shape {
            Shape::Chat { .. } => "chat.completion.chunk",
            Shape::Completion { .. } => "text_completion",
        };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    /// The piece that tells news, if there is anything to tell.
    fn piece(&mut self, news: News) -> Option<Value> {
        let index = news.index;
        let offset = self.choices[index].offset;
        let (logprobs, end) = self.logprobs(&news.tokens, offset);
        self.choices[index].offset = end;
        let silent =
            news.parts == Parts::default() && news.finish.is_none() && (logprobs.is_null() || news.tokens.is_empty());
        if silent {
            return None;
        }
        let choice = match self.shape {
            Shape::Chat { .. } => {
                let mut delta = Map::new();
                if !news.parts.reasoning.is_empty() {
                    delta.insert("reasoning_content".to_owned(), news.parts.reasoning.into());
                }
                if !news.parts.answer.is_empty() {
                    delta.insert("content".to_owned(), news.parts.answer.into());
                }
                json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": news.finish})
            }
            Shape::Completion { .. } => {
                json!({"index": index, "text": news.parts.answer, "logprobs": logprobs, "finish_reason": news.finish})
            }
        };
        Some(self.chunk(vec![choice]))
    }

    /// What a stream begins with.
    fn beginning(&self) -> Result<Vec<Value>, String> {
        let mut pieces = Vec::new();
        for index in 0..self.choices.len() {
            let choice = match self.shape {
                Shape::Chat { .. } => {
                    let delta = json!({"role": "assistant", "content": ""});
                    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
                }
                Shape::Completion { echo: true, .. } => {
                    let text = self.prompt_text(index)?;
                    json!({"index": index, "text": text, "logprobs": null, "finish_reason": null})
                }
                Shape::Completion { .. } => continue,
            };
            pieces.push(self.chunk(vec![choice]));
        }
        Ok(pieces)
    }
}

impl Choice {
    fn take(&mut self, text: &str) -> Parts {
        match &mut self.cut {
            Some(cut) => cut.push(text),
            None => Parts { answer: text.to_owned(), ..Parts::default() },
        }
    }
}

/// What one event brought.
#[derive(Default)]
struct News {
    index: usize,
    parts: Parts,
    tokens: Vec<(u32, Option<Logprobs>)>,
    finish: Option<&'static str>,
}

/// An answer as server-sent events. It is pulled by the connection; dropped with it, the flight is cancelled.
pub(super) struct Stream {
    answer: Answer,
    flight: Option<Flight>,
    include_usage: bool,
    ready: VecDeque<Bytes>,
    /// Log-probabilities of a prompt that are still to be told, and of which choice.
    rest: (usize, std::vec::IntoIter<(u32, Option<Logprobs>)>),
}

/// Tokens whose log-probabilities one piece of a stream tells: a prompt's are told in several, so that no piece takes long.
const PIECE: usize = 64;

impl Stream {
    pub(super) fn new(answer: Answer, flight: Flight, include_usage: bool) -> Result<Stream, String> {
        let ready = answer.beginning()?.iter().map(event).collect();
        Ok(Stream { answer, flight: Some(flight), include_usage, ready, rest: (0, Vec::new().into_iter()) })
    }

    fn tell(&mut self, mut news: News) {
        if news.tokens.len() > PIECE {
            self.rest = (news.index, news.tokens.split_off(PIECE).into_iter());
        }
        self.ready.extend(self.answer.piece(news).as_ref().map(event));
    }

    fn end(&mut self) {
        if self.include_usage {
            let mut last = self.answer.chunk(Vec::new());
            last["usage"] = self.answer.usage();
            self.ready.push_back(event(&last));
        }
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.flight = None;
    }
}

fn event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let (index, rest) = &mut this.rest;
            let tokens: Vec<_> = rest.by_ref().take(PIECE).collect();
            if !tokens.is_empty() {
                let news = News { index: *index, tokens, ..News::default() };
                this.tell(news);
                continue;
            }
            let Some(flight) = this.flight.as_mut() else { return Poll::Ready(None) };
            match ready!(flight.poll_next(context)) {
                None => this.end(),
                Some(said) => match this.answer.hear(said) {
                    Ok(news) => this.tell(news),
                    Err(why) => {
                        let error = json!({"error": {"message": why, "type": "server_error", "code": "failed"}});
                        this.ready.push_back(event(&error));
                        this.flight = None;
                    }
                },
            }
        }
    }
}

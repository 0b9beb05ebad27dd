//! JSON → what is asked of the engine. What would change the answer and is not supported is refused by name.

use super::{Refusal, ServerConfig, dispatch::Room};
use crate::ask::{Ask, Sampling};
use distill_chat::Chat;
use distill_dataset::{Digest, Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most log-probabilities beside a token's own.
const MAX_TOP: usize = 20;
/// Most texts that may end an answer, and most bytes of one: all are looked for after every token.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 512;
/// Most tokens that may end an answer beside the model's own.
const MAX_STOP_IDS: usize = 256;
/// Most log-probabilities in one answer, those of echoed prompts included: tokens, times choices, times how many each.
const MAX_LOGPROBS: usize = 1 << 18;
/// Tokens of `/v1/completions` where the request does not say.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// What both endpoints take.
#[derive(Debug, Deserialize)]
struct Common {
    model: Option<String>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// 0 or -1: all.
    top_k: Option<i64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    n: Option<usize>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    stop_token_ids: Option<Vec<u32>>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct ChatBody {
    messages: Vec<ChatMessage>,
    max_completion_tokens: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CompletionBody {
    prompt: Prompt,
    #[serde(default)]
    echo: bool,
    logprobs: Option<usize>,
    best_of: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    ManyTokens(Vec<Vec<u32>>),
}

/// A request that was understood.
pub(super) struct Asked {
    /// One for each choice: the samples of a prompt beside each other.
    pub(super) asks: Vec<Ask>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// Tokens of each prompt, and how often each is sampled.
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) samples: usize,
    pub(super) shape: Shape,
}

/// What the answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Chat { logprobs: bool },
    Completion { echo: bool, logprobs: bool },
}

impl Shape {
    pub(super) fn logprobs(self) -> bool {
        matches!(self, Shape::Chat { logprobs: true } | Shape::Completion { logprobs: true, .. })
    }
}

/// Keys that would change the answer, with the value that does not.
const UNSUPPORTED: [(&str, &[&str]); 10] = [
    ("tools", &["null", "[]"]),
    ("functions", &["null", "[]"]),
    ("tool_choice", &["null", "\"none\"", "\"auto\""]),
    ("response_format", &["null", "{\"type\":\"text\"}"]),
    ("logit_bias", &["null", "{}"]),
    ("presence_penalty", &["null", "0", "0.0"]),
    ("frequency_penalty", &["null", "0", "0.0"]),
    ("suffix", &["null", "\"\""]),
    ("modalities", &["null", "[\"text\"]"]),
    ("audio", &["null"]),
];

/// The body of `/v1/chat/completions`.
pub(super) fn chat(body: &[u8], chat: &Chat, config: &ServerConfig, room: Room) -> Result<Asked, Refusal> {
    let body: ChatBody = parse(body)?;
    let messages = body.messages.into_iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if messages.is_empty() {
        return Err(Refusal::bad("`messages`: expected at least one, found none"));
    }
    let bytes = messages.iter().map(|message| message.content.len()).sum();
    refuse_longer(bytes, chat, room)?;
    let prompt = chat.encode_prompt(&messages).map_err(|error| Refusal::bad(&error.to_string()))?;
    let max_tokens = body.max_completion_tokens.or(body.common.max_tokens);
    let logprobs = match (body.logprobs.unwrap_or(false), body.top_logprobs) {
        (false, Some(1..)) => return Err(Refusal::bad("`top_logprobs` needs `logprobs`")),
        (false, _) => None,
        (true, top) => Some(top.unwrap_or(0)),
    };
    let max_new_tokens = max_tokens.unwrap_or(room.context.saturating_sub(prompt.len()).max(1));
    let base = Base { max_new_tokens, logprobs, prompt_logprobs: None };
    let shape = Shape::Chat { logprobs: logprobs.is_some() };
    asked(body.common, vec![prompt], base, shape, Limited { chat, config, room })
}

/// The body of `/v1/completions`.
pub(super) fn completion(body: &[u8], chat: &Chat, config: &ServerConfig, room: Room) -> Result<Asked, Refusal> {
    let body: CompletionBody = parse(body)?;
    if body.best_of.is_some_and(|best| best != body.common.n.unwrap_or(1)) {
        return Err(Refusal::bad("`best_of` is not supported: expected none, or the value of `n`"));
    }
    if let Prompt::Texts(texts) = &body.prompt {
        refuse_choices(texts.len(), &body.common, config)?;
    }
    let encode = |text: &String| {
        refuse_longer(text.len(), chat, room)?;
        chat.encode(text).map_err(|error| Refusal::bad(&error.to_string()))
    };
    let prompts = match body.prompt {
        Prompt::Text(text) => vec![encode(&text)?],
        Prompt::Tokens(tokens) => vec![tokens],
        Prompt::Texts(texts) => texts.iter().map(encode).collect::<Result<_, _>>()?,
        Prompt::ManyTokens(many) => many,
    };
    let base = Base {
        max_new_tokens: body.common.max_tokens.unwrap_or(DEFAULT_COMPLETION_TOKENS),
        logprobs: body.logprobs,
        prompt_logprobs: body.logprobs.filter(|_| body.echo),
    };
    let shape = Shape::Completion { echo: body.echo, logprobs: body.logprobs.is_some() };
    asked(body.common, prompts, base, shape, Limited { chat, config, room })
}

/// Refuses text that cannot fit, before it is tokenised: no token stands for more bytes than the longest.
fn refuse_longer(bytes: usize, chat: &Chat, room: Room) -> Result<(), Refusal> {
    let most = room.context.saturating_mul(chat.longest_token());
    if bytes <= most {
        return Ok(());
    }
    let message = format!("expected a prompt of 1 to {} tokens, found {bytes} bytes, which are more", room.context - 1);
    Err(Refusal { status: 400, code: "context_length_exceeded", message })
}

/// The samples of a prompt, if there are not too many in all.
fn refuse_choices(prompts: usize, common: &Common, config: &ServerConfig) -> Result<usize, Refusal> {
    let (samples, most) = (common.n.unwrap_or(1), config.max_choices);
    if samples == 0 || prompts == 0 || samples.saturating_mul(prompts) > most {
        return Err(Refusal::bad(&format!(
            "expected 1 to {most} choices in all, found {prompts} prompts and `n` {samples}"
        )));
    }
    Ok(samples)
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad(&format!("the body is not what was expected: {error}")))
}

fn message(message: ChatMessage) -> Result<Message, Refusal> {
    let role = match message.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            return Err(Refusal::bad(&format!("`role`: expected system, user or assistant, found {other:?}")));
        }
    };
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let text = |part: Part| match (part.r#type.as_str(), part.text) {
                ("text", Some(text)) => Ok(text),
                (other, _) => Err(Refusal::bad(&format!("`content`: expected parts of type text, found {other:?}"))),
            };
            parts.into_iter().map(text).collect::<Result<_, _>>()?
        }
    };
    Ok(Message { role, content })
}

/// What differs between the endpoints.
struct Base {
    max_new_tokens: usize,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

/// What a request must keep to.
struct Limited<'a> {
    chat: &'a Chat,
    config: &'a ServerConfig,
    room: Room,
}

fn asked(
    common: Common,
    prompts: Vec<Vec<u32>>,
    base: Base,
    shape: Shape,
    limited: Limited<'_>,
) -> Result<Asked, Refusal> {
    let Limited { chat, config, room } = limited;
    refuse_unsupported(&common.others)?;
    if let Some(model) = common.model.as_ref().filter(|model| **model != config.model) {
        return Err(Refusal {
            status: 404,
            code: "model_not_found",
            message: format!("no model {model:?} here: expected {:?}", config.model),
        });
    }
    let samples = refuse_choices(prompts.len(), &common, config)?;
    if let Some(top) = base.logprobs.filter(|top| *top > MAX_TOP) {
        return Err(Refusal::bad(&format!("log-probabilities: expected at most {MAX_TOP}, found {top}")));
    }
    let told = |prompt: &Vec<u32>| {
        let drawn = base.max_new_tokens.min(room.context.saturating_sub(prompt.len()));
        let drawn = base.logprobs.map_or(0, |top| drawn.saturating_mul(top + 1));
        base.prompt_logprobs.map_or(0, |top| prompt.len().saturating_mul(top + 1)).saturating_add(drawn)
    };
    let told = prompts.iter().map(told).fold(0, usize::saturating_add).saturating_mul(samples);
    if told > MAX_LOGPROBS {
        return Err(Refusal::bad(&format!(
            "expected at most {MAX_LOGPROBS} log-probabilities in all (tokens, times choices, times how many each), found up to {told}\nhint: fewer `max_tokens`, choices or `logprobs`"
        )));
    }
    let stop = match common.stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    if stop.len() > MAX_STOPS || stop.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        let (count, longest) = (stop.len(), stop.iter().map(String::len).max().unwrap_or(0));
        return Err(Refusal::bad(&format!(
            "`stop`: expected at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes, found {count}, the longest of {longest}"
        )));
    }
    let top_k = match common.top_k.unwrap_or(0) {
        -1 => 0,
        found => {
            usize::try_from(found).map_err(|_| Refusal::bad(&format!("`top_k`: expected -1 or more, found {found}")))?
        }
    };
    let default = Sampling::default();
    let sampling = Sampling {
        temperature: single("temperature", common.temperature, default.temperature)?,
        top_p: single("top_p", common.top_p, default.top_p)?,
        top_k,
        min_p: single("min_p", common.min_p, default.min_p)?,
        repetition_penalty: single("repetition_penalty", common.repetition_penalty, default.repetition_penalty)?,
    };
    sampling.check().map_err(|error| Refusal::bad(&error))?;
    let mut stop_ids = common.stop_token_ids.unwrap_or_default();
    if stop_ids.len() > MAX_STOP_IDS {
        let found = stop_ids.len();
        return Err(Refusal::bad(&format!("`stop_token_ids`: expected at most {MAX_STOP_IDS}, found {found}")));
    }
    if !common.ignore_eos.unwrap_or(false) {
        stop_ids.extend(chat.eos_ids());
    }
    let seed = common.seed.map_or_else(random_seed, |seed| seed as u64);
    let mut asks = Vec::with_capacity(samples * prompts.len());
    for prompt in &prompts {
        let most = if base.max_new_tokens == 0 { room.context } else { room.context - 1 };
        if prompt.is_empty() || prompt.len() > most {
            return Err(Refusal {
                status: 400,
                code: "context_length_exceeded",
                message: format!("expected a prompt of 1 to {most} tokens, found {}", prompt.len()),
            });
        }
        let needed = prompt.len().saturating_add(base.max_new_tokens).min(room.model_context);
        if needed > room.cache_tokens {
            return Err(Refusal {
                status: 400,
                code: "context_length_exceeded",
                message: format!(
                    "a prompt of {} tokens and `max_tokens` {} need {needed} tokens of cache, found {}\nhint: fewer `max_tokens`, or a server with a larger `--cache-mib`",
                    prompt.len(),
                    base.max_new_tokens,
                    room.cache_tokens
                ),
            });
        }
        if let Some(token) = prompt.iter().find(|token| **token as usize >= room.vocab) {
            return Err(Refusal::bad(&format!("`prompt`: expected tokens below {}, found token {token}", room.vocab)));
        }
        for sample in 0..samples {
            asks.push(Ask {
                prompt: prompt.clone(),
                sampling,
                seed: sample_seed(seed, sample),
                max_new_tokens: base.max_new_tokens,
                stop_ids: stop_ids.clone(),
                stop: stop.clone(),
                text: true,
                logprobs: base.logprobs,
                prompt_logprobs: base.prompt_logprobs,
            });
        }
    }
    Ok(Asked {
        asks,
        stream: common.stream.unwrap_or(false),
        include_usage: common.stream_options.is_some_and(|options| options.include_usage),
        prompts,
        samples,
        shape,
    })
}

/// A number as the sampler computes with it. One that would become 0 there, and mean something else, is refused.
fn single(name: &str, found: Option<f64>, default: f32) -> Result<f32, Refusal> {
    let Some(found) = found else { return Ok(default) };
    let value = found as f32;
    if found != 0.0 && value.abs() < f32::MIN_POSITIVE {
        let least = f32::MIN_POSITIVE;
        return Err(Refusal::bad(&format!(
            "`{name}`: expected 0 or at least {least:e}, found {found:e}, which underflows to 0"
        )));
    }
    Ok(value)
}

fn refuse_unsupported(others: &Map<String, Value>) -> Result<(), Refusal> {
    for (key, harmless) in UNSUPPORTED {
        let found = others.get(key).map(Value::to_string);
        if let Some(found) = found.filter(|found| !harmless.contains(&found.as_str())) {
            return Err(Refusal::bad(&format!("`{key}` is not supported here, found {found}")));
        }
    }
    Ok(())
}

/// The seed of one of several samples; the first has the request's own.
fn sample_seed(seed: u64, sample: usize) -> u64 {
    if sample == 0 {
        return seed;
    }
    Digest::new("server-sample").field(&seed.to_string()).field(&sample.to_string()).finish_u64()
}

/// A seed for a request that names none: another each time.
pub(super) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

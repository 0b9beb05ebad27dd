//! The bytes of the protocol: request bodies out, stream chunks in. OpenAI's chat and completions calls, as vLLM, SGLang
//! and llama.cpp speak them.

use super::{Api, HttpTeacherConfig, Render};
use crate::Request;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    temperature: f32,
    top_p: f32,
    max_tokens: u32,
    /// Servers take 32-bit seeds.
    seed: u32,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    grammar: Option<&'a str>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The body of a request.
pub(super) fn body<'a>(
    config: &'a HttpTeacherConfig,
    request: &'a Request,
    render: Option<&Render>,
) -> Result<Body<'a>, String> {
    let (messages, prompt) = match (config.api, render) {
        (Api::Completions, Some(render)) => (None, Some((render.render)(&request.messages)?)),
        _ => {
            let turn =
                |message: &'a distill_dataset::Message| Turn { role: message.role.as_str(), content: &message.content };
            (Some(request.messages.iter().map(turn).collect()), None)
        }
    };
    Ok(Body {
        model: &config.model,
        messages,
        prompt,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        max_tokens: request.sampling.max_new_tokens,
        seed: (request.seed & 0x7fff_ffff) as u32,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        grammar: config.grammar.as_deref(),
    })
}

/// One chunk of a stream, or a whole answer of a server that does not stream.
#[derive(Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    /// Some hosts report errors inside a 200.
    #[serde(default)]
    pub(super) error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default, alias = "message")]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) reasoning: Option<String>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u32,
    #[serde(default)]
    pub(super) completion_tokens: u32,
}

//! The records, in the order in which a row of data lives through them:
//! `Problem` → `Trace` → `Measure` → `Decision` → `Example`.
//!
//! Every record is one Arrow schema (see `shard.rs`); enums without data are stored as their kebab-case names.

use crate::{digest::Digest, logprobs::MAX_ALTERNATIVES, turn::TurnFormat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Instructions that precede the conversation.
    System,
    /// The person who asks.
    User,
    /// The model that answers.
    Assistant,
}

impl Role {
    /// The name that chat templates and OpenAI-compatible endpoints use.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation. Text is bytes: `content` is never trimmed or normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What was said, exactly.
    pub content: String,
}

impl Message {
    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Message { role: Role::User, content: content.into() }
    }

    /// An assistant's turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Message { role: Role::Assistant, content: content.into() }
    }

    /// A system prompt.
    pub fn system(content: impl Into<String>) -> Self {
        Message { role: Role::System, content: content.into() }
    }
}

/// Which part of the data a problem belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Sampled from the teacher and trained on.
    Train,
    /// Never sampled for training; evaluation only.
    Holdout,
}

/// How a problem's right answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// A number or expression, compared as mathematics.
    Math,
    /// Text, compared as it is and without what does not matter.
    Text,
    /// One of several options: a letter or an option's text. The options are in the question.
    Choice,
    /// Code that must pass tests: the answer is JSON, `{"language", "tests"}`.
    Tests,
    /// Nobody knows: every verdict is unknown.
    None,
}

impl Reference {
    /// The name it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            Reference::Math => "math",
            Reference::Text => "text",
            Reference::Choice => "choice",
            Reference::Tests => "tests",
            Reference::None => "none",
        }
    }
}

/// Something to be solved.
///
/// Invariant: `id` is the hash of `messages` alone, so that correcting an answer re-buys nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `problem_id(&messages)`, 32 hex digits.
    pub id: String,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// The field it belongs to, e.g. `math`.
    pub domain: String,
    /// How the right answer is known.
    pub reference: Reference,
    /// The right answer; empty when `reference` is `None`.
    pub answer: String,
    /// A worked solution without tags, one step a line, where the source has one.
    pub solution: Option<String>,
    /// Which source it came from.
    pub source: String,
    /// Training or held out.
    pub split: Split,
    /// SPDX identifier, where the source states one.
    pub licence: Option<String>,
}

impl Problem {
    /// A problem of mathematics to learn from: one question, and its answer.
    pub fn asking(question: impl Into<String>, answer: &str, source: &str) -> Problem {
        let messages = vec![Message::user(question)];
        Problem {
            id: problem_id(&messages),
            messages,
            domain: "math".to_owned(),
            reference: Reference::Math,
            answer: answer.to_owned(),
            solution: None,
            source: source.to_owned(),
            split: Split::Train,
            licence: None,
        }
    }
}

/// The identity of a problem: a hash of its messages and of nothing else. 32 hex digits (128 bits).
pub fn problem_id(messages: &[Message]) -> String {
    let mut digest = Digest::new("problem");
    for message in messages {
        digest.field(message.role.as_str()).field(&message.content);
    }
    digest.finish_short()
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// The model ended its turn.
    #[default]
    Stop,
    /// The token limit cut it: censored data, kept and counted, never silently retried.
    Length,
    /// The model's own context was full before the token limit was reached: censored as well, and no larger limit helps.
    Context,
    /// The endpoint withheld it.
    ContentFilter,
    /// The endpoint gave a reason that is none of these; `Trace::finish_name` has it.
    Unknown,
    /// It broke off, and was gone on with: of a segment that another one follows.
    Broken,
}

impl FinishReason {
    /// Whether the answer might have gone on: its end is not the model's word.
    pub fn is_censored(self) -> bool {
        matches!(self, FinishReason::Length | FinishReason::Context)
    }

    /// The name it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Context => "context",
            FinishReason::ContentFilter => "content-filter",
            FinishReason::Unknown => "unknown",
            FinishReason::Broken => "broken",
        }
    }
}

/// One uninterrupted generation. A trace that was continued has several; a seam lies where one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Bytes of `Trace::text` that it produced.
    pub num_bytes: u32,
    /// Tokens that it produced.
    pub num_tokens: u32,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What the sampler was asked for. Part of a sample's identity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// Softmax temperature; 0 is greedy.
    pub temperature: f32,
    /// Nucleus mass, in (0, 1].
    pub top_p: f32,
    /// Limit on generated tokens.
    pub max_new_tokens: u32,
    /// How many alternatives are told with the log-probability of each generated token; none are told where it is absent.
    /// It draws no other tokens, yet a sample that was bought without log-probabilities has none: it is part of the
    /// identity. It is no column of a [`Trace`], so that tables have the schema that they always had.
    #[serde(skip)]
    pub log_probabilities: Option<u8>,
}

impl SamplingParams {
    /// What it asks, as pairs of name and value. What is not asked has no pair.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::from([
            ("temperature".to_owned(), self.temperature.to_string()),
            ("top-p".to_owned(), self.top_p.to_string()),
            ("max-new-tokens".to_owned(), self.max_new_tokens.to_string()),
        ]);
        pairs.extend(self.log_probabilities.map(|k| ("log-probabilities".to_owned(), k.to_string())));
        pairs
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A line for each key out of range: expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if !(0.0..=10.0).contains(&self.temperature) {
            wrong.push(format!("`temperature`: expected 0 to 10, found {}", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            wrong.push(format!("`top-p`: expected above 0 to 1, found {}", self.top_p));
        }
        if !(1..=1 << 24).contains(&self.max_new_tokens) {
            wrong.push(format!("`max-new-tokens`: expected 1 to {}, found {}", 1 << 24, self.max_new_tokens));
        }
        if let Some(found) = self.log_probabilities.filter(|k| *k > MAX_ALTERNATIVES) {
            wrong.push(format!("`log-probabilities`: expected 0 to {MAX_ALTERNATIVES}, found {found}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// One sample of a teacher's answer to a problem.
///
/// Invariant: `text` is exactly what was generated; everything else about it derives from it and from `format`, which says
/// what the prompt already began the turn with and where its reasoning is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// `trace_id(...)`, 32 hex digits.
    pub id: String,
    /// The problem it answers.
    pub problem_id: String,
    /// Which of the problem's samples this is, from 0.
    pub sample_index: u32,
    /// How the turn is laid out.
    #[serde(default)]
    pub format: TurnFormat,
    /// Raw text as generated, end-of-turn token excluded.
    pub text: String,
    /// Why the last segment ended.
    pub finish_reason: FinishReason,
    /// The generations that make it up.
    pub segments: Vec<Segment>,
    /// The teacher's name in the recipe.
    pub teacher: String,
    /// The model that the response named (or the checkpoint's digest).
    pub response_model: String,
    /// Digest of the chat template used; empty when the endpoint applied its own.
    pub template_hash: String,
    /// What was asked of the sampler.
    pub sampling: SamplingParams,
    /// The sampler's seed for this very sample.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// The generated tokens, where the teacher tells them.
    pub token_ids: Option<Vec<u32>>,
    /// What it cost in US dollars, 0 where it was charged in another currency: manifests have those.
    pub cost_usd: f64,
    /// The endpoint's own name for why it ended, where `finish_reason` is `Unknown`.
    #[serde(default)]
    pub finish_name: Option<String>,
    /// The system prompt that it was asked with, where that is not the problem's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What the file that it was read from claims of it, where it was read from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<FileClaim>>,
}

/// What somebody's file says of a trace, in the file's own words: a verdict of another verifier, a judge's, a score. It is kept,
/// and never taken for a verdict of a filter here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileClaim {
    /// The column, e.g. `correctness_math_verify`.
    pub name: String,
    /// What is in it, e.g. `true`.
    pub says: String,
}

impl Trace {
    /// The assistant's whole turn: the prefix and the text.
    pub fn turn(&self) -> String {
        self.format.turn(&self.text)
    }
}

/// A conversation with another system prompt, in the place of its own if it has one.
///
/// ```
/// # use distill_dataset::{Message, with_system};
/// let asked = [Message::system("Be brief."), Message::user("2 + 2?")];
/// assert_eq!(with_system(&asked, None), asked);
/// assert_eq!(with_system(&asked, Some("Reflect."))[..], [Message::system("Reflect."), Message::user("2 + 2?")]);
/// ```
pub fn with_system(messages: &[Message], system: Option<&str>) -> Vec<Message> {
    let Some(system) = system else { return messages.to_vec() };
    let others = messages.iter().filter(|message| message.role != Role::System).cloned();
    std::iter::once(Message::system(system)).chain(others).collect()
}

/// The identity of a sample: the problem, everything that was asked as pairs of name and value, and the sample index.
/// Reordering the input changes nothing; raising the samples from 4 to 16 buys 12. What is not set has no pair, so that
/// a new option changes no identity that does not use it.
pub fn trace_id(problem_id: &str, asked: &BTreeMap<String, String>, sample_index: u32) -> String {
    let mut digest = Digest::new("sample");
    digest.field(problem_id).field(&sample_index.to_string());
    for (name, value) in asked {
        digest.field(name).field(value);
    }
    digest.finish_short()
}

/// What a judge says. Unknown is never folded into wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be decided.
    Unknown,
}

/// What becomes of one trace under one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Kept.
    Accept,
    /// Dropped, for a reason.
    Reject,
    /// Undecided, for a reason; whether it is kept is the recipe's choice.
    Unknown,
    /// An earlier filter already dropped it, or this one does not look at its source.
    NotRun,
}

/// The decision on one trace. Every trace has one; the funnel always sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The trace decided on.
    pub trace_id: String,
    /// Its problem.
    pub problem_id: String,
    /// Whether it becomes an example.
    pub kept: bool,
    /// The filter that dropped it; empty when kept.
    pub dropped_by: String,
    /// Why it was dropped; empty when kept.
    pub reason: String,
    /// The outcome of each filter, in the recipe's order.
    pub outcomes: Vec<Outcome>,
}

/// A conversation to be trained on. No model-specific tokens in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The trace it was made from.
    pub trace_id: String,
    /// The problem it belongs to.
    pub problem_id: String,
    /// The conversation; the assistant's turns carry the loss.
    pub messages: Vec<Message>,
    /// Weight of its tokens in the loss.
    pub weight: f32,
}

//! The trait between those who ask (sampling, evaluation) and those who answer (endpoints, the local engine).

use crate::{Budget, Cost, EndpointSeen, Identity, Partial, Piece};
use distill_dataset::{Cancel, Currency, FinishReason, LogProbs, Message, Money, SamplingParams, Segment};
use std::{ops::ControlFlow, sync::Arc, time::Duration};

/// One sample asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The asker's own handle; comes back with the answer.
    pub id: u64,
    /// The conversation up to the assistant's turn.
    pub messages: Vec<Message>,
    /// What is asked of the sampler.
    pub sampling: SamplingParams,
    /// Seed of this very sample: the answer depends on (model, messages, sampling, seed) and on nothing else in flight.
    pub seed: u64,
    /// What was received of its answer before, where the teacher [`continues`](Complete::continues).
    pub partial: Option<Partial>,
}

impl Request {
    /// The most tokens that are left of the limit. One at least: it tells how an answer ended that was cut at the limit
    /// before that was told.
    pub fn left(&self) -> u32 {
        let before = self.partial.as_ref().map_or(0, Partial::num_tokens);
        self.sampling.max_new_tokens.saturating_sub(before).max(1)
    }
}

/// One sample, as generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// Raw text after the prefix of the turn's format, end-of-turn token excluded, tags in place. Where an endpoint returns
    /// the reasoning separately, it is put back before the answer, in the format's tags.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The model that the response named.
    pub response_model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that a cache had, as far as the endpoint tells.
    pub cached_tokens: u32,
    /// Tokens generated, end-of-turn included, by the last generation alone.
    pub completion_tokens: u32,
    /// The generations before it, which it went on from.
    pub earlier: Vec<Segment>,
    /// The generated tokens, where known.
    pub token_ids: Option<Vec<u32>>,
    /// The log-probabilities of all generated tokens, where they were asked for and told, in every part of the answer.
    pub log_probs: Option<Arc<LogProbs>>,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// What it cost in other currencies.
    pub cost_other: Money,
    /// Whether tokens and cost were counted here, because the endpoint did not tell them.
    pub estimated: bool,
    /// The endpoint's own name for why it ended, where `finish_reason` is `Unknown`.
    pub finish_name: Option<String>,
}

impl Completion {
    /// What the last generation cost.
    pub fn cost(&self) -> Cost {
        Cost {
            prompt_tokens: u64::from(self.prompt_tokens),
            cached_tokens: u64::from(self.cached_tokens),
            completion_tokens: u64::from(self.completion_tokens),
            usd: self.cost_usd,
            other: self.cost_other.clone(),
            estimated: self.estimated,
        }
    }
}

/// Work to be done, pulled by the teacher as it has room, and answers handed back in whatever order they come.
pub trait Queue {
    /// The next request, or nothing while there is none to be had. A delivery may change that (a budget's reserve is
    /// freed), so it is asked again; all is done when there is none and nothing is in flight.
    fn next(&mut self) -> Option<Request>;

    /// The model that responses named so far, where that is known: another one's answers are not wanted.
    fn model(&self) -> Option<String> {
        None
    }

    /// Takes the outcome of a request. `Break` asks the teacher to stop: nothing more is pulled, what is in flight is
    /// dropped.
    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()>;

    /// Takes what an attempt cost that brought no answer, and what is there of one that is to be gone on from. False asks
    /// the teacher to forget the request: it is not to be tried again now, and nothing is delivered for it.
    fn charge(&mut self, _id: u64, _cost: Cost, _partial: Option<&Partial>) -> bool {
        true
    }

    /// Takes what arrived of answers since the pieces before, so that it is not lost when this process is.
    fn spool(&mut self, _pieces: Vec<(u64, Piece)>) {}

    /// Takes note that what arrived of an answer is not to be gone on from.
    fn discard(&mut self, _id: u64) {}

    /// Whether a limit of time is reached: nothing more is to be sent, and what is in flight is all that is waited for.
    fn is_over(&mut self) -> bool {
        false
    }

    /// Takes a remark for people, such as how long an endpoint has been away; an empty one takes it back.
    fn say(&mut self, _remark: &str) {}

    /// Takes how the endpoints stand.
    fn see(&mut self, _endpoints: Vec<EndpointSeen>) {}

    /// How long requests in flight are waited for once a stop was asked for.
    fn drain_limit(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Somebody who answers.
pub trait Complete: Sync {
    /// Who it is.
    fn identity(&self) -> Identity;

    /// Whether it goes on from a part of an answer.
    fn continues(&self) -> bool {
        false
    }

    /// The most tokens that one attempt at a request may generate: reserved before it is sent.
    fn most_tokens(&self, request: &Request) -> u64 {
        u64::from(request.left())
    }

    /// What getting ready took of it, before anything was asked.
    fn opening_cost(&self) -> Cost {
        Cost::default()
    }

    /// The most that one attempt at a request may cost in that currency: reserved before it is sent.
    fn max_cost(&self, _request: &Request, _currency: Currency) -> f64 {
        0.0
    }

    /// Whether a budget's money can be counted by what it charges.
    ///
    /// # Errors
    /// Expected and found, and what to do.
    fn check_budget(&self, _budget: &Budget) -> Result<(), String> {
        Ok(())
    }

    /// GPUs behind it, for a budget of GPU-hours; none where that is not known.
    fn gpus(&self) -> f64 {
        0.0
    }

    /// Answers everything in the queue, many at a time. A request that fails is delivered as such and the rest goes
    /// on. When cancelled, nothing more is pulled; what is in flight and was paid for is delivered within
    /// [`Queue::drain_limit`]. Returns early, without an error, when cancelled or when the queue asks to stop.
    ///
    /// # Errors
    /// When no request can be answered at all: unreachable, unauthorised, unknown model. What was in flight has been
    /// delivered by then.
    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError>;
}

/// Why a teacher did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TeacherError {
    /// Nobody is there. `message` says where, what was tried, and what to do.
    #[error("{0}")]
    Unreachable(String),
    /// The endpoint refused for good (401, 402, 403, 404): trying again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// This request cannot be answered, now or later: it is too long, its text spells a control token, its content is
    /// refused, or every answer to it stayed incomplete.
    #[error("{message}")]
    Unanswerable {
        /// A short name, e.g. `too-long`.
        reason: &'static str,
        /// What was said.
        message: String,
        /// What was received of an answer.
        text: String,
        /// What that cost.
        cost: Box<Cost>,
    },
    /// This request failed after every retry.
    #[error("{0}")]
    Failed(String),
    /// The local engine could not do it.
    #[error("{0}")]
    Local(String),
}

impl TeacherError {
    /// A request that cannot be answered, of which nothing was received.
    pub fn unanswerable(reason: &'static str, message: String) -> TeacherError {
        TeacherError::Unanswerable { reason, message, text: String::new(), cost: Box::default() }
    }
}

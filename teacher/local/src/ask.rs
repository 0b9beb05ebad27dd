//! What is asked of the engine, and what it says while it answers.

/// How tokens are drawn. In this order: repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Softmax temperature; 0 takes the most likely token.
    pub temperature: f32,
    /// The smallest set of most likely tokens with at least this mass, in (0, 1].
    pub top_p: f32,
    /// At most so many of the most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only tokens at least this likely in proportion to the most likely one, in [0, 1].
    pub min_p: f32,
    /// Logits of tokens that occurred before, in the prompt too, are divided by this if positive and multiplied if
    /// negative (Keskar et al., 2019); 1 changes nothing.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Which value, expected and found.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f32, holds: bool, expected: &str| match holds {
            true if value.is_subnormal() => Err(format!(
                "`{name}`: expected 0 or at least {:e}, found {value:e}, which underflows",
                f32::MIN_POSITIVE
            )),
            true => Ok(()),
            false => Err(format!("`{name}`: expected {expected}, found {value}")),
        };
        within("temperature", self.temperature, (0.0..=10.0).contains(&self.temperature), "0 to 10")?;
        within("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 to 1")?;
        within("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1")?;
        let penalty = self.repetition_penalty;
        // Below this, logits of tokens that were seen leave what a float holds.
        within("repetition_penalty", penalty, (0.01..=10.0).contains(&penalty), "0.01 to 10")
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The tokens to go on from, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Seed of the draws.
    pub seed: u64,
    /// Limit on generated tokens; 0 only reads the prompt.
    pub max_new_tokens: usize,
    /// Tokens that end the answer.
    pub stop_ids: Vec<u32>,
    /// Texts that end the answer; what is released ends before them. Only with `text`.
    pub stop: Vec<String>,
    /// Whether text is wanted as it comes.
    pub text: bool,
    /// Whether log-probabilities of generated tokens are wanted, and of how many of the most likely ones beside them.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: Option<usize>,
}

/// Log-probabilities after one position, natural logarithms, before penalty and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// That of the token that came; absent for the first token of a prompt.
    pub chosen: Option<f32>,
    /// The most likely tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A token of `stop_ids` or a text of `stop`.
    Stop,
    /// The request's limit on tokens.
    Length,
    /// The model's context is full, and the request would have gone on. The cache is no reason: a request that it cannot
    /// hold is refused, and one that finds it full waits.
    Context,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No engine would answer it: expected and found.
    #[error("{0}")]
    Invalid(String),
    /// The cache could not hold it to its end. That is this engine's limit, not the model's: with a larger cache the answer
    /// might go on.
    #[error(
        "the request needs {needed} tokens of cache for its prompt and its answer, found {found}\nhint: a cache of at least {} bytes holds it ({token_bytes} a token), or ask for fewer new tokens",
        needed.saturating_mul(*token_bytes)
    )]
    Cache {
        /// Tokens of prompt and answer, at most the model's context.
        needed: usize,
        /// Tokens that the cache holds.
        found: usize,
        /// Bytes of one token.
        token_bytes: usize,
    },
}

/// What the engine says of one request. The last is `End` or `Failed`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Log-probabilities of the prompt's tokens.
    Prompt(Vec<Logprobs>),
    /// A token was drawn.
    Token {
        /// Which.
        id: u32,
        /// The text that it releases, if text was asked for; may be empty.
        text: String,
        /// Its log-probabilities, if they were asked for.
        logprobs: Option<Logprobs>,
    },
    /// The answer is complete.
    End {
        /// Why.
        reason: Reason,
        /// Text that was held back.
        text: String,
        /// All generated tokens, the one that ended it included.
        tokens: Vec<u32>,
    },
    /// The request cannot be answered; others go on.
    Failed(String),
}

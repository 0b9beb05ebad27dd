//! How the simulated server behaves: how fast, for how many, and which of its requests come to harm.

use crate::answer::mix;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// The model that it names.
    pub model: String,
    /// Least and most tokens of an answer.
    pub lengths: (usize, usize),
    /// Tokens a second of each stream; nothing where they come as fast as they can.
    pub rate: Option<f64>,
    /// Requests at once; further ones are refused with 503.
    pub admitted: usize,
    /// Share of requests that come to harm.
    pub harmed: f64,
    /// Kinds of harm, drawn evenly.
    pub faults: Vec<Fault>,
    /// Decides which requests come to which harm.
    pub seed: u64,
    /// Tokens of every prompt that come from a cache; none are told where they are none.
    pub cached: usize,
    /// How its calls look.
    pub shape: Shape,
}

/// How a host's calls look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The path of chats, with what stands behind `?`.
    pub chat: String,
    /// The path of completions, likewise.
    pub completions: String,
    /// The header, in lower case, and the value without which everything is refused with 401.
    pub key: Option<(String, String)>,
    /// The field of a chat's reasoning, which is the first half of the answer; none where all is in the text.
    pub reasoning: Option<String>,
    /// What it calls an answer's own end.
    pub stop: String,
    /// What it calls an end at the limit.
    pub length: String,
    /// Where, in `usage`, tokens are told that come from a cache: names with dots between them.
    pub cached: String,
    /// Fields of a request that are refused with 400.
    pub refused: Vec<String>,
    /// Whether prompts may be token ids; they are refused with 400 where not.
    pub takes_ids: bool,
    /// Where, in an error's body, its message is: names with dots between them.
    pub error: String,
}

impl Default for Shape {
    /// OpenAI's, with everything in the text.
    fn default() -> Shape {
        Shape {
            chat: "/v1/chat/completions".to_owned(),
            completions: "/v1/completions".to_owned(),
            key: None,
            reasoning: None,
            stop: "stop".to_owned(),
            length: "length".to_owned(),
            cached: "prompt_tokens_details.cached_tokens".to_owned(),
            refused: Vec::new(),
            takes_ids: true,
            error: "error.message".to_owned(),
        }
    }
}

impl Shape {
    /// The body of an error, with its code beside the message.
    pub(crate) fn error(&self, code: u16, message: &str) -> String {
        let mut body = json!({});
        let (place, name) = match self.error.rsplit_once('.') {
            Some((place, name)) => (place.split('.').fold(&mut body, |place, name| &mut place[name]), name),
            None => (&mut body, self.error.as_str()),
        };
        *place = json!({ "code": code, name: message });
        body.to_string()
    }
}

impl Default for Script {
    /// An honest server.
    fn default() -> Script {
        Script {
            model: "sim".to_owned(),
            lengths: (20, 60),
            rate: None,
            admitted: usize::MAX,
            harmed: 0.0,
            faults: Fault::PASSING.to_vec(),
            seed: 0,
            cached: 0,
            shape: Shape::default(),
        }
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection is closed at once.
    Shut,
    /// The connection is reset in the midst of the stream.
    Reset,
    /// The stream ends in its midst, in good order.
    Cut,
    /// The stream falls silent for half a second.
    Stall,
    /// The stream falls silent for ever.
    Hang,
    /// The head comes a second late.
    SlowHead,
    /// Bytes come a few at a time, cut inside of letters.
    Dribble,
    /// Comments between the pieces.
    KeepAlive,
    /// A comment of a mebibyte.
    HugeLine,
    /// No `[DONE]`.
    NoDone,
    /// No usage.
    NoUsage,
    /// 500.
    Broken,
    /// 502.
    BadGateway,
    /// 503.
    Unavailable,
    /// 429 with nothing said.
    Busy,
    /// 429 with `Retry-After: 0.2`.
    BusyShort,
    /// 429 with `Retry-After` as a date, a second away.
    BusyDate,
    /// An error inside a 200, before anything else.
    ErrorAtOnce,
    /// An error inside a 200, in the midst of the stream.
    ErrorAmidst,
    /// 429 with `Retry-After: 24367`, as a daily limit has it.
    BusyLong,
    /// The answer of another model.
    OtherModel,
    /// The reasoning in another field than before, or in a field where it was in the text.
    OtherField,
}

impl Fault {
    /// All that pass: who asks again gets an answer, within seconds. Of the others, one is waited out for hours, and two are
    /// another server.
    pub const PASSING: [Fault; 19] = [
        Fault::Shut,
        Fault::Reset,
        Fault::Cut,
        Fault::Stall,
        Fault::Hang,
        Fault::SlowHead,
        Fault::Dribble,
        Fault::KeepAlive,
        Fault::HugeLine,
        Fault::NoDone,
        Fault::NoUsage,
        Fault::Broken,
        Fault::BadGateway,
        Fault::Unavailable,
        Fault::Busy,
        Fault::BusyShort,
        Fault::BusyDate,
        Fault::ErrorAtOnce,
        Fault::ErrorAmidst,
    ];
}

impl Script {
    /// What goes wrong with the request of that number.
    pub(crate) fn fault(&self, number: u64) -> Option<Fault> {
        let draw = mix(self.seed << 32 ^ number);
        if self.faults.is_empty() || (draw >> 40) as f64 / (1_u64 << 24) as f64 >= self.harmed {
            return None;
        }
        Some(self.faults[draw as usize % self.faults.len()])
    }
}

//! The bytes of the protocol: request bodies out, completions in. OpenAI's chat and completions calls, as hosts speak
//! them: what the official client reads is read, whatever the kinds of its values.

use super::{Api, Continuation, HttpTeacherConfig, Omit, ids::Prompt};
use crate::Request;
use distill_dataset::{Digest, Role};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value, value::RawValue};
use std::fmt;

/// Most bytes of what is read whatever it is: usage, errors.
const MOST_ASIDE: usize = 1 << 16;
/// Most bytes of JSON that is read through a value, which takes up to 32 times as many.
const MOST_VALUE: usize = 1 << 22;

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Prompt>,
    temperature: f32,
    top_p: f32,
    max_tokens: u32,
    /// Servers take 32-bit seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grammar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// How log-probabilities are asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Asked {
    /// Chat: whether; how many alternatives is another field.
    Whether(bool),
    /// Completions, and chats of some hosts: with how many alternatives.
    HowMany(u8),
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<bool>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The body of a request: with that prompt, or with the conversation where the server applies its own template.
pub(super) fn body<'a>(config: &'a HttpTeacherConfig, request: &'a Request, prompt: Option<Prompt>) -> Body<'a> {
    let partial = request.partial.as_ref();
    let by = partial.map(|_| config.continues_by());
    let messages = match &prompt {
        Some(_) => None,
        None => {
            let said = request.messages.iter().map(|message| (message.role, message.content.as_str()));
            let begun = partial.map(|partial| (Role::Assistant, partial.text.as_str()));
            let turn = |(role, content): (Role, &'a str)| {
                let prefix = (role == Role::Assistant && by == Some(Continuation::Prefix)).then_some(true);
                Turn { role: role.as_str(), content, prefix }
            };
            Some(said.chain(begun).map(turn).collect())
        }
    };
    let goes_on = by == Some(Continuation::ContinueFinalMessage);
    let sent = |field| !config.omits(field);
    let k = request.sampling.log_probabilities;
    // A host that takes no such field takes the number alone.
    let by_whether = config.api() == Api::Chat && !config.profile().is_some_and(|host| host.call.chat_logprobs_number);
    let asks_ids = matches!(prompt, Some(Prompt::Ids(_)));
    Body {
        model: &config.model,
        messages,
        prompt,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        max_tokens: request.left(),
        seed: sent(Omit::Seed).then_some(seed(request)),
        stream: true,
        stream_options: sent(Omit::StreamOptions).then_some(StreamOptions { include_usage: true }),
        grammar: config.grammar.as_deref(),
        add_generation_prompt: goes_on.then_some(false),
        continue_final_message: goes_on.then_some(true),
        logprobs: k.map(|k| if by_whether { Asked::Whether(true) } else { Asked::HowMany(k) }),
        top_logprobs: k.filter(|k| by_whether && *k > 0),
        extra: config.extra(asks_ids),
    }
}

/// The seed of a generation: behind a seam another one, so that the same draws do not come again.
fn seed(request: &Request) -> u32 {
    let seed = match request.partial.as_ref().map_or(0, |partial| partial.segments.len()) {
        0 => request.seed,
        seam => Digest::new("seam").field(&request.seed.to_string()).field(&seam.to_string()).finish_u64(),
    };
    (seed & 0x7fff_ffff) as u32
}

/// One chunk of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    pub(super) model: Text,
    /// One was asked for; nothing where the field is missing or null.
    pub(super) choices: Option<Vec<Choice>>,
    usage: Option<Box<RawValue>>,
    /// Some hosts report errors inside a 200: as a field, or as the whole.
    error: Option<Box<RawValue>>,
    object: Text,
    message: Option<Box<RawValue>>,
    detail: Option<Box<RawValue>>,
    code: Option<Box<RawValue>>,
}

impl Chunk {
    /// Reads one. What Python's `json` reads and JSON does not have is put right first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Chunk, String> {
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err("expected an object".to_owned());
        }
        let error = match serde_json::from_slice(bytes) {
            Ok(chunk) => return Ok(chunk),
            Err(error) => error.to_string(),
        };
        let mended = mended(bytes);
        let sound = mended.as_deref().unwrap_or(bytes);
        if mended.is_some()
            && let Ok(chunk) = serde_json::from_slice(sound)
        {
            return Ok(chunk);
        }
        // Through a value, in which the last of two fields of one name counts. It takes many times its bytes in memory.
        if sound.len() > MOST_VALUE {
            return Err(error);
        }
        let value = serde_json::from_slice::<Value>(sound).map_err(|_| error)?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// Tokens, as far as they are told.
    pub(super) fn usage(&self) -> Usage {
        let told = self.usage.as_ref().filter(|told| told.get().len() <= MOST_ASIDE);
        // Through a value, in which the last of two fields of one name counts.
        let told = told.and_then(|told| serde_json::from_str::<Value>(told.get()).ok());
        told.and_then(|told| serde_json::from_value(told).ok()).unwrap_or_default()
    }

    /// The body of the error that it tells.
    pub(super) fn take_error(&mut self) -> Option<Value> {
        let field = |name: &str, told: Option<Box<RawValue>>| Some((name.to_owned(), aside(&told?)));
        if let Some(error) = field("error", self.error.take()) {
            return Some(Value::Object([error].into_iter().collect()));
        }
        let whole = self.object.text == "error" || self.choices.is_none();
        if !whole || self.message.is_none() && self.detail.is_none() {
            return None;
        }
        let all = [("code", self.code.take()), ("message", self.message.take()), ("detail", self.detail.take())];
        Some(Value::Object(all.into_iter().filter_map(|(name, told)| field(name, told)).collect()))
    }
}

/// What stands beside an answer, read whatever it is; of one that is too long, the beginning as text.
fn aside(told: &RawValue) -> Value {
    let text = told.get();
    match text.len() <= MOST_ASIDE {
        true => serde_json::from_str(text).unwrap_or_default(),
        false => Value::String(text.chars().take(MOST_ASIDE / 4).collect()),
    }
}

/// One of the choices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    #[serde(deserialize_with = "or_default")]
    delta: Delta,
    #[serde(deserialize_with = "or_default")]
    message: Delta,
    text: Text,
    pub(super) finish_reason: Text,
    /// Whatever they are: they are read where they were asked for.
    pub(super) logprobs: Option<Box<RawValue>>,
    pub(super) token_ids: Option<Box<RawValue>>,
}

impl Choice {
    /// Reasoning and text that it adds, where so much has come `before`. A whole message counts where there was no piece
    /// of it: some hosts end a stream by repeating all.
    pub(super) fn into_piece(self, before: bool) -> Piece {
        let mut piece = self.delta.into_piece();
        if piece.is_empty() {
            let message = self.message.into_piece();
            match before {
                false => piece = message,
                true => piece.repeats = !message.is_empty(),
            }
        }
        piece.content.push_str(&self.text.text);
        piece
    }
}

/// What a chunk adds to an answer.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) reasoning: String,
    pub(super) content: String,
    /// Where the reasoning came.
    pub(super) place: &'static str,
    /// Whether the chunk says once more what came before.
    pub(super) repeats: bool,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.reasoning.is_empty() && self.content.is_empty()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Text,
    reasoning: Text,
    reasoning_content: Text,
}

impl Delta {
    fn into_piece(self) -> Piece {
        // Both names may be there, one of them empty or both with the same.
        let place = match (self.reasoning.text.is_empty(), self.reasoning_content.text.is_empty()) {
            (true, false) => "`reasoning_content`",
            (true, true) => "parts of the text",
            (false, _) => "`reasoning`",
        };
        let again = self.reasoning == self.reasoning_content;
        let fields = [Some(self.reasoning), Some(self.reasoning_content).filter(|_| !again)];
        let named = fields.into_iter().flatten().fold(String::new(), |all, field| all + &field.text + &field.thinking);
        let reasoning = named + &self.content.thinking;
        Piece { reasoning, content: self.content.text, place, repeats: false }
    }
}

/// Tokens, as far as they are told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Count,
    pub(super) completion_tokens: Count,
    /// All else that is told: hosts differ in it.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Usage {
    /// The number at a path, of names with dots between them.
    pub(super) fn at(&self, path: &str) -> Count {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let mut names = rest.into_iter().flat_map(|rest| rest.split('.'));
        let value = self.others.get(first).and_then(|value| names.try_fold(value, |value, name| value.get(name)));
        value.map_or(Count(None), Count::of)
    }
}

/// A number of tokens: an integer, a float, digits as text, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count(pub(super) Option<u32>);

impl Count {
    fn of(value: &Value) -> Count {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        // Rounded to what a count can be.
        Count(number.filter(|number| *number >= 0.0).map(|number| number as u32))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        Value::deserialize(deserializer).map(|value| Count::of(&value))
    }
}

/// Text: a string, nothing, or a list of parts, some of which may be thinking.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) thinking: String,
}

/// Text, and the name of its type where it is an object.
#[derive(Default)]
struct Part {
    text: Text,
    named: String,
}

impl Part {
    fn of(text: String) -> Part {
        Part { text: Text { text, thinking: String::new() }, named: String::new() }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let Part { mut text, named } = Part::deserialize(deserializer)?;
        // A finish reason may be an object that names its type.
        if text == Text::default() {
            text.text = named;
        }
        Ok(text)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Part, E> {
                Ok(Part::of(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Part, E> {
                Ok(Part::of(text))
            }

            fn visit_unit<E>(self) -> Result<Part, E> {
                Ok(Part::default())
            }

            fn visit_bool<E>(self, value: bool) -> Result<Part, E> {
                Ok(Part::of(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Part, E> {
                Ok(Part::of(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Part, E> {
                Ok(Part::of(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Part, E> {
                Ok(Part::of(Value::from(value).to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
                let mut whole = Part::default();
                while let Some(Part { text, .. }) = list.next_element()? {
                    whole.text.text += &text.text;
                    whole.text.thinking += &text.thinking;
                }
                Ok(whole)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut fields: A) -> Result<Part, A::Error> {
                let (mut text, mut thinking, mut named) = (Text::default(), Text::default(), Text::default());
                while let Some(name) = fields.next_key::<String>()? {
                    match name.as_str() {
                        "text" => text = fields.next_value()?,
                        "thinking" => thinking = fields.next_value()?,
                        "type" => named = fields.next_value()?,
                        _ => drop(fields.next_value::<de::IgnoredAny>()?),
                    }
                }
                let thinking = thinking.text + &thinking.thinking + &text.thinking;
                Ok(Part { text: Text { text: text.text, thinking }, named: named.text })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A struct that may be null.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// JSON as Python's `json` writes it: `NaN` and infinities become null, half of a surrogate pair the mark of what cannot
/// be shown. Nothing where there is none of these.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut quoted, mut changed) = (0, false, false);
    let hex = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let taken = match (quoted, rest[0]) {
            (_, b'"') => {
                quoted = !quoted;
                1
            }
            (true, b'\\') => match hex(at) {
                Some(0xd800..=0xdbff) if hex(at + 6).is_some_and(|low| (0xdc00..=0xdfff).contains(&low)) => 12,
                Some(0xd800..=0xdfff) => {
                    out.extend_from_slice(b"\\ufffd");
                    (at, changed) = (at + 6, true);
                    continue;
                }
                _ => 2.min(rest.len()),
            },
            (false, b'N' | b'I' | b'-') => {
                let words: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
                if let Some(word) = words.iter().find(|word| rest.starts_with(word)) {
                    out.extend_from_slice(b"null");
                    (at, changed) = (at + word.len(), true);
                    continue;
                }
                1
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..taken]);
        at += taken;
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(json: &str) -> (String, String) {
        let chunk = Chunk::read(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
        let choice = chunk.choices.into_iter().flatten().next().expect("a choice");
        let piece = choice.into_piece(false);
        (piece.reasoning, piece.content)
    }

    #[test]
    fn text_is_read_in_every_form_that_hosts_give_it() {
        for (delta, reasoning, content) in [
            (r#"{"content":"a"}"#, "", "a"),
            (r#"{"content":null,"reasoning":"r"}"#, "r", ""),
            (r#"{"reasoning":"","reasoning_content":"r","content":""}"#, "r", ""),
            (r#"{"reasoning":"r","reasoning_content":"r"}"#, "r", ""),
            (r#"{"reasoning":"r","reasoning_content":"s"}"#, "rs", ""),
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "", "ab"),
            (r#"{"content":["a","b"]}"#, "", "ab"),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]},{"type":"text","text":"a"}]}"#,
                "r",
                "a",
            ),
            (r#"{"content":[{"type":"image_url","image_url":{"url":"x"}}]}"#, "", ""),
            (r#"{"content":42}"#, "", "42"),
            (r#"{"content":"a","content":"b"}"#, "", "b"),
            (r#"{"content":"\ud83d"}"#, "", "\u{fffd}"),
            (r#"{"content":"\ud83d\ude42\\ud83d"}"#, "", "🙂\\ud83d"),
        ] {
            let expected = (reasoning.to_owned(), content.to_owned());
            assert_eq!(parts(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)), expected, "{delta}");
            assert_eq!(parts(&format!(r#"{{"choices":[{{"message":{delta},"delta":null}}]}}"#)), expected, "{delta}");
        }
        assert_eq!(parts(r#"{"choices":[{"delta":{"content":"a"},"message":{"content":"all"}}]}"#).1, "a");
        assert_eq!(parts(r#"{"choices":[{"text":"a","logprobs":[NaN,-Infinity,"NaN"]}]}"#).1, "a");
    }

    #[test]
    fn counts_are_read_in_every_form_that_hosts_give_them() {
        for (found, expected) in [
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("\"12\"", Some(12)),
            ("null", None),
            ("-1", None),
            ("1e30", Some(u32::MAX)),
            ("{}", None),
        ] {
            let chunk = Chunk::read(format!(r#"{{"usage":{{"completion_tokens":{found}}}}}"#).as_bytes());
            assert_eq!(chunk.expect("a chunk").usage().completion_tokens.0, expected, "{found}");
        }
        assert!(Chunk::read(br#"{"usage":null,"choices":null,"model":null}"#).expect("a chunk").choices.is_none());
    }

    #[test]
    fn errors_are_found_as_a_field_and_as_the_whole() {
        for (json, expected) in [
            (r#"{"error":{"message":"full"}}"#, Some("full")),
            (r#"{"error":"full"}"#, Some("full")),
            (r#"{"object":"error","message":"full","code":429}"#, Some("429")),
            (r#"{"detail":"full"}"#, Some("full")),
            (r#"{"choices":[],"error":null}"#, None),
            (r#"{"choices":[],"message":"hello"}"#, None),
            (r#"{"usage":{}}"#, None),
            (r#"{"error":{"code":429,"message":"full"},"message":"aside"}"#, Some("full")),
        ] {
            let error = Chunk::read(json.as_bytes()).expect("a chunk").take_error().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{json}");
            assert!(expected.is_none_or(|word| error.expect("an error").contains(word)), "{json}");
        }
        for bad in ["", "[]", "3", "{\"choices\":3}", "{", "<html>"] {
            assert!(Chunk::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

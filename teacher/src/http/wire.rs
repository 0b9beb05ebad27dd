//! The bytes of the protocol: request bodies out, completions in. OpenAI's chat and completions calls, as hosts speak
//! them: what the official client reads is read, whatever the kinds of its values.

use super::{Api, Continuation, HttpTeacherConfig, Omit, ids::Prompt};
use crate::Request;
use distill_dataset::{Digest, Role};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value, value::RawValue};
use std::fmt;

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
    /// Completions: with how many alternatives.
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
    let is_chat = config.api() == Api::Chat;
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
        logprobs: k.map(|k| if is_chat { Asked::Whether(true) } else { Asked::HowMany(k) }),
        top_logprobs: k.filter(|k| is_chat && *k > 0),
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
    #[serde(deserialize_with = "or_default")]
    pub(super) usage: Usage,
    /// Some hosts report errors inside a 200: as a field, or as the whole.
    error: Option<Value>,
    object: Text,
    message: Option<Value>,
    detail: Option<Value>,
    code: Option<Value>,
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
        // Through a value, in which the last of two fields of one name counts.
        let value = serde_json::from_slice::<Value>(mended.as_deref().unwrap_or(bytes)).map_err(|_| error)?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// The error that it tells.
    pub(super) fn take_error(&mut self) -> Option<Value> {
        if let Some(error) = self.error.take().filter(|error| !error.is_null()) {
            return Some(error);
        }
        let whole = self.object.text == "error" || self.choices.is_none();
        if !whole || self.message.is_none() && self.detail.is_none() {
            return None;
        }
        let mut error = Map::new();
        for (name, value) in [("code", &mut self.code), ("message", &mut self.message), ("detail", &mut self.detail)] {
            error.extend(value.take().map(|value| (name.to_owned(), value)));
        }
        Some(Value::Object(error))
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
        let (named, place) = match (self.reasoning.text.is_empty(), self.reasoning_content.text.is_empty()) {
            (true, false) => (self.reasoning_content, "`reasoning_content`"),
            (true, true) => (self.reasoning, "parts of the text"),
            (false, _) => (self.reasoning, "`reasoning`"),
        };
        let reasoning = named.text + &named.thinking + &self.content.thinking;
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

impl Text {
    fn of(value: Value) -> Text {
        let mut text = Text::default();
        match value {
            Value::Null => {}
            Value::String(string) => text.text = string,
            Value::Array(parts) => parts.into_iter().for_each(|part| text.add(part)),
            Value::Object(part) => {
                // A finish reason may be an object that names its type.
                let named = part.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
                text.add(Value::Object(part));
                if text == Text::default() {
                    text.text = named;
                }
            }
            other => text.text = other.to_string(),
        }
        text
    }

    fn add(&mut self, part: Value) {
        let Value::Object(mut part) = part else {
            return self.text.push_str(&Text::of(part).text);
        };
        let thinking = part.remove("thinking").map(Text::of).unwrap_or_default();
        self.thinking += &(thinking.text + &thinking.thinking);
        self.text += &part.remove("text").map(Text::of).unwrap_or_default().text;
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text { text: text.to_owned(), ..Text::default() })
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text { text, ..Text::default() })
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }

            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text::of(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text::of(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text::of(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text::of(value.into()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Text, A::Error> {
                Value::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Text::of)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                Value::deserialize(de::value::MapAccessDeserializer::new(map)).map(Text::of)
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
            assert_eq!(chunk.expect("a chunk").usage.completion_tokens.0, expected, "{found}");
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

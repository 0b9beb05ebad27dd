//! Log-probabilities in the chunks of an answer → one [`LogProbs`]. Four shapes are read, whichever call was used:
//!
//! - OpenAI's chat: `{"content": [{"token", "logprob", "bytes", "top_logprobs": [{"token", "logprob", "bytes"}]}]}`;
//!   llama.cpp adds an `id` to each of these;
//! - the older completions: `{"tokens": [], "token_logprobs": [], "top_logprobs": [{token: log-probability}]}`, where
//!   OpenAI writes a token that is no text as `bytes:\xe2\x80`;
//! - both of them with tokens written `token_id:7`, as vLLM does when asked for `return_tokens_as_token_ids`;
//! - vLLM's `token_ids` beside either: the ids of the generated tokens.
//!
//! An answer has them for all of its tokens or has none: a chunk with text and without them, or one that cannot be read, is
//! where they end, and costs the answer nothing. An alternative without a number (JSON has no −∞) is left out.

use distill_dataset::{LogProbs, LogProbsBuilder, Token};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// What servers write before an id in place of a token.
const BY_ID: &str = "token_id:";
/// What OpenAI writes before bytes in place of a token.
const BY_BYTES: &str = "bytes:";

/// What was told so far.
pub(super) struct Collected {
    /// Nothing once some token's were missing.
    builder: Option<LogProbsBuilder>,
    ids: Vec<u32>,
}

/// Tokens and their log-probabilities, in the older completions.
type Alternatives = Map<String, Value>;

#[derive(Deserialize)]
struct Told {
    content: Option<Vec<Place>>,
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f32>>>,
    top_logprobs: Option<Vec<Option<Alternatives>>>,
}

/// One token's place, in a chat.
#[derive(Deserialize)]
struct Place {
    id: Option<u32>,
    token: String,
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<One>>,
}

#[derive(Deserialize)]
struct One {
    id: Option<u32>,
    token: String,
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
}

impl One {
    fn name(self) -> Name {
        match (self.id, self.bytes) {
            (Some(id), _) => Name::Id(id),
            (None, None) => Name::of(self.token),
            // vLLM puts the bytes of `token_id:7` here.
            (None, Some(bytes)) if bytes == self.token.as_bytes() => Name::of(self.token),
            (None, Some(bytes)) => match Name::of(self.token) {
                Name::Text(_) => Name::Text(bytes),
                id => id,
            },
        }
    }
}

enum Name {
    Id(u32),
    Text(Vec<u8>),
}

impl Name {
    fn of(token: String) -> Name {
        if let Some(id) = token.strip_prefix(BY_ID).and_then(|id| id.parse().ok()) {
            return Name::Id(id);
        }
        Name::Text(token.strip_prefix(BY_BYTES).and_then(escaped).unwrap_or_else(|| token.into_bytes()))
    }

    fn id(&self) -> Option<u32> {
        match self {
            Name::Id(id) => Some(*id),
            Name::Text(_) => None,
        }
    }

    fn token(&self) -> Token<'_> {
        match self {
            Name::Id(id) => Token::Id(*id),
            Name::Text(text) => Token::Text(text),
        }
    }
}

/// The bytes of `\xe2\x80`.
fn escaped(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.split("\\x");
    digits.map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2 && !pair.starts_with('+'))).collect()
}

impl Collected {
    /// Nothing yet; up to `k` alternatives were asked for.
    pub(super) fn new(k: u8) -> Collected {
        Collected { builder: Some(LogProbsBuilder::new(k)), ids: Vec::new() }
    }

    /// About what it takes in memory.
    pub(super) fn num_bytes(&self) -> usize {
        self.builder.as_ref().map_or(0, |builder| builder.num_bytes() + 4 * self.ids.len())
    }

    /// Takes what a chunk tells, which has text or not. Returns its tokens, where all of them are named by id.
    pub(super) fn take(&mut self, told: Option<&RawValue>, ids: Option<&[u32]>, has_text: bool) -> Option<Vec<u32>> {
        let builder = self.builder.as_mut()?;
        let told = told.map(RawValue::get).filter(|told| *told != "null");
        let places = told.map(places);
        let named = places.iter().flatten().flatten().map(|((name, _), _)| name.id()).collect();
        let whole = match places.map(|places| places.and_then(|places| add(builder, places))) {
            Some(Some(count)) => count > 0 || !has_text,
            Some(None) => false,
            None => !has_text,
        };
        if !whole {
            *self = Collected { builder: None, ids: Vec::new() };
            return None;
        }
        self.ids.extend_from_slice(ids.unwrap_or_default());
        named
    }

    /// All that was told, if nothing was missing.
    pub(super) fn finish(self) -> Option<LogProbs> {
        let log_probs = self.builder?.finish();
        match self.ids.len() == log_probs.len() && !self.ids.is_empty() {
            true => log_probs.with_ids(self.ids).ok(),
            false => Some(log_probs),
        }
    }
}

/// A generated token and the alternatives to it.
type Entry = ((Name, f32), Vec<(Name, f32)>);

/// What JSON tells; nothing where that is not one entry for each token.
fn places(told: &str) -> Option<Vec<Entry>> {
    let told: Told = serde_json::from_str(told).ok()?;
    if let Some(content) = told.content {
        let entry = |place: Place| {
            let Place { id, token, logprob, bytes, top_logprobs } = place;
            let (log_prob, others) = (logprob?, top_logprobs.unwrap_or_default());
            let chosen = One { id, token, logprob, bytes };
            let others = others.into_iter().filter_map(|other| Some((other.logprob?, other.name())));
            Some(((chosen.name(), log_prob), others.map(|(log_prob, name)| (name, log_prob)).collect()))
        };
        return content.into_iter().map(entry).collect();
    }
    let (Some(tokens), Some(log_probs)) = (told.tokens, told.token_logprobs) else {
        // Some hosts say nothing of a chunk without tokens in this way.
        return told.top_logprobs.is_none().then(Vec::new);
    };
    let top = told.top_logprobs.unwrap_or_else(|| tokens.iter().map(|_| None).collect());
    if tokens.len() != log_probs.len() || tokens.len() != top.len() {
        return None;
    }
    let entry = |((token, log_prob), top): ((String, Option<f32>), Option<Alternatives>)| {
        let number = |value: &Value| value.as_f64().map(|log_prob| log_prob as f32);
        let others = top.into_iter().flatten();
        let others = others.filter_map(|(token, value)| Some((Name::of(token), number(&value)?))).collect();
        Some(((Name::of(token), log_prob?), others))
    };
    tokens.into_iter().zip(log_probs).zip(top).map(entry).collect()
}

/// Adds entries; how many, or nothing where they do not go with those before.
fn add(builder: &mut LogProbsBuilder, entries: Vec<Entry>) -> Option<usize> {
    for ((name, log_prob), others) in &entries {
        let others: Vec<_> = others.iter().map(|(name, log_prob)| (name.token(), *log_prob)).collect();
        builder.push((name.token(), *log_prob), &others).ok()?;
    }
    Some(entries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generated token, its log-probability, its id, and how many alternatives it has.
    type Seen = (String, f32, Option<u32>, usize);

    /// What chunks come to: logprobs, ids and whether there is text, as the generated tokens, ids and numbers of alternatives.
    fn collected(chunks: &[(&str, &str, bool)]) -> Option<Vec<Seen>> {
        let mut collected = Collected::new(2);
        for (told, ids, has_text) in chunks {
            let raw = |json: &str| (!json.is_empty()).then(|| RawValue::from_string(json.to_owned()).expect("JSON"));
            let ids = raw(ids).as_deref().and_then(crate::http::ids::read);
            collected.take(raw(told).as_deref(), ids.as_deref(), *has_text);
        }
        let token = |token: Token<'_>| match token {
            Token::Id(id) => format!("#{id}"),
            Token::Text(text) => String::from_utf8_lossy(text).into_owned(),
        };
        let log_probs = collected.finish()?;
        let told = log_probs.iter().map(|place| {
            let (chosen, log_prob) = place.chosen();
            (token(chosen), log_prob, place.chosen_id(), place.alternatives().count())
        });
        Some(told.collect())
    }

    const CHAT: &str = r#"{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"a","logprob":-0.5,"bytes":[97]},{"token":"b","logprob":-1.5,"bytes":null}]}],"refusal":null}"#;

    #[test]
    fn every_shape_is_read() {
        let a = |id: Option<u32>, alternatives: usize| Some(vec![("a".to_owned(), -0.5, id, alternatives)]);
        let by_id = Some(vec![("#7".to_owned(), -0.5, Some(7), 2)]);
        for (told, ids, expected) in [
            (CHAT, "", a(None, 2)),
            (CHAT, "[7]", a(Some(7), 2)),
            (CHAT, "null", a(None, 2)),
            (CHAT, "[7,8]", a(None, 2)),
            (CHAT, "\"no ids\"", a(None, 2)),
            (r#"{"content":[{"token":"a","logprob":-0.5}]}"#, "", a(None, 0)),
            (r#"{"content":[{"token":"?","logprob":-0.5,"bytes":[97],"top_logprobs":null}]}"#, "", a(None, 0)),
            (
                r#"{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"b","logprob":null}]}]}"#,
                "",
                a(None, 0),
            ),
            (
                r#"{"content":[{"id":7,"token":"a","logprob":-0.5,"top_logprobs":[{"id":7,"token":"a","logprob":-0.5},{"id":8,"token":"b","logprob":-2}]}]}"#,
                "",
                by_id.clone(),
            ),
            (
                r#"{"tokens":["token_id:7"],"token_logprobs":[-0.5],"top_logprobs":[{"token_id:7":-0.5,"token_id:9":-3}]}"#,
                "",
                by_id,
            ),
            (
                r#"{"tokens":["a"],"token_logprobs":[-0.5],"top_logprobs":[{"a":-0.5,"b":-1,"c":-3}],"text_offset":[0]}"#,
                "",
                a(None, 2),
            ),
            (r#"{"tokens":["bytes:\\x61"],"token_logprobs":[-0.5],"top_logprobs":[null]}"#, "[7]", a(Some(7), 0)),
            (r#"{"tokens":["a"],"token_logprobs":[-0.5],"top_logprobs":null}"#, "", a(None, 0)),
        ] {
            assert_eq!(collected(&[(told, ids, true)]), expected, "{told} {ids}");
        }
    }

    #[test]
    fn a_token_without_them_leaves_the_answer_without_any() {
        for told in [
            "",
            "null",
            "[]",
            "3",
            "[null,-1]",
            "{}",
            r#"{"content":null}"#,
            r#"{"content":[]}"#,
            r#"{"content":[{"token":"a"}]}"#,
            r#"{"content":[{"token":"a","logprob":null}]}"#,
            r#"{"content":[{"token":3,"logprob":-1}]}"#,
            r#"{"content":[{"token":"token_id:3","logprob":-1}]}"#,
            r#"{"tokens":["a"],"token_logprobs":[null]}"#,
            r#"{"tokens":["a","b"],"token_logprobs":[-1]}"#,
            r#"{"tokens":["a"],"token_logprobs":[-1],"top_logprobs":[]}"#,
            r#"{"tokens":["a"]}"#,
        ] {
            assert_eq!(collected(&[(CHAT, "", true), (told, "", true), (CHAT, "", true)]), None, "{told}");
        }
    }

    #[test]
    fn a_chunk_without_text_may_be_without_them_and_may_have_them() {
        let chunks =
            [("", "", false), (CHAT, "[1]", true), ("null", "null", false), (CHAT, "[2]", false), ("{}", "", false)];
        let ids: Vec<_> = collected(&chunks).expect("two tokens").into_iter().map(|told| told.2).collect();
        assert_eq!(ids, [Some(1), Some(2)]);
        assert_eq!(collected(&[("", "", false)]), Some(vec![]), "no token, none missing");
    }

    #[test]
    fn bytes_are_read_only_where_they_are_written_whole() {
        for (text, expected) in
            [("\\xe2\\x80", Some(vec![0xe2, 0x80])), ("\\xe", None), ("e2", None), ("\\xe2 ", None), ("\\x+1", None)]
        {
            assert_eq!(escaped(text), expected, "{text}");
        }
    }
}

//! What was received of an answer that has not ended yet, and how it is put together with what comes after a seam.

use crate::Cost;
use distill_dataset::{FinishReason, LogProbs, Segment, Trace, TurnFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// What was received of an answer so far: the teacher goes on from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Raw text after the prefix of the turn's format, as in a [`Completion`](crate::Completion).
    pub text: String,
    /// The generations that it came from.
    pub segments: Vec<Segment>,
    /// The log-probabilities of its tokens, where they were told for all of them. The spool has none.
    pub log_probs: Option<Arc<LogProbs>>,
    /// The ids of its tokens, where they were told for all of them. They say the text, but for a character at its end that
    /// has not ended.
    pub ids: Option<Vec<u32>>,
    /// The model that its generations named, where they did: only that one goes on from it.
    pub model: Option<String>,
}

impl Partial {
    /// What is there of an answer that was cut.
    pub fn of_cut(trace: Trace, log_probs: Option<Arc<LogProbs>>) -> Partial {
        let Trace { text, mut segments, token_ids, response_model, .. } = trace;
        let whole = whole(&text);
        if let Some(last) = segments.last_mut() {
            last.num_bytes = last.num_bytes.saturating_sub((text.len() - whole.len()) as u32);
        }
        let model = Some(response_model).filter(|model| !model.is_empty());
        Partial { text: whole.to_owned(), segments, log_probs, ids: token_ids, model }
    }

    /// Tokens that were generated.
    pub fn num_tokens(&self) -> u32 {
        self.segments.iter().map(|segment| segment.num_tokens).fold(0, u32::saturating_add)
    }

    /// The log-probabilities after one more generation, with those of its tokens: none where some part has none.
    pub(crate) fn join_log_probs(before: Option<&Partial>, last: Option<LogProbs>) -> Option<Arc<LogProbs>> {
        let Some(partial) = before.filter(|partial| !partial.segments.is_empty()) else { return last.map(Arc::new) };
        let mut joined = LogProbs::clone(partial.log_probs.as_ref()?);
        joined.append(&last?).ok()?;
        Some(Arc::new(joined))
    }

    /// The ids after one more generation, with those of its tokens: none where some part has none.
    pub(crate) fn join_ids(before: Option<&Partial>, last: Option<TokenIds>) -> Option<Vec<u32>> {
        let before = before.filter(|partial| !partial.segments.is_empty());
        let mut joined = before.map_or(Some(Vec::new()), |partial| partial.ids.clone())?;
        let last = last.filter(|last| last.from as usize == joined.len())?;
        joined.extend(last.ids);
        Some(joined)
    }

    /// What is there after one more generation, which broke off, without log-probabilities and ids. A character at its end
    /// that has not ended is left out: of a text, it is generated again.
    pub fn and(mut self, text: String, tokens: u64) -> Partial {
        let text = whole(&text).to_owned();
        let num_bytes = text.len().saturating_sub(self.text.len()) as u32;
        let num_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.segments.push(Segment { num_bytes, num_tokens, finish_reason: FinishReason::Broken });
        Partial { text, log_probs: None, ids: None, ..self }
    }
}

/// A piece of an answer that is on its way: what came since the piece before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Reasoning that came apart from the text.
    pub reasoning: String,
    /// Text.
    pub content: String,
    /// The ids that say it, where they are told.
    pub ids: Option<TokenIds>,
    /// The model that the answer names, in the first piece that knows it.
    pub model: Option<String>,
    /// What the attempt cost so far.
    pub cost: Cost,
}

/// Ids of generated tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenIds {
    /// Tokens of the answer that were there before the generation.
    pub from: u32,
    /// The ids.
    pub ids: Vec<u32>,
}

/// The text without what stands at its end for a character that has not ended.
fn whole(text: &str) -> &str {
    text.trim_end_matches('\u{fffd}')
}

/// Pieces of one attempt as they are spooled. Names are short: there are many of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spooled {
    /// The attempt's number, which its charge has too.
    #[serde(rename = "a")]
    pub(crate) attempt: String,
    /// The first and the last of these pieces, from 0.
    #[serde(rename = "p")]
    pub(crate) pieces: (u32, u32),
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub(crate) reasoning: String,
    #[serde(rename = "c", default, skip_serializing_if = "String::is_empty")]
    pub(crate) content: String,
    /// What another version wrote here is no reason to lose the text.
    #[serde(
        rename = "i",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "ids_to_text",
        deserialize_with = "ids_of_text"
    )]
    pub(crate) ids: Option<TokenIds>,
    #[serde(rename = "t")]
    pub(crate) cost: Cost,
    /// The model that it named.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The attempt began the answer anew, whatever was received before.
    #[serde(rename = "n", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) begins: bool,
    /// The attempt's text is not to be gone on from.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) discarded: bool,
}

impl Spooled {
    /// Whether something of an answer is in it.
    fn brought(&self) -> bool {
        let has_ids = self.ids.as_ref().is_some_and(|told| !told.ids.is_empty());
        !self.reasoning.is_empty() || !self.content.is_empty() || has_ids
    }

    fn add(&mut self, next: Spooled) {
        if next.pieces.0 == self.pieces.1 + 1 {
            self.reasoning += &next.reasoning;
            self.content += &next.content;
            self.ids = self.ids.take().zip(next.ids).map(|(mut all, more)| {
                all.ids.extend(more.ids);
                all
            });
        } else if next.pieces.0 <= self.pieces.0 && next.pieces.1 > self.pieces.1 {
            // The same pieces and more.
            (self.reasoning, self.content, self.ids) = (next.reasoning, next.content, next.ids);
            self.begins |= next.begins;
        } else {
            // These are there already, or some before them are lost.
            return;
        }
        self.pieces.1 = next.pieces.1;
        self.model = self.model.take().or(next.model);
        self.discarded |= next.discarded;
        if !next.discarded {
            self.cost = next.cost;
        }
    }
}

/// Digits of ids: five bits each, the least significant first, with a sixth that says whether another follows.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The number of tokens before them and the ids, in three or four letters each.
fn ids_to_text<S: Serializer>(told: &Option<TokenIds>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::new();
    for id in told.iter().flat_map(|told| std::iter::once(&told.from).chain(&told.ids)) {
        let mut rest = *id;
        loop {
            let more = rest > 31;
            text.push(char::from(DIGITS[(rest & 31) as usize | usize::from(more) << 5]));
            rest >>= 5;
            if !more {
                break;
            }
        }
    }
    serializer.serialize_str(&text)
}

fn ids_of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TokenIds>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| {
        let (mut ids, mut id, mut shift) = (Vec::new(), 0_u64, 0);
        for letter in text.bytes() {
            let digit = DIGITS.iter().position(|digit| *digit == letter)? as u64;
            id |= (digit & 31) << shift;
            shift += 5;
            if digit < 32 {
                ids.push(u32::try_from(id).ok()?);
                (id, shift) = (0, 0);
            } else if shift > 30 {
                return None;
            }
        }
        let from = (shift == 0 && !ids.is_empty()).then(|| ids.remove(0))?;
        Some(TokenIds { from, ids })
    }))
}

/// All that there is of each attempt, in their order.
fn attempts(pieces: impl IntoIterator<Item = Spooled>) -> Vec<Spooled> {
    let mut attempts: Vec<Spooled> = Vec::new();
    for piece in pieces {
        match attempts.iter_mut().find(|attempt| attempt.attempt == piece.attempt) {
            Some(attempt) => attempt.add(piece),
            None => attempts.push(piece),
        }
    }
    attempts
}

/// The pieces that were spooled. One that another version wrote is no reason not to go on: it is left out.
fn read(payloads: &[Vec<u8>]) -> impl Iterator<Item = Spooled> {
    payloads.iter().filter_map(|json| serde_json::from_slice(json).ok())
}

/// One piece of each attempt.
pub(crate) fn merge(payloads: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    attempts(read(&payloads)).iter().filter_map(|attempt| serde_json::to_vec(attempt).ok()).collect()
}

/// What is put together from the pieces of a sample: the text, and what each attempt cost.
pub(crate) fn assemble(payloads: &[Vec<u8>]) -> (Partial, Vec<(String, Cost)>) {
    let (mut partial, mut costs) = (Partial::default(), Vec::new());
    for attempt in attempts(read(payloads)) {
        let brought = attempt.brought() && !attempt.discarded;
        if brought && attempt.begins {
            partial = Partial::default();
        }
        // Of another model, it is no part of this answer.
        let is_anothers = partial.model.is_some() && attempt.model.is_some() && partial.model != attempt.model;
        let text = match &attempt.ids {
            // Who is given ids does not say once more what it was given.
            Some(_) => format!("{}{}", partial.text, attempt.content),
            None => go_on(&partial.text, &attempt.reasoning, &attempt.content, false),
        };
        let goes_on = text.len() > partial.text.len() || attempt.ids.as_ref().is_some_and(|told| !told.ids.is_empty());
        if brought && goes_on && !is_anothers {
            let ids = Partial::join_ids(Some(&partial), attempt.ids);
            let model = partial.model.take().or(attempt.model);
            partial = Partial { ids, model, ..partial.and(text, attempt.cost.completion_tokens) };
        }
        costs.push((attempt.attempt, attempt.cost));
    }
    (partial, costs)
}

/// The text after one more generation, whose reasoning may have come apart; `ended` where the model said that it is done.
/// Reasoning that was cut stays open.
pub(crate) fn go_on(before: &str, reasoning: &str, content: &str, ended: bool) -> String {
    // Servers that take reasoning out of the text take these tags.
    let format = TurnFormat::default();
    if before.is_empty() {
        return match content.is_empty() && !reasoning.is_empty() && !ended {
            true => format.opened(reasoning),
            false => format.join(reasoning, content),
        };
    }
    // Some servers say once more what they were given.
    if let Some(content) = content.strip_prefix(before)
        && reasoning.is_empty()
    {
        return format!("{before}{content}");
    }
    let is_open = before.contains(&format.open) && !before.contains(&format.close);
    if reasoning.is_empty() || !is_open {
        // Behind the reasoning, a server that looks for its end takes all for reasoning.
        return format!("{before}{reasoning}{content}");
    }
    let whole = format!("{before}{reasoning}");
    if content.is_empty() && !ended {
        return whole;
    }
    let inside = whole.split_once(&format.open).map_or(whole.as_str(), |(_, inside)| inside);
    format.join(inside, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_anywhere_is_whole_again() {
        let (reasoning, content) = ("\nstep 1\nstep 2", "it is 42");
        let whole = go_on("", reasoning, content, true);
        assert_eq!(whole, "<think>\nstep 1\nstep 2\n</think>\n\nit is 42");
        for cut in 1..reasoning.len() {
            let before = go_on("", &reasoning[..cut], "", false);
            assert_eq!(go_on(&before, &reasoning[cut..], content, true), whole, "reasoning cut at {cut}");
            // A server that is given the opening tag may leave what follows as it is.
            let rest = format!("{}\n</think>\n\n{content}", &reasoning[cut..]);
            assert_eq!(go_on(&before, "", &rest, true), whole, "reasoning cut at {cut}, and in the text");
            let echo = format!("{before}{rest}");
            assert_eq!(go_on(&before, "", &echo, true), whole, "reasoning cut at {cut}, and said once more");
        }
        for cut in 1..content.len() {
            let before = go_on("", reasoning, &content[..cut], false);
            assert_eq!(go_on(&before, "", &content[cut..], true), whole, "text cut at {cut}");
            assert_eq!(go_on(&before, &content[cut..], "", true), whole, "text cut at {cut}, and taken for reasoning");
        }
        // The prompt opened it: all is text.
        assert_eq!(go_on("step 1\n</thi", "", "nk>\n\n42", true), "step 1\n</think>\n\n42");
    }

    fn piece(attempt: &str, pieces: (u32, u32), reasoning: &str, content: &str, tokens: u64) -> Vec<u8> {
        let spooled = Spooled {
            attempt: attempt.to_owned(),
            pieces,
            reasoning: reasoning.to_owned(),
            content: content.to_owned(),
            ids: None,
            cost: Cost { completion_tokens: tokens, ..Cost::default() },
            model: None,
            begins: false,
            discarded: attempt == "other",
        };
        serde_json::to_vec(&spooled).expect("JSON")
    }

    #[test]
    fn pieces_are_put_together_each_once_with_what_each_attempt_cost() {
        let pieces = vec![
            piece("other", (0, 0), "of another model", "", 9),
            piece("1", (0, 0), "ab", "", 2),
            piece("1", (1, 1), "c", "", 3),
            piece("1", (0, 1), "abc", "", 3),
            piece("1", (1, 1), "c", "", 3),
            piece("2", (0, 0), "d", "4", 2),
            piece("3", (0, 0), "", "", 0),
            piece("2", (1, 1), "", "2", 3),
            b"another version's".to_vec(),
        ];
        // Merged once, twice, and beside what they were merged from.
        let merged = merge(pieces.clone());
        assert_eq!(merged.len(), 4);
        for pieces in [pieces.clone(), merged.clone(), merge(merged.clone()), [pieces, merged].concat()] {
            let (partial, costs) = assemble(&pieces);
            assert_eq!(partial.text, "<think>\nabcd\n</think>\n\n42");
            assert_eq!((partial.num_tokens(), &partial.ids), (6, &None));
            let bytes: u32 = partial.segments.iter().map(|segment| segment.num_bytes).sum();
            assert_eq!((partial.segments.len(), bytes as usize), (2, partial.text.len()));
            let costs: Vec<_> = costs.iter().map(|(number, cost)| (number.as_str(), cost.completion_tokens)).collect();
            assert_eq!(costs, [("other", 9), ("1", 3), ("2", 3), ("3", 0)]);
        }
        // A piece that is lost costs those behind it.
        let (partial, _) = assemble(&[piece("1", (0, 0), "a", "", 1), piece("1", (2, 2), "c", "", 3)]);
        assert_eq!((partial.text.as_str(), partial.num_tokens()), ("<think>\na", 1));
    }

    /// A line of an attempt at one part: its piece, its text, and ids behind so many others.
    fn line(attempt: &str, piece: u32, content: &str, told: Option<(u32, &[u32])>) -> Vec<u8> {
        let ids = told.map(|(from, ids)| TokenIds { from, ids: ids.to_vec() });
        let line = Spooled {
            attempt: attempt.to_owned(),
            pieces: (piece, piece),
            reasoning: String::new(),
            content: content.to_owned(),
            ids,
            cost: Cost { completion_tokens: 1, ..Cost::default() },
            model: None,
            begins: false,
            discarded: false,
        };
        serde_json::to_vec(&line).expect("JSON")
    }

    #[test]
    fn text_of_another_model_or_of_an_attempt_that_began_anew_is_not_put_together_with_what_was_before() {
        let of = |attempt: &str, text: &str, model: Option<&str>, begins: bool| {
            let line: Spooled = serde_json::from_slice(&line(attempt, 0, text, None)).expect("a line");
            let model = model.map(str::to_owned);
            serde_json::to_vec(&Spooled { model, begins, ..line }).expect("JSON")
        };
        let (first, second) = (of("1", "ab", Some("r1"), true), of("2", "cd", None, false));
        for (last, expected) in [
            (of("3", "ef", Some("r1"), false), "abcdef"),
            (of("3", "ef", Some("r1-distill"), false), "abcd"),
            (of("3", "ef", Some("r1-distill"), true), "ef"),
            (of("3", "", None, true), "abcd"),
        ] {
            let lines = vec![first.clone(), second.clone(), last];
            for lines in [lines.clone(), merge(lines)] {
                let (partial, costs) = assemble(&lines);
                assert_eq!((partial.text.as_str(), costs.len()), (expected, 3), "each is charged");
                assert_eq!(partial.model.as_deref(), Some(if expected == "ef" { "r1-distill" } else { "r1" }));
            }
        }
    }

    #[test]
    fn ids_are_put_together_beside_the_text_where_no_part_lacks_them() {
        let most = u32::MAX;
        let first = [line("1", 0, "ab", Some((0, &[0, 31, 32]))), line("1", 1, "c", Some((0, &[128_000, most])))];
        let all = [&first[..], &[line("2", 0, "d", Some((5, &[7])))]].concat();
        for lines in [all.clone(), merge(all.clone()), merge(merge(all))] {
            let (partial, _) = assemble(&lines);
            assert_eq!(
                (partial.text.as_str(), partial.ids),
                ("abcd", Some(vec![0, 31, 32, 128_000, most, 7])),
                "each once, in order"
            );
        }
        for lost in [
            line("2", 0, "d", None),
            // It went on from other tokens than these.
            line("2", 0, "d", Some((4, &[7]))),
            line("1", 2, "d", None),
        ] {
            let (partial, _) = assemble(&[&first[..], &[lost]].concat());
            assert_eq!((partial.text.as_str(), partial.ids), ("abcd", None));
        }
        // Half of a letter has no text yet.
        let half =
            [line("1", 0, "a", Some((0, &[1]))), line("1", 1, "", Some((0, &[2]))), line("2", 0, "é", Some((2, &[3])))];
        let (partial, _) = assemble(&half);
        assert_eq!((partial.text.as_str(), partial.ids), ("aé", Some(vec![1, 2, 3])));
    }

    #[test]
    fn ids_take_three_or_four_letters_each_and_damaged_ones_cost_no_text() {
        let text = String::from_utf8(line("1", 0, "a", Some((300, &[9, 1000, 30_000, 128_000])))).expect("JSON");
        let ids = text.split("\"i\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("ids");
        assert_eq!(ids.len(), 2 + 1 + 2 + 3 + 4, "{ids}");
        let most = "g".repeat(6);
        for damaged in ["", "!", "gggggggg", "é", "g", &(most.clone() + "z"), &(most + "E")] {
            let line = text.replace(ids, damaged);
            let (partial, _) = assemble(&[line.into_bytes()]);
            assert_eq!((partial.text.as_str(), partial.ids), ("a", None), "{damaged}");
        }
        let (partial, _) = assemble(&[text.replace(&format!("\"{ids}\""), "[1]").into_bytes()]);
        assert_eq!((partial.text.as_str(), partial.ids), ("a", None));
    }

    #[test]
    fn a_character_that_has_not_ended_is_no_text_to_go_on_from() {
        let (partial, _) = assemble(&[line("1", 0, "a\u{fffd}", None), line("2", 0, "🙂b", None)]);
        assert_eq!(partial.text, "a🙂b");
        let bytes: Vec<u32> = partial.segments.iter().map(|segment| segment.num_bytes).collect();
        assert_eq!(bytes, [1, 5]);
    }
}

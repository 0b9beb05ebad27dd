//! What was received of an answer that has not ended yet, and how it is put together with what comes after a seam.

use crate::Cost;
use distill_dataset::{FinishReason, LogProbs, Segment, TurnFormat};
use serde::{Deserialize, Serialize};
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
}

impl Partial {
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

    /// What is there after one more generation, which broke off, without log-probabilities.
    pub fn and(mut self, text: String, tokens: u64) -> Partial {
        let num_bytes = text.len().saturating_sub(self.text.len()) as u32;
        let num_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.segments.push(Segment { num_bytes, num_tokens, finish_reason: FinishReason::Broken });
        Partial { text, log_probs: None, ..self }
    }
}

/// A piece of an answer that is on its way: what came since the piece before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Reasoning that came apart from the text.
    pub reasoning: String,
    /// Text.
    pub content: String,
    /// What the attempt cost so far.
    pub cost: Cost,
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
    #[serde(rename = "t")]
    pub(crate) cost: Cost,
    /// The attempt's text is not to be gone on from.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) discarded: bool,
}

impl Spooled {
    fn add(&mut self, next: Spooled) {
        if next.pieces.0 == self.pieces.1 + 1 {
            self.reasoning += &next.reasoning;
            self.content += &next.content;
        } else if next.pieces.0 <= self.pieces.0 && next.pieces.1 > self.pieces.1 {
            // The same pieces and more.
            (self.reasoning, self.content) = (next.reasoning, next.content);
        } else {
            // These are there already, or some before them are lost.
            return;
        }
        self.pieces.1 = next.pieces.1;
        self.discarded |= next.discarded;
        if !next.discarded {
            self.cost = next.cost;
        }
    }
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
        let text = go_on(&partial.text, &attempt.reasoning, &attempt.content, false);
        if text.len() > partial.text.len() && !attempt.discarded {
            partial = partial.and(text, attempt.cost.completion_tokens);
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
            cost: Cost { completion_tokens: tokens, ..Cost::default() },
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
            assert_eq!(partial.num_tokens(), 6);
            let bytes: u32 = partial.segments.iter().map(|segment| segment.num_bytes).sum();
            assert_eq!((partial.segments.len(), bytes as usize), (2, partial.text.len()));
            let costs: Vec<_> = costs.iter().map(|(number, cost)| (number.as_str(), cost.completion_tokens)).collect();
            assert_eq!(costs, [("other", 9), ("1", 3), ("2", 3), ("3", 0)]);
        }
        // A piece that is lost costs those behind it.
        let (partial, _) = assemble(&[piece("1", (0, 0), "a", "", 1), piece("1", (2, 2), "c", "", 3)]);
        assert_eq!((partial.text.as_str(), partial.num_tokens()), ("<think>\na", 1));
    }
}

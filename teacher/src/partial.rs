//! What was received of an answer that has not ended yet, and how it is put together with what comes after a seam.

use crate::Cost;
use distill_dataset::{FinishReason, Segment, TurnFormat};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What was received of an answer so far: the teacher goes on from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Raw text after the prefix of the turn's format, as in a [`Completion`](crate::Completion).
    pub text: String,
    /// The generations that it came from.
    pub segments: Vec<Segment>,
}

impl Partial {
    /// Tokens that were generated.
    pub fn num_tokens(&self) -> u32 {
        self.segments.iter().map(|segment| segment.num_tokens).fold(0, u32::saturating_add)
    }

    /// What is there after one more generation, which broke off.
    pub fn and(mut self, text: String, tokens: u64) -> Partial {
        let num_bytes = text.len().saturating_sub(self.text.len()) as u32;
        let num_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.segments.push(Segment { num_bytes, num_tokens, finish_reason: FinishReason::Broken });
        Partial { text, ..self }
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

/// A piece as it is spooled.
#[derive(Serialize, Deserialize)]
pub(crate) struct Spooled {
    /// The attempt's number, which its charge has too.
    pub(crate) attempt: String,
    /// Which of the attempt's pieces, from 0.
    pub(crate) index: u32,
    pub(crate) reasoning: String,
    pub(crate) content: String,
    pub(crate) cost: Cost,
    /// The attempt's text is not to be gone on from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) discarded: bool,
}

/// What is put together from the pieces of a sample: the text, and what each attempt cost.
pub(crate) fn assemble(pieces: Vec<Spooled>) -> (Partial, Vec<(String, Cost)>) {
    struct Attempt {
        reasoning: String,
        content: String,
        cost: Cost,
        discarded: bool,
    }
    let mut order: Vec<String> = Vec::new();
    let mut attempts: HashMap<String, Attempt> = HashMap::new();
    let mut seen = HashSet::new();
    for piece in pieces {
        if !seen.insert((piece.attempt.clone(), piece.index)) {
            continue;
        }
        let attempt = attempts.entry(piece.attempt.clone()).or_insert_with(|| {
            order.push(piece.attempt.clone());
            Attempt { reasoning: String::new(), content: String::new(), cost: Cost::default(), discarded: false }
        });
        attempt.discarded |= piece.discarded;
        attempt.reasoning += &piece.reasoning;
        attempt.content += &piece.content;
        attempt.cost = piece.cost;
    }
    let mut partial = Partial::default();
    let mut costs = Vec::new();
    for number in order {
        let Some(Attempt { reasoning, content, cost, discarded }) = attempts.remove(&number) else { continue };
        let text = go_on(&partial.text, &reasoning, &content, false);
        if text.len() > partial.text.len() && !discarded {
            partial = partial.and(text, cost.completion_tokens);
        }
        costs.push((number, cost));
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

    #[test]
    fn pieces_are_put_together_each_once_with_what_each_attempt_cost() {
        let piece = |attempt: &str, index, reasoning: &str, content: &str, tokens| Spooled {
            attempt: attempt.to_owned(),
            index,
            reasoning: reasoning.to_owned(),
            content: content.to_owned(),
            cost: Cost { completion_tokens: tokens, ..Cost::default() },
            discarded: attempt == "other",
        };
        let (partial, costs) = assemble(vec![
            piece("other", 0, "of another model", "", 9),
            piece("1", 0, "ab", "", 2),
            piece("1", 1, "c", "", 3),
            piece("1", 1, "c", "", 3),
            piece("2", 0, "d", "4", 2),
            piece("3", 0, "", "", 0),
            piece("2", 1, "", "2", 3),
        ]);
        assert_eq!(partial.text, "<think>\nabcd\n</think>\n\n42");
        assert_eq!(partial.num_tokens(), 6);
        let bytes: u32 = partial.segments.iter().map(|segment| segment.num_bytes).sum();
        assert_eq!((partial.segments.len(), bytes as usize), (2, partial.text.len()));
        let costs: Vec<_> = costs.iter().map(|(number, cost)| (number.as_str(), cost.completion_tokens)).collect();
        assert_eq!(costs, [("other", 9), ("1", 3), ("2", 3), ("3", 0)]);
    }
}

//! How a teacher lays out a turn: tags around the reasoning, the answer behind it. This file alone spells the tags of
//! DeepSeek-R1; everything else asks a [`TurnFormat`], which every trace carries.

mod reader;

pub use reader::{Parts, TurnReader};

use serde::{Deserialize, Serialize};

/// Where the reasoning of a turn begins and ends, and how the prompt begins the turn.
///
/// ```
/// # use distill_dataset::TurnFormat;
/// let format = TurnFormat::of_prompt("<|User|>1+1?<|Assistant|><think>\n");
/// assert_eq!(format.prefix, "<think>\n");
/// let turn = format!("{}{}", format.prefix, "1 and 1 make 2.\n</think>\n\n2");
/// let parts = format.split(&turn);
/// assert_eq!(parts.reasoning, Some("\n1 and 1 make 2.\n"));
/// assert_eq!(parts.answer, Some("\n\n2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TurnFormat {
    /// Opens the reasoning.
    pub open: String,
    /// Closes it.
    pub close: String,
    /// What the prompt already put into the assistant's turn; empty where the model writes all of it.
    pub prefix: String,
}

/// Tags that published datasets have, DeepSeek-R1's first.
const KNOWN: [[&str; 2]; 4] = [
    ["<think>", "</think>"],
    ["<|begin_of_thought|>", "<|end_of_thought|>"],
    ["[THINK]", "[/THINK]"],
    ["<thought>", "</thought>"],
];

impl Default for TurnFormat {
    /// DeepSeek-R1's tags, as most models that learned from it have them, and no prefix.
    fn default() -> TurnFormat {
        TurnFormat { open: "<think>".to_owned(), close: "</think>".to_owned(), prefix: String::new() }
    }
}

/// A turn, split. Text that stands before the reasoning is in neither part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<'t> {
    /// The reasoning without its tags; nothing where it was never opened, or never closed.
    pub reasoning: Option<&'t str>,
    /// What follows the reasoning: the whole turn where there is none, nothing while it is not closed.
    pub answer: Option<&'t str>,
}

impl<'t> Turn<'t> {
    /// What is to be judged; empty while the reasoning is not closed.
    pub fn answered(&self) -> &'t str {
        self.answer.unwrap_or("")
    }
}

impl TurnFormat {
    /// The format of a turn that this prompt begins: with the opening tag, or with nothing.
    pub fn of_prompt(prompt: &str) -> TurnFormat {
        let format = TurnFormat::default();
        let prefixes = [format!("{}\n", format.open), format.open.clone()];
        let prefix = prefixes.into_iter().find(|prefix| prompt.ends_with(prefix)).unwrap_or_default();
        TurnFormat { prefix, ..format }
    }

    /// The format of a turn that somebody wrote down whole, without what the prompt began it with: by the tags that are in it.
    /// One that closes what it never opened was opened by its prompt.
    ///
    /// ```
    /// # use distill_dataset::TurnFormat;
    /// let format = TurnFormat::of_text("1 and 1 make 2.\n</think>\n\n2");
    /// assert_eq!(format.prefix, "<think>\n");
    /// assert_eq!(TurnFormat::of_text("2"), TurnFormat::default());
    /// ```
    pub fn of_text(text: &str) -> TurnFormat {
        let known = KNOWN.map(|[open, close]| TurnFormat {
            open: open.to_owned(),
            close: close.to_owned(),
            prefix: String::new(),
        });
        let tagged = known.into_iter().find(|format| text.contains(&format.open) || text.contains(&format.close));
        let format = tagged.unwrap_or_default();
        let opened = text.find(&format.open);
        match text.find(&format.close) {
            Some(closed) if opened.is_none_or(|opened| closed < opened) => {
                let line = if text.starts_with('\n') { "" } else { "\n" };
                TurnFormat { prefix: format!("{}{line}", format.open), ..format }
            }
            _ => format,
        }
    }

    /// The whole turn of which a model generated `text`.
    pub fn turn(&self, text: &str) -> String {
        format!("{}{text}", self.prefix)
    }

    /// Splits a whole turn, prefix included, at its last closing tag.
    ///
    /// A turn that closes what it never opened is legitimate: prompts open it.
    pub fn split<'t>(&self, turn: &'t str) -> Turn<'t> {
        let Some(closed) = turn.rfind(&self.close) else {
            return Turn { reasoning: None, answer: (!turn.contains(&self.open)).then_some(turn) };
        };
        let (before, after) = (&turn[..closed], &turn[closed + self.close.len()..]);
        let reasoning = before.split_once(&self.open).map_or(before, |(_, reasoning)| reasoning);
        // It began to reason again and did not come to an end.
        let answer = (!after.contains(&self.open)).then_some(after);
        Turn { reasoning: Some(reasoning), answer }
    }

    /// How often a turn opens its reasoning, and how often it closes it.
    pub fn count_tags(&self, turn: &str) -> [u32; 2] {
        [&self.open, &self.close].map(|tag| turn.matches(tag.as_str()).count() as u32)
    }

    /// A turn of reasoning and answer that came apart, each tag on a line of its own. Nothing where there is no reasoning
    /// is invented: the answer is the turn then.
    pub fn join(&self, reasoning: &str, answer: &str) -> String {
        if reasoning.is_empty() {
            return answer.to_owned();
        }
        let line = if reasoning.ends_with('\n') { "" } else { "\n" };
        let gap = if answer.starts_with('\n') || answer.is_empty() { "" } else { "\n\n" };
        format!("{}{line}{}{gap}{answer}", self.opened(reasoning), self.close)
    }

    /// A turn whose reasoning was cut off.
    pub fn opened(&self, reasoning: &str) -> String {
        let line = if reasoning.starts_with('\n') { "" } else { "\n" };
        format!("{}{line}{reasoning}", self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_split_once_and_the_same_way_for_everyone() {
        let format = TurnFormat::default();
        let split = |turn| {
            let Turn { reasoning, answer } = format.split(turn);
            (reasoning, answer)
        };
        assert_eq!(split("<think>a</think>b"), (Some("a"), Some("b")));
        assert_eq!(split("a</think>b"), (Some("a"), Some("b")), "the prompt opened it");
        assert_eq!(split("x<think>a</think>y</think>b"), (Some("a</think>y"), Some("b")), "the last tag closes");
        assert_eq!(split("b"), (None, Some("b")), "no reasoning");
        assert_eq!(split("<think>a"), (None, None), "never closed");
        assert_eq!(split("<think>a</think>b<think>c"), (Some("a"), None), "reasons again, without an end");
        assert_eq!(split("<think></think>"), (Some(""), Some("")));
        assert_eq!(format.count_tags("<think><think></think>"), [2, 1]);
    }

    #[test]
    fn other_tags_are_a_value() {
        let format = TurnFormat { open: "[THINK]".to_owned(), close: "[/THINK]".to_owned(), prefix: String::new() };
        let turn = format.join("a", "b");
        assert_eq!(turn, "[THINK]\na\n[/THINK]\n\nb");
        assert_eq!(format.split(&turn).answered().trim(), "b");
        assert_eq!(format.split("<think>1</think>2").reasoning, None, "text, to this format");
    }

    #[test]
    fn what_came_apart_is_joined_without_doubled_lines() {
        let format = TurnFormat::default();
        assert_eq!(format.join("", "b"), "b");
        assert_eq!(format.join("\na\n", "\nb"), "<think>\na\n</think>\nb");
        assert_eq!(format.join("a", ""), "<think>\na\n</think>");
        assert_eq!(format.opened("a"), "<think>\na");
    }

    #[test]
    fn a_text_tells_its_tags_and_whether_its_prompt_opened_them() {
        let split = |text: &str| {
            let format = TurnFormat::of_text(text);
            let turn = format.turn(text);
            let Turn { reasoning, answer } = format.split(&turn);
            (format.prefix.clone(), reasoning.map(str::to_owned), answer.map(str::to_owned))
        };
        let parts = |prefix: &str, reasoning: &str, answer: &str| {
            (prefix.to_owned(), Some(reasoning.to_owned()), Some(answer.to_owned()))
        };
        assert_eq!(split("<think>a</think>b"), parts("", "a", "b"));
        assert_eq!(split("a</think>b"), parts("<think>\n", "\na", "b"));
        assert_eq!(split("\na</think>b"), parts("<think>", "\na", "b"));
        assert_eq!(split("a</think>b<think>"), ("<think>\n".to_owned(), Some("\na".to_owned()), None));
        assert_eq!(split("b"), (String::new(), None, Some("b".to_owned())));
        assert_eq!(split("<think>a"), (String::new(), None, None), "never closed");
        assert_eq!(
            split("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b"),
            parts("", "a", "<|begin_of_solution|>b")
        );
    }

    #[test]
    fn a_prompt_tells_its_prefix() {
        assert_eq!(TurnFormat::of_prompt("<a><think>\n").prefix, "<think>\n");
        assert_eq!(TurnFormat::of_prompt("<a><think>").prefix, "<think>");
        assert_eq!(TurnFormat::of_prompt("<a>").prefix, "");
    }
}

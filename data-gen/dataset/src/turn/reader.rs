//! Generated text, piece by piece → reasoning and answer. The tags and the line breaks beside them belong to neither. As
//! nobody knows what is still to come, the first closing tag closes.

use super::TurnFormat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything was said.
    Start,
    /// After the opening tag, before its first character.
    Opened,
    Reasoning,
    /// After the closing tag, before the answer's first character.
    Closed,
    Answer,
}

/// A turn that is split as it comes.
#[derive(Debug)]
pub struct TurnReader {
    format: TurnFormat,
    place: Place,
    held: String,
}

/// What a piece of text brings to either side.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Reasoning.
    pub reasoning: String,
    /// Answer.
    pub answer: String,
}

impl TurnReader {
    /// Reads what is written behind the format's prefix.
    pub fn new(format: TurnFormat) -> TurnReader {
        let place = if format.prefix.contains(&format.open) { Place::Opened } else { Place::Start };
        TurnReader { format, place, held: String::new() }
    }

    /// Takes a piece of text.
    pub fn push(&mut self, text: &str) -> Parts {
        self.held.push_str(text);
        let mut parts = Parts::default();
        while self.turn(&mut parts) {}
        parts
    }

    /// What was held back, when nothing more comes.
    pub fn finish(self) -> Parts {
        match self.place {
            Place::Start | Place::Answer => Parts { answer: self.held, ..Parts::default() },
            Place::Opened | Place::Reasoning => Parts { reasoning: self.held, ..Parts::default() },
            Place::Closed => Parts::default(),
        }
    }

    /// Goes as far as what is held is certain; whether it may go on.
    fn turn(&mut self, parts: &mut Parts) -> bool {
        match self.place {
            Place::Start => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(self.format.open.as_str()) {
                    self.held = rest.to_owned();
                    self.place = Place::Opened;
                } else if self.format.open.starts_with(text) {
                    return false;
                } else {
                    self.place = Place::Answer;
                }
                true
            }
            Place::Opened | Place::Closed => {
                let text = self.held.trim_start_matches('\n');
                let begun = !text.is_empty();
                self.held = text.to_owned();
                if begun {
                    self.place = if self.place == Place::Opened { Place::Reasoning } else { Place::Answer };
                }
                begun
            }
            Place::Reasoning => {
                let close = self.format.close.as_str();
                if let Some(at) = self.held.find(close) {
                    let reasoning = &self.held[..at];
                    parts.reasoning.push_str(reasoning.strip_suffix('\n').unwrap_or(reasoning));
                    self.held = self.held[at + close.len()..].to_owned();
                    self.place = Place::Closed;
                    return true;
                }
                let closes = |end: &str| {
                    close.starts_with(end) || end.strip_prefix('\n').is_some_and(|end| close.starts_with(end))
                };
                let mut ends = self.held.char_indices().map(|(at, _)| at);
                let keep = ends.find(|at| closes(&self.held[*at..])).unwrap_or(self.held.len());
                let kept = self.held.split_off(keep);
                parts.reasoning.push_str(&std::mem::replace(&mut self.held, kept));
                false
            }
            Place::Answer => {
                parts.answer.push_str(&std::mem::take(&mut self.held));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way of cutting a text in two, and letter by letter.
    fn check(opened: bool, text: &str, reasoning: &str, answer: &str) {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let cuts = text.char_indices().map(|(at, _)| vec![text[..at].to_owned(), text[at..].to_owned()]);
        for pieces in cuts.chain([letters]) {
            let prompt = if opened { "<think>\n" } else { "" };
            let mut cut = TurnReader::new(TurnFormat::of_prompt(prompt));
            let mut found = Parts::default();
            for piece in &pieces {
                let parts = cut.push(piece);
                found.reasoning += &parts.reasoning;
                found.answer += &parts.answer;
            }
            let rest = cut.finish();
            found.reasoning += &rest.reasoning;
            found.answer += &rest.answer;
            assert_eq!((found.reasoning.as_str(), found.answer.as_str()), (reasoning, answer), "{pieces:?}");
        }
    }

    #[test]
    fn reasoning_and_answer_are_told_apart_however_the_text_comes() {
        check(true, "1+1=2\n</think>\n\nIt is 2.\n", "1+1=2", "It is 2.\n");
        check(true, "cut short </thin", "cut short </thin", "");
        check(true, "a < b\n\nc", "a < b\n\nc", "");
        check(false, "<think>\nso\n</think>\n4", "so", "4");
        check(false, "  <b>bold</b>", "", "  <b>bold</b>");
        check(false, "<thin", "", "<thin");
        check(false, "plain", "", "plain");
        check(true, "</think>7", "", "7");
    }
}

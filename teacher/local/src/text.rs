//! Tokens → text as it comes: never half a character, never a part of a stop text.

use distill_chat::{Chat, ChatError};

/// Tokens that may wait for a character to be completed.
const MAX_PENDING: usize = 16;

/// The text of one answer in the making.
pub(crate) struct TextStream {
    tokens: Vec<u32>,
    /// Tokens before this one only give the next ones their context.
    context: usize,
    /// Tokens before this one have been turned into text.
    read: usize,
    /// Text that may be the beginning of a stop text.
    held: String,
    stop: Vec<String>,
}

/// What one token brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) text: String,
    /// A stop text was completed.
    pub(crate) stopped: bool,
}

impl TextStream {
    pub(crate) fn new(stop: Vec<String>) -> TextStream {
        TextStream { tokens: Vec::new(), context: 0, read: 0, held: String::new(), stop }
    }

    /// Takes one token; gives the text that is certain.
    pub(crate) fn push(&mut self, chat: &Chat, token: u32) -> Result<Released, ChatError> {
        self.tokens.push(token);
        let before = chat.decode(&self.tokens[self.context..self.read])?;
        let text = chat.decode(&self.tokens[self.context..])?;
        // A character whose bytes are not all there yet ends in U+FFFD.
        if text.len() > before.len() && !text.ends_with('\u{fffd}') && text.is_char_boundary(before.len()) {
            self.held.push_str(&text[before.len()..]);
            self.context = self.read;
            self.read = self.tokens.len();
        } else if self.tokens.len() - self.read >= MAX_PENDING {
            self.give_up_some(chat, &before, &text)?;
        }
        Ok(self.release())
    }

    /// Bytes that never become a character would make every token decode all before it. What does not change with the last
    /// few tokens is taken as it reads.
    fn give_up_some(&mut self, chat: &Chat, before: &str, text: &str) -> Result<(), ChatError> {
        // No character has more than four bytes, so one of these places is between characters.
        for back in 4..8 {
            let end = self.tokens.len() - back;
            let known = chat.decode(&self.tokens[self.context..end])?;
            if let Some(new) = known.strip_prefix(before).filter(|_| text.starts_with(&known)) {
                self.held.push_str(new);
                self.context = self.read;
                self.read = end;
                return Ok(());
            }
        }
        Ok(())
    }

    /// The rest, when nothing more comes.
    pub(crate) fn finish(mut self, chat: &Chat) -> Result<String, ChatError> {
        let before = chat.decode(&self.tokens[self.context..self.read])?;
        let text = chat.decode(&self.tokens[self.context..])?;
        self.held.push_str(text.get(before.len()..).unwrap_or_default());
        Ok(self.held)
    }

    fn release(&mut self) -> Released {
        let stops = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(at) = stops.min() {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Released { text, stopped: true };
        }
        // The longest end of the text that some stop text begins with.
        let starts = |at: usize| self.stop.iter().any(|stop| stop.starts_with(&self.held[at..]));
        let keep = self.held.char_indices().map(|(at, _)| at).find(|at| starts(*at)).unwrap_or(self.held.len());
        let kept = self.held.split_off(keep);
        Released { text: std::mem::replace(&mut self.held, kept), stopped: false }
    }
}

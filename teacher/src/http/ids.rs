//! Token ids in place of text: the prompt goes out as ids that our own tokenizer makes of our own rendering, and the ids of
//! what was generated come back where a server tells them. Behind a seam a generation then goes on from the very tokens
//! that it broke off at, be it in the midst of a character.
//!
//! Text counts more than ids: ids that do not say the text beside them are dropped, and the answer is gone on from by its
//! text. Ids are how a prompt travels and not what it is: they are in no identity.

use super::{Api, Endpoint, HttpTeacher, Render};
use crate::{Partial, Request, TokenIds};
use distill_dataset::Message;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{collections::VecDeque, sync::Arc};

/// Stands for what is no whole character.
const UNFINISHED: char = '\u{fffd}';
/// Most tokens of one character that has not ended.
const MOST_PIECES: usize = 4;
/// Most chunks that a text is held back for because its ids do not say it yet.
const MOST_HELD: usize = 8;
/// So many prompts in a row with another count than ours are no accident.
const PERSISTENT: u32 = 8;

/// Text → ids, or why not.
pub type Encode = Box<dyn Fn(&str) -> Result<Vec<u32>, String> + Send + Sync>;
/// Ids that follow others → text, special tokens written out or not; or which of them is unknown.
pub type Decode = Box<dyn Fn(&[u32], bool) -> Result<String, String> + Send + Sync>;

/// The teacher's tokenizer.
pub struct Tokenizer {
    /// Rendered text → ids: special tokens in it are read as such, and none is added.
    pub encode: Encode,
    /// Ids that follow others → text; true where special tokens are written out.
    pub decode: Decode,
    /// The token that begins a conversation, as it is written; none where there is no such.
    pub begin: Option<String>,
    /// Whether a server that adds special tokens to a text puts it there.
    pub adds_begin: bool,
    /// Tokens that end a turn.
    pub ends: Vec<u32>,
}

impl Tokenizer {
    /// What ids say, as servers tell it: special tokens left out, or written out.
    fn texts(&self, ids: &[u32]) -> impl Iterator<Item = String> {
        [false, true].into_iter().filter_map(|written| (self.decode)(ids, written).ok())
    }

    /// Whether these ids say that text; where `open`, but for a character at the end that has not ended.
    fn say(&self, ids: &[u32], text: &str, open: bool) -> bool {
        let whole = |text: &str| text.trim_end_matches(UNFINISHED).len();
        self.texts(ids).any(|said| said == text || open && said[..whole(&said)] == text[..whole(text)])
    }

    /// How many of these ids, at their end, are of a character that has not ended; none where they do not say the text.
    fn unfinished(&self, ids: &[u32], text: &str) -> Option<usize> {
        let most = MOST_PIECES.min(ids.len());
        let is_open = !self.say(ids, text, false) && self.say(ids, text, true);
        let range = if is_open { 1..=most } else { 0..=0 };
        range.into_iter().find(|count| self.say(&ids[..ids.len() - count], text, false))
    }
}

/// What a completions call asks to be gone on from.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// A prompt, and its tokens by our own count where they can be counted.
pub(super) struct Counted {
    pub(super) prompt: Prompt,
    pub(super) tokens: Option<u32>,
}

impl Render {
    /// A conversation as it is sent as text to that endpoint, and as it is tokenised: with the token that begins it once,
    /// or not at all where the template writes none. A server that puts it there itself is sent none.
    fn texts(&self, messages: &[Message], endpoint: &Endpoint) -> Result<(String, String), String> {
        let rendered = (self.render)(messages)?;
        let Some(tokenizer) = &self.tokenizer else { return Ok((rendered.clone(), rendered)) };
        let Some(begin) = tokenizer.begin.as_deref().filter(|begin| !begin.is_empty()) else {
            return Ok((rendered.clone(), rendered));
        };
        let rest = rendered.trim_start_matches(begin);
        let is_written = rest.len() < rendered.len();
        let is_added = tokenizer.adds_begin && endpoint.host.is_some_and(|host| host.call.adds_begin);
        let begun = |is_begun: bool| if is_begun { format!("{begin}{rest}") } else { rest.to_owned() };
        Ok((begun(is_written && !is_added), begun(is_written || is_added)))
    }
}

impl HttpTeacher {
    /// The tokenizer of a folder, where one is given.
    pub(super) fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.render.as_ref()?.tokenizer.as_ref()
    }

    /// Whether prompts may be sent as ids: they are rendered here, and there is a tokenizer.
    pub(super) fn makes_ids(&self) -> bool {
        self.config.api() == Api::Completions && self.tokenizer().is_some()
    }

    /// The prompt of a completions call, as ids or as text, with what was received before; nothing where the server
    /// applies its own template.
    ///
    /// # Errors
    /// When it cannot be rendered or tokenised.
    pub(super) fn prompt(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        by_ids: bool,
    ) -> Result<Option<Counted>, String> {
        let Some(render) = self.render.as_ref().filter(|_| self.config.api() == Api::Completions) else {
            return Ok(None);
        };
        let (sent, tokenised) = render.texts(&request.messages, endpoint)?;
        let partial = request.partial.as_ref();
        let text = partial.map_or("", |partial| &partial.text);
        let Some(tokenizer) = &render.tokenizer else {
            return Ok(Some(Counted { prompt: Prompt::Text(sent + text), tokens: None }));
        };
        let count = |ids: &[u32]| u32::try_from(ids.len()).ok();
        if !by_ids {
            // Tokens may join at a seam: behind one, nothing is counted.
            let ids = if partial.is_some() { None } else { (tokenizer.encode)(&tokenised).ok() };
            let tokens = ids.and_then(|ids| count(&ids));
            return Ok(Some(Counted { prompt: Prompt::Text(sent + text), tokens }));
        }
        let ids = match partial.and_then(|partial| partial.ids.as_ref()) {
            Some(generated) => [(tokenizer.encode)(&tokenised)?, generated.clone()].concat(),
            None => (tokenizer.encode)(&(tokenised + text))?,
        };
        Ok(Some(Counted { tokens: count(&ids), prompt: Prompt::Ids(ids) }))
    }

    /// Our own count of a question's tokens, as that endpoint should count them.
    pub(super) fn count(&self, messages: &[Message], endpoint: &Endpoint) -> Option<u32> {
        let render = self.render.as_ref()?;
        let (_, tokenised) = render.texts(messages, endpoint).ok()?;
        let ids = (render.tokenizer.as_ref()?.encode)(&tokenised).ok()?;
        u32::try_from(ids.len()).ok()
    }

    /// What collects the ids of an answer that is asked for by ids. Ids of the part before that do not say its text are
    /// dropped: it is gone on from by its text then, and the ids of the whole cannot be known.
    pub(super) fn ids_behind(&self, partial: &mut Option<Partial>) -> Option<Ids> {
        let tokenizer = self.tokenizer()?.clone();
        let Some(partial) = partial else { return Some(Ids::behind(tokenizer, &[], 0)) };
        let unfinished = partial.ids.as_ref().and_then(|ids| tokenizer.unfinished(ids, &partial.text));
        if unfinished.is_none() {
            partial.ids = None;
        }
        Some(Ids::behind(tokenizer, partial.ids.as_ref()?, unfinished?))
    }
}

/// The ids in a chunk; none where these are none.
pub(super) fn read(told: &RawValue) -> Option<Vec<u32>> {
    serde_json::from_str(told.get()).ok()?
}

/// The ids of an answer that is on its way, as far as they are told and say its text.
pub(super) struct Ids {
    tokenizer: Arc<Tokenizer>,
    /// Tokens before them.
    from: u32,
    /// Those at the end of the part before that began a character.
    lead: Vec<u32>,
    told: Vec<u32>,
    /// What the server said while it was not known what of that character it tells, and in how many chunks.
    held: Option<(String, usize)>,
    /// Bytes of text and numbers of ids at the ends of chunks that were not compared yet.
    marks: VecDeque<(usize, usize)>,
    /// Bytes of text and the number of ids that say them.
    agreed: (usize, usize),
}

impl Ids {
    pub(super) fn behind(tokenizer: Arc<Tokenizer>, before: &[u32], unfinished: usize) -> Ids {
        let lead = before[before.len() - unfinished..].to_vec();
        let held = (!lead.is_empty()).then(Default::default);
        let from = u32::try_from(before.len()).unwrap_or(u32::MAX);
        Ids { tokenizer, from, lead, told: Vec::new(), held, marks: VecDeque::new(), agreed: (0, 0) }
    }

    /// About what they take in memory.
    pub(super) fn num_bytes(&self) -> usize {
        4 * self.told.len() + 16 * self.marks.len()
    }

    /// Ids that arrived.
    pub(super) fn num_told(&self) -> u64 {
        self.told.len() as u64
    }

    /// Tokens that arrived, where so many pieces and bytes of text did: as many as ids, where these can say so much.
    pub(super) fn count(&self, pieces: u64, bytes: usize) -> u64 {
        let ids = self.told.len() as u64;
        if bytes as u64 <= 16 * ids { ids } else { pieces.max(bytes as u64 / 4) }
    }

    /// Whether it is not known what is told of the first character, which began before the seam.
    pub(super) fn is_within(&self) -> bool {
        self.held.is_some()
    }

    /// Whether nothing was said meanwhile.
    pub(super) fn held_nothing(&self) -> bool {
        self.held.as_ref().is_none_or(|(held, _)| held.trim_matches(UNFINISHED).is_empty())
    }

    /// What the tokens of that character say where nothing more comes: the server told nothing of it.
    pub(super) fn end(&mut self) -> Option<String> {
        self.held.as_ref().filter(|_| self.held_nothing())?;
        let said = self.tokenizer.texts(&[&self.lead[..], &self.told].concat()).next()?;
        let said = said.trim_end_matches(UNFINISHED).to_owned();
        (!said.is_empty()).then(|| {
            self.held = None;
            said
        })
    }

    /// Takes what a chunk tells beside its text; false where that cannot be ids of this text. Behind a seam within a
    /// character the text becomes what the tokens say: servers tell of that character nothing, a mark, or all.
    pub(super) fn take(&mut self, told: Option<Vec<u32>>, content: &mut String) -> bool {
        match told {
            Some(ids) => self.told.extend(ids),
            None => return content.is_empty(),
        }
        let Some((held, chunks)) = &mut self.held else { return true };
        held.push_str(&std::mem::take(content));
        *chunks += 1;
        if *chunks > MOST_HELD {
            return false;
        }
        let ids = [&self.lead[..], &self.told].concat();
        let Some(said) = self.tokenizer.texts(&ids).next() else { return false };
        let heard = held.trim_start_matches(UNFINISHED);
        if said.ends_with(UNFINISHED) || heard.is_empty() {
            return true;
        }
        let mut rest = said.chars();
        rest.next();
        let rest = rest.as_str();
        if *held == said || heard == said || heard == rest {
            (self.held, *content) = (None, said);
            return true;
        }
        // It tells text later than ids.
        said.starts_with(heard) || rest.starts_with(heard)
    }

    /// Notes where a chunk ended that brought the text to so many bytes.
    pub(super) fn mark(&mut self, bytes: usize) {
        let mark = (bytes, self.told.len());
        if self.marks.back() != Some(&mark) && mark != self.agreed {
            self.marks.push_back(mark);
        }
    }

    fn say(&self, to: usize, text: &str, open: bool) -> bool {
        let ids = &self.told[self.agreed.1..to];
        match self.agreed.1 {
            0 if !self.lead.is_empty() => self.tokenizer.say(&[&self.lead[..], ids].concat(), text, open),
            _ => self.tokenizer.say(ids, text, open),
        }
    }

    /// The ids that arrived since the last piece, and up to which byte of `content` they say it: a chunk's end within
    /// `most` bytes, or all that is there where it is the `last` piece. Nothing where they do not.
    pub(super) fn piece(&mut self, content: &str, most: usize, last: bool) -> Option<(usize, TokenIds)> {
        let (bytes, count) = self.agreed;
        let text = |end: usize| content.get(bytes..end).unwrap_or_default();
        let to = if last {
            self.say(self.told.len(), text(content.len()), true).then_some((content.len(), self.told.len()))
        } else {
            let within = self.marks.iter().rev().filter(|(end, _)| *end <= most).take(MOST_HELD);
            within.copied().find(|(end, to)| self.say(*to, text(*end), false))
        };
        let (end, to) = match to {
            Some(to) => to,
            None if !last && self.marks.len() <= MOST_HELD => self.agreed,
            None => return None,
        };
        self.agreed = (end, to);
        self.marks.retain(|(_, told)| *told > to);
        Some((end, TokenIds { from: self.from, ids: self.told[count..to].to_vec() }))
    }

    /// All of them, where a last piece said so.
    pub(super) fn told(&self) -> Option<TokenIds> {
        (self.agreed.1 == self.told.len()).then(|| TokenIds { from: self.from, ids: self.told.clone() })
    }

    /// All of them, where they say all of `content` and nothing ends a turn before their end.
    pub(super) fn finish(&self, content: &str) -> Option<TokenIds> {
        let is_end = |id: &u32| self.tokenizer.ends.contains(id);
        let ended = usize::from(self.told.last().is_some_and(is_end));
        let to = self.told.len() - ended;
        let rest = content.get(self.agreed.0..).unwrap_or_default();
        // A piece may have told of the end already.
        let says = if self.agreed.1 > to { rest.is_empty() } else { self.say(to, rest, true) };
        let fits = says && !self.told[..to].iter().any(is_end);
        fits.then(|| TokenIds { from: self.from, ids: self.told.clone() })
    }
}

/// How a server counts the tokens of our prompts, beside how our tokenizer does.
#[derive(Default)]
pub(super) struct Miscounts {
    in_a_row: u32,
    is_told: bool,
}

impl Miscounts {
    /// Takes a prompt's tokens, by our count and by the server's; a remark, once, where they differ again and again.
    pub(super) fn take(&mut self, expected: u32, found: u32) -> Option<String> {
        self.in_a_row = if expected == found { 0 } else { self.in_a_row + 1 };
        if self.is_told || self.in_a_row < PERSISTENT {
            return None;
        }
        self.is_told = true;
        Some(format!(
            "the server counts the tokens of our prompts otherwise, {PERSISTENT} times in a row: expected {expected} by the tokenizer of `chat`, found {found}; is it this model's tokenizer, and does only one of template and server write the first token?"
        ))
    }
}

#[cfg(test)]
mod tests;

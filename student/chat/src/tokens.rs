//! The tokenizer's file: read, and written again when tokens are added to it.

use crate::{ChatError, MAX_FILE, POINTER, pointer};
use distill_dataset::{create_fresh, read_regular};
use std::{
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};
use tokenizers::{AddedToken, Tokenizer};

/// Does what a tokenizer does. Its files are untrusted, and some that can be read make it panic later: a decoder that strips
/// more characters than there are, for one. That is an error of this text and nothing else.
pub(crate) fn guarded<T>(what: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, ChatError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| ChatError::Tokenizer(error.to_string())),
        Err(_) => Err(ChatError::Tokenizer(format!(
            "{what} panicked: tokenizer.json asks for what cannot be done\nhint: compare its normalizer, pre-tokenizer and decoder with those of the model's authors"
        ))),
    }
}

/// Reads a tokenizer.
pub(crate) fn read(path: &Path) -> Result<Tokenizer, ChatError> {
    let bytes = read_regular(path, MAX_FILE).map_err(|source| ChatError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if bytes.starts_with(POINTER.as_bytes()) {
        return Err(pointer(path));
    }
    let tokenizer = guarded("reading it", || Tokenizer::from_bytes(bytes));
    tokenizer.map_err(|error| ChatError::File {
        path: path.to_owned(),
        message: match error {
            ChatError::Tokenizer(message) => format!("not a tokenizer: {message}"),
            other => other.to_string(),
        },
    })
}

/// A tokenizer by itself: counts the tokens of texts as [`crate::Chat::encode`] cuts them.
pub struct TextTokens(Tokenizer);

impl TextTokens {
    /// Reads the file `tokenizer.json`, under any name.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn load(path: &Path) -> Result<TextTokens, ChatError> {
        Ok(TextTokens(uncut(read(path)?)?))
    }

    /// Number of tokens of a text. No special token is added; one that the text spells is one token.
    ///
    /// # Errors
    /// When the tokenizer cannot encode the text.
    pub fn count(&self, text: &str) -> Result<usize, ChatError> {
        Ok(guarded("encoding a text", || self.0.encode_fast(text, false))?.len())
    }
}

/// Some files ask to cut texts short or to fill them up; the reference does neither unless it is told to.
pub(crate) fn uncut(mut tokenizer: Tokenizer) -> Result<Tokenizer, ChatError> {
    tokenizer.with_padding(None);
    guarded("reading it", || tokenizer.with_truncation(None).map(|_| ()))?;
    Ok(tokenizer)
}

/// What adding tokens came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedTokens {
    /// Tokens that the tokenizer had before.
    pub known: usize,
    /// Ids of the new ones.
    pub ids: Vec<u32>,
}

/// Adds tokens to the tokenizer of a chat folder: `texts` stay text that a message may contain, `controls` are refused in
/// messages. Nothing is written where nothing is added.
///
/// # Errors
/// When the file is damaged, a token exists already, or the disk refuses.
pub fn add_tokens(dir: &Path, texts: &[String], controls: &[String]) -> Result<AddedTokens, ChatError> {
    let path = dir.join("tokenizer.json");
    let wrong = |message: String| ChatError::File { path: path.clone(), message };
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ChatError::Io { action, path, source }
    };
    let mut tokenizer = read(&path)?;
    let mut added = AddedTokens { known: tokenizer.get_vocab_size(true), ids: Vec::new() };
    for (text, special) in texts.iter().map(|text| (text, false)).chain(controls.iter().map(|text| (text, true))) {
        if let Some(id) = tokenizer.token_to_id(text) {
            return Err(wrong(format!("token {text:?} exists already, as {id}")));
        }
        let token = AddedToken::from(text.as_str(), special).normalized(false);
        if special {
            tokenizer.add_special_tokens(&[token])
        } else {
            tokenizer.add_tokens(&[token])
        };
        added.ids.push(tokenizer.token_to_id(text).ok_or_else(|| wrong(format!("cannot add {text:?}")))?);
    }
    if !added.ids.is_empty() {
        let text = tokenizer.to_string(true).map_err(|error| wrong(error.to_string()))?;
        let temporary = path.with_extension("json.tmp");
        create_fresh(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
    }
    Ok(added)
}

//! The tokenizer's file, when tokens are added to it.

use crate::ChatError;
use std::{fs, path::Path};
use tokenizers::{AddedToken, Tokenizer};

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
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| wrong(format!("not a tokenizer: {error}")))?;
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
        fs::write(&temporary, text).map_err(io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
    }
    Ok(added)
}

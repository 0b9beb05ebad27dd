//! The tokenizer's file, when tokens are added to it.

use crate::ChatError;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokenizers::{AddedToken, Tokenizer};

/// `tokenizer.json` of a chat folder.
#[derive(Debug)]
pub struct TokenizerFile {
    path: PathBuf,
}

impl TokenizerFile {
    /// The tokenizer of a folder.
    pub fn new(dir: &Path) -> TokenizerFile {
        TokenizerFile { path: dir.join("tokenizer.json") }
    }

    /// Number of tokens, added ones included.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn vocab_size(&self) -> Result<usize, ChatError> {
        Ok(self.load()?.get_vocab_size(true))
    }

    /// Adds tokens: `texts` stay text that a message may contain, `controls` are refused in messages. Returns their ids.
    ///
    /// # Errors
    /// When the file is damaged, a token exists already, or the disk refuses.
    pub fn add(&self, texts: &[String], controls: &[String]) -> Result<Vec<u32>, ChatError> {
        if texts.is_empty() && controls.is_empty() {
            return Ok(Vec::new());
        }
        let mut tokenizer = self.load()?;
        let mut ids = Vec::new();
        for (text, special) in texts.iter().map(|text| (text, false)).chain(controls.iter().map(|text| (text, true))) {
            if let Some(id) = tokenizer.token_to_id(text) {
                return Err(self.wrong(format!("token {text:?} exists already, as {id}")));
            }
            let token = AddedToken::from(text.as_str(), special).normalized(false);
            if special {
                tokenizer.add_special_tokens(&[token])
            } else {
                tokenizer.add_tokens(&[token])
            };
            ids.push(tokenizer.token_to_id(text).ok_or_else(|| self.wrong(format!("cannot add {text:?}")))?);
        }
        let text = tokenizer.to_string(true).map_err(|error| self.wrong(error.to_string()))?;
        let temporary = self.path.with_extension("json.tmp");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| ChatError::Io { action, path, source }
        };
        fs::write(&temporary, text).map_err(io("write", &temporary))?;
        fs::rename(&temporary, &self.path).map_err(io("rename", &temporary))?;
        Ok(ids)
    }

    fn load(&self) -> Result<Tokenizer, ChatError> {
        let bytes =
            fs::read(&self.path).map_err(|source| ChatError::Io { action: "read", path: self.path.clone(), source })?;
        Tokenizer::from_bytes(bytes).map_err(|error| self.wrong(format!("not a tokenizer: {error}")))
    }

    fn wrong(&self, message: String) -> ChatError {
        ChatError::File { path: self.path.clone(), message }
    }
}

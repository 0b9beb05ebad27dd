//! The tokenizer that a GGUF file carries: byte-level BPE as `gpt2`, with the pre-tokenizer by name.

use super::metadata::{Metadata, Pairs, Value, shortened};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Never made from text unless asked for: the end of a turn, for example.
    Control,
    /// Added by whoever made the tokenizer, matched before anything is split.
    UserDefined,
    /// A row of the embedding that no text reaches.
    Unused,
}

impl TokenKind {
    const NUMBERS: [(TokenKind, i32); 4] =
        [(TokenKind::Normal, 1), (TokenKind::Control, 3), (TokenKind::UserDefined, 4), (TokenKind::Unused, 5)];

    fn number(self) -> i32 {
        TokenKind::NUMBERS.iter().find(|(kind, _)| *kind == self).map_or(1, |(_, number)| *number)
    }
}

/// A byte-level BPE tokenizer with its chat template, as GGUF holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// The name of the pre-tokenizer, e.g. `smollm`, `qwen2` or `llama-bpe`.
    pub pre: String,
    /// Every token, bytes written as GPT-2 writes them.
    pub tokens: Vec<String>,
    /// What each is.
    pub kinds: Vec<TokenKind>,
    /// Pairs to be merged, best first, the halves apart by a space.
    pub merges: Vec<String>,
    /// First token of a text.
    pub bos: Option<u32>,
    /// Last token of a text.
    pub eos: Option<u32>,
    /// Last token of a turn, where that is another.
    pub eot: Option<u32>,
    /// Token that fills batches up.
    pub pad: Option<u32>,
    /// Token for what the tokenizer does not know.
    pub unknown: Option<u32>,
    /// Whether the tokenizer itself puts `bos` first.
    pub add_bos: bool,
    /// The chat template's source.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    pub(super) fn from_metadata(metadata: &Metadata, vocab_size: usize) -> Result<Vocabulary, String> {
        let text = |key: &str| match metadata.get(key) {
            Some(Value::Text(text)) => Ok(text.clone()),
            other => Err(format!("`{key}`: expected text, found {}", shortened(&format!("{other:?}")))),
        };
        let model = text("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(format!("`tokenizer.ggml.model`: expected gpt2 (byte-level BPE), found {}", shortened(&model)));
        }
        let texts = |key: &str| match metadata.get(key) {
            Some(Value::Texts(texts)) => Ok(texts.clone()),
            _ => Err(format!("`{key}`: expected a list of texts")),
        };
        let tokens = texts("tokenizer.ggml.tokens")?;
        if tokens.len() != vocab_size {
            return Err(format!(
                "`tokenizer.ggml.tokens`: expected {vocab_size}, the rows of token_embd, found {}",
                tokens.len()
            ));
        }
        let kinds = match metadata.get("tokenizer.ggml.token_type") {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(Value::Numbers(numbers)) if numbers.len() == tokens.len() => {
                let kind = |number: &f64| {
                    let known = TokenKind::NUMBERS.iter().find(|(_, known)| f64::from(*known) == *number);
                    known
                        .map(|(kind, _)| *kind)
                        .ok_or_else(|| format!("`tokenizer.ggml.token_type`: found {number}, expected 1, 3, 4 or 5"))
                };
                numbers.iter().map(kind).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(format!("`tokenizer.ggml.token_type`: expected {vocab_size} numbers")),
        };
        let token = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match metadata.get(&key) {
                None => Ok(None),
                Some(Value::Unsigned(id)) if *id < tokens.len() as u64 => Ok(Some(*id as u32)),
                Some(found) => {
                    let found = shortened(&format!("{found:?}"));
                    Err(format!("`{key}`: expected a token below {vocab_size}, found {found}"))
                }
            }
        };
        let flag = |key: &str| match metadata.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("`{key}`: expected true or false")),
        };
        Ok(Vocabulary {
            pre: text("tokenizer.ggml.pre")?,
            merges: texts("tokenizer.ggml.merges")?,
            bos: token("bos")?,
            eos: token("eos")?,
            eot: token("eot")?,
            pad: token("padding")?,
            unknown: token("unknown")?,
            // llama.cpp's default for this pre-tokenizer; the others have none.
            add_bos: flag("tokenizer.ggml.add_bos_token")?
                .unwrap_or(metadata.get("tokenizer.ggml.pre") == Some(&Value::Text("llama-bpe".to_owned()))),
            chat_template: match metadata.get("tokenizer.chat_template") {
                None => None,
                Some(Value::Text(template)) => Some(template.clone()),
                Some(_) => return Err("`tokenizer.chat_template`: expected text".to_owned()),
            },
            tokens,
            kinds,
        })
    }

    pub(super) fn pairs(&self, pairs: &mut Pairs) -> Result<(), String> {
        pairs.text("tokenizer.ggml.model", "gpt2");
        pairs.text("tokenizer.ggml.pre", &self.pre);
        pairs.texts("tokenizer.ggml.tokens", &self.tokens);
        pairs.i32s("tokenizer.ggml.token_type", self.kinds.iter().map(|kind| kind.number()));
        pairs.texts("tokenizer.ggml.merges", &self.merges);
        let tokens =
            [("bos", self.bos), ("eos", self.eos), ("eot", self.eot), ("padding", self.pad), ("unknown", self.unknown)];
        for (name, id) in tokens {
            if let Some(id) = id {
                pairs.u32(&format!("tokenizer.ggml.{name}_token_id"), id as usize)?;
            }
        }
        pairs.flag("tokenizer.ggml.add_bos_token", self.add_bos);
        if let Some(template) = &self.chat_template {
            pairs.text("tokenizer.chat_template", template);
        }
        Ok(())
    }
}

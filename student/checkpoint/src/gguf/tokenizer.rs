//! GGUF's vocabulary ↔ the files of a chat folder (`tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`,
//! `generation_config.json`).
//!
//! GGUF names a pre-tokenizer where `tokenizer.json` spells it out; [`PRE_TOKENIZERS`] is the dictionary. A pre-tokenizer
//! that is not in it is refused: with another one the same text would become other tokens.

use super::vocabulary::{TokenKind, Vocabulary};
use crate::{error::CheckpointError, file::read_text};
use distill_files::create_fresh;
use serde_json::{Map, Value, json};
use std::{collections::HashMap, io::Write, path::Path};

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut before pairs are merged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// By a pattern.
    Pattern(&'static str),
    /// Every digit by itself, then as GPT-2.
    DigitsThenGpt2,
    /// As GPT-2.
    Gpt2,
}

struct PreTokenizer {
    name: &'static str,
    cut: Cut,
    /// Unicode's NFC before anything else.
    nfc: bool,
    /// A whole piece that is a token is taken as it is, whatever the merges say.
    ignore_merges: bool,
}

const PRE_TOKENIZERS: [PreTokenizer; 5] = [
    PreTokenizer { name: "qwen2", cut: Cut::Pattern(QWEN2), nfc: true, ignore_merges: false },
    PreTokenizer { name: "deepseek-r1-qwen", cut: Cut::Pattern(QWEN2), nfc: false, ignore_merges: false },
    PreTokenizer { name: "llama-bpe", cut: Cut::Pattern(LLAMA3), nfc: false, ignore_merges: true },
    PreTokenizer { name: "smollm", cut: Cut::DigitsThenGpt2, nfc: false, ignore_merges: false },
    PreTokenizer { name: "gpt-2", cut: Cut::Gpt2, nfc: false, ignore_merges: false },
];

impl Vocabulary {
    /// Writes the files of a chat folder.
    ///
    /// # Errors
    /// When the pre-tokenizer is unknown, a token is there twice, or the disk refuses.
    pub fn write_files(&self, dir: &Path) -> Result<(), CheckpointError> {
        let wrong = |message: String| CheckpointError::Config { path: dir.to_owned(), message };
        let tokenizer = self.tokenizer_json().map_err(wrong)?;
        let mut files = vec![
            ("tokenizer.json", format!("{tokenizer:#}\n")),
            ("tokenizer_config.json", format!("{:#}\n", self.tokenizer_config())),
            ("generation_config.json", format!("{:#}\n", self.generation_config())),
        ];
        files.extend(self.chat_template.clone().map(|template| ("chat_template.jinja", template)));
        for (name, text) in files {
            let path = dir.join(name);
            let written = create_fresh(&path).and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(CheckpointError::io("write", path))?;
        }
        Ok(())
    }

    fn tokenizer_json(&self) -> Result<Value, String> {
        let found = PRE_TOKENIZERS.iter().find(|pre| pre.name == self.pre);
        let pre = found.ok_or_else(|| {
            let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|pre| pre.name).collect();
            format!("`tokenizer.ggml.pre`: expected one of {}, found {:?}", known.join(", "), self.pre)
        })?;
        let byte_level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": false, "use_regex": use_regex});
        let pre_tokenizer = match pre.cut {
            Cut::Gpt2 => byte_level(false, true),
            Cut::DigitsThenGpt2 => {
                json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level(false, true)]})
            }
            Cut::Pattern(pattern) => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
                json!({"type": "Sequence", "pretokenizers": [split, byte_level(false, false)]})
            }
        };
        let (mut vocab, mut added) = (Map::new(), Vec::new());
        for (id, (token, kind)) in self.tokens.iter().zip(&self.kinds).enumerate() {
            if *kind == TokenKind::Unused {
                continue;
            }
            if vocab.insert(token.clone(), json!(id)).is_some() {
                return Err(format!("`tokenizer.ggml.tokens`: {token:?} is there twice"));
            }
            if *kind != TokenKind::Normal {
                let special = *kind == TokenKind::Control;
                added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special}));
            }
        }
        let merges: Vec<Value> = self
            .merges
            .iter()
            .map(|merge| {
                let halves = merge.split_once(' ').filter(|(_, right)| !right.contains(' '));
                halves
                    .map(|(left, right)| json!([left, right]))
                    .ok_or_else(|| format!("`tokenizer.ggml.merges`: expected two tokens, found {merge:?}"))
            })
            .collect::<Result<_, _>>()?;
        let unknown = self.unknown.filter(|id| self.kinds[*id as usize] != TokenKind::Unused);
        let post_processor = match self.bos.filter(|_| self.add_bos) {
            None => Value::Null,
            Some(bos) => {
                let token = &self.tokens[bos as usize];
                let special = json!({"SpecialToken": {"id": token, "type_id": 0}});
                json!({
                    "type": "TemplateProcessing",
                    "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}, special, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}},
                })
            }
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": if pre.nfc { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor,
            "decoder": byte_level(true, true),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown.map(|id| &self.tokens[id as usize]),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": pre.ignore_merges,
                "vocab": vocab,
                "merges": merges,
            },
        }))
    }

    fn tokenizer_config(&self) -> Value {
        let token = |id: Option<u32>| id.map(|id| self.tokens[id as usize].clone());
        json!({
            "add_bos_token": self.add_bos,
            "bos_token": token(self.bos),
            "clean_up_tokenization_spaces": false,
            "eos_token": token(self.eos),
            "pad_token": token(self.pad),
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": token(self.unknown),
        })
    }

    fn generation_config(&self) -> Value {
        let ends: Vec<u32> = self.eos.into_iter().chain(self.eot.filter(|eot| Some(*eot) != self.eos)).collect();
        json!({"bos_token_id": self.bos, "eos_token_id": ends, "pad_token_id": self.pad})
    }

    /// Reads the files of a chat folder; rows of the embedding beyond the tokenizer's tokens become unused ones.
    ///
    /// # Errors
    /// When a file is missing, or GGUF has no name for what the tokenizer does.
    pub fn read_files(dir: &Path, vocab_size: usize) -> Result<Vocabulary, CheckpointError> {
        let tokenizer = read_json(&dir.join("tokenizer.json"))?;
        let config = read_json(&dir.join("tokenizer_config.json"))?;
        let generation = dir.join("generation_config.json");
        let generation = if generation.exists() { read_json(&generation)? } else { Value::Null };
        let template = dir.join("chat_template.jinja");
        let template = match (template.exists(), config["chat_template"].as_str()) {
            (true, _) => Some(read_text(&template)?),
            (false, inside) => inside.map(str::to_owned),
        };
        let vocabulary = Vocabulary::from_json(&tokenizer, &config, &generation, template, vocab_size);
        vocabulary.map_err(|message| CheckpointError::Config { path: dir.join("tokenizer.json"), message })
    }

    fn from_json(
        tokenizer: &Value,
        config: &Value,
        generation: &Value,
        chat_template: Option<String>,
        vocab_size: usize,
    ) -> Result<Vocabulary, String> {
        let model = &tokenizer["model"];
        if model["type"] != "BPE" || model["byte_fallback"] == true {
            return Err(format!("`model`: expected byte-level BPE, found {}", model["type"]));
        }
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            if !(model[key].is_null() || model[key] == "") {
                return Err(format!("`model.{key}`: GGUF cannot say {}", model[key]));
            }
        }
        let pre = pre_tokenizer(tokenizer)?;
        let mut tokens: Vec<Option<(String, TokenKind)>> = vec![None; vocab_size];
        let mut place = |text: &str, id: &Value, kind: TokenKind| {
            let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).and_then(|id| tokens.get_mut(id));
            let slot = at.ok_or_else(|| format!("token {text:?}: expected an id below {vocab_size}, found {id}"))?;
            *slot = Some((text.to_owned(), kind));
            Ok::<(), String>(())
        };
        for (text, id) in model["vocab"].as_object().ok_or("`model.vocab`: expected a table")? {
            place(text, id, TokenKind::Normal)?;
        }
        for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let text = token["content"].as_str().ok_or("`added_tokens`: expected a `content`")?;
            let kind = if token["special"] == true { TokenKind::Control } else { TokenKind::UserDefined };
            place(text, &token["id"], kind)?;
        }
        let (tokens, kinds): (Vec<String>, Vec<TokenKind>) = tokens
            .into_iter()
            .enumerate()
            .map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), TokenKind::Unused)))
            .unzip();
        let merge = |merge: &Value| match merge {
            Value::String(text) => Ok(text.clone()),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Ok(format!("{left} {right}")),
                _ => Err(format!("`model.merges`: expected two tokens, found {merge}")),
            },
            other => Err(format!("`model.merges`: expected two tokens, found {other}")),
        };
        let merges = model["merges"].as_array().ok_or("`model.merges`: expected a list")?;
        let merges = merges.iter().map(merge).collect::<Result<_, _>>()?;
        let ids: HashMap<&str, u32> = tokens.iter().zip(0..).map(|(text, id)| (text.as_str(), id)).collect();
        let token = |key: &str| {
            let text = config[key].as_str().or_else(|| config[key]["content"].as_str());
            text.and_then(|text| ids.get(text).copied())
        };
        let (bos, eos) = (token("bos_token"), token("eos_token"));
        let ends: Vec<u64> = match &generation["eos_token_id"] {
            Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
            one => one.as_u64().into_iter().collect(),
        };
        let eot = ends
            .into_iter()
            .filter_map(|id| u32::try_from(id).ok())
            .find(|id| Some(*id) != eos && (*id as usize) < vocab_size);
        let (pad, unknown) = (token("pad_token"), token("unk_token"));
        let add_bos = match config["add_bos_token"].as_bool() {
            Some(add) => add,
            None => bos.is_some_and(|bos| begins_with(&tokenizer["post_processor"], &tokens[bos as usize])),
        };
        Ok(Vocabulary { pre, tokens, kinds, merges, bos, eos, eot, pad, unknown, add_bos, chat_template })
    }
}

/// The name of a pre-tokenizer that `tokenizer.json` spells out.
fn pre_tokenizer(tokenizer: &Value) -> Result<String, String> {
    let steps: Vec<&Value> = match &tokenizer["pre_tokenizer"] {
        sequence if sequence["type"] == "Sequence" => {
            sequence["pretokenizers"].as_array().into_iter().flatten().collect()
        }
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let nfc = match &tokenizer["normalizer"] {
        Value::Null => false,
        normalizer if normalizer["type"] == "NFC" => true,
        normalizer if normalizer["normalizers"].as_array().is_some_and(Vec::is_empty) => false,
        other => return Err(format!("`normalizer`: GGUF cannot say {}", other["type"])),
    };
    let byte_level = |step: &Value, use_regex: bool| {
        // Absent means true for both.
        let flag = |key: &str| step[key].as_bool().unwrap_or(true);
        step["type"] == "ByteLevel" && !flag("add_prefix_space") && flag("use_regex") == use_regex
    };
    let digits = |step: &Value| step["type"] == "Digits" && step["individual_digits"] == true;
    let split = |step: &Value, pattern: &str| {
        step["type"] == "Split"
            && step["pattern"]["Regex"] == pattern
            && step["behavior"] == "Isolated"
            && step["invert"] != true
    };
    let ignore_merges = tokenizer["model"]["ignore_merges"] == true;
    let cuts = |pre: &PreTokenizer| match (pre.cut, steps.as_slice()) {
        (Cut::Gpt2, [one]) => byte_level(one, true),
        (Cut::DigitsThenGpt2, [first, second]) => digits(first) && byte_level(second, true),
        (Cut::Pattern(pattern), [first, second]) => split(first, pattern) && byte_level(second, false),
        _ => false,
    };
    let same = |pre: &&PreTokenizer| cuts(pre) && pre.nfc == nfc && pre.ignore_merges == ignore_merges;
    PRE_TOKENIZERS.iter().find(same).map(|pre| pre.name.to_owned()).ok_or_else(|| {
        "`pre_tokenizer`: GGUF has no name that is known here for how this tokenizer cuts text\nhint: Qwen2 and 3, Llama 3, R1-Distill-Qwen, SmolLM2 and GPT-2 are known".to_owned()
    })
}

/// Whether a post-processor puts `token` first.
fn begins_with(post_processor: &Value, token: &str) -> bool {
    let own = post_processor["single"][0]["SpecialToken"]["id"] == token;
    own || post_processor["processors"].as_array().into_iter().flatten().any(|inner| begins_with(inner, token))
}

fn read_json(path: &Path) -> Result<Value, CheckpointError> {
    let text = read_text(path)?;
    let wrong = |error| CheckpointError::Config { path: path.to_owned(), message: format!("not JSON: {error}") };
    serde_json::from_str(&text).map_err(wrong)
}

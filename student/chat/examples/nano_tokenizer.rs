//! Writes the chat folder of the nano models: `cargo run -p distill-chat --example nano_tokenizer -- recipes/nano`.
//!
//! A byte-level BPE over 256 bytes (so that any text encodes), single digits, a handful of words, and control tokens:
//! small enough that a network of a few hundred thousand parameters does not spend them on its embedding.

use distill_dataset::TurnFormat;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// Words that are one token each. A leading space belongs to its word, as GPT-2's pre-tokenizer has it.
const WORDS: [&str; 2] = ["What", " is"];
/// Control tokens, from id 0.
const SPECIALS: [&str; 4] = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"];
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("expected the folder to write into")?;
    let dir = Path::new(&dir);
    fs::create_dir_all(dir)?;
    let turn = TurnFormat::default();
    // One token wherever they occur, but ordinary text to everybody else.
    let texts = [turn.open.as_str(), &turn.close, "\\boxed{"];
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (texts, special) in [(&SPECIALS[..], true), (&texts[..], false)] {
        for text in texts {
            let id = added.len();
            added.push(json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special}));
            vocab.insert((*text).to_owned(), id.into());
        }
    }
    let bytes: Vec<char> = (0..=255).map(byte_char).collect();
    for letter in &bytes {
        vocab.insert(letter.to_string(), vocab.len().into());
    }
    let mut merges: Vec<Value> = Vec::new();
    for word in WORDS {
        let letters: Vec<char> = word.bytes().map(|byte| bytes[usize::from(byte)]).collect();
        let mut left = letters[0].to_string();
        for letter in &letters[1..] {
            let joined = format!("{left}{letter}");
            if !vocab.contains_key(&joined) {
                merges.push(json!([left, letter.to_string()]));
                vocab.insert(joined.clone(), vocab.len().into());
            }
            left = joined;
        }
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges},
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": null, "eos_token": "<|end|>", "pad_token": "<|pad|>",
        "add_bos_token": false, "clean_up_tokenization_spaces": false, "model_max_length": 256,
    });
    let template = "{% for message in messages %}\n{% if message['role'] == 'assistant' %}\n{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}\n{% elif message['role'] == 'user' %}\n{{ '<|user|>' + message['content'] + '<|end|>' -}}\n{% else %}\n{{ raise_exception('nano models know the roles user and assistant, found ' + message['role']) }}\n{% endif %}\n{% endfor %}\n{% if add_generation_prompt %}\n{{ '<|assistant|>OPEN\\n' -}}\n{% endif %}\n";
    let template = template.replace("OPEN", &turn.open);
    let generation = json!({"eos_token_id": 3, "pad_token_id": 0, "do_sample": true, "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 160});
    fs::write(dir.join("tokenizer.json"), format!("{tokenizer:#}\n"))?;
    fs::write(dir.join("tokenizer_config.json"), format!("{config:#}\n"))?;
    fs::write(dir.join("chat_template.jinja"), template)?;
    fs::write(dir.join("generation_config.json"), format!("{generation:#}\n"))?;
    Ok(())
}

/// GPT-2's printable stand-in for a byte: itself where printable, else a letter from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !printable(*other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or('?')
}

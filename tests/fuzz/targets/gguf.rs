//! A GGUF file: opened, every tensor of its model read, its tokenizer written out and loaded.
#![no_main]

use distill_chat::Chat;
use distill_checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;
use std::{fs, path::PathBuf, sync::LazyLock};

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("distill-fuzz-gguf-{}", std::process::id()));
    fs::create_dir_all(dir.join("chat")).expect("a folder");
    dir
});

fuzz_target!(|data: &[u8]| {
    let path = DIR.join("model.gguf");
    fs::write(&path, data).expect("a file");
    let Ok(checkpoint) = Checkpoint::open(&path) else { return };
    for (name, shape) in checkpoint.config().layout() {
        // A tensor that is missing or lies ends the journey, as it does in loading a model.
        if checkpoint.read(&name, &shape).is_err() {
            break;
        }
    }
    if let Some(vocabulary) = checkpoint.vocabulary()
        && vocabulary.write_files(&DIR.join("chat")).is_ok()
        && let Ok(chat) = Chat::load(&DIR.join("chat"))
    {
        let _ = chat.encode("What is 7*6?\n\u{1f642} <think>");
    }
});

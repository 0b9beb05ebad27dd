//! A chat template and a conversation, apart by the first NUL byte: compiled and rendered; what carries loss lies inside
//! the text.
#![no_main]

use distill_chat::Chat;
use distill_dataset::Message;
use libfuzzer_sys::fuzz_target;
use std::{fs, path::{Path, PathBuf}, sync::LazyLock};

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("distill-fuzz-chat-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    Chat::copy_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/nano"), &dir).expect("the nano folder");
    dir
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, message) = text.split_once('\0').unwrap_or((text, "What is 7*6?"));
    let path = DIR.join("template.jinja");
    fs::write(&path, template).expect("a file");
    let Ok(chat) = Chat::load_with(&DIR, Some(&path)) else { return };
    let messages = [Message::user(message), Message::assistant("<think>\n42\n</think>\n\n42")];
    if let Ok(rendered) = chat.render(&messages, false) {
        for span in rendered.generation {
            assert!(rendered.text.get(span).is_some(), "loss outside the text");
        }
    }
    let _ = chat.encode_example(&messages);
});

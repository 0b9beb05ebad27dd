//! A safetensors file beside a sound configuration: opened, and every tensor of the model read.
#![no_main]

use distill_checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;
use std::{fs, path::PathBuf, sync::LazyLock};

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("distill-fuzz-safetensors-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("config.json"), include_bytes!("../../hostile/files/st_sound/config.json")).expect("a file");
    dir
});

fuzz_target!(|data: &[u8]| {
    fs::write(DIR.join("model.safetensors"), data).expect("a file");
    if let Ok(checkpoint) = Checkpoint::open(&DIR) {
        for (name, shape) in checkpoint.config().layout() {
            let _ = checkpoint.read(&name, &shape);
        }
    }
});

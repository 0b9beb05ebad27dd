//! `distill convert`, on the embedded teacher: there and back again, and nothing left behind when it fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn convert(arguments: &[&Path], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.arg("convert").args(arguments).args(flags).output().expect("the binary runs")
}

fn done(arguments: &[&Path], flags: &[&str]) {
    let output = convert(arguments, flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Qwen2ForCausalLM"), "{said}");
}

fn teacher() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/nano-teacher")
}

#[test]
fn a_checkpoint_comes_back_from_gguf_as_it_was() {
    let place = tempfile::tempdir().expect("a folder");
    let (gguf, folder, short) = (place.path().join("t.gguf"), place.path().join("back"), place.path().join("bf16"));
    done(&[&teacher(), &gguf], &[]);
    done(&[&gguf, &folder], &[]);
    let direct = place.path().join("direct");
    done(&[&teacher(), &direct], &[]);
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).expect("weights");
    assert!(weights(&folder) == weights(&direct), "weights changed on the way");
    let template = |folder: &Path| fs::read_to_string(folder.join("chat_template.jinja")).expect("a template");
    assert_eq!(template(&folder), template(&teacher()));
    done(&[&folder, &short], &["--dtype", "bf16", "--max-shard-bytes", "300000", "--rope-theta", "50000"]);
    assert!(short.join("model.safetensors.index.json").exists(), "300 kB hold no 1.2 MB");
    let config = fs::read_to_string(short.join("config.json")).expect("a configuration");
    assert!(config.contains("\"rope_theta\": 50000.0") && config.contains("\"bfloat16\""), "{config}");
    for dtype in ["f16", "bf16", "q8_0", "q4_0"] {
        done(&[&teacher(), &place.path().join(format!("{dtype}.gguf"))], &["--dtype", dtype]);
    }
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let place = tempfile::tempdir().expect("a folder");
    let (damaged, out) = (place.path().join("damaged"), place.path().join("out"));
    fs::create_dir(&damaged).expect("a folder");
    for entry in fs::read_dir(teacher()).expect("the teacher") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, damaged.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let weights = fs::read(damaged.join("model.safetensors")).expect("weights");
    let cases: [(&str, Vec<u8>); 2] = [
        ("(truncated?)", weights[..weights.len() / 2].to_vec()),
        ("finite numbers", {
            let mut weights = weights.clone();
            let end = weights.len();
            weights[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
            weights
        }),
    ];
    for (expected, bytes) in cases {
        fs::write(damaged.join("model.safetensors"), bytes).expect("damaged weights");
        for target in [out.clone(), out.with_extension("gguf")] {
            let output = convert(&[&damaged, &target], &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1));
            assert!(said.contains(expected) && said.contains("tensor \"model."), "{said}");
            let left: Vec<_> =
                fs::read_dir(place.path()).expect("a folder").map(|e| e.expect("e").file_name()).collect();
            assert_eq!(left, ["damaged"], "something was left behind");
        }
    }
    let output = convert(&[&teacher(), &damaged], &[]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("expected nothing there yet\nhint:"),
        "an existing target is kept"
    );
}

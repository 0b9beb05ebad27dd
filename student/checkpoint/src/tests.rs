//! Bad files are errors that name what is wrong, and never panic or allocate on a header's word; good ones survive a
//! journey through every format.

use crate::{Checkpoint, CheckpointError, Dtype, MAX_SHARD_BYTES, ModelConfig, Vocabulary, write_folder, write_gguf};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn tests_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name)
}

/// Opens a checkpoint and reads every tensor of its model.
fn read_all(path: &Path) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.config().layout().iter().map(|(name, _)| checkpoint.parameter(name)).collect()
}

#[test]
fn every_bad_file_is_an_error_that_names_what_is_wrong() {
    #[derive(Deserialize)]
    struct Case {
        path: String,
        expected: Option<String>,
    }
    let cases = fs::read(tests_folder("hostile/cases.json")).expect("the list of cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("a list of cases");
    assert!(cases.iter().filter(|case| case.expected.is_some()).count() >= 100);
    let mut wrong = Vec::new();
    for case in cases {
        let outcome = read_all(&tests_folder("hostile/files").join(&case.path));
        let text = outcome.err().map(|error| error.to_string());
        let right = match (&text, &case.expected) {
            (None, None) => true,
            (Some(text), Some(expected)) => text.contains(expected) && text.contains(&case.path) && text.len() < 1000,
            _ => false,
        };
        if !right {
            wrong.push(format!("{}: expected {:?}, found {text:?}", case.path, case.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fixture's configuration with the hidden width of whole blocks, and weights from a formula.
fn model(change: &str) -> (ModelConfig, impl FnMut(&str) -> Result<Vec<f32>, CheckpointError>) {
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": 268, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": null,
            "eos_token_id": 3, "pad_token_id": 0{change}}}"#
    );
    let config = ModelConfig::from_json(&text).expect("a configuration");
    let layout = config.layout();
    let read = move |name: &str| {
        let (_, shape) = layout.iter().find(|(found, _)| found == name).expect("a known name");
        let seed = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let value = |index: u32| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 8_388_608.0 - 1.0;
        Ok((0..shape.iter().product::<usize>() as u32).map(value).collect())
    };
    (config, read)
}

fn nano() -> Vocabulary {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/nano");
    Vocabulary::read_files(&folder, 268).expect("the nano tokenizer")
}

#[test]
fn a_model_survives_the_journey_through_every_format() {
    let changes = [
        "",
        r#", "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true"#,
        r#", "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}, "head_dim": 32"#,
        r#", "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}"#,
        r#", "rope_scaling": {"type": "linear", "factor": 2.0}"#,
    ];
    for change in changes {
        let (config, mut read) = model(change);
        let expected: Vec<Vec<f32>> = config.layout().iter().map(|(name, _)| read(name).expect("weights")).collect();
        let dir = tempfile::tempdir().expect("a folder");
        write_folder(dir.path(), &config, Dtype::F32, 40_000, &mut read).expect("a folder of shards");
        assert!(dir.path().join("model.safetensors.index.json").exists(), "small shards need an index");
        assert_eq!(read_all(dir.path()).expect("shards"), expected, "{change}: safetensors");

        let path = dir.path().join("model.gguf");
        let sharded = Checkpoint::open(dir.path()).expect("a checkpoint");
        assert_eq!(*sharded.config(), config, "{change}: config.json");
        write_gguf(&path, &config, &nano(), Dtype::F32, &mut |name| sharded.parameter(name)).expect("GGUF");
        let gguf = Checkpoint::open(&path).expect("GGUF");
        assert_eq!(*gguf.config(), config, "{change}: GGUF's keys");
        assert_eq!(read_all(&path).expect("GGUF"), expected, "{change}: GGUF");
        assert_eq!(gguf.vocabulary(), Some(&nano()), "{change}: the tokenizer");
    }
}

#[test]
fn a_checkpoint_replaces_another_without_leftovers() {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, mut read) = model("");
    let names = || {
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    write_folder(dir.path(), &config, Dtype::BF16, 20_000, &mut read).expect("many shards");
    assert!(names().len() > 5);
    fs::write(dir.path().join("tokenizer.json"), "{}").expect("another file");
    write_folder(dir.path(), &config, Dtype::F16, MAX_SHARD_BYTES, &mut read).expect("one file");
    assert_eq!(names(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(Checkpoint::open(dir.path()).expect("a checkpoint").config().dtype, Dtype::F16);
}

#[test]
fn a_write_that_fails_leaves_the_old_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, mut read) = model("");
    write_folder(dir.path(), &config, Dtype::F32, MAX_SHARD_BYTES, &mut read).expect("a checkpoint");
    let before = read_all(dir.path()).expect("a checkpoint");
    let mut calls = 0;
    let mut failing = |name: &str| {
        calls += 1;
        let mut values = read(name)?;
        if calls == 7 {
            values[3] = f32::NAN;
        }
        Ok(values)
    };
    let error = write_folder(dir.path(), &config, Dtype::F32, 20_000, &mut failing).expect_err("NaN").to_string();
    assert!(error.contains("finite"), "{error}");
    assert_eq!(read_all(dir.path()).expect("the old checkpoint"), before);
    let left = fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(left, 2, "config.json, model.safetensors and nothing half-written");
}

#[test]
fn quantised_weights_are_as_close_as_their_steps_allow() {
    let (config, mut read) = model("");
    let layout = config.layout();
    let dir = tempfile::tempdir().expect("a folder");
    // Half a step: 11 or 8 bits of mantissa, a 254th of the block's range; in 4 bits up to a whole step, an eighth, at
    // the end that has seven steps.
    for (dtype, allowed) in [(Dtype::F16, 5e-4), (Dtype::BF16, 4e-3), (Dtype::Q8_0, 5e-3), (Dtype::Q4_0, 0.125)] {
        let path = dir.path().join("model.gguf");
        write_gguf(&path, &config, &nano(), dtype, &mut read).expect("GGUF");
        for ((name, _), found) in layout.iter().zip(read_all(&path).expect("GGUF")) {
            let pairs = found.iter().zip(read(name).expect("weights")).map(|(a, b)| (a - b).abs());
            let worst = pairs.fold(0.0, f32::max);
            assert!(worst <= allowed, "{dtype:?} {name}: {worst}");
        }
    }
}

#[test]
fn what_gguf_cannot_say_is_refused() {
    let (config, mut read) = model("");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let windowed = r#"{"model_type": "qwen2", "vocab_size": 268, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "use_sliding_window": true,
        "sliding_window": 8, "max_window_layers": 1}"#;
    let windowed = ModelConfig::from_json(windowed).expect("a configuration");
    let error = write_gguf(&path, &windowed, &nano(), Dtype::F16, &mut read).expect_err("a window").to_string();
    assert!(error.contains("`sliding_window`"), "{error}");
    let biased = r#"{"model_type": "qwen3", "vocab_size": 268, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "attention_bias": true}"#;
    let biased = ModelConfig::from_json(biased).expect("a configuration");
    let error = write_gguf(&path, &biased, &nano(), Dtype::F16, &mut read).expect_err("biases").to_string();
    assert!(error.contains("`attention_bias`"), "{error}");
    let error = write_gguf(&path, &config, &nano(), Dtype::Q6K, &mut read).expect_err("a type").to_string();
    assert!(error.contains("q6_k"), "{error}");
    let odd = Vocabulary { pre: "martian".to_owned(), ..nano() };
    let error = odd.write_files(dir.path()).expect_err("a pre-tokenizer").to_string();
    assert!(error.contains("martian"), "{error}");
}

#[test]
fn a_tied_configuration_gives_way_to_what_is_stored() {
    let open = |name: &str| Checkpoint::open(&tests_folder("hostile/files").join(name)).expect("a checkpoint");
    assert!(open("st_tied_and_equal").config().tie_word_embeddings, "a copy is the embedding");
    let other = open("st_tied_and_other");
    assert!(!other.config().tie_word_embeddings, "another projection is not the embedding");
    let head = other.parameter("lm_head.weight").expect("a projection of its own");
    assert_eq!((head[31], head.len()), (0.5, 32));
    let head = open("st_tied_to_the_head_alone");
    assert_eq!(head.parameter("model.embed_tokens.weight").expect("the projection is both").len(), 32);
}

#[test]
fn numbers_beyond_a_type_are_refused_by_name() {
    let (config, read) = model("");
    let mut read = read;
    let dir = tempfile::tempdir().expect("a folder");
    for (dtype, largest, beyond) in [
        (Dtype::F16, 65_504.0, 65_520.0),
        (Dtype::F16, -65_519.0, -70_000.0),
        (Dtype::BF16, 3.38e38, f32::MAX),
        (Dtype::Q8_0, 8.3e6, 8.4e6),
        (Dtype::Q4_0, 5.2e5, -5.3e5),
    ] {
        let mut write = |value: f32| {
            let mut read = |name: &str| {
                let mut values = read(name)?;
                values[5] = value;
                Ok(values)
            };
            match dtype {
                Dtype::F16 | Dtype::BF16 => {
                    write_folder(dir.path(), &config, dtype, MAX_SHARD_BYTES, &mut read)?;
                    read_all(dir.path())
                }
                _ => {
                    let path = dir.path().join("model.gguf");
                    write_gguf(&path, &config, &nano(), dtype, &mut read)?;
                    read_all(&path)
                }
            }
        };
        write(largest).unwrap_or_else(|error| panic!("{dtype:?} holds {largest}: {error}"));
        let error = write(beyond).expect_err("too large").to_string();
        assert!(error.contains("at 5") && error.contains("hint: "), "{dtype:?} {beyond}: {error}");
    }
}

//! Bad files: each must be an error that names what is wrong; none may panic or allocate on a header's word.

use crate::{Checkpoint, Dtype, ModelConfig, Tensor, write_safetensors};
use std::{fs, path::Path};

const CONFIG: &str = r#"{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 8, "hidden_size": 4,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 16}"#;

fn folder(weights: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("config.json"), CONFIG).expect("a config");
    fs::write(dir.path().join("model.safetensors"), weights).expect("weights");
    dir
}

/// A safetensors file with this header, however wrong, and that many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn bad_weights_are_errors_that_name_the_file() {
    let f32s = |offsets: &str, shape: &str| {
        format!(r#"{{"w": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": {a}}}, "b": {{"dtype": "F32", "shape": [2], "data_offsets": {b}}}}}"#
        )
    };
    let mut endless = u64::MAX.to_le_bytes().to_vec();
    endless.extend(b"{}");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "found 0 bytes"),
        ("seven bytes", vec![0; 7], "found 7 bytes"),
        ("a header of 2^64 bytes", endless, "claims"),
        ("a header longer than the file", 100_u64.to_le_bytes().to_vec(), "claims"),
        ("no JSON", file("not json", 0), "hold together"),
        ("a list", file("[]", 0), "hold together"),
        ("invalid UTF-8", [2_u64.to_le_bytes().to_vec(), vec![0xff, 0xfe]].concat(), "hold together"),
        ("truncated data", file(&f32s("[0, 16]", "[4]"), 15), "\"w\""),
        ("offsets beyond the file", file(&f32s("[0, 4000000000]", "[1000000000]"), 16), "\"w\""),
        ("a shape that does not fill its bytes", file(&f32s("[0, 16]", "[3]"), 16), "hold together"),
        ("a shape that overflows", file(&f32s("[0, 16]", "[4294967296, 4294967296, 4]"), 16), "hold together"),
        ("offsets backwards", file(&f32s("[16, 0]", "[4]"), 16), "hold together"),
        ("negative offsets", file(&f32s("[-1, 15]", "[4]"), 16), "hold together"),
        ("overlapping tensors", file(&two("[0, 8]", "[4, 12]"), 12), "hold together"),
        ("a hole between tensors", file(&two("[0, 8]", "[12, 20]"), 20), "hold together"),
        (
            "an unknown type",
            file(r#"{"w": {"dtype": "F7", "shape": [4], "data_offsets": [0, 16]}}"#, 16),
            "hold together",
        ),
        (
            "a type that holds no weights",
            file(r#"{"w": {"dtype": "I32", "shape": [4], "data_offsets": [0, 16]}}"#, 16),
            "I32",
        ),
    ];
    for (what, bytes, expected) in cases {
        let dir = folder(&bytes);
        let error = Checkpoint::open(dir.path()).expect_err(what).to_string();
        assert!(
            error.contains("model.safetensors") && error.contains(expected),
            "{what}: expected {expected:?} in {error:?}"
        );
    }
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    for name in ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""] {
        let dir = folder(&file("{}", 0));
        let index = format!(r#"{{"weight_map": {{"w": {name:?}}}}}"#);
        fs::write(dir.path().join("model.safetensors.index.json"), index).expect("an index");
        let error = Checkpoint::open(dir.path()).expect_err(name).to_string();
        assert!(error.contains("index.json"), "{name:?}: {error}");
    }
}

#[test]
fn a_config_that_would_compute_something_else_is_refused_by_name() {
    let cases = [
        (r#""hidden_size": 4"#, r#""hidden_size": "4""#, "`hidden_size`"),
        (r#""hidden_size": 4"#, r#""hidden_size": 5"#, "`hidden_size`"),
        (r#""vocab_size": 8"#, r#""vocab_size": 99999999999999999999"#, "`vocab_size`"),
        (r#""num_key_value_heads": 1"#, r#""num_key_value_heads": 0"#, "`num_key_value_heads`"),
        (r#""qwen2""#, r#""mamba""#, "`model_type`"),
        (r#""vocab_size""#, r#""rope_scaling": {"type": "yarn"}, "vocab_size""#, "`rope_scaling`"),
        (
            r#""vocab_size""#,
            r#""rope_parameters": {"rope_type": "llama3"}, "vocab_size""#,
            "`rope_parameters.rope_type`",
        ),
        (r#""vocab_size""#, r#""use_sliding_window": true, "vocab_size""#, "`use_sliding_window`"),
        (r#""vocab_size""#, r#""hidden_act": "gelu", "vocab_size""#, "`hidden_act`"),
        (r#""vocab_size""#, r#""rms_norm_eps": -1, "vocab_size""#, "`rms_norm_eps`"),
    ];
    let dir = folder(&[]);
    for (from, to, expected) in cases {
        assert!(CONFIG.contains(from));
        fs::write(dir.path().join("config.json"), CONFIG.replacen(from, to, 1)).expect("a config");
        let error = ModelConfig::load(dir.path()).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: expected {expected} in {error}");
    }
}

#[test]
fn both_spellings_of_the_rotary_base_are_read_and_written() {
    let dir = folder(&[]);
    for spelling in
        [r#""rope_theta": 300000.0"#, r#""rope_parameters": {"rope_theta": 300000.0, "rope_type": "default"}"#]
    {
        let text = CONFIG.replacen(r#""vocab_size""#, &format!(r#"{spelling}, "vocab_size""#), 1);
        fs::write(dir.path().join("config.json"), text).expect("a config");
        let config = ModelConfig::load(dir.path()).expect("a good config");
        assert_eq!(config.rope_theta, 300_000.0);
        let written: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
        assert_eq!(
            (&written["rope_theta"], &written["rope_parameters"]["rope_theta"]),
            (&300_000.0.into(), &300_000.0.into())
        );
        fs::write(dir.path().join("config.json"), config.to_json()).expect("a config");
        assert_eq!(ModelConfig::load(dir.path()).expect("what was written"), config);
    }
}

#[test]
fn weights_survive_and_half_precision_rounds_to_nearest_even() {
    let dir = folder(&[]);
    let path = dir.path().join("model.safetensors");
    let tensor = Tensor { name: "w".to_owned(), shape: vec![2, 2], data: vec![1.0, -0.5, 1.003_906_3, 3.0e38] };
    let read = |path: &Path| {
        Checkpoint::open(path.parent().expect("a folder")).and_then(|checkpoint| checkpoint.read("w", &[2, 2]))
    };
    write_safetensors(&path, std::slice::from_ref(&tensor), Dtype::F32).expect("weights");
    assert_eq!(read(&path).expect("a tensor"), tensor);
    write_safetensors(&path, std::slice::from_ref(&tensor), Dtype::BF16).expect("weights");
    assert_eq!(read(&path).expect("a tensor").data[..3], [1.0, -0.5, 1.0], "a tie goes to the even neighbour");
    let error =
        Checkpoint::open(dir.path()).and_then(|checkpoint| checkpoint.read("w", &[4])).expect_err("another shape");
    assert!(error.to_string().contains("expected shape [4], found [2, 2]"), "{error}");
}

//! Old and new spellings mean the same; both are written.

use super::{ModelConfig, RopeScaling};
use serde_json::Value;

const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 131072, "EXTRA": null}"#;

fn with(extra: &str) -> ModelConfig {
    ModelConfig::from_json(&LLAMA.replace(r#""EXTRA": null"#, extra)).expect(extra)
}

#[test]
fn old_and_new_spellings_mean_the_same_and_both_are_written() {
    let scaling =
        r#""factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192"#;
    let old = format!(
        r#""rope_theta": 5e5, "rope_scaling": {{"type": "llama3", {scaling}}}, "torch_dtype": "bfloat16", "eos_token_id": 3"#
    );
    let new = format!(
        r#""rope_parameters": {{"rope_theta": 5e5, "rope_type": "llama3", {scaling}}}, "dtype": "bfloat16", "eos_token_id": [3]"#
    );
    let (old, new) = (with(&old), with(&new));
    assert_eq!(old, new);
    assert!(matches!(old.rope.scaling, RopeScaling::Llama3 { factor: 8.0, .. }) && old.rope.theta == 5e5);
    let text = new.to_json();
    assert_eq!(ModelConfig::from_json(&text).expect("what was written"), new);
    let written: Value = serde_json::from_str(&text).expect("JSON");
    for (old, new) in [
        (&written["rope_theta"], &written["rope_parameters"]["rope_theta"]),
        (&written["rope_scaling"]["factor"], &written["rope_parameters"]["factor"]),
        (&written["rope_scaling"]["rope_type"], &written["rope_parameters"]["rope_type"]),
        (&written["torch_dtype"], &written["dtype"]),
    ] {
        assert!(!old.is_null() && old == new, "{old} and {new}");
    }
}

#[test]
fn several_ends_are_kept() {
    assert_eq!(with(r#""eos_token_id": [3, 5, 7]"#).eos_token_id, [3, 5, 7]);
    assert_eq!(with(r#""eos_token_id": null"#).eos_token_id, [0_u32; 0]);
}

#[test]
fn unknown_keys_that_the_reference_does_not_read_are_no_error() {
    assert_eq!(with(r#""transformers_version": "4.1", "unsloth_fixed": true, "pretraining_tp": 1"#), with(r#""x": 1"#));
}

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

#[test]
fn configurations_as_their_models_ship_them_are_read() {
    // The keys of Llama-3.1-8B-Instruct, R1-Distill-Qwen-1.5B, Qwen3-0.6B and SmolLM2-135M-Instruct, values and all.
    let llama = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.42.3", "use_cache": true,
        "vocab_size": 128256}"#;
    let qwen2 = r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
        "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2",
        "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "use_cache": true, "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936}"#;
    let qwen3 = r#"{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false,
        "vocab_size": 151936}"#;
    let smollm = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}}"#;
    for (text, parameters) in
        [(llama, 8_030_261_248), (qwen2, 1_777_088_000), (qwen3, 596_049_920), (smollm, 134_515_008)]
    {
        let config = ModelConfig::from_json(text).expect(text);
        assert_eq!(config.num_parameters(), parameters, "{:?}", config.architecture);
        assert!(config.sliding_window.is_none());
        assert_eq!(ModelConfig::from_json(&config.to_json()).expect("what was written"), config);
    }
}

//! `config.json` out: every key in its old and its new spelling, so that Transformers 4 and 5, vLLM, candle and
//! mistral.rs read the same model.

use super::{Architecture, ModelConfig, RopeScaling};
use serde_json::{Map, Value, json};

impl ModelConfig {
    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        let mut keys = Map::new();
        let mut put = |key: &str, value: Value| keys.insert(key.to_owned(), value);
        put("architectures", json!([self.architecture.class()]));
        if self.architecture != Architecture::Qwen2 {
            put("attention_bias", json!(self.attention_bias));
        }
        put("attention_dropout", json!(0.0));
        put("bos_token_id", json!(self.bos_token_id));
        put("dtype", json!(self.dtype.name()));
        put(
            "eos_token_id",
            match self.eos_token_id.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                several => json!(several),
            },
        );
        if self.architecture != Architecture::Qwen2 || self.head_dim * self.num_attention_heads != self.hidden_size {
            put("head_dim", json!(self.head_dim));
        }
        put("hidden_act", json!("silu"));
        put("hidden_size", json!(self.hidden_size));
        put("initializer_range", json!(self.initializer_range));
        put("intermediate_size", json!(self.intermediate_size));
        if self.architecture != Architecture::Llama {
            let kind = |layer| if self.window(layer).is_some() { "sliding_attention" } else { "full_attention" };
            let kinds: Vec<&str> = (0..self.num_hidden_layers).map(kind).collect();
            put("layer_types", json!(kinds));
        }
        put("max_position_embeddings", json!(self.max_position_embeddings));
        if self.architecture != Architecture::Llama {
            // What readers without `layer_types` see: the first layer from which on all slide.
            let full = (0..self.num_hidden_layers).rev().take_while(|layer| self.window(*layer).is_some()).count();
            put("max_window_layers", json!(self.num_hidden_layers - full));
        }
        if self.architecture == Architecture::Llama {
            put("mlp_bias", json!(self.mlp_bias));
        }
        put("model_type", json!(self.architecture.model_type()));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_key_value_heads", json!(self.num_key_value_heads));
        put("pad_token_id", json!(self.pad_token_id));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        let scaling = self.rope_scaling();
        let mut parameters = scaling.clone().unwrap_or_else(|| json!({"rope_type": "default"}));
        parameters["rope_theta"] = json!(self.rope.theta);
        put("rope_parameters", parameters);
        put("rope_scaling", scaling.unwrap_or(Value::Null));
        put("rope_theta", json!(self.rope.theta));
        if self.architecture != Architecture::Llama {
            put("sliding_window", json!(self.sliding_window.as_ref().map(|window| window.size)));
            put("use_sliding_window", json!(self.sliding_window.is_some()));
        }
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put("torch_dtype", json!(self.dtype.name()));
        put("use_cache", json!(true));
        put("vocab_size", json!(self.vocab_size));
        format!("{:#}\n", Value::Object(keys))
    }

    /// The scaling in the spelling that both generations of readers share, if there is one.
    fn rope_scaling(&self) -> Option<Value> {
        match self.rope.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => Some(json!({"rope_type": "linear", "factor": factor})),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                Some(json!({
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": original_max_position_embeddings,
                }))
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                attention_factor,
                beta_fast,
                beta_slow,
                truncate,
            } => {
                let mut yarn = json!({
                    "rope_type": "yarn",
                    "factor": factor,
                    "original_max_position_embeddings": original_max_position_embeddings,
                    "attention_factor": attention_factor,
                    "beta_fast": beta_fast,
                    "beta_slow": beta_slow,
                });
                if !truncate {
                    yarn["truncate"] = json!(false);
                }
                Some(yarn)
            }
        }
    }
}

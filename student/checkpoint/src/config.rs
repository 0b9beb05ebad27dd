//! `config.json` of a Qwen2 model: old and new spellings in, both spellings out. A key that changes the result and is
//! not supported is refused by name, never ignored.

use crate::error::CheckpointError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The shape of a Qwen2 decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Longest context it is meant for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
}

impl ModelConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Number of parameters, tied weights counted once.
    pub fn num_parameters(&self) -> usize {
        let (h, i, kv) = (self.hidden_size, self.intermediate_size, self.num_key_value_heads * self.head_dim());
        let block = 2 * h * h + h + 2 * (h * kv + kv) + 3 * h * i + 2 * h;
        let embeddings = self.vocab_size * h * if self.tie_word_embeddings { 1 } else { 2 };
        embeddings + self.num_hidden_layers * block + h
    }

    /// Reads `config.json`, given itself or its folder.
    ///
    /// # Errors
    /// When the file is not there, is not JSON, or describes a model that is not supported.
    pub fn load(path: &Path) -> Result<ModelConfig, CheckpointError> {
        let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
        let text = fs::read_to_string(&path).map_err(CheckpointError::io("read", &path))?;
        let keys: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| wrong(&path, format!("not a JSON object: {error}")))?;
        let config = Keys { path: &path, keys }.read()?;
        config.check().map_err(|message| wrong(&path, message))?;
        Ok(config)
    }

    /// What Transformers, vLLM and candle read: `rope_theta` in its old and its new place.
    pub fn to_json(&self) -> String {
        let json = json!({
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "dtype": "float32",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": self.initializer_range,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": "qwen2",
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "rope_theta": self.rope_theta,
            "sliding_window": null,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": self.vocab_size,
        });
        format!("{json:#}\n")
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in positive {
            if value == 0 || value > 1 << 24 {
                return Err(format!("`{key}`: expected 1 to {}, found {value}", 1 << 24));
            }
        }
        let (h, heads, kv) = (self.hidden_size, self.num_attention_heads, self.num_key_value_heads);
        if h % heads != 0 || (h / heads) % 2 != 0 {
            return Err(format!(
                "`hidden_size`: expected an even multiple of `num_attention_heads` ({heads}), found {h}"
            ));
        }
        if heads % kv != 0 {
            return Err(format!(
                "`num_key_value_heads`: expected a divisor of `num_attention_heads` ({heads}), found {kv}"
            ));
        }
        for (key, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
            ("initializer_range", self.initializer_range),
        ] {
            if !value.is_finite() || value <= 0.0 {
                return Err(format!("`{key}`: expected a positive number, found {value}"));
            }
        }
        Ok(())
    }
}

struct Keys<'p> {
    path: &'p Path,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    fn read(&self) -> Result<ModelConfig, CheckpointError> {
        self.refuse_unsupported()?;
        let config = ModelConfig {
            vocab_size: self.count("vocab_size")?,
            hidden_size: self.count("hidden_size")?,
            intermediate_size: self.count("intermediate_size")?,
            num_hidden_layers: self.count("num_hidden_layers")?,
            num_attention_heads: self.count("num_attention_heads")?,
            num_key_value_heads: match self.keys.get("num_key_value_heads") {
                None | Some(Value::Null) => self.count("num_attention_heads")?,
                Some(_) => self.count("num_key_value_heads")?,
            },
            max_position_embeddings: self.count("max_position_embeddings")?,
            rms_norm_eps: self.number("rms_norm_eps", 1e-6)?,
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            initializer_range: self.number("initializer_range", 0.02)?,
        };
        if let Some(head_dim) = self.keys.get("head_dim").filter(|value| !value.is_null())
            && head_dim.as_u64() != Some(config.head_dim() as u64)
        {
            return Err(self.wrong("head_dim", "hidden_size / num_attention_heads, as Qwen2 has it", head_dim));
        }
        Ok(config)
    }

    fn refuse_unsupported(&self) -> Result<(), CheckpointError> {
        let model_type = self.keys.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let named = self
            .keys
            .get("architectures")
            .and_then(|names| names.get(0))
            .and_then(Value::as_str)
            .unwrap_or("Qwen2ForCausalLM");
        if model_type != "qwen2" || named != "Qwen2ForCausalLM" {
            let message = format!(
                "expected `model_type` \"qwen2\" and `architectures` [\"Qwen2ForCausalLM\"], found \"{model_type}\" and [\"{named}\"]"
            );
            return Err(wrong(self.path, message));
        }
        for (key, wanted) in
            [("use_sliding_window", json!(false)), ("hidden_act", json!("silu")), ("rope_scaling", Value::Null)]
        {
            if let Some(found) = self.keys.get(key).filter(|found| !found.is_null() && **found != wanted) {
                return Err(self.wrong(key, &wanted.to_string(), found));
            }
        }
        for key in ["quantization_config", "layer_types"] {
            let plain = |value: &Value| {
                value.is_null()
                    || value.as_array().is_some_and(|layers| layers.iter().all(|layer| layer == "full_attention"))
            };
            if let Some(found) = self.keys.get(key).filter(|found| !plain(found)) {
                return Err(self.wrong(key, "nothing, or full attention in every layer", found));
            }
        }
        Ok(())
    }

    fn rope_theta(&self) -> Result<f64, CheckpointError> {
        let Some(parameters) = self.keys.get("rope_parameters").filter(|value| !value.is_null()) else {
            return self.number("rope_theta", 10_000.0);
        };
        let kind = parameters.get("rope_type").and_then(Value::as_str).unwrap_or("default");
        if kind != "default" {
            return Err(self.wrong("rope_parameters.rope_type", "\"default\"", &json!(kind)));
        }
        match parameters.get("rope_theta").map(Value::as_f64) {
            Some(Some(theta)) => Ok(theta),
            Some(None) => Err(self.wrong("rope_parameters.rope_theta", "a number", parameters)),
            None => self.number("rope_theta", 10_000.0),
        }
    }

    fn count(&self, key: &str) -> Result<usize, CheckpointError> {
        let found = self.keys.get(key).unwrap_or(&Value::Null);
        found
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
            .ok_or_else(|| self.wrong(key, "a whole number", found))
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, CheckpointError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(found) => found.as_f64().ok_or_else(|| self.wrong(key, "a number", found)),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, CheckpointError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(found) => found.as_bool().ok_or_else(|| self.wrong(key, "true or false", found)),
        }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        let mut found = found.to_string();
        found.truncate(found.char_indices().nth(80).map_or(found.len(), |(at, _)| at));
        wrong(self.path, format!("`{key}`: expected {expected}, found {found}"))
    }
}

fn wrong(path: &Path, message: String) -> CheckpointError {
    CheckpointError::Config { path: PathBuf::from(path), message }
}

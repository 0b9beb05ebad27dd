//! What a checkpoint's `config.json` means: the shape of a Llama, Qwen2 or Qwen3 decoder.
//!
//! JSON → [`ModelConfig`] (`read`), [`ModelConfig`] → JSON that old and new tools read alike (`write`), rotary
//! frequencies (`rope`).

mod read;
mod rope;
#[cfg(test)]
mod tests;
mod write;

pub use rope::{Rope, RopeScaling};

use crate::{
    Dtype,
    error::{CheckpointError, is_pointer, pointer},
    file::read_text,
};
use std::path::Path;

/// Whose forward pass a checkpoint was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `LlamaForCausalLM`: biases by `attention_bias` (q, k, v and o) and `mlp_bias`.
    Llama,
    /// `Qwen2ForCausalLM`: biases on q, k and v.
    Qwen2,
    /// `Qwen3ForCausalLM`: RMSNorm on every query and key head before they are rotated.
    Qwen3,
}

impl Architecture {
    /// All that are supported.
    pub const ALL: [Architecture; 3] = [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];

    /// The `model_type` of `config.json`, which is GGUF's `general.architecture` as well.
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// The name in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// Layers that attend only to the last `size` positions, their own included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Positions a token sees.
    pub size: usize,
    /// For every layer, whether it slides.
    pub layers: Vec<bool>,
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Whose forward pass it is.
    pub architecture: Architecture,
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
    /// Width of one head.
    pub head_dim: usize,
    /// Longest context it is meant for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Rotary position embeddings.
    pub rope: Rope,
    /// `attention_bias` of Llama and Qwen3: biases on q, k, v and o. Qwen2 has its own, always.
    pub attention_bias: bool,
    /// Biases in Llama's feed-forward block.
    pub mlp_bias: bool,
    /// Layers with a limited view, if there are any.
    pub sliding_window: Option<SlidingWindow>,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
    /// Element type that the weights were saved in.
    pub dtype: Dtype,
    /// First token of a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_id: Vec<u32>,
    /// Token that fills batches up.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json`, given itself or its folder.
    ///
    /// # Errors
    /// When the file is not there, is not JSON, or describes a model that is not supported.
    pub fn load(path: &Path) -> Result<ModelConfig, CheckpointError> {
        let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
        let text = read_text(&path)?;
        if is_pointer(text.as_bytes()) {
            return Err(pointer(&path));
        }
        ModelConfig::from_json(&text).map_err(|message| CheckpointError::Config { path, message })
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn from_json(text: &str) -> Result<ModelConfig, String> {
        let config = read::read(text)?;
        config.check()?;
        Ok(config)
    }

    /// Whether q, k and v have biases.
    pub fn qkv_bias(&self) -> bool {
        self.attention_bias || self.architecture == Architecture::Qwen2
    }

    /// Whether the attention's output projection has a bias.
    pub fn output_bias(&self) -> bool {
        self.attention_bias && self.architecture != Architecture::Qwen2
    }

    /// Whether query and key heads are normalised.
    pub fn qk_norm(&self) -> bool {
        self.architecture == Architecture::Qwen3
    }

    /// How many positions layer `layer` sees, if that is limited.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.as_ref().filter(|window| window.layers.get(layer) == Some(&true)).map(|window| window.size)
    }

    /// Names and shapes of all tensors in the Hugging Face layout, a tied output projection left out.
    pub fn layout(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let mut layout = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: &[usize]| {
                layout.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            add("input_layernorm.weight", &[hidden]);
            let (qkv_bias, output_bias) = (self.qkv_bias(), self.output_bias());
            let linear = |add: &mut dyn FnMut(&str, &[usize]), name: &str, output: usize, input: usize, bias: bool| {
                add(&format!("{name}.weight"), &[output, input]);
                if bias {
                    add(&format!("{name}.bias"), &[output]);
                }
            };
            linear(&mut add, "self_attn.q_proj", q, hidden, qkv_bias);
            linear(&mut add, "self_attn.k_proj", kv, hidden, qkv_bias);
            linear(&mut add, "self_attn.v_proj", kv, hidden, qkv_bias);
            linear(&mut add, "self_attn.o_proj", hidden, q, output_bias);
            if self.qk_norm() {
                add("self_attn.q_norm.weight", &[self.head_dim]);
                add("self_attn.k_norm.weight", &[self.head_dim]);
            }
            add("post_attention_layernorm.weight", &[hidden]);
            linear(&mut add, "mlp.gate_proj", inner, hidden, self.mlp_bias);
            linear(&mut add, "mlp.up_proj", inner, hidden, self.mlp_bias);
            linear(&mut add, "mlp.down_proj", hidden, inner, self.mlp_bias);
        }
        layout.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            layout.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        layout
    }

    /// Number of parameters, tied weights counted once.
    pub fn num_parameters(&self) -> usize {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let matrices = 2 * h * q + 2 * h * kv + 3 * h * i;
        let count = |on: bool, size: usize| if on { size } else { 0 };
        let biases =
            count(self.qkv_bias(), q + 2 * kv) + count(self.output_bias(), h) + count(self.mlp_bias, 2 * i + h);
        let norms = 2 * h + count(self.qk_norm(), 2 * self.head_dim);
        let embeddings = self.vocab_size * h * if self.tie_word_embeddings { 1 } else { 2 };
        embeddings + self.num_hidden_layers * (matrices + biases + norms) + h
    }

    /// Checks what must hold between the numbers.
    pub(crate) fn check(&self) -> Result<(), String> {
        let counts = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 24),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 12),
            ("num_attention_heads", self.num_attention_heads, 1 << 12),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 30),
        ];
        for (key, found, most) in counts {
            if found == 0 || found > most {
                return Err(format!("`{key}`: expected 1 to {most}, found {found}"));
            }
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim`: expected an even number, found {}", self.head_dim));
        }
        let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
        if heads % kv != 0 {
            return Err(format!(
                "`num_key_value_heads`: expected a divisor of `num_attention_heads` ({heads}), found {kv}"
            ));
        }
        for (key, found) in [("rms_norm_eps", self.rms_norm_eps), ("initializer_range", self.initializer_range)] {
            if !found.is_finite() || found <= 0.0 {
                return Err(format!("`{key}`: expected a positive number, found {found}"));
            }
        }
        if let Some(window) = &self.sliding_window
            && (window.size == 0 || window.layers.len() != self.num_hidden_layers)
        {
            return Err(format!(
                "`sliding_window`: expected at least 1 position and a kind for each of {} layers, found {} and {}",
                self.num_hidden_layers,
                window.size,
                window.layers.len()
            ));
        }
        self.rope.check()
    }
}

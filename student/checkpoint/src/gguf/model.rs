//! GGUF's keys and tensor names ↔ the Hugging Face layout. A key of the architecture that is not known here could change
//! the result, so it is refused by name.

use super::metadata::{Metadata, Pairs, Value, shortened};
use crate::{
    Dtype,
    config::{Architecture, ModelConfig, Rope, RopeScaling},
    open::Tensors,
};
use std::collections::BTreeMap;

/// Names inside a block: Hugging Face, GGUF.
const IN_BLOCK: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];
/// The factors of Llama 3.1's frequencies.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The GGUF name of a tensor.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    if let Some((_, gguf)) = OUTSIDE.iter().find(|(hugging_face, _)| *hugging_face == name) {
        return Some((*gguf).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (stem, kind) = rest.rsplit_once('.')?;
    let (_, gguf) = IN_BLOCK.iter().find(|(hugging_face, _)| *hugging_face == stem)?;
    Some(format!("blk.{layer}.{gguf}.{kind}"))
}

/// The Hugging Face name of a tensor.
fn hugging_face_name(name: &str) -> Option<String> {
    if let Some((hugging_face, _)) = OUTSIDE.iter().find(|(_, gguf)| *gguf == name) {
        return Some((*hugging_face).to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (stem, kind) = rest.rsplit_once('.')?;
    let (hugging_face, _) = IN_BLOCK.iter().find(|(_, gguf)| *gguf == stem)?;
    (layer.parse::<usize>().ok()?.to_string() == layer && matches!(kind, "weight" | "bias"))
        .then(|| format!("model.layers.{layer}.{hugging_face}.{kind}"))
}

/// Whether GGUF holds the rows of this tensor with rotated pairs side by side, given the model's heads.
pub(super) fn is_interleaved(architecture: Architecture, name: &str) -> bool {
    architecture == Architecture::Llama
        && ["self_attn.q_proj.", "self_attn.k_proj."].iter().any(|stem| name.contains(stem))
}

/// The configuration; the tensors are renamed to the Hugging Face layout on the way.
pub(super) fn config(metadata: &Metadata, tensors: &mut Tensors) -> Result<ModelConfig, String> {
    let architecture = match metadata.get("general.architecture") {
        Some(Value::Text(name)) => Architecture::ALL.into_iter().find(|known| known.model_type() == name),
        _ => None,
    };
    let architecture = architecture.ok_or_else(|| {
        let found =
            metadata.get("general.architecture").map_or("nothing".to_owned(), |found| shortened(&format!("{found:?}")));
        format!("`general.architecture`: expected llama, qwen2 or qwen3, found {found}")
    })?;
    let keys = Keys { metadata, prefix: architecture.model_type() };
    keys.refuse_unknown()?;
    let factors = tensors.places.remove(ROPE_FACTORS);
    let embedding = tensors.places.get("token_embd.weight").ok_or("tensor \"token_embd.weight\" is missing")?;
    let &[vocab_size, _] = embedding.shape.as_slice() else {
        return Err(format!("tensor \"token_embd.weight\": expected two dimensions, found {:?}", embedding.shape));
    };
    let has = |name: &str| tensors.places.contains_key(name);
    let heads = keys.count("attention.head_count")?;
    let hidden_size = keys.count("embedding_length")?;
    let max_position_embeddings = keys.count("context_length")?;
    let head_dim = match keys.optional("attention.key_length")? {
        Some(found) => found,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(keys.wrong(
                "embedding_length",
                &format!("a multiple of {heads} heads"),
                &hidden_size.to_string(),
            ));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(found) = keys.optional(key)?
            && found != head_dim
        {
            return Err(keys.wrong(key, &format!("the width of a head, {head_dim}"), &found.to_string()));
        }
    }
    if let Some(found) = keys.optional("vocab_size")?
        && found != vocab_size
    {
        return Err(keys.wrong("vocab_size", &format!("{vocab_size}, the rows of token_embd"), &found.to_string()));
    }
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    let mut rope = Rope { theta, scaling: scaling(&keys, max_position_embeddings)? };
    let plain = [Dtype::F32, Dtype::F16, Dtype::BF16];
    let dtype = tensors.places.get("blk.0.attn_q.weight").map_or(Dtype::F32, |place| place.dtype);
    let token = |key: &str| match metadata.get(&format!("tokenizer.ggml.{key}_token_id")) {
        Some(Value::Unsigned(id)) => u32::try_from(*id).ok(),
        _ => None,
    };
    let mut eos_token_id: Vec<u32> = token("eos").into_iter().collect();
    eos_token_id.extend(token("eot").filter(|eot| Some(*eot) != token("eos")));
    if let Some(factors) = factors {
        rope.scaling = llama3(&rope, head_dim, tensors, &factors)?;
    }
    let config = ModelConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: keys.count("feed_forward_length")?,
        num_hidden_layers: keys.count("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: keys.optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        max_position_embeddings,
        rms_norm_eps: keys.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6),
        rope,
        attention_bias: architecture != Architecture::Qwen2 && has("blk.0.attn_q.bias"),
        mlp_bias: architecture == Architecture::Llama && has("blk.0.ffn_gate.bias"),
        sliding_window: None,
        tie_word_embeddings: !has("output.weight"),
        initializer_range: 0.02,
        dtype: if plain.contains(&dtype) { dtype } else { Dtype::F32 },
        bos_token_id: token("bos"),
        eos_token_id,
        pad_token_id: token("padding"),
    };
    config.check()?;
    rename(tensors, &config)?;
    Ok(config)
}

/// Gives every tensor its Hugging Face name; one that the model does not have is refused.
fn rename(tensors: &mut Tensors, config: &ModelConfig) -> Result<(), String> {
    let known: BTreeMap<String, Vec<usize>> = config.layout().into_iter().collect();
    let mut renamed = BTreeMap::new();
    for (name, mut place) in std::mem::take(&mut tensors.places) {
        let new = hugging_face_name(&name).filter(|new| known.contains_key(new));
        let new = new.ok_or_else(|| {
            format!("tensor \"{}\" belongs to no {} model", shortened(&name), config.architecture.model_type())
        })?;
        if is_interleaved(config.architecture, &new) {
            if place.shape.len() < 2 && place.dtype.block_len() > 1 {
                return Err(format!(
                    "tensor \"{name}\": expected a bias in F32, F16 or BF16, found {}",
                    place.dtype.ggml_name()
                ));
            }
            place.interleaved = config.head_dim;
        }
        renamed.insert(new, place);
    }
    tensors.places = renamed;
    Ok(())
}

fn scaling(keys: &Keys<'_>, max_positions: usize) -> Result<RopeScaling, String> {
    let factor = keys.float("rope.scaling.factor")?;
    let original = keys.optional("rope.scaling.original_context_length")?.unwrap_or(max_positions);
    match keys.text("rope.scaling.type")? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: factor.unwrap_or(1.0) }),
        Some("yarn") => {
            let factor = factor.unwrap_or(1.0);
            // llama.cpp multiplies its own formula by this key.
            let attention = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
            Ok(RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                attention_factor: attention * RopeScaling::yarn_attention_factor(factor, None, None),
                beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                truncate: true,
            })
        }
        Some(other) => Err(keys.wrong("rope.scaling.type", "none, linear or yarn", other)),
    }
}

/// Finds the parameters of Llama 3.1's rule that give the factors stored in the file: the file holds the outcome, not
/// the rule.
fn llama3(rope: &Rope, head_dim: usize, tensors: &Tensors, place: &crate::open::Place) -> Result<RopeScaling, String> {
    use std::os::unix::fs::FileExt;
    if place.dtype != Dtype::F32 || place.shape != [head_dim / 2] {
        return Err(format!("tensor \"{ROPE_FACTORS}\": expected {} float32, found {:?}", head_dim / 2, place.shape));
    }
    let mut bytes = vec![0; 2 * head_dim];
    let (_, file) = &tensors.files[0];
    file.read_exact_at(&mut bytes, place.offset).map_err(|error| format!("tensor \"{ROPE_FACTORS}\": {error}"))?;
    let mut factors = vec![0.0; head_dim / 2];
    Dtype::F32.decode(&bytes, &mut factors);
    if factors.iter().all(|factor| *factor == 1.0) {
        return Ok(RopeScaling::None);
    }
    let factor = f64::from(factors.iter().copied().fold(1.0_f32, f32::max));
    for power in 0..=20 {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 1 << power,
        };
        let rebuilt = rope_factors(&Rope { scaling, ..*rope }, head_dim);
        if factors.iter().zip(&rebuilt).all(|(found, made)| (found - made).abs() <= 1e-4 * made) {
            return Ok(scaling);
        }
    }
    Err(format!("tensor \"{ROPE_FACTORS}\": expected the factors of Llama 3.1's rule, found others, up to {factor}"))
}

/// What each frequency is divided by.
pub(super) fn rope_factors(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let plain = Rope::plain(rope.theta).inverse_frequencies(head_dim);
    plain.iter().zip(rope.inverse_frequencies(head_dim)).map(|(plain, scaled)| plain / scaled).collect()
}

/// The keys that describe a configuration.
pub(super) fn pairs(config: &ModelConfig, pairs: &mut Pairs) -> Result<(), String> {
    if config.sliding_window.is_some() {
        return Err(
            "`sliding_window`: GGUF cannot say it for this architecture, and llama.cpp would attend fully".to_owned()
        );
    }
    if config.architecture == Architecture::Qwen3 && config.attention_bias {
        return Err("`attention_bias`: llama.cpp's Qwen3 has none, and would not load the file".to_owned());
    }
    let prefix = config.architecture.model_type();
    let key = |name: &str| format!("{prefix}.{name}");
    pairs.u32(&key("block_count"), config.num_hidden_layers)?;
    pairs.u32(&key("context_length"), config.max_position_embeddings)?;
    pairs.u32(&key("embedding_length"), config.hidden_size)?;
    pairs.u32(&key("feed_forward_length"), config.intermediate_size)?;
    pairs.u32(&key("attention.head_count"), config.num_attention_heads)?;
    pairs.u32(&key("attention.head_count_kv"), config.num_key_value_heads)?;
    pairs.u32(&key("attention.key_length"), config.head_dim)?;
    pairs.u32(&key("attention.value_length"), config.head_dim)?;
    pairs.f32(&key("attention.layer_norm_rms_epsilon"), config.rms_norm_eps);
    pairs.u32(&key("rope.dimension_count"), config.head_dim)?;
    pairs.f32(&key("rope.freq_base"), config.rope.theta);
    pairs.u32(&key("vocab_size"), config.vocab_size)?;
    match config.rope.scaling {
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => {
            pairs.text(&key("rope.scaling.type"), "linear");
            pairs.f32(&key("rope.scaling.factor"), factor);
        }
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor,
            beta_fast,
            beta_slow,
            truncate,
        } => {
            if !truncate {
                return Err("`rope_parameters.truncate`: GGUF cannot say false".to_owned());
            }
            pairs.text(&key("rope.scaling.type"), "yarn");
            pairs.f32(&key("rope.scaling.factor"), factor);
            pairs.u32(&key("rope.scaling.original_context_length"), original_max_position_embeddings)?;
            let own = RopeScaling::yarn_attention_factor(factor, None, None);
            if (attention_factor / own - 1.0).abs() > 1e-6 {
                pairs.f32(&key("rope.scaling.attn_factor"), attention_factor / own);
            }
            pairs.f32(&key("rope.scaling.yarn_beta_fast"), beta_fast);
            pairs.f32(&key("rope.scaling.yarn_beta_slow"), beta_slow);
        }
    }
    Ok(())
}

/// The keys of one architecture.
struct Keys<'m> {
    metadata: &'m Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    const KNOWN: [&'static str; 19] = [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "rope.scaling.finetuned",
        "vocab_size",
    ];

    fn refuse_unknown(&self) -> Result<(), String> {
        for (key, value) in self.metadata {
            let Some(own) = key.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
            // How the file was laid out when it was made, not what it computes.
            let harmless = own == "tensor_data_layout" || *value == Value::Unsigned(0);
            if !harmless && !Keys::KNOWN.contains(&own) {
                let found = shortened(&format!("{value:?}"));
                return Err(format!(
                    "`{}`: found {found}, which may change the result and is not supported",
                    shortened(key)
                ));
            }
        }
        Ok(())
    }

    fn count(&self, key: &str) -> Result<usize, String> {
        self.optional(key)?.ok_or_else(|| self.wrong(key, "a whole number", "nothing"))
    }

    /// A count; a list with one value for all layers is one count.
    fn optional(&self, key: &str) -> Result<Option<usize>, String> {
        let value = self.get(key);
        let found = match value {
            None => return Ok(None),
            Some(Value::Unsigned(value)) => Some(*value),
            Some(Value::Signed(value)) => u64::try_from(*value).ok(),
            Some(Value::Numbers(values)) => match values.first() {
                Some(first) if values.iter().all(|value| value == first) && first.fract() == 0.0 && *first >= 0.0 => {
                    Some(*first as u64)
                }
                _ => None,
            },
            _ => None,
        };
        let found = found.and_then(|found| usize::try_from(found).ok());
        found.map(Some).ok_or_else(|| self.wrong(key, "a whole number", &shortened(&format!("{value:?}"))))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, String> {
        match self.get(key) {
            None => Ok(None),
            // Shortest decimal of the stored float32: 1e-5 rather than 9.999999747378752e-6.
            Some(Value::Float(value)) => Ok((*value as f32).to_string().parse().ok()),
            Some(other) => Err(self.wrong(key, "a number", &shortened(&format!("{other:?}")))),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "text", &shortened(&format!("{other:?}")))),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.prefix))
    }

    fn wrong(&self, key: &str, expected: &str, found: &str) -> String {
        format!("`{}.{key}`: expected {expected}, found {}", self.prefix, shortened(found))
    }
}

//! `config.json` in: old and new spelling of every key. A key that changes the result and is not supported is refused
//! by name, never ignored; so are two spellings that disagree.

use super::{Architecture, ModelConfig, Rope, RopeScaling, SlidingWindow};
use crate::Dtype;
use serde_json::{Map, Value, json};

/// Keys that would change the result for some reader, with the values that do not.
const NEUTRAL: [(&str, &[&str]); 23] = [
    ("attention_dropout", &["0", "0.0"]),
    ("hidden_act", &["\"silu\"", "\"swish\""]),
    ("partial_rotary_factor", &["1", "1.0"]),
    ("rotary_pct", &["1", "1.0"]),
    ("rope_interleaved", &["false"]),
    ("quantization_config", &[]),
    ("compression_config", &[]),
    ("auto_map", &[]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("attention_multiplier", &[]),
    ("embedding_multiplier", &["1", "1.0"]),
    ("residual_multiplier", &["1", "1.0"]),
    ("logits_scaling", &["1", "1.0"]),
    ("logit_scale", &["1", "1.0"]),
    ("clip_qkv", &[]),
    ("alibi", &["false"]),
    ("use_mrope", &["false"]),
    ("num_experts", &["0"]),
    ("num_local_experts", &["0"]),
    ("per_layer_config", &[]),
    ("no_rope_layers", &["[]"]),
    ("lm_head_bias", &["false"]),
];

pub(super) fn read(text: &str) -> Result<ModelConfig, String> {
    let keys: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    let keys = Keys { table: "", keys: &keys };
    let architecture = architecture(&keys)?;
    for (key, neutral) in NEUTRAL {
        if let Some(found) = keys.get(key).filter(|found| !neutral.contains(&found.to_string().as_str())) {
            let expected = if neutral.is_empty() { "nothing".to_owned() } else { neutral.join(" or ") };
            return Err(keys.wrong(key, &format!("{expected} (it changes the result and is not supported)"), found));
        }
    }
    let (hidden_size, heads) = (keys.count("hidden_size")?, keys.count("num_attention_heads")?);
    let num_hidden_layers = keys.count("num_hidden_layers")?;
    let max_position_embeddings = keys.count("max_position_embeddings")?;
    Ok(ModelConfig {
        architecture,
        vocab_size: keys.count("vocab_size")?,
        hidden_size,
        intermediate_size: keys.count("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads: keys.optional_count("num_key_value_heads")?.unwrap_or(heads),
        head_dim: head_dim(&keys, architecture, hidden_size, heads)?,
        max_position_embeddings,
        rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope: rope(&keys, max_position_embeddings)?,
        // Qwen2 fixes its biases in code and reads no such key.
        attention_bias: architecture != Architecture::Qwen2 && keys.flag("attention_bias")?,
        mlp_bias: architecture == Architecture::Llama && keys.flag("mlp_bias")?,
        sliding_window: sliding_window(&keys, architecture, num_hidden_layers)?,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?,
        initializer_range: keys.number("initializer_range")?.unwrap_or(0.02),
        dtype: dtype(&keys)?,
        bos_token_id: keys.token("bos_token_id")?.first().copied(),
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?.first().copied(),
    })
}

fn architecture(keys: &Keys<'_>) -> Result<Architecture, String> {
    let model_type = keys.get("model_type").and_then(Value::as_str);
    let class = keys.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    let known: Vec<&str> = Architecture::ALL.iter().map(|architecture| architecture.model_type()).collect();
    let Some(found) = Architecture::ALL.into_iter().find(|architecture| Some(architecture.model_type()) == model_type)
    else {
        return Err(keys.wrong(
            "model_type",
            &format!("one of {}", known.join(", ")),
            keys.get("model_type").unwrap_or(&Value::Null),
        ));
    };
    match class {
        Some(class) if class != found.class() => {
            Err(keys.wrong("architectures", &format!("[\"{}\"]", found.class()), &json!(class)))
        }
        _ => Ok(found),
    }
}

fn head_dim(keys: &Keys<'_>, architecture: Architecture, hidden: usize, heads: usize) -> Result<usize, String> {
    if let Some(head_dim) = keys.optional_count("head_dim")? {
        return Ok(head_dim);
    }
    // Qwen3's configuration has a default of its own.
    if architecture == Architecture::Qwen3 {
        return Ok(128);
    }
    if heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(keys.wrong(
            "hidden_size",
            &format!("a multiple of `num_attention_heads` ({heads}), or a `head_dim`"),
            &json!(hidden),
        ));
    }
    Ok(hidden / heads)
}

fn dtype(keys: &Keys<'_>) -> Result<Dtype, String> {
    let Some((key, found)) = keys.either("dtype", "torch_dtype")? else { return Ok(Dtype::F32) };
    let named = found.as_str().and_then(Dtype::from_name);
    named.ok_or_else(|| keys.wrong(key, "\"float32\", \"float16\" or \"bfloat16\"", found))
}

fn sliding_window(
    keys: &Keys<'_>,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Option<SlidingWindow>, String> {
    let kinds = keys.get("layer_types");
    if architecture == Architecture::Llama {
        // Llama attends fully, whatever else is written; a list that says otherwise is refused.
        let full =
            |kinds: &Value| kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "full_attention"));
        return match kinds.filter(|kinds| !full(kinds)) {
            Some(found) => Err(keys.wrong("layer_types", "full attention in every layer, as Llama has it", found)),
            None => match keys.get("sliding_window") {
                Some(found) => Err(keys.wrong(
                    "sliding_window",
                    "nothing: Llama attends to everything, and readers differ in what they make of this",
                    found,
                )),
                None => Ok(None),
            },
        };
    }
    let size =
        if keys.flag("use_sliding_window")? { keys.optional_count("sliding_window")?.or(Some(4096)) } else { None };
    let layers: Vec<bool> = match kinds {
        None => {
            let first = keys.optional_count("max_window_layers")?.unwrap_or(28);
            (0..num_layers.min(1 << 16)).map(|layer| layer >= first).collect()
        }
        Some(Value::Array(kinds)) => {
            let kind = |kind: &Value| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => Err(keys.wrong("layer_types", "full_attention or sliding_attention", kind)),
            };
            kinds.iter().map(kind).collect::<Result<_, _>>()?
        }
        Some(found) => return Err(keys.wrong("layer_types", "a list", found)),
    };
    if kinds.is_some() && layers.len() != num_layers {
        return Err(keys.wrong("layer_types", &format!("{num_layers} kinds, one a layer"), &json!(layers.len())));
    }
    match size {
        Some(size) if layers.contains(&true) => Ok(Some(SlidingWindow { size, layers })),
        None if kinds.is_some() && layers.contains(&true) => Err(keys.wrong(
            "layer_types",
            "full attention where `use_sliding_window` is not set",
            &json!("sliding_attention"),
        )),
        _ => Ok(None),
    }
}

/// Base and scaling, from `rope_parameters`, or from `rope_theta` and `rope_scaling`.
fn rope(keys: &Keys<'_>, max_positions: usize) -> Result<Rope, String> {
    let (new, old) = (keys.get("rope_parameters"), keys.get("rope_scaling"));
    let outside = keys.number("rope_theta")?;
    let mut found = Vec::new();
    for (name, value) in [("rope_parameters", new), ("rope_scaling", old)] {
        let Some(value) = value else { continue };
        let Value::Object(table) = value else { return Err(keys.wrong(name, "a table or nothing", value)) };
        let table = Keys { table: name, keys: table };
        let theta = table.number("rope_theta")?;
        if let (Some(inside), Some(outside)) = (theta, outside)
            && inside != outside
        {
            return Err(table.wrong("rope_theta", &format!("{outside}, as `rope_theta` outside says"), &json!(inside)));
        }
        found.push((name, theta, scaling(&table, max_positions)?));
    }
    if let [(_, _, first), (name, _, second)] = found.as_slice()
        && first != second
    {
        return Err(format!(
            "`{name}`: expected what `rope_parameters` says, found another scaling; one of the two must go"
        ));
    }
    let theta = found.iter().find_map(|(_, theta, _)| *theta).or(outside).unwrap_or(10_000.0);
    Ok(Rope { theta, scaling: found.first().map_or(RopeScaling::None, |(_, _, scaling)| *scaling) })
}

fn scaling(table: &Keys<'_>, max_positions: usize) -> Result<RopeScaling, String> {
    let kind = match table.either("rope_type", "type")? {
        None => "default",
        Some((key, value)) => value.as_str().ok_or_else(|| table.wrong(key, "a name", value))?,
    };
    let (scaling, known): (RopeScaling, &[&str]) = match kind {
        "default" => (RopeScaling::None, &[]),
        "linear" => (RopeScaling::Linear { factor: table.required("factor")? }, &["factor"]),
        "llama3" => (
            RopeScaling::Llama3 {
                factor: table.required("factor")?,
                low_freq_factor: table.required("low_freq_factor")?,
                high_freq_factor: table.required("high_freq_factor")?,
                original_max_position_embeddings: table
                    .optional_count("original_max_position_embeddings")?
                    .unwrap_or(max_positions),
            },
            &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        ),
        "yarn" => (
            yarn(table, max_positions)?,
            &[
                "factor",
                "original_max_position_embeddings",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
        ),
        other => return Err(table.wrong("rope_type", "default, linear, llama3 or yarn", &json!(other))),
    };
    for (key, value) in table.keys {
        let common = ["rope_type", "type", "rope_theta", "finetuned"].contains(&key.as_str());
        let whole = key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
        if !common && !whole && !value.is_null() && !known.contains(&key.as_str()) {
            return Err(table.wrong(key, &format!("nothing of that name in {kind:?} scaling"), value));
        }
    }
    Ok(scaling)
}

fn yarn(table: &Keys<'_>, max_positions: usize) -> Result<RopeScaling, String> {
    let original = table.optional_count("original_max_position_embeddings")?.unwrap_or(max_positions);
    let factor = match table.number("factor")? {
        Some(factor) => factor,
        None => max_positions as f64 / original.max(1) as f64,
    };
    let (mscale, all) = (table.number("mscale")?, table.number("mscale_all_dim")?);
    let attention_factor =
        table.number("attention_factor")?.unwrap_or_else(|| RopeScaling::yarn_attention_factor(factor, mscale, all));
    let nonzero = |found: Option<f64>, default: f64| found.filter(|value| *value != 0.0).unwrap_or(default);
    Ok(RopeScaling::Yarn {
        factor,
        original_max_position_embeddings: original,
        attention_factor,
        beta_fast: nonzero(table.number("beta_fast")?, 32.0),
        beta_slow: nonzero(table.number("beta_slow")?, 1.0),
        truncate: match table.get("truncate") {
            None => true,
            Some(found) => found.as_bool().ok_or_else(|| table.wrong("truncate", "true or false", found))?,
        },
    })
}

/// The keys of a JSON object, `null` being as good as absent.
struct Keys<'k> {
    table: &'static str,
    keys: &'k Map<String, Value>,
}

impl<'k> Keys<'k> {
    fn get(&self, key: &str) -> Option<&'k Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key with two spellings; both may be there and agree.
    fn either(&self, new: &'static str, old: &'static str) -> Result<Option<(&'static str, &'k Value)>, String> {
        match (self.get(new), self.get(old)) {
            (Some(a), Some(b)) if a != b => Err(self.wrong(old, &format!("what `{new}` says, {a}"), b)),
            (Some(value), _) => Ok(Some((new, value))),
            (None, Some(value)) => Ok(Some((old, value))),
            (None, None) => Ok(None),
        }
    }

    fn count(&self, key: &str) -> Result<usize, String> {
        self.optional_count(key)?.ok_or_else(|| self.wrong(key, "a whole number", &Value::Null))
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(found) = self.get(key) else { return Ok(None) };
        // Some configurations write lengths as floats.
        let whole = found.as_u64().or_else(|| {
            found.as_f64().filter(|value| value.fract() == 0.0 && (0.0..1e15).contains(value)).map(|value| value as u64)
        });
        let count = whole.and_then(|value| usize::try_from(value).ok());
        count.map(Some).ok_or_else(|| self.wrong(key, "a whole number", found))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(found) = self.get(key) else { return Ok(None) };
        found.as_f64().map(Some).ok_or_else(|| self.wrong(key, "a number", found))
    }

    fn required(&self, key: &str) -> Result<f64, String> {
        self.number(key)?.ok_or_else(|| self.wrong(key, "a number", &Value::Null))
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(found) => found.as_bool().ok_or_else(|| self.wrong(key, "true or false", found)),
        }
    }

    /// Token ids: one, several or none.
    fn token(&self, key: &str) -> Result<Vec<u32>, String> {
        let one = |found: &Value| {
            let id = found.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.wrong(key, "a token id or a list of them", found))
        };
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(one).collect(),
            // -1 stands for "none" in configurations of Llama 3's own export.
            Some(found) if found.as_i64() == Some(-1) => Ok(Vec::new()),
            Some(found) => Ok(vec![one(found)?]),
        }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> String {
        let mut found = found.to_string();
        found.truncate(found.char_indices().nth(80).map_or(found.len(), |(at, _)| at));
        let dot = if self.table.is_empty() { "" } else { "." };
        format!("`{}{dot}{key}`: expected {expected}, found {found}", self.table)
    }
}

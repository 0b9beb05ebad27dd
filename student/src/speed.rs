//! How fast training is: tokens a second, the share of what the machine could do, memory.

use distill_checkpoint::ModelConfig;
use std::fs;

/// What a token costs, and what the machine could do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Operations for a token apart from attention: six for each weight of a matrix product (Kaplan et al., 2020).
    per_token: f64,
    /// Operations for each pair of a token and one before it.
    per_pair: f64,
    /// Operations a second.
    peak: f64,
}

impl Speed {
    /// For a model, on a device that does `peak` operations a second.
    pub(crate) fn new(config: &ModelConfig, peak: f64) -> Speed {
        let (hidden, inner) = (config.hidden_size as f64, config.intermediate_size as f64);
        let (layers, dim) = (config.num_hidden_layers as f64, config.head_dim as f64);
        let (heads, kv_heads) = (config.num_attention_heads as f64, config.num_key_value_heads as f64);
        let block = hidden * dim * (2.0 * heads + 2.0 * kv_heads) + 3.0 * hidden * inner;
        let head = hidden * config.vocab_size as f64;
        Speed { per_token: 6.0 * (layers * block + head), per_pair: 12.0 * layers * heads * dim, peak }
    }

    /// The share of the peak that so many tokens a second in documents of these lengths come to.
    pub(crate) fn utilisation(&self, tokens: f64, pairs: f64, seconds: f64) -> f64 {
        (tokens * self.per_token + pairs * self.per_pair) / seconds / self.peak
    }

    /// How that is formed, in words.
    pub(crate) fn formula(&self) -> String {
        format!(
            "MFU = (6 · weights of matrix products · tokens + 12 · layers · heads · head_dim · causal pairs of tokens) / s / {:.0} GFLOP/s, the fastest product measured here",
            self.peak / 1e9
        )
    }
}

/// Pairs of a token and itself or one before it, in a document of that length.
pub(crate) fn pairs(length: usize) -> f64 {
    length as f64 * (length as f64 + 1.0) / 2.0
}

/// Memory of this process in bytes, where the system tells: `VmRSS:` for that in use, `VmHWM:` for its peak.
pub(crate) fn memory(kind: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

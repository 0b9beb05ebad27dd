//! The key-value cache: what earlier positions left behind, so that a new token costs one row.

use burn::tensor::{Int, Tensor, TensorData};

/// Keys and values of one block, `[batch, kv_heads, positions, head_dim]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    held: Option<(Tensor<4>, Tensor<4>)>,
}

impl LayerCache {
    pub(crate) fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let (k, v) = match self.held.take() {
            Some((old_k, old_v)) => (Tensor::cat(vec![old_k, k], 2), Tensor::cat(vec![old_v, v], 2)),
            None => (k, v),
        };
        self.held = Some((k.clone(), v.clone()));
        (k, v)
    }
}

/// The cache of a batch whose rows are all at the same position.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    /// Positions held so far.
    pub(crate) len: usize,
}

impl KvCache {
    /// An empty cache.
    pub fn new() -> Self {
        KvCache::default()
    }

    /// Positions held so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps only these rows of the batch, in this order; a row may be kept more than once.
    pub fn select(&mut self, rows: &[usize]) {
        let indices: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        for layer in &mut self.layers {
            let Some((k, v)) = layer.held.take() else { continue };
            let rows = Tensor::<1, Int>::from_data(TensorData::new(indices.clone(), [indices.len()]), &k.device());
            layer.held = Some((k.select(0, rows.clone()), v.select(0, rows)));
        }
    }
}

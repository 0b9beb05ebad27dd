//! Where each parameter lies: all matrices in one buffer, all vectors in another, row-major in the Hugging Face layout. What
//! is multiplied together lies side by side: the projections to queries, keys and values are one matrix, gate and up
//! another. Gradients and moments lie likewise, so that a step is a few kernels over long stretches.

use crate::{ModelError, weights::Parameter};
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_ops::{At, Buffer, Dtype, Engine};
use std::{collections::HashMap, ops::Range};

/// Numbers to which a matrix or vector is aligned: 256 bytes in bfloat16.
const ALIGNMENT: usize = 128;

/// Which of the two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Region {
    /// Matrices.
    Matrices,
    /// Biases and the weights of norms: float32 always.
    Vectors,
}

impl Region {
    /// Both.
    pub(crate) const ALL: [Region; 2] = [Region::Matrices, Region::Vectors];
}

/// A parameter's place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) parameter: Parameter,
    pub(crate) region: Region,
    pub(crate) offset: usize,
}

impl Placed {
    /// Where it lies in buffers by region.
    pub(crate) fn at(&self, buffers: [Buffer; 2]) -> At {
        buffers[self.region as usize].at(self.offset)
    }
}

/// All parameters' places, in the order of the Hugging Face layout.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    placed: Vec<Placed>,
    by_name: HashMap<String, usize>,
    lengths: [usize; 2],
}

impl Layout {
    /// That of a model.
    pub(crate) fn of(config: &ModelConfig) -> Layout {
        let mut lengths = [0_usize; 2];
        let placed: Vec<Placed> = config
            .layout()
            .into_iter()
            .map(|(name, shape)| {
                let is_matrix = shape.len() > 1;
                let region = if is_matrix { Region::Matrices } else { Region::Vectors };
                let end = &mut lengths[region as usize];
                if !continues(&name) {
                    *end = end.next_multiple_of(ALIGNMENT);
                }
                let (offset, len) = (*end, shape.iter().product());
                *end += len;
                Placed { parameter: Parameter { name, shape, len, is_matrix }, region, offset }
            })
            .collect();
        let by_name = placed.iter().enumerate().map(|(index, placed)| (placed.parameter.name.clone(), index)).collect();
        Layout { placed, by_name, lengths }
    }

    /// Numbers in a region, gaps included.
    pub(crate) fn len(&self, region: Region) -> usize {
        self.lengths[region as usize].max(1)
    }

    /// All parameters.
    pub(crate) fn all(&self) -> &[Placed] {
        &self.placed
    }

    /// One by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Placed> {
        Some(&self.placed[*self.by_name.get(name)?])
    }

    /// Where one lies in buffers by region.
    pub(crate) fn at(&self, buffers: [Buffer; 2], name: &str) -> Option<At> {
        self.get(name).map(|placed| placed.at(buffers))
    }

    /// A buffer for each region: matrices in that type, vectors in float32.
    pub(crate) fn buffers(&self, engine: &mut Engine, matrices: Dtype) -> Result<[Buffer; 2], ModelError> {
        let [matrices_len, vectors_len] = Region::ALL.map(|region| self.len(region));
        Ok([engine.zeros(matrices, matrices_len)?, engine.zeros(Dtype::F32, vectors_len)?])
    }

    /// Reads all parameters into such buffers.
    pub(crate) fn read(
        &self,
        checkpoint: &Checkpoint,
        engine: &mut Engine,
        values: [Buffer; 2],
    ) -> Result<(), ModelError> {
        for placed in &self.placed {
            engine.write(placed.at(values), &checkpoint.parameter(&placed.parameter.name)?)?;
        }
        Ok(())
    }

    /// Stretches of a region whose parameters `kind` tells the same of, gaps between them included; those of which it tells
    /// nothing are left out.
    pub(crate) fn stretches<K: PartialEq>(
        &self,
        region: Region,
        kind: impl Fn(usize) -> Option<K>,
    ) -> Vec<(Range<usize>, K)> {
        let mut out: Vec<(Range<usize>, K)> = Vec::new();
        let mut open = false;
        for (index, placed) in self.placed.iter().enumerate().filter(|(_, placed)| placed.region == region) {
            let end = placed.offset + placed.parameter.len;
            match (kind(index), out.last_mut()) {
                (Some(kind), Some((range, last))) if open && *last == kind => range.end = end,
                (Some(kind), _) => {
                    out.push((placed.offset..end, kind));
                    open = true;
                }
                (None, _) => open = false,
            }
        }
        out
    }
}

/// Whether a parameter follows the one before without a gap, as part of the same product or sum.
fn continues(name: &str) -> bool {
    ["k_proj.", "v_proj.", "up_proj.", "k_norm."].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn merged_matrices_lie_side_by_side_and_others_are_aligned() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/models/qwen2_tied");
        let layout = Layout::of(Checkpoint::open(&folder).expect("a checkpoint").config());
        let at = |name: &str| layout.get(&format!("model.layers.1.{name}")).expect("a parameter").clone();
        for kind in ["weight", "bias"] {
            let [q, k, v] = ["q", "k", "v"].map(|name| at(&format!("self_attn.{name}_proj.{kind}")));
            assert_eq!(q.offset + q.parameter.len, k.offset, "{kind}: keys follow queries");
            assert_eq!(k.offset + k.parameter.len, v.offset, "{kind}: values follow keys");
            assert_eq!(q.offset % ALIGNMENT, 0);
        }
        let (gate, up) = (at("mlp.gate_proj.weight"), at("mlp.up_proj.weight"));
        assert_eq!(gate.offset + gate.parameter.len, up.offset);
        let stretches = layout.stretches(Region::Matrices, |index| (index != 0).then_some(()));
        assert_eq!(stretches.len(), 1, "one stretch without the embedding");
        assert_eq!(stretches[0].0.end, layout.len(Region::Matrices));
    }
}

//! Element types: how many bytes hold how many weights, and both directions between bytes and float32.

use crate::blocks;
use half::{bf16, f16, slice::HalfFloatSliceExt};

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// GGML: 32 weights of 8 bits with a scale.
    Q8_0,
    /// GGML: 32 weights of 4 bits with a scale.
    Q4_0,
    /// GGML: 32 weights of 4 bits with a scale and a minimum.
    Q4_1,
    /// GGML: 32 weights of 5 bits with a scale.
    Q5_0,
    /// GGML: 32 weights of 5 bits with a scale and a minimum.
    Q5_1,
    /// GGML: 256 weights of 4 bits in 8 groups, scales and minima of 6 bits.
    Q4K,
    /// GGML: 256 weights of 5 bits in 8 groups, scales and minima of 6 bits.
    Q5K,
    /// GGML: 256 weights of 6 bits in 16 groups, scales of 8 bits.
    Q6K,
}

impl Dtype {
    /// All types, with GGML's number and name.
    const GGML: [(Dtype, u32, &'static str); 11] = [
        (Dtype::F32, 0, "f32"),
        (Dtype::F16, 1, "f16"),
        (Dtype::Q4_0, 2, "q4_0"),
        (Dtype::Q4_1, 3, "q4_1"),
        (Dtype::Q5_0, 6, "q5_0"),
        (Dtype::Q5_1, 7, "q5_1"),
        (Dtype::Q8_0, 8, "q8_0"),
        (Dtype::Q4K, 12, "q4_k"),
        (Dtype::Q5K, 13, "q5_k"),
        (Dtype::Q6K, 14, "q6_k"),
        (Dtype::BF16, 30, "bf16"),
    ];

    /// From the name in `config.json`: `float32`, `float16` or `bfloat16`.
    pub fn from_name(name: &str) -> Option<Dtype> {
        [Dtype::F32, Dtype::F16, Dtype::BF16].into_iter().find(|dtype| dtype.name() == name)
    }

    /// The name in `config.json`, or GGML's for a type that only GGUF has.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
            other => other.ggml_name(),
        }
    }

    /// GGML's name, e.g. `q4_0`.
    pub fn ggml_name(self) -> &'static str {
        Dtype::GGML.iter().find(|(dtype, ..)| *dtype == self).map_or("", |(_, _, name)| name)
    }

    pub(crate) fn from_ggml(number: u32) -> Option<Dtype> {
        Dtype::GGML.iter().find(|(_, found, _)| *found == number).map(|(dtype, ..)| *dtype)
    }

    pub(crate) fn ggml(self) -> u32 {
        Dtype::GGML.iter().find(|(dtype, ..)| *dtype == self).map_or(0, |(_, number, _)| *number)
    }

    /// Whether weights are held in blocks that share a scale.
    pub fn is_quantised(self) -> bool {
        !matches!(self, Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Weights in a block.
    pub(crate) fn block_len(self) -> usize {
        match self {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => 1,
            Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => 256,
            _ => 32,
        }
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::Q8_0 => 34,
            Dtype::Q4_0 => 18,
            Dtype::Q4_1 => 20,
            Dtype::Q5_0 => 22,
            Dtype::Q5_1 => 24,
            Dtype::Q4K => 144,
            Dtype::Q5K => 176,
            Dtype::Q6K => 210,
        }
    }

    /// Bytes of a tensor, or nothing where its rows do not consist of whole blocks or the size overflows.
    pub(crate) fn num_bytes(self, shape: &[usize]) -> Option<u64> {
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(self.block_len()) {
            return None;
        }
        let elements = shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim as u64))?;
        (elements / self.block_len() as u64).checked_mul(self.block_bytes() as u64)
    }

    /// Bytes → float32; both hold the same whole number of blocks.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let words = |bytes: &[u8], out: &mut [f32], convert: fn(&[u16], &mut [f32])| {
            let mut buffer = [0_u16; 1024];
            for (bytes, out) in bytes.chunks(2 * buffer.len()).zip(out.chunks_mut(buffer.len())) {
                for (word, pair) in buffer.iter_mut().zip(bytes.chunks_exact(2)) {
                    *word = u16::from_le_bytes([pair[0], pair[1]]);
                }
                convert(&buffer[..out.len()], out);
            }
        };
        match self {
            Dtype::F32 => {
                for (value, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Dtype::F16 => words(bytes, out, |words, out| {
                let halves: &[f16] = half::slice::HalfBitsSliceExt::reinterpret_cast(words);
                halves.convert_to_f32_slice(out);
            }),
            Dtype::BF16 => words(bytes, out, |words, out| {
                for (value, word) in out.iter_mut().zip(words) {
                    *value = f32::from_bits(u32::from(*word) << 16);
                }
            }),
            quantised => {
                let blocks = bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block_len()));
                for (block, out) in blocks {
                    blocks::decode(quantised, block, out);
                }
            }
        }
    }

    /// The first of these numbers that is too large for this type: it would become infinite.
    pub(crate) fn overflow(self, values: &[f32]) -> Option<usize> {
        // Half-way to what would be the next power of two; blocks have a scale in half precision.
        let half = 65_520.0;
        let largest = match self {
            Dtype::F16 => half,
            Dtype::BF16 => f32::from_bits(0x7f7f_8000),
            Dtype::Q8_0 => 127.0 * half,
            Dtype::Q4_0 => 8.0 * half,
            _ => return None,
        };
        values.iter().position(|value| value.abs() >= largest)
    }

    /// Float32 → bytes, rounded to nearest; whole blocks. Nothing for a type that is only read.
    pub(crate) fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(values.len() / self.block_len() * self.block_bytes());
        match self {
            Dtype::F32 => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
            Dtype::F16 => values.iter().for_each(|value| bytes.extend(f16::from_f32(*value).to_le_bytes())),
            Dtype::BF16 => values.iter().for_each(|value| bytes.extend(bf16::from_f32(*value).to_le_bytes())),
            Dtype::Q8_0 => values.chunks_exact(32).for_each(|block| blocks::encode_q8_0(block, &mut bytes)),
            Dtype::Q4_0 => values.chunks_exact(32).for_each(|block| blocks::encode_q4_0(block, &mut bytes)),
            _ => return None,
        }
        Some(bytes)
    }
}

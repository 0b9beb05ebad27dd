//! GGML's quantised blocks, as `ggml-common.h` lays them out: little-endian, scales in half precision.

use crate::Dtype;
use half::f16;

/// One block → its weights.
pub(crate) fn decode(dtype: Dtype, block: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::Q8_0 => {
            let d = half(block, 0);
            for (value, q) in out.iter_mut().zip(&block[2..34]) {
                *value = f32::from(*q as i8) * d;
            }
        }
        Dtype::Q4_0 => {
            let d = half(block, 0);
            nibbles(&block[2..18], out, |_, q| (f32::from(q) - 8.0) * d);
        }
        Dtype::Q4_1 => {
            let (d, m) = (half(block, 0), half(block, 2));
            nibbles(&block[4..20], out, |_, q| f32::from(q) * d + m);
        }
        Dtype::Q5_0 => {
            let (d, high) = (half(block, 0), word(block, 2));
            nibbles(&block[6..22], out, |index, q| (f32::from(q | fifth(high, index)) - 16.0) * d);
        }
        Dtype::Q5_1 => {
            let (d, m, high) = (half(block, 0), half(block, 2), word(block, 4));
            nibbles(&block[8..24], out, |index, q| f32::from(q | fifth(high, index)) * d + m);
        }
        Dtype::Q4K => decode_q4_k(block, out),
        Dtype::Q5K => decode_q5_k(block, out),
        Dtype::Q6K => decode_q6_k(block, out),
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => {}
    }
}

/// 16 bytes hold weights 0 to 15 in their lower and 16 to 31 in their upper halves.
fn nibbles(packed: &[u8], out: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for (index, ((low, high), byte)) in low.iter_mut().zip(high).zip(packed).enumerate() {
        *low = value(index, byte & 15);
        *high = value(index + 16, byte >> 4);
    }
}

/// The fifth bit of weight `index`, in its place.
fn fifth(bits: u32, index: usize) -> u8 {
    ((bits >> index & 1) << 4) as u8
}

fn decode_q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (pair, (packed, out)) in block[16..144].chunks_exact(32).zip(out.chunks_exact_mut(64)).enumerate() {
        let (low, high) = out.split_at_mut(32);
        let groups = [scale_and_min(2 * pair, &block[4..16]), scale_and_min(2 * pair + 1, &block[4..16])];
        let [(d1, m1), (d2, m2)] = groups.map(|(scale, min)| (d * f32::from(scale), dmin * f32::from(min)));
        for ((low, high), byte) in low.iter_mut().zip(high).zip(packed) {
            *low = d1 * f32::from(byte & 15) - m1;
            *high = d2 * f32::from(byte >> 4) - m2;
        }
    }
}

fn decode_q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let bits = &block[16..48];
    for (pair, (packed, out)) in block[48..176].chunks_exact(32).zip(out.chunks_exact_mut(64)).enumerate() {
        let (low, high) = out.split_at_mut(32);
        let groups = [scale_and_min(2 * pair, &block[4..16]), scale_and_min(2 * pair + 1, &block[4..16])];
        let [(d1, m1), (d2, m2)] = groups.map(|(scale, min)| (d * f32::from(scale), dmin * f32::from(min)));
        for (((low, high), byte), bits) in low.iter_mut().zip(high).zip(packed).zip(bits) {
            *low = d1 * f32::from(byte & 15 | (bits >> (2 * pair) & 1) << 4) - m1;
            *high = d2 * f32::from(byte >> 4 | (bits >> (2 * pair + 1) & 1) << 4) - m2;
        }
    }
}

fn decode_q6_k(block: &[u8], out: &mut [f32]) {
    let d = half(block, 208);
    let halves =
        block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32)).zip(block[192..208].chunks_exact(8));
    for (((low, high), scales), out) in halves.zip(out.chunks_exact_mut(128)) {
        for index in 0..32 {
            let quarters = [low[index] & 15, low[index + 32] & 15, low[index] >> 4, low[index + 32] >> 4];
            for (quarter, four) in quarters.into_iter().enumerate() {
                let q = i32::from(four | (high[index] >> (2 * quarter) & 3) << 4) - 32;
                let scale = f32::from(scales[index / 16 + 2 * quarter] as i8);
                out[index + 32 * quarter] = d * scale * q as f32;
            }
        }
    }
}

/// Scale and minimum of group `group`, 6 bits each, from the 12 bytes that hold eight of both.
fn scale_and_min(group: usize, packed: &[u8]) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let scale = packed[group + 4] & 15 | (packed[group - 4] >> 6) << 4;
    let min = packed[group + 4] >> 4 | (packed[group] >> 6) << 4;
    (scale, min)
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// 32 weights, each rounded to a 127th of the largest.
pub(crate) fn encode_q8_0(values: &[f32], bytes: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let d = largest / 127.0;
    let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
    bytes.extend(f16::from_f32(d).to_le_bytes());
    bytes.extend(values.iter().map(|value| (value * inverse).round() as i8 as u8));
}

/// 32 weights in 16 steps of −8 to 7. Among 19 scales around the one that makes the largest weight −8, the one with the
/// least squared error, after a least-squares fit.
pub(crate) fn encode_q4_0(values: &[f32], bytes: &mut Vec<u8>) {
    let largest =
        values.iter().fold(0.0_f32, |largest, value| if value.abs() > largest.abs() { *value } else { largest });
    let step = |value: f32, inverse: f32| (value * inverse).round().clamp(-8.0, 7.0);
    let (mut best, mut best_error) = (0.0_f32, f32::INFINITY);
    if largest != 0.0 {
        for shift in -9..=9 {
            let inverse = -(8.0 + 0.1 * shift as f32) / largest;
            let (mut xq, mut qq) = (0.0, 0.0);
            for value in values {
                let q = step(*value, inverse);
                (xq, qq) = (xq + value * q, qq + q * q);
            }
            if qq == 0.0 {
                continue;
            }
            let d = f16::from_f32(xq / qq).to_f32();
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            let error: f32 = values.iter().map(|value| (value - d * step(*value, inverse)).powi(2)).sum();
            if error < best_error {
                (best, best_error) = (d, error);
            }
        }
    }
    let inverse = if best == 0.0 { 0.0 } else { 1.0 / best };
    bytes.extend(f16::from_f32(best).to_le_bytes());
    let q = |value: f32| (step(value, inverse) + 8.0) as u8;
    bytes.extend(values[..16].iter().zip(&values[16..]).map(|(low, high)| q(*low) | q(*high) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::{collections::BTreeSet, fs, path::Path};

    /// As `tests/parity/blocks.py` writes it: bytes and the bits of float32, in hexadecimal digits.
    #[derive(Deserialize)]
    struct Case {
        dtype: String,
        block: String,
        values: String,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("digits")).collect()
    }

    #[test]
    fn every_block_is_what_the_reference_makes_of_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/blocks.json");
        let cases: Vec<Case> = serde_json::from_slice(&fs::read(path).expect("the fixture")).expect("cases");
        let mut seen = BTreeSet::new();
        for case in cases {
            let known = [2, 3, 6, 7, 8, 12, 13, 14].into_iter().filter_map(Dtype::from_ggml);
            let name = case.dtype.to_lowercase();
            let dtype = known.into_iter().find(|dtype| dtype.ggml_name() == name).expect("a known type");
            let mut found = vec![0.0; dtype.block_len()];
            dtype.decode(&bytes(&case.block), &mut found);
            let bits: Vec<u8> = found.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(bits, bytes(&case.values), "{name}");
            seen.insert(name);
        }
        assert_eq!(seen.len(), 8, "every quantised type is there: {seen:?}");
    }
}

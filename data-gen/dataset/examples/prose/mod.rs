//! Text that compresses as prose does, for measurements.

/// Words by falling frequency: what compresses as prose does.
const WORDS: &str = "the of and to a in is that we it so this for then if be which as can have with one now check let \
    number equals sum because therefore both sides multiply divide answer wait another think again first second side \
    equation value problem given must two three however each prove remainder modulo square triangle angle suppose \
    consider alternatively integer polynomial coefficient substitute expression simplify denominator consequently";

/// About `bytes` bytes, always the same for one seed.
pub(crate) fn prose(seed: u64, bytes: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (state >> 33) as f64 / (1_u64 << 31) as f64;
        text.push_str(words[((draw * draw * draw) * words.len() as f64) as usize]);
        match state >> 60 {
            0 => text.push_str(&format!(" {}. ", (state >> 40) % 1000)),
            1 => text.push_str(",\n"),
            _ => text.push(' '),
        }
    }
    text
}

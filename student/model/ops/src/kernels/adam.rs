//! AdamW (Loshchilov and Hutter, 2019) over a flat stretch of parameters.

use crate::{
    call::{Arg, At, Kernel, Launch, strided},
    host::Memory,
};

/// A step's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamNumbers {
    /// What gradients are multiplied by first.
    pub scale: f32,
    /// Decay of the moments.
    pub betas: [f32; 2],
    /// One less them.
    pub rests: [f32; 2],
    /// The learning rate over the first moment's correction.
    pub step_size: f32,
    /// One over the root of the second moment's correction.
    pub root: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// What is left of a parameter after its decay.
    pub kept: f32,
}

impl AdamNumbers {
    fn args(&self) -> [Arg; 9] {
        let [beta1, beta2] = self.betas;
        let [rest1, rest2] = self.rests;
        [self.scale, beta1, beta2, rest1, rest2, self.step_size, self.root, self.epsilon, self.kept].map(Arg::Float)
    }

    /// A parameter and its moments after the step.
    fn step(&self, [w, m, v]: [f32; 3], gradient: f32) -> [f32; 3] {
        let g = gradient * self.scale;
        let m = m * self.betas[0] + g * self.rests[0];
        let v = v * self.betas[1] + g * g * self.rests[1];
        [w * self.kept - self.step_size * m / (v.sqrt() * self.root + self.epsilon), m, v]
    }
}

/// A step in float32, with a copy of the parameters in bfloat16 where one is kept.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Parameters, `[len]`.
    pub w: At,
    /// Gradients.
    pub g: At,
    /// First moments.
    pub m: At,
    /// Second moments.
    pub v: At,
    /// The copy.
    pub shadow: Option<At>,
    /// How many.
    pub len: usize,
    /// The step.
    pub numbers: AdamNumbers,
}

impl Kernel for AdamW {
    fn launch(&self) -> Launch {
        let places = [self.w.into(), self.g.into(), self.m.into(), self.v.into(), self.shadow.into()];
        let args = places.into_iter().chain([Arg::Long(self.len as u64)]).chain(self.numbers.args()).collect();
        Launch::new("adamw_f32", None, strided(self.len), args)
    }

    fn define(&self, memory: &mut Memory) {
        let states = [self.w, self.m, self.v];
        let [mut w, mut m, mut v] = states.map(|at| memory.read(at, self.len));
        for (at, gradient) in memory.read(self.g, self.len).into_iter().enumerate() {
            [w[at], m[at], v[at]] = self.numbers.step([w[at], m[at], v[at]], gradient);
        }
        states.into_iter().zip([&w, &m, &v]).for_each(|(at, values)| memory.write(at, values));
        if let Some(shadow) = self.shadow {
            memory.write(shadow, &w);
        }
    }
}

/// A step whose parameters and moments are kept in bfloat16, rounded up or down at random so that their means are exact: small
/// steps are not lost but taken rarely. The same step rounds the same way whenever it is taken again.
#[derive(Clone, Copy, Debug)]
pub struct AdamWRounded {
    /// Parameters, `[len]`.
    pub w: At,
    /// Gradients, float32.
    pub g: At,
    /// First moments.
    pub m: At,
    /// Second moments.
    pub v: At,
    /// How many.
    pub len: usize,
    /// The step.
    pub numbers: AdamNumbers,
    /// What decides the rounding, with a number's place.
    pub seed: u32,
    /// The place of the first.
    pub first: usize,
}

impl Kernel for AdamWRounded {
    fn launch(&self) -> Launch {
        let places = [self.w, self.g, self.m, self.v].map(Into::into);
        let rest = [Arg::Unsigned(self.seed), Arg::Long(self.first as u64)];
        let args = places.into_iter().chain([Arg::Long(self.len as u64)]).chain(self.numbers.args()).chain(rest);
        Launch::new("adamw_bf16", None, strided(self.len), args.collect())
    }

    fn define(&self, memory: &mut Memory) {
        let states = [self.w, self.m, self.v];
        let mut held = states.map(|at| memory.read(at, self.len));
        for (at, gradient) in memory.read(self.g, self.len).into_iter().enumerate() {
            let stepped = self.numbers.step([held[0][at], held[1][at], held[2][at]], gradient);
            let random = bits(self.seed, (self.first + at) as u64);
            for (which, value) in stepped.into_iter().enumerate() {
                held[which][at] = rounded(value, (random >> (16 * which)) as u32);
            }
        }
        states.into_iter().zip(&held).for_each(|(at, values)| memory.write(at, values));
    }
}

/// `value` in bfloat16, up or down by 16 random bits.
fn rounded(value: f32, random: u32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    f32::from_bits(value.to_bits().wrapping_add(random & 0xffff) & 0xffff_0000)
}

/// Bits that depend on the seed and a number's place alone: 16 for each of the three that are kept of it.
fn bits(seed: u32, place: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = mixed(u64::from(seed).wrapping_add(STEP));
    mixed(key.wrapping_add(place.wrapping_mul(STEP)))
}

/// The finaliser of SplitMix64 (Steele et al., 2014).
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_at_random_keeps_the_mean_and_what_needs_none() {
        for x in [1.0 + 1.0 / 512.0, 3.0e-7, -1.7e4 - 1.0, 0.1, -2.5e-30_f32] {
            let many: Vec<f32> = (0..40_000).map(|place| rounded(x, bits(3, place) as u32)).collect();
            let mean = many.iter().copied().map(f64::from).sum::<f64>() / many.len() as f64;
            assert!((mean - f64::from(x)).abs() < 1e-4 * f64::from(x.abs()), "{x}: the mean is {mean}");
            let mut kinds: Vec<u32> = many.iter().map(|value| value.to_bits()).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), 2, "{x}: up or down, nothing else");
        }
        for exact in [0.0_f32, 1.0, -2.0, 0.5, 1.0 + 1.0 / 128.0, -96.0, f32::INFINITY] {
            assert_eq!(rounded(exact, 0xffff), exact);
        }
    }
}

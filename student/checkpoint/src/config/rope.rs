//! Rotary position embeddings (Su et al., 2021): base, and the rule by which a longer context was reached.
//!
//! Frequencies are computed in float32, operation by operation as Transformers does: at position 30,000 the last bit of
//! a frequency is an angle of a thousandth.

use std::f32::consts::TAU;

/// Base and scaling of the rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// The base, θ.
    pub theta: f64,
    /// How the frequencies are changed for a longer context.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are changed for a longer context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by one factor (Chen et al., 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by a factor, short ones kept, a blend between.
    Llama3 {
        /// The divisor of long wavelengths.
        factor: f64,
        /// Wavelengths above the original context divided by this are long.
        low_freq_factor: f64,
        /// Wavelengths below the original context divided by this are short.
        high_freq_factor: f64,
        /// The context before scaling, in tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al., 2023): a ramp over the dimensions, and a factor on the attention.
    Yarn {
        /// The divisor of slow dimensions.
        factor: f64,
        /// The context before scaling, in tokens.
        original_max_position_embeddings: usize,
        /// Factor on cosines and sines.
        attention_factor: f64,
        /// Rotations over the original context above which a dimension is kept.
        beta_fast: f64,
        /// Rotations over the original context below which a dimension is divided.
        beta_slow: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
    },
}

impl RopeScaling {
    /// YaRN's factor on cosines and sines where the configuration names none: `0.1 · mscale · ln(factor) + 1`, by the
    /// ratio of two such where both `mscale` and `mscale_all_dim` are given.
    pub fn yarn_attention_factor(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        match (mscale.filter(|value| *value != 0.0), mscale_all_dim.filter(|value| *value != 0.0)) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        }
    }
}

impl Rope {
    /// Plain rotary embeddings.
    pub fn plain(theta: f64) -> Rope {
        Rope { theta, scaling: RopeScaling::None }
    }

    /// Radians per position of each pair of dimensions, `head_dim / 2` of them.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let powers = (0..head_dim / 2).map(|pair| power(self.theta, (2 * pair) as f32 / head_dim as f32));
        match self.scaling {
            RopeScaling::None => powers.map(|power| 1.0 / power).collect(),
            RopeScaling::Linear { factor } => powers.map(|power| 1.0 / power / factor as f32).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let context = original_max_position_embeddings as f64;
                powers.map(|power| llama3(1.0 / power, factor, [low_freq_factor, high_freq_factor], context)).collect()
            }
            RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } => {
                let (dim, context) = (head_dim as f64, original_max_position_embeddings as f64);
                let pair = |rotations: f64| {
                    dim * (context / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * self.theta.ln())
                };
                // The pairs between which the ramp rises.
                let (low, high) = (pair(beta_fast), pair(beta_slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(dim - 1.0));
                let high = if low == high { high + 0.001 } else { high };
                let blend = |(pair, power): (usize, f32)| {
                    let ramp = ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let (kept, divided) = (1.0 / power, 1.0 / (factor as f32 * power));
                    divided * (1.0 - (1.0 - ramp)) + kept * (1.0 - ramp)
                };
                powers.enumerate().map(blend).collect()
            }
        }
    }

    /// Factor on cosines and sines.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let above = |key: &str, found: f64, least: f64| {
            if found.is_finite() && found >= least {
                Ok(())
            } else {
                Err(format!("`{key}`: expected {least} or more, found {found}"))
            }
        };
        above("rope_theta", self.theta, 1.000_001)?;
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => above("factor", factor, 1.0),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                above("factor", factor, 1.0)?;
                above("low_freq_factor", low_freq_factor, f64::MIN_POSITIVE)?;
                above("high_freq_factor", high_freq_factor, f64::MIN_POSITIVE)?;
                above("original_max_position_embeddings", original_max_position_embeddings as f64, 1.0)?;
                if high_freq_factor > low_freq_factor {
                    return Ok(());
                }
                Err(format!(
                    "`high_freq_factor`: expected more than `low_freq_factor` ({low_freq_factor}), found {high_freq_factor}"
                ))
            }
            RopeScaling::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                ..
            } => {
                above("factor", factor, 1.0)?;
                above("attention_factor", attention_factor, f64::MIN_POSITIVE)?;
                above("beta_slow", beta_slow, f64::MIN_POSITIVE)?;
                above("beta_fast", beta_fast, beta_slow)?;
                above("original_max_position_embeddings", original_max_position_embeddings as f64, 1.0)
            }
        }
    }
}

/// A frequency under Llama 3.1's rule: `bounds` are the low and the high frequency factor.
fn llama3(frequency: f32, factor: f64, bounds: [f64; 2], context: f64) -> f32 {
    let ([low, high], wavelength) = (bounds, TAU / frequency);
    if wavelength < (context / high) as f32 {
        return frequency;
    }
    if wavelength > (context / low) as f32 {
        return frequency / factor as f32;
    }
    let smooth = (context as f32 / wavelength - low as f32) / (high - low) as f32;
    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
}

/// `base ^ exponent` with a float32 exponent, rounded once.
fn power(base: f64, exponent: f32) -> f32 {
    base.powf(f64::from(exponent)) as f32
}

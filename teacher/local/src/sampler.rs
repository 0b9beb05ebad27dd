//! Logits → a token: greedy, or temperature and nucleus (Holtzman et al., 2020) with a generator of its own per sample.

use distill_dataset::SamplingParams;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Draws the tokens of one sample.
pub(crate) struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    order: Vec<(f64, u32)>,
}

impl Sampler {
    pub(crate) fn new(params: SamplingParams, seed: u64) -> Sampler {
        Sampler { params, rng: ChaCha8Rng::seed_from_u64(seed), order: Vec::new() }
    }

    /// The next token from `logits`, one for each token of the vocabulary. Equal logits: the lower id wins.
    pub(crate) fn draw(&mut self, logits: &[f32]) -> u32 {
        let best = logits
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (id, logit)| if *logit > best.1 { (id, *logit) } else { best });
        if self.params.temperature <= 0.0 {
            return best.0 as u32;
        }
        let weight = |logit: f32| (f64::from(logit - best.1) / f64::from(self.params.temperature)).exp();
        self.order.clear();
        self.order.extend(logits.iter().enumerate().map(|(id, logit)| (weight(*logit), id as u32)));
        self.order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let total: f64 = self.order.iter().map(|(weight, _)| weight).sum();
        // The smallest set of most likely tokens whose mass reaches top-p.
        let mut mass = 0.0;
        let mut kept = 0;
        for (weight, _) in &self.order {
            mass += weight;
            kept += 1;
            if mass >= f64::from(self.params.top_p) * total {
                break;
            }
        }
        let mut left = self.rng.random::<f64>() * mass;
        for (weight, id) in &self.order[..kept] {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        self.order[kept - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(temperature: f32, top_p: f32) -> SamplingParams {
        SamplingParams { temperature, top_p, max_new_tokens: 1 }
    }

    fn shares(params: SamplingParams, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = Sampler::new(params, 5);
        for _ in 0..20_000 {
            counts[sampler.draw(logits) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(params(0.0, 1.0), 1).draw(&[0.0, 2.0, 2.0, 1.0]), 1);
    }

    #[test]
    fn shares_follow_the_softmax_at_the_temperature() {
        let logits = [0.0, 1.0, 2.0];
        for temperature in [0.6, 1.0] {
            let weights: Vec<f64> =
                logits.iter().map(|logit| (f64::from(*logit) / f64::from(temperature)).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (share, weight) in shares(params(temperature, 1.0), &logits).iter().zip(&weights) {
                assert!((share - weight / total).abs() < 0.015, "temperature {temperature}: {share}");
            }
        }
    }

    #[test]
    fn the_nucleus_cuts_the_tail() {
        // Probabilities 0.6, 0.3, 0.1: with top-p 0.85 the last is never drawn, and the others keep their odds.
        let shares = shares(params(1.0, 0.85), &[0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()]);
        assert_eq!(shares[2], 0.0);
        assert!((shares[0] - 2.0 / 3.0).abs() < 0.015, "{shares:?}");
    }
}

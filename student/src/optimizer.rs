//! AdamW (Loshchilov and Hutter, 2019) with decoupled decay, in a device's tensors. State is kept by parameter, in the
//! model's own order, so that it can be saved by name and resumed exactly.

use burn::tensor::{DType, Device, Distribution, Tensor};
use distill_dataset::Digest;
use distill_model::{AdamStep, Decoder};
use std::f64::consts::LN_2;

/// First and second moments of every parameter, flat.
pub(crate) struct AdamW {
    pub(crate) first: Vec<Tensor<1>>,
    pub(crate) second: Vec<Tensor<1>>,
    pub(crate) dtype: DType,
}

impl AdamW {
    /// No moments yet; they are kept in that precision.
    pub(crate) fn new(model: &Decoder, dtype: DType, device: &Device) -> AdamW {
        let zeros = |len: usize| Tensor::zeros([len], (device, dtype));
        let zeros = || model.parameters().iter().map(|parameter| zeros(parameter.len)).collect();
        AdamW { first: zeros(), second: zeros(), dtype }
    }

    /// One step; `plan` says for each parameter whether it decays, nothing for one that stays as it is. What is not kept
    /// in float32 is rounded up or down at random, so that small steps are not lost but taken rarely.
    pub(crate) fn step(
        &mut self,
        model: &mut Decoder,
        gradients: Vec<Tensor<1>>,
        step: &AdamStep,
        plan: impl Fn(usize) -> Option<bool>,
    ) {
        let [beta1, beta2] = step.betas;
        let correction = |beta: f64| 1.0 - beta.powi(i32::try_from(step.count).unwrap_or(i32::MAX));
        let (step_size, root) = (step.learning_rate / correction(beta1), correction(beta2).sqrt());
        let mut gradients = gradients.into_iter();
        let mut rounding = Rounding { step: step.count, calls: 0 };
        model.update(|index, value| {
            let (Some(gradient), Some(decays)) = (gradients.next(), plan(index)) else { return value };
            let gradient = gradient.mul_scalar(step.scale);
            let held = value.dtype();
            let (first, second) = (&mut self.first[index], &mut self.second[index]);
            let moved = first.clone().cast(DType::F32).mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
            let spread = second.clone().cast(DType::F32).mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
            *first = rounding.to(moved.clone(), self.dtype);
            *second = rounding.to(spread.clone(), self.dtype);
            let denominator = spread.sqrt().div_scalar(root).add_scalar(step.epsilon);
            let kept = if decays { 1.0 - step.learning_rate * step.weight_decay } else { 1.0 };
            rounding.to(value.cast(DType::F32).mul_scalar(kept) - moved.mul_scalar(step_size) / denominator, held)
        });
    }
}

/// Random rounding that is the same whenever a step is taken again.
struct Rounding {
    step: u64,
    calls: u64,
}

impl Rounding {
    /// `x` in that precision. To bfloat16: to the neighbour on either side, with the probability that makes the mean `x`.
    fn to(&mut self, x: Tensor<1>, dtype: DType) -> Tensor<1> {
        if dtype != DType::BF16 {
            return x;
        }
        self.calls += 1;
        let device = x.device();
        device.seed(Digest::new("rounding").field(&self.step.to_string()).field(&self.calls.to_string()).finish_u64());
        let random = Tensor::random(x.shape(), Distribution::Uniform(0.0, 1.0), (&device, DType::F32));
        let nearest = x.clone().cast(DType::BF16).cast(DType::F32);
        let rest = x.clone() - nearest.clone();
        // 8 bits of significand: neighbours are 2^-7 of the power of two below apart.
        let exponent = x.abs().clamp_min(1e-38).log().div_scalar(LN_2).floor().sub_scalar(7.0);
        let gap = exponent.mul_scalar(LN_2).exp();
        let other = (random * gap.clone()).lower(rest.clone().abs()).float();
        (nearest + rest.sign() * gap * other).cast(DType::BF16)
    }
}

/// The square of the L2 norm over all gradients together, left on the device; nothing if there are none.
pub(crate) fn squared_norm<'g>(gradients: impl Iterator<Item = &'g Tensor<1>>) -> Option<Tensor<1>> {
    gradients.map(|gradient| gradient.clone().square().sum()).reduce(|sum, square| sum + square)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn rounding_at_random_keeps_the_mean_and_what_needs_none() {
        let device = Device::flex();
        for x in [1.0 + 1.0 / 512.0, 3.0e-7, -1.7e4 - 1.0, 0.1, -2.5e-30] {
            let many = Tensor::<1>::from_data(TensorData::new(vec![x as f32; 40_000], [40_000]), &device);
            let rounded = Rounding { step: 3, calls: 0 }.to(many, DType::BF16).into_data().convert::<f32>();
            let rounded = rounded.try_to_vec::<f32>().expect("numbers");
            let mean = rounded.iter().copied().map(f64::from).sum::<f64>() / rounded.len() as f64;
            assert!((mean - x).abs() < 1e-4 * x.abs(), "{x}: the mean is {mean}");
            let mut kinds: Vec<u32> = rounded.iter().map(|value| value.to_bits()).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), 2, "{x}: up or down, nothing else");
        }
        let exact = vec![0.0_f32, 1.0, -2.0, 0.5, 1.0 + 1.0 / 128.0, -96.0];
        let same = Tensor::<1>::from_data(TensorData::new(exact.clone(), [exact.len()]), &device);
        let same = Rounding { step: 1, calls: 0 }.to(same, DType::BF16).into_data().convert::<f32>();
        assert_eq!(same.try_to_vec::<f32>().expect("numbers"), exact);
    }
}

//! AdamW (Loshchilov and Hutter, 2019) with decoupled decay, in a device's tensors. State is kept by parameter, in the
//! model's own order, so that it can be saved by name and resumed exactly.

use burn::tensor::{Device, Tensor};
use distill_model::{AdamStep, Decoder};

/// First and second moments of every parameter, flat.
pub(crate) struct AdamW {
    pub(crate) first: Vec<Tensor<1>>,
    pub(crate) second: Vec<Tensor<1>>,
}

impl AdamW {
    /// No moments yet.
    pub(crate) fn new(model: &Decoder, device: &Device) -> AdamW {
        let zeros = || model.parameters().iter().map(|parameter| Tensor::zeros([parameter.len], device)).collect();
        AdamW { first: zeros(), second: zeros() }
    }

    /// One step; `plan` says for each parameter whether it decays, nothing for one that stays as it is.
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
        model.update(|index, value| {
            let (Some(gradient), Some(decays)) = (gradients.next(), plan(index)) else { return value };
            let gradient = gradient.mul_scalar(step.scale);
            let first = &mut self.first[index];
            *first = first.clone().mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
            let second = &mut self.second[index];
            *second = second.clone().mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
            let denominator = second.clone().sqrt().div_scalar(root).add_scalar(step.epsilon);
            let kept = if decays { 1.0 - step.learning_rate * step.weight_decay } else { 1.0 };
            value.mul_scalar(kept) - first.clone().mul_scalar(step_size) / denominator
        });
    }
}

/// The square of the L2 norm over all gradients together, left on the device; nothing if there are none.
pub(crate) fn squared_norm<'g>(gradients: impl Iterator<Item = &'g Tensor<1>>) -> Option<Tensor<1>> {
    gradients.map(|gradient| gradient.clone().square().sum()).reduce(|sum, square| sum + square)
}

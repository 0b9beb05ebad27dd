//! AdamW (Loshchilov and Hutter, 2019) with decoupled decay on matrices, and clipping by the global norm. State is kept
//! by parameter, in the model's own order, so that it can be saved by name and resumed exactly.

use crate::TrainingConfig;
use burn::tensor::{Device, Tensor, TensorData};
use distill_model::Decoder;

/// First and second moments of every parameter, flat.
pub(crate) struct AdamW {
    pub(crate) first: Vec<Tensor<1>>,
    pub(crate) second: Vec<Tensor<1>>,
    decays: Vec<bool>,
}

impl AdamW {
    /// No moments yet.
    pub(crate) fn new(model: &Decoder, device: &Device) -> AdamW {
        let zeros = || model.parameters().iter().map(|parameter| Tensor::zeros([parameter.len], device)).collect();
        let decays = model.parameters().iter().map(|parameter| parameter.is_matrix).collect();
        AdamW { first: zeros(), second: zeros(), decays }
    }

    /// One step, the `count`-th (from 1), with gradients scaled by `scale` (`[1]`).
    pub(crate) fn step(
        &mut self,
        model: &mut Decoder,
        gradients: Vec<Tensor<1>>,
        scale: &Tensor<1>,
        config: &TrainingConfig,
        (count, learning_rate): (u64, f64),
    ) {
        let [beta1, beta2] = config.betas;
        let correction = |beta: f64| 1.0 - beta.powi(i32::try_from(count).unwrap_or(i32::MAX));
        let (step_size, root) = (learning_rate / correction(beta1), correction(beta2).sqrt());
        let mut gradients = gradients.into_iter();
        model.update(|index, value| {
            let Some(gradient) = gradients.next() else { return value };
            let gradient = gradient * scale.clone();
            let first = &mut self.first[index];
            *first = first.clone().mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
            let second = &mut self.second[index];
            *second = second.clone().mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
            let denominator = second.clone().sqrt().div_scalar(root).add_scalar(config.epsilon);
            let kept = if self.decays[index] { 1.0 - learning_rate * config.weight_decay } else { 1.0 };
            value.mul_scalar(kept) - first.clone().mul_scalar(step_size) / denominator
        });
    }
}

/// The L2 norm over all gradients together, and the factor (at most 1) that brings it down to `most`; both `[1]`, left
/// on the device.
pub(crate) fn global_norm(gradients: &[Tensor<1>], most: f64) -> (Tensor<1>, Tensor<1>) {
    let squares = gradients.iter().map(|gradient| gradient.clone().square().sum());
    let norm = squares
        .reduce(|sum, square| sum + square)
        .map_or_else(|| Tensor::from_data(TensorData::new(vec![0.0_f32], [1]), &Device::flex()), |sum| sum.sqrt());
    let scale = norm.clone().add_scalar(1e-6).recip().mul_scalar(most).clamp_max(1.0);
    (norm, scale)
}

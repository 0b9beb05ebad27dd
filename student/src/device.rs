//! Training in Burn's tensors, for devices other than the CPU: documents of like length as rows that are padded on the
//! right, which a causal model cannot see from the tokens before.

use crate::{
    Compute, States, TrainError,
    batch::rectangles,
    learner::Totals,
    optimizer::{AdamW, squared_norm},
};
use burn::tensor::{DType, Device, Tensor};
use distill_checkpoint::Checkpoint;
use distill_model::{AdamStep, Decoder, Documents, Kind, LossAndGradients, LossOptions, Parameter};
use std::time::Instant;

/// A decoder with its optimiser on a device, and the gradients that have added up.
pub(crate) struct DeviceLearner {
    model: Decoder,
    optimizer: AdamW,
    plain: Device,
    sum: Option<LossAndGradients>,
}

impl DeviceLearner {
    /// Loads a checkpoint.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        plain: &Device,
        compute: Compute,
        states: States,
    ) -> Result<DeviceLearner, TrainError> {
        let rounded = states == States::Bfloat16;
        let needed = checkpoint.config().num_parameters() as u64 * if rounded { 10 } else { 16 };
        if let Some(there) = plain.memory_capacity().filter(|there| needed > *there) {
            return Err(TrainError::Memory { needed, there, rounded });
        }
        let model = Decoder::load(checkpoint, &plain.clone().autodiff())?;
        let model = if compute == Compute::Float32 { model } else { model.into_bfloat16(rounded) };
        let dtype = if rounded { DType::BF16 } else { DType::F32 };
        Ok(DeviceLearner { optimizer: AdamW::new(&model, dtype, plain), model, plain: plain.clone(), sum: None })
    }

    /// Operations a second of the fastest product of square matrices in this precision: larger ones as long as they take
    /// no time.
    pub(crate) fn fastest_product(&self) -> f64 {
        let mut best = 0.0_f64;
        for size in [512, 2048, 8192] {
            let matrix = Tensor::<2>::ones([size, size], (&self.plain, self.model.precision()));
            let mut least = f64::INFINITY;
            for _ in 0..10 {
                let begin = Instant::now();
                let product = matrix.clone().matmul(matrix.clone());
                // Reading one number waits for all of them.
                let _ = product.slice([0..1, 0..1]).into_data();
                least = least.min(begin.elapsed().as_secs_f64());
            }
            best = best.max(2.0 * (size as f64).powi(3) / least);
            if least > 2e-3 {
                break;
            }
        }
        best
    }

    /// In which precision products and states are.
    pub(crate) fn computed(&self) -> String {
        format!("a device with products in {:?} and states in {:?}", self.model.precision(), self.optimizer.dtype)
    }

    /// Bytes that are reserved on the device.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.plain.memory_pool_usage().map(|usage| usage.bytes_reserved)
    }

    /// Adds the gradients of `documents`.
    pub(crate) fn accumulate(&mut self, documents: &Documents, options: LossOptions) {
        for rectangle in rectangles(documents) {
            self.sum = Some(self.model.accumulate(&rectangle, options, self.sum.take(), &self.plain));
        }
    }

    /// Cross-entropy of `documents` without learning.
    pub(crate) fn loss(&self, documents: &Documents) -> f64 {
        let options = LossOptions { divisor: 1.0, z_loss: 0.0 };
        let loss = |rectangle| f64::from(self.model.loss(&rectangle, options, &self.plain).into_scalar::<f32>());
        rectangles(documents).into_iter().map(loss).sum()
    }

    /// Loss and norm, read from the device together.
    pub(crate) fn totals(&self, learns: impl Fn(usize) -> bool) -> Totals {
        let Some((loss, gradients)) = &self.sum else { return Totals { loss: 0.0, norm: 0.0 } };
        let learning = gradients.iter().enumerate().filter(|(index, _)| learns(*index)).map(|(_, gradient)| gradient);
        let square = squared_norm(learning).map_or(0.0, |square| f64::from(square.into_scalar::<f32>()));
        Totals { loss: f64::from(loss.clone().into_scalar::<f32>()), norm: square.sqrt() }
    }

    /// Takes a step.
    pub(crate) fn step(&mut self, step: &AdamStep, plan: impl Fn(usize) -> Option<bool>) {
        if let Some((_, gradients)) = self.sum.take() {
            self.optimizer.step(&mut self.model, gradients, step, plan);
        }
    }

    /// Forgets the gradients.
    pub(crate) fn forget(&mut self) {
        self.sum = None;
    }

    /// All parameters, in a fixed order.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        self.model.parameters()
    }

    /// Numbers of a parameter, row-major in the Hugging Face layout.
    pub(crate) fn read(&self, name: &str, kind: Kind) -> Option<Vec<f32>> {
        let index = self.model.parameters().iter().position(|parameter| parameter.name == name)?;
        let flat = match kind {
            Kind::Value => return self.model.read(name),
            Kind::Gradient => self.sum.as_ref()?.1[index].clone(),
            Kind::First => self.optimizer.first[index].clone(),
            Kind::Second => self.optimizer.second[index].clone(),
        };
        self.model.in_layout(index, flat)
    }

    /// Puts them back.
    pub(crate) fn write(&mut self, name: &str, kind: Kind, values: &[f32]) -> bool {
        let index = self.model.parameters().iter().position(|parameter| parameter.name == name);
        let Some((index, flat)) = index.and_then(|index| Some((index, self.model.from_layout(index, values)?))) else {
            return false;
        };
        match kind {
            Kind::Value => self.model.update(|at, old| if at == index { flat.clone().cast(old.dtype()) } else { old }),
            Kind::First => self.optimizer.first[index] = flat.cast(self.optimizer.dtype),
            Kind::Second => self.optimizer.second[index] = flat.cast(self.optimizer.dtype),
            Kind::Gradient => return false,
        }
        true
    }
}

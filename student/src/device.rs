//! Training in Burn's tensors, for devices other than the CPU: rows padded on the right to the longest of a micro-batch,
//! which a causal model cannot see from the tokens before.

use crate::{
    batch::Padded,
    learner::Totals,
    loss::cross_entropy,
    optimizer::{AdamW, squared_norm},
};
use burn::tensor::{Device, Tensor};
use distill_checkpoint::Checkpoint;
use distill_model::{AdamStep, Decoder, Documents, Kind, LossOptions, ModelError, Parameter};

/// A decoder with its optimiser on a device, and the gradients that have added up.
pub(crate) struct DeviceLearner {
    model: Decoder,
    optimizer: AdamW,
    plain: Device,
    sum: Option<(Tensor<1>, Vec<Tensor<1>>)>,
}

impl DeviceLearner {
    /// Loads a checkpoint.
    pub(crate) fn load(checkpoint: &Checkpoint, plain: &Device) -> Result<DeviceLearner, ModelError> {
        let model = Decoder::load(checkpoint, &plain.clone().autodiff())?;
        Ok(DeviceLearner { optimizer: AdamW::new(&model, plain), model, plain: plain.clone(), sum: None })
    }

    /// Adds the gradients of `documents`.
    pub(crate) fn accumulate(&mut self, documents: &Documents, options: LossOptions) {
        let device = self.plain.clone().autodiff();
        let loss = cross_entropy(&self.model, &Padded::of(documents), options, &device);
        let gradients = self.model.gradients(&loss.backward());
        let loss = loss.inner();
        self.sum = Some(match self.sum.take() {
            None => (loss, gradients),
            Some((old, earlier)) => (old + loss, earlier.into_iter().zip(gradients).map(|(a, b)| a + b).collect()),
        });
    }

    /// Cross-entropy of `documents` without learning.
    pub(crate) fn loss(&self, documents: &Documents) -> f64 {
        let options = LossOptions { divisor: 1.0, z_loss: 0.0 };
        let device = self.plain.clone().autodiff();
        f64::from(cross_entropy(&self.model, &Padded::of(documents), options, &device).inner().into_scalar::<f32>())
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
            Kind::Value => self.model.update(|at, old| if at == index { flat.clone() } else { old }),
            Kind::First => self.optimizer.first[index] = flat,
            Kind::Second => self.optimizer.second[index] = flat,
            Kind::Gradient => return false,
        }
        true
    }
}

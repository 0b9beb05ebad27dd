//! Who computes: on the CPU the model's own passes forward and backward, elsewhere programs for a device. Both add up
//! gradients over the micro-batches of a step, and both are asked for loss and norm once a step.

use crate::{Compute, States, TrainError, TrainingConfig, speed::memory};
use distill_checkpoint::Checkpoint;
use distill_model::{
    AdamStep, DeviceLearner, Documents, Kind, Learner as CpuLearner, LossOptions, Parameter, Recompute,
};

/// A student in training: gradients add up over micro-batches until a step is taken. [`crate::train`] is the loop around it.
pub struct Learner(pub(crate) Kin);

/// By whom it is computed.
pub(crate) enum Kin {
    Cpu(Box<Cpu>),
    Device(Box<DeviceLearner>),
}

/// The CPU's learner, and the losses that have added up.
pub(crate) struct Cpu {
    learner: CpuLearner,
    loss: f64,
}

/// What a step's gradients come to.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// The loss, divided.
    pub loss: f64,
    /// L2 norm over the gradients of everything that learns.
    pub norm: f64,
}

impl Learner {
    /// Loads a checkpoint onto `device`.
    ///
    /// # Errors
    /// When the device is not there or too small, the CPU is to compute in bfloat16, or the checkpoint is damaged.
    pub fn load(
        checkpoint: &Checkpoint,
        device: &str,
        compute: Compute,
        states: States,
    ) -> Result<Learner, TrainError> {
        if device == "cpu" {
            if compute == Compute::Bfloat16 || states == States::Bfloat16 {
                return Err(TrainError::Precision);
            }
            return Ok(Learner(Kin::Cpu(Box::new(Cpu { learner: CpuLearner::load(checkpoint)?, loss: 0.0 }))));
        }
        let held = match states {
            States::Float32 => distill_model::States::Float32,
            States::Bfloat16 => distill_model::States::Bfloat16,
        };
        let bfloat16 = compute != Compute::Float32;
        let device = distill_model::device(device)?;
        let needed = DeviceLearner::bytes(checkpoint.config(), bfloat16, held);
        if let Some(there) = device.memory_capacity().filter(|there| needed > *there) {
            return Err(TrainError::Memory { needed, there, rounded: states == States::Bfloat16 });
        }
        let learner = DeviceLearner::load(checkpoint, &device, bfloat16, held)?;
        Ok(Learner(Kin::Device(Box::new(learner))))
    }

    /// Operations a second that the fastest product of this precision reaches here, measured.
    ///
    /// # Errors
    /// When the device fails.
    pub fn peak(&mut self) -> Result<f64, TrainError> {
        Ok(match &mut self.0 {
            Kin::Cpu(_) => distill_model::fastest_product(),
            Kin::Device(device) => device.fastest_product()?,
        })
    }

    /// Where and in which precision it is computed: what is not the same there gives other weights.
    pub fn computed(&self) -> String {
        match &self.0 {
            Kin::Cpu(_) => "the CPU in float32".to_owned(),
            Kin::Device(device) => device.computed(),
        }
    }

    /// The peak of this process's memory on the CPU, what is held on another device, in bytes; nothing where the
    /// system does not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        match &self.0 {
            Kin::Cpu(_) => memory("VmHWM:"),
            Kin::Device(device) => device.memory(),
        }
    }

    /// Memory in use now, likewise.
    pub(crate) fn memory(&self) -> Option<u64> {
        match &self.0 {
            Kin::Cpu(_) => memory("VmRSS:"),
            Kin::Device(device) => device.memory(),
        }
    }

    /// Adds the gradients of `documents`.
    ///
    /// # Errors
    /// When the device is too small for them, or fails.
    pub fn accumulate(
        &mut self,
        documents: &Documents,
        options: LossOptions,
        recompute: Recompute,
    ) -> Result<(), TrainError> {
        match &mut self.0 {
            Kin::Cpu(cpu) => {
                let loss = inside(|| cpu.learner.accumulate(documents, options, recompute));
                cpu.loss += (loss.cross_entropy + loss.z) / options.divisor;
            }
            Kin::Device(device) => device.accumulate(documents, options, recompute)?,
        }
        Ok(())
    }

    /// The cross-entropy of `documents`, summed over their labels, without learning.
    ///
    /// # Errors
    /// As [`Learner::accumulate`].
    pub fn loss(&mut self, documents: &Documents) -> Result<f64, TrainError> {
        let options = LossOptions { divisor: 1.0, z_loss: 0.0 };
        Ok(match &mut self.0 {
            Kin::Cpu(cpu) => inside(|| cpu.learner.loss(documents, options).cross_entropy),
            Kin::Device(device) => device.loss(documents)?,
        })
    }

    /// What has added up since the last step.
    ///
    /// # Errors
    /// When a device fails: there a loss or norm that is not a finite number is a failure too.
    pub fn totals(&mut self, learns: impl Fn(usize) -> bool + Send) -> Result<Totals, TrainError> {
        Ok(match &mut self.0 {
            Kin::Cpu(cpu) => Totals { loss: cpu.loss, norm: inside(|| cpu.learner.gradient_norm(learns)) },
            Kin::Device(device) => {
                let (loss, norm) = device.totals(learns)?;
                Totals { loss, norm }
            }
        })
    }

    /// Takes a step; `plan` says for each parameter whether it decays, nothing for one that stays as it is.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, step: &AdamStep, plan: impl Fn(usize) -> Option<bool> + Send) -> Result<(), TrainError> {
        match &mut self.0 {
            Kin::Cpu(cpu) => {
                inside(|| cpu.learner.step(step, plan));
                cpu.loss = 0.0;
            }
            Kin::Device(device) => device.step(step, plan)?,
        }
        Ok(())
    }

    /// Forgets the gradients instead of taking a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn skip(&mut self) -> Result<(), TrainError> {
        match &mut self.0 {
            Kin::Cpu(cpu) => {
                cpu.learner.forget();
                cpu.loss = 0.0;
            }
            Kin::Device(device) => device.forget()?,
        }
        Ok(())
    }

    /// All parameters, in a fixed order.
    pub fn parameters(&mut self) -> Vec<Parameter> {
        match &mut self.0 {
            Kin::Cpu(cpu) => cpu.learner.parameters(),
            Kin::Device(device) => device.parameters(),
        }
    }

    /// Numbers of a parameter, row-major in the Hugging Face layout.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&mut self, name: &str, kind: Kind) -> Result<Option<Vec<f32>>, TrainError> {
        Ok(match &mut self.0 {
            Kin::Cpu(cpu) => cpu.learner.read(name, kind),
            Kin::Device(device) => device.read(name, kind)?,
        })
    }

    /// Puts them back.
    ///
    /// # Errors
    /// When the device fails.
    pub fn write(&mut self, name: &str, kind: Kind, values: &[f32]) -> Result<bool, TrainError> {
        Ok(match &mut self.0 {
            Kin::Cpu(cpu) => cpu.learner.write(name, kind, values),
            Kin::Device(device) => device.write(name, kind, values)?,
        })
    }
}

/// Computes on a thread of the pool: from outside, every piece of work that is shared out would wait for a thread to wake.
fn inside<T: Send>(compute: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| compute())
}

/// Which parameters learn and which of them decay, by their index.
pub(crate) struct Plan(Vec<Option<bool>>);

impl Plan {
    /// By the recipe: a pattern freezes, norms and biases do not decay, embeddings only where it says so.
    pub(crate) fn new(parameters: &[Parameter], config: &TrainingConfig) -> Result<Plan, TrainError> {
        for pattern in &config.freeze {
            if !parameters.iter().any(|parameter| matches(pattern, &parameter.name)) {
                let names: Vec<&str> = parameters.iter().take(3).map(|parameter| parameter.name.as_str()).collect();
                return Err(TrainError::Examples(format!(
                    "`freeze`: no parameter matches {pattern:?}; expected a pattern with * for names like {}",
                    names.join(", ")
                )));
            }
        }
        let one = |parameter: &Parameter| {
            let frozen = config.freeze.iter().any(|pattern| matches(pattern, &parameter.name));
            let embedding = matches!(parameter.name.as_str(), "model.embed_tokens.weight" | "lm_head.weight");
            (!frozen).then_some(parameter.is_matrix && (config.decay_embeddings || !embedding))
        };
        let plan: Vec<Option<bool>> = parameters.iter().map(one).collect();
        if plan.iter().all(Option::is_none) {
            return Err(TrainError::Examples("`freeze`: every parameter is frozen, nothing would learn".to_owned()));
        }
        Ok(Plan(plan))
    }

    /// Whether a parameter decays; nothing for one that stays as it is.
    pub(crate) fn of(&self, index: usize) -> Option<bool> {
        self.0.get(index).copied().flatten()
    }
}

/// Whether `name` is of that form, `*` standing for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|name| (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("model.norm.weight", "model.norm.weight", true),
            ("model.norm", "model.norm.weight", false),
            ("model.layers.1.*", "model.layers.1.mlp.up_proj.weight", true),
            ("model.layers.1.*", "model.layers.11.mlp.up_proj.weight", false),
            ("*norm*", "model.layers.0.input_layernorm.weight", true),
            ("*.bias", "model.layers.0.self_attn.q_proj.weight", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}

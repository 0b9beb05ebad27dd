//! A decoder in training on a device: its parameters, gradients and moments, and what is done with them.

use super::{
    angles::{AngleTables, Angles},
    attention::Way,
    batch::Batch,
    block::{Block, Learning, Sizes, Weights},
    head::Head,
    layout::{Layout, Region},
    lot::Making,
    memory::{Room, rounded},
    pace::Pace,
};
use crate::{AdamStep, Documents, Kind, LossOptions, ModelError, Recompute, device::engine, weights::Parameter};
use burn::tensor::Device;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_ops::{
    Buffer, Call, Dtype, Engine, Form, Matrix, Product,
    kernels::{AdamNumbers, AdamW, AdamWRounded, Cast, EmbedBackward, Gather, SQUARE_PARTS, SquareSum, SumDoubles},
};
use std::time::Instant;

/// In which precision matrices and moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// Float32, with a copy in bfloat16 where products are.
    #[default]
    Float32,
    /// Bfloat16, rounded at random; vectors in float32.
    Bfloat16,
}

/// A decoder with its gradients and moments on a device.
#[derive(Debug)]
pub struct DeviceLearner {
    engine: Engine,
    sizes: Sizes,
    layout: Layout,
    states: States,
    /// Parameters, gradients and moments by region.
    values: [Buffer; 2],
    gradients: [Buffer; 2],
    moments: [[Buffer; 2]; 2],
    /// Matrices rounded for products, where they are kept in more.
    shadow: Option<Buffer>,
    /// The loss and the square of the norm; partial sums of squares.
    loss: Buffer,
    square: Buffer,
    square_parts: Buffer,
    /// A loss without learning.
    evaluated: Buffer,
    angles: AngleTables,
    room: Option<Room>,
    /// Whether gradients have added up since the last step.
    adds: bool,
    pace: Pace,
}

impl DeviceLearner {
    /// Loads a checkpoint onto a device; products are in bfloat16 if `bfloat16` says so.
    ///
    /// # Errors
    /// When the device cannot be used or is too small, or a parameter is missing, has another shape or cannot be read.
    pub fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        bfloat16: bool,
        states: States,
    ) -> Result<DeviceLearner, ModelError> {
        let config = checkpoint.config();
        let mut engine = engine(device)?;
        let dtype = if bfloat16 { Dtype::Bf16 } else { Dtype::F32 };
        let sizes = Sizes::of(config, dtype, Way::choose(&engine, config.head_dim, dtype))?;
        let layout = Layout::of(config);
        let held = if states == States::Bfloat16 { Dtype::Bf16 } else { Dtype::F32 };
        let values = layout.buffers(&mut engine, held)?;
        let gradients = layout.buffers(&mut engine, Dtype::F32)?;
        let moments = [layout.buffers(&mut engine, held)?, layout.buffers(&mut engine, held)?];
        let is_rounded = bfloat16 && held == Dtype::F32;
        let shadow = is_rounded.then(|| engine.zeros(Dtype::Bf16, layout.len(Region::Matrices))).transpose()?;
        let mut learner = DeviceLearner {
            loss: engine.zeros(Dtype::F32, 1)?,
            square: engine.zeros(Dtype::F64, 1)?,
            square_parts: engine.zeros(Dtype::F64, SQUARE_PARTS)?,
            evaluated: engine.zeros(Dtype::F32, 1)?,
            angles: AngleTables::new(config),
            room: None,
            adds: false,
            pace: Pace::default(),
            engine,
            sizes,
            states,
            values,
            gradients,
            moments,
            shadow,
            layout,
        };
        learner.layout.read(checkpoint, &mut learner.engine, values)?;
        learner.round_matrices()?;
        Ok(learner)
    }

    /// Bytes of such a model's parameters with their gradients and states; activations come on top.
    pub fn bytes(config: &ModelConfig, bfloat16: bool, states: States) -> u64 {
        let each = match (states, bfloat16) {
            (States::Bfloat16, _) => 10,
            (States::Float32, true) => 18,
            (States::Float32, false) => 16,
        };
        config.num_parameters() as u64 * each
    }

    /// Attends that way from here on.
    #[cfg(test)]
    pub(crate) fn attend(&mut self, way: Way) {
        self.sizes.way = way;
    }

    fn round_matrices(&mut self) -> Result<(), ModelError> {
        if let Some(shadow) = self.shadow {
            let (x, len) = (self.values[0].start(), self.layout.len(Region::Matrices));
            self.engine.run(&[Cast { y: shadow.start(), x, len }.into()])?;
        }
        Ok(())
    }

    fn weights(&self) -> Weights<'_> {
        Weights {
            layout: &self.layout,
            values: [self.shadow.unwrap_or(self.values[0]), self.values[1]],
            gradients: Some(self.gradients),
            adds: self.adds,
        }
    }

    /// Adds the gradients of these documents' loss, divided by `options.divisor`, to what has added up.
    ///
    /// # Errors
    /// When the device is too small for them, or fails.
    pub fn accumulate(
        &mut self,
        documents: &Documents,
        options: LossOptions,
        recompute: Recompute,
    ) -> Result<(), ModelError> {
        if documents.tokens.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        let (batch, angles) = self.put(documents, recompute)?;
        let calls = self.training(&batch, angles, &documents.lengths, options)?;
        self.engine.run(&calls)?;
        self.adds = true;
        self.pace.count(documents.tokens.len(), begin.elapsed());
        Ok(())
    }

    /// All calls of a batch, forward and backward.
    fn training(
        &self,
        batch: &Batch,
        angles: Angles,
        lengths: &[usize],
        options: LossOptions,
    ) -> Result<Vec<Call>, ModelError> {
        let mut calls = Vec::new();
        let room = self.room()?;
        let learning = Learning { batch, lengths, scratch: &room.scratch };
        let layers = self.sizes.windows.len();
        let hidden = self.sizes.hidden;
        let input = |layer: usize| room.inputs[layer].start();
        calls.push(self.embedded(batch, input(0)));
        for layer in 0..layers {
            self.forward(room, layer, angles, learning, &mut calls);
        }
        let dy = room.scratch.dy.start();
        let embedding = self.weights().gradient("model.embed_tokens.weight");
        let is_written = self.sizes.tied && batch.labels > 0;
        if !self.adds {
            let len = self.sizes.vocab * hidden;
            calls.extend((!is_written).then_some(Call::Zero(embedding, len)));
            let head = (!self.sizes.tied && batch.labels == 0).then(|| self.weights().gradient("lm_head.weight"));
            calls.extend(head.map(|head| Call::Zero(head, len)));
        }
        if batch.labels > 0 {
            self.head(room, batch).calls(input(layers), self.loss.start(), Some(dy), options, &mut calls);
        } else {
            calls.push(Call::Zero(dy, batch.documents.tokens * hidden));
        }
        for layer in (0..layers).rev() {
            if room.rooms.is_gone(layer) {
                // What comes out is known; it goes where the next block's input lies, which is not needed any more.
                self.forward(room, layer, angles, learning, &mut calls);
            }
            self.block(room, layer, angles, batch).backward(input(layer), learning, &mut calls);
        }
        let learnt = EmbedBackward {
            gradient: embedding,
            dx: dy,
            order: batch.order.start(),
            starts: batch.id_starts.start(),
            ids: batch.ids.start(),
            distinct: batch.distinct,
            width: hidden,
        };
        calls.push(learnt.into());
        Ok(calls)
    }

    fn embedded(&self, batch: &Batch, y: distill_ops::At) -> Call {
        let x = self.weights().value("model.embed_tokens.weight");
        let (index, rows) = (batch.tokens.start(), batch.documents.tokens);
        Gather { y, x, index, rows, width: self.sizes.hidden }.into()
    }

    fn block<'a>(&'a self, room: &'a Room, layer: usize, angles: Angles, batch: &'a Batch) -> Block<'a> {
        Block {
            layer,
            sizes: &self.sizes,
            weights: self.weights(),
            rows: batch.documents.tokens,
            positions: batch.positions,
            angles,
            kept: room.of(layer),
        }
    }

    fn forward(&self, room: &Room, layer: usize, angles: Angles, learning: Learning<'_>, calls: &mut Vec<Call>) {
        let Learning { batch, lengths, scratch } = learning;
        let block = self.block(room, layer, angles, batch);
        let mix = |calls: &mut Vec<Call>| block.attention().forward(batch.documents, lengths, scratch, calls);
        block.forward(room.inputs[layer].start(), room.inputs[layer + 1].start(), mix, calls);
    }

    fn head<'a>(&'a self, room: &'a Room, batch: &'a Batch) -> Head<'a> {
        Head { sizes: &self.sizes, weights: self.weights(), batch, room: &room.head }
    }

    fn room(&self) -> Result<&Room, ModelError> {
        self.room.as_ref().ok_or_else(|| ModelError::Step("no room was made".to_owned()))
    }

    /// Makes room for a batch and puts it on the device.
    fn put(&mut self, documents: &Documents, recompute: Recompute) -> Result<(Batch, Angles), ModelError> {
        let longest = documents.lengths.iter().copied().max().unwrap_or(0);
        let size = [documents.tokens.len(), documents.labels.len(), longest];
        let angles = self.angles.reach(&mut self.engine, longest)?;
        let room = match self.room.take() {
            Some(room) if room.fits(size, recompute) => room,
            old => {
                let size = old.as_ref().map_or(size, |room| room.grown(size)).map(rounded);
                if let Some(room) = old {
                    room.free(&mut self.engine)?;
                }
                Room::new(&mut self.engine, &self.sizes, size, recompute)?
            }
        };
        let batch = room.batch.put(&mut self.engine, documents, &self.sizes);
        self.room = Some(room);
        Ok((batch?, angles))
    }

    /// The cross-entropy of these documents, summed over their labels, without learning.
    ///
    /// # Errors
    /// As [`DeviceLearner::accumulate`].
    pub fn loss(&mut self, documents: &Documents) -> Result<f64, ModelError> {
        if documents.labels.is_empty() {
            return Ok(0.0);
        }
        let recompute = self.room.as_ref().map_or(Recompute::Auto, |room| room.recompute());
        let (batch, angles) = self.put(documents, recompute)?;
        let options = LossOptions { divisor: 1.0, z_loss: 0.0 };
        let room = self.room()?;
        let layers = self.sizes.windows.len();
        let mut calls = vec![self.embedded(&batch, room.inputs[0].start())];
        let learning = Learning { batch: &batch, lengths: &documents.lengths, scratch: &room.scratch };
        for layer in 0..layers {
            self.forward(room, layer, angles, learning, &mut calls);
        }
        let found = self.evaluated.start();
        calls.push(Call::Zero(found, 1));
        self.head(room, &batch).calls(room.inputs[layers].start(), found, None, options, &mut calls);
        self.engine.run(&calls)?;
        Ok(f64::from(self.engine.read(found, 1)?[0]))
    }

    /// The loss that has added up, and the L2 norm of the gradients of the parameters that learn, by their index.
    ///
    /// # Errors
    /// When the device fails, or one of them is not a finite number: on a device that is a failure, not data.
    pub fn totals(&mut self, learns: impl Fn(usize) -> bool) -> Result<(f64, f64), ModelError> {
        if !self.adds {
            return Ok((0.0, 0.0));
        }
        let begin = Instant::now();
        let mut calls = vec![Call::Zero(self.square.start(), 1)];
        for region in Region::ALL {
            for (range, ()) in self.layout.stretches(region, |index| learns(index).then_some(())) {
                let (partial, x) = (self.square_parts.start(), self.gradients[region as usize].at(range.start));
                calls.push(SquareSum { partial, x, len: range.len() }.into());
                calls.push(SumDoubles { out: self.square.start(), x: partial, len: SQUARE_PARTS }.into());
            }
        }
        self.engine.run(&calls)?;
        let norm = self.engine.read_doubles(self.square.start(), 1)?[0].sqrt();
        let loss = f64::from(self.engine.read(self.loss.start(), 1)?[0]);
        self.pace.step(begin.elapsed())?;
        for (what, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                return Err(ModelError::NotFinite { what, value, parameter: self.broken()? });
            }
        }
        Ok((loss, norm))
    }

    /// The first parameter whose gradient is not finite.
    fn broken(&mut self) -> Result<String, ModelError> {
        for placed in self.layout.all() {
            let values = self.engine.read(placed.at(self.gradients), placed.parameter.len)?;
            if values.iter().any(|value| !value.is_finite()) {
                return Ok(placed.parameter.name.clone());
            }
        }
        Ok("none, each is finite".to_owned())
    }

    /// Takes a step with what has added up, and forgets it. `plan` says for each parameter, by its index, whether it decays;
    /// nothing for one that stays as it is.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, step: &AdamStep, plan: impl Fn(usize) -> Option<bool>) -> Result<(), ModelError> {
        if !self.adds {
            return Ok(());
        }
        let mut calls = Vec::new();
        for region in Region::ALL {
            for (range, decays) in self.layout.stretches(region, &plan) {
                calls.push(self.stepped(region, range, step.numbers(decays), step.count));
            }
        }
        self.engine.run(&calls)?;
        self.forget()
    }

    fn stepped(&self, region: Region, range: std::ops::Range<usize>, numbers: AdamNumbers, count: u64) -> Call {
        let at = |buffers: [Buffer; 2]| buffers[region as usize].at(range.start);
        let [w, g, m, v] = [self.values, self.gradients, self.moments[0], self.moments[1]].map(at);
        let len = range.len();
        if region == Region::Matrices && self.states == States::Bfloat16 {
            return AdamWRounded { w, g, m, v, len, numbers, seed: count as u32, first: range.start }.into();
        }
        let shadow = self.shadow.filter(|_| region == Region::Matrices).map(|shadow| shadow.at(range.start));
        AdamW { w, g, m, v, shadow, len, numbers }.into()
    }

    /// Forgets the gradients and the loss that have added up. Those of matrices are written over by the next batch.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forget(&mut self) -> Result<(), ModelError> {
        self.adds = false;
        let vectors = Call::Zero(self.gradients[1].start(), self.layout.len(Region::Vectors));
        Ok(self.engine.run(&[vectors, Call::Zero(self.loss.start(), 1)])?)
    }

    /// All parameters, in the order of the Hugging Face layout.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.layout.all().iter().map(|placed| placed.parameter.clone()).collect()
    }

    fn buffers(&self, kind: Kind) -> [Buffer; 2] {
        match kind {
            Kind::Value => self.values,
            Kind::Gradient => self.gradients,
            Kind::First => self.moments[0],
            Kind::Second => self.moments[1],
        }
    }

    /// The numbers of a parameter, row-major in the Hugging Face layout; nothing for an unknown name.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&mut self, name: &str, kind: Kind) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(placed) = self.layout.get(name) else { return Ok(None) };
        let (at, len) = (placed.at(self.buffers(kind)), placed.parameter.len);
        Ok(Some(self.engine.read(at, len)?))
    }

    /// Puts numbers where [`DeviceLearner::read`] finds them. `false` for an unknown name or another number of them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn write(&mut self, name: &str, kind: Kind, values: &[f32]) -> Result<bool, ModelError> {
        let Some(placed) = self.layout.get(name).filter(|placed| placed.parameter.len == values.len()) else {
            return Ok(false);
        };
        let (region, offset) = (placed.region, placed.offset);
        self.engine.write(placed.at(self.buffers(kind)), values)?;
        if let (Kind::Value, Region::Matrices, Some(shadow)) = (kind, region, self.shadow) {
            self.engine.write(shadow.at(offset), values)?;
        }
        Ok(true)
    }

    /// Operations a second of the fastest product of square matrices in this precision: larger ones as long as they take no
    /// time.
    ///
    /// # Errors
    /// When the device fails.
    pub fn fastest_product(&mut self) -> Result<f64, ModelError> {
        let mut best = 0.0_f64;
        for size in [256, 2048, 8192] {
            let mut making = Making::new(&mut self.engine);
            let mut matrix = || -> Result<Matrix, ModelError> {
                Ok(Matrix::new(making.zeros(self.sizes.dtype, size * size)?.start(), size, size))
            };
            let (a, b, out) = (matrix()?, matrix()?, matrix()?);
            let lot = making.done();
            let mut least = f64::INFINITY;
            for _ in 0..5 {
                let begin = Instant::now();
                self.engine.run(&[Product::new(Form::Nt, a, b, out).into()])?;
                // Reading one number waits for all of them.
                self.engine.read(out.at, 1)?;
                least = least.min(begin.elapsed().as_secs_f64());
            }
            best = best.max(2.0 * (size as f64).powi(3) / least);
            lot.free(&mut self.engine)?;
            if least > 2e-3 {
                break;
            }
        }
        Ok(best)
    }

    /// How it is computed: what is not the same elsewhere gives other weights.
    pub fn computed(&self) -> String {
        let name = |dtype| if dtype == Dtype::Bf16 { "bfloat16" } else { "float32" };
        let way = if self.sizes.way == Way::Fused { "fused" } else { "by products" };
        let [compute, states] = [self.sizes.dtype, self.values[0].dtype()].map(name);
        let name = self.engine.name();
        format!("{name} with products in {compute}, states in {states} and attention {way}")
    }

    /// Bytes in use on a card.
    pub fn memory(&self) -> Option<u64> {
        self.engine.held_memory()
    }
}

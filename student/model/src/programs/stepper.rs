//! Decoding on a device: requests of any length in one batch of rows, keys and values in a paged cache.

use super::{
    angles::AngleTables,
    attention::Way,
    block::{Block, Kept, Sizes, Weights},
    layout::Layout,
    lot::{Lot, Making},
};
use crate::{
    ModelError,
    device::engine,
    precision::Precision,
    step::{BLOCK, Logits, Share, Wanted},
};
use burn::tensor::Device;
use distill_checkpoint::Checkpoint;
use distill_ops::{
    At, Buffer, Call, Dtype, Engine, Form, Matrix, Product,
    kernels::{CacheWrite, Gather, PagedAttention, Pages, RmsNorm},
};
use std::sync::Arc;

/// A decoder with its cache on a device.
#[derive(Debug)]
pub(crate) struct DeviceStepper {
    engine: Engine,
    sizes: Sizes,
    layout: Layout,
    /// Parameters by region.
    values: [Buffer; 2],
    /// Keys and values of each layer, `[blocks · BLOCK, key heads · dim]`.
    layers: Vec<[Buffer; 2]>,
    angles: AngleTables,
    room: Option<StepRoom>,
    /// Those of the last step.
    logits: Arc<Vec<f32>>,
}

/// Room for a step.
#[derive(Debug)]
struct StepRoom {
    /// What goes into a block, what comes out.
    inputs: [Buffer; 2],
    kept: Kept,
    /// Rows whose logits are wanted: as they left the last block, their norms, the logits.
    picked: Buffer,
    rstd: Buffer,
    normed: Buffer,
    logits: Buffer,
    tokens: Buffer,
    positions: Buffer,
    places: Buffer,
    requests: Buffer,
    wanted: Buffer,
    tables: Buffer,
    rows: usize,
    wanted_rows: usize,
    table: usize,
    lot: Lot,
}

/// A step's integers.
#[derive(Debug, Default)]
struct Step {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    places: Vec<i32>,
    requests: Vec<i32>,
    wanted: Vec<i32>,
    tables: Vec<i32>,
    /// Blocks of a table's row.
    stride: usize,
}

impl Step {
    fn of(shares: &[Share<'_>]) -> Step {
        let stride = shares.iter().map(|share| share.blocks.len()).max().unwrap_or(0);
        let mut step = Step { stride, ..Step::default() };
        for (request, share) in shares.iter().enumerate() {
            let first = step.tokens.len();
            for (offset, token) in share.tokens.iter().enumerate() {
                let position = share.start + offset;
                step.tokens.push(token.cast_signed());
                step.positions.push(position as i32);
                step.places.push((share.blocks[position / BLOCK] as usize * BLOCK + position % BLOCK) as i32);
                step.requests.push(request as i32);
            }
            let end = step.tokens.len();
            match share.logits {
                Wanted::None => {}
                Wanted::Last => step.wanted.push(end as i32 - 1),
                Wanted::All => step.wanted.extend(first as i32..end as i32),
            }
            let blocks = share.blocks.iter().map(|block| block.cast_signed());
            step.tables.extend(blocks.chain(std::iter::repeat_n(0, stride - share.blocks.len())));
        }
        step
    }
}

impl DeviceStepper {
    /// Loads a checkpoint, with a cache of so many blocks. Weights are multiplied in float32, or with
    /// [`Precision::Bf16`] rounded to bfloat16, as are activations and cache.
    ///
    /// # Errors
    /// When the device cannot be used or is too small, a parameter cannot be read, or the precision is another.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        precision: Precision,
        blocks: usize,
    ) -> Result<DeviceStepper, ModelError> {
        let dtype = match precision {
            Precision::Stored | Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::Bf16,
            Precision::F16 | Precision::Q8 => {
                return Err(ModelError::Device(format!(
                    "weights as {} are decoded on the CPU only\nhint: precision bf16 or f32, or --device cpu",
                    precision.name()
                )));
            }
        };
        let config = checkpoint.config();
        let sizes = Sizes::of(config, dtype, Way::Fused)?;
        let mut engine = engine(device)?;
        let layout = Layout::of(config);
        let values = layout.buffers(&mut engine, dtype)?;
        layout.read(checkpoint, &mut engine, values)?;
        let width = config.num_key_value_heads * config.head_dim;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for _ in 0..config.num_hidden_layers {
            layers.push([engine.zeros(dtype, blocks * BLOCK * width)?, engine.zeros(dtype, blocks * BLOCK * width)?]);
        }
        Ok(DeviceStepper {
            engine,
            sizes,
            layout,
            values,
            layers,
            angles: AngleTables::new(config),
            room: None,
            logits: Arc::default(),
        })
    }

    /// As [`crate::Stepper::step`].
    pub(crate) fn step(&mut self, shares: &[Share<'_>]) -> Result<Logits, ModelError> {
        let step = Step::of(shares);
        let positions = step.positions.iter().copied().max().unwrap_or(0) as usize + 1;
        let angles = self.angles.reach(&mut self.engine, positions)?;
        self.make_room(&step)?;
        let room = self.room.as_ref().ok_or_else(|| ModelError::Step("no room was made".to_owned()))?;
        for (buffer, values) in [
            (room.tokens, &step.tokens),
            (room.positions, &step.positions),
            (room.places, &step.places),
            (room.requests, &step.requests),
            (room.wanted, &step.wanted),
            (room.tables, &step.tables),
        ] {
            self.engine.write_ints(buffer.start(), values)?;
        }
        let weights = Weights { layout: &self.layout, values: self.values, gradients: None, adds: false };
        let (rows, hidden) = (step.tokens.len(), self.sizes.hidden);
        let embedding = weights.value("model.embed_tokens.weight");
        let [mut x, mut y] = room.inputs.map(|buffer| buffer.start());
        let mut calls: Vec<Call> =
            vec![Gather { y: x, x: embedding, index: room.tokens.start(), rows, width: hidden }.into()];
        let pages = Pages {
            tables: room.tables.start(),
            stride: step.stride,
            block: BLOCK,
            request: room.requests.start(),
            positions: room.positions.start(),
        };
        for (layer, [keys, values]) in self.layers.iter().enumerate() {
            let block =
                Block { layer, sizes: &self.sizes, weights, rows, positions: room.positions, angles, kept: &room.kept };
            let (heads, window) = (self.sizes.heads, self.sizes.windows[layer]);
            let [keys, values, qkv, out] =
                [*keys, *values, room.kept.qkv, room.kept.mixed].map(|buffer| buffer.start());
            let mix = |calls: &mut Vec<Call>| {
                calls.push(CacheWrite { keys, values, qkv, places: room.places.start(), rows, heads }.into());
                calls.push(PagedAttention { out, qkv, keys, values, pages, rows, heads, window }.into());
            };
            block.forward(x, y, mix, &mut calls);
            (x, y) = (y, x);
        }
        let count = step.wanted.len();
        if count > 0 {
            self.head(room, weights, x, count, &mut calls);
        }
        self.engine.run(&calls)?;
        let logits = room.logits.start();
        // Room for what comes from the device is there from the step before: new pages take longer than the bytes.
        let mut values = Arc::into_inner(std::mem::take(&mut self.logits)).unwrap_or_default();
        self.engine.read_into(logits, count * self.sizes.vocab, &mut values)?;
        self.logits = Arc::new(values);
        Ok(Logits::from_rows(count, self.sizes.vocab, self.logits.clone()))
    }

    fn head(&self, room: &StepRoom, weights: Weights<'_>, x: At, rows: usize, calls: &mut Vec<Call>) {
        let Sizes { hidden, vocab, eps, .. } = self.sizes;
        let (picked, normed, rstd) = (room.picked.start(), room.normed.start(), room.rstd.start());
        calls.push(Gather { y: picked, x, index: room.wanted.start(), rows, width: hidden }.into());
        let weight = weights.value("model.norm.weight");
        calls.push(RmsNorm { y: normed, rstd, x: picked, weight, eps, rows, width: hidden }.into());
        let head = weights.value(self.sizes.projection());
        let (x, head) = (Matrix::new(normed, rows, hidden), Matrix::new(head, vocab, hidden));
        calls.push(Product::new(Form::Nt, x, head, Matrix::new(room.logits.start(), rows, vocab)).into());
    }

    /// Room for a step at least that large.
    fn make_room(&mut self, step: &Step) -> Result<(), ModelError> {
        let needed = [step.tokens.len(), step.wanted.len(), step.tables.len()];
        let held = self.room.as_ref().map_or([0; 3], |room| [room.rows, room.wanted_rows, room.table]);
        if self.room.is_some() && held.iter().zip(needed).all(|(held, needed)| *held >= needed) {
            return Ok(());
        }
        if let Some(room) = self.room.take() {
            room.lot.free(&mut self.engine)?;
        }
        let [rows, wanted, table] = [0, 1, 2].map(|index: usize| held[index].max(needed[index].next_power_of_two()));
        self.room = Some(StepRoom::new(&mut self.engine, &self.sizes, rows, wanted, table)?);
        Ok(())
    }
}

impl StepRoom {
    fn new(
        engine: &mut Engine,
        sizes: &Sizes,
        rows: usize,
        wanted_rows: usize,
        table: usize,
    ) -> Result<StepRoom, ModelError> {
        let (hidden, dtype) = (sizes.hidden, sizes.dtype);
        let mut making = Making::new(engine);
        let kept = Kept::new(&mut making, sizes, rows)?;
        let mut zeros = |dtype, len: usize| making.zeros(dtype, len);
        Ok(StepRoom {
            inputs: [zeros(dtype, rows * hidden)?, zeros(dtype, rows * hidden)?],
            kept,
            picked: zeros(dtype, wanted_rows * hidden)?,
            rstd: zeros(Dtype::F32, wanted_rows)?,
            normed: zeros(dtype, wanted_rows * hidden)?,
            logits: zeros(Dtype::F32, wanted_rows * sizes.vocab)?,
            tokens: zeros(Dtype::I32, rows)?,
            positions: zeros(Dtype::I32, rows)?,
            places: zeros(Dtype::I32, rows)?,
            requests: zeros(Dtype::I32, rows)?,
            wanted: zeros(Dtype::I32, wanted_rows)?,
            tables: zeros(Dtype::I32, table)?,
            rows,
            wanted_rows,
            table,
            lot: making.done(),
        })
    }
}

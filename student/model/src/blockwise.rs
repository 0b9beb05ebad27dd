//! Loss and gradients in a device's tensors without a graph of the whole model: blocks run without one and keep what came
//! in; the loss is formed a chunk of rows at a time; then each block runs again in a graph of its own, from the last to the
//! first. Activations of one block and logits of one chunk are all that exists at once.

use crate::{Decoder, LossOptions, rope::Rope};
use burn::{
    module::Module,
    tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax},
};

/// Most logits that exist at once: in tests so few that every fixture takes several chunks.
const MAX_LOGITS: usize = if cfg!(test) { 1 << 10 } else { 32 << 20 };

/// Documents as rows of a rectangle, padded on the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Rectangle {
    /// Tokens, `[batch, seq]` row by row.
    pub tokens: Vec<i32>,
    /// `[batch, seq]`
    pub shape: [usize; 2],
    /// Flat positions in `[batch * seq]` whose next token carries loss.
    pub positions: Vec<i32>,
    /// Those next tokens.
    pub targets: Vec<i32>,
    /// Their weights.
    pub weights: Vec<f32>,
}

/// A loss and the gradients of all parameters in the order of [`Decoder::parameters`], flat, in float32 and on the plain
/// device.
pub type LossAndGradients = (Tensor<1>, Vec<Tensor<1>>);

impl Decoder {
    /// Adds the loss `Σ w·(−log p + z·(log Σ e^logit)²) / divisor` over the labelled tokens, and its gradients, to what has
    /// added up already. With the whole step's weight as the divisor, the gradients of micro-batches add up to those of
    /// the step, however the tokens are spread over them.
    pub fn accumulate(
        &self,
        batch: &Rectangle,
        options: LossOptions,
        sum: Option<LossAndGradients>,
        device: &Device,
    ) -> LossAndGradients {
        let (mut loss, mut gradients) = match sum {
            Some((loss, gradients)) => (loss, gradients.into_iter().map(Some).collect()),
            None => (Tensor::zeros([1], (device, DType::F32)), vec![None; self.parameters().len()]),
        };
        let [rows, seq] = batch.shape;
        let tokens = integers(&batch.tokens, device);
        let (mut inputs, last) = self.valid().run(&tokens, batch.shape, device);
        let width = last.dims()[2];
        // Float32, since not every device adds up smaller numbers at places.
        let mut dy = Tensor::<2>::zeros([rows * seq, width], (device, DType::F32));
        if !batch.positions.is_empty() {
            let positions = integers(&batch.positions, device);
            let learnt = last.reshape([rows * seq, width]).select(0, positions.clone());
            let d_learnt = self.learn_head(learnt, batch, options, (&mut loss, &mut gradients)).cast(DType::F32);
            dy = dy.select_assign(0, positions, d_learnt, IndexingUpdateOp::Add);
        }
        let mut dy = dy.reshape([rows, seq, width]).cast(self.compute);
        let tracked = device.clone().autodiff();
        let rope = Rope::new(seq, &self.frequencies, self.compute, &tracked);
        for block in self.blocks.iter().rev() {
            let Some(x) = inputs.pop() else { break };
            let x = Tensor::from_inner(x).require_grad();
            let y = block.forward(x.clone(), &rope);
            let found = (y * Tensor::from_inner(dy.clone())).sum().backward();
            dy = x.grad(&found).unwrap_or(dy);
            self.collect(&found, &mut gradients);
        }
        let lengths = self.parameters().into_iter().map(|parameter| parameter.len);
        let zeros = |len| Tensor::zeros([len], (device, DType::F32));
        let filled = gradients.into_iter().zip(lengths).map(|(sum, len)| sum.unwrap_or_else(|| zeros(len)));
        let mut gradients: Vec<Tensor<1>> = filled.collect();
        // The embedding is the first.
        let (vocab, dy) = (self.embedding.dims()[0], dy.reshape([rows * seq, width]).cast(DType::F32));
        let embedding = std::mem::replace(&mut gradients[0], Tensor::zeros([1], device)).reshape([vocab, width]);
        gradients[0] = embedding.select_assign(0, tokens, dy, IndexingUpdateOp::Add).reshape([vocab * width]);
        (loss, gradients)
    }

    /// The loss alone.
    pub fn loss(&self, batch: &Rectangle, options: LossOptions, device: &Device) -> Tensor<1> {
        let plain = self.valid();
        let (_, last) = plain.run(&integers(&batch.tokens, device), batch.shape, device);
        let [rows, seq, width] = last.dims();
        let learnt = last.reshape([rows * seq, width]).select(0, integers(&batch.positions, device));
        let mut loss = Tensor::zeros([1], device);
        for part in plain.chunks(batch) {
            loss =
                loss + plain.chunk_loss(learnt.clone().slice([part.clone(), 0..width]), batch, part, options, device);
        }
        loss
    }

    /// What goes into each block and comes out of the last, without a graph.
    fn run(&self, tokens: &Tensor<1, Int>, [rows, seq]: [usize; 2], device: &Device) -> (Vec<Tensor<3>>, Tensor<3>) {
        let [_, width] = self.embedding.dims();
        let mut x = self.embed(tokens.clone()).reshape([rows, seq, width]);
        let rope = Rope::new(seq, &self.frequencies, self.compute, device);
        let mut inputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            inputs.push(x.clone());
            x = block.forward(x, &rope);
        }
        (inputs, x)
    }

    /// Learns the final norm and the output projection; returns the gradients of the labelled rows.
    fn learn_head(
        &self,
        learnt: Tensor<2>,
        batch: &Rectangle,
        options: LossOptions,
        (loss, gradients): (&mut Tensor<1>, &mut [Option<Tensor<1>>]),
    ) -> Tensor<2> {
        let width = learnt.dims()[1];
        let device = learnt.device().autodiff();
        let mut d_learnt = Vec::new();
        for part in self.chunks(batch) {
            let x = Tensor::from_inner(learnt.clone().slice([part.clone(), 0..width])).require_grad();
            let chunk = self.chunk_loss(x.clone(), batch, part, options, &device);
            let found = chunk.backward();
            *loss = loss.clone() + chunk.inner();
            d_learnt.push(x.grad(&found).unwrap_or_else(|| x.inner().zeros_like()));
            self.collect(&found, gradients);
        }
        Tensor::cat(d_learnt, 0)
    }

    /// Ranges of labels whose logits may exist at once.
    fn chunks(&self, batch: &Rectangle) -> Vec<std::ops::Range<usize>> {
        let vocab = self.head.as_ref().map_or(self.embedding.dims()[0], |head| head.weight.dims()[1]);
        let (most, all) = ((MAX_LOGITS / vocab.max(1)).max(1), batch.targets.len());
        (0..all).step_by(most).map(|start| start..all.min(start + most)).collect()
    }

    fn chunk_loss(
        &self,
        x: Tensor<2>,
        batch: &Rectangle,
        part: std::ops::Range<usize>,
        options: LossOptions,
        device: &Device,
    ) -> Tensor<1> {
        let [count, width] = x.dims();
        let normed = self.norm.forward(x.reshape([1, count, width]));
        let logits = self.logits(normed);
        let vocab = logits.dims()[2];
        let logits = logits.reshape([count, vocab]).cast(DType::F32);
        let targets = integers(&batch.targets[part.clone()], device).reshape([count, 1]);
        let weights = Tensor::<1>::from_data(TensorData::new(batch.weights[part].to_vec(), [count]), device);
        let chosen = log_softmax(logits.clone(), 1).gather(1, targets.clone()).reshape([count]);
        let mut losses = chosen.clone().neg();
        if options.z_loss > 0.0 {
            let sums = logits.gather(1, targets).reshape([count]) - chosen;
            losses = losses + sums.square().mul_scalar(options.z_loss);
        }
        (losses * weights).sum().mul_scalar(1.0 / options.divisor)
    }
}

fn integers(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

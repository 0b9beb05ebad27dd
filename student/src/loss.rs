//! The loss: weighted cross-entropy on the labelled tokens. Logits exist only where there is something to learn.

use crate::batch::MicroBatch;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use distill_model::Decoder;

/// `Σ w·(−log p) / divisor` over the labelled tokens of a micro-batch. With the whole step's weight as the divisor, the
/// gradients of micro-batches add up to those of the step, however the tokens are spread over them.
pub(crate) fn cross_entropy(model: &Decoder, batch: &MicroBatch, divisor: f64, device: &Device) -> Tensor<1> {
    let num_labels = batch.targets.len();
    let integers =
        |values: &[i32]| Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
    let hidden = model.hidden(integers(&batch.tokens).reshape(batch.shape));
    let [rows, seq, width] = hidden.dims();
    let learnt = hidden.reshape([rows * seq, width]).select(0, integers(&batch.positions));
    let logits = model.logits(learnt.reshape([1, num_labels, width]));
    let [_, _, vocab] = logits.dims();
    let log_probs = log_softmax(logits.reshape([num_labels, vocab]), 1);
    let chosen = log_probs.gather(1, integers(&batch.targets).reshape([num_labels, 1])).reshape([num_labels]);
    let weights = Tensor::<1>::from_data(TensorData::new(batch.weights.clone(), [num_labels]), device);
    (chosen * weights).sum().mul_scalar(-1.0 / divisor)
}

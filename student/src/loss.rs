//! The loss on a device: weighted cross-entropy on the labelled tokens. Logits exist only where there is something to learn.

use crate::batch::Padded;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use distill_model::{Decoder, LossOptions};

/// `Σ w·(−log p + z·(log Σ e^logit)²) / divisor` over the labelled tokens of a micro-batch. With the whole step's weight as
/// the divisor, the gradients of micro-batches add up to those of the step, however the tokens are spread over them.
pub(crate) fn cross_entropy(model: &Decoder, batch: &Padded, options: LossOptions, device: &Device) -> Tensor<1> {
    let num_labels = batch.targets.len();
    let integers =
        |values: &[i32]| Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
    let hidden = model.hidden(integers(&batch.tokens).reshape(batch.shape));
    let [rows, seq, width] = hidden.dims();
    let learnt = hidden.reshape([rows * seq, width]).select(0, integers(&batch.positions));
    let logits = model.logits(learnt.reshape([1, num_labels, width]));
    let [_, _, vocab] = logits.dims();
    let logits = logits.reshape([num_labels, vocab]);
    let targets = integers(&batch.targets).reshape([num_labels, 1]);
    let weights = Tensor::<1>::from_data(TensorData::new(batch.weights.clone(), [num_labels]), device);
    let log_probs = log_softmax(logits.clone(), 1);
    let chosen = log_probs.gather(1, targets.clone()).reshape([num_labels]);
    let mut losses = chosen.clone().neg();
    if options.z_loss > 0.0 {
        let sums = logits.gather(1, targets).reshape([num_labels]) - chosen;
        losses = losses + sums.square().mul_scalar(options.z_loss);
    }
    (losses * weights).sum().mul_scalar(1.0 / options.divisor)
}

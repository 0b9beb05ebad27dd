//! Training on a device: the model forward and backward as calls over flat buffers ([`distill_ops`]), documents packed one
//! after the other with nothing between them.
//!
//! The order of a batch: [`batch`] puts tokens and labels on the device → each [`block`] forward → [`head`]: loss and its
//! gradient → each block backward → the embedding. Parameters lie as [`layout`] says; [`memory`] decides what is kept for
//! the way back and what is computed again.

mod attention;
mod batch;
mod block;
mod head;
mod layout;
mod learner;
mod memory;
#[cfg(test)]
mod tests;

pub use learner::{DeviceLearner, States};

//! Training and decoding on a device: the model as calls over flat buffers ([`distill_ops`]). A [`block`] is the same for
//! both; what attends is documents packed one after the other, or requests over a paged cache ([`stepper`]).
//!
//! The order of a batch that is learnt: [`batch`] puts tokens and labels on the device → each [`block`] forward → [`head`]: loss and its
//! gradient → each block backward → the embedding. Parameters lie as [`layout`] says; [`memory`] decides what is kept for
//! the way back and what is computed again.

mod angles;
mod attention;
mod batch;
mod block;
mod head;
mod layout;
mod learner;
mod lot;
mod memory;
mod pace;
mod stepper;
#[cfg(test)]
mod tests;

pub use learner::{DeviceLearner, States};
pub(crate) use stepper::DeviceStepper;

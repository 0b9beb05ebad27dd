//! Work for a device as data, and what does it: products by cuBLASLt and kernels of our own on a card's memory, or on the
//! processor by definition.
//!
//! A program is a list of [`Call`]s over the buffers of an [`Engine`]. The same list runs on a card and on the processor, so
//! that everything about it but the card's own arithmetic is tested where there is no card: shapes, strides, transposes,
//! offsets, what is added to what. Memory on a card is Burn's: tensors of CubeCL's pool, whose addresses hold as long as the
//! buffer does.
//!
//! ```
//! use distill_ops::{Dtype, Engine, Form, Matrix, Product};
//! let mut engine = Engine::new(&burn::tensor::Device::flex())?;
//! let [a, b, c] = [6, 6, 4].map(|len| engine.zeros(Dtype::F32, len));
//! let (a, b, c) = (a?, b?, c?);
//! engine.write(a.start(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! engine.write(b.start(), &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])?;
//! let [a, b, out] = [Matrix::new(a.start(), 2, 3), Matrix::new(b.start(), 2, 3), Matrix::new(c.start(), 2, 2)];
//! engine.run(&[Product::new(Form::Nt, a, b, out).into()])?;
//! assert_eq!(engine.read(c.start(), 4)?, [1.0, 2.0, 4.0, 5.0]);
//! # Ok::<(), distill_ops::OpsError>(())
//! ```

mod call;
#[cfg(feature = "cuda")]
mod cuda;
mod engine;
mod host;
pub mod kernels;
mod lowered;
mod lt;
#[cfg(test)]
mod tests;

pub use call::{Arg, At, AttentionPart, Buffer, Call, Dtype, Entry, Form, Kernel, Launch, Matrix, Product};
pub use engine::{Engine, OpsError, Watch, leave_if_hanging};
pub use host::Memory;

//! The kernels, each with its launch and its definition. `../kernels/kernels.cu` and `../kernels/attention` hold what a card
//! runs; a type's `define` says what that must come to.

mod adam;
mod attention;
mod cache;
mod gated;
mod loss;
mod norm;
mod rope;
mod rows;
mod softmax;
mod sums;

pub use adam::{AdamNumbers, AdamW, AdamWRounded};
pub use attention::{AttentionBackward, AttentionDelta, AttentionForward, Documents, GroupSum, Heads};
pub use cache::{CacheWrite, PagedAttention, Pages};
pub use gated::{AddBias, SwiGlu, SwiGluBackward};
pub use loss::CrossEntropy;
pub use norm::{HeadNorm, HeadNormBackward, RmsNorm, RmsNormBackward};
pub use rope::Rope;
pub use rows::{EmbedBackward, Gather, Scatter};
pub use softmax::{Scores, Softmax, SoftmaxBackward};
pub use sums::{Cast, ColumnReduce, ColumnSum, SquareSum, Sum, SumDoubles};

/// Blocks of [`SquareSum`]: fixed, since its partial sums depend on it.
pub const SQUARE_PARTS: usize = 1024;

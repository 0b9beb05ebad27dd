//! RMSNorm (Zhang and Sennrich, 2019) as Llama and Qwen have it: statistics in float32.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};

/// Scales each row to a root mean square of one, then by a learnt weight.
#[derive(Module, Debug)]
pub struct RmsNorm {
    pub(crate) weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(size: usize, eps: f64, device: &Device) -> Self {
        RmsNorm { weight: Param::from_tensor(Tensor::ones([size], device)), eps }
    }

    /// `[.., size]` → the same shape and precision.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let mean_square = x.clone().square().mean_dim(D - 1);
        (x * mean_square.add_scalar(self.eps).sqrt().recip() * self.weight.val().unsqueeze()).cast(dtype)
    }
}

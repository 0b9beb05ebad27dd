//! What can be known of a card's work without a card: that calls mean what Burn's plain tensors say (the twin, on `flex`),
//! that cuBLASLt is asked for just that, that launches fit the kernels' text, and that no call touches what is not there.

mod attention;
mod buffers;
mod definitions;
mod launches;
mod library;
mod products;

use crate::{At, Call, Dtype, Engine};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The types that activations are kept as.
const KEPT: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

/// Numbers between -1 and 1 that follow no pattern, the same for the same seed.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

/// A tensor whose gradient Burn computes.
fn leaf<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex().autodiff()).require_grad()
}

/// A tensor beside those whose gradients Burn computes.
fn fixed<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex().autodiff())
}

fn places(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().expect("float32")
}

/// Gradients of leaves from that of `y`.
fn gradients<const D: usize, const E: usize>(y: Tensor<D>, dy: Tensor<D>, leaves: &[&Tensor<E>]) -> Vec<Vec<f32>> {
    let found = (y * dy).sum().backward();
    leaves.iter().map(|leaf| floats(leaf.grad(&found).expect("a gradient"))).collect()
}

/// Fails unless `got` is `want` to the rounding of `dtype`, formed in float32.
fn near(name: &str, dtype: Dtype, got: &[f32], want: &[f32]) {
    near_to(name, if dtype == Dtype::Bf16 { 1.0 / 256.0 } else { 1e-5 }, 1e-5, got, want);
}

fn near_to(name: &str, relative: f32, absolute: f32, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{name}: as many numbers as Burn has");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let is_near = (got - want).abs() <= want.abs() * relative + absolute;
        assert!(is_near, "{name}: number {at} is {got}, Burn's plain tensors give {want}");
    }
}

/// An engine on the processor.
struct Host(Engine);

impl Host {
    fn new() -> Host {
        Host(Engine::new(&Device::flex()).expect("the processor"))
    }

    /// A buffer with these numbers.
    fn put(&mut self, dtype: Dtype, values: &[f32]) -> At {
        let at = self.0.zeros(dtype, values.len()).expect("memory").start();
        self.0.write(at, values).expect("a write");
        at
    }

    fn zeros(&mut self, dtype: Dtype, len: usize) -> At {
        self.0.zeros(dtype, len).expect("memory").start()
    }

    fn ints(&mut self, values: &[i32]) -> At {
        let at = self.0.zeros(Dtype::I32, values.len()).expect("memory").start();
        self.0.write_ints(at, values).expect("a write");
        at
    }

    fn run(&mut self, call: impl Into<Call>) {
        self.0.run(&[call.into()]).expect("a call that runs");
    }

    fn read(&mut self, at: At, len: usize) -> Vec<f32> {
        self.0.read(at, len).expect("a read")
    }
}

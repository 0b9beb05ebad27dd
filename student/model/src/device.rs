//! A device by name, probed before it is used: asking for a GPU that is not there is an error, not a panic.

use crate::ModelError;
use burn::tensor::Device;
use distill_ops::{Dtype, Engine, Form, Matrix, Product, Watch, kernels::RmsNorm};
use std::sync::OnceLock;

/// How devices are asked to compute, for finding what is wrong with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Attention by products and a softmax, not by its fused kernels.
    pub products: bool,
    /// Every call is waited for, so that the one that fails or hangs is named.
    pub checked: bool,
}

static OPERATIONS: OnceLock<Operations> = OnceLock::new();

impl Operations {
    /// From words with commas between them: `products`, `fused`, `checked`.
    ///
    /// # Errors
    /// Expected and found.
    pub fn from_words(words: &str) -> Result<Operations, ModelError> {
        let mut operations = Operations::default();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "products" => operations.products = true,
                "fused" => operations.products = false,
                "checked" => operations.checked = true,
                other => {
                    let message = format!("unknown operations {other:?}: expected products, fused or checked");
                    return Err(ModelError::Device(message));
                }
            }
        }
        Ok(operations)
    }

    /// Says so for every device of this process; the first to say so is heard.
    pub fn set(self) {
        // What was said before stays: devices may be in use already.
        let _ = OPERATIONS.set(self);
    }
}

/// A device's engine, watched as was said.
pub(crate) fn engine(device: &Device) -> Result<Engine, ModelError> {
    Ok(Engine::with(device, Watch { checked: operations().checked, ..Watch::default() })?)
}

pub(crate) fn operations() -> Operations {
    OPERATIONS.get().copied().unwrap_or_default()
}

/// `cpu`, `cuda` or `cuda:N`; `flex` is Burn's own CPU, with which what is done on other devices is checked where there is
/// none.
///
/// # Errors
/// When the name is unknown, or the device is not compiled in or not there.
pub fn device(name: &str) -> Result<Device, ModelError> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    match (kind, index.parse::<usize>()) {
        ("cpu" | "flex", _) if !name.contains(':') => Ok(Device::flex()),
        ("cuda", Ok(index)) => cuda(index),
        _ => Err(ModelError::Device(format!("unknown device {name:?}: expected cpu, cuda or cuda:N"))),
    }
}

/// What a device computes by, in words, after it was seen to compute: a product and a norm as the processor has them.
///
/// # Errors
/// What is missing, or what it computes wrongly.
pub fn examine(name: &str) -> Result<String, ModelError> {
    let device = device(name)?;
    let mut engine = Engine::new(&device)?;
    let (found, expected) = (sample(&mut engine)?, sample(&mut Engine::new(&Device::flex())?)?);
    let worst = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if worst.is_nan() || worst > 2e-2 * largest {
        return Err(ModelError::Device(format!(
            "{}: a product and a norm are off by {worst}, expected at most {}\nhint: benches/gpu/check.py --only ladder names the operation",
            engine.describe(),
            2e-2 * largest
        )));
    }
    let free = engine
        .free_memory()
        .map_or(String::new(), |free| format!(", {:.1} GiB free", free as f64 / f64::from(1 << 30)));
    Ok(format!("{}{free}", engine.describe()))
}

/// The norm of a product of some numbers, in bfloat16.
fn sample(engine: &mut Engine) -> Result<Vec<f32>, ModelError> {
    const SIDE: usize = 128;
    let square = |seed: usize| -> Vec<f32> {
        (0..SIDE * SIDE).map(|at| ((at * 7919 + seed) % 257) as f32 / 128.0 - 1.0).collect()
    };
    let mut zeros = || engine.zeros(Dtype::Bf16, SIDE * SIDE);
    let (a, b, product, normed) = (zeros()?, zeros()?, zeros()?, zeros()?);
    let (rstd, weight) = (engine.zeros(Dtype::F32, SIDE)?, engine.zeros(Dtype::F32, SIDE)?);
    engine.write(a.start(), &square(1))?;
    engine.write(b.start(), &square(2))?;
    engine.write(weight.start(), &[1.0; SIDE])?;
    let matrix = |buffer: distill_ops::Buffer| Matrix::new(buffer.start(), SIDE, SIDE);
    let norm = RmsNorm {
        y: normed.start(),
        rstd: rstd.start(),
        x: product.start(),
        weight: weight.start(),
        eps: 1e-6,
        rows: SIDE,
        width: SIDE,
    };
    engine.run(&[Product::new(Form::Nt, matrix(a), matrix(b), matrix(product)).into(), norm.into()])?;
    Ok(engine.read(normed.start(), SIDE * SIDE)?)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, ModelError> {
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).len();
    if index < found {
        return Ok(Device::cuda(index));
    }
    Err(ModelError::Device(format!(
        "no device cuda:{index}: this machine shows {found}\nhint: `distill doctor` tells what is here; --device cpu works everywhere"
    )))
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<Device, ModelError> {
    Err(ModelError::Device(format!(
        "cuda:{index} is not compiled in\nhint: build with `--features cuda`, or use --device cpu"
    )))
}

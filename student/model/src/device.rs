//! A device by name, probed before it is used: asking for a GPU that is not there is an error, not a panic.

use crate::ModelError;
use burn::tensor::Device;

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

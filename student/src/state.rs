//! Where training stands: weights, moments and step in one safetensors folder of the scratch space, so that a killed run
//! goes on exactly where it was.

use crate::{TrainError, optimizer::AdamW};
use burn::tensor::{Device, Tensor, TensorData};
use distill_checkpoint::{Checkpoint, Dtype, Tensor as NamedTensor, write_safetensors};
use distill_model::Decoder;
use std::{
    fs,
    path::{Path, PathBuf},
};

const PREFIX: &str = "step-";

/// Saves the state after `step`, whole or not at all, then drops older ones.
pub(crate) fn save(
    scratch: &Path,
    step: u64,
    model: &Decoder,
    optimizer: &AdamW,
    config_json: &str,
) -> Result<(), TrainError> {
    let name = format!("{PREFIX}{step:08}");
    let (temporary, path) = (scratch.join(format!("{name}.tmp")), scratch.join(&name));
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).map_err(TrainError::io("create", &temporary))?;
    let file = temporary.join("config.json");
    fs::write(&file, config_json).map_err(TrainError::io("write", &file))?;
    let mut tensors = model.tensors();
    for (kind, moments) in [("first", &optimizer.first), ("second", &optimizer.second)] {
        for (parameter, moment) in model.parameters().iter().zip(moments) {
            let data = moment.to_data().try_to_vec::<f32>().unwrap_or_default();
            tensors.push(NamedTensor { name: format!("{kind}.{}", parameter.name), shape: vec![data.len()], data });
        }
    }
    write_safetensors(&temporary.join("model.safetensors"), &tensors, Dtype::F32)?;
    fs::rename(&temporary, &path).map_err(TrainError::io("rename", &temporary))?;
    for (other, folder) in saved(scratch) {
        if other != step {
            fs::remove_dir_all(&folder).map_err(TrainError::io("remove", &folder))?;
        }
    }
    Ok(())
}

/// The latest saved state, if there is one: its step, weights and moments.
pub(crate) fn load(scratch: &Path, device: &Device) -> Result<Option<(u64, Decoder, AdamW)>, TrainError> {
    let Some((step, folder)) = saved(scratch).pop() else { return Ok(None) };
    let checkpoint = Checkpoint::open(&folder)?;
    let model = Decoder::load(&checkpoint, &device.clone().autodiff())?;
    let mut optimizer = AdamW::new(&model, device);
    for (kind, moments) in [("first", &mut optimizer.first), ("second", &mut optimizer.second)] {
        for (parameter, moment) in model.parameters().iter().zip(moments) {
            let data = checkpoint.read(&format!("{kind}.{}", parameter.name), &[parameter.len])?.data;
            *moment = Tensor::from_data(TensorData::new(data, [parameter.len]), device);
        }
    }
    Ok(Some((step, model, optimizer)))
}

/// Saved states in the order of their steps.
fn saved(scratch: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(scratch).into_iter().flatten().flatten().map(|entry| entry.path());
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort();
    found
}

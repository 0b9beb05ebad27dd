//! Where training stands: weights, moments and step in one safetensors folder of the scratch space, so that a killed run
//! goes on exactly where it was.

use crate::{TrainError, optimizer::AdamW};
use burn::tensor::{Device, Tensor, TensorData};
use distill_checkpoint::{Checkpoint, CheckpointError, Dtype, write_safetensors};
use distill_model::{Decoder, Parameter};
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
    let parameters = model.parameters();
    let moments = [("first.", &optimizer.first), ("second.", &optimizer.second)];
    let mut layout: Vec<_> =
        parameters.iter().map(|parameter| (parameter.name.clone(), parameter.shape.clone())).collect();
    for (kind, _) in moments {
        let flat = |parameter: &Parameter| (format!("{kind}{}", parameter.name), vec![parameter.len]);
        layout.extend(parameters.iter().map(flat));
    }
    let moment = |name: &str| {
        let (kind, moments) = moments.iter().find(|(kind, _)| name.starts_with(kind))?;
        let index = parameters.iter().position(|parameter| parameter.name == name[kind.len()..])?;
        moments[index].to_data().try_to_vec::<f32>().ok()
    };
    let path_of_weights = temporary.join("model.safetensors");
    let mut read = |name: &str| {
        let values = moment(name).or_else(|| model.read(name));
        values.ok_or_else(|| CheckpointError::missing(&temporary, name))
    };
    write_safetensors(&path_of_weights, &layout, Dtype::F32, &mut read)?;
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
            let data = checkpoint.read(&format!("{kind}.{}", parameter.name), &[parameter.len])?;
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

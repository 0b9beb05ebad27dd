//! Where training stands: weights, moments and counters in a folder of the scratch space for each saved step, so that a
//! killed run goes on exactly where it was. A folder appears whole or not at all; older ones go when a newer one is there,
//! so that a full disk costs the newest at most.

use crate::{TrainError, learner::Learner};
use distill_checkpoint::{Checkpoint, CheckpointError, Dtype, write_safetensors};
use distill_model::Kind;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

const PREFIX: &str = "step-";
const WEIGHTS: &str = "model.safetensors";
const STATE: &str = "state.json";
const KINDS: [(&str, Kind); 2] = [("first.", Kind::First), ("second.", Kind::Second)];

/// How far training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Standing {
    /// Steps done, skipped ones included.
    pub(crate) done: u64,
    /// Steps that moved the weights.
    pub(crate) taken: u64,
    /// Steps that were skipped.
    pub(crate) skipped: u64,
    /// Tokens trained on.
    pub(crate) tokens: u64,
    /// The least held-out loss and the step after which it was seen.
    pub(crate) best: Option<(f64, u64)>,
    /// Looks at the held-out loss since then.
    pub(crate) stale: u32,
}

/// What is written beside the weights: the standing, and the checksum of the weights' file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Note {
    #[serde(flatten)]
    standing: Standing,
    crc32c: u32,
}

/// Saves the state, whole or not at all, then drops older ones but the last `keep` and the best.
pub(crate) fn save(
    scratch: &Path,
    standing: &Standing,
    learner: &mut Learner,
    config_json: &str,
    keep: usize,
) -> Result<(), TrainError> {
    let name = format!("{PREFIX}{:08}", standing.done);
    let (temporary, path) = (scratch.join(format!("{name}.tmp")), scratch.join(&name));
    let _ = fs::remove_dir_all(&temporary);
    let written = write(&temporary, standing, learner, config_json).and_then(|()| {
        let _ = fs::remove_dir_all(&path);
        fs::rename(&temporary, &path).map_err(TrainError::io("rename", &temporary))?;
        // The new name is on the disk before an older state goes.
        File::open(scratch).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", scratch))
    });
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let best = standing.best.map(|(_, step)| step);
    let older = saved(scratch);
    for (step, folder) in older.iter().rev().skip(keep) {
        if Some(*step) != best {
            fs::remove_dir_all(folder).map_err(TrainError::io("remove", folder))?;
        }
    }
    Ok(())
}

fn write(folder: &Path, standing: &Standing, learner: &mut Learner, config_json: &str) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
    let parameters = learner.parameters();
    let mut layout: Vec<_> =
        parameters.iter().map(|parameter| (parameter.name.clone(), parameter.shape.clone())).collect();
    for (prefix, _) in KINDS {
        layout.extend(
            parameters.iter().map(|parameter| (format!("{prefix}{}", parameter.name), parameter.shape.clone())),
        );
    }
    let mut read = |name: &str| {
        let moment = KINDS.iter().find_map(|(prefix, kind)| Some((name.strip_prefix(prefix)?, *kind)));
        let (parameter, kind) = moment.unwrap_or((name, Kind::Value));
        learner.read(parameter, kind).ok_or_else(|| CheckpointError::missing(folder, name))
    };
    let weights = folder.join(WEIGHTS);
    write_safetensors(&weights, &layout, Dtype::F32, &mut read)?;
    let note = Note { standing: *standing, crc32c: checksum(&weights)? };
    let note = serde_json::to_string(&note).unwrap_or_default();
    for (name, text) in [("config.json", config_json), (STATE, &note)] {
        let path = folder.join(name);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(TrainError::io("write", &path))?;
    }
    Ok(())
}

fn checksum(path: &Path) -> Result<u32, TrainError> {
    let mut file = File::open(path).map_err(TrainError::io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer).map_err(TrainError::io("read", path))? {
            0 => return Ok(sum),
            length => sum = crc32c::crc32c_append(sum, &buffer[..length]),
        }
    }
}

/// The latest saved state that is whole, put into `learner`; nothing if there is none. Damaged ones are removed.
pub(crate) fn resume(scratch: &Path, learner: &mut Learner) -> Result<Option<Standing>, TrainError> {
    for (_, folder) in saved(scratch).into_iter().rev() {
        if let Some(standing) = standing(&folder) {
            let checkpoint = Checkpoint::open(&folder)?;
            put(&checkpoint, learner, &KINDS)?;
            put(&checkpoint, learner, &[("", Kind::Value)])?;
            return Ok(Some(standing));
        }
        fs::remove_dir_all(&folder).map_err(TrainError::io("remove", &folder))?;
    }
    Ok(None)
}

/// The standing of a state whose weights are as they were written.
fn standing(folder: &Path) -> Option<Standing> {
    let note: Note = serde_json::from_slice(&fs::read(folder.join(STATE)).ok()?).ok()?;
    (checksum(&folder.join(WEIGHTS)).ok()? == note.crc32c).then_some(note.standing)
}

/// Puts back the weights as they were after `step`.
pub(crate) fn restore(scratch: &Path, step: u64, learner: &mut Learner) -> Result<(), TrainError> {
    put(&Checkpoint::open(&scratch.join(format!("{PREFIX}{step:08}")))?, learner, &[("", Kind::Value)])
}

fn put(checkpoint: &Checkpoint, learner: &mut Learner, kinds: &[(&str, Kind)]) -> Result<(), TrainError> {
    for parameter in learner.parameters() {
        for (prefix, kind) in kinds {
            let values = checkpoint.read(&format!("{prefix}{}", parameter.name), &parameter.shape)?;
            learner.write(&parameter.name, *kind, &values);
        }
    }
    Ok(())
}

/// Saved states in the order of their steps.
pub(crate) fn saved(scratch: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(scratch).into_iter().flatten().flatten().map(|entry| entry.path());
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort();
    found
}

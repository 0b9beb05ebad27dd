//! Where training stands: weights, moments and counters in a folder of the scratch space for each saved step, so that a
//! killed run goes on exactly where it was. A folder appears whole or not at all; older ones go when a newer one is there,
//! so that a full disk costs the newest at most. Files, the folder that names them and the folder that names that one are
//! synced in this order before anything older goes: a power cut costs no more than a kill.

use crate::{TrainError, learner::Learner};
use distill_checkpoint::{Checkpoint, CheckpointError, Dtype, write_safetensors};
use distill_dataset::create_fresh;
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
const UNFINISHED: &str = ".tmp";
/// What a state of the same step is called while another takes its place.
const REPLACED: &str = ".old";
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
    /// The step after which the held-out loss was looked at last; nothing in states that were saved after every look that
    /// was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) looked: Option<u64>,
}

/// What is written beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Note {
    #[serde(flatten)]
    standing: Standing,
    /// Where and in which precision it was computed.
    computed: String,
    /// The checksum of the weights' file, then of the standing.
    crc32c: u32,
}

/// What every state of a run has in common.
pub(crate) struct Place<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) config_json: &'a str,
    /// States that are kept, beside the best of each.
    pub(crate) keep: usize,
}

/// Saves the state, whole or not at all, then drops older ones but the last few and the best.
pub(crate) fn save(place: &Place<'_>, standing: &Standing, learner: &mut Learner) -> Result<(), TrainError> {
    let scratch = place.scratch;
    let name = format!("{PREFIX}{:08}", standing.done);
    let (temporary, path) = (scratch.join(format!("{name}{UNFINISHED}")), scratch.join(&name));
    let written =
        write(&temporary, standing, learner, place.config_json).and_then(|()| put_in_place(&temporary, &path));
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let states = saved(scratch);
    let (older, kept) = states.split_at(states.len().saturating_sub(place.keep));
    // Should the newest be damaged one day, the one before still finds its own best.
    let best: Vec<u64> = kept.iter().filter_map(|(_, folder)| Some(note(folder)?.standing.best?.1)).collect();
    for (step, folder) in older {
        if !best.contains(step) {
            fs::remove_dir_all(folder).map_err(TrainError::io("remove", folder))?;
        }
    }
    Ok(())
}

/// Gives a finished state its name. One of the same step, which a stop between the step and its look had saved, makes room
/// first and goes afterwards: `resume` finds the one or the other.
fn put_in_place(temporary: &Path, path: &Path) -> Result<(), TrainError> {
    let replaced = path.with_added_extension(&REPLACED[1..]);
    if path.exists() {
        fs::rename(path, &replaced).map_err(TrainError::io("rename", path))?;
    }
    fs::rename(temporary, path).map_err(TrainError::io("rename", temporary))?;
    // The new name is on the disk before an older state goes.
    let scratch = path.parent().unwrap_or(path);
    File::open(scratch).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", scratch))?;
    if replaced.exists() {
        fs::remove_dir_all(&replaced).map_err(TrainError::io("remove", &replaced))?;
    }
    Ok(())
}

/// Removes what a kill left unfinished, and gives a state that was to be replaced its name again where the other has none.
fn tidy(scratch: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        match name.strip_suffix(REPLACED).map(|name| scratch.join(name)) {
            Some(kept) if !kept.exists() => fs::rename(&path, &kept).map_err(TrainError::io("rename", &path))?,
            Some(_) => fs::remove_dir_all(&path).map_err(TrainError::io("remove", &path))?,
            None if name.ends_with(UNFINISHED) => {
                fs::remove_dir_all(&path).map_err(TrainError::io("remove", &path))?;
            }
            None => {}
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
        learner.read(parameter, kind)?.ok_or_else(|| CheckpointError::missing(folder, name))
    };
    let weights = folder.join(WEIGHTS);
    write_safetensors(&weights, &layout, Dtype::F32, &mut read)?;
    let note = Note { standing: *standing, computed: learner.computed(), crc32c: checksum(&weights, standing)? };
    let note = serde_json::to_string(&note).unwrap_or_default();
    for (name, text) in [("config.json", config_json), (STATE, &note)] {
        let path = folder.join(name);
        let write = || -> std::io::Result<()> {
            let mut file = create_fresh(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(TrainError::io("write", &path))?;
    }
    // The names inside are on the disk before the folder has its own.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", folder))
}

fn checksum(weights: &Path, standing: &Standing) -> Result<u32, TrainError> {
    let mut file = File::open(weights).map_err(TrainError::io("open", weights))?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer).map_err(TrainError::io("read", weights))? {
            0 => break,
            length => sum = crc32c::crc32c_append(sum, &buffer[..length]),
        }
    }
    Ok(crc32c::crc32c_append(sum, serde_json::to_string(standing).unwrap_or_default().as_bytes()))
}

fn note(folder: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(folder.join(STATE)).ok()?).ok()
}

/// A state as it was written; nothing for a damaged one.
fn whole(folder: &Path) -> Option<(Note, Checkpoint)> {
    let note = note(folder)?;
    let sum = checksum(&folder.join(WEIGHTS), &note.standing).ok()?;
    (sum == note.crc32c).then_some((note, Checkpoint::open(folder).ok()?))
}

/// The latest saved state that is whole, put into `learner`; nothing if there is none. Damaged and unfinished ones are
/// removed.
pub(crate) fn resume(scratch: &Path, learner: &mut Learner) -> Result<Option<Standing>, TrainError> {
    tidy(scratch)?;
    for (_, folder) in saved(scratch).into_iter().rev() {
        if let Some((note, checkpoint)) = whole(&folder) {
            if note.computed != learner.computed() {
                return Err(TrainError::Elsewhere { began: note.computed, now: learner.computed(), folder });
            }
            put(&checkpoint, learner, &KINDS)?;
            put(&checkpoint, learner, &[("", Kind::Value)])?;
            return Ok(Some(note.standing));
        }
        fs::remove_dir_all(&folder).map_err(TrainError::io("remove", &folder))?;
    }
    Ok(None)
}

/// Puts back the weights as they were after `step`.
pub(crate) fn restore(scratch: &Path, step: u64, learner: &mut Learner) -> Result<(), TrainError> {
    let folder = scratch.join(format!("{PREFIX}{step:08}"));
    let (_, checkpoint) = whole(&folder).ok_or_else(|| TrainError::Damaged { folder: folder.clone() })?;
    put(&checkpoint, learner, &[("", Kind::Value)])
}

fn put(checkpoint: &Checkpoint, learner: &mut Learner, kinds: &[(&str, Kind)]) -> Result<(), TrainError> {
    for parameter in learner.parameters() {
        for (prefix, kind) in kinds {
            let values = checkpoint.read(&format!("{prefix}{}", parameter.name), &parameter.shape)?;
            learner.write(&parameter.name, *kind, &values)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A state that is known by what is in it.
    fn state(path: &Path, text: &str) {
        fs::create_dir_all(path).expect("a folder");
        fs::write(path.join(STATE), text).expect("a file");
    }

    #[test]
    fn a_state_that_replaces_one_of_the_same_step_leaves_one_whatever_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let scratch = folder.path();
        let [path, temporary, replaced] = ["step-7", "step-7.tmp", "step-7.old"].map(|name| scratch.join(name));
        state(&path, "before");
        state(&temporary, "after");
        put_in_place(&temporary, &path).expect("replaced");
        assert_eq!(fs::read_to_string(path.join(STATE)).expect("a state"), "after");
        assert!(!temporary.exists() && !replaced.exists(), "nothing else is left");
        // Killed after the one made room, and after the other has its name.
        for (there, expected) in [(&temporary, "before"), (&path, "after")] {
            fs::remove_dir_all(&path).expect("nothing");
            state(&replaced, "before");
            state(there, "after");
            tidy(scratch).expect("tidied");
            assert_eq!(fs::read_to_string(path.join(STATE)).expect("a state"), expected);
            assert_eq!(saved(scratch).len(), 1);
            assert!(!temporary.exists() && !replaced.exists(), "nothing else is left");
        }
    }
}

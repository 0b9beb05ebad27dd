//! Which run folders use a store: a note in the store for each, so that what is cleared away is what none of them needs,
//! wherever they lie. A folder is noted from the store as well as from the root: either may have moved, or both together.

use crate::{links::relative, record};
use anyhow::{Context, Result};
use distill_dataset::{Digest, Store, entries, read_regular_text, write_whole};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Most bytes of a note.
const MAX_BYTES: u64 = 1 << 16;

/// A folder by its bytes: not every name is text.
#[derive(Serialize, Deserialize)]
struct User {
    /// From the store's folder.
    near: Vec<u8>,
    /// From the root.
    absolute: Vec<u8>,
}

fn notes(store: &Store) -> PathBuf {
    store.root().join("users")
}

/// Notes that a run's folder uses the store.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn note(store: &Store, folder: &Path) -> Result<()> {
    let absolute = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let dir = notes(store);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let name = Digest::new("user").bytes(absolute.as_os_str().as_bytes()).finish_short();
    let path = dir.join(format!("{name}.json"));
    if path.exists() {
        return Ok(());
    }
    let near = relative(&store.root().join("run"), &absolute)?;
    let [near, absolute] = [near, absolute].map(|path| path.into_os_string().into_vec());
    Ok(write_whole(&path, &serde_json::to_vec(&User { near, absolute })?)?)
}

/// The run folders that were noted and are still there.
///
/// # Errors
/// When a note cannot be read: what its run uses is not known.
pub(crate) fn folders(store: &Store) -> Result<Vec<PathBuf>> {
    let dir = notes(store);
    let mut found = Vec::new();
    for path in entries(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let text = read_regular_text(&path, MAX_BYTES).with_context(|| format!("cannot read {}", path.display()))?;
        let user: User =
            serde_json::from_str(&text).with_context(|| format!("{} is not the note of a run", path.display()))?;
        let [near, absolute] = [user.near, user.absolute].map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
        let places = [store.root().join(near), absolute];
        found.extend(places.into_iter().find(|folder| folder.join(record::FILE).is_file()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

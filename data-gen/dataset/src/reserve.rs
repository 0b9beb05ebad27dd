//! Reservations: a name (a sample, a batch, a unit of work) belongs to one living [`Owner`] at a time, whichever of many
//! processes and machines ask for it.
//!
//! A reservation is a folder, named by the digest of what is reserved, that holds one empty file, named by its owner. It
//! is made under a temporary name and renamed into place, which works where there is no folder or an *empty* one, and
//! nowhere else; it is released or taken away by removing the owner's file, which empties it. Both are one step on local
//! disks, NFS and Lustre, and both say whose reservation they mean, so no challenger, however late, ever removes another's:
//!
//! | state | what is there | next |
//! |---|---|---|
//! | free | nothing, or an empty folder | whoever renames first has it |
//! | held | `<digest>/<owner id>` | the owner releases it; when it is dead, anybody removes its file |
//!
//! Nobody opens these files, so a network mount never leaves a placeholder of a removed one in the folder.
//!
//! **Buying a sample once.** Reserve it, then [`refresh`](crate::Journal::refresh) the journal and look: another owner may
//! have bought and released it in the meantime. If it is there, release. Otherwise buy it, append it, sync the journal,
//! and only then release. What an owner bought before it was killed is in the journal; what it had not, another buys.

use crate::{
    Digest,
    error::DatasetError,
    owner::{Liveness, Owner, is_id},
};
use rustix::io::Errno;
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Steps after which a name that changes hands all the time is left to the others.
const MAX_STEPS: u32 = 64;

/// What came of asking for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// It was free, or its owner was dead; now it is this owner's.
    Reserved,
    /// This owner had it already: another part of this process is at it.
    Mine,
    /// Somebody else has it, who may be alive.
    HeldBy {
        /// Who, for people: `process 4711 on node7`.
        holder: String,
        /// What is known of it. `Unknown` asks to try again, or it never becomes `Dead`.
        liveness: Liveness,
    },
}

/// The reservations of one folder, seen by one owner.
pub struct Reservations {
    dir: PathBuf,
    owner: Arc<Owner>,
    next: AtomicU64,
}

enum Holder {
    Nobody,
    Me,
    Other(String),
    /// A file that no owner made.
    Stranger(String),
}

impl Reservations {
    /// Opens or creates the folder, and frees what dead owners left in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(dir: &Path, owner: Arc<Owner>) -> Result<Reservations, DatasetError> {
        fs::create_dir_all(dir).map_err(DatasetError::io("create", dir))?;
        let reservations = Reservations { dir: dir.to_owned(), owner, next: AtomicU64::new(0) };
        reservations.sweep()?;
        Ok(reservations)
    }

    /// Asks for a name. Of many who ask at once, one gets it; that of a dead owner is taken over.
    ///
    /// # Errors
    /// When the disk refuses: then nothing is known about the name.
    pub fn try_reserve(&self, name: &str) -> Result<Reserve, DatasetError> {
        let folder = self.folder(name);
        for _ in 0..MAX_STEPS {
            // Most names are free.
            if self.place(&folder)? {
                return Ok(Reserve::Reserved);
            }
            match self.holder(&folder)? {
                Holder::Me => return Ok(Reserve::Mine),
                // Freed just now.
                Holder::Nobody => {}
                Holder::Other(id) => match self.owner.liveness(&id)? {
                    Liveness::Dead => drop(remove(&folder.join(id))?),
                    liveness => return Ok(Reserve::HeldBy { holder: self.owner.describe(&id), liveness }),
                },
                Holder::Stranger(file) => {
                    let holder = format!("the file {}", folder.join(file).display());
                    return Ok(Reserve::HeldBy { holder, liveness: Liveness::Alive });
                }
            }
        }
        Ok(Reserve::HeldBy { holder: "several owners in turn".to_owned(), liveness: Liveness::Alive })
    }

    /// Gives a name back; whether it still was this owner's.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn release(&self, name: &str) -> Result<bool, DatasetError> {
        let folder = self.folder(name);
        let mine = remove(&folder.join(self.owner.id()))?;
        if mine {
            remove_if_empty(&folder)?;
        }
        Ok(mine)
    }

    /// Whether a name still is this owner's. It is not when somebody took this owner for dead: it was stopped, or cut off
    /// from the disk, for longer than its time to live.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn still_mine(&self, name: &str) -> Result<bool, DatasetError> {
        let path = self.folder(name).join(self.owner.id());
        // Opened, since opening asks the server of a network mount anew.
        match File::open(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DatasetError::io("open", path)(error)),
        }
    }

    /// The owner that these reservations are for.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(Digest::new("reservation").field(name).finish_short())
    }

    fn holder(&self, folder: &Path) -> Result<Holder, DatasetError> {
        let mut holder = Holder::Nobody;
        for name in names(folder)? {
            if name == self.owner.id() {
                return Ok(Holder::Me);
            }
            holder = if is_id(&name) { Holder::Other(name) } else { Holder::Stranger(name) };
        }
        Ok(holder)
    }

    /// Renames a reservation of this owner into place; whether the place was free.
    fn place(&self, folder: &Path) -> Result<bool, DatasetError> {
        let id = self.owner.id();
        let staged = self.dir.join(format!(".{id}.{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let made = fs::create_dir(&staged).and_then(|()| File::create_new(staged.join(id))).and_then(|_| {
            match fs::rename(&staged, folder) {
                Ok(()) => Ok(true),
                Err(error) if is_occupied(&error) => Ok(false),
                Err(error) => Err(error),
            }
        });
        if !matches!(made, Ok(true)) {
            let _ = fs::remove_dir_all(&staged);
        }
        made.map_err(DatasetError::io("reserve", folder))
    }

    /// Frees the names of dead owners, and removes what they were just making.
    fn sweep(&self) -> Result<(), DatasetError> {
        for name in names(&self.dir)? {
            let path = self.dir.join(&name);
            if let Some(id) = name.strip_prefix('.').and_then(|rest| rest.split('.').next()) {
                if is_id(id) && self.owner.liveness(id)? == Liveness::Dead {
                    let _ = fs::remove_dir_all(&path);
                }
                continue;
            }
            match self.holder(&path)? {
                Holder::Other(id) if self.owner.liveness(&id)? == Liveness::Dead => {
                    remove(&path.join(id))?;
                    remove_if_empty(&path)?;
                }
                Holder::Nobody if path.is_dir() => remove_if_empty(&path)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What is in a folder; nothing where there is none.
fn names(dir: &Path) -> Result<Vec<String>, DatasetError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(DatasetError::io("list", dir)(error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(DatasetError::io("list", dir))
}

/// Removes a file; whether it was there.
fn remove(path: &Path) -> Result<bool, DatasetError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DatasetError::io("remove", path)(error)),
    }
}

/// Removes a folder unless somebody reserved its name in the meantime.
fn remove_if_empty(folder: &Path) -> Result<(), DatasetError> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound || is_occupied(&error) => Ok(()),
        Err(error) => Err(DatasetError::io("remove", folder)(error)),
    }
}

fn is_occupied(error: &io::Error) -> bool {
    [Errno::NOTEMPTY, Errno::EXIST].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;

//! Owners: living processes that hold something in a shared folder, and who of them is still alive.
//!
//! An owner registers as a folder of its own below a folder that all share, e.g. `<store>/owners`:
//!
//! | file | what it is |
//! |---|---|
//! | `<id>/owner.json` | host, kernel, process, time to live; never changed |
//! | `<id>/lock` | locked while the owner lives |
//! | `<id>/beat` | a counter, renewed by [`Owner::beat`] |
//!
//! The folder appears by one rename, with its lock taken, and goes by one rename: an id without a folder is dead. What a
//! killed owner left is removed by the next that registers on its machine.
//!
//! **Who is dead.** Under one kernel the lock tells, at once: it goes with its process, and a stopped process keeps it.
//! Where the file system has no locks, the process number and start time tell. From another machine only the counter
//! tells: an owner is dead when it has not changed for its time to live, *by the observer's own monotonic clock, while the
//! observer looked*. Each look adds at most a quarter of the time to live, so that an observer that slept, or a server
//! that was away for both, cannot make a living owner dead. No two machines' clocks are ever compared.
//!
//! An owner that is stopped for longer than its time to live may lose what it holds to another machine. So what is held
//! only saves work: whoever comes back asks whether it still is the holder.

use crate::{
    error::DatasetError,
    lock::{Locked, try_lock, try_lock_shared},
    process::Process,
    put::random_id,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Looks that must find a silent owner, at least, before it counts as dead.
const LOOKS: u32 = 4;

/// What is known about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It lives.
    Alive,
    /// It is gone; what it held may be taken.
    Dead,
    /// It may live: on another machine, silent for `quiet` of the `ttl` after which it is dead. Look again within a
    /// quarter of `ttl`.
    Unknown {
        /// For how long its counter was seen unchanged.
        quiet: Duration,
        /// Its time to live.
        ttl: Duration,
    },
}

/// This process, registered; dropped, it is dead for everybody.
pub struct Owner {
    dir: PathBuf,
    id: String,
    record: Record,
    /// Held, not read.
    lock: Option<File>,
    beats: AtomicU64,
    watched: Mutex<HashMap<String, Watched>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    process: Process,
    ttl_ms: u64,
    /// Whether the file system had locks when it registered.
    locks: bool,
}

impl Record {
    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// What this process has seen of another's counter.
struct Watched {
    beat: Vec<u8>,
    last: Instant,
    quiet: Duration,
}

impl Owner {
    /// Registers this process below `dir`, which is made when missing. It promises to [`Owner::beat`] several times
    /// within `ttl`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn register(dir: &Path, ttl: Duration) -> Result<Owner, DatasetError> {
        Owner::register_as(dir, ttl, Process::this(), true)
    }

    fn register_as(dir: &Path, ttl: Duration, process: Process, locking: bool) -> Result<Owner, DatasetError> {
        fs::create_dir_all(dir).map_err(DatasetError::io("create", dir))?;
        let id = random_id()?;
        let (staged, path) = (dir.join(format!(".{id}.tmp")), dir.join(&id));
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let stage = || -> io::Result<(File, Record)> {
            fs::create_dir(&staged)?;
            let lock = File::options().read(true).write(true).create_new(true).open(staged.join("lock"))?;
            let locks = locking && try_lock(&lock)? == Locked::Mine;
            let record = Record { process, ttl_ms, locks };
            fs::write(staged.join("owner.json"), serde_json::to_vec(&record)?)?;
            fs::write(staged.join("beat"), counter(0))?;
            fs::rename(&staged, &path)?;
            Ok((lock, record))
        };
        let (lock, record) = stage().map_err(|error| {
            let _ = fs::remove_dir_all(&staged);
            DatasetError::io("register in", dir)(error)
        })?;
        let (beats, watched) = (AtomicU64::new(0), Mutex::default());
        let owner = Owner { dir: dir.to_owned(), id, record, lock: Some(lock), beats, watched };
        owner.sweep()?;
        Ok(owner)
    }

    /// What others call it: 32 hex digits, never used twice.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The time to live that it registered with.
    pub fn ttl(&self) -> Duration {
        self.record.ttl()
    }

    /// Tells other machines that it lives.
    ///
    /// # Errors
    /// When the disk refuses, or somebody removed the registration: everybody then takes this owner for dead.
    pub fn beat(&self) -> Result<(), DatasetError> {
        let path = self.dir.join(&self.id).join("beat");
        let beat = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        // Opened and closed each time: closing is what brings it to the server of a network mount.
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.write_all_at(&counter(beat), 0)).map_err(DatasetError::io("renew", path))
    }

    /// Whether the owner of that id lives, as far as this process knows. Silence counts only between two calls: see the
    /// module's page.
    ///
    /// # Errors
    /// When the disk refuses: then nothing is known.
    pub fn liveness(&self, id: &str) -> Result<Liveness, DatasetError> {
        self.liveness_by(id, Instant::now)
    }

    fn liveness_by(&self, id: &str, clock: impl Fn() -> Instant) -> Result<Liveness, DatasetError> {
        if id == self.id {
            return Ok(Liveness::Alive);
        }
        let Some(record) = self.record_of(id)? else { return Ok(Liveness::Dead) };
        // A registration that cannot be read was damaged by a power cut; only its counter can still speak for it.
        let here = record.as_ref().filter(|record| record.process.shares_kernel(&self.record.process));
        if let Some(record) = here {
            let alive = match self.lock_of(id, record)? {
                Locked::Others => Some(true),
                Locked::Mine => Some(false),
                Locked::Unsupported => record.process.runs(&self.record.process),
            };
            if let Some(alive) = alive {
                return Ok(if alive { Liveness::Alive } else { Liveness::Dead });
            }
        }
        let ttl = record.map_or(self.ttl(), |record| record.ttl());
        let before = clock();
        let beat = read(&self.dir.join(id).join("beat"))?.unwrap_or_default();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = watched.entry(id.to_owned()).or_insert_with(|| Watched {
            beat: beat.clone(),
            last: before,
            quiet: Duration::ZERO,
        });
        if seen.beat == beat {
            seen.quiet += before.saturating_duration_since(seen.last).min(ttl / LOOKS);
        } else {
            (seen.beat, seen.quiet) = (beat, Duration::ZERO);
        }
        seen.last = clock();
        Ok(if seen.quiet >= ttl { Liveness::Dead } else { Liveness::Unknown { quiet: seen.quiet, ttl } })
    }

    /// An owner in words, e.g. `process 4711 on node7`.
    pub fn describe(&self, id: &str) -> String {
        let record = self.record_of(id).ok().flatten().flatten();
        record.map_or_else(|| format!("owner {id}"), |record| record.process.to_string())
    }

    /// An owner's registration: nothing when there is none, `Some(None)` when it cannot be understood.
    fn record_of(&self, id: &str) -> Result<Option<Option<Record>>, DatasetError> {
        if !is_id(id) {
            return Ok(None);
        }
        let bytes = read(&self.dir.join(id).join("owner.json"))?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Removes what owners left that were killed under this kernel. Gone or dead, an owner is the same to everybody.
    fn sweep(&self) -> Result<(), DatasetError> {
        for entry in fs::read_dir(&self.dir).map_err(DatasetError::io("list", &self.dir))? {
            let name = entry.map_err(DatasetError::io("list", &self.dir))?.file_name().to_string_lossy().into_owned();
            let gone = name.starts_with('.') && name.ends_with(".gone");
            // One look makes no owner of another machine dead.
            if gone || is_id(&name) && self.liveness(&name)? == Liveness::Dead {
                let _ = fs::remove_dir_all(self.dir.join(name));
            }
        }
        Ok(())
    }

    /// Whether somebody under this kernel holds an owner's lock; `Mine` when nobody does.
    fn lock_of(&self, id: &str, record: &Record) -> Result<Locked, DatasetError> {
        if !record.locks {
            return Ok(Locked::Unsupported);
        }
        let path = self.dir.join(id).join("lock");
        match File::open(&path) {
            Ok(file) => try_lock_shared(&file).map_err(DatasetError::io("lock", path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Locked::Mine),
            Err(error) => Err(DatasetError::io("open", path)(error)),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (path, gone) = (self.dir.join(&self.id), self.dir.join(format!(".{}.gone", self.id)));
        if fs::rename(&path, &gone).is_ok() {
            // An open file would keep a network mount from removing its folder.
            self.lock = None;
            let _ = fs::remove_dir_all(gone);
        }
    }
}

/// Whether a name can be an owner's: names come from folders that anybody writes to.
pub(crate) fn is_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// One width, so that a reader never sees half of an old and half of a new length.
fn counter(beat: u64) -> [u8; 20] {
    let mut bytes = [b'0'; 20];
    let digits = beat.to_string();
    bytes[20 - digits.len()..].copy_from_slice(digits.as_bytes());
    bytes
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DatasetError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DatasetError::io("read", path)(error)),
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What a contained program sees, and how its supervisor is started.

use serde::{Deserialize, Serialize};
use std::{ffi::OsString, path::PathBuf};

/// How to start a process that calls [`crate::supervise`] and nothing else.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Another user and group for it, which only root can give.
    pub user: Option<(u32, u32)>,
}

/// The root of a worker: these paths, read-only, and nothing else of this machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// Files and folders, shown under their own names; what does not exist is left out. Links are followed and kept.
    pub paths: Vec<PathBuf>,
    /// Files that are made up, by their absolute paths: name and content.
    pub files: Vec<(PathBuf, String)>,
    /// An interpreter that is started once and forked for every program.
    pub warm: Option<Warm>,
    /// Layers that are left out, although nothing runs without them otherwise. [`crate::Layer::can_be_left_out`] says which
    /// can be.
    pub without: Vec<crate::Layer>,
}

/// An interpreter that is kept warm. It is trusted, runs with the worker's privileges over the cells, and never sees
/// content: it forks, enters the cell that it is handed, gives up every privilege, and only then reads the program.
/// `linux/warm.rs` has the protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Warm {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

//! One contained run: what is asked for, and how it ended.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// How it starts.
    pub start: Start,
    /// What it may use.
    pub limits: Limits,
    /// Its standard input.
    pub stdin: Arc<[u8]>,
    /// Files in its folder.
    pub files: Vec<FileIn>,
    /// Whether it gets two pipes for frames: descriptor 3 to read from, 4 to write to.
    pub channel: bool,
    /// A file of its folder that is brought back when it ends well, and how many of its bytes at most.
    pub collect: Option<(String, u64)>,
}

/// How a program starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Executed; paths are those of the view.
    Exec {
        /// The executable.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment.
        environment: Vec<(String, String)>,
    },
    /// Forked from the interpreter that is kept warm.
    Warm {
        /// What its harness is told to do; no content.
        argument: String,
    },
}

/// A file put into a program's folder, `/tmp`.
#[derive(Clone, Debug)]
pub struct FileIn {
    /// Its name, without folders.
    pub name: String,
    /// What is in it.
    pub content: Arc<[u8]>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What a run may use. Everything is the sum over all processes of the run, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time.
    pub wall_ms: u64,
    /// CPU time.
    pub cpu_ms: u64,
    /// Memory, as the sum of proportional sets. A process may reserve as much and 512 MiB more, and room for its threads.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open descriptors of one process.
    pub open_files: u64,
    /// Bytes in `/tmp`.
    pub disk_bytes: u64,
    /// Files and folders in `/tmp`.
    pub inodes: u64,
    /// Stack of the main thread of one process.
    pub stack_bytes: u64,
    /// Bytes of standard output that are taken before the run is stopped.
    pub stdout_bytes: u64,
    /// The same for standard error.
    pub stderr_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            wall_ms: 30_000,
            cpu_ms: 10_000,
            memory_bytes: 512 << 20,
            processes: 32,
            open_files: 64,
            disk_bytes: 64 << 20,
            inodes: 4096,
            stack_bytes: 64 << 20,
            stdout_bytes: 16 << 20,
            stderr_bytes: 1 << 20,
        }
    }
}

/// What a stream carried, up to its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capped {
    /// The bytes, at most the limit.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub overflowed: bool,
}

/// How the main process of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// Which limit made the supervisor stop a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Wall time.
    Wall,
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// A stream carried too much.
    Output,
    /// Whoever started it had enough.
    Asked,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How its main process ended.
    pub how: How,
    /// Which limit stopped it, if one did.
    pub stopped: Option<Stopped>,
    /// Wall time from the moment at which the program began.
    pub wall_ms: u64,
    /// CPU time of its main process and of what it waited for.
    pub cpu_ms: u64,
    /// The largest sum of memory seen, or its main process's largest resident set.
    pub memory_bytes: u64,
    /// The file that was to be brought back.
    #[serde(skip)]
    pub collected: Option<Vec<u8>>,
}

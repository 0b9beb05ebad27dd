//! Containment: a program nobody trusts goes in with its limits; how it ended, and what it wrote, comes out.
//!
//! A [`Worker`] is a supervisor process with its own user, mount, pid, network, ipc and uts namespaces and a read-only
//! root that holds nothing but what a [`View`] names. Every [`Job`] runs in a *cell* inside: again a pid, a mount and an
//! ipc namespace of its own, an empty tmpfs, a seccomp filter, Landlock, limits. Ending a cell means killing its first
//! process, which takes every other with it; nothing of a cell outlives it.
//!
//! The supervisor is a fresh process, started by a [`Launcher`], because a program with threads cannot fork and then do
//! anything but exec. It handles no content: programs, inputs and outputs are descriptors that pass through it.
//!
//! Linux only. Elsewhere [`Worker::start`] says that there is no isolation here.
//!
//! A shell in a cell. This takes user namespaces, so it is compiled here and not run:
//!
//! ```no_run
//! # use distill_sandbox::{Job, Launcher, Limits, Start, View, Worker};
//! # use std::{path::PathBuf, sync::Arc};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let program = PathBuf::from("/usr/local/bin/distill-sandbox-supervisor");
//! let launcher = Launcher { program, arguments: Vec::new(), user: None };
//! let paths = ["/bin/sh", "/lib", "/lib64", "/usr/lib"].map(PathBuf::from).to_vec();
//! let mut worker = Worker::start(&launcher, &View { paths, ..View::default() })?;
//! let process = worker.run(&Job {
//!     start: Start::Exec {
//!         program: "/bin/sh".to_owned(),
//!         arguments: vec!["-c".to_owned(), "echo $((6 * 7))".to_owned()],
//!         environment: Vec::new(),
//!     },
//!     limits: Limits { wall_ms: 1_000, ..Limits::default() },
//!     stdin: Arc::from(&b""[..]),
//!     files: Vec::new(),
//!     channel: false,
//!     collect: None,
//! })?;
//! assert_eq!(process.stdout().bytes, b"42\n");
//! # Ok(())
//! # }
//! ```
//!
//! Some layers can be left out on request. One on which others rest cannot, and that is said before anything is started:
//!
//! ```
//! # use distill_sandbox::{Launcher, Layer, SandboxError, View, Worker};
//! let launcher = Launcher { program: "/nowhere/supervisor".into(), arguments: Vec::new(), user: None };
//! let view = View { without: vec![Layer::Landlock, Layer::ReadOnlyRoot], ..View::default() };
//! let refused = Worker::start(&launcher, &view);
//! # #[cfg(target_os = "linux")]
//! assert!(matches!(refused, Err(SandboxError::Needed(Layer::ReadOnlyRoot))));
//! assert!(Layer::Landlock.can_be_left_out() && !Layer::Landlock.required());
//! assert!(Layer::ReadOnlyRoot.required());
//! ```

mod job;
mod layers;
#[cfg(target_os = "linux")]
mod linux;
mod view;

#[cfg(not(target_os = "linux"))]
mod elsewhere;

pub use job::{Capped, End, FileIn, How, Job, Limits, Start, Stopped};
pub use layers::{Layer, Layers};
pub use view::{Launcher, View, Warm};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Event, Process, Worker, supervise};
#[cfg(target_os = "linux")]
pub use linux::{Event, Process, Worker, supervise};

/// The side of a warm Python that talks to the worker: a program for [`View::files`], beside a module `harness` with
/// `prepare()`, called once, and `run(argument)`, called in every cell without privileges.
pub const WARM_PYTHON: &str = include_str!("linux/warm.py");

/// Why nothing can be contained, or one run was not.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A layer of the isolation is not to be had on this machine.
    #[error("no isolation: {layer} could not be set up: {why}\nhint: {hint}")]
    Missing {
        /// The layer.
        layer: Layer,
        /// What the system said.
        why: String,
        /// What can be done about it.
        hint: &'static str,
    },
    /// A layer was to be left out on which others rest.
    #[error("`{0}` cannot be left out: other layers rest on it")]
    Needed(Layer),
    /// The supervisor could not be started, or went away.
    #[error("the sandbox's supervisor {what}: {why}")]
    Supervisor {
        /// What it did.
        what: &'static str,
        /// What is known.
        why: String,
    },
    /// The interpreter that is kept warm did not start.
    #[error(
        "the interpreter did not start inside the sandbox: {why}\nhint: it must find its libraries under the paths that were shown to it"
    )]
    Warm {
        /// What it said.
        why: String,
    },
    /// One program could not be started; it is not at fault.
    #[error("the program could not be started in the sandbox: {0}")]
    Cell(String),
    /// This system has none of it.
    #[error("no isolation on this system: programs are contained on Linux only")]
    Unsupported,
}

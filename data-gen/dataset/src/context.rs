//! What a stage is handed besides its inputs: scratch space, cancellation, progress, rank.

use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A request to stop, shared between threads. Long loops look at it between units of work.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks everyone who holds a clone to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error once a stop was asked for: what long loops look at between units of work.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }
}

/// Somebody asked to stop. What was done so far is kept, and the next run goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What a stage tells about how far it is.
#[derive(Clone, Debug)]
pub enum ProgressEvent {
    /// A task of `total` units begins (0: unknown).
    Begin {
        /// What is being done, e.g. `sample`.
        task: String,
        /// How many units it has.
        total: u64,
        /// What a unit is, e.g. `traces`.
        unit: &'static str,
    },
    /// `done` units are done; `note` is a short line such as `loss 0.41`.
    Advance {
        /// Units done so far.
        done: u64,
        /// A short remark.
        note: String,
        /// The same and more for programs, where there is something.
        fields: Option<Arc<Value>>,
    },
    /// The task is over.
    End,
}

type Sink = dyn Fn(ProgressEvent) + Send + Sync;

/// Where progress goes. Stages never print; whoever runs them decides what is shown.
#[derive(Clone)]
pub struct Progress(Arc<Sink>);

impl Progress {
    /// Progress that goes to `sink`.
    pub fn new(sink: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Progress(Arc::new(sink))
    }

    /// Progress that nobody sees.
    pub fn hidden() -> Self {
        Progress::new(|_| {})
    }

    /// Begins a task.
    pub fn begin(&self, task: &str, total: u64, unit: &'static str) {
        (self.0)(ProgressEvent::Begin { task: task.to_owned(), total, unit });
    }

    /// Says how far the task is.
    pub fn advance(&self, done: u64, note: impl Into<String>) {
        self.advance_with(done, note, None);
    }

    /// The same, with `fields` for programs.
    pub fn advance_with(&self, done: u64, note: impl Into<String>, fields: Option<Arc<Value>>) {
        (self.0)(ProgressEvent::Advance { done, note: note.into(), fields });
    }

    /// Hands on what another progress was told.
    pub fn forward(&self, event: ProgressEvent) {
        (self.0)(event);
    }

    /// Ends the task.
    pub fn end(&self) {
        (self.0)(ProgressEvent::End);
    }
}

/// What every stage is handed. It knows nothing of recipes, of other stages or of manifests.
#[derive(Clone)]
pub struct Context {
    /// A folder of its own that survives a kill: a resumed stage finds what it left there.
    pub scratch: PathBuf,
    /// Asks it to stop.
    pub cancel: Cancel,
    /// Where it says how far it is.
    pub progress: Progress,
    /// The run's seed.
    pub seed: u64,
}

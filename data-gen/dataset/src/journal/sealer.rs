//! The thread that seals: compressing a segment takes a good part of a second, which nobody who appends should wait for.

use super::sealed::seal;
use crate::error::DatasetError;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

/// A segment to seal, and whether it is this process's.
type Job = (String, bool);

/// Seals segments one after the other, on a thread that begins with the first.
pub(super) struct Sealer {
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<Result<(), DatasetError>>>,
}

impl Sealer {
    pub(super) fn new(dir: &Path) -> Sealer {
        Sealer { dir: dir.to_owned(), stop: Arc::default(), jobs: None, thread: None }
    }

    /// Has a segment sealed; without a thread, it stays as it is until the next process opens the journal.
    pub(super) fn seal(&mut self, name: String, ours: bool) {
        if self.thread.is_none() {
            let (sender, jobs) = channel::<Job>();
            let (dir, stop) = (self.dir.clone(), self.stop.clone());
            let work = move || {
                let mut first_error = Ok(());
                for (name, ours) in jobs {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let sealed = seal(&dir, &name, ours);
                    first_error = first_error.and(sealed.map(drop));
                }
                first_error
            };
            let spawned = thread::Builder::new().name("journal".to_owned()).spawn(work);
            self.thread = spawned.ok();
            self.jobs = self.thread.is_some().then_some(sender);
        }
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send((name, ours));
        }
    }

    /// Waits until everything is sealed.
    ///
    /// # Errors
    /// The first thing that the disk refused.
    pub(super) fn finish(&mut self) -> Result<(), DatasetError> {
        self.jobs = None;
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
    }

    /// Waits for the segment in hand only.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.finish();
    }
}

//! Judges for whoever judges on many threads: as many as are needed at once, kept for the next.

use super::{Code, Judge, Judgement, Language, Layers, Options, Outcome, SandboxError, Tests};
use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

/// Judges that are lent out, one to a thread at a time.
#[derive(Debug)]
pub struct Judges {
    options: Options,
    free: Mutex<Vec<Judge>>,
}

impl Judges {
    /// Judges that work like this. None is started yet.
    pub fn new(options: Options) -> Judges {
        Judges { options, free: Mutex::new(Vec::new()) }
    }

    /// How they work.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Starts a sandbox for a language, so that a machine without isolation is found out before anything else.
    ///
    /// # Errors
    /// Which layer is missing, and how to get it.
    pub fn prepare(&self, language: Language) -> Result<Layers, SandboxError> {
        self.lend(|judge| judge.prepare(language).cloned())
    }

    /// Judges a solution, and says under which layers.
    pub fn judge(&self, language: Language, code: Code<'_>, tests: &Tests) -> (Judgement, Layers) {
        // A judge that panicked is lost, with its sandbox; the solution is answered all the same.
        let judged = panic::catch_unwind(AssertUnwindSafe(|| {
            self.lend(|judge| (judge.judge(language, code, tests), judge.layers().clone()))
        }));
        judged.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let detail = format!("judging ended in a panic: {}", said.unwrap_or("without a word"));
            let detail = super::text::short(&detail, 400);
            (Judgement::new(Outcome::SandboxFailure, tests.total(), detail), Layers::default())
        })
    }

    fn lend<R>(&self, work: impl FnOnce(&mut Judge) -> R) -> R {
        // Whoever panicked held no judge that is still here.
        let taken = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut judge = taken.unwrap_or_else(|| Judge::new(self.options.clone()));
        let result = work(&mut judge);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(judge);
        result
    }
}

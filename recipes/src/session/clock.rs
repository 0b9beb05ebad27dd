//! How long the work on a unit took, attempts that were stopped or killed included: the seconds so far are written beside what
//! the unit keeps, every other second, so that the next attempt counts on from them.

use distill_dataset::{Progress, read_regular_text, write_whole};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Its name in a unit's scratch space.
const FILE: &str = "elapsed-s";
/// How often it is written.
const EVERY: Duration = Duration::from_secs(2);
/// Most bytes that it has.
const MAX_BYTES: u64 = 64;

/// A clock that goes on where the last attempt's stopped.
#[derive(Clone)]
pub(super) struct Clock {
    path: PathBuf,
    earlier_s: f64,
    since: Instant,
    written: Arc<Mutex<Instant>>,
}

impl Clock {
    /// The clock of the unit whose scratch space that is; this attempt began at `since`.
    pub(super) fn since(since: Instant, scratch: &Path) -> Clock {
        let path = scratch.join(FILE);
        let earlier_s = read_regular_text(&path, MAX_BYTES).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Clock { path, earlier_s, since, written: Arc::new(Mutex::new(since)) }
    }

    /// Seconds of all attempts.
    pub(super) fn elapsed_s(&self) -> f64 {
        self.earlier_s + self.since.elapsed().as_secs_f64()
    }

    /// Writes them. Only a figure for people: that it cannot be written must not hide why a stage failed.
    pub(super) fn save(&self) {
        let _ = self.path.parent().map(fs::create_dir_all);
        let _ = write_whole(&self.path, self.elapsed_s().to_string().as_bytes());
    }

    /// Progress that goes on to `shown`, and by which the clock is written while the work goes on.
    pub(super) fn watched(&self, shown: &Progress) -> Progress {
        let (clock, shown) = (self.clone(), shown.clone());
        Progress::new(move |event| {
            if let Ok(mut written) = clock.written.lock()
                && written.elapsed() >= EVERY
            {
                *written = Instant::now();
                clock.save();
            }
            shown.forward(event);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_attempt_counts_on_and_a_killed_one_left_what_it_wrote() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let scratch = root.path().join("scratch/00000");
        let begun = |ago| Instant::now().checked_sub(Duration::from_secs(ago)).expect("an earlier moment");
        let first = Clock::since(begun(100), &scratch);
        // Written by what it says of its progress: after that it is killed.
        first.watched(&Progress::hidden()).advance(1, "");
        let second = Clock::since(begun(7), &scratch);
        assert!((107.0..110.0).contains(&second.elapsed_s()), "found {}", second.elapsed_s());
        second.save();
        assert!(Clock::since(begun(0), &scratch).elapsed_s() >= 107.0);
        fs::write(scratch.join(FILE), "soon").expect("a broken file");
        assert!(Clock::since(begun(0), &scratch).elapsed_s() < 3.0, "what cannot be read counts nothing");
    }
}

//! How far a stage is that is not done, for `distill status` in another process, after a kill as well: what its progress said
//! last is written into the unit's scratch space every other second.

use distill_dataset::{Process, Progress, ProgressEvent, StageDir, entries, read_regular_text};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

/// Its name in a unit's scratch space.
const FILE: &str = "standing.json";
/// How often it is written.
const EVERY: Duration = Duration::from_secs(2);
/// Most bytes that it has.
const MAX_BYTES: u64 = 1 << 16;
/// A unit that was heard of so many seconds ago is worked on.
const FRESH_S: f64 = 15.0;

/// What a unit's progress said last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The unit.
    pub unit: usize,
    /// How many units the stage has.
    pub num_units: usize,
    /// What is being done.
    pub task: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 where that is not known.
    pub total: u64,
    /// What is counted, e.g. `steps`.
    pub of: String,
    /// A remark, e.g. the loss.
    pub note: String,
    /// Seconds since 1970.
    pub at_s: f64,
    /// Whose word it is.
    pub process: Option<Process>,
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Progress that goes on to `shown` and is written into `scratch`.
pub(crate) fn recorded(shown: &Progress, scratch: &Path, (unit, num_units): (usize, usize)) -> Progress {
    let (shown, path) = (shown.clone(), scratch.join(FILE));
    let state = Mutex::new((
        Standing { unit, num_units, process: Some(Process::this()), ..Standing::default() },
        None::<Instant>,
    ));
    Progress::new(move |event| {
        if let Ok(mut state) = state.lock() {
            let (standing, written) = &mut *state;
            let is_due = written.is_none_or(|at| at.elapsed() >= EVERY);
            match &event {
                ProgressEvent::Begin { task, total, unit } => {
                    (standing.task, standing.total, standing.of) = (task.clone(), *total, (*unit).to_owned());
                    (standing.done, standing.note) = (0, String::new());
                }
                ProgressEvent::Advance { done, note, .. } if is_due => {
                    (standing.done, standing.note) = (*done, note.clone());
                    standing.at_s = now_s();
                    *written = Some(Instant::now());
                    standing.write(&path);
                }
                ProgressEvent::Advance { .. } | ProgressEvent::End => {}
            }
        }
        shown.forward(event);
    })
}

impl Standing {
    /// Written whole; that it cannot be written must not stop the work.
    fn write(&self, path: &Path) {
        let whole = path.with_extension("tmp");
        let _ = serde_json::to_vec(self).map(|json| fs::write(&whole, json).and_then(|()| fs::rename(&whole, path)));
    }

    /// Whether it is worked on now, as far as one can see.
    pub fn is_fresh(&self) -> bool {
        now_s() - self.at_s < FRESH_S && !self.is_gone()
    }

    /// Whether its process is known to have ended.
    fn is_gone(&self) -> bool {
        self.process.as_ref().and_then(|process| process.runs(&Process::this())) == Some(false)
    }

    /// For people.
    pub fn told(&self) -> String {
        let of = if self.total > 0 { format!(" of {}", self.total) } else { String::new() };
        let unit =
            if self.num_units > 1 { format!(", part {} of {}", self.unit + 1, self.num_units) } else { String::new() };
        let note = if self.note.is_empty() { String::new() } else { format!(", {}", self.note) };
        let ago = crate::buying::span((now_s() - self.at_s).max(0.0));
        let heard = match (self.is_fresh(), self.is_gone()) {
            (true, _) => "at work".to_owned(),
            (false, true) => format!("its process ended {ago} ago or later"),
            (false, false) => format!("not heard of for {ago}"),
        };
        format!("{}: {}{of} {}{unit}{note}; {heard}", self.task, self.done, self.of)
    }
}

/// A stage that is not done: units that are, and how far those are that were begun.
#[derive(Debug, Serialize)]
pub struct Unfinished {
    /// Units that are done.
    pub units_done: usize,
    /// The others that were begun, by unit.
    pub begun: Vec<Standing>,
}

impl Unfinished {
    /// Looks at a stage's folder; what cannot be read counts as not begun.
    pub fn of(dir: &StageDir) -> Unfinished {
        let units: Vec<PathBuf> = entries(&dir.path().join("scratch")).unwrap_or_default();
        let read = |folder: PathBuf| serde_json::from_str(&read_regular_text(&folder.join(FILE), MAX_BYTES).ok()?).ok();
        let mut begun: Vec<Standing> = units.into_iter().filter_map(read).collect();
        begun.sort_by_key(|standing| standing.unit);
        Unfinished { units_done: dir.num_done(), begun }
    }

    /// Whether nothing of it was begun.
    pub fn is_empty(&self) -> bool {
        self.units_done == 0 && self.begun.is_empty()
    }

    /// For people, a line each.
    pub fn told(&self) -> String {
        let mut text = String::new();
        let num_units = self.begun.iter().map(|standing| standing.num_units).max();
        if self.units_done > 0 {
            let of = num_units.map_or(String::new(), |all| format!(" of {all}"));
            text.push_str(&format!("           {}{of} parts are done\n", self.units_done));
        }
        for standing in &self.begun {
            text.push_str(&format!("           {}\n", standing.told()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_read_by_another() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = distill_dataset::Store::new(root.path()).stage("training", &"0".repeat(64));
        let scratch = dir.path().join("scratch/00000");
        fs::create_dir_all(&scratch).expect("a folder");
        assert!(Unfinished::of(&dir).is_empty());
        let progress = recorded(&Progress::hidden(), &scratch, (0, 1));
        progress.begin("train", 400, "steps");
        progress.advance(120, "loss 0.41");
        progress.advance(121, "is not written: too soon");
        let seen = Unfinished::of(&dir);
        assert_eq!((seen.begun[0].done, seen.begun[0].total), (120, 400));
        assert!(seen.told().contains("train: 120 of 400 steps, loss 0.41; at work"), "{}", seen.told());
        let mut ended = std::process::Command::new("true").spawn().expect("a process");
        let process = Some(Process { pid: ended.id(), ..Process::this() });
        ended.wait().expect("its end");
        let killed = Standing { process, ..seen.begun[0].clone() };
        assert!(!killed.told().contains("at work") && killed.told().contains("its process ended"), "{}", killed.told());
        let old = Standing { at_s: 1.0, ..seen.begun[0].clone() };
        assert!(old.told().contains("not heard of for"), "{}", old.told());
        fs::write(scratch.join(FILE), "{").expect("a broken file");
        assert!(Unfinished::of(&dir).is_empty(), "what cannot be read is not there");
    }
}

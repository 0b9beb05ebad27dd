//! What the processes of a cell use together: read from the worker's `/proc`, which shows its cells' processes too.
//!
//! Nothing a program does makes it use less than was seen: memory is read from threads that live, whether or not the first
//! one does; CPU time of a process that goes without being waited for is kept; and as that of a short-lived one is never
//! seen, half of all time in which processes come and go counts, if it is more.

use super::raw;
use rustix::process::Pid;
use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    time::{Duration, Instant},
};

/// Processes of a cell, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    pub(super) cpu_ms: u64,
}

/// A watch over one cell.
#[derive(Debug)]
pub(super) struct Watch {
    /// The cell's first process.
    init: Pid,
    /// The number of its pid namespace.
    namespace: u64,
    /// The largest CPU time that was seen, and what has gone from sight since without having been waited for.
    seen_ms: u64,
    lost_ms: u64,
    /// Time in which processes came and went.
    unseen: Duration,
    /// The processes of the last look, the last number that was given to one by then, and when that was.
    processes: HashSet<i32>,
    last_number: Option<i64>,
    looked: Instant,
}

impl Watch {
    pub(super) fn new(init: Pid, namespace: u64) -> Watch {
        let (processes, looked) = (HashSet::new(), Instant::now());
        let unseen = Duration::ZERO;
        Watch { init, namespace, seen_ms: 0, lost_ms: 0, unseen, processes, last_number: None, looked }
    }

    /// Sums over the cell's processes. Resident sets first, which count shared pages once a process; only when these pass
    /// `limit`, proportional sets, which count them once in all. A process that does not show its namespaces, and is
    /// neither this one nor among `inits`, counts: whoever hides is not trusted.
    pub(super) fn look(&mut self, limit: u64, inits: &[i32]) -> Usage {
        let name = format!("pid:[{}]", self.namespace);
        let Ok(entries) = fs::read_dir("/proc") else { return Usage { memory_bytes: 0, cpu_ms: self.seen_ms } };
        let all: HashSet<i32> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).collect();
        let inside = |pid: &i32| match fs::read_link(format!("/proc/{pid}/ns/pid")) {
            Ok(link) => link.as_os_str() == name.as_str(),
            Err(error) => error.kind() == ErrorKind::PermissionDenied && *pid != 1 && !inits.contains(pid),
        };
        // The first process is ours, and keeps its namespaces to itself: what it reaped counts, its own memory does not.
        let pids: Vec<i32> = all.iter().copied().filter(inside).collect();
        let mut memory_bytes = pids.iter().map(|pid| resident(*pid)).sum();
        if memory_bytes > limit {
            memory_bytes = pids.iter().map(|pid| proportional(*pid).unwrap_or_else(|| resident(*pid))).sum();
        }
        let shown = pids.iter().map(|pid| cpu_ms(*pid)).sum::<u64>() + cpu_ms(self.init.as_raw_pid());
        self.count(shown, all);
        Usage { memory_bytes, cpu_ms: self.seen_ms.max(self.unseen.as_millis() as u64 / 2) }
    }

    fn count(&mut self, shown: u64, processes: HashSet<i32>) {
        // Time that was waited for goes over to whoever waited. The sum falls only where nobody did.
        let known = shown + self.lost_ms;
        self.lost_ms += self.seen_ms.saturating_sub(known);
        self.seen_ms = self.seen_ms.max(known);
        let (now, last) = (Instant::now(), last_number());
        let came = processes.difference(&self.processes).count() as i64;
        let given = self.last_number.zip(last).map_or(0, |(before, now)| now - before);
        // Numbers start again some day: then they fall.
        if given < 0 || given > came || self.processes.difference(&processes).next().is_some() {
            self.unseen += now - self.looked;
        }
        (self.looked, self.last_number, self.processes) = (now, last, processes);
    }
}

/// The last number that was given to a process or a thread of this namespace or one inside it.
fn last_number() -> Option<i64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next_back()?.parse().ok()
}

/// A process that is gone uses nothing. Where the first thread is, the memory is seen through another.
fn resident(pid: i32) -> u64 {
    match resident_at(&format!("/proc/{pid}/statm")) {
        0 => threads(pid).map(|thread| resident_at(&format!("{thread}/statm"))).find(|bytes| *bytes > 0).unwrap_or(0),
        bytes => bytes,
    }
}

fn resident_at(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * raw::page_size()
}

fn proportional(pid: i32) -> Option<u64> {
    let own = proportional_at(&format!("/proc/{pid}"));
    own.or_else(|| threads(pid).find_map(|thread| proportional_at(&thread)))
}

fn proportional_at(folder: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("{folder}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The folders of a process's threads.
fn threads(pid: i32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries.into_iter().flatten().flatten().map(|entry| entry.path().display().to_string())
}

/// Its own CPU time and that of the children it waited for.
fn cpu_ms(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_ascii_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok());
    times.sum::<u64>() * 1000 / raw::ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stays_counted() {
        let mut watch = Watch::new(Pid::INIT, 0);
        let mut seen = |shown| {
            watch.count(shown, HashSet::new());
            watch.seen_ms
        };
        // A child that burns 400 and is not waited for, again and again.
        assert_eq!([100, 400, 0, 400, 0, 300].map(&mut seen), [100, 400, 400, 800, 800, 1100]);
        // One that is waited for goes over to its parent.
        assert_eq!([350, 350].map(&mut seen), [1150, 1150]);
    }
}

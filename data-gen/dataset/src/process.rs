//! Which process on which machine: what a shared folder says about whoever wrote into it.
//!
//! A process number means something only in its own pid namespace, under its own kernel; a start time tells two processes
//! apart that had the same number one after the other.

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use serde::{Deserialize, Serialize};
use std::{fmt, fs};

/// One process, as others find it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine's name, for people.
    pub host: String,
    /// The running kernel: its boot id; empty when unknown.
    pub kernel: String,
    /// The namespace in which the number counts; empty when unknown.
    pub namespace: String,
    /// Process number.
    pub pid: u32,
    /// When it started, in clock ticks since boot; 0 when unknown.
    pub started: u64,
}

impl Process {
    /// This process.
    pub fn this() -> Process {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Process {
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.to_string_lossy().into_owned(),
            pid,
            started: stat(pid).map_or(0, |(_, started)| started),
        }
    }

    /// Whether both run under one kernel, so that one's locks are seen by the other.
    pub fn shares_kernel(&self, other: &Process) -> bool {
        !self.kernel.is_empty() && self.kernel == other.kernel
    }

    /// Whether it runs, seen from `here`; nothing where its number means nothing.
    pub fn runs(&self, here: &Process) -> Option<bool> {
        let known = self.shares_kernel(here) && !self.namespace.is_empty() && self.started != 0;
        if !known || self.namespace != here.namespace {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        if test_kill_process(pid) == Err(Errno::SRCH) {
            return Some(false);
        }
        // A process whose entry is hidden from us runs: the signal would have said otherwise.
        Some(stat(self.pid).is_none_or(|(state, started)| started == self.started && !"ZX".contains(state)))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// State and start time of a process. The second field of its line is a name in parentheses that may contain anything.
fn stat(pid: u32) -> Option<(char, u64)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = line[line.rfind(')')? + 1..].split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_runs_until_it_ends_and_a_later_one_of_its_number_is_another() {
        let here = Process::this();
        assert_eq!(here.runs(&here), Some(true));
        let mut child = Command::new("sleep").arg("1000").spawn().expect("a process");
        let (_, started) = stat(child.id()).expect("its state");
        let seen = Process { pid: child.id(), started, ..here.clone() };
        assert_eq!(seen.runs(&here), Some(true));
        let earlier = Process { started: started - 1, ..seen.clone() };
        assert_eq!(earlier.runs(&here), Some(false), "a process number that was used again passed for the first");
        child.kill().expect("a signal");
        child.wait().expect("its end");
        assert_eq!(seen.runs(&here), Some(false));
    }

    #[test]
    fn numbers_of_other_machines_and_containers_mean_nothing() {
        let here = Process::this();
        let elsewhere = Process { kernel: "another".to_owned(), ..here.clone() };
        assert_eq!(elsewhere.runs(&here), None);
        let contained = Process { namespace: "pid:[1]".to_owned(), ..here.clone() };
        assert_eq!(contained.runs(&here), None);
        let unknown = Process { kernel: String::new(), ..here.clone() };
        assert!(!unknown.shares_kernel(&unknown), "two unknown kernels are not one");
    }
}

//! What the processes of a cell use together: read from the worker's `/proc`, which shows its cells' processes too.

use super::raw;
use rustix::process::Pid;
use std::{fs, io::ErrorKind};

/// Processes of a cell, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    pub(super) cpu_ms: u64,
}

/// Sums over the processes of the pid namespace with that number, whose first process is `init`. Resident sets first,
/// which count shared pages once a process; only when these pass `limit`, proportional sets, which count them once in all.
/// A process that does not show its namespaces, and is neither this one nor among `inits`, counts: whoever hides is not
/// trusted.
pub(super) fn usage(init: Pid, namespace: u64, limit: u64, inits: &[i32]) -> Usage {
    let name = format!("pid:[{namespace}]");
    let Ok(entries) = fs::read_dir("/proc") else { return Usage::default() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let inside = |pid: &i32| match fs::read_link(format!("/proc/{pid}/ns/pid")) {
        Ok(link) => link.as_os_str() == name.as_str(),
        Err(error) => error.kind() == ErrorKind::PermissionDenied && *pid != 1 && !inits.contains(pid),
    };
    // The first process is ours, and keeps its namespaces to itself: what it reaped counts, its own memory does not.
    let pids: Vec<i32> = numbers.filter(inside).collect();
    let cpu_ms = pids.iter().map(|pid| cpu_ms(*pid)).sum::<u64>() + cpu_ms(init.as_raw_pid());
    let mut memory_bytes = pids.iter().map(|pid| resident(*pid)).sum();
    if memory_bytes > limit {
        memory_bytes = pids.iter().map(|pid| proportional(*pid).unwrap_or_else(|| resident(*pid))).sum();
    }
    Usage { memory_bytes, cpu_ms }
}

/// A process that is gone uses nothing.
fn resident(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * raw::page_size()
}

fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Its own CPU time and that of the children it waited for.
fn cpu_ms(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_ascii_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok());
    times.sum::<u64>() * 1000 / raw::ticks_per_second()
}

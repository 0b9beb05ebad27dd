//! What this machine has: cores, memory, disk, devices. Nothing is changed, and nothing missing is an error.

use serde::Serialize;
use std::{fmt::Write, fs, path::Path, process::Command};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Threads that computing may use.
    pub threads: usize,
    /// Memory in bytes, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Bytes free where results go, where the system tells.
    pub disk_free_bytes: Option<u64>,
    /// Vector instructions of the processor that the CPU backend uses.
    pub vector: &'static str,
    /// Devices by name: usable, or why not.
    pub devices: Vec<(String, Result<(), String>)>,
}

/// Looks around; `store` is where results would go.
pub fn look(store: &Path) -> Findings {
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let device =
        |name: &str| (name.to_owned(), distill_model::device(name).map(|_| ()).map_err(|error| error.to_string()));
    Findings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory.map(|kibibytes| kibibytes * 1024),
        disk_free_bytes: disk_free(store),
        vector: vector(),
        devices: vec![device("cpu"), device("cuda")],
    }
}

/// The findings for people.
pub fn describe(findings: &Findings) -> String {
    let gigabytes = |bytes: Option<u64>| {
        bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("threads", &findings.threads.to_string());
    line("vector", findings.vector);
    line("memory", &gigabytes(findings.memory_bytes));
    line("disk free", &gigabytes(findings.disk_free_bytes));
    for (name, usable) in &findings.devices {
        line(name, usable.as_ref().map_or_else(|why| why.as_str(), |()| "usable"));
    }
    text
}

/// Asks `df` about the nearest folder that exists.
fn disk_free(store: &Path) -> Option<u64> {
    let absolute = std::path::absolute(store).ok()?;
    let existing = absolute.ancestors().find(|path| path.exists())?;
    let output = Command::new("df").args(["-Pk", "--"]).arg(existing).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let available = text.lines().nth(1)?.split_whitespace().nth(3)?;
    Some(available.parse::<u64>().ok()? * 1024)
}

#[cfg(target_arch = "x86_64")]
fn vector() -> &'static str {
    match (std::is_x86_feature_detected!("avx512f"), std::is_x86_feature_detected!("avx2")) {
        (true, _) => "AVX-512",
        (false, true) => "AVX2",
        (false, false) => "SSE2",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector() -> &'static str {
    "that of the target"
}

//! What this machine has: cores, memory, disk, devices. Nothing is changed, and nothing missing is an error.

use crate::verify;
use distill_verify::code::{Judges, Language, Options, Tools};
use serde::Serialize;
use std::{fmt::Write, fs, path::Path, process::Command, sync::Arc};

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
    /// Devices by name: by what they compute, or why they cannot be used.
    pub devices: Vec<(String, Result<String, String>)>,
    /// Languages whose solutions can be run, with what runs them.
    pub languages: Vec<(&'static str, String)>,
    /// Python modules that solutions usually need, and whether they are there.
    pub modules: Vec<(&'static str, bool)>,
    /// The layers of the isolation in which they are run, or why nothing is run.
    pub sandbox: Result<Sandbox, String>,
}

/// The isolation of contained programs.
#[derive(Debug, Serialize)]
pub struct Sandbox {
    /// What holds.
    pub layers: Vec<&'static str>,
    /// What does not, why, and what can be done.
    pub missing: Vec<(&'static str, String)>,
}

/// Looks around; `store` is where results would go.
pub fn look(store: &Path) -> Findings {
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let cuda = distill_model::examine("cuda").map_err(|error| error.to_string());
    let tools = Tools::find(None);
    Findings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory.map(|kibibytes| kibibytes * 1024),
        disk_free_bytes: disk_free(store),
        vector: vector(),
        devices: vec![("cpu".to_owned(), Ok("usable".to_owned())), ("cuda".to_owned(), cuda)],
        languages: languages(&tools),
        modules: tools.modules().unwrap_or_default(),
        sandbox: sandbox(tools),
    }
}

fn languages(tools: &Tools) -> Vec<(&'static str, String)> {
    let mut languages = Vec::new();
    if let Some(python) = &tools.python {
        let warm = if python.can_be_warm() { "kept warm" } else { "started anew each time, since it has no ctypes" };
        languages.push(("python", format!("{} at {}, {warm}", python.version, python.program.display())));
    }
    let compilers =
        [("c", tools.c.as_ref()), ("cpp", tools.cpp.as_ref()), ("rust", tools.rust.as_ref().map(|(path, _)| path))];
    languages.extend(compilers.into_iter().filter_map(|(name, path)| Some((name, path?.display().to_string()))));
    languages
}

/// Starts a sandbox and ends it again.
fn sandbox(tools: Tools) -> Result<Sandbox, String> {
    let judges = Judges::new(Options::new(verify::launcher(), Arc::new(tools)));
    let layers = judges.prepare(Language::Python).map_err(|error| error.to_string())?;
    let missing = layers.missing.iter().map(|(layer, why)| (layer.name(), format!("{why}; {}", layer.hint())));
    Ok(Sandbox { layers: layers.names(), missing: missing.collect() })
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
        match usable {
            Ok(how) => line(name, how),
            Err(why) => line(name, &why.replace('\n', "\n           ")),
        }
    }
    for (name, what) in &findings.languages {
        line(name, what);
    }
    let named = |there: bool| {
        let names = findings.modules.iter().filter(|(_, found)| *found == there).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    if !findings.modules.is_empty() {
        let there = Some(named(true)).filter(|names| !names.is_empty());
        line("modules", there.as_deref().unwrap_or("none of the usual ones"));
        if !named(false).is_empty() {
            line("", &format!("missing, so that solutions which need them stay unknown: {}", named(false)));
        }
    }
    match &findings.sandbox {
        Err(why) => line("sandbox", &format!("none: {why}")),
        Ok(sandbox) => {
            line("sandbox", &sandbox.layers.join(", "));
            for (layer, why) in &sandbox.missing {
                line("", &format!("without {layer}: {why}"));
            }
        }
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

//! Time, memory and disk of a large journal: `make DIR ENTRIES BYTES` writes one, `open DIR` opens it, `read DIR ENTRIES`
//! reads so many entries in an order that no writer had. Each says what it took, as JSON. `benches/journal.sh` runs all.

mod prose;

use distill_dataset::{Entry, Journal};
use prose::prose;
use serde::{Deserialize, Serialize};
use std::{
    env,
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

#[derive(Serialize, Deserialize)]
struct Sample {
    id: String,
    text: String,
    completion_tokens: u32,
}

impl Entry for Sample {
    fn key(&self) -> String {
        self.id.clone()
    }
}

fn id(index: u64) -> String {
    format!("{index:032x}")
}

/// Always the same for one index.
fn sample(index: u64, bytes: usize) -> Sample {
    Sample { id: id(index), text: prose(index, bytes), completion_tokens: (bytes / 4) as u32 }
}

fn disk_bytes(dir: &Path) -> Result<u64, Box<dyn Error>> {
    fs::read_dir(dir)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}

/// Most memory that this process had resident.
fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse::<u64>()? / 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = Instant::now();
    let (dir, entries) = match words[..] {
        ["make", dir, entries, bytes] => {
            let mut journal = Journal::<Sample>::open(Path::new(dir))?;
            let (entries, bytes): (u64, usize) = (entries.parse()?, bytes.parse()?);
            for index in 0..entries {
                journal.append(&sample(index, bytes))?;
            }
            journal.close()?;
            (PathBuf::from(dir), entries)
        }
        ["open", dir] => {
            let journal = Journal::<Sample>::open(Path::new(dir))?;
            (PathBuf::from(dir), journal.len() as u64)
        }
        ["read", dir, entries] => {
            let journal = Journal::<Sample>::open(Path::new(dir))?;
            let (entries, total) = (entries.parse()?, journal.len() as u64);
            for index in 0..entries {
                let index = index * 7_919_333 % total;
                let found = journal.get(&id(index))?.ok_or("an entry is missing")?;
                if found.text != sample(index, found.completion_tokens as usize * 4).text {
                    return Err("an entry is not what was written".into());
                }
            }
            (PathBuf::from(dir), entries)
        }
        _ => return Err("expected `make DIR ENTRIES BYTES`, `open DIR` or `read DIR ENTRIES`".into()),
    };
    let (seconds, peak, disk) = (start.elapsed().as_secs_f64(), peak_mib()?, disk_bytes(&dir)?);
    let did = words[0];
    writeln!(
        std::io::stdout(),
        r#"{{"did": "{did}", "entries": {entries}, "seconds": {seconds:.2}, "peak_mib": {peak}, "disk_mib": {}}}"#,
        disk >> 20
    )?;
    Ok(())
}

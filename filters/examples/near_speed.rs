//! Speed and memory of the near-duplicate engine: text files of a folder enter, figures leave.
//!
//! `speed FOLDER MEGABYTES CEILING_MIB EXTENSION...`: files are cut into texts of at most 4,000 bytes. What is timed first
//! is the first pass without its merges, from text to sorted runs, then all phases.

use distill_filters::near::{Corpus, NearConfig, Phase, near_duplicates};
use std::{convert::Infallible, fs, ops::ControlFlow, path::PathBuf, time::Instant};

/// Bytes of a text, at most.
const CUT: usize = 4000;
/// Bytes of a unit.
const UNIT: usize = 8 << 20;

/// Units of texts, one string a unit and where its texts end.
#[derive(Default)]
struct Units(Vec<(String, Vec<usize>)>);

impl Corpus for Units {
    type Error = Infallible;

    fn num_units(&self) -> u32 {
        self.0.len() as u32
    }

    fn read(&self, unit: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), Infallible> {
        let (text, ends) = &self.0[unit as usize];
        let mut start = 0;
        for (row, &end) in ends.iter().enumerate() {
            if each(row as u32, &text[start..end]).is_break() {
                break;
            }
            start = end;
        }
        Ok(())
    }
}

/// Texts of the folder's files with one of the extensions, at most so many bytes.
fn gather(folder: PathBuf, extensions: &[String], most: usize) -> Units {
    let (mut units, mut folders, mut size) = (Units::default(), vec![folder], 0);
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if extensions.iter().any(|one| path.extension().is_some_and(|found| found == one.as_str()))
                && let Ok(text) = fs::read_to_string(&path)
            {
                if size + text.len() > most {
                    return units;
                }
                size += text.len();
                if units.0.last().is_none_or(|(unit, _)| unit.len() > UNIT) {
                    units.0.push(Default::default());
                }
                let Some((unit, ends)) = units.0.last_mut() else { return units };
                let begin = unit.len();
                unit.push_str(&text);
                let mut end = begin;
                while end < unit.len() {
                    end = (end + CUT).min(unit.len());
                    while !unit.is_char_boundary(end) {
                        end += 1;
                    }
                    ends.push(end);
                }
            }
        }
    }
    units
}

/// Processor seconds that this process took, from /proc: what other processes take beside it does not count.
fn processor_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The greatest memory that this process took, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[expect(clippy::print_stdout)]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, megabytes, ceiling, extensions @ ..] = arguments.as_slice() else {
        println!("speed FOLDER MEGABYTES CEILING_MIB EXTENSION...");
        return;
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or(64);
    let units = gather(folder.into(), extensions, number(megabytes) as usize * 1_000_000);
    let held = peak();
    let config = NearConfig { memory: number(ceiling) << 20, ..NearConfig::default() };
    for _ in 0..3 {
        let scratch = std::env::temp_dir().join(format!("near-speed-{}", std::process::id()));
        let (start, begun, mut times) = (Instant::now(), processor_s(), Vec::<(Phase, f64)>::new());
        let on_unit = |phase, _, _| {
            let time = processor_s() - begun;
            match times.last_mut() {
                Some(last) if last.0 == phase => last.1 = time,
                _ => times.push((phase, time)),
            }
            Ok(())
        };
        let tally = near_duplicates(&units, &config, &scratch, on_unit, |_| Ok(()));
        let (whole, wall) = (processor_s() - begun, start.elapsed().as_secs_f64());
        let _ = fs::remove_dir_all(&scratch);
        if let Ok(tally) = tally {
            let rate = |time: f64| tally.bytes as f64 / 1e6 / time;
            println!("{tally:?}");
            println!("ends of phases, processor s: {times:.2?}");
            println!(
                "MB/s of processor time: signing {:.0}, all {:.0}; of wall time: all {:.0}",
                rate(times[0].1),
                rate(whole),
                rate(wall)
            );
            println!("peak {} MiB, of which texts {} MiB", peak() >> 10, held >> 10);
        }
    }
}

//! Programs that try to get out, to take the machine down, or to be judged right without being right. Each is judged as
//! root and as an ordinary user; each must end soon, be named for what it is, and leave nothing behind.
//!
//! A program that finds a way out exits with status 99.

mod escapes;
mod exhaustion;
mod fakes;

use crate::bench::{As, Bench, python, stdin};
use distill_verify::code::{Judge, Judgement, Outcome, Tests, in_order};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// One attack: its name, its Python, and how it must come out.
struct Attack {
    name: &'static str,
    code: String,
    tests: Tests,
    /// Any of these.
    outcomes: &'static [Outcome],
    /// What the judgement's detail must say.
    says: &'static str,
}

/// What attacks on the standard input and output are expected to write; none of them knows.
const ANSWER: &str = "s3cret-4711-answer";

fn attack(name: &'static str, code: &str, outcome: &'static [Outcome], says: &'static str) -> Attack {
    Attack { name, code: code.to_owned(), tests: stdin("", ANSWER), outcomes: outcome, says }
}

/// The prelude of attacks that call the system directly.
const SYSTEM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*arguments):
    result = libc.syscall(*[ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
";

fn system(name: &'static str, code: &str, outcome: &'static [Outcome], says: &'static str) -> Attack {
    attack(name, &format!("{SYSTEM}{code}"), outcome, says)
}

/// Runs attacks beside honest work, and looks at what is left.
fn withstand(user: As, attacks: Vec<Attack>) {
    let Some(bench) = Bench::new(user) else { return };
    let (mounts, files) = (mounts(), files());
    let mut wrong = Vec::new();
    let run = |judge: &mut Judge, attack: Attack| {
        let begin = Instant::now();
        let judgement = python(judge, &attack.code, &attack.tests);
        let honest = python(judge, "print(sum(map(int, input().split())))", &stdin("1 2 3", "6"));
        (attack, judgement, honest, begin.elapsed())
    };
    in_order(
        attacks.into_iter(),
        2,
        || bench.judge(),
        run,
        |(attack, judgement, honest, elapsed)| {
            let Judgement { outcome, detail, got, .. } = &judgement;
            let told = format!("{outcome:?}, {detail:?}, got {got:?}, after {elapsed:?}");
            if !attack.outcomes.contains(outcome) || !format!("{detail} {got}").contains(attack.says) {
                wrong.push(format!(
                    "{}: expected {:?} with {:?}, found {told}",
                    attack.name, attack.outcomes, attack.says
                ));
            }
            if detail.contains("status 99") || judgement.passed > 0 {
                wrong.push(format!("{} GOT OUT: {told}", attack.name));
            }
            if honest.outcome != Outcome::Accepted {
                wrong.push(format!("honest work after {}: {honest:?}", attack.name));
            }
            true
        },
    );
    assert!(wrong.is_empty(), "as {user:?}:\n{}", wrong.join("\n"));
    assert_eq!(mounts, self::mounts(), "mounts are left behind");
    assert_eq!(files, self::files(), "files are left behind");
    // Others' processes lose their parents while they end; what is left behind stays.
    let mut left = contained(&bench.options.launcher.program);
    for _ in 0..20 {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        left = &left & &contained(&bench.options.launcher.program);
    }
    assert!(left.is_empty(), "processes are left behind: {left:?}");
}

/// Mount points of this process's namespace.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").expect("mounts");
    text.lines().map(str::to_owned).collect()
}

/// Names that attacks leave, where they would leave them.
fn files() -> Vec<String> {
    let places = ["/", "/tmp", "/usr", "/usr/lib", "/dev/shm", "/harness", "/etc"];
    let entries = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let paths = entries.map(|entry| entry.path().display().to_string());
    paths.filter(|path| path.contains("escaped")).collect()
}

/// The commands of a process and of everybody above it.
fn lineage(pid: &str) -> Vec<String> {
    let (mut lineage, mut next) = (Vec::new(), pid.to_owned());
    while let Ok(command) = fs::read(format!("/proc/{next}/cmdline")) {
        lineage.push(String::from_utf8_lossy(&command).replace('\0', " "));
        let status = fs::read_to_string(format!("/proc/{next}/status")).unwrap_or_default();
        next = status.lines().find_map(|line| line.strip_prefix("PPid:")).map_or("0", str::trim).to_owned();
    }
    lineage
}

/// Processes beneath this test's supervisors, and contained ones that have no supervisor at all; those of other runs on
/// this machine are theirs.
fn contained(supervisor: &Path) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    let supervisor = supervisor.display().to_string();
    let supervised = |command: &String| {
        command.contains("/supervisor") || command.contains("sandbox-supervisor") || command.contains("verify code")
    };
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let user = fs::metadata(entry.path()).map_or(0, |metadata| metadata.uid());
        let lineage = if pid.bytes().all(|byte| byte.is_ascii_digit()) { lineage(&pid) } else { Vec::new() };
        let Some(command) = lineage.first() else { continue };
        // Where only one user can be mapped, the interpreter's command is what tells.
        let marked = (1_900_000_000..2_000_000_000).contains(&user) || command.contains("/harness/warm.py");
        let ours = lineage.iter().any(|command| command.contains(&supervisor));
        if ours || marked && !lineage.iter().any(supervised) {
            left.insert(format!("{pid} {command}"));
        }
    }
    left
}

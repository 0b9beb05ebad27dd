//! Programs that try to get out, to take the machine down, or to be judged right without being right. Each is judged as
//! root and as an ordinary user; each must end soon, be named for what it is, and leave nothing behind.
//!
//! A program that finds a way out exits with status 99.

mod escapes;
mod exhaustion;
mod fakes;

use crate::bench::{As, Bench, python, stdin};
use distill_verify::code::{Judge, Judgement, Outcome, Tests, in_order};
use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path, time::Instant};

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
    let left = contained();
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

fn command(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " "))
}

/// Whether a process belongs to another run of `distill verify code` on this machine.
fn anothers(path: &Path) -> bool {
    let Ok(status) = fs::read_to_string(path.join("status")) else { return true };
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map_or("0", str::trim);
    let parent = Path::new("/proc").join(parent);
    command(&parent).is_some_and(|command| command.contains("verify code") || anothers(&parent))
}

/// Processes of this test's supervisors, and of users that only cells have.
fn contained() -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let path = entry.path();
        let Some(command) = command(&path).filter(|_| !anothers(&path)) else { continue };
        let user = fs::metadata(&path).map_or(0, |metadata| metadata.uid());
        // Where only one user can be mapped, the interpreter's command is what tells.
        if (1_900_000_000..2_000_000_000).contains(&user) || command.contains("/harness/warm.py") {
            left.push(format!("{} {command}", path.display()));
        }
    }
    left
}

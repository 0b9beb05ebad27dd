//! Programs that try to get out, to take the machine down, or to be judged right without being right. Each is judged as
//! root and as an ordinary user; each must end soon, be named for what it is, and leave nothing behind.
//!
//! A program that finds a way out exits with status 99.

mod escapes;
mod exhaustion;
mod fakes;

use crate::bench::{As, Bench, python, stdin};
use distill_verify::code::{Code, Judge, Judgement, Language, Outcome, Tests, in_order};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// One attack: its name, its code, and how it must come out.
struct Attack {
    name: String,
    language: Language,
    code: String,
    tests: Tests,
    /// Any of these.
    outcomes: Vec<Outcome>,
    /// What the judgement's detail must say.
    says: &'static str,
}

/// What attacks on the standard input and output are expected to write; none of them knows.
const ANSWER: &str = "s3cret-4711-answer";

fn attack(name: &str, code: &str, outcomes: &[Outcome], says: &'static str) -> Attack {
    let (name, code, outcomes) = (name.to_owned(), code.to_owned(), outcomes.to_vec());
    Attack { name, language: Language::Python, code, tests: stdin("", ANSWER), outcomes, says }
}

/// Attacks as lines of JSON: `id`, `language`, `code` after the prelude of direct calls where `system` says so, `tests`, and the names of the
/// outcomes that are right.
fn from_lines(lines: &str) -> Vec<Attack> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        id: String,
        language: Language,
        #[serde(default)]
        system: bool,
        code: String,
        tests: serde_json::Value,
        outcomes: Vec<String>,
    }
    let named = |name: &String| {
        let all = [
            Outcome::WrongAnswer,
            Outcome::Time,
            Outcome::Memory,
            Outcome::Output,
            Outcome::RuntimeError,
            Outcome::CompileError,
        ];
        all.into_iter().find(|outcome| outcome.name() == name).unwrap_or_else(|| panic!("an outcome: {name}"))
    };
    let read = |line: &str| {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let tests = Tests::parse(&line.tests.to_string()).unwrap_or_else(|error| panic!("{}: {error}", line.id));
        let code = if line.system { format!("{SYSTEM}{}", line.code) } else { line.code };
        let outcomes = line.outcomes.iter().map(named).collect();
        Attack { name: line.id, language: line.language, code, tests, outcomes, says: "" }
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
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

fn system(name: &str, code: &str, outcome: &[Outcome], says: &'static str) -> Attack {
    attack(name, &format!("{SYSTEM}{code}"), outcome, says)
}

/// The most memory that this process has held, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
}

/// Runs attacks beside honest work, and looks at what is left.
fn withstand(user: As, attacks: Vec<Attack>) {
    let Some(bench) = Bench::new(user) else { return };
    let (mounts, files) = (mounts(), files());
    let mut wrong = Vec::new();
    let run = |judge: &mut Judge, attack: Attack| {
        let begin = Instant::now();
        let judgement = judge.judge(attack.language, Code::Given(&attack.code), &attack.tests);
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
    assert!(peak() < 200 << 20, "{} MiB were held here", peak() >> 20);
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

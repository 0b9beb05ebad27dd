//! Owners that live, end, are killed and are stopped, in this process, in others and (by their record) on other machines.

use super::*;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

const TTL: Duration = Duration::from_secs(60);

/// Another process that runs the same test with `DISTILL_TEST_CHILD` set to a folder, after it has called [`ready`]; and
/// what it said then.
pub(crate) fn spawn(test: &str, dir: &Path) -> (Child, String) {
    started(Command::new(env::current_exe().expect("this binary")), test, dir)
}

/// The same, in which no file grows past `blocks` of 1024 bytes.
pub(crate) fn spawn_on_a_small_disk(test: &str, dir: &Path, blocks: u32) -> (Child, String) {
    let mut shell = Command::new("bash");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(env::current_exe().expect("this binary"));
    started(shell, test, dir)
}

fn started(mut command: Command, test: &str, dir: &Path) -> (Child, String) {
    command.args([test, "--exact", "--test-threads=1"]).env("DISTILL_TEST_CHILD", dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a second process");
    let lines = BufReader::new(child.stdout.as_mut().expect("its output")).lines();
    let word = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("ready:")?.1.to_owned()));
    (child, word.unwrap_or_else(|| panic!("the second process of {test} ended before it was ready")))
}

/// The folder that a process made by [`spawn`] works in; nothing in the test itself.
pub(crate) fn child_dir() -> Option<PathBuf> {
    env::var_os("DISTILL_TEST_CHILD").map(PathBuf::from)
}

/// Tells the test that this process has come so far.
pub(crate) fn ready(word: &str) {
    let mut out = io::stdout();
    out.write_all(format!("ready:{word}\n").as_bytes()).and_then(|()| out.flush()).expect("the test listens");
}

/// Stays until it is killed, or the test has ended.
pub(crate) fn wait_to_be_killed(word: &str) -> ! {
    ready(word);
    let _ = io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(3)
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a signal");
}

fn elsewhere() -> Process {
    Process { kernel: "another machine's".to_owned(), host: "node7".to_owned(), ..Process::this() }
}

#[test]
fn a_killed_owner_is_dead_and_a_stopped_one_lives() {
    if let Some(dir) = child_dir() {
        let owner = Owner::register(&dir, TTL).expect("a registration");
        wait_to_be_killed(owner.id());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let me = Owner::register(dir.path(), TTL).expect("a registration");
    let (mut child, id) = spawn("owner::tests::a_killed_owner_is_dead_and_a_stopped_one_lives", dir.path());
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Alive);
    assert_eq!(me.describe(&id), format!("process {} on {}", child.id(), Process::this().host));
    signal(&child, Signal::STOP);
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Alive, "a stopped process keeps what it holds");
    child.kill().expect("a signal");
    child.wait().expect("its end");
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Dead);
    let next = Owner::register(dir.path(), TTL).expect("a registration");
    assert!(!dir.path().join(&id).exists(), "what a killed owner left was not swept");
    assert_eq!(next.liveness(&id).expect("an answer"), Liveness::Dead);
    assert_eq!(next.liveness(me.id()).expect("an answer"), Liveness::Alive, "a living owner was swept");
}

#[test]
fn without_locks_the_process_number_tells() {
    if let Some(dir) = child_dir() {
        let owner = Owner::register_as(&dir, TTL, Process::this(), false).expect("a registration");
        wait_to_be_killed(owner.id());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let me = Owner::register(dir.path(), TTL).expect("a registration");
    let (mut child, id) = spawn("owner::tests::without_locks_the_process_number_tells", dir.path());
    signal(&child, Signal::STOP);
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Alive);
    child.kill().expect("a signal");
    child.wait().expect("its end");
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Dead);
}

#[test]
fn an_owner_that_ends_leaves_nothing_and_is_dead() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let me = Owner::register(dir.path(), TTL).expect("a registration");
    let other = Owner::register(dir.path(), TTL).expect("another");
    let id = other.id().to_owned();
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Alive);
    drop(other);
    assert_eq!(me.liveness(&id).expect("an answer"), Liveness::Dead);
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "an owner that ended left files");
    assert_eq!(me.liveness("../somewhere").expect("an answer"), Liveness::Dead, "no name leads out of the folder");
}

#[test]
fn on_another_machine_an_owner_is_dead_when_it_was_seen_silent_for_its_time_to_live() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let me = Owner::register(dir.path(), TTL).expect("a registration");
    let far = Owner::register_as(dir.path(), TTL, elsewhere(), true).expect("a far one");
    let start = Instant::now();
    let look = |seconds| me.liveness_by(far.id(), || start + Duration::from_secs(seconds)).expect("an answer");
    let quiet = |seconds| Liveness::Unknown { quiet: Duration::from_secs(seconds), ttl: TTL };
    assert_eq!(look(0), quiet(0));
    assert_eq!(look(10), quiet(10));
    assert_eq!(look(25), quiet(25));
    far.beat().expect("a beat");
    assert_eq!(look(30), quiet(0), "a beat starts the count anew");
    assert_eq!(look(100_030), quiet(15), "one late look must not count for all the time before it");
    assert_eq!(look(100_045), quiet(30));
    assert_eq!(look(100_060), quiet(45));
    assert_eq!(look(100_074), quiet(59));
    assert_eq!(look(100_075), Liveness::Dead);
}

#[test]
fn a_registration_damaged_by_a_power_cut_ends_by_silence_and_a_removed_one_is_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let me = Owner::register(dir.path(), TTL).expect("a registration");
    let other = Owner::register(dir.path(), TTL).expect("another");
    fs::write(dir.path().join(other.id()).join("owner.json"), "").expect("an emptied file");
    let start = Instant::now();
    let look = |seconds| me.liveness_by(other.id(), || start + Duration::from_secs(seconds)).expect("an answer");
    assert!((0..4).all(|quarter| look(quarter * 15) != Liveness::Dead));
    assert_eq!(look(60), Liveness::Dead);
    fs::remove_dir_all(dir.path().join(other.id())).expect("a removal");
    assert!(other.beat().is_err(), "an owner must learn that its registration is gone");
}

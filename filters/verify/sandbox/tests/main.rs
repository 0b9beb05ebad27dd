//! The sandbox by itself: what a contained program sees, what it gets back, and how it is stopped. The attacks are in
//! `distill-verify`, where their outcomes have names.

use distill_sandbox::{FileIn, How, Job, Launcher, Layer, Limits, Process, SandboxError, Start, Stopped, View, Worker};
use std::{path::PathBuf, sync::Arc};

fn launcher() -> Launcher {
    Launcher {
        program: PathBuf::from(env!("CARGO_BIN_EXE_distill-sandbox-supervisor")),
        arguments: Vec::new(),
        user: None,
    }
}

/// The shell and what it needs.
fn view() -> View {
    let paths =
        ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/bin/sh", "/usr/bin/id", "/bin/cat", "/bin/ls", "/bin/sleep"];
    View { paths: paths.map(PathBuf::from).to_vec(), ..View::default() }
}

fn worker() -> Worker {
    Worker::start(&launcher(), &view()).unwrap_or_else(|error| panic!("{error}"))
}

fn shell(script: &str, limits: Limits) -> Job {
    Job {
        start: Start::Exec {
            program: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        },
        limits,
        stdin: Arc::from(&b"given"[..]),
        files: vec![FileIn { name: "note".to_owned(), content: Arc::from(&b"noted"[..]), executable: false }],
        channel: false,
        collect: Some(("made".to_owned(), 1 << 20)),
    }
}

fn text(process: &Process) -> String {
    String::from_utf8_lossy(&process.stdout().bytes).into_owned()
}

#[test]
fn a_program_sees_its_files_and_little_else() {
    let mut worker = worker();
    for layer in [Layer::UserNamespace, Layer::Seccomp, Layer::ReadOnlyRoot, Layer::NonRoot] {
        assert!(worker.layers().obtained.contains(&layer), "{layer} is missing: {:?}", worker.layers());
    }
    let script = "cat; cat note; id -u; ls /; ls /dev; ls -A /tmp; echo oops >&2; echo made > made; exit 0";
    let process = worker.run(&shell(script, Limits::default())).expect("a run");
    let end = process.end().expect("an end");
    assert_eq!((end.how, end.stopped), (How::Exited(0), None), "{}", String::from_utf8_lossy(&process.stderr().bytes));
    let seen = text(&process);
    assert!(seen.starts_with("givennoted1000\n"), "input, file, user: {seen}");
    for name in ["home", "root", "etc/passwd", "var", "sys", "sda", "vda", "kmsg"] {
        assert!(!seen.split_whitespace().any(|word| word == name), "{name} is in sight: {seen}");
    }
    assert_eq!(process.stderr().bytes, b"oops\n");
    assert_eq!(process.collected(), Some(&b"made\n"[..]));
}

#[test]
fn limits_stop_a_run_and_say_which() {
    let mut worker = worker();
    let limits = Limits { wall_ms: 300, cpu_ms: 200, stdout_bytes: 1000, ..Limits::default() };
    for (script, stopped) in [
        ("sleep 9", Stopped::Wall),
        ("sleep 9 & sleep 9 & wait", Stopped::Wall),
        ("while :; do echo x; done", Stopped::Output),
    ] {
        let process = worker.run(&shell(script, limits)).expect("a run");
        assert_eq!(process.end().expect("an end").stopped, Some(stopped), "{script}");
    }
    let process = worker.run(&shell("while :; do :; done", Limits { wall_ms: 20_000, ..limits })).expect("a run");
    assert_eq!(process.end().expect("an end").stopped, Some(Stopped::Cpu), "a loop");
    // And the worker goes on.
    assert_eq!(text(&worker.run(&shell("cat", limits)).expect("a run")), "given");
}

#[test]
fn ends_are_told_as_they_were() {
    let mut worker = worker();
    for (script, how) in
        [("exit 7", How::Exited(7)), ("kill -6 $$", How::Signalled(6)), ("kill -9 $$", How::Signalled(9))]
    {
        let process = worker.run(&shell(script, Limits::default())).expect("a run");
        assert_eq!(process.end().expect("an end").how, how, "{script}");
        assert_eq!(process.collected(), None, "nothing is brought back from a failure");
    }
    let link =
        worker.run(&shell("ln -s note made; ln -s /proc/1/mem made2; exit 0", Limits::default())).expect("a run");
    assert_eq!(link.collected(), None, "a link is not brought back");
}

#[test]
fn what_cannot_be_started_is_not_at_fault() {
    let mut worker = worker();
    let absent = Job {
        start: Start::Exec { program: "/bin/absent".to_owned(), arguments: Vec::new(), environment: Vec::new() },
        ..shell("", Limits::default())
    };
    let process = worker.run(&absent).expect("a run");
    assert!(matches!(process.end(), Err(SandboxError::Cell(_))), "{:?}", process.end());
    let warm = Job { start: Start::Warm { argument: String::new() }, ..absent };
    assert!(worker.run(&warm).expect("a run").end().is_err(), "no interpreter is kept warm");
    assert_eq!(text(&worker.run(&shell("cat", Limits::default())).expect("a run")), "given");
}

#[test]
fn a_supervisor_that_is_none_is_an_error_with_its_name() {
    let program = PathBuf::from("/bin/true");
    let error =
        Worker::start(&Launcher { program, arguments: Vec::new(), user: None }, &view()).expect_err("no supervisor");
    assert!(error.to_string().contains("/bin/true"), "{error}");
    let program = PathBuf::from("/nowhere");
    assert!(Worker::start(&Launcher { program, arguments: Vec::new(), user: None }, &view()).is_err());
    let greedy = View { paths: vec![PathBuf::from("/etc")], ..View::default() };
    let error = Worker::start(&launcher(), &greedy).expect_err("too much in view");
    assert!(error.to_string().contains("more than a program needs"), "{error}");
}

#[test]
fn a_layer_is_left_out_only_on_request_and_then_it_is_said() {
    let without = vec![Layer::NetworkNamespace, Layer::UtsNamespace, Layer::Seccomp, Layer::Landlock];
    let mut worker = Worker::start(&launcher(), &View { without: without.clone(), ..view() }).expect("a worker");
    for layer in &without {
        assert!(!worker.layers().obtained.contains(layer), "{layer} was to be left out");
        assert!(worker.layers().missing.iter().any(|(missing, _)| missing == layer), "{layer} is not told");
    }
    assert_eq!(text(&worker.run(&shell("cat", Limits::default())).expect("a run")), "given");
    for layer in [Layer::UserNamespace, Layer::ReadOnlyRoot, Layer::NonRoot] {
        let error =
            Worker::start(&launcher(), &View { without: vec![layer], ..view() }).expect_err("everything rests on it");
        assert!(error.to_string().contains("cannot be left out"), "{error}");
    }
}

//! Attacks.
use distill_sandbox::*;
use std::{path::PathBuf, time::Instant};

fn launcher() -> Launcher {
    Launcher { program: PathBuf::from(env!("CARGO_BIN_EXE_distill-sandbox-supervisor")), arguments: vec![], user: std::env::var("AS").ok().map(|n| (n.parse().unwrap(), n.parse().unwrap())) }
}

#[test]
fn cold() {
    let view = View { paths: ["/usr/lib", "/lib", "/lib64", "/bin/sh", "/bin/ls", "/usr/bin/id", "/usr/bin/find"].map(PathBuf::from).to_vec(), ..View::default() };
    let mut worker = Worker::start(&launcher(), &view).unwrap_or_else(|e| panic!("{e}"));
    println!("{:?}", worker.layers());
    let job = Job {
        start: Start::Exec { program: "/bin/sh".into(), arguments: vec!["-c".into(), std::env::var("CMD").unwrap_or("id; ls -la / /tmp /dev /proc; cat; echo err >&2; exit 3".into())], environment: vec![] },
        limits: Limits::default(), stdin: b"hello".as_slice().into(), files: vec![FileIn { name: "a.txt".into(), content: b"x".as_slice().into(), executable: true }], channel: false, collect: None };
    let p = worker.run(&job).unwrap();
    println!("{:?}\n{}\n{}", p.end(), String::from_utf8_lossy(&p.stdout().bytes), String::from_utf8_lossy(&p.stderr().bytes));
    let start = Instant::now();
    let job = Job { start: Start::Exec { program: "/bin/sh".into(), arguments: vec!["-c".into(), "exit 0".into()], environment: vec![] }, ..job };
    for _ in 0..100 { worker.run(&job).unwrap(); }
    println!("{:?} each", start.elapsed() / 100);
}

#[test]
fn warm() {
    let harness = "
def prepare(): pass
def run(argument):
    import sys, os
    sys.stdin=open(0); 
    try:
        exec(open('/tmp/main.py').read(), {'__name__':'__main__'})
    except BaseException as e:
        import traceback; os.write(2, traceback.format_exc().encode()); os._exit(1)
    sys.stdout.flush()
    os._exit(0)
";
    let view = View { paths: ["/usr/lib", "/lib", "/lib64", "/usr/bin/python3"].map(PathBuf::from).to_vec(),
      files: vec![("/harness/warm.py".into(), WARM_PYTHON.into()), ("/harness/harness.py".into(), harness.into())],
      warm: Some(Warm { program: "/usr/bin/python3".into(), arguments: ["-s", "-B", "/harness/warm.py"].map(String::from).to_vec(), environment: vec![("PYTHONHASHSEED".into(), "0".into()), ("LANG".into(), "C.UTF-8".into()), ("PYTHONPATH".into(), "/harness".into())] }),
       ..View::default() };
    let mut worker = Worker::start(&launcher(), &view).unwrap_or_else(|e| panic!("{e}"));
    let code = std::env::var("PY").unwrap_or("import os\nprint(input(), os.getpid(), os.getuid(), os.listdir('/proc'), os.listdir('/tmp'), os.listdir('/proc/self/fd'))".into());
    let job = Job {
        start: Start::Warm { argument: "x".into() },
        limits: Limits::default(), stdin: b"hello".as_slice().into(), files: vec![FileIn { name: "main.py".into(), content: code.as_bytes().into(), executable: false }], channel: false, collect: None };
    let p = worker.run(&job).unwrap();
    println!("{:?}\n{}\n{}", p.end(), String::from_utf8_lossy(&p.stdout().bytes), String::from_utf8_lossy(&p.stderr().bytes));
    let start = Instant::now();
    for _ in 0..200 { let p = worker.run(&job).unwrap(); p.end().unwrap(); }
    println!("{:?} each", start.elapsed() / 200);
}

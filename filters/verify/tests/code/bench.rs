//! How these tests start judges: as whoever runs them, and as an ordinary user when root does.

use distill_verify::code::{Code, Judge, Judgement, Language, Launcher, Options, Tests, Tools};
use serde_json::json;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

/// The user and group of the ordinary half; nobody's on every Linux.
const NOBODY: (u32, u32) = (65534, 65534);

/// Whoever the supervisor runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// The user of the tests.
    Myself,
    /// An ordinary user, where the tests run as root.
    Ordinary,
}

/// One test at a time, so that what one leaves behind is not another's work.
static ALONE: Mutex<()> = Mutex::new(());

/// Judges that share one folder for the supervisor's executable.
pub(crate) struct Bench {
    _alone: MutexGuard<'static, ()>,
    _folder: tempfile::TempDir,
    pub(crate) options: Options,
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").expect("/proc").uid() == 0
}

/// Says, uncaptured, that something was not tested.
pub(crate) fn skipped(why: &str) {
    // A closed standard error is nobody's concern here.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

impl Bench {
    /// `None`, and a word on standard error, when there is no other user to be.
    pub(crate) fn new(user: As) -> Option<Bench> {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("supervisor");
        fs::copy(env!("CARGO_BIN_EXE_distill-verify-supervisor"), &program).expect("the supervisor");
        for path in [folder.path(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        let user = match (user, is_root()) {
            (As::Ordinary, true) => Some(NOBODY),
            (As::Ordinary, false) => {
                skipped("not root, so that the other half of this test is the only one");
                return None;
            }
            (As::Myself, _) => None,
        };
        let launcher = Launcher { program, arguments: Vec::new(), user };
        Some(Bench { _alone: alone, _folder: folder, options: Options::new(launcher, tools()) })
    }

    pub(crate) fn judge(&self) -> Judge {
        Judge::new(self.options.clone())
    }
}

/// A Python that every user may execute, where there is one.
fn tools() -> Arc<Tools> {
    static TOOLS: OnceLock<Arc<Tools>> = OnceLock::new();
    let find = || {
        let everybodys = Some(Path::new("/usr/bin/python3")).filter(|path| path.exists());
        let tools = Tools::find(everybodys);
        assert!(tools.python.is_some(), "these tests need a Python 3: install python3");
        Arc::new(tools)
    };
    Arc::clone(TOOLS.get_or_init(find))
}

/// Limits that end an attack soon.
pub(crate) fn tight() -> serde_json::Value {
    json!({"cpu_seconds": 1, "wall_seconds": 3, "memory_mib": 128, "output_kib": 1024})
}

/// One program with one input.
pub(crate) fn stdin(input: &str, output: &str) -> Tests {
    let tests = json!({"kind": "stdin", "cases": [{"input": input, "output": output}], "limits": tight()});
    Tests::parse(&tests.to_string()).expect("tests")
}

/// Assertions about `f`.
pub(crate) fn check(assertions: &str) -> Tests {
    let tests = json!({"kind": "check", "entry_point": "f", "check": assertions, "limits": tight()});
    Tests::parse(&tests.to_string()).expect("tests")
}

/// Calls of `f`.
pub(crate) fn calls(cases: serde_json::Value) -> Tests {
    let tests = json!({"kind": "calls", "function": "f", "cases": cases, "limits": tight()});
    Tests::parse(&tests.to_string()).expect("tests")
}

/// Judges Python.
pub(crate) fn python(judge: &mut Judge, code: &str, tests: &Tests) -> Judgement {
    judge.judge(Language::Python, Code::Given(code), tests)
}

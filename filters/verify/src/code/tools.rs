//! The interpreter and the compilers of this machine: where they are, and what a contained program must see of them.

use super::Language;
use distill_sandbox::{View, WARM_PYTHON, Warm};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where every program finds its libraries.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libx32", "/usr/local/lib"];
/// How each language is compiled.
const C_FLAGS: [&str; 3] = ["-O2", "-std=gnu17", "-w"];
const CPP_FLAGS: [&str; 3] = ["-O2", "-std=gnu++17", "-w"];
const RUST_FLAGS: [&str; 3] = ["--edition=2021", "-O", "-Awarnings"];
/// What programs are told of the world.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("HOME", "/tmp"),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("TZ", "UTC"),
];
/// Modules that are no part of Python and that judges usually have. A solution that needs one that is missing here was not
/// judged. The first seven are those that `doctor` tells of.
pub const USUAL: [&str; 16] = [
    "numpy",
    "scipy",
    "pandas",
    "sympy",
    "gmpy2",
    "numba",
    "sortedcontainers",
    "networkx",
    "sklearn",
    "mpmath",
    "more_itertools",
    "bitarray",
    "matplotlib",
    "torch",
    "ortools",
    "pulp",
];
/// The version of what runs and judges code here: raised whenever a verdict may come out differently.
const ENGINE: u32 = 2;
/// Asked of a Python, outside the sandbox.
const PROBE: &str = "
import json, os, sys, sysconfig
try:
    import ctypes
except ImportError:
    ctypes = None
import importlib.util
def found(name):
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False
names = ('stdlib', 'platstdlib', 'purelib', 'platlib')
paths = [sysconfig.get_path(name) for name in names] + [path for path in sys.path if os.path.isdir(path)]
if sys.prefix != sys.base_prefix:
    paths += [os.path.join(sys.prefix, 'pyvenv.cfg'), os.path.join(sys.prefix, 'lib')]
if sys.base_prefix not in ('/usr', '/usr/local', '/'):
    paths.append(os.path.join(sys.base_prefix, 'lib'))
print(json.dumps({
    'program': sys.executable, 'version': '.'.join(map(str, sys.version_info[:3])), 'paths': [p for p in paths if p],
    'three': sys.version_info >= (3, 8), 'ctypes': ctypes is not None,
    'modules': [name for name in sys.argv[1].split() if found(name)], 'implementation': sys.implementation.name,
}))
";

/// A Python 3.
#[derive(Clone, Debug, Deserialize)]
pub struct Python {
    /// The executable.
    pub program: PathBuf,
    /// Its version.
    pub version: String,
    /// Which of [`USUAL`] it has.
    pub modules: Vec<String>,
    implementation: String,
    paths: Vec<PathBuf>,
    three: bool,
    ctypes: bool,
}

/// What there is to run programs with.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The interpreter.
    pub python: Option<Python>,
    /// The C compiler.
    pub c: Option<PathBuf>,
    /// The C++ compiler.
    pub cpp: Option<PathBuf>,
    /// The Rust compiler, and its folder of libraries.
    pub rust: Option<(PathBuf, PathBuf)>,
}

impl Tools {
    /// Looks for them: `python` where it is given, else the first of the usual names that answers.
    pub fn find(python: Option<&Path>) -> Tools {
        let pythons: Vec<&Path> = match python {
            Some(given) => vec![given],
            None => ["python3", "/usr/bin/python3", "/usr/local/bin/python3"].map(Path::new).to_vec(),
        };
        let python = pythons.into_iter().find_map(Python::probe);
        let existing = |names: &[&str]| names.iter().map(PathBuf::from).find(|path| path.exists());
        let rust = said(Path::new("rustc"), &["--print", "sysroot"]).and_then(|sysroot| {
            let sysroot = PathBuf::from(sysroot.trim());
            let program = sysroot.join("bin/rustc");
            program.exists().then_some((program, sysroot))
        });
        Tools {
            python,
            c: existing(&["/usr/bin/gcc", "/usr/bin/cc"]),
            cpp: existing(&["/usr/bin/g++", "/usr/bin/c++"]),
            rust,
        }
    }

    /// Which of the modules that solutions usually need are there, and which are not.
    pub fn modules(&self) -> Option<Vec<(&'static str, bool)>> {
        let python = self.python.as_ref()?;
        Some(USUAL[..7].iter().map(|name| (*name, python.modules.iter().any(|found| found == name))).collect())
    }

    /// What decides verdicts on code beside the task, as lines of `name = value`: the engine and its limits, the versions of
    /// interpreter and compilers, what they are told, and the modules that are there. Equal texts judge alike; where this
    /// machine's tools change, so does the text. It names no paths.
    pub fn identity(&self) -> String {
        let version = |program: Option<&Path>| {
            let said = program.and_then(|program| said(program, &["--version"]));
            said.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "none".to_owned())
        };
        let python = self.python.as_ref().map_or_else(
            || "none".to_owned(),
            |python| format!("{} {} with {}", python.implementation, python.version, python.modules.join(" ")),
        );
        let lines = [
            ("engine", ENGINE.to_string()),
            ("limits", format!("{:?}", distill_sandbox::Limits::default())),
            ("test-ms", super::judge::PER_TEST_MS.to_string()),
            ("python", python),
            ("c", format!("{} {}", version(self.c.as_deref()), C_FLAGS.join(" "))),
            ("cpp", format!("{} {}", version(self.cpp.as_deref()), CPP_FLAGS.join(" "))),
            (
                "rust",
                format!(
                    "{} {}",
                    version(self.rust.as_ref().map(|(program, _)| program.as_path())),
                    RUST_FLAGS.join(" ")
                ),
            ),
        ];
        lines.map(|(name, value)| format!("{name} = {value}\n")).concat()
    }

    /// Whether programs in a language can be run.
    pub fn has(&self, language: Language) -> bool {
        match language {
            Language::Python => self.python.is_some(),
            Language::C => self.c.is_some(),
            Language::Cpp => self.cpp.is_some(),
            Language::Rust => self.rust.is_some() && self.c.is_some(),
        }
    }

    /// What compilers, and what they make, see.
    pub(super) fn native_view(&self) -> View {
        let mut paths = libraries();
        paths.extend(["/usr/include", "/usr/local/include", "/usr/libexec/gcc"].map(PathBuf::from));
        paths.extend([&self.c, &self.cpp].into_iter().flatten().cloned());
        let compiler = self.c.as_deref().unwrap_or(Path::new("/usr/bin/cc"));
        paths.extend(["cc", "as", "ld", "ld.bfd", "ld.gold", "ar"].map(|name| Path::new("/usr/bin").join(name)));
        for part in ["cc1", "cc1plus", "collect2", "as", "ld", "lto-wrapper"] {
            let place = said(compiler, &[&format!("-print-prog-name={part}")]).unwrap_or_default();
            paths.extend(Some(PathBuf::from(place.trim())).filter(|place| place.is_absolute()));
        }
        if let Some((program, sysroot)) = &self.rust {
            paths.extend([program.clone(), sysroot.join("lib")]);
        }
        View { paths, ..View::default() }
    }

    /// The command that compiles `main` into `program`.
    pub(super) fn compile(&self, language: Language) -> Option<(PathBuf, Vec<String>)> {
        let with = |program: &Option<PathBuf>, arguments: &[&str]| {
            Some((program.clone()?, arguments.iter().map(|argument| (*argument).to_owned()).collect()))
        };
        match language {
            Language::Python => None,
            Language::C => with(&self.c, &[&C_FLAGS[..], &["-o", "program", "main.c", "-lm"]].concat()),
            Language::Cpp => with(&self.cpp, &[&CPP_FLAGS[..], &["-o", "program", "main.cpp"]].concat()),
            Language::Rust => {
                let (program, sysroot) = self.rust.as_ref()?;
                let sysroot = format!("--sysroot={}", sysroot.display());
                let linker = format!("-Clinker={}", self.c.as_ref()?.display());
                let arguments = [&RUST_FLAGS[..], &[&sysroot, &linker, "-o", "program", "main.rs"]].concat();
                with(&Some(program.clone()), &arguments)
            }
        }
    }
}

impl Python {
    fn probe(program: &Path) -> Option<Python> {
        let python: Python = serde_json::from_str(&said(program, &["-s", "-c", PROBE, &USUAL.join(" ")])?).ok()?;
        (python.three && python.program.is_absolute()).then_some(python)
    }

    /// Whether it can be kept warm: entering a cell takes system calls that only `ctypes` can make.
    pub fn can_be_warm(&self) -> bool {
        self.ctypes
    }

    /// What programs see of it.
    pub(super) fn view(&self, warm: bool) -> View {
        let mut paths = libraries();
        paths.push(self.program.clone());
        paths.extend(self.paths.iter().filter(|path| path.is_absolute()).cloned());
        let mut files = vec![
            (PathBuf::from("/harness/harness.py"), include_str!("harness.py").to_owned()),
            (PathBuf::from("/harness/peer.py"), include_str!("peer.py").to_owned()),
            (PathBuf::from("/harness/stand_ins.py"), include_str!("stand_ins.py").to_owned()),
        ];
        if warm {
            files.push((PathBuf::from("/harness/warm.py"), WARM_PYTHON.to_owned()));
        }
        let warm = warm.then(|| Warm {
            program: self.program.clone(),
            arguments: ["-s", "-B", "/harness/warm.py"].map(str::to_owned).to_vec(),
            environment: self.environment(),
        });
        View { paths, files, warm, ..View::default() }
    }

    /// The arguments that start it anew for one program.
    pub(super) fn cold(&self, argument: &str) -> Vec<String> {
        let start =
            "import sys; sys.path[:1] = ['/harness']; import harness; del sys.path[:1]; harness.run(sys.argv[1])";
        ["-s", "-B", "-c", start, argument].map(str::to_owned).to_vec()
    }

    /// Its environment. Hashes are the same in every run, so that an order that depends on them is too.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut environment = environment();
        let more = [("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONIOENCODING", "utf-8")];
        environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment
    }
}

/// What programs are told of the world.
pub(super) fn environment() -> Vec<(String, String)> {
    ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn libraries() -> Vec<PathBuf> {
    LIBRARIES.iter().map(PathBuf::from).chain([PathBuf::from("/etc/ld.so.cache")]).collect()
}

/// What a program answers, when it answers well.
fn said(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// The tools of a machine whose Python says this of itself.
    fn with_python(dir: &Path, version: &str, modules: &str) -> Tools {
        let program = dir.join(format!("python-{version}-{}", modules.len()));
        let answer = format!(
            r#"{{"program": "/bin/true", "version": "{version}", "paths": [], "three": true, "ctypes": true, "modules": [{modules}], "implementation": "cpython"}}"#
        );
        fs::write(&program, format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("an executable");
        Tools::find(Some(&program))
    }

    #[test]
    fn another_interpreter_another_compiler_or_another_module_is_another_identity() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let plain = with_python(dir.path(), "3.12.1", "");
        let other_place = tempfile::tempdir().expect("a temporary folder");
        assert!(plain.identity().contains("cpython 3.12.1"), "{}", plain.identity());
        assert_eq!(plain.identity(), with_python(other_place.path(), "3.12.1", "").identity(), "it names no paths");
        let without_c = Tools { c: None, ..plain.clone() };
        let with_c = Tools { c: Some(PathBuf::from("/bin/echo")), ..plain.clone() };
        let others = [
            with_python(dir.path(), "3.13.0", ""),
            with_python(dir.path(), "3.12.1", "\"numpy\""),
            Tools::default(),
            if plain.c.is_some() { without_c } else { with_c },
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(plain.identity(), other.identity(), "case {index}");
        }
    }
}

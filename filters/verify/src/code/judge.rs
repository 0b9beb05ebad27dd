//! One solution against its tests: code is found, started in cells, and its outputs compared.
//!
//! A [`Judge`] belongs to one thread and keeps one supervisor for Python and one for compiled languages, started when they
//! are first needed and again when they were lost.

use super::{
    Checker, CheckerVerdict, Judgement, Language, LiveCodeBenchTests, Outcome, StdinTests, Tests, Tools, calibrate,
    compare::difference,
    extract,
    task::StdinCase,
    text::{last_line, short_bytes},
    tools,
};
use distill_sandbox::{End, FileIn, How, Job, Launcher, Layers, Limits, Process, SandboxError, Start, Stopped, Worker};
use std::{path::PathBuf, sync::Arc};

/// What the harness exits with when a program does not parse.
const SYNTAX_ERROR: i32 = 121;
/// CPU time that LiveCodeBench gives a test, in milliseconds; there it is wall time, of a process that has the machine to
/// itself.
pub(super) const PER_TEST_MS: u64 = 6_000;
/// Most CPU time that all tests of a LiveCodeBench problem in one process get, in milliseconds.
const LONGEST_MS: u64 = 300_000;
/// Longest compiled program, in bytes: it is held here while it is tested.
const MAX_PROGRAM: usize = 32 << 20;
/// What a compilation may use.
const COMPILING: Limits = Limits {
    wall_ms: 120_000,
    cpu_ms: 60_000,
    memory_bytes: 2 << 30,
    processes: 64,
    open_files: 1024,
    disk_bytes: 256 << 20,
    inodes: 8192,
    stack_bytes: 64 << 20,
    stdout_bytes: 1 << 20,
    stderr_bytes: 1 << 20,
};

/// How judges work.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the sandbox's supervisor is started.
    pub launcher: Launcher,
    /// The interpreter and the compilers.
    pub tools: Arc<Tools>,
    /// What a run may use where a task does not say.
    pub limits: Limits,
    /// How often each solution is judged; outcomes that differ are flagged.
    pub repetitions: u32,
    /// Whether a Python is kept warm; slower without.
    pub warm: bool,
    /// How many judges work at once, for those who judge many.
    pub threads: usize,
    /// Layers of the isolation that are left out.
    pub without: Vec<distill_sandbox::Layer>,
}

impl Options {
    /// The usual ones.
    pub fn new(launcher: Launcher, tools: Arc<Tools>) -> Options {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options { launcher, tools, limits: Limits::default(), repetitions: 1, warm: true, threads, without: Vec::new() }
    }
}

/// Where the code is.
#[derive(Clone, Copy, Debug)]
pub enum Code<'t> {
    /// It is given.
    Given(&'t str),
    /// In what a response says after its reasoning, in the last block of the language.
    Answer(&'t str),
}

/// Judges solutions, one after another.
#[derive(Debug)]
pub struct Judge {
    pub(super) options: Options,
    python: Option<Worker>,
    native: Option<Worker>,
    layers: Layers,
    /// How much more time than the reference machine this one gets, in percent: 100 until something took too long.
    slowness: u64,
    /// How the harness is told to run programs.
    script: &'static str,
}

/// A program that is ready to be run.
enum Program {
    Python(Arc<[u8]>),
    Native(Arc<[u8]>),
}

/// Why there is no judgement by a test.
pub(super) enum Halt {
    /// The sandbox failed: nothing is known.
    Sandbox(SandboxError),
    /// Something else decided.
    Judged(Judgement),
}

impl From<SandboxError> for Halt {
    fn from(error: SandboxError) -> Halt {
        Halt::Sandbox(error)
    }
}

impl Judge {
    /// A judge that has started nothing yet.
    pub fn new(options: Options) -> Judge {
        Judge { options, python: None, native: None, layers: Layers::default(), slowness: 100, script: "script" }
    }

    /// Starts what judges in a language need, so that a machine without isolation is found out before anything else.
    ///
    /// # Errors
    /// Which layer is missing, and how to get it.
    pub fn prepare(&mut self, language: Language) -> Result<&Layers, SandboxError> {
        self.worker(language)?;
        Ok(&self.layers)
    }

    /// The layers that hold, once something was started.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Judges a solution. Whatever goes wrong is in the judgement.
    pub fn judge(&mut self, language: Language, code: Code<'_>, tests: &Tests) -> Judgement {
        let mut judgement = self.judge_once(language, code, tests);
        for _ in 1..self.options.repetitions {
            if judgement.outcome.verdict() == super::Verdict::Unknown {
                break;
            }
            let again = self.judge_once(language, code, tests);
            if (again.outcome, again.passed) != (judgement.outcome, judgement.passed) {
                judgement.flaky = true;
                judgement.detail =
                    format!("flaky: {} once, {} another time", judgement.outcome.name(), again.outcome.name());
                break;
            }
        }
        judgement
    }

    fn judge_once(&mut self, language: Language, code: Code<'_>, tests: &Tests) -> Judgement {
        self.slowness = 100;
        let mut judgement = self.judge_now(language, code, tests);
        if judgement.outcome == Outcome::Time && judgement.detail.contains("CPU time") {
            // What is right on the reference machine is right on a slow one.
            self.slowness = calibrate::slowness(self);
            if self.slowness > 100 {
                judgement = self.judge_now(language, code, tests);
            }
        }
        self.excused(judgement, code)
    }

    /// A solution that a module is missing for was not judged, where that module is one that judges usually have.
    fn excused(&self, judgement: Judgement, code: Code<'_>) -> Judgement {
        let (Code::Given(text) | Code::Answer(text)) = code;
        let Some(python) = self.options.tools.python.as_ref().filter(|_| judgement.outcome == Outcome::RuntimeError)
        else {
            return judgement;
        };
        let quoted = |before: &str| {
            let (_, rest) = judgement.detail.split_once(before)?;
            rest.split(['\'', '.']).next()
        };
        let of_name =
            |name: &&str| ["SortedDict", "SortedList", "SortedSet"].contains(name).then_some("sortedcontainers");
        let module = quoted("No module named '").filter(|name| text.contains(name));
        let module = module
            .or_else(|| quoted("name '").filter(|_| judgement.detail.contains("NameError")).as_ref().and_then(of_name));
        match module.filter(|name| tools::USUAL.contains(name) && !python.modules.iter().any(|found| found == name)) {
            Some(name) => {
                let detail = format!("the Python module {name} is missing on this machine");
                Judgement { outcome: Outcome::Unsupported, detail, ..judgement }
            }
            None => judgement,
        }
    }

    fn judge_now(&mut self, language: Language, code: Code<'_>, tests: &Tests) -> Judgement {
        let total = tests.total();
        let lost = match self.attempt(language, code, tests) {
            Ok(judgement) => return judgement,
            Err(error) => error,
        };
        // A program that takes the sandbox down again, where others do not, is at fault.
        match self.attempt(language, code, tests) {
            Ok(judgement) => judgement,
            Err(_) if self.works(language) => {
                let why = format!("the sandbox was lost with it, twice: {lost}");
                Judgement::new(Outcome::RuntimeError, total, super::text::short(&why, 400))
            }
            Err(error) => Judgement::new(Outcome::SandboxFailure, total, super::text::short(&error.to_string(), 400)),
        }
    }

    /// One attempt, which fails where the sandbox does. It is not trusted with the next then.
    fn attempt(&mut self, language: Language, code: Code<'_>, tests: &Tests) -> Result<Judgement, SandboxError> {
        let total = tests.total();
        match self.try_judge(language, code, tests) {
            Ok(()) => Ok(Judgement { passed: total, ..Judgement::new(Outcome::Accepted, total, "") }),
            Err(Halt::Judged(judgement)) => Ok(Judgement { total, ..judgement }),
            Err(Halt::Sandbox(error)) => {
                (self.python, self.native) = (None, None);
                Err(error)
            }
        }
    }

    /// Whether programs that do nothing come to their end here.
    fn works(&mut self, language: Language) -> bool {
        let nothing = match language {
            Language::Python => "",
            Language::C | Language::Cpp => "int main(void) { return 0; }",
            Language::Rust => "fn main() {}",
        };
        let limits = self.options.limits;
        let run = |judge: &mut Judge| {
            let program = judge.program(language, nothing)?;
            judge.run(&program, b"", &limits)
        };
        matches!(run(self), Ok(process) if process.end().is_ok_and(|end| end.how == How::Exited(0)))
    }

    fn try_judge(&mut self, language: Language, code: Code<'_>, tests: &Tests) -> Result<(), Halt> {
        let found;
        let code = match code {
            Code::Given(code) => code,
            Code::Answer(answer) => {
                found = extract::last_block(answer, language)
                    .ok_or_else(|| judged(Outcome::NoCode, format!("no closed block of {}", language.name())))?;
                &found
            }
        };
        if !self.options.tools.has(language) {
            return Err(judged(Outcome::Unsupported, format!("nothing on this machine runs {}", language.name())));
        }
        let function = tests.starter().1;
        if function.is_some() && language != Language::Python {
            return Err(judged(Outcome::Unsupported, "functions are called in Python only".to_owned()));
        }
        let limits = self.limits(tests);
        self.script = "script";
        let (starter, _) = tests.starter();
        let merged = match language {
            Language::Python => extract::merge(starter, code, function),
            _ => code.trim_start_matches('\u{feff}').to_owned(),
        };
        match tests {
            Tests::Stdin(tests) => self.stdin(language, &merged, tests, &limits),
            Tests::LiveCodeBench(tests @ LiveCodeBenchTests { fn_name: None, .. }) => {
                self.script = "script+prelude";
                self.stdin(language, &merged, &StdinTests::live_code_bench(tests), &limits)
            }
            Tests::Calls(_) | Tests::LiveCodeBench(_) => self.calls(&merged, tests, &limits),
            Tests::Check(tests) => self.check(&merged, tests, &limits),
        }
    }

    fn limits(&self, tests: &Tests) -> Limits {
        let (mut limits, task) = (self.options.limits, tests.limits());
        if let Tests::LiveCodeBench(tests) = tests {
            // A process answers one test, or all calls.
            let runs = if tests.fn_name.is_some() { tests.inputs.len().max(1) as u64 } else { 1 };
            limits.cpu_ms = PER_TEST_MS.saturating_mul(runs).min(LONGEST_MS);
            limits.wall_ms = limits.cpu_ms.saturating_mul(3);
        }
        if let Some(seconds) = task.cpu_seconds {
            (limits.cpu_ms, limits.wall_ms) = (seconds.saturating_mul(1000), seconds.saturating_mul(3000));
        }
        if let Some(seconds) = task.wall_seconds {
            limits.wall_ms = seconds.saturating_mul(1000);
        }
        if let Some(mebibytes) = task.memory_mib {
            limits.memory_bytes = mebibytes.saturating_mul(1 << 20);
        }
        if let Some(kibibytes) = task.output_kib {
            limits.stdout_bytes = kibibytes.saturating_mul(1 << 10);
        }
        (limits.cpu_ms, limits.wall_ms) = (self.scaled(limits.cpu_ms), self.scaled(limits.wall_ms));
        limits
    }

    /// Time as this machine needs it.
    pub(super) fn scaled(&self, milliseconds: u64) -> u64 {
        milliseconds.saturating_mul(self.slowness) / 100
    }

    fn stdin(&mut self, language: Language, code: &str, tests: &StdinTests, limits: &Limits) -> Result<(), Halt> {
        let program = self.program(language, code)?;
        let checker = match &tests.checker {
            None => None,
            Some(checker) => Some((checker, self.checker(checker)?)),
        };
        for (index, case) in tests.cases.iter().enumerate() {
            let place = |judgement: Judgement| {
                Halt::Judged(Judgement { test: Some(index as u64 + 1), passed: index as u64, ..judgement })
            };
            let process = self.run(&program, case.input.as_bytes(), limits)?;
            let stderr = &process.stderr().bytes;
            if let Some((outcome, detail)) = misery(process.end()?, stderr, limits) {
                return Err(place(Judgement::new(outcome, 0, detail)));
            }
            let got = &process.stdout().bytes;
            match &checker {
                None => {
                    let found = difference(case.output.as_bytes(), got, tests.compare, tests.tolerance.as_ref());
                    if let Some(found) = found {
                        let judgement = Judgement::new(Outcome::WrongAnswer, 0, format!("{} differs", found.at));
                        return Err(place(Judgement { expected: found.expected, got: found.got, ..judgement }));
                    }
                }
                Some((checker, program)) => {
                    if let Some(judgement) = self.checked(checker, program, case, got)? {
                        return Err(place(judgement));
                    }
                }
            }
        }
        Ok(())
    }

    fn program(&mut self, language: Language, code: &str) -> Result<Program, Halt> {
        if language == Language::Python {
            return Ok(Program::Python(code.as_bytes().into()));
        }
        let extension = match language {
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Python | Language::Rust => "rs",
        };
        let Some((compiler, arguments)) = self.options.tools.compile(language) else {
            return Err(judged(Outcome::Unsupported, format!("no compiler for {}", language.name())));
        };
        let job = Job {
            start: Start::Exec {
                program: compiler.display().to_string(),
                arguments,
                environment: tools::environment(),
            },
            limits: COMPILING,
            stdin: Arc::from([]),
            files: vec![file(&format!("main.{extension}"), code.as_bytes().into(), false)],
            channel: false,
            collect: Some(("program".to_owned(), MAX_PROGRAM as u64 + 1)),
        };
        let process = self.worker(language)?.run(&job)?;
        let stderr = &process.stderr().bytes;
        let end = process.end()?;
        match (end.stopped, end.how, process.collected()) {
            (None, How::Exited(0), Some(program)) if program.len() > MAX_PROGRAM => {
                let detail = format!("a program of more than {} MiB", MAX_PROGRAM >> 20);
                Err(judged(Outcome::CompileError, detail))
            }
            (None, How::Exited(0), Some(program)) => Ok(Program::Native(program.into())),
            (Some(stopped), ..) => {
                let detail = format!("compiling took too much {}", resource(stopped));
                Err(judged(Outcome::CompileError, detail))
            }
            _ => {
                let errors = String::from_utf8_lossy(stderr);
                let line = errors.lines().find(|line| line.contains("error")).or(errors.lines().next()).unwrap_or("");
                Err(judged(Outcome::CompileError, super::text::short(line.trim(), 200)))
            }
        }
    }

    /// A checker that does not compile is the tests' fault.
    fn checker(&mut self, checker: &Checker) -> Result<Program, Halt> {
        if !self.options.tools.has(checker.language) {
            let detail = format!("nothing on this machine runs the checker's {}", checker.language.name());
            return Err(judged(Outcome::Unsupported, detail));
        }
        self.program(checker.language, &checker.code).map_err(|halt| match halt {
            Halt::Judged(judgement) => judged(Outcome::TestsFailure, format!("the checker: {}", judgement.detail)),
            halt => halt,
        })
    }

    fn run(&mut self, program: &Program, stdin: &[u8], limits: &Limits) -> Result<Process, Halt> {
        self.run_with(program, stdin, limits, Vec::new(), &[])
    }

    fn run_with(
        &mut self,
        program: &Program,
        stdin: &[u8],
        limits: &Limits,
        mut files: Vec<FileIn>,
        arguments: &[&str],
    ) -> Result<Process, Halt> {
        let (start, language) = match program {
            Program::Python(code) => {
                files.push(file("main.py", code.clone(), false));
                // A checker is no solution: it has arguments.
                let script = if arguments.is_empty() { self.script } else { "script" };
                let argument = [&[script], arguments].concat().join(" ");
                (self.python_start(argument), Language::Python)
            }
            Program::Native(code) => {
                files.push(file("program", code.clone(), true));
                let start = Start::Exec {
                    program: "/tmp/program".to_owned(),
                    arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
                    environment: tools::environment(),
                };
                (start, Language::C)
            }
        };
        let job = Job { start, limits: *limits, stdin: stdin.into(), files, channel: false, collect: None };
        Ok(self.worker(language)?.run(&job)?)
    }

    /// What a checker says of an output; `None` when it is right.
    fn checked(
        &mut self,
        checker: &Checker,
        program: &Program,
        case: &StdinCase,
        got: &[u8],
    ) -> Result<Option<Judgement>, Halt> {
        let limits = self.options.limits;
        let process = self.run_checker(program, case, got)?;
        let stderr = &process.stderr().bytes;
        let end = process.end()?;
        let printed = String::from_utf8_lossy(&process.stdout().bytes);
        let score = || printed.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        let right = match (end.stopped, end.how, checker.verdict) {
            (None, How::Exited(0), CheckerVerdict::ExitStatus) => Some(true),
            (None, How::Exited(1 | 2), CheckerVerdict::ExitStatus) if !is_traceback(stderr) => Some(false),
            (None, How::Exited(0), CheckerVerdict::Printed) => score().map(|score| score >= 1.0),
            _ => None,
        };
        Ok(match right {
            Some(true) => None,
            Some(false) => {
                let said = [last_line(stderr), last_line(printed.as_bytes())].into_iter().find(|said| !said.is_empty());
                let detail = format!("the checker says no: {}", said.unwrap_or_default());
                let (expected, got) = (short_bytes(case.output.as_bytes(), 120), short_bytes(got, 120));
                Some(Judgement { expected, got, ..Judgement::new(Outcome::WrongAnswer, 0, detail) })
            }
            None => {
                let misery = misery(end, stderr, &limits);
                let too_much = matches!(misery, Some((Outcome::Time | Outcome::Memory | Outcome::Output, _)));
                let why = misery.map_or_else(|| "it said nothing".to_owned(), |(_, detail)| detail);
                // A checker that comes to a limit with this output, and to an end with the right one, is not at fault.
                if too_much && got != case.output.as_bytes() && self.ends_well(program, case)? {
                    let detail = format!("the checker came to a limit with it: {why}");
                    return Ok(Some(Judgement::new(Outcome::WrongAnswer, 0, detail)));
                }
                Some(Judgement::new(Outcome::TestsFailure, 0, format!("the checker failed: {why}")))
            }
        })
    }

    /// Whether a checker comes to its end when an output is the answer itself.
    fn ends_well(&mut self, checker: &Program, case: &StdinCase) -> Result<bool, Halt> {
        let process = self.run_checker(checker, case, case.output.as_bytes())?;
        let end = process.end()?;
        Ok(end.stopped.is_none() && matches!(end.how, How::Exited(0..=2)))
    }

    fn run_checker(&mut self, checker: &Program, case: &StdinCase, got: &[u8]) -> Result<Process, Halt> {
        let files = vec![
            file("input", case.input.as_bytes().into(), false),
            file("output", got.into(), false),
            file("answer", case.output.as_bytes().into(), false),
        ];
        let limits = self.options.limits;
        self.run_with(checker, b"", &limits, files, &["input", "output", "answer"])
    }

    /// Runs a Python program of ours, and what it prints.
    pub(super) fn printed(&mut self, code: &str) -> Option<String> {
        let limits = self.options.limits;
        let process = self.run(&Program::Python(code.as_bytes().into()), b"", &limits).ok()?;
        process
            .end()
            .is_ok_and(|end| end.how == How::Exited(0))
            .then(|| String::from_utf8_lossy(&process.stdout().bytes).into_owned())
    }

    pub(super) fn python_start(&self, argument: String) -> Start {
        match &self.options.tools.python {
            Some(python) if !(self.options.warm && python.can_be_warm()) => Start::Exec {
                program: python.program.display().to_string(),
                arguments: python.cold(&argument),
                environment: python.environment(),
            },
            _ => Start::Warm { argument },
        }
    }

    pub(super) fn worker(&mut self, language: Language) -> Result<&mut Worker, SandboxError> {
        let slot = if language == Language::Python { &mut self.python } else { &mut self.native };
        let worker = match slot.take() {
            Some(worker) => worker,
            None => {
                let mut view = match (&self.options.tools.python, language) {
                    (Some(python), Language::Python) => python.view(self.options.warm && python.can_be_warm()),
                    _ => self.options.tools.native_view(),
                };
                view.without.clone_from(&self.options.without);
                let worker = Worker::start(&self.options.launcher, &view)?;
                self.layers = worker.layers().clone();
                worker
            }
        };
        Ok(slot.insert(worker))
    }
}

pub(super) fn judged(outcome: Outcome, detail: String) -> Halt {
    Halt::Judged(Judgement::new(outcome, 0, detail))
}

pub(super) fn file(name: &str, content: Arc<[u8]>, executable: bool) -> FileIn {
    FileIn { name: name.to_owned(), content, executable }
}

fn resource(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Wall => "wall time",
        Stopped::Cpu => "CPU time",
        Stopped::Memory => "memory",
        Stopped::Output | Stopped::Asked => "output",
    }
}

fn is_traceback(stderr: &[u8]) -> bool {
    stderr.windows(9).any(|window| window == b"Traceback")
}

/// What an end says by itself: which limit was passed, how it failed. `None` when it ended well.
pub(super) fn misery(end: &End, stderr: &[u8], limits: &Limits) -> Option<(Outcome, String)> {
    if let Some(stopped) = end.stopped {
        return Some(match stopped {
            Stopped::Wall => (Outcome::Time, format!("more than {} ms of wall time", limits.wall_ms)),
            Stopped::Cpu => (Outcome::Time, format!("more than {} ms of CPU time", limits.cpu_ms)),
            Stopped::Memory => (Outcome::Memory, format!("more than {} MiB", limits.memory_bytes >> 20)),
            Stopped::Output => (Outcome::Output, "more output than allowed".to_owned()),
            Stopped::Asked => return None,
        });
    }
    let said = last_line(stderr);
    // Refused an allocation: beyond what it may reserve.
    let starved = ["MemoryError", "std::bad_alloc", "memory allocation of"].iter().any(|word| said.contains(word));
    match end.how {
        How::Exited(0) => None,
        How::Exited(SYNTAX_ERROR) if said.contains("Error") => Some((Outcome::CompileError, said)),
        How::Exited(_) | How::Signalled(_) if starved => Some((Outcome::Memory, said)),
        How::Exited(status) if said.is_empty() => Some((Outcome::RuntimeError, format!("exit status {status}"))),
        How::Exited(status) => Some((Outcome::RuntimeError, format!("exit status {status}: {said}"))),
        How::Signalled(signal) => {
            let (outcome, what) = match signal {
                4 => (Outcome::RuntimeError, "SIGILL"),
                6 => (Outcome::RuntimeError, "SIGABRT"),
                7 => (Outcome::RuntimeError, "SIGBUS"),
                8 => (Outcome::RuntimeError, "SIGFPE, a division by zero or the like"),
                9 => (Outcome::RuntimeError, "SIGKILL, its own"),
                11 => (Outcome::RuntimeError, "SIGSEGV, bad memory or a stack overflow"),
                24 => (Outcome::Time, "SIGXCPU, too much CPU time"),
                25 => (Outcome::Output, "SIGXFSZ, a file too large"),
                27 => (Outcome::Time, "SIGPROF, more CPU time than a test may take"),
                31 => (Outcome::RuntimeError, "SIGSYS, a system call that is refused"),
                _ => (Outcome::RuntimeError, "a signal"),
            };
            let more = if said.is_empty() { String::new() } else { format!(": {said}") };
            Some((outcome, format!("ended by signal {signal} ({what}){more}")))
        }
    }
}

/// The program of a judge's interpreter, for reports.
impl Judge {
    /// Where its Python is.
    pub fn python(&self) -> Option<&PathBuf> {
        self.options.tools.python.as_ref().map(|python| &python.program)
    }
}

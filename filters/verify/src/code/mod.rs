//! Code: is what a model wrote right by its tests? A response, or code, and tests go in; a judgement with its outcome, and
//! what was expected and seen, comes out.
//!
//! Programs run in `distill-sandbox`; everything is compared out here. `task` is what is asked, `extract` finds the code,
//! `tools` the interpreter and compilers, `judge` runs the tests (`calls` those that call a function, `relay` assertions),
//! `compare` and `value` decide. `harness.py`, `peer.py` and `stand_ins.py` run inside.
//!
//! A solution shares its interpreter with nothing that knows the answer: a program's output and a function's results are
//! compared here, with what never entered the sandbox; assertions run in a cell of their own, and reach the solution through
//! this process, which passes on plain data only. So there is nothing for a solution to find, patch or print.

mod calibrate;
mod calls;
mod compare;
mod extract;
mod judge;
mod judges;
mod pool;
mod relay;
mod task;
mod text;
mod tools;
mod value;

pub use distill_sandbox::{Launcher, Layer, Layers, Limits, SandboxError, supervise};
pub use extract::last_block;
pub use judge::{Code, Judge, Options};
pub use judges::Judges;
pub use pool::in_order;
pub use task::{
    CallCase, CallTests, CheckTests, Checker, CheckerVerdict, Compare, Language, LiveCodeBenchTests, StdinCase,
    StdinTests, TaskLimits, Tests, Tolerance, parse_reference,
};
pub use tools::{Python, Tools, USUAL};

use serde::Serialize;

/// What a judgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Right by every test.
    Pass,
    /// Wrong by a test.
    Fail,
    /// Not decided: the sandbox or the tests are at fault, or there is no code.
    Unknown,
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every test agrees.
    Accepted,
    /// A test disagrees.
    WrongAnswer,
    /// Too long, by wall or CPU time.
    Time,
    /// Too much memory.
    Memory,
    /// Too much output.
    Output,
    /// It failed by itself, or tried what is refused.
    RuntimeError,
    /// It is no program.
    CompileError,
    /// It could not be run, which is not its fault.
    SandboxFailure,
    /// The tests or the checker failed, which is not its fault.
    TestsFailure,
    /// No code in the response.
    NoCode,
    /// No tool on this machine runs that language, or those tests are not for it.
    Unsupported,
}

impl Outcome {
    /// What follows from it. What is not the code's fault is unknown.
    pub fn verdict(self) -> Verdict {
        match self {
            Outcome::Accepted => Verdict::Pass,
            Outcome::WrongAnswer
            | Outcome::Time
            | Outcome::Memory
            | Outcome::Output
            | Outcome::RuntimeError
            | Outcome::CompileError => Verdict::Fail,
            Outcome::SandboxFailure | Outcome::TestsFailure | Outcome::NoCode | Outcome::Unsupported => {
                Verdict::Unknown
            }
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::WrongAnswer => "wrong-answer",
            Outcome::Time => "time",
            Outcome::Memory => "memory",
            Outcome::Output => "output",
            Outcome::RuntimeError => "runtime-error",
            Outcome::CompileError => "compile-error",
            Outcome::SandboxFailure => "sandbox-failure",
            Outcome::TestsFailure => "tests-failure",
            Outcome::NoCode => "no-code",
            Outcome::Unsupported => "unsupported",
        }
    }
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }
}

/// A judgement with its evidence. Every text in it is short and free of escape codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How it came out.
    pub outcome: Outcome,
    /// Tests that agreed, up to the first that did not.
    pub passed: u64,
    /// Tests.
    pub total: u64,
    /// The test that decided, from 1, unless all agreed or none was reached.
    pub test: Option<u64>,
    /// What happened, in a line.
    pub detail: String,
    /// What was expected, where a test disagreed.
    pub expected: String,
    /// What was seen instead.
    pub got: String,
    /// Whether repetitions came out differently. The verdict is unknown then.
    pub flaky: bool,
}

impl Judgement {
    /// What it says.
    pub fn verdict(&self) -> Verdict {
        if self.flaky { Verdict::Unknown } else { self.outcome.verdict() }
    }

    fn new(outcome: Outcome, total: u64, detail: impl Into<String>) -> Judgement {
        let (expected, got) = (String::new(), String::new());
        Judgement { outcome, passed: 0, total, test: None, detail: detail.into(), expected, got, flaky: false }
    }
}

//! What is to be judged: a response or code, and tests. This is the JSON of `distill verify code`, and what a problem
//! whose reference is tests holds as its answer.

use super::value::Value;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// Languages that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Python 3.
    #[serde(alias = "py", alias = "python3")]
    Python,
    /// C.
    C,
    /// C++.
    #[serde(alias = "c++", alias = "cxx")]
    Cpp,
    /// Rust.
    #[serde(alias = "rs")]
    Rust,
}

impl Language {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Rust => "rust",
        }
    }

    /// From the word that follows a fence, whatever version or implementation it names.
    pub fn named(word: &str) -> Option<Language> {
        let word = word.to_ascii_lowercase();
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
        let version = word[stem.len()..].trim_start_matches('-');
        Some(match stem {
            "python" | "py" | "pypy" | "ipython" | "cpython" if !version.starts_with('2') => Language::Python,
            "c" | "gcc" | "gnu" | "ansi-c" => Language::C,
            "cpp" | "c++" | "cxx" | "cc" | "g++" | "gnu++" | "hpp" => Language::Cpp,
            "rust" | "rs" => Language::Rust,
            // A standard before it was one: `c++2a`.
            _ if ["c++", "gnu++"].iter().any(|name| word.strip_prefix(name).is_some_and(|rest| rest.len() == 2)) => {
                Language::Cpp
            }
            _ => return None,
        })
    }
}

/// Tests of a solution. In JSON, `kind` says which of them.
#[derive(Clone, Debug)]
pub enum Tests {
    /// `stdin`: a program that reads standard input and writes standard output.
    Stdin(StdinTests),
    /// `calls`: a function, or a method of `class Solution`, that is called with arguments.
    Calls(CallTests),
    /// `check`: assertions about a function, as in HumanEval.
    Check(CheckTests),
    /// `live-code-bench`: without a function's name a program, with one a function.
    LiveCodeBench(LiveCodeBenchTests),
}

/// Tests of a program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinTests {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Inputs with what is expected.
    pub cases: Vec<StdinCase>,
    /// What counts as the same.
    #[serde(default)]
    pub compare: Compare,
    /// How far numbers may be off.
    #[serde(default)]
    pub tolerance: Option<Tolerance>,
    /// A program that decides instead of a comparison.
    #[serde(default)]
    pub checker: Option<Checker>,
    /// What a run may use.
    #[serde(default)]
    pub limits: TaskLimits,
}

impl StdinTests {
    /// Inputs and outputs, compared as LiveCodeBench does.
    pub(super) fn live_code_bench(tests: &LiveCodeBenchTests) -> StdinTests {
        let case = |(input, output): (&String, &String)| StdinCase { input: input.clone(), output: output.clone() };
        let cases = tests.inputs.iter().zip(&tests.outputs).map(case).collect();
        StdinTests { cases, compare: Compare::Decimals, ..StdinTests::default() }
    }
}

/// Tests of a function.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallTests {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its name.
    pub function: String,
    /// Arguments with what is expected.
    pub cases: Vec<CallCase>,
    /// How far numbers may be off.
    #[serde(default)]
    pub tolerance: Option<Tolerance>,
    /// What solutions begin with.
    #[serde(default)]
    pub starter: String,
    /// What all calls together may use.
    #[serde(default)]
    pub limits: TaskLimits,
}

/// Assertions about a function: Python that defines `check(candidate)`, or asserts at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckTests {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// The function's name.
    pub entry_point: String,
    /// What solutions begin with, and what the assertions may use: HumanEval's prompt.
    #[serde(default)]
    pub starter: String,
    /// The assertions.
    pub check: String,
    /// What all calls together may use.
    #[serde(default)]
    pub limits: TaskLimits,
}

/// Tests as LiveCodeBench has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCodeBenchTests {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// The function's name.
    #[serde(default)]
    pub fn_name: Option<String>,
    /// Standard inputs, or lines that each hold one argument as JSON.
    pub inputs: Vec<String>,
    /// Standard outputs, or results as JSON.
    pub outputs: Vec<String>,
    /// What solutions begin with.
    #[serde(default)]
    pub starter: String,
    /// What a run may use.
    #[serde(default)]
    pub limits: TaskLimits,
}

/// One input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinCase {
    /// Standard input.
    pub input: String,
    /// Standard output as expected; with a checker whatever the checker wants as the answer.
    pub output: String,
}

/// One call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCase {
    /// Its arguments, a JSON list.
    pub args: Box<RawValue>,
    /// What it must return. It never enters the sandbox.
    pub expected: Box<RawValue>,
}

/// What counts as the same output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// The same words in the same order.
    #[default]
    Tokens,
    /// The same lines, white space at their ends aside.
    Lines,
    /// The same bytes.
    Exact,
    /// The same lines, white space at both their ends and the text's aside, or the same numbers in them: as LiveCodeBench
    /// compares.
    Decimals,
}

/// How far a number may be off: by either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In absolute terms.
    pub absolute: f64,
    /// As a share of the expected number.
    pub relative: f64,
}

/// A program that decides whether an output is right. It runs in a cell of its own, with `input`, `output` and `answer`
/// as files whose names are its arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checker {
    /// Its language.
    pub language: Language,
    /// Its code.
    pub code: String,
    /// How it tells.
    #[serde(default)]
    pub verdict: CheckerVerdict,
}

/// How a checker tells its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckerVerdict {
    /// By its exit status, as testlib does: 0 right, 1 and 2 wrong, anything else is the checker's own failure.
    #[default]
    ExitStatus,
    /// By a number that it prints: 1 or more is right.
    Printed,
}

/// What a task may use, where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskLimits {
    /// CPU time in seconds.
    pub cpu_seconds: Option<u64>,
    /// Wall time in seconds; three times the CPU time unless given.
    pub wall_seconds: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Standard output in KiB.
    pub output_kib: Option<u64>,
}

/// What a problem with tests holds as its answer: `{"language", "tests"}`.
///
/// # Errors
/// What was expected, and where.
pub fn parse_reference(json: &str) -> Result<(Language, Tests), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reference {
        language: Language,
        tests: Box<RawValue>,
    }
    let reference: Reference = serde_json::from_str(json).map_err(|error| error.to_string())?;
    Ok((reference.language, Tests::parse(reference.tests.get())?))
}

/// The part of tests that says which they are.
#[derive(Deserialize)]
struct Kind {
    kind: String,
}

impl Tests {
    /// Reads the JSON of tests.
    ///
    /// # Errors
    /// What was expected, and where.
    pub fn parse(json: &str) -> Result<Tests, String> {
        // By hand, since a tagged enum could not keep numbers as they are written.
        let wrong = |error: serde_json::Error| error.to_string();
        let Kind { kind } = serde_json::from_str(json).map_err(wrong)?;
        let tests = match kind.as_str() {
            "stdin" => Tests::Stdin(serde_json::from_str(json).map_err(wrong)?),
            "calls" => Tests::Calls(serde_json::from_str(json).map_err(wrong)?),
            "check" => Tests::Check(serde_json::from_str(json).map_err(wrong)?),
            "live-code-bench" => Tests::LiveCodeBench(serde_json::from_str(json).map_err(wrong)?),
            other => {
                let found = super::text::short(other, 40);
                return Err(format!("`kind`: expected stdin, calls, check or live-code-bench, found `{found}`"));
            }
        };
        tests.check().map(|()| tests)
    }

    /// Checks what the types do not.
    fn check(&self) -> Result<(), String> {
        if let Tests::LiveCodeBench(LiveCodeBenchTests { inputs, outputs, .. }) = self
            && inputs.len() != outputs.len()
        {
            return Err(format!("expected as many outputs as inputs, found {} and {}", outputs.len(), inputs.len()));
        }
        if self.total() == 0 {
            return Err("expected at least one test, found none".to_owned());
        }
        let (_, name) = self.starter();
        match name.filter(|name| name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            Some(name) => Err(format!("expected a function's name, found `{}`", super::text::short(name, 40))),
            None => self.calls().map(drop),
        }
    }

    /// How many there are. Assertions are one test.
    pub fn total(&self) -> u64 {
        (match self {
            Tests::Stdin(tests) => tests.cases.len(),
            Tests::Calls(tests) => tests.cases.len(),
            Tests::Check(_) => 1,
            Tests::LiveCodeBench(tests) => tests.inputs.len(),
        }) as u64
    }

    /// Arguments and expected results, where calls are tested.
    ///
    /// # Errors
    /// Which test is not JSON, and why.
    pub(super) fn calls(&self) -> Result<Vec<(Value, Value)>, String> {
        let json =
            |text: &str, test: usize| Value::from_json(text).map_err(|error| format!("test {}: {error}", test + 1));
        match self {
            Tests::Calls(tests) => {
                let case = |(test, case): (usize, &CallCase)| match json(case.args.get(), test)? {
                    args @ Value::List(_) => Ok((args, json(case.expected.get(), test)?)),
                    _ => Err(format!("test {}: expected a list of arguments", test + 1)),
                };
                tests.cases.iter().enumerate().map(case).collect()
            }
            Tests::LiveCodeBench(LiveCodeBenchTests { fn_name: Some(_), inputs, outputs, .. }) => {
                let case = |(test, (input, output)): (usize, (&String, &String))| {
                    let lines = input.lines().filter(|line| !line.trim().is_empty());
                    let args = lines.map(|line| json(line, test)).collect::<Result<Vec<_>, String>>()?;
                    Ok((Value::List(args), json(output, test)?))
                };
                inputs.iter().zip(outputs).enumerate().map(case).collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn limits(&self) -> TaskLimits {
        match self {
            Tests::Stdin(tests) => tests.limits,
            Tests::Calls(tests) => tests.limits,
            Tests::Check(tests) => tests.limits,
            Tests::LiveCodeBench(tests) => tests.limits,
        }
    }

    /// What solutions begin with, and the function they define.
    pub(super) fn starter(&self) -> (&str, Option<&str>) {
        match self {
            Tests::Stdin(_) => ("", None),
            Tests::Calls(tests) => (&tests.starter, Some(&tests.function)),
            Tests::Check(tests) => (&tests.starter, Some(&tests.entry_point)),
            Tests::LiveCodeBench(tests) => (&tests.starter, tests.fn_name.as_deref()),
        }
    }
}

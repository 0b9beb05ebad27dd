//! `distill verify code`: a solution and its tests in, a verdict with its outcome out.

use super::{Answered, json, wrong};
use crate::cli::VerifyCodeArgs;
use anyhow::Result;
use distill_dataset::{Dataset, Detail, Digest, TurnFormat};
use distill_verify::code::{Code, Judges, Language, Launcher, Layer, Options, Tests, Tools};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Instant};

/// The hidden subcommand under which this program is a sandbox's supervisor.
pub const SUPERVISOR: &str = "sandbox-supervisor";

/// What is to be judged: code, or the response that holds it in its last block.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Comes back as it is.
    #[serde(default)]
    id: serde_json::Value,
    language: Language,
    code: Option<String>,
    response: Option<String>,
    tests: Box<RawValue>,
}

/// The verdict.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    id: &'a serde_json::Value,
    verdict: &'static str,
    outcome: &'static str,
    /// Tests that agreed, up to the first that did not.
    passed: u64,
    total: u64,
    /// What contained it.
    layers: &'a [&'static str],
    /// Milliseconds that judging took.
    millis: u64,
    /// The test that decided, from 1.
    test: Option<u64>,
    /// What happened, in short.
    detail: &'a str,
    expected: &'a str,
    got: &'a str,
    flaky: bool,
}

/// How this program starts a sandbox's supervisor: as itself, under another name.
pub fn launcher() -> Launcher {
    let running = std::path::PathBuf::from("/proc/self/exe");
    // The file that runs, even when another was put under its name meanwhile.
    let program = if running.exists() { running } else { std::env::current_exe().unwrap_or_default() };
    Launcher { program, arguments: vec![SUPERVISOR.into()], user: None }
}

/// Judges for those who verify answers to these problems, and what decides their verdicts beside trace and problem: the tools that
/// run tests, and their limits. Tools are looked for where problems have tests only, since that takes other programs' time.
pub fn judges_for<'d>(verifies: bool, problems: impl IntoIterator<Item = &'d Dataset>) -> (Judges, Option<String>) {
    let has_tests = |dataset: &Dataset| match &dataset.manifest.tally.detail {
        Detail::Problems { references, .. } => references.contains_key("tests"),
        _ => false,
    };
    let runs = verifies && problems.into_iter().any(has_tests);
    let tools = if runs { Tools::find(None) } else { Tools::default() };
    let options = Options::new(launcher(), Arc::new(tools));
    let decides = runs.then(|| {
        Digest::new("tools").field(&options.tools.identity()).field(&format!("{:?}", options.limits)).finish()
    });
    (Judges::new(Options { threads: rayon::current_num_threads(), ..options }), decides)
}

/// The judges that the flags ask for, with the sandbox tried out.
///
/// # Errors
/// Which layer of the isolation is missing and how to get it, or which flag is wrong.
pub fn judges(args: &VerifyCodeArgs) -> Result<Judges> {
    let layer = |name: &String| {
        let quoted = serde_json::Value::String(name.clone());
        serde_json::from_value::<Layer>(quoted).map_err(|error| anyhow::anyhow!("--without: {error}"))
    };
    let tools = Tools::find(args.python.as_deref());
    if let (Some(python), None) = (&args.python, &tools.python) {
        anyhow::bail!("--python: expected a Python 3.8 or later, found {}", python.display());
    }
    let mut options = Options::new(launcher(), Arc::new(tools));
    options.limits.cpu_ms = args.cpu_seconds * 1000;
    options.limits.wall_ms = args.cpu_seconds * 3000;
    options.limits.memory_bytes = args.memory_mib << 20;
    options.repetitions = args.repetitions;
    options.warm = !args.cold;
    options.without = args.without.iter().map(layer).collect::<Result<_>>()?;
    let judges = Judges::new(options);
    judges.prepare(Language::Python)?;
    Ok(judges)
}

/// Judges line `number`.
///
/// # Errors
/// The line that says what was expected and what was found.
pub fn code(judges: &Judges, number: u64, line: Result<&str, &str>) -> Result<Answered, String> {
    let wrong = |error: &str| wrong(line, number, error);
    let line = line.map_err(wrong)?;
    let question: Question = serde_json::from_str(line).map_err(|error| {
        let expected = r#"expected {"id", "language", "code", "tests"} or {"id", "language", "response", "tests"}"#;
        wrong(&format!("{expected}, found: {error}"))
    })?;
    let source = match (&question.code, &question.response) {
        (Some(code), None) => Code::Given(code),
        (None, Some(response)) => Code::Answer(TurnFormat::default().split(response).answered()),
        (None, None) => return Err(wrong(r#"expected "code" or "response", found neither"#)),
        (Some(_), Some(_)) => return Err(wrong(r#"expected one of "code" and "response", found both"#)),
    };
    let tests = Tests::parse(question.tests.get()).map_err(|error| wrong(&format!("tests: {error}")))?;
    let begin = Instant::now();
    let (judgement, layers) = judges.judge(question.language, source, &tests);
    let verdict = judgement.verdict().name();
    let text = json(&Verdict {
        id: &question.id,
        verdict,
        outcome: judgement.outcome.name(),
        passed: judgement.passed,
        total: judgement.total,
        layers: &layers.names(),
        millis: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        test: judgement.test,
        detail: &judgement.detail,
        expected: &judgement.expected,
        got: &judgement.got,
        flaky: judgement.flaky,
    });
    Ok(Answered { text, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_says_what_was_expected() {
        // None of these gets as far as a sandbox.
        let judges = Judges::new(Options::new(launcher(), Arc::new(Tools::default())));
        let tests = r#""tests": {"kind": "stdin", "cases": [{"input": "", "output": ""}]}"#;
        for (line, expected) in [
            (format!(r#"{{"language": "python", {tests}}}"#), "found neither"),
            (format!(r#"{{"language": "python", "code": "", "response": "", {tests}}}"#), "found both"),
            (format!(r#"{{"language": "cobol", "code": "", {tests}}}"#), "unknown variant `cobol`"),
            (r#"{"language": "python", "code": ""}"#.to_owned(), "missing field `tests`"),
            (
                r#"{"language": "python", "code": "", "tests": {"kind": "x"}}"#.to_owned(),
                "tests: `kind`: expected stdin",
            ),
            (r#"{"language": "python", "code": "", "tests": {"kind": "stdin", "cases": []}}"#.to_owned(), "found none"),
            ("not JSON".to_owned(), "found: expected"),
        ] {
            let wrong = code(&judges, 7, Ok(&line)).err().expect(&line);
            assert!(wrong.contains(expected) && wrong.contains(r#""line":7"#), "{line}: {wrong}");
        }
        let line = format!(r#"{{"id": 1, "language": "python", "code": "x", {tests}}}"#);
        let judged = code(&judges, 7, Ok(&line)).expect("a verdict").text;
        assert!(
            judged.contains(r#""verdict":"unknown","outcome":"unsupported""#),
            "no Python is nobody's mistake: {judged}"
        );
    }
}

//! Cases in files, a line each: what is asserted, and what CPython says of it; solutions that want to be judged right by
//! objects that say so themselves.

use crate::bench::{As, Bench, python};
use distill_verify::code::{Code, Language, Outcome, Tests, Tools, Verdict};
use serde::Deserialize;

/// Assertions, a solution, and what comes of them in one interpreter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    entry_point: String,
    starter: String,
    code: String,
    check: String,
    expected: String,
}

fn judged(lines: &str) -> (usize, Vec<String>) {
    let Some(bench) = Bench::new(As::Myself) else { return (0, Vec::new()) };
    let mut judge = bench.judge();
    let (mut count, mut wrong) = (0, Vec::new());
    for line in lines.lines() {
        let case: Case = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let tests = serde_json::json!({
            "kind": "check", "entry_point": case.entry_point, "starter": case.starter, "check": case.check,
            "limits": {"cpu_seconds": 5, "wall_seconds": 20}
        });
        let tests = Tests::parse(&tests.to_string()).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let judgement = python(&mut judge, &case.code, &tests);
        if judgement.verdict().name() != case.expected {
            wrong.push(format!("{}: expected {}, found {judgement:?}", case.id, case.expected));
        }
        count += 1;
    }
    (count, wrong)
}

#[test]
fn assertions_hold_where_they_hold_in_cpython() {
    let (count, wrong) = judged(include_str!("cases/check.jsonl"));
    assert!(count > 200 && wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_says_itself_that_it_is_right() {
    let (count, wrong) = judged(include_str!("cases/fakes.jsonl"));
    assert!(count > 500 && wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_wrong_solution_does_not_become_unknown_by_wearing_the_assertions_out() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    for (code, check) in [
        ("def f(x): return 10 ** 9", "    for _ in range(c(1)): pass\n    assert False"),
        ("def f(x): return 10 ** 8", "    assert list(range(c(1))) == [0]"),
        ("def f(x):\n    while True: yield 1", "    assert list(c(1)) == [1]"),
        ("def f(x):\n    while True: yield 1", "    assert sum(c(1)) == 1"),
        ("def f(x): return {hash(2 ** 61 * n) + (2 ** 61 - 1) * n for n in range(60000)}", "    assert c(1) == {1}"),
        ("def f(x): return '(' * 10 ** 6", "    import re\n    assert re.match('(\\\\(+)+$', c(1) + 'x') is not None"),
        ("def f(x): return 1 << (1 << 26)", "    assert str(c(1)) == '1'"),
        ("def f(x): return 7", "    x = c(1)\n    while x != 8: x = c(1)"),
    ] {
        let tests = serde_json::json!({
            "kind": "check", "entry_point": "f", "check": format!("def check(c):\n{check}\n"),
            "limits": {"cpu_seconds": 2, "wall_seconds": 8, "memory_mib": 256}
        });
        let judgement = python(&mut judge, code, &Tests::parse(&tests.to_string()).expect("tests"));
        assert_eq!(judgement.verdict(), Verdict::Fail, "{code}: {judgement:?}");
    }
    // Without a call nothing was given that could do it.
    let tests = serde_json::json!({
        "kind": "check", "entry_point": "f", "check": "while True: pass", "limits": {"cpu_seconds": 1, "wall_seconds": 3}
    });
    let judgement = python(&mut judge, "def f(x): return 1", &Tests::parse(&tests.to_string()).expect("tests"));
    assert_eq!(judgement.outcome, Outcome::TestsFailure, "{judgement:?}");
}

/// A program or a function, its tests, and the verdict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    id: String,
    language: Language,
    code: String,
    tests: serde_json::Value,
    expected: String,
}

#[test]
fn programs_are_run_as_their_tests_want() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let there = bench.options.tools.modules().expect("a Python");
    let (mut count, mut wrong) = (0, Vec::new());
    for line in include_str!("cases/programs.jsonl").lines() {
        let case: Program = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let tests = Tests::parse(&case.tests.to_string()).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        // What is unknown for want of a module is so where it is wanting.
        if case.expected == "unknown" && there.iter().any(|(name, found)| *found && case.code.contains(name)) {
            continue;
        }
        let judgement = judge.judge(case.language, Code::Given(&case.code), &tests);
        if judgement.verdict().name() != case.expected {
            wrong.push(format!("{}: expected {}, found {judgement:?}", case.id, case.expected));
        }
        count += 1;
    }
    assert!(count > 150 && wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_decides_beside_the_task_is_told() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let tools = &bench.options.tools;
    let told = tools.identity();
    assert_eq!(told, tools.identity(), "the same tools tell the same");
    for part in ["engine = ", "cpython 3.", "cpu_ms", "-std=gnu++17"] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let without = Tools { c: None, ..(**tools).clone() };
    assert_ne!(told, without.identity(), "another set of tools");
}

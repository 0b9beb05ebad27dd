//! Honest solutions in every language and shape are judged for what they are.

use crate::bench::{As, Bench, calls, check, python, skipped, stdin};
use distill_verify::code::{Code, Language, Options, Outcome, Tests, Verdict};
use serde_json::json;

fn tests(value: serde_json::Value) -> Tests {
    Tests::parse(&value.to_string()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn programs_are_judged_by_what_they_write() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let sum = stdin("3\n1 2 3\n", "6\n");
    for (code, outcome) in [
        ("input(); print(sum(map(int, input().split())))", Outcome::Accepted),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))", Outcome::Accepted),
        ("print(sum(map(int, open(0).read().split()[1:])))", Outcome::Accepted),
        ("print(sum(map(int, open('/dev/stdin').read().split()[1:])))", Outcome::Accepted),
        ("import os\nprint(sum(map(int, os.read(0, 99).split()[1:])))", Outcome::Accepted),
        ("if __name__ == '__main__':\n    print(6)", Outcome::Accepted),
        ("import threading\nthreading.Thread(target=print, args=(6,)).start()", Outcome::Accepted),
        ("import atexit\natexit.register(print, 6)", Outcome::Accepted),
        ("import sys\nsys.stdout.write('6')\nsys.exit()", Outcome::Accepted),
        (
            "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(6)'], capture_output=True, text=True).stdout)",
            Outcome::Accepted,
        ),
        (
            "from multiprocessing import Pool\nif __name__ == '__main__':\n    with Pool(2) as pool: print(sum(pool.map(abs, [1, 2, 3])))",
            Outcome::Accepted,
        ),
        (
            "import asyncio\nasync def f():\n    await asyncio.sleep(0); return 6\nprint(asyncio.run(f()))",
            Outcome::Accepted,
        ),
        (
            "import tempfile\nwith tempfile.TemporaryFile('w+') as file:\n    file.write('6'); file.seek(0); print(file.read())",
            Outcome::Accepted,
        ),
        (
            "import sys\nsys.setrecursionlimit(20000)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(9000) - 8994)",
            Outcome::Accepted,
        ),
        ("open('/dev/stdout', 'w').write('6')", Outcome::Accepted),
        ("print(7)", Outcome::WrongAnswer),
        ("", Outcome::WrongAnswer),
        ("print(6", Outcome::CompileError),
        ("x = 1\n  y = 2", Outcome::CompileError),
        ("print(6)\nraise ValueError('no')", Outcome::RuntimeError),
        ("print(6)\n1 / 0", Outcome::RuntimeError),
        ("import sys\nsys.exit('no')", Outcome::RuntimeError),
        ("import nowhere", Outcome::RuntimeError),
    ] {
        let judgement = python(&mut judge, code, &sum);
        assert_eq!(judgement.outcome, outcome, "{code}\n{judgement:?}");
    }
}

#[test]
fn a_fresh_interpreter_judges_alike() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut cold = distill_verify::code::Judge::new(Options { warm: false, ..bench.options.clone() });
    let accepted = python(&mut cold, "print(input())", &stdin("a", "a"));
    assert_eq!(accepted.outcome, Outcome::Accepted, "{accepted:?}");
    assert_eq!(python(&mut cold, "print(", &stdin("a", "a")).outcome, Outcome::CompileError);
    let accepted = python(&mut cold, "def f(x): return x + 1", &check("def check(f): assert f(1) == 2"));
    assert_eq!(accepted.outcome, Outcome::Accepted, "{accepted:?}");
}

#[test]
fn a_judgement_says_which_test_and_what_was_expected() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let cases = json!([{"input": "1", "output": "1"}, {"input": "2", "output": "4"}, {"input": "3", "output": "9"}]);
    let squares = tests(json!({"kind": "stdin", "cases": cases}));
    let judgement = python(&mut judge, "print(input())", &squares);
    assert_eq!((judgement.passed, judgement.total, judgement.test), (1, 3, Some(2)), "{judgement:?}");
    assert_eq!((judgement.expected.as_str(), judgement.got.as_str()), ("4", "2"));
    let squares = calls(json!([{"args": [1], "expected": 1}, {"args": [2], "expected": 4}]));
    let judgement = python(&mut judge, "def f(x): return x", &squares);
    assert_eq!((judgement.passed, judgement.test, judgement.got.as_str()), (1, Some(2), "2"), "{judgement:?}");
    assert!(judgement.detail.contains("f(2)"), "{judgement:?}");
    let asserts =
        check("def check(candidate):\n    assert candidate(1) == 1\n    assert candidate(2) == 4, 'squares'\n");
    let judgement = python(&mut judge, "def f(x): return x", &asserts);
    assert_eq!(judgement.expected, "assert candidate(2) == 4, 'squares'", "{judgement:?}");
    assert_eq!(judgement.got, "2", "{judgement:?}");
}

#[test]
fn functions_are_called_with_values_of_every_kind() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let values = json!([
        {"args": [[1, [2.5, null], true, "é\u{1F600}"]], "expected": [1, [2.5, null], true, "é\u{1F600}"]},
        {"args": [{"a": {"b": []}}], "expected": {"a": {"b": []}}},
        {"args": [123456789012345_i64], "expected": 123456789012345_i64},
    ]);
    assert_eq!(python(&mut judge, "def f(x): return x", &calls(values.clone())).outcome, Outcome::Accepted);
    let method = "class Solution:\n    def f(self, x): return x";
    assert_eq!(python(&mut judge, method, &calls(values)).outcome, Outcome::Accepted, "a method of Solution");
    let kept = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)";
    let in_turn = calls(json!([{"args": [0], "expected": 1}, {"args": [0], "expected": 2}]));
    assert_eq!(python(&mut judge, kept, &in_turn).outcome, Outcome::Accepted, "one process answers all calls");
    let big = tests(
        json!({"kind": "live-code-bench", "fn_name": "f", "inputs": ["100000000000000000000\n1"], "outputs": ["100000000000000000001"]}),
    );
    assert_eq!(
        python(
            &mut judge,
            "class Solution:\n    def f(self, a: List[int], b: Optional[int]) -> int:\n        return a + b",
            &big
        )
        .outcome,
        Outcome::Accepted
    );
    let types = "
def check(f):
    assert f((1, 2)) == (1, 2) and isinstance(f((1, 2)), tuple)
    assert f({1, 2}) == {1, 2} and f(frozenset([1])) == frozenset([1])
    assert f(b'x') == b'x' and f(2 + 3j) == 2 + 3j and f({(1, 2): None}) == {(1, 2): None}
    assert f(10 ** 50) == 10 ** 50 and f(-2 ** 70) == -2 ** 70 and f(float('inf')) == float('inf')
    assert f('\\ud800') == '\\ud800' and f(0.1) == 0.1 and f(None) is None and f(True) is True";
    let judgement = python(&mut judge, "def f(x): return x", &check(types));
    assert_eq!(judgement.outcome, Outcome::Accepted, "{judgement:?}");
    for (code, asserts) in [
        ("def f(x): x.sort()", "def check(f):\n    x = [2, 1]\n    f(x)\n    assert x == [1, 2]"),
        ("def f(x): return (n for n in range(x))", "def check(f): assert list(f(3)) == [0, 1, 2]"),
        (
            "def f(x):\n    raise ValueError('no')",
            "def check(f):\n    try: f(1)\n    except ValueError as error: assert str(error) == 'no'\n    else: assert False",
        ),
        ("def f(x): return x", "assert f(1) == 1\nassert f(2) == 2"),
        (
            "from collections import Counter, namedtuple\ndef f(x): return Counter(x)",
            "def check(f): assert f('aab') == {'a': 2, 'b': 1}",
        ),
    ] {
        let judgement = python(&mut judge, code, &check(asserts));
        assert_eq!(judgement.outcome, Outcome::Accepted, "{code}: {judgement:?}");
    }
}

#[test]
fn what_is_not_the_codes_fault_is_unknown() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    for (asserts, outcome) in [
        ("def check(f): assert undefined(f(1))", Outcome::TestsFailure),
        ("def check(f)", Outcome::TestsFailure),
        ("def check(f): pass", Outcome::TestsFailure),
        ("import os\nos._exit(3)", Outcome::TestsFailure),
    ] {
        let judgement = python(&mut judge, "def f(x): return x", &check(asserts));
        assert_eq!((judgement.outcome, judgement.verdict()), (outcome, Verdict::Unknown), "{asserts}: {judgement:?}");
    }
    let none = judge.judge(Language::Python, Code::Answer("I do not know."), &stdin("", ""));
    assert_eq!((none.outcome, none.verdict()), (Outcome::NoCode, Verdict::Unknown));
    let response = "Here:\n```python\nprint(input())\n```\nDone.";
    let judged = judge.judge(Language::Python, Code::Answer(response), &stdin("x", "x"));
    assert_eq!(judged.outcome, Outcome::Accepted, "{judged:?}");
    let mut options = bench.options.clone();
    options.launcher.program = "/bin/true".into();
    let broken = python(&mut distill_verify::code::Judge::new(options), "print(1)", &stdin("", "1"));
    assert_eq!((broken.outcome, broken.verdict()), (Outcome::SandboxFailure, Verdict::Unknown), "{broken:?}");
}

#[test]
fn what_changes_is_flagged() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = distill_verify::code::Judge::new(Options { repetitions: 40, ..bench.options.clone() });
    let judgement = python(&mut judge, "import random\nprint(random.randint(0, 1))", &stdin("", "1"));
    assert_eq!((judgement.flaky, judgement.verdict()), (true, Verdict::Unknown), "{judgement:?}");
    let mut judge = distill_verify::code::Judge::new(Options { repetitions: 5, ..bench.options.clone() });
    // Hashes of text differ between interpreters unless they are told not to.
    let judgement = python(&mut judge, "print(''.join({'a', 'b', 'c', 'd', 'e'}))", &stdin("", "x"));
    assert_eq!((judgement.flaky, judgement.outcome), (false, Outcome::WrongAnswer), "{judgement:?}");
}

#[test]
fn checkers_decide_and_their_failures_are_their_own() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let with = |checker: &str, verdict: &str| {
        let checker = json!({"language": "python", "code": checker, "verdict": verdict});
        tests(json!({"kind": "stdin", "cases": [{"input": "5", "output": "10"}], "checker": checker}))
    };
    let even = "import sys\nname = sys.argv[2]\nsys.exit(0 if int(open(name).read()) % 2 == 0 else 1)";
    assert_eq!(python(&mut judge, "print(4)", &with(even, "exit-status")).outcome, Outcome::Accepted);
    assert_eq!(python(&mut judge, "print(3)", &with(even, "exit-status")).outcome, Outcome::WrongAnswer);
    let failed = python(&mut judge, "print('x')", &with(even, "exit-status"));
    assert_eq!((failed.outcome, failed.verdict()), (Outcome::TestsFailure, Verdict::Unknown), "{failed:?}");
    let score = "import sys\nprint(1.0 if open(sys.argv[2]).read() == open(sys.argv[3]).read() + '\\n' else 0.5)";
    assert_eq!(python(&mut judge, "print(10)", &with(score, "printed")).outcome, Outcome::Accepted);
    assert_eq!(python(&mut judge, "print(11)", &with(score, "printed")).outcome, Outcome::WrongAnswer);
    assert_eq!(python(&mut judge, "print(11)", &with("x = (", "printed")).outcome, Outcome::TestsFailure);
    let loose =
        tests(json!({"kind": "stdin", "cases": [{"input": "", "output": "0.5"}], "tolerance": {"absolute": 0.01}}));
    assert_eq!(python(&mut judge, "print(0.501)", &loose).outcome, Outcome::Accepted);
    assert_eq!(python(&mut judge, "print(0.52)", &loose).outcome, Outcome::WrongAnswer);
}

#[test]
fn compiled_languages_run_where_a_compiler_is() {
    for user in [As::Myself, As::Ordinary] {
        let Some(bench) = Bench::new(user) else { continue };
        let mut judge = bench.judge();
        let sum = stdin("2 3", "5");
        for (language, right, wrong, broken, crash) in [
            (
                Language::C,
                "#include <stdio.h>\nint main(void) { int a, b; scanf(\"%d %d\", &a, &b); printf(\"%d\\n\", a + b); }",
                "int main(void) { return 0; }",
                "int main(void) { return x; }",
                "int main(void) { *(volatile int *)0 = 1; }",
            ),
            (
                Language::Cpp,
                "#include <bits/stdc++.h>\nusing namespace std;\nint main() { int a, b; cin >> a >> b; cout << a + b << endl; }",
                "int main() {}",
                "int main() { undefined(); }",
                "#include <vector>\nint main() { std::vector<int> v; v.at(3); }",
            ),
            (
                Language::Rust,
                "use std::io::Read;\nfn main() { let mut s = String::new(); std::io::stdin().read_to_string(&mut s).unwrap(); \
                 println!(\"{}\", s.split_whitespace().map(|n| n.parse::<i64>().unwrap()).sum::<i64>()); }",
                "fn main() {}",
                "fn main() { undefined(); }",
                "fn main() { panic!(\"no\") }",
            ),
        ] {
            // Another user may not execute what root keeps for itself.
            let mine = bench.options.tools.rust.as_ref().is_some_and(|(path, _)| path.starts_with("/root"));
            if !bench.options.tools.has(language) || (language == Language::Rust && mine && user == As::Ordinary) {
                skipped(&format!("no compiler for {language:?} as {user:?}"));
                continue;
            }
            for (code, outcome) in [
                (right, Outcome::Accepted),
                (wrong, Outcome::WrongAnswer),
                (broken, Outcome::CompileError),
                (crash, Outcome::RuntimeError),
            ] {
                let judgement = judge.judge(language, Code::Given(code), &sum);
                assert_eq!(judgement.outcome, outcome, "{language:?} as {user:?}: {code}\n{judgement:?}");
            }
        }
    }
}

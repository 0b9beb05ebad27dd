//! `distill verify code` through the binary: lines in, verdicts out, in order; bad lines say so; nothing is left behind.

use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// What the binary answers to lines, and whether it was content.
fn verify(arguments: &[&str], lines: &str) -> (Vec<Value>, bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.args(["verify", "code"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("lines are taken");
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8(output.stdout).expect("text");
    let answers = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (answers, output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn line(id: usize, code: &str, output: &str) -> String {
    let tests = json!({"kind": "stdin", "cases": [{"input": "", "output": output}], "limits": {"cpu_seconds": 1}});
    json!({"id": id, "language": "python", "code": code, "tests": tests}).to_string()
}

#[test]
fn verdicts_come_in_order_and_a_bad_line_stops_nothing() {
    let mut lines: Vec<String> = Vec::new();
    for id in 0..40 {
        lines.push(match id % 4 {
            0 => line(id, "import time; time.sleep(0.05); print(1)", "1"),
            1 => line(id, "print(2)", "1"),
            2 => line(id, "print(", "1"),
            _ => format!("{{\"id\": {id}, broken"),
        });
    }
    let (answers, content, said) = verify(&["--threads", "3"], &lines.join("\n"));
    assert_eq!(answers.len(), 40, "{said}");
    assert!(!content && said.contains("10 of 40 lines"), "{said}");
    for (id, answer) in answers.iter().enumerate() {
        match id % 4 {
            0 => assert_eq!((&answer["id"], &answer["verdict"]), (&json!(id), &json!("pass")), "{answer}"),
            1 => assert_eq!((&answer["outcome"], &answer["got"]), (&json!("wrong-answer"), &json!("2")), "{answer}"),
            2 => assert_eq!(
                (&answer["verdict"], &answer["outcome"]),
                (&json!("fail"), &json!("compile-error")),
                "{answer}"
            ),
            _ => assert_eq!(answer["line"], json!(id + 1), "{answer}"),
        }
    }
    let fields = ["id", "verdict", "outcome", "passed", "total", "layers", "millis"];
    for field in fields {
        assert!(answers[0].get(field).is_some(), "`{field}` is missing: {}", answers[0]);
    }
    let layers = answers[0]["layers"].as_array().expect("layers");
    assert!(layers.contains(&json!("seccomp")) && layers.contains(&json!("user-namespace")), "{layers:?}");
}

#[test]
fn a_response_is_read_and_wrong_flags_are_refused() {
    let response = "<think>hm</think>\n```python\nprint(input()[::-1])\n```\n";
    let tests = json!({"kind": "stdin", "cases": [{"input": "abc", "output": "cba"}]});
    let line = json!({"id": "r", "language": "python", "response": response, "tests": tests}).to_string();
    let (answers, content, said) = verify(&["--repetitions", "2", "--cold"], &line);
    assert!(content && answers[0]["outcome"] == "accepted", "{answers:?} {said}");
    for arguments in [["--without", "walls"], ["--python", "/bin/true"]] {
        let (answers, content, said) = verify(&arguments, &line);
        assert!(answers.is_empty() && !content && said.contains(arguments[0]), "{arguments:?}: {said}");
    }
}

#[test]
fn a_killed_run_takes_its_programs_along() {
    let endless = json!({"kind": "stdin", "cases": [{"input": "", "output": ""}], "limits": {"cpu_seconds": 60}});
    let mark = format!("mark-{}", std::process::id());
    let code = format!(
        "# {mark}\nimport os, time\nos.execv('/proc/self/exe', ['{mark}', '-c', 'import time; time.sleep(60)'])"
    );
    let line = json!({"language": "python", "code": code, "tests": endless}).to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(["verify", "code", "--threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("its input");
    writeln!(input, "{line}").expect("a line is taken");
    let running = || {
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|command| command.starts_with(mark.as_bytes()))
    };
    let wait_until = |wanted: bool| {
        (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            running() == wanted
        })
    };
    assert!(wait_until(true), "the program never began");
    child.kill().expect("it can be killed");
    child.wait().expect("an end");
    assert!(wait_until(false), "the program outlived the run");
}

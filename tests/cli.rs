//! The binary, as a person or a script calls it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn distill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_distill")).args(arguments).output().expect("the binary runs")
}

#[test]
fn doctor_tells_what_is_here() {
    let output = distill(&["doctor", "--json"]);
    assert!(output.status.success());
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    assert!(findings["threads"].as_u64().expect("threads") >= 1);
    assert_eq!(findings["devices"][0][0], "cpu");
    assert!(findings["devices"][0][1].get("Ok").is_some(), "the CPU always works: {findings}");
}

#[test]
fn wrong_use_exits_with_2() {
    for arguments in [&[][..], &["nonsense"], &["doctor", "--nonsense"], &["doctor", "--ops", "nonsense"]] {
        assert_eq!(distill(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// The rule of the guide: 2 where what was typed or written is wrong and nothing was done.
#[test]
fn what_is_not_there_or_not_known_exits_with_2_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = dir.path();
    std::fs::create_dir_all(at.join("store")).expect("a store");
    std::fs::create_dir_all(at.join("runs/mine/training")).expect("a run");
    std::fs::write(at.join("runs/mine/training/config.json"), "{}").expect("a file");
    std::fs::write(at.join("data.jsonl"), "{\"question\": \"2 + 2?\", \"answer\": \"4\"}\n").expect("a file");
    let teacher = root("recipes/nano-teacher");
    let cases: [(&[&str], &str); 23] = [
        (&["verify", "math", "--policy", "loose=yes"], "expected KEY=true or KEY=false, found `loose=yes`"),
        (&["run", "nope.toml"], "cannot read the recipe nope.toml"),
        (&["run", "data.jsonl"], "expected a recipe (TOML), found a file of data"),
        (&["plan", "data.jsonl"], "distill evaluate data.jsonl --checkpoint DIR"),
        (&["status", "nope"], "no run `nope`"),
        (&["show", "nope"], "`distill list` names"),
        (&["report", "nope"], "no run `nope`"),
        (&["list", "--runs", "nope"], "expected runs, found none"),
        (&["gc", "--runs", "nope"], "nope: expected a folder of runs"),
        (&["gc", "--store", "nope"], "nope: expected a store"),
        (&["init", "nope/x.toml"], "the folder has to be there"),
        (&["init", "x.toml", "--from", "nope"], "expected one of endpoint"),
        (&["convert", "nope", "out"], "no checkpoint at nope"),
        (&["convert", &teacher, "data.jsonl"], "expected nothing there yet"),
        (&["convert", &teacher, "out", "--dtype", "int3"], "--dtype: expected one of"),
        (&["chat", "nope"], "no checkpoint at nope"),
        (&["serve", "runs/mine"], "its checkpoint is runs/mine/training"),
        (&["evaluate", "data.jsonl", "--checkpoint", "nope"], "no checkpoint at nope"),
        (&["evaluate", "nope.jsonl", "--checkpoint", &teacher], "nope.jsonl"),
        (&["filter", "data.jsonl", "--with", "bogus"], "expected one of length, language, duplicates"),
        (&["teacher", "hosts", "nope"], "no host `nope`"),
        (&["teacher", "models", "nope"], "no model `nope`"),
        (&["verify", "math", "--data", "nope.jsonl"], "nope.jsonl"),
    ];
    for (arguments, expected) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        let output = command.current_dir(at).args(arguments).stdin(Stdio::null()).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: expected {expected:?} in\n{said}");
        assert!(said.lines().count() < 12, "{arguments:?} says too much:\n{said}");
    }
    assert!(!at.join("out").exists() && !at.join("runs/data").exists(), "nothing was done");
}

/// Standard output of a command that reads `line`, as JSON.
fn answered(arguments: &[&str], line: &str) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("an input").write_all(line.as_bytes()).expect("a line");
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_guides_examples_are_answered_as_it_says() {
    let guide = std::fs::read_to_string(root("recipes/GUIDE.md")).expect("the guide");
    let asked =
        guide.lines().find_map(|line| line.trim().strip_prefix("$ echo '")?.strip_suffix("' | distill verify math"));
    let asked = asked.expect("a line for `distill verify math`");
    let printed = guide.lines().find(|line| line.trim().starts_with("{\"id\":1,")).expect("its verdict");
    let mut printed: serde_json::Value = serde_json::from_str(printed.trim()).expect("JSON");
    let mut found = answered(&["verify", "math"], asked);
    for answer in [&mut printed, &mut found] {
        answer["micros"] = 0.into();
    }
    assert_eq!(found, printed, "the guide's verdict (right) is another");
    let code = guide.lines().find(|line| line.trim().starts_with("{\"id\": 1, \"language\"")).expect("a line of code");
    let found = answered(&["verify", "code", "--threads", "1"], code.trim());
    assert_eq!(found["verdict"], "pass", "the guide's solution is right: {found}");
}

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn chat_answers_what_standard_input_asks() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.args(["chat", &root("recipes/nano-teacher"), "--seed", "3"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("an input").write_all(b"What is 34+5-3?\n\n").expect("a question");
    let output = child.wait_with_output().expect("an end");
    let (said, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{notes}");
    assert!(said.contains("34+5=39") && said.contains("\\boxed{36}"), "{said}");
    assert!(!said.contains("think>") && !said.contains('\x1b'), "no tags, and no colours in a pipe: {said}");
    assert!(notes.contains("tokens/s"), "{notes}");
}

#[test]
fn chat_begins_anew_and_leaves_when_told_to() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.args(["chat", &root("recipes/nano-teacher"), "--seed", "3"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let lines = b"What is 34+5-3?\n/clear\nWhat is 34+5-3?\n/exit\nWhat is 1+1?\n";
    child.stdin.take().expect("an input").write_all(lines).expect("questions");
    let output = child.wait_with_output().expect("an end");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("[a new conversation]"), "{notes}");
    let read: Vec<&str> =
        notes.lines().filter_map(|line| line.split(" tokens read").next()?.strip_prefix('[')).collect();
    assert_eq!(
        read.iter().filter(|count| count.parse::<u32>().is_ok()).count(),
        2,
        "nothing is answered behind /exit: {notes}"
    );
    assert_eq!(read[0], read[read.len() - 1], "the second question came without the first: {notes}");
}

#[test]
fn a_key_that_is_not_set_and_a_precision_that_is_not_known_are_said() {
    let teacher = root("recipes/nano-teacher");
    let output = distill(&["serve", &teacher, "--port", "0", "--api-key-env", "DISTILL_TEST_KEY_THAT_IS_NOT_SET"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DISTILL_TEST_KEY_THAT_IS_NOT_SET is not set"));
    let output = distill(&["chat", &teacher, "--weights", "q9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stored, f32, bf16, f16, q8_0"));
    let store = tempfile::tempdir().expect("a temporary folder");
    let place = store.path().to_str().expect("a path");
    let quickstart = root("recipes/quickstart.toml");
    let plan = |weights: &str| {
        let set = format!("sources.0.teacher.weights={weights}");
        distill(&["plan", &quickstart, "--set", &set, "--store", place, "--runs", place])
    };
    let output = plan("q9");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown precision"), "{output:?}");
    assert!(plan("q8_0").status.success());
}

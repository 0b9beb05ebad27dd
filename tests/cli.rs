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
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DISTILL_TEST_KEY_THAT_IS_NOT_SET is not set"));
    let output = distill(&["chat", &teacher, "--weights", "q9"]);
    assert_eq!(output.status.code(), Some(1));
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

//! The binary, as a person or a script calls it.

use std::process::{Command, Output};

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
    for arguments in [&[][..], &["nonsense"], &["doctor", "--nonsense"]] {
        assert_eq!(distill(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

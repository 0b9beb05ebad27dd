//! A run whose teacher charges in yuan: what it costs is told in yuan everywhere, and a budget is in them or refused.

use crate::endpoint::{Reply, serve};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An endpoint that tells that two of five tokens of each prompt came from a cache, and counts its requests.
fn endpoint() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let url = serve(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let text = json!({
            "model": "r1",
            "choices": [{"message": {"content": "<think>\nso\n</think>\n\n\\boxed{4}"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2.0}},
        });
        Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], text: text.to_string() }
    });
    (url, count)
}

fn distill(dir: &Path, command: &str, sets: &[&str]) -> Output {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let mut distill = Command::new(env!("CARGO_BIN_EXE_distill"));
    distill.current_dir(dir).args([command, "priced.toml"]).args(sets).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_teacher_that_charges_in_yuan_is_planned_budgeted_and_counted_in_yuan() {
    let (url, asked) = endpoint();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    let line = |i: u32| json!({"question": format!("What is 2 + {i}?"), "answer": "#### 4"}).to_string() + "\n";
    fs::write(dir.join("asked.jsonl"), (0..10).map(line).collect::<String>()).expect("problems");
    let recipe = format!(
        r#"
name = "priced"
seed = 3
[[sources]]
problems = {{ jsonl = "asked.jsonl", columns = {{ question = "question", answer = "answer" }}, answer-format = "gsm8k" }}
sampling = {{ samples-per-problem = 2, temperature = 0.6, max-new-tokens = 64 }}
[sources.teacher.http]
url = "{url}"
model = "r1"
concurrency = 2
price = {{ currency = "CNY", prompt = 4.0, cached = 1.0, completion = 16.0 }}
"#
    );
    fs::write(dir.join("priced.toml"), recipe).expect("a recipe");
    let refused = distill(dir, "sample", &["sources.0.sampling.budget-usd=5"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for part in ["nothing was begun", "`sources.0.sampling`", "`budget-usd`", "charge in CNY", "budget-money"] {
        assert!(said.contains(part), "expected {part:?} in\n{said}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "it was refused before anything was bought");
    let plan = text(&distill(dir, "plan", &[]).stdout);
    assert!(plan.contains("CNY 4 a million tokens of prompts (1 from a cache), 16 of answers"), "{plan}");
    assert!(plan.contains("CNY 0.02 expected, CNY 0.02 at most") && !plan.contains('$'), "{plan}");
    let little = distill(dir, "sample", &[r#"sources.0.sampling.budget-money={currency="CNY",amount=0.004}"#]);
    let said = text(&little.stderr);
    assert_eq!(little.status.code(), Some(3), "{said}");
    assert!(said.contains("the budget of CNY 0.004 is reached") && said.contains("sampling.budget-money"), "{said}");
    let bought = asked.load(Ordering::SeqCst);
    assert!((1..=12).contains(&bought), "{bought} at 0.000158 each");
    let more = distill(dir, "sample", &[r#"sources.0.sampling.budget-money={currency="CNY",amount=1}"#]);
    assert!(more.status.success(), "{}", text(&more.stderr));
    assert_eq!(asked.load(Ordering::SeqCst), 20, "none was bought twice");
    let path = dir.join("runs/priced/traces/manifest.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(path).expect("a manifest")).expect("JSON");
    let tally = &manifest["tally"];
    assert_eq!((tally["prompt_tokens"].as_u64(), tally["cached_tokens"].as_u64()), (Some(100), Some(40)));
    let yuan = tally["cost_other"]["CNY"].as_f64().expect("yuan");
    assert!((yuan - 20.0 * 158e-6).abs() < 1e-12 && tally["cost_usd"] == 0.0, "{tally}");
}

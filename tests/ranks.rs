//! Several processes over one store: they share the work, whichever dies is started again, and the dataset is that of one.

use crate::endpoint::{Reply, serve};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// A recipe of worked solutions over two sources, with as many units as make four ranks busy.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        for (name, from, to) in [("one.jsonl", 0, 9000), ("two.jsonl", 8000, 14_000)] {
            let line = |i: u32| {
                let (a, b) = (i % 97, i / 97);
                let question = format!("What is {a} + {b}, asked for the {i}th time?");
                let answer = format!("{a} + {b} = {}.\n#### {}", a + b, a + b);
                json!({"question": question, "answer": answer}).to_string() + "\n"
            };
            fs::write(place.path().join(name), (from..to).map(line).collect::<String>()).expect("problems");
        }
        fs::write(place.path().join("two.toml"), RECIPE).expect("a recipe");
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(self.path()).args(["export", "two.toml", "--threads", "1"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn rank(&self, rank: usize) -> Child {
        self.command(&["--rank", &rank.to_string(), "--world", "4"]).spawn().expect("the binary runs")
    }

    fn finish(&self, mut child: Child) {
        let status = child.wait().expect("an end");
        assert!(status.success(), "{status}");
    }

    fn manifest(&self, label: &str) -> Value {
        let path = self.path().join("runs/two").join(label).join("manifest.json");
        serde_json::from_str(&fs::read_to_string(&path).expect("a manifest")).expect("JSON")
    }

    fn digests(&self) -> Vec<(String, String, String)> {
        let mut digests = Vec::new();
        for label in LABELS {
            let manifest = self.manifest(label);
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            digests.push((label.to_owned(), text(&manifest["key"]), text(&manifest["digest"])));
        }
        digests
    }
}

const LABELS: [&str; 12] = [
    "source",
    "source-2",
    "problems",
    "problems-2",
    "traces",
    "traces-2",
    "measure-1-format",
    "measure-2-duplicates",
    "measure-3-verify",
    "measure-4-length",
    "selection",
    "export",
];

const RECIPE: &str = r#"
name = "two"
seed = 3

[[sources]]
holdout = 100
problems = { jsonl = "one.jsonl", columns = { question = "question", answer = "answer" }, answer-format = "gsm8k", licence = "MIT" }
teacher = { worked-solutions = true }

[[sources]]
holdout = 50
problems = { jsonl = "two.jsonl", columns = { question = "question", answer = "answer" }, answer-format = "gsm8k", licence = "MIT" }
teacher = { worked-solutions = true }

[[filters]]
kind = "format"

[[filters]]
kind = "duplicates"

[[filters]]
kind = "verify"
on-unknown = "reject"

[[filters]]
kind = "length"

[export]
dataset-name = "Sums"
license = "mit"
"#;

#[test]
fn four_processes_whichever_dies_end_with_the_dataset_of_one() {
    let alone = Place::new();
    let output = alone.command(&[]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = alone.digests();
    assert!(alone.manifest("traces")["files"].as_array().expect("files").len() >= 3, "several units a source");

    let shared = Place::new();
    let mut ranks: Vec<Child> = (0..4).map(|rank| shared.rank(rank)).collect();
    // Each in turn is killed and started again.
    for (rank, child) in ranks.iter_mut().enumerate() {
        std::thread::sleep(Duration::from_millis(60 + 90 * rank as u64));
        child.kill().expect("a kill");
        child.wait().expect("an end");
        *child = shared.rank(rank);
    }
    ranks.into_iter().for_each(|child| shared.finish(child));
    assert_eq!(shared.digests(), expected);
    let left: Vec<PathBuf> = walk(&shared.path().join("store"));
    let left: Vec<&PathBuf> = left.iter().filter(|path| path.to_string_lossy().contains("/work/")).collect();
    assert!(left.is_empty(), "half-written files are left: {left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_held_out_problem_is_in_no_source() {
    let place = Place::new();
    let output = place.command(&[]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dataset = |label: &str| {
        let dir = place.path().join("runs/two").join(label);
        let manifest = distill_dataset::Manifest::read(&dir.join("manifest.json")).expect("a manifest");
        distill_dataset::Dataset::new(dir, manifest)
    };
    let mut held = std::collections::HashSet::new();
    let mut train = std::collections::HashSet::new();
    for label in ["problems", "problems-2"] {
        for problem in dataset(label).rows::<distill_dataset::Problem>() {
            let problem = problem.expect("a problem");
            let key = distill_data_gen::normalised_key(&problem.messages);
            if problem.split == distill_dataset::Split::Holdout {
                held.insert(key)
            } else {
                train.insert(key)
            };
        }
    }
    assert_eq!(held.len(), 150, "each source holds out what it was asked to");
    assert!(held.is_disjoint(&train), "a held-out problem of one source is trained on in the other");
    for trace in ["traces", "traces-2"].into_iter().flat_map(|label| dataset(label).rows::<distill_dataset::Trace>()) {
        let trace = trace.expect("a trace");
        assert!(!trace.problem_id.is_empty());
    }
}

#[test]
fn a_moved_project_keeps_its_runs() {
    let place = Place::new();
    assert!(place.command(&[]).output().expect("the binary runs").status.success());
    let moved = place.path().join("moved");
    fs::create_dir(&moved).expect("a folder");
    for name in ["store", "runs", "one.jsonl", "two.jsonl", "two.toml"] {
        fs::rename(place.path().join(name), moved.join(name)).expect("a move");
    }
    let mut status = Command::new(env!("CARGO_BIN_EXE_distill"));
    let output = status.current_dir(&moved).args(["status", "two", "--json"]).output().expect("the binary runs");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let stages = status["stages"].as_array().expect("stages");
    assert!(stages.iter().all(|stage| stage["done"] == true), "{status}");
}

/// How often each sample was asked for, by its seed.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server that answers every question after a moment, and counts.
fn counting() -> (String, Counts) {
    let counts = Counts::default();
    let counted = counts.clone();
    let url = serve(move |asked| {
        *counted.lock().expect("a lock").entry(asked.body["seed"].to_string()).or_default() += 1;
        std::thread::sleep(Duration::from_millis(20));
        let text = json!({
            "model": "r1",
            "choices": [{"message": {"content": "<think>\nso\n</think>\n\n\\boxed{4}"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 9},
        });
        let headers = vec![("content-type", "application/json".to_owned())];
        Reply { status: 200, headers, text: text.to_string() }
    });
    (url, counts)
}

#[test]
fn two_processes_of_one_recipe_buy_no_sample_twice() {
    let place = Place::new();
    let (url, asked) = counting();
    let lines =
        (0..60).map(|i| json!({"question": format!("What is 2 + {i}?"), "answer": "#### 4"}).to_string() + "\n");
    fs::write(place.path().join("asked.jsonl"), lines.collect::<String>()).expect("problems");
    let recipe = format!(
        r#"
name = "asked"
seed = 3
[[sources]]
problems = {{ jsonl = "asked.jsonl", columns = {{ question = "question", answer = "answer" }}, answer-format = "gsm8k" }}
teacher = {{ http = {{ url = "{url}", model = "r1", concurrency = 8 }} }}
sampling = {{ samples-per-problem = 3, temperature = 0.6, max-new-tokens = 64 }}
"#
    );
    fs::write(place.path().join("asked.toml"), recipe).expect("a recipe");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(place.path()).args(["sample", "asked.toml", "--threads", "1"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs")
    };
    let (first, second) = (start(), start());
    place.finish(first);
    place.finish(second);
    let asked = asked.lock().expect("a lock");
    assert_eq!(asked.len(), 180, "every sample was asked for");
    let twice = asked.values().filter(|count| **count > 1).count();
    assert_eq!(twice, 0, "{twice} samples were bought twice");
    let path = place.path().join("runs/asked/traces/manifest.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(path).expect("a manifest")).expect("JSON");
    assert_eq!(manifest["tally"]["rows_out"], 180);
}

//! From a pool of traces to what is kept, through the binary: a judge that is asked once, several cuts side by side, and what
//! was dropped as data.

use crate::endpoint::{Asked, Reply, serve};
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

/// Even problems are answered rightly, odd ones by what no rule can read.
fn answer(question: &str) -> String {
    let number: u32 = question.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number");
    let last = if number.is_multiple_of(2) { number.to_string() } else { "\\mathfrak{S}_3".to_owned() };
    format!("<think>\nIt is so.\n\nThe answer is \\boxed{{{last}}}.\n\nLet me check.\n</think>\n\n\\boxed{{{last}}}")
}

/// A teacher and a judge behind one address; how often each was asked.
fn teacher_and_judge() -> (String, [Arc<AtomicUsize>; 2]) {
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let [taught, judged] = counts.clone();
    let url = serve(move |Asked { body, .. }| {
        let messages = body["messages"].as_array().expect("messages");
        let asked = messages.last().expect("a message")["content"].as_str().expect("text");
        let content = if asked.contains("<<<RESPONSE ") {
            judged.fetch_add(1, Ordering::Relaxed);
            let word = if asked.contains("problem 3") { "INCORRECT" } else { "CORRECT" };
            format!("<think>\nI compare.\n</think>\nVERDICT: {word}")
        } else {
            taught.fetch_add(1, Ordering::Relaxed);
            answer(asked)
        };
        let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 20});
        let text = json!({"model": "m", "choices": [choice], "usage": usage}).to_string();
        Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], text }
    });
    (url, counts)
}

fn recipe(dir: &Path, url: &str, more: &str) {
    let line = |i: u32| json!({"question": format!("problem {i}"), "answer": i.to_string()}).to_string();
    fs::write(dir.join("problems.jsonl"), (0..8).map(|i| line(i) + "\n").collect::<String>()).expect("problems");
    let http = format!("http = {{ url = {url:?}, model = \"m\", probe = false }}");
    let text = format!(
        "name = \"pool\"\nseed = 1\n\n[[sources]]\nproblems = {{ jsonl = \"problems.jsonl\", columns = {{ question = \"question\", answer = \"answer\" }} }}\nteacher = {{ {http} }}\nsampling = {{ samples-per-problem = 1, temperature = 0.6, max-new-tokens = 100 }}\n\n[[filters]]\nkind = \"verify\"\non-unknown = \"keep\"\n\n{more}\n",
    );
    fs::write(dir.join("recipe.toml"), text.replace("HTTP", &http)).expect("a recipe");
}

fn distill(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_distill")).args(arguments).current_dir(dir).output().expect("the binary runs")
}

fn done(dir: &Path, arguments: &[&str]) -> String {
    let output = distill(dir, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

const JUDGE: &str = "[[filters]]\nkind = \"judge\"\non-unknown = \"reject\"\nagreement-share = 1.0\n\n[judge]\nteacher = { HTTP }\nsampling = { samples-per-problem = 1, temperature = 0.0, max-new-tokens = 50 }\n";

#[test]
fn a_judge_decides_what_rules_leave_and_is_paid_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (url, [taught, judged]) = teacher_and_judge();
    recipe(dir.path(), &url, JUDGE);
    let planned = || {
        let plan: Value = serde_json::from_str(&done(dir.path(), &["plan", "recipe.toml", "--json"])).expect("JSON");
        let parts = plan["sampling"].as_array().expect("parts").clone();
        let is_judge = |part: &&Value| part["purpose"].as_str().is_some_and(|purpose| purpose.starts_with("judge"));
        let judge = parts.iter().find(is_judge).expect("the judge's part").clone();
        (judge["requests"].clone(), judge["answers"]["held"].clone())
    };
    assert_eq!(planned(), (json!(8), json!(0)), "at most one question about every trace");
    done(dir.path(), &["filter", "recipe.toml"]);
    assert_eq!(planned(), (json!(0), json!(8)));
    let status: Value = serde_json::from_str(&done(dir.path(), &["status", "pool", "--json"])).expect("JSON");
    // Four are right by the rules; of the four that no rule reads, the judge refuses one.
    assert_eq!(status["funnel"]["kept"], 7, "{status:#}");
    assert_eq!(status["funnel"]["steps"][1]["dropped"], json!({"judged-wrong": 1}));
    let stages = status["stages"].as_array().expect("stages");
    let tally = |label: &str| stages.iter().find(|stage| stage["label"] == label).expect(label)["tally"].clone();
    assert_eq!(tally("measure-2-judge")["detail"]["agreement"], json!({"pass/pass": 4}));
    assert_eq!(tally("judgements")["completion_tokens"], 160, "what it costs is counted");
    assert_eq!(tally("selection")["detail"]["verified"], 4, "an opinion is no verification");
    let asked = || [taught.load(Ordering::Relaxed), judged.load(Ordering::Relaxed)];
    assert_eq!(asked(), [8, 8]);
    // A cut may take the filter away that asks the judge.
    recipe(dir.path(), &url, &format!("{JUDGE}\n[cuts.all]\nfilters = []\n"));
    let told: Value = serde_json::from_str(&done(dir.path(), &["filter", "recipe.toml", "--json"])).expect("JSON");
    assert_eq!([&told["cuts"][0]["kept"], &told["cuts"][1]["kept"]], [7, 8], "{told:#}");
    // Another threshold asks nobody again.
    done(dir.path(), &["filter", "recipe.toml", "--set", "filters.1.on-unknown=keep"]);
    assert_eq!(asked(), [8, 8]);
}

#[test]
fn cuts_of_one_pool_are_made_side_by_side_and_what_is_dropped_is_data() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (url, [taught, _]) = teacher_and_judge();
    let more = "[export]\ndataset-name = \"pool\"\nlicense = \"mit\"\ndropped-by = [\"verify\"]\n\n[cuts.strict]\nfilters.0.on-unknown = \"reject\"\n\n[cuts.all]\nfilters = []\nexport.dropped-by = []\n";
    recipe(dir.path(), &url, more);
    let told: Value = serde_json::from_str(&done(dir.path(), &["export", "recipe.toml", "--json"])).expect("JSON");
    let kept = |name: &str| {
        let cuts = told["cuts"].as_array().expect("cuts");
        cuts.iter().find(|cut| cut["cut"] == name).expect(name)["kept"].clone()
    };
    assert_eq!([kept("pool"), kept("strict"), kept("all")], [json!(8), json!(4), json!(8)], "{told:#}");
    assert_eq!(taught.load(Ordering::Relaxed), 8, "the pool is bought once");
    let status: Value = serde_json::from_str(&done(dir.path(), &["status", "pool.strict", "--json"])).expect("JSON");
    let stages = status["stages"].as_array().expect("stages");
    let dropped = stages.iter().find(|stage| stage["stage"] == "export-dropped").expect("what was dropped");
    assert_eq!(dropped["tally"]["rows_out"], 4);
    let card = fs::read_to_string(dir.path().join("runs/pool.strict/export-dropped/README.md")).expect("its card");
    assert!(card.contains("4 reasoning traces") && card.contains("**dropped** by `verify`"), "{card}");
}

#[test]
fn what_makes_no_sense_is_told_before_anything_is_bought() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (more, expected) in [
        ("[[filters]]\nkind = \"judge\"\non-unknown = \"keep\"\n", "needs a table `[judge]`"),
        (&JUDGE[JUDGE.find("[judge]").expect("a table")..], "expected a filter `judge` that asks it"),
        (
            &JUDGE.replace("temperature = 0.0", "temperature = 0.0, log-probabilities = 1"),
            "nothing reads them of a judge",
        ),
        ("[cuts.x]\nseed = 3\n", "it cannot change `seed`"),
        ("[cuts.x]\n", "found none"),
        ("[cuts.x]\nfilters.7.min = 3\n", "expected `filters.0` to `filters.0`, found `filters.7`"),
        ("[cuts.x]\nfilters.0.on-unknown = \"maybe\"\n", "unknown choice `maybe`"),
        (
            "[export]\ndataset-name = \"d\"\nlicense = \"mit\"\ndropped-by = [\"style\"]\n",
            "unknown filter of this recipe `style`",
        ),
    ] {
        recipe(dir.path(), "http://127.0.0.1:9/v1", more);
        let output = distill(dir.path(), &["filter", "recipe.toml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "expected {expected:?} in\n{said}");
    }
}

#[test]
fn code_is_sampled_until_its_tests_pass_and_no_test_runs_twice() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let url = serve(move |Asked { body, .. }| {
        counted.fetch_add(1, Ordering::Relaxed);
        let is_easy = body["messages"].to_string().contains("square");
        let code = if is_easy { "def f(x):\n    return x * x" } else { "def f(x):\n    return x + 1" };
        let content = format!("<think>\nIt is so.\n</think>\n\n```python\n{code}\n```");
        let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 20});
        let text = json!({"model": "m", "choices": [choice], "usage": usage}).to_string();
        Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], text }
    });
    let line = |what: &str, expected: u32| {
        let cases = json!([{"args": [3], "expected": expected}]);
        let tests = json!({"language": "python", "tests": {"kind": "calls", "function": "f", "cases": cases}});
        json!({"question": format!("Write f, the {what}."), "tests": tests.to_string()}).to_string() + "\n"
    };
    fs::write(dir.path().join("code.jsonl"), line("square", 9) + &line("cube", 27)).expect("problems");
    let recipe = format!(
        "name = \"code\"\nseed = 1\n\n[[sources]]\nproblems = {{ jsonl = \"code.jsonl\", columns = {{ question = \"question\", answer = \"tests\" }}, answer-kind = \"tests\" }}\nteacher = {{ http = {{ url = {url:?}, model = \"m\", probe = false }} }}\nsampling = {{ samples-per-problem = 16, temperature = 0.6, max-new-tokens = 100, adaptive = {{ usable = 2, hopeless-after = 3 }} }}\n\n[[filters]]\nkind = \"verify\"\non-unknown = \"reject\"\n"
    );
    fs::write(dir.path().join("recipe.toml"), recipe).expect("a recipe");
    done(dir.path(), &["filter", "recipe.toml"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2 + 3, "two that pass are enough, three that fail are hopeless");
    let status: Value = serde_json::from_str(&done(dir.path(), &["status", "code", "--json"])).expect("JSON");
    assert_eq!(status["funnel"]["kept"], 2, "{status:#}");
    // What tests said is kept beside the answers, and asked there when the stage is made again.
    fs::remove_dir_all(dir.path().join("store/traces")).expect("the stage's folder");
    done(dir.path(), &["filter", "recipe.toml"]);
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    let kept = walked(&dir.path().join("store")).into_iter().filter(|path| path.contains("/verdicts/")).count();
    assert!(kept > 0, "verdicts are kept in the folder of the answers");
}

/// Every file below a folder.
fn walked(dir: &Path) -> Vec<String> {
    let (mut folders, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() && !path.is_symlink() {
                true => folders.push(path),
                false => files.push(path.display().to_string()),
            }
        }
    }
    files
}

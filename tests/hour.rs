//! A newcomer's first hour: what went wrong is told, a plan is true, and one finds one's way.

use crate::endpoint::{Reply, serve};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

fn distill(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.current_dir(dir).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Exit code, standard output and standard error.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A recipe of worked solutions: no teacher, no student.
const SUMS: &str = "name = \"sums\"\nseed = 1\n[[sources]]\nproblems = { generator = \"chain-sum\", count = 40, terms = [2, 3], first = [10, 99], operand = [1, 60] }\nteacher = { worked-solutions = true }\n[[filters]]\nkind = \"length\"\nmax-chars = 1\n[export]\ndataset-name = \"sums\"\nlicense = \"mit\"\n";

fn place(name: &str, recipe: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join(name), recipe).expect("a recipe");
    dir
}

fn asked(dir: &Path) -> String {
    let line = |i: u32| json!({"question": format!("What is 2 + {i}?"), "answer": "4"}).to_string() + "\n";
    fs::write(dir.join("asked.jsonl"), (0..12).map(line).collect::<String>()).expect("problems");
    dir.join("asked.jsonl").display().to_string()
}

/// An answer that says 4, as an endpoint sends it.
fn four() -> Reply {
    let text = json!({
        "model": "m",
        "choices": [{"message": {"content": "<think>\nso\n</think>\n\n\\boxed{4}"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9},
    });
    Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], text: text.to_string() }
}

fn sampled(url: &str) -> String {
    format!(
        "name = \"asked\"\nseed = 3\n[[sources]]\nproblems = {{ jsonl = \"asked.jsonl\", columns = {{ question = \"question\", answer = \"answer\" }} }}\nsampling = {{ samples-per-problem = 1, temperature = 0.6, max-new-tokens = 64 }}\n[sources.teacher.http]\nurl = \"{url}\"\nmodel = \"m\"\nconcurrency = 2\nusd-per-million-tokens = [1.0, 2.0]\n"
    )
}

#[test]
fn a_stage_that_keeps_nothing_says_what_dropped_it_and_fails_unless_allowed() {
    let dir = place("sums.toml", SUMS);
    let dir = dir.path();
    for time in ["made", "found"] {
        let (code, _, stderr) = said(&distill(dir, &["run", "sums.toml"]));
        assert_eq!(code, Some(1), "{time}: {stderr}");
        for part in ["stage `selection`", "found none of 40: 40 length: too-many-chars", "--allow-empty"] {
            assert!(stderr.contains(part), "{time}: expected {part:?} in\n{stderr}");
        }
    }
    let (code, stdout, _) = said(&distill(dir, &["status", "sums"]));
    assert!(code == Some(0) && stdout.contains("too-many-chars") && stdout.contains("40 dropped"), "{stdout}");
    let (code, stdout, _) = said(&distill(dir, &["show", "sums", "--dropped", "too-many-chars", "--limit", "1"]));
    assert!(code == Some(0) && stdout.contains("dropped by `length`"), "{stdout}");
    let (code, stdout, stderr) = said(&distill(dir, &["show", "sums", "--dropped", "too-long"]));
    assert!(code == Some(2) && stdout.is_empty(), "{stdout}");
    assert!(stderr.contains("no trace was dropped for `too-long`"), "{stderr}");
    assert!(stderr.contains("too-many-chars (length, 40)"), "{stderr}");
    let (code, _, stderr) = said(&distill(dir, &["run", "sums.toml", "--allow-empty"]));
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = said(&distill(dir, &["run", "sums.toml", "--set", "sources.0.holdout=40"]));
    assert!(code == Some(2) && stderr.contains("expected training problems, found none"), "{stderr}");
}

#[test]
fn a_plan_refuses_what_a_run_would_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    let quickstart = recipes().join("quickstart.toml").display().to_string();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--device", "quux"], &["`--device`", "expected cpu, cuda or cuda:N"]),
        (&["--set", "sources.0.holdout=99999"], &["held-out problems", "99999"]),
        (&["--set", "sources.0.holdout=0"], &["`[evaluation]`: expected held-out problems, found none"]),
        (&["--set", "student.chat-template=nowhere.jinja"], &["`student.chat-template`", "nowhere.jinja"]),
        (&["--set", "student.base={ checkpoint = \"nowhere\" }"], &["`student.base.checkpoint`", "no checkpoint at"]),
        (&["--set", "sources.0.teacher.local=nowhere"], &["`sources.0.teacher.local`", "no checkpoint at"]),
        (&["--set", "publish.teacher-license="], &["licen"]),
        (
            &[
                "--set",
                "sources.0.teacher={ http = { url = \"http://127.0.0.1:9/v1\", model = \"m\", api-key-env = \"DISTILL_NOT_SET\" } }",
            ],
            &["DISTILL_NOT_SET is not set"],
        ),
    ];
    for (arguments, expected) in cases {
        for verb in ["plan", "run"] {
            let (code, _, stderr) = said(&distill(dir, &[&[verb, &quickstart], arguments].concat()));
            assert_eq!(code, Some(2), "{verb} {arguments:?}: {stderr}");
            for part in expected {
                assert!(stderr.contains(part), "{verb} {arguments:?}: expected {part:?} in\n{stderr}");
            }
            assert!(!dir.join("store/samples").exists(), "{verb} {arguments:?} bought something");
            if verb == "plan" {
                assert!(fs::read_dir(dir).expect("the folder").next().is_none(), "a plan writes nothing");
            }
            let _ = fs::remove_dir_all(dir.join("store"));
            let _ = fs::remove_dir_all(dir.join("runs"));
        }
    }
}

#[test]
fn all_that_is_wrong_comes_together() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let quickstart = recipes().join("quickstart.toml").display().to_string();
    let sets = ["--set", "sources.0.holdout=0", "--device", "quux", "--json"];
    let (code, stdout, stderr) = said(&distill(dir.path(), &[&["plan", &quickstart], &sets[..]].concat()));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("2 things are wrong"), "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(plan["refused"].as_array().map(Vec::len), Some(2), "{plan}");
    assert!(plan["sampling"][0]["requests"].as_u64().expect("a count") > 0, "the plan is made all the same: {plan}");
}

#[test]
fn what_can_be_tried_without_problems_is_told_with_a_file_that_is_not_there() {
    let recipe = sampled("http://127.0.0.1:9/v1")
        .replace("model = \"m\"", "model = \"m\"\napi = \"completions\"\napi-key-env = \"DISTILL_NOT_SET\"")
        + "[[filters]]\nkind = \"length\"\nmax-student-tokens = 9\ntokenizer = \"no-tokenizer\"\n[student]\nbase = { checkpoint = \"no-base\" }\n[student.training]\nepochs = 1\nbatch-size = 8\nlearning-rate = 1e-3\n";
    let recipe =
        recipe.replace("max-new-tokens = 64", "max-new-tokens = 64, budget-money = { currency = \"CNY\", amount = 1 }");
    let dir = place("asked.toml", &recipe);
    for verb in ["plan", "run"] {
        let (code, _, stderr) = said(&distill(dir.path(), &[verb, "asked.toml"]));
        assert_eq!(code, Some(2), "{verb}: {stderr}");
        for part in ["asked.jsonl", "no-base", "no-tokenizer", "DISTILL_NOT_SET", "`budget-money`", "needs `chat`"] {
            assert!(stderr.contains(part), "{verb}: expected {part:?} in\n{stderr}");
        }
        assert!(stderr.contains("6 things are wrong"), "{verb}: {stderr}");
    }
}

#[test]
fn a_plan_says_what_a_filter_will_drop_whole() {
    let recipe = "name = \"own\"\nseed = 1\n[[sources]]\nproblems = { jsonl = \"chats.jsonl\", columns = { conversation = \"messages\" } }\nteacher = { ready-traces = true }\n[[filters]]\nkind = \"format\"\nboxed = false\n";
    let dir = place("own.toml", recipe);
    let turns = |i: u32| json!({"messages": [{"role": "user", "content": format!("{i}?")}, {"role": "assistant", "content": "<think>\nso\n</think>\n\n4"}]});
    let lines: String = (0..3).map(|i| format!("{}\n", turns(i))).collect();
    fs::write(dir.path().join("chats.jsonl"), lines).expect("conversations");
    let (code, stdout, stderr) = said(&distill(dir.path(), &["plan", "own.toml"]));
    assert!(code == Some(0) && stdout.contains("`unknown-end = false`"), "{stdout}{stderr}");
    let (code, _, stderr) = said(&distill(dir.path(), &["run", "own.toml"]));
    assert!(code == Some(1) && stderr.contains("hint: the file does not say why"), "{stderr}");
    let (code, _, stderr) = said(&distill(dir.path(), &["run", "own.toml", "--set", "filters.0.unknown-end=false"]));
    assert_eq!(code, Some(0), "what the hint says helps: {stderr}");
}

#[test]
fn a_plan_knows_what_the_journal_holds_before_problems_are_made() {
    let url = serve(|_| four());
    let dir = place("asked.toml", &sampled(&url));
    let dir = dir.path();
    asked(dir);
    let plan = |sets: &[&str]| said(&distill(dir, &[&["plan", "asked.toml"], sets].concat()));
    let (code, stdout, stderr) = plan(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("requests                    12") && stdout.contains("prompts too"), "{stdout}");
    for told in ["12 to learn from, 0 held out", "1, not looked at", "`continuation`"] {
        assert!(stdout.contains(told), "expected {told:?} in\n{stdout}");
    }
    assert!(!dir.join("store").exists(), "a plan writes nothing");
    let (code, _, stderr) = said(&distill(dir, &["sample", "asked.toml"]));
    assert_eq!(code, Some(0), "{stderr}");
    // Another split: its problems are not made yet, and what was bought for them is there.
    let (_, stdout, _) = plan(&["--set", "sources.0.holdout=2", "--set", "sources.0.sampling.samples-per-problem=2"]);
    assert!(stdout.contains("to do  problems"), "{stdout}");
    assert!(stdout.contains("answers that are there      10"), "{stdout}");
    assert!(stdout.contains("requests                    10"), "{stdout}");
}

#[test]
fn a_server_that_refuses_is_told_with_its_message_and_the_next_try() {
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, since) = (refused.clone(), Instant::now());
    let url = serve(move |asked| {
        if asked.number > 2 && since.elapsed() > Duration::from_secs(9) {
            return four();
        }
        count.fetch_add(1, Ordering::SeqCst);
        let text = json!({"error": {"message": "the model is being loaded"}}).to_string();
        Reply { status: 503, headers: vec![("retry-after", "1".to_owned())], text }
    });
    let dir = place("asked.toml", &sampled(&url));
    asked(dir.path());
    let (code, _, stderr) = said(&distill(dir.path(), &["sample", "asked.toml"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(refused.load(Ordering::SeqCst) > 2);
    let notes: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = notes.iter().filter_map(|note| note["note"].as_str()).find(|note| note.contains("has been away for"));
    let told = told.unwrap_or_else(|| panic!("it was not told: {stderr}"));
    assert!(told.contains("the model is being loaded") && told.contains("next try in"), "{told}");
    assert!(told.contains("tried again"), "retries are in the line: {told}");
}

#[test]
fn a_killed_stage_is_told_with_how_far_it_came() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    let quickstart = recipes().join("quickstart.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.current_dir(dir).arg("train").arg(&quickstart).args(["--threads", "1", "--set", "name=killed"]);
    for set in ["sources.0.problems.count=200", "sources.0.holdout=20", "student.training.epochs=4000"] {
        command.args(["--set", set]);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let status = || said(&distill(dir, &["status", "killed", "--json"])).1;
    let training = |text: &str| -> Option<Value> {
        let status: Value = serde_json::from_str(text).ok()?;
        let stages = status["stages"].as_array()?.clone();
        let stage = stages.into_iter().find(|stage| stage["label"] == "training")?;
        stage["unfinished"]["begun"].get(0).filter(|begun| begun["done"].as_u64() > Some(0)).cloned()
    };
    let until = Instant::now() + Duration::from_secs(120);
    while training(&status()).is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(300));
    }
    child.kill().expect("a kill");
    child.wait().expect("an end");
    let begun = training(&status()).expect("how far the training came");
    assert!(begun["total"].as_u64() > begun["done"].as_u64(), "{begun}");
    let (_, stdout, _) = said(&distill(dir, &["status", "killed"]));
    assert!(stdout.contains("pending  training"), "{stdout}");
    let line = format!("{}: {} of {}", begun["task"].as_str().expect("a task"), begun["done"], begun["total"]);
    assert!(stdout.contains(&line), "expected {line:?} in\n{stdout}");
    assert!(stdout.contains("traces that were looked at"), "the funnel is there: {stdout}");
}

#[test]
fn a_checkpoint_and_an_endpoint_are_evaluated_on_a_file_without_student_or_teacher() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    let file = asked(dir);
    let url = serve(|_| four());
    let endpoint = ["evaluate", &file, "--endpoint", &url, "--model", "org/m", "--set", "evaluation.max-new-tokens=64"];
    let (code, stdout, stderr) = said(&distill(dir, &endpoint));
    assert_eq!(code, Some(0), "{stderr}");
    // One of twelve: 2 + 2.
    assert!(stdout.contains("8.3 % pass@1") || stdout.contains("100.0 % pass@1"), "{stdout}");
    let teacher = recipes().join("nano-teacher").display().to_string();
    let gguf = dir.join("small.gguf").display().to_string();
    assert_eq!(distill(dir, &["convert", &teacher, &gguf]).status.code(), Some(0));
    for checkpoint in [&teacher, &gguf] {
        let local = ["evaluate", &file, "--checkpoint", checkpoint, "--set", "evaluation.max-new-tokens=24"];
        let (code, stdout, stderr) = said(&distill(dir, &local));
        assert_eq!(code, Some(0), "{checkpoint}: {stderr}");
        assert!(stdout.contains("pass@1") && stdout.contains("12 problems"), "{stdout}");
    }
    let (_, stdout, _) = said(&distill(dir, &["list"]));
    assert!(stdout.contains("asked-m-") && stdout.contains("asked-nano-teacher-"), "{stdout}");
    // An address is no part of who answers, and that is said.
    let moved = ["evaluate", &file, "--endpoint", "http://127.0.0.1:9/v1", "--model", "org/m"];
    let limit = ["--set", "evaluation.max-new-tokens=64"];
    let (code, stdout, stderr) = said(&distill(dir, &[&moved[..], &limit].concat()));
    assert!(code == Some(0) && stdout.contains("pass@1"), "{stderr}");
    assert!(
        stderr.contains("nothing was asked of http://127.0.0.1:9/v1") && stderr.contains("--served-as"),
        "{stderr}"
    );
    let (code, _, stderr) = said(&distill(dir, &[&moved[..], &limit, &["--served-as", "another"]].concat()));
    assert!(code == Some(1) && stderr.contains("127.0.0.1:9"), "somebody else is asked: {stderr}");
    for (arguments, expected) in [
        (&["evaluate", &file][..], "expected `--checkpoint DIR` or `--endpoint URL --model NAME`, found neither"),
        (&["evaluate", &file, "--endpoint", &url], "expected `--model NAME`"),
        (
            &["evaluate", &file, "--checkpoint", &teacher, "--answer", "gold"],
            "expected a column of right answers (gold)",
        ),
        (&["evaluate", &file, "--checkpoint", "nowhere"], "no checkpoint at"),
    ] {
        let (code, _, stderr) = said(&distill(dir, arguments));
        assert!(code == Some(2) && stderr.contains(expected), "{arguments:?}: expected {expected:?} in\n{stderr}");
    }
}

#[test]
fn evaluations_have_runs_of_their_own_and_their_wrong_answers_can_be_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    let file = asked(dir);
    // Two checkpoints in folders of one name, as every run of ours has them; the second answers in another precision.
    let evaluate = |run: &str, limit: u32| {
        let (to, limit) = (format!("{run}/published"), format!("evaluation.max-new-tokens={limit}"));
        let (code, stdout, stderr) = said(&distill(dir, &["evaluate", &file, "--checkpoint", &to, "--set", &limit]));
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    for (run, dtype) in [("one", "f32"), ("two", "bf16")] {
        fs::create_dir(dir.join(run)).expect("a folder");
        let (from, to) = (recipes().join("nano-teacher").display().to_string(), format!("{run}/published"));
        assert_eq!(distill(dir, &["convert", &from, &to, "--dtype", dtype]).status.code(), Some(0));
        evaluate(run, 24);
    }
    let cut = evaluate("two", 3);
    assert!(cut.contains("100.0 % cut by the limit"), "{cut}");
    let (_, stdout, _) = said(&distill(dir, &["list"]));
    let runs: Vec<&str> = stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("asked-published-"))
        .collect();
    assert_eq!(runs.len(), 3, "two checkpoints and two limits are three runs:\n{stdout}");
    assert!(
        stdout.contains("one/published") && stdout.contains("evaluation.max-new-tokens=3"),
        "which is which is told:\n{stdout}"
    );
    let hint = cut.lines().find_map(|line| line.split("`distill show ").nth(1)?.split(" --wrong`").next());
    let hint = hint.unwrap_or_else(|| panic!("where the answers are is not said: {cut}"));
    let (code, stdout, stderr) = said(&distill(dir, &["show", hint, "--wrong", "--limit", "1"]));
    assert_eq!(code, Some(0), "{stderr}");
    for part in ["published: problem ", "3 tokens, length", "What is 2 +", "expected  4"] {
        assert!(stdout.contains(part), "expected {part:?} in\n{stdout}");
    }
    let (code, stdout, _) = said(&distill(dir, &["show", hint, "--limit", "2", "--json"]));
    assert!(code == Some(0) && stdout.lines().count() == 2, "a run without traces shows its attempts: {stdout}");
    let (code, _, stderr) = said(&distill(dir, &["show", hint, "--evaluation", "nobody"]));
    assert!(code == Some(2) && stderr.contains("expected one of published"), "{stderr}");
    let report = fs::read_to_string(dir.join(hint).join("report.html")).expect("the report");
    assert!(report.contains("Some answers that are not right") && !report.contains("<span>traces</span>"), "{report}");
}

#[test]
fn an_evaluation_of_nobody_is_refused() {
    let recipe = format!("{SUMS}[evaluation]\nsamples-per-problem = 1\ntemperature = 0.0\nmax-new-tokens = 8\n");
    let dir = place("sums.toml", &recipe);
    let (code, _, stderr) = said(&distill(dir.path(), &["run", "sums.toml"]));
    assert!(code == Some(2) && stderr.contains("nobody to evaluate"), "{stderr}");
}

#[test]
fn what_no_run_uses_goes_and_what_runs_use_and_answers_stay() {
    let url = serve(|_| four());
    let dir = place("asked.toml", &(sampled(&url) + "[[filters]]\nkind = \"length\"\n"));
    let dir = dir.path();
    asked(dir);
    let run = |arguments: &[&str]| {
        let (code, _, stderr) = said(&distill(dir, &[&["run", "asked.toml"], arguments].concat()));
        assert_eq!(code, Some(0), "{stderr}");
    };
    run(&["--set", "filters.0.max-tokens=99"]);
    run(&["--set", "filters.0.max-tokens=98"]);
    // Another folder of runs over the same store.
    run(&["--set", "filters.0.max-tokens=97", "--runs", "elsewhere"]);
    let selections = || fs::read_dir(dir.join("store/selection")).expect("selections").count();
    assert_eq!(selections(), 3);
    let (code, stdout, stderr) = said(&distill(dir, &["gc", "--dry-run"]));
    assert!(code == Some(0) && stdout.contains("would be removed in 1 folders"), "{stdout}{stderr}");
    assert_eq!(selections(), 3, "a dry run removes nothing");
    let (code, stdout, stderr) = said(&distill(dir, &["gc"]));
    assert!(code == Some(0) && stdout.contains("removed in 1 folders"), "{stdout}{stderr}");
    assert!(stdout.contains("of answers stay, in 1 folders"), "{stdout}");
    assert_eq!(selections(), 2, "the run in the other folder keeps its own");
    for runs in ["runs", "elsewhere"] {
        let (code, stdout, _) = said(&distill(dir, &["status", "asked", "--runs", runs]));
        assert!(code == Some(0) && !stdout.contains("pending"), "{stdout}");
    }
    // Both moved: the notes lead on.
    let moved = tempfile::tempdir().expect("a temporary folder");
    for folder in ["store", "runs", "elsewhere"] {
        fs::rename(dir.join(folder), moved.path().join(folder)).expect("a move");
    }
    let (code, stdout, _) = said(&distill(moved.path(), &["gc"]));
    assert!(code == Some(0) && stdout.contains("0 B removed in 0 folders"), "{stdout}");
    // A record that cannot be read stops everything.
    fs::write(moved.path().join("elsewhere/asked/run.json"), "{}").expect("a broken record");
    let (code, _, stderr) = said(&distill(moved.path(), &["gc"]));
    assert!(code == Some(1) && stderr.contains("nothing was removed"), "{stderr}");
}

#[test]
fn a_store_that_somebody_works_on_is_left_alone() {
    let url = serve(|_| {
        thread::sleep(Duration::from_secs(10));
        four()
    });
    let dir = place("asked.toml", &sampled(&url));
    let dir = dir.path();
    asked(dir);
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.current_dir(dir).args(["sample", "asked.toml"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary runs");
    let until = Instant::now() + Duration::from_secs(60);
    while !dir.join("store/traces").exists() && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    let (code, _, stderr) = said(&distill(dir, &["gc"]));
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert!(code == Some(1) && stderr.contains("another process works on"), "{stderr}");
    let (code, _, stderr) = said(&distill(dir, &["gc"]));
    assert_eq!(code, Some(0), "a killed one is no hindrance: {stderr}");
}

#[test]
fn completions_versions_and_recipes_to_begin_with() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path();
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = said(&distill(dir, &["completions", shell]));
        assert!(code == Some(0) && stdout.contains("decontaminate"), "{shell}");
    }
    let (_, stdout, _) = said(&distill(dir, &["--version"]));
    assert!(stdout.starts_with(&format!("distill {}", env!("CARGO_PKG_VERSION"))), "{stdout}");
    let (code, stdout, stderr) = said(&distill(dir, &["init"]));
    assert!(code == Some(0) && stdout.contains("distill plan recipe.toml"), "{stdout}{stderr}");
    let (code, _, stderr) = said(&distill(dir, &["plan", "recipe.toml"]));
    assert!(code == Some(2) && stderr.contains("problems.jsonl"), "what is missing is named: {stderr}");
    assert_eq!(said(&distill(dir, &["init"])).0, Some(2), "nothing is written over");
    let (code, _, stderr) = said(&distill(dir, &["list"]));
    assert!(code == Some(2) && stderr.contains("expected runs, found none"), "{stderr}");
}

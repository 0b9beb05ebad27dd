//! Sampling that is killed again and again, from a server that fails in every way: every answer is whole, and what the
//! server says that it sent is what journal and ledger have, to the token.
//!
//! `DISTILL_KILLS=200` kills as often as that.

use distill_dataset::{FinishReason, Trace};
use distill_simulator::{Answer as Simulated, Fault, Script, Served, Simulator};
use distill_teacher::{Answer, Answers};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const LENGTHS: (usize, usize) = (60, 260);
const RATE: f64 = 100.0;

fn recipe(url: &str, more: &str) -> String {
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/nano");
    format!(
        r#"
name = "killed"
seed = 3

[[sources]]
holdout = 0
problems = {{ jsonl = "problems.jsonl", columns = {{ question = "question", answer = "answer" }}, answer-format = "gsm8k", licence = "MIT" }}

[sources.teacher.http]
url = "{url}"
model = "sim"
api = "completions"
chat = {nano:?}
concurrency = 48
max-retries = 30
idle-timeout-s = 3
{more}

[sources.sampling]
samples-per-problem = 2
temperature = 0.6
top-p = 0.95
max-new-tokens = 4096

[[filters]]
kind = "format"

[export]
dataset-name = "Killed"
license = "mit"
"#
    )
}

fn place(url: &str, problems: u32, more: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let line = |i: u32| json!({"question": format!("What is {i} + 1?"), "answer": "#### 7"}).to_string() + "\n";
    fs::write(dir.path().join("problems.jsonl"), (0..problems).map(line).collect::<String>()).expect("problems");
    fs::write(dir.path().join("killed.toml"), recipe(url, more)).expect("a recipe");
    dir
}

fn sampling(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.current_dir(dir).args(["sample", "killed.toml", "--threads", "1"]).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The one folder of answers below a store.
fn samples(dir: &Path) -> PathBuf {
    let mut folders = fs::read_dir(dir.join("store/samples")).expect("samples");
    folders.next().expect("a teacher's").expect("an entry").path()
}

/// The traces that the manifest's shards have.
fn traces(dir: &Path) -> Vec<Trace> {
    let folder = dir.join("runs/killed/traces");
    let manifest = distill_dataset::Manifest::read(&folder.join("manifest.json")).expect("a manifest");
    let dataset = distill_dataset::Dataset::new(folder, manifest);
    dataset
        .shards()
        .flat_map(|shard| shard.all_rows::<Trace>().collect::<Vec<_>>())
        .map(|row| row.expect("a trace"))
        .collect()
}

#[test]
fn killed_again_and_again_under_every_fault_nothing_is_lost_and_nothing_bought_twice() {
    let kills = std::env::var("DISTILL_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(8_u32);
    let script = Script { lengths: LENGTHS, rate: Some(RATE), harmed: 0.3, seed: 5, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    // As many as one kill after the other takes about.
    let dir = place(&simulator.url(), 60 + kills * 5, "");
    let mut state = 11_u64;
    let mut killed = 0;
    for _ in 0..kills {
        let mut child = sampling(dir.path(), &[]).spawn().expect("the binary runs");
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(400 + (state >> 40) % 1600));
        killed += u32::from(child.try_wait().expect("a state").is_none());
        child.kill().expect("a kill");
        child.wait().expect("an end");
    }
    assert!(killed * 2 >= kills, "{killed} of {kills} were at work when they were killed");
    let output = sampling(dir.path(), &[]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let until = Instant::now() + Duration::from_secs(10);
    while simulator.num_running() > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    let mut log: BTreeMap<u32, Vec<Served>> = BTreeMap::new();
    for served in simulator.log() {
        log.entry(served.seed).or_default().push(served);
    }
    let answers = Answers::open(&samples(dir.path())).expect("answers");
    let traces = traces(dir.path());
    assert_eq!(traces.len() as u32, 2 * (60 + kills * 5));
    let (mut seams, mut again, mut tokens) = (0, 0, 0);
    for trace in &traces {
        let answer = Simulated::of((trace.seed & 0x7fff_ffff) as u32, LENGTHS);
        assert_eq!((trace.text.as_str(), trace.finish_reason), (answer.text().as_str(), FinishReason::Stop));
        assert!(matches!(answers.get(&trace.id), Ok(Some(Answer::Answered(_)))));
        seams += trace.segments.len() - 1;
        tokens += answer.len;
        let charges = answers.charges(&trace.id).expect("charges");
        assert_eq!(charges.all.completion_tokens as usize, answer.len, "the ledger has each token once: {charges:?}");
        // What the server sent of it, request by request: each goes on where what was kept of the one before it ends.
        let mut requests = log.remove(&answer.seed).expect("a request");
        requests.sort_by_key(|served| served.number);
        let mut kept = 0;
        for pair in requests.windows(2) {
            let (came_to, next) = (pair[0].from + pair[0].sent, pair[1].from);
            assert!((pair[0].from..=came_to).contains(&next), "{requests:?}");
            kept += next - pair[0].from;
            again += came_to - next;
        }
        let last = requests.last().expect("a request");
        assert!(last.ended && kept + last.sent == answer.len, "{requests:?}");
    }
    assert!(log.is_empty(), "answers that nobody has: {log:?}");
    assert!(seams > kills as usize, "{seams} seams: too few answers were cut to tell anything");
    // What is on its way to the disk is lost with the process: a quarter of a second of each stream.
    assert!(again * 4 < tokens, "{again} of {tokens} tokens were bought again");
    let told =
        format!("{killed} kills, {} answers, {seams} seams, {again} tokens were on their way at a kill", traces.len());
    writeln!(io::stderr(), "{told}").expect("standard error");
}

#[test]
fn a_chat_that_can_be_gone_on_from_is() {
    let faults = vec![Fault::Cut, Fault::Reset, Fault::ErrorAmidst];
    let script = Script { lengths: LENGTHS, harmed: 0.5, faults, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = place(&simulator.url(), 40, "continuation = \"continue-final-message\"");
    let set = "sources.0.teacher.http.api=\"chat\"";
    let output = sampling(dir.path(), &["--set", set]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let traces = traces(dir.path());
    assert!(traces.iter().any(|trace| trace.segments.len() > 1), "some broke off");
    for trace in traces {
        assert_eq!(trace.text, Simulated::of((trace.seed & 0x7fff_ffff) as u32, LENGTHS).text());
    }
}

#[test]
fn what_a_lower_limit_cut_is_gone_on_from_and_the_rest_is_taken_as_it_is() {
    let simulator = Simulator::start(Script { lengths: LENGTHS, ..Script::default() }).expect("a server");
    let dir = place(&simulator.url(), 60, "");
    let run = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let output = sampling(dir.path(), &sets).output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        traces(dir.path())
    };
    let short = run(&["sources.0.sampling.max-new-tokens=120"]);
    let cut = short.iter().filter(|trace| trace.finish_reason == FinishReason::Length).count();
    assert!((20..100).contains(&cut), "{cut} of {} are cut", short.len());
    let long = run(&["sources.0.sampling.continues=120"]);
    let seams = long.iter().filter(|trace| trace.segments.len() == 2).count();
    assert_eq!((long.len(), seams), (short.len(), cut));
    let answers: BTreeMap<(&str, u32), &Trace> =
        short.iter().map(|trace| ((trace.problem_id.as_str(), trace.sample_index), trace)).collect();
    let mut tokens = 0;
    for trace in &long {
        let before = answers[&(trace.problem_id.as_str(), trace.sample_index)];
        assert!(trace.text.starts_with(&before.text) && trace.finish_reason == FinishReason::Stop);
        assert_eq!(trace.text, Simulated::of((before.seed & 0x7fff_ffff) as u32, LENGTHS).text());
        tokens += trace.completion_tokens as usize;
    }
    let sent: usize = simulator.log().iter().map(|served| served.sent).sum();
    assert_eq!(sent, tokens, "each token was bought once");
    assert_eq!(run(&["sources.0.sampling.continues=120"]), long, "and is there");
}

//! The whole path through the binary, small: skipped, re-run, shared, resumed, stopped, killed.

use serde_json::Value;
use std::{
    fs,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

/// The quickstart in small: 120 problems, 40 steps. Nobody learns sums from that, but every stage runs.
const SMALL: [&str; 6] = [
    "name=small",
    "sources.0.problems.count=200",
    "sources.0.holdout=20",
    "student.training.epochs=3",
    "evaluation.max-new-tokens=24",
    "filters.1.max-tokens=60",
];

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

/// A folder to run in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, verb: &str, sets: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(self.path()).arg(verb).arg(recipes().join("quickstart.toml")).args(["--threads", "2"]);
        for set in SMALL.iter().chain(sets) {
            command.args(["--set", set]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, verb: &str, sets: &[&str]) -> Output {
        self.command(verb, sets).output().expect("the binary runs")
    }

    fn done(&self, verb: &str, sets: &[&str]) -> Vec<String> {
        let output = self.run(verb, sets);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        made(&output)
    }

    fn status(&self, name: &str) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        let output =
            command.current_dir(self.path()).args(["status", name, "--json"]).output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Files of the store that are wanted.
    fn find(&self, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if wanted(&path) {
                    files.push(path);
                }
            }
        }
        files
    }

    /// The content digest of a stage.
    fn digest(&self, label: &str) -> String {
        let status = self.status("small");
        let stages = status["stages"].as_array().expect("stages");
        let stage = stages.iter().find(|stage| stage["label"] == label).expect("the stage");
        stage["digest"].as_str().expect("a digest").to_owned()
    }
}

/// Changes a byte in the middle of a file and nothing else that one sees without reading it.
fn change_unseen(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).expect("a file");
    let data = file.metadata().expect("what is known of it");
    let (mut byte, middle) = ([0], data.len() / 2);
    file.read_exact_at(&mut byte, middle).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0xff], middle).expect("another byte");
    file.set_modified(data.modified().expect("a time")).expect("the old time");
}

#[test]
fn a_second_run_reads_neither_teacher_nor_base_nor_traces_and_leaves_the_report_alone() {
    let place = Place::new();
    let teacher = place.path().join("teacher");
    fs::create_dir(&teacher).expect("a folder");
    for entry in fs::read_dir(recipes().join("nano-teacher")).expect("the teacher") {
        let entry = entry.expect("a file");
        let copy = teacher.join(entry.file_name());
        fs::copy(entry.path(), &copy).expect("a copy");
        // What was written a moment ago could be written again within the clock's step: it is read every time.
        let settled = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().write(true).open(copy).expect("a file").set_modified(settled).expect("an older time");
    }
    let teacher_key = format!("sources.0.teacher.local={:?}", teacher.display().to_string());
    place.done("run", &[&teacher_key]);
    let report = place.path().join("runs/small/report.html");
    let written = fs::metadata(&report).expect("the report").modified().expect("a time");
    // Whoever reads these notices: digests would differ, shards would not match their manifest.
    change_unseen(&teacher.join("model.safetensors"));
    change_unseen(&place.path().join("runs/small/traces/part-00000-00000.parquet"));
    change_unseen(&place.path().join("runs/small/base/model.safetensors"));
    let again = place.run("run", &[&teacher_key]);
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && made(&again).is_empty(), "{stderr}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"), "{stderr}");
    let later = fs::metadata(&report).expect("the report").modified().expect("a time");
    assert_eq!(written, later, "the report was written again");
}

#[test]
fn damage_in_the_journal_is_told_and_costs_what_was_hit() {
    let place = Place::new();
    place.done("sample", &[]);
    let traces = fs::canonicalize(place.path().join("runs/small/traces")).expect("the traces");
    fs::remove_dir_all(traces).expect("traces are made again from the journal");
    let answers = place.find(&|path| path.components().any(|part| part.as_os_str() == "answers"));
    let segment = answers.iter().max_by_key(|path| fs::metadata(path).map_or(0, |data| data.len())).expect("a segment");
    change_unseen(segment);
    let again = place.run("sample", &[]);
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && made(&again) == ["traces"], "{stderr}");
    let name = segment.file_name().expect("a name").to_string_lossy();
    assert!(stderr.contains("damaged") && stderr.contains(&*name), "{stderr}");
}

/// The stages that a run made, from the JSON lines on standard error.
fn made(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["event"] == "done")
        .map(|event| event["stage"].as_str().expect("a stage").to_owned())
        .collect()
}

const ALL: [&str; 16] = [
    "source",
    "problems",
    "traces",
    "measure-1-format",
    "measure-2-length",
    "measure-3-duplicates",
    "measure-4-verify",
    "selection",
    "export",
    "base",
    "examples",
    "training",
    "evaluation-before",
    "evaluation-after",
    "evaluation-teacher",
    "published",
];

#[test]
fn a_second_run_does_nothing_and_a_threshold_measures_nothing_again() {
    let place = Place::new();
    assert_eq!(place.done("run", &[]), ALL);
    let again = place.run("run", &[]);
    assert!(made(&again).is_empty());
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"));

    assert_eq!(
        place.done("filter", &["filters.1.max-tokens=40"]),
        ["selection"],
        "a threshold re-cuts, and that is all"
    );
    assert_eq!(
        place.done("run", &["evaluation.temperature=0.5"]),
        ["evaluation-before", "evaluation-after", "evaluation-teacher", "published"]
    );
    // Another recipe with the same first half shares it.
    let control = place.done("run", &["name=other", "student.training.answers=shuffled"]);
    assert_eq!(control, ["training", "evaluation-after", "published"]);

    let status = place.status("small");
    let funnel = &status["funnel"];
    let entered = funnel["steps"][0]["entered"].as_u64().expect("a count");
    let dropped: u64 = funnel["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .flat_map(|step| step["dropped"].as_object().expect("reasons").values())
        .map(|count| count.as_u64().expect("a count"))
        .sum();
    assert_eq!(entered, dropped + funnel["kept"].as_u64().expect("a count"), "the funnel sums");
    assert!(status["evaluation"]["after"]["high"].as_f64().expect("an interval") > 0.0);
    let report = fs::read_to_string(place.path().join("runs/small/report.html")).expect("the report");
    assert!(report.contains("Funnel") && report.contains("</html>") && !report.contains("<script"));
}

#[test]
fn the_same_recipe_gives_the_same_bytes_and_twenty_kills_change_nothing() {
    let whole = Place::new();
    whole.done("run", &[]);
    let broken = Place::new();
    let mut killed = 0;
    for attempt in 0..20_u64 {
        let mut child = broken.command("run", &[]).stderr(Stdio::null()).spawn().expect("the binary runs");
        std::thread::sleep(Duration::from_millis(40 + attempt * 97 % 400));
        let _ = child.kill();
        let status = child.wait().expect("an end");
        killed += u32::from(status.signal() == Some(9));
    }
    assert!(killed >= 10, "only {killed} of 20 kills hit a running process");
    broken.done("run", &[]);
    for label in ["problems", "traces", "selection", "export", "examples", "training"] {
        assert_eq!(broken.digest(label), whole.digest(label), "{label} differs after {killed} kills");
    }
    let weights =
        |place: &Place| fs::read(place.path().join("runs/small/published/model.safetensors")).expect("weights");
    assert!(weights(&broken) == weights(&whole));
}

#[test]
fn an_interrupt_saves_everything_and_exits_with_130() {
    let place = Place::new();
    let child = place.command("run", &["student.training.epochs=60"]).spawn().expect("the binary runs");
    std::thread::sleep(Duration::from_millis(1500));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("run the same command again"), "{stderr}");
    assert!(!place.path().join("runs/small/training").exists(), "no stage that is not done is linked");
}

#[test]
fn a_budget_stops_with_3_and_keeps_what_was_bought() {
    let place = Place::new();
    let output = place.run("sample", &["sources.0.sampling.budget-tokens=3000"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the budget of 3000 tokens is reached") && stderr.contains("budget-tokens"), "{stderr}");
    assert_eq!(made(&output), ["source", "problems"]);
    assert_eq!(place.done("sample", &[]), ["traces"]);
}

#[test]
fn a_changed_file_is_noticed_before_it_is_used() {
    let place = Place::new();
    place.done("sample", &[]);
    let shard = place.path().join("runs/small/traces/part-00000-00000.parquet");
    let mut bytes = fs::read(&shard).expect("a shard");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&shard, bytes).expect("a changed shard");
    let output = place.run("filter", &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("expected checksum") && stderr.contains("part-00000-00000.parquet"), "{stderr}");
}

#[test]
fn a_disk_that_refuses_leaves_no_manifest_and_the_next_run_goes_on() {
    let place = Place::new();
    // No file may grow past 16 KiB: weights and journal do.
    let command = place.command("run", &[]);
    let line = format!("trap '' XFSZ; ulimit -f 16; exec {}", quoted(&command));
    let output = Command::new("bash").current_dir(place.path()).args(["-c", &line]).output().expect("a shell");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error: ") && stderr.contains("cannot write"), "{stderr}");
    let whole = Place::new();
    whole.done("run", &[]);
    place.done("run", &[]);
    assert_eq!(place.digest("training"), whole.digest("training"));
}

fn quoted(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect::<Vec<_>>().join(" ")
}

#[test]
fn traces_can_be_read_with_their_decisions() {
    let place = Place::new();
    place.done("filter", &[]);
    let show = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(place.path()).args(["show", "small"]).args(arguments);
        let output = command.output().expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, text) = show(&["--limit", "1", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let row: Value = serde_json::from_str(text.trim()).expect("JSON");
    assert!(row["question"].as_str().expect("text").starts_with("What is"));
    let id = row["trace"]["id"].as_str().expect("an id");
    let (_, text) = show(&[&id[..8]]);
    assert!(text.contains("measure-4-verify") && text.contains("kept"), "{text}");
    assert!(text.contains("rule \"boxed\""), "a trace that is named is shown with all that was measured: {text}");
    assert!(!show(&["--limit", "1"]).1.contains("rule \"boxed\""), "in a list only what did not pass is explained");
    assert_eq!(show(&["ffffffffffffffffff"]).0, Some(2));
}

#[test]
fn plan_spends_nothing_and_says_what_is_missing() {
    let place = Place::new();
    let output = place.run("plan", &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("to do  traces"), "{text}");
    assert!(!place.path().join("store").exists() && !place.path().join("runs").exists());
    place.done("sample", &[]);
    let output = place.run("plan", &["sources.0.sampling.samples-per-problem=4"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("done   problems") && text.contains("to do  traces"), "{text}");
    // 180 of 720 are there.
    assert!(text.contains("answers that are there      180"), "{text}");
    assert!(text.contains("requests                    540") && text.contains(&(540 * 96).to_string()), "{text}");
}

#[test]
fn errors_name_what_was_expected_and_where() {
    let place = Place::new();
    let cases: [(&[&str], &[&str], i32); 5] = [
        (&["sources.0.teacher.local=nowhere"], &["no checkpoint at", "nowhere"], 2),
        (&["student.training.epoch=3"], &["unknown key `epoch`", "did you mean `epochs`?"], 2),
        (&["student.training.learning-rate=-1"], &["`learning-rate`: expected above 0 to 1, found -1"], 2),
        (&["filters.0.kind=formt"], &["unknown filter `formt`", "did you mean `format`?"], 2),
        (&["sources.0.problems.generator=sums"], &["unknown generator `sums`", "chain-sum"], 2),
    ];
    for (sets, expected, code) in cases {
        let output = place.run("run", sets);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{sets:?}: {stderr}");
        for expected in expected {
            assert!(stderr.contains(expected), "{sets:?}: expected {expected:?} in\n{stderr}");
        }
    }
}

#[test]
fn every_shipped_recipe_is_one() {
    let mut pending = vec![recipes()];
    let mut seen = 0;
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("recipes") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let recipe = distill::recipe::Recipe::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(
                    Some(recipe.name.as_str()),
                    path.file_stem().and_then(|stem| stem.to_str()),
                    "named as its file"
                );
                let text = fs::read_to_string(&path).expect("text");
                assert!(text.starts_with("# distill "), "{} begins with the command that runs it", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "found {seen} recipes");
}

#[test]
fn wrong_types_and_values_out_of_range_come_together_each_at_its_key() {
    let place = Place::new();
    let path = place.path().join("bad.toml");
    let text = "name = \"bad\"\nseed = 1\n[[sources]]\nproblems = { generator = \"chain-sum\", terms = [9, 3], first = \"x\", operand = [5, 1] }\nteacher = { local = \"t\" }\nsampling = { samples-per-problem = 0, temperature = 11.0, max-new-tokens = 9 }\n[student]\nbase = { checkpoint = \"b\" }\n[student.training]\nepochs = 0\nbatch-size = \"many\"\nweight-decay = -1.0\n";
    fs::write(&path, text).expect("a recipe");
    let error = distill::recipe::Recipe::load(&path, &[]).expect_err("a bad recipe").to_string();
    for expected in [
        "bad.toml:4:47",
        "`terms`: expected [low, high]",
        "`sources.0.problems.first`: expected",
        "`operand`: expected [low, high]",
        "bad.toml:6:36",
        "`samples-per-problem`: expected 1 to 65536, found 0",
        "`temperature`: expected 0 to 10, found 11",
        "bad.toml:10:10",
        "`epochs`: expected 1 to 10000, found 0",
        "`student.training.batch-size`: expected a whole number",
        "`weight-decay`: expected 0 to 10, found -1",
        "`student.training` lacks the key `learning-rate`",
        "9 errors; nothing was run",
    ] {
        assert!(error.contains(expected), "expected {expected:?} in\n{error}");
    }
}

#[test]
fn a_student_may_start_from_gguf_with_surgery_and_a_training_template() {
    let place = Place::new();
    let base = place.path().join("teacher.gguf");
    let converted = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(["convert".as_ref(), recipes().join("nano-teacher").as_os_str(), base.as_os_str()])
        .output()
        .expect("the binary runs");
    assert!(converted.status.success(), "{}", String::from_utf8_lossy(&converted.stderr));
    let set = format!(
        "student.base={{ checkpoint = {base:?}, surgery = {{ rope-theta = 20000.0, max-position-embeddings = 512, add-tokens = [\"<note>\"] }} }}"
    );
    let template = format!("student.chat-template={:?}", recipes().join("nano/chat_template.jinja"));
    let unlicensed = place.run("train", &[&set, &template]);
    let said = String::from_utf8_lossy(&unlicensed.stderr).into_owned();
    assert!(said.contains("nothing was begun") && said.contains("publish.base-license"), "{said}");
    let licence = "publish.base-license=apache-2.0";
    place.done("train", &[&set, &template, licence, "student.training.epochs=1"]);
    let trained = place.path().join("runs/small/training");
    let read = |name: &str| fs::read_to_string(trained.join(name)).expect(name);
    let config: Value = serde_json::from_str(&read("config.json")).expect("JSON");
    assert_eq!(config["rope_theta"], 20000.0);
    assert_eq!(config["max_position_embeddings"], 512);
    assert!(read("tokenizer.json").contains("<note>"));
    let manifest: Value = serde_json::from_str(&read("manifest.json")).expect("JSON");
    let text = manifest.to_string();
    assert!(text.contains("chat_template.jinja (") && text.contains("the base's own ("), "{text}");
    let wrong = place.run("train", &["student.base={ checkpoint = \"x\", surgery = { rope-theta = 0.5 } }"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("`rope-theta`: expected more than 1"), "{said}");
}

#[test]
fn sources_are_mixed_by_weight_and_filters_look_at_some_of_them() {
    let place = Place::new();
    let lines: String = (0..60).map(|i| format!("{{\"q\": \"Say {i}.\", \"s\": \"{i}, as asked.\"}}\n")).collect();
    fs::write(place.path().join("general.jsonl"), lines).expect("problems");
    let recipe = |weight: &str, sources: &str| {
        format!(
            "name = \"mixed\"\nseed = 3\n[[sources]]\nname = \"sums\"\nweight = 3.0\nproblems = {{ generator = \"chain-sum\", count = 90, terms = [2, 3], first = [1, 9], operand = [1, 9] }}\nteacher = {{ worked-solutions = true }}\n\
             [[sources]]\nname = \"general\"\n{weight}\nproblems = {{ jsonl = \"general.jsonl\", columns = {{ question = \"q\", solution = \"s\" }}, domain = \"general\", licence = \"MIT\" }}\nteacher = {{ worked-solutions = true }}\n\
             [[filters]]\nkind = \"length\"\n[[filters]]\nkind = \"verify\"\non-unknown = \"reject\"\n{sources}\n\
             [export]\ndataset-name = \"mixed\"\nlicense = \"mit\"\n"
        )
    };
    let path = place.path().join("mixed.toml");
    let export = |text: String| {
        fs::write(&path, text).expect("a recipe");
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(place.path()).args(["export", "mixed.toml", "--threads", "1"]);
        command.output().expect("the binary runs")
    };
    let made = export(recipe("weight = 1.0", "sources = [\"sums\"]"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let manifest = place.path().join("runs/mixed/export/manifest.json");
    let manifest = distill_dataset::Manifest::read(&manifest).expect("a manifest");
    let shards = manifest.files.iter().filter(|file| file.file.ends_with(".parquet"));
    let rows: Vec<u64> = shards.map(|shard| shard.rows).collect();
    assert_eq!(rows, [90, 30], "three to one, as much as there is, in a shard a source");
    let status = place.status("mixed");
    let funnel = status["funnel"].to_string();
    assert!(funnel.contains("\"over-its-share\":30"), "{funnel}");
    for (text, expected) in [
        (recipe("", "sources = [\"sums\"]"), "`weight`: expected one in each of 2 sources or in none, found 1"),
        (recipe("weight = 0.0", ""), "`sources.1.weight`: expected more than 0, found 0"),
        (recipe("weight = 1.0", "sources = [\"sum\"]"), "did you mean `sums`?"),
        (recipe("weight = 1.0", "sources = []"), "expected names of sources, found none"),
        (recipe("weight = 1.0", "").replace("\"general\"\nweight", "\"sums\"\nweight"), "is called `sums` too"),
        // Nothing of the second source can be verified, and without it there is no mix.
        (recipe("weight = 1.0", ""), "source 2 has a weight and no trace that the filters keep"),
    ] {
        let refused = export(text);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(expected), "expected {expected:?} in\n{said}");
    }
}

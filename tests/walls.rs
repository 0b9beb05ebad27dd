//! Hostile surroundings, seen from outside: files that are none, links that lead elsewhere, names that are no text, bytes
//! that changed, servers that repeat what they must not.

use crate::endpoint::{Asked, Reply, serve};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the binary in `dir`; one that hangs is ended, and its status is none of ours.
fn distill<S: AsRef<OsStr>>(dir: &Path, arguments: &[S]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["120", env!("CARGO_BIN_EXE_distill")]).args(arguments).current_dir(dir);
    command.env("DISTILL_TEST_KEY", KEY).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn pipes_and_devices_in_the_place_of_files_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
    symlink("/dev/zero", at("endless")).expect("a link");
    for name in ["pipe", "endless"] {
        // As each file of a checkpoint, of a chat folder, and as what a command takes.
        let teacher = root("recipes/nano-teacher");
        for file in
            ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
        {
            let checkpoint = at(&format!("{name}-{file}"));
            fs::create_dir(&checkpoint).expect("a folder");
            for entry in fs::read_dir(&teacher).expect("the teacher") {
                let entry = entry.expect("a file");
                if entry.file_name() == file {
                    symlink(at(name), checkpoint.join(file)).expect("a link");
                } else {
                    fs::copy(entry.path(), checkpoint.join(entry.file_name())).expect("a copy");
                }
            }
            let output = distill(dir.path(), &["chat".as_ref(), checkpoint.as_os_str()]);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(1), "{name} as {file}: {text}");
            assert!(text.contains(file) && text.contains("regular file"), "{name} as {file}: {text}");
        }
        let gsm8k = root("recipes/gsm8k.toml");
        for (arguments, file) in [
            (vec!["plan".to_owned(), name.to_owned()], name),
            (vec!["convert".to_owned(), name.to_owned(), "out.gguf".to_owned()], name),
            (
                vec![
                    "sample".to_owned(),
                    gsm8k.display().to_string(),
                    "--set".to_owned(),
                    format!("sources.0.problems.jsonl={:?}", at(name).display().to_string()),
                ],
                name,
            ),
        ] {
            let output = distill(dir.path(), &arguments);
            let text = said(&output);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?} {text}", output.status);
            assert!(text.contains(file) && text.contains("regular file"), "{arguments:?}: {text}");
        }
    }
}

const SMALL: [&str; 8] = [
    "--set",
    "sources.0.problems.count=60",
    "--set",
    "sources.0.holdout=10",
    "--set",
    "filters.1.max-tokens=60",
    "--threads",
    "2",
];

fn export(dir: &Path) -> Output {
    small(dir, "export", &[])
}

/// The quickstart's first problems, up to what `command` makes.
fn small(dir: &Path, command: &str, options: &[&OsStr]) -> Output {
    let quickstart = root("recipes/quickstart.toml").into_os_string();
    let mut arguments = vec![command.into(), quickstart];
    arguments.extend(SMALL.map(Into::into));
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    distill(dir, &arguments)
}

#[test]
fn a_folder_whose_name_is_no_text_is_one_to_work_in() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let odd = dir.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).expect("a folder");
    let output = export(&odd);
    assert!(output.status.success(), "{}", said(&output));
    assert!(odd.join("runs/quickstart/export/part-00000-00000.parquet").exists());
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(left, [odd], "nothing is written elsewhere");
}

#[test]
fn folders_whose_names_are_no_text_hold_a_store_and_runs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [store, runs] = [b"st\xe9", b"ru\xe9"].map(|name| OsStr::from_bytes(name));
    let output = small(dir.path(), "export", &["--store".as_ref(), store, "--runs".as_ref(), runs]);
    assert!(output.status.success(), "{}", said(&output));
    for command in ["status", "show", "report"] {
        let output = distill(dir.path(), &[command.as_ref(), "quickstart".as_ref(), "--runs".as_ref(), runs]);
        assert!(output.status.success(), "{command}: {}", said(&output));
    }
    // And a recipe in such a folder, beside its teacher.
    let odd = dir.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).expect("a folder");
    for beside in ["nano", "nano-teacher"] {
        symlink(root("recipes").join(beside), odd.join(beside)).expect("a link");
    }
    fs::copy(root("recipes/quickstart.toml"), odd.join("quickstart.toml")).expect("a copy");
    let recipe = odd.join("quickstart.toml").into_os_string();
    let output = distill(dir.path(), &["plan".into(), recipe, "--store".into(), store.to_owned()]);
    assert!(output.status.success(), "{}", said(&output));
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[test]
fn a_byte_that_changed_in_the_store_is_never_shown() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let trained = small(dir.path(), "train", &["--set".as_ref(), "student.training.epochs=1".as_ref()]);
    assert!(trained.status.success(), "{}", said(&trained));
    let shown: [(&[&str], &[&str]); 3] = [
        (&["show", "quickstart"], &["traces", "measure", "selection", "problems"]),
        (&["show", "quickstart", "--rendered"], &["examples", "base"]),
        (&["report", "quickstart"], &["traces", "measure", "selection", "problems"]),
    ];
    let runs = dir.path().join("runs/quickstart");
    let folders = fs::read_dir(&runs).expect("the run").map(|entry| entry.expect("an entry").path());
    let folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    assert!(folders.len() > 8, "found {folders:?}");
    for folder in folders {
        for entry in fs::read_dir(&folder).expect("a stage") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let sound = if path.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
            if sound.is_empty() || name.ends_with(".safetensors") {
                continue;
            }
            let mut bytes = sound.clone();
            bytes[sound.len() / 2] ^= 1;
            fs::write(&path, &bytes).expect("a changed file");
            for (command, read) in shown {
                // Made anew, it reads what it shows.
                fs::remove_file(runs.join("report.html")).or_else(absent).expect("no report");
                let output = distill(dir.path(), command);
                let stage = folder.file_name().expect("a stage").to_string_lossy();
                // Every command reads all manifests.
                let noticed = name == "manifest.json" || read.iter().any(|read| stage.starts_with(read));
                let text = said(&output);
                assert_eq!(output.status.success(), !noticed, "{command:?} and {stage}/{name}: {text}");
                assert!(!noticed || text.contains(&name), "{command:?} and {stage}/{name}: {text}");
            }
            fs::write(&path, &sound).expect("the file as it was");
        }
    }
    // So is the run's own record, wherever in it.
    let record = runs.join("run.json");
    let sound = fs::read(&record).expect("the record");
    for at in (0..sound.len()).step_by(sound.len() / 20) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&record, &bytes).expect("a changed record");
        for command in ["show", "status", "report"] {
            let output = distill(dir.path(), &[command, "quickstart"]);
            // A space between its parts may be any other.
            let same = serde_json::from_slice::<Value>(&bytes).ok() == serde_json::from_slice::<Value>(&sound).ok();
            assert_eq!(output.status.success(), same, "{command}, byte {at}: {}", said(&output));
            assert!(same || said(&output).contains("run.json"), "{command}, byte {at}: {}", said(&output));
        }
    }
    fs::write(&record, &sound).expect("the record as it was");
    // A page that somebody changed is written again.
    let report = runs.join("report.html");
    let write = || distill(dir.path(), &["report", "quickstart"]).status.success();
    assert!(write());
    let page = fs::read_to_string(&report).expect("the report");
    fs::write(&report, page.replacen("quickstart", "quickstarr", 2)).expect("a changed report");
    assert!(write());
    assert_eq!(fs::read_to_string(&report).expect("the report"), page);
}

#[test]
fn a_byte_that_changed_in_what_people_take_away_is_noticed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(export(dir.path()).status.success());
    let folder = dir.path().join("runs/quickstart/export");
    for name in ["part-00000-00000.parquet", "README.md", "manifest.json"] {
        let path = folder.join(name);
        let sound = fs::read(&path).expect("a file");
        let mut bytes = sound.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).expect("a changed file");
        let output = export(dir.path());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains(name), "{name}: {text}");
        fs::write(&path, &sound).expect("the file as it was");
        assert!(export(dir.path()).status.success(), "{name} is as it was");
    }
}

/// No part of it is said, kept or shown.
const KEY: &str = "sk-secret-0123456789abcdef";

/// A server that repeats the key wherever it can, and gives a terminal orders.
fn repeat(Asked { number, key, .. }: Asked) -> Reply {
    let key = key.trim_start_matches("Bearer ");
    assert_eq!(key, KEY, "the key was sent, so that it can be repeated");
    let (status, text) = match number % 4 {
        0 => (400, format!("{}{key}\x1b[2J", "no ".repeat(96))),
        1 => (500, format!("{}{key}\x1b[2J", "no ".repeat(96))),
        _ => {
            let content = format!("<think>\nyour key is {key}\x1b[2J\n</think>\n\n\\boxed{{{key}}}");
            let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
            (200, json!({"model": format!("m {key}\x1b[2J"), "choices": [choice]}).to_string())
        }
    };
    let headers = vec![("x-key", key.to_owned()), ("content-type", "application/json".to_owned())];
    Reply { status, headers, text }
}

#[test]
fn a_key_that_a_server_repeats_is_nowhere_and_a_terminal_gets_no_orders() {
    repeated("api-key-env=\"DISTILL_TEST_KEY\"");
}

#[test]
fn a_secret_header_that_a_server_repeats_is_nowhere() {
    repeated("headers-env={ Authorization = \"DISTILL_TEST_KEY\" }");
}

/// Samples of a server that repeats what it was told by a setting of its teacher, and looks everywhere for it.
fn repeated(setting: &str) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let line =
        |i: u32| json!({"question": format!("What is {i} + 1?"), "answer": format!("#### {}", i + 1)}).to_string();
    fs::write(dir.path().join("problems.jsonl"), (0..40).map(|i| line(i) + "\n").collect::<String>())
        .expect("problems");
    let gsm8k = root("recipes/gsm8k.toml").display().to_string();
    let url = format!("sources.0.teacher.http.url={:?}", serve(repeat));
    let problems = format!("sources.0.problems.jsonl={:?}", dir.path().join("problems.jsonl").display().to_string());
    let sets = [
        &problems,
        &url,
        &format!("sources.0.teacher.http.{setting}"),
        "sources.0.sampling.samples-per-problem=1",
        "name=\"parrot\"",
    ];
    let mut arguments = vec!["--log", "trace", "export", &gsm8k];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let ran = distill(dir.path(), &arguments);
    let mut told = said(&ran);
    assert!(told.contains("traces"), "{told}");
    for arguments in
        [&["show", "parrot"][..], &["show", "parrot", "--dropped"], &["status", "parrot"], &["report", "parrot"]]
    {
        told += &said(&distill(dir.path(), arguments));
    }
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                told += &String::from_utf8_lossy(&fs::read(&path).unwrap_or_default());
            }
        }
    }
    let at = told.find(&KEY[..12]);
    assert!(at.is_none(), "{:?}", at.map(|at| told.get(at.saturating_sub(200)..(at + 80).min(told.len()))));
    let shown = said(&distill(dir.path(), &["show", "parrot", "--dropped"])) + &said(&ran);
    assert!(shown.contains("[key]"), "answers are there, without the key: {shown}");
    assert!(!shown.contains('\x1b'), "nothing moves the cursor");
    let record: Value =
        serde_json::from_slice(&fs::read(dir.path().join("runs/parrot/run.json")).expect("a record")).expect("JSON");
    assert_eq!(record["name"], "parrot");
}

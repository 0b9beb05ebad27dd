//! Stages are skipped, re-run and resumed by their keys alone.

use super::{Mode, RunRecord, Session, Slot, Spec, State};
use crate::progress::Reporter;
use anyhow::{Result, bail};
use distill_dataset::{Dataset, Message, Problem, Reference, Split, Store, Tally, problem_id};
use std::{cell::Cell, fs, path::Path};

fn session(root: &Path, mode: Mode, seed: u64) -> Session {
    let record = RunRecord {
        name: "test".to_owned(),
        recipe: "test.toml".into(),
        overrides: vec![],
        seed,
        store: root.join("store"),
        stages: vec![],
    };
    Session::new(mode, Store::new(root.join("store")), &root.join("runs"), "cpu", record, Reporter::Silent)
}

fn problem(text: &str) -> Problem {
    let messages = vec![Message::user(text)];
    Problem {
        id: problem_id(&messages),
        messages,
        domain: "math".to_owned(),
        reference: Reference::Math,
        answer: "2".to_owned(),
        solution: None,
        source: "test".to_owned(),
        split: Split::Train,
        licence: None,
    }
}

thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });

/// A two-stage recipe: problems, then their upper-cased copies. Counts how many stages really ran.
fn run(session: &mut Session, texts: &[&str], suffix: &str) -> Result<Slot> {
    let problems = session.stage(Spec::new("problems", 1, &texts)?, |_, out| {
        RUNS.set(RUNS.get() + 1);
        Dataset::write(out, texts.iter().map(|text| problem(text)))?;
        Ok(Tally { rows_out: texts.len() as u64, ..Tally::default() })
    })?;
    session.stage(Spec::new("shouted", 1, &suffix)?.input("problems", &problems), |_, out| {
        RUNS.set(RUNS.get() + 1);
        let rows = problems
            .ready()?
            .rows::<Problem>()
            .map(|row| row.map(|row| problem(&(row.messages[0].content.to_uppercase() + suffix))));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Dataset::write(out, rows)?;
        Ok(Tally::default())
    })
}

fn count(work: impl FnOnce() -> Result<Slot>) -> (Slot, u32) {
    RUNS.set(0);
    let slot = work().expect("a run");
    (slot, RUNS.get())
}

#[test]
fn a_second_run_does_nothing_and_says_so() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (first, ran) = count(|| run(&mut session(root.path(), Mode::Run, 1), &["a", "b"], "!"));
    assert_eq!(ran, 2);
    let mut again = session(root.path(), Mode::Run, 1);
    let (second, ran) = count(|| run(&mut again, &["a", "b"], "!"));
    assert_eq!((ran, again.num_made()), (0, 0), "everything was there");
    assert!(again.record.stages.iter().all(|stage| stage.state == State::Found));
    assert_eq!(second.ready().expect("a dataset").manifest, first.ready().expect("a dataset").manifest);
    let linked = root.path().join("runs/test/shouted/manifest.json");
    assert!(linked.is_file(), "the run links to what it uses");
}

#[test]
fn a_change_re_runs_what_depends_on_it_and_nothing_else() {
    let root = tempfile::tempdir().expect("a temporary folder");
    count(|| run(&mut session(root.path(), Mode::Run, 1), &["a", "b"], "!"));
    assert_eq!(
        count(|| run(&mut session(root.path(), Mode::Run, 1), &["a", "b"], "?")).1,
        1,
        "the first half is shared"
    );
    assert_eq!(
        count(|| run(&mut session(root.path(), Mode::Run, 1), &["a", "c"], "!")).1,
        2,
        "new problems, new copies"
    );
    assert_eq!(
        count(|| run(&mut session(root.path(), Mode::Run, 2), &["a", "b"], "!")).1,
        2,
        "the seed is part of every key"
    );
    assert_eq!(
        count(|| run(&mut session(root.path(), Mode::Run, 1), &["a", "b"], "!")).1,
        0,
        "the first run's results are still there"
    );
}

#[test]
fn a_plan_runs_nothing_and_leaves_nothing() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut plan = session(root.path(), Mode::Plan, 1);
    let (slot, ran) = count(|| run(&mut plan, &["a"], "!"));
    assert!(slot.get().is_none() && ran == 0);
    assert_eq!(fs::read_dir(root.path()).expect("the folder").count(), 0, "a plan writes nothing");
    assert!(plan.record.stages.iter().all(|stage| stage.state == State::Pending));
}

#[test]
fn a_failed_stage_has_no_manifest_and_resumes_from_its_scratch_space() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let stage = |fail: bool| {
        let mut session = session(root.path(), Mode::Run, 1);
        session.stage(Spec::new("slow", 1, &())?, |context, out| {
            let journal = context.scratch.join("journal");
            let done = fs::read_to_string(&journal).unwrap_or_default() + "x";
            fs::write(&journal, &done)?;
            if fail {
                fs::write(out.join("half.txt"), "half")?;
                bail!("the disk is full");
            }
            fs::write(out.join("whole.txt"), done)?;
            Ok(Tally::default())
        })
    };
    let error = stage(true).expect_err("a failure");
    assert!(format!("{error:#}").contains("stage `slow`: the disk is full"), "{error:#}");
    let slot = stage(false).expect("a resumed stage");
    let dataset = slot.ready().expect("a dataset");
    let names: Vec<&str> = dataset.manifest.files.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(names, ["whole.txt"], "what the failed attempt wrote is gone");
    assert_eq!(
        fs::read_to_string(dataset.dir.join("whole.txt")).expect("the file"),
        "xx",
        "its scratch space was kept"
    );
    assert!(!dataset.dir.join("scratch").exists());
}

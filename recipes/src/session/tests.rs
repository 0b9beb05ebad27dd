//! Stages are skipped, re-run and resumed by their keys alone.

use super::{Mode, Rank, Session, Slot, Spec, Work};
use crate::{
    progress::Reporter,
    record::{RunRecord, State},
    run::Until,
};
use anyhow::{Result, bail};
use distill_dataset::{
    Dataset, Keyed, Message, Problem, Reference, ShardWriter, Split, Stage, Store, Tally, problem_id,
};
use std::{cell::Cell, fs, path::Path, time::Duration};

fn session(root: &Path, mode: Mode, seed: u64) -> Session {
    let record = RunRecord {
        name: "test".to_owned(),
        recipe: "test.toml".into(),
        overrides: vec![],
        seed,
        store: "store".to_owned(),
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

const RUN: Mode = Mode::Run(Until::Publish);

thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });

const PROBLEMS: Stage = Stage { name: "problems", version: 1 };
const SHOUTED: Stage = Stage { name: "shouted", version: 1 };

/// A two-stage recipe: problems, then their upper-cased copies. Counts how many stages really ran.
fn run(session: &mut Session, texts: &[&str], suffix: &str) -> Result<Slot> {
    let settings = Keyed::default().with("texts", texts).with("seed", session.record.seed);
    let problems = session.stage(Spec::new(PROBLEMS, &texts, settings)?, |_| {
        Ok(Work::gather(|_, out| {
            RUNS.set(RUNS.get() + 1);
            Dataset::write(out, texts.iter().map(|text| problem(text)))?;
            Ok(Tally { rows_out: texts.len() as u64, ..Tally::default() })
        }))
    })?;
    let spec = Spec::new(SHOUTED, &suffix, Keyed::default().with("suffix", suffix))?;
    session.stage(spec.input("problems", &problems), |_| {
        Ok(Work::gather(|_, out| {
            RUNS.set(RUNS.get() + 1);
            let rows = problems
                .ready()?
                .rows::<Problem>()
                .map(|row| row.map(|row| problem(&(row.messages[0].content.to_uppercase() + suffix))));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Dataset::write(out, rows)?;
            Ok(Tally::default())
        }))
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
    let (first, ran) = count(|| run(&mut session(root.path(), RUN, 1), &["a", "b"], "!"));
    assert_eq!(ran, 2);
    let mut again = session(root.path(), RUN, 1);
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
    count(|| run(&mut session(root.path(), RUN, 1), &["a", "b"], "!"));
    assert_eq!(count(|| run(&mut session(root.path(), RUN, 1), &["a", "b"], "?")).1, 1, "the first half is shared");
    assert_eq!(count(|| run(&mut session(root.path(), RUN, 1), &["a", "c"], "!")).1, 2, "new problems, new copies");
    assert_eq!(
        count(|| run(&mut session(root.path(), RUN, 2), &["a", "b"], "!")).1,
        1,
        "another seed draws other problems; here they are the same, so nothing after them is made again"
    );
    assert_eq!(
        count(|| run(&mut session(root.path(), RUN, 1), &["a", "b"], "!")).1,
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
        let mut session = session(root.path(), RUN, 1);
        session.stage(Spec::new(Stage { name: "slow", version: 1 }, &(), Keyed::default())?, |_| {
            Ok(Work::gather(|context, out| {
                let journal = context.scratch.join("journal");
                let done = fs::read_to_string(&journal).unwrap_or_default() + "x";
                fs::write(&journal, &done)?;
                if fail {
                    fs::write(out.join("half.txt"), "half")?;
                    bail!("the disk is full");
                }
                fs::write(out.join("whole.txt"), done)?;
                Ok(Tally::default())
            }))
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

/// Copies of `num_units` units, and which of them this session did.
fn map(session: &mut Session, num_units: usize, stop_after: usize) -> Result<(Slot, Vec<usize>)> {
    let mut done = Vec::new();
    let spec = Spec::new(SHOUTED, &(), Keyed::default().with("units", num_units))?.label("mapped");
    let slot = session.stage(spec, |_| {
        Ok(Work::map(num_units, |unit, _, out| {
            if done.len() == stop_after {
                bail!("killed");
            }
            let mut writer = ShardWriter::of_unit(out, unit)?;
            (0..10).try_for_each(|row| writer.push(problem(&format!("{unit} {row}"))))?;
            done.push(unit);
            Ok(Tally { rows_out: writer.finish()?, ..Tally::default() })
        }))
    });
    slot.map(|slot| (slot, done))
}

#[test]
fn a_killed_map_goes_on_at_the_unit_it_was_in() {
    let root = tempfile::tempdir().expect("a temporary folder");
    assert!(map(&mut session(root.path(), RUN, 1), 7, 3).is_err());
    let (slot, done) = map(&mut session(root.path(), RUN, 1), 7, usize::MAX).expect("the rest");
    assert_eq!(done, [3, 4, 5, 6], "three units were done and stay done");
    assert_eq!(slot.ready().expect("a dataset").manifest.tally.rows_out, 70);
}

#[test]
fn four_ranks_end_with_the_dataset_of_one() {
    let whole = tempfile::tempdir().expect("a temporary folder");
    let (slot, _) = map(&mut session(whole.path(), RUN, 1), 7, usize::MAX).expect("all units");
    let expected = slot.ready().expect("a dataset").manifest.clone();
    let root = tempfile::tempdir().expect("a temporary folder");
    let ranks: Vec<(String, Vec<usize>)> = std::thread::scope(|scope| {
        let run = |rank: usize| {
            let root = root.path();
            move || {
                let mut session = session(root, RUN, 1);
                session.rank = Rank { rank, world: 4 };
                // The second dies in its first unit and is started again.
                if rank == 1 {
                    assert!(map(&mut session, 7, 0).is_err());
                    session = self::session(root, RUN, 1);
                    session.rank = Rank { rank, world: 4 };
                }
                let (slot, done) = map(&mut session, 7, usize::MAX).expect("its units");
                (slot.ready().expect("a dataset").manifest.digest.clone(), done)
            }
        };
        let handles: Vec<_> = (0..4).map(|rank| scope.spawn(run(rank))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    });
    for (rank, (digest, done)) in ranks.iter().enumerate() {
        assert_eq!(*digest, expected.digest, "rank {rank} sees another dataset");
        assert_eq!(*done, (rank..7).step_by(4).collect::<Vec<_>>(), "rank {rank} does its own units");
    }
}

#[test]
fn stages_beyond_what_is_wanted_are_found_and_not_made() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let both = |session: &mut Session| {
        session.phase(Until::Sample);
        let slot = run(session, &["a"], "!");
        session.phase(Until::Export);
        slot.and_then(|_| map(session, 2, usize::MAX))
    };
    let mut sampled = session(root.path(), Mode::Run(Until::Sample), 1);
    both(&mut sampled).expect("the first part");
    let last = sampled.record.stages.last().expect("stages");
    assert_eq!(last.state, State::Pending, "the last stage is not wanted yet");
    both(&mut session(root.path(), RUN, 1)).expect("both parts");
    let mut again = session(root.path(), Mode::Run(Until::Sample), 1);
    both(&mut again).expect("nothing to do");
    assert!(
        again.record.stages.iter().all(|stage| stage.state == State::Found),
        "what was made before stays on record"
    );
}

#[test]
fn a_stages_time_is_that_of_what_comes_before_its_units_too_earlier_attempts_included() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let attempt = |breaks: bool| {
        let mut session = session(root.path(), RUN, 1);
        session.stage(Spec::new(Stage { name: "bought", version: 1 }, &(), Keyed::default())?, |_| {
            std::thread::sleep(Duration::from_millis(40));
            Ok(Work::map(2, |_, _, _| Ok(Tally::default())).after(move |_, _| {
                std::thread::sleep(Duration::from_millis(60));
                if breaks { bail!("the server went away") } else { Ok(()) }
            }))
        })
    };
    assert!(attempt(true).is_err());
    let made = attempt(false).expect("a second attempt");
    let wall_s = made.ready().expect("a dataset").manifest.time.wall_s;
    assert!(wall_s >= 0.2, "opening and buying, twice: at least 0.2 s, found {wall_s}");
}

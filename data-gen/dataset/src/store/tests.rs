//! Units are committed once, whole, by whoever is first; the manifest does not depend on how they were cut.

use super::*;
use crate::{
    Dataset, Histogram,
    manifest::StageTime,
    tally::{Detail, Tally},
    write::{Cut, ShardWriter},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: String,
    group: String,
    value: u32,
}

fn draft() -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        stage: "traces".to_owned(),
        stage_version: 1,
        key: KEY.to_owned(),
        device: "cpu".to_owned(),
        time: StageTime::default(),
        ..Manifest::default()
    }
}

struct Bench {
    root: tempfile::TempDir,
    owner: Arc<Owner>,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let owner = register(root.path());
        Bench { root, owner }
    }

    fn dir(&self) -> StageDir {
        Store::new(self.root.path()).stage("traces", KEY)
    }

    fn claim(&self, unit: usize) -> Claim {
        match self.dir().claim(unit, &self.owner).expect("an answer") {
            Claimed::Mine(claim) => claim,
            Claimed::Done => panic!("unit {unit} is done already"),
            Claimed::Held { by } => panic!("unit {unit} is held by {by}"),
        }
    }
}

fn register(root: &Path) -> Arc<Owner> {
    let owners = Store::new(root).owners();
    Arc::new(Owner::register(&owners, Duration::from_secs(60)).expect("a registration"))
}

fn rows() -> Vec<Row> {
    (0..300).map(|i| Row { id: format!("{i:04}"), group: format!("{:04}", i / 3), value: i * 7 }).collect()
}

fn tally(rows: &[Row]) -> Tally {
    let detail = Detail::Traces {
        teacher: "t".to_owned(),
        lengths: Histogram::of(rows.iter().map(|row| row.value)),
        finish_reasons: [("stop".to_owned(), rows.len() as u64)].into(),
        without_log_probs: 0,
    };
    Tally { rows_in: rows.len() as u64, rows_out: rows.len() as u64, detail, ..Tally::default() }
}

/// Writes a unit's rows, in shards cut by `shard_rows`, and a file beside them.
fn write(claim: Claim, unit: usize, rows: &[Row], shard_rows: usize) -> UnitReport {
    let cut = Cut { shard_rows, ..Cut::default() };
    let mut writer = ShardWriter::cut(&claim.output(), &format!("part-{unit:05}"), cut).expect("a writer");
    writer = writer.sorted_by(|row: &Row| &row.group);
    rows.iter().for_each(|row| writer.push(row.clone()).expect("a row"));
    writer.finish().expect("shards");
    if unit == 0 {
        fs::write(claim.output().join("README.md"), "a card").expect("a card");
    }
    claim.commit(tally(rows), 1.0).expect("a commit")
}

/// The manifest of all rows in `num_units` units.
fn cut_into(num_units: usize, shard_rows: usize) -> (Manifest, Vec<Row>) {
    let bench = Bench::new();
    let rows = rows();
    for (unit, part) in rows.chunks(rows.len().div_ceil(num_units).next_multiple_of(3)).enumerate() {
        write(bench.claim(unit), unit, part, shard_rows);
    }
    let num_units = bench.dir().num_done();
    let manifest = bench.dir().finish(num_units, draft()).expect("a manifest");
    let dataset = Dataset::new(bench.dir().path().to_owned(), bench.dir().manifest().expect("no error").expect("it"));
    dataset.verify().expect("what was written");
    let read = dataset.rows().collect::<Result<_, _>>().expect("rows");
    for gone in ["units", "work", "scratch", "leases"] {
        assert!(!dataset.dir.join(gone).exists(), "{gone} is put away");
    }
    (manifest, read)
}

#[test]
fn rows_digest_and_tally_do_not_depend_on_how_the_rows_are_cut() {
    let (whole, read) = cut_into(1, usize::MAX);
    assert_eq!(read, rows());
    assert_eq!(whole.files.len(), 2);
    for (num_units, shard_rows) in [(1, 30), (7, usize::MAX), (64, usize::MAX), (7, 2), (100, 1)] {
        let (manifest, read) = cut_into(num_units, shard_rows);
        assert_eq!(read, rows(), "{num_units} units in shards of {shard_rows}");
        assert_eq!(manifest.digest, whole.digest, "{num_units} units in shards of {shard_rows}");
        assert_eq!(manifest.tally, whole.tally, "{num_units} units in shards of {shard_rows}");
    }
    let other = Bench::new();
    let mut changed = rows();
    changed.swap(1, 2);
    write(other.claim(0), 0, &changed, usize::MAX);
    assert_ne!(other.dir().finish(1, draft()).expect("a manifest").digest, whole.digest, "the order of rows counts");
}

#[test]
fn shards_are_cut_between_groups_and_say_what_they_hold() {
    let bench = Bench::new();
    write(bench.claim(0), 0, &rows(), 10);
    bench.dir().finish(1, draft()).expect("a manifest");
    let dataset = Dataset::new(bench.dir().path().to_owned(), bench.dir().manifest().expect("no error").expect("it"));
    let mut last = String::new();
    for shard in dataset.shards() {
        let [from, to] = shard.span().expect("sorted rows");
        assert!(last.as_str() < from && from <= to, "a group lies in one shard: {last} {from}");
        let read: Vec<Row> = shard.rows().expect("rows").collect::<Result<_, _>>().expect("rows");
        assert_eq!((read[0].group.as_str(), read[read.len() - 1].group.as_str()), (from, to));
        last = to.to_owned();
    }
    assert!(dataset.shards().count() > 20);
}

#[test]
fn an_interrupted_unit_leaves_no_files_but_its_scratch_space() {
    let bench = Bench::new();
    let dir = bench.dir();
    {
        let dying = register(bench.root.path());
        let Claimed::Mine(claim) = dir.claim(3, &dying).expect("an answer") else { panic!("a free unit") };
        fs::write(claim.output().join("part-00003-00000.parquet.tmp"), "half").expect("a file");
        fs::write(claim.scratch().join("journal"), "kept").expect("a file");
        assert!(matches!(dir.claim(3, &bench.owner).expect("an answer"), Claimed::Held { .. }), "it is alive");
        // Its owner goes away without a word.
    }
    assert_eq!(dir.manifest().expect("no error"), None, "no manifest, so not done");
    let claim = bench.claim(3);
    assert_eq!(fs::read_dir(dir.path().join("work")).expect("the folder").count(), 1, "only the new owner's is left");
    assert_eq!(fs::read_to_string(claim.scratch().join("journal")).expect("the journal"), "kept");
    write(claim, 3, &rows(), usize::MAX);
    assert!(!dir.path().join("scratch/00003").exists(), "a unit that is done needs no scratch space");
    assert!(matches!(dir.claim(3, &bench.owner).expect("an answer"), Claimed::Done));
}

#[test]
fn two_owners_of_one_unit_end_with_one_marker_and_the_same_bytes() {
    let bench = Bench::new();
    let dir = bench.dir();
    let first = bench.claim(0);
    // The first owner is taken for dead although it lives, as happens to one that was stopped: its lease goes.
    fs::remove_dir_all(dir.path().join("leases")).expect("an expired lease");
    let second_owner = register(bench.root.path());
    let Claimed::Mine(second) = dir.claim(0, &second_owner).expect("an answer") else { panic!("an expired lease") };
    assert!(second.is_mine() && !first.is_mine(), "who comes back can tell");
    assert_ne!(first.output(), second.output(), "nobody writes into another's files");
    let committed = write(second, 0, &rows(), 30);
    let marker = fs::read(dir.path().join("units/00000/unit.json")).expect("a marker");
    let late = write(first, 0, &rows(), 30);
    assert_eq!(late.digest, committed.digest);
    assert_eq!(fs::read(dir.path().join("units/00000/unit.json")).expect("a marker"), marker, "the first stays");
    assert!(fs::read_dir(dir.path().join("work")).expect("the folder").next().is_none(), "no copy is left");
    let manifest = dir.finish(1, draft()).expect("a manifest");
    Dataset::new(dir.path().to_owned(), manifest).verify().expect("the bytes of the marker");
}

#[test]
fn a_manifest_that_was_begun_is_finished_by_the_next() {
    let bench = Bench::new();
    let dir = bench.dir();
    let rows = rows();
    rows.chunks(150).enumerate().for_each(|(unit, part)| drop(write(bench.claim(unit), unit, part, usize::MAX)));
    // Killed after the first unit's files were moved up.
    dir.move_up(&dir.unit(0)).expect("moved files");
    let manifest = dir.finish(2, draft()).expect("a manifest");
    let dataset = Dataset::new(dir.path().to_owned(), manifest.clone());
    dataset.verify().expect("all files");
    assert_eq!(dataset.rows::<Row>().count(), 300);
    assert_eq!(dir.finish(2, draft()).expect("the same"), manifest, "who comes later finds it");
}

#[test]
fn many_who_finish_at_once_end_with_one_manifest() {
    for round in 0..20 {
        let bench = Bench::new();
        let dir = bench.dir();
        let rows = rows();
        rows.chunks(60).enumerate().for_each(|(unit, part)| drop(write(bench.claim(unit), unit, part, usize::MAX)));
        let finish = |count: u64| {
            let time = StageTime { finished_at: count.to_string(), wall_s: 0.0 };
            dir.finish(5, Manifest { time, ..draft() }).expect("a manifest")
        };
        let manifests: Vec<Manifest> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..4).map(|count| scope.spawn(move || finish(count))).collect();
            handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
        });
        let kept = dir.manifest().expect("no error").expect("a manifest");
        for manifest in manifests {
            assert_eq!(manifest, kept, "round {round}: whoever finishes sees the manifest that stays");
        }
        let dataset = Dataset::new(dir.path().to_owned(), kept);
        assert_eq!(dataset.rows::<Row>().count(), 300);
    }
}

#[test]
fn a_changed_file_and_a_changed_manifest_are_noticed() {
    let bench = Bench::new();
    let dir = bench.dir();
    let claim = bench.claim(0);
    fs::create_dir(claim.output().join("model")).expect("a folder");
    fs::write(claim.output().join("model/weights"), "1234").expect("a file");
    claim.commit(Tally::default(), 0.0).expect("a commit");
    let manifest = dir.finish(1, draft()).expect("a manifest");
    let reread = || Dataset::new(dir.path().to_owned(), dir.manifest().expect("no error").expect("a manifest"));
    assert_eq!(reread().manifest, manifest);
    reread().verify().expect("unchanged files pass");
    fs::write(dir.path().join("model/weights"), "1235").expect("a changed file");
    assert!(matches!(reread().verify(), Err(DatasetError::Checksum { .. })));
    let path = dir.path().join("manifest.json");
    let text = fs::read_to_string(&path).expect("the manifest");
    fs::write(&path, text.replace("\"device\": \"cpu\"", "\"device\": \"gpu\"")).expect("a changed manifest");
    let error = dir.manifest().expect_err("a broken seal").to_string();
    assert!(error.contains("was changed after it was written"), "{error}");
}

#[test]
fn a_manifest_of_another_key_is_not_taken_for_this_one() {
    let bench = Bench::new();
    write(bench.claim(0), 0, &rows(), usize::MAX);
    bench.dir().finish(1, draft()).expect("a manifest");
    let other = format!("{}ffff", &KEY[..28]);
    let found = Store::new(bench.root.path()).stage("traces", &other).manifest();
    assert!(matches!(found, Err(DatasetError::Manifest { .. })));
}

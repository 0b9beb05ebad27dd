//! Writers that are killed, full disks, file systems without locks, other machines, and several who seal at once.

use super::*;
use crate::{
    journal::{
        frame::{OWNER, encode},
        load::remove_unfinished,
        sealed::read_index,
        segment::{Fate, Line, fate, sealed_path},
    },
    lock::Locked,
    owner::tests::{child_dir, ready, spawn, spawn_on_a_small_disk, wait_to_be_killed},
};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    process::Child,
    sync::Barrier,
    time::{Duration, SystemTime},
};

fn kill(mut child: Child) {
    child.kill().expect("a signal");
    child.wait().expect("its end");
}

#[test]
fn what_a_killed_process_appended_is_there_and_is_sealed_by_the_next() {
    if let Some(dir) = child_dir() {
        let mut journal = open(&dir);
        append(&mut journal, 0..50);
        wait_to_be_killed("");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let name = "journal::tests::processes::what_a_killed_process_appended_is_there_and_is_sealed_by_the_next";
    let (child, _) = spawn(name, dir.path());
    let beside = open(dir.path());
    assert_holds(&beside, 50, |_| true, "while its writer lives");
    beside.close().expect("a closed journal");
    assert_eq!(files(dir.path(), ".frames").len(), 1, "the segment of a living writer was sealed");
    kill(child);
    open(dir.path()).close().expect("a closed journal");
    assert_eq!(files(dir.path(), ""), files(dir.path(), ".sealed"), "the segment of a killed writer was not sealed");
    assert_holds(&open(dir.path()), 50, |_| true, "sealed by another");
}

/// Appends note after note, with a segment sealed every few, and says in a file of its own how many are there.
fn append_until_killed(dir: &Path) -> ! {
    let mut journal = Journal::<Note>::open_sized(&dir.join("journal"), 3000).expect("a journal");
    let count = File::create(dir.join("count")).expect("a file");
    ready("");
    for index in 0.. {
        journal.append(&note(index)).expect("an entry");
        count.write_all_at(&(index as u64 + 1).to_le_bytes(), 0).expect("the count");
    }
    unreachable!("it is killed")
}

#[test]
fn a_kill_in_the_middle_of_appending_and_sealing_loses_nothing() {
    if let Some(dir) = child_dir() {
        append_until_killed(&dir);
    }
    let name = "journal::tests::processes::a_kill_in_the_middle_of_appending_and_sealing_loses_nothing";
    for round in 0..12 {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (child, _) = spawn(name, dir.path());
        let folder = dir.path().join("journal");
        // Somewhere in the sealing of one of its first segments.
        while files(&folder, ".sealed").len() < round {
            thread::yield_now();
        }
        let beside = open(&folder);
        kill(child);
        let bytes = fs::read(dir.path().join("count")).expect("the count");
        let count = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
        let journal = open(&folder);
        let there = journal.len();
        assert!(there == count || there == count + 1, "{there} of {count} are there");
        assert_holds(&journal, there, |_| true, &format!("killed in round {round}"));
        assert!(journal.damage().len() <= 1, "more than a torn end is damaged: {:?}", journal.damage());
        let total = beside.len();
        assert_holds(&beside, total, |_| true, "one that was open all the time");
        journal.close().expect("a closed journal");
        drop(beside);
        open(&folder).close().expect("a closed journal");
        assert_eq!(files(&folder, ""), files(&folder, ".sealed"), "unfinished files were left");
        assert_holds(&open(&folder), there, |_| true, "sealed after the kill");
    }
}

#[test]
fn a_full_disk_leaves_what_was_there_and_the_next_process_goes_on() {
    if let Some(dir) = child_dir() {
        let mut journal = open(&dir);
        let full = (0..).find_map(|index| Some((index, journal.append(&note(index)).err()?)));
        let (count, error) = full.expect("an error");
        assert!(error.to_string().contains("cannot write"), "{error}");
        // Again, after the failure, at the same place; then something that may still fit.
        assert!(journal.append(&note(count)).is_err());
        let small = journal.append(&said("small", "")).is_ok();
        assert_eq!(journal.contains("small"), small);
        wait_to_be_killed(&format!("{count} {}", usize::from(small)));
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let name = "journal::tests::processes::a_full_disk_leaves_what_was_there_and_the_next_process_goes_on";
    let (child, said) = spawn_on_a_small_disk(name, dir.path(), 8);
    kill(child);
    let numbers: Vec<usize> = said.split(' ').map(|word| word.parse().expect("a number")).collect();
    let (count, small) = (numbers[0], numbers[1]);
    let mut journal = open(dir.path());
    assert!(count > 20 && journal.len() == count + small, "{} of {count} and {small}", journal.len());
    assert_eq!(journal.num_damaged(), 0, "half a frame was left: {:?}", journal.damage());
    append(&mut journal, 0..count + 50);
    drop(journal);
    let journal = open(dir.path());
    (0..count + 50).for_each(|index| assert_eq!(journal.get(&note(index).key).expect("no error"), Some(note(index))));
}

/// The unsealed segment that `process` left, with its notes.
fn left_by(dir: &Path, process: &Process, locks: bool, total: usize) -> PathBuf {
    let source = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(source.path());
    append(&mut journal, 0..total);
    let path = files(source.path(), ".frames").remove(0);
    let bytes = fs::read(&path).expect("the segment");
    let line = encode(OWNER, &[], &serde_json::to_vec(&Line { process: process.clone(), locks }).expect("JSON"));
    let first = bytes.windows(4).position(|bytes| bytes == frame::ENTRY).expect("an entry");
    let target = dir.join(path.file_name().expect("a name"));
    fs::write(&target, [b"distill2".as_slice(), &line, &bytes[first..]].concat()).expect("a segment");
    target
}

fn far() -> Process {
    Process { kernel: "another machine's".to_owned(), host: "node7".to_owned(), ..Process::this() }
}

#[test]
fn the_segment_of_another_machine_is_never_removed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = left_by(dir.path(), &far(), true, 10);
    open(dir.path()).close().expect("a closed journal");
    assert_eq!(files(dir.path(), ""), std::slice::from_ref(&path), "it may be written to right now");
    let file = File::options().write(true).open(&path).expect("the segment");
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("an older file");
    open(dir.path()).close().expect("a closed journal");
    assert!(path.exists() && files(dir.path(), ".sealed").len() == 1, "an idle segment gets a sealed one beside it");
    let journal = open(dir.path());
    assert_holds(&journal, 10, |_| true, "both are there");
    assert_eq!(texts(journal.entries("note-3").expect("entries")).len(), 1, "both count as one");
    drop(journal);
    // Its writer was alive after all.
    let more = frame::encode(frame::ENTRY, b"note-10", &serde_json::to_vec(&note(10)).expect("JSON"));
    file.write_all_at(&more, file.metadata().expect("the segment").len()).expect("an entry");
    assert_holds(&open(dir.path()), 11, |_| true, "what came after it was sealed");
}

#[test]
fn a_sealed_file_that_lacks_what_came_later_is_made_again_before_the_segment_goes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = left_by(dir.path(), &Process { pid: 0x3fff_ffff, ..Process::this() }, true, 10);
    let bytes = fs::read(&path).expect("the segment");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    open(dir.path()).close().expect("a closed journal");
    assert!(!path.exists(), "the segment of a process that is gone is sealed");
    let more = frame::encode(frame::ENTRY, b"note-10", &serde_json::to_vec(&note(10)).expect("JSON"));
    fs::write(&path, [bytes, more].concat()).expect("a longer segment");
    let reader = open(dir.path());
    assert_holds(&reader, 11, |_| true, "both are there");
    reader.close().expect("a closed journal");
    assert!(!path.exists());
    let index = read_index(&File::open(sealed_path(dir.path(), &name)).expect("the file")).expect("an index");
    assert_eq!(index.entries.len(), 11);
    assert_holds(&open(dir.path()), 11, |_| true, "sealed again");
}

#[test]
fn a_kill_between_sealing_and_removing_leaves_both_and_they_count_as_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = left_by(dir.path(), &Process { pid: 0x3fff_ffff, ..Process::this() }, true, 10);
    let bytes = fs::read(&path).expect("the segment");
    open(dir.path()).close().expect("a closed journal");
    let sealed = files(dir.path(), ".sealed").remove(0);
    let whole = fs::read(&sealed).expect("the sealed file");
    fs::write(&path, &bytes).expect("the segment again");
    let journal = open(dir.path());
    assert_holds(&journal, 10, |_| true, "both");
    assert_eq!(journal.num_damaged(), 0);
    journal.close().expect("a closed journal");
    assert_eq!(files(dir.path(), ""), std::slice::from_ref(&sealed));
    // The sealed file is damaged, and the segment is still there: nothing is lost, and it is sealed anew.
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&sealed, &damaged).expect("a damaged file");
        fs::write(&path, &bytes).expect("the segment");
        let journal = open(dir.path());
        assert_holds(&journal, 10, |_| true, &format!("byte {at} of the sealed file"));
        journal.close().expect("a closed journal");
        assert_eq!(files(dir.path(), ""), std::slice::from_ref(&sealed), "byte {at}");
        assert!(fs::read(&sealed).expect("the sealed file") == whole, "byte {at}: not sealed anew");
    }
}

#[test]
fn eight_who_seal_one_segment_at_once_do_no_harm() {
    for locks in [true, false] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = left_by(dir.path(), &Process { pid: 0x3fff_ffff, ..Process::this() }, locks, 200);
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    seal(dir.path(), &name, false).expect("no error");
                });
            }
        });
        seal(dir.path(), &name, false).expect("no error");
        remove_unfinished(dir.path()).expect("no error");
        assert_eq!(files(dir.path(), ""), [sealed_path(dir.path(), &name)]);
        assert_holds(&open(dir.path()), 200, |_| true, "sealed by eight");
    }
}

#[test]
fn who_lives_is_told_by_lock_else_by_process_else_not_at_all() {
    let here = Process::this();
    let line = |process: &Process, locks| Line { process: process.clone(), locks };
    let gone = Process { pid: 0x3fff_ffff, ..here.clone() };
    let cases = [
        (line(&gone, true), Locked::Mine, Fate::Dead),
        (line(&gone, true), Locked::Others, Fate::Live),
        (line(&here, true), Locked::Mine, Fate::Dead),
        (line(&here, false), Locked::Unsupported, Fate::Live),
        (line(&gone, false), Locked::Unsupported, Fate::Dead),
        (line(&here, false), Locked::Mine, Fate::Live),
        (line(&far(), true), Locked::Mine, Fate::Unknown),
        (line(&far(), false), Locked::Unsupported, Fate::Unknown),
        (line(&far(), true), Locked::Others, Fate::Live),
    ];
    for (index, (line, locked, expected)) in cases.iter().enumerate() {
        assert_eq!(fate(Some(line), *locked, &here), *expected, "case {index}");
    }
    assert_eq!(fate(None, Locked::Mine, &here), Fate::Unknown, "a segment without a readable line may be anybody's");
}

#[test]
fn unfinished_files_go_when_nobody_has_them_locked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (left, held) = (dir.path().join(".left.sealed.tmp"), dir.path().join(".held.sealed.tmp"));
    fs::write(&left, "half").expect("a file");
    let lock = File::create(&held).expect("a file");
    lock.lock().expect("a lock");
    drop(open(dir.path()));
    assert!(!left.exists() && held.exists());
}

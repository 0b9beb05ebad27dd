//! Damage at every byte and cuts everywhere: what is lost is what was hit, and it is told.

use super::*;
use crate::journal::{
    frame::{self, ENTRY, Layout},
    sealed::{BLOCK_BYTES, read_index},
};
use crate::{Cancel, Context, Progress};
use std::fs::File;

/// A folder with one file in it.
struct Single {
    dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Single {
    fn new(name: &str, bytes: Vec<u8>) -> Single {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(name);
        fs::write(&path, &bytes).expect("a file");
        Single { dir, path, bytes }
    }

    /// Opens the journal with `bytes` in place of the file, alone.
    fn with(&self, bytes: &[u8]) -> Journal<Note> {
        fs::remove_dir_all(self.dir.path()).expect("a folder");
        fs::create_dir(self.dir.path()).expect("a folder");
        fs::write(&self.path, bytes).expect("a file");
        open(self.dir.path())
    }

    fn flipped(&self, at: usize, mask: u8) -> Journal<Note> {
        let mut bytes = self.bytes.clone();
        bytes[at] ^= mask;
        let journal = self.with(&bytes);
        match fs::read(&self.path) {
            Ok(now) => assert!(now == bytes, "byte {at}: a damaged file was changed"),
            // It looked like one whose writer was killed in its last frame: it is sealed, and that frame is kept.
            Err(_) => {
                let sealed = fs::read(&files(self.dir.path(), ".sealed")[0]).expect("a sealed file");
                let last = &bytes[bytes.len() - 40..];
                assert!(sealed.windows(40).any(|window| window == last), "byte {at}: what was damaged is gone");
            }
        }
        journal
    }
}

/// The unsealed segment of a killed writer.
fn unsealed(total: usize) -> Single {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    append(&mut journal, 0..total);
    let path = files(dir.path(), ".frames").remove(0);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    Single::new(&name, fs::read(path).expect("the segment"))
}

fn sealed(notes: impl IntoIterator<Item = Note>) -> Single {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    notes.into_iter().for_each(|note| journal.append(&note).expect("an entry"));
    journal.close().expect("a sealed journal");
    let path = files(dir.path(), ".sealed").remove(0);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    Single::new(&name, fs::read(path).expect("the segment"))
}

/// Where each entry's frame is.
fn frames(single: &Single) -> Vec<Range<usize>> {
    let (file, size) = (File::open(&single.path).expect("the file"), single.bytes.len() as u64);
    let mut frames = Vec::new();
    frame::scan(&file, (8, size), Layout::Marked, |at, frame| {
        if frame.marker == ENTRY {
            frames.push(at as usize..at as usize + frame.len);
        }
        true
    })
    .expect("a scan");
    frames
}

#[test]
fn a_flipped_byte_of_a_segment_costs_the_frame_that_it_is_in() {
    let single = unsealed(12);
    let frames = frames(&single);
    assert_eq!(frames.len(), 12);
    for at in 0..single.bytes.len() {
        for mask in [1, 0xff] {
            let journal = single.flipped(at, mask);
            let lost = frames.iter().position(|frame| frame.contains(&at));
            let what = format!("byte {at} flipped by {mask:#x}");
            assert_holds(&journal, 12, |index| Some(index) != lost, &what);
            let damage = journal.damage();
            assert_eq!(journal.num_damaged(), 1, "{what}: {damage:?}");
            assert!(
                damage[0].path == single.path && damage[0].bytes.contains(&(at as u64)),
                "{what}: told as {damage:?}"
            );
        }
    }
}

#[test]
fn a_segment_cut_anywhere_keeps_every_whole_frame_and_is_never_cut_further() {
    let single = unsealed(12);
    let frames = frames(&single);
    for cut in 0..single.bytes.len() {
        let mut journal = single.with(&single.bytes[..cut]);
        let whole = frames.iter().filter(|frame| frame.end <= cut).count();
        assert_holds(&journal, 12, |index| index < whole, &format!("cut at {cut}"));
        if cut % 16 > 0 {
            continue;
        }
        append(&mut journal, 0..12);
        journal.close().expect("a sealed journal");
        assert_holds(&open(single.dir.path()), 12, |_| true, &format!("bought again after a cut at {cut}"));
    }
}

#[test]
fn a_segment_that_is_damaged_in_its_middle_stays_as_it_is() {
    let single = unsealed(12);
    let at = frames(&single)[5].start + 20;
    let journal = single.flipped(at, 1);
    journal.close().expect("a closed journal");
    assert_eq!(files(single.dir.path(), ""), std::slice::from_ref(&single.path), "a damaged segment was sealed");
    // A torn end is no reason to keep it, but is not thrown away.
    single.with(&single.bytes[..single.bytes.len() - 3]).close().expect("a closed journal");
    let sealed = files(single.dir.path(), "");
    assert_eq!(sealed, files(single.dir.path(), ".sealed"));
    let last = &single.bytes[single.bytes.len() - 43..single.bytes.len() - 3];
    assert!(fs::read(&sealed[0]).expect("the file").windows(40).any(|window| window == last));
    assert_holds(&open(single.dir.path()), 12, |index| index != 11, "sealed without its torn end");
}

#[test]
fn several_damaged_stretches_are_told_apart() {
    let single = unsealed(12);
    let frames = frames(&single);
    let mut bytes = single.bytes.clone();
    for index in [2, 3, 7] {
        bytes[frames[index].start + 5] ^= 0x55;
    }
    let journal = single.with(&bytes);
    assert_holds(&journal, 12, |index| ![2, 3, 7].contains(&index), "three frames");
    let told: Vec<Range<u64>> = journal.damage().into_iter().map(|damage| damage.bytes).collect();
    let stretch = |from: usize, to: usize| frames[from].start as u64..frames[to].end as u64;
    assert_eq!(told, [stretch(2, 3), stretch(7, 7)]);
}

/// Notes of about three blocks.
fn long_notes() -> Vec<Note> {
    let words = |index: usize| format!("words of note {index} ").repeat(BLOCK_BYTES / 4 / 20);
    (0..12).map(|index| said(&note(index).key, &words(index))).collect()
}

fn unseen() -> Context {
    Context { scratch: PathBuf::new(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 0 }
}

/// Asserts that the notes of `lost`, and no others, are gone, before and after they were looked at.
fn assert_lost(journal: &Journal<Note>, notes: &[Note], lost: &[usize], what: &str) {
    journal.verify(notes.iter().map(|note| note.key.clone()), &unseen()).expect("no error");
    for (index, note) in notes.iter().enumerate() {
        let there = !lost.contains(&index);
        assert_eq!(journal.contains(&note.key), there, "{what}: note {index}");
        assert!(journal.get(&note.key).expect("no error").as_ref() == there.then_some(note), "{what}: note {index}");
    }
    assert_eq!(journal.len(), notes.len() - lost.len(), "{what}");
}

#[test]
fn a_flipped_byte_of_a_sealed_segment_costs_its_block_and_one_of_the_index_nothing() {
    let notes = long_notes();
    let single = sealed(notes.clone());
    let index = read_index(&File::open(&single.path).expect("the file")).expect("an index");
    assert!(index.blocks.len() >= 3, "expected three blocks, found {}", index.blocks.len());
    for at in 0..single.bytes.len() {
        let journal = single.flipped(at, if at % 2 == 0 { 0xff } else { 1 });
        let hit = index.blocks.iter().find(|block| (block.at..block.at + u64::from(block.len)).contains(&(at as u64)));
        let inside = |place: u64| hit.is_some_and(|hit| (hit.start..hit.start + u64::from(hit.raw)).contains(&place));
        let lost: Vec<usize> = (0..notes.len()).filter(|&note| inside(index.entries[note].at)).collect();
        assert_eq!(lost.is_empty(), hit.is_none());
        assert_lost(&journal, &notes, &lost, &format!("byte {at}"));
        let damage = journal.damage();
        assert_eq!(damage.len(), 1, "byte {at}: told as {damage:?}");
        assert!(damage[0].bytes.contains(&(at as u64)), "byte {at}: told as {damage:?}");
    }
}

#[test]
fn a_sealed_segment_cut_anywhere_keeps_every_whole_block() {
    let notes = long_notes();
    let single = sealed(notes.clone());
    let index = read_index(&File::open(&single.path).expect("the file")).expect("an index");
    for cut in 0..single.bytes.len() {
        let journal = single.with(&single.bytes[..cut]);
        let kept = |place: u64| {
            let block = index.blocks.iter().rev().find(|block| block.start <= place).expect("its block");
            block.at + u64::from(block.len) <= cut as u64
        };
        let lost: Vec<usize> = (0..notes.len()).filter(|&note| !kept(index.entries[note].at)).collect();
        assert_lost(&journal, &notes, &lost, &format!("cut at {cut}"));
        assert_eq!(fs::read(&single.path).expect("the file").len(), cut, "a damaged file was changed");
    }
}

#[test]
fn index_and_a_block_damaged_together_cost_the_block() {
    let notes = long_notes();
    let single = sealed(notes.clone());
    let index = read_index(&File::open(&single.path).expect("the file")).expect("an index");
    let (block, last) = (index.blocks[1], index.blocks[index.blocks.len() - 1]);
    let mut bytes = single.bytes.clone();
    bytes[block.at as usize + 40] ^= 1;
    bytes[(last.at + u64::from(last.len)) as usize + 30] ^= 1;
    let in_block = |entry: u64| (block.start..block.start + u64::from(block.raw)).contains(&entry);
    let lost: Vec<usize> = (0..notes.len()).filter(|&note| in_block(index.entries[note].at)).collect();
    let journal = single.with(&bytes);
    assert_lost(&journal, &notes, &lost, "two faults");
    assert_eq!(journal.num_damaged(), 2, "{:?}", journal.damage());
}

#[test]
fn what_was_lost_can_be_bought_again_and_is_then_there() {
    let notes = long_notes();
    let single = sealed(notes.clone());
    let index = read_index(&File::open(&single.path).expect("the file")).expect("an index");
    let mut journal = single.flipped(index.blocks[0].at as usize + 50, 1);
    assert!(journal.contains(&notes[0].key), "opening reads indexes only");
    assert_eq!(journal.get(&notes[0].key).expect("no error"), None);
    assert!(!journal.contains(&notes[0].key), "a lost entry must not pass for one that is there");
    journal.append(&notes[0]).expect("the same again");
    assert_eq!(journal.get(&notes[0].key).expect("no error").as_ref(), Some(&notes[0]));
    drop(journal);
    let journal = open(single.dir.path());
    assert_eq!(journal.get(&notes[0].key).expect("no error").as_ref(), Some(&notes[0]), "after opening it again");
}

#[test]
fn an_entry_damaged_while_the_journal_is_open_is_missed_and_not_misread() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    append(&mut journal, 0..3);
    let path = files(dir.path(), ".frames").remove(0);
    let mut bytes = fs::read(&path).expect("the segment");
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&path, bytes).expect("a damaged file");
    assert_holds(&journal, 3, |index| index != 2, "damaged under its hands");
    assert!(journal.damage()[0].bytes.contains(&(last as u64)));
}

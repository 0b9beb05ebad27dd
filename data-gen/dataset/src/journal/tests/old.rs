//! Journals of version 0.1.0: read, also when they are damaged, and never changed.

use super::*;

fn frame(note: &Note) -> Vec<u8> {
    let json = serde_json::to_vec(note).expect("JSON");
    let mut frame = (json.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32fast::hash(&json).to_le_bytes());
    frame.extend(json);
    frame
}

fn old_journal(total: usize) -> Vec<Vec<u8>> {
    std::iter::once(b"distill1".to_vec()).chain((0..total).map(|index| frame(&note(index)))).collect()
}

fn written(dir: &Path, bytes: &[u8]) -> Journal<Note> {
    fs::write(dir.join("journal"), bytes).expect("an old journal");
    open(dir)
}

#[test]
fn an_old_journal_is_read_and_what_is_new_goes_elsewhere() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bytes = old_journal(10).concat();
    let mut journal = written(dir.path(), &bytes);
    assert_holds(&journal, 10, |_| true, "an old journal");
    append(&mut journal, 0..20);
    journal.append_more(&said("note-3", "more")).expect("a continuation");
    drop(journal);
    assert!(fs::read(dir.path().join("journal")).expect("the old file") == bytes, "an old journal was changed");
    let journal = open(dir.path());
    assert_holds(&journal, 20, |_| true, "old and new");
    assert_eq!(texts(journal.entries("note-3").expect("entries")), [note(3).text.as_str(), "more"]);
    assert_eq!(journal.num_damaged(), 0);
}

#[test]
fn a_flipped_byte_of_an_old_journal_costs_the_frame_that_it_is_in() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let parts = old_journal(10);
    let bytes = parts.concat();
    let mut ends: Vec<usize> = Vec::new();
    parts.iter().for_each(|part| ends.push(ends.last().unwrap_or(&0) + part.len()));
    for at in 0..bytes.len() {
        for mask in [1, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let journal = written(dir.path(), &damaged);
            let part = ends.partition_point(|end| *end <= at);
            assert_holds(&journal, 10, |index| index + 1 != part, &format!("byte {at} flipped by {mask:#x}"));
            assert_eq!(journal.num_damaged(), 1, "byte {at}: {:?}", journal.damage());
            assert!(journal.damage()[0].bytes.contains(&(at as u64)));
            drop(journal);
            assert!(
                fs::read(dir.path().join("journal")).expect("the file") == damaged,
                "a damaged journal was changed"
            );
        }
    }
}

#[test]
fn an_old_journal_cut_anywhere_keeps_every_whole_entry() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let parts = old_journal(10);
    let bytes = parts.concat();
    for cut in 8..bytes.len() {
        let journal = written(dir.path(), &bytes[..cut]);
        let whole = (1..=10).take_while(|&index| parts[..=index].concat().len() <= cut).count();
        assert_holds(&journal, 10, |index| index < whole, &format!("cut at {cut}"));
    }
}

#[test]
fn another_file_of_that_name_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("journal"), "a shopping list").expect("a file");
    let error = Journal::<Note>::open(dir.path()).err().expect("an error").to_string();
    assert!(error.contains("expected a sample journal"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("journal")).expect("untouched"), "a shopping list");
}

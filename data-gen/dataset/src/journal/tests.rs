//! What a journal promises while nothing is damaged: entries are found again, whoever wrote them, sealed or not.

mod damage;
mod old;
mod processes;

use super::*;
use serde::Deserialize;
use std::thread;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    key: String,
    text: String,
}

impl Entry for Note {
    fn key(&self) -> String {
        self.key.clone()
    }
}

fn note(index: usize) -> Note {
    Note { key: format!("note-{index}"), text: format!("the text of note {index}, ").repeat(index % 7 + 1) }
}

fn open(dir: &Path) -> Journal<Note> {
    Journal::open(dir).expect("a journal")
}

fn append(journal: &mut Journal<Note>, indices: Range<usize>) {
    indices.for_each(|index| journal.append(&note(index)).expect("an entry"));
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the folder").map(|entry| entry.expect("a file").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    files
}

fn texts(entries: Vec<Note>) -> Vec<String> {
    entries.into_iter().map(|note| note.text).collect()
}

fn said(key: &str, text: &str) -> Note {
    Note { key: key.to_owned(), text: text.to_owned() }
}

/// Asserts that exactly the notes of `there` among the first `total` are found, whole.
fn assert_holds(journal: &Journal<Note>, total: usize, there: impl Fn(usize) -> bool, what: &str) {
    for index in 0..total {
        let found = journal.get(&note(index).key).expect("no error");
        assert_eq!(found, there(index).then(|| note(index)), "{what}: note {index}");
        assert_eq!(journal.contains(&note(index).key), there(index), "{what}: note {index}");
    }
    assert_eq!(journal.len(), (0..total).filter(|&index| there(index)).count(), "{what}");
}

#[test]
fn entries_are_found_again_and_a_closed_journal_is_sealed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    assert!(journal.is_empty() && files(dir.path(), "").is_empty(), "opening alone writes nothing");
    append(&mut journal, 0..100);
    assert_holds(&journal, 100, |_| true, "the writer");
    journal.close().expect("a sealed journal");
    assert_eq!((files(dir.path(), "").len(), files(dir.path(), ".sealed").len()), (1, 1), "one sealed file is left");
    let mut journal = open(dir.path());
    assert_holds(&journal, 100, |_| true, "the next to open it");
    assert_eq!(journal.num_damaged(), 0);
    append(&mut journal, 0..100);
    assert_eq!(files(dir.path(), "").len(), 1, "what is there is not written again");
}

#[test]
fn full_segments_are_sealed_while_others_are_written() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = Journal::<Note>::open_sized(dir.path(), 20_000).expect("a journal");
    append(&mut journal, 0..2000);
    assert_holds(&journal, 2000, |_| true, "while it seals");
    journal.close().expect("a sealed journal");
    assert_eq!(files(dir.path(), ""), files(dir.path(), ".sealed"), "only sealed files are left");
    let bytes: u64 = files(dir.path(), "").iter().map(|path| path.metadata().expect("a file").len()).sum();
    assert!(files(dir.path(), "").len() > 5 && bytes < 150_000, "{bytes} bytes are not compressed");
    assert_holds(&open(dir.path()), 2000, |_| true, "from indexes");
}

#[test]
fn a_segment_is_sealed_though_a_child_that_is_being_forked_has_it_open() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    append(&mut journal, 0..10);
    let _inherited = journal.writer.as_ref().expect("its segment").duplicate();
    journal.close().expect("a sealed journal");
    assert_eq!(files(dir.path(), ""), files(dir.path(), ".sealed"), "its own lock kept it from being sealed");
}

#[test]
fn what_others_write_is_found_by_refreshing_before_and_after_it_is_sealed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut reader, mut writer) = (open(dir.path()), open(dir.path()));
    append(&mut writer, 0..10);
    assert!(reader.is_empty());
    reader.refresh().expect("news");
    assert_holds(&reader, 10, |_| true, "after one refresh");
    append(&mut writer, 10..20);
    reader.refresh().expect("news");
    assert_holds(&reader, 20, |_| true, "after two");
    append(&mut writer, 20..30);
    writer.close().expect("a sealed journal");
    assert_holds(&reader, 20, |_| true, "sealed under the reader's hands");
    reader.refresh().expect("news");
    assert_holds(&reader, 30, |_| true, "after it was sealed");
    assert_eq!(reader.num_damaged(), 0);
    // A third process that never had the unsealed file open.
    let late = open(dir.path());
    assert_holds(&late, 30, |_| true, "late");
}

#[test]
fn a_reader_that_knew_the_unsealed_file_only_by_name_finds_the_sealed_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut writer = open(dir.path());
    append(&mut writer, 0..10);
    let reader = open(dir.path());
    writer.close().expect("a sealed journal");
    assert_holds(&reader, 10, |_| true, "never read before");
}

#[test]
fn eight_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    thread::scope(|scope| {
        for writer in 0..8 {
            let dir = dir.path();
            scope.spawn(move || {
                let mut journal = Journal::<Note>::open_sized(dir, 5_000).expect("a journal");
                // Neighbours write the same keys.
                append(&mut journal, writer * 100..writer * 100 + 200);
            });
        }
    });
    let journal = open(dir.path());
    assert_holds(&journal, 900, |_| true, "eight writers");
    assert_eq!(journal.num_damaged(), 0);
}

#[test]
fn a_key_may_have_several_entries_in_the_order_in_which_they_were_written() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut early, mut late) = (open(dir.path()), open(dir.path()));
    early.append(&said("other", "x")).expect("an entry");
    late.append(&said("k", "first")).expect("an entry");
    early.refresh().expect("news");
    // The early one's segment sorts before the late one's: its continuation must not.
    early.append_more(&said("k", "second")).expect("an entry");
    late.refresh().expect("news");
    late.append_more(&said("k", "third")).expect("an entry");
    early.refresh().expect("news");
    early.append_more(&said("k", "second")).expect("an equal one");
    early.append(&said("k", "ignored")).expect("an entry of a known key");
    let wanted = ["first", "second", "third"];
    for journal in [&early, &late, &open(dir.path())] {
        assert_eq!(texts(journal.entries("k").expect("entries")), wanted);
        assert_eq!(journal.get("k").expect("an entry").expect("the first").text, "first");
        assert_eq!(journal.len(), 2);
    }
    drop((early, late));
    assert_eq!(texts(open(dir.path()).entries("k").expect("entries")), wanted, "sealed");
}

#[test]
fn which_of_two_entries_is_first_depends_on_the_files_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut one, mut two) = (open(dir.path()), open(dir.path()));
    one.append(&said("a", "one")).expect("an entry");
    two.append(&said("a", "two")).expect("an entry");
    two.append(&said("b", "two")).expect("an entry");
    one.append(&said("b", "one")).expect("an entry");
    assert_eq!(two.get("a").expect("an entry").expect("its own").text, "two", "the other's was not looked for yet");
    one.refresh().expect("news");
    two.refresh().expect("news");
    for journal in [&one, &two, &open(dir.path())] {
        for key in ["a", "b"] {
            assert_eq!(texts(journal.entries(key).expect("entries")), ["one", "two"], "by the segments' names");
        }
    }
}

#[test]
fn an_optional_field_leaves_old_entries_readable() {
    #[derive(Serialize, Deserialize)]
    struct Newer {
        key: String,
        text: String,
        mood: Option<String>,
        #[serde(default)]
        rounds: u32,
    }
    impl Entry for Newer {
        fn key(&self) -> String {
            self.key.clone()
        }
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    append(&mut open(dir.path()), 0..3);
    let journal = Journal::<Newer>::open(dir.path()).expect("a journal");
    let entry = journal.get("note-2").expect("no error").expect("an entry");
    assert_eq!((entry.text, entry.mood, entry.rounds), (note(2).text, None, 0));
    // A required field does not, and that is an error, not damage.
    #[derive(Serialize, Deserialize)]
    struct Demanding {
        key: String,
        mood: String,
    }
    impl Entry for Demanding {
        fn key(&self) -> String {
            self.key.clone()
        }
    }
    let journal = Journal::<Demanding>::open(dir.path()).expect("a journal");
    let error = journal.get("note-2").err().expect("an error").to_string();
    assert!(error.contains("missing field `mood`"), "{error}");
    assert_eq!(journal.num_damaged(), 0);
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_leaves_the_rest() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut journal = open(dir.path());
    append(&mut journal, 0..3);
    let long = said(&"k".repeat(70_000), "");
    let error = journal.append(&long).expect_err("an error").to_string();
    assert!(error.contains("a key of at most 65536") && error.contains("found 70000"), "{error}");
    append(&mut journal, 3..6);
    drop(journal);
    assert_holds(&open(dir.path()), 6, |_| true, "after a refused entry");
}

//! Filters alone on a file, through the binary: what stays is what was there, and each row that went has its reason.

use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn distill(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.current_dir(folder).args(words).output().expect("the binary runs")
}

fn done(folder: &Path, words: &[&str]) -> String {
    let output = distill(folder, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code and what is said, of a command that cannot do what was asked.
fn refused(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = distill(folder, words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Who went, by row.
fn reasons(path: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(path).expect("the dropped rows");
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut rows: Vec<_> = rows
        .map(|row| (row["row"].as_u64().expect("a row"), format!("{}: {}", row["by"], row["reason"]).replace('"', "")))
        .collect();
    rows.sort();
    rows
}

const TALE: &str =
    "A lighthouse keeper counts 48 gulls in the morning and a third of them fly away before noon. How many stay?";

/// Lines as nobody tidied them: other keys, blanks, a broken one, no end of line behind the last.
fn lines() -> Vec<String> {
    vec![
        json!({ "problem": TALE, "id": 1 }).to_string(),
        String::new(),
        format!("  {}  ", json!({ "id": 2, "problem": TALE.replace("stay?", "of them stay?") })),
        json!({ "problem": TALE.replace("48", "36") }).to_string(),
        "{\"problem\": \"cut".to_owned(),
        json!({ "problem": TALE.to_uppercase() }).to_string(),
        json!({ "problem": TALE, "again": true }).to_string(),
        json!({ "problem": null }).to_string(),
        json!({ "problem": "Wie viele Möwen bleiben? \u{0} 🦉", "note": [1, 2.50] }).to_string(),
    ]
}

#[test]
fn rows_that_stay_are_byte_for_byte_what_they_were() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (at, lines) = (folder.path(), lines());
    fs::write(at.join("data.jsonl"), lines.join("\n")).expect("a file");
    let told = done(at, &["dedup", "data.jsonl", "--set", "threshold=0.6"]);
    let kept = fs::read_to_string(at.join("data.dedup.jsonl")).expect("rows");
    let expected: Vec<&str> = [0, 3, 8].iter().map(|index| lines[*index].as_str()).collect();
    assert_eq!(kept.lines().collect::<Vec<_>>(), expected, "{told}");
    let found = reasons(&at.join("data.dedup.jsonl.dropped.jsonl"));
    let near = "near-duplicates: near-duplicate".to_owned();
    let expected = [
        (3, near.clone()),
        (5, "reading: malformed-json".to_owned()),
        (6, near.clone()),
        (7, near),
        (8, "reading: no-question".to_owned()),
    ];
    assert_eq!(found, expected, "{told}");
    assert!(!at.join("data.dedup.jsonl.work").exists(), "what was made on the way is gone");
    let (code, said) = refused(at, &["dedup", "data.jsonl"]);
    assert!(code == Some(2) && said.contains("data.dedup.jsonl: expected nothing there"), "{code:?} {said}");
}

#[test]
fn a_benchmark_is_found_and_its_evidence_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    fs::write(at.join("data.jsonl"), lines().join("\n")).expect("a file");
    fs::write(at.join("contest 1.jsonl"), json!({ "question": TALE, "answer": "32" }).to_string()).expect("a file");
    let words = ["decontaminate", "data.jsonl", "--against", "contest 1.jsonl", "--out", "clean.jsonl", "--json"];
    let told: Value = serde_json::from_str(&done(at, &words)).expect("JSON");
    assert_eq!((&told["rows"], &told["kept"]), (&json!(8), &json!(2)), "{told}");
    assert_eq!(told["noted"], json!({ "contamination: variant": 1 }), "other numbers are kept, and told");
    let dropped = fs::read_to_string(at.join("clean.jsonl.dropped.jsonl")).expect("the dropped rows");
    let told: Vec<Value> = dropped.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let variant = told.iter().find(|row| row["row"] == 4).expect("the item with another number");
    assert_eq!((&variant["note"], &variant["reason"]), (&json!("variant"), &Value::Null), "{variant}");
    assert_eq!(variant["evidence"]["question"]["benchmark"], "contest-1", "{variant}");
    let first = told.iter().find(|row| row["row"] == 1).expect("the item itself");
    let evidence = &first["evidence"]["question"];
    assert_eq!((&evidence["benchmark"], &evidence["start"]), (&json!("contest-1"), &json!(0)), "{first}");
    assert!(evidence["excerpt"].as_str().is_some_and(|excerpt| TALE.starts_with(excerpt)), "{first}");
}

#[test]
fn rows_of_one_text_have_one_fate_unless_copies_are_looked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let rows: Vec<String> = (0..4).map(|sample| json!({ "problem": TALE, "generation": sample }).to_string()).collect();
    let odd = json!({ "problem": "Wie viele Möwen bleiben? 嗯，让我再检查一下这个结果是不是对的。 How many of them stay here?" });
    fs::write(at.join("traces.jsonl"), format!("{}\n{odd}\n{odd}\n", rows.join("\n"))).expect("a file");
    done(at, &["filter", "traces.jsonl", "--with", "language,max-share=0.1,min-words=4"]);
    let kept = fs::read_to_string(at.join("traces.filter.jsonl")).expect("rows");
    assert_eq!(kept.lines().collect::<Vec<_>>(), rows, "four answers to one question");
    let found = reasons(&at.join("traces.filter.jsonl.dropped.jsonl"));
    let reason = "language: mixed-scripts".to_owned();
    assert_eq!(found, [(5, reason.clone()), (6, reason)]);
    done(at, &["filter", "traces.jsonl", "--with", "duplicates,prefer=[\"shortest\",\"first\"]", "--out", "one.jsonl"]);
    assert_eq!(fs::read_to_string(at.join("one.jsonl")).expect("rows").lines().count(), 2);
}

#[test]
fn rows_are_found_again_in_a_file_of_many_parts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    // What is beside the text makes parts of it: 13 MB are at least three.
    let beside = "x".repeat(1 << 20);
    let row = |n: usize| {
        let text =
            if n % 6 == 1 { TALE.to_owned() } else { format!("{n} boats leave the harbour; {n} return by night.") };
        format!("{}\n", json!({ "problem": text, "beside": beside }))
    };
    let rows: Vec<String> = (0..13).map(row).collect();
    fs::write(at.join("data.jsonl"), rows.concat()).expect("a file");
    let told = done(at, &["dedup", "data.jsonl", "--json"]);
    let kept = fs::read_to_string(at.join("data.dedup.jsonl")).expect("rows");
    let expected: String = (0..13).filter(|n| ![7].contains(n)).map(|n| rows[n].as_str()).collect();
    assert!(kept == expected, "{told}");
    let dropped = fs::read_to_string(at.join("data.dedup.jsonl.dropped.jsonl")).expect("the dropped rows");
    let dropped: Value = serde_json::from_str(&dropped).expect("one row");
    assert_eq!((&dropped["row"], &dropped["evidence"]["neighbour"]), (&json!(8), &json!({ "row": 2 })), "{dropped}");
    done(
        at,
        &["dedup", "data.jsonl", "--set", "prefer=[\"longest\", \"random\"]", "--out", "lots.jsonl", "--seed", "3"],
    );
    assert_eq!(fs::read_to_string(at.join("lots.jsonl")).expect("rows").lines().count(), 12, "one of both stays");
}

#[test]
fn which_copies_stay_is_the_filters_to_say() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let texts = ["Add 2+3.", "Add  2 + 3 .", "add 2+3.", "Add 2-3.", "Add 2+3."];
    let rows = texts.map(|text| json!({ "problem": text }).to_string());
    fs::write(at.join("sums.jsonl"), rows.join("\n")).expect("a file");
    done(at, &["filter", "sums.jsonl", "--with", "duplicates,max-copies=2,prefer=[\"longest\"]", "--out", "two.jsonl"]);
    let kept = fs::read_to_string(at.join("two.jsonl")).expect("rows");
    assert!(kept.lines().any(|line| line == rows[1]), "the longest copy stays, though it does not come first: {kept}");
    assert!(kept.lines().any(|line| line == rows[3]), "another operator is another problem: {kept}");
    assert_eq!(kept.lines().count(), 3, "two copies stay where two may: {kept}");
    let found = reasons(&at.join("two.jsonl.dropped.jsonl"));
    assert!(found.contains(&(5, "duplicates: duplicate".to_owned())), "byte for byte the same is one row: {found:?}");
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    fs::write(at.join("data.jsonl"), lines().join("\n")).expect("a file");
    fs::write(at.join("empty.jsonl"), "\n\n").expect("a file");
    fs::write(at.join("other.jsonl"), "{\"a\": 1}").expect("a file");
    fs::write(at.join("fake.parquet"), "PAR1 and no more").expect("a file");
    fs::write(at.join("object.jsonl"), "{\"meta\": {\"a\": 1}, \"q\": \"x\"}\n").expect("a file");
    let cases: [(&[&str], &str); 11] = [
        (&["dedup", "object.jsonl", "--text", "meta"], "`meta.KEY` reaches into an object"),
        (&["filter", "data.jsonl", "--with", "language", "--set", "max-share=0.2"], "`--set` and `--rank`"),
        (&["filter", "data.jsonl"], "expected `--with"),
        (&["filter", "data.jsonl", "--with", "lenght"], "found `lenght`"),
        (&["filter", "data.jsonl", "--with", "best"], "the others judge traces"),
        (&["filter", "data.jsonl", "--with", "random,count"], "expected key=value"),
        (&["dedup", "data.jsonl", "--set", "threshold=2"], "`threshold`: expected over 0, up to 1, found 2"),
        (&["dedup", "other.jsonl"], "--text COLUMN"),
        (&["dedup", "empty.jsonl"], "expected JSON objects"),
        (&["dedup", "fake.parquet"], "fake.parquet"),
        (&["dedup", "gone.jsonl"], "gone.jsonl"),
    ];
    for (words, expected) in cases {
        let (code, said) = refused(at, words);
        assert!(code == Some(2) && said.contains(expected), "{words:?}: {code:?} {said}");
    }
    let left = fs::read_dir(at).expect("a folder").count();
    assert_eq!(left, 5, "nothing was written");
}

#[test]
fn packed_files_arrays_and_conversations_become_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let turns = |question: &str, answer: &str| json!({ "id": answer, "messages": [{ "role": "user", "content": question }, { "role": "assistant", "content": answer }] });
    let rows = [turns(TALE, "32"), turns("What is 2.50 + 1?", "3.50"), turns(&TALE.to_uppercase(), "thirty-two")];
    fs::write(at.join("chats.json"), serde_json::to_string_pretty(&rows).expect("JSON")).expect("a file");
    let told = done(at, &["dedup", "chats.json"]);
    let kept = fs::read_to_string(at.join("chats.dedup.jsonl")).expect("rows");
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).expect("a row a line")).collect();
    assert_eq!(kept, rows[..2], "{told}");
    assert_eq!(
        reasons(&at.join("chats.dedup.jsonl.dropped.jsonl")),
        [(3, "near-duplicates: near-duplicate".to_owned())]
    );
    let nested = json!({ "row": { "text": TALE } }).to_string();
    fs::write(at.join("nested.ndjson"), format!("{nested}\n{nested}\n")).expect("a file");
    done(at, &["dedup", "nested.ndjson", "--text", "row.text"]);
    assert_eq!(fs::read_to_string(at.join("nested.dedup.ndjson")).expect("rows").trim_end(), nested);
    let (code, said) = refused(at, &["dedup", "chats.json", "--out", "chats.jsonl.gz"]);
    assert!(code == Some(2) && said.contains("expected a name that ends in .jsonl"), "{code:?} {said}");
}

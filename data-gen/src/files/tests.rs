//! Rows of files as problems: what becomes one, what is left out and why.

use super::*;
use distill_dataset::{FileClaim, FinishReason, Message, Reference};
use serde::Deserialize;
use serde_json::json;

fn config(answer_format: AnswerFormat) -> FileConfig {
    FileConfig {
        columns: Columns { answer: Some("answer".to_owned()), ..Columns::question("question".to_owned()) },
        answer_format,
        answer_kind: AnswerKind::Math,
        instruction: Some("Box the answer.".to_owned()),
        domain: "math".to_owned(),
        licence: Some("MIT".to_owned()),
        limit: None,
    }
}

fn read_text(text: &str, config: &FileConfig) -> Result<(Vec<Problem>, Vec<Rejected>), ProblemsError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("problems.jsonl");
    std::fs::write(&path, text).expect("a file");
    read_all(config, &path, FileFormat::Jsonl)
}

fn read_all(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
) -> Result<(Vec<Problem>, Vec<Rejected>), ProblemsError> {
    let (mut problems, mut rejected) = (Vec::new(), Vec::new());
    read_placed(config, path, format, &mut |_, _, row| {
        match row {
            Ok(read) => problems.push(read.problem),
            Err(row) => rejected.push(row),
        }
        Ok(())
    })?;
    Ok((problems, rejected))
}

#[test]
fn gsm8k_lines_become_problems_with_solution_and_answer() {
    let text = r#"{"question": "How many?", "answer": "Two and two are <<2+2=4>>4.\n#### 1,004"}"#;
    let (problems, rejected) = read_text(text, &config(AnswerFormat::Gsm8k)).expect("problems");
    assert!(rejected.is_empty());
    assert_eq!(problems[0].answer, "1,004");
    assert_eq!(problems[0].solution.as_deref(), Some("Two and two are <<2+2=4>>4."));
    assert_eq!(problems[0].messages[0].content, "How many?\nBox the answer.");
    assert_eq!(problems[0].licence.as_deref(), Some("MIT"));
}

#[test]
fn a_bad_line_is_left_out_with_its_number_and_the_rest_goes_on() {
    let text = "{\"question\": \"a\", \"answer\": 1}\n{\"question\": \"b\", \n\n{\"question\": \"c\", \"answer\": \"3\"}\n[1]\n{\"question\": \"d\"}\n\u{feff}\n{\"question\": \" \", \"answer\": \"3\"}\n";
    let (problems, rejected) = read_text(text, &config(AnswerFormat::Plain)).expect("problems");
    assert_eq!(problems.iter().map(|problem| problem.answer.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    let places: Vec<(u64, &str)> = rejected.iter().map(|row| (row.line, row.reason.as_str())).collect();
    assert_eq!(
        places,
        [(2, "malformed-json"), (5, "malformed-json"), (6, "no-answer"), (7, "malformed-json"), (8, "no-question")]
    );
}

#[test]
fn choices_get_letters_and_tests_stay_json() {
    let mut choice = config(AnswerFormat::Plain);
    (choice.answer_kind, choice.instruction) = (AnswerKind::Choice, None);
    choice.columns.options = Some("options".to_owned());
    let text = "{\"question\": \"Which?\", \"answer\": \"B\", \"options\": [\"Paris\", \"Rome\"]}\n{\"question\": \"Which?\", \"answer\": \"B\", \"options\": []}";
    let (problems, rejected) = read_text(text, &choice).expect("problems");
    assert_eq!(problems[0].messages[0].content, "Which?\nA. Paris\nB. Rome");
    assert_eq!((problems[0].reference, rejected[0].reason.as_str()), (Reference::Choice, "no-options"));

    let mut tests = config(AnswerFormat::Plain);
    tests.answer_kind = AnswerKind::Tests;
    let text = r#"{"question": "q", "answer": {"language": "c", "tests": {"kind": "stdin", "cases": []}}}"#;
    let (problems, _) = read_text(text, &tests).expect("problems");
    assert_eq!(problems[0].answer, r#"{"language":"c","tests":{"kind":"stdin","cases":[]}}"#);
    let mut eval = config(AnswerFormat::HumanEval);
    eval.columns.entry_point = Some("entry_point".to_owned());
    let text = r#"{"question": "def f(x):", "answer": "def check(f): assert f(1)", "entry_point": "f"}"#;
    let (problems, _) = read_text(text, &eval).expect("problems");
    assert_eq!(problems[0].reference, Reference::Tests);
    assert!(problems[0].answer.contains(r#""starter":"def f(x):""#), "{}", problems[0].answer);
    assert_eq!(problems[0].messages[0].content, "def f(x):\nBox the answer.");
}

#[test]
fn a_wrong_column_is_an_error_that_lists_what_is_there() {
    let error = read_text(r#"{"prompt": "a", "answer": "1"}"#, &config(AnswerFormat::Plain)).expect_err("no column");
    assert!(error.to_string().contains("expected a column `question`, found prompt, answer"), "{error}");
    let error =
        read_all(&config(AnswerFormat::Plain), Path::new("/nowhere/x.jsonl"), FileFormat::Jsonl).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/x.jsonl"), "{error}");
}

#[test]
fn parquet_columns_are_read_as_text() {
    #[derive(Serialize, Deserialize)]
    struct Row {
        problem: String,
        answer: Option<i64>,
        generations: Vec<String>,
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let row = |index: i64| Row {
        problem: format!("What is {index}?"),
        answer: (index != 1).then_some(index),
        generations: vec!["a".to_owned()],
    };
    distill_dataset::Dataset::write(dir.path(), (0..3).map(row)).expect("a dataset");
    let mut config = FileConfig { instruction: None, ..config(AnswerFormat::Plain) };
    assert!(
        read_all(&config, dir.path(), FileFormat::Parquet)
            .expect_err("no column")
            .to_string()
            .contains("expected a column `question`, found problem, answer, generations")
    );
    config.columns.question = Some("problem".to_owned());
    let (problems, rejected) = read_all(&config, dir.path(), FileFormat::Parquet).expect("problems");
    assert_eq!(problems.iter().map(|problem| problem.answer.as_str()).collect::<Vec<_>>(), ["0", "2"]);
    assert_eq!((rejected[0].line, rejected[0].reason.as_str()), (2, "no-answer"));
}

#[test]
fn numbers_and_truths_are_answers_as_they_were_written() {
    let text = "\u{feff}{\"question\": \"a\", \"answer\": 2.50}\n{\"question\": \"b\", \"answer\": true}\n{\"question\": \"c\", \"answer\": 123456789012345678901234567890}\n";
    let (problems, rejected) = read_text(text, &config(AnswerFormat::Plain)).expect("problems");
    let answers: Vec<&str> = problems.iter().map(|problem| problem.answer.as_str()).collect();
    assert_eq!(answers, ["2.50", "true", "123456789012345678901234567890"]);
    assert_eq!(rejected, []);
}

#[test]
fn a_question_that_is_no_text_is_told() {
    let (problems, rejected) =
        read_text("{\"question\": {\"0\": \"a\"}, \"answer\": 1}", &config(AnswerFormat::Plain)).expect("rows");
    assert_eq!(problems, []);
    assert_eq!(
        (rejected[0].reason.as_str(), rejected[0].detail.as_str()),
        ("no-question", "expected text, found a list or an object")
    );
}

#[test]
fn a_folder_is_read_file_by_file_in_the_order_of_names() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, question) in [("b.jsonl", "second"), ("a.json", "first"), ("c.txt", "none")] {
        std::fs::write(dir.path().join(name), format!("{{\"question\": \"{question}\", \"answer\": 1}}\n"))
            .expect("a file");
    }
    let plain = FileConfig { instruction: None, ..config(AnswerFormat::Plain) };
    let (problems, _) = read_all(&plain, dir.path(), FileFormat::Jsonl).expect("problems");
    let told: Vec<_> = problems.iter().map(|it| (it.messages[0].content.as_str(), it.source.as_str())).collect();
    assert_eq!(told, [("first", "a.json"), ("second", "b.jsonl")]);
    let error = read_all(&plain, dir.path(), FileFormat::Parquet).expect_err("no Parquet").to_string();
    assert!(error.contains("expected files whose names end in .parquet"), "{error}");
}

#[test]
fn a_shard_without_a_column_is_left_out_and_the_others_go_on() {
    #[derive(Serialize, Deserialize)]
    struct Row {
        question: String,
        answer: String,
    }
    #[derive(Serialize, Deserialize)]
    struct Other {
        prompt: String,
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let made = |name: &str, write: &dyn Fn(&Path)| {
        let folder = dir.path().join("made");
        std::fs::create_dir(&folder).expect("a folder");
        write(&folder);
        let shard = distill_dataset::Dataset::of_folder(&folder).expect("a dataset").shards().next().expect("a shard");
        std::fs::rename(shard.path(), dir.path().join(name)).expect("a file");
        std::fs::remove_dir_all(&folder).expect("a folder");
    };
    let row = |n: u32| Row { question: format!("{n}+1?"), answer: (n + 1).to_string() };
    let other = |n: u32| Other { prompt: n.to_string() };
    let plain = FileConfig { instruction: None, ..config(AnswerFormat::Plain) };
    made("b.parquet", &|out| drop(distill_dataset::Dataset::write(out, (0..7).map(other)).expect("rows")));
    let error = read_all(&plain, dir.path(), FileFormat::Parquet).expect_err("no shard has it").to_string();
    assert!(error.contains("b.parquet") && error.contains("expected a column `question`, found prompt"), "{error}");
    for name in ["a.parquet", "c.parquet"] {
        made(name, &|out| drop(distill_dataset::Dataset::write(out, (0..3).map(row)).expect("rows")));
    }
    let (problems, rejected) = read_all(&plain, dir.path(), FileFormat::Parquet).expect("the other shards");
    assert_eq!(problems.len(), 6);
    let [lost] = &rejected[..] else { panic!("one shard: {rejected:?}") };
    assert_eq!((lost.file.as_str(), lost.line, lost.rows, lost.reason.as_str()), ("b.parquet", 0, 7, "schema"));
    assert!(lost.detail.contains("expected a column `question`"), "{}", lost.detail);
    let alone = read_all(&plain, &dir.path().join("b.parquet"), FileFormat::Parquet);
    assert!(alone.is_err(), "a file by itself is a mistake in `columns`");
}

#[test]
fn endings_tell_how_a_file_is_stored() {
    for (name, format) in [
        ("a.jsonl", Some(FileFormat::Jsonl)),
        ("a.b.JSON", Some(FileFormat::Jsonl)),
        ("a.ndjson.gz", Some(FileFormat::Jsonl)),
        ("a.jsonl.zst", Some(FileFormat::Jsonl)),
        ("a.parquet", Some(FileFormat::Parquet)),
        ("a.parquet.gz", None),
        ("jsonl", None),
        ("a.csv", None),
        ("a.gz", None),
    ] {
        assert_eq!(format_of(Path::new(name)), format, "{name}");
    }
}

#[test]
fn columns_that_do_not_go_together_are_told() {
    let wrong = |columns: Columns| FileConfig { columns, ..FileConfig::unset() }.check().expect_err("a mistake");
    assert!(wrong(Columns::default()).contains("found neither"));
    let both = Columns { conversation: Some("c".to_owned()), ..Columns::question("q".to_owned()) };
    assert!(wrong(both).contains("found both"));
    let apart = Columns { responses: Some("r".to_owned()), ..Columns::conversation("c".to_owned()) };
    assert!(wrong(apart).contains("expected no `responses` beside `conversation`"));
    let alone = Columns { claims: vec!["c".to_owned()], ..Columns::question("q".to_owned()) };
    assert!(wrong(alone).contains("expected `responses` or `conversation` beside `claims`"));
}

/// The responses of one row, as texts or as reasons.
fn responses(row: serde_json::Value, columns: &Columns) -> Vec<Result<Response, &'static str>> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, row.to_string()).expect("a file");
    let config = FileConfig { columns: columns.clone(), ..FileConfig::unset() };
    config.check().expect("columns that go together");
    let mut found = Vec::new();
    read_placed(&config, &path, FileFormat::Jsonl, &mut |_, _, row| {
        let row = row.unwrap_or_else(|rejected| panic!("{rejected:?}"));
        found.extend(row.responses.into_iter().map(|response| response.map_err(|unreadable| unreadable.reason)));
        Ok(())
    })
    .expect("rows");
    found
}

fn open_r1() -> Columns {
    let named = |name: &str| Some(name.to_owned());
    Columns {
        responses: named("generations"),
        finish_reasons: named("finish_reasons"),
        claims: ["correctness_math_verify", "correctness_llama"].map(str::to_owned).to_vec(),
        ..Columns::question("problem".to_owned())
    }
}

#[test]
fn generations_are_traces_with_what_the_file_claims_of_each() {
    let row = json!({
        "problem": "1+1?", "generations": ["<think>\n2\n</think>\n\n\\boxed{2}", "no\n</think>3 ", null, "4"],
        "finish_reasons": ["stop", "length", null, "abort"],
        "correctness_math_verify": [true, false, null, 0.5], "correctness_llama": null,
    });
    let found = responses(row, &open_r1());
    let first = found[0].as_ref().expect("a trace");
    assert_eq!(first.text, "<think>\n2\n</think>\n\n\\boxed{2}", "exactly what was written");
    assert_eq!(first.claims, [FileClaim { name: "correctness_math_verify".to_owned(), says: "true".to_owned() }]);
    assert_eq!((first.finish_reason, first.teacher.as_deref()), (FinishReason::Stop, None));
    let second = found[1].as_ref().expect("a trace");
    assert_eq!((second.text.as_str(), second.format.prefix.as_str()), ("no\n</think>3 ", "<think>\n"));
    assert_eq!(second.finish_reason, FinishReason::Length);
    assert_eq!(found[2], Err("no-response"));
    let last = found[3].as_ref().expect("a trace");
    assert_eq!((last.finish_reason, last.finish_name.as_deref()), (FinishReason::Unknown, Some("abort")));
    assert_eq!(last.claims[0].says, "0.5");
}

#[test]
fn lists_of_other_lengths_belong_to_nothing() {
    let row = json!({
        "problem": "1+1?", "generations": ["2", "3"], "finish_reasons": ["stop"],
        "correctness_math_verify": null, "correctness_llama": null,
    });
    assert_eq!(responses(row, &open_r1()), [Err("unequal-lists")]);
    let row = |generations: serde_json::Value| {
        json!({
            "problem": "1+1?", "generations": generations, "finish_reasons": null,
            "correctness_math_verify": null, "correctness_llama": null,
        })
    };
    assert_eq!(responses(row(json!([])), &open_r1()), [Err("no-response")]);
    assert_eq!(responses(row(json!(" ")), &open_r1()), [Err("no-response")]);
    assert_eq!(responses(row(json!([["a"]])), &open_r1()), [Err("not-text")]);
    assert_eq!(responses(row(json!({"a": 1})), &open_r1()), [Err("not-text")]);
}

#[test]
fn reasoning_in_a_column_of_its_own_is_put_before_its_answer() {
    let named = |name: &str| Some(name.to_owned());
    let columns = Columns {
        responses: named("content"),
        reasoning: named("reasoning_content"),
        teacher: named("model"),
        ..Columns::question("input".to_owned())
    };
    let row = json!({"input": "1+1?", "content": "2", "reasoning_content": "1 and 1", "model": "R1"});
    let found = responses(row, &columns);
    let found = found[0].as_ref().expect("a trace");
    assert_eq!((found.text.as_str(), found.teacher.as_deref()), ("<think>\n1 and 1\n</think>\n\n2", Some("R1")));
    assert_eq!(found.finish_reason, FinishReason::Unknown, "nobody says why it ended");
}

#[test]
fn a_conversation_is_a_problem_and_its_last_turn_a_trace() {
    let columns = Columns { system: Some("system".to_owned()), ..Columns::conversation("conversations".to_owned()) };
    let row = json!({
        "system": "Think first.",
        "conversations": [{"from": "user", "value": "1+1?"}, {"from": "assistant", "value": "<|begin_of_thought|>x<|end_of_thought|>2"}],
    });
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, row.to_string()).expect("a file");
    let config = FileConfig { columns, instruction: Some("Box it.".to_owned()), ..FileConfig::unset() };
    let (problems, _) = read_all(&config, &path, FileFormat::Jsonl).expect("problems");
    assert_eq!(problems[0].messages, [Message::system("Think first."), Message::user("1+1?\nBox it.")]);
    let found = responses(row, &config.columns);
    let found = found[0].as_ref().expect("a trace");
    assert_eq!(found.format.split(&found.text).answer, Some("2"), "its own tags are known");
}

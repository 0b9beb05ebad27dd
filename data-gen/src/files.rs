//! Problems from files: JSONL or Parquet with a column map. A row that cannot be read is left out, counted, and written
//! with its place and reason into `rejected.jsonl` beside the problems; the rest goes on.

use crate::{ProblemsError, normalised_key};
use distill_dataset::{Message, Problem, Reference, Split, TextRows, open_regular, problem_id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Longest line of a JSONL file.
const MAX_LINE: u64 = 1 << 26;
/// Rejected lines that are also logged.
const LOGGED: usize = 20;

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// One JSON object a line.
    Jsonl,
    /// One file, or a folder of them.
    Parquet,
}

/// Which column holds what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Columns {
    /// The question.
    pub question: String,
    /// The right answer; without it nothing can be verified.
    #[serde(default)]
    pub answer: Option<String>,
    /// A worked solution.
    #[serde(default)]
    pub solution: Option<String>,
    /// The options of a choice: a list of texts, or JSON of one. They are put under the question, each with its letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// The name of the function that HumanEval's tests call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
}

/// How the answer column is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerFormat {
    /// The answer alone.
    #[default]
    Plain,
    /// A worked solution, then `#### ` and the answer, as in GSM8K.
    Gsm8k,
    /// Assertions about the function that the question begins, as in HumanEval; `columns.entry-point` names it.
    HumanEval,
}

/// What a file's answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// Numbers and expressions.
    #[default]
    Math,
    /// Text, compared exactly and without what does not matter.
    Text,
    /// A letter, or the text of one of the options.
    Choice,
    /// Tests of code: `{"language", "tests"}` as `distill verify code` reads them.
    Tests,
}

/// A file of problems. The path itself is not part of the configuration's digest: its content is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileConfig {
    /// Which column holds what.
    pub columns: Columns,
    /// How the answer column is written.
    #[serde(default)]
    pub answer_format: AnswerFormat,
    /// What the answers are.
    #[serde(default)]
    pub answer_kind: AnswerKind,
    /// Appended to every question on a line of its own, e.g. to ask for a boxed answer.
    #[serde(default)]
    pub instruction: Option<String>,
    /// The field it belongs to.
    #[serde(default = "math")]
    pub domain: String,
    /// SPDX identifier of the data's licence.
    #[serde(default)]
    pub licence: Option<String>,
    /// Reads only so many problems, from the start.
    #[serde(default)]
    pub limit: Option<u32>,
}

impl FileConfig {
    /// What each key is when a recipe leaves it out; what a recipe has to say is empty here, so that it is in every key.
    pub fn unset() -> FileConfig {
        let columns =
            Columns { question: String::new(), answer: None, solution: None, options: None, entry_point: None };
        FileConfig {
            columns,
            answer_format: AnswerFormat::default(),
            answer_kind: AnswerKind::default(),
            instruction: None,
            domain: math(),
            licence: None,
            limit: None,
        }
    }
}

fn math() -> String {
    "math".to_owned()
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rejected {
    /// The file's name.
    pub(crate) file: String,
    /// Line of a JSONL file or row of a Parquet file, from 1.
    pub(crate) line: u64,
    /// Why, e.g. `malformed-json`.
    pub(crate) reason: String,
    /// What was seen.
    pub(crate) detail: String,
}

/// The files behind a path: itself, or the Parquet files of a folder in the order of their names.
///
/// # Errors
/// When nothing is there.
pub fn problem_files(path: &Path, format: FileFormat) -> Result<Vec<PathBuf>, ProblemsError> {
    if format == FileFormat::Parquet && path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(ProblemsError::io(path))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort();
        if !files.is_empty() {
            return Ok(files);
        }
    }
    open_regular(path).map_err(ProblemsError::io(path))?;
    Ok(vec![path.to_owned()])
}

/// A row of a file: a problem, or why there is none.
pub(crate) type Row = Result<Problem, Rejected>;

/// A row of a file of problems, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedRow {
    /// The file.
    pub file: PathBuf,
    /// Line of a JSONL file or row of a Parquet file, from 1.
    pub line: u64,
    /// The problem's id and what other spellings of it share, or why there is no problem.
    pub row: Result<(String, [u8; 16]), String>,
}

/// Hands the place of every row of a file to `each`, in order: what a source reads of it.
///
/// # Errors
/// When the file cannot be read, lacks a column, or what `each` says.
pub fn placed_rows(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
    each: &mut dyn FnMut(PlacedRow) -> Result<(), ProblemsError>,
) -> Result<(), ProblemsError> {
    read_placed(config, path, format, &mut |file, line, row| {
        let row = row.map(|problem| (problem.id, normalised_key(&problem.messages))).map_err(|it| it.reason);
        each(PlacedRow { file: file.to_owned(), line, row })
    })
}

/// Hands every row of a file to `each`, in order.
pub(crate) fn read(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
    each: &mut dyn FnMut(Row) -> Result<(), ProblemsError>,
) -> Result<(), ProblemsError> {
    read_placed(config, path, format, &mut |_, _, row| each(row))
}

/// The same with the file and the line of each.
fn read_placed(config: &FileConfig, path: &Path, format: FileFormat, each: Each<'_>) -> Result<(), ProblemsError> {
    let mut reading = Reading { config, each, num_problems: 0, num_rejected: 0 };
    for file in problem_files(path, format)? {
        match format {
            FileFormat::Jsonl => reading.jsonl(&file)?,
            FileFormat::Parquet => reading.parquet(&file)?,
        }
    }
    Ok(())
}

/// Takes a row with its file and line.
type Each<'e> = &'e mut dyn FnMut(&Path, u64, Row) -> Result<(), ProblemsError>;

struct Reading<'c> {
    config: &'c FileConfig,
    each: Each<'c>,
    num_problems: u64,
    num_rejected: usize,
}

impl Reading<'_> {
    fn full(&self) -> bool {
        self.config.limit.is_some_and(|limit| self.num_problems >= u64::from(limit))
    }

    fn jsonl(&mut self, path: &Path) -> Result<(), ProblemsError> {
        let mut reader = BufReader::new(open_regular(path).map_err(ProblemsError::io(path))?);
        let mut seen_columns = false;
        for line in 1.. {
            if self.full() {
                break;
            }
            let mut bytes = Vec::new();
            let length =
                reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(ProblemsError::io(path))?;
            if length == 0 {
                break;
            }
            if length as u64 == MAX_LINE && bytes.last() != Some(&b'\n') {
                reader.skip_until(b'\n').map_err(ProblemsError::io(path))?;
                self.reject(path, line, "line-too-long", format!("more than {MAX_LINE} bytes"))?;
                continue;
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let object: Map<String, Value> = match serde_json::from_slice(bytes.trim_ascii_end()) {
                Ok(object) => object,
                Err(error) => {
                    self.reject(path, line, "malformed-json", error.to_string())?;
                    continue;
                }
            };
            if !seen_columns {
                self.check_columns(path, &object)?;
                seen_columns = true;
            }
            let text = |column: &str| match object.get(column) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                Some(value @ (Value::Object(_) | Value::Array(_))) => Some(value.to_string()),
                _ => None,
            };
            let columns = &self.config.columns;
            let cells = Cells {
                question: object
                    .get(&columns.question)
                    .filter(|value| !value.is_object() && !value.is_array())
                    .and_then(|_| text(&columns.question)),
                answer: columns.answer.as_deref().map(text),
                solution: columns.solution.as_deref().and_then(text),
                options: columns.options.as_deref().map(text),
                entry_point: columns.entry_point.as_deref().and_then(text),
            };
            self.row(path, line, cells)?;
        }
        Ok(())
    }

    /// The first row must have the columns: a wrong name is a mistake, not a property of every row.
    fn check_columns(&self, path: &Path, object: &Map<String, Value>) -> Result<(), ProblemsError> {
        let columns = &self.config.columns;
        let wanted = [
            Some(&columns.question),
            columns.answer.as_ref(),
            columns.solution.as_ref(),
            columns.options.as_ref(),
            columns.entry_point.as_ref(),
        ];
        match wanted.into_iter().flatten().find(|column| !object.contains_key(*column)) {
            None => Ok(()),
            Some(column) => Err(ProblemsError::Column {
                path: path.to_owned(),
                column: column.clone(),
                found: object.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn parquet(&mut self, path: &Path) -> Result<(), ProblemsError> {
        let columns = self.config.columns.clone();
        let wanted = [
            Some(columns.question.as_str()),
            columns.answer.as_deref(),
            columns.solution.as_deref(),
            columns.options.as_deref(),
            columns.entry_point.as_deref(),
        ];
        let names: Vec<&str> = wanted.into_iter().flatten().collect();
        for (index, row) in TextRows::open(path, &names)?.enumerate() {
            if self.full() {
                break;
            }
            let mut texts = row?.into_iter();
            let mut next = |column: Option<&String>| column.map(|_| texts.next().flatten());
            let cells = Cells {
                question: next(Some(&columns.question)).flatten(),
                answer: next(columns.answer.as_ref()),
                solution: next(columns.solution.as_ref()).flatten(),
                options: next(columns.options.as_ref()),
                entry_point: next(columns.entry_point.as_ref()).flatten(),
            };
            self.row(path, index as u64 + 1, cells)?;
        }
        Ok(())
    }

    /// One row.
    fn row(&mut self, path: &Path, line: u64, cells: Cells) -> Result<(), ProblemsError> {
        let Cells { question, answer, solution, options, entry_point } = cells;
        let Some(question) = question.filter(|question| !question.trim().is_empty()) else {
            return self.reject(path, line, "no-question", String::new());
        };
        let (mut reference, mut solution) = (Reference::None, solution);
        let mut right = String::new();
        if let Some(answer) = answer {
            let Some(answer) = answer.filter(|answer| !answer.trim().is_empty()) else {
                return self.reject(path, line, "no-answer", String::new());
            };
            reference = match self.config.answer_kind {
                AnswerKind::Math => Reference::Math,
                AnswerKind::Text => Reference::Text,
                AnswerKind::Choice => Reference::Choice,
                AnswerKind::Tests => Reference::Tests,
            };
            right = match self.config.answer_format {
                AnswerFormat::Plain => answer.trim().to_owned(),
                AnswerFormat::Gsm8k => match answer.rsplit_once("####") {
                    None => {
                        return self.reject(
                            path,
                            line,
                            "no-answer-mark",
                            "expected `#### ` before the answer".to_owned(),
                        );
                    }
                    Some((worked, right)) => {
                        solution = solution.or_else(|| Some(worked.trim().to_owned()));
                        right.trim().to_owned()
                    }
                },
                AnswerFormat::HumanEval => {
                    let Some(name) = entry_point else {
                        let expected = "expected a function's name in `columns.entry-point`".to_owned();
                        return self.reject(path, line, "no-entry-point", expected);
                    };
                    reference = Reference::Tests;
                    let tests = json!({"kind": "check", "entry_point": name, "starter": question, "check": answer});
                    json!({"language": "python", "tests": tests}).to_string()
                }
            };
        }
        let question = match options {
            None => question,
            Some(options) => match options.and_then(|options| with_options(&question, &options)) {
                Some(question) => question,
                None => {
                    let expected = format!("expected a list of 2 to {MOST_OPTIONS} texts");
                    return self.reject(path, line, "no-options", expected);
                }
            },
        };
        let content = match &self.config.instruction {
            Some(instruction) => format!("{question}\n{instruction}"),
            None => question,
        };
        let messages = vec![Message::user(content)];
        self.num_problems += 1;
        let problem = Problem {
            id: problem_id(&messages),
            messages,
            domain: self.config.domain.clone(),
            reference,
            answer: right,
            solution,
            source: file_name(path),
            split: Split::Train,
            licence: self.config.licence.clone(),
        };
        (self.each)(path, line, Ok(problem))
    }

    fn reject(&mut self, path: &Path, line: u64, reason: &str, detail: String) -> Result<(), ProblemsError> {
        if self.num_rejected < LOGGED {
            tracing::warn!(file = %path.display(), line, reason, detail, "row left out");
        }
        self.num_rejected += 1;
        let rejected = Rejected { file: file_name(path), line, reason: reason.to_owned(), detail };
        (self.each)(path, line, Err(rejected))
    }
}

/// What a row holds. An answer or options are absent when no column was named, empty when the row has none.
struct Cells {
    question: Option<String>,
    answer: Option<Option<String>>,
    solution: Option<String>,
    options: Option<Option<String>>,
    entry_point: Option<String>,
}

/// Options that have letters.
const MOST_OPTIONS: usize = 10;

/// A question with its options beneath it, each on a line with its letter.
fn with_options(question: &str, options: &str) -> Option<String> {
    let options: Vec<String> = serde_json::from_str(options).ok()?;
    if !(2..=MOST_OPTIONS).contains(&options.len()) {
        return None;
    }
    let lines = ('A'..).zip(&options).map(|(letter, option)| format!("\n{letter}. {}", option.replace('\n', " ")));
    Some(lines.fold(question.to_owned(), |text, line| text + &line))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(answer_format: AnswerFormat) -> FileConfig {
        FileConfig {
            columns: Columns {
                question: "question".to_owned(),
                answer: Some("answer".to_owned()),
                solution: None,
                options: None,
                entry_point: None,
            },
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
        read(config, path, format, &mut |row| {
            match row {
                Ok(problem) => problems.push(problem),
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
        let error =
            read_text(r#"{"prompt": "a", "answer": "1"}"#, &config(AnswerFormat::Plain)).expect_err("no column");
        assert!(error.to_string().contains("expected a column `question`, found prompt, answer"), "{error}");
        let error = read_all(&config(AnswerFormat::Plain), Path::new("/nowhere/x.jsonl"), FileFormat::Jsonl)
            .expect_err("no file");
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
                .contains("`question`")
        );
        config.columns.question = "problem".to_owned();
        let (problems, rejected) = read_all(&config, dir.path(), FileFormat::Parquet).expect("problems");
        assert_eq!(problems.iter().map(|problem| problem.answer.as_str()).collect::<Vec<_>>(), ["0", "2"]);
        assert_eq!((rejected[0].line, rejected[0].reason.as_str()), (2, "no-answer"));
    }
}

//! Rows of a file → the lines that standard input would have: which columns are judged.

use crate::{alone::format_of, cli::DataArgs};
use anyhow::{Context, Result, ensure};
use distill_dataset::{Cell, Row, Rows, columns};
use distill_verify::code::Language;
use serde_json::{Map, Value};
use std::path::Path;

/// Columns that hold what is right, the likeliest first. `answer` is the model's where there is a `gold`.
const GOLD: [&str; 5] = ["gold", "expected_answer", "ground_truth", "target", "answer"];
/// Columns that hold a model's whole response, or a list of them.
const RESPONSE: [&str; 7] =
    ["response", "generation", "generations", "completion", "output", "model_output", "responses"];
/// A field that is said with an id of its own where a row has several responses.
const RESPONSE_FIELD: &str = "response";

/// The fields of a line with their columns, and what all lines have.
type Fields = (Vec<(&'static str, String)>, Map<String, Value>);

/// Lines to judge, each with its row's place, or why there is none.
pub type Lines = Box<dyn Iterator<Item = Result<(u64, Result<String, String>)>> + Send>;

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// An answer to a gold one.
    Math,
    /// A solution by its tests.
    Code,
}

/// The columns that a user named, by what they hold.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// A row's name: its `id`, else its place.
    pub id: Option<String>,
    /// What is right.
    pub gold: Option<String>,
    /// A final answer, or code.
    pub answer: Option<String>,
    /// A whole response, or a list of them.
    pub response: Option<String>,
    /// Tests.
    pub tests: Option<String>,
    /// A column of languages; where no column has that name, the language of all.
    pub language: Option<String>,
}

impl Columns {
    /// The rows of `path` as lines, each with its row's place.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a column.
    pub fn lines(&self, path: &Path, judged: Judged) -> Result<Lines> {
        let format = format_of(path)?;
        let known: Vec<String> = columns(path, format)?.into_iter().map(|(name, _)| name).collect();
        let (fields, common) = self.fields(judged, &known).with_context(|| path.display().to_string())?;
        let names: Vec<&str> = fields.iter().map(|(_, column)| column.as_str()).collect();
        let rows = Rows::open(path, format, &names)?;
        let fields: Vec<&'static str> = fields.into_iter().map(|(field, _)| field).collect();
        Ok(Box::new(rows.flat_map(move |row| match row {
            Ok(row) => written(&fields, &common, row).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error.into())],
        })))
    }

    /// The columns that the flags name which every kind of judge has.
    pub fn of(rows: &DataArgs) -> Columns {
        let DataArgs { data: _, id, answer, response } = rows;
        Columns { id: id.clone(), answer: answer.clone(), response: response.clone(), ..Columns::default() }
    }

    /// The fields of a line, each with its column, and what all lines have.
    fn fields(&self, judged: Judged, known: &[String]) -> Result<Fields> {
        let is_there = |name: &str| known.iter().any(|known| known == name);
        let likely = |names: &[&str]| names.iter().find(|name| is_there(name)).map(|name| (*name).to_owned());
        let found = || known.join(", ");
        let (mut fields, mut common) = (Vec::new(), Map::new());
        if let Some(id) = self.id.clone().or_else(|| likely(&["id"])) {
            fields.push(("id", id));
        }
        ensure!(
            self.answer.is_none() || self.response.is_none(),
            "expected one of `--answer` and `--response`, found both"
        );
        let answered = match judged {
            Judged::Math => {
                let gold = self.gold.clone().or_else(|| likely(&GOLD));
                let gold = gold.with_context(|| {
                    format!(
                        "expected a column of right answers ({}), found {}\nhint: name it with `--gold COLUMN`",
                        GOLD.join(", "),
                        found()
                    )
                })?;
                // A column is not judged against itself.
                let answer = || likely(&["answer"]).filter(|answer| *answer != gold).map(|answer| ("answer", answer));
                fields.push(("gold", gold.clone()));
                self.named("answer").or_else(|| likely(&RESPONSE).map(|name| (RESPONSE_FIELD, name))).or_else(answer)
            }
            Judged::Code => {
                let column = |field: &'static str, named: &Option<String>| {
                    let column = named.clone().or_else(|| likely(&[field]));
                    let missing = || {
                        format!("expected a column `{field}`, found {}\nhint: name it with `--{field} COLUMN`", found())
                    };
                    column.map(|column| (field, column)).with_context(missing)
                };
                fields.push(column("tests", &self.tests)?);
                match self.language.as_deref().filter(|name| !is_there(name)).map(language) {
                    Some(of_all) => drop(common.insert("language".to_owned(), of_all?)),
                    None => fields.push(column("language", &self.language)?),
                }
                let code = || likely(&["code"]).map(|name| ("code", name));
                self.named("code").or_else(code).or_else(|| likely(&RESPONSE).map(|name| (RESPONSE_FIELD, name)))
            }
        };
        fields.push(answered.with_context(|| {
            format!(
                "expected a column of responses ({}), found {}\nhint: name it with `--response COLUMN`, or a final answer's or code's with `--answer COLUMN`",
                RESPONSE.join(", "),
                found()
            )
        })?);
        Ok((fields, common))
    }

    /// What the user said is judged; `answer` is the field of what is no whole response.
    fn named(&self, answer: &'static str) -> Option<(&'static str, String)> {
        let response = self.response.clone().map(|name| (RESPONSE_FIELD, name));
        response.or_else(|| self.answer.clone().map(|name| (answer, name)))
    }
}

/// The name of a language.
fn language(name: &str) -> Result<Value> {
    let name = Value::String(name.to_owned());
    serde_json::from_value::<Language>(name.clone())
        .map_err(|error| anyhow::anyhow!("`--language`: expected a column of the file or a language: {error}"))?;
    Ok(name)
}

/// A row as the lines that judge it: one, or as many as there are responses in its list.
fn written(fields: &[&'static str], common: &Map<String, Value>, row: Row) -> Vec<(u64, Result<String, String>)> {
    let place = row.place;
    let cells = match row.cells {
        Ok(cells) => cells,
        Err(unreadable) => return vec![(place, Err(format!("{}: {}", unreadable.reason, unreadable.detail)))],
    };
    let mut line = Map::from_iter([("id".to_owned(), Value::from(place))]);
    line.extend(common.clone());
    let mut responses = None;
    for (field, cell) in fields.iter().zip(cells) {
        let value = match cell {
            // Without an id it is known by its place.
            None if *field == "id" => continue,
            None => Value::Null,
            Some(Cell::Text(text)) if *field == "tests" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Some(Cell::Text(text)) => Value::String(text),
            Some(Cell::Json(json)) => serde_json::from_str(&json).unwrap_or(Value::String(json)),
        };
        match value {
            Value::Array(list) if *field == RESPONSE_FIELD => responses = Some(list),
            value => drop(line.insert((*field).to_owned(), value)),
        }
    }
    let Some(responses) = responses else { return vec![(place, Ok(Value::Object(line).to_string()))] };
    if responses.is_empty() {
        return vec![(place, Err("expected responses, found an empty list".to_owned()))];
    }
    let id = line["id"].clone();
    let each = responses.into_iter().enumerate().map(|(number, response)| {
        line.insert("id".to_owned(), Value::from(vec![id.clone(), Value::from(number)]));
        line.insert(RESPONSE_FIELD.to_owned(), response);
        (place, Ok(Value::Object(line.clone()).to_string()))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, judged: Judged, columns: &Columns) -> Result<Vec<(u64, Result<String, String>)>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, text).expect("rows");
        columns.lines(&path, judged)?.collect()
    }

    #[test]
    fn columns_are_found_by_their_usual_names_and_lists_are_judged_one_by_one() {
        let rows = r#"{"answer": 2.50, "generations": ["a", "b"], "uuid": "x"}
{"answer": "7", "generations": null}
{"answer": "8", "generations": []}
no JSON
"#;
        let named = Columns { id: Some("uuid".to_owned()), ..Columns::default() };
        let read = lines(rows, Judged::Math, &named).expect("lines");
        let said = |place: usize| read[place].1.as_deref().expect("a line");
        assert_eq!(said(0), r#"{"id":["x",0],"gold":"2.50","response":"a"}"#);
        assert_eq!(said(1), r#"{"id":["x",1],"gold":"2.50","response":"b"}"#);
        assert_eq!((read[2].0, said(2)), (2, r#"{"id":2,"gold":"7","response":null}"#), "it is known by its place");
        assert!(read[3].1.as_ref().is_err_and(|wrong| wrong.contains("empty list")), "{read:?}");
        assert!(read[4].1.is_err() && read[4].0 == 4, "{read:?}");
    }

    #[test]
    fn an_answer_is_judged_against_another_column() {
        let read = lines("{\"gold\": \"1\", \"answer\": \"2\"}\n", Judged::Math, &Columns::default()).expect("lines");
        assert_eq!(read[0].1.as_deref(), Ok(r#"{"id":1,"gold":"1","answer":"2"}"#));
        let error = lines("{\"answer\": \"2\"}\n", Judged::Math, &Columns::default()).expect_err("nothing to judge");
        assert!(format!("{error:#}").contains("--response COLUMN"), "{error:#}");
        let error = lines("{\"x\": \"2\"}\n", Judged::Math, &Columns::default()).expect_err("no gold");
        assert!(format!("{error:#}").contains("--gold COLUMN"), "{error:#}");
    }

    #[test]
    fn tests_are_read_as_an_object_or_as_its_text() {
        for tests in [r#"{"kind": "check"}"#, r#""{\"kind\": \"check\"}""#] {
            let row = format!("{{\"language\": \"python\", \"code\": \"1\", \"tests\": {tests}}}\n");
            let read = lines(&row, Judged::Code, &Columns::default()).expect("lines");
            let expected = r#"{"id":1,"tests":{"kind":"check"},"language":"python","code":"1"}"#;
            assert_eq!(read[0].1.as_deref(), Ok(expected));
        }
        let row = "{\"code\": \"1\", \"tests\": {}}\n";
        let columns = |language: &str| Columns { language: Some(language.to_owned()), ..Columns::default() };
        let read = lines(row, Judged::Code, &columns("python")).expect("lines");
        assert_eq!(read[0].1.as_deref(), Ok(r#"{"id":1,"language":"python","tests":{},"code":"1"}"#));
        for (language, expected) in [(Some("cobol"), "unknown variant `cobol`"), (None, "--language COLUMN")] {
            let error = lines(row, Judged::Code, &language.map(columns).unwrap_or_default()).expect_err("no language");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}

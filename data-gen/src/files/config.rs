//! What a recipe says of a file of rows: which column holds what, and how it is written.

use serde::{Deserialize, Serialize};

/// Which column holds what. A column is a name, or names and places in lists with dots between them: `messages.0.content`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Columns {
    /// The question.
    #[serde(default)]
    pub question: Option<String>,
    /// In its place a conversation: a list of turns with `role` and `content`, or with `from` and `value`, or a text with
    /// ChatML's marks. What comes before the assistant's last turn is the question, that turn is a ready trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// A system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
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
    /// Ready traces: whole turns, as a text or a list of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<String>,
    /// The reasoning of each response, where it is in a column of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why each response ended: `stop`, `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reasons: Option<String>,
    /// Columns with what the file claims of each response, e.g. `correctness_math_verify`. It is kept beside the trace, as the
    /// file's word: no verdict of a filter here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// Who wrote the responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
}

impl Columns {
    /// Those of a question alone.
    pub fn question(column: String) -> Columns {
        Columns { question: Some(column), ..Columns::default() }
    }

    /// Those of a conversation.
    pub fn conversation(column: String) -> Columns {
        Columns { conversation: Some(column), ..Columns::default() }
    }

    /// All that are named, each once.
    pub(super) fn named(&self) -> Vec<&str> {
        let mut named: Vec<&str> = Vec::new();
        let columns = [
            &self.question,
            &self.conversation,
            &self.system,
            &self.answer,
            &self.solution,
            &self.options,
            &self.entry_point,
            &self.responses,
            &self.reasoning,
            &self.finish_reasons,
            &self.teacher,
        ];
        for column in columns.into_iter().flatten().chain(&self.claims) {
            if !named.contains(&column.as_str()) {
                named.push(column);
            }
        }
        named
    }

    /// Whether rows bring traces.
    pub fn has_traces(&self) -> bool {
        self.conversation.is_some() || self.responses.is_some()
    }
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
        FileConfig {
            columns: Columns::question(String::new()),
            answer_format: AnswerFormat::default(),
            answer_kind: AnswerKind::default(),
            instruction: None,
            domain: math(),
            licence: None,
            limit: None,
        }
    }

    /// Checks that the columns go together.
    ///
    /// # Errors
    /// A line for each mistake: expected and found.
    pub fn check(&self) -> Result<(), String> {
        let columns = &self.columns;
        let mut wrong = Vec::new();
        match (&columns.question, &columns.conversation) {
            (Some(_), Some(_)) => {
                wrong.push("`columns`: expected `question` or `conversation`, found both".to_owned());
            }
            (None, None) => wrong.push("`columns`: expected `question` or `conversation`, found neither".to_owned()),
            _ => {}
        }
        if columns.conversation.is_some() {
            let apart = [
                ("responses", columns.responses.is_some()),
                ("reasoning", columns.reasoning.is_some()),
                ("options", columns.options.is_some()),
                ("entry-point", columns.entry_point.is_some()),
            ];
            for (key, _) in apart.into_iter().filter(|(_, is_said)| *is_said) {
                wrong.push(format!("`columns`: expected no `{key}` beside `conversation`, found one"));
            }
        }
        let of_responses = [
            ("reasoning", columns.reasoning.is_some()),
            ("finish-reasons", columns.finish_reasons.is_some()),
            ("claims", !columns.claims.is_empty()),
            ("teacher", columns.teacher.is_some()),
        ];
        for (key, _) in of_responses.into_iter().filter(|(_, is_said)| *is_said && !columns.has_traces()) {
            wrong.push(format!("`columns`: expected `responses` or `conversation` beside `{key}`, found neither"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

fn math() -> String {
    "math".to_owned()
}

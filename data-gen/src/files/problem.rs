//! A row as a problem: what is asked, and how its right answer is known.

use super::{AnswerFormat, AnswerKind, Cells, FileConfig};
use distill_dataset::{Message, Problem, Reference, Role, Split, Unreadable};
use serde_json::json;

/// Options that have letters.
const MOST_OPTIONS: usize = 10;

/// The problem of a row, without its id. `before` is what a conversation says before its answer, where there is one.
pub(super) fn read(
    config: &FileConfig,
    file: String,
    before: Option<Vec<Message>>,
    cells: &Cells<'_>,
) -> Result<Problem, Unreadable> {
    let columns = &config.columns;
    let question = cells.named(&columns.question).and_then(|cell| cell.clone().text());
    let mut messages = match (before, question) {
        (Some(before), _) => before,
        (None, Some(question)) => vec![Message::user(question)],
        (None, None) => Vec::new(),
    };
    let asked = messages.iter_mut().rfind(|message| message.role == Role::User);
    let Some(asked) = asked.filter(|message| !message.content.trim().is_empty()) else {
        let nested = cells.named(&columns.question).is_some_and(|cell| cell.clone().text().is_none());
        let detail = if nested { "expected text, found a list or an object" } else { "" };
        return Err(Unreadable::new("no-question", detail));
    };
    let right = right_answer(config, &asked.content, cells)?;
    if columns.options.is_some() {
        let options = cells.said(&columns.options);
        let asked_with = options.and_then(|options| with_options(&asked.content, &options));
        asked.content = asked_with
            .ok_or_else(|| Unreadable::new("no-options", format!("expected a list of 2 to {MOST_OPTIONS} texts")))?;
    }
    if let Some(instruction) = &config.instruction {
        asked.content = format!("{}\n{instruction}", asked.content);
    }
    if let Some(system) = cells.said(&columns.system).filter(|system| !system.is_empty()) {
        if messages.first().is_some_and(|first| first.role == Role::System) {
            return Err(Unreadable::new("two-system-prompts", "one in its own column, one in the conversation"));
        }
        messages.insert(0, Message::system(system));
    }
    Ok(Problem {
        id: String::new(),
        messages,
        domain: config.domain.clone(),
        reference: right.reference,
        answer: right.answer,
        solution: cells.said(&columns.solution).or(right.worked),
        source: file,
        split: Split::Train,
        licence: config.licence.clone(),
    })
}

/// How the right answer is known.
struct Right {
    reference: Reference,
    answer: String,
    /// A worked solution that stands before it.
    worked: Option<String>,
}

fn right_answer(config: &FileConfig, question: &str, cells: &Cells<'_>) -> Result<Right, Unreadable> {
    if config.columns.answer.is_none() {
        return Ok(Right { reference: Reference::None, answer: String::new(), worked: None });
    }
    let answer = cells.said(&config.columns.answer).filter(|answer| !answer.trim().is_empty());
    let answer = answer.ok_or_else(|| Unreadable::new("no-answer", ""))?;
    let reference = match config.answer_kind {
        AnswerKind::Math => Reference::Math,
        AnswerKind::Text => Reference::Text,
        AnswerKind::Choice => Reference::Choice,
        AnswerKind::Tests => Reference::Tests,
    };
    Ok(match config.answer_format {
        AnswerFormat::Plain => Right { reference, answer: answer.trim().to_owned(), worked: None },
        AnswerFormat::Gsm8k => match answer.rsplit_once("####") {
            None => return Err(Unreadable::new("no-answer-mark", "expected `#### ` before the answer")),
            Some((worked, right)) => {
                Right { reference, answer: right.trim().to_owned(), worked: Some(worked.trim().to_owned()) }
            }
        },
        AnswerFormat::HumanEval => {
            let name = cells.said(&config.columns.entry_point);
            let name = name.ok_or_else(|| {
                Unreadable::new("no-entry-point", "expected a function's name in `columns.entry-point`")
            })?;
            let tests = json!({"kind": "check", "entry_point": name, "starter": question, "check": answer});
            let answer = json!({"language": "python", "tests": tests}).to_string();
            Right { reference: Reference::Tests, answer, worked: None }
        }
    })
}

/// A question with its options beneath it, each on a line with its letter.
fn with_options(question: &str, options: &str) -> Option<String> {
    let options: Vec<String> = serde_json::from_str(options).ok()?;
    if !(2..=MOST_OPTIONS).contains(&options.len()) {
        return None;
    }
    let lines = ('A'..).zip(&options).map(|(letter, option)| format!("\n{letter}. {}", option.replace('\n', " ")));
    Some(lines.fold(question.to_owned(), |text, line| text + &line))
}

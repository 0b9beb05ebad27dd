//! A checkpoint, or a model behind an endpoint, evaluated on a file of problems: a recipe of one stage that nobody has to
//! write. From what was typed comes the recipe's text; from there on it is a recipe like any other, with a run of its own.

use crate::{
    alone::{format_of, text_columns},
    cli::EvaluateArgs,
    recipe::Recipe,
};
use anyhow::{Context, Result, ensure};
use distill_data_gen::FileFormat;
use std::{fmt::Write, path::Path};

/// Columns that hold a right answer, the likeliest first.
const ANSWER_COLUMNS: [&str; 7] = ["answer", "final_answer", "gold", "target", "expected", "label", "solution"];

/// The recipe that compares what was typed on a file.
///
/// # Errors
/// When nobody or too much is named to answer, or the file lacks a column.
pub fn recipe(args: &EvaluateArgs) -> Result<Recipe> {
    let file = &args.recipe.recipe;
    let text = text(args, file)?;
    let overrides = &args.recipe.overrides;
    Recipe::of_text(&text, Path::new("evaluate.toml"), overrides)
}

/// The recipe's text.
fn text(args: &EvaluateArgs, file: &Path) -> Result<String> {
    let format = format_of(file)?;
    let known = distill_dataset::columns(file, format)?;
    let question = text_columns(file, &known, args.question.as_deref(), "`--question COLUMN`")?;
    let (role, question) = match &question.conversation {
        Some(conversation) => ("conversation", conversation),
        None => ("question", question.question.as_ref().context("expected a column of questions")?),
    };
    let columns: Vec<&str> = known.iter().filter(|(_, is_text)| *is_text).map(|(name, _)| name.as_str()).collect();
    let candidates = args.answer.as_deref().map_or_else(|| ANSWER_COLUMNS.to_vec(), |answer| vec![answer]);
    let answer = candidates.iter().find(|name| columns.contains(*name)).with_context(|| {
        format!(
            "{}: expected a column of right answers ({}), found {}\nhint: name it with `--answer COLUMN`",
            file.display(),
            candidates.join(", "),
            columns.join(", ")
        )
    })?;
    let (subject, who) = subject(args)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let path = std::path::absolute(file).with_context(|| format!("cannot find {}", file.display()))?;
    let kind = if format == FileFormat::Jsonl { "jsonl" } else { "parquet" };
    let mut text = format!("name = {}\nseed = 17\n\n[evaluation]\n", quoted(&safe(&format!("{stem}-{subject}"))));
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "samples-per-problem = 1\ntemperature = 0.6\ntop-p = 0.95\nmax-new-tokens = 4096\nproblems = {{ {kind} = {}, columns = {{ {role} = {}, answer = {} }} }}\n\n[[evaluation.subjects]]\nname = {}\n{who}",
        quoted(&path.to_string_lossy()),
        quoted(question),
        quoted(answer),
        quoted(&subject),
    );
    Ok(text)
}

/// Who answers: a name for scores, and what the recipe says of it.
fn subject(args: &EvaluateArgs) -> Result<(String, String)> {
    match (&args.checkpoint, &args.endpoint) {
        (Some(dir), None) => {
            ensure!(args.model.is_none(), "`--model` is for `--endpoint`: expected none beside `--checkpoint`");
            let path = std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Ok((named(&name), format!("local = {}\n", quoted(&path.to_string_lossy()))))
        }
        (None, Some(url)) => {
            let model = args.model.as_deref().context(
                "`--endpoint`: expected `--model NAME` beside it, found none\nhint: the name under which the endpoint serves it",
            )?;
            let mut who = format!("http = {{ url = {}, model = {}", quoted(url), quoted(model));
            if let Some(name) = &args.api_key_env {
                let _ = write!(who, ", api-key-env = {}", quoted(name));
            }
            Ok((named(model.rsplit('/').next().unwrap_or(model)), who + " }\n"))
        }
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            anyhow::bail!("expected `--checkpoint DIR` or `--endpoint URL --model NAME`, found {found}")
        }
    }
}

/// A name that no subject of a run's own has.
fn named(name: &str) -> String {
    let name = safe(name);
    if ["before", "after", "teacher"].contains(&name.as_str()) { format!("{name}-model") } else { name }
}

/// Letters that a run's folder may have.
fn safe(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(safe).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

/// TOML's basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

//! A checkpoint, or a model behind an endpoint, evaluated on a file of problems: a recipe of one stage that nobody has to
//! write. From what was typed comes the recipe's text; from there on it is a recipe like any other, with a run of its own: its
//! name ends in a digest of all that was typed and of the checkpoint's content, so that no two evaluations share a run.

use crate::{
    alone::{format_of, text_columns},
    cli::EvaluateArgs,
    identity::Outside,
    recipe::Recipe,
};
use anyhow::{Context, Result, ensure};
use distill_data_gen::FileFormat;
use distill_dataset::Digest;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// Digits of the digest in a run's name.
const NAME_DIGITS: usize = 6;

/// Columns that hold a right answer, the likeliest first.
const ANSWER_COLUMNS: [&str; 7] = ["answer", "final_answer", "gold", "target", "expected", "label", "solution"];

/// The recipe that compares what was typed on a file.
///
/// # Errors
/// When nobody or too much is named to answer, or the file lacks a column.
pub fn recipe(args: &EvaluateArgs) -> Result<Recipe> {
    let (file, overrides) = (&args.recipe.recipe, &args.recipe.overrides);
    let (subject, who) = subject(args)?;
    let text = text(args, file, (&subject, &who))?;
    let mut typed = Digest::new("evaluated");
    typed.field(&text);
    for change in overrides {
        typed.field(change);
    }
    if let Some(dir) = &args.checkpoint {
        // Another training may have put another model where this one was.
        typed.field(&Outside::read(&args.recipe.place.store).checkpoint(dir)?);
    }
    let stem = safe(&file.file_stem().unwrap_or_default().to_string_lossy());
    let digest: String = typed.finish_short().chars().take(NAME_DIGITS).collect();
    let name = format!("{stem}-{subject}-{digest}");
    let recipe = Recipe::of_text(&format!("name = {}\n{text}", quoted(&name)), Path::new("evaluate.toml"), overrides)?;
    Ok(Recipe { path: told(args, file), ..recipe })
}

/// What was typed, for people, in place of a recipe's file.
fn told(args: &EvaluateArgs, file: &Path) -> PathBuf {
    let endpoint = args.endpoint.iter().map(|url| format!("{} at {url}", args.model.as_deref().unwrap_or_default()));
    let who = args.checkpoint.iter().map(|dir| dir.display().to_string()).chain(endpoint).collect::<String>();
    PathBuf::from(format!("{} by {who}", file.display()))
}

/// The recipe's text without its name.
fn text(args: &EvaluateArgs, file: &Path, (subject, who): (&str, &str)) -> Result<String> {
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
    let path = std::path::absolute(file).with_context(|| format!("cannot find {}", file.display()))?;
    let kind = if format == FileFormat::Jsonl { "jsonl" } else { "parquet" };
    let mut text = "seed = 17\n\n[evaluation]\n".to_owned();
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "samples-per-problem = 1\ntemperature = 0.6\ntop-p = 0.95\nmax-new-tokens = 4096\nproblems = {{ {kind} = {}, columns = {{ {role} = {}, answer = {} }} }}\n\n[[evaluation.subjects]]\nname = {}\n{who}",
        quoted(&path.to_string_lossy()),
        quoted(question),
        quoted(answer),
        quoted(subject),
    );
    Ok(text)
}

/// Who answers: a name for scores, and what the recipe says of it.
fn subject(args: &EvaluateArgs) -> Result<(String, String)> {
    match (&args.checkpoint, &args.endpoint) {
        (Some(dir), None) => {
            let of_endpoint = args.model.is_none() && args.served_as.is_none();
            ensure!(
                of_endpoint,
                "`--model` and `--served-as` are for `--endpoint`: expected neither beside `--checkpoint`"
            );
            let path = std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Ok((named(&name), format!("local = {}\n", quoted(&path.to_string_lossy()))))
        }
        (None, Some(url)) => {
            let model = args.model.as_deref().context(
                "`--endpoint`: expected `--model NAME` beside it, found none\nhint: the name under which the endpoint serves it",
            )?;
            let mut who = format!("http = {{ url = {}, model = {}", quoted(url), quoted(model));
            for (key, said) in [("api-key-env", &args.api_key_env), ("served-as", &args.served_as)] {
                if let Some(said) = said {
                    let _ = write!(who, ", {key} = {}", quoted(said));
                }
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

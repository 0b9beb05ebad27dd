//! What a student is taught, as it sees it: examples rendered with the chat template, token for token, with what carries
//! loss told apart. Ids of traces in, text out.

use crate::{cli::ShowArgs, terminal::printable, view::View};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::{Dataset, Example};
use std::{fmt::Write, path::PathBuf};

/// How what carries loss is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// In green; the rest dim.
    Colours,
    /// Between ⟦ and ⟧.
    Brackets,
}

/// What `distill show --rendered` prints.
///
/// # Errors
/// When the run has no examples yet, no chat folder is at hand, or no example has that id.
pub fn rendered(view: &View, args: &ShowArgs, marks: Marks) -> Result<String> {
    view.of("examples").next().context("no examples yet\nhint: `distill filter RECIPE` makes them")?;
    let folder = chat_folder(view, args)?;
    let chat = Chat::load_with(&folder, args.chat_template.as_deref())?;
    let mut text = String::new();
    let mut found = 0;
    for example in view.of("examples").flat_map(Dataset::rows::<Example>) {
        let example = example?;
        if found == args.limit {
            break;
        }
        if args.id.as_ref().is_some_and(|id| !example.trace_id.starts_with(id.as_str())) {
            continue;
        }
        found += 1;
        describe(&example, &chat, marks, &mut text)?;
    }
    if found == 0 {
        bail!("no example of this run has an id that begins with `{}`", args.id.as_deref().unwrap_or_default());
    }
    Ok(text)
}

/// The folder whose template is meant: the one that is named, or the base that the run made.
fn chat_folder(view: &View, args: &ShowArgs) -> Result<PathBuf> {
    if let Some(folder) = &args.chat {
        return Ok(folder.clone());
    }
    let made = view.of("base").next();
    let made =
        made.context("this run's student starts from a folder outside of it\nhint: name that with --chat FOLDER")?;
    // Its weights say nothing here.
    made.verify_those(|name| !name.ends_with(".safetensors"))?;
    Ok(made.dir.clone())
}

fn describe(example: &Example, chat: &Chat, marks: Marks, text: &mut String) -> Result<()> {
    let tokens = match chat.encode_example(&example.messages) {
        Ok(tokens) => tokens,
        Err(error) => {
            let _ =
                writeln!(text, "trace {}: cannot be trained on: {}\n", example.trace_id, printable(&error.to_string()));
            return Ok(());
        }
    };
    let learnt = tokens.loss.iter().filter(|loss| **loss).count();
    let _ = writeln!(
        text,
        "trace {} ({} tokens, {learnt} carry loss, weight {})",
        example.trace_id,
        tokens.ids.len(),
        example.weight
    );
    let mut start = 0;
    for run in tokens.loss.chunk_by(|a, b| a == b) {
        let part = printable(&chat.decode(&tokens.ids[start..start + run.len()])?);
        start += run.len();
        let _ = match (marks, run[0]) {
            (Marks::Colours, true) => write!(text, "\u{1b}[32m{part}\u{1b}[0m"),
            (Marks::Colours, false) => write!(text, "\u{1b}[2m{part}\u{1b}[0m"),
            (Marks::Brackets, true) => write!(text, "⟦{part}⟧"),
            (Marks::Brackets, false) => write!(text, "{part}"),
        };
    }
    text.push_str("\n\n");
    Ok(())
}

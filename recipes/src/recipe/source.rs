//! A recipe's text as TOML, with `--set` overrides laid over it.

use super::diagnostic::{Diagnostic, RecipeError, Source};
use crate::explained::Misused;
use distill_dataset::read_regular_text;
use std::{ops::Range, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Most bytes of a recipe.
const MAX_BYTES: u64 = 1 << 24;

/// The text of the file, followed by one line for each override.
///
/// # Errors
/// When the file cannot be read as UTF-8 text.
pub fn read(path: &Path, overrides: &[String]) -> anyhow::Result<Source> {
    let text = read_regular_text(path, MAX_BYTES).map_err(|error| {
        let hint = if path.is_dir() { "\nhint: name the .toml file inside it" } else { "" };
        Misused(format!("cannot read the recipe {}: {error}{hint}", path.display()))
    })?;
    Ok(laid(path, text, overrides))
}

/// A recipe's text, followed by one line for each override.
pub fn laid(path: &Path, mut text: String, overrides: &[String]) -> Source {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let file_end = text.len();
    overrides.iter().for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    Source { path: path.to_owned(), text, file_end }
}

/// Parses the file and lays the overrides over it. Overrides keep their place behind the file's end.
///
/// # Errors
/// Every syntax error at once.
pub fn parse(source: &Source) -> Result<Spanned<DeTable<'_>>, RecipeError> {
    let mut diagnostics = Vec::new();
    let (mut root, errors) = DeTable::parse_recoverable(&source.text[..source.file_end]);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        diagnostics.push(Diagnostic { span, message: format!("not valid TOML: {}", error.message()), help: None });
    }
    let mut start = source.file_end;
    for line in source.text[source.file_end..].lines() {
        let place = start..start + line.len();
        let laid = match line.split_once('=') {
            Some((path, value)) => lay(root.get_mut(), path.trim(), parse_value(value, start + path.len() + 1), &place),
            None => Err("expected KEY=VALUE, e.g. student.training.epochs=2".to_owned()),
        };
        if let Err(message) = laid {
            diagnostics.push(Diagnostic { span: place, message: format!("--set {line}: {message}"), help: None });
        }
        start += line.len() + 1;
    }
    if diagnostics.is_empty() { Ok(root) } else { Err(RecipeError { source: source.clone(), diagnostics }) }
}

/// The value of an override: TOML where it is TOML, else the text itself, so that quotes are not needed for names.
fn parse_value(text: &str, start: usize) -> Spanned<DeValue<'_>> {
    let trimmed = text.trim();
    match DeValue::parse(trimmed) {
        Ok(value) => moved(value, start + (text.len() - text.trim_start().len())),
        Err(_) => Spanned::new(start..start + text.len(), DeValue::String(trimmed.into())),
    }
}

/// Moves the places of a value behind the file's end.
fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span().start + by..value.span().end + by;
    let inner = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|value| moved(value, by)).collect()),
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                let span = key.span().start + by..key.span().end + by;
                (Spanned::new(span, key.into_inner()), moved(value, by))
            });
            DeValue::Table(entries.collect())
        }
        other => other,
    };
    Spanned::new(span, inner)
}

/// Puts `value` at the dotted `path`; a number steps into a list.
pub(super) fn lay<'s>(
    root: &mut DeTable<'s>,
    path: &str,
    value: Spanned<DeValue<'s>>,
    place: &Range<usize>,
) -> Result<(), String> {
    let mut table = root;
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        if key.is_empty() {
            return Err(format!("`{path}` has an empty part"));
        }
        if keys.peek().is_none() {
            table.insert(Spanned::new(place.clone(), key.to_owned().into()), value);
            return Ok(());
        }
        if !table.contains_key(key) {
            table.insert(
                Spanned::new(place.clone(), key.to_owned().into()),
                Spanned::new(place.clone(), DeValue::Table(DeTable::new())),
            );
        }
        let child = table.get_mut(key).ok_or_else(|| format!("`{key}` cannot be set"))?.get_mut();
        table = match child {
            DeValue::Table(table) => table,
            DeValue::Array(array) => {
                let length = array.len();
                let index = keys.next().unwrap_or_default();
                let item = index.parse().ok().and_then(|index: usize| array.get_mut(index));
                match item.map(Spanned::get_mut) {
                    Some(DeValue::Table(table)) => table,
                    _ => {
                        return Err(format!(
                            "`{key}` is a list of {length}: expected `{key}.0` to `{key}.{}`, found `{key}.{index}`",
                            length.saturating_sub(1)
                        ));
                    }
                }
            }
            other => return Err(format!("`{key}` is a {}, not a table", other.type_str())),
        };
    }
    Ok(())
}

//! What is wrong with a recipe: every mistake with its place, the offending text and what would have been right.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::{fmt, ops::Range, path::PathBuf};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Bytes of the recipe's text that it concerns.
    pub span: Range<usize>,
    /// What is wrong: expected and found.
    pub message: String,
    /// What would have been right.
    pub help: Option<String>,
}

/// A recipe's text, and behind it the `--set` overrides, so that one offset names a place in either.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its text, padded with one line for each override.
    pub text: String,
    /// Where the file's own text ends.
    pub file_end: usize,
}

/// All mistakes of a recipe at once.
#[derive(Clone, Debug)]
pub struct RecipeError {
    /// Where they are.
    pub source: Source,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl RecipeError {
    /// The report for a terminal, in colour if asked for.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut report = String::new();
        for diagnostic in &self.diagnostics {
            let in_file = diagnostic.span.start < self.source.file_end;
            let origin = if in_file { self.source.path.display().to_string() } else { "command line".to_owned() };
            let (base, text) = match in_file {
                true => (0, &self.source.text[..self.source.file_end]),
                false => (self.source.file_end, &self.source.text[self.source.file_end..]),
            };
            let span =
                first_line(text, diagnostic.span.start.saturating_sub(base)..diagnostic.span.end.saturating_sub(base));
            let snippet = Snippet::source(text).path(origin).annotation(AnnotationKind::Primary.span(span));
            let mut group = Level::ERROR.primary_title(&diagnostic.message).element(snippet);
            if let Some(help) = &diagnostic.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            report.push_str(&renderer.render(&[group]));
            report.push_str("\n\n");
        }
        let count = self.diagnostics.len();
        let errors = if count == 1 { "1 error" } else { &format!("{count} errors") };
        report + &format!("{}: {errors}; nothing was run", self.source.path.display())
    }
}

/// A place that spans a whole table is shown by its first line, inside the text and on character boundaries.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let end = floor(span.end).clamp(start, line_end);
    start..end.max((start + 1).min(line_end))
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for RecipeError {}

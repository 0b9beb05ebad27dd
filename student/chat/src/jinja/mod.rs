//! Jinja2 as Transformers runs chat templates: blocks trimmed, loops with `break` and `continue`, `{% generation %}`, in the
//! sandbox in which nothing can be changed. What is computed are Python's values (`value.rs`), by Python's rules.
//!
//! Templates are untrusted. There are general engines; none of them bounds memory and stack, and their values are not
//! Python's wherever templates look closely. A run here has a budget of steps, of bytes and of depth.

mod ast;
mod checks;
mod compute;
mod expressions;
mod filters;
mod format;
mod functions;
mod lexer;
mod methods;
mod number;
mod parser;
mod run;
mod sequences;
mod text;
mod tojson;
mod value;

pub(crate) use run::Run;
pub(crate) use value::{Fault, Value};

use ast::Statement;
use std::sync::Arc;

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Source {
    statements: Vec<Statement>,
}

impl Source {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub(crate) fn parse(source: &str) -> Result<Source, Fault> {
        Ok(Source { statements: parser::parse(source)? })
    }

    /// Renders it with these names, whose texts have `size` bytes; `mark` stands around what the assistant generates.
    ///
    /// # Errors
    /// What the template raised, or what it did wrong, and in which line.
    pub(crate) fn render(&self, names: Vec<(Arc<str>, Value)>, size: usize, mark: &str) -> Result<String, Fault> {
        Run::new(names, size, mark).render(&self.statements)
    }
}

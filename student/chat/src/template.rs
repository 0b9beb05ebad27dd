//! Chat templates as Transformers renders them: Jinja2 with trimmed blocks, `tojson` as Python writes JSON,
//! `raise_exception`, `strftime_now`, and `{% generation %}` blocks whose places are reported instead of ignored.
//!
//! Templates are untrusted: they run with fuel, see nothing but the conversation and the special tokens, and the clock
//! stands still, so that a recipe renders the same text tomorrow.

use crate::{ChatError, json};
use distill_dataset::Message;
use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig};
use std::{collections::BTreeMap, ops::Range};

/// Stands where a generation block begins or ends until rendering is over. Conversations that contain it are refused.
const MARK: &str = "\u{f8ff}distill-generation\u{f8ff}";

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text that is tokenised.
    pub text: String,
    /// Bytes that the assistant generated, end of turn included: where the loss lies.
    pub generation: Vec<Range<usize>>,
}

/// The day that `strftime_now` tells: the default date of Llama 3.1's template.
const TODAY: jiff::civil::DateTime = jiff::civil::datetime(2024, 7, 26, 0, 0, 0, 0);

/// Special tokens by the name under which templates know them, e.g. `bos_token`.
pub(crate) type SpecialTokens = BTreeMap<&'static str, String>;

pub(crate) struct Template {
    environment: Environment<'static>,
    specials: SpecialTokens,
}

impl Template {
    pub(crate) fn compile(source: &str, specials: SpecialTokens) -> Result<Template, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", json::tojson);
        environment.add_function("strftime_now", |format: String| {
            jiff::fmt::strtime::format(&format, TODAY)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
        });
        environment.set_fuel(Some(10_000_000));
        environment.add_template_owned("chat", mark_generation(source)).map_err(failed)?;
        Ok(Template { environment, specials })
    }

    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendered, ChatError> {
        if messages.iter().any(|message| message.content.contains(MARK)) {
            return Err(ChatError::Example("a message contains the mark of generation blocks".to_owned()));
        }
        let template = self.environment.get_template("chat").map_err(failed)?;
        let none = || Value::from(());
        let mut names: BTreeMap<&str, Value> = BTreeMap::from([
            ("messages", conversation(messages)),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", none()),
            ("documents", none()),
        ]);
        names.extend(self.specials.iter().map(|(name, token)| (*name, Value::from(token.as_str()))));
        let marked = template.render(names).map_err(failed)?;
        let mut rendered = Rendered { text: String::with_capacity(marked.len()), generation: Vec::new() };
        let mut open = None;
        for (index, piece) in marked.split(MARK).enumerate() {
            let here = rendered.text.len();
            if index > 0 {
                open = match open {
                    None => Some(here),
                    Some(start) => {
                        rendered.generation.push(start..here);
                        None
                    }
                };
            }
            rendered.text.push_str(piece);
        }
        Ok(rendered)
    }
}

/// The messages as a template sees them: dictionaries with `role` and `content`.
fn conversation(messages: &[Message]) -> Value {
    let message = |message: &Message| context! { role => message.role.as_str(), content => message.content.as_str() };
    messages.iter().map(message).collect()
}

fn failed(error: Error) -> ChatError {
    ChatError::Template(format!("{error:#}"))
}

/// Replaces the tags of generation blocks by marks, trimming around them as Jinja2 trims around block tags.
fn mark_generation(source: &str) -> String {
    let mut marked = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        // The end is looked for behind the beginning: `{%}` is neither.
        let Some(length) = rest[at + 2..].find("%}").map(|end| end + 4) else { break };
        let tag = &rest[at..at + length];
        let inner = tag[2..length - 2].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        if inner != "generation" && inner != "endgeneration" {
            marked.push_str(&rest[..at + length]);
            rest = &rest[at + length..];
            continue;
        }
        marked.push_str(&rest[..at]);
        rest = &rest[at + length..];
        let line_start = marked.rfind('\n').map_or(0, |newline| newline + 1);
        if tag.starts_with("{%-") {
            marked.truncate(marked.trim_end().len());
        } else if marked[line_start..].chars().all(|c| c == ' ' || c == '\t') {
            marked.truncate(line_start);
        }
        rest = if tag.ends_with("-%}") { rest.trim_start() } else { rest.strip_prefix('\n').unwrap_or(rest) };
        marked.push_str("{{ '");
        marked.push_str(MARK);
        marked.push_str("' }}");
    }
    marked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_byte_ranges() {
        let source = "{% for m in messages %}\n<{{ m.role }}>\n  {% generation %}\n{{ m.content }};\n  {% endgeneration %}\n{% endfor %}";
        let template = Template::compile(source, SpecialTokens::new()).expect("a template");
        let rendered = template.render(&[Message::user("ü"), Message::assistant("b")], false).expect("a rendering");
        assert_eq!(rendered.text, "<user>\nü;\n<assistant>\nb;\n");
        let spans: Vec<&str> = rendered.generation.iter().map(|span| &rendered.text[span.clone()]).collect();
        assert_eq!(spans, ["ü;\n", "b;\n"]);
    }

    #[test]
    fn broken_tags_are_errors() {
        for source in
            ["{%}", "{%%}", "{% generation", "{%-%}", "{% %}", "{%}{% generation %}%}", "{% endgeneration %}{%"]
        {
            let rendered =
                Template::compile(source, SpecialTokens::new()).and_then(|template| template.render(&[], false));
            assert!(rendered.is_err() || rendered.is_ok_and(|rendered| rendered.generation.is_empty()), "{source:?}");
        }
    }

    #[test]
    fn a_message_cannot_forge_a_generation_block() {
        let template = Template::compile("{{ messages[0].content }}", SpecialTokens::new()).expect("a template");
        assert!(template.render(&[Message::user(MARK)], false).is_err());
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let template = Template::compile(
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
            SpecialTokens::new(),
        );
        assert!(template.expect("a template").render(&[Message::user("")], false).is_err());
    }
}

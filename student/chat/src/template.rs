//! A conversation and a chat template → the text that is tokenised, and where the assistant speaks: `{% generation %}`
//! blocks are reported instead of ignored.
//!
//! Templates are untrusted: they see nothing but the conversation and the special tokens, and run within the limits of
//! `jinja/`.

use crate::{
    ChatError,
    jinja::{Fault, Source, Value},
};
use distill_dataset::Message;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

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

/// Special tokens by the name under which templates know them, e.g. `bos_token`.
pub(crate) type SpecialTokens = BTreeMap<&'static str, String>;

pub(crate) struct Template {
    source: Source,
    specials: SpecialTokens,
}

impl Template {
    pub(crate) fn compile(source: &str, specials: SpecialTokens) -> Result<Template, ChatError> {
        Ok(Template { source: Source::parse(source).map_err(failed)?, specials })
    }

    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendered, ChatError> {
        if messages.iter().any(|message| message.content.contains(MARK)) {
            return Err(ChatError::Example("a message contains the mark of generation blocks".to_owned()));
        }
        let mut names: Vec<(Arc<str>, Value)> = vec![
            ("messages".into(), conversation(messages).map_err(failed)?),
            ("add_generation_prompt".into(), Value::Bool(add_generation_prompt)),
            ("tools".into(), Value::None),
            ("documents".into(), Value::None),
        ];
        names.extend(self.specials.iter().map(|(name, token)| ((*name).into(), Value::str(token.as_str()))));
        let size = messages.iter().map(|message| message.content.len()).sum();
        let marked = self.source.render(names, size, MARK).map_err(failed)?;
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
fn conversation(messages: &[Message]) -> Result<Value, Fault> {
    let message = |message: &Message| {
        let role = (Value::str("role"), Value::str(message.role.as_str()));
        Value::dict(vec![role, (Value::str("content"), Value::str(message.content.as_str()))])
    };
    Value::list(messages.iter().map(message).collect::<Result<_, _>>()?)
}

fn failed(fault: Fault) -> ChatError {
    ChatError::Template(match fault.line {
        0 => fault.message,
        line => format!("line {line}: {}", fault.message),
    })
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

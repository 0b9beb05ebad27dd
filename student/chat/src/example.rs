//! Training examples: a conversation in, tokens with their loss mask out. What would silently ruin a training run is
//! refused here: stripped reasoning, an empty mask, an end of turn outside the loss, a doubled BOS.

use crate::{Chat, ChatError, Rendered};
use distill_dataset::{Message, Role};

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenisedExample {
    /// Tokens, in order.
    pub ids: Vec<u32>,
    /// Whether the token at the same place is learnt.
    pub loss: Vec<bool>,
}

impl Chat {
    /// A conversation → tokens and mask: the loss lies on the assistant's text and its end of turn.
    ///
    /// # Errors
    /// When the template would train on something else than was meant; the message says what.
    pub fn encode_example(&self, messages: &[Message]) -> Result<TokenisedExample, ChatError> {
        let rendered = self.render(messages, false)?;
        if rendered.generation.is_empty() {
            return Err(wrong(
                "the template has no {% generation %} block: nothing would be learnt\nhint: use a training variant of the template that marks the assistant's turns",
            ));
        }
        for message in messages.iter().filter(|message| message.role == Role::Assistant) {
            if !rendered.generation.iter().any(|span| rendered.text[span.clone()].contains(&message.content)) {
                return Err(wrong(
                    "the template changes the assistant's turn (does it strip the reasoning?)\nhint: use a training variant of the template that keeps the turn whole",
                ));
            }
        }
        self.refuse_unstable_prefix(messages, &rendered.text)?;
        self.refuse_specials(messages)?;
        let example = self.mask(&rendered)?;
        self.check(&example)?;
        Ok(example)
    }

    /// Every turn of the assistant must be learnt after the prompt that it will be asked with: the conversation before it,
    /// rendered for generation, has to be what the whole begins with.
    fn refuse_unstable_prefix(&self, messages: &[Message], whole: &str) -> Result<(), ChatError> {
        for (index, _) in messages.iter().enumerate().skip(1).filter(|(_, message)| message.role == Role::Assistant) {
            let prompt = self.render(&messages[..index], true)?.text;
            if !whole.starts_with(&prompt) {
                let turn = messages[..=index].iter().filter(|message| message.role == Role::Assistant).count();
                return Err(wrong(&format!(
                    "the template is not prefix-preserving: what is asked before the assistant's turn {turn} is not what the whole conversation begins with\nhint: use a training variant of the template that renders earlier turns as they were answered, or one example for each turn"
                )));
            }
        }
        Ok(())
    }

    /// A token is learnt when it begins inside a generated range.
    fn mask(&self, rendered: &Rendered) -> Result<TokenisedExample, ChatError> {
        let encode = || self.tokenizer.encode(rendered.text.as_str(), false);
        let encoding = crate::tokens::guarded("encoding a text", encode)?;
        let mut spans = rendered.generation.iter().peekable();
        let mut inside = |start: usize| {
            while spans.next_if(|span| span.end <= start).is_some() {}
            spans.peek().is_some_and(|span| span.contains(&start))
        };
        let loss = encoding.get_offsets().iter().map(|(start, _)| inside(*start)).collect();
        Ok(TokenisedExample { ids: encoding.get_ids().to_vec(), loss })
    }

    fn check(&self, example: &TokenisedExample) -> Result<(), ChatError> {
        let Some(last) = example.loss.iter().rposition(|loss| *loss) else {
            return Err(wrong("no token carries loss"));
        };
        let ends = example.loss[..=last].iter().zip(&example.ids[..=last]).rev().take_while(|(loss, _)| **loss).take(2);
        if !ends.into_iter().any(|(_, id)| self.eos_ids.contains(id)) {
            return Err(wrong(
                "the end of turn carries no loss: the student would never learn to stop\nhint: put the end-of-turn token inside the {% generation %} block",
            ));
        }
        if example.ids.len() > 1 && example.ids[0] == example.ids[1] {
            return Err(wrong("the text begins with the same token twice (a doubled BOS?)"));
        }
        Ok(())
    }
}

fn wrong(message: &str) -> ChatError {
    ChatError::Example(message.to_owned())
}

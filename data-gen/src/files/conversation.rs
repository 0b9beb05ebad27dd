//! A conversation: what was said before the assistant's last turn, and that turn. ShareGPT's turns, OpenAI's messages and
//! ChatML are read; what the records cannot hold (tools, pictures, roles that nobody knows) is refused with its reason.

use distill_dataset::{Cell, Message, Role, TurnFormat, Unreadable};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A conversation, cut before its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Conversation {
    /// Up to the last question.
    pub(super) before: Vec<Message>,
    /// The assistant's last turn, exactly; nothing where the last word is the user's.
    pub(super) response: Option<String>,
}

/// Reads a conversation.
///
/// # Errors
/// Why it is none that the records can hold.
pub(super) fn read(cell: &Cell) -> Result<Conversation, Unreadable> {
    let mut turns = match cell {
        Cell::Json(json) => of_json(json)?,
        Cell::Text(text) if text.trim_start().starts_with('[') => of_json(text)?,
        Cell::Text(text) => of_chatml(text)?,
    };
    let response = turns.pop_if(|last| last.role == Role::Assistant).map(|last| last.content);
    let spoken = turns.iter().skip_while(|turn| turn.role == Role::System).collect::<Vec<_>>();
    if turns.len() - spoken.len() > 1 || spoken.iter().any(|turn| turn.role == Role::System) {
        return Err(Unreadable::new("system-turn", "expected one system prompt at most, and it first"));
    }
    match (spoken.first(), spoken.last()) {
        (None, _) | (_, None) => Err(Unreadable::new("no-question", "expected a turn of the user")),
        (Some(first), _) if first.role != Role::User => {
            Err(Unreadable::new("assistant-first", "expected the user's turn before the assistant's"))
        }
        (_, Some(last)) if last.role != Role::User => Err(Unreadable::new(
            "turns-in-a-row",
            "expected the user's turn before the assistant's last, found another",
        )),
        _ if spoken.iter().any(|turn| turn.content.trim().is_empty()) => {
            Err(Unreadable::new("empty-turn", "expected text in every turn before the last answer"))
        }
        _ => Ok(Conversation { before: turns, response }),
    }
}

/// A turn as somebody wrote it down.
#[derive(Deserialize)]
struct Turn<'t> {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default, borrow)]
    content: Option<&'t RawValue>,
    #[serde(default, borrow)]
    value: Option<&'t RawValue>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default, borrow)]
    tool_calls: Option<&'t RawValue>,
    #[serde(default, borrow)]
    function_call: Option<&'t RawValue>,
}

/// A part of a turn, in OpenAI's long form.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

fn of_json(json: &str) -> Result<Vec<Message>, Unreadable> {
    let turns: Vec<Turn<'_>> = serde_json::from_str(json).map_err(|error| {
        let expected = "expected a list of turns with `role` and `content`, or `from` and `value`, found";
        Unreadable::new("no-conversation", format!("{expected}: {error}"))
    })?;
    turns.into_iter().map(message).collect()
}

fn message(turn: Turn<'_>) -> Result<Message, Unreadable> {
    let name = turn.role.or(turn.from);
    let name = name
        .ok_or_else(|| Unreadable::new("no-conversation", "expected `role` or `from` in every turn, found neither"))?;
    let role = role(&name)?;
    let calls = |value: Option<&RawValue>| value.is_some_and(|raw| !matches!(raw.get(), "null" | "[]" | "{}"));
    if calls(turn.tool_calls) || calls(turn.function_call) {
        return Err(Unreadable::new("tool-turn", format!("a call of a tool in a turn of {name:?}")));
    }
    let said = match turn.content.or(turn.value).map(RawValue::get) {
        None | Some("null") => String::new(),
        Some(text) if text.starts_with('"') => {
            serde_json::from_str(text).map_err(|error| Unreadable::new("no-conversation", error.to_string()))?
        }
        Some(parts) => match serde_json::from_str::<Vec<Part>>(parts).as_deref() {
            Ok([Part { kind, text: Some(text) }]) if kind == "text" => text.clone(),
            _ => {
                return Err(Unreadable::new(
                    "not-text",
                    format!("expected a turn of one text, found another in {name:?}"),
                ));
            }
        },
    };
    let content = match turn.reasoning_content.filter(|reasoning| !reasoning.is_empty()) {
        // As an endpoint's answer that comes in two parts.
        Some(reasoning) if role == Role::Assistant => TurnFormat::default().join(&reasoning, &said),
        _ => said,
    };
    Ok(Message { role, content })
}

fn role(name: &str) -> Result<Role, Unreadable> {
    match name.to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" | "human" | "prompter" => Ok(Role::User),
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "bing" | "bard" => Ok(Role::Assistant),
        "tool" | "function" | "function_call" | "function-call" | "observation" | "ipython" => {
            Err(Unreadable::new("tool-turn", format!("a turn of {name:?}")))
        }
        _ => Err(Unreadable::new("unknown-role", format!("expected system, user or assistant, found {name:?}"))),
    }
}

const BEGIN: &str = "<|im_start|>";
const END: &str = "<|im_end|>";

/// Turns between ChatML's marks, with nothing else between them.
fn of_chatml(text: &str) -> Result<Vec<Message>, Unreadable> {
    let wrong = || {
        let expected =
            format!("expected a list of turns, or a text of ChatML ({BEGIN}role, a line's end, what is said, {END})");
        Unreadable::new("no-conversation", format!("{expected}, found other text"))
    };
    let (mut turns, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (name, behind) = rest.strip_prefix(BEGIN).and_then(|rest| rest.split_once('\n')).ok_or_else(wrong)?;
        let (content, behind) = behind.split_once(END).ok_or_else(wrong)?;
        turns.push(Message { role: role(name.trim())?, content: content.to_owned() });
        rest = behind.trim_start();
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Conversation, Unreadable> {
        read(&Cell::Json(json.to_owned()))
    }

    fn whole(before: &[Message], response: &str) -> Conversation {
        Conversation { before: before.to_vec(), response: Some(response.to_owned()) }
    }

    #[test]
    fn all_spellings_are_the_same_conversation() {
        let expected = whole(&[Message::system("Be brief."), Message::user("1+1?")], "<think>\n2\n</think>\n\n2 ");
        let answer = r"<think>\n2\n</think>\n\n2 ";
        for json in [
            format!(r#"[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"1+1?"}},{{"role":"assistant","content":"{answer}","info":{{"a":1}}}}]"#),
            format!(r#"[{{"from":"system","value":"Be brief."}},{{"from":"human","value":"1+1?"}},{{"from":"gpt","value":"{answer}","weight":null}}]"#),
            format!(r#"[{{"role":"developer","content":[{{"type":"text","text":"Be brief."}}]}},{{"role":"user","content":"1+1?"}},{{"role":"assistant","content":"{answer}","tool_calls":[]}}]"#),
            r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"1+1?"},{"role":"assistant","content":"2 ","reasoning_content":"2"}]"#.to_owned(),
        ] {
            assert_eq!(of(&json), Ok(expected.clone()), "{json}");
            assert_eq!(read(&Cell::Text(format!(" {json}"))), Ok(expected.clone()), "JSON within a text: {json}");
        }
        let text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\n2\n</think>\n\n2 <|im_end|>\n";
        assert_eq!(read(&Cell::Text(text.to_owned())), Ok(expected));
    }

    #[test]
    fn of_several_answers_the_last_is_the_trace_and_the_others_are_what_was_said_before() {
        let json = r#"[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"},{"from":"gpt","value":"d"}]"#;
        assert_eq!(of(json), Ok(whole(&[Message::user("a"), Message::assistant("b"), Message::user("c")], "d")));
        let json = r#"[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"}]"#;
        assert_eq!(of(json).expect("a conversation").response, None, "the last word is the user's");
    }

    #[test]
    fn what_cannot_be_held_is_refused_with_its_reason() {
        for (json, reason) in [
            (r#"[]"#, "no-question"),
            (r#"{}"#, "no-conversation"),
            (r#"[1]"#, "no-conversation"),
            (r#"["Hello"]"#, "no-conversation"),
            (r#"[{"content":"a"}]"#, "no-conversation"),
            (r#"[{"role":"system","content":"a"}]"#, "no-question"),
            (r#"[{"role":"assistant","content":"a"}]"#, "no-question"),
            (r#"[{"role":"assistant","content":"a"},{"role":"user","content":"b"}]"#, "assistant-first"),
            (
                r#"[{"role":"user","content":"a"},{"role":"system","content":"b"},{"role":"user","content":"c"}]"#,
                "system-turn",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"assistant","content":"c"}]"#,
                "turns-in-a-row",
            ),
            (r#"[{"role":"user","content":" "},{"role":"assistant","content":"b"}]"#, "empty-turn"),
            (r#"[{"role":"user","content":"a"},{"role":"tool","content":"b"}]"#, "tool-turn"),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":1}]}]"#,
                "tool-turn",
            ),
            (r#"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#, "not-text"),
            (r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#, "not-text"),
            (r#"[{"role":"user","content":1}]"#, "not-text"),
            (r#"[{"role":"narrator","content":"a"}]"#, "unknown-role"),
        ] {
            assert_eq!(of(json).expect_err(json).reason, reason, "{json}");
        }
        for text in ["Once upon a time.", "", "<|im_start|>user\na", "<|im_start|>user\na<|im_end|>b"] {
            let reason = read(&Cell::Text(text.to_owned())).expect_err(text).reason;
            assert!(["no-conversation", "no-question"].contains(&reason), "{text}: {reason}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(of(&deep).expect_err("deep").reason, "no-conversation");
    }
}

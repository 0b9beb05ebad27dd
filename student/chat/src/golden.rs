//! Every template renders, byte for byte, what Transformers renders: `tests/parity/templates.json`, made by
//! `templates.py`; and where Transformers refuses, so do we.

use crate::template::{SpecialTokens, Template};
use distill_dataset::{Message, Role};
use serde_json::Value;
use std::{fs, path::Path};

#[test]
fn templates_render_what_transformers_renders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Another file of renderings, of templates that are not shipped: see `templates.py`.
    let foreign = std::env::var_os("DISTILL_TEMPLATES");
    let golden = root.join(foreign.as_deref().unwrap_or_else(|| "tests/parity/templates.json".as_ref()));
    let golden = fs::read_to_string(golden).expect("the golden renderings");
    let golden: Value = serde_json::from_str(&golden).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut wrong = Vec::new();
    let cases = golden["cases"].as_array().expect("cases");
    for case in cases {
        let source = match case["source"].as_str() {
            Some(source) => source.to_owned(),
            None => fs::read_to_string(root.join(text(&case["template"]))).expect("a template"),
        };
        let specials = SpecialTokens::from([("bos_token", text(&case["bos"])), ("eos_token", text(&case["eos"]))]);
        let messages = golden["conversations"][text(&case["conversation"])].as_array().expect("a conversation");
        let messages: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: match text(&message["role"]).as_str() {
                    "system" => Role::System,
                    "user" => Role::User,
                    _ => Role::Assistant,
                },
                content: text(&message["content"]),
            })
            .collect();
        let found = Template::compile(&source, specials)
            .and_then(|template| template.render(&messages, case["prompt"] == true));
        let what = format!("{}{} {} prompt={}", case["template"], case["source"], case["conversation"], case["prompt"]);
        match (found, case["text"].as_str()) {
            (Ok(found), Some(expected)) if found.text == expected => {
                let Some(ranges) = case["generation"].as_array() else { continue };
                // Transformers counts characters.
                let characters = |byte: usize| found.text[..byte].chars().count() as u64;
                let spans: Vec<[u64; 2]> =
                    found.generation.iter().map(|span| [characters(span.start), characters(span.end)]).collect();
                let expected: Vec<[u64; 2]> =
                    ranges.iter().map(|range| [0, 1].map(|end| range[end].as_u64().expect("a place"))).collect();
                if spans != expected {
                    wrong.push(format!("{what}: loss on {spans:?}, expected {expected:?}"));
                }
            }
            (Err(_), None) => {}
            (found, expected) => wrong.push(format!("{what}:\n expected {expected:?}\n found    {found:?}")),
        }
    }
    assert!(cases.len() > 900, "found {} renderings", cases.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

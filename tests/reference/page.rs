//! The reference page: every table of a recipe with its keys, as Markdown.

use super::{Key, Known, Reference, Section};
use serde_json::{Value, json};
use std::fmt::Write;

/// Where a table stands in a recipe.
fn place(title: &str) -> &str {
    match title {
        "Recipe" => "The recipe",
        "Source" => "`[[sources]]`",
        "Problems" => "`problems`, in a source, a benchmark or an evaluation",
        "Teacher" => "`teacher`, in a source",
        "Http" => "`http`, in a teacher or a subject",
        "Filter" => "`[[filters]]` and `[[problem-filters]]`",
        "Benchmark" => "`[[benchmarks]]`",
        "Judge" => "`[judge]`",
        "Student" => "`[student]`",
        "Base" => "`student.base`",
        "Evaluation" => "`[evaluation]`",
        "Subject" => "`[[evaluation.subjects]]`",
        other => other,
    }
}

pub(super) fn page(reference: &Reference, tables: &[Section], configs: &[(String, String)]) -> String {
    let mut page = "# Recipes\n\nA recipe is a TOML file that says what is computed; flags say how to run it here. This page has every key. `tests/reference.rs`\nmakes it from the types that read recipes: change their documentation, not this file. `distill schema` prints the same for editors,\n`distill init` writes a recipe to begin with. Paths are relative to the recipe's own folder. **Bold** keys have to be there.\n".to_owned();
    let mut keys = |title: &str, doc: &str, keys: &[Key]| {
        // Writing into a string cannot fail.
        let _ = write!(page, "\n## {title}\n\n{doc}\n\n| key | type | what it says |\n|---|---|---|\n");
        for key in keys {
            let name = if key.required { format!("**`{}`**", key.name) } else { format!("`{}`", key.name) };
            let _ = writeln!(page, "| {name} | {} | {} |", kind(&key.schema), key.doc.replace('|', "\\|"));
        }
    };
    for table in tables {
        let shown: Vec<Key> = match table.title.as_str() {
            "Filter" => table.keys[..2].to_vec(),
            _ => table.keys.clone(),
        };
        keys(place(&table.title), &table.doc, &shown);
    }
    for (filter, config) in configs {
        keys(&format!("filter `{filter}`"), &reference.doc(config), &reference.keys(config));
    }
    for name in &reference.used {
        match &reference.types[name] {
            Known::Table { doc, keys: found } => keys(name, doc, found),
            Known::Choice { doc, words } => {
                let words: Vec<Key> = words
                    .iter()
                    .map(|(word, doc)| Key {
                        name: word.clone(),
                        doc: doc.clone(),
                        schema: json!({ "type": "string" }),
                        required: false,
                    })
                    .collect();
                keys(name, doc, &words);
            }
        }
    }
    page
}

/// A type, as people say it.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", anchor(name));
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") => "table".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("string") => "text".to_owned(),
        Some(other) => other.to_owned(),
        None if schema.get("enum").is_some() => "word".to_owned(),
        None => "any".to_owned(),
    }
}

/// The anchor that a heading gets on the page.
fn anchor(name: &str) -> String {
    let heading = place(name).to_lowercase();
    heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

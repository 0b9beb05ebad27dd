//! The reference page: every table of a recipe with its keys, as Markdown.

use super::{
    Reference, Section,
    defaults::Default,
    generators,
    types::{Key, Known},
};
use serde_json::Value;
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
    let mut page = "# Recipes\n\nA recipe is a TOML file that says what is computed; flags say how to run it here. This page has every key. `tests/reference.rs`\nmakes it from the types that read recipes: change their documentation, not this file. `distill schema` prints the same for editors,\n`distill init` writes a recipe to begin with. Paths are relative to the recipe's own folder. **Bold** keys have to be there.\nA key that is left out is as *default* says: `–` is nothing, so that there is no such limit and nothing of the kind is done, unless the\nlast column says what happens then.\n".to_owned();
    let names = |of: &str| reference.keys(of).into_iter().map(|key| key.name).collect::<Vec<_>>();
    let of_files = names("FileConfig");
    let of_generators: Vec<String> = generators().iter().flat_map(|(_, config)| names(config)).collect();
    for table in tables {
        let shown: Vec<Key> = match table.title.as_str() {
            "Filter" => table.keys[..2].to_vec(),
            "Problems" => {
                let mut keys = table.keys.clone();
                keys.retain(|key| !of_generators.contains(&key.name) || of_files.contains(&key.name));
                keys
            }
            _ => table.keys.clone(),
        };
        table_of(&mut page, place(&table.title), &table.doc, &shown);
        if table.title == "Problems" {
            for (generator, config) in generators() {
                table_of(
                    &mut page,
                    &format!("generator `{generator}`"),
                    &reference.doc(&config),
                    &reference.keys(&config),
                );
            }
        }
    }
    for (filter, config) in configs {
        table_of(&mut page, &format!("filter `{filter}`"), &reference.doc(config), &reference.keys(config));
    }
    for name in &reference.used {
        match &reference.types[name] {
            Known::Table { doc, keys: found } => table_of(&mut page, name, doc, found),
            Known::Choice { doc, words } => {
                // Writing into a string cannot fail.
                let _ = write!(page, "\n## {}\n\n{doc}\n\n| word | what it says |\n|---|---|\n", place(name));
                for (word, doc) in words {
                    let _ = writeln!(page, "| `{word}` | {} |", doc.replace('|', "\\|"));
                }
            }
        }
    }
    page
}

/// A table with its keys.
fn table_of(page: &mut String, title: &str, doc: &str, keys: &[Key]) {
    // Writing into a string cannot fail.
    let _ = write!(page, "\n## {title}\n\n{doc}\n\n| key | type | default | what it says |\n|---|---|---|---|\n");
    for key in keys {
        let name = if key.required { format!("**`{}`**", key.name) } else { format!("`{}`", key.name) };
        let default = match &key.default {
            _ if key.required => "",
            Default::Said(default) => default,
            other => panic!("{title}, `{}`: its default is not read from the sources: {other:?}", key.name),
        };
        let (kind, doc) = (kind(&key.schema), key.doc.replace('|', "\\|"));
        let _ = writeln!(page, "| {name} | {kind} | {default} | {doc} |");
    }
}

/// A type, as people say it.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", anchor(name));
    }
    match schema["type"].as_str() {
        Some("array") => match schema["minItems"].as_u64() {
            Some(count) => format!("[{}]", vec![kind(&schema["items"]); count as usize].join(", ")),
            None => format!("list of {}", kind(&schema["items"])),
        },
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

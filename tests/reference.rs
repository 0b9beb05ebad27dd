//! The schema and the reference page of recipes, made from the configuration types' own documentation: `recipes/schema.json`
//! and `recipes/README.md` are what this makes of the sources, or the test fails. `DISTILL_WRITE_REFERENCE=1` writes them.
//!
//! Tables that are decoded by hand are listed in [`Reference::tables`]; that they have the very keys which the decoder knows
//! is tested with what it says of an unknown key.

mod defaults;
mod page;
mod types;

use crate::architecture::rust_files;
use defaults::{Default, NOTHING};
use distill::recipe::{Recipe, diagnostic::RecipeError};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use syn::Item;
use types::{Found, Key, Known, is_read, known, told_apart};

/// Folders whose types recipes are made of.
const SOURCES: [&str; 10] = [
    "recipes/src/recipe",
    "recipes/src/launch",
    "data-gen/src",
    "data-gen/dataset/src",
    "teacher/src/http",
    "student/src",
    "student/evaluate/src",
    "student/publish/src",
    "filters/src",
    "filters/verify/src",
];

/// Tables that are decoded by hand, as [`Reference::tables`] calls them.
const BY_HAND: [&str; 11] = [
    "Source",
    "Problems",
    "Teacher",
    "Http",
    "Filter",
    "Benchmark",
    "Student",
    "Base",
    "Evaluation",
    "Judge",
    "Subject",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A section of the page: where the table stands in a recipe, its keys.
struct Section {
    title: String,
    doc: String,
    keys: Vec<Key>,
}

struct Reference {
    types: BTreeMap<String, Known>,
    used: BTreeSet<String>,
}

impl Reference {
    fn read() -> Reference {
        let mut found: Vec<Found> = Vec::new();
        let mut words: BTreeMap<String, String> = BTreeMap::new();
        let files = SOURCES.iter().flat_map(|folder| rust_files(&root().join(folder)));
        for path in files.filter(|path| !path.ends_with("tests.rs")) {
            let text = fs::read_to_string(&path).expect("a source");
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for item in &file.items {
                found.extend(known(&file, item).map(|(name, known)| {
                    let (path, is_read) = (path.clone(), is_read(item));
                    Found { path, name, is_read, known }
                }));
                if let Item::Enum(item) = item {
                    words.extend(defaults::of_choice(item).map(|word| (item.ident.to_string(), word)));
                }
            }
        }
        let types = told_apart(found);
        let mut reference = Reference { types, used: BTreeSet::new() };
        let in_force = defaults::of_filters();
        for (kind, config) in filters() {
            reference.keys_of(&config, |key| {
                if let Some(value) = in_force[kind.as_str()].get(&key.name) {
                    key.default = Default::Said(defaults::told(value));
                }
            });
        }
        for name in reference.types.keys().cloned().collect::<Vec<_>>() {
            reference.keys_of(&name, |key| {
                if let Default::Of(name) = &key.default {
                    key.default = Default::Said(words.get(name).map_or(NOTHING, String::as_str).to_owned());
                }
            });
        }
        reference
    }

    /// Changes the keys of a table; other types have none.
    fn keys_of(&mut self, name: &str, change: impl FnMut(&mut Key)) {
        if let Some(Known::Table { keys, .. }) = self.types.get_mut(name) {
            keys.iter_mut().for_each(change);
        }
    }

    fn keys(&self, name: &str) -> Vec<Key> {
        match self.types.get(name) {
            Some(Known::Table { keys, .. }) => keys.clone(),
            _ => panic!("no table {name}: was it renamed?"),
        }
    }

    fn doc(&self, name: &str) -> String {
        match self.types.get(name) {
            Some(Known::Table { doc, .. } | Known::Choice { doc, .. }) => doc.clone(),
            None => panic!("no type {name}: was it renamed?"),
        }
    }

    /// The tables of a recipe that are decoded by hand, in order: where each stands, and its keys.
    fn tables(&self) -> Vec<Section> {
        let section =
            |title: &str, of: &str, keys: Vec<Key>| Section { title: title.to_owned(), doc: self.doc(of), keys };
        let without = |name: &str, out: &[&str]| -> Vec<Key> {
            self.keys(name).into_iter().filter(|key| !out.contains(&key.name.as_str())).collect()
        };
        let key = |name: &str, doc: &str, schema: Value| Key {
            name: name.to_owned(),
            doc: doc.to_owned(),
            schema,
            required: false,
            default: Default::Said(NOTHING.to_owned()),
        };
        let text = || json!({ "type": "string" });
        let table = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
        let optional = |mut keys: Vec<Key>| {
            keys.iter_mut().for_each(|key| key.required = false);
            keys
        };
        let mut problems = vec![
            key(
                "generator",
                "Problems that are made from the recipe's seed: the generator's name, with its settings beside it.",
                json!({ "enum": distill_data_gen::GeneratorConfig::KINDS }),
            ),
            key("jsonl", "A file of one JSON object a line.", text()),
            key("parquet", "A Parquet file, or a folder of them.", text()),
        ];
        problems.extend(optional(self.keys("FileConfig")));
        for (_, generator) in generators() {
            for found in optional(self.keys(&generator)) {
                if problems.iter().all(|known| known.name != found.name) {
                    problems.push(found);
                }
            }
        }
        let teacher = vec![
            key("local", "A checkpoint that answers in this process: a Hugging Face folder or a GGUF file.", text()),
            Key {
                default: Default::Said("stored".to_owned()),
                ..key(
                    "weights",
                    "With `local`: in which precision its weights are kept, `stored`, `f32`, `bf16`, `f16` or `q8_0`.",
                    text(),
                )
            },
            key("http", "A model behind OpenAI-compatible endpoints.", table("Http")),
            key(
                "ready-traces",
                "`true`: the file of the problems brings traces that exist already.",
                json!({ "const": true }),
            ),
            key("name", "With `ready-traces`: who wrote them.", text()),
            key(
                "worked-solutions",
                "`true`: the problems' own worked solutions become the traces.",
                json!({ "const": true }),
            ),
        ];
        let mut http = self.keys("HttpTeacherConfig");
        http.extend(without("HttpConfig", &["endpoint"]));
        let mut filter = vec![
            Key {
                required: true,
                ..key("kind", "What it judges.", json!({ "enum": distill_filters::FilterConfig::kinds() }))
            },
            key(
                "sources",
                "The names of the sources that it looks at; all where nothing is said.",
                json!({ "type": "array", "items": text() }),
            ),
        ];
        for (_, config) in filters() {
            for found in optional(self.keys(&config)) {
                if filter.iter().all(|known| known.name != found.name) {
                    filter.push(Key { doc: String::new(), schema: json!({}), ..found });
                }
            }
        }
        let mut evaluation = self.keys("EvaluationConfig");
        evaluation.push(key(
            "problems",
            "The problems that models are compared on, in place of held-out ones: as in a source.",
            table("Problems"),
        ));
        evaluation.push(key(
            "subjects",
            "Models that are compared beside the student.",
            json!({ "type": "array", "items": table("Subject") }),
        ));
        let mut subject: Vec<Key> =
            teacher.iter().filter(|key| ["local", "weights", "http"].contains(&key.name.as_str())).cloned().collect();
        subject.insert(0, without("SubjectConfig", &["teacher"]).remove(0));
        let base = vec![
            key("checkpoint", "A Hugging Face folder or a GGUF file.", text()),
            key("surgery", "With `checkpoint`: what is changed before training.", table("Surgery")),
            key("config", "In its place, for random weights: a `config.json`.", text()),
            key("tokenizer", "With `config`: the folder of tokenizer and chat template.", text()),
        ];
        let rename = |keys: Vec<Key>, of: &[(&str, Value)]| -> Vec<Key> {
            let schema = |key: &Key| of.iter().find(|(name, _)| *name == key.name).map(|(_, schema)| schema.clone());
            keys.into_iter()
                .map(|key| Key { schema: schema(&key).unwrap_or_else(|| key.schema.clone()), ..key })
                .collect()
        };
        let list = |name: &str| json!({ "type": "array", "items": table(name) });
        let recipe = rename(
            without("Recipe", &["path", "overrides", "evaluated-on", "subjects"]),
            &[
                ("sources", list("Source")),
                ("filters", list("Filter")),
                ("problem-filters", list("Filter")),
                ("benchmarks", list("Benchmark")),
                ("judge", table("Judge")),
                ("cuts", json!({ "type": "object", "additionalProperties": { "type": "object" } })),
                ("student", table("Student")),
                ("evaluation", table("Evaluation")),
            ],
        );
        let recipe = recipe
            .into_iter()
            .map(|key| Key { required: ["name", "seed"].contains(&key.name.as_str()), ..key })
            .collect();
        let source =
            rename(self.keys("SourceConfig"), &[("problems", table("Problems")), ("teacher", table("Teacher"))]);
        let source = source
            .into_iter()
            .map(|key| Key { required: ["problems", "teacher"].contains(&key.name.as_str()), ..key })
            .collect();
        vec![
            section("Recipe", "Recipe", recipe),
            section("Source", "SourceConfig", source),
            section("Problems", "ProblemsConfig", problems),
            section("Teacher", "TeacherConfig", teacher),
            section("Http", "HttpTeacherConfig", http),
            section("Filter", "FilterConfig", filter),
            section(
                "Benchmark",
                "BenchmarkConfig",
                rename(self.keys("BenchmarkConfig"), &[("problems", table("Problems"))]),
            ),
            section("Judge", "AskedConfig", rename(self.keys("AskedConfig"), &[("teacher", table("Teacher"))])),
            section("Student", "StudentConfig", rename(self.keys("StudentConfig"), &[("base", table("Base"))])),
            section("Base", "BaseConfig", base),
            section("Evaluation", "EvaluationConfig", evaluation),
            section("Subject", "SubjectConfig", subject),
        ]
    }

    /// Notes which types a schema speaks of, and those that they speak of.
    fn follow(&mut self, schema: &Value) {
        let mut pending = vec![schema.clone()];
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(table) => {
                    if let Some(name) =
                        table.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
                        && !BY_HAND.contains(&name)
                        && self.types.contains_key(name)
                        && self.used.insert(name.to_owned())
                        && let Some(Known::Table { keys, .. }) = self.types.get(name)
                    {
                        pending.extend(keys.iter().map(|key| key.schema.clone()));
                    }
                    pending.extend(table.into_iter().map(|(_, value)| value));
                }
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
    }
}

/// The generators with their configuration's type.
fn generators() -> Vec<(&'static str, String)> {
    let types = ["ChainSumConfig", "LinearEquationConfig", "CountdownConfig", "BaseConversionConfig"];
    distill_data_gen::GeneratorConfig::KINDS.iter().copied().zip(types.map(str::to_owned)).collect()
}

/// The kinds of filters with their configuration's type, as the list has them.
fn filters() -> Vec<(String, String)> {
    let list = fs::read_to_string(root().join("filters/src/list.rs")).expect("the list of filters");
    let line = |line: &str| {
        let (kind, rest) = line.trim().strip_prefix("(\"")?.split_once("\", ")?;
        let config = rest.split_once("::<")?.1.split_once(',')?.0;
        Some((kind.to_owned(), config.to_owned()))
    };
    list.lines().filter_map(line).collect()
}

fn object(doc: &str, keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = key.schema.clone();
        if !key.doc.is_empty() {
            match schema.as_object_mut() {
                // Beside a reference nothing else counts in this draft.
                Some(table) if table.contains_key("$ref") => {
                    schema = json!({ "description": key.doc, "allOf": [schema] })
                }
                Some(table) => {
                    table.insert("description".to_owned(), key.doc.clone().into());
                }
                None => {}
            }
        }
        properties.insert(key.name.clone(), schema);
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name.as_str()).collect();
    let mut object =
        json!({ "type": "object", "description": doc, "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// The schema, and the page.
fn made() -> (String, String) {
    let mut reference = Reference::read();
    let tables = reference.tables();
    let configs = filters();
    tables.iter().flat_map(|table| &table.keys).for_each(|key| reference.follow(&key.schema));
    for (_, config) in &configs {
        reference.keys(config).iter().for_each(|key| reference.follow(&key.schema));
    }
    let mut definitions = Map::new();
    for table in &tables[1..] {
        definitions.insert(table.title.clone(), object(&table.doc, &table.keys));
    }
    for name in &reference.used {
        let schema = match &reference.types[name] {
            Known::Table { doc, keys } => object(doc, keys),
            Known::Choice { doc, words } => {
                let words: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
                json!({ "description": doc, "enum": words })
            }
        };
        definitions.insert(name.clone(), schema);
    }
    let mut schema = object(&tables[0].doc, &tables[0].keys);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("distill recipe");
    schema["definitions"] = Value::Object(definitions);
    (serde_json::to_string_pretty(&schema).expect("JSON") + "\n", page::page(&reference, &tables, &configs))
}

#[test]
fn schema_and_page_are_what_the_sources_say() {
    let (schema, page) = made();
    for (file, made) in [("recipes/schema.json", schema), ("recipes/README.md", page)] {
        let path = root().join(file);
        if std::env::var_os("DISTILL_WRITE_REFERENCE").is_some() {
            fs::write(&path, &made).expect("a written file");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        let differs = made.lines().find(|line| !found.lines().any(|known| known == *line)).unwrap_or("lines went");
        assert!(
            made == found,
            "{file} is not what the sources say, e.g. {differs}\nrun this test with DISTILL_WRITE_REFERENCE=1 and commit what it writes"
        );
    }
}

/// The keys that the decoder says it knows at a place.
fn known_to_decoder(recipe: &str, place: &str) -> BTreeSet<String> {
    let set = format!("{place}zzz-unknown=1");
    let path = root().join("recipes").join(recipe);
    let error = Recipe::load(&path, &[set]).err().unwrap_or_else(|| panic!("{place}: an unknown key was taken"));
    let error = error.downcast_ref::<RecipeError>().unwrap_or_else(|| panic!("{place}: {error}")).clone();
    let about = error.diagnostics.iter().find(|found| found.message.contains("zzz-unknown"));
    let help = about.and_then(|found| found.help.clone()).unwrap_or_else(|| panic!("{place}: {error}"));
    let known = help.split("known here: ").nth(1).unwrap_or_else(|| panic!("{place}: {help}"));
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_table_has_the_keys_that_its_decoder_knows() {
    let (schema, _) = made();
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let has = |name: &str| -> BTreeSet<String> {
        let table = if name.is_empty() { &schema } else { &schema["definitions"][name] };
        table["properties"].as_object().unwrap_or_else(|| panic!("no {name}")).keys().cloned().collect()
    };
    // Cuts are taken out before the tables are read.
    let (mut ours, cuts) = (has(""), "cuts");
    assert!(ours.remove(cuts), "the schema lacks {cuts}");
    assert_eq!(ours, known_to_decoder("quickstart.toml", ""), "the recipe: the schema (left) and the decoder (right)");
    for (recipe, place, name) in [
        ("quickstart.toml", "sources.0.", "Source"),
        ("quickstart.toml", "student.", "Student"),
        ("quickstart.toml", "student.training.", "TrainingConfig"),
        ("quickstart.toml", "publish.", "PublishConfig"),
        ("quickstart.toml", "export.", "ExportConfig"),
        ("quickstart.toml", "sources.0.sampling.", "SamplingConfig"),
        ("r1.toml", "student.base.surgery.", "Surgery"),
    ] {
        assert_eq!(has(name), known_to_decoder(recipe, place), "{name}: the schema (left) and the decoder (right)");
    }
    // Of these a part is taken by hand, and serde knows the rest.
    for (recipe, place, name) in [
        ("quickstart.toml", "evaluation.", "Evaluation"),
        ("gsm8k.toml", "sources.0.problems.", "Problems"),
        ("quickstart.toml", "sources.0.problems.", "Problems"),
        ("gsm8k.toml", "sources.0.teacher.http.", "Http"),
        ("quickstart.toml", "sources.0.teacher.", "Teacher"),
        ("starts/compare.toml", "evaluation.subjects.0.", "Subject"),
        ("quickstart.toml", "student.base.", "Base"),
        ("quickstart.toml", "filters.1.", "Filter"),
    ] {
        let (ours, theirs) = (has(name), known_to_decoder(recipe, place));
        // A subject whose answers are written already is refused.
        let written = ["worked-solutions", "ready-traces"];
        let refused = |key: &&String| name == "Subject" && written.contains(&key.as_str());
        let missing: Vec<&String> = theirs.difference(&ours).filter(|key| !refused(key)).collect();
        assert!(missing.is_empty(), "{name}: the schema lacks {missing:?}");
    }
}

/// Every key of a value is one that the schema has at its place.
fn check(value: &toml::Value, schema: &Value, all: &Value, place: &str) {
    let schema = schema["allOf"].get(0).unwrap_or(schema);
    let schema = match schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        Some(name) => &all["definitions"][name],
        None => schema,
    };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                if let Some(inner) = schema["properties"].get(key) {
                    check(value, inner, all, &format!("{place}.{key}"));
                } else {
                    let is_open = schema.get("properties").is_none();
                    assert!(is_open, "the schema lacks {place}.{key}");
                }
            }
        }
        toml::Value::Array(items) => {
            items.iter().for_each(|item| check(item, &schema["items"], all, place));
        }
        toml::Value::String(word) if schema.get("enum").is_some() => {
            let words = schema["enum"].as_array().expect("words");
            assert!(words.iter().any(|known| known == word), "{place}: the schema lacks the word {word}");
        }
        _ => {}
    }
}

#[test]
fn every_shipped_recipe_is_one_by_the_schema() {
    let (schema, _) = made();
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let mut files = Vec::new();
    for folder in ["recipes", "recipes/starts"] {
        let entries = fs::read_dir(root().join(folder)).expect("recipes").map(|entry| entry.expect("an entry").path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")));
    }
    assert!(files.len() >= 9);
    for path in files {
        let text = fs::read_to_string(&path).expect("a recipe");
        let recipe: toml::Value = toml::from_str(&text).expect("TOML");
        check(&recipe, &schema, &schema, &path.file_name().unwrap_or_default().to_string_lossy());
    }
}

#[test]
fn the_page_has_defaults_and_tells_types_of_one_name_apart() {
    let (schema, page) = made();
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    // Two types are called `Cell`: the schema had the other one's words here, which the program refuses.
    let by = &schema["definitions"]["Cell"]["enum"];
    assert_eq!(*by, json!(["domain", "difficulty", "domain-and-difficulty"]), "quota.by");
    for line in [
        "| `concurrency` | whole number | 32 |",
        "| `timeout-s` | whole number | 3600 |",
        "| `betas` | [number, number] | [0.9, 0.95] |",
        "| `on-unknown` | [OnUnknown](#onunknown) | keep |",
        "| `save-every-seconds` | number | 10.0 |",
        "| `terms` | [whole number, whole number] | [3, 4] |",
        "## generator `countdown`",
    ] {
        assert!(page.contains(line), "the page lacks {line}");
    }
}

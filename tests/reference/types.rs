//! The types that recipes are made of, as their sources have them: tables with keys, and choices of words.

use super::{
    SOURCES,
    defaults::{self, Default},
    root,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// A type as its source has it.
#[derive(Clone)]
pub(super) enum Known {
    Table {
        doc: String,
        keys: Vec<Key>,
    },
    /// Words, each with what it means.
    Choice {
        doc: String,
        words: Vec<(String, String)>,
    },
}

/// A key of a table.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) schema: Value,
    pub(super) required: bool,
    pub(super) default: Default,
}

/// The documentation of an item: its first paragraph in one line, without links.
pub(super) fn doc(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attribute.meta
            && let Expr::Lit(literal) = &pair.value
            && let Lit::Str(text) = &literal.lit
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    let text = lines.join("\n");
    text.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace("[`", "`").replace("`]", "`")
}

/// What serde is told of an item, as text without spaces.
pub(super) fn serde(attributes: &[Attribute]) -> String {
    let lists = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    lists
        .filter_map(|attribute| attribute.meta.require_list().ok())
        .map(|list| list.tokens.to_string().replace(' ', ""))
        .collect::<Vec<_>>()
        .join(",")
}

pub(super) fn says(serde: &str, word: &str) -> bool {
    serde.split(',').any(|part| part == word || part.starts_with(&format!("{word}=")))
}

pub(super) fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (index, c) in name.chars().enumerate() {
        match c {
            '_' => kebab.push('-'),
            c if c.is_uppercase() => {
                if index > 0 {
                    kebab.push('-');
                }
                kebab.extend(c.to_lowercase());
            }
            c => kebab.push(c),
        }
    }
    kebab
}

/// The last name of a type's path, and its arguments.
pub(super) fn named(ty: &Type) -> Option<(String, Vec<Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let arguments = match &last.arguments {
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty.clone()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    Some((last.ident.to_string(), arguments))
}

/// What JSON Schema says of a Rust type.
pub(super) fn schema(ty: &Type) -> Value {
    if let Type::Array(array) = ty {
        let mut list = json!({ "type": "array", "items": schema(&array.elem) });
        if let Expr::Lit(literal) = &array.len
            && let Lit::Int(length) = &literal.lit
        {
            let length: u64 = length.base10_parse().expect("a length");
            (list["minItems"], list["maxItems"]) = (length.into(), length.into());
        }
        return list;
    }
    let Some((name, arguments)) = named(ty) else { return json!({}) };
    match (name.as_str(), &arguments[..]) {
        ("String" | "PathBuf" | "Currency", _) => json!({ "type": "string" }),
        ("bool", _) => json!({ "type": "boolean" }),
        ("f32" | "f64", _) => json!({ "type": "number" }),
        ("u8" | "u16" | "u32" | "u64" | "usize", _) => json!({ "type": "integer", "minimum": 0 }),
        ("i32" | "i64", _) => json!({ "type": "integer" }),
        ("Option" | "Box", [inner]) => schema(inner),
        ("Vec", [inner]) => json!({ "type": "array", "items": schema(inner) }),
        ("BTreeMap", [_, inner]) => json!({ "type": "object", "additionalProperties": schema(inner) }),
        ("Map", _) => json!({ "type": "object" }),
        ("Value", _) => json!({}),
        (other, _) => json!({ "$ref": format!("#/definitions/{other}") }),
    }
}

pub(super) fn is_optional(ty: &Type) -> bool {
    named(ty).is_some_and(|(name, _)| name == "Option")
}

/// A struct with named fields or an enum of words that serde reads; nothing else.
pub(super) fn known(file: &syn::File, item: &Item) -> Option<(String, Known)> {
    match item {
        Item::Struct(item) => {
            let (table, Fields::Named(fields)) = (serde(&item.attrs), &item.fields) else { return None };
            let name = item.ident.to_string();
            let mut keys = Vec::new();
            for field in &fields.named {
                let said = serde(&field.attrs);
                if says(&said, "skip") {
                    continue;
                }
                keys.push(Key {
                    name: kebab(&field.ident.as_ref()?.to_string()),
                    doc: doc(&field.attrs),
                    schema: schema(&field.ty),
                    required: !is_optional(&field.ty) && !says(&said, "default") && !says(&table, "default"),
                    default: defaults::of_field(file, &name, field, (&table, &said)),
                });
            }
            Some((name, Known::Table { doc: doc(&item.attrs), keys }))
        }
        Item::Enum(item) => {
            let words = item.variants.iter().map(|variant| (kebab(&variant.ident.to_string()), doc(&variant.attrs)));
            Some((item.ident.to_string(), Known::Choice { doc: doc(&item.attrs), words: words.collect() }))
        }
        _ => None,
    }
}

/// Whether serde reads the type: of several types of one name it is the one that recipes mean.
pub(super) fn is_read(item: &Item) -> bool {
    let (Item::Struct(syn::ItemStruct { attrs, .. }) | Item::Enum(syn::ItemEnum { attrs, .. })) = item else {
        return false;
    };
    let derives = attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let mut derives = derives.filter_map(|attribute| attribute.meta.require_list().ok());
    derives.any(|list| list.tokens.to_string().contains("Deserialize"))
}

/// A type, where it is, and whether serde reads it.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) is_read: bool,
    pub(super) known: Known,
}

/// Types by names that are theirs alone, and references that lead to them: of several types of one name the one of the same
/// file is meant, else the one of the same folder of sources.
pub(super) fn told_apart(found: Vec<Found>) -> BTreeMap<String, Known> {
    let mut all: BTreeMap<String, Vec<(PathBuf, bool)>> = BTreeMap::new();
    for Found { path, name, is_read, .. } in &found {
        all.entry(name.clone()).or_default().push((path.clone(), *is_read));
    }
    let own = |path: &Path, name: &str| {
        let mut read = all[name].iter().filter(|(_, is_read)| *is_read);
        let is_sole =
            all[name].len() == 1 || (read.next().is_some_and(|(read, _)| read == path) && read.next().is_none());
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_sole { name.to_owned() } else { format!("{stem}-{name}") }
    };
    let folder = |path: &Path| SOURCES.iter().find(|folder| path.starts_with(root().join(folder)));
    let meant = |from: &Path, name: &str| {
        let places = || all.get(name).into_iter().flatten().map(|(path, _)| path);
        let near = places().find(|path| *path == from).or_else(|| places().find(|path| folder(path) == folder(from)));
        near.or(places().next()).map(|path| own(path, name))
    };
    let mut types = BTreeMap::new();
    for Found { path, name, mut known, .. } in found {
        if let Known::Table { keys, .. } = &mut known {
            keys.iter_mut().for_each(|key| refer(&mut key.schema, &|name| meant(&path, name)));
        }
        types.entry(own(&path, &name)).or_insert(known);
    }
    types
}

/// Puts other names into a schema's references.
fn refer(schema: &mut Value, meant: &dyn Fn(&str) -> Option<String>) {
    match schema {
        Value::Object(table) => {
            let name = table.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            if let Some(other) = name.and_then(meant) {
                table.insert("$ref".to_owned(), format!("#/definitions/{other}").into());
            }
            table.values_mut().for_each(|value| refer(value, meant));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, meant)),
        _ => {}
    }
}

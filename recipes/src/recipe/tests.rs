//! Mistakes in recipes, and what people are told about them.

use super::{
    decode::{Diagnostics, Section},
    diagnostic::RecipeError,
    source,
};
use serde::Deserialize;
use std::fs;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Training {
    epochs: u32,
    learning_rate: f64,
}

/// Reads `name` and `[training]`, as a recipe's reader does.
fn read(text: &str, overrides: &[&str]) -> Result<(String, Training), RecipeError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("recipe.toml");
    fs::write(&path, text).expect("a recipe");
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let source = source::read(&path, &overrides).expect("a readable recipe");
    let mut diagnostics = Diagnostics::default();
    let (name, training) = {
        let mut root = Section::root(source::parse(&source)?);
        let found = (root.required("name", &mut diagnostics), root.required("training", &mut diagnostics));
        root.finish(&mut diagnostics);
        found
    };
    match (name, training, diagnostics.found.is_empty()) {
        (Some(name), Some(training), true) => Ok((name, training)),
        _ => Err(RecipeError { source, diagnostics: diagnostics.found }),
    }
}

const GOOD: &str = "name = \"q\"\n[training]\nepochs = 2\nlearning-rate = 0.001\n";

#[test]
fn overrides_replace_values_and_numbers_need_no_quotes() {
    let (name, training) = read(GOOD, &["training.epochs=5", "name=other"]).expect("a good recipe");
    assert_eq!((name.as_str(), training), ("other", Training { epochs: 5, learning_rate: 0.001 }));
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = "nmae = \"q\"\n[training]\nepochs = \"two\"\nlearning-rat = 0.001\nlearning-rate = 1\n";
    let error = read(text, &[]).expect_err("a bad recipe");
    let report = error.to_string();
    for expected in [
        "the recipe lacks the key `name`",
        "unknown key `nmae`",
        "did you mean `name`?",
        "recipe.toml:3:10",
        "`training.epochs`: expected a whole number, not negative, found string \"two\"",
        "unknown key `learning-rat` in `training`",
        "did you mean `learning-rate`?",
        "4 errors; nothing was run",
    ] {
        assert!(report.contains(expected), "expected {expected:?} in\n{report}");
    }
}

#[test]
fn a_missing_key_is_named() {
    let report = read("name = \"q\"\n[training]\nepochs = 2\n", &[]).expect_err("a bad recipe").to_string();
    assert!(report.contains("`training` lacks the key `learning-rate`"), "{report}");
}

#[test]
fn a_mistake_in_an_override_points_at_the_command_line() {
    for (text, expected) in [
        ("training.epocs=5", "did you mean `epochs`?"),
        ("training.epochs=many", "found string \"many\""),
        ("epochs", "expected KEY=VALUE"),
        ("name.x=1", "not a table"),
    ] {
        let report = read(GOOD, &[text]).expect_err("a bad override").to_string();
        assert!(report.contains(expected) && report.contains("command line"), "expected {expected:?} in\n{report}");
    }
}

#[test]
fn broken_toml_is_an_error_with_its_line() {
    let report = read("name = \n[training\n", &[]).expect_err("broken TOML").to_string();
    assert!(report.contains("not valid TOML") && report.contains("recipe.toml:1"), "{report}");
}

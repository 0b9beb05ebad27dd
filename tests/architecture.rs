//! The dependency edges of ARCHITECTURE.md, asserted from `cargo metadata`: data flows one way.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// What each crate may depend on among ours.
const ALLOWED: [(&str, &[&str]); 16] = [
    (
        "distill",
        &[
            "distill-dataset",
            "distill-data-gen",
            "distill-teacher",
            "distill-teacher-local",
            "distill-filters",
            "distill-student",
            "distill-chat",
            "distill-checkpoint",
            "distill-model",
            "distill-evaluate",
            "distill-publish",
            "distill-verify",
            // For tests.
            "distill-simulator",
        ],
    ),
    ("distill-data-gen", &["distill-dataset", "distill-teacher"]),
    ("distill-files", &[]),
    ("distill-dataset", &["distill-files"]),
    ("distill-teacher", &["distill-dataset", "distill-simulator"]),
    (
        "distill-teacher-local",
        &["distill-dataset", "distill-teacher", "distill-chat", "distill-checkpoint", "distill-model"],
    ),
    ("distill-simulator", &[]),
    ("distill-filters", &["distill-dataset", "distill-verify"]),
    ("distill-verify", &["distill-sandbox"]),
    ("distill-sandbox", &[]),
    ("distill-chat", &["distill-dataset"]),
    ("distill-checkpoint", &["distill-files"]),
    ("distill-model", &["distill-checkpoint"]),
    ("distill-student", &["distill-dataset", "distill-chat", "distill-checkpoint", "distill-model"]),
    ("distill-evaluate", &["distill-dataset", "distill-teacher", "distill-verify"]),
    ("distill-publish", &["distill-dataset"]),
];
/// The crates that may see Burn.
const BURN: [&str; 2] = ["distill-model", "distill-student"];

#[test]
fn crates_depend_only_on_what_the_map_says() {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let metadata: Value = serde_json::from_slice(&output.expect("cargo metadata").stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let allowed = BTreeMap::from(ALLOWED);
    let names: Vec<String> = packages.iter().map(|package| text(&package["name"])).collect();
    for package in packages {
        let name = text(&package["name"]);
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not on the map"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let dependency = text(&dependency["name"]);
            let ours = names.contains(&dependency);
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
            let burn = dependency == "burn" || dependency.starts_with("burn-");
            assert!(!burn || BURN.contains(&name.as_str()), "{name} must not see Burn");
        }
    }
    assert_eq!(names.len(), ALLOWED.len(), "every crate on the map exists");
}

/// How reasoning is marked is a value: only `TurnFormat`'s file spells DeepSeek-R1's tags, in code and in comments. Tests
/// may.
#[test]
fn only_the_turn_format_spells_its_tags() {
    let mut looked = 0;
    for file in rust_files(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let path = file.to_string_lossy().replace('\\', "/");
        if path.ends_with("data-gen/dataset/src/turn.rs") || path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source file");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        looked += 1;
        for (number, line) in product.lines().enumerate() {
            assert!(!line.contains("think>"), "{path}:{}: a tag is spelt outside `TurnFormat`", number + 1);
        }
    }
    assert!(looked > 200, "product code was looked at, found {looked} files");
}

/// Every Rust file below `dir` that belongs to the product.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') && !path.is_symlink() {
            found.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

//! The dependency edges of ARCHITECTURE.md, asserted from `cargo metadata`: data flows one way.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// What each crate may depend on among ours.
const ALLOWED: [(&str, &[&str]); 17] = [
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
    ("distill-filters", &["distill-dataset", "distill-chat", "distill-verify"]),
    ("distill-verify", &["distill-sandbox"]),
    ("distill-sandbox", &[]),
    ("distill-chat", &["distill-dataset"]),
    ("distill-checkpoint", &["distill-files"]),
    ("distill-model", &["distill-checkpoint", "distill-ops"]),
    ("distill-ops", &[]),
    ("distill-student", &["distill-dataset", "distill-chat", "distill-checkpoint", "distill-model"]),
    ("distill-evaluate", &["distill-dataset", "distill-teacher", "distill-verify"]),
    ("distill-publish", &["distill-dataset"]),
];
/// The crates that may see Burn.
const BURN: [&str; 3] = ["distill-ops", "distill-model", "distill-student"];

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

/// Upstream's tuner launches products that fail unseen, and what its fusion makes was never compared: on a card neither may
/// come back as a feature of a feature.
#[test]
fn the_cuda_feature_brings_neither_a_tuner_nor_fusion() {
    let arguments =
        ["tree", "--package", "distill", "--edges", "normal", "--features", "cuda", "--locked", "--prefix", "none"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}\t{f}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    let mut resolved = BTreeMap::new();
    for line in tree.lines() {
        let (package, features) = line.trim_end_matches(" (*)").split_once('\t').expect("a package and its features");
        let features: Vec<&str> = features.split(',').filter(|feature| !feature.is_empty()).collect();
        resolved.insert(package.split(' ').next().unwrap_or_default(), features);
    }
    for package in ["burn", "burn-cubecl", "burn-cuda", "cudarc"] {
        assert!(resolved.contains_key(package), "`cuda` brings {package}, found {:?}", resolved.keys());
    }
    assert!(resolved["burn"].contains(&"cuda"), "Burn's own feature is on: {:?}", resolved["burn"]);
    for (package, features) in &resolved {
        let found = features.iter().find(|feature| feature.contains("autotune") || feature.contains("fusion"));
        assert_eq!(found, None, "{package} is built with it under `cuda`");
        assert!(!package.contains("fusion"), "{package} is built under `cuda`");
    }
}

/// Where the lint against unsafe code is lifted: for a folder, in its `mod.rs`.
const UNSAFE: [&str; 4] = [
    "filters/verify/sandbox/src/linux/raw.rs",
    "student/model/ops/src/cuda/mod.rs",
    "student/model/ops/src/lt.rs",
    "student/model/src/cpu/lanes.rs",
];

#[test]
fn unsafe_code_is_where_the_map_says_and_nowhere_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in rust_files(root) {
        let path = file.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        // A workspace of its own, which no product is built from, and this file, which spells the lint's name.
        if path.starts_with("tests/fuzz/") || path == "tests/architecture.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source file");
        if text.contains("unsafe_code") {
            found.push(path);
        }
    }
    found.sort();
    assert_eq!(found, UNSAFE, "the files that name the lint are those that may lift it");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    assert!(manifest.contains("\nunsafe_code = \"deny\"\n"), "the workspace denies it");
    let (_, members) = manifest.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("their end");
    for member in members.split(',').map(|member| member.trim().trim_matches('"')).chain(["."]) {
        let manifest = std::fs::read_to_string(root.join(member).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} takes the workspace's lints");
        assert!(!manifest.contains("unsafe_code") || member == ".", "{member} has a word of its own on unsafe code");
    }
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

/// Every Rust file below `dir` that belongs to the product, in order.
pub(crate) fn rust_files(dir: &Path) -> Vec<PathBuf> {
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
    found.sort();
    found
}

//! The dependency edges of ARCHITECTURE.md, asserted from `cargo metadata`: data flows one way.

use cargo_metadata::MetadataCommand;
use std::collections::BTreeMap;

/// What each crate may depend on among ours.
const ALLOWED: [(&str, &[&str]); 13] = [
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
        ],
    ),
    ("distill-data-gen", &["distill-dataset", "distill-teacher"]),
    ("distill-dataset", &[]),
    ("distill-teacher", &["distill-dataset"]),
    (
        "distill-teacher-local",
        &["distill-dataset", "distill-teacher", "distill-chat", "distill-checkpoint", "distill-model"],
    ),
    ("distill-filters", &["distill-dataset", "distill-verify"]),
    ("distill-verify", &[]),
    ("distill-chat", &["distill-dataset"]),
    ("distill-checkpoint", &[]),
    ("distill-model", &["distill-checkpoint"]),
    ("distill-student", &["distill-dataset", "distill-chat", "distill-checkpoint", "distill-model"]),
    ("distill-evaluate", &["distill-dataset", "distill-teacher", "distill-verify"]),
    ("distill-publish", &["distill-dataset"]),
];
/// The crates that may see Burn.
const BURN: [&str; 3] = ["distill-model", "distill-student", "distill-teacher-local"];

#[test]
fn crates_depend_only_on_what_the_map_says() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let allowed = BTreeMap::from(ALLOWED);
    let names: Vec<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not on the map"));
        for dependency in &package.dependencies {
            let ours = names.contains(&dependency.name);
            assert!(
                !ours || allowed.contains(&dependency.name.as_str()),
                "{name} must not depend on {}",
                dependency.name
            );
            let burn = dependency.name == "burn" || dependency.name.starts_with("burn-");
            assert!(!burn || BURN.contains(&name.as_str()), "{name} must not see Burn");
        }
    }
    assert_eq!(names.len(), ALLOWED.len(), "every crate on the map exists");
}

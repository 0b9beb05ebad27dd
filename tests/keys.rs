//! Keys stand still. A change of a key makes paid work again, so it has to be meant: `keys.tsv` holds every stage's key for
//! the shipped recipes, `defaults.tsv` the defaults that each version of a stage was released with.

use distill::{
    progress::Reporter,
    recipe::Recipe,
    record::RunRecord,
    run,
    session::{Mode, Session},
};
use distill_dataset::Store;
use std::{collections::BTreeMap, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The keys of a recipe's stages. What a stage reads from another counts by its name, since nothing is run here.
fn keys(name: &str, overrides: &[String]) -> Vec<(String, String)> {
    let path = root().join("recipes").join(name);
    let recipe = Recipe::load(&path, overrides).unwrap_or_else(|error| panic!("{name}: {error}"));
    let nowhere = tempfile::tempdir().expect("a temporary folder");
    let record = RunRecord {
        name: recipe.name.clone(),
        recipe: recipe.path.display().to_string(),
        overrides: Vec::new(),
        seed: recipe.seed,
        store: "nowhere".to_owned(),
        stages: Vec::new(),
    };
    let store = Store::new(nowhere.path().join("store"));
    let mut session = Session::new(Mode::Plan, store, nowhere.path(), "cpu", record, Reporter::Silent);
    run::run(&mut session, &recipe, &|_| None).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    session.sketches
}

/// Every shipped recipe, with files of its own in place of those that are not shipped.
fn recipes() -> Vec<(&'static str, Vec<String>)> {
    let lines = root().join("tests/keys/two.jsonl");
    let teacher = root().join("recipes/nano-teacher");
    vec![
        ("quickstart.toml", vec![]),
        ("control.toml", vec![]),
        ("nano-teacher.toml", vec![]),
        ("gsm8k.toml", vec![format!("sources.0.problems.jsonl={lines:?}")]),
        ("smollm2.toml", vec![format!("student.base.checkpoint={teacher:?}")]),
    ]
}

/// Compares with a table that was committed, and shows the one that would hold now.
fn held_still(file: &str, found: &str, meant: &str) {
    let path = root().join("tests/keys").join(file);
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs: Vec<&str> = found.lines().filter(|line| !expected.lines().any(|known| known == *line)).collect();
    assert!(
        expected == found,
        "{meant}\nIf that is meant, tests/keys/{file} becomes:\n{found}\nnew or changed:\n{}",
        differs.join("\n")
    );
}

#[test]
fn the_keys_of_the_shipped_recipes_stand_still() {
    let mut table = String::new();
    for (name, overrides) in recipes() {
        for (label, key) in keys(name, &overrides) {
            table.push_str(&format!("{name}\t{label}\t{}\n", &key[..16]));
        }
    }
    held_still("keys.tsv", &table, "a stage's key changed: every store makes it, and what follows from it, again");
}

#[test]
fn adding_an_option_or_saying_a_default_changes_no_key() {
    let set = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        keys("quickstart.toml", &overrides).into_iter().collect::<BTreeMap<_, _>>()
    };
    let plain = set(&[]);
    let said = [
        "student.training.betas=[0.9, 0.95]",
        "student.training.packing=false",
        "filters.1.min-tokens=0",
        "filters.2.max-copies=1",
        "evaluation.teacher=true",
    ];
    assert_eq!(set(&said), plain, "what is said and what is left out are the same recipe");
    let how = [
        "student.training.save-every-seconds=99",
        "student.training.keep-states=5",
        "student.training.checkpointing=always",
        "sources.0.sampling.budget-tokens=5",
        "evaluation.budget-usd=1.5",
    ];
    assert_eq!(set(&how), plain, "how to run is in no key");
    let changed = |set_to: &str| -> Vec<String> {
        let other = set(&[set_to]);
        plain.iter().filter(|(label, key)| other.get(*label) != Some(key)).map(|(label, _)| label.clone()).collect()
    };
    assert_eq!(changed("filters.1.max-tokens=91"), ["selection"], "a threshold is the selection's alone");
    assert_eq!(changed("sources.0.sampling.max-failed-share=0.1"), ["traces"], "a share of failures decides rows");
    assert_eq!(changed("student.training.epochs=8"), ["training"]);
    assert_eq!(changed("sources.0.holdout=255"), ["problems"]);
    assert!(changed("seed=18").contains(&"source".to_owned()), "the seed draws the problems");
    assert!(!changed("seed=18").contains(&"traces".to_owned()), "it is in no sample's identity");
}

#[test]
fn the_call_and_the_template_are_in_the_key_of_traces() {
    let lines = root().join("tests/keys/two.jsonl");
    let chat = root().join("recipes/nano");
    let traces = |more: &[String]| {
        let mut overrides = vec![format!("sources.0.problems.jsonl={lines:?}")];
        overrides.extend(more.iter().cloned());
        let keys: BTreeMap<_, _> = keys("gsm8k.toml", &overrides).into_iter().collect();
        keys["traces"].clone()
    };
    let plain = traces(&[]);
    let completions =
        ["sources.0.teacher.http.api=completions".to_owned(), format!("sources.0.teacher.http.chat={chat:?}")];
    assert_ne!(traces(&completions), plain, "another call is another sample");
    let other = root().join("recipes/nano-teacher");
    let moved = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(&other).expect("the teacher's folder").flatten() {
        fs::copy(entry.path(), moved.path().join(entry.file_name())).expect("a copy");
    }
    let template = moved.path().join("chat_template.jinja");
    let text = fs::read_to_string(&template).expect("a template");
    fs::write(&template, text.replace("<think>\\n", "<think>")).expect("another template");
    let with = |dir: &Path| {
        traces(&["sources.0.teacher.http.api=completions".to_owned(), format!("sources.0.teacher.http.chat={dir:?}")])
    };
    assert_ne!(with(moved.path()), with(&other), "another template is another sample");
    assert_ne!(traces(&["sources.0.teacher.http.served-as=\"vllm fp8\"".to_owned()]), plain, "so is another precision");
    assert_eq!(
        traces(&["sources.0.teacher.http.url=\"http://elsewhere:9/v1\"".to_owned()]),
        plain,
        "an address is not"
    );
    assert_eq!(traces(&["sources.0.teacher.http.concurrency=7".to_owned()]), plain);
}

#[test]
fn the_students_tokenizer_is_in_the_key_of_lengths_by_its_content() {
    let measured = |tokenizer: &Path| {
        let overrides = ["filters.1.max-student-tokens=99".to_owned(), format!("filters.1.tokenizer={tokenizer:?}")];
        let keys: BTreeMap<_, _> = keys("quickstart.toml", &overrides).into_iter().collect();
        (keys["measure-2-length"].clone(), keys["selection"].clone())
    };
    let here = measured(Path::new("nano"));
    let moved = tempfile::tempdir().expect("a temporary folder");
    let file = moved.path().join("tokenizer.json");
    let text = fs::read_to_string(root().join("recipes/nano/tokenizer.json")).expect("a tokenizer");
    fs::write(&file, &text).expect("a copy");
    assert_eq!(measured(moved.path()), here, "where it lies is in no key, and a relative path is the recipe's");
    assert_eq!(measured(&file), here, "the folder's file is the folder");
    fs::write(&file, format!("{text}\n")).expect("another file");
    assert_ne!(measured(&file).0, here.0, "its content is");
}

#[test]
fn a_default_does_not_change_without_its_stages_version() {
    use distill_dataset::Stage;
    let mut table = String::new();
    let mut pin = |stage: Stage, defaults: serde_json::Value| {
        table.push_str(&format!("{}\t{}\t{defaults}\n", stage.name, stage.version));
    };
    let value = |config: &dyn Fn() -> serde_json::Result<serde_json::Value>| config().expect("JSON");
    pin(distill_data_gen::SOURCE, value(&|| serde_json::to_value(distill_data_gen::FileConfig::unset())));
    pin(distill_data_gen::TRACES, value(&|| serde_json::to_value(distill_data_gen::SamplingConfig::unset())));
    for kind in distill_filters::FilterConfig::kinds() {
        let text = match kind {
            "verify" | "judge" | "vote" => serde_json::json!({"on-unknown": "keep"}),
            "long-short" => serde_json::json!({"boundary": 1}),
            _ => serde_json::json!({}),
        };
        let config = distill_filters::FilterConfig::deserialize_as(kind, text).expect("a filter with nothing set");
        // A selector measures nothing: its defaults are the selection's.
        let selection = Stage { name: config.kind(), ..distill_filters::SELECTION };
        let stage = config.filter().map_or(selection, |filter| filter.stage());
        pin(stage, value(&|| serde_json::to_value(&config)));
    }
    pin(distill_student::BASE, value(&|| serde_json::to_value(distill_student::Surgery::default())));
    pin(distill_student::TRAINING, value(&|| serde_json::to_value(distill_student::TrainingConfig::unset())));
    pin(distill_evaluate::EVALUATION, value(&|| serde_json::to_value(distill_evaluate::EvaluationConfig::unset())));
    held_still(
        "defaults.tsv",
        &table,
        "a default changed: old results would be found under it. Raise the stage's version, or leave the default",
    );
}

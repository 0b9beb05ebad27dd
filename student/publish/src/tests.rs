//! The card says what the manifests say, and the gate holds.

use super::*;
use distill_dataset::{Cancel, Curve, Detail, Manifest, Progress, Score};

fn config() -> PublishConfig {
    PublishConfig {
        model_name: "tiny".to_owned(),
        license: "apache-2.0".to_owned(),
        teacher_license: "apache-2.0".to_owned(),
        base_model: None,
        base_license: None,
        accepted_restrictions: vec![],
    }
}

fn manifest(stage: &str, detail: Detail) -> Manifest {
    Manifest {
        stage: stage.to_owned(),
        key: "0123456789abcdef99".to_owned(),
        tally: Tally { detail, ..Tally::default() },
        ..Manifest::default()
    }
}

fn lineage() -> Lineage {
    let score = Score {
        metric: "pass@1".to_owned(),
        mean: 0.8125,
        low: 0.7712,
        high: 0.8479,
        num_problems: 256,
        samples_per_problem: 2,
        censored: 0.01,
        num_unknown: 7,
        num_unanswered: 0,
        protocol: "the protocol".to_owned(),
    };
    let training = Detail::Training {
        architecture: "Qwen2ForCausalLM".to_owned(),
        trained_with: "training.jinja (1)".to_owned(),
        published_with: "the base's (2)".to_owned(),
        steps: 321,
        skipped_steps: 0,
        num_parameters: 331_104,
        loss: Curve { x: vec![1.0], y: vec![0.1234] },
        holdout_loss: Curve::default(),
        tokens_per_s: 1.0,
    };
    Lineage {
        training: Some(manifest("training", training)),
        evaluations: vec![manifest("evaluation", Detail::Evaluation { subject: "after".to_owned(), score })],
        ..Lineage::default()
    }
}

#[test]
fn the_folder_holds_the_checkpoint_its_card_and_true_checksums() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (from, out) = (root.path().join("from"), root.path().join("out"));
    fs::create_dir_all(&from).expect("a folder");
    fs::create_dir_all(&out).expect("a folder");
    fs::write(from.join("model.safetensors"), "weights").expect("a file");
    fs::write(from.join("config.json"), "{}").expect("a file");
    fs::write(from.join("metrics.jsonl"), "not published").expect("a file");
    let context =
        Context { scratch: root.path().to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 1 };
    publish(&config(), &from, &lineage(), &context, &out).expect("a folder");
    assert!(!out.join("metrics.jsonl").exists());
    let sums = fs::read_to_string(out.join("SHA256SUMS")).expect("checksums");
    // SHA-256 of the seven bytes "weights".
    let line = sums.lines().find(|line| line.ends_with("  model.safetensors")).expect("a line");
    assert_eq!(line.len(), 64 + 2 + "model.safetensors".len());
    assert_eq!(sums.lines().count(), 3, "{sums}");
    let card = fs::read_to_string(out.join("README.md")).expect("the card");
    for figure in ["81.2 %", "77.1 % to 84.8 %", "256 × 2", "331104 parameters", "321 optimiser steps", "0.1234"] {
        assert!(card.contains(figure), "the card lacks {figure}:\n{card}");
    }
}

/// The manifest of problems with these licences, so many of them without.
fn problems(licences: &[&str], unlicensed: u64) -> [Manifest; 1] {
    let detail = Detail::Problems {
        train: 10,
        holdout: 2,
        licences: licences.iter().map(|licence| ((*licence).to_owned(), 1)).collect(),
        unlicensed,
        references: Default::default(),
    };
    [Manifest { stage_version: 2, ..manifest("problems", detail) }]
}

#[test]
fn restrictive_licences_need_a_decision() {
    let check = |config: &PublishConfig, licence| check_licences(config, &problems(&[licence], 0), false);
    assert!(check(&config(), "MIT").is_ok());
    let error = check(&config(), "CC-BY-NC-4.0").expect_err("a restriction");
    assert!(error.to_string().contains("no commercial use"), "{error}");
    let accepting = PublishConfig { accepted_restrictions: vec!["cc-by-nc-4.0".to_owned()], ..config() };
    assert!(check(&accepting, "CC-BY-NC-4.0").is_ok());
    let llama = PublishConfig { teacher_license: "llama3.1".to_owned(), ..config() };
    assert!(check(&llama, "MIT").is_err());
}

#[test]
fn a_licence_that_nobody_states_is_refused() {
    let error = check_licences(&config(), &problems(&["MIT"], 3), false).expect_err("three without");
    assert!(error.to_string().contains("3 problems state no licence"), "{error}");
    let accepting = PublishConfig { accepted_restrictions: vec!["unknown".to_owned()], ..config() };
    assert!(check_licences(&accepting, &problems(&["MIT"], 3), false).is_ok());
    let error = check_licences(&config(), &problems(&["MIT"], 0), true).expect_err("whose base?");
    assert!(error.to_string().contains("base-license"), "{error}");
    let stated = |licence: &str| PublishConfig { base_license: Some(licence.to_owned()), ..config() };
    assert!(check_licences(&stated("apache-2.0"), &problems(&["MIT"], 0), true).is_ok());
    assert!(check_licences(&stated("llama3.1"), &problems(&["MIT"], 0), true).is_err());
}

/// What was selected: kept traces, and how many of them a verifier accepted.
fn selection(kept: u64, verified: u64) -> Manifest {
    let funnel = distill_dataset::Funnel { steps: vec![], kept };
    manifest("selection", Detail::Selection { funnel, lengths: Default::default(), verified })
}

#[test]
fn a_card_claims_what_a_manifest_says_and_no_more() {
    let card = |kept, verified| {
        let lineage = Lineage { selection: Some(selection(kept, verified)), ..Lineage::default() };
        data_card("traces", "mit", &lineage).expect("a card")
    };
    assert!(card(9, 0).contains("No verifier judged") && !card(9, 0).contains("accepted"));
    assert!(card(9, 9).contains("A verifier accepted the answer of every one"));
    assert!(card(9, 4).contains("A verifier accepted the answer of 4."));
    assert!(matches!(data_card("traces", "mit", &Lineage::default()), Err(PublishError::Missing(_))));
    let with = |problems: Vec<Manifest>| {
        model_card(&config(), &Lineage { problems, ..lineage() })
            .expect("a card")
            .contains("held out across all sources")
    };
    assert!(with(problems(&[], 0).to_vec()));
    assert!(!with(vec![]), "nothing is known of the problems");
    let shaped = |detail| {
        let examples = Some(manifest("examples", detail));
        model_card(&config(), &Lineage { examples, ..lineage() }).expect("a card")
    };
    let card = shaped(Detail::Shaped { shaped: 7, bytes_before: 200, bytes_after: 150 });
    assert!(card.contains("of 7 the reasoning was cut") && card.contains("75.0 % of all bytes"), "{card}");
    assert!(!shaped(Detail::None).contains("cut behind"), "traces as they were");
    assert!(!with(vec![manifest("problems", Detail::None)]), "an older split was drawn in each source by itself");
}

#[test]
fn a_card_without_training_is_refused() {
    assert!(matches!(model_card(&config(), &Lineage::default()), Err(PublishError::Missing(_))));
}

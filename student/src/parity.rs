//! Loss, gradient norm, schedule and AdamW against PyTorch, step by step (`tests/parity/training_steps.py`).

use crate::{
    Compute, States, TrainingConfig, batch,
    cache::{self, Sequence},
    learner::{Learner, Plan},
};
use distill_chat::TokenisedExample;
use distill_checkpoint::Checkpoint;
use distill_model::{AdamStep, Kind, LossOptions, Recompute};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

#[derive(Deserialize)]
struct Fixture {
    sequences: Vec<Row>,
    steps: Vec<Step>,
    weights: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    loss: Vec<bool>,
    weight: f32,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

/// The worst relative differences of loss, gradient norm and final weights.
fn worst(mut learner: Learner, micro: Option<usize>, recompute: Recompute) -> [f64; 3] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity");
    let text = fs::read_to_string(folder.join("training_steps.json")).expect("the fixture");
    let fixture: Fixture = serde_json::from_str(&text).expect("JSON");
    let config = TrainingConfig {
        learning_rate: 1e-3,
        min_learning_rate_ratio: 0.1,
        warmup_ratio: 0.25,
        weight_decay: 0.1,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        max_grad_norm: 0.5,
        ..crate::tests::config()
    };
    let sequences: Vec<Sequence> = fixture
        .sequences
        .into_iter()
        .map(|row| Sequence { tokens: TokenisedExample { ids: row.ids, loss: row.loss }, weight: row.weight })
        .collect();
    let (_folder, cache) = cache::of(&sequences);
    let micro_batches = batch::micro_batches(&[&[0], &[1]], micro, cache.learnt());
    let documents = |bins| batch::documents(bins, cache.learnt()).expect("documents");
    let batches: Vec<_> = micro_batches.into_iter().map(documents).collect();
    let divisor = batches.iter().map(distill_model::Documents::weight).sum();
    let plan = Plan::new(&learner.parameters(), &config).expect("a plan");
    let (mut worst_loss, mut worst_norm) = (0.0_f64, 0.0_f64);
    let total = fixture.steps.len() as u64;
    assert_eq!(total, 32);
    for (index, expected) in fixture.steps.iter().enumerate() {
        for documents in &batches {
            learner.accumulate(documents, LossOptions { divisor, z_loss: 0.0 }, recompute).expect("gradients");
        }
        let totals = learner.totals(|index| plan.of(index).is_some()).expect("totals");
        let learning_rate = config.learning_rate_at(index as u64, total);
        assert!((learning_rate - expected.learning_rate).abs() < 1e-12, "step {index}: learning rate {learning_rate}");
        worst_loss = worst_loss.max((totals.loss - expected.loss).abs() / expected.loss);
        worst_norm = worst_norm.max((totals.norm - expected.grad_norm).abs() / expected.grad_norm);
        let step = AdamStep {
            count: index as u64 + 1,
            learning_rate,
            scale: (config.max_grad_norm / (totals.norm + 1e-6)).min(1.0),
            betas: config.betas,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
        };
        learner.step(&step, |index| plan.of(index)).expect("a step");
    }
    let (mut difference, mut size) = (0.0, 0.0);
    for (name, expected) in fixture.weights {
        let found = learner.read(&name, Kind::Value).expect("the device").expect("a parameter");
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            difference += f64::from(found - expected).powi(2);
            size += f64::from(*expected).powi(2);
        }
    }
    [worst_loss, worst_norm, (difference / size).sqrt()]
}

#[test]
#[expect(clippy::print_stdout, reason = "the worst errors, seen with --nocapture")]
fn thirty_two_steps_are_those_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/models/qwen2_tied");
    let checkpoint = || Checkpoint::open(&folder).expect("a checkpoint");
    let on_cpu = || Learner::load(&checkpoint(), "cpu", Compute::Float32, States::Float32).expect("a model");
    let by_programs = || Learner::load(&checkpoint(), "flex", Compute::Float32, States::Float32).expect("a model");
    for (name, learner, micro, recompute) in [
        ("on the CPU", on_cpu(), None, Recompute::Auto),
        ("on the CPU, in micro-batches", on_cpu(), Some(1), Recompute::Auto),
        ("by programs", by_programs(), None, Recompute::Auto),
        ("by programs, in micro-batches, computed again", by_programs(), Some(1), Recompute::Always),
    ] {
        let [loss, norm, weights] = worst(learner, micro, recompute);
        println!("{name}: worst loss {loss:.1e}, gradient norm {norm:.1e}, weights {weights:.1e}");
        assert!(loss < 1e-5, "{name}: a loss is off by {loss:e}");
        assert!(norm < 1e-4, "{name}: a gradient norm is off by {norm:e}");
        assert!(weights < 1e-4, "{name}: the weights are off by {weights:e}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the worst errors, seen with --nocapture")]
fn thirty_two_steps_in_bfloat16_stay_close() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/models/qwen2_tied");
    for states in [States::Float32, States::Bfloat16] {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        let learner = Learner::load(&checkpoint, "flex", Compute::Bfloat16, states).expect("a model");
        let [loss, norm, weights] = worst(learner, None, Recompute::Auto);
        println!("{states:?}: worst loss {loss:.1e}, gradient norm {norm:.1e}, weights {weights:.1e}");
        assert!(loss < 2e-2, "{states:?}: a loss is off by {loss:e}");
        assert!(norm < 1e-1, "{states:?}: a gradient norm is off by {norm:e}");
        assert!(weights < 3e-2, "{states:?}: the weights are off by {weights:e}");
    }
}

//! Loss, gradient norm, schedule and AdamW against PyTorch, step by step (`tests/parity/training_steps.py`).

use crate::{
    Answers, TrainingConfig,
    batch::MicroBatch,
    corpus::Sequence,
    loss::cross_entropy,
    optimizer::{AdamW, global_norm},
};
use distill_chat::TokenisedExample;
use distill_checkpoint::Checkpoint;
use distill_model::Decoder;
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
    loss: f32,
    grad_norm: f32,
    learning_rate: f64,
}

#[test]
fn eight_steps_are_those_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity");
    let text = fs::read_to_string(folder.join("training_steps.json")).expect("the fixture");
    let fixture: Fixture = serde_json::from_str(&text).expect("JSON");
    let config = TrainingConfig {
        epochs: 8,
        batch_size: 2,
        micro_batch_size: None,
        max_tokens: 64,
        learning_rate: 5e-3,
        min_learning_rate_ratio: 0.1,
        warmup_ratio: 0.25,
        weight_decay: 0.1,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        max_grad_norm: 0.5,
        answers: Answers::Own,
    };
    let sequences: Vec<Sequence> = fixture
        .sequences
        .into_iter()
        .map(|row| Sequence { tokens: TokenisedExample { ids: row.ids, loss: row.loss }, weight: row.weight })
        .collect();
    let plain = distill_model::device("cpu").expect("the CPU");
    let device = plain.clone().autodiff();
    let checkpoint = Checkpoint::open(&folder.join("models/qwen2_tied")).expect("a checkpoint");
    let mut model = Decoder::load(&checkpoint, &device).expect("a model");
    let mut optimizer = AdamW::new(&model, &plain);
    let batch = MicroBatch::of(&sequences.iter().collect::<Vec<_>>(), 0);
    for (index, expected) in fixture.steps.iter().enumerate() {
        let loss = cross_entropy(&model, &batch, batch.weight(), &device);
        let gradients = model.gradients(&loss.backward());
        let (norm, scale) = global_norm(&gradients, config.max_grad_norm);
        let learning_rate = config.learning_rate_at(index as u64, 8);
        assert!((learning_rate - expected.learning_rate).abs() < 1e-12, "step {index}: learning rate {learning_rate}");
        optimizer.step(&mut model, gradients, &scale, &config, (index as u64 + 1, learning_rate));
        let (loss, norm): (f32, f32) = (loss.inner().into_scalar(), norm.into_scalar());
        assert!(
            (loss - expected.loss).abs() < 2e-5 * expected.loss,
            "step {index}: loss {loss}, PyTorch's {}",
            expected.loss
        );
        assert!(
            (norm - expected.grad_norm).abs() < 1e-4 * expected.grad_norm,
            "step {index}: norm {norm}, PyTorch's {}",
            expected.grad_norm
        );
    }
    let found: BTreeMap<String, Vec<f32>> = model
        .parameters()
        .into_iter()
        .map(|parameter| (parameter.name.clone(), model.read(&parameter.name).expect("a parameter")))
        .collect();
    for (name, expected) in fixture.weights {
        // AdamW divides by the root of squared gradients: where those are near zero, rounding shows most.
        let worst = found[&name].iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{name} differs by {worst} after eight steps");
    }
}

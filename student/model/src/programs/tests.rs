//! What the fixtures of Transformers do not cover: documents of different lengths side by side, labels in part, the two ways of
//! attention, and what a device refuses.

use super::{DeviceLearner, States};
use crate::{Documents, Kind, Label, LossOptions, ModelError, Recompute, device, parity};
use distill_checkpoint::Checkpoint;

/// A fixture's learner on the processor.
fn learner(fixture: &parity::Fixture, bfloat16: bool) -> DeviceLearner {
    let checkpoint = Checkpoint::open(&fixture.folder).expect("the checkpoint");
    let device = device("flex").expect("the processor");
    DeviceLearner::load(&checkpoint, &device, bfloat16, States::Float32).expect("a learner")
}

/// Documents of these lengths out of a fixture's tokens, every second token labelled, with weights that differ.
fn documents(fixture: &parity::Fixture, lengths: &[usize]) -> Vec<Documents> {
    let tokens: Vec<u32> = fixture.tokens.iter().map(|token| *token as u32).collect();
    let one = |(index, length): (usize, &usize)| {
        let place = |row: usize| tokens[(index * 5 + row) % tokens.len()];
        let label = |row: usize| Label { row, target: place(row + 1), weight: 0.5 + row as f32 };
        Documents {
            tokens: (0..*length).map(place).collect(),
            lengths: vec![*length],
            labels: (0..length - 1).step_by(2).map(label).collect(),
        }
    };
    lengths.iter().enumerate().map(one).collect()
}

/// Those documents one after the other.
fn packed(parts: &[Documents]) -> Documents {
    let mut out = Documents::default();
    for part in parts {
        let first = out.tokens.len();
        out.labels.extend(part.labels.iter().map(|label| Label { row: first + label.row, ..*label }));
        out.tokens.extend(&part.tokens);
        out.lengths.extend(&part.lengths);
    }
    out
}

fn gradients(learner: &mut DeviceLearner) -> Vec<(String, Vec<f32>)> {
    let names: Vec<String> = learner.parameters().into_iter().map(|parameter| parameter.name).collect();
    let read = |name: String| {
        let gradient = learner.read(&name, Kind::Gradient).expect("the device").expect("a gradient");
        (name, gradient)
    };
    names.into_iter().map(read).collect()
}

/// The largest difference of two gradients, relative to the larger one's length.
fn apart(left: &[f32], right: &[f32]) -> f64 {
    let length =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let difference = length(&mut left.iter().zip(right).map(|(left, right)| left - right));
    difference / length(&mut left.iter().copied()).max(1e-12)
}

#[test]
fn packed_documents_learn_as_alone_and_in_any_room() {
    for fixture in parity::fixtures() {
        let parts = documents(&fixture, &[2, 7, 1 + 8, 3]);
        let options = LossOptions { divisor: 17.0, z_loss: 1e-3 };
        let mut together = learner(&fixture, false);
        together.accumulate(&packed(&parts), options, Recompute::Always).expect("gradients");
        let mut alone = learner(&fixture, false);
        for part in &parts {
            alone.accumulate(part, options, Recompute::Auto).expect("gradients");
        }
        let [(loss, _), (other, _)] =
            [&mut together, &mut alone].map(|learner| learner.totals(|_| true).expect("totals"));
        assert!((loss - other).abs() < 1e-5 * loss.abs(), "{}: {loss} together, {other} alone", fixture.name);
        for ((name, left), (_, right)) in gradients(&mut together).into_iter().zip(gradients(&mut alone)) {
            assert!(apart(&left, &right) < 1e-4, "{}: {name} is off by {}", fixture.name, apart(&left, &right));
        }
    }
}

#[test]
fn attention_by_products_is_attention_by_fused_kernels() {
    for fixture in parity::fixtures() {
        let batch = packed(&documents(&fixture, &[9, 4]));
        let options = LossOptions { divisor: 9.0, z_loss: 0.0 };
        let [fused, products] = [super::attention::Way::Fused, super::attention::Way::Plain].map(|way| {
            let mut learner = learner(&fixture, true);
            learner.attend(way);
            learner.accumulate(&batch, options, Recompute::Auto).expect("gradients");
            gradients(&mut learner)
        });
        for ((name, left), (_, right)) in fused.into_iter().zip(products) {
            // A key's bias changes no weight: its gradient is rounding alone.
            let allowed = if name.ends_with("k_proj.bias") { f64::INFINITY } else { 0.1 };
            assert!(apart(&left, &right) < allowed, "{}: {name} is off by {}", fixture.name, apart(&left, &right));
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_is_named() {
    let fixture = &parity::fixtures()[0];
    let mut learner = learner(fixture, false);
    let name = "model.layers.0.mlp.down_proj.weight";
    let mut values = learner.read(name, Kind::Value).expect("the device").expect("a parameter");
    values[3] = f32::NAN;
    assert!(learner.write(name, Kind::Value, &values).expect("the device"));
    let batch = packed(&documents(fixture, &[8]));
    learner.accumulate(&batch, LossOptions { divisor: 1.0, z_loss: 0.0 }, Recompute::Auto).expect("work is started");
    let error = learner.totals(|_| true).expect_err("not a number");
    assert!(matches!(&error, ModelError::NotFinite { what: "loss", .. }), "{error}");
    assert!(error.to_string().contains("model."), "the parameter is named: {error}");
}

//! The learner against Transformers' gradients (`tests/parity/models.py`), and against itself: packed, recomputed, on
//! other threads.

use super::{AdamStep, Documents, Kind, Label, Learner, LossOptions, Recompute};
use crate::parity::{Fixture, fixtures};
use distill_checkpoint::Checkpoint;

fn learner(fixture: &Fixture) -> Learner {
    Learner::load(&Checkpoint::open(&fixture.folder).expect("the checkpoint")).expect("the model")
}

/// The rows of a fixture as documents; every token but the first is predicted.
fn documents(fixture: &Fixture, rows: std::ops::Range<usize>) -> Documents {
    let [_, seq] = fixture.shape;
    let mut documents = Documents::default();
    for row in rows {
        let first = documents.tokens.len();
        documents.tokens.extend(fixture.tokens[row * seq..(row + 1) * seq].iter().map(|id| *id as u32));
        documents.lengths.push(seq);
        for place in first..first + seq - 1 {
            documents.labels.push(Label { row: place, target: documents.tokens[place + 1], weight: 1.0 });
        }
    }
    documents
}

fn options(documents: &Documents) -> LossOptions {
    LossOptions { divisor: documents.weight(), z_loss: 0.0 }
}

/// The difference of two vectors over the length of the second.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().map(|value| f64::from(*value))).max(1e-12)
}

fn gradients(learner: &mut Learner) -> Vec<(String, Vec<f32>)> {
    let names: Vec<String> = learner.parameters().into_iter().map(|parameter| parameter.name).collect();
    names.into_iter().map(|name| (name.clone(), learner.read(&name, Kind::Gradient).expect("a gradient"))).collect()
}

#[test]
fn loss_and_every_gradient_equal_the_reference() {
    for fixture in fixtures() {
        let mut learner = learner(&fixture);
        let documents = documents(&fixture, 0..fixture.shape[0]);
        let loss = learner.accumulate(&documents, options(&documents), Recompute::Never);
        let loss = loss.cross_entropy / documents.weight();
        let off = (loss - f64::from(fixture.loss)).abs() / f64::from(fixture.loss);
        assert!(off < 1e-6, "{}: loss {loss}, expected {}", fixture.name, fixture.loss);
        let gradients = gradients(&mut learner);
        assert_eq!(gradients.len(), fixture.gradients.len(), "{}: parameters", fixture.name);
        for (name, gradient) in gradients {
            let off = relative(&gradient, &fixture.gradients[&name]);
            assert!(off < 1e-4, "{}: gradient of {name}: relative L2 {off:e}", fixture.name);
        }
    }
}

#[test]
fn recomputing_blocks_and_other_threads_change_no_bit() {
    for fixture in fixtures() {
        let documents = documents(&fixture, 0..fixture.shape[0]);
        let with = |threads: usize, recompute: Recompute| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let mut learner = learner(&fixture);
                let loss = learner.accumulate(&documents, options(&documents), recompute);
                (loss, gradients(&mut learner))
            })
        };
        let expected = with(2, Recompute::Never);
        assert!(with(2, Recompute::Always) == expected, "{}: recomputed", fixture.name);
        assert!(with(5, Recompute::Auto) == expected, "{}: on five threads", fixture.name);
    }
}

#[test]
fn documents_beside_each_other_do_not_meet() {
    for fixture in fixtures().into_iter().filter(|fixture| fixture.shape[0] > 1) {
        let rows = fixture.shape[0];
        let together = documents(&fixture, 0..rows);
        let mut packed = learner(&fixture);
        let loss = packed.accumulate(&together, options(&together), Recompute::Never);
        let mut apart = learner(&fixture);
        let mut sum = 0.0;
        for row in 0..rows {
            let alone = documents(&fixture, row..row + 1);
            sum += apart.accumulate(&alone, options(&together), Recompute::Never).cross_entropy;
        }
        assert!((sum - loss.cross_entropy).abs() < 1e-6 * sum, "{}: {sum} apart, {loss:?} packed", fixture.name);
        for ((name, packed), (_, apart)) in gradients(&mut packed).into_iter().zip(gradients(&mut apart)) {
            let off = relative(&packed, &apart);
            assert!(off < 1e-5, "{}: gradient of {name}: relative L2 {off:e}", fixture.name);
        }
    }
}

#[test]
fn the_loss_without_learning_is_the_same_and_learns_nothing() {
    let fixture = fixtures().swap_remove(0);
    let documents = documents(&fixture, 0..fixture.shape[0]);
    let mut learner = learner(&fixture);
    let looked = learner.loss(&documents, options(&documents));
    assert_eq!(learner.gradient_norm(|_| true), 0.0);
    assert_eq!(looked, learner.accumulate(&documents, options(&documents), Recompute::Never));
    assert!(learner.gradient_norm(|_| true) > 0.0);
    assert_eq!(learner.gradient_norm(|_| false), 0.0, "what does not learn does not count");
}

/// The z-loss has no reference here: its gradient is compared with differences of the loss.
#[test]
fn the_gradient_of_the_z_loss_is_that_of_its_value() {
    let fixture = fixtures().swap_remove(0);
    let documents = documents(&fixture, 0..fixture.shape[0]);
    let options = LossOptions { z_loss: 0.5, ..options(&documents) };
    let mut learner = learner(&fixture);
    let total = |learner: &mut Learner| {
        let loss = learner.loss(&documents, options);
        (loss.cross_entropy + loss.z) / options.divisor
    };
    learner.accumulate(&documents, options, Recompute::Never);
    let name = "model.norm.weight";
    let gradient = learner.read(name, Kind::Gradient).expect("a gradient");
    let values = learner.read(name, Kind::Value).expect("values");
    for index in 0..3 {
        let mut at = |shift: f32| {
            let mut moved = values.clone();
            moved[index] += shift;
            assert!(learner.write(name, Kind::Value, &moved));
            total(&mut learner)
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        let off = (slope - f64::from(gradient[index])).abs();
        assert!(off < 2e-3 * slope.abs().max(0.05), "{index}: slope {slope}, gradient {}", gradient[index]);
    }
}

#[test]
fn a_step_moves_what_learns_and_what_is_written_comes_back() {
    let fixture = fixtures().swap_remove(0);
    let documents = documents(&fixture, 0..fixture.shape[0]);
    let mut learner = learner(&fixture);
    let parameters = learner.parameters();
    let values = |learner: &mut Learner, kind| -> Vec<Vec<f32>> {
        parameters.iter().map(|parameter| learner.read(&parameter.name, kind).expect("values")).collect()
    };
    let before = values(&mut learner, Kind::Value);
    let first = learner.loss(&documents, options(&documents)).cross_entropy;
    for count in 1..=5 {
        learner.accumulate(&documents, options(&documents), Recompute::Never);
        let step =
            AdamStep { count, learning_rate: 1e-3, scale: 1.0, betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1 };
        learner.step(&step, |index| (index > 0).then_some(true));
    }
    assert!(learner.loss(&documents, options(&documents)).cross_entropy < first, "the loss falls");
    let after = values(&mut learner, Kind::Value);
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, index == 0, "{}", parameters[index].name);
    }
    let mut copy = self::learner(&fixture);
    for kind in [Kind::Value, Kind::First, Kind::Second] {
        let expected = values(&mut learner, kind);
        for (parameter, values) in parameters.iter().zip(&expected) {
            assert!(copy.write(&parameter.name, kind, values));
        }
        assert_eq!(values(&mut copy, kind), expected);
    }
    assert_eq!(copy.loss(&documents, options(&documents)), learner.loss(&documents, options(&documents)));
    assert!(!copy.write("model.norm.weight", Kind::Value, &[1.0]), "another length");
    assert!(copy.read("unknown", Kind::Value).is_none());
}

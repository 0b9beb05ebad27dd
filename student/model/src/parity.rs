//! Against Transformers: logits, loss and every gradient of the models of `tests/parity/models`, made by `models.py`.

use crate::{
    BLOCK, Decoder, DeviceLearner, Documents, Kind, Label, LossOptions, Precision, Recompute, Share, States, Stepper,
    Wanted, device,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use distill_checkpoint::{Checkpoint, Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
use safetensors::SafeTensors;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A model's files and what the reference makes of them.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) tokens: Vec<i64>,
    pub(crate) shape: [usize; 2],
    logits: Vec<f32>,
    pub(crate) loss: f32,
    pub(crate) gradients: BTreeMap<String, Vec<f32>>,
}

impl Fixture {
    fn load(folder: PathBuf) -> Fixture {
        let bytes = fs::read(folder.join("expected.safetensors")).expect("the fixture");
        let tensors = SafeTensors::deserialize(&bytes).expect("a whole fixture");
        let words = |name: &str| -> Vec<[u8; 4]> {
            let data = tensors.tensor(name).expect("a tensor").data();
            data.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect()
        };
        let floats = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect::<Vec<f32>>();
        let shape = tensors.tensor("tokens").expect("tokens").shape().to_vec();
        let gradients =
            tensors.names().into_iter().filter_map(|name| Some((name.strip_prefix("grad.")?.to_owned(), floats(name))));
        Fixture {
            name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
            tokens: words("tokens").into_iter().map(|word| i64::from(i32::from_le_bytes(word))).collect(),
            shape: [shape[0], shape[1]],
            logits: floats("logits"),
            loss: floats("loss")[0],
            gradients: gradients.collect(),
            folder,
        }
    }

    fn model(&self, device: &Device) -> Decoder {
        Decoder::load(&Checkpoint::open(&self.folder).expect("the checkpoint"), device).expect("the model")
    }

    fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.tokens.clone(), self.shape), device)
    }

    fn vocab(&self) -> usize {
        self.logits.len() / self.tokens.len()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/models")
}

pub(crate) fn fixtures() -> Vec<Fixture> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root()).expect("the fixtures").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 16, "expected at least 16 fixtures, found {}", folders.len());
    folders.into_iter().map(Fixture::load).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().expect("float32")
}

/// The largest difference, in units of what is allowed: 1e-4 of the value and 1e-5.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(found, expected)| (found - expected).abs() / (1e-5 + 1e-4 * expected.abs())).fold(0.0, f32::max)
}

impl Fixture {
    /// Every token but the first is predicted, with the same weight.
    fn documents(&self) -> Documents {
        let [rows, seq] = self.shape;
        let tokens: Vec<u32> = self.tokens.iter().map(|token| *token as u32).collect();
        let rows_with_labels = (0..rows * seq).filter(|row| row % seq != seq - 1);
        let labels = rows_with_labels.map(|row| Label { row, target: tokens[row + 1], weight: 1.0 }).collect();
        Documents { lengths: vec![seq; rows], labels, tokens }
    }

    /// The loss, and for each parameter how far its gradient is off, in relative L2.
    fn learnt(&self, bfloat16: bool, states: States, recompute: Recompute) -> (f32, BTreeMap<String, f64>) {
        let checkpoint = Checkpoint::open(&self.folder).expect("the checkpoint");
        let device = device("flex").expect("the processor");
        let mut learner = DeviceLearner::load(&checkpoint, &device, bfloat16, states).expect("a learner");
        let documents = self.documents();
        let options = LossOptions { divisor: documents.weight(), z_loss: 0.0 };
        // Twice, so that what adds up is seen too.
        for _ in 0..2 {
            learner.accumulate(&documents, options, recompute).expect("gradients");
        }
        let (loss, norm) = learner.totals(|_| true).expect("totals");
        let mut square = 0.0;
        let errors: BTreeMap<String, f64> = learner
            .parameters()
            .into_iter()
            .map(|parameter| {
                let found = learner.read(&parameter.name, Kind::Gradient).expect("the device").expect("a gradient");
                let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
                square += length(&mut found.iter().map(|value| f64::from(*value)));
                let expected = &self.gradients[&parameter.name];
                let difference = length(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a * 0.5 - b)));
                let size = length(&mut expected.iter().map(|value| f64::from(*value))).max(1e-24);
                (parameter.name, (difference / size).sqrt())
            })
            .collect();
        assert!((square.sqrt() - norm).abs() < 1e-6 * norm, "{}: the norm is that of the gradients", self.name);
        (loss as f32 * 0.5, errors)
    }
}

fn worst(errors: BTreeMap<String, f64>) -> (String, f64) {
    errors.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("gradients")
}

#[test]
#[expect(clippy::print_stdout, reason = "the table of worst errors, seen with --nocapture")]
fn logits_loss_and_every_gradient_equal_the_reference() {
    println!("{:34}{:>16}{:>12}{:>14}  worst gradient", "fixture", "logits/allowed", "loss rel", "gradient rel");
    let device = device("cpu").expect("the CPU");
    for fixture in fixtures() {
        let tokens = fixture.tokens(&device);
        let plain = fixture.model(&device);
        let logits_error = distance(&values(plain.logits(plain.hidden(tokens))), &fixture.logits);
        let (found, errors) = fixture.learnt(false, States::Float32, Recompute::Auto);
        let again = fixture.learnt(false, States::Float32, Recompute::Always);
        assert_eq!((found, &errors), (again.0, &again.1), "{}: computed again, bit for bit", fixture.name);
        let loss_error = (found - fixture.loss).abs() / fixture.loss;
        let names: BTreeSet<&String> = errors.keys().collect();
        assert_eq!(names, fixture.gradients.keys().collect(), "{}: parameters", fixture.name);
        let (worst_name, worst) = worst(errors);
        println!("{:34}{logits_error:>16.4}{loss_error:>12.1e}{worst:>14.1e}  {worst_name}", fixture.name);
        assert!(logits_error < 1.0, "{}: logits are off by {logits_error} of what is allowed", fixture.name);
        assert!(loss_error < 1e-6, "{}: loss {found}, expected {}", fixture.name, fixture.loss);
        assert!(worst < 1e-4, "{}: gradient of {worst_name}: relative L2 {worst:e}", fixture.name);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the table of worst errors, seen with --nocapture")]
fn bfloat16_rounds_and_changes_nothing_else() {
    for fixture in fixtures() {
        for states in [States::Float32, States::Bfloat16] {
            let (found, errors) = fixture.learnt(true, states, Recompute::Auto);
            let loss_error = (found - fixture.loss).abs() / fixture.loss;
            let (worst_name, worst) = worst(errors);
            println!("{:34}{states:>10?}{loss_error:>12.1e}{worst:>14.1e}  {worst_name}", fixture.name);
            assert!(loss_error < 1e-2, "{}: loss {found}, expected {}", fixture.name, fixture.loss);
            assert!(worst < 0.2, "{}: gradient of {worst_name}: relative L2 {worst:e}", fixture.name);
        }
    }
}

/// What a stepper makes of one row of a fixture, fed in pieces of these lengths; the rest token by token.
fn decode(stepper: &mut Stepper, tokens: &[u32], pieces: &[usize], blocks: &[u32]) -> Vec<f32> {
    let (mut out, mut row, mut start) = (Vec::new(), Vec::new(), 0);
    let mut pieces = pieces.iter().copied();
    while start < tokens.len() {
        let end = (start + pieces.next().unwrap_or(1)).min(tokens.len());
        let share = Share { tokens: &tokens[start..end], start, blocks, logits: Wanted::All };
        let logits = stepper.step(&[share]).expect("a step");
        assert_eq!(logits.rows(), end - start);
        for index in 0..logits.rows() {
            logits.copy_row(index, &mut row);
            out.extend_from_slice(&row);
        }
        start = end;
    }
    out
}

#[test]
fn decoding_over_a_cache_equals_the_reference() {
    for fixture in fixtures() {
        let checkpoint = Checkpoint::open(&fixture.folder).expect("the checkpoint");
        let ([rows, seq], vocab) = (fixture.shape, fixture.vocab());
        let needed = seq.div_ceil(BLOCK) as u32;
        // Blocks in any order, another row's between them.
        let blocks: Vec<u32> = (0..needed).rev().map(|index| 2 * index + 1).collect();
        let bytes = crate::block_bytes(checkpoint.config(), "cpu", Precision::Stored) * 2 * needed as usize;
        let load = || Stepper::load(&checkpoint, "cpu", Precision::Stored, bytes).expect("the model");
        let by_programs = || Stepper::load_programs(&checkpoint, bytes).expect("the model");
        for row in 0..rows {
            let tokens: Vec<u32> = fixture.tokens[row * seq..(row + 1) * seq].iter().map(|id| *id as u32).collect();
            let expected = &fixture.logits[row * seq * vocab..(row + 1) * seq * vocab];
            let whole = decode(&mut load(), &tokens, &[seq], &blocks);
            let error = distance(&whole, expected);
            assert!(error < 1.0, "{}: logits on the CPU are off by {error} of what is allowed", fixture.name);
            for pieces in [&[5, 1, 3][..], &[seq / 2]] {
                let found = decode(&mut load(), &tokens, pieces, &blocks);
                assert_eq!(found, whole, "{}: in pieces of {pieces:?}, bit for bit", fixture.name);
            }
            for pieces in [&[seq][..], &[5, 1, 3]] {
                let error = distance(&decode(&mut by_programs(), &tokens, pieces, &blocks), expected);
                assert!(error < 1.0, "{}: logits of programs, {pieces:?}: {error} of what is allowed", fixture.name);
            }
        }
    }
}

#[test]
fn shares_of_one_step_do_not_touch_each_other() {
    for fixture in fixtures().into_iter().filter(|fixture| fixture.shape[0] == 2) {
        let checkpoint = Checkpoint::open(&fixture.folder).expect("the checkpoint");
        let ([_, seq], vocab) = (fixture.shape, fixture.vocab());
        let bytes = crate::block_bytes(checkpoint.config(), "cpu", Precision::Stored) * 4;
        let tokens: Vec<u32> = fixture.tokens.iter().map(|id| *id as u32).collect();
        let (first, second) = tokens.split_at(seq);
        let mut alone = Stepper::load(&checkpoint, "cpu", Precision::Stored, bytes).expect("the model");
        let expected = decode(&mut alone, first, &[seq], &[0]);
        for mut stepper in [
            Stepper::load(&checkpoint, "cpu", Precision::Stored, bytes).expect("the model"),
            Stepper::load_programs(&checkpoint, bytes).expect("the model"),
        ] {
            let on_cpu = stepper.is_on_cpu();
            let share = |tokens, start, blocks, logits| Share { tokens, start, blocks, logits };
            // One prompt in two pieces while the other goes on token by token.
            let steps: [&[Share<'_>]; 3] = [
                &[share(&first[..4], 0, &[2], Wanted::None), share(&second[..1], 0, &[1], Wanted::Last)],
                &[share(&second[1..2], 1, &[1], Wanted::Last), share(&first[4..7], 4, &[2], Wanted::Last)],
                &[share(&first[7..8], 7, &[2], Wanted::Last), share(&second[2..3], 2, &[1], Wanted::None)],
            ];
            let mut found = Vec::new();
            for (index, step) in steps.iter().enumerate() {
                let logits = stepper.step(step).expect("a step");
                let mut row = Vec::new();
                logits.copy_row(if index == 1 { 1 } else { 0 }, &mut row);
                found.push(row);
            }
            for (position, found) in [(6, &found[1]), (7, &found[2])] {
                let expected = &expected[position * vocab..(position + 1) * vocab];
                let error = distance(found, expected);
                assert!(error < 1.0, "{}: position {position} is off by {error} of what is allowed", fixture.name);
                assert!(!on_cpu || found == expected, "{}: position {position}, bit for bit", fixture.name);
            }
        }
    }
}

#[test]
fn a_step_that_cannot_be_taken_is_an_error() {
    let checkpoint = Checkpoint::open(&root().join("llama_multi_head")).expect("the checkpoint");
    let bytes = crate::block_bytes(checkpoint.config(), "cpu", Precision::Stored) * 2;
    let mut stepper = Stepper::load(&checkpoint, "cpu", Precision::Stored, bytes).expect("the model");
    let good = Share { tokens: &[1, 2], start: 0, blocks: &[0], logits: Wanted::Last };
    let bad = [
        Share { tokens: &[], ..good },
        Share { tokens: &[40], ..good },
        Share { blocks: &[2], ..good },
        Share { start: 31, ..good },
    ];
    for share in bad {
        assert!(stepper.step(&[good, share]).is_err(), "{share:?}");
    }
    assert!(stepper.step(&[good]).is_ok());
    assert!(Stepper::load(&checkpoint, "cpu", Precision::Stored, 100).is_err(), "no room for a block");
}

#[test]
fn padding_on_the_right_changes_nothing_before_it() {
    for fixture in fixtures() {
        let device = device("cpu").expect("the CPU");
        let (model, tokens) = (fixture.model(&device), fixture.tokens(&device));
        let ([rows, seq], vocab) = (fixture.shape, fixture.vocab());
        let padded = Tensor::cat(vec![tokens, Tensor::zeros([rows, 7], &device)], 1);
        let logits = model.logits(model.hidden(padded)).slice([0..rows, 0..seq, 0..vocab]);
        assert!(distance(&values(logits), &fixture.logits) < 1.0, "{}", fixture.name);
    }
}

#[test]
fn weights_go_out_as_they_came_in() {
    let device = device("cpu").expect("the CPU");
    for fixture in fixtures() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let checkpoint = Checkpoint::open(&fixture.folder).expect("the checkpoint");
        let (config, model) = (checkpoint.config(), fixture.model(&device));
        let layout: Vec<_> =
            model.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
        assert_eq!(layout, config.layout(), "{}: the model's parameters are the configuration's", fixture.name);
        let count: usize = model.parameters().iter().map(|parameter| parameter.len).sum();
        assert_eq!(count, config.num_parameters(), "{}: num_parameters counts what is stored", fixture.name);
        let mut read = |name: &str| Ok(model.read(name).expect("a parameter"));
        write_folder(dir.path(), config, Dtype::F32, MAX_SHARD_BYTES, &mut read).expect("a checkpoint");
        let again = Decoder::load(&Checkpoint::open(dir.path()).expect("a checkpoint"), &device).expect("a model");
        for (name, _) in config.layout() {
            assert_eq!(again.read(&name), model.read(&name), "{}: {name}", fixture.name);
        }
        let written = ModelConfig::load(dir.path()).expect("a configuration");
        assert_eq!(ModelConfig { dtype: config.dtype, ..written }, *config, "{}: config.json", fixture.name);
    }
}

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let device = device("cpu").expect("the CPU");
    for name in ["llama_all_biases_tied", "qwen3_tied"] {
        let config = ModelConfig::load(&root().join(name)).expect("a configuration");
        let embedding = |seed| Decoder::init(&config, seed, &device).read("model.embed_tokens.weight");
        assert_eq!(embedding(1), embedding(1));
        assert_ne!(embedding(1), embedding(2));
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for name in ["gpu", "cuda:999", "cuda:x", "cpu:1", ""] {
        assert!(device(name).is_err(), "{name:?}");
    }
}

//! Against Transformers: logits, loss and every gradient of the models of `tests/parity/models`, made by `models.py`.

use crate::{Decoder, KvCache, device};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use distill_checkpoint::{Checkpoint, Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
use safetensors::SafeTensors;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A model's files and what the reference makes of them.
struct Fixture {
    name: String,
    folder: PathBuf,
    tokens: Vec<i64>,
    shape: [usize; 2],
    logits: Vec<f32>,
    loss: f32,
    gradients: BTreeMap<String, Vec<f32>>,
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

fn fixtures() -> Vec<Fixture> {
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

#[test]
#[expect(clippy::print_stdout, reason = "the table of worst errors, seen with --nocapture")]
fn logits_loss_and_every_gradient_equal_the_reference() {
    println!("{:34}{:>16}{:>12}{:>14}  worst gradient", "fixture", "logits/allowed", "loss rel", "gradient rel");
    for fixture in fixtures() {
        let device = device("cpu").expect("the CPU").autodiff();
        let model = fixture.model(&device);
        let (tokens, [rows, seq], vocab) = (fixture.tokens(&device), fixture.shape, fixture.vocab());
        let logits = model.logits(model.hidden(tokens.clone()));
        let logits_error = distance(&values(logits.clone().inner()), &fixture.logits);

        let predictions = rows * (seq - 1);
        let predicted = log_softmax(logits.slice([0..rows, 0..seq - 1, 0..vocab]).reshape([predictions, vocab]), 1);
        let next = tokens.slice([0..rows, 1..seq]).reshape([predictions, 1]);
        let loss = predicted.gather(1, next).mean().neg();
        let found = values(loss.clone().inner())[0];
        let loss_error = (found - fixture.loss).abs() / fixture.loss;

        let flat = model.gradients(&loss.backward());
        let mut gradients = model.clone();
        gradients.update(|index, _| flat[index].clone());
        let names: BTreeSet<String> = model.parameters().into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, fixture.gradients.keys().cloned().collect(), "{}: parameters", fixture.name);
        let (mut worst, mut worst_name) = (0.0, String::new());
        for (name, expected) in &fixture.gradients {
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
            let found = gradients.read(name).expect("a gradient");
            let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut expected.iter().map(|value| f64::from(*value))).max(1e-12);
            if difference / size >= worst {
                (worst, worst_name) = (difference / size, name.clone());
            }
        }
        println!("{:34}{logits_error:>16.4}{loss_error:>12.1e}{worst:>14.1e}  {worst_name}", fixture.name);
        assert!(logits_error < 1.0, "{}: logits are off by {logits_error} of what is allowed", fixture.name);
        assert!(loss_error < 1e-6, "{}: loss {found}, expected {}", fixture.name, fixture.loss);
        assert!(worst < 1e-4, "{}: gradient of {worst_name}: relative L2 {worst:e}", fixture.name);
    }
}

#[test]
fn decoding_with_a_cache_equals_the_whole_forward_pass() {
    for fixture in fixtures().into_iter().filter(|fixture| fixture.shape[0] == 2) {
        let device = device("cpu").expect("the CPU");
        let (model, tokens) = (fixture.model(&device), fixture.tokens(&device));
        let ([rows, seq], vocab) = (fixture.shape, fixture.vocab());
        let mut cache = KvCache::new();
        let mut last = model.decode(tokens.clone().slice([0..rows, 0..5]), &mut cache);
        for position in 5..seq {
            last = model.decode(tokens.clone().slice([0..rows, position..position + 1]), &mut cache);
        }
        assert_eq!(cache.len(), seq);
        let whole: Vec<f32> =
            (1..=rows).flat_map(|row| fixture.logits[(row * seq - 1) * vocab..row * seq * vocab].to_vec()).collect();
        assert!(distance(&values(last), &whole) < 1.0, "{}: last logits", fixture.name);

        // The second row alone goes on as it would have beside the first.
        cache.select(&[1]);
        let next = Tensor::<2, Int>::from_data(TensorData::new(vec![7_i64], [1, 1]), &device);
        let alone = values(model.decode(next.clone(), &mut cache));
        let row = Tensor::cat(vec![tokens.slice([1..2, 0..seq]), next], 1);
        let whole = values(model.logits(model.hidden(row)));
        assert!(distance(&alone, &whole[seq * vocab..]) < 1.0, "{}: a selected row", fixture.name);
    }
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

//! Against Transformers: logits, loss and every gradient of `tests/parity/qwen2_tiny`, made by `qwen2_tiny.py`.

use crate::{Decoder, KvCache, device};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use distill_checkpoint::{Checkpoint, Dtype, write_safetensors};
use safetensors::SafeTensors;
use std::{collections::BTreeMap, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/qwen2_tiny")
}

/// The expected values by name.
fn expected() -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(folder().join("expected.safetensors")).expect("the fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole fixture");
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    tensors.tensors().into_iter().map(|(name, view)| (name, floats(view.data()))).collect()
}

fn load(device: &Device) -> Decoder {
    Decoder::load(&Checkpoint::open(&folder()).expect("the checkpoint"), device).expect("the model")
}

fn tokens(expected: &BTreeMap<String, Vec<f32>>, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = expected["tokens"].iter().map(|id| *id as i64).collect();
    Tensor::from_data(TensorData::new(ids, [2, 17]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().expect("float32")
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], relative: f32, absolute: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let allowed = absolute + relative * expected.abs();
        assert!((found - expected).abs() <= allowed, "{what}[{index}]: expected {expected}, found {found}");
    }
}

#[test]
fn logits_loss_and_gradients_are_those_of_transformers() {
    let expected = expected();
    let device = device("cpu").expect("the CPU").autodiff();
    let model = load(&device);
    let tokens = tokens(&expected, &device);
    let logits = model.logits(model.hidden(tokens.clone()));
    assert_close("logits", &values(logits.clone().inner()), &expected["logits"], 1e-4, 1e-5);

    let predicted = log_softmax(logits.slice([0..2, 0..16, 0..96]).reshape([32, 96]), 1);
    let loss = predicted.gather(1, tokens.slice([0..2, 1..17]).reshape([32, 1])).mean().neg();
    assert_close("loss", &values(loss.clone().inner()), &expected["loss"], 1e-6, 0.0);

    let flat = model.gradients(&loss.backward());
    let mut gradients = model.clone();
    gradients.update(|index, _| flat[index].clone());
    for gradient in gradients.tensors() {
        let expected = &expected[&format!("grad.{}", gradient.name)];
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let difference = norm(&mut gradient.data.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
        let relative = difference / norm(&mut expected.iter().map(|value| f64::from(*value))).max(1e-12);
        assert!(relative < 1e-4, "gradient of {}: relative L2 {relative:e}", gradient.name);
    }
}

#[test]
fn decoding_with_a_cache_equals_the_whole_forward_pass() {
    let expected = expected();
    let device = device("cpu").expect("the CPU");
    let (model, tokens) = (load(&device), tokens(&expected, &device));
    let mut cache = KvCache::new();
    let mut last = model.decode(tokens.clone().slice([0..2, 0..5]), &mut cache);
    for position in 5..17 {
        last = model.decode(tokens.clone().slice([0..2, position..position + 1]), &mut cache);
    }
    assert_eq!(cache.len(), 17);
    let whole: Vec<f32> =
        [16, 33].iter().flat_map(|row| expected["logits"][row * 96..(row + 1) * 96].to_vec()).collect();
    assert_close("last logits", &values(last), &whole, 1e-4, 1e-5);

    // The second row alone goes on as it would have beside the first.
    cache.select(&[1]);
    let next = Tensor::<2, Int>::from_data(TensorData::new(vec![7_i64], [1, 1]), &device);
    let alone = values(model.decode(next.clone(), &mut cache));
    let row = Tensor::cat(vec![tokens.slice([1..2, 0..17]), next], 1);
    let whole = values(model.logits(model.hidden(row)));
    assert_close("a selected row", &alone, &whole[17 * 96..], 1e-4, 1e-5);
}

#[test]
fn padding_on_the_right_changes_nothing_before_it() {
    let expected = expected();
    let device = device("cpu").expect("the CPU");
    let (model, tokens) = (load(&device), tokens(&expected, &device));
    let padded = Tensor::cat(vec![tokens, Tensor::zeros([2, 7], &device)], 1);
    let logits = model.logits(model.hidden(padded)).slice([0..2, 0..17, 0..96]);
    assert_close("logits", &values(logits), &expected["logits"], 1e-4, 1e-5);
}

#[test]
fn weights_go_out_as_they_came_in() {
    let device = device("cpu").expect("the CPU");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tensors = load(&device).tensors();
    fs::copy(folder().join("config.json"), dir.path().join("config.json")).expect("a copy");
    write_safetensors(&dir.path().join("model.safetensors"), &tensors, Dtype::F32).expect("weights");
    let again = Decoder::load(&Checkpoint::open(dir.path()).expect("a checkpoint"), &device).expect("a model");
    assert_eq!(again.tensors(), tensors);
}

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let device = device("cpu").expect("the CPU");
    let config = Checkpoint::open(&folder()).expect("the checkpoint").config().clone();
    let tensors = |seed| Decoder::init(&config, seed, &device).tensors();
    assert_eq!(tensors(1), tensors(1));
    assert_ne!(tensors(1), tensors(2));
    let count: usize = tensors(1).iter().map(|tensor| tensor.data.len()).sum();
    assert_eq!(count, config.num_parameters(), "num_parameters counts what is stored");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for name in ["gpu", "cuda:999", "cuda:x", "cpu:1", ""] {
        assert!(device(name).is_err(), "{name:?}");
    }
}

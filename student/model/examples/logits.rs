//! What a checkpoint computes, for comparison with other programs:
//! `logits CHECKPOINT PROMPTS OUT.safetensors NEW_TOKENS`
//!
//! PROMPTS holds one prompt a line, token ids apart by blanks. OUT gets, for prompt `i`, `logits.i` (`[tokens, vocab]`) and
//! `greedy.i` (NEW_TOKENS ids), and one line a model says how long loading took.

use burn::tensor::{Int, Tensor, TensorData};
use distill_checkpoint::{Checkpoint, Dtype, write_safetensors};
use distill_model::{Decoder, KvCache, device};
use std::{collections::BTreeMap, error::Error, fs, io::Write, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, prompts, out, new_tokens] = arguments.as_slice() else {
        return Err("usage: logits CHECKPOINT PROMPTS OUT.safetensors NEW_TOKENS".into());
    };
    let new_tokens: usize = new_tokens.parse()?;
    let device = device("cpu")?;
    let started = Instant::now();
    let model = Decoder::load(&Checkpoint::open(Path::new(checkpoint))?, &device)?;
    writeln!(std::io::stdout(), "{{\"load_s\": {:.3}}}", started.elapsed().as_secs_f64())?;
    let tokens = |ids: &[i64]| Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), &device);
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for (index, line) in fs::read_to_string(prompts)?.lines().enumerate() {
        let ids: Vec<i64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let logits = model.logits(model.hidden(tokens(&ids)));
        let [_, seq, vocab] = logits.dims();
        let values = logits.into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        let mut last = argmax(&values[(seq - 1) * vocab..]);
        tensors.insert(format!("logits.{index}"), (vec![seq, vocab], values));
        if new_tokens == 0 {
            continue;
        }
        let (mut cache, mut greedy) = (KvCache::new(), vec![last as f32]);
        model.decode(tokens(&ids), &mut cache);
        while greedy.len() < new_tokens {
            let next = model.decode(tokens(&[last as i64]), &mut cache).into_data();
            last = argmax(&next.try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?);
            greedy.push(last as f32);
        }
        tensors.insert(format!("greedy.{index}"), (vec![new_tokens], greedy));
    }
    let layout: Vec<_> = tensors.iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect();
    write_safetensors(Path::new(out), &layout, Dtype::F32, &mut |name| {
        Ok(tensors.get(name).map(|(_, values)| values.clone()).unwrap_or_default())
    })?;
    Ok(())
}

fn argmax(values: &[f32]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index)
}

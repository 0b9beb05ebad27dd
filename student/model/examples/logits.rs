//! What a checkpoint computes, for comparison with other programs:
//! `logits CHECKPOINT PROMPTS OUT.safetensors NEW_TOKENS`
//!
//! PROMPTS holds one prompt a line, token ids apart by blanks. OUT gets, for prompt `i`, `logits.i` (`[tokens, vocab]`) and
//! `greedy.i` (NEW_TOKENS ids), and one line a model says how long loading took.

use distill_checkpoint::{Checkpoint, Dtype, write_safetensors};
use distill_model::{BLOCK, Precision, Share, Stepper, Wanted, block_bytes};
use std::{collections::BTreeMap, error::Error, fs, io::Write, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, prompts, out, new_tokens] = arguments.as_slice() else {
        return Err("usage: logits CHECKPOINT PROMPTS OUT.safetensors NEW_TOKENS".into());
    };
    let new_tokens: usize = new_tokens.parse()?;
    let prompts: Vec<Vec<u32>> = fs::read_to_string(prompts)?
        .lines()
        .map(|line| line.split_whitespace().map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let longest = prompts.iter().map(|ids| ids.len() + new_tokens).max().unwrap_or(1);
    let started = Instant::now();
    let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
    let blocks: Vec<u32> = (0..longest.div_ceil(BLOCK) as u32).collect();
    let cache = blocks.len() * block_bytes(checkpoint.config(), "cpu", Precision::Stored);
    let mut stepper = Stepper::load(&checkpoint, "cpu", Precision::Stored, cache)?;
    writeln!(std::io::stdout(), "{{\"load_s\": {:.3}}}", started.elapsed().as_secs_f64())?;
    let vocab = checkpoint.config().vocab_size;
    let mut row = Vec::new();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for (index, ids) in prompts.iter().enumerate() {
        let logits = stepper.step(&[Share { tokens: ids, start: 0, blocks: &blocks, logits: Wanted::All }])?;
        let mut values = Vec::with_capacity(ids.len() * vocab);
        for position in 0..logits.rows() {
            logits.copy_row(position, &mut row);
            values.extend_from_slice(&row);
        }
        let mut last = argmax(&row);
        tensors.insert(format!("logits.{index}"), (vec![ids.len(), vocab], values));
        if new_tokens == 0 {
            continue;
        }
        let mut greedy = vec![last as f32];
        while greedy.len() < new_tokens {
            let start = ids.len() + greedy.len() - 1;
            let share = Share { tokens: &[last as u32], start, blocks: &blocks, logits: Wanted::Last };
            stepper.step(&[share])?.copy_row(0, &mut row);
            last = argmax(&row);
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

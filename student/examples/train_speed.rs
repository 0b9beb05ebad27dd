//! How fast a checkpoint is trained, for comparison with other programs:
//! `train_speed CHECKPOINT BATCH SEQ STEPS [DEVICE [float32|bfloat16 [WEIGHTS]]]`
//!
//! Takes STEPS steps of AdamW on BATCH documents of SEQ tokens, all labelled, and prints one line of JSON: seconds of each
//! step, losses, gradient norms, and the peak of resident memory or what the device has reserved. WEIGHTS is a file for all
//! parameters after the last step, as they are named in order, float32. The tokens are those of
//! `benches/compare/train/run.py`.

use distill_checkpoint::Checkpoint;
use distill_model::{AdamStep, Documents, Kind, Label, LossOptions, Operations, Recompute};
use distill_student::{Compute, Learner, States};
use std::{error::Error, fs, io::Write, path::Path, time::Instant};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [checkpoint, batch, seq, steps, options @ ..] = arguments.as_slice() else {
        return Err("usage: train_speed CHECKPOINT BATCH SEQ STEPS [DEVICE [float32|bfloat16 [WEIGHTS]]]".into());
    };
    let (batch, seq, steps): (usize, usize, u64) = (batch.parse()?, seq.parse()?, steps.parse()?);
    let device = options.first().copied().unwrap_or("cpu");
    let compute = match options.get(1) {
        None => Compute::Auto,
        Some(&"float32") => Compute::Float32,
        Some(&"bfloat16") => Compute::Bfloat16,
        Some(other) => return Err(format!("expected float32 or bfloat16, found {other:?}").into()),
    };
    Operations::from_words(&std::env::var("DISTILL_OPS").unwrap_or_default())?.set();
    let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
    let documents = documents(batch, seq, checkpoint.config().vocab_size as u64);
    let mut learner = Learner::load(&checkpoint, device, compute, States::Float32)?;
    let loss_options = LossOptions { divisor: documents.weight(), z_loss: 0.0 };
    let (mut seconds, mut losses, mut norms) = (Vec::new(), Vec::new(), Vec::new());
    for count in 1..=steps {
        let begin = Instant::now();
        learner.accumulate(&documents, loss_options, Recompute::Auto)?;
        let totals = learner.totals(|_| true)?;
        let step = AdamStep {
            count,
            learning_rate: 1e-4,
            scale: (1.0 / (totals.norm + 1e-6)).min(1.0),
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        learner.step(&step, |_| Some(true))?;
        seconds.push(begin.elapsed().as_secs_f64());
        losses.push(totals.loss);
        norms.push(totals.norm);
    }
    if let Some(path) = options.get(2) {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for parameter in learner.parameters() {
            let values = learner.read(&parameter.name, Kind::Value)?.ok_or("a parameter that cannot be read")?;
            values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?;
        }
        file.flush()?;
    }
    let peak_mib = learner.peak_memory().unwrap_or(0) >> 20;
    let line = format!(
        "{{\"seconds\": {seconds:?}, \"losses\": {losses:?}, \"norms\": {norms:?}, \"peak_mib\": {peak_mib}}}\n"
    );
    Ok(std::io::stdout().write_all(line.as_bytes())?)
}

fn documents(batch: usize, seq: usize, vocab: u64) -> Documents {
    let mut documents = Documents::default();
    for row in 0..batch {
        let token = |place: usize| ((row as u64 * 7919 + place as u64 * 104_729 + 13) % vocab) as u32;
        documents.tokens.extend((0..seq).map(token));
        documents.lengths.push(seq);
        let label = |place: usize| Label { row: row * seq + place, target: token(place + 1), weight: 1.0 };
        documents.labels.extend((0..seq).map(label));
    }
    documents
}

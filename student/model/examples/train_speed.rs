//! How fast a checkpoint is trained, for comparison with other programs:
//! `train_speed CHECKPOINT BATCH SEQ STEPS`
//!
//! Takes STEPS steps of AdamW on BATCH documents of SEQ tokens, all labelled, and prints one line of JSON: seconds of each
//! step, the losses, and the peak of resident memory. The tokens are those of `benches/compare/train/run.py`.

use distill_checkpoint::Checkpoint;
use distill_model::{AdamStep, Documents, Label, Learner, LossOptions, Recompute};
use std::{error::Error, fs, io::Write, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, batch, seq, steps] = arguments.as_slice() else {
        return Err("usage: train_speed CHECKPOINT BATCH SEQ STEPS".into());
    };
    let (batch, seq, steps): (usize, usize, u64) = (batch.parse()?, seq.parse()?, steps.parse()?);
    let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
    let vocab = checkpoint.config().vocab_size as u64;
    let mut learner = Learner::load(&checkpoint)?;
    let mut documents = Documents::default();
    for row in 0..batch {
        let token = |place: usize| ((row as u64 * 7919 + place as u64 * 104_729 + 13) % vocab) as u32;
        documents.tokens.extend((0..seq).map(token));
        documents.lengths.push(seq);
        let label = |place: usize| Label { row: row * seq + place, target: token(place + 1), weight: 1.0 };
        documents.labels.extend((0..seq).map(label));
    }
    let options = LossOptions { divisor: documents.weight(), z_loss: 0.0 };
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for count in 1..=steps {
        let begin = Instant::now();
        let loss = learner.accumulate(&documents, options, Recompute::Auto);
        let norm = learner.gradient_norm(|_| true);
        let step = AdamStep {
            count,
            learning_rate: 1e-4,
            scale: (1.0 / (norm + 1e-6)).min(1.0),
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        learner.step(&step, |_| Some(true));
        seconds.push(begin.elapsed().as_secs_f64());
        losses.push(loss.cross_entropy / options.divisor);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak_mib = peak.and_then(|peak| peak.parse::<u64>().ok()).unwrap_or(0) / 1024;
    writeln!(std::io::stdout(), "{{\"seconds\": {seconds:?}, \"losses\": {losses:?}, \"peak_mib\": {peak_mib}}}")?;
    Ok(())
}

//! How fast a checkpoint is decoded here: `decode CHECKPOINT PRECISION PROMPTS NEW_TOKENS RUNS [DEVICE]`
//!
//! PROMPTS holds one prompt a line, token ids apart by blanks: the first is the long one whose reading is timed, the others
//! are answered alone (the second) and all together, greedily, NEW_TOKENS tokens each. Prints one line of JSON: tokens a
//! second, the best of RUNS. The caller sets the number of threads, since rayon reads it from the environment.

use distill_model::Precision;
use distill_teacher_local::{Ask, Engine, Event, Limits, Placement, Sampling, load};
use std::{error::Error, fs, io::Write, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, precision, prompts, new_tokens, runs, device @ ..] = arguments.as_slice() else {
        return Err("usage: decode CHECKPOINT PRECISION PROMPTS NEW_TOKENS RUNS [DEVICE]".into());
    };
    let device = device.first().map_or("cpu", String::as_str);
    let (new_tokens, runs): (usize, usize) = (new_tokens.parse()?, runs.parse()?);
    let prompts: Vec<Vec<u32>> = fs::read_to_string(prompts)?
        .lines()
        .map(|line| line.split_whitespace().map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let [long, others @ ..] = prompts.as_slice() else { return Err("expected prompts".into()) };
    let precision = Precision::from_name(precision)?;
    // Room for all of them together, whatever the model.
    let defaults = Limits::default();
    let cache_bytes = if device == "cpu" { defaults.cache_bytes } else { Some(16 << 30) };
    let limits = Limits { running: others.len().max(defaults.running), cache_bytes, ..defaults };
    let placement = Placement { precision, limits, ..Placement::on(device) };
    let (_, mut engine) = load(Path::new(checkpoint), placement)?;
    let (mut prefill, mut single, mut batch, mut tokens) = (0.0_f64, 0.0_f64, 0.0_f64, Vec::new());
    for run in 0..runs {
        // Another first token each time: a beginning that is known would not be read again.
        let mut long = long.clone();
        long[0] += run as u32;
        let (took, _) = answer(&mut engine, &[long.clone()], 1)?;
        prefill = prefill.max(long.len() as f64 / took);
        // Without the time of the prompt: that of one more token less.
        let (first, _) = answer(&mut engine, &others[..1], 1)?;
        let (took, _) = answer(&mut engine, &others[..1], new_tokens + 1)?;
        single = single.max(new_tokens as f64 / (took - first));
        let (took, answers) = answer(&mut engine, others, new_tokens)?;
        batch = batch.max((new_tokens * others.len()) as f64 / took);
        tokens = answers;
    }
    let line = format!(
        "{{\"prefill\": {prefill:.1}, \"single\": {single:.1}, \"batch\": {batch:.1}, \"tokens\": {tokens:?}}}\n"
    );
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

/// Seconds, and the tokens of each answer.
type Timed = (f64, Vec<Vec<u32>>);

/// Answers all prompts together.
fn answer(engine: &mut Engine, prompts: &[Vec<u32>], new: usize) -> Result<Timed, Box<dyn Error>> {
    let started = Instant::now();
    for (id, prompt) in prompts.iter().enumerate() {
        let ask = Ask {
            prompt: prompt.clone(),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            seed: 1,
            max_new_tokens: new,
            stop_ids: Vec::new(),
            stop: Vec::new(),
            text: false,
            logprobs: None,
            prompt_logprobs: None,
        };
        engine.submit(id as u64, ask)?;
    }
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut failed = None;
    while !engine.is_empty() {
        engine.step(&mut |id, event| match event {
            Event::End { tokens, .. } => answers[id as usize] = tokens,
            Event::Failed(why) => failed = Some(why),
            _ => {}
        });
    }
    match failed {
        Some(why) => Err(why.into()),
        None => Ok((started.elapsed().as_secs_f64(), answers)),
    }
}

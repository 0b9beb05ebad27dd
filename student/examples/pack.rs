//! How examples become tokens, for measurements and for comparison with other programs (`benches/compare/pack/run.py`):
//!
//! ```text
//! pack make FOLDER MIB               MIB of synthetic examples in FOLDER/examples, of words of README.md
//! pack base FOLDER CONFIG CHAT       random weights of that shape in FOLDER/base, with that tokenizer and template
//! pack prepare FOLDER SCRATCH MAX_TOKENS          renders, tokenises and packs them
//! pack train FOLDER SCRATCH MAX_TOKENS STEPS      trains for so many steps more, and is then stopped
//! ```
//!
//! The last two print one line of JSON with seconds and the peak of resident memory.

use distill_dataset::{Cancel, Context, Dataset, Example, Manifest, Message, Progress, ProgressEvent, TurnFormat};
use distill_student::{Base, Overlong, TrainError, TrainingConfig, initialise, prepare, train};
use std::{
    error::Error,
    fs,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line = match arguments.as_slice() {
        ["make", folder, mib] => make(Path::new(folder), mib.parse::<u64>()? << 20)?,
        ["base", folder, config, chat] => {
            let out = Path::new(folder).join("base");
            fs::create_dir_all(&out)?;
            initialise(Path::new(config), Path::new(chat), "cpu", &context(&out, Progress::hidden()), &out)?;
            String::new()
        }
        ["prepare", folder, scratch, max_tokens] => {
            measure(Path::new(folder), Path::new(scratch), max_tokens.parse()?)?
        }
        ["train", folder, scratch, max_tokens, steps] => {
            go_on(Path::new(folder), Path::new(scratch), max_tokens.parse()?, steps.parse()?)?
        }
        _ => return Err("usage: pack make|base|prepare|train FOLDER …".into()),
    };
    Ok(std::io::stdout().write_all(line.as_bytes())?)
}

fn context(scratch: &Path, progress: Progress) -> Context {
    Context { scratch: scratch.to_owned(), cancel: Cancel::default(), progress, seed: 17 }
}

fn config(max_tokens: u32) -> TrainingConfig {
    TrainingConfig {
        epochs: 3,
        batch_size: 1,
        learning_rate: 1e-3,
        max_tokens,
        overlong: Overlong::Split,
        packing: true,
        save_every_seconds: 0.0,
        ..TrainingConfig::unset()
    }
}

/// Examples of 2 to 38 KiB, 20 on average, each known by its number alone.
fn make(folder: &Path, bytes: u64) -> Result<String, Box<dyn Error>> {
    let dir = folder.join("examples");
    fs::create_dir_all(&dir)?;
    let text = fs::read_to_string("README.md")?;
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains("<|")).collect();
    let mut held = 0;
    let rows = (0_u64..).map_while(|number| {
        let row = example(number, &words);
        held += row.messages.iter().map(|message| message.content.len() as u64).sum::<u64>();
        (held <= bytes).then_some(row)
    });
    let dataset = Dataset::write(&dir, rows)?;
    fs::write(dir.join("manifest.json"), serde_json::to_string(&dataset.manifest)?)?;
    Ok(format!("{{\"examples\": {}}}\n", dataset.num_rows()))
}

fn example(number: u64, words: &[&str]) -> Example {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let length = (2 << 10) + draw(36 << 10) as usize;
    let mut text = String::with_capacity(length + 64);
    while text.len() < length {
        match draw(8) {
            0 => text.push_str(&draw(100_000).to_string()),
            1 => text.push_str("so that"),
            _ => text.push_str(words[draw(words.len() as u64) as usize]),
        }
        text.push(if draw(24) == 0 { '\n' } else { ' ' });
    }
    let text = TurnFormat::default().join(&text, &format!("\\boxed{{{}}}", draw(1000)));
    Example {
        trace_id: format!("{number:032x}"),
        problem_id: format!("{:032x}", number / 4),
        messages: vec![Message::user(format!("What is {number} + {}?", draw(1000))), Message::assistant(text)],
        weight: 1.0,
    }
}

fn examples(folder: &Path) -> Result<Dataset, Box<dyn Error>> {
    let dir = folder.join("examples");
    let manifest: Manifest = serde_json::from_str(&fs::read_to_string(dir.join("manifest.json"))?)?;
    Ok(Dataset::new(dir, manifest))
}

fn measure(folder: &Path, scratch: &Path, max_tokens: u32) -> Result<String, Box<dyn Error>> {
    fs::create_dir_all(scratch)?;
    let (begin, examples) = (Instant::now(), examples(folder)?);
    let context = context(scratch, Progress::hidden());
    let prepared = prepare(Base::new(&folder.join("base")), &[examples], &config(max_tokens), &context)?;
    Ok(format!(
        "{{\"seconds\": {:.3}, \"sequences\": {}, \"tokens\": {}, \"bins\": {}, \"peak_mib\": {}}}\n",
        begin.elapsed().as_secs_f64(),
        prepared.num_sequences,
        prepared.num_tokens,
        prepared.num_steps,
        peak_mib()
    ))
}

/// When the first step was done and how many, and whether they were taken in this call.
#[derive(Default)]
struct Seen {
    training: bool,
    first: Option<(u64, f64)>,
    last: u64,
}

fn go_on(folder: &Path, scratch: &Path, max_tokens: u32, steps: u64) -> Result<String, Box<dyn Error>> {
    let out = scratch.join("out");
    fs::create_dir_all(&out)?;
    let (begin, examples) = (Instant::now(), examples(folder)?);
    let cancel = Cancel::default();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (stop, shared) = (cancel.clone(), seen.clone());
    let progress = Progress::new(move |event| {
        let Ok(mut seen) = shared.lock() else { return };
        match event {
            ProgressEvent::Begin { task, .. } => seen.training = task == "train",
            ProgressEvent::Advance { done, .. } if seen.training => {
                let (first, _) = *seen.first.get_or_insert((done, begin.elapsed().as_secs_f64()));
                seen.last = done;
                if done + 1 - first >= steps {
                    stop.cancel();
                }
            }
            _ => {}
        }
    });
    let context = Context { cancel, ..context(scratch, progress) };
    match train(Base::new(&folder.join("base")), &[examples], &config(max_tokens), "cpu", &context, &out) {
        Ok(_) | Err(TrainError::Interrupted(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let seen = seen.lock().map_err(|_| "a lock")?;
    let (step, seconds) = seen.first.ok_or("no step was taken")?;
    Ok(format!(
        "{{\"first_step\": {step}, \"first_step_s\": {seconds:.3}, \"last_step\": {}, \"peak_mib\": {}}}\n",
        seen.last,
        peak_mib()
    ))
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_ascii_whitespace().next()?.parse().ok());
    peak.unwrap_or(0_u64) >> 10
}

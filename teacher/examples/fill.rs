//! Fills a store with synthetic answers, as if a teacher had been asked: what `benches/scale.sh` measures the stages behind
//! sampling with.
//!
//! ```text
//! fill PROBLEMS ANSWERS MODEL SAMPLES BYTES
//! ```
//!
//! PROBLEMS is a dataset of problems, ANSWERS the folder of everything ever asked of the teacher MODEL through the chat call.
//! Each training problem gets SAMPLES answers of about BYTES bytes. Every third is wrong, every tenth was cut.

use distill_dataset::{
    Dataset, DatasetError, Digest, FinishReason, Manifest, Problem, SamplingParams, Split, TurnFormat,
};
use distill_teacher::{Answers, Ask, Completion, Identity, Kept, trace};
use std::{error::Error, path::Path};

/// What `benches/scale.sh` asks for.
const SAMPLING: SamplingParams = SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 8192 };
/// By falling frequency: text that compresses as prose does.
const WORDS: &str = "the of and to a in is that we it so this for then if be which as can have with one now check let \
    number equals sum because therefore both sides multiply divide answer wait another think again first second side \
    equation value problem given must two three however each prove remainder modulo square triangle angle suppose \
    consider alternatively integer polynomial coefficient substitute expression simplify denominator consequently";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [problems, answers, model, samples, bytes] = &arguments[..] else {
        return Err("expected PROBLEMS ANSWERS MODEL SAMPLES BYTES".into());
    };
    let (samples, bytes): (u32, usize) = (samples.parse()?, bytes.parse()?);
    let manifest = Manifest::read(&Path::new(problems).join("manifest.json"))?;
    let (problems, answers) = (Dataset::new(problems.into(), manifest), Answers::open(Path::new(answers))?);
    let identity = Identity { teacher: model.clone(), api: "chat".to_owned(), ..Identity::default() };
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut written = 0_u64;
    let rows = problems.rows::<Problem>().filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Train));
    for problem in rows.collect::<Result<Vec<_>, DatasetError>>()? {
        for index in 0..samples {
            let ask = Ask::sample(&problem, index, &identity, &SAMPLING);
            let mut state = Digest::new("fill").field(&ask.id).finish_u64() | 1;
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 33
            };
            let mut reasoning = String::with_capacity(bytes + 64);
            while reasoning.len() < bytes {
                let share = draw() as f64 / (1_u64 << 31) as f64;
                reasoning.push_str(words[(share * share * share * words.len() as f64) as usize]);
                match draw() % 16 {
                    0 => reasoning.push_str(&format!(" {}. ", draw() % 1000)),
                    1 => reasoning.push_str(",\n"),
                    _ => reasoning.push(' '),
                }
            }
            let format = TurnFormat::default();
            let (text, finish_reason) = match draw() % 10 {
                0 => (format.opened(&reasoning), FinishReason::Length),
                1..4 => (format.join(&reasoning, &format!("\\boxed{{{}}}", draw() % 7)), FinishReason::Stop),
                _ => (format.join(&reasoning, &format!("\\boxed{{{}}}", problem.answer)), FinishReason::Stop),
            };
            let (prompt_tokens, completion_tokens) = (20, (text.len() / 4) as u32);
            let response_model = model.clone();
            let completion = Completion {
                text,
                finish_reason,
                response_model,
                prompt_tokens,
                completion_tokens,
                ..Completion::default()
            };
            answers.charge(&ask.id, completion.cost(), false)?;
            let asked = identity.asked(&SAMPLING, None);
            let trace = Box::new(trace(&ask, completion, &identity, SAMPLING));
            answers.keep(&Kept::Answered { asked, trace })?;
            written += 1;
        }
    }
    answers.keep_model(&identity, model)?;
    answers.sync()?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{written} answers\n").as_bytes())?;
    Ok(())
}

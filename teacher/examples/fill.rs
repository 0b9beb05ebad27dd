//! Fills a store with synthetic answers, as if a teacher had been asked: what `benches/scale.sh` measures the stages behind
//! sampling with.
//!
//! ```text
//! fill PROBLEMS ANSWERS MODEL SAMPLES BYTES
//! ```
//!
//! PROBLEMS is a dataset of problems, ANSWERS the folder of everything ever asked of the teacher MODEL through the chat call.
//! Each training problem gets SAMPLES answers of about BYTES bytes. Every third is wrong, every tenth was cut.

#[path = "../../data-gen/dataset/examples/prose/mod.rs"]
mod prose;

use distill_dataset::{
    Dataset, DatasetError, Digest, FinishReason, Manifest, Problem, SamplingParams, Split, TurnFormat,
};
use distill_teacher::{Answers, Ask, Completion, Identity, Kept, trace};
use prose::prose;
use std::{error::Error, path::Path};

/// What `benches/scale.sh` asks for.
const SAMPLING: SamplingParams =
    SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 8192, log_probabilities: None };

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [problems, answers, model, samples, bytes] = &arguments[..] else {
        return Err("expected PROBLEMS ANSWERS MODEL SAMPLES BYTES".into());
    };
    let (samples, bytes): (u32, usize) = (samples.parse()?, bytes.parse()?);
    let manifest = Manifest::read(&Path::new(problems).join("manifest.json"))?;
    let (problems, answers) = (Dataset::new(problems.into(), manifest), Answers::open(Path::new(answers))?);
    let identity = Identity { teacher: model.clone(), api: "chat".to_owned(), ..Identity::default() };
    let mut written = 0_u64;
    let rows = problems.rows::<Problem>().filter(|row| row.as_ref().map_or(true, |row| row.split == Split::Train));
    for problem in rows.collect::<Result<Vec<_>, DatasetError>>()? {
        for index in 0..samples {
            let ask = Ask::sample(&problem, index, &identity, &SAMPLING);
            let seed = Digest::new("fill").field(&ask.id).finish_u64();
            let reasoning = prose(seed, bytes);
            let format = TurnFormat::default();
            let (text, finish_reason) = match seed % 10 {
                0 => (format.opened(&reasoning), FinishReason::Length),
                1..4 => (format.join(&reasoning, &format!("\\boxed{{{}}}", seed % 7)), FinishReason::Stop),
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
            answers.charge(&ask.id, answers.number(), completion.cost(), false)?;
            let asked = identity.asked(&SAMPLING, None);
            let trace = Box::new(trace(&ask, completion, &identity));
            answers.keep(&Kept::Answered { asked, trace, log_probs: None })?;
            written += 1;
        }
    }
    answers.keep_model(&identity, model)?;
    answers.sync()?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{written} answers\n").as_bytes())?;
    Ok(())
}

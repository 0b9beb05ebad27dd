//! What a run would do and cost, before anything is spent.

use crate::{
    recipe::{BaseConfig, Recipe, TeacherConfig},
    record::State,
    session::Session,
    teachers::Teacher,
};
use anyhow::Result;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_data_gen::{Holdings, OldAnswers, ProblemsConfig, SamplingConfig};
use distill_dataset::{Amount, Currency, Dataset, Detail};
use distill_teacher::{HttpTeacherConfig, ModelProfile, Price};
use serde::Serialize;
use std::fmt::Write;

/// What a source's sampling asks for, at most.
#[derive(Debug, Serialize)]
struct Sampling {
    teacher: String,
    /// Requests still to be made at most, where the number of problems is known already.
    requests: Option<u64>,
    completion_tokens_at_most: Option<u64>,
    /// Tokens of prompts, at four bytes each.
    prompt_tokens: Option<u64>,
    /// Tokens that answers have where they are as long as R1's own traces.
    completion_tokens_expected: Option<u64>,
    /// What the endpoints charge, as the recipe says it.
    prices: Vec<Price>,
    /// What it costs, by the currencies that they charge in: each as if those that charge in it did it all.
    costs: Vec<Expense>,
    /// Requests in flight at all endpoints together.
    concurrency: u64,
    gpus: Option<f64>,
    /// Answers that were paid for, where the problems are made already.
    answers: Option<Holdings>,
    /// What the model's makers advise and the recipe does not do, and what is known of its host's prices.
    advice: Vec<String>,
}

/// Money in one currency, where the number of requests is known already.
#[derive(Debug, Serialize)]
struct Expense {
    currency: Currency,
    expected: f64,
    at_most: f64,
}

/// Tokens of one of the 804,745 traces that the distills of DeepSeek-R1 were trained on, on average.
const TOKENS_OF_R1: u64 = 5355;
/// R1 in FP8 on 8 H200 under SGLang: streams, and tokens a second of each GPU (InferenceX, 1k/1k).
const RATES_OF_R1: [(u64, f64); 4] = [(8, 74.6), (16, 111.9), (32, 151.1), (64, 223.6)];
/// The same at full load on 96 H100 with prefill and decoding apart (LMSYS, 2025-05-05).
const RATE_AT_FULL_LOAD: f64 = 22_300.0 / 8.0;

/// The plan of a session in `Mode::Plan`.
///
/// # Errors
/// When the student's configuration cannot be read.
pub fn render(session: &Session, recipe: &Recipe, as_json: bool) -> Result<String> {
    let mut sampling = Vec::new();
    for index in 0..recipe.sources.len() {
        sampling.extend(of_source(session, recipe, index)?);
    }
    let memory = training_memory(recipe)?;
    if as_json {
        let value = serde_json::json!({
            "name": recipe.name, "stages": session.record.stages, "sampling": sampling, "training_memory_bytes": memory,
        });
        return Ok(serde_json::to_string_pretty(&value)? + "\n");
    }
    let mut text = format!("{} (seed {})\n\n", recipe.name, recipe.seed);
    for stage in &session.record.stages {
        let state = if stage.state == State::Pending { "to do" } else { "done" };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  {state:<6} {}", stage.label);
    }
    for source in &sampling {
        let count =
            |value: Option<u64>| value.map_or("known once the problems are made".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "\nteacher {}", source.teacher);
        if let Some(Holdings { held, old, .. }) =
            source.answers.as_ref().filter(|there| there.held > 0 || there.old != OldAnswers::default())
        {
            let _ = writeln!(text, "  answers that are there      {held}");
            if *old != OldAnswers::default() {
                let _ = writeln!(text, "  answers of an older version {} used again", old.adopted);
            }
            for (reason, count) in &old.unadopted {
                let _ = writeln!(text, "                              {count} not used: another {reason}");
            }
        }
        let _ = writeln!(text, "  requests                    {}", count(source.requests));
        let _ = writeln!(text, "  completion tokens, at most  {}", count(source.completion_tokens_at_most));
        if let Some(expected) = source.completion_tokens_expected {
            let _ = writeln!(
                text,
                "  completion tokens, expected {expected}, if answers are as long as R1's own traces ({TOKENS_OF_R1} tokens) or reach the limit"
            );
        }
        if let Some(prompts) = source.prompt_tokens {
            let _ = writeln!(text, "  prompt tokens, about        {prompts}, at four bytes each");
        }
        for price in &source.prices {
            let _ = writeln!(text, "  price                       {price}");
        }
        for Expense { currency, expected, at_most } in source.costs.iter().filter(|cost| cost.at_most > 0.0) {
            let prompts = if source.prompt_tokens.is_some() { "prompts too" } else { "prompts aside" };
            let [expected, most] = [*expected, *at_most].map(|amount| Amount { currency: *currency, amount });
            let _ =
                writeln!(text, "  cost                        {expected:.2} expected, {most:.2} at most, {prompts}");
        }
        if source.costs.len() > 1 {
            text.push_str("                              each as if the endpoints that charge in it did it all\n");
        }
        text.push_str(&worth(source));
        for advice in &source.advice {
            let _ = writeln!(text, "  note                        {advice}");
        }
    }
    if let Some(bytes) = memory {
        let _ = writeln!(
            text,
            "\nweights, gradients and moments {:.1} MiB, activations aside",
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(text)
}

/// What the requests in flight are worth, where a recipe says how many GPUs serve them.
fn worth(source: &Sampling) -> String {
    let (Some(gpus), Some(tokens)) = (source.gpus, source.completion_tokens_expected) else { return String::new() };
    let streams = (source.concurrency as f64 / gpus * 8.0).round() as u64;
    let rate = match RATES_OF_R1.iter().rev().find(|(known, _)| *known <= streams) {
        Some((_, rate)) => *rate,
        // Below the least that was measured, a stream is as fast as there.
        None => RATES_OF_R1[0].1 * streams as f64 / RATES_OF_R1[0].0 as f64,
    };
    let hours = |rate: f64| tokens as f64 / rate / 3600.0;
    format!(
        "  GPU-hours, about            {:.1} at {} requests in flight on {gpus} GPUs ({rate:.0} tokens/s a GPU), {:.1} at full load\n  assumed                     R1 in FP8: 75 to 224 tokens/s a GPU at 8 to 64 requests on 8 H200, {RATE_AT_FULL_LOAD:.0} at full load on 96 H100;\n                              raise `concurrency` and add endpoints before GPUs\n",
        hours(rate),
        source.concurrency,
        hours(RATE_AT_FULL_LOAD),
    )
}

/// What the model's makers advise, why a budget cannot be counted, and what its host is known to cost.
fn advice(config: &HttpTeacherConfig, sampling: &SamplingConfig) -> Vec<String> {
    let model = ModelProfile::of(&config.model);
    let is_prompted = sampling.system_prompts.iter().any(|system| !system.is_empty());
    let mut advice = model.map_or_else(Vec::new, |model| {
        model.advice(sampling.temperature, sampling.top_p, sampling.max_new_tokens, is_prompted)
    });
    advice.extend(
        config.check_budget(&sampling.budget()).err().iter().flat_map(|message| message.lines()).map(str::to_owned),
    );
    let Some(host) = config.profile() else { return advice };
    let is_said = config.places().iter().all(|place| place.price.is_some());
    advice.extend(config.host_prices().map(|price| {
        let counts = match (is_said, price.is_in_force()) {
            (true, _) => "the recipe's own price counts",
            (false, true) => "it counts, since the recipe says no price",
            (false, false) => "not in force today: it counts nothing",
        };
        format!("{}: {price}; {counts}", host.title)
    }));
    advice
}

fn of_source(session: &Session, recipe: &Recipe, index: usize) -> Result<Option<Sampling>> {
    let source = &recipe.sources[index];
    let Some(sampling) = &source.sampling else { return Ok(None) };
    let Some(teacher) = Teacher::of(&source.teacher, &session.outside)? else { return Ok(None) };
    let endpoint = match &source.teacher {
        TeacherConfig::Http(config) => Some(&config.endpoint),
        TeacherConfig::Local { .. } | TeacherConfig::WorkedSolutions => None,
    };
    let places = endpoint.map(|endpoint| endpoint.places()).unwrap_or_default();
    let mut prices: Vec<Price> = places.iter().filter_map(|place| place.price).collect();
    prices.dedup();
    let label = if index == 0 { "problems".to_owned() } else { format!("problems-{}", index + 1) };
    let stage = session.record.stages.iter().find(|stage| stage.label == label && stage.state != State::Pending);
    let dir = stage.map(|stage| session.store.stage(&stage.stage, &stage.key));
    let made = dir.as_ref().map(|dir| dir.manifest()).transpose()?.flatten();
    let answers = match (dir, &made) {
        (Some(dir), Some(manifest)) => {
            let shards: Vec<_> = Dataset::new(dir.path().to_owned(), manifest.clone()).shards().collect();
            let folder = session.store.samples(&teacher.folder());
            Some(distill_data_gen::holdings(sampling, &shards, &teacher.asked()?, &folder)?)
        }
        _ => None,
    };
    let train = match made.as_ref().map(|manifest| &manifest.tally.detail) {
        Some(Detail::Problems { train, .. }) => Some(*train),
        _ => match &source.problems {
            ProblemsConfig::Generator(generator) => Some(u64::from(generator.count().saturating_sub(source.holdout))),
            ProblemsConfig::File { .. } => None,
        },
    };
    let there = answers.as_ref().map_or(0, |there| there.held + there.old.adopted);
    let requests = train.map(|train| (train * u64::from(sampling.samples_per_problem)).saturating_sub(there));
    let tokens = requests.map(|requests| requests * u64::from(sampling.max_new_tokens));
    let expected = requests.map(|requests| requests * TOKENS_OF_R1.min(u64::from(sampling.max_new_tokens)));
    let prompts = answers.as_ref().map(|there| there.missing_bytes / 4);
    let cost = |endpoint: &HttpTeacherConfig, currency| {
        let cost = |tokens| endpoint.dearest(currency, prompts.unwrap_or_default(), tokens);
        Some(Expense { currency, expected: cost(expected?), at_most: cost(tokens?) })
    };
    let costs = endpoint.into_iter().flat_map(|endpoint| {
        endpoint.currencies().into_iter().filter_map(|currency| cost(endpoint, currency)).collect::<Vec<_>>()
    });
    let concurrency = places.iter().map(|place| u64::from(place.concurrency.unwrap_or(1))).sum();
    let advice = endpoint.map_or_else(Vec::new, |endpoint| advice(endpoint, sampling));
    Ok(Some(Sampling {
        teacher: teacher.name,
        requests,
        completion_tokens_at_most: tokens,
        prompt_tokens: prompts,
        completion_tokens_expected: expected.filter(|_| endpoint.is_some()),
        prices,
        costs: costs.collect(),
        concurrency,
        gpus: endpoint.and_then(|endpoint| endpoint.gpus),
        answers,
        advice,
    }))
}

/// Weights, gradients and two moments in float32.
fn training_memory(recipe: &Recipe) -> Result<Option<u64>> {
    let Some(student) = &recipe.student else { return Ok(None) };
    let config = match &student.base {
        BaseConfig::Checkpoint { path, .. } => Checkpoint::open(path)?.config().clone(),
        BaseConfig::Config { config, .. } => ModelConfig::load(config)?,
    };
    Ok(Some(config.num_parameters() as u64 * 16))
}

//! What a run would do and cost, before anything is spent.

use crate::{
    doubts, preflight,
    recipe::{AskedConfig, BaseConfig, Recipe, SourceConfig, TeacherConfig},
    record::State,
    run::{Begun, EVALUATED},
    session::{Session, Slot, ready},
    standing::Unfinished,
    teachers::{Secrets, Teacher},
};
use anyhow::Result;
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_data_gen::{Holdings, OldAnswers, SamplingConfig};
use distill_dataset::{Amount, Context, Currency, Dataset, Detail, Progress, StageDir};
use distill_teacher::{Continuation, HttpTeacherConfig, ModelProfile, Price};
use serde::Serialize;
use std::fmt::Write;

/// How many problems a source has for what.
#[derive(Debug, Serialize)]
struct Split {
    label: String,
    train: u64,
    held_out: u64,
}

/// What a source's sampling, or the evaluation of its teacher, asks for at most.
#[derive(Debug, Serialize)]
struct Sampling {
    teacher: String,
    /// The stage that asks, where it is not for traces.
    purpose: Option<String>,
    /// Requests still to be made at most.
    requests: u64,
    completion_tokens_at_most: u64,
    /// Tokens of prompts, at four bytes each.
    prompt_tokens: u64,
    /// Tokens that answers have where they are as long as R1's own traces.
    completion_tokens_expected: Option<u64>,
    /// What the endpoints charge, as the recipe says it.
    prices: Vec<Price>,
    /// What it costs, by the currencies that they charge in: each as if those that charge in it did it all.
    costs: Vec<Expense>,
    /// Endpoints that serve it.
    endpoints: usize,
    /// Requests in flight at all endpoints together.
    concurrency: u64,
    gpus: Option<f64>,
    /// Answers that are there already.
    answers: Holdings,
    /// What the model's makers advise and the recipe does not do, and what is known of its host's prices.
    advice: Vec<String>,
}

/// Money in one currency.
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

/// A plan: for people or programs, and what the run would refuse.
pub struct Plan {
    /// What is printed.
    pub text: String,
    /// What the run would refuse before anything is bought; none where it would begin.
    pub faults: Vec<String>,
}

/// The plan of a session in `Mode::Plan`, whose problems are made.
///
/// # Errors
/// When a dataset, a journal or the student's configuration cannot be read.
pub fn render(
    session: &Session,
    recipe: &Recipe,
    (begun, secrets): (&Begun, Secrets<'_>),
    as_json: bool,
) -> Result<Plan> {
    let mut sampling = Vec::new();
    for (source, slot) in recipe.sources.iter().zip(&begun.problems) {
        sampling.extend(of_source(session, source, slot)?);
    }
    sampling.extend(of_judge(session, recipe, begun)?);
    for (name, teacher) in recipe.compared() {
        sampling.extend(of_evaluation(session, recipe, (name, teacher), begun)?);
    }
    let problems = splits(session, begun)?;
    let doubts = doubts::of(recipe);
    let memory = training_memory(recipe)?;
    let faults = preflight::faults(recipe, begun, &session.place(), secrets)?;
    if as_json {
        let value = serde_json::json!({
            "name": recipe.name, "stages": session.record.stages, "problems": problems, "sampling": sampling,
            "training_memory_bytes": memory, "doubts": doubts, "refused": faults,
        });
        return Ok(Plan { text: serde_json::to_string_pretty(&value)? + "\n", faults });
    }
    let mut text = format!("{} (seed {})\n\n", recipe.name, recipe.seed);
    for stage in &session.record.stages {
        let state = if stage.state == State::Pending { "to do" } else { "done" };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  {state:<6} {}", stage.label);
        if stage.state == State::Pending && !stage.key.is_empty() {
            text.push_str(&Unfinished::of(&session.store.stage(&stage.stage, &stage.key)).told());
        }
    }
    text.push('\n');
    for Split { label, train, held_out } in &problems {
        let _ = writeln!(text, "{label:<22} {train} to learn from, {held_out} held out");
    }
    if let Some(own) = &begun.evaluated_on {
        let _ = writeln!(text, "{EVALUATED:<22} {}", own.ready()?.manifest.tally.rows_out);
    }
    for source in &sampling {
        source.tell(&mut text);
    }
    for doubt in &doubts {
        let _ = writeln!(text, "\nnote: {doubt}");
    }
    if let Some(bytes) = memory {
        let _ = writeln!(
            text,
            "\nweights, gradients and moments {:.1} MiB, activations aside",
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(Plan { text, faults })
}

/// The problems of every source.
fn splits(session: &Session, begun: &Begun) -> Result<Vec<Split>> {
    let labels = session.record.stages.iter().filter(|stage| stage.stage == distill_data_gen::PROBLEMS.name);
    let split = |(label, slot): (&str, &Slot)| {
        Ok(match &slot.ready()?.manifest.tally.detail {
            Detail::Problems { train, holdout, .. } => {
                Split { label: label.to_owned(), train: *train, held_out: *holdout }
            }
            _ => Split { label: label.to_owned(), train: 0, held_out: 0 },
        })
    };
    labels.map(|stage| stage.label.as_str()).zip(&begun.problems).map(split).collect()
}

impl Sampling {
    fn tell(&self, text: &mut String) {
        let purpose = self.purpose.as_ref().map_or(String::new(), |purpose| format!(", {purpose}"));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "\nteacher {}{purpose}", self.teacher);
        if self.endpoints > 0 {
            let note = "not looked at: `distill teacher probe RECIPE` asks whether they answer";
            let _ = writeln!(text, "  endpoints                   {}, {note}", self.endpoints);
        }
        let Holdings { held, old, .. } = &self.answers;
        if *held > 0 || *old != OldAnswers::default() {
            let _ = writeln!(text, "  answers that are there      {held}");
        }
        if *old != OldAnswers::default() {
            let _ = writeln!(text, "  answers of an older version {} used again", old.adopted);
        }
        for (reason, count) in &old.unadopted {
            let _ = writeln!(text, "                              {count} not used: another {reason}");
        }
        let _ = writeln!(text, "  requests                    {}", self.requests);
        let _ = writeln!(text, "  completion tokens, at most  {}", self.completion_tokens_at_most);
        if let Some(expected) = self.completion_tokens_expected {
            let _ = writeln!(
                text,
                "  completion tokens, expected {expected}, if answers are as long as R1's own traces ({TOKENS_OF_R1} tokens) or reach the limit"
            );
        }
        let _ = writeln!(text, "  prompt tokens, about        {}, at four bytes each", self.prompt_tokens);
        for price in &self.prices {
            let _ = writeln!(text, "  price                       {price}");
        }
        for Expense { currency, expected, at_most } in self.costs.iter().filter(|cost| cost.at_most > 0.0) {
            let [expected, most] = [*expected, *at_most].map(|amount| Amount { currency: *currency, amount });
            let _ =
                writeln!(text, "  cost                        {expected:.2} expected, {most:.2} at most, prompts too");
        }
        if self.costs.len() > 1 {
            text.push_str("                              each as if the endpoints that charge in it did it all\n");
        }
        text.push_str(&worth(self));
        for advice in &self.advice {
            let _ = writeln!(text, "  note                        {advice}");
        }
    }
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
    if config.continues_by() == Continuation::None {
        advice.push(
            "an answer that a kill or a drop breaks off is asked again: say how the server goes on from a part (`continuation`), if it can"
                .to_owned(),
        );
    }
    let Some(host) = config.profile() else { return advice };
    if config.is_launched && config.could_complete() {
        advice.push(format!(
            "{} is asked by chats, so that its own template counts: with `host = {:?}` and no `api` prompts are rendered here; that is another teacher, and what was bought of this one is bought anew",
            host.title, host.name
        ));
    }
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

fn of_source(session: &Session, source: &SourceConfig, problems: &Slot) -> Result<Option<Sampling>> {
    let (Some(sampling), Some(teacher)) = (&source.sampling, Teacher::of(&source.teacher, &session.outside)?) else {
        return Ok(None);
    };
    let dataset = problems.ready()?;
    let (requests, answers) = missing(session, sampling, &teacher, dataset)?;
    let advice = source.teacher.endpoint().map_or_else(Vec::new, |endpoint| advice(endpoint, sampling));
    let asked = asked(&source.teacher, (teacher.name, None), (requests, sampling.max_new_tokens), answers);
    Ok(Some(Sampling { advice, ..asked }))
}

/// Requests that are still to be made for a teacher's answers to these problems, and what is there.
fn missing(
    session: &Session,
    sampling: &SamplingConfig,
    teacher: &Teacher,
    problems: &Dataset,
) -> Result<(u64, Holdings)> {
    let folder = session.store.samples(&teacher.folder());
    let shards: Vec<_> = problems.shards().collect();
    let answers = distill_data_gen::holdings(sampling, &shards, &teacher.asked()?, &folder)?;
    let wanted = training(problems) * u64::from(sampling.samples_per_problem);
    Ok((wanted.saturating_sub(answers.held + answers.old.adopted), answers))
}

/// Problems that are there to be asked.
fn training(problems: &Dataset) -> u64 {
    match &problems.manifest.tally.detail {
        Detail::Problems { train, .. } => *train,
        _ => 0,
    }
}

/// Bytes of what a judge is told beside an answer, about: its task, the problem and the reference.
const JUDGE_TASK_BYTES: u64 = 2000;
/// Bytes of the longest answer that a judge is shown where a recipe says nothing else.
const JUDGED_BYTES: u64 = 8000;

/// What a judge is asked: the questions, where they are made; before that at most one about every trace.
fn of_judge(session: &Session, recipe: &Recipe, begun: &Begun) -> Result<Option<Sampling>> {
    let Some(AskedConfig { teacher: config, sampling }) = &recipe.judge else { return Ok(None) };
    let Some(teacher) = Teacher::of(config, &session.outside)? else { return Ok(None) };
    let asking = recipe.filters.iter().filter_map(|config| config.filter()).find(|filter| filter.asks());
    let survey = asking.and_then(|filter| filter.survey()).map(|survey| survey.stage().name);
    let made = session.record.stages.iter().find(|it| Some(it.stage.as_str()) == survey && it.state != State::Pending);
    let made = made.map(|stage| session.store.stage(&stage.stage, &stage.key));
    let manifest = made.as_ref().map(StageDir::manifest).transpose()?.flatten();
    let (purpose, (requests, answers)) = match made.zip(manifest) {
        Some((dir, manifest)) => {
            let questions = Dataset::new(dir.path().to_owned(), manifest);
            ("judge of the answers that rules leave unknown", missing(session, sampling, &teacher, &questions)?)
        }
        None => {
            let traces = recipe.sources.iter().zip(&begun.problems).map(|(source, problems)| {
                let samples = source.sampling.as_ref().map_or(1, |sampling| sampling.samples_per_problem);
                Ok(training(problems.ready()?) * u64::from(samples))
            });
            let traces = traces.sum::<Result<u64>>()?;
            let requests = traces * u64::from(sampling.samples_per_problem);
            let missing_bytes = requests * (JUDGE_TASK_BYTES + JUDGED_BYTES);
            (
                "judge, if rules leave every answer unknown",
                (requests, Holdings { missing_bytes, ..Holdings::default() }),
            )
        }
    };
    let purpose = Some(purpose.to_owned());
    Ok(Some(asked(config, (teacher.name, purpose), (requests, sampling.max_new_tokens), answers)))
}

/// The evaluation of somebody beside the student, where that is asked over an endpoint.
fn of_evaluation(
    session: &Session,
    recipe: &Recipe,
    (subject, config): (&str, &TeacherConfig),
    begun: &Begun,
) -> Result<Option<Sampling>> {
    let (Some(evaluation), Some(teacher)) = (&recipe.evaluation, Teacher::of(config, &session.outside)?) else {
        return Ok(None);
    };
    let context = Context {
        scratch: std::path::PathBuf::new(),
        cancel: session.cancel.clone(),
        progress: Progress::hidden(),
        seed: recipe.seed,
    };
    let (folder, problems) = (session.store.samples(&teacher.folder()), ready(&begun.evaluated)?);
    let missing = match distill_evaluate::missing(evaluation, &problems, &teacher.asked()?, &folder, &context) {
        // It is among what the run would refuse.
        Err(distill_evaluate::EvaluateError::NoProblems) => return Ok(None),
        missing => missing?,
    };
    let answers = Holdings { held: missing.held, missing_bytes: missing.bytes, ..Holdings::default() };
    let purpose = Some(format!("evaluation-{subject}"));
    let asked = asked(config, (teacher.name, purpose), (missing.attempts, evaluation.max_new_tokens), answers);
    Ok(Some(asked))
}

/// What so many requests of at most so many tokens come to.
fn asked(
    config: &TeacherConfig,
    (teacher, purpose): (String, Option<String>),
    (requests, max_new_tokens): (u64, u32),
    answers: Holdings,
) -> Sampling {
    let endpoint = config.endpoint();
    let places = endpoint.map(HttpTeacherConfig::places).unwrap_or_default();
    let mut prices: Vec<Price> = places.iter().filter_map(|place| place.price).collect();
    prices.dedup();
    let tokens = requests * u64::from(max_new_tokens);
    let expected = requests * TOKENS_OF_R1.min(u64::from(max_new_tokens));
    let prompts = answers.missing_bytes / 4;
    let cost = |endpoint: &HttpTeacherConfig, currency| {
        let cost = |tokens| endpoint.dearest(currency, prompts, tokens);
        Expense { currency, expected: cost(expected), at_most: cost(tokens) }
    };
    let costs = endpoint.into_iter().flat_map(|endpoint| {
        endpoint.currencies().into_iter().map(|currency| cost(endpoint, currency)).collect::<Vec<_>>()
    });
    Sampling {
        teacher,
        purpose,
        requests,
        completion_tokens_at_most: tokens,
        prompt_tokens: prompts,
        completion_tokens_expected: endpoint.map(|_| expected),
        prices,
        costs: costs.collect(),
        endpoints: places.len(),
        concurrency: places.iter().map(|place| u64::from(place.concurrency.unwrap_or(1))).sum(),
        gpus: endpoint.and_then(|endpoint| endpoint.gpus),
        answers,
        advice: Vec::new(),
    }
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

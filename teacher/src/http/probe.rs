//! A look at an endpoint before anything is bought of it: which model answers, where its reasoning is, and whether seeds,
//! several choices, log-probabilities and going on from a part of an answer work. A few short requests tell: a few hundred
//! tokens, prompts included. What a fixed question comes to is kept, and compared whenever the endpoint is looked at again: another model
//! behind the same name gives itself away by its words, by its tokens' probabilities or by its tokenizer's count.

use super::{Api, Continuation, Endpoint, HttpTeacher, Omit, wire};
use crate::{Partial, Request};
use distill_dataset::{DatasetError, Message, SamplingParams, read_regular, write_whole};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{io::Write, path::Path, time::Duration};

/// The longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most of a response that is read.
const MOST_BYTES: usize = 1 << 20;
/// Tokens of each answer.
const TOKENS: u32 = 16;
/// Log-probabilities of one token, by two looks at one model, differ by no more: kernels and batches move them a little.
const MOST_MOVED: f64 = 0.5;
/// What is asked.
const QUESTION: &str = "Name the first eight prime numbers, separated by commas, and nothing else.";

/// A part of an answer to it that nobody begins with.
const BEGUN: &str = "In falling order, the last three of them are 19, 17, 13, and before those come ";

/// What was learned of an endpoint. What could not be told is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Probed {
    /// Its base.
    pub url: String,
    /// The model that its response named.
    pub model: String,
    /// Where its reasoning came: `reasoning`, `reasoning_content` or `text`.
    pub reasoning: Option<String>,
    /// Fields of a request that it refuses.
    pub refuses: Vec<String>,
    /// Whether the same seed gives the same answer.
    pub seed: Option<bool>,
    /// Whether it gives several answers to one request.
    pub n: Option<bool>,
    /// Whether it tells log-probabilities.
    pub logprobs: Option<bool>,
    /// Whether it goes on from a part of an answer.
    pub continues: Option<bool>,
    /// Tokens of the question, by its own tokenizer and template.
    pub prompt_tokens: Option<u64>,
    /// What it says to the question with temperature 0.
    pub answer: String,
    /// Log-probabilities of that answer's tokens.
    pub token_logprobs: Vec<f64>,
    /// Tokens that this look took, prompts included.
    pub spent_tokens: u64,
    /// Why it could not be looked at.
    pub fault: Option<String>,
}

/// What one request came to.
struct Said {
    value: Value,
}

impl Said {
    fn choice(&self) -> &Value {
        &self.value["choices"][0]
    }

    /// The reasoning, where it comes apart, and in which field.
    fn reasoning(&self) -> (Option<&'static str>, &str) {
        for name in ["reasoning", "reasoning_content"] {
            if let Some(text) = self.choice()["message"][name].as_str().filter(|text| !text.is_empty()) {
                return (Some(name), text);
            }
        }
        (None, "")
    }

    fn content(&self) -> &str {
        let choice = self.choice();
        choice["text"].as_str().or_else(|| choice["message"]["content"].as_str()).unwrap_or_default()
    }

    /// All of it, reasoning first.
    fn text(&self) -> String {
        format!("{}{}", self.reasoning().1, self.content())
    }

    fn logprobs(&self) -> Vec<f64> {
        let told = &self.choice()["logprobs"];
        let list = told["token_logprobs"].as_array();
        let numbers = list.map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<f64>>());
        let of_content = || {
            let tokens = told["content"].as_array().map(Vec::as_slice).unwrap_or_default();
            tokens.iter().filter_map(|token| token["logprob"].as_f64()).collect()
        };
        numbers.unwrap_or_else(of_content)
    }

    fn spent(&self) -> u64 {
        let usage = &self.value["usage"];
        ["prompt_tokens", "completion_tokens"].iter().filter_map(|name| usage[*name].as_u64()).sum()
    }
}

/// Why a request came to nothing.
enum Refusal {
    /// It was refused, and would be again.
    Refused(String),
    /// Nobody answered, or not now.
    Unanswered(String),
}

impl HttpTeacher {
    /// Looks at every endpoint. One that does not answer is told as such.
    ///
    /// # Errors
    /// When the network cannot be used at all.
    pub fn probe(&self) -> Result<Vec<Probed>, crate::TeacherError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| crate::TeacherError::Local(format!("cannot start the network runtime: {error}")))?;
        let look = futures_util::future::join_all(self.endpoints.iter().map(|endpoint| self.look(endpoint)));
        Ok(runtime.block_on(look))
    }

    /// As it was told by the looks: what no endpoint can do is not asked of it. With a remark for each change.
    pub fn as_probed(mut self, probed: &[Probed]) -> (HttpTeacher, Vec<String>) {
        let mut remarks = Vec::new();
        let answered: Vec<&Probed> = probed.iter().filter(|probed| probed.fault.is_none()).collect();
        let fails = |told: fn(&Probed) -> Option<bool>| answered.iter().any(|probed| told(probed) == Some(false));
        if self.config.continues_by() != Continuation::None && fails(|probed| probed.continues) {
            self.config.continuation = Some(Continuation::None);
            remarks
                .push("an endpoint does not go on from a part of an answer: what breaks off is asked anew".to_owned());
        }
        let refuses_seed = answered.iter().any(|probed| probed.refuses.iter().any(|name| name == "seed"));
        if refuses_seed && !self.config.omits(Omit::Seed) {
            self.config.omit.push(Omit::Seed);
            remarks
                .push("an endpoint refuses `seed`: it is left out, and nobody can draw these answers again".to_owned());
        }
        (self, remarks)
    }

    async fn look(&self, endpoint: &Endpoint) -> Probed {
        let mut probed = Probed { url: endpoint.place.url.clone(), ..Probed::default() };
        let mut refused = Vec::new();
        let mut plain = self.say_once(endpoint, 0.0, 1, None, &refused, &[]).await;
        if matches!(plain, Err(Refusal::Refused(_))) {
            // It may be the seed that is refused.
            refused.push("seed");
            if let Ok(said) = self.say_once(endpoint, 0.0, 1, None, &refused, &[]).await {
                plain = Ok(said);
                probed.refuses = refused.iter().map(|name| (*name).to_owned()).collect();
            }
        }
        let plain = match plain {
            Ok(said) => said,
            Err(Refusal::Refused(why) | Refusal::Unanswered(why)) => {
                probed.fault = Some(why);
                return probed;
            }
        };
        probed.model = plain.value["model"].as_str().unwrap_or_default().to_owned();
        let (place, _) = plain.reasoning();
        probed.reasoning = Some(place.unwrap_or("text").to_owned());
        probed.prompt_tokens = plain.value["usage"]["prompt_tokens"].as_u64();
        probed.answer = plain.text();
        probed.spent_tokens += plain.spent();
        // At a temperature at which two draws seldom agree.
        if refused.is_empty()
            && let (Ok(one), Ok(two)) = (
                self.say_once(endpoint, 1.0, 11, None, &refused, &[]).await,
                self.say_once(endpoint, 1.0, 11, None, &refused, &[]).await,
            )
        {
            probed.seed = Some(one.text() == two.text());
            probed.spent_tokens += one.spent() + two.spent();
        }
        probed.n = match self.say_once(endpoint, 1.0, 2, None, &refused, &[("n", json!(2))]).await {
            Ok(said) => {
                probed.spent_tokens += said.spent();
                Some(said.value["choices"].as_array().is_some_and(|choices| choices.len() == 2))
            }
            Err(Refusal::Refused(_)) => Some(false),
            Err(Refusal::Unanswered(_)) => None,
        };
        let fields: &[(&str, Value)] = match self.config.api() {
            Api::Chat => &[("logprobs", json!(true)), ("top_logprobs", json!(2))],
            Api::Completions => &[("logprobs", json!(2))],
        };
        probed.logprobs = match self.say_once(endpoint, 0.0, 1, None, &refused, fields).await {
            Ok(said) => {
                probed.token_logprobs = said.logprobs();
                probed.spent_tokens += said.spent();
                Some(!probed.token_logprobs.is_empty())
            }
            Err(Refusal::Refused(_)) => Some(false),
            Err(Refusal::Unanswered(_)) => None,
        };
        probed.continues = self.goes_on(endpoint, &plain, &refused, &mut probed.spent_tokens).await;
        probed
    }

    /// Whether it goes on from a part of an answer that it would not begin so: with temperature 0, all comes once more as it
    /// was said without that part where it begins anew.
    async fn goes_on(&self, endpoint: &Endpoint, whole: &Said, refused: &[&str], spent: &mut u64) -> Option<bool> {
        if self.config.continues_by() == Continuation::None {
            return None;
        }
        // Reasoning that comes apart is put behind its tag, as an answer that broke off is kept.
        let lead = whole.reasoning().0.map_or_else(String::new, |_| distill_dataset::TurnFormat::default().opened(""));
        let partial = Partial { text: format!("{lead}{BEGUN}"), ..Partial::default() };
        let said = match self.say_once(endpoint, 0.0, 1, Some(partial), refused, &[]).await {
            Ok(said) => said,
            Err(Refusal::Refused(_)) => return Some(false),
            Err(Refusal::Unanswered(_)) => return None,
        };
        *spent += said.spent();
        let (new, plain) = (said.text(), whole.text());
        let (new, plain) = (new.trim_start(), plain.trim_start());
        let alike = new.chars().zip(plain.chars()).take_while(|(a, b)| a == b).count();
        let enough = (plain.chars().count() / 2).clamp(1, 8);
        // Some say once more what they were given.
        Some(new.contains(BEGUN.trim_end()) || !new.is_empty() && alike < enough)
    }

    async fn say_once(
        &self,
        endpoint: &Endpoint,
        temperature: f32,
        seed: u64,
        partial: Option<Partial>,
        without: &[&str],
        fields: &[(&str, Value)],
    ) -> Result<Said, Refusal> {
        let sampling = SamplingParams { temperature, top_p: 1.0, max_new_tokens: TOKENS, log_probabilities: None };
        let request = Request { id: 0, messages: vec![Message::user(QUESTION)], sampling, seed, partial };
        let body = wire::body(&self.config, &request, self.render.as_ref()).map_err(Refusal::Refused)?;
        let mut body = serde_json::to_value(&body).map_err(|error| Refusal::Refused(error.to_string()))?;
        if let Value::Object(map) = &mut body {
            map.remove("stream_options");
            without.iter().for_each(|name| drop(map.remove(*name)));
            map.insert("stream".to_owned(), Value::Bool(false));
            map.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        match tokio::time::timeout(PATIENCE, self.post(endpoint, &body)).await {
            Ok(said) => said,
            Err(_) => Err(Refusal::Unanswered(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn post(&self, endpoint: &Endpoint, body: &Value) -> Result<Said, Refusal> {
        let unanswered = |error: &reqwest::Error| Refusal::Unanswered(self.say(endpoint, &super::source_of(error)));
        let mut response = self.call(endpoint).json(body).send().await.map_err(|error| unanswered(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(Refusal::Unanswered(self.say(endpoint, "the response is too long")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let quoted = || {
            let text = String::from_utf8_lossy(&bytes);
            self.say(endpoint, &format!("{status}: {}", text.chars().take(300).collect::<String>()))
        };
        if status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429) {
            return Err(Refusal::Refused(quoted()));
        }
        if !status.is_success() {
            return Err(Refusal::Unanswered(quoted()));
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) if value["choices"].is_array() => Ok(Said { value }),
            Ok(_) => Err(Refusal::Refused(quoted())),
            Err(_) => Err(Refusal::Unanswered(quoted())),
        }
    }
}

impl Probed {
    /// What differs between this look and an earlier one at what should be the same model, a sentence each.
    pub fn differences(&self, before: &Probed) -> Vec<String> {
        let mut all = Vec::new();
        if !before.model.is_empty() && !self.model.is_empty() && before.model != self.model {
            all.push(format!("it named the model `{}`, and names `{}` now", before.model, self.model));
        }
        if let (Some(then), Some(now)) = (before.prompt_tokens, self.prompt_tokens)
            && then != now
        {
            all.push(format!("the same question had {then} tokens, and has {now} now: another tokenizer or template"));
        }
        let moved = before.token_logprobs.iter().zip(&self.token_logprobs).map(|(then, now)| (then - now).abs());
        if let Some(most) = moved.reduce(f64::max).filter(|most| *most > MOST_MOVED) {
            all.push(format!("log-probabilities of the same answer moved by {most:.2}: other weights or precision"));
        }
        let alike = before.answer.chars().zip(self.answer.chars()).take_while(|(a, b)| a == b).count();
        if before.token_logprobs.is_empty()
            && alike * 2 < before.answer.chars().count().min(self.answer.chars().count())
        {
            all.push(format!("with temperature 0 it said {:?}, and says {:?} now", before.answer, self.answer));
        }
        all
    }

    /// Adds looks to those that were taken before.
    fn note(probed: &[Probed], path: &Path) -> Result<(), DatasetError> {
        let mut lines = String::new();
        for look in probed {
            lines += &serde_json::to_string(look).unwrap_or_default();
            lines.push('\n');
        }
        let file = std::fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(DatasetError::io("write", path))
    }

    /// Keeps all looks in `dir`, and tells what differs from the first that an endpoint answered.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn compare(probed: &[Probed], dir: &Path) -> Result<Vec<String>, DatasetError> {
        std::fs::create_dir_all(dir).map_err(DatasetError::io("create", dir))?;
        Probed::note(probed, &dir.join("looks.jsonl"))?;
        let path = dir.join("first-look.json");
        let first: Option<Probed> =
            read_regular(&path, MOST_BYTES as u64).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut answered = probed.iter().filter(|probed| probed.fault.is_none());
        let mut differences = Vec::new();
        let first = match first {
            Some(first) => first,
            None => {
                let Some(first) = answered.next() else { return Ok(Vec::new()) };
                write_whole(&path, serde_json::to_string_pretty(first).unwrap_or_default().as_bytes())?;
                first.clone()
            }
        };
        for now in answered {
            let told = now.differences(&first);
            differences.extend(told.into_iter().map(|told| format!("{}: {told}", now.url)));
        }
        Ok(differences)
    }
}

//! A look at an endpoint before anything is bought of it: which model answers, where its reasoning is, and whether seeds,
//! several choices, log-probabilities, prompts of token ids and going on from a part of an answer work. A few short requests
//! tell: a few hundred tokens, prompts included. Where there is a tokenizer for the model, the server's counts of some texts'
//! tokens are held against its (`count.rs`). What a fixed question comes to is kept, and compared whenever the endpoint is looked at again: another model
//! behind the same name gives itself away by its words, by its tokens' probabilities or by its tokenizer's count.

mod count;

pub use count::TextCount;

use super::{
    Continuation, Endpoint, HttpTeacher, Omit,
    body::Live,
    response::{Answer, Ending, ending_of},
    wire::{self, Chunk},
};
use crate::{Cost, ModelProfile, Partial, Request};
use distill_dataset::{DatasetError, Message, SamplingParams, TurnFormat, read_regular, write_whole};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{io::Write, path::Path, time::Duration};

/// The longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is read of a response in one piece, or of an earlier look.
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
    /// Tokens of some texts, by our own tokenizer and by the endpoint's count.
    pub counts: Vec<TextCount>,
    /// Whether it takes token ids as a prompt, and counts as many as it is sent.
    pub prompt_ids: Option<bool>,
    /// Whether it tells the ids of an answer's tokens, and they say its text by our own tokenizer.
    pub token_ids: Option<bool>,
    /// What it says to the question with temperature 0.
    pub answer: String,
    /// Log-probabilities of that answer's tokens, in nats, to a hundredth.
    pub token_logprobs: Vec<f64>,
    /// Tokens that this look took, prompts included.
    pub spent_tokens: u64,
    /// What they cost.
    #[serde(skip)]
    pub cost: Cost,
    /// Why it could not be looked at.
    pub fault: Option<String>,
}

/// What one request came to. It was read as any answer is: bounded, loosely, and without the key.
struct Said {
    answer: Answer,
    cost: Cost,
}

/// Why a request came to nothing.
enum Refusal {
    /// It was refused, and would be again.
    Refused(String),
    /// Nobody answered, or not now.
    Unanswered(String),
}

/// A request of a look.
#[derive(Default)]
struct Question<'q> {
    temperature: f32,
    seed: u64,
    /// What an answer is to go on from.
    begun: Option<&'q str>,
    log_probabilities: Option<u8>,
    /// Fields that are left out, since they were refused.
    without: &'q [&'q str],
    /// Asked in place of the usual question, with an answer of one token.
    text: Option<&'q str>,
    /// Whether the prompt is sent as token ids.
    by_ids: bool,
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
        probed.iter().for_each(|probed| self.looked.add(&probed.cost));
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
        remarks.extend(answered.iter().filter_map(|probed| self.is_another_than_asked(probed)));
        remarks.extend(self.choose_ids(&answered));
        (self, remarks)
    }

    /// What is said where an endpoint names a model that has no likeness to the one that was asked for.
    fn is_another_than_asked(&self, probed: &Probed) -> Option<String> {
        let (asked, named, url) = (&self.config.model, &probed.model, &probed.url);
        let is_alike = named.is_empty() || ModelProfile::are_alike(asked, named);
        (!is_alike).then(|| {
            format!(
                "{url}: expected answers of `{asked}`, and it names `{named}`: is that the model that was asked for?"
            )
        })
    }

    async fn look(&self, endpoint: &Endpoint) -> Probed {
        let mut probed = Probed { url: endpoint.place.url.clone(), ..Probed::default() };
        let mut without: &[&str] = &[];
        let mut plain = self.say_once(endpoint, Question { seed: 1, ..Question::default() }).await;
        if matches!(plain, Err(Refusal::Refused(_))) {
            // It may be the seed that is refused.
            let said = self.say_once(endpoint, Question { without: &["seed"], ..Question::default() }).await;
            if said.is_ok() {
                (plain, without) = (said, &["seed"]);
                probed.refuses = vec!["seed".to_owned()];
            }
        }
        let plain = match plain {
            Ok(said) => said,
            Err(Refusal::Refused(why) | Refusal::Unanswered(why)) => {
                probed.fault = Some(why);
                return probed;
            }
        };
        let answer = &plain.answer;
        probed.model.clone_from(&answer.model);
        probed.reasoning = Some(answer.reasoning.map_or("text", |place| place.trim_matches('`')).to_owned());
        probed.prompt_tokens = Some(plain.cost.prompt_tokens).filter(|_| !plain.cost.estimated);
        probed.answer.clone_from(&answer.text);
        probed.spend(&plain.cost);
        // At a temperature at which two draws seldom agree.
        let drawn = Question { temperature: 1.0, seed: 11, ..Question::default() };
        if without.is_empty()
            && let (Ok(one), Ok(two)) =
                (self.say_once(endpoint, Question { ..drawn }).await, self.say_once(endpoint, drawn).await)
        {
            probed.seed = Some(one.answer.text == two.answer.text);
            [one, two].iter().for_each(|said| probed.spend(&said.cost));
        }
        probed.n = self.gives_two(endpoint, without, &mut probed).await;
        let asked = Question { seed: 1, log_probabilities: Some(2), without, ..Question::default() };
        probed.logprobs = match self.say_once(endpoint, asked).await {
            Ok(said) => {
                let told = said.answer.log_probs.iter().flat_map(|told| told.iter().map(|token| token.chosen().1));
                // To a hundredth of a nat: they are compared no closer.
                probed.token_logprobs = told.map(|told| (f64::from(told) * 100.0).round() / 100.0).collect();
                probed.spend(&said.cost);
                Some(!probed.token_logprobs.is_empty())
            }
            Err(Refusal::Refused(_)) => Some(false),
            Err(Refusal::Unanswered(_)) => None,
        };
        probed.continues = self.goes_on(endpoint, &plain, without, &mut probed).await;
        self.look_at_tokens(endpoint, without, &mut probed).await;
        probed
    }

    /// Whether it goes on from a part of an answer that it would not begin so: with temperature 0, all comes once more as it
    /// was said without that part where it begins anew.
    async fn goes_on(&self, endpoint: &Endpoint, whole: &Said, without: &[&str], probed: &mut Probed) -> Option<bool> {
        if self.config.continues_by() == Continuation::None {
            return None;
        }
        // Reasoning that comes apart is put behind its tag, as an answer that broke off is kept.
        let lead = TurnFormat::default().opened("");
        let plain = &whole.answer.text;
        let (begun, plain) = match plain.strip_prefix(&lead) {
            Some(inside) => (format!("{lead}{BEGUN}"), inside),
            None => (BEGUN.to_owned(), plain.as_str()),
        };
        let asked = Question { seed: 1, begun: Some(&begun), without, ..Question::default() };
        let said = match self.say_once(endpoint, asked).await {
            Ok(said) => said,
            Err(Refusal::Refused(_)) => return Some(false),
            Err(Refusal::Unanswered(_)) => return None,
        };
        probed.spend(&said.cost);
        // What it was given stands before what it said, once.
        let new = said.answer.text.strip_prefix(&begun).unwrap_or(&said.answer.text);
        let (new, plain) = (new.trim_start(), plain.trim_start());
        let alike = new.chars().zip(plain.chars()).take_while(|(a, b)| a == b).count();
        let enough = (plain.chars().count() / 2).clamp(1, 8);
        Some(!new.is_empty() && alike < enough)
    }

    async fn say_once(&self, endpoint: &Endpoint, asked: Question<'_>) -> Result<Said, Refusal> {
        Ok(self.say_counted(endpoint, asked).await?.0)
    }

    /// The same, with the prompt's tokens by our own count and as told.
    async fn say_counted(
        &self,
        endpoint: &Endpoint,
        asked: Question<'_>,
    ) -> Result<(Said, Option<(u32, u32)>), Refusal> {
        let (body, live) = self.ask(endpoint, &asked)?;
        let ending = match tokio::time::timeout(PATIENCE, self.send(endpoint, &body, &live)).await {
            Ok(ending) => ending,
            Err(_) => Ending::Server(format!("no answer within {} s", PATIENCE.as_secs()), None),
        };
        let said = |message: String| self.say(endpoint, &message);
        match ending {
            Ending::Done(answer) => Ok((Said { answer: *answer, cost: self.cost(endpoint, &live) }, live.counted())),
            Ending::Unanswerable(_, message) | Ending::Fatal(message) | Ending::Shut(message) => {
                Err(Refusal::Refused(said(message)))
            }
            Ending::Away { message, .. }
            | Ending::Server(message, _)
            | Ending::Broken(_, message)
            | Ending::Another(message) => Err(Refusal::Unanswered(said(message))),
        }
    }

    /// The body of a question, and what its answer shows in.
    fn ask(&self, endpoint: &Endpoint, asked: &Question<'_>) -> Result<(Value, Live), Refusal> {
        let sampling = SamplingParams {
            temperature: asked.temperature,
            top_p: 1.0,
            max_new_tokens: if asked.text.is_some() { 1 } else { TOKENS },
            log_probabilities: asked.log_probabilities,
        };
        let partial = asked.begun.map(|text| Partial { text: text.to_owned(), ..Partial::default() });
        let messages = vec![Message::user(asked.text.unwrap_or(QUESTION))];
        let mut request = Request { id: 0, messages, sampling, seed: asked.seed, partial };
        let counted = self.prompt(&request, endpoint, asked.by_ids).map_err(Refusal::Refused)?;
        let tokens = match &counted {
            Some(counted) => counted.tokens,
            None => self.count(&request.messages, endpoint),
        };
        let body = wire::body(&self.config, &request, counted.map(|counted| counted.prompt));
        let mut body = serde_json::to_value(&body).map_err(|error| Refusal::Refused(error.to_string()))?;
        if let Value::Object(fields) = &mut body {
            asked.without.iter().for_each(|name| drop(fields.remove(*name)));
        }
        let ids = if asked.by_ids { self.ids_behind(&mut request.partial) } else { None };
        let live = Live::new(endpoint, request.partial).asking(&sampling);
        live.prompt_tokens.set(tokens);
        Ok((body, if asked.by_ids { live.by_ids(ids) } else { live }))
    }

    /// Whether it gives two answers to one request. They are counted, in one piece, and not read.
    async fn gives_two(&self, endpoint: &Endpoint, without: &[&str], probed: &mut Probed) -> Option<bool> {
        let asked = Question { temperature: 1.0, seed: 2, without, ..Question::default() };
        let (mut body, _) = self.ask(endpoint, &asked).ok()?;
        if let Value::Object(fields) = &mut body {
            fields.remove("stream_options");
            fields.extend([("stream".to_owned(), Value::Bool(false)), ("n".to_owned(), json!(2))]);
        }
        let read = async {
            let mut response = self.call(endpoint).json(&body).send().await.ok()?;
            let status = response.status();
            if !status.is_success() {
                let refused = matches!(ending_of(status.as_u16(), "", String::new(), None), Ending::Unanswerable(..));
                return refused.then_some(None);
            }
            let mut bytes = Vec::new();
            while let Some(piece) = response.chunk().await.ok()? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > MOST_BYTES {
                    return None;
                }
            }
            Chunk::read(&bytes).ok().map(Some)
        };
        let Some(chunk) = tokio::time::timeout(PATIENCE, read).await.ok()?? else { return Some(false) };
        let usage = chunk.usage();
        let [prompt_tokens, completion_tokens] =
            [usage.prompt_tokens, usage.completion_tokens].map(|count| u64::from(count.0.unwrap_or_default()));
        let mut cost = Cost { prompt_tokens, completion_tokens, ..Cost::default() };
        if let Some(price) = endpoint.tariff.at(Timestamp::now()) {
            cost.pay(price.of(&cost));
        }
        probed.spend(&cost);
        Some(chunk.choices.is_some_and(|choices| choices.len() == 2))
    }
}

impl Probed {
    fn spend(&mut self, cost: &Cost) {
        self.spent_tokens += cost.prompt_tokens + cost.completion_tokens;
        self.cost.add(cost);
    }

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
        all.extend(self.recounted(before));
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

//! What is known of hosts and models, as data: one file a host in `hosts/`, one a model family in `models/`, each with
//! its sources and the day on which they were read. A recipe names a host, and what it does not say itself is the host's;
//! a model is known by the name under which it is served.

pub(crate) mod price;

pub use price::HostPrice;

use crate::Continuation;
use distill_dataset::{Digest, FinishReason, Message, Role, TurnFormat};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// A service or a server program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostProfile {
    /// What recipes call it: its file's name.
    #[serde(skip)]
    pub name: &'static str,
    /// Its own name.
    pub title: String,
    /// Whether people run it themselves.
    pub self_hosted: bool,
    /// The day on which its documentation was read.
    pub checked: String,
    /// What it was tried with.
    pub tested: String,
    /// What was read.
    pub sources: Vec<String>,
    /// What a user has to know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How it is called.
    pub call: HostCall,
    /// How it answers.
    pub answer: HostAnswer,
    /// What it can, where that is documented.
    #[serde(default)]
    pub can: BTreeMap<String, bool>,
    /// What it costs, where that is documented.
    #[serde(default)]
    pub price: Vec<HostPrice>,
}

/// How a host is called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostCall {
    /// An example of its base.
    pub url: String,
    /// The call that is used unless a recipe says another: `completions` or `chat`.
    pub api: String,
    /// Behind the base, for chats.
    #[serde(default = "chat_path")]
    pub chat_path: String,
    /// Behind the base, for completions.
    #[serde(default = "completions_path")]
    pub completions_path: String,
    /// Whether it completes prompts that are rendered here.
    #[serde(default)]
    pub completions: Option<bool>,
    /// What stands behind `?` in every call.
    #[serde(default)]
    pub query: Option<String>,
    /// What answers 200 at its root while it is able to answer, where it is not its list of models.
    #[serde(default)]
    pub health: Option<String>,
    /// The header of the key, where it is not `Authorization: Bearer`.
    #[serde(default)]
    pub key_header: Option<String>,
    /// Whether it puts the model's first token before a prompt, whatever a request says.
    #[serde(default)]
    pub adds_begin: bool,
    /// How it goes on from a part of an answer, by its usual call.
    #[serde(default)]
    pub continuation: Option<Continuation>,
    /// The same by chats.
    #[serde(default)]
    pub chat_continuation: Option<Continuation>,
    /// Most tokens of reasoning, where the limit of a request counts the answer without its reasoning.
    #[serde(default)]
    pub reasoning_beside: u32,
    /// Whether `logprobs` of a chat is the number of alternatives, as it is in the completions call.
    #[serde(default)]
    pub chat_logprobs_number: bool,
    /// Fields of a request that it refuses.
    #[serde(default)]
    pub omit: Vec<crate::Omit>,
    /// Fields of every completions call.
    #[serde(default)]
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Fields that ask it for the ids of the tokens that it generates, in a completions call.
    #[serde(default)]
    pub ids_body: serde_json::Map<String, serde_json::Value>,
    /// Fields of every chat call.
    #[serde(default)]
    pub chat_extra_body: serde_json::Map<String, serde_json::Value>,
}

fn chat_path() -> String {
    "/chat/completions".to_owned()
}

fn completions_path() -> String {
    "/completions".to_owned()
}

/// How a host answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostAnswer {
    /// Where the reasoning of a chat is: `reasoning`, `reasoning_content` or `text`.
    pub reasoning: String,
    /// Whether errors come inside a 200.
    #[serde(default)]
    pub errors_in_200: bool,
    /// Where, in `usage`, the tokens of a prompt are told that came from a cache: names with dots between them. Where
    /// OpenAI tells them unless something is said.
    #[serde(default)]
    pub cached_tokens: Option<String>,
    /// Its own names for why an answer ended: `stop`, `length`, `filtered` or `broken`.
    #[serde(default)]
    pub finish_reasons: BTreeMap<String, String>,
    /// Where, in an error's body, its message is.
    #[serde(default)]
    pub error: Option<String>,
}

/// A family of models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelProfile {
    /// Its name here: its file's.
    #[serde(skip)]
    pub name: &'static str,
    /// Its own name.
    pub title: String,
    /// The names under which it is served.
    pub names: Vec<String>,
    /// The day on which its makers' advice was read.
    pub checked: String,
    /// What was read.
    pub sources: Vec<String>,
    /// What its makers advise, a sentence each.
    pub rules: Vec<String>,
    /// Whether they allow a system prompt, where they say.
    #[serde(default)]
    pub system_prompt: Option<bool>,
    /// How its turns are laid out.
    pub turn: ModelTurn,
    /// What they advise for sampling.
    pub sampling: ModelSampling,
    /// How its prompts are written, where that can be done without its tokenizer.
    #[serde(default)]
    pub prompt: Option<ModelPrompt>,
}

/// How a model's turns are laid out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelTurn {
    /// What the prompt has to put at the beginning of its turn.
    pub prefix: String,
    /// Before the reasoning.
    pub open: String,
    /// Behind it.
    pub close: String,
}

/// What a model's makers advise for sampling.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelSampling {
    /// Softmax temperature.
    pub temperature: Option<f32>,
    /// Least and most.
    pub temperature_range: Option<[f32; 2]>,
    /// Nucleus mass.
    pub top_p: Option<f32>,
    /// Most likely tokens that are drawn from.
    pub top_k: Option<u32>,
    /// Least share of the likeliest token's probability.
    pub min_p: Option<f32>,
    /// Limit on generated tokens.
    pub max_new_tokens: Option<u32>,
    /// Whether greedy decoding works.
    pub greedy: Option<bool>,
}

/// How a model's prompts are written; `{}` is where a message's text goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelPrompt {
    /// The first token.
    pub begin: String,
    /// A turn of the system.
    pub system: String,
    /// A turn of the user.
    pub user: String,
    /// A turn of the assistant that has ended.
    pub assistant: String,
    /// What begins the assistant's turn.
    pub open: String,
    /// What no message may spell: it would be read as a control token.
    pub control: Vec<String>,
}

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!($folder, "/", $name, ".toml")))),+]
    };
}

const HOSTS: &[(&str, &str)] = files!["hosts":
    "azure", "deepseek", "github-models", "llama-cpp", "modelarts", "nim", "ollama", "openrouter", "sglang",
    "siliconflow", "tensorrt-llm", "together", "vllm",
];
const MODELS: &[(&str, &str)] =
    files!["models": "deepseek-r1", "deepseek-r1-0528", "deepseek-r1-zero", "gpt-oss", "qwen3", "qwq"];

/// Reads files that are part of this program: a test reads each.
fn read<T: serde::de::DeserializeOwned>(
    files: &[(&'static str, &str)],
    named: impl Fn(&mut T, &'static str),
) -> Vec<T> {
    let one = |(name, text): &(&'static str, &str)| {
        let mut profile: T = toml::from_str(text).ok()?;
        named(&mut profile, name);
        Some(profile)
    };
    files.iter().filter_map(one).collect()
}

impl HostProfile {
    /// All of them.
    pub fn all() -> &'static [HostProfile] {
        static ALL: LazyLock<Vec<HostProfile>> =
            LazyLock::new(|| read(HOSTS, |profile: &mut HostProfile, name| profile.name = name));
        &ALL
    }

    /// The host that recipes call so.
    pub fn of(name: &str) -> Option<&'static HostProfile> {
        HostProfile::all().iter().find(|profile| profile.name == name)
    }

    /// Whether it completes prompts that are rendered here, as far as that is documented.
    pub fn completes(&self) -> bool {
        self.call.completions.unwrap_or(self.call.api == "completions")
    }

    /// Whether prompts may be token ids, as far as that is documented.
    pub fn takes_ids(&self) -> Option<bool> {
        self.can.get("prompt-ids").copied()
    }

    /// Whether its documentation says that it refuses to tell log-probabilities.
    pub fn refuses_log_probs(&self) -> bool {
        self.can.get("logprobs") == Some(&false)
    }

    /// What its own name for the end of an answer means; `Broken` where the server gave up on it.
    pub fn finish_reason(&self, name: &str) -> Option<FinishReason> {
        let (_, meaning) = self.answer.finish_reasons.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(match meaning.as_str() {
            "stop" => FinishReason::Stop,
            "length" => FinishReason::Length,
            "filtered" => FinishReason::ContentFilter,
            _ => FinishReason::Broken,
        })
    }
}

impl ModelProfile {
    /// All of them.
    pub fn all() -> &'static [ModelProfile] {
        static ALL: LazyLock<Vec<ModelProfile>> =
            LazyLock::new(|| read(MODELS, |profile: &mut ModelProfile, name| profile.name = name));
        &ALL
    }

    /// The model that is served under that name.
    pub fn of(name: &str) -> Option<&'static ModelProfile> {
        let known = |profile: &&ModelProfile| profile.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        ModelProfile::all().iter().find(known)
    }

    /// Whether a model that a response names may be the one that was asked for: by the same name but for its folder, its
    /// date and its precision, or by another name of the same model.
    pub fn are_alike(asked: &str, named: &str) -> bool {
        if let (Some(asked), Some(named)) = (ModelProfile::of(asked), ModelProfile::of(named)) {
            return asked.name == named.name;
        }
        let [asked, named] = [asked, named].map(plain);
        let (short, long) = if asked.len() < named.len() { (&asked, &named) } else { (&named, &asked) };
        let rest = long.strip_prefix(short.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('-'));
        rest.is_some_and(|rest| rest.split('-').all(is_aside))
    }

    /// How its turns are laid out, as the records say it.
    pub fn format(&self) -> TurnFormat {
        let turn = &self.turn;
        TurnFormat { prefix: turn.prefix.clone(), open: turn.open.clone(), close: turn.close.clone() }
    }

    /// What differs between these settings and its makers' advice, a sentence each.
    pub fn advice(&self, temperature: f32, top_p: f32, max_new_tokens: u32, has_system_prompt: bool) -> Vec<String> {
        let (told, mut advice) = (&self.sampling, Vec::new());
        let title = &self.title;
        let [least, most] = told.temperature_range.unwrap_or([told.temperature.unwrap_or(temperature); 2]);
        if temperature == 0.0 && told.greedy == Some(false) {
            advice.push(format!("{title}: its makers warn of greedy decoding (temperature 0)"));
        } else if !(least..=most).contains(&temperature) {
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            advice.push(format!("{title}: its makers advise a temperature of {range}, the recipe has {temperature}"));
        }
        if let Some(told) = told.top_p.filter(|told| *told != top_p) {
            advice.push(format!("{title}: its makers advise top-p {told}, the recipe has {top_p}"));
        }
        if let Some(told) = told.max_new_tokens.filter(|told| *told > max_new_tokens) {
            advice.push(format!(
                "{title}: its makers generate up to {told} tokens; of the answers that need more than {max_new_tokens}, the recipe gets beginnings"
            ));
        }
        if has_system_prompt && self.system_prompt == Some(false) {
            advice.push(format!(
                "{title}: its makers advise no system prompt, the recipe has some: instructions go into the user's message"
            ));
        }
        advice
    }
}

/// A model's name without its folder, in small letters and digits with `-` between them.
fn plain(name: &str) -> String {
    let name = name.trim_end_matches(".gguf").to_lowercase();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Whether a word of a model's name says nothing of which model it is: a date, a number, a precision.
fn is_aside(word: &str) -> bool {
    const WORDS: [&str; 18] = [
        "awq",
        "gptq",
        "gguf",
        "mlx",
        "quantized",
        "instruct",
        "latest",
        "preview",
        "free",
        "turbo",
        "k",
        "m",
        "s",
        "l",
        "xs",
        "xxs",
        "0",
        "ud",
    ];
    let is_number = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let precision = ["fp", "bf", "int", "w", "q", "iq", "mxfp", "nvfp", "v"].into_iter();
    WORDS.contains(&word) || is_number(word) || precision.filter_map(|kind| word.strip_prefix(kind)).any(is_number)
}

impl ModelPrompt {
    /// A digest of how prompts are written: part of every sample's identity.
    pub fn digest(&self) -> String {
        let parts = [&self.begin, &self.system, &self.user, &self.assistant, &self.open];
        let mut digest = Digest::new("prompt");
        for part in parts {
            digest.field(part);
        }
        digest.finish_short()
    }

    /// A conversation up to the assistant's turn, which begins with `prefix`. The first token is left out where the
    /// server puts it there itself.
    ///
    /// # Errors
    /// When a message spells a control token: which one.
    pub fn render(&self, messages: &[Message], prefix: &str, begins: bool) -> Result<String, String> {
        let mut prompt = if begins { self.begin.clone() } else { String::new() };
        for message in messages {
            if let Some(found) = self.control.iter().find(|control| message.content.contains(*control)) {
                return Err(format!("the text spells the control token `{found}`, which would end its turn"));
            }
            let around = match message.role {
                Role::System => &self.system,
                Role::User => &self.user,
                Role::Assistant => &self.assistant,
            };
            let (before, after) = around.split_once("{}").unwrap_or((around, ""));
            prompt.extend([before, &message.content, after]);
        }
        Ok(prompt + &self.open + prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_says_where_it_comes_from() {
        assert_eq!(HostProfile::all().len(), HOSTS.len(), "{:?}", broken::<HostProfile>(HOSTS));
        assert_eq!(ModelProfile::all().len(), MODELS.len(), "{:?}", broken::<ModelProfile>(MODELS));
        for host in HostProfile::all() {
            assert!(!host.sources.is_empty() && host.checked.starts_with("202"), "{}: sources", host.name);
            assert!(matches!(host.call.api.as_str(), "chat" | "completions"), "{}: api", host.name);
            assert!(
                ["reasoning", "reasoning_content", "text"].contains(&host.answer.reasoning.as_str()),
                "{}",
                host.name
            );
            let known = ["stop", "length", "filtered", "broken"];
            assert!(host.answer.finish_reasons.values().all(|name| known.contains(&name.as_str())), "{}", host.name);
            for price in &host.price {
                assert!(price.price().completion > 0.0 && !price.source.is_empty(), "{}: {price}", host.name);
                let is_base = |other: &&HostPrice| other.hours.is_none() && other.model == price.model;
                let base = host.price.iter().filter(is_base).find(|other| other.from <= price.from);
                assert!(
                    base.is_some_and(|base| base.until == price.until),
                    "{}: {price}: outside its hours",
                    host.name
                );
            }
        }
        let mut names: Vec<String> =
            ModelProfile::all().iter().flat_map(|model| &model.names).map(|name| name.to_lowercase()).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "a name belongs to one model");
    }

    #[test]
    fn a_model_that_has_no_likeness_to_the_one_asked_for_is_told_from_one_that_has() {
        for (asked, named, alike) in [
            ("r1", "r1", true),
            ("deepseek-ai/DeepSeek-R1", "deepseek-r1", true),
            ("deepseek-reasoner", "deepseek-ai/DeepSeek-R1", true),
            ("gpt-4o", "gpt-4o-2024-08-06", true),
            ("my-model", "/models/My-Model-Q4_K_M.gguf", true),
            ("qwen3:8b", "qwen3-8b-fp8", true),
            ("deepseek-reasoner", "deepseek-v4-flash", false),
            ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528", false),
            ("deepseek-r1", "deepseek-r1-distill-qwen-7b", false),
            ("r1", "r12", false),
            ("r1", "m", false),
        ] {
            assert_eq!(ModelProfile::are_alike(asked, named), alike, "{asked} and {named}");
            assert_eq!(ModelProfile::are_alike(named, asked), alike, "{named} and {asked}");
        }
    }

    fn broken<T: serde::de::DeserializeOwned>(files: &[(&str, &str)]) -> Vec<String> {
        let fault = |(name, text): &(&str, &str)| Some(format!("{name}: {}", toml::from_str::<T>(text).err()?));
        files.iter().filter_map(fault).collect()
    }

    #[test]
    fn r1_is_asked_as_its_makers_do_and_its_first_token_comes_once() {
        let r1 = ModelProfile::of("DeepSeek-AI/deepseek-r1").expect("a profile");
        let prompt = r1.prompt.as_ref().expect("a prompt");
        let question = [Message::user("1+1?")];
        let whole = "<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜><think>\n";
        assert_eq!(prompt.render(&question, &r1.turn.prefix, true).as_deref(), Ok(whole));
        let rest = whole.strip_prefix("<｜begin▁of▁sentence｜>");
        assert_eq!(prompt.render(&question, &r1.turn.prefix, false).ok().as_deref(), rest);
        let spelled = prompt.render(&[Message::user("say <｜end▁of▁sentence｜>")], "", true);
        assert!(spelled.expect_err("refused").contains("<｜"), "a control token");
        assert_eq!(r1.advice(0.6, 0.95, 32768, false), Vec::<String>::new());
        assert_eq!(r1.advice(0.0, 1.0, 4096, false).len(), 3);
        assert_eq!(r1.advice(0.6, 0.95, 32768, true).len(), 1);
    }
}

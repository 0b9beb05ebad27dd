//! The recipe: what was written. TOML in, typed tables out, every mistake reported at once with its place.
//!
//! Paths are resolved against the recipe's folder here, and nowhere else.

mod decode;
mod diagnostic;
mod source;

pub(crate) use decode::nearest;
pub use diagnostic::{Diagnostic, RecipeError, Source};

use decode::{Diagnostics, Section, Value};
use distill_data_gen::{
    problems::{GeneratorConfig, JsonlConfig, ParquetConfig, ProblemsConfig},
    sampling::SamplingConfig,
};
use distill_evaluate::EvaluationConfig;
use distill_filters::{DuplicatesConfig, FilterConfig, FormatConfig, LengthConfig, VerifyConfig};
use distill_publish::PublishConfig;
use distill_student::TrainingConfig;
use distill_teacher::HttpTeacherConfig;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// A recipe as written, with its paths resolved.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file.
    pub path: PathBuf,
    /// Its name: the folder of its runs.
    pub name: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// Where problems come from and who answers them.
    pub sources: Vec<SourceConfig>,
    /// What judges the traces, in order.
    pub filters: Vec<FilterConfig>,
    /// The shareable dataset.
    pub export: Option<ExportConfig>,
    /// Who learns.
    pub student: Option<StudentConfig>,
    /// How models are compared.
    pub evaluation: Option<EvaluationConfig>,
    /// What is published.
    pub publish: Option<PublishConfig>,
    /// The `--set` overrides, as given.
    pub overrides: Vec<String>,
}

/// Problems, and who answers them how often.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Where the problems come from.
    pub problems: ProblemsConfig,
    /// How many of them are held out for evaluation.
    pub holdout: u32,
    /// Who answers.
    pub teacher: TeacherConfig,
    /// How it is asked; absent for worked solutions.
    pub sampling: Option<SamplingConfig>,
}

/// Who answers.
#[derive(Clone, Debug)]
pub enum TeacherConfig {
    /// A checkpoint folder, decoded in this process.
    Local(PathBuf),
    /// An OpenAI-compatible endpoint.
    Http(Box<HttpConfig>),
    /// Nobody: the problems' own worked solutions become the traces.
    WorkedSolutions,
}

/// An endpoint, and where its key is found.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The endpoint.
    pub endpoint: HttpTeacherConfig,
    /// The environment variable that holds the key; the key itself never enters a recipe.
    pub api_key_env: Option<String>,
    /// For `api = "completions"`: the folder with the tokenizer and chat template that renders prompts.
    pub chat: Option<PathBuf>,
}

/// The shareable dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExportConfig {
    /// Its name on its card.
    pub dataset_name: String,
    /// SPDX identifier of its licence.
    pub license: String,
}

/// Who learns, and how.
#[derive(Clone, Debug)]
pub struct StudentConfig {
    /// What it starts from.
    pub base: BaseConfig,
    /// How it is trained.
    pub training: TrainingConfig,
}

/// What a student starts from.
#[derive(Clone, Debug)]
pub enum BaseConfig {
    /// A Hugging Face folder with weights.
    Checkpoint(PathBuf),
    /// A `config.json` for random weights, and the folder with tokenizer and chat template.
    Config {
        /// The `config.json`.
        config: PathBuf,
        /// Folder of `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`, `generation_config.json`.
        tokenizer: PathBuf,
    },
}

impl Recipe {
    /// Reads a recipe and lays `KEY=VALUE` overrides over it.
    ///
    /// # Errors
    /// `RecipeError` with every mistake in it, or that the file cannot be read.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Recipe> {
        let source = source::read(path, overrides)?;
        let mut diagnostics = Diagnostics::default();
        let recipe = {
            let mut root = Section::root(source::parse(&source)?);
            let recipe = read(&mut root, path, overrides, &mut diagnostics);
            root.finish(&mut diagnostics);
            recipe
        };
        match recipe {
            Some(recipe) if diagnostics.found.is_empty() => Ok(recipe),
            _ => {
                let mut found = diagnostics.found;
                found.sort_by_key(|diagnostic| diagnostic.span.start);
                Err(RecipeError { source, diagnostics: found }.into())
            }
        }
    }
}

fn read(root: &mut Section<'_>, path: &Path, overrides: &[String], diagnostics: &mut Diagnostics) -> Option<Recipe> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let name = root.required::<String>("name", diagnostics);
    if let Some(name) = name.as_deref().filter(|name| !is_file_name(name)) {
        diagnostics.push(0..0, format!("`name` names a folder: expected letters, digits, `-`, `_` and `.`, found `{name}`"), None);
    }
    let seed = root.required::<u64>("seed", diagnostics);
    let sources = read_list(root, "sources", diagnostics, |value, what, diagnostics| read_source(value, what, &folder, diagnostics));
    if sources.is_empty() && diagnostics.found.is_empty() {
        diagnostics.push(0..0, "the recipe lacks `[[sources]]`: nothing to sample from", None);
    }
    let filters = read_list(root, "filters", diagnostics, read_filter);
    let export = root.optional("export", diagnostics);
    let student = root.take("student").and_then(|value| read_student(value, &folder, diagnostics));
    let evaluation = checked(root, "evaluation", diagnostics, EvaluationConfig::check);
    let publish = checked(root, "publish", diagnostics, PublishConfig::check);
    Some(Recipe { path: path.to_owned(), name: name?, seed: seed?, sources, filters, export, student, evaluation, publish, overrides: overrides.to_vec() })
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn read_list<T>(
    root: &mut Section<'_>,
    key: &str,
    diagnostics: &mut Diagnostics,
    read_item: impl Fn(Value<'_>, &str, &mut Diagnostics) -> Option<T>,
) -> Vec<T> {
    let Some(value) = root.take(key) else { return Vec::new() };
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(items) => items.into_iter().enumerate().filter_map(|(index, item)| read_item(item, &format!("{key}.{index}"), diagnostics)).collect(),
        other => {
            diagnostics.push(span, format!("`{key}`: expected a list of tables, found {}", other.type_str()), Some(format!("write `[[{key}]]`")));
            Vec::new()
        }
    }
}

fn read_source(value: Value<'_>, what: &str, folder: &Path, diagnostics: &mut Diagnostics) -> Option<SourceConfig> {
    let mut section = Section::new(value, what, diagnostics)?;
    let problems = take_section(&mut section, "problems", diagnostics).and_then(|table| read_problems(table, folder, diagnostics));
    let teacher = take_section(&mut section, "teacher", diagnostics).and_then(|table| read_teacher(table, folder, diagnostics));
    let holdout = section.optional("holdout", diagnostics).unwrap_or(0);
    let worked = matches!(teacher, Some(TeacherConfig::WorkedSolutions));
    let span = section.span.clone();
    let sampling = checked(&mut section, "sampling", diagnostics, SamplingConfig::check);
    if sampling.is_none() && teacher.is_some() && !worked && diagnostics.found.is_empty() {
        diagnostics.push(span, format!("`{what}` lacks the key `sampling`"), Some("e.g. sampling = { samples-per-problem = 4, temperature = 0.6, top-p = 0.95, max-new-tokens = 4096 }".to_owned()));
    }
    section.finish(diagnostics);
    Some(SourceConfig { problems: problems?, holdout, teacher: teacher?, sampling })
}

fn take_section<'s>(section: &mut Section<'s>, key: &str, diagnostics: &mut Diagnostics) -> Option<Section<'s>> {
    let what = section.path(key);
    match section.take(key) {
        Some(value) => Section::new(value, &what, diagnostics),
        None => {
            diagnostics.push(section.span.clone(), format!("`{}` lacks the key `{key}`", section.what), None);
            None
        }
    }
}

fn read_problems(mut section: Section<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<ProblemsConfig> {
    let kind = section.one_of(&["generator", "jsonl", "parquet"], diagnostics)?;
    let what = section.what.clone();
    let span = section.span.clone();
    let value = section.rest();
    let config = match kind {
        "generator" => ProblemsConfig::Generator(diagnostics.decode::<GeneratorConfig>(value, &what)?),
        "jsonl" => {
            let mut config = diagnostics.decode::<JsonlConfig>(value, &what)?;
            config.jsonl = folder.join(&config.jsonl);
            ProblemsConfig::Jsonl(config)
        }
        _ => {
            let mut config = diagnostics.decode::<ParquetConfig>(value, &what)?;
            config.parquet = folder.join(&config.parquet);
            ProblemsConfig::Parquet(config)
        }
    };
    reported(config.check(), &what, span, diagnostics).then_some(config)
}

fn read_teacher(mut section: Section<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<TeacherConfig> {
    let teacher = match section.one_of(&["local", "http", "worked-solutions"], diagnostics)? {
        "local" => TeacherConfig::Local(folder.join(section.required::<PathBuf>("local", diagnostics)?)),
        "worked-solutions" => {
            let span = section.span.clone();
            if !section.required::<bool>("worked-solutions", diagnostics)? {
                diagnostics.push(span, "`worked-solutions` can only be true", None);
            }
            TeacherConfig::WorkedSolutions
        }
        _ => {
            let mut http = take_section(&mut section, "http", diagnostics)?;
            let api_key_env = http.optional("api-key-env", diagnostics);
            let chat = http.optional::<PathBuf>("chat", diagnostics).map(|path| folder.join(path));
            let (what, span) = (http.what.clone(), http.span.clone());
            let endpoint = diagnostics.decode::<HttpTeacherConfig>(http.rest(), &what)?;
            if !reported(endpoint.check(), &what, span, diagnostics) {
                return None;
            }
            TeacherConfig::Http(Box::new(HttpConfig { endpoint, api_key_env, chat }))
        }
    };
    section.finish(diagnostics);
    Some(teacher)
}

fn read_filter(value: Value<'_>, what: &str, diagnostics: &mut Diagnostics) -> Option<FilterConfig> {
    let span = value.span();
    let mut section = Section::new(value, what, diagnostics)?;
    let kind_value = section.take("kind");
    let kind_span = kind_value.as_ref().map_or(span.clone(), |kind| kind.span());
    let kind: String = match kind_value {
        Some(kind) => diagnostics.decode(kind, &section.path("kind"))?,
        None => {
            diagnostics.push(span, format!("`{what}` lacks the key `kind`"), Some(format!("one of {}", FilterConfig::KINDS.join(", "))));
            return None;
        }
    };
    let rest = section.rest();
    let config = match kind.as_str() {
        "format" => FilterConfig::Format(diagnostics.decode::<FormatConfig>(rest, what)?),
        "length" => FilterConfig::Length(diagnostics.decode::<LengthConfig>(rest, what)?),
        "duplicates" => FilterConfig::Duplicates(diagnostics.decode::<DuplicatesConfig>(rest, what)?),
        "verify" => FilterConfig::Verify(diagnostics.decode::<VerifyConfig>(rest, what)?),
        other => {
            let near = nearest(other, FilterConfig::KINDS).map(|near| format!("did you mean `{near}`? known: {}", FilterConfig::KINDS.join(", ")));
            diagnostics.push(kind_span, format!("unknown filter `{other}`"), near.or(Some(format!("known: {}", FilterConfig::KINDS.join(", ")))));
            return None;
        }
    };
    reported(config.check(), what, span, diagnostics).then_some(config)
}

fn read_student(value: Value<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<StudentConfig> {
    let mut section = Section::new(value, "student", diagnostics)?;
    let base = take_section(&mut section, "base", diagnostics).and_then(|table| read_base(table, folder, diagnostics));
    let training = checked(&mut section, "training", diagnostics, TrainingConfig::check);
    if training.is_none() && diagnostics.found.is_empty() {
        diagnostics.push(section.span.clone(), "`student` lacks the table `[student.training]`", None);
    }
    section.finish(diagnostics);
    Some(StudentConfig { base: base?, training: training? })
}

fn read_base(mut section: Section<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<BaseConfig> {
    let base = match section.one_of(&["checkpoint", "config"], diagnostics)? {
        "checkpoint" => BaseConfig::Checkpoint(folder.join(section.required::<PathBuf>("checkpoint", diagnostics)?)),
        _ => {
            let config = section.required::<PathBuf>("config", diagnostics);
            let tokenizer = section.required::<PathBuf>("tokenizer", diagnostics);
            BaseConfig::Config { config: folder.join(config?), tokenizer: folder.join(tokenizer?) }
        }
    };
    section.finish(diagnostics);
    Some(base)
}

/// An optional table whose ranges are checked once it decodes.
fn checked<T: DeserializeOwned>(section: &mut Section<'_>, key: &str, diagnostics: &mut Diagnostics, check: impl Fn(&T) -> Result<(), String>) -> Option<T> {
    let what = section.path(key);
    let value = section.take(key)?;
    let span = value.span();
    let config = diagnostics.decode::<T>(value, &what)?;
    reported(check(&config), &what, span, diagnostics).then_some(config)
}

fn reported(checked: Result<(), String>, what: &str, span: std::ops::Range<usize>, diagnostics: &mut Diagnostics) -> bool {
    let Err(message) = checked else { return true };
    diagnostics.push(span, format!("`{what}`: {message}"), None);
    false
}

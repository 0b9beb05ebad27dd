//! The recipe: what was written. TOML with `--set` overrides in (`source`), typed tables out (here, by `decode`), every
//! mistake reported at once with its place, the offending text and what would have been right (`diagnostic`).
//!
//! `[cuts.NAME]` are other ways to select from the same pool (`cuts`).
//!
//! Paths are resolved against the recipe's folder here, and nowhere else.

mod compared;
mod cuts;
pub mod decode;
pub mod diagnostic;
mod read;
pub mod source;
#[cfg(test)]
mod tests;
pub mod values;

use crate::run::Until;
use diagnostic::{RecipeError, Source};
use distill_data_gen::{ProblemsConfig, ReadyConfig, SamplingConfig};
use distill_evaluate::EvaluationConfig;
use distill_filters::{FilterConfig, OnUnknown, ShapingConfig, VerifyConfig};
use distill_publish::PublishConfig;
use distill_student::{Surgery, TrainingConfig};
use distill_teacher::HttpTeacherConfig;
use distill_teacher_local::Precision;
pub(crate) use read::is_file_name;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A recipe as written, with its paths resolved.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file; for people, what was typed where there is none.
    pub path: PathBuf,
    /// Its name: the folder of its runs.
    pub name: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// Where problems come from and who answers them.
    pub sources: Vec<SourceConfig>,
    /// What judges the traces, in order.
    pub filters: Vec<FilterConfig>,
    /// Filters of problems, in order: before the held-out split, before anything is bought.
    pub problem_filters: Vec<FilterConfig>,
    /// What the filter `contamination` looks for.
    pub benchmarks: Vec<BenchmarkConfig>,
    /// Who has an opinion where rules have none.
    pub judge: Option<AskedConfig>,
    /// The shareable dataset.
    pub export: Option<ExportConfig>,
    /// What examples say of their traces.
    pub shaping: ShapingConfig,
    /// Who learns.
    pub student: Option<StudentConfig>,
    /// How models are compared.
    pub evaluation: Option<EvaluationConfig>,
    /// The problems that they are compared on, in place of held-out ones.
    pub evaluated_on: Option<ProblemsConfig>,
    /// Who is compared beside the student and its teacher.
    pub subjects: Vec<SubjectConfig>,
    /// What is published.
    pub publish: Option<PublishConfig>,
    /// The `--set` overrides, as given, then what a cut lays over it.
    pub overrides: Vec<String>,
    /// Other selections from the same pool, by name: `[cuts.NAME]` lays its keys over the recipe's, and is a run `RECIPE.NAME`.
    pub cuts: Vec<String>,
}

/// Problems that no problem and no trace may contain.
#[derive(Clone, Debug)]
pub struct BenchmarkConfig {
    /// What evidence calls it.
    pub name: String,
    /// Where its problems are.
    pub problems: ProblemsConfig,
}

/// Who is asked, and how.
#[derive(Clone, Debug)]
pub struct AskedConfig {
    /// Who.
    pub teacher: TeacherConfig,
    /// How.
    pub sampling: SamplingConfig,
}

/// Problems, and who answers them how often.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// What filters call it.
    pub name: Option<String>,
    /// Its part in the mix of what the filters keep, beside the other sources' parts.
    pub weight: Option<f64>,
    /// Where the problems come from.
    pub problems: ProblemsConfig,
    /// How many of them are held out for evaluation.
    pub holdout: u32,
    /// Who answers.
    pub teacher: TeacherConfig,
    /// How it is asked; absent where nobody is.
    pub sampling: Option<SamplingConfig>,
}

/// Who is evaluated: a checkpoint, or a model behind an endpoint.
#[derive(Clone, Debug)]
pub struct SubjectConfig {
    /// What scores call it.
    pub name: String,
    /// Who answers.
    pub teacher: TeacherConfig,
}

/// Who answers.
#[derive(Clone, Debug)]
pub enum TeacherConfig {
    /// A checkpoint folder, decoded in this process.
    Local {
        /// The folder.
        dir: PathBuf,
        /// In which precision its weights are kept; rounded weights are another teacher.
        precision: Precision,
    },
    /// An OpenAI-compatible endpoint.
    Http(Box<HttpConfig>),
    /// Nobody: the problems' own worked solutions become the traces.
    WorkedSolutions,
    /// Nobody: the file of the problems brings traces that exist already.
    ReadyTraces(ReadyConfig),
}

impl TeacherConfig {
    /// Whether somebody is asked.
    pub fn is_asked(&self) -> bool {
        match self {
            TeacherConfig::Local { .. } | TeacherConfig::Http(_) => true,
            TeacherConfig::WorkedSolutions | TeacherConfig::ReadyTraces(_) => false,
        }
    }

    /// The endpoint that is asked, where it is one.
    pub fn endpoint(&self) -> Option<&HttpTeacherConfig> {
        match self {
            TeacherConfig::Http(config) => Some(&config.endpoint),
            TeacherConfig::Local { .. } | TeacherConfig::WorkedSolutions | TeacherConfig::ReadyTraces(_) => None,
        }
    }
}

/// An endpoint, and where its key is found.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The endpoint.
    pub endpoint: HttpTeacherConfig,
    /// The environment variable that holds the key; the key itself never enters a recipe.
    pub api_key_env: Option<String>,
    /// In its place, a file that only its owner may read.
    pub api_key_file: Option<PathBuf>,
    /// How it is started on a cluster, where it is not there already.
    pub launch: Option<crate::launch::LaunchConfig>,
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
    /// Filters whose dropped traces are written too, into a dataset of their own, with the reasons: `["verify"]` keeps wrong
    /// answers as labelled data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_by: Vec<String>,
}

/// Who learns, and how.
#[derive(Clone, Debug)]
pub struct StudentConfig {
    /// What it starts from.
    pub base: BaseConfig,
    /// The chat template that it is trained with, where that is not the base's.
    pub chat_template: Option<PathBuf>,
    /// The chat template that it is published with, where that is not the base's.
    pub publish_template: Option<PathBuf>,
    /// How it is trained.
    pub training: TrainingConfig,
}

/// What a student starts from.
#[derive(Clone, Debug)]
pub enum BaseConfig {
    /// A checkpoint with weights.
    Checkpoint {
        /// A Hugging Face folder or a GGUF file.
        path: PathBuf,
        /// What is changed before training.
        surgery: Surgery,
    },
    /// A `config.json` for random weights, and the folder with tokenizer and chat template.
    Config {
        /// The `config.json`.
        config: PathBuf,
        /// Folder of `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`, `generation_config.json`.
        tokenizer: PathBuf,
    },
}

impl Recipe {
    /// Whether the recipe goes that far.
    ///
    /// # Errors
    /// Which table is missing.
    pub fn can(&self, until: Until) -> Result<(), String> {
        let missing = |table: &str, done: &str| Err(format!("the recipe has no {table}: nothing can be {done}"));
        match until {
            Until::Export if self.export.is_none() => missing("[export]", "exported"),
            Until::Train if self.student.is_none() => missing("[student]", "trained"),
            Until::Evaluate if self.evaluation.is_none() => missing("[evaluation]", "evaluated"),
            Until::Sample | Until::Filter if self.sources.is_empty() => missing("[[sources]]", "sampled"),
            _ => Ok(()),
        }
    }

    /// All who are asked for answers, with their tables' names and how they are asked.
    pub fn asked(&self) -> impl Iterator<Item = (String, &TeacherConfig, &SamplingConfig)> {
        let sources = self.sources.iter().enumerate();
        let sources =
            sources.filter_map(|(index, it)| Some((format!("sources.{index}"), &it.teacher, it.sampling.as_ref()?)));
        sources.chain(self.judge.iter().map(|judge| ("judge".to_owned(), &judge.teacher, &judge.sampling)))
    }

    /// Who is evaluated beside the student: its first teacher, where that is asked for, and whoever else is named.
    pub fn compared(&self) -> impl Iterator<Item = (&str, &TeacherConfig)> {
        let wanted = self.student.is_some() && self.evaluation.as_ref().is_some_and(|config| config.teacher);
        let teachers = self.sources.iter().map(|source| &source.teacher).filter(move |_| wanted);
        let first = teachers.filter(|teacher| teacher.is_asked()).take(1);
        let subjects = self.subjects.iter().map(|subject| (subject.name.as_str(), &subject.teacher));
        first.map(|teacher| ("teacher", teacher)).chain(subjects)
    }

    /// Everybody who answers, with the key that names each and the longest answer that is asked for.
    pub fn askers(&self) -> Vec<(String, &TeacherConfig, u32)> {
        let asked = self.asked().map(|(table, teacher, how)| (format!("{table}.teacher"), teacher, how.max_new_tokens));
        let longest = self.evaluation.as_ref().map_or(0, |config| config.max_new_tokens);
        let subjects = self.subjects.iter().enumerate();
        asked
            .chain(subjects.map(|(index, subject)| (format!("evaluation.subjects.{index}"), &subject.teacher, longest)))
            .collect()
    }

    /// The weights of the sources, where they have some.
    pub fn weights(&self) -> Option<Vec<f64>> {
        self.sources.iter().map(|source| source.weight).collect()
    }

    /// Who judges answers: the recipe's own filter, or the usual one.
    pub fn verifier(&self) -> VerifyConfig {
        let own = self.filters.iter().find_map(|config| config.filter()?.verifier().cloned());
        own.unwrap_or(VerifyConfig { on_unknown: OnUnknown::Reject, policy: Default::default() })
    }

    /// Reads a recipe and lays `KEY=VALUE` overrides over it.
    ///
    /// # Errors
    /// `RecipeError` with every mistake in it, or that the file cannot be read.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Recipe> {
        Recipe::load_cut(path, overrides, None)
    }

    /// The same with one of its cuts laid over it: a recipe named `RECIPE.CUT`.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn load_cut(path: &Path, overrides: &[String], name: Option<&str>) -> anyhow::Result<Recipe> {
        Recipe::parse(source::read(path, overrides)?, path, overrides, name)
    }

    /// Reads a recipe that nobody wrote into a file: paths in it are relative to the folder of `path`.
    ///
    /// # Errors
    /// `RecipeError` with every mistake in it.
    pub fn of_text(text: &str, path: &Path, overrides: &[String]) -> anyhow::Result<Recipe> {
        Recipe::parse(source::laid(path, text.to_owned(), overrides), path, overrides, None)
    }

    fn parse(source: Source, path: &Path, overrides: &[String], name: Option<&str>) -> anyhow::Result<Recipe> {
        let mut diagnostics = decode::Diagnostics::default();
        let mut root = source::parse(&source)?;
        let cuts = cuts::take(&mut root, &mut diagnostics);
        let names = cuts.iter().map(|cut| cut.name.clone()).collect();
        let mut overrides = overrides.to_vec();
        if let Some(cut) = cuts.into_iter().find(|cut| Some(cut.name.as_str()) == name) {
            overrides.extend(cut.lay_over(&mut root, &source.text, &mut diagnostics));
        }
        let recipe = read::read(root, path, &overrides, &mut diagnostics);
        if let (Some(recipe), None) = (&recipe, name) {
            read::check_unused(recipe, &mut diagnostics);
        }
        match recipe {
            Some(recipe) if diagnostics.found.is_empty() => {
                let own = name.map_or(recipe.name.clone(), |name| format!("{}.{name}", recipe.name));
                Ok(Recipe { name: own, cuts: names, ..recipe })
            }
            _ => {
                let mut found = diagnostics.found;
                found.sort_by_key(|diagnostic| diagnostic.span.start);
                Err(RecipeError { source, diagnostics: found }.into())
            }
        }
    }
}

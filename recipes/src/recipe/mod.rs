//! The recipe: what was written. TOML with `--set` overrides in (`source`), typed tables out (here, by `decode`), every
//! mistake reported at once with its place, the offending text and what would have been right (`diagnostic`).
//!
//! Paths are resolved against the recipe's folder here, and nowhere else.

pub mod decode;
pub mod diagnostic;
mod read;
pub mod source;
#[cfg(test)]
mod tests;
pub mod values;

use crate::run::Until;
use diagnostic::RecipeError;
use distill_data_gen::{ProblemsConfig, SamplingConfig};
use distill_evaluate::EvaluationConfig;
use distill_filters::{FilterConfig, OnUnknown, VerifyConfig};
use distill_publish::PublishConfig;
use distill_student::{Surgery, TrainingConfig};
use distill_teacher::HttpTeacherConfig;
use distill_teacher_local::Precision;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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
    /// Filters of problems, in order: before the held-out split, before anything is bought.
    pub problem_filters: Vec<FilterConfig>,
    /// What the filter `contamination` looks for.
    pub benchmarks: Vec<BenchmarkConfig>,
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

/// Problems that no problem and no trace may contain.
#[derive(Clone, Debug)]
pub struct BenchmarkConfig {
    /// What evidence calls it.
    pub name: String,
    /// Where its problems are.
    pub problems: ProblemsConfig,
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
    /// How it is asked; absent for worked solutions.
    pub sampling: Option<SamplingConfig>,
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
    pub fn can(&self, until: Until) -> anyhow::Result<()> {
        let missing = |table: &str, done: &str| anyhow::bail!("the recipe has no {table}: nothing can be {done}");
        match until {
            Until::Export if self.export.is_none() => missing("[export]", "exported"),
            Until::Train | Until::Evaluate if self.student.is_none() => missing("[student]", "trained"),
            Until::Evaluate if self.evaluation.is_none() => missing("[evaluation]", "evaluated"),
            _ => Ok(()),
        }
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
        let source = source::read(path, overrides)?;
        let mut diagnostics = decode::Diagnostics::default();
        let recipe = read::read(source::parse(&source)?, path, overrides, &mut diagnostics);
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

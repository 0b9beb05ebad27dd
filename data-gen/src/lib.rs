//! Problems and traces. Generators and files in, `Problem` rows of two disjoint splits out (`problems`); problems in,
//! a teacher's traces out (`sample`).

mod files;
mod generators;
mod sampling;
mod split;

pub use files::{AnswerFormat, AnswerKind, Columns, FileConfig, FileFormat, problem_files};
pub use generators::{BaseConversionConfig, ChainSumConfig, CountdownConfig, GeneratorConfig, LinearEquationConfig};
pub use sampling::{
    Bought, OldAnswers, SamplingConfig, SamplingError, buy, old_answers, sample, worked_solutions, write_traces,
    write_worked_solutions,
};
pub use split::normalised_key;

use distill_dataset::{Context, DatasetError, Tally};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why problems could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProblemsError {
    /// The settings allow too few distinct problems.
    #[error(
        "expected {wanted} distinct problems, found {found} in {draws} draws\nhint: widen the ranges or lower the count"
    )]
    TooFew {
        /// How many were asked for.
        wanted: u32,
        /// How many there were.
        found: u32,
        /// How often it was tried.
        draws: u64,
    },
    /// More are held out than there are.
    #[error("expected at most {available} held-out problems, found holdout = {holdout}")]
    Holdout {
        /// What was asked for.
        holdout: u32,
        /// Problems after duplicates are dropped.
        available: u64,
    },
    /// A file lacks a column.
    #[error("{}: expected a column `{column}`, found {found}\nhint: `columns` in the recipe says which column holds what", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column that the recipe names.
        column: String,
        /// Those that are there.
        found: String,
    },
    /// A file of problems cannot be read.
    #[error("cannot read {}: {source}\nhint: paths in a recipe are relative to the recipe's own folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The dataset could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

impl ProblemsError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> ProblemsError {
        let path = path.to_owned();
        move |source| ProblemsError::File { path, source }
    }
}

/// Where problems come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemsConfig {
    /// A seeded generator.
    Generator(GeneratorConfig),
    /// A file.
    File {
        /// Where it is; its content, not its path, decides.
        #[serde(skip)]
        path: PathBuf,
        /// How it is stored.
        format: FileFormat,
        /// Which column holds what.
        config: FileConfig,
    },
}

/// Makes or reads problems and splits them: `holdout` of them for evaluation, the rest for training.
///
/// # Errors
/// When there are too few, a file cannot be read, or the disk refuses.
pub fn problems(config: &ProblemsConfig, holdout: u32, context: &Context, out: &Path) -> Result<Tally, ProblemsError> {
    let (problems, rejected) = match config {
        ProblemsConfig::Generator(generator) => (generators::generate(generator, context.seed)?, Vec::new()),
        ProblemsConfig::File { path, format, config } => files::read(config, path, *format)?,
    };
    if !rejected.is_empty() {
        let lines: String = rejected.iter().map(|row| serde_json::to_string(row).unwrap_or_default() + "\n").collect();
        let path = out.join("rejected.jsonl");
        fs::write(&path, lines).map_err(DatasetError::io("write", path))?;
    }
    let mut tally = split::write_split(problems, holdout, context.seed, out)?;
    tally.rows_in += rejected.len() as u64;
    for (reason, count) in files::count(&rejected) {
        *tally.rejected.entry(reason).or_default() += count;
    }
    Ok(tally)
}

//! Problems and traces. Generators and files in, a source's `Problem` rows out (`read_source`), then two disjoint splits
//! across all sources (`split`); problems in, a teacher's traces out (`sample`).

mod files;
mod generators;
mod sampling;
mod split;

pub use files::{AnswerFormat, AnswerKind, Columns, FileConfig, FileFormat, PlacedRow, placed_rows, problem_files};
pub use generators::{BaseConversionConfig, ChainSumConfig, CountdownConfig, GeneratorConfig, LinearEquationConfig};
pub use sampling::{
    AdaptiveConfig, Bought, Holdings, Judge, OldAnswers, Outcome, SamplingConfig, SamplingError, Standing, TRACES, buy,
    holdings, write_traces, write_worked_solutions,
};
pub use split::{PROBLEMS, Sources, SplitConfig, normalised_key, split};

use distill_dataset::{
    Context, DatasetError, Interrupted, Keyed, Problem, ShardWriter, Sorter, Stage, Tally, create_fresh,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufWriter, Write},
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
    /// A file holds no problem.
    #[error(
        "{}: expected problems, found none in {rows} rows{}\nhint: does `columns` name the right columns, and is the file complete?", path.display(), by_reason(rejected)
    )]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Rows read.
        rows: u64,
        /// Rows left out, by reason.
        rejected: BTreeMap<String, u64>,
    },
    /// Decisions are those on other problems.
    #[error(
        "expected the decision on problem {problem}, found {found}\nhint: a table in the store was changed by hand; delete its folder to have it made again"
    )]
    Mismatch {
        /// The problem.
        problem: String,
        /// What was there.
        found: String,
    },
    /// Asked to stop.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// The dataset could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

fn by_reason(rejected: &BTreeMap<String, u64>) -> String {
    let reasons: Vec<String> = rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
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

/// The stage of [`read_source`].
pub const SOURCE: Stage = Stage { name: "source", version: 1 };

impl ProblemsConfig {
    /// What decides a source's rows, beside a file's content.
    pub fn keyed(&self, seed: u64) -> Keyed {
        match self {
            // Which problems are drawn depends on the seed.
            ProblemsConfig::Generator(generator) => Keyed::all(generator).with("seed", seed),
            ProblemsConfig::File { format, config, .. } => {
                Keyed::default().with("format", format).nest("file", Keyed::of(config, &FileConfig::unset()))
            }
        }
    }
}

/// Makes or reads the problems of one source: sorted by id, none twice after normalisation. Rows of a file that hold no
/// problem go into `rejected.jsonl` with their place and reason.
///
/// # Errors
/// When there are too few or none, a file cannot be read, or the disk refuses.
pub fn read_source(config: &ProblemsConfig, context: &Context, out: &Path) -> Result<Tally, ProblemsError> {
    let mut reader = SourceReader::new(context, out);
    context.progress.begin("read", 0, "problems");
    match config {
        ProblemsConfig::Generator(generator) => {
            generators::generate(generator, context.seed)?
                .into_iter()
                .try_for_each(|problem| reader.row(Ok(problem)))?;
        }
        ProblemsConfig::File { path, format, config } => {
            files::read(config, path, *format, &mut |row| reader.row(row))?;
        }
    }
    context.progress.end();
    let tally = reader.finish(out)?;
    if tally.rows_out == 0
        && let ProblemsConfig::File { path, .. } = config
    {
        return Err(ProblemsError::Nothing { path: path.clone(), rows: tally.rows_in, rejected: tally.rejected });
    }
    Ok(tally)
}

/// Rows on their way from a source into order.
struct SourceReader<'c> {
    context: &'c Context,
    seen: HashSet<[u8; 16]>,
    sorter: Sorter<Problem>,
    rejected: PathBuf,
    rejections: Option<BufWriter<File>>,
    tally: Tally,
}

impl<'c> SourceReader<'c> {
    fn new(context: &'c Context, out: &Path) -> SourceReader<'c> {
        SourceReader {
            context,
            seen: HashSet::new(),
            sorter: Sorter::new(&context.scratch.join("sort"), |problem: &Problem| &problem.id),
            rejected: out.join("rejected.jsonl"),
            rejections: None,
            tally: Tally::default(),
        }
    }

    fn row(&mut self, row: files::Row) -> Result<(), ProblemsError> {
        self.tally.rows_in += 1;
        if self.tally.rows_in.is_multiple_of(1024) {
            self.context.cancel.check()?;
            self.context.progress.advance(self.tally.rows_in, "");
        }
        let reason = match row {
            Ok(problem) if self.seen.insert(normalised_key(&problem.messages)) => {
                let bytes = problem.messages.iter().map(|message| message.content.len()).sum::<usize>();
                let more = problem.answer.len() + problem.solution.as_ref().map_or(0, String::len);
                return Ok(self.sorter.push(problem, bytes + more + 256)?);
            }
            Ok(_) => "duplicate".to_owned(),
            Err(row) => {
                self.write_rejection(&row).map_err(DatasetError::io("write", &self.rejected))?;
                row.reason
            }
        };
        *self.tally.rejected.entry(reason).or_default() += 1;
        Ok(())
    }

    fn write_rejection(&mut self, row: &files::Rejected) -> io::Result<()> {
        let writer = match &mut self.rejections {
            Some(writer) => writer,
            none => none.insert(BufWriter::new(create_fresh(&self.rejected)?)),
        };
        serde_json::to_writer(&mut *writer, row)?;
        writer.write_all(b"\n")
    }

    fn finish(mut self, out: &Path) -> Result<Tally, ProblemsError> {
        if let Some(mut writer) = self.rejections.take() {
            writer.flush().map_err(DatasetError::io("write", &self.rejected))?;
        }
        let mut writer = ShardWriter::new(out)?.sorted_by(|problem: &Problem| &problem.id);
        self.sorter.finish::<ProblemsError>(|problem| Ok(writer.push(problem)?))?;
        Ok(Tally { rows_out: writer.finish()?, ..self.tally })
    }
}

//! Problems and traces. Generators and files in, a source's `Problem` rows out (`read_source`), then two disjoint splits
//! across all sources (`split`); problems in, a teacher's traces out (`sample`), or those that a file brings (`read_ready`).
//!
//! A source of sums: fifty problems, each with its answer and a worked solution.
//!
//! ```
//! # use distill_data_gen::{ChainSumConfig, Copies, GeneratorConfig, ProblemsConfig, read_source};
//! # use distill_dataset::{Cancel, Context, Dataset, Problem, Progress};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (out, scratch) = (folder.path().join("problems"), folder.path().join("scratch"));
//! # std::fs::create_dir_all(&out)?;
//! # let context = Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed: 17 };
//! let sums = ChainSumConfig { count: 50, ..ChainSumConfig::default() };
//! let source = ProblemsConfig::Generator(GeneratorConfig::ChainSum(sums));
//! let tally = read_source(&source, Copies::First, &context, &out)?;
//! assert_eq!(tally.rows_out, 50);
//!
//! for problem in Dataset::of_folder(&out)?.rows::<Problem>() {
//!     let problem = problem?;
//!     assert!(problem.messages[0].content.starts_with("What is "));
//!     let solution = problem.solution.ok_or("a generator works its problems out")?;
//!     assert!(solution.ends_with(&format!("={}", problem.answer)));
//! }
//! # Ok(())
//! # }
//! ```

mod files;
mod generators;
mod ready;
mod rejections;
mod sampling;
mod split;

pub use distill_dataset::FileFormat;
pub use files::{
    AnswerFormat, AnswerKind, Columns, FileConfig, ROWS, Texts, format_of, place_id, place_of, problem_files, read_rows,
};
pub use generators::{BaseConversionConfig, ChainSumConfig, CountdownConfig, GeneratorConfig, LinearEquationConfig};
pub use ready::{READY, ReadyConfig, read_ready, write_ready};
pub use sampling::{
    AdaptiveConfig, Bought, Holdings, Judge, OldAnswers, Outcome, SamplingConfig, SamplingError, Standing, TRACES, buy,
    holdings, write_traces, write_worked_solutions,
};
pub use split::{PROBLEMS, Sources, SplitConfig, normalised_key, split};

use distill_dataset::{Context, DatasetError, Digest, Interrupted, Keyed, Problem, ShardWriter, Sorter, Stage, Tally};
use rejections::Rejections;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    io,
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
    /// A folder holds no file of that format.
    #[error("{}: expected files whose names end in {format}, found none in this folder", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// The endings.
        format: &'static str,
    },
    /// A file of problems cannot be read.
    #[error("cannot read {}: {source}\nhint: paths in a recipe are relative to the recipe's own folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds none of what is wanted of it.
    #[error("{}: expected {wanted}, found {}", path.display(), in_rows(*rows, rejected))]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What is wanted.
        wanted: &'static str,
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

fn in_rows(rows: u64, rejected: &BTreeMap<String, u64>) -> String {
    if rows == 0 {
        return "no row: it is empty\nhint: is it the right file, and was it written to its end?".to_owned();
    }
    let reasons: Vec<String> = rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let hint = match rejected.keys().next().map(String::as_str) {
        Some("not-utf-8") if rejected.len() == 1 => {
            "is it in another encoding? `iconv -f ENCODING -t UTF-8 FILE > NEW` writes it as UTF-8"
        }
        Some("damaged-row-group") if rejected.len() == 1 => {
            "the file is cut or was changed: copy it again, and compare its size or checksum"
        }
        Some("malformed-json") if rejected.len() == 1 => {
            "expected one JSON object a line, or one array of objects; is it JSON at all?"
        }
        _ => "does `columns` name the right columns, and do they hold anything?",
    };
    format!("none in {rows} rows{reasons}\nhint: {hint}")
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
        config: Box<FileConfig>,
    },
}

/// The stage of [`read_source`].
pub const SOURCE: Stage = Stage { name: "source", version: 2 };

impl ProblemsConfig {
    /// What decides a source's rows, beside a file's content.
    pub fn keyed(&self, seed: u64, copies: Copies) -> Keyed {
        let keyed = match self {
            // Which problems are drawn depends on the seed.
            ProblemsConfig::Generator(generator) => Keyed::all(generator).with("seed", seed),
            ProblemsConfig::File { format, config, .. } => {
                let keyed = Keyed::default().with("format", format).with("reader", files::READER);
                keyed.nest("file", Keyed::of(&**config, &FileConfig::unset()))
            }
        };
        if copies == Copies::default() { keyed } else { keyed.with("copies", copies) }
    }
}

/// What becomes of rows that say what an earlier row says in another spelling ([`distill_dataset::normal_form`]). Rows that say
/// it byte for byte have one id, and are always one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copies {
    /// The first stays.
    #[default]
    First,
    /// All stay: a filter of problems decides which.
    All,
}

impl Copies {
    /// What rows have in common of which the first stays.
    fn key(self, problem: &Problem) -> [u8; 16] {
        match self {
            Copies::First => split::copies_key(&problem.messages),
            Copies::All => Digest::new("id").field(&problem.id).finish_bytes(),
        }
    }
}

/// Makes or reads the problems of one source: sorted by id, none twice, or once for all `copies`. Rows of a file that hold no
/// problem go into `rejected.jsonl` with their place and reason.
///
/// # Errors
/// When there are too few or none, a file cannot be read, or the disk refuses.
pub fn read_source(
    config: &ProblemsConfig,
    copies: Copies,
    context: &Context,
    out: &Path,
) -> Result<Tally, ProblemsError> {
    let mut reader = SourceReader::new(copies, context, out);
    context.progress.begin("read", 0, "problems");
    match config {
        ProblemsConfig::Generator(generator) => {
            generators::generate(generator, context.seed)?
                .into_iter()
                .try_for_each(|problem| reader.row(Ok(problem)))?;
        }
        ProblemsConfig::File { path, format, config } => {
            files::read_placed(config, path, *format, &mut |_, _, row| reader.row(row.map(|read| read.problem)))?;
        }
    }
    context.progress.end();
    let tally = reader.finish(out)?;
    if tally.rows_out == 0
        && let ProblemsConfig::File { path, .. } = config
    {
        let (path, rows, rejected) = (path.clone(), tally.rows_in, tally.rejected);
        return Err(ProblemsError::Nothing { path, wanted: "problems", rows, rejected });
    }
    Ok(tally)
}

/// Rows on their way from a source into order.
struct SourceReader<'c> {
    context: &'c Context,
    copies: Copies,
    seen: HashSet<[u8; 16]>,
    sorter: Sorter<Problem>,
    rejections: Rejections,
    tally: Tally,
}

impl<'c> SourceReader<'c> {
    fn new(copies: Copies, context: &'c Context, out: &Path) -> SourceReader<'c> {
        SourceReader {
            context,
            copies,
            seen: HashSet::new(),
            sorter: Sorter::new(&context.scratch.join("sort"), |problem: &Problem| &problem.id),
            rejections: Rejections::new(out),
            tally: Tally::default(),
        }
    }

    fn row(&mut self, row: Result<Problem, files::Rejected>) -> Result<(), ProblemsError> {
        self.tally.rows_in += row.as_ref().map_or_else(|rejected| rejected.rows, |_| 1);
        if self.tally.rows_in.is_multiple_of(1024) {
            self.context.cancel.check()?;
            self.context.progress.advance(self.tally.rows_in, "");
        }
        match row {
            Ok(problem) => {
                let bytes = problem.messages.iter().map(|message| message.content.len()).sum::<usize>();
                let more = problem.answer.len() + problem.solution.as_ref().map_or(0, String::len);
                self.sorter.push(problem, bytes + more + 256)?;
            }
            Err(row) => self.rejections.write(&row)?,
        }
        Ok(())
    }

    /// Of the spellings of a question the one with the least id stays, and of rows with one id the one that says least: the
    /// files' names and order decide nothing.
    fn finish(self, out: &Path) -> Result<Tally, ProblemsError> {
        let SourceReader { sorter, mut seen, mut rejections, tally, copies, .. } = self;
        let mut writer = ShardWriter::new(out)?.sorted_by(|problem: &Problem| &problem.id);
        let mut last: Option<Problem> = None;
        let mut write = |problem: Option<Problem>, rejections: &mut Rejections| -> Result<(), ProblemsError> {
            let Some(problem) = problem else { return Ok(()) };
            if seen.insert(copies.key(&problem)) {
                return Ok(writer.push(problem)?);
            }
            rejections.count("duplicate");
            Ok(())
        };
        sorter.finish::<ProblemsError>(|problem| {
            let is_one = last.as_ref().is_some_and(|last| last.id == problem.id);
            if is_one {
                rejections.count("duplicate");
                let said = |it: &Problem| (it.answer.clone(), it.solution.clone(), it.source.clone());
                last = last.take().into_iter().chain([problem]).min_by_key(said);
                return Ok(());
            }
            write(last.replace(problem), &mut rejections)
        })?;
        write(last, &mut rejections)?;
        Ok(Tally { rows_out: writer.finish()?, rejected: rejections.finish()?, ..tally })
    }
}

//! Filters alone on a file: JSONL or Parquet in, the rows that stay out as they were, beside them every row that went and why.
//!
//! It is a recipe of one stage that nobody has to write: the file is a source of problems, one a row, the filters are its problem
//! filters. Near duplicates alone are found where the texts lie, without a copy of them. What is made on the way lies in a folder
//! beside the output until the end, so a killed run goes on. No row is held in memory: a bit is, that says whether it stays.

mod near;
mod write;

use crate::{
    cli::FileArgs,
    filtering,
    progress::Reporter,
    recipe::{BenchmarkConfig, Recipe, SourceConfig, TeacherConfig},
    record::RunRecord,
    run::Until,
    session::{Mode, Session, Spec, Work, ready},
};
use anyhow::{Context, Result, bail, ensure};
use distill_data_gen::{Columns, Copies, FileConfig, FileFormat, ProblemsConfig, ProblemsError, ROWS};
use distill_dataset::{Cancel, Cell, DatasetError, Interrupted, Keyed, Rows, Stage, Store};
use distill_filters::{FilterConfig, NearDuplicatesConfig};
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};
use write::{Grounds, Writer};

/// Columns that hold a row's text, the likeliest first.
const TEXT_COLUMNS: [&str; 12] = [
    "problem",
    "question",
    "Question",
    "question_content",
    "problem_statement",
    "prompt",
    "text",
    "content",
    "instruction",
    "input",
    "solution",
    "generation",
];
/// Columns that hold a conversation: what is asked in it is a row's text.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];

/// Rows whose value is looked at before a column is taken for a conversation.
const LOOKED_AT: usize = 100;

/// What is filtered by what.
pub struct Task {
    recipe: Recipe,
    /// Its filter, where it is this one alone: the search reads texts where they lie.
    near: Option<NearDuplicatesConfig>,
    file: PathBuf,
    /// Which of its columns is looked at.
    column: String,
    out: PathBuf,
    /// What went, and why.
    dropped: PathBuf,
    work: PathBuf,
    store: Store,
}

impl Task {
    /// Near duplicates: `distill dedup FILE`.
    ///
    /// # Errors
    /// When the file has no column of text, or a setting is out of range.
    pub fn dedup(args: &FileArgs, settings: &[String]) -> Result<Task> {
        let words = || settings.iter().map(String::as_str);
        let task = Task::new(args, "dedup", vec![filter(near::KIND, words())?], Vec::new())?;
        Ok(Task { near: Some(near_duplicates(words())?), ..task })
    }

    /// Benchmarks: `distill decontaminate FILE --against BENCHMARK`.
    ///
    /// # Errors
    /// As [`Task::dedup`], and when a benchmark cannot be read.
    pub fn decontaminate(args: &FileArgs, against: &[PathBuf], settings: &[String]) -> Result<Task> {
        let mut benchmarks: Vec<BenchmarkConfig> = Vec::new();
        for path in against {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name: String =
                stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
            let taken = |name: &str| benchmarks.iter().any(|known| known.name == name);
            let name = match taken(&name) {
                false => name,
                true => (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or_default(),
            };
            let (path, column) = named_column(path);
            let format = format_of(path)?;
            let known = distill_dataset::columns(path, format)?;
            let mut config = file_config(text_columns(path, &known, column, "`FILE:COLUMN`")?);
            // A row without one is an item all the same.
            let is_text = |name: &&str| known.iter().any(|(known, is_text)| known == name && *is_text);
            config.columns.solution = ["solution", "answer"].into_iter().find(is_text).map(str::to_owned);
            benchmarks.push(BenchmarkConfig {
                name,
                problems: ProblemsConfig::File { path: path.to_owned(), format, config: Box::new(config) },
            });
        }
        Task::new(
            args,
            "decontaminate",
            vec![filter("contamination", settings.iter().map(String::as_str))?],
            benchmarks,
        )
    }

    /// Any filters of problems: `distill filter FILE --with KIND`.
    ///
    /// # Errors
    /// As [`Task::dedup`], and when a filter needs more than a row's text.
    pub fn filter(args: &FileArgs, with: &[String]) -> Result<Task> {
        let known = FilterConfig::kinds_on_problems();
        let known: Vec<&str> = known.into_iter().filter(|kind| *kind != "contamination").collect();
        ensure!(
            !with.is_empty(),
            "expected `--with KIND[,key=value…]`, found none\nhint: kinds are {}",
            known.join(", ")
        );
        let filters = with.iter().map(|words| {
            let parts = parts(words);
            ensure!(
                FilterConfig::kinds().contains(&parts[0]),
                "--with {words}: expected one of {}, found `{}`",
                known.join(", "),
                parts[0]
            );
            let config = filter(parts[0], parts[1..].iter().copied())?;
            ensure!(config.on_problems(), "--with {words}: expected a filter of {}, found `{}`\nhint: the others judge traces: a recipe's `[[filters]]`", known.join(", "), config.kind());
            config.check_on_problems().map_err(|message| anyhow::anyhow!("--with {words}: {message}"))?;
            let reads = config.filter().is_some_and(|filter| filter.reads_benchmarks());
            ensure!(!reads, "--with {words}: expected no benchmarks to be needed\nhint: `distill decontaminate FILE --against BENCHMARK`");
            Ok(config)
        });
        let task = Task::new(args, "filter", filters.collect::<Result<_>>()?, Vec::new())?;
        let near = match with {
            [words] if parts(words)[0] == near::KIND => Some(near_duplicates(parts(words).into_iter().skip(1))?),
            _ => None,
        };
        Ok(Task { near, ..task })
    }

    fn new(args: &FileArgs, name: &str, filters: Vec<FilterConfig>, benchmarks: Vec<BenchmarkConfig>) -> Result<Task> {
        let (file, format) = (args.file.clone(), format_of(&args.file)?);
        let known = distill_dataset::columns(&file, format)?;
        let columns = text_columns(&file, &known, args.text.as_deref(), "`--text COLUMN`")?;
        let column = columns.question.iter().chain(&columns.conversation).next().cloned().unwrap_or_default();
        let out = args.out.clone().unwrap_or_else(|| beside(&file, format, name));
        let (dropped, work) = (with_ending(&out, "dropped.jsonl"), with_ending(&out, "work"));
        // A killed run may have left what it dropped; its work is still there then.
        for path in [Some(&out), (!work.exists()).then_some(&dropped)].into_iter().flatten() {
            ensure!(
                !path.exists(),
                "{}: expected nothing there yet\nhint: remove it, or name another with `--out`",
                path.display()
            );
        }
        let is_packed = out.extension().is_some_and(|ending| ending == "gz" || ending == "zst");
        ensure!(
            format_of(&out)? == format && !is_packed,
            "{}: expected a name that ends in {}\nhint: rows are written as they were read, JSON one a line",
            out.display(),
            match format {
                FileFormat::Jsonl => ".jsonl",
                FileFormat::Parquet => ".parquet",
            }
        );
        let source = SourceConfig {
            name: None,
            weight: None,
            problems: ProblemsConfig::File { path: file.clone(), format, config: Box::new(file_config(columns)) },
            holdout: 0,
            teacher: TeacherConfig::WorkedSolutions,
            sampling: None,
        };
        let recipe = Recipe {
            path: file.clone(),
            name: name.to_owned(),
            seed: args.seed,
            sources: vec![source],
            filters: Vec::new(),
            problem_filters: filters,
            benchmarks,
            export: None,
            student: None,
            evaluation: None,
            evaluated_on: None,
            subjects: Vec::new(),
            publish: None,
            overrides: Vec::new(),
            cuts: Vec::new(),
            judge: None,
            shaping: Default::default(),
        };
        let store = Store::new(work.join("store"));
        Ok(Task { recipe, near: None, file, column, out, dropped, work, store })
    }

    /// Filters, writes, and says what became of the rows.
    ///
    /// # Errors
    /// What the first failing step says. What was made stays in the work folder: the same command goes on from it.
    pub fn run(&self, reporter: Reporter, started: impl FnOnce(Cancel) -> Result<()>, as_json: bool) -> Result<String> {
        let record = RunRecord {
            name: self.recipe.name.clone(),
            recipe: self.file.display().to_string(),
            overrides: Vec::new(),
            seed: self.recipe.seed,
            store: self.store.root().display().to_string(),
            stages: Vec::new(),
        };
        let mut session =
            Session::new(Mode::Run(Until::Sample), self.store.clone(), &self.work, "cpu", record, reporter);
        started(session.cancel.clone())?;
        let before = self.state()?;
        let mut writer = Writer::new(self)?;
        let filtered = match &self.near {
            Some(near) => near::filter(self, near, &mut session, &mut writer),
            None => self.judge(&mut session, &mut writer),
        };
        filtered.inspect_err(|error| {
            // A file that cannot be read leaves nothing to go on from.
            if is_unreadable(error) {
                let _ = fs::remove_dir_all(&self.work);
            }
        })?;
        let counts = writer.finish(|| {
            ensure!(
                self.state()? == before,
                "{}: changed while it was filtered\nhint: run the same command again",
                self.file.display()
            );
            Ok(())
        })?;
        drop(session);
        fs::remove_dir_all(&self.work).with_context(|| format!("cannot remove {}", self.work.display()))?;
        Ok(if as_json { counts.as_json(self) } else { counts.told(self) })
    }

    /// Any filters, as those of a recipe's problems: each row is one, whose id is its place.
    fn judge(&self, session: &mut Session, writer: &mut Writer<'_>) -> Result<()> {
        let (path, format, config) = self.source()?;
        let spec = self.spec(session, ROWS, Keyed::default())?.label("source");
        let rows = session.stage(spec, |_| {
            Ok(Work::gather(|context, out| Ok(distill_data_gen::read_rows(config, (path, format), context, out)?)))
        })?;
        filtering::check_files(session, &self.recipe).into_iter().next().map_or(Ok(()), Err)?;
        let benchmarks = filtering::benchmarks(session, &self.recipe)?;
        let judged = filtering::problems(session, &self.recipe, &benchmarks, std::slice::from_ref(&rows))?;
        let judged = judged.context("no filter")?;
        let filters = self.recipe.problem_filters.iter().enumerate();
        let measuring = filters.filter(|(_, config)| config.filter().is_some()).map(|(index, _)| index);
        let tables = measuring.zip(ready(&judged.measures)?).collect();
        writer.rejected(rows.ready()?)?;
        writer.decided(&Grounds { decisions: judged.decisions.ready()?, tables })
    }

    /// A stage that reads the file itself.
    fn spec(&self, session: &Session, stage: Stage, settings: Keyed) -> Result<Spec> {
        let source = &self.recipe.sources[0].problems;
        let settings = settings.nest("source", source.keyed(self.recipe.seed, Copies::All));
        let file = session.outside.files("problem-files", std::slice::from_ref(&self.file))?;
        Ok(Spec::new(stage, source, settings)?.outside("file", file))
    }

    /// The file, how it is stored, and what is read of it.
    fn source(&self) -> Result<(&Path, FileFormat, &FileConfig)> {
        match &self.recipe.sources[0].problems {
            ProblemsConfig::File { path, format, config } => Ok((path, *format, config)),
            ProblemsConfig::Generator(_) => bail!("expected a file"),
        }
    }

    /// What changes with the file.
    fn state(&self) -> Result<(u64, SystemTime)> {
        let state = self.file.metadata().and_then(|found| Ok((found.len(), found.modified()?)));
        state.with_context(|| format!("cannot read {}", self.file.display()))
    }
}

/// Whether a file could not be read, as far as an error tells.
fn is_unreadable(error: &anyhow::Error) -> bool {
    let is_foreign = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ProblemsError>() || matches!(cause.downcast_ref(), Some(DatasetError::Foreign { .. }))
    };
    error.chain().any(is_foreign) && !error.chain().any(|cause| cause.is::<Interrupted>())
}

/// A filter of that kind with its settings, each `key=value`.
fn filter<'w>(kind: &str, words: impl IntoIterator<Item = &'w str>) -> Result<FilterConfig> {
    let config = FilterConfig::deserialize_as(kind, Value::Object(settings(kind, words)?))?;
    config.check().map_err(|message| anyhow::anyhow!("{kind}: {message}"))?;
    Ok(config)
}

/// The same filter as what it is: how much memory it may take is in no recipe's record.
fn near_duplicates<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<NearDuplicatesConfig> {
    Ok(serde_json::from_value(Value::Object(settings(near::KIND, words)?))?)
}

fn settings<'w>(kind: &str, words: impl IntoIterator<Item = &'w str>) -> Result<Map<String, Value>> {
    let mut settings = Map::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("{kind}: expected key=value, found `{word}`");
        };
        // A number, a switch, a list; else the text itself.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        settings.insert(key.to_owned(), value);
    }
    Ok(settings)
}

/// `FILE:COLUMN`, where that is no file's name.
fn named_column(path: &Path) -> (&Path, Option<&str>) {
    let split = path.to_str().filter(|_| !path.exists()).and_then(|text| text.rsplit_once(':'));
    split.map_or((path, None), |(path, column)| (Path::new(path), Some(column)))
}

/// Commas outside brackets and quotes part a filter's settings.
fn parts(words: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, byte) in words.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            b',' if !quoted && depth == 0 => {
                parts.push(&words[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&words[start..]);
    parts
}

fn file_config(columns: Columns) -> FileConfig {
    FileConfig { columns, ..FileConfig::unset() }
}

pub(crate) fn format_of(path: &Path) -> Result<FileFormat> {
    distill_data_gen::format_of(path).with_context(|| {
        format!(
            "{}: expected a name that ends in .jsonl, .ndjson or .json, with .gz or .zst behind it if it is packed, or in .parquet",
            path.display()
        )
    })
}

/// The column that holds a row's text, or its conversation. `known` says which can be read as text.
pub(crate) fn text_columns(path: &Path, known: &[(String, bool)], wanted: Option<&str>, how: &str) -> Result<Columns> {
    let has = |name: &str, as_text: bool| known.iter().any(|(known, is_text)| known == name && *is_text == as_text);
    let (texts, lists) = match wanted {
        Some(wanted) => (vec![wanted], vec![wanted]),
        None => (TEXT_COLUMNS.to_vec(), CONVERSATIONS.to_vec()),
    };
    // A path is looked for where its first name is.
    let is_path = |name: &str| name.match_indices('.').any(|(dot, _)| has(&name[..dot], false));
    if let Some(name) = texts.iter().find(|name| has(name, true) || is_path(name)) {
        return Ok(Columns::question((*name).to_owned()));
    }
    if let Some(name) = lists.iter().find(|name| has(name, false)) {
        is_conversation(path, name, how)?;
        return Ok(Columns::conversation((*name).to_owned()));
    }
    let found = known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    bail!(
        "{}: expected a column of text ({}), found {found}\nhint: name it with {how}",
        path.display(),
        texts.join(", ")
    )
}

/// What a column that is no text holds is a list of turns, as far as its first value shows.
fn is_conversation(path: &Path, name: &str, how: &str) -> Result<()> {
    let rows = Rows::open(path, format_of(path)?, &[name])?.take(LOOKED_AT);
    let mut values = rows.filter_map(|row| row.ok()?.cells.ok()?.pop()?).map(Cell::said);
    let Some(value) = values.next() else { return Ok(()) };
    ensure!(
        value.starts_with("[{"),
        "{}: column `{name}`: expected text, or a conversation (a list of turns with `role` and `content`), found {}\nhint: name a column of text with {how}; `{name}.KEY` reaches into an object",
        path.display(),
        value.chars().take(60).collect::<String>()
    );
    Ok(())
}

/// `data.jsonl` → `data.dedup.jsonl`; what was packed or an array becomes lines.
fn beside(file: &Path, format: FileFormat, name: &str) -> PathBuf {
    let packed = file.extension().is_some_and(|ending| ending == "gz" || ending == "zst");
    let plain = if packed { file.with_extension("") } else { file.to_owned() };
    let ending = plain.extension().unwrap_or_default().to_string_lossy().into_owned();
    let ending = if format == FileFormat::Jsonl && ending != "ndjson" { "jsonl" } else { &ending };
    plain.with_extension(format!("{name}.{ending}"))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{ending}"))
}

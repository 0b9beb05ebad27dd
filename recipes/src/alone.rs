//! Filters alone on a file: JSONL or Parquet in, the rows that stay out as they were, beside them every row that went and why.
//!
//! It is a recipe of one stage that nobody has to write: the file is a source of problems, the filters are its problem
//! filters. What is made on the way lies in a folder beside the output until the end, so a killed run goes on.

mod write;

use crate::{
    cli::FileArgs,
    filtering,
    progress::Reporter,
    recipe::{BenchmarkConfig, Recipe, SourceConfig, TeacherConfig},
    record::RunRecord,
    run::{self, Until},
    session::{Mode, Session, ready},
};
use anyhow::{Context, Result, bail, ensure};
use distill_data_gen::{Columns, Copies, FileConfig, FileFormat, ProblemsConfig};
use distill_dataset::{Cancel, Store};
use distill_filters::FilterConfig;
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};
use write::Grounds;

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

/// What is filtered by what.
pub struct Task {
    recipe: Recipe,
    file: PathBuf,
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
        Task::new(args, "dedup", vec![filter("near-duplicates", settings.iter().map(String::as_str))?], Vec::new())
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
            let config = filter(parts[0], parts[1..].iter().copied())?;
            ensure!(config.on_problems(), "--with {words}: expected a filter of {}, found `{}`\nhint: the others judge traces: a recipe's `[[filters]]`", known.join(", "), config.kind());
            config.check_on_problems().map_err(|message| anyhow::anyhow!("--with {words}: {message}"))?;
            let reads = config.filter().is_some_and(|filter| filter.reads_benchmarks());
            ensure!(!reads, "--with {words}: expected no benchmarks to be needed\nhint: `distill decontaminate FILE --against BENCHMARK`");
            Ok(config)
        });
        Task::new(args, "filter", filters.collect::<Result<_>>()?, Vec::new())
    }

    fn new(args: &FileArgs, name: &str, filters: Vec<FilterConfig>, benchmarks: Vec<BenchmarkConfig>) -> Result<Task> {
        let (file, format) = (args.file.clone(), format_of(&args.file)?);
        let known = distill_dataset::columns(&file, format)?;
        let columns = text_columns(&file, &known, args.text.as_deref(), "`--text COLUMN`")?;
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
        Ok(Task { recipe, file, out, dropped, work, store })
    }

    /// Whether rows of one text, byte for byte, are one: what looks for copies sees one of them.
    fn drops_copies(&self) -> bool {
        let kinds = self.recipe.problem_filters.iter().map(FilterConfig::kind);
        kinds.into_iter().any(|kind| ["duplicates", "near-duplicates"].contains(&kind))
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
        let source = &self.recipe.sources[0].problems;
        let rows = run::source(&mut session, self.recipe.seed, (source, Copies::All), "source".to_owned())?;
        let rows = [rows];
        filtering::check_files(&session, &self.recipe)?;
        let benchmarks = filtering::benchmarks(&mut session, &self.recipe)?;
        let judged = filtering::problems(&mut session, &self.recipe, &benchmarks, &rows)?.context("no filter")?;
        let filters = self.recipe.problem_filters.iter().enumerate();
        let measuring = filters.filter(|(_, config)| config.filter().is_some()).map(|(index, _)| index);
        let tables = measuring.zip(ready(&judged.measures)?).collect();
        let grounds = Grounds { decisions: judged.decisions.ready()?, tables };
        let counts = write::write(self, source, &grounds)?;
        drop(session);
        fs::remove_dir_all(&self.work).with_context(|| format!("cannot remove {}", self.work.display()))?;
        Ok(if as_json { counts.as_json(self) } else { counts.told(self) })
    }
}

/// A filter of that kind with its settings, each `key=value`.
fn filter<'w>(kind: &str, words: impl IntoIterator<Item = &'w str>) -> Result<FilterConfig> {
    let mut settings = Map::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("{kind}: expected key=value, found `{word}`");
        };
        // A number, a switch, a list; else the text itself.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        settings.insert(key.to_owned(), value);
    }
    let config = FilterConfig::deserialize_as(kind, Value::Object(settings))?;
    config.check().map_err(|message| anyhow::anyhow!("{kind}: {message}"))?;
    Ok(config)
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
        return Ok(Columns::conversation((*name).to_owned()));
    }
    let found = known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    bail!(
        "{}: expected a column of text ({}), found {found}\nhint: name it with {how}",
        path.display(),
        texts.join(", ")
    )
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

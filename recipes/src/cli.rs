//! The command line: what was typed. The recipe says what is computed; flags say only how to run it here.

mod checkpoint;
mod runs;

pub use checkpoint::{ChatArgs, ConvertArgs, DecodeArgs, ServeArgs};
pub use runs::{CompletionsArgs, GcArgs, InitArgs, ListArgs};

use crate::verify::Override;
use clap::{Args, Parser, Subcommand};
use distill_model::Operations;
use std::{num::NonZeroUsize, path::PathBuf};

/// Turns a reasoning teacher into small dense students that people can own and run.
#[derive(Debug, Parser)]
#[command(
    name = "distill",
    version = env!("DISTILL_REVISION"),
    after_help = "Exit codes: 0 done, 1 failed, 2 used wrongly (what was typed or written is wrong, and nothing was done), 3 stopped by a budget, 130 interrupted with everything saved."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged to standard error, e.g. `info` or `distill_teacher=debug`.
    #[arg(long, global = true, default_value = "warn", value_name = "FILTER")]
    pub log: String,
    /// How a GPU computes, to find what is wrong with one: `products` (attention by products) in place of `fused` (by its own
    /// kernels, where there are some), `checked` (every operation is waited for, and named when it fails), or two with a comma.
    #[arg(long, global = true, value_name = "WORDS", default_value = "", hide = true, value_parser = Operations::from_words)]
    pub ops: Operations,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented recipe to begin with.
    Init(InitArgs),
    /// Run every stage that is not already done.
    Run(RecipeArgs),
    /// Say what would run and what is done: problems, requests, tokens, money, memory, before anything is spent.
    #[command(mut_arg("rank", |arg| arg.hide(true)), mut_arg("world", |arg| arg.hide(true)), mut_arg("allow_empty", |arg| arg.hide(true)))]
    Plan(RecipeArgs),
    /// Run the stages up to the teacher's traces.
    Sample(RecipeArgs),
    /// Run the stages up to the selection of traces; or filter the rows of a file of data.
    Filter(FilterArgs),
    /// Take near duplicates out of a file of data.
    Dedup(DedupArgs),
    /// Take out of a file of data what benchmarks contain.
    Decontaminate(DecontaminateArgs),
    /// Run the stages up to the shareable dataset in Parquet.
    Export(RecipeArgs),
    /// Run the stages up to the trained checkpoint.
    Train(RecipeArgs),
    /// Run the stages up to the evaluations; or evaluate a checkpoint or an endpoint on a file of problems.
    Evaluate(EvaluateArgs),
    /// Run all stages, up to the published checkpoint.
    Publish(RecipeArgs),
    /// The runs of a folder, and what came of each.
    List(ListArgs),
    /// Where a run stands.
    Status(StatusArgs),
    /// Write a run's report.html again.
    Report(RunArgs),
    /// Read traces with their decisions (why a row was kept or dropped), and an evaluation's answers with their verdicts.
    Show(ShowArgs),
    /// Judge answers: JSON lines from standard input, or the rows of a file; JSON lines out.
    #[command(subcommand)]
    Verify(VerifyCommand),
    /// Convert a checkpoint: Hugging Face folder or GGUF file, either way, with another element type, context or tokens.
    Convert(ConvertArgs),
    /// An OpenAI-compatible server over a checkpoint.
    Serve(ServeArgs),
    /// Talk to a checkpoint in the terminal.
    Chat(ChatArgs),
    /// What this machine has: devices, memory, disk, and the sandbox in which code is run.
    Doctor(DoctorArgs),
    /// Remove what no run uses any more from a store; answers stay.
    Gc(GcArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Print the JSON Schema of recipes, for editors.
    Schema,
    /// Teachers behind endpoints: what is known of hosts and models, start one on a cluster, try one.
    #[command(subcommand)]
    Teacher(TeacherCommand),
}

/// What about a teacher.
#[derive(Debug, Subcommand)]
pub enum TeacherCommand {
    /// What is known of the hosts that `teacher.http.host` can name, with sources.
    Hosts(KnownArgs),
    /// What is known of models: their turns, their makers' advice on sampling, with sources.
    Models(KnownArgs),
    /// Look at a recipe's endpoints: which model answers, where its reasoning is, what works. It takes a few hundred tokens.
    Probe(ProbeArgs),
    /// Start a recipe's teacher as Slurm jobs, wait until it is healthy, and register it for the recipe.
    Launch(LaunchArgs),
}

/// What is known.
#[derive(Args, Debug)]
pub struct KnownArgs {
    /// One of them, whole; all of them in a line each by default.
    pub name: Option<String>,
}

/// What is looked at.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// The recipe's TOML file.
    pub recipe: PathBuf,
    /// Overrides one value of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The folder of all results, where launched servers are registered.
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is started.
#[derive(Args, Debug)]
pub struct LaunchArgs {
    /// The recipe's TOML file.
    pub recipe: PathBuf,
    /// Overrides one value of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Prints the batch scripts, and starts nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The folder of all results, which the cluster's nodes see as well.
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
}

/// A recipe, and how to run it here.
#[derive(Args, Debug)]
pub struct RecipeArgs {
    /// The recipe's TOML file.
    pub recipe: PathBuf,
    /// Overrides one value of the recipe, e.g. `--set student.training.epochs=2`; recorded with the run.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Where models run: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads for computing; all cores by default. Weights are reproducible for one number of threads.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Which of several processes that share the work this is, from 0. Without it, the job's own number counts: a Slurm
    /// array's, a Kubernetes indexed job's, or RANK's.
    #[arg(long, value_name = "R", requires = "world")]
    pub rank: Option<usize>,
    /// How many processes share the work.
    #[arg(long, value_name = "W", requires = "rank")]
    pub world: Option<usize>,
    /// Goes on where a stage keeps no row; without it, that is a failure which says what dropped them.
    #[arg(long)]
    pub allow_empty: bool,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Prints the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A recipe that is filtered, or a file.
#[derive(Args, Debug)]
#[command(mut_arg("recipe", |arg| arg.value_name("RECIPE|FILE").help("The recipe, which ends in .toml, or a file of data: .jsonl, .ndjson or .json, packed by gzip or zstd too, or .parquet")))]
pub struct FilterArgs {
    /// The recipe, which ends in `.toml`, or the file.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// A filter of a file's rows and its settings, e.g. `--with language,max-share=0.2`; in the order given. Those that need a
    /// row's text alone: language, duplicates, near-duplicates, coverage, random.
    #[arg(long, value_name = "KIND[,KEY=VALUE…]")]
    pub with: Vec<String>,
    /// The file's column of text.
    #[arg(long, value_name = "COLUMN")]
    pub text: Option<String>,
    /// Where lots are drawn of a file's rows: their seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where the rows that stay are written; beside the file by default.
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
}

/// A recipe that is evaluated, or a file of problems with who answers them.
#[derive(Args, Debug)]
#[command(mut_arg("recipe", |arg| arg.value_name("RECIPE|FILE").help("The recipe, which ends in .toml, or a file of problems: .jsonl, .ndjson or .json, packed by gzip or zstd too, or .parquet. On a file each problem is asked once, at temperature 0.6 and top-p 0.95, for at most 4096 tokens, without an instruction to box the answer; `--set evaluation.…` changes that")))]
pub struct EvaluateArgs {
    /// The recipe, which ends in `.toml`, or the file of problems.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// On a file: the checkpoint that answers, a Hugging Face folder or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub checkpoint: Option<PathBuf>,
    /// On a file: the base of the endpoint that answers, e.g. `http://127.0.0.1:8000/v1`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The model's name at the endpoint.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// What serves it, e.g. `vllm fp8`: tells two servers apart that call their models alike. Without it, answers of a model of
    /// that name count as its own, wherever they were bought: an address is no part of who answers.
    #[arg(long, value_name = "WORDS")]
    pub served_as: Option<String>,
    /// The environment variable that holds the endpoint's key; the key itself is never an argument.
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// The file's column of questions; `problem`, `question`, `prompt` and others are found.
    #[arg(long, value_name = "COLUMN")]
    pub question: Option<String>,
    /// The file's column of right answers; `answer`, `gold` and others are found.
    #[arg(long, value_name = "COLUMN")]
    pub answer: Option<String>,
}

impl EvaluateArgs {
    /// Whether something is said that only a file of problems needs.
    pub fn names_subject(&self) -> bool {
        let said = [&self.endpoint, &self.model, &self.served_as, &self.api_key_env, &self.question, &self.answer];
        self.checkpoint.is_some() || said.iter().any(|value| value.is_some())
    }
}

/// A file whose rows are looked at.
#[derive(Args, Clone, Debug)]
pub struct FileArgs {
    /// The file: `.jsonl`, `.ndjson` or `.json`, packed by gzip or zstd too, or `.parquet`.
    pub file: PathBuf,
    /// Its column of text; `problem`, `question`, `prompt`, `text` and others are found.
    #[arg(long, value_name = "COLUMN")]
    pub text: Option<String>,
    /// Where the rows that stay are written; beside the file by default.
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Where lots are drawn: their seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads for computing; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Prints the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Near duplicates.
#[derive(Args, Debug)]
pub struct DedupArgs {
    /// The file.
    #[command(flatten)]
    pub file: FileArgs,
    /// A setting of `near-duplicates`, e.g. `--set threshold=0.7`; filters/README.md lists them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Benchmarks that a file may not contain.
#[derive(Args, Debug)]
pub struct DecontaminateArgs {
    /// The file.
    #[command(flatten)]
    pub file: FileArgs,
    /// A benchmark's problems, a file of the same kinds, with `:COLUMN` behind it where its column is not found; may be given
    /// several times.
    #[arg(long, value_name = "FILE[:COLUMN]", required = true)]
    pub against: Vec<PathBuf>,
    /// A setting of `contamination`, e.g. `--set rule=eight-gram`; filters/README.md lists them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Where results live.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The folder of all results, shared by every run.
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
    /// The folder of runs: links into the store, and reports.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: PathBuf,
}

/// A run, by its recipe's name or its folder.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The recipe's name, or the folder of its run.
    pub run: String,
    /// The folder of runs.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: PathBuf,
}

/// Where a run stands.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Where.
    #[command(flatten)]
    pub run: RunArgs,
    /// Prints stages, funnel and evaluation as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which traces to read.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Where.
    #[command(flatten)]
    pub run: RunArgs,
    /// A trace's id, or its beginning: that trace with all that filters measured; of an evaluation, a problem's.
    pub id: Option<String>,
    /// Only traces dropped for this reason, e.g. `unequal` or `verify`.
    #[arg(long, value_name = "REASON")]
    pub dropped: Option<String>,
    /// Only traces on which a filter could not decide; of an evaluation, attempts that could not be judged.
    #[arg(long)]
    pub unknown: bool,
    /// In place of traces, what a model answered in the run's evaluation: its name, as scores have it.
    #[arg(long, value_name = "SUBJECT", conflicts_with = "rendered")]
    pub evaluation: Option<String>,
    /// In place of traces, attempts of the run's evaluations that are wrong or undecided.
    #[arg(long, conflicts_with = "rendered")]
    pub wrong: bool,
    /// What the student is taught instead: examples with the chat template, what carries loss in green (in ⟦ ⟧ without
    /// colours).
    #[arg(long, conflicts_with_all = ["dropped", "unknown", "json"])]
    pub rendered: bool,
    /// The chat folder to render with, where the run's student starts from a folder outside of it.
    #[arg(long, value_name = "FOLDER", requires = "rendered")]
    pub chat: Option<PathBuf>,
    /// The chat template to render with instead of the folder's.
    #[arg(long, value_name = "FILE", requires = "rendered")]
    pub chat_template: Option<PathBuf>,
    /// How many at most.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub limit: usize,
    /// Prints JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// What is judged.
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// Mathematics: lines `{"id", "gold", "answer"}` (a final answer) or `{"id", "gold", "response"}` (a whole one).
    Math(VerifyMathArgs),
    /// Code: lines `{"id", "language", "code", "tests"}` or `{"id", "language", "response", "tests"}`, run in a sandbox.
    Code(VerifyCodeArgs),
}

/// Rows of a file in place of lines from standard input.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// Judges the rows of this JSONL or Parquet file in place of lines from standard input.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Its column of names; `id`, else a row's place.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub id: Option<String>,
    /// Its column of final answers, or of code.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub answer: Option<String>,
    /// Its column of whole responses, or of lists of them: each of a list is judged, and its number stands behind the row's name.
    #[arg(long, value_name = "COLUMN", requires = "data", conflicts_with = "answer")]
    pub response: Option<String>,
}

/// How code is run.
#[derive(Args, Debug)]
pub struct VerifyCodeArgs {
    /// Where solutions are.
    #[command(flatten)]
    pub rows: DataArgs,
    /// The file's column of tests; `tests` by default.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub tests: Option<String>,
    /// The file's column of languages, `language` by default, or the language of all rows.
    #[arg(long, value_name = "COLUMN|LANGUAGE", requires = "data")]
    pub language: Option<String>,
    /// Threads, each with a sandbox of its own; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Judges each solution so often; a solution whose outcome changes is flagged as flaky, and its verdict is unknown.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: u32,
    /// The Python that runs Python; the first `python3` by default.
    #[arg(long, value_name = "PROGRAM")]
    pub python: Option<PathBuf>,
    /// CPU seconds for a run where its tests do not say; three times as much in wall time. A solution that took longer on a machine
    /// that turns out to be slow is judged again with as much more of both.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub cpu_seconds: u64,
    /// Memory for a run in MiB, where its tests do not say.
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub memory_mib: u64,
    /// Starts an interpreter anew for every solution instead of forking one that is kept warm.
    #[arg(long)]
    pub cold: bool,
    /// Leaves this layer of the isolation out: seccomp, landlock, network-namespace, ipc-namespace, uts-namespace or
    /// control-group; may be given several times. Every verdict says which layers held.
    #[arg(long = "without", value_name = "LAYER")]
    pub without: Vec<String>,
}

/// What counts as the same, and how fast.
#[derive(Args, Debug)]
pub struct VerifyMathArgs {
    /// Where answers are.
    #[command(flatten)]
    pub rows: DataArgs,
    /// The file's column of right answers.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub gold: Option<String>,
    /// Overrides one convention, e.g. `--policy tuple-for-set=true`; filters/verify/README.md lists them.
    #[arg(long = "policy", value_name = "KEY=BOOL")]
    pub policy: Vec<Override>,
    /// Threads; all cores by default. Verdicts do not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What to look at.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The folder whose disk is looked at.
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

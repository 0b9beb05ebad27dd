//! The command line: what was typed. The recipe says what is computed; flags say only how to run it here.

use crate::verify::Override;
use clap::{Args, Parser, Subcommand};
use distill_model::Operations;
use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf};

/// Turns a reasoning teacher into small dense students that people can own and run.
#[derive(Debug, Parser)]
#[command(
    name = "distill",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 stopped by a budget, 130 interrupted with everything saved."
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
    #[arg(long, global = true, value_name = "WORDS", default_value = "", hide_default_value = true, value_parser = Operations::from_words)]
    pub ops: Operations,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every stage that is not already done.
    Run(RecipeArgs),
    /// Say what would run and what is done: requests, tokens, money, memory, before anything is spent.
    Plan(RecipeArgs),
    /// Up to the teacher's traces.
    Sample(RecipeArgs),
    /// Up to measured, judged and selected traces; of a file that is no recipe, filters on its rows.
    Filter(FilterArgs),
    /// Near duplicates out of a JSONL or Parquet file.
    Dedup(DedupArgs),
    /// What benchmarks contain out of a JSONL or Parquet file.
    Decontaminate(DecontaminateArgs),
    /// Up to the shareable dataset in Parquet.
    Export(RecipeArgs),
    /// Up to the trained checkpoint.
    Train(RecipeArgs),
    /// Up to the evaluation before, after and of the teacher.
    Evaluate(RecipeArgs),
    /// Up to the published checkpoint: all stages.
    Publish(RecipeArgs),
    /// Where a run stands.
    Status(StatusArgs),
    /// Write a run's report.html again.
    Report(RunArgs),
    /// Read traces with their decisions: why a row was kept or dropped.
    Show(ShowArgs),
    /// Judge answers from standard input, JSON lines in, JSON lines out.
    #[command(subcommand)]
    Verify(VerifyCommand),
    /// Convert a checkpoint: Hugging Face folder or GGUF file, either way, with another element type, context or tokens.
    Convert(ConvertArgs),
    /// An OpenAI-compatible server over a checkpoint.
    Serve(ServeArgs),
    /// Talk to a checkpoint in the terminal.
    Chat(ChatArgs),
    /// What this machine has: devices, memory, disk.
    Doctor(DoctorArgs),
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
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Prints the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A recipe that is filtered, or a file.
#[derive(Args, Debug)]
pub struct FilterArgs {
    /// The recipe, which ends in `.toml`, or the file.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// A filter of a file's rows and its settings, e.g. `--with language,max-share=0.2`; in the order given.
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

/// A file whose rows are looked at.
#[derive(Args, Clone, Debug)]
pub struct FileArgs {
    /// The file: `.jsonl` or `.parquet`.
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
    /// A benchmark's problems: `.jsonl` or `.parquet`, with `:COLUMN` behind it where its column is not found; may be given
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
    /// A trace's id, or its beginning: that trace, whole.
    pub id: Option<String>,
    /// Only traces dropped for this reason, e.g. `unequal` or `verify`.
    #[arg(long, value_name = "REASON")]
    pub dropped: Option<String>,
    /// Only traces on which a filter could not decide.
    #[arg(long)]
    pub unknown: bool,
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

/// How code is run.
#[derive(Args, Debug)]
pub struct VerifyCodeArgs {
    /// Threads, each with a sandbox of its own; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Judges each solution so often; a solution whose outcome changes is flagged as flaky, and its verdict is unknown.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: u32,
    /// The Python that runs Python; the first `python3` by default.
    #[arg(long, value_name = "PROGRAM")]
    pub python: Option<PathBuf>,
    /// CPU seconds for a run where its tests do not say; three times as much in wall time.
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

/// From which checkpoint to which.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// A Hugging Face folder, or a GGUF file.
    pub from: PathBuf,
    /// What is written: a GGUF file if its name ends in `.gguf`, else a Hugging Face folder. Must not exist yet.
    pub to: PathBuf,
    /// How weights are stored: f32, f16 or bf16, for GGUF also q8_0 or q4_0. As they were, if nothing is said; f32 for
    /// what was quantised.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<String>,
    /// Another base of the rotary frequencies.
    #[arg(long, value_name = "THETA")]
    pub rope_theta: Option<f64>,
    /// Another longest context, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub max_position_embeddings: Option<u32>,
    /// A token for the tokenizer, plain text to it, such as the tags of its reasoning; may be given several times.
    #[arg(long = "add-token", value_name = "TEXT")]
    pub add_tokens: Vec<String>,
    /// A control token for the tokenizer; may be given several times.
    #[arg(long = "add-special-token", value_name = "TEXT")]
    pub add_special_tokens: Vec<String>,
    /// The chat template that the result gets.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Largest file of a Hugging Face folder, in bytes; a tensor is never cut.
    #[arg(long, value_name = "BYTES")]
    pub max_shard_bytes: Option<u64>,
}

/// A checkpoint, and how it is decoded here.
#[derive(Args, Debug)]
pub struct DecodeArgs {
    /// A Hugging Face folder: config.json, safetensors, tokenizer.json and chat template.
    pub checkpoint: PathBuf,
    /// Where it runs: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// How weights are kept: `stored` and `f32` change nothing, `bf16`, `f16` and `q8_0` round them.
    #[arg(long, default_value = "stored", value_name = "PRECISION")]
    pub weights: String,
    /// Most memory for keys and values, in MiB. By default what full contexts need, up to half of what the weights leave.
    #[arg(long, value_name = "MIB")]
    pub cache_mib: Option<usize>,
    /// Threads for computing; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// How a checkpoint is served.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// What is served.
    #[command(flatten)]
    pub decode: DecodeArgs,
    /// Address to listen on. Anything but this machine itself should have a key.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The environment variable that holds the key which requests must bear; the key itself is never an argument.
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// An origin of another machine whose pages may ask, such as `https://example.org`, and whose name is answered to; `*`
    /// lets all in. May be given several times. By default only this machine's own names.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,
    /// The model's name; the folder's by default, with the precision if weights are rounded.
    #[arg(long)]
    pub name: Option<String>,
    /// Most answers that are decoded together.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub running: usize,
    /// Most answers that may be unfinished, waiting ones included; more are turned away with 429.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub queue: usize,
    /// Most choices of one request: prompts times `n`.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_choices: usize,
    /// Largest body of a request, in bytes.
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES")]
    pub max_body_bytes: usize,
}

/// How to talk to a checkpoint.
#[derive(Args, Debug)]
pub struct ChatArgs {
    /// Who answers.
    #[command(flatten)]
    pub decode: DecodeArgs,
    /// A system prompt.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Softmax temperature; 0 is greedy.
    #[arg(long, default_value_t = 0.6)]
    pub temperature: f32,
    /// Nucleus mass.
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Limit on the tokens of one answer; the context by default.
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Seed of the first answer; the next ones count on.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

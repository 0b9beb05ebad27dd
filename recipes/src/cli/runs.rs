//! What is typed to find one's way: runs, what no run uses, recipes to begin with, what shells and editors read.

use clap::Args;
use std::path::PathBuf;

/// Which runs.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The folder of runs.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// What goes.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// A folder of runs; what one of its runs uses stays, and what other runs use that the store knows of. May be given
    /// several times.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: Vec<PathBuf>,
    /// The folder of all results.
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
    /// Says what would go and how large it is, and removes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Removes the answers in this folder of the store's `samples` as well, whatever they cost. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    pub answers: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which recipe to begin with.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The file that is written; must not exist yet.
    #[arg(default_value = "recipe.toml")]
    pub file: PathBuf,
    /// What it is for: `endpoint` (a dataset of a teacher's answers), `student` (a published student), `compare` (models
    /// that are there, on a file of problems).
    #[arg(long, default_value = "endpoint", value_name = "NAME")]
    pub from: String,
}

/// Which shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell; put what is printed where it looks for completions.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

//! The binary: reads the command line, calls the library, turns the outcome into an exit code.

use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Burn's CPU backend allocates a fresh buffer for every operation; this allocator hands them out faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns a reasoning teacher into small dense students that people can own and run.
#[derive(Debug, Parser)]
#[command(name = "distill", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What this machine has: devices, memory, disk.
    Doctor {
        /// The folder whose disk is looked at.
        #[arg(long, default_value = "store", value_name = "DIR")]
        store: PathBuf,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let Command::Doctor { store, json } = Cli::parse().command;
    let findings = distill::doctor::look(&store);
    let text = if json { serde_json::json!(findings).to_string() + "\n" } else { distill::doctor::describe(&findings) };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! The binary: reads the command line and the environment, calls the library, turns the outcome into an exit code.

use clap::Parser;
use distill::cli::Cli;
use std::{io::IsTerminal, process::ExitCode};

/// Burn's CPU backend allocates a fresh buffer for every operation: the system's allocator costs a fifth of the speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.log);
    let secrets = |name: &str| std::env::var(name).ok();
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    distill::execute(cli, &secrets, color)
}

fn log_to_stderr(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { logs.compact().init() } else { logs.json().init() }
}

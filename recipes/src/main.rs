//! The binary: reads the command line and the environment, calls the library, turns the outcome into an exit code.

use clap::Parser;
use distill::{cli::Cli, command, verify};
use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};
use tracing_subscriber::EnvFilter;

/// Burn's CPU backend allocates a fresh buffer for every operation; this allocator hands them out faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The supervisor of a sandbox: before anything that might start a thread.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == verify::SUPERVISOR) {
        return distill_verify::code::supervise();
    }
    let cli = Cli::parse();
    let terminal = stderr().is_terminal();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if terminal {
        log.without_time().init()
    } else {
        log.json().init()
    }
    let secrets = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let color = terminal && std::env::var_os("NO_COLOR").is_none();
    command::execute(cli, &secrets, color)
}

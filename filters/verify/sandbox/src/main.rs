//! The supervisor as a program of its own, for tests and for programs that embed this crate; `distill` runs the same
//! function under a hidden subcommand.

fn main() -> std::process::ExitCode {
    distill_sandbox::supervise()
}

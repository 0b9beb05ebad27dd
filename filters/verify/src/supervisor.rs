//! The sandbox's supervisor as a program of its own, for this crate's tests; `distill` runs the same function under a
//! hidden subcommand.

fn main() -> std::process::ExitCode {
    distill_verify::code::supervise()
}

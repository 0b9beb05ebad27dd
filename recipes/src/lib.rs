//! `distill` as a library: the recipe, the plan and the run, behind the command line.
//!
//! A recipe (`recipe/`) is read, its stages are sequenced (`run.rs`) inside a session (`session.rs`) that knows keys,
//! claims and manifests; what happened is read back from manifests by `status.rs`, `show.rs` and `report/`.

pub mod cli;
pub mod recipe;
pub mod session;

mod command;
mod doctor;
mod identity;
mod plan;
mod progress;
mod report;
mod run;
mod show;
mod stages;
mod status;
mod teacher;

pub use command::execute;

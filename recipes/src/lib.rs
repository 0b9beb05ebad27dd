//! `distill` as a library: a recipe is read (`recipe/`), its stages are sequenced (`run.rs`) with keys, claims and
//! manifests (`session.rs`), and what came of it is told (`status.rs`, `report/`, `show.rs`, `plan.rs`). `serve.rs` and `talk.rs` put a checkpoint to use.

pub mod alone;
mod asking;
pub mod buying;
pub mod cli;
pub mod command;
pub mod convert;
mod cuts;
mod data;
pub mod doctor;
mod filtering;
pub mod identity;
pub mod known;
pub mod launch;
mod links;
pub mod plan;
mod preflight;
pub mod progress;
pub mod rank;
pub mod recipe;
pub mod record;
pub mod rendered;
pub mod report;
pub mod run;
pub mod serve;
pub mod session;
pub mod show;
pub mod status;
pub mod student;
pub mod talk;
pub mod teachers;
pub mod terminal;
pub mod verify;
pub mod view;

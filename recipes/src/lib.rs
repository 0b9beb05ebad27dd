//! `distill` as a library: reading recipes with every mistake reported at once (`recipe/`), and sequencing stages with
//! keys, claims and manifests (`session.rs`).

pub mod doctor;
pub mod progress;
pub mod recipe;
pub mod session;

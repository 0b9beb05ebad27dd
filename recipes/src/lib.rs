//! `distill` as a library: a recipe is read (`recipe/`), its stages are sequenced (`run.rs`) with keys, claims and
//! manifests (`session.rs`), and what came of it is told (`status.rs`, `report/`, `show.rs`, `plan.rs`). `serve.rs` and `talk.rs` put a checkpoint to use.
//!
//! ```
//! # use distill::recipe::Recipe;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
//! let overrides = ["student.training.epochs=1".to_owned()];
//! let recipe = Recipe::load(&folder.join("quickstart.toml"), &overrides)?;
//! assert_eq!((recipe.name.as_str(), recipe.seed), ("quickstart", 17));
//! let kinds: Vec<&str> = recipe.filters.iter().map(|filter| filter.kind()).collect();
//! assert_eq!(kinds, ["format", "length", "duplicates", "verify"]);
//! assert_eq!(recipe.student.map(|student| student.training.epochs), Some(1));
//!
//! // Every mistake is reported at once, with its place and what would have been right.
//! let text = "nmae = \"sums\"\nseed = \"seventeen\"\n";
//! let mistaken = Recipe::of_text(text, &folder.join("sums.toml"), &[]);
//! let report = mistaken.err().ok_or("expected mistakes")?.to_string();
//! assert!(report.contains("did you mean `name`?"), "{report}");
//! assert!(report.contains("`seed`: expected a whole number"), "{report}");
//! # Ok(())
//! # }
//! ```

pub mod alone;
mod asking;
pub mod attempts;
pub mod buying;
pub mod cli;
pub mod command;
pub mod compared;
pub mod convert;
mod cuts;
mod data;
pub mod doctor;
mod doubts;
mod explained;
mod filtering;
pub mod gc;
pub mod identity;
pub mod init;
pub mod kept;
pub mod known;
pub mod launch;
mod links;
pub mod list;
pub mod plan;
pub mod preflight;
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
pub mod standing;
pub mod status;
pub mod student;
pub mod talk;
pub mod teachers;
pub mod terminal;
mod users;
pub mod verify;
pub mod view;
mod written;

//! The contract between stages: records, Parquet shards, the content-addressed store and its manifests.
//!
//! Every stage reads datasets, writes one dataset and proves it with a manifest. This crate imports nothing of ours, so
//! every other crate can depend on it.
//!
//! Rows are written as Parquet, and come back as they were. A problem's identity is what it asks, not its answer.
//!
//! ```
//! # use distill_dataset::{Dataset, Problem};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let problems = [Problem::asking("What is 2+2?", "4", "sums"), Problem::asking("What is 2+3?", "5", "sums")];
//! let folder = tempfile::tempdir()?;
//! let dataset = Dataset::write(folder.path(), problems.clone())?;
//! assert_eq!(dataset.num_rows(), 2);
//!
//! // Every file is what the manifest says.
//! dataset.verify()?;
//! let read = dataset.rows::<Problem>().collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(read, problems);
//!
//! let corrected = Problem::asking("What is 2+2?", "four", "elsewhere");
//! assert_eq!(corrected.id, problems[0].id);
//! # Ok(())
//! # }
//! ```

mod context;
mod digest;
mod error;
mod foreign;
mod journal;
mod lock;
mod logprobs;
mod manifest;
mod money;
mod normal;
mod owner;
mod process;
mod put;
mod read;
mod record;
mod reserve;
mod shard_file;
mod sort;
mod stage;
mod store;
mod tally;
mod turn;
mod write;

pub use context::{Cancel, Context, Interrupted, Progress, ProgressEvent};
pub use digest::{Digest, digest_file, seeded_rank};
pub use distill_files::{copy_fresh, create_fresh, entries, open_regular, read_regular, read_regular_text};
pub use error::DatasetError;
pub use foreign::{Cell, Copied, FileFormat, Part, Row, Rows, Unreadable, columns, copy_rows, num_rows, parts};
pub use journal::{Damage, Entry, Journal, Merge, Spool};
pub use logprobs::{
    LogProbs, LogProbsBuilder, LogProbsError, LogProbsReader, LogProbsWriter, MAX_ALTERNATIVES, Token, TokenLogProbs,
};
pub use manifest::{Input, Manifest, ShardInfo, StageTime, timestamp};
pub use money::{Amount, Currency, Money};
pub use normal::{folded_form, normal_form};
pub use owner::{Liveness, Owner};
pub use process::Process;
pub use put::put_if_absent;
pub use read::{Dataset, Shard};
pub use record::{
    Decision, Example, FileClaim, FinishReason, Message, Outcome, Problem, Reference, Role, SamplingParams, Segment,
    Split, Trace, Verdict, problem_id, trace_id, with_system,
};
pub use reserve::{Reservations, Reserve};
pub use sort::Sorter;
pub use stage::{Keyed, Stage, stage_key};
pub use store::{Claim, Claimed, StageDir, Store, UnitReport, write_whole};
pub use tally::{Curve, Detail, Funnel, FunnelStep, Histogram, Score, Tally};
pub use turn::{Parts, Turn, TurnFormat, TurnReader};
pub use write::{Cut, Record, ShardWriter};

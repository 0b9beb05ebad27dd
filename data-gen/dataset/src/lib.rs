//! The contract between stages: records, Parquet shards, the content-addressed store and its manifests.
//!
//! Every stage reads datasets, writes one dataset and proves it with a manifest. This crate imports nothing of ours, so
//! every other crate can depend on it.

mod context;
mod digest;
mod error;
mod foreign;
mod journal;
mod lock;
mod manifest;
mod owner;
mod process;
mod put;
mod record;
mod reserve;
mod shard;
mod store;

pub use context::{Cancel, Context, Progress, ProgressEvent};
pub use digest::{Digest, digest_file, digest_json};
pub use error::DatasetError;
pub use foreign::TextRows;
pub use journal::{Damage, Entry, Journal};
pub use manifest::{
    Curve, Detail, Funnel, FunnelStep, Histogram, Input, Manifest, Score, ShardInfo, StageTime, Tally, timestamp,
};
pub use owner::{Liveness, Owner};
pub use put::put_if_absent;
pub use record::{
    Decision, Example, FinishReason, Measure, Message, Outcome, Problem, Reference, Role, SamplingParams, Segment,
    Span, Split, Trace, Verdict, problem_id, trace_id,
};
pub use reserve::{Reservations, Reserve};
pub use shard::{Dataset, Record, ShardWriter};
pub use store::{Claim, StageDir, Store};

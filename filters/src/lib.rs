//! Filters: traces in, one side table of measures per filter, then one decision per trace, then examples and the
//! shareable dataset. Before there are traces, the same of problems.
//!
//! Measure, then decide: what costs is keyed by the settings of the measurement; thresholds and what to do on *unknown*
//! belong to the selection, which is cheap. Changing a threshold measures nothing again. Selectors measure nothing: they
//! choose among what the filters leave.
//!
//! Every stage here is a map over the shards of the traces ([`Inputs::unit`]). A unit uses all cores, holds a few row groups at a
//! time, and writes one shard beside the traces' own, so that tables are read in lock step. A filter is one file
//! (configuration, measurement, decision, reasons) and its line in `list.rs`.
//!
//! A filter decides on its measures, here on two lengths, and says why:
//!
//! ```
//! # use distill_dataset::Dataset;
//! # use distill_filters::{FilterConfig, Length};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = FilterConfig::deserialize_as("length", serde_json::json!({"max-tokens": 100}))?;
//! config.check()?;
//!
//! let measured = |trace: &str, tokens: u32| Length {
//!     trace_id: trace.to_owned(),
//!     tokens,
//!     chars: 0,
//!     reasoning_chars: 0,
//!     answer_chars: 0,
//!     student_tokens: None,
//! };
//! let folder = tempfile::tempdir()?;
//! let measures = Dataset::write(folder.path(), [measured("first", 40), measured("second", 4000)])?;
//! let shard = measures.shards().next().ok_or("a dataset has a shard")?;
//! let decided = config.filter().ok_or("this one measures")?.decide(&shard, 0..2)?;
//! assert!(decided[0].goes_on);
//! assert_eq!((decided[1].id.as_str(), decided[1].reason.as_str()), ("second", "too-long"));
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod authored;
mod best;
mod concise;
mod contamination;
mod contest;
mod coverage;
mod duplicates;
mod examples;
mod export;
mod filter;
mod format;
mod judge;
mod language;
mod length;
mod list;
mod long_short;
mod mix;
pub mod near;
mod near_duplicates;
mod pass_rate;
mod prose;
mod quota;
mod random;
mod repetition;
mod script;
mod select;
mod shape;
mod style;
#[cfg(test)]
mod tests;
mod unit;
mod verdicts;
mod verify;
mod vote;

pub use best::BestConfig;
pub use concise::ConciseConfig;
pub use contamination::{Contamination, ContaminationConfig, Match, Rule, Side};
pub use contest::{Candidate, Contest, Dropped, Prefer};
pub use coverage::{CoverageConfig, Covers};
pub use duplicates::{Duplicate, DuplicatesConfig, Within};
pub use examples::{EXAMPLES, examples};
pub use export::{EXPORT, EXPORT_DROPPED, Exported, ExportedRow, export};
pub use filter::{Decided, Filter, Listed, OnUnknown, Prepared, Selector, Survey};
pub use format::{Form, FormatConfig, Outline};
pub use judge::{JUDGEMENTS, JudgeConfig, Judged};
pub use language::{LanguageConfig, Spoken, Told};
pub use length::{Length, LengthConfig};
pub use list::FilterConfig;
pub use long_short::LongShortConfig;
pub(crate) use mix::Mix;
pub use near_duplicates::{Near, NearDuplicatesConfig, Shingles};
pub use pass_rate::PassRateConfig;
pub use prose::Evidence;
pub use quota::{Cell, OfDomain, QuotaConfig};
pub use random::RandomConfig;
pub use repetition::{Copies, Part, Repeats, Repetition, RepetitionConfig, TailLoop};
pub use script::{Script, Written};
pub use select::{Contests, PROBLEM_SELECTION, SELECTION, Tables, select, settings};
pub use shape::ShapingConfig;
pub use style::{StyleConfig, Styled};
pub use unit::{Inputs, Of, Unit};
pub use verdicts::Verdicts;
pub use verify::{Verified, VerifyConfig};
pub use vote::{VoteConfig, Voted};

use distill_chat::ChatError;
use distill_dataset::{DatasetError, Interrupted};
use std::path::PathBuf;

/// Why traces could not be filtered.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Tables that belong together do not.
    #[error(
        "expected {expected} for trace {trace_id}, found {found}\nhint: a table in the store was changed by hand; delete its folder to have it made again"
    )]
    Mismatch {
        /// The trace.
        trace_id: String,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A unit that does not exist.
    #[error("expected a unit below {found}, found {index}")]
    NoUnit {
        /// What was asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// A source has nothing to be mixed in.
    #[error(
        "source {number} has a weight and no trace that the filters keep: expected one at least\nhint: see `distill show --dropped` for why, or remove the weights"
    )]
    NothingToMix {
        /// Which, from 1.
        number: usize,
    },
    /// Near duplicates could not be looked for.
    #[error(transparent)]
    Near(near::NearFault),
    /// A first pass that a measure needs was not given, or is another's.
    #[error(
        "`{filter}`: expected what its first pass found, found {found}\nhint: delete the stage's folder in the store to have it made again"
    )]
    Survey {
        /// The filter.
        filter: &'static str,
        /// What there is instead.
        found: String,
    },
    /// Nobody to run code was given.
    #[error("problems have tests, and there is nobody to run them")]
    NoJudges,
    /// What is to count the student's tokens is not there.
    #[error(
        "`tokenizer`: expected a tokenizer.json, or a folder with one, found neither at {}\nhint: name the folder of the student's base; a relative path is laid from the recipe's folder",
        path.display()
    )]
    NoTokenizer {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// What is to count the student's tokens is damaged.
    #[error("`tokenizer`: {0}")]
    Tokenizer(#[source] ChatError),
    /// Code cannot be run here.
    #[error(transparent)]
    Sandbox(#[from] distill_verify::code::SandboxError),
    /// Asked to stop.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
}

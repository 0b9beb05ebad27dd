//! Filters: traces in, one side table of measures per filter, then one decision per trace, then examples and the
//! shareable dataset.
//!
//! Measure, then decide: what costs is keyed by the measurement's own parameters; thresholds and what to do on *unknown*
//! belong to the selection, which is cheap. Changing a threshold measures nothing again.

mod config;
mod examples;
mod export;
mod measure;
mod select;
#[cfg(test)]
mod tests;

pub use config::{
    DuplicatesConfig, FilterConfig, FormatConfig, LengthConfig, Measurement, OnUnknown, VerifyConfig, VoteConfig,
};
pub use examples::examples;
pub use export::{ExportedRow, export};
pub use measure::measure;
pub use select::select;

use distill_dataset::DatasetError;

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
    /// Code cannot be run here.
    #[error(transparent)]
    Sandbox(#[from] distill_verify::code::SandboxError),
    /// Asked to stop.
    #[error("interrupted")]
    Interrupted,
}

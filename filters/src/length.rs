//! Is a trace too short or too long? Length in completion tokens, as the teacher counted them.
//!
//! | reason | when |
//! |---|---|
//! | `too-short` | fewer than `min-tokens` |
//! | `too-long` | more than `max-tokens` |

use crate::{
    Decided, Filter, FilterError, Unit,
    filter::{decide_each, measure_each},
};
use distill_dataset::{Context, Keyed, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// Length in completion tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LengthConfig {
    /// Fewer is too short.
    pub min_tokens: u32,
    /// More is too long; no limit when absent.
    pub max_tokens: Option<u32>,
}

/// How long a trace is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// The trace.
    pub trace_id: String,
    /// Tokens that the teacher generated.
    pub tokens: u32,
}

/// The columns that are read.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    completion_tokens: u32,
}

impl Filter for LengthConfig {
    fn stage(&self) -> Stage {
        Stage { name: "length", version: 1 }
    }

    fn check(&self) -> Result<(), String> {
        match self.max_tokens {
            Some(max) if self.min_tokens > max => {
                Err(format!("`min-tokens`: expected at most max-tokens = {max}, found {}", self.min_tokens))
            }
            _ => Ok(()),
        }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &LengthConfig::default())
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_each(unit, context, out, |trace: &Row| Length {
            trace_id: trace.id.clone(),
            tokens: trace.completion_tokens,
        })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |Length { trace_id, tokens }| {
            if tokens < self.min_tokens {
                Decided::reject(trace_id, "too-short")
            } else if self.max_tokens.is_some_and(|most| tokens > most) {
                Decided::reject(trace_id, "too-long")
            } else {
                Decided::accept(trace_id)
            }
        })
    }
}

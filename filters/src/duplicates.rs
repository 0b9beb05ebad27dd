//! Was the same said before? Exact repetition of a turn within a problem, across all sources. The copy that stays is the
//! first: by source, then by sample.
//!
//! | reason | when |
//! |---|---|
//! | `duplicate` | `max-copies` equal turns of its problem come before it |

use crate::{Decided, Filter, FilterError, Unit, filter::decide_each, unit::Said};
use distill_dataset::{Context, Digest, Keyed, Shard, ShardWriter, Stage, Tally};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::Range, path::Path};

/// Exact repetition of a turn within a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DuplicatesConfig {
    /// How many equal turns of one problem are kept.
    pub max_copies: u32,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        DuplicatesConfig { max_copies: 1 }
    }
}

/// How often a trace's turn was said before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The trace.
    pub trace_id: String,
    /// Equal turns of its problem that come before it.
    pub earlier: u32,
    /// The first of them.
    pub first: Option<String>,
}

/// A turn of a problem, by its digest.
struct Turn {
    trace_id: String,
    digest: [u8; 16],
}

impl Filter for DuplicatesConfig {
    fn stage(&self) -> Stage {
        Stage { name: "duplicates", version: 1 }
    }

    fn check(&self) -> Result<(), String> {
        if self.max_copies == 0 { Err("`max-copies`: expected at least 1, found 0".to_owned()) } else { Ok(()) }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &DuplicatesConfig::default())
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let mut seen: HashMap<[u8; 16], (u32, String)> = HashMap::new();
        for turn in unit.before(context, turn_of)? {
            seen.entry(turn.digest).or_insert((0, turn.trace_id)).0 += 1;
        }
        let mut writer = ShardWriter::beside(out, unit.index)?;
        unit.windows("measure", context, |window| {
            let turns: Vec<Turn> = window.rows.par_iter().map(turn_of).collect();
            let measures = turns.into_iter().map(|Turn { trace_id, digest }| {
                let (copies, first) = seen.entry(digest).or_insert((0, trace_id.clone()));
                let earlier = *copies;
                *copies += 1;
                Duplicate { first: (earlier > 0).then(|| first.clone()), trace_id, earlier }
            });
            Ok(writer.extend(measures.collect())?)
        })?;
        Ok(Tally { rows_in: unit.traces.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |duplicate: Duplicate| {
            if duplicate.earlier < self.max_copies {
                Decided::accept(duplicate.trace_id)
            } else {
                Decided::reject(duplicate.trace_id, "duplicate")
            }
        })
    }
}

fn turn_of(said: &Said) -> Turn {
    let digest = Digest::new("turn").field(&said.problem_id).field(&said.turn()).finish_bytes();
    Turn { trace_id: said.id.clone(), digest }
}

//! Is nearly the same said elsewhere? Clusters of texts whose sets of shingles are alike, over everything that is looked at:
//! turns of traces, or questions. Candidates come from MinHash and bands, each is compared exactly (`near`), so that all
//! that is found is so; `distill_filters` README has what is missed.
//!
//! | reason | when |
//! |---|---|
//! | `near-duplicate` | `max-copies` texts of its cluster stay before it, as `prefer` says |

mod survey;
#[cfg(test)]
mod tests;

use crate::{
    Contest, Decided, Filter, FilterError, Inputs, Listed, Prefer, Survey, Unit,
    contest::{BestOf, check_preferences},
    filter::decide_each,
    near::{Bands, Grain, NearConfig, Shingle},
    unit::Said,
};
use distill_dataset::{Context, Keyed, Shard, ShardWriter, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};
use survey::{Member, place};

/// Texts that are nearly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NearDuplicatesConfig {
    /// The least Jaccard similarity of two texts' sets of shingles.
    pub threshold: f64,
    /// What a shingle is made of.
    pub shingles: Shingles,
    /// How many of them in a row.
    pub size: u32,
    /// Whether near duplicates must have the same numbers, each as often.
    pub same_numbers: bool,
    /// Bands and rows of a signature; what the threshold asks for where nothing is said.
    pub bands: Option<[u32; 2]>,
    /// How many texts of a cluster stay.
    pub max_copies: u32,
    /// Which ones.
    pub prefer: Vec<Prefer>,
    /// Megabytes of memory. It decides nothing but the time.
    #[serde(skip_serializing)]
    pub memory_mb: u32,
}

/// What a shingle is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shingles {
    /// Words, numbers, LaTeX commands and operators.
    Words,
    /// Characters.
    Characters,
}

impl Default for NearDuplicatesConfig {
    fn default() -> Self {
        let near = NearConfig::default();
        NearDuplicatesConfig {
            threshold: near.threshold,
            shingles: Shingles::Words,
            size: near.shingle.size as u32,
            same_numbers: near.numbers,
            bands: None,
            max_copies: 1,
            prefer: vec![Prefer::Verified, Prefer::First],
            memory_mb: 1024,
        }
    }
}

impl NearDuplicatesConfig {
    /// The engine's settings.
    pub fn near(&self) -> NearConfig {
        let grain = if self.shingles == Shingles::Words { Grain::Words } else { Grain::Characters };
        NearConfig {
            shingle: Shingle { grain, size: self.size as usize },
            threshold: self.threshold,
            numbers: self.same_numbers,
            bands: self.bands.map(|[bands, rows]| Bands { bands: bands as usize, rows: rows as usize }),
            // An eighth is for each of the two sorts beside the engine.
            memory: (u64::from(self.memory_mb) << 20) / 4 * 3,
            ..NearConfig::default()
        }
    }
}

/// What a row is nearly the same as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// The trace, or the problem.
    pub id: String,
    /// Its cluster: equal within one, nothing where it is alone.
    pub cluster: Option<String>,
    /// The row most like it.
    pub neighbour: Option<String>,
    /// How like, from the threshold to 1.
    pub similarity: Option<f32>,
    /// Rows of the cluster.
    pub cluster_size: u32,
}

impl Listed for NearDuplicatesConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn draws(&self) -> bool {
        self.prefer.contains(&Prefer::Random)
    }

    fn check(&self) -> Result<(), String> {
        if self.max_copies == 0 {
            return Err("`max-copies`: expected at least 1, found 0".to_owned());
        }
        check_preferences(&self.prefer)?;
        if self.memory_mb < 2 {
            return Err(format!("`memory-mb`: expected at least 2, found {}", self.memory_mb));
        }
        // The first line says what; the second, what to do.
        let first = |fault: String| fault.lines().next().unwrap_or_default().to_owned();
        self.near().check().map_err(|fault| first(fault.to_string()))
    }

    fn settings(&self) -> Keyed {
        let kept = |config: &NearDuplicatesConfig| NearDuplicatesConfig {
            max_copies: config.max_copies,
            prefer: config.prefer.clone(),
            ..NearDuplicatesConfig::default()
        };
        Keyed::of(&kept(self), &NearDuplicatesConfig::default())
    }
}

impl Filter for NearDuplicatesConfig {
    fn stage(&self) -> Stage {
        Stage { name: "near-duplicates", version: 1 }
    }

    fn survey(&self) -> Option<&dyn Survey> {
        Some(self)
    }

    fn keyed(&self) -> Keyed {
        // What was found decides, and the survey's digest is among the inputs.
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let span = [place(unit.index, 0), place(unit.index, u64::from(u32::MAX))];
        let shards = unit.inputs.survey.into_iter().flat_map(|survey| survey.shards());
        let shards = shards.filter(|shard| shard.overlaps(&span[0], &span[1]));
        let mut members = shards.flat_map(|shard| shard.all_rows::<Member>()).peekable();
        let mut writer = ShardWriter::beside(out, unit.index)?;
        unit.said("measure", context, |window| {
            let mut rows = Vec::with_capacity(window.rows.len());
            for (row, Said { id, .. }) in window.range.zip(window.rows) {
                let here = place(unit.index, row);
                // What comes before belongs to other units.
                while members.next_if(|member| member.as_ref().is_ok_and(|member| member.place < here)).is_some() {}
                let own = members.next_if(|member| member.as_ref().map_or(true, |member| member.place == here));
                rows.push(match own.transpose()? {
                    None => Near { id, cluster: None, neighbour: None, similarity: None, cluster_size: 1 },
                    Some(Member { cluster, neighbour, similarity, cluster_size, .. }) => Near {
                        id,
                        cluster: Some(cluster),
                        neighbour: Some(neighbour),
                        similarity: Some(similarity),
                        cluster_size,
                    },
                });
            }
            Ok(writer.extend(rows)?)
        })?;
        Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |Near { id, cluster, .. }: Near| {
            Decided::among(id, cluster.and_then(|cluster| u128::from_str_radix(&cluster, 16).ok()))
        })
    }

    fn contest(&self, seed: u64) -> Option<Box<dyn Contest>> {
        Some(Box::new(BestOf::new(self.max_copies, &self.prefer, seed, "near-duplicate")))
    }
}

impl Survey for NearDuplicatesConfig {
    fn stage(&self) -> Stage {
        Stage { name: "near-duplicates-survey", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        let found = |config: &NearDuplicatesConfig| {
            let NearDuplicatesConfig { max_copies, prefer, .. } = NearDuplicatesConfig::default();
            NearDuplicatesConfig { max_copies, prefer, ..config.clone() }
        };
        Keyed::of(&found(self), &NearDuplicatesConfig::default())
    }

    fn look(&self, inputs: &Inputs<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        survey::look(&self.near(), inputs, context, out)
    }
}

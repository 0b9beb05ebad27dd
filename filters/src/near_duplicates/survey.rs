//! The first pass over everything: all rows in, those that are nearly the same as another out, in order, with their
//! neighbours' ids.
//!
//! The engine knows rows by their places. Ids come by two sorts beyond memory: members by their neighbour's place, beside
//! which the tables' ids are read once, and then by their own.

use crate::{
    FilterError, Inputs, Unit,
    near::{Corpus, NearConfig, NearError, Phase, Place, near_duplicates},
    unit::{Asked, Of, Said},
};
use distill_dataset::{Context, ShardWriter, Sorter, Tally, write_whole};
use serde::{Deserialize, Serialize};
use std::{ops::ControlFlow, path::Path};

/// A row of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    /// Where it is, as text of the same order.
    pub(super) place: String,
    /// The place of its cluster's first row.
    pub(super) cluster: String,
    /// The row most like it: its place, then its id.
    pub(super) neighbour: String,
    pub(super) similarity: f32,
    pub(super) cluster_size: u32,
}

/// The column that names a row.
#[derive(Serialize, Deserialize)]
struct Named {
    id: String,
}

/// A row's place as text: unit and row, eight hex digits each.
pub(super) fn place(unit: usize, row: u64) -> String {
    format!("{unit:08x}{row:08x}")
}

/// What the progress calls a phase.
fn task(phase: Phase) -> &'static str {
    match phase {
        Phase::Sign => "sign",
        Phase::Copies => "copies",
        Phase::Candidates => "candidates",
        Phase::Pairs => "pairs",
        Phase::Sets => "sets",
        Phase::Compare => "compare",
    }
}

/// Roughly the bytes of a [`Member`] as it is sorted.
const MEMBER_BYTES: usize = 160;

pub(super) fn look(
    config: &NearConfig,
    inputs: &Inputs<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let units = inputs.units().into_iter().filter(|unit| inputs.looks_at(unit.source)).collect();
    let corpus = Texts { units, context };
    let ceiling = (config.memory / 6) as usize;
    let sorter = |name: &str, key| Sorter::new(&context.scratch.join(name), key).with_ceiling(ceiling);
    let mut by_neighbour = sorter("by-neighbour", |member: &Member| &member.neighbour);
    let mut begun = None;
    let found = near_duplicates(
        &corpus,
        config,
        &context.scratch.join("near"),
        |phase, done, total| {
            if begun != Some(phase) {
                context.progress.begin(task(phase), total, "steps");
                begun = Some(phase);
            }
            context.progress.advance(done, "");
            Ok(context.cancel.check()?)
        },
        |found| {
            let member = Member {
                place: corpus.place(found.place),
                cluster: corpus.place(found.representative),
                neighbour: corpus.place(found.neighbour),
                similarity: found.similarity,
                cluster_size: found.cluster_size,
            };
            Ok(by_neighbour.push(member, MEMBER_BYTES)?)
        },
    );
    let tally = found.map_err(|error| match error {
        NearError::Caller(error) => error,
        NearError::Fault(fault) => FilterError::Near(fault),
    })?;
    let mut ids = ids(&corpus.units);
    let mut here: Option<(String, String)> = None;
    let mut by_place = sorter("by-place", |member: &Member| &member.place);
    by_neighbour.finish::<FilterError>(|mut member| {
        while here.as_ref().is_none_or(|(place, _)| *place < member.neighbour) {
            match ids.next().transpose()? {
                Some(next) => here = Some(next),
                None => break,
            }
        }
        if let Some((_, id)) = here.as_ref().filter(|(place, _)| *place == member.neighbour) {
            member.neighbour.clone_from(id);
        }
        Ok(by_place.push(member, MEMBER_BYTES)?)
    })?;
    let mut writer = ShardWriter::new(out)?.sorted_by(|member: &Member| &member.place);
    by_place.finish::<FilterError>(|member| Ok(writer.push(member)?))?;
    context.progress.end();
    let counts = serde_json::json!({
        "texts": tally.texts, "bytes": tally.bytes, "clusters": tally.clusters, "duplicates": tally.duplicates,
        "candidate_pairs": tally.candidate_pairs, "near_pairs": tally.near_pairs, "buckets": tally.buckets,
        "bounded_buckets": tally.bounded_buckets,
    });
    write_whole(&out.join("survey.json"), format!("{counts:#}\n").as_bytes())?;
    Ok(Tally { rows_in: tally.texts, rows_out: writer.finish()?, ..Tally::default() })
}

/// Every row's place and id, in order.
fn ids(units: &[Unit<'_>]) -> impl Iterator<Item = Result<(String, String), FilterError>> {
    let tables: Vec<_> = units.iter().map(|unit| (unit.index, unit.rows.clone())).collect();
    tables.into_iter().flat_map(|(index, shard)| {
        let rows = (0_u64..).zip(shard.all_rows::<Named>());
        rows.map(move |(row, named)| Ok((place(index, row), named?.id)))
    })
}

/// The texts of the units that are looked at.
struct Texts<'a> {
    units: Vec<Unit<'a>>,
    context: &'a Context,
}

impl Texts<'_> {
    /// The engine's place of a row, as that among all units.
    fn place(&self, place: Place) -> String {
        let unit = self.units.get(place.unit as usize).map_or(usize::MAX, |unit| unit.index);
        self::place(unit, u64::from(place.row))
    }
}

impl Corpus for Texts<'_> {
    type Error = FilterError;

    fn num_units(&self) -> u32 {
        self.units.len() as u32
    }

    fn read(&self, unit: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), FilterError> {
        let Some(unit) = self.units.get(unit as usize) else { return Ok(()) };
        for range in unit.rows.ranges()? {
            self.context.cancel.check()?;
            let rows: Vec<Said> = match unit.inputs.of {
                Of::Traces => unit.rows.rows_in(range.clone())?,
                Of::Problems => unit.rows.rows_in::<Asked>(range.clone())?.into_iter().map(Said::from).collect(),
            };
            for (row, said) in range.zip(rows) {
                // Shards have fewer rows than that.
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                if each(row, &said.turn()).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

//! Near duplicates of a file: its rows are read where they lie, once to be signed, again where they are compared, and once more
//! to be written. Nothing of them is copied into the store but which are alike.

use super::{Task, write::Writer};
use crate::session::{Session, Work};
use anyhow::{Context as _, Result};
use distill_data_gen::{Texts, place_id};
use distill_dataset::{Cancel, Context, Dataset, Outcome, ShardWriter, Stage, Tally};
use distill_filters::{
    Candidate, Filter, NearDuplicatesConfig,
    near::{Corpus, NearConfig, NearError, Place, near_duplicates},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{ops::ControlFlow, path::Path};

/// The kind of filter that is asked for.
pub(super) const KIND: &str = "near-duplicates";

/// The stage that finds which rows are alike.
const NEAR_ROWS: Stage = Stage { name: "near-rows", version: 1 };

/// A row that others are like; rows are places in the file, from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    row: u64,
    /// The first of its cluster.
    cluster: u64,
    /// The row most like it.
    neighbour: u64,
    similarity: f32,
    cluster_size: u32,
}

/// Finds them, and hands those that go to the writer, with every row that cannot be read.
pub(super) fn filter(
    task: &Task,
    config: &NearDuplicatesConfig,
    session: &mut Session,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let (path, format, columns) = task.source()?;
    let texts = Texts::open(columns, (path, format))?;
    let found = Filter::survey(config).map(|survey| survey.keyed()).unwrap_or_default();
    let spec = task.spec(session, NEAR_ROWS, found)?;
    let near = config.near();
    let members = session.stage(spec, |_| Ok(Work::gather(|context, out| find(&texts, &near, context, out))))?;
    decide(&texts, config, (members.ready()?, task.recipe.seed), &session.cancel, writer)
}

fn find(texts: &Texts, config: &NearConfig, context: &Context, out: &Path) -> Result<Tally> {
    let corpus = Rows { texts, cancel: &context.cancel };
    let mut writer = ShardWriter::new(out)?;
    let mut begun = None;
    let found = near_duplicates(
        &corpus,
        config,
        &context.scratch.join("near"),
        |phase, done, total| {
            if begun != Some(phase) {
                context.progress.begin(&format!("{phase:?}").to_lowercase(), total, "steps");
                begun = Some(phase);
            }
            context.progress.advance(done, "");
            Ok(context.cancel.check()?)
        },
        |found| {
            let [row, cluster, neighbour] =
                [found.place, found.representative, found.neighbour].map(|at| corpus.row(at));
            let (similarity, cluster_size) = (found.similarity, found.cluster_size);
            Ok(writer.push(Member { row, cluster, neighbour, similarity, cluster_size })?)
        },
    );
    context.progress.end();
    let tally = found.map_err(|error| match error {
        NearError::Caller(error) => error,
        NearError::Fault(fault) => fault.into(),
    })?;
    Ok(Tally { rows_in: tally.texts, rows_out: writer.finish()?, ..Tally::default() })
}

/// Which rows of each cluster stay, by the filter's own contest.
fn decide(
    texts: &Texts,
    config: &NearDuplicatesConfig,
    (table, seed): (&Dataset, u64),
    cancel: &Cancel,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let mut contest = config.contest(seed).context("near duplicates are decided among rows")?;
    let mut members = table.rows::<Member>();
    let mut member = members.next().transpose()?;
    for part in 0..texts.num_parts() {
        cancel.check()?;
        texts.read::<anyhow::Error>(part, &mut |row, rows, text| {
            let text = match text {
                Ok(text) => text,
                Err(unreadable) => {
                    writer.unreadable((row, rows), unreadable.reason)?;
                    return Ok(ControlFlow::Continue(()));
                }
            };
            writer.count(1);
            if let Some(found) = member.take_if(|member| member.row == row) {
                let id = place_id(row);
                contest.add(&Candidate {
                    place: row,
                    id: &id,
                    problem_id: &id,
                    source: 0,
                    length: u32::try_from(text.chars().count()).unwrap_or(u32::MAX),
                    verdict: Outcome::NotRun,
                    reaches: true,
                    group: Some(u128::from(found.cluster)),
                    sample: &[],
                });
                member = members.next().transpose()?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let dropped = contest.close()?;
    for member in table.rows::<Member>() {
        let Member { row, cluster, neighbour, similarity, cluster_size } = member?;
        let Some(reason) = dropped.reason(row) else { continue };
        let evidence = json!({
            "cluster": { "row": cluster }, "neighbour": { "row": neighbour }, "similarity": similarity,
            "cluster_size": cluster_size,
        });
        let evidence: Map<String, Value> = evidence.as_object().cloned().unwrap_or_default();
        writer.dropped(row, (KIND, reason), evidence)?;
    }
    Ok(())
}

/// The rows of a file as the search reads them.
struct Rows<'a> {
    texts: &'a Texts,
    cancel: &'a Cancel,
}

impl Rows<'_> {
    /// The row of the file at a place.
    fn row(&self, place: Place) -> u64 {
        self.texts.first(place.unit as usize) + u64::from(place.row)
    }
}

impl Corpus for Rows<'_> {
    type Error = anyhow::Error;

    fn num_units(&self) -> u32 {
        self.texts.num_parts() as u32
    }

    fn read(&self, unit: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<()> {
        self.cancel.check()?;
        let first = self.texts.first(unit as usize);
        self.texts.read(unit as usize, &mut |row, _, text| Ok(handed(row - first, text.ok(), each)))
    }

    fn read_rows(&self, unit: u32, rows: &[u32], each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<()> {
        self.cancel.check()?;
        let first = self.texts.first(unit as usize);
        let mut places = rows.iter().map(|row| first + u64::from(*row));
        self.texts.read_some(unit as usize, &mut places, &mut |row, _, text| Ok(handed(row - first, text.ok(), each)))
    }
}

/// Hands on a text, where there is one. Of one part, more rows than a number of 32 bits counts end the search.
fn handed(row: u64, text: Option<String>, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> ControlFlow<()> {
    match text {
        Some(text) => each(u32::try_from(row).unwrap_or(u32::MAX), &text),
        None => ControlFlow::Continue(()),
    }
}

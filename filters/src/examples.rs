//! Kept traces → examples: the problem's messages, with the system prompt that the teacher was given, and the whole turn,
//! tags included.

use crate::{
    FilterError, ShapingConfig, Unit,
    unit::{Asked, Said, beside, problem_of, shard_of},
};
use distill_dataset::{Context, Dataset, Decision, Detail, Example, Message, ShardWriter, Stage, Tally, with_system};
use rayon::prelude::*;
use std::path::Path;

/// The stage of [`examples`].
pub const EXAMPLES: Stage = Stage { name: "examples", version: 2 };

/// Writes one example for each kept trace of a unit, in the order of the traces, shaped as asked.
///
/// # Errors
/// When a table cannot be read or written, or the tables do not belong together.
pub fn examples(
    shaping: &ShapingConfig,
    decisions: &Dataset,
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let [mut shaped, mut before, mut after] = [0, 0, 0];
    let decisions = shard_of(decisions, unit)?;
    let mut problems = unit.problems::<Asked>();
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.windows("examples", context, |window| {
        let rows: Vec<Said> = window.rows;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let problems = problems.advance(&first.problem_id, &last.problem_id)?;
        let ids: Vec<&str> = rows.iter().map(|said| said.id.as_str()).collect();
        let decisions = beside(&decisions, window.range, |row: &Decision| &row.trace_id, &ids, "its decision")?;
        let kept: Vec<&Said> =
            rows.iter().zip(&decisions).filter(|(_, decision)| decision.kept).map(|(said, _)| said).collect();
        let turns: Vec<(String, Option<String>)> = kept
            .par_iter()
            .map(|said| {
                let turn = said.turn();
                let shaped = shaping.shaped(&said.format, &turn);
                (turn, shaped)
            })
            .collect();
        let examples = kept.iter().zip(turns).map(|(said, (turn, cut))| {
            let problem = problem_of(problems, &said.id, &said.problem_id)?;
            let mut messages = with_system(&problem.messages, said.system.as_deref());
            before += turn.len() as u64;
            shaped += u64::from(cut.is_some());
            let turn = cut.unwrap_or(turn);
            after += turn.len() as u64;
            messages.push(Message::assistant(turn));
            let (trace_id, problem_id) = (said.id.clone(), said.problem_id.clone());
            Ok(Example { trace_id, problem_id, messages, weight: 1.0 })
        });
        Ok(writer.extend(examples.collect::<Result<_, FilterError>>()?)?)
    })?;
    let detail = match *shaping == ShapingConfig::default() {
        true => Detail::None,
        false => Detail::Shaped { shaped, bytes_before: before, bytes_after: after },
    };
    Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, detail, ..Tally::default() })
}

//! Kept traces → examples: the problem's messages, with the system prompt that the teacher was given, and the whole turn,
//! tags included.

use crate::{
    FilterError, Unit,
    unit::{Asked, Said, beside, problem_of, shard_of},
};
use distill_dataset::{Context, Dataset, Decision, Example, Message, ShardWriter, Stage, Tally, with_system};
use std::path::Path;

/// The stage of [`examples`].
pub const EXAMPLES: Stage = Stage { name: "examples", version: 2 };

/// Writes one example for each kept trace of a unit, in the order of the traces.
///
/// # Errors
/// When a table cannot be read or written, or the tables do not belong together.
pub fn examples(decisions: &Dataset, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
    let decisions = shard_of(decisions, unit)?;
    let mut problems = unit.problems::<Asked>();
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.windows("examples", context, |window| {
        let rows: Vec<Said> = window.rows;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let problems = problems.advance(&first.problem_id, &last.problem_id)?;
        let ids: Vec<&str> = rows.iter().map(|said| said.id.as_str()).collect();
        let decisions = beside(&decisions, window.range, |row: &Decision| &row.trace_id, &ids, "its decision")?;
        let kept = rows.iter().zip(&decisions).filter(|(_, decision)| decision.kept);
        let examples = kept.map(|(said, _)| {
            let problem = problem_of(problems, &said.id, &said.problem_id)?;
            let mut messages = with_system(&problem.messages, said.system.as_deref());
            messages.push(Message::assistant(said.turn()));
            let (trace_id, problem_id) = (said.id.clone(), said.problem_id.clone());
            Ok(Example { trace_id, problem_id, messages, weight: 1.0 })
        });
        Ok(writer.extend(examples.collect::<Result<_, FilterError>>()?)?)
    })?;
    Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
}

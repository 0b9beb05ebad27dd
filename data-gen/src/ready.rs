//! Traces that exist already: a file's rows in, its ready traces out, sorted by their problem's id ([`read_ready`]); of these
//! the ones that answer training problems, shard by shard ([`write_ready`]). Nobody is asked and nothing is bought.
//!
//! A trace's text is exactly what was written. What nobody knows of it stays unknown: its tokens, what the sampler was asked,
//! why it ended, unless the file says so. A row that says another row's question in another spelling adds its traces to that
//! row's problem, where the source keeps one of both ([`Copies`]).

use crate::{
    Copies, FileConfig, FileFormat, ProblemsError, SamplingError,
    files::{self, Rejected, Response},
    rejections::Rejections,
    sampling::TraceWriter,
};
use distill_dataset::{
    Cancel, Context, Cut, Dataset, Digest, SamplingParams, Segment, Shard, ShardWriter, Sorter, Split, Stage, Tally,
    Trace, Unreadable, trace_id,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// The stage of [`read_ready`].
pub const READY: Stage = Stage { name: "ready-traces", version: 2 };

/// Bytes of a shard: the traces of a shard of problems lie in few of them.
const SHARD_BYTES: usize = 64 << 20;

/// Whose traces they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReadyConfig {
    /// Who wrote them, as far as the recipe knows and the file does not say: a column `teacher` comes first. Without either they
    /// are the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl ReadyConfig {
    /// What a report calls whoever wrote them.
    pub fn named(&self, path: &Path) -> String {
        self.name.clone().unwrap_or_else(|| files::file_name(path))
    }
}

/// Reads the ready traces of a file. Rows and traces that are none go into `rejected.jsonl` with their place and reason.
///
/// # Errors
/// When the file cannot be read or has no trace, or the disk refuses.
pub fn read_ready(
    config: &FileConfig,
    (path, format): (&Path, FileFormat),
    (name, copies): (&str, Copies),
    context: &Context,
    out: &Path,
) -> Result<Tally, ProblemsError> {
    let mut tally = Tally::default();
    let mut rejections = Rejections::new(out);
    let ids = ids(config, (path, format), copies, context)?;
    let mut sorter = Sorter::new(&context.scratch.join("sort"), |trace: &Trace| &trace.id);
    context.progress.begin("read", 0, "ready traces");
    files::read_placed(config, path, format, &mut |file, line, row| {
        let read = match row {
            Ok(read) => read,
            Err(row) => {
                tally.rows_in += row.rows;
                return Ok(rejections.write(&row)?);
            }
        };
        let id = ids.get(&copies.key(&read.problem)).copied().unwrap_or_default();
        let id = format!("{id:032x}");
        let said = said(&read.responses);
        for (index, response) in read.responses.into_iter().enumerate() {
            tally.rows_in += 1;
            if tally.rows_in.is_multiple_of(1024) {
                context.cancel.check()?;
                context.progress.advance(tally.rows_in, "");
            }
            match response {
                Ok(response) => {
                    let bytes = response.text.len() + 512;
                    let trace = trace(&id, response, name);
                    sorter.push(Trace { id: format!("{id}{said}{index:08x}"), ..trace }, bytes)?;
                }
                Err(Unreadable { reason, detail }) => {
                    let file = files::file_name(file);
                    rejections.write(&Rejected { file, line, rows: 1, reason: reason.to_owned(), detail })?;
                }
            }
        }
        Ok(())
    })?;
    context.progress.end();
    let cut = Cut { shard_bytes: SHARD_BYTES, ..Cut::default() };
    let mut writer = ShardWriter::cut(out, "part", cut)?.sorted_by(|trace: &Trace| &trace.problem_id);
    let mut last = (String::new(), 0);
    sorter.finish::<ProblemsError>(|mut trace| {
        last = if last.0 == trace.problem_id { (last.0.clone(), last.1 + 1) } else { (trace.problem_id.clone(), 0) };
        trace.sample_index = last.1;
        let text = Digest::new("ready").field(&trace.text).finish();
        let known = BTreeMap::from([("teacher".to_owned(), trace.teacher.clone()), ("text".to_owned(), text)]);
        trace.id = trace_id(&trace.problem_id, &known, trace.sample_index);
        Ok(writer.push(trace)?)
    })?;
    tally.rows_out = writer.finish()?;
    tally.rejected = rejections.finish()?;
    if tally.rows_out == 0 {
        let (path, rows, rejected) = (path.to_owned(), tally.rows_in, tally.rejected);
        return Err(ProblemsError::Nothing { path, wanted: "ready traces", rows, rejected });
    }
    Ok(tally)
}

/// Each problem's id by what its spellings share: of these the source keeps the least. Read before the traces, so that the order
/// of files decides nothing.
fn ids(
    config: &FileConfig,
    (path, format): (&Path, FileFormat),
    copies: Copies,
    context: &Context,
) -> Result<HashMap<[u8; 16], u128>, ProblemsError> {
    let (mut ids, mut rows) = (HashMap::new(), 0_u64);
    context.progress.begin("read", 0, "problems");
    files::read_placed(config, path, format, &mut |_, _, row| {
        rows += 1;
        if rows.is_multiple_of(1024) {
            context.cancel.check()?;
            context.progress.advance(rows, "");
        }
        if let Ok(read) = row {
            // An id is 32 hex digits.
            let id = u128::from_str_radix(&read.problem.id, 16).unwrap_or_default();
            ids.entry(copies.key(&read.problem)).and_modify(|least: &mut u128| *least = id.min(*least)).or_insert(id);
        }
        Ok(())
    })?;
    context.progress.end();
    Ok(ids)
}

/// What a row's responses say, in digits: rows that answer one problem come in this order, wherever their files lie.
fn said(responses: &[Result<Response, Unreadable>]) -> String {
    let mut digest = Digest::new("said");
    for response in responses.iter().flatten() {
        digest.field(&response.text);
        for name in [&response.teacher, &response.finish_name] {
            digest.field(name.as_deref().unwrap_or_default());
        }
        for claim in &response.claims {
            digest.field(&claim.name).field(&claim.says);
        }
    }
    digest.finish_short()
}

/// A trace that has no index yet.
fn trace(problem_id: &str, response: Response, name: &str) -> Trace {
    let Response { text, format, finish_reason, finish_name, teacher, claims } = response;
    let num_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Trace {
        id: String::new(),
        problem_id: problem_id.to_owned(),
        sample_index: 0,
        format,
        text,
        finish_reason,
        segments: vec![Segment { num_bytes, num_tokens: 0, finish_reason }],
        response_model: teacher.clone().unwrap_or_default(),
        teacher: teacher.unwrap_or_else(|| name.to_owned()),
        template_hash: String::new(),
        sampling: SamplingParams { temperature: 0.0, top_p: 1.0, max_new_tokens: 0, log_probabilities: None },
        seed: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        token_ids: None,
        cost_usd: 0.0,
        finish_name,
        system: None,
        claims: (!claims.is_empty()).then_some(claims),
    }
}

/// The columns of a problem that say whether it is trained on.
#[derive(Serialize, Deserialize)]
struct Part {
    id: String,
    split: Split,
}

/// Writes the ready traces of the training problems in unit `unit` into `out`. Those of other problems are counted: between two
/// units every ready trace is in one of them.
///
/// # Errors
/// When a table cannot be read, the disk refuses, or a stop was asked for.
pub fn write_ready(
    (problems, unit): (&[Shard], usize),
    (ready, name): (&Dataset, &str),
    cancel: &Cancel,
    out: &Path,
) -> Result<Tally, SamplingError> {
    let start = |shard: &Shard| shard.span().map(|[first, _]| first.to_owned());
    let from = if unit == 0 { String::new() } else { start(&problems[unit]).unwrap_or_default() };
    let until = problems.get(unit + 1).and_then(start);
    let is_before_end = |id: &str| until.as_deref().is_none_or(|until| id < until);
    let mut parts = problems[unit].all_rows::<Part>().peekable();
    let mut writer = TraceWriter::new(name, unit, out)?;
    let shards = ready.shards().filter(|shard| match shard.span() {
        Some([first, last]) => last >= from.as_str() && is_before_end(first),
        None => true,
    });
    for trace in shards.flat_map(|shard| shard.all_rows::<Trace>()) {
        let trace = trace?;
        if trace.problem_id.as_str() < from.as_str() {
            continue;
        }
        if !is_before_end(&trace.problem_id) {
            break;
        }
        cancel.check()?;
        while parts.next_if(|part| part.as_ref().is_ok_and(|part| part.id < trace.problem_id)).is_some() {}
        match parts.peek() {
            Some(Ok(part)) if part.id != trace.problem_id => writer.reject("no-problem"),
            Some(Ok(part)) if part.split == Split::Holdout => writer.reject("held-out"),
            Some(Ok(_)) => writer.push(trace)?,
            Some(Err(_)) => drop(parts.next().transpose()?),
            None => writer.reject("no-problem"),
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests;

//! Decisions and the file in, the rows that stay out, as they were; the others with their reasons beside them.

use super::Task;
use anyhow::{Context, Result, ensure};
use distill_data_gen::{PlacedRow, ProblemsConfig, ProblemsError, placed_rows};
use distill_dataset::{Dataset, DatasetError, Decision, Detail, Outcome, copy_rows, create_fresh};
use distill_filters::FilterConfig;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    io::{BufWriter, Write},
};

/// What became of a text. With its id 48 bytes a text and what a map adds.
struct Fate {
    kept: bool,
    /// Who dropped it and why, by place in a list.
    why: usize,
    /// The first row that says it, from 1; 0 while none was met.
    row: u64,
}

/// How many rows there were, and what became of them.
#[derive(Default)]
pub(super) struct Counts {
    rows: u64,
    kept: u64,
    /// By filter and reason.
    dropped: BTreeMap<String, u64>,
    /// Kept rows of which a filter tells something, by filter and what it tells.
    noted: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn told(&self, task: &Task) -> String {
        let mut text = format!("{:>9} rows of {}\n", self.rows, task.file.display());
        for (reason, count) in &self.dropped {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{count:>9} dropped  {reason}");
        }
        for (note, count) in &self.noted {
            let _ = writeln!(text, "{count:>9} noted    {note}, kept");
        }
        let _ = writeln!(text, "{:>9} kept     {}", self.kept, task.out.display());
        let _ = writeln!(text, "{:>9} why      {}", "", task.dropped.display());
        text
    }

    pub(super) fn as_json(&self, task: &Task) -> String {
        let (out, dropped) = (task.out.display().to_string(), task.dropped.display().to_string());
        let counts = json!({
            "rows": self.rows, "kept": self.kept, "dropped": self.dropped, "noted": self.noted, "out": out,
            "dropped_rows": dropped,
        });
        format!("{counts}\n")
    }
}

/// What was decided, and what each filter measured, by its place among the filters.
pub(super) struct Grounds<'a> {
    pub(super) decisions: &'a Dataset,
    pub(super) tables: Vec<(usize, Dataset)>,
}

/// Writes both files under temporary names and renames them, the kept rows last.
pub(super) fn write(task: &Task, source: &ProblemsConfig, grounds: &Grounds<'_>) -> Result<Counts> {
    let ProblemsConfig::File { path, format, config } = source else { anyhow::bail!("expected a file") };
    let (mut fates, mut reasons) = (HashMap::new(), Vec::new());
    let drops_copies = task.drops_copies();
    for decision in grounds.decisions.rows::<Decision>() {
        let decision = decision?;
        let why = (decision.dropped_by, decision.reason);
        let known = reasons.iter().position(|known| *known == why);
        let place = known.unwrap_or(reasons.len());
        reasons.extend(known.is_none().then_some(why));
        fates.insert(key(&decision.trace_id)?, Fate { kept: decision.kept, why: place, row: 0 });
    }
    let [kept, dropped] = ["kept.part", "dropped.part"].map(|name| task.work.join(name));
    if kept.exists() {
        // Of a run that was killed.
        fs::remove_file(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
    }
    let mut counts = Counts::default();
    let mut told = BufWriter::new(create_fresh(&dropped).map_err(DatasetError::io("create", &dropped))?);
    let mut wanted: Vec<u64> = Vec::new();
    let mut failed = None;
    let changed = || {
        let message = "expected the rows that were filtered, found others: the file changed meanwhile".to_owned();
        ProblemsError::Dataset(DatasetError::Foreign { path: path.clone(), message })
    };
    placed_rows(config, path, *format, &mut |PlacedRow { line, row, .. }| {
        counts.rows += 1;
        let why = match row {
            Err(reason) => json!({ "row": line, "by": "reading", "reason": reason }),
            Ok(id) => {
                let fate = key(&id).ok().and_then(|id| fates.get_mut(&id));
                let Some(fate) = fate else { return Err(changed()) };
                match (fate.row, fate.kept) {
                    (0, kept) => {
                        fate.row = line;
                        wanted.extend(kept.then_some(line));
                        return Ok(());
                    }
                    (of_row, _) if drops_copies => {
                        json!({ "row": line, "by": "reading", "reason": "duplicate", "of_row": of_row })
                    }
                    (_, true) => {
                        wanted.push(line);
                        return Ok(());
                    }
                    (of_row, false) => {
                        let (by, reason) = &reasons[fate.why];
                        json!({ "row": line, "by": by, "reason": reason, "of_row": of_row })
                    }
                }
            }
        };
        if let Err(error) = tell(&mut told, &why, &mut counts) {
            failed = Some(error);
            return Err(ProblemsError::Dataset(DatasetError::io("write", &dropped)(std::io::Error::other("refused"))));
        }
        Ok(())
    })
    .map_err(|error| failed.take().unwrap_or_else(|| error.into()))?;
    explain(task, grounds, &fates, &mut told, &mut counts)?;
    let file = told.into_inner().map_err(|error| error.into_error()).context("cannot write the dropped rows")?;
    file.sync_all().with_context(|| format!("cannot write {}", dropped.display()))?;
    let mut wanted = wanted.iter().peekable();
    counts.kept = copy_rows(path, *format, &kept, |row| wanted.next_if(|wanted| **wanted == row).is_some())?;
    ensure!(counts.kept > 0, "every row is dropped\nhint: {} says why", dropped.display());
    for (from, to) in [(&dropped, &task.dropped), (&kept, &task.out)] {
        fs::rename(from, to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(counts)
}

/// Ids are 32 hex digits.
fn key(id: &str) -> Result<u128> {
    u128::from_str_radix(id, 16).with_context(|| format!("expected an id of 32 hex digits, found {id:?}"))
}

fn tell(told: &mut impl Write, why: &Value, counts: &mut Counts) -> Result<()> {
    let word = |name| why.get(name).and_then(Value::as_str).unwrap_or_default();
    match word("note") {
        "" => *counts.dropped.entry(format!("{}: {}", word("by"), word("reason"))).or_default() += 1,
        note => *counts.noted.entry(format!("{}: {note}", word("by"))).or_default() += 1,
    }
    serde_json::to_writer(&mut *told, why)?;
    Ok(told.write_all(b"\n")?)
}

/// Every row that a filter dropped, with what the filter measured; and those that it kept with something to tell.
fn explain(
    task: &Task,
    grounds: &Grounds<'_>,
    fates: &HashMap<u128, Fate>,
    told: &mut impl Write,
    counts: &mut Counts,
) -> Result<()> {
    let filters = &task.recipe.problem_filters;
    let noted = noted(filters, grounds)?;
    let mut tables: Vec<_> = grounds.tables.iter().map(|(index, table)| (*index, table.objects())).collect();
    for decision in grounds.decisions.rows::<Decision>() {
        let decision = decision?;
        let mut evidence = Map::new();
        let note = noted.get(&decision.trace_id).filter(|_| decision.kept);
        // Who tells something, or who dropped it: the last that looked.
        let last = decision.outcomes.iter().rposition(|outcome| *outcome != Outcome::NotRun);
        let by = note.map(|(index, _)| *index).or(last);
        for (index, table) in &mut tables {
            let measure = table.next().transpose()?;
            let measure = measure.with_context(|| format!("filter {index} has no row for {}", decision.trace_id))?;
            if by == Some(*index) {
                evidence = measure;
            }
        }
        if decision.kept && note.is_none() {
            continue;
        }
        evidence.retain(|name, value| name != "id" && !value.is_null());
        let row = fates.get(&key(&decision.trace_id)?).map_or(0, |fate| fate.row);
        let near = evidence.get("neighbour").and_then(Value::as_str).and_then(|id| fates.get(&key(id).ok()?));
        if let Some(neighbour) = near {
            evidence.insert("neighbour".to_owned(), json!({ "row": neighbour.row }));
        }
        let why = match note {
            Some((index, note)) => {
                json!({ "row": row, "by": filters[*index].kind(), "note": note, "evidence": evidence })
            }
            None => json!({ "row": row, "by": decision.dropped_by, "reason": decision.reason, "evidence": evidence }),
        };
        tell(told, &why, counts)?;
    }
    Ok(())
}

/// The rows of which a filter tells something though it lets them by: by id, the filter's place and what it tells.
fn noted(filters: &[FilterConfig], grounds: &Grounds<'_>) -> Result<HashMap<String, (usize, &'static str)>> {
    let Detail::Selection { funnel, .. } = &grounds.decisions.manifest.tally.detail else { return Ok(HashMap::new()) };
    let mut noted = HashMap::new();
    for (index, table) in &grounds.tables {
        let tells = funnel.steps.get(*index).is_some_and(|step| !step.noted.is_empty());
        let Some(filter) = filters.get(*index).and_then(FilterConfig::filter).filter(|_| tells) else { continue };
        for shard in table.shards() {
            for range in shard.ranges()? {
                let decided = filter.decide(&shard, range)?.into_iter();
                noted.extend(decided.filter_map(|decided| Some((decided.id, (*index, decided.note?)))));
            }
        }
    }
    Ok(noted)
}

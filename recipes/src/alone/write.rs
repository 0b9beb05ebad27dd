//! What was decided and the file in, the rows that stay out, as they were; the others with their reasons beside them.

use super::Task;
use anyhow::{Context, Result, ensure};
use distill_data_gen::place_of;
use distill_dataset::{Dataset, DatasetError, Decision, Detail, Outcome, copy_rows, create_fresh, open_regular};
use distill_filters::FilterConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, ErrorKind, Write},
    ops::Range,
    path::PathBuf,
};

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
        let mut text = format!("{:>9} rows of {}, by their `{}`\n", self.rows, task.file.display(), task.column);
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
            "rows": self.rows, "column": task.column, "kept": self.kept, "dropped": self.dropped, "noted": self.noted, "out": out, "dropped_rows": dropped,
        });
        format!("{counts}\n")
    }
}

/// What was decided, and what each filter measured, by its place among the filters.
pub(super) struct Grounds<'a> {
    pub(super) decisions: &'a Dataset,
    pub(super) tables: Vec<(usize, Dataset)>,
}

/// A row of `rejected.jsonl`, as far as it matters here.
#[derive(Deserialize)]
struct Rejected {
    line: u64,
    #[serde(default = "one")]
    rows: u64,
    reason: String,
}

fn one() -> u64 {
    1
}

/// Writes both files: first why rows go, each at once, then those that stay.
pub(super) struct Writer<'t> {
    task: &'t Task,
    counts: Counts,
    told: BufWriter<File>,
    part: PathBuf,
    gone: Gone,
}

impl<'t> Writer<'t> {
    pub(super) fn new(task: &'t Task) -> Result<Writer<'t>> {
        fs::create_dir_all(&task.work).with_context(|| format!("cannot create {}", task.work.display()))?;
        let part = task.work.join("dropped.part");
        let told = BufWriter::new(create_fresh(&part).map_err(DatasetError::io("create", &part))?);
        Ok(Writer { task, counts: Counts::default(), told, part, gone: Gone::default() })
    }

    /// Counts rows of the file.
    pub(super) fn count(&mut self, rows: u64) {
        self.counts.rows = self.counts.rows.saturating_add(rows);
    }

    /// Rows from a place on that hold no text.
    pub(super) fn unreadable(&mut self, (row, rows): (u64, u64), reason: &str) -> Result<()> {
        self.count(rows);
        self.lost((row, rows), reason)
    }

    fn lost(&mut self, (row, rows): (u64, u64), reason: &str) -> Result<()> {
        self.gone.insert(row..row.saturating_add(rows));
        let mut why = json!({ "row": row, "by": "reading", "reason": reason });
        if let (Some(why), true) = (why.as_object_mut(), rows != 1) {
            why.insert("rows".to_owned(), rows.into());
        }
        self.tell(&why, rows)
    }

    /// A row that a filter drops, and what it measured.
    pub(super) fn dropped(&mut self, row: u64, (by, reason): (&str, &str), evidence: Map<String, Value>) -> Result<()> {
        self.gone.insert(row..row + 1);
        self.tell(&json!({ "row": row, "by": by, "reason": reason, "evidence": evidence }), 1)
    }

    /// The rows that a stage left out.
    pub(super) fn rejected(&mut self, rows: &Dataset) -> Result<()> {
        self.count(rows.manifest.tally.rows_out);
        let path = rows.dir.join("rejected.jsonl");
        let file = match open_regular(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(DatasetError::io("open", &path))?,
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(DatasetError::io("read", &path))?;
            let Rejected { line, rows, reason } =
                serde_json::from_str(&line).with_context(|| format!("cannot understand {}", path.display()))?;
            self.unreadable((line, rows), &reason)?;
        }
        Ok(())
    }

    /// Every row that a filter dropped, with what the filter measured, and those that it kept with something to tell. Ids are
    /// places.
    pub(super) fn decided(&mut self, grounds: &Grounds<'_>) -> Result<()> {
        let filters = &self.task.recipe.problem_filters;
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
                let measure =
                    measure.with_context(|| format!("filter {index} has no row for {}", decision.trace_id))?;
                if by == Some(*index) {
                    evidence = measure;
                }
            }
            if decision.kept && note.is_none() {
                continue;
            }
            evidence.retain(|name, value| name != "id" && !value.is_null());
            if let Some(row) = evidence.get("neighbour").and_then(Value::as_str).and_then(place_of) {
                evidence.insert("neighbour".to_owned(), json!({ "row": row }));
            }
            let id = &decision.trace_id;
            let row = place_of(id).with_context(|| format!("expected a place in the file, found {id:?}"))?;
            match note {
                Some((index, note)) => {
                    let by = filters[*index].kind();
                    self.tell(&json!({ "row": row, "by": by, "note": note, "evidence": evidence }), 1)?;
                }
                None => self.dropped(row, (&decision.dropped_by, &decision.reason), evidence)?,
            }
        }
        Ok(())
    }

    fn tell(&mut self, why: &Value, rows: u64) -> Result<()> {
        let word = |name| why.get(name).and_then(Value::as_str).unwrap_or_default();
        let (counts, says) = match word("note") {
            "" => (&mut self.counts.dropped, word("reason")),
            note => (&mut self.counts.noted, note),
        };
        *counts.entry(format!("{}: {says}", word("by"))).or_default() += rows;
        serde_json::to_writer(&mut self.told, why)?;
        Ok(self.told.write_all(b"\n")?)
    }

    /// Copies the rows that stay, and renames both files, these last. `check` says whether the file is what it was.
    pub(super) fn finish(mut self, check: impl FnOnce() -> Result<()>) -> Result<Counts> {
        let (path, format, _) = self.task.source()?;
        let kept = self.task.work.join("kept.part");
        if kept.exists() {
            // Of a run that was killed.
            fs::remove_file(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
        }
        let gone = std::mem::take(&mut self.gone);
        let copied = copy_rows(path, format, &kept, |row| !gone.contains(row))?;
        for row in copied.lost {
            let reason = row.cells.err().map_or("damaged", |unreadable| unreadable.reason);
            self.lost((row.place, row.rows), reason)?;
        }
        check()?;
        self.counts.kept = copied.rows;
        let Writer { task, counts, told, part, .. } = self;
        let file = told.into_inner().map_err(|error| error.into_error()).context("cannot write the dropped rows")?;
        file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
        ensure!(counts.kept > 0, "every row is dropped\nhint: {} says why", part.display());
        for (from, to) in [(&part, &task.dropped), (&kept, &task.out)] {
            fs::rename(from, to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(counts)
    }
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

/// Rows that go: a bit each, and stretches of many.
#[derive(Default)]
struct Gone {
    bits: Vec<u64>,
    stretches: Vec<Range<u64>>,
}

impl Gone {
    fn insert(&mut self, rows: Range<u64>) {
        if rows.end - rows.start != 1 {
            self.stretches.push(rows);
            return;
        }
        let word = (rows.start / 64) as usize;
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (rows.start % 64);
    }

    fn contains(&self, row: u64) -> bool {
        let bits = self.bits.get((row / 64) as usize).copied().unwrap_or_default();
        bits >> (row % 64) & 1 == 1 || self.stretches.iter().any(|rows| rows.contains(&row))
    }
}

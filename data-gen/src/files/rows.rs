//! The rows of one file as they lie there, for whoever judges a file without a recipe: each is a problem of its own, whose id is
//! its place ([`read_rows`]); or a text, read part by part where the file lies ([`Texts`]).

use super::{Cells, FileConfig, read, read_placed};
use crate::{ProblemsError, rejections::Rejections};
use distill_dataset::{Context, FileFormat, Part, Problem, Rows, ShardWriter, Stage, Tally, Unreadable, parts};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// The stage of [`read_rows`].
pub const ROWS: Stage = Stage { name: "rows", version: 1 };

/// Bytes of lines in a part: a file has 64 parts where they are between these.
const PART_BYTES: (u64, u64) = (4 << 20, 64 << 20);

/// The id of the row at a place, from 1: the order of ids is that of the file.
pub fn place_id(place: u64) -> String {
    format!("{place:032x}")
}

/// The place that an id names.
pub fn place_of(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

/// Writes every row of a file as a problem whose id is its place, in order. Rows that hold none go into `rejected.jsonl`.
///
/// # Errors
/// When the file cannot be read or holds no problem, or the disk refuses.
pub fn read_rows(
    config: &FileConfig,
    (path, format): (&Path, FileFormat),
    context: &Context,
    out: &Path,
) -> Result<Tally, ProblemsError> {
    let (mut tally, mut rejections) = (Tally::default(), Rejections::new(out));
    let mut writer = ShardWriter::new(out)?.sorted_by(|problem: &Problem| &problem.id);
    context.progress.begin("read", 0, "rows");
    read_placed(config, path, format, &mut |_, line, row| {
        tally.rows_in += row.as_ref().map_or_else(|rejected| rejected.rows, |_| 1);
        if tally.rows_in.is_multiple_of(1024) {
            context.cancel.check()?;
            context.progress.advance(tally.rows_in, "");
        }
        match row {
            Ok(read) => writer.push(Problem { id: place_id(line), ..read.problem })?,
            Err(rejected) => rejections.write(&rejected)?,
        }
        Ok(())
    })?;
    context.progress.end();
    tally.rows_out = writer.finish()?;
    tally.rejected = rejections.finish()?;
    if tally.rows_out == 0 {
        let (path, rows, rejected) = (path.to_owned(), tally.rows_in, tally.rejected);
        return Err(ProblemsError::Nothing { path, wanted: "rows of text", rows, rejected });
    }
    Ok(tally)
}

/// The texts of a file's rows, in parts that can be read at once, and again.
pub struct Texts {
    config: FileConfig,
    path: PathBuf,
    format: FileFormat,
    parts: Vec<Part>,
}

/// Takes a row: its place; how many rows, where they are lost together; what is asked in it, or why there is nothing.
type EachText<'e, E> = dyn FnMut(u64, u64, Result<String, Unreadable>) -> Result<ControlFlow<()>, E> + 'e;

impl Texts {
    /// Cuts a file. Nothing of it is held.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(config: &FileConfig, (path, format): (&Path, FileFormat)) -> Result<Texts, ProblemsError> {
        let length = path.metadata().map_err(ProblemsError::io(path))?.len();
        let parts = parts(path, format, (length / 64).clamp(PART_BYTES.0, PART_BYTES.1))?;
        Ok(Texts { config: config.clone(), path: path.to_owned(), format, parts })
    }

    /// How many parts there are.
    pub fn num_parts(&self) -> usize {
        self.parts.len()
    }

    /// The place of the first row that a part may have.
    pub fn first(&self, part: usize) -> u64 {
        self.parts.get(part).map_or(1, |part| part.first)
    }

    /// Hands the rows of a part to `each`, in order, until it breaks.
    ///
    /// # Errors
    /// When the file cannot be read, or what `each` says.
    pub fn read<E: From<ProblemsError>>(&self, part: usize, each: &mut EachText<'_, E>) -> Result<(), E> {
        self.visit(part, None, each)
    }

    /// Hands some rows of a part to `each`, by their rising places; what is between them is passed over.
    ///
    /// # Errors
    /// As [`Texts::read`].
    pub fn read_some<E: From<ProblemsError>>(
        &self,
        part: usize,
        places: &mut dyn Iterator<Item = u64>,
        each: &mut EachText<'_, E>,
    ) -> Result<(), E> {
        self.visit(part, Some(places), each)
    }

    fn visit<E: From<ProblemsError>>(
        &self,
        part: usize,
        mut places: Option<&mut dyn Iterator<Item = u64>>,
        each: &mut EachText<'_, E>,
    ) -> Result<(), E> {
        let Some(part) = self.parts.get(part) else { return Ok(()) };
        let columns = self.config.columns.named();
        let mut rows = Rows::open_part(&self.path, self.format, &columns, part).map_err(ProblemsError::from)?;
        loop {
            if let Some(places) = &mut places {
                let Some(place) = places.next() else { return Ok(()) };
                rows.seek(place);
            }
            let Some(row) = rows.next().transpose().map_err(ProblemsError::from)? else { return Ok(()) };
            let cells = row.cells.map(|cells| Cells { columns: &columns, cells });
            // Whose file it is matters to nobody here.
            let text = cells.and_then(|cells| read(&self.config, String::new(), &cells)).map(|read| {
                let mut messages = read.problem.messages;
                match messages.len() {
                    1 => messages.remove(0).content,
                    _ => messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n"),
                }
            });
            if each(row.place, row.rows, text)?.is_break() {
                return Ok(());
            }
        }
    }
}

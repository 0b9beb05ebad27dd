//! The control `answers = "shuffled"`: every example gets the assistant's turns of another problem. A first pass over the
//! examples writes their turns to a file without a name and remembers where they lie; a second reads them from there. 32
//! bytes an example are held while the order is made, 12 afterwards.

use crate::TrainError;
use distill_dataset::{Digest, Example, Message, Role, create_fresh};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Turns while they are gathered.
pub(crate) struct Gathering {
    seed: u64,
    path: PathBuf,
    file: BufWriter<File>,
    /// Where each example's turns begin, and where the last end.
    places: Vec<u64>,
    ranks: Vec<([u8; 16], u32)>,
}

impl Gathering {
    /// Into a file at `path`, which has no name from the beginning: nothing is left of it after a kill.
    pub(crate) fn begin(path: &Path, seed: u64) -> Result<Gathering, TrainError> {
        let file = create_fresh(path).map_err(TrainError::io("create", path))?;
        fs::remove_file(path).map_err(TrainError::io("remove", path))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Gathering { seed, path: path.to_owned(), file, places: vec![0], ranks: Vec::new() })
    }

    /// Sees the next example.
    pub(crate) fn see(&mut self, row: &Example) -> Result<(), TrainError> {
        let turns: Vec<&Message> = row.messages.iter().filter(|message| message.role == Role::Assistant).collect();
        let text = serde_json::to_vec(&turns).unwrap_or_default();
        self.file.write_all(&text).map_err(TrainError::io("write", &self.path))?;
        let end = self.places.last().copied().unwrap_or(0) + text.len() as u64;
        let rank = Digest::new("shuffle").field(&self.seed.to_string()).field(&row.problem_id).finish_bytes();
        let index = u32::try_from(self.ranks.len()).map_err(|_| {
            TrainError::Examples("answers cannot be shuffled: expected fewer than 4,294,967,296 examples".to_owned())
        })?;
        self.places.push(end);
        self.ranks.push((rank, index));
        Ok(())
    }

    /// Puts the examples in a seeded order in which those of one problem are neighbours, and moves the turns on by the size
    /// of the largest such group.
    ///
    /// # Errors
    /// When more than half of the examples belong to one problem.
    pub(crate) fn finish(self) -> Result<Answers, TrainError> {
        let Gathering { path, file, places, ranks: mut order, .. } = self;
        let rows = order.len();
        order.sort_unstable();
        let shift = order.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max().unwrap_or(0);
        if shift * 2 > rows {
            return Err(TrainError::Examples(format!(
                "answers cannot be shuffled: {shift} of {rows} examples belong to one problem"
            )));
        }
        let mut from = vec![0; rows];
        for (place, (_, index)) in order.iter().enumerate() {
            from[*index as usize] = order[(place + shift) % rows].1;
        }
        let file = file.into_inner().map_err(|error| TrainError::io("write", &path)(error.into_error()))?;
        Ok(Answers { path, file, places, from })
    }
}

/// Turns that are given to other examples.
pub(crate) struct Answers {
    path: PathBuf,
    file: File,
    places: Vec<u64>,
    /// Whose turns each example gets.
    from: Vec<u32>,
}

impl Answers {
    /// Gives the example of that index the turns of another.
    pub(crate) fn replace(&self, index: u64, row: &mut Example) -> Result<(), TrainError> {
        let changed = || TrainError::Examples("the examples changed while their answers were shuffled".to_owned());
        let from = *self.from.get(index as usize).ok_or_else(changed)? as usize;
        let (begin, end) = (self.places[from], self.places[from + 1]);
        let mut text = vec![0; (end - begin) as usize];
        self.file.read_exact_at(&mut text, begin).map_err(TrainError::io("read", &self.path))?;
        let turns: Vec<Message> = serde_json::from_slice(&text).map_err(|_| changed())?;
        row.messages.retain(|message| message.role != Role::Assistant);
        row.messages.extend(turns);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(problem: u32, sample: u32) -> Example {
        Example {
            trace_id: format!("{problem}-{sample}"),
            problem_id: problem.to_string(),
            messages: vec![Message::user(problem.to_string()), Message::assistant(format!("{problem}/{sample}"))],
            weight: 1.0,
        }
    }

    fn shuffled(mut rows: Vec<Example>) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut gathering = Gathering::begin(&folder.path().join("answers"), 3)?;
        rows.iter().try_for_each(|row| gathering.see(row))?;
        let answers = gathering.finish()?;
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "the file has no name");
        rows.iter_mut().enumerate().try_for_each(|(index, row)| answers.replace(index as u64, row))?;
        Ok(rows)
    }

    #[test]
    fn shuffled_answers_belong_to_another_problem_and_none_is_lost() {
        let rows: Vec<Example> =
            (0..40).flat_map(|problem| (0..1 + problem % 4).map(move |sample| example(problem, sample))).collect();
        let mut before: Vec<String> = rows.iter().map(|row| row.messages[1].content.clone()).collect();
        let rows = shuffled(rows).expect("a shuffle");
        for row in &rows {
            let (from, _) = row.messages[1].content.split_once('/').expect("an answer");
            assert_ne!(from, row.problem_id, "an example kept its own problem's answer");
        }
        let mut after: Vec<String> = rows.iter().map(|row| row.messages[1].content.clone()).collect();
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }

    #[test]
    fn one_problem_with_most_examples_is_refused() {
        let rows = (0..10).map(|sample| example(u32::from(sample > 5), sample)).collect();
        let error = shuffled(rows).expect_err("six of ten are of one problem").to_string();
        assert!(error.contains("6 of 10"), "{error}");
    }
}

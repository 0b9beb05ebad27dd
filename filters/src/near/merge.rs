//! Files of sorted runs enter, their records leave in one order. The fan-in is bounded: more runs than that are merged
//! into fewer first. The merged order can be cut by the first word's top bits, so that the parts are worked on in
//! parallel without a part ever holding half of a bucket.

use super::{
    error::NearFault,
    runs::{RunReader, Runs, RunsWriter, Segment, io, words_at},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Parts of a partitioned merge of that many texts: the values of the first word's top four bits, or one part where more
/// would only be more files.
pub(crate) fn num_parts(num_texts: u64) -> u64 {
    if num_texts < 1024 { 1 } else { 16 }
}

/// Runs that are merged at a time, and the bytes of each one's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanIn {
    pub(crate) num_runs: usize,
    pub(crate) bytes: u64,
}

impl FanIn {
    /// What fits `memory` bytes: buffers of 64 KiB and more, for 2 to 128 runs.
    pub(crate) fn within(memory: u64) -> Self {
        let num_runs = (memory >> 16).clamp(2, 128);
        FanIn { num_runs: num_runs as usize, bytes: memory / num_runs }
    }
}

/// At most as many runs as are merged at a time, opened.
pub(crate) struct Sorted<const N: usize> {
    segments: Vec<(Segment<N>, Arc<File>)>,
    bytes: u64,
    /// Files of merges that were needed on the way, deleted at the end.
    on_the_way: Vec<PathBuf>,
}

impl<const N: usize> Sorted<N> {
    /// Opens the runs of all files. Where there are too many, merges them into files beside `stem`.
    pub(crate) fn open(paths: &[PathBuf], fan_in: FanIn, stem: &Path) -> Result<Self, NearFault> {
        let mut segments: Vec<Segment<N>> = Vec::new();
        for path in paths {
            segments.extend(Runs::open(path)?.segments());
        }
        let mut on_the_way = Vec::new();
        while segments.len() > fan_in.num_runs {
            let mut fewer = Vec::new();
            for group in segments.chunks(fan_in.num_runs) {
                let path = stem.with_extension(format!("merge-{}", on_the_way.len()));
                let sorted = Sorted { segments: open_all(group)?, bytes: fan_in.bytes, on_the_way: Vec::new() };
                let mut writer = RunsWriter::new(path.clone(), 0)?;
                let mut merge = sorted.whole()?;
                while let Some(record) = merge.next()? {
                    writer.append(record)?;
                }
                writer.finish()?;
                fewer.extend(Runs::open(&path)?.segments());
                on_the_way.push(path);
            }
            segments = fewer;
        }
        Ok(Sorted { segments: open_all(&segments)?, bytes: fan_in.bytes, on_the_way })
    }

    pub(crate) fn num_records(&self) -> u64 {
        self.segments.iter().map(|(segment, _)| segment.end - segment.start).sum()
    }

    /// All records, in order.
    pub(crate) fn whole(&self) -> Result<Merge<N>, NearFault> {
        let readers = self.segments.iter().map(|(segment, file)| {
            RunReader::new(segment.path.clone(), file.clone(), segment.start, segment.end, self.bytes)
        });
        Merge::new(readers.collect())
    }

    /// The records of a part, in order.
    pub(crate) fn part(&self, part: u64, num_parts: u64) -> Result<Merge<N>, NearFault> {
        let mut readers = Vec::with_capacity(self.segments.len());
        for (segment, file) in &self.segments {
            let start = first_of_part(segment, file, part)?;
            let last = part + 1 == num_parts;
            let end = if last { segment.end } else { first_of_part(segment, file, part + 1)? };
            readers.push(RunReader::new(segment.path.clone(), file.clone(), start, end, self.bytes));
        }
        Merge::new(readers)
    }
}

impl<const N: usize> Drop for Sorted<N> {
    fn drop(&mut self) {
        for path in &self.on_the_way {
            // A file that stays takes room and does no harm: the next run writes it anew.
            let _ = fs::remove_file(path);
        }
    }
}

fn open_all<const N: usize>(segments: &[Segment<N>]) -> Result<Vec<(Segment<N>, Arc<File>)>, NearFault> {
    let mut files: HashMap<Arc<Path>, Arc<File>> = HashMap::new();
    let mut opened = Vec::with_capacity(segments.len());
    for segment in segments {
        let file = match files.get(&segment.path) {
            Some(file) => file.clone(),
            None => Arc::new(File::open(&segment.path).map_err(io("open", &segment.path))?),
        };
        files.insert(segment.path.clone(), file.clone());
        opened.push((segment.clone(), file));
    }
    Ok(opened)
}

/// The first record of the segment whose first word belongs to the part or a later one.
fn first_of_part<const N: usize>(segment: &Segment<N>, file: &File, part: u64) -> Result<u64, NearFault> {
    let (mut low, mut high) = (segment.start, segment.end);
    while low < high {
        let middle = low + (high - low) / 2;
        let [word] = words_at::<1>(file, &segment.path, middle * N as u64)?;
        if word >> 60 < part { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// Records of several readers in one order.
pub(crate) struct Merge<const N: usize> {
    readers: Vec<RunReader<N>>,
    heads: BinaryHeap<Reverse<([u64; N], usize)>>,
}

impl<const N: usize> Merge<N> {
    fn new(mut readers: Vec<RunReader<N>>) -> Result<Self, NearFault> {
        let mut heads = BinaryHeap::with_capacity(readers.len());
        for (number, reader) in readers.iter_mut().enumerate() {
            if let Some(record) = reader.next()? {
                heads.push(Reverse((record, number)));
            }
        }
        Ok(Merge { readers, heads })
    }

    pub(crate) fn next(&mut self) -> Result<Option<[u64; N]>, NearFault> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((record, number)) = *head;
        match self.readers[number].next()? {
            Some(next) => *head = Reverse((next, number)),
            None => {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        Ok(Some(record))
    }
}

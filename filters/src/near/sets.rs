//! Second pass: the texts of candidate pairs enter again, their sorted sets of shingles leave, in files that are read by
//! position. In memory stays an index of 40 bytes a text in a pair, and a bit for every row of the corpus.
//!
//! | file of a unit | record |
//! |---|---|
//! | `sets` | one word: for each text its hash of numbers, then its shingles |
//! | `index` | place; the word its set begins at; its shingles. Written last: the unit is done |

use super::{
    Corpus, Place,
    bits::Bits,
    error::{NearError, NearFault},
    plan::{Phase, Plan},
    runs::{Runs, RunsWriter, io},
    shingles::{Shingler, distinct_shingles},
    sign::Signed,
};
use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::PathBuf};

/// Bytes of the index, of union-find and of nearest neighbours for one text.
const TEXT_BYTES: u64 = 40;

/// Most files of sets that stay open.
const MOST_OPEN: usize = 256;

/// The texts of candidate pairs, in order, and where their sets lie.
pub(crate) struct Sets {
    /// Places.
    pub(crate) places: Vec<u64>,
    starts: Vec<u64>,
    lens: Vec<u64>,
    files: Vec<(PathBuf, Option<File>)>,
}

/// Reads again what is compared, and builds the index.
pub(crate) fn read_sets<C: Corpus>(
    corpus: &C,
    plan: &Plan<'_, C::Error>,
    signed: &Signed,
    pairs: &Runs<2>,
) -> Result<Sets, NearError<C::Error>> {
    let mut paired = Bits::new(signed);
    let mut reader = pairs.read(0, pairs.num_records(), plan.sort_bytes());
    while let Some(pair) = reader.next()? {
        pair.into_iter().for_each(|place| paired.insert(place));
    }
    let found = paired.len() * TEXT_BYTES;
    if found > plan.index_bytes() {
        return Err(NearFault::Memory { expected: plan.index_bytes(), found }.into());
    }
    let mut places = Vec::with_capacity(paired.len() as usize);
    places.extend(paired.places());
    drop(paired);
    let num_units = corpus.num_units();
    plan.each_unit(Phase::Sets, u64::from(num_units), |unit| {
        let range = of_unit(&places, unit as u32);
        sets_of_unit(corpus, plan, unit as u32, &places[range])
    })?;
    let mut sets = Sets { starts: Vec::new(), lens: Vec::new(), files: Vec::new(), places };
    sets.starts.reserve_exact(sets.places.len());
    sets.lens.reserve_exact(sets.places.len());
    let mut num_open = 0;
    for unit in 0..num_units {
        let path = plan.file("sets", u64::from(unit));
        let range = of_unit(&sets.places, unit);
        if range.is_empty() {
            sets.files.push((path, None));
            continue;
        }
        num_open += 1;
        let file = (num_open <= MOST_OPEN).then(|| File::open(&path).map_err(io("open", &path))).transpose()?;
        let set_path = path.clone();
        sets.files.push((path, file));
        let index_path = plan.file("index", u64::from(unit));
        let index = Runs::<3>::open(&index_path)?;
        let mut reader = index.read(0, index.num_records(), plan.sort_bytes());
        let (mut next, num_words) = (0, Runs::<1>::open(&set_path)?.num_records());
        for &expected in &sets.places[range] {
            let found = reader.next()?;
            let is_right = |[place, start, len]: &[u64; 3]| {
                *place == expected && *start == next && *len < num_words && start + len < num_words
            };
            let Some([_, start, len]) = found.filter(is_right) else {
                let expected = format!("the place {expected:x} and a set at word {next} of {num_words}");
                return Err(NearFault::Damaged { path: index_path, expected, found: format!("{found:x?}") }.into());
            };
            next = start + len + 1;
            sets.starts.push(start);
            sets.lens.push(len);
        }
    }
    Ok(sets)
}

fn of_unit(places: &[u64], unit: u32) -> Range<usize> {
    let start = places.partition_point(|&place| Place::of(place).unit < unit);
    start..start + places[start..].partition_point(|&place| Place::of(place).unit == unit)
}

fn sets_of_unit<C: Corpus>(
    corpus: &C,
    plan: &Plan<'_, C::Error>,
    unit: u32,
    places: &[u64],
) -> Result<(), NearError<C::Error>> {
    if places.is_empty() || plan.is_done(&["sets", "index"], u64::from(unit)) {
        return Ok(());
    }
    let mut sets = RunsWriter::<1>::new(plan.file("sets", u64::from(unit)), 0)?;
    let mut index = RunsWriter::<3>::new(plan.file("index", u64::from(unit)), 0)?;
    let mut shingler = Shingler::new(plan.config.shingle);
    let (mut set, mut start, mut num_found) = (Vec::new(), 0, 0);
    let one = |row: u32, text: &str| {
        let place = Place { unit, row }.word();
        if places.get(num_found) != Some(&place) {
            return Ok(());
        }
        num_found += 1;
        let stream = distinct_shingles(&mut shingler, text, &mut set);
        sets.append([stream.numbers])?;
        set.iter().try_for_each(|&shingle| sets.append([shingle]))?;
        index.append([place, start, set.len() as u64])?;
        start += 1 + set.len() as u64;
        Ok::<(), NearFault>(())
    };
    let rows: Vec<u32> = places.iter().map(|&place| Place::of(place).row).collect();
    if !plan.read(|each| corpus.read_rows(unit, &rows, each), one)? {
        return Ok(());
    }
    if num_found < rows.len() {
        return Err(NearFault::Order { unit, expected: u64::from(rows[num_found]), found: u32::MAX }.into());
    }
    sets.finish()?;
    index.finish()?;
    Ok(())
}

impl Sets {
    /// The number of the text at a place.
    pub(crate) fn number(&self, place: u64) -> Option<usize> {
        self.places.binary_search(&place).ok()
    }

    /// Shingles of a text.
    pub(crate) fn len(&self, number: usize) -> u64 {
        self.lens[number]
    }

    /// Reads the hash of a text's numbers and its shingles. `bytes` is a buffer.
    pub(crate) fn read(&self, number: usize, bytes: &mut Vec<u8>, words: &mut Vec<u64>) -> Result<(), NearFault> {
        let (path, file) = &self.files[Place::of(self.places[number]).unit as usize];
        bytes.resize((self.lens[number] as usize + 1) * 8, 0);
        let place = self.starts[number] * 8;
        match file {
            Some(file) => file.read_exact_at(bytes, place),
            None => File::open(path).and_then(|file| file.read_exact_at(bytes, place)),
        }
        .map_err(io("read", path))?;
        words.clear();
        words.extend(bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)));
        Ok(())
    }
}

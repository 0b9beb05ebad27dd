//! First pass: every text enters once, and for each its digest and the keys of its bands leave, as sorted runs. Nothing
//! of a text stays in memory after it.
//!
//! | file of a unit | record |
//! |---|---|
//! | `digests` | digest, 2 words; place |
//! | `bands` | key; place |
//! | `signed` | texts; rows, that is the greatest row and 1; texts with a shingle; bytes. Written last: the unit is done |
//!
//! A key holds the band's number and, where numbers must be equal, the hash of the numbers. So texts with unequal
//! numbers never share a bucket.

use super::{
    Corpus, Place,
    error::{NearError, NearFault},
    merge::num_parts,
    plan::{Phase, Plan},
    runs::{Runs, RunsWriter},
    shingles::Shingler,
    signature::Signature,
};

/// What is known of the units after the first pass.
pub(crate) struct Signed {
    /// Texts before each unit, and after the last, when every row has a number: offsets of bit sets.
    pub(crate) offsets: Vec<u64>,
    pub(crate) num_texts: u64,
    pub(crate) num_compared: u64,
    pub(crate) num_bytes: u64,
}

impl Signed {
    /// Parts of the merges after this pass.
    pub(crate) fn num_parts(&self) -> u64 {
        num_parts(self.num_compared)
    }
}

/// Signs every unit that is not signed yet.
pub(crate) fn sign<C: Corpus>(corpus: &C, plan: &Plan<'_, C::Error>) -> Result<Signed, NearError<C::Error>> {
    let num_units = corpus.num_units();
    plan.each_unit(Phase::Sign, u64::from(num_units), |unit| sign_unit(corpus, plan, unit as u32))?;
    let mut signed = Signed { offsets: vec![0], num_texts: 0, num_compared: 0, num_bytes: 0 };
    for unit in 0..u64::from(num_units) {
        let path = plan.file("signed", unit);
        let Some([texts, rows, compared, bytes]) = Runs::<4>::open(&path)?.read(0, 1, 0).next()? else { continue };
        signed.num_texts += texts;
        signed.num_compared += compared;
        signed.num_bytes += bytes;
        signed.offsets.push(signed.offsets[unit as usize] + rows);
    }
    Ok(signed)
}

fn sign_unit<C: Corpus>(corpus: &C, plan: &Plan<'_, C::Error>, unit: u32) -> Result<(), NearError<C::Error>> {
    if plan.is_done(&["digests", "bands", "signed"], u64::from(unit)) {
        return Ok(());
    }
    let mut digests = RunsWriter::<3>::new(plan.file("digests", u64::from(unit)), plan.sort_bytes() / 3)?;
    let mut bands = RunsWriter::<2>::new(plan.file("bands", u64::from(unit)), plan.sort_bytes() * 2 / 3)?;
    let mut shingler = Shingler::new(plan.config.shingle);
    let mut signature = Signature::new(plan.cut.permutations());
    let [mut num_texts, mut next_row, mut num_compared, mut num_bytes] = [0u64; 4];
    let one = |row: u32, text: &str| {
        if u64::from(row) < next_row {
            return Err(NearFault::Order { unit, expected: next_row, found: row });
        }
        next_row = u64::from(row) + 1;
        num_texts += 1;
        num_bytes += text.len() as u64;
        signature.clear();
        let stream = shingler.shingles(text, |shingles| signature.add(shingles));
        if stream.num_shingles == 0 {
            return Ok(());
        }
        num_compared += 1;
        let place = Place { unit, row }.word();
        digests.push([stream.digest[0], stream.digest[1], place])?;
        let salt = if plan.config.numbers { stream.numbers } else { 0 };
        signature.bands(plan.cut.rows, salt).take(plan.cut.bands).try_for_each(|key| bands.push([key, place]))
    };
    if !plan.read(|each| corpus.read(unit, each), one)? {
        return Ok(());
    }
    digests.finish()?;
    bands.finish()?;
    let mut last = RunsWriter::<4>::new(plan.file("signed", u64::from(unit)), 0)?;
    last.append([num_texts, next_row, num_compared, num_bytes])?;
    last.finish()?;
    Ok(())
}

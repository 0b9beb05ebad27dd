//! The configuration enters, checked settings and the shares of memory leave. Also here: the file names of the scratch
//! folder, and the progress that the caller sees.
//!
//! Of the ceiling, one half holds what is sorted or merged, shared among the threads; the rest is for the index of the
//! texts that are compared, see `sets.rs`.

use super::{
    bands::Bands,
    error::{NearError, NearFault},
    merge::FanIn,
    runs::io,
    shingles::Shingle,
    signature::MOST_PERMUTATIONS,
    tokens::Grain,
};
use rayon::prelude::*;
use std::{
    fs,
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Which texts are near duplicates, and with what means they are found.
#[derive(Clone, Debug, PartialEq)]
pub struct NearConfig {
    /// What a text is cut into.
    pub shingle: Shingle,
    /// Least Jaccard similarity of the sets of shingles, over 0 and up to 1.
    pub threshold: f64,
    /// Whether near duplicates must have the same numbers, each as often, in any order.
    pub numbers: bool,
    /// Most permutations of a signature, 1 to 256. Ignored where `bands` is given.
    pub permutations: usize,
    /// How a signature is cut. Without it, what the threshold asks for.
    pub bands: Option<Bands>,
    /// Texts of a bucket that are all compared with each other, at least 2. In a greater bucket each is compared with the
    /// first 16 only.
    pub bucket: usize,
    /// Bytes of memory for buffers and indexes, at least 1 MiB.
    pub memory: u64,
}

impl Default for NearConfig {
    fn default() -> Self {
        NearConfig {
            shingle: Shingle { grain: Grain::Words, size: 5 },
            threshold: 0.8,
            numbers: true,
            permutations: 128,
            bands: None,
            bucket: 64,
            memory: 1 << 30,
        }
    }
}

impl NearConfig {
    /// The bands that are used.
    pub fn cut(&self) -> Bands {
        self.bands.unwrap_or_else(|| Bands::for_threshold(self.threshold, self.permutations.min(MOST_PERMUTATIONS)))
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// When one is not.
    pub fn check(&self) -> Result<(), NearFault> {
        let refuse = |name, expected, found: String| Err(NearFault::Setting { name, expected, found });
        if !(1..=64).contains(&self.shingle.size) {
            return refuse("size", "1 to 64", self.shingle.size.to_string());
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return refuse("threshold", "over 0, up to 1", self.threshold.to_string());
        }
        if !(1..=MOST_PERMUTATIONS).contains(&self.permutations) {
            return refuse("permutations", "1 to 256", self.permutations.to_string());
        }
        if let Some(Bands { bands, rows }) = self.bands
            && !bands.checked_mul(rows).is_some_and(|product| (1..=MOST_PERMUTATIONS).contains(&product))
        {
            return refuse("bands", "1 to 256 permutations in all", format!("{bands} bands of {rows} rows"));
        }
        if self.bucket < 2 {
            return refuse("bucket", "at least 2", self.bucket.to_string());
        }
        if self.memory < 1 << 20 {
            return refuse("memory", "at least 1048576", self.memory.to_string());
        }
        Ok(())
    }
}

/// The stages of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Texts are read and signed.
    Sign,
    /// Identical texts are found.
    Copies,
    /// Texts that share a bucket are paired.
    Candidates,
    /// Pairs that came from several buckets are kept once.
    Pairs,
    /// Texts of pairs are read again.
    Sets,
    /// Pairs are compared.
    Compare,
}

/// What every phase needs: settings, folder and progress.
pub(crate) struct Plan<'a, E> {
    pub(crate) config: &'a NearConfig,
    pub(crate) cut: Bands,
    folder: &'a Path,
    on_unit: Mutex<&'a mut OnUnit<'a, E>>,
    stopped: AtomicBool,
}

/// The caller's callback: phase, finished units, all units.
pub(crate) type OnUnit<'a, E> = dyn FnMut(Phase, u64, u64) -> Result<(), E> + Send + 'a;

impl<'a, E: Send> Plan<'a, E> {
    /// Hands the rows that `read` reads of a unit to `one`, until that fails or the run is stopped. Whether all were handed over.
    pub(crate) fn read(
        &self,
        read: impl FnOnce(&mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), E>,
        mut one: impl FnMut(u32, &str) -> Result<(), NearFault>,
    ) -> Result<bool, NearError<E>> {
        let mut fault = None;
        let done = read(&mut |row, text| {
            if self.is_stopped() {
                return ControlFlow::Break(());
            }
            match one(row, text) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        done.map_err(NearError::Caller)?;
        match fault {
            Some(fault) => Err(fault.into()),
            None => Ok(!self.is_stopped()),
        }
    }

    /// Checks the settings, and that the folder is this run's or empty.
    pub(crate) fn new(
        config: &'a NearConfig,
        folder: &'a Path,
        num_units: u32,
        on_unit: &'a mut OnUnit<'a, E>,
    ) -> Result<Self, NearFault> {
        config.check()?;
        let cut = config.cut();
        let plan = Plan { config, cut, folder, on_unit: Mutex::new(on_unit), stopped: AtomicBool::new(false) };
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let NearConfig { shingle: Shingle { grain, size }, threshold, numbers, bucket, .. } = config;
        let Bands { bands, rows } = cut;
        let expected = format!(
            "layout 1, {num_units} units, {grain:?} {size}, threshold {threshold}, numbers {numbers}, \
             {bands} bands of {rows}, bucket {bucket}"
        );
        let path = folder.join("plan");
        if path.exists() {
            let found = fs::read_to_string(&path).map_err(io("read", &path))?;
            if found != expected {
                return Err(NearFault::OtherRun { path, expected, found });
            }
        } else {
            let part = path.with_extension("part");
            let mut file = fs::File::create(&part).map_err(io("create", &part))?;
            file.write_all(expected.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write", &part))?;
            fs::rename(&part, &path).map_err(io("rename", &part))?;
        }
        Ok(plan)
    }

    /// Whether a unit of a phase is done, that is whether all its files are there. The disk may forget the newest names
    /// when the power goes, but no name of a file that is not whole.
    pub(crate) fn is_done(&self, names: &[&str], unit: u64) -> bool {
        names.iter().all(|name| self.file(name, unit).exists())
    }

    /// The file of a phase's unit.
    pub(crate) fn file(&self, name: &str, unit: u64) -> PathBuf {
        self.folder.join(format!("{name}-{unit:08}"))
    }

    /// The files of all parts of a phase.
    pub(crate) fn parts(&self, name: &str, num_parts: u64) -> Vec<PathBuf> {
        (0..num_parts).map(|part| self.file(name, part)).collect()
    }

    /// Where merges on the way are put.
    pub(crate) fn stem(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Bytes for what one thread sorts: an eighth of the ceiling among the threads.
    pub(crate) fn sort_bytes(&self) -> u64 {
        self.config.memory / 8 / rayon::current_num_threads() as u64
    }

    /// The fan-in of a merge that runs in every thread: a quarter of the ceiling among them.
    pub(crate) fn fan_in(&self) -> FanIn {
        FanIn::within(self.config.memory / 4 / rayon::current_num_threads() as u64)
    }

    /// Bytes for the indexes of texts: half of the ceiling.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.config.memory / 2
    }

    /// Whether the caller or an error ended the run, so that a unit need not go on.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Does the units of a phase in parallel, and tells the caller of each that is finished.
    pub(crate) fn each_unit(
        &self,
        phase: Phase,
        num_units: u64,
        work: impl Fn(u64) -> Result<(), NearError<E>> + Sync,
    ) -> Result<(), NearError<E>> {
        let finished = Mutex::new(0u64);
        (0..num_units as usize).into_par_iter().with_max_len(1).try_for_each(|unit| {
            if self.is_stopped() {
                return Ok(());
            }
            let told = work(unit as u64).and_then(|()| {
                let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
                if self.is_stopped() {
                    return Ok(());
                }
                *finished += 1;
                let mut on_unit = self.on_unit.lock().unwrap_or_else(PoisonError::into_inner);
                on_unit(phase, *finished, num_units).map_err(NearError::Caller).inspect_err(|_| self.stop())
            });
            told.inspect_err(|_| self.stop())
        })
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

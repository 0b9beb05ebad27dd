//! What was ever asked of a teacher, in the store that all runs share: `<dir>/answers` holds what came of every sample,
//! `<dir>/charges` what every attempt at one cost: both are journals. `<dir>/partial` is a spool, of answers that are on
//! their way. What is in any of them survives the end of this process at once.

use crate::{
    Ask, Asks, Charge, Charges, Cost, Identity, Partial,
    partial::{Spooled, assemble, merge},
};
use distill_dataset::{
    Cancel, Context, DatasetError, Digest, Entry, Journal, Liveness, Owner, Process, Reservations, Reserve, Spool,
    Trace,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How often one looks whether a lock is free.
const LOCK_EVERY: Duration = Duration::from_millis(20);

/// An entry of the journal of answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// An answer.
    Answered {
        /// What was asked, by name: see [`Identity::asked`]. What an older version did not record is `unknown`.
        asked: BTreeMap<String, String>,
        /// The answer.
        trace: Box<Trace>,
        /// The log-probabilities of its tokens, where they were asked for and told: a text of [`LogProbs::to_text`](distill_dataset::LogProbs::to_text).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_probs: Option<String>,
    },
    /// A sample that cannot be had.
    Unanswered {
        /// The sample.
        id: String,
        /// The problem.
        problem_id: String,
        /// Which of the problem's samples.
        sample_index: u32,
        /// What was asked, by name.
        asked: BTreeMap<String, String>,
        /// Why there is no answer, e.g. `too-long`.
        reason: String,
        /// What was said.
        message: String,
        /// What was received of an answer.
        text: String,
    },
    /// The model that a teacher's responses named, by the digest of its identity.
    Model {
        /// The identity's digest.
        identity: String,
        /// The model.
        model: String,
    },
}

impl Entry for Kept {
    fn key(&self) -> String {
        match self {
            Kept::Answered { trace, .. } => trace.id.clone(),
            Kept::Unanswered { id, .. } => unanswered_key(id),
            Kept::Model { identity, .. } => model_key(identity),
        }
    }
}

/// What is kept of a request where the older version did not record it.
pub const UNKNOWN: &str = "unknown";

fn unanswered_key(id: &str) -> String {
    format!("{id}/unanswered")
}

/// What getting ready costs is charged to no sample.
fn opening_key(dataset: &str) -> String {
    format!("opening/{dataset}")
}

fn model_key(identity: &str) -> String {
    format!("model/{identity}")
}

/// What came of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An answer.
    Answered(Box<Trace>),
    /// It cannot be had.
    Unanswered {
        /// A short name for why.
        reason: String,
        /// What was said.
        message: String,
        /// What was received of an answer.
        text: String,
    },
}

/// What is there of a sample whose answer has not ended.
#[derive(Debug, Default)]
pub(crate) struct BrokenOff {
    /// What was received, if anything was.
    pub(crate) partial: Option<Partial>,
    /// Attempts that were interrupted before they were charged: their numbers, and what they cost.
    pub(crate) owed: Vec<(String, Cost)>,
}

/// The answers of one teacher, and what they cost.
pub struct Answers {
    dir: PathBuf,
    label: String,
    answers: RwLock<Journal<Kept>>,
    charges: RwLock<Journal<Charge>>,
    partial: Mutex<Spool>,
    /// Where several processes buy from one list.
    reservations: Option<Reservations>,
    reserved: Mutex<HashSet<String>>,
    /// Of this very opening, and of its next charge.
    numbers: (u64, AtomicU64),
}

impl Answers {
    /// Opens or creates the journals below `dir`, for the only process that buys into them now.
    ///
    /// # Errors
    /// When they are no journals, or the disk refuses.
    pub fn open(dir: &Path) -> Result<Answers, DatasetError> {
        let answers = RwLock::new(Journal::open(&dir.join("answers"))?);
        let charges = RwLock::new(Journal::open(&dir.join("charges"))?);
        let partial = Mutex::new(Spool::open(&dir.join("partial"), merge)?);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let opening = Digest::new("opening")
            .field(&since.as_nanos().to_string())
            .field(&std::process::id().to_string())
            .field(&format!("{:?}", std::thread::current().id()))
            .finish_u64();
        let numbers = (opening, AtomicU64::new(0));
        let (dir, reserved) = (dir.to_owned(), Mutex::default());
        let answers =
            Answers { dir, label: String::new(), answers, charges, partial, reservations: None, reserved, numbers };
        answers.partial().sweep(|id| !answers.contains(id))?;
        Ok(answers)
    }

    /// As [`Answers::open`], for one of several processes that buy into them: each sample is reserved in
    /// `dir/reserved` before it is asked for, so that none is bought twice.
    ///
    /// # Errors
    /// As there.
    pub fn share(dir: &Path, owner: Arc<Owner>) -> Result<Answers, DatasetError> {
        let reservations = Some(Reservations::open(&dir.join("reserved"), owner)?);
        Ok(Answers { reservations, ..Answers::open(dir)? })
    }

    /// As they are, bought for a run's stage of that name: others see it.
    pub fn labelled(self, label: String) -> Answers {
        Answers { label, ..self }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reserves a sample for this process; false when another, living one has it. Nothing happens where there is one
    /// process only.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn reserve(&self, id: &str) -> Result<bool, DatasetError> {
        let Some(reservations) = &self.reservations else { return Ok(true) };
        match reservations.try_reserve(id)? {
            Reserve::Reserved | Reserve::Mine => {
                self.reserved().insert(id.to_owned());
                Ok(true)
            }
            Reserve::HeldBy { .. } => Ok(false),
        }
    }

    /// Gives a sample back. What came of it is synced by then.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn release(&self, id: &str) -> Result<(), DatasetError> {
        let Some(reservations) = &self.reservations else { return Ok(()) };
        self.reserved().remove(id);
        reservations.release(id).map(drop)
    }

    /// Gives back every sample that this process still has reserved.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn release_all(&self) -> Result<(), DatasetError> {
        let left: Vec<String> = self.reserved().drain().collect();
        let Some(reservations) = &self.reservations else { return Ok(()) };
        left.iter().try_for_each(|id| reservations.release(id).map(drop))
    }

    /// Whose reservations these are, and that process in words.
    pub(crate) fn owner(&self) -> (String, String) {
        match &self.reservations {
            Some(reservations) => {
                let owner = reservations.owner();
                (owner.id().to_owned(), owner.describe(owner.id()))
            }
            None => (String::new(), Process::this().to_string()),
        }
    }

    /// Whether an owner may live.
    pub(crate) fn lives(&self, owner: &str) -> Result<bool, DatasetError> {
        match &self.reservations {
            Some(reservations) => Ok(reservations.owner().liveness(owner)? != Liveness::Dead),
            // There is no other.
            None => Ok(false),
        }
    }

    /// Does something that only one process does at a time; nothing where a stop was asked for meanwhile.
    pub(crate) fn locked<T>(
        &self,
        name: &str,
        cancel: &Cancel,
        work: impl FnOnce() -> Result<T, DatasetError>,
    ) -> Result<Option<T>, DatasetError> {
        let Some(reservations) = &self.reservations else { return work().map(Some) };
        while matches!(reservations.try_reserve(name)?, Reserve::HeldBy { .. }) {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            std::thread::sleep(LOCK_EVERY);
        }
        let done = work();
        reservations.release(name)?;
        done.map(Some)
    }

    /// What all attempts at some samples of a dataset cost, and getting its teacher ready, by the opening that made them: those that are charged, and those that
    /// were on their way when a process was killed. A stop that was asked for ends it early.
    pub(crate) fn spent(
        &self,
        dataset: &str,
        asks: Asks<'_>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<String, Cost>, DatasetError> {
        let mut spent: BTreeMap<String, Cost> = BTreeMap::new();
        let mut add = |number: &str, cost: &Cost| {
            let opening = number.split('-').next().unwrap_or_default();
            spent.entry(opening.to_owned()).or_default().add(cost);
        };
        self.last_charges(&opening_key(dataset))?.iter().for_each(|charge| add(&charge.number, &charge.cost));
        for ask in asks {
            if cancel.is_cancelled() {
                break;
            }
            let id = ask?.id;
            self.last_charges(&id)?.iter().for_each(|charge| add(&charge.number, &charge.cost));
            self.interrupted(&id)?.owed.iter().for_each(|(number, cost)| add(number, cost));
        }
        Ok(spent)
    }

    /// Sees what other processes kept since.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn refresh(&self) -> Result<(), DatasetError> {
        if self.reservations.is_none() {
            return Ok(());
        }
        self.charges.write().unwrap_or_else(PoisonError::into_inner).refresh()?;
        self.write().refresh()
    }

    /// Sees which answers were on their way to other processes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn refresh_partial(&self) -> Result<(), DatasetError> {
        self.partial().refresh()
    }

    /// Keeps pieces of answers that are on their way, each with its sample.
    pub(crate) fn spool(&self, pieces: &[(String, Spooled)]) -> Result<(), DatasetError> {
        let encoded: Result<Vec<_>, serde_json::Error> =
            pieces.iter().map(|(id, piece)| Ok((id.as_str(), serde_json::to_vec(piece)?))).collect();
        let path = self.dir.clone();
        let encoded = encoded.map_err(|error| DatasetError::Journal { path, message: error.to_string() })?;
        self.partial().append(&encoded)
    }

    /// What was received of a sample whose answer has not ended, and what the attempts at it cost that were interrupted
    /// before they were charged.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn interrupted(&self, id: &str) -> Result<BrokenOff, DatasetError> {
        if !self.partial().contains(id) {
            return Ok(BrokenOff::default());
        }
        let (partial, mut owed) = assemble(&self.partial().get(id)?);
        let charged: HashSet<String> = self.entries(id)?.into_iter().map(|charge| charge.number).collect();
        owed.retain(|(number, cost)| !charged.contains(number) && *cost != Cost::default());
        Ok(BrokenOff { partial: Some(partial).filter(|partial| !partial.text.is_empty()), owed })
    }

    fn partial(&self) -> std::sync::MutexGuard<'_, Spool> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the outcomes of those samples, so that what is damaged counts as not there, and is asked again. People are
    /// told of it.
    ///
    /// # Errors
    /// When the disk refuses. A stop that was asked for ends it early.
    pub fn verify(&self, ids: &[String], context: &Context) -> Result<(), DatasetError> {
        let answers = self.read();
        let key = |id: &String| if answers.contains(id) { id.clone() } else { unanswered_key(id) };
        answers.verify(ids.iter().map(key), context)
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known what came of a sample.
    pub fn contains(&self, id: &str) -> bool {
        let answers = self.read();
        answers.contains(id) || answers.contains(&unanswered_key(id))
    }

    /// What came of a sample, if that is known.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Answer>, DatasetError> {
        Ok(self.get_with_log_probs(id)?.map(|(answer, _)| answer))
    }

    /// What came of a sample, and the log-probabilities of its tokens as a text of [`LogProbs::to_text`](distill_dataset::LogProbs::to_text).
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn get_with_log_probs(&self, id: &str) -> Result<Option<(Answer, Option<String>)>, DatasetError> {
        let answers = self.read();
        let kept = match answers.get(id)? {
            Some(kept) => Some(kept),
            None => answers.get(&unanswered_key(id))?,
        };
        Ok(match kept {
            Some(Kept::Answered { trace, log_probs, .. }) => Some((Answer::Answered(trace), log_probs)),
            Some(Kept::Unanswered { reason, message, text, .. }) => {
                Some((Answer::Unanswered { reason, message, text }, None))
            }
            Some(Kept::Model { .. }) | None => None,
        })
    }

    /// What all attempts at a sample cost.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn charges(&self, id: &str) -> Result<Charges, DatasetError> {
        let mut charges = Charges::default();
        self.last_charges(id)?.iter().for_each(|charge| charges.add(charge));
        Ok(charges)
    }

    /// The charges of a sample, of two for one attempt the later one.
    fn last_charges(&self, id: &str) -> Result<Vec<Charge>, DatasetError> {
        let mut entries = self.entries(id)?;
        let numbers: Vec<String> = entries.iter().map(|charge| charge.number.clone()).collect();
        let mut at = 0;
        entries.retain(|charge| {
            at += 1;
            !numbers[at..].contains(&charge.number)
        });
        Ok(entries)
    }

    fn entries(&self, id: &str) -> Result<Vec<Charge>, DatasetError> {
        self.charges.read().unwrap_or_else(PoisonError::into_inner).entries(id)
    }

    /// The model that a teacher's responses named first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn model(&self, identity: &Identity) -> Result<Option<String>, DatasetError> {
        match self.read().get(&model_key(&identity.digest()))? {
            Some(Kept::Model { model, .. }) => Ok(Some(model)),
            _ => Ok(None),
        }
    }

    /// Keeps which model a teacher's responses name; the first stays.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_model(&self, identity: &Identity, model: &str) -> Result<(), DatasetError> {
        self.keep(&Kept::Model { identity: identity.digest(), model: model.to_owned() })
    }

    /// Keeps what came of a sample.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, kept: &Kept) -> Result<(), DatasetError> {
        self.write().append(kept)?;
        match kept {
            Kept::Answered { trace, .. } => self.partial().forget(&trace.id),
            Kept::Unanswered { id, .. } => self.partial().forget(id),
            Kept::Model { .. } => {}
        }
        Ok(())
    }

    /// A number that no other attempt has.
    pub fn number(&self) -> String {
        format!("{}-{}", self.opening(), self.numbers.1.fetch_add(1, Ordering::Relaxed))
    }

    /// What all numbers of this opening begin with.
    pub(crate) fn opening(&self) -> String {
        format!("{:016x}", self.numbers.0)
    }

    /// Keeps what an attempt at a sample cost.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn charge(&self, sample: &str, number: String, cost: Cost, wasted: bool) -> Result<(), DatasetError> {
        let mut journal = self.charges.write().unwrap_or_else(PoisonError::into_inner);
        journal.append_more(&Charge { sample: sample.to_owned(), number, wasted, cost })
    }

    /// Keeps what getting a teacher ready took, on the account of the dataset that it was opened for; once for each opening.
    ///
    /// # Errors
    /// When the disk refuses, or the journal cannot be read.
    pub(crate) fn charge_opening(&self, dataset: &str, cost: Cost) -> Result<(), DatasetError> {
        let (sample, number) = (opening_key(dataset), format!("{}-looks", self.opening()));
        if cost == Cost::default() || self.entries(&sample)?.iter().any(|charge| charge.number == number) {
            return Ok(());
        }
        self.charge(&sample, number, cost, true)
    }

    /// Takes over an answer that an older version paid for, with what it cost. What was asked is recorded, but for the names
    /// in `unrecorded`: of those the older version kept nothing.
    ///
    /// # Errors
    /// When the disk refuses, or the journal cannot be read.
    pub fn adopt(
        &self,
        mut asked: BTreeMap<String, String>,
        unrecorded: &[&str],
        cost: Cost,
        trace: Trace,
    ) -> Result<(), DatasetError> {
        for name in unrecorded {
            asked.entry((*name).to_owned()).and_modify(|value| UNKNOWN.clone_into(value));
        }
        // An earlier attempt at this may have ended between the two.
        if self.charges(&trace.id)?.attempts == 0 {
            self.charge(&trace.id, self.number(), cost, false)?;
        }
        self.keep(&Kept::Answered { asked, trace: Box::new(trace), log_probs: None })
    }

    /// Makes everything kept so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), DatasetError> {
        self.charges.write().unwrap_or_else(PoisonError::into_inner).sync()?;
        self.write().sync()
    }

    /// Nobody reads or writes while the guards live.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> (RwLockWriteGuard<'_, Journal<Kept>>, RwLockWriteGuard<'_, Journal<Charge>>) {
        (self.write(), self.charges.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self) -> RwLockReadGuard<'_, Journal<Kept>> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Journal<Kept>> {
        self.answers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of an answer to `ask`.
pub fn trace(ask: &Ask, completion: crate::Completion, identity: &Identity) -> Trace {
    let before: u32 = completion.earlier.iter().map(|segment| segment.num_bytes).sum();
    let earlier: u32 = completion.earlier.iter().map(|segment| segment.num_tokens).sum();
    let mut segments = completion.earlier;
    segments.push(distill_dataset::Segment {
        num_bytes: (completion.text.len() as u32).saturating_sub(before),
        num_tokens: completion.completion_tokens,
        finish_reason: completion.finish_reason,
    });
    Trace {
        id: ask.id.clone(),
        problem_id: ask.problem_id.clone(),
        sample_index: ask.sample_index,
        format: identity.turn.clone(),
        text: completion.text,
        finish_reason: completion.finish_reason,
        segments,
        teacher: identity.teacher.clone(),
        response_model: completion.response_model,
        template_hash: identity.template_hash.clone(),
        sampling: ask.sampling,
        seed: ask.seed,
        // Behind a seam, the answer so far is in the prompt.
        prompt_tokens: completion.prompt_tokens.saturating_sub(earlier),
        completion_tokens: completion.completion_tokens.saturating_add(earlier),
        token_ids: completion.token_ids,
        cost_usd: completion.cost_usd,
        finish_name: completion.finish_name,
        system: ask.system.clone(),
        claims: None,
    }
}

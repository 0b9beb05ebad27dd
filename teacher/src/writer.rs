//! The thread that writes: answers become records and JSON, and reach the disk, away from the loop that reads streams.
//! It acknowledges in the order in which it was handed things.

use crate::{Answers, Ask, Completion, Cost, Identity, Kept, answers::trace, partial::Spooled};
use distill_dataset::DatasetError;
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

/// Longest time that something waits to be synced to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Something to be written.
pub(crate) enum Job {
    /// What came of an attempt.
    Attempt(Box<Attempt>),
    /// Pieces of answers that are on their way, each with its sample.
    Pieces(Vec<(String, Spooled)>),
}

/// What an attempt cost, and what came of it.
pub(crate) struct Attempt {
    pub(crate) ask: Ask,
    pub(crate) charge: Option<Charged>,
    pub(crate) end: End,
}

/// What an attempt cost.
pub(crate) struct Charged {
    /// The attempt's number.
    pub(crate) number: String,
    pub(crate) cost: Cost,
    /// Whether it brought nothing.
    pub(crate) wasted: bool,
}

/// What came of an attempt.
pub(crate) enum End {
    /// An answer, and the model that it is the first to name.
    Answered(Box<Completion>, Option<String>),
    /// The sample cannot be had: reason, message, what was received.
    Unanswered(&'static str, String, String),
    /// Nothing yet.
    Nothing,
}

impl Job {
    /// About its size in memory.
    pub(crate) fn bytes(&self) -> usize {
        let attempt = match self {
            Job::Attempt(attempt) => attempt,
            Job::Pieces(pieces) => {
                let ids = |piece: &Spooled| piece.ids.as_ref().map_or(0, |told| 4 * told.ids.len());
                let bytes = |piece: &Spooled| 256 + piece.reasoning.len() + piece.content.len() + ids(piece);
                return pieces.iter().map(|(_, piece)| bytes(piece)).sum();
            }
        };
        let end = match &attempt.end {
            End::Answered(completion, _) => {
                let log_probs = completion.log_probs.as_ref().map_or(0, |log_probs| log_probs.num_bytes());
                completion.text.len() + completion.token_ids.as_ref().map_or(0, |ids| 4 * ids.len()) + log_probs
            }
            End::Unanswered(_, message, text) => message.len() + text.len(),
            End::Nothing => 0,
        };
        512 + end + attempt.ask.messages.iter().map(|message| message.content.len()).sum::<usize>()
    }
}

/// What became of a job.
pub(crate) enum Ack {
    /// It is kept; so many bytes are free again. `sample` tells whether a sample is done by it.
    Kept { bytes: usize, sample: bool },
    /// The disk refused; nothing more is written.
    Broken(DatasetError),
}

/// Writes everything that comes, until nothing more can come.
pub(crate) fn write(answers: &Answers, identity: &Identity, jobs: &Receiver<Job>, acks: &Sender<Ack>) {
    let mut unsynced = Unsynced::default();
    loop {
        let result = match jobs.recv_timeout(SYNC_EVERY) {
            Ok(job) => {
                let bytes = job.bytes();
                let done = match &job {
                    Job::Attempt(attempt) if !matches!(attempt.end, End::Nothing) => Some(attempt.ask.id.clone()),
                    _ => None,
                };
                if matches!(job, Job::Attempt(_)) {
                    unsynced.since.get_or_insert_with(Instant::now);
                }
                let sample = done.is_some();
                unsynced.samples.extend(done);
                // Nobody listens only when the loop has ended; what is paid for is written all the same.
                keep(answers, identity, job).map(|()| drop(acks.send(Ack::Kept { bytes, sample })))
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                if let Err(error) = unsynced.sync(answers) {
                    let _ = acks.send(Ack::Broken(error));
                }
                return;
            }
        };
        let result = result.and_then(|()| match unsynced.since {
            Some(since) if since.elapsed() >= SYNC_EVERY => unsynced.sync(answers),
            _ => Ok(()),
        });
        if let Err(error) = result {
            let _ = acks.send(Ack::Broken(error));
            // Takes what still comes, so that nobody waits for room.
            jobs.iter().for_each(drop);
            return;
        }
    }
}

/// What is written and may not survive a power cut yet.
#[derive(Default)]
struct Unsynced {
    since: Option<Instant>,
    samples: Vec<String>,
}

impl Unsynced {
    /// Brings it to the disk. Only then may others look for these samples.
    fn sync(&mut self, answers: &Answers) -> Result<(), DatasetError> {
        answers.sync()?;
        self.since = None;
        self.samples.drain(..).try_for_each(|id| answers.release(&id))
    }
}

fn keep(answers: &Answers, identity: &Identity, job: Job) -> Result<(), DatasetError> {
    let Attempt { ask, charge, end } = match job {
        Job::Attempt(attempt) => *attempt,
        Job::Pieces(pieces) => return answers.spool(&pieces),
    };
    // First what it cost: an answer without its charge would be free to a budget.
    if let Some(Charged { number, cost, wasted }) = charge {
        answers.charge(&ask.id, number, cost, wasted)?;
    }
    let asked = ask.asked(identity);
    match end {
        End::Nothing => Ok(()),
        End::Unanswered(reason, message, text) => answers.keep(&Kept::Unanswered {
            id: ask.id,
            problem_id: ask.problem_id,
            sample_index: ask.sample_index,
            asked,
            reason: reason.to_owned(),
            message,
            text,
        }),
        End::Answered(completion, model) => {
            if let Some(model) = model {
                answers.keep_model(identity, &model)?;
            }
            // An answer is not lost for what is kept beside it.
            let log_probs = completion.log_probs.as_ref().and_then(|log_probs| log_probs.to_text().ok());
            let trace = Box::new(trace(&ask, *completion, identity));
            answers.keep(&Kept::Answered { asked, trace, log_probs })
        }
    }
}

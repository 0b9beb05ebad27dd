//! The one loop in which a teacher is asked, for sampling and for evaluations alike: an ordered list of samples in, an
//! outcome of each in [`Answers`] out.
//!
//! A thread reads ahead (`feeder.rs`), the teacher pulls from here as it has room, a thread writes (`writer.rs`). The loop
//! itself reads no file and waits for no disk. Nothing is sent before the most that it may cost is reserved in the ledger.
//! A sample that cannot be had is an outcome with a reason. A stop that was asked for, a budget that is reached and a
//! teacher that refuses end the asking, not the answers: what is in flight is taken and kept.

use crate::{
    Answers, Ask, Complete, Completion, Cost, EndpointSeen, Exceeded, Ledger, Most, Order, Partial, Piece, Queue,
    Request, Seen, TeacherError,
    feeder::{self, AHEAD, Fed},
    gauge::Gauge,
    in_flight::InFlight,
    purse::{More, Purse, Wallet},
    writer::{self, Ack, Attempt, Charged, End, Job},
};
use distill_dataset::{Context, DatasetError, Interrupted};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Jobs that the writer may be behind. More are in flight at most: whoever hands over one then waits.
const MOST_JOBS: usize = 1 << 14;
/// Jobs, and their bytes, that the writer may be behind before nothing more is asked.
const MOST_PENDING: (usize, usize) = (1024, 64 << 20);
/// So many refusals, before anything was answered, are a mistake in the question rather than in each row.
const MOST_REFUSALS: usize = 16;
/// How long one waits for the other threads before looking at cancellation again.
const TICK: Duration = Duration::from_millis(50);

/// What came of an order.
#[derive(Debug, Default)]
pub struct Pumped {
    /// Samples wanted.
    pub total: u64,
    /// Samples whose outcome is known now.
    pub done: u64,
    /// Samples that failed after every retry: nothing is kept of them, the next run asks again.
    pub failed: u64,
    /// What the first of these said.
    pub first_failure: String,
    /// Samples that turned out, in this run, not to be had.
    pub unanswered: u64,
}

/// Why an order was not carried out. What was answered is kept.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The budget is reached.
    #[error("the budget of {limit} is reached: {done} of {total} are there")]
    Budget {
        /// Which one.
        limit: Exceeded,
        /// Samples there.
        done: u64,
        /// Samples wanted.
        total: u64,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// Another model answers than before.
    #[error(
        "expected answers of the model `{expected}`, which answered under this identity so far, found one of `{found}`\nhint: another model is another teacher: say which in the teacher's `model` or `revision`; answers so far are kept"
    )]
    Model {
        /// The model that answered so far.
        expected: String,
        /// The one that answers now.
        found: String,
    },
    /// The budget's money cannot be counted by what the teacher charges.
    #[error("{0}")]
    Money(String),
    /// Nobody answers, or the teacher refuses everything.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The disk refused.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Asks `teacher` for every sample whose outcome is not in `answers` yet.
///
/// # Errors
/// When the budget is reached or cannot be counted, a stop was asked for, nobody answers, another model answers than before, or the disk
/// refuses. What was answered is kept, and on the disk.
pub fn pump(
    order: &Order<'_>,
    teacher: &dyn Complete,
    answers: &Answers,
    context: &Context,
) -> Result<Pumped, PumpError> {
    answers.refresh()?;
    let survey = survey(order, answers, context)?;
    let tally = Pumped { total: survey.missing.len() as u64, done: survey.done, ..Pumped::default() };
    context.progress.begin(order.task.0, tally.total, order.task.1);
    context.progress.advance(tally.done, "");
    if tally.done == tally.total {
        context.progress.end();
        return Ok(tally);
    }
    teacher.check_budget(&order.budget).map_err(PumpError::Money)?;
    let identity = teacher.identity();
    let model = answers.model(&identity)?;
    answers.charge_opening(&order.dataset, teacher.opening_cost())?;
    let purse = Purse::open(order, answers, teacher.gpus(), &context.cancel)?;
    let own = purse.own();
    let ended = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let (feed, wanted) = sync_channel(AHEAD);
        let (jobs, to_write) = sync_channel(MOST_JOBS);
        let (written, acks) = channel();
        let (missing, identity) = (&survey.missing, &identity);
        let (ended, cancel) = (&ended, &context.cancel);
        let has_ended = move || ended.load(Ordering::Relaxed) || cancel.is_cancelled();
        let place = feeder::Place { answers, identity, continues: teacher.continues() };
        scope.spawn(move || feeder::feed((order.asks)(), missing, &place, &has_ended, &feed));
        let (wallet, keep) = Wallet::of(purse, cancel);
        scope.spawn(keep);
        let writer = scope.spawn(move || writer::write(answers, identity, &to_write, &written));
        let mut pump = Pump {
            order,
            teacher,
            answers,
            context,
            wanted,
            again: VecDeque::new(),
            in_flight: HashMap::new(),
            next_id: 0,
            ledger: Ledger::new(Most::default(), own, order.budget.currency()),
            wallet,
            gauge: Gauge::new(Instant::now()),
            seen: Seen { begun_with: tally.done, ..Seen::default() },
            seen_at: None,
            begun: Instant::now(),
            fields: None,
            jobs,
            acks,
            pending: (0, 0),
            held: Vec::new(),
            answered: model.is_some(),
            model,
            tally,
            stop: None,
            remark: String::new(),
        };
        let completed = teacher.complete(&mut pump, &context.cancel);
        if completed.is_ok() && !pump.is_stopping() {
            // Too few to be a mistake in the question: the rows' own, though nothing was answered.
            pump.take_refusals();
        } else {
            pump.forget_refusals();
        }
        ended.store(true, Ordering::Relaxed);
        let Pump { jobs, acks, mut tally, mut stop, wallet, ledger, .. } = pump;
        drop(jobs);
        wallet.end(ledger.spent().clone());
        let lost = writer.join().is_err();
        for ack in acks.try_iter() {
            match ack {
                Ack::Kept { sample, .. } => tally.done += u64::from(sample),
                Ack::Broken(error) => stop = Some(error.into()),
            }
        }
        if lost {
            let message = "the thread that keeps answers ended early".to_owned();
            stop = Some(TeacherError::Local(message).into());
        }
        if let Some(PumpError::Budget { done, .. }) = &mut stop {
            *done = tally.done;
        }
        match (stop, completed) {
            (Some(stop), _) => Err(stop),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) if context.cancel.is_cancelled() => Err(Interrupted.into()),
            (None, Ok(())) => Ok(tally),
        }
    });
    context.progress.end();
    // Of samples that failed, and of what was read ahead.
    let released = answers.release_all();
    let pumped = result?;
    released?;
    Ok(pumped)
}

/// What is there already.
struct Survey {
    missing: Vec<bool>,
    done: u64,
}

fn survey(order: &Order<'_>, answers: &Answers, context: &Context) -> Result<Survey, PumpError> {
    let mut survey = Survey { missing: Vec::new(), done: 0 };
    let (mut known, mut places) = (Vec::new(), Vec::new());
    for ask in (order.asks)() {
        if context.cancel.is_cancelled() {
            return Err(Interrupted.into());
        }
        let ask = ask?;
        let is_known = answers.contains(&ask.id);
        if is_known {
            known.push(ask.id);
            places.push(survey.missing.len());
        }
        survey.missing.push(!is_known);
    }
    // Only reading tells what is damaged.
    answers.verify(&known, context)?;
    for (id, place) in known.iter().zip(places) {
        survey.missing[place] = !answers.contains(id);
    }
    survey.done = survey.missing.iter().filter(|missing| !**missing).count() as u64;
    context.cancel.check()?;
    Ok(survey)
}

/// The queue of everything that is missing.
struct Pump<'a, 'o> {
    order: &'a Order<'o>,
    teacher: &'a dyn Complete,
    answers: &'a Answers,
    context: &'a Context,
    wanted: Receiver<Result<Fed, DatasetError>>,
    /// Pulled, and not affordable when it was last looked at.
    again: VecDeque<Ask>,
    in_flight: HashMap<u64, InFlight>,
    next_id: u64,
    ledger: Ledger,
    wallet: Wallet,
    gauge: Gauge,
    /// What is seen from outside, and when it was told last.
    seen: Seen,
    seen_at: Option<Instant>,
    begun: Instant,
    /// What was told last, for programs.
    fields: Option<Arc<Value>>,
    jobs: SyncSender<Job>,
    acks: Receiver<Ack>,
    /// Jobs that are not acknowledged, and their bytes.
    pending: (usize, usize),
    /// Refusals from before the first answer: they are kept once it is known that the teacher answers at all.
    held: Vec<Attempt>,
    answered: bool,
    model: Option<String>,
    tally: Pumped,
    stop: Option<PumpError>,
    remark: String,
}

impl Pump<'_, '_> {
    /// Hands a job to the writer.
    fn keep(&mut self, job: Job) {
        self.pending.0 += 1;
        self.pending.1 += job.bytes();
        // It fails when the writer is gone, which its end tells.
        let _ = self.jobs.send(job);
    }

    fn take_acks(&mut self) {
        let before = self.tally.done;
        while let Ok(ack) = self.acks.try_recv() {
            self.take_ack(ack);
        }
        if self.tally.done != before {
            self.tell();
        }
    }

    fn take_ack(&mut self, ack: Ack) {
        match ack {
            Ack::Kept { bytes, sample } => {
                self.pending = (self.pending.0 - 1, self.pending.1 - bytes);
                self.tally.done += u64::from(sample);
            }
            // The disk's word counts more than any other reason to stop.
            Ack::Broken(error) => self.stop = Some(error.into()),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.is_some() || self.context.cancel.is_cancelled()
    }

    /// The next sample; waits for it only while nothing is in flight.
    fn pull(&mut self) -> Option<Ask> {
        while !self.is_stopping() && !self.is_over() {
            let idle = self.in_flight.is_empty();
            if self.pending.0 >= MOST_PENDING.0 || self.pending.1 >= MOST_PENDING.1 {
                if !idle {
                    return None;
                }
                match self.acks.recv_timeout(TICK) {
                    Ok(ack) => self.take_ack(ack),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
                continue;
            }
            if let Some(ask) = self.again.pop_front() {
                return Some(ask);
            }
            let fed = match self.wanted.try_recv() {
                Ok(fed) => fed,
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if !idle => return None,
                Err(TryRecvError::Empty) => match self.wanted.recv_timeout(TICK) {
                    Ok(fed) => fed,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
            };
            match fed {
                Ok(Fed::Ask(ask)) => {
                    self.remark.clear();
                    return Some(*ask);
                }
                Ok(Fed::Known) => {
                    self.tally.done += 1;
                    self.tell();
                }
                Ok(Fed::Waiting(count)) => self.say(&format!("other processes are at {count} of these")),
                Err(error) => self.stop = Some(error.into()),
            }
        }
        None
    }

    /// The request for a sample, and the most that it may cost.
    fn request(&self, id: u64, ask: &Ask) -> (Request, Most) {
        let (messages, partial) = (ask.messages.clone(), ask.partial.clone());
        let request = Request { id, messages, sampling: ask.sampling, seed: ask.seed, partial };
        let money = self.teacher.max_cost(&request, self.order.budget.currency());
        let most = Most { tokens: self.teacher.most_tokens(&request), money };
        (request, most)
    }

    /// Reserves the most that a new attempt may cost. Where that cannot be had and nothing is in flight, which may turn out
    /// cheaper than reserved, the asking ends.
    fn affords(&mut self, most: Most) -> bool {
        let idle = self.in_flight.is_empty();
        let limit = loop {
            let Err(need) = self.ledger.reserve(most) else { return true };
            match self.wallet.more(need, idle) {
                More::Granted(granted) => self.ledger.grant(granted),
                More::Asked => return false,
                More::Denied(limit) => break limit,
                More::Broken(error) => {
                    self.stop = Some(error.into());
                    return false;
                }
            }
        };
        if idle {
            self.end_by(limit);
        }
        false
    }

    /// Ends the asking by a budget.
    fn end_by(&mut self, limit: Exceeded) {
        let Pumped { done, total, .. } = self.tally;
        self.stop.get_or_insert(PumpError::Budget { limit, done, total });
    }

    fn keep_attempt(&mut self, attempt: Attempt) {
        self.keep(Job::Attempt(Box::new(attempt)));
    }

    /// Takes an answer; the model that it names must be the one that answered so far.
    fn take_answer(&mut self, mut flight: InFlight, completion: Completion) {
        let cost = completion.cost();
        let named = Some(completion.response_model.clone()).filter(|model| !model.is_empty());
        match (&self.model, &named) {
            (Some(expected), Some(found)) if expected != found => {
                let (expected, found) = (expected.clone(), found.clone());
                self.stop.get_or_insert(PumpError::Model { expected, found });
                // It is another sample than the one that was asked for, and paid for all the same.
                let discarded = flight.discarded();
                self.keep(discarded);
                let charge = flight.charged(cost, true);
                self.keep_attempt(Attempt { ask: flight.ask, charge, end: End::Nothing });
                return;
            }
            _ => {}
        }
        let first = if self.model.is_none() { named.clone() } else { None };
        self.model = self.model.take().or(named);
        let charge = Some(Charged { number: flight.number, cost, wasted: false });
        self.keep_attempt(Attempt { ask: flight.ask, charge, end: End::Answered(Box::new(completion), first) });
        self.answered = true;
        self.take_refusals();
    }

    /// Keeps the refusals that were held until something was answered.
    fn take_refusals(&mut self) {
        for attempt in std::mem::take(&mut self.held) {
            self.keep_attempt(attempt);
        }
    }

    /// Forgets them: they may be the question's fault. What they cost stays.
    fn forget_refusals(&mut self) {
        for attempt in std::mem::take(&mut self.held) {
            self.tally.unanswered -= 1;
            if attempt.charge.is_some() {
                self.keep_attempt(Attempt { end: End::Nothing, ..attempt });
            }
        }
    }

    fn refuse(&mut self, attempt: Attempt, message: &str) {
        self.tally.unanswered += 1;
        if self.answered {
            return self.keep_attempt(attempt);
        }
        self.held.push(attempt);
        if self.held.len() >= MOST_REFUSALS {
            self.forget_refusals();
            let message = format!(
                "the first {MOST_REFUSALS} requests were all refused, the last: {message}\nhint: nothing was kept; correct what the recipe asks of this teacher"
            );
            self.stop.get_or_insert(TeacherError::Refused(message).into());
        }
    }
}

impl Queue for Pump<'_, '_> {
    fn next(&mut self) -> Option<Request> {
        self.take_acks();
        let mut ask = self.pull()?;
        if !self.teacher.continues() {
            ask.partial = None;
        }
        let (request, most) = self.request(self.next_id, &ask);
        if !self.affords(most) {
            self.again.push_front(ask);
            return None;
        }
        self.wallet.top_up(self.ledger.used(), most);
        let flight = InFlight { ask, most, number: self.answers.number(), num_pieces: 0, counted: 0 };
        self.in_flight.insert(self.next_id, flight);
        self.next_id += 1;
        Some(request)
    }

    fn model(&self) -> Option<String> {
        self.model.clone()
    }

    fn is_over(&mut self) -> bool {
        let limit = self.wallet.over();
        if let Some(limit) = limit {
            self.end_by(limit);
        }
        limit.is_some()
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        let Some(flight) = self.in_flight.remove(&id) else { return ControlFlow::Continue(()) };
        let most = flight.most;
        match outcome {
            Ok(completion) => {
                let cost = completion.cost();
                self.ledger.settle(most, &cost);
                self.count(cost.completion_tokens.saturating_sub(flight.counted));
                self.gauge.take_prompt(cost.prompt_tokens);
                let end = completion.finish_name.as_deref().unwrap_or(completion.finish_reason.as_str());
                self.seen.take(end, completion.completion_tokens);
                self.take_answer(flight, completion);
            }
            Err(TeacherError::Unanswerable { reason, message, text, cost }) => {
                self.ledger.settle(most, &cost);
                let charge = flight.charged(*cost, true);
                let end = End::Unanswered(reason, message.clone(), text);
                self.refuse(Attempt { ask: flight.ask, charge, end }, &message);
            }
            Err(error) => {
                self.ledger.release(most);
                if self.tally.failed == 0 {
                    self.tally.first_failure = error.to_string();
                }
                self.tally.failed += 1;
                self.tell();
            }
        }
        self.take_acks();
        match self.stop {
            // Nothing more can be kept.
            Some(PumpError::Dataset(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn charge(&mut self, id: u64, cost: Cost, partial: Option<&Partial>) -> bool {
        let Some(mut flight) = self.in_flight.remove(&id) else { return false };
        self.ledger.settle(flight.most, &cost);
        self.seen.retries += 1;
        // What is gone on from is not wasted.
        if let Some(charge) = flight.charged(cost, !self.teacher.continues()) {
            self.keep_attempt(Attempt { ask: flight.ask.clone(), charge: Some(charge), end: End::Nothing });
        }
        flight.ask.partial = partial.cloned();
        flight.most = self.request(id, &flight.ask).1;
        if self.ledger.reserve(flight.most).is_err() {
            self.again.push_back(flight.ask);
            return false;
        }
        let number = self.answers.number();
        self.in_flight.insert(id, InFlight { number, num_pieces: 0, counted: 0, ..flight });
        true
    }

    fn spool(&mut self, pieces: Vec<(u64, Piece)>) {
        let continues = self.teacher.continues();
        let (mut spooled, mut arrived) = (Vec::with_capacity(pieces.len()), 0);
        for (id, piece) in pieces {
            let Some(flight) = self.in_flight.get_mut(&id) else { continue };
            arrived += piece.cost.completion_tokens.saturating_sub(flight.counted);
            flight.counted = piece.cost.completion_tokens;
            let kept = if continues { piece } else { Piece { cost: piece.cost, ..Piece::default() } };
            spooled.push(flight.spooled(kept, false));
        }
        if !spooled.is_empty() {
            self.keep(Job::Pieces(spooled));
        }
        self.count(arrived);
    }

    fn discard(&mut self, id: u64) {
        if let Some(flight) = self.in_flight.get_mut(&id) {
            let discarded = flight.discarded();
            self.keep(discarded);
        }
    }

    fn see(&mut self, endpoints: Vec<EndpointSeen>) {
        self.seen.endpoints = endpoints;
        self.show();
    }

    fn say(&mut self, remark: &str) {
        remark.clone_into(&mut self.remark);
        self.take_acks();
        self.tell();
    }
}

mod told;

#[cfg(test)]
mod tests;

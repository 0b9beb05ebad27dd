//! The requests in flight: sent as the pace and the endpoint allow, tried again where that helps, waited for when a stop
//! was asked for.
//!
//! Four things are kept apart. A request that cannot be answered is delivered as such. One that the server breaks on, or
//! whose answer breaks off, is tried again so many times. An endpoint that is away (nobody listens, 502, 503, 504, 429) is
//! waited for, however long, and costs no request a try. A refusal that holds for every request (401, 402, 403, 404) ends
//! the asking; what is in flight comes to its end first.

use super::{
    HttpTeacher,
    body::Live,
    pace::{Breaker, Failure, MAX_PAUSE, Pace},
    response::{Attempt, Ending},
};
use crate::{Queue, Request, TeacherError};
use distill_dataset::{Cancel, Digest};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use std::{
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, Instant},
};

/// How often cancellation, pauses and first bytes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often a remark is repeated while one waits.
const REMARK: Duration = Duration::from_secs(1);
/// So many tries tell, at the very start, that nobody is there.
const FIRST_TRIES: u32 = 3;

/// A request and how often it was tried.
struct Work {
    request: Request,
    /// Tries that count against it.
    tries: u32,
    /// Tries that the endpoint was away for.
    missed: u32,
}

type Landing = (Work, Attempt);

struct Flights<'a> {
    teacher: &'a HttpTeacher,
    now: FuturesUnordered<LocalBoxFuture<'a, Landing>>,
    /// What has arrived of each.
    live: HashMap<u64, Rc<Live>>,
    /// To be tried again, not before then.
    waiting: VecDeque<(Work, Instant)>,
    pace: Pace,
    breaker: Breaker,
    /// The request that finds out whether the endpoint is back.
    probe: Option<u64>,
    fatal: Option<TeacherError>,
    remarked: Option<Instant>,
}

/// Answers everything in the queue.
pub(super) async fn fly(teacher: &HttpTeacher, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
    let mut flights = Flights {
        teacher,
        now: FuturesUnordered::new(),
        live: HashMap::new(),
        waiting: VecDeque::new(),
        pace: Pace::new(teacher.config.concurrency),
        breaker: Breaker::default(),
        probe: None,
        fatal: None,
        remarked: None,
    };
    let mut deadline = None;
    loop {
        let stopping = flights.fatal.is_some() || cancel.is_cancelled();
        let exhausted = !stopping && flights.dispatch(queue);
        if flights.now.is_empty() && (stopping || exhausted && flights.waiting.is_empty()) {
            return flights.fatal.map_or(Ok(()), Err);
        }
        if cancel.is_cancelled() {
            let until = *deadline.get_or_insert_with(|| Instant::now() + queue.drain_limit());
            if Instant::now() >= until {
                flights.abandon(queue);
                return flights.fatal.map_or(Ok(()), Err);
            }
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            let count = flights.now.len();
            let remark = || format!("stopping: {count} in flight, waited for {left} s at most");
            flights.remark(queue, remark);
        }
        if flights.fatal.is_some() && !cancel.is_cancelled() {
            let count = flights.now.len();
            flights.remark(queue, || format!("the endpoint refuses; {count} in flight are waited for"));
        }
        let landed = if flights.now.is_empty() {
            tokio::time::sleep(TICK).await;
            None
        } else {
            tokio::select! {
                landed = flights.now.next() => landed,
                () = tokio::time::sleep(TICK) => None,
            }
        };
        flights.look(queue);
        if let Some((work, attempt)) = landed
            && flights.land(work, attempt, queue, cancel).is_break()
        {
            return Ok(());
        }
    }
}

impl<'a> Flights<'a> {
    /// Sends what may be sent now; whether the queue had nothing more.
    fn dispatch(&mut self, queue: &mut dyn Queue) -> bool {
        loop {
            let room = match self.breaker.away() {
                Some(away) => self.probe.is_none() && Instant::now() >= away.next,
                None => self.now.len() < self.pace.limit(),
            };
            if !room {
                return false;
            }
            // A probe does not wait for its own pause as well.
            let due = |(_, at): &(Work, Instant)| self.breaker.away().is_some() || Instant::now() >= *at;
            let ready = self.waiting.iter().position(due);
            let work = match ready {
                Some(at) => self.waiting.remove(at).map(|(work, _)| work),
                None => queue.next().map(|request| Work { request, tries: 0, missed: 0 }),
            };
            let Some(work) = work else { return true };
            if self.breaker.away().is_some() {
                self.probe = Some(work.request.id);
            }
            let live = Rc::new(Live::without(self.teacher.key.clone()));
            self.live.insert(work.request.id, live.clone());
            let teacher = self.teacher;
            let flight = async move {
                let attempt = teacher.attempt(&work.request, &live).await;
                (work, attempt)
            };
            self.now.push(flight.boxed_local());
        }
    }

    /// Looks at first bytes, which say that the endpoint is there, and says how long it has been away.
    fn look(&mut self, queue: &mut dyn Queue) {
        if self.live.values().any(|live| live.take_admitted()) {
            self.reached(queue);
        }
        let Some(away) = self.breaker.away() else { return };
        let now = Instant::now();
        let (since, next) = (now.duration_since(away.since).as_secs(), away.next.saturating_duration_since(now));
        let trying = self.probe.is_some();
        let why = self.teacher.say(away.why.lines().next().unwrap_or_default());
        let next = if trying { "tried now".to_owned() } else { format!("next try in {} s", next.as_secs() + 1) };
        self.remark(queue, || format!("the endpoint has been away for {since} s, {next} ({why})"));
    }

    fn remark(&mut self, queue: &mut dyn Queue, remark: impl FnOnce() -> String) {
        if self.remarked.is_none_or(|at| at.elapsed() >= REMARK) {
            self.remarked = Some(Instant::now());
            queue.say(&remark());
        }
    }

    fn reached(&mut self, queue: &mut dyn Queue) {
        if self.breaker.away().is_some() {
            queue.say("");
            self.remarked = None;
        }
        self.breaker.reached();
        self.probe = None;
    }

    /// Takes the end of an attempt.
    fn land(&mut self, mut work: Work, attempt: Attempt, queue: &mut dyn Queue, cancel: &Cancel) -> ControlFlow<()> {
        let id = work.request.id;
        self.live.remove(&id);
        let probe = self.probe == Some(id);
        if probe {
            self.probe = None;
        }
        let Attempt { ending, cost, text } = attempt;
        let max_tries = self.teacher.config.max_retries + 1;
        let (message, wait, reason) = match ending {
            Ending::Done(answer) => {
                self.reached(queue);
                self.pace.succeeded();
                return queue.deliver(id, Ok(self.teacher.complete_answer(*answer, &cost)));
            }
            Ending::Unanswerable(reason, message) => {
                self.reached(queue);
                let message = self.teacher.say(&message);
                return queue.deliver(id, Err(TeacherError::Unanswerable { reason, message, text, cost }));
            }
            Ending::Fatal(message) => {
                self.fatal.get_or_insert(TeacherError::Refused(self.teacher.say(&message)));
                return ControlFlow::Continue(());
            }
            Ending::Away { message, wait, busy } => {
                if busy {
                    self.pace.refused();
                }
                work.missed += 1;
                self.away(&work, probe, &message, wait, busy);
                (message, wait, None)
            }
            Ending::Server(message, wait) => {
                // In a storm, only the probe tells of its own request.
                work.tries += u32::from(probe || self.breaker.away().is_none());
                let failure = Failure { request: id, on_request: true, wait, why: &message };
                self.breaker.failed(&failure, probe, Instant::now());
                (message, wait, None)
            }
            Ending::Broken(reason, message) => {
                work.tries += 1;
                (message, None, Some(reason))
            }
        };
        if work.tries >= max_tries {
            let tries = work.tries;
            let message = self.teacher.say(&format!("gave up after {tries} tries: {message}"));
            let error = match reason {
                Some(reason) => TeacherError::Unanswerable { reason, message, text, cost },
                None => TeacherError::Failed(message),
            };
            return queue.deliver(id, Err(error));
        }
        tracing::debug!(request = id, tries = work.tries, missed = work.missed, message, "retry");
        if queue.charge(id, cost) && !cancel.is_cancelled() && self.fatal.is_none() {
            let pause = wait.unwrap_or_else(|| backoff(work.tries + work.missed, work.request.seed));
            self.waiting.push_back((work, Instant::now() + pause));
        }
        ControlFlow::Continue(())
    }

    /// The endpoint did not take a request.
    fn away(&mut self, work: &Work, probe: bool, message: &str, wait: Option<Duration>, busy: bool) {
        let failure = Failure { request: work.request.id, on_request: false, wait, why: message };
        self.breaker.failed(&failure, probe, Instant::now());
        let endpoint = self.teacher.config.endpoint();
        let probes = self.breaker.away().map_or(0, |away| away.probes);
        // A wrong URL is not waited for.
        if !busy && !self.breaker.was_reached() && (work.missed >= FIRST_TRIES || probes >= FIRST_TRIES - 1) {
            let message =
                format!("nobody answers at {endpoint}: {message}\nhint: is the server running, and is `url` right?");
            self.fatal.get_or_insert(TeacherError::Unreachable(message));
        }
        let (Some(away), Some(most)) = (self.breaker.away(), self.teacher.config.max_wait_s) else { return };
        if away.next.duration_since(away.since) > Duration::from_secs(most) {
            let asked = wait.map_or(String::new(), |wait| format!("; it asks to wait {} s", wait.as_secs()));
            let message = format!(
                "{message}{asked}, longer than `max-wait-s` = {most} allows\nhint: answers so far are kept; run the same command again later, or raise `max-wait-s`"
            );
            self.fatal.get_or_insert(TeacherError::Unreachable(self.teacher.say(&message)));
        }
    }

    /// Drops what is in flight: what had arrived of it was paid for.
    fn abandon(&mut self, queue: &mut dyn Queue) {
        self.now.clear();
        for (id, live) in self.live.drain() {
            queue.charge(id, self.teacher.cost(&live));
        }
    }
}

/// Exponential, with a share that depends on the request, so that retries do not come in step.
fn backoff(tries: u32, seed: u64) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(tries.min(10));
    let jitter = Digest::new("backoff").field(&seed.to_string()).field(&tries.to_string()).finish_u64() % 1000;
    (base + base.mul_f64(jitter as f64 / 2000.0)).min(MAX_PAUSE)
}
